#include "kv/write_buffer.h"

#include <algorithm>
#include <cstring>

namespace weir::kv {
namespace {

constexpr size_t kCounterBytes = 8;

}  // namespace

Result<int64_t> WriteBuffer::Write::resolve_counter(int64_t snapshot_value) const {
  int64_t counter = 0;
  if (base == Base::kSnapshot) {
    counter = snapshot_value;
  } else if (base == Base::kValue) {
    TRY_ASSIGN(counter, decode_counter(value));
  }
  for (const Atomic& atomic : atomics) {
    if (atomic.kind == Atomic::Kind::kAdd) {
      counter = static_cast<int64_t>(static_cast<uint64_t>(counter) + static_cast<uint64_t>(atomic.operand));
    } else {
      counter = std::max(counter, atomic.operand);
    }
  }
  return counter;
}

Result<std::optional<std::string>> WriteBuffer::Write::resolve(
    const std::optional<std::string>& snapshot_value) const {
  if (atomics.empty()) {
    if (base == Base::kValue) return std::string(value);
    return std::nullopt;
  }
  int64_t before = 0;
  if (needs_snapshot() && snapshot_value.has_value()) {
    TRY_ASSIGN(before, decode_counter(*snapshot_value));
  }
  TRY_ASSIGN(const int64_t after, resolve_counter(before));
  return encode_counter(after);
}

void WriteBuffer::Cursor::next() {
  if (direction_ == Direction::kForward) {
    ++first_;
  } else {
    --last_;
  }
}

void WriteBuffer::put(std::string_view key, std::string_view value) {
  Write& write = replace(key);
  write.base = Write::Base::kValue;
  write.value = keep(value);
  bytes_ += value.size();
  value_bytes_max_ = std::max(value_bytes_max_, value.size());
}

void WriteBuffer::erase(std::string_view key) { replace(key).base = Write::Base::kAbsent; }

void WriteBuffer::erase_range(std::string_view begin, std::string_view end) {
  key_bytes_max_ = std::max({key_bytes_max_, begin.size(), end.size()});
  if (begin >= end) return;
  for (auto it = points_.lower_bound(begin); it != points_.end() && it->first < end;) {
    bytes_ -= it->first.size() + value_bytes(it->second);
    it = points_.erase(it);
  }
  // Overlapping and touching ranges become one.
  auto it = erased_.upper_bound(begin);
  if (it != erased_.begin() && std::prev(it)->second >= begin) --it;
  while (it != erased_.end() && it->first <= end) {
    begin = std::min(begin, it->first);
    end = std::max(end, it->second);
    bytes_ -= it->first.size() + it->second.size();
    it = erased_.erase(it);
  }
  erased_.emplace(keep(begin), keep(end));
  bytes_ += begin.size() + end.size();
}

void WriteBuffer::apply(std::string_view key, Atomic atomic) {
  key_bytes_max_ = std::max(key_bytes_max_, key.size());
  auto it = points_.lower_bound(key);
  if (it == points_.end() || it->first != key) {
    const auto base = erased_around(key) ? Write::Base::kAbsent : Write::Base::kSnapshot;
    it = points_.emplace_hint(it, keep(key), Write{base, {}, std::pmr::vector<Atomic>(&arena_)});
    bytes_ += key.size();
  }
  auto& atomics = it->second.atomics;
  if (!atomics.empty() && atomics.back().kind == atomic.kind) {
    int64_t& operand = atomics.back().operand;
    if (atomic.kind == Atomic::Kind::kAdd) {
      operand = static_cast<int64_t>(static_cast<uint64_t>(operand) + static_cast<uint64_t>(atomic.operand));
    } else {
      operand = std::max(operand, atomic.operand);
    }
    return;
  }
  atomics.push_back(atomic);
  bytes_ += kCounterBytes;
}

const WriteBuffer::Write* WriteBuffer::find(std::string_view key) const {
  const auto it = points_.find(key);
  return it == points_.end() ? nullptr : &it->second;
}

std::optional<WriteBuffer::Erased> WriteBuffer::erased_around(std::string_view key) const {
  if (erased_.empty()) return std::nullopt;
  auto it = erased_.upper_bound(key);
  if (it == erased_.begin()) return std::nullopt;
  --it;
  if (it->second <= key) return std::nullopt;
  return Erased{it->first, it->second};
}

WriteBuffer::Cursor WriteBuffer::scan(std::string_view begin, std::string_view end, Direction direction) const {
  return Cursor(points_.lower_bound(begin), points_.lower_bound(std::max(begin, end)), direction);
}

size_t WriteBuffer::value_bytes(const Write& write) {
  return write.value.size() + write.atomics.size() * kCounterBytes;
}

std::string_view WriteBuffer::keep(std::string_view bytes) {
  if (bytes.empty()) return {};
  char* copy = static_cast<char*>(arena_.allocate(bytes.size(), 1));
  std::memcpy(copy, bytes.data(), bytes.size());
  return {copy, bytes.size()};
}

WriteBuffer::Write& WriteBuffer::replace(std::string_view key) {
  key_bytes_max_ = std::max(key_bytes_max_, key.size());
  const auto it = points_.lower_bound(key);
  if (it == points_.end() || it->first != key) {
    bytes_ += key.size();
    return points_
        .emplace_hint(it, keep(key), Write{Write::Base::kAbsent, {}, std::pmr::vector<Atomic>(&arena_)})
        ->second;
  }
  bytes_ -= value_bytes(it->second);
  it->second.value = {};
  it->second.atomics.clear();
  return it->second;
}

}  // namespace weir::kv
