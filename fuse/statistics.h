// fuse/statistics.h -- how often each kind of request came and how long it took.
//
// Threads: all methods may be called concurrently; no locks. A reader sees counters that may be one request apart.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "base/latency.h"

namespace weir::fuse {

enum class Operation : uint8_t {
  kLookup,
  kGetAttributes,
  kSetAttributes,
  kReadSymlink,
  kMakeNode,
  kMakeDirectory,
  kMakeSymlink,
  kUnlink,
  kRemoveDirectory,
  kRename,
  kLink,
  kCreate,
  kOpen,
  kRead,
  kWrite,
  kFlush,
  kSync,
  kRelease,
  kAllocate,
  kSeek,
  kOpenDirectory,
  kReadDirectory,
  kSyncDirectory,
  kReleaseDirectory,
  kGetXattr,
  kSetXattr,
  kListXattrs,
  kRemoveXattr,
  kStatFs,
  kCount,
};

inline constexpr size_t kOperations = static_cast<size_t>(Operation::kCount);
std::string_view name_of(Operation operation);  // "lookup", "get_attributes", ...

class Statistics {
 public:
  struct Counters : LatencyCounters {
    uint64_t errors = 0;  // absent names of lookups and attributes are no errors
  };

  enum class Outcome : uint8_t { kOk, kError };
  void record(Operation operation, Duration took, Outcome outcome);
  Counters counters(Operation operation) const;

  // Requests that went to a thread of their own because they would have waited.
  void record_moved() { moved_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t moved() const { return moved_.load(std::memory_order_relaxed); }
  // Passthrough opens, and invalidations sent to the kernel.
  void record_passthrough_open() { passthrough_opens_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t passthrough_opens() const { return passthrough_opens_.load(std::memory_order_relaxed); }

 private:
  struct Cell {
    Latency latency;
    std::atomic<uint64_t> errors{0};
  };
  std::array<Cell, kOperations> cells_;
  std::atomic<uint64_t> moved_{0};
  std::atomic<uint64_t> passthrough_opens_{0};
};

}  // namespace weir::fuse
