#include "net/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/check.h"

namespace weir::net {
namespace {

template <typename Digest>
constexpr const char* kName = nullptr;
template <>
constexpr const char* kName<Sha256> = "SHA256";
template <>
constexpr const char* kName<Sha1> = "SHA1";
template <>
constexpr const char* kName<Md5> = "MD5";

template <typename Digest>
const EVP_MD* algorithm() {
  // Fetched once: the implicit fetch behind EVP_sha256() takes a lock in every call.
  static const EVP_MD* const kAlgorithm = EVP_MD_fetch(nullptr, kName<Digest>, nullptr);
  CHECK(kAlgorithm != nullptr);
  return kAlgorithm;
}

template <typename Digest>
Digest digest(std::span<const std::byte> bytes) {
  Digest out;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(out.data()), nullptr,
                   algorithm<Digest>(), nullptr) == 1);
  return out;
}

}  // namespace

Sha256 sha256(std::span<const std::byte> bytes) { return digest<Sha256>(bytes); }
Sha1 sha1(std::span<const std::byte> bytes) { return digest<Sha1>(bytes); }
Md5 md5(std::span<const std::byte> bytes) { return digest<Md5>(bytes); }

Sha256 hmac_sha256(std::span<const std::byte> key, std::string_view message) {
  Sha256 out;
  unsigned size = out.size();
  CHECK(HMAC(algorithm<Sha256>(), key.data(), static_cast<int>(key.size()),
             reinterpret_cast<const unsigned char*>(message.data()), message.size(),
             reinterpret_cast<unsigned char*>(out.data()), &size) != nullptr);
  return out;
}

bool same_secret(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void fill_with_secret(std::span<std::byte> bytes) {
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(bytes.size())) == 1);
}

template <typename Digest>
struct Hasher<Digest>::Context {
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> evp{EVP_MD_CTX_new()};

  void start() { CHECK(EVP_DigestInit_ex(evp.get(), algorithm<Digest>(), nullptr) == 1); }
};

template <typename Digest>
Hasher<Digest>::Hasher() : context_(std::make_unique<Context>()) {
  context_->start();
}
template <typename Digest>
Hasher<Digest>::~Hasher() = default;
template <typename Digest>
Hasher<Digest>::Hasher(Hasher&&) noexcept = default;
template <typename Digest>
Hasher<Digest>& Hasher<Digest>::operator=(Hasher&&) noexcept = default;

template <typename Digest>
void Hasher<Digest>::add(std::span<const std::byte> bytes) {
  CHECK(EVP_DigestUpdate(context_->evp.get(), bytes.data(), bytes.size()) == 1);
}

template <typename Digest>
Digest Hasher<Digest>::finish() {
  Digest out;
  CHECK(EVP_DigestFinal_ex(context_->evp.get(), reinterpret_cast<unsigned char*>(out.data()), nullptr) == 1);
  context_->start();
  return out;
}

template class Hasher<Sha256>;
template class Hasher<Sha1>;
template class Hasher<Md5>;

}  // namespace weir::net
