// persist/backoff.h -- exponential pauses with jitter.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/clock.h"
#include "base/random.h"

namespace weir::persist {

// Before try number `attempts` + 1: `first`, doubled for every attempt up to `longest`, of which at least half is kept.
inline Duration backoff(uint32_t attempts, Duration first, Duration longest, Random& random) {
  const int64_t limit = std::max<int64_t>(longest.count(), 1);
  int64_t pause = std::clamp<int64_t>(first.count(), 1, limit);
  for (uint32_t i = 1; i < attempts && pause < limit; ++i) pause = pause > limit / 2 ? limit : pause * 2;
  return Duration(pause / 2 + static_cast<int64_t>(random.below(static_cast<uint64_t>(pause / 2) + 1)));
}

}  // namespace weir::persist
