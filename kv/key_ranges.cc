#include "kv/key_ranges.h"

namespace weir::kv {

void KeyRanges::add_key(std::string_view key) { add(key, {}, kSingle); }

void KeyRanges::add_range(std::string_view begin, std::string_view end) {
  if (begin >= end) return;
  add(begin, end, static_cast<uint32_t>(end.size()));
}

void KeyRanges::add(std::string_view begin, std::string_view end, uint32_t end_bytes) {
  if (entries_.empty()) {
    bytes_.reserve(kBytesAtFirst);
    entries_.reserve(kEntriesAtFirst);
  }
  entries_.push_back({bytes_.size(), static_cast<uint32_t>(begin.size()), end_bytes});
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
