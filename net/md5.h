// net/md5.h -- MD5 of several contents at once.
//
// MD5 is one chain of dependent steps: a core waits for most of them. Eight contents side by side, a lane for each, take little more
// time than one of them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "net/digest.h"

namespace weir::net {

// The digest of one content, which comes in pieces.
class Md5Stream {
 public:
  struct Piece {
    Md5Stream* stream;
    std::span<const std::byte> bytes;
  };
  static constexpr size_t kTogetherMax = 8;

  void add(std::span<const std::byte> bytes);
  // Pieces of at most kTogetherMax different streams.
  static void add_together(std::span<const Piece> pieces);
  // Once.
  Md5 finish();

 private:
  using State = std::array<uint32_t, 4>;
  static constexpr size_t kBlockBytes = 64;

  // Takes what completes a block that was begun, and what is left over behind the last whole block: returns the blocks between.
  std::span<const std::byte> whole_blocks(std::span<const std::byte> bytes);

  State state_{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
  uint64_t bytes_ = 0;
  std::array<std::byte, kBlockBytes> begun_{};
};

}  // namespace weir::net
