#include "net/token_bucket.h"

#include <algorithm>

namespace weir::net {
namespace {

Duration time_for(uint64_t bytes, uint64_t bytes_per_second) {
  return Duration(static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(bytes_per_second)));
}

}  // namespace

TokenBucket::TokenBucket(uint64_t bytes_per_second, uint64_t burst_bytes, const Clock& clock)
    : clock_(clock), burst_bytes_(burst_bytes), bytes_per_second_(bytes_per_second) {}

void TokenBucket::set_rate(uint64_t bytes_per_second) {
  std::scoped_lock lock(mutex_);
  bytes_per_second_ = bytes_per_second;
  paid_until_ = std::min(paid_until_, clock_.now());
}

uint64_t TokenBucket::rate() const {
  std::scoped_lock lock(mutex_);
  return bytes_per_second_;
}

Duration TokenBucket::take(uint64_t bytes) {
  std::scoped_lock lock(mutex_);
  if (bytes_per_second_ == 0) return Duration::zero();
  const TimePoint now = clock_.now();
  paid_until_ = std::max(paid_until_, now - time_for(burst_bytes_, bytes_per_second_));
  paid_until_ += time_for(bytes, bytes_per_second_);
  return std::max(paid_until_ - now, Duration::zero());
}

}  // namespace weir::net
