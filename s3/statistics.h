// s3/statistics.h -- how often each operation came, how it ended and how long it took.
//
// Threads: all methods may be called concurrently; no locks. A reader sees counters that may be one request apart.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/latency.h"
#include "s3/operations.h"

namespace weir::s3 {

class Statistics {
 public:
  static constexpr int kStatusMin = 200;
  static constexpr int kStatusMax = 511;

  void record(Operation operation, int status, Duration took, uint64_t bytes_in, uint64_t bytes_out);
  LatencyCounters latency(Operation operation) const { return cells_[static_cast<size_t>(operation)].latency.counters(); }
  uint64_t requests(Operation operation, int status) const;  // kStatusMin to kStatusMax

  void record_moved() { moved_.fetch_add(1, std::memory_order_relaxed); }
  uint64_t moved() const { return moved_.load(std::memory_order_relaxed); }
  uint64_t bytes_in() const { return bytes_in_.load(std::memory_order_relaxed); }
  uint64_t bytes_out() const { return bytes_out_.load(std::memory_order_relaxed); }

 private:
  struct Cell {
    Latency latency;
    std::array<std::atomic<uint32_t>, kStatusMax - kStatusMin + 1> by_status{};
  };
  std::array<Cell, kOperations> cells_;
  std::atomic<uint64_t> moved_{0};
  std::atomic<uint64_t> bytes_in_{0};
  std::atomic<uint64_t> bytes_out_{0};
};

}  // namespace weir::s3
