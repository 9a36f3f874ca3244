// base/latency.h -- how long requests of one kind took: a histogram in powers of two.
//
// Threads: all methods may be called concurrently; no locks. A reader sees counters that may be one request apart.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "base/clock.h"

namespace weir {

struct LatencyCounters {
  // Bucket b counts requests that took less than 2^b microseconds, and not less than half of that; the last one the rest.
  static constexpr size_t kBuckets = 26;
  static constexpr uint64_t bucket_limit_us(size_t bucket) { return uint64_t{1} << bucket; }

  uint64_t requests = 0;
  uint64_t total_ns = 0;
  std::array<uint64_t, kBuckets> buckets{};
};

class alignas(64) Latency {
 public:
  void record(Duration took) {
    const auto ns = static_cast<uint64_t>(std::max<int64_t>(took.count(), 0));
    const size_t bucket = std::min<size_t>(std::bit_width(ns / 1000), LatencyCounters::kBuckets - 1);
    buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
    total_ns_.fetch_add(ns, std::memory_order_relaxed);
  }

  LatencyCounters counters() const {
    LatencyCounters counters;
    counters.total_ns = total_ns_.load(std::memory_order_relaxed);
    for (size_t i = 0; i < LatencyCounters::kBuckets; ++i) {
      counters.buckets[i] = buckets_[i].load(std::memory_order_relaxed);
      counters.requests += counters.buckets[i];
    }
    return counters;
  }

 private:
  std::atomic<uint64_t> total_ns_{0};
  std::array<std::atomic<uint64_t>, LatencyCounters::kBuckets> buckets_{};
};

}  // namespace weir
