#include "net/crc64_nvme.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#include <wmmintrin.h>
#endif

namespace weir::net {
namespace {

static_assert(std::endian::native == std::endian::little);

// kNvmeTables[k][b] is the CRC of byte b followed by k zero bytes.
constexpr auto kNvmeTables = [] {
  std::array<std::array<uint64_t, 256>, 8> tables{};
  for (uint64_t b = 0; b < 256; ++b) {
    uint64_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kCrc64NvmePolynomial : 0);
    tables[0][b] = crc;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 255];
    }
  }
  return tables;
}();

// Of bytes behind a state, neither of them inverted.
uint64_t advance_by_tables(uint64_t state, std::span<const std::byte> bytes) {
  while (bytes.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    word ^= state;
    state = 0;
    for (size_t k = 0; k < 8; ++k) state ^= kNvmeTables[7 - k][word >> 8 * k & 255];
    bytes = bytes.subspan(8);
  }
  for (const std::byte b : bytes) state = state >> 8 ^ kNvmeTables[0][(state ^ std::to_integer<uint64_t>(b)) & 255];
  return state;
}

}  // namespace

uint64_t crc64_nvme_by_tables(std::span<const std::byte> bytes, uint64_t crc) { return ~advance_by_tables(~crc, bytes); }

#if defined(__x86_64__)

namespace {

constexpr size_t kLaneBytes = 16;
constexpr size_t kLanes = 8;

// x^n modulo the polynomial, reflected: the highest bit is the coefficient of x^0.
constexpr uint64_t power_of_x(unsigned n) {
  uint64_t power = uint64_t{1} << 63;
  for (; n != 0; --n) power = (power & 1) != 0 ? power >> 1 ^ kCrc64NvmePolynomial : power >> 1;
  return power;
}

// What moves 128 bits to a place `bits` further on. The product of two reflected numbers comes out multiplied by x once more,
// and the lower half of a register holds the higher powers.
struct Fold {
  explicit constexpr Fold(unsigned bits) : lower(power_of_x(bits + 64 - 1)), upper(power_of_x(bits - 1)) {}
  uint64_t lower;
  uint64_t upper;
};
constexpr Fold kOneLane(8 * kLaneBytes);
constexpr Fold kAllLanes(8 * kLaneBytes * kLanes);

[[gnu::target("pclmul")]] __m128i load(const std::byte* at) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
}

[[gnu::target("pclmul")]] __m128i factors(const Fold& fold) {
  return _mm_set_epi64x(static_cast<int64_t>(fold.upper), static_cast<int64_t>(fold.lower));
}

// `lane` moved by the factors' distance, and `next`, which lies there.
[[gnu::target("pclmul")]] __m128i fold(__m128i lane, __m128i factors, __m128i next) {
  const __m128i lower = _mm_clmulepi64_si128(lane, factors, 0x00);
  const __m128i upper = _mm_clmulepi64_si128(lane, factors, 0x11);
  return _mm_xor_si128(_mm_xor_si128(lower, upper), next);
}

}  // namespace

bool crc64_nvme_folds() {
  static const bool kFolds = __builtin_cpu_supports("pclmul");
  return kFolds;
}

[[gnu::target("pclmul")]] uint64_t crc64_nvme_by_folding(std::span<const std::byte> bytes, uint64_t crc) {
  constexpr size_t kBlockBytes = kLaneBytes * kLanes;
  if (bytes.size() < kBlockBytes) return crc64_nvme_by_tables(bytes, crc);
  __m128i lanes[kLanes];
  for (size_t i = 0; i < kLanes; ++i) lanes[i] = load(&bytes[i * kLaneBytes]);
  lanes[0] = _mm_xor_si128(lanes[0], _mm_cvtsi64_si128(static_cast<int64_t>(~crc)));
  bytes = bytes.subspan(kBlockBytes);
  const __m128i by_all = factors(kAllLanes);
  for (; bytes.size() >= kBlockBytes; bytes = bytes.subspan(kBlockBytes)) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kLanes; ++i) lanes[i] = fold(lanes[i], by_all, load(&bytes[i * kLaneBytes]));
  }
  const __m128i by_one = factors(kOneLane);
  __m128i all = lanes[0];
  for (size_t i = 1; i < kLanes; ++i) all = fold(all, by_one, lanes[i]);
  for (; bytes.size() >= kLaneBytes; bytes = bytes.subspan(kLaneBytes)) all = fold(all, by_one, load(bytes.data()));
  // What is left is congruent to all that was folded, so its CRC is the same.
  std::array<std::byte, kLaneBytes> rest;
  std::memcpy(rest.data(), &all, kLaneBytes);
  return ~advance_by_tables(advance_by_tables(0, rest), bytes);
}

#else

bool crc64_nvme_folds() { return false; }

uint64_t crc64_nvme_by_folding(std::span<const std::byte> bytes, uint64_t crc) { return crc64_nvme_by_tables(bytes, crc); }

#endif

}  // namespace weir::net
