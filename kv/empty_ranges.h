// kv/empty_ranges.h -- ranges that hold no rows any more, so that scans need not walk again over what was erased there: a
// queue that is emptied at its front would be read ever more slowly until the store throws its erased rows away.
//
// An entry says of [begin, end) that no version from `version` on up to the latest has rows there. A scan makes one of the
// gap that it walked over; whoever commits a row inside one cuts it off before that row, before the row's version is
// published. So a reader whose snapshot is exactly some version may use entries of versions up to that one.
//
// Threads: all methods may be called concurrently, commits in their order. Locks: mutex_ is a leaf.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>

#include "kv/conflict_set.h"

namespace weir::kv {

class EmptyRanges {
 public:
  static constexpr size_t kSlots = 16;

  // A scan of [begin, end) that is being begun; while it lives, commits are watched.
  class Scan {
   public:
    // Of a reader whose snapshot is exactly `version`.
    Scan(EmptyRanges& ranges, std::string_view begin, std::string_view end, Version version);
    ~Scan() { ranges_.give_back(slot_, {}); }
    Scan(const Scan&) = delete;
    Scan& operator=(const Scan&) = delete;

    // Where the scan may begin.
    const std::string& begin() const { return begin_; }
    // Nothing was there before `end`, the first row or the end of the range.
    void found_nothing_before(std::string_view end);

   private:
    static constexpr size_t kNoSlot = kSlots;

    EmptyRanges& ranges_;
    std::string begin_;
    size_t slot_ = kNoSlot;
    friend class EmptyRanges;
  };

  // A commit, visible in the store but not published yet.
  void put(std::string_view key, Version version);

 private:
  enum class State : uint8_t { kFree, kBeingScanned, kKnown };
  struct Slot {
    State state = State::kFree;
    std::string begin;
    std::string end;
    Version version = 0;
    uint64_t used = 0;
  };

  static uint8_t table_of(std::string_view key) { return static_cast<uint8_t>(key.front()); }
  void begin_scan(Scan& scan, std::string_view end, Version version);
  // Under mutex_.
  size_t take_slot();
  void set_state(Slot& slot, State state);
  // An empty `end`: the scan tells nothing.
  void give_back(size_t slot, std::string_view end);

  // By the first byte of keys, which names the table: what commits and readers look at without the mutex. A commit writes
  // newest_put_ before it reads slots_used_, a scan the other way round, so that one of them sees the other.
  std::array<std::atomic<Version>, 256> newest_put_{};
  std::array<std::atomic<uint32_t>, 256> slots_used_{};

  std::mutex mutex_;
  std::array<Slot, kSlots> slots_;
  uint64_t clock_ = 0;
};

}  // namespace weir::kv
