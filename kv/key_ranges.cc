#include "kv/key_ranges.h"

namespace weir::kv {

void KeyRanges::add_key(std::string_view key) {
  entries_.push_back({bytes_.size(), static_cast<uint32_t>(key.size()), kSingle});
  bytes_.append(key);
}

void KeyRanges::add_range(std::string_view begin, std::string_view end) {
  if (begin >= end) return;
  entries_.push_back({bytes_.size(), static_cast<uint32_t>(begin.size()), static_cast<uint32_t>(end.size())});
  bytes_.append(begin);
  bytes_.append(end);
}

KeyRanges::Range KeyRanges::operator[](size_t i) const {
  const Entry& entry = entries_[i];
  const std::string_view bytes = std::string_view(bytes_).substr(entry.offset);
  const std::string_view begin = bytes.substr(0, entry.begin_bytes);
  if (entry.end_bytes == kSingle) return {begin, {}, true};
  return {begin, bytes.substr(entry.begin_bytes, entry.end_bytes), false};
}

}  // namespace weir::kv
