#include "net/md5.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"

namespace weir::net {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kBlockBytes = 64;
constexpr size_t kBlockWords = kBlockBytes / sizeof(uint32_t);
constexpr size_t kLanes = Md5Stream::kTogetherMax;
constexpr size_t kLengthBytes = 8;

// floor(2^32 * |sin(i + 1)|)
constexpr uint32_t kSines[64] = {
    0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1,
    0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453,
    0xd8a1e681, 0xe7d3fbc8, 0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a, 0xfffa3942,
    0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05,
    0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665, 0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d,
    0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391};
constexpr uint32_t kTurns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};

void add_blocks(std::array<uint32_t, 4>& state, const std::byte* from, size_t count) {
  for (size_t block = 0; block < count; ++block, from += kBlockBytes) {
    uint32_t words[kBlockWords];
    std::memcpy(words, from, sizeof words);
    auto [a, b, c, d] = state;
    const auto step = [&](size_t i, size_t word, uint32_t mixed) {
      const uint32_t sum = a + (words[word] + kSines[i]) + mixed;
      a = d;
      d = c;
      c = b;
      b += std::rotl(sum, static_cast<int>(kTurns[i / 16][i % 4]));
    };
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) step(i, i, d ^ (b & (c ^ d)));
#pragma GCC unroll 16
    for (size_t i = 16; i < 32; ++i) step(i, (5 * i + 1) % 16, c ^ (d & (b ^ c)));
#pragma GCC unroll 16
    for (size_t i = 32; i < 48; ++i) step(i, (3 * i + 5) % 16, b ^ c ^ d);
#pragma GCC unroll 16
    for (size_t i = 48; i < 64; ++i) step(i, (7 * i) % 16, c ^ (b | ~d));
    state[0] += a;
    state[1] += b;
    state[2] += c;
    state[3] += d;
  }
}

#ifdef __x86_64__
#pragma GCC push_options
#pragma GCC target("avx2")
namespace avx2 {
#include "net/md5_rounds.inc"
}
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl")
namespace avx512 {
#include "net/md5_rounds.inc"
}
#pragma GCC pop_options
#endif

using AddBlocks = void (*)(uint32_t (&)[4][kLanes], const std::byte* const (&)[kLanes], size_t);

// Null: this CPU has nothing that is faster than one content after the other.
AddBlocks lanes_of_this_cpu() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512vl")) return avx512::add_blocks;
  if (__builtin_cpu_supports("avx2")) return avx2::add_blocks;
#endif
  return nullptr;
}

}  // namespace

std::span<const std::byte> Md5Stream::whole_blocks(std::span<const std::byte> bytes) {
  const size_t begun = bytes_ % kBlockBytes;
  bytes_ += bytes.size();
  if (begun != 0) {
    const size_t taken = std::min(bytes.size(), kBlockBytes - begun);
    std::memcpy(begun_.data() + begun, bytes.data(), taken);
    bytes = bytes.subspan(taken);
    if (begun + taken < kBlockBytes) return {};
    add_blocks(state_, begun_.data(), 1);
  }
  const size_t left = bytes.size() % kBlockBytes;
  if (left != 0) std::memcpy(begun_.data(), bytes.data() + bytes.size() - left, left);
  return bytes.first(bytes.size() - left);
}

void Md5Stream::add(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const auto blocks = whole_blocks(bytes);
  add_blocks(state_, blocks.data(), blocks.size() / kBlockBytes);
}

void Md5Stream::add_together(std::span<const Piece> pieces) {
  static const AddBlocks kTogether = lanes_of_this_cpu();
  CHECK(pieces.size() <= kTogetherMax);
  if (kTogether == nullptr || pieces.size() < 2) {
    for (const Piece& piece : pieces) piece.stream->add(piece.bytes);
    return;
  }
  std::array<Piece, kTogetherMax> left{};
  size_t count = 0;
  for (const Piece& piece : pieces) {
    if (piece.bytes.empty()) continue;
    const Piece blocks{piece.stream, piece.stream->whole_blocks(piece.bytes)};
    if (!blocks.bytes.empty()) left[count++] = blocks;
  }
  // As far as the shortest goes, until one is left.
  while (count > 1) {
    const auto end = left.begin() + static_cast<ptrdiff_t>(count);
    const size_t shortest = std::min_element(left.begin(), end, [](const Piece& a, const Piece& b) { return a.bytes.size() < b.bytes.size(); })->bytes.size();
    uint32_t state[4][kLanes] = {};
    const std::byte* from[kLanes];
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const Piece& piece = left[std::min(lane, count - 1)];  // lanes to spare do what the last one does
      from[lane] = piece.bytes.data();
      for (size_t i = 0; i < 4; ++i) state[i][lane] = piece.stream->state_[i];
    }
    kTogether(state, from, shortest / kBlockBytes);
    for (size_t lane = 0; lane < count; ++lane) {
      for (size_t i = 0; i < 4; ++i) left[lane].stream->state_[i] = state[i][lane];
      left[lane].bytes = left[lane].bytes.subspan(shortest);
    }
    count = static_cast<size_t>(std::remove_if(left.begin(), end, [](const Piece& piece) { return piece.bytes.empty(); }) - left.begin());
  }
  if (count == 1) add_blocks(left[0].stream->state_, left[0].bytes.data(), left[0].bytes.size() / kBlockBytes);
}

Md5 Md5Stream::finish() {
  const uint64_t bits = bytes_ * 8;
  std::array<std::byte, kBlockBytes + kLengthBytes> end{std::byte{0x80}};
  const size_t begun = bytes_ % kBlockBytes;
  const size_t padding = (begun < kBlockBytes - kLengthBytes ? kBlockBytes : 2 * kBlockBytes) - kLengthBytes - begun;
  std::memcpy(end.data() + padding, &bits, sizeof bits);
  add(std::span(end).first(padding + kLengthBytes));
  Md5 digest;
  std::memcpy(digest.data(), state_.data(), digest.size());
  return digest;
}

}  // namespace weir::net
