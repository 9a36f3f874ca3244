// kv/write_buffer.h -- what one transaction has written and not yet committed, laid over what it reads.
//
// Ordered by key. At most one Write a key: what the key will hold as a function of what the snapshot holds. Ranges
// erased come before all point writes: erasing a range drops the writes inside it, so a write found inside an erased
// range is younger than the range.
//
// Keys and values are copied into an arena that lives as long as the buffer. Threads: one at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory_resource>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kv/kv.h"

namespace weir::kv {

class WriteBuffer {
 public:
  struct Atomic {
    enum class Kind : uint8_t { kAdd, kMax } kind;
    int64_t operand;
  };

  // The atomic operations, in order, on top of a base.
  struct Write {
    enum class Base : uint8_t { kSnapshot, kValue, kAbsent } base;
    std::string_view value;  // with kValue
    std::pmr::vector<Atomic> atomics;

    // Whether the outcome depends on what the store holds.
    bool needs_snapshot() const { return base == Base::kSnapshot; }
    // What the key holds afterwards. `snapshot_value` counts only if needs_snapshot().
    // Errors: kCorrupt, an atomic operation on a value that is no counter.
    Result<std::optional<std::string>> resolve(const std::optional<std::string>& snapshot_value) const;
    // The same for a write with atomic operations, as a number; an absent key is 0.
    Result<int64_t> resolve_counter(int64_t snapshot_value) const;
  };

  using Points = std::pmr::map<std::string_view, Write>;
  using Ranges = std::pmr::map<std::string_view, std::string_view>;  // begin -> end; disjoint

  struct Erased {
    std::string_view begin;
    std::string_view end;
  };

  // Walks the point writes of a range. Invalid once the buffer changes.
  class Cursor {
   public:
    bool valid() const { return first_ != last_; }
    std::string_view key() const { return here()->first; }
    const Write& write() const { return here()->second; }
    void next();

   private:
    friend class WriteBuffer;
    Cursor(Points::const_iterator first, Points::const_iterator last, Direction direction)
        : first_(first), last_(last), direction_(direction) {}
    Points::const_iterator here() const { return direction_ == Direction::kForward ? first_ : std::prev(last_); }

    Points::const_iterator first_;
    Points::const_iterator last_;
    Direction direction_;
  };

  WriteBuffer() : arena_(first_block_.data(), first_block_.size()), points_(&arena_), erased_(&arena_) {}
  WriteBuffer(const WriteBuffer&) = delete;
  WriteBuffer& operator=(const WriteBuffer&) = delete;

  void put(std::string_view key, std::string_view value);
  void erase(std::string_view key);
  void erase_range(std::string_view begin, std::string_view end);
  void apply(std::string_view key, Atomic atomic);

  bool empty() const { return points_.empty() && erased_.empty(); }
  // The write of `key`; nullptr if there is none (the key may still lie in an erased range).
  const Write* find(std::string_view key) const;
  std::optional<Erased> erased_around(std::string_view key) const;
  Cursor scan(std::string_view begin, std::string_view end, Direction direction) const;

  const Points& points() const { return points_; }
  const Ranges& erased() const { return erased_; }

  // For what lives as long as the buffer.
  std::pmr::memory_resource* memory() { return &arena_; }

  // Keys and values a commit would carry.
  size_t bytes() const { return bytes_; }
  // Of the longest ever given: limits are checked once, by commit.
  size_t key_bytes_max() const { return key_bytes_max_; }
  size_t value_bytes_max() const { return value_bytes_max_; }

 private:
  static size_t value_bytes(const Write& write);
  std::string_view keep(std::string_view bytes);
  // The write of `key`, made absent of atomics and ready to be set.
  Write& replace(std::string_view key);

  alignas(std::max_align_t) std::array<std::byte, 4096> first_block_;
  std::pmr::monotonic_buffer_resource arena_;
  Points points_;
  Ranges erased_;
  size_t bytes_ = 0;
  size_t key_bytes_max_ = 0;
  size_t value_bytes_max_ = 0;
};

}  // namespace weir::kv
