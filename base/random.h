// base/random.h -- a seedable generator (xoshiro256**, Blackman and Vigna). Not for secrets.
#pragma once

#include <array>
#include <cstdint>

namespace weir {

// Threads: one thread at a time.
class Random {
 public:
  explicit Random(uint64_t seed);
  // Seeded from the operating system.
  static Random from_entropy();

  uint64_t next();
  // Uniform in [0, bound); bound > 0.
  uint64_t below(uint64_t bound) { return static_cast<uint64_t>((static_cast<__uint128_t>(next()) * bound) >> 64); }
  // Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool one_in(uint64_t n) { return below(n) == 0; }

 private:
  std::array<uint64_t, 4> state_;
};

}  // namespace weir
