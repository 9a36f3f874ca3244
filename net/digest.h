// net/digest.h -- SHA-256, MD5 (for S3 entity tags, not for secrets) and HMAC-SHA-256, through OpenSSL's EVP.
//
// Threads: functions may be called concurrently; a Hasher belongs to one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

namespace weir::net {

using Sha256 = std::array<std::byte, 32>;
using Md5 = std::array<std::byte, 16>;

Sha256 sha256(std::span<const std::byte> bytes);
Md5 md5(std::span<const std::byte> bytes);
Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view message);

// For bytes that come in pieces: Hasher<Sha256> or Hasher<Md5>.
template <typename Digest>
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;

  void add(std::span<const std::byte> bytes);
  // Ends the message; the hasher then starts a new one.
  Digest finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

extern template class Hasher<Sha256>;
extern template class Hasher<Md5>;

}  // namespace weir::net
