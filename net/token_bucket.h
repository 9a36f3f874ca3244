// net/token_bucket.h -- a rate limit that many transfers share.
//
// Takers are never refused: they go into debt and are told how long to wait, so the long-run rate holds whatever the
// sizes taken, and waiters are served in the order in which they asked.
// Threads: all methods may be called concurrently.
#pragma once

#include <cstdint>
#include <mutex>

#include "base/clock.h"

namespace weir::net {

class TokenBucket {
 public:
  // Zero bytes per second: no limit. The burst is what may be taken at once after a pause.
  explicit TokenBucket(uint64_t bytes_per_second, uint64_t burst_bytes = 256 << 10,
                       const Clock& clock = system_clock());

  void set_rate(uint64_t bytes_per_second);
  uint64_t rate() const;

  // Takes `bytes` and returns the time to let pass before they are used.
  Duration take(uint64_t bytes);

 private:
  const Clock& clock_;
  const uint64_t burst_bytes_;
  mutable std::mutex mutex_;  // a leaf
  uint64_t bytes_per_second_;
  TimePoint paid_until_{};  // all that was taken is paid for at this instant
};

}  // namespace weir::net
