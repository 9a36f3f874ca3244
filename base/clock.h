// base/clock.h -- time, so that tests can own it.
#pragma once

#include <chrono>
#include <cstdint>

namespace weir {

using Duration = std::chrono::nanoseconds;
using TimePoint = std::chrono::time_point<std::chrono::steady_clock, Duration>;

// Nanoseconds since the Unix epoch, as in struct timespec.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

constexpr int64_t unix_ns(WallTime t) { return t.time_since_epoch().count(); }
constexpr WallTime from_unix_ns(int64_t ns) { return WallTime(Duration(ns)); }

// Threads: all methods may be called concurrently.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;       // monotonic
  virtual WallTime wall_now() const = 0;   // may jump
};

// The machine's clock; lives for ever.
Clock& system_clock();

// The instant by which a call must have returned.
class Deadline {
 public:
  static Deadline after(Duration d, const Clock& clock = system_clock()) {
    return Deadline(d >= TimePoint::max() - clock.now() ? TimePoint::max() : clock.now() + d);
  }
  static Deadline at(TimePoint t) { return Deadline(t); }
  static Deadline never() { return Deadline(TimePoint::max()); }

  TimePoint time() const { return time_; }
  bool expired(const Clock& clock = system_clock()) const { return clock.now() >= time_; }
  // Zero once expired.
  Duration left(const Clock& clock = system_clock()) const {
    const TimePoint now = clock.now();
    return now >= time_ ? Duration::zero() : time_ - now;
  }

 private:
  explicit Deadline(TimePoint t) : time_(t) {}
  TimePoint time_;
};

}  // namespace weir
