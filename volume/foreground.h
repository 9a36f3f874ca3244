// volume/foreground.h -- how busy applications keep the volume, so that work in the background can stand back.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

#include "base/clock.h"

namespace weir::volume {

// Threads: all methods may be called concurrently. The notes cost one relaxed addition.
class Foreground {
 public:
  static constexpr uint64_t kBusyPerSecond = 500;  // operations; a shell's ls or cp stays far below
  static constexpr uint64_t kOperationBytes = 128 << 10;  // of content count as one more
  static constexpr Duration kWindow = std::chrono::milliseconds(50);
  static constexpr Duration kWindowMax = std::chrono::milliseconds(200);  // a longer one would hide a burst's begin

  explicit Foreground(const Clock& clock) : clock_(clock), window_begin_(clock.now()) {}

  void note() { operations_.fetch_add(1, std::memory_order_relaxed); }
  void note_content(uint64_t bytes) { content_bytes_.fetch_add(bytes, std::memory_order_relaxed); }

  bool busy() {
    std::unique_lock lock(mutex_, std::try_to_lock);
    if (lock.owns_lock()) {
      const TimePoint now = clock_.now();
      if (const Duration elapsed = now - window_begin_; elapsed >= kWindow) {
        const uint64_t operations = operations_.load(std::memory_order_relaxed) +
                                    content_bytes_.load(std::memory_order_relaxed) / kOperationBytes;
        const auto window_ns = static_cast<uint64_t>(std::min(elapsed, kWindowMax).count());
        busy_.store((operations - counted_) * 1'000'000'000 > kBusyPerSecond * window_ns, std::memory_order_relaxed);
        counted_ = operations;
        window_begin_ = now;
      }
    }
    return busy_.load(std::memory_order_relaxed);
  }

 private:
  const Clock& clock_;
  alignas(64) std::atomic<uint64_t> operations_{0};
  std::atomic<uint64_t> content_bytes_{0};
  alignas(64) std::atomic<bool> busy_{false};
  std::mutex mutex_;  // leaf
  uint64_t counted_ = 0;
  TimePoint window_begin_;
};

}  // namespace weir::volume
