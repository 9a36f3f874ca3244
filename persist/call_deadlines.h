// persist/call_deadlines.h -- how long one call into an under store may take.
//
// The time for a reply plus the time that the bytes need over a slow link. Once stopping, no call outlives the stop.
// Threads: all methods may be called concurrently.
#pragma once

#include <algorithm>
#include <atomic>

#include "base/clock.h"

namespace weir::persist {

inline constexpr uint64_t kSlowestBytesPerSecond = 64 << 10;
inline constexpr uint64_t kSlowestCopiedBytesPerSecond = 8 << 20;  // copies on the server

class CallDeadlines {
 public:
  explicit CallDeadlines(Duration call_timeout) : call_timeout_(call_timeout) {}

  Deadline reply() const { return capped(call_timeout_); }
  Deadline transfer(uint64_t bytes) const { return capped(call_timeout_ + seconds_for(bytes, kSlowestBytesPerSecond)); }
  Deadline copy(uint64_t bytes) const {
    return capped(call_timeout_ + seconds_for(bytes, kSlowestCopiedBytesPerSecond));
  }

  void stop(Deadline deadline) { latest_ns_.store(deadline.time().time_since_epoch().count()); }
  bool stopping() const { return latest_ns_.load() != Duration::max().count(); }

 private:
  static Duration seconds_for(uint64_t bytes, uint64_t bytes_per_second) {
    return std::chrono::milliseconds(bytes / (bytes_per_second / 1'000));
  }
  Deadline capped(Duration duration) const {
    return Deadline::at(std::min(Deadline::after(duration).time(), TimePoint(Duration(latest_ns_.load()))));
  }

  const Duration call_timeout_;
  std::atomic<int64_t> latest_ns_{Duration::max().count()};
};

}  // namespace weir::persist
