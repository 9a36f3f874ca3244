// net/digest.h -- SHA-256, SHA-1 and MD5 (for S3 checksums and entity tags, not for secrets), HMAC-SHA-256: OpenSSL's EVP.
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
using Sha1 = std::array<std::byte, 20>;
using Md5 = std::array<std::byte, 16>;

Sha256 sha256(std::span<const std::byte> bytes);
Sha1 sha1(std::span<const std::byte> bytes);
Md5 md5(std::span<const std::byte> bytes);
Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view message);

// In a time that tells nothing of where they differ.
bool same_secret(std::string_view a, std::string_view b);
// From the operating system's generator for secrets.
void fill_with_secret(std::span<std::byte> bytes);

// For bytes that come in pieces: Hasher<Sha256>, Hasher<Sha1> or Hasher<Md5>.
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
extern template class Hasher<Sha1>;
extern template class Hasher<Md5>;

}  // namespace weir::net
