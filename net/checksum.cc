#include "net/checksum.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>

#include "net/crc64_nvme.h"
#include "net/encoding.h"

namespace weir::net {
namespace {

constexpr uint32_t kIeeePolynomialReflected = 0xedb88320;
constexpr uint32_t kCastagnoliPolynomialReflected = 0x82f63b78;

template <typename Crc>
std::string big_endian_base64(Crc crc) {
  std::array<std::byte, sizeof(Crc)> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(crc >> 8 * (bytes.size() - 1 - i));
  return base64(bytes);
}

template <typename Crc>
std::optional<Crc> parse_big_endian_base64(std::string_view text) {
  const auto bytes = unbase64(text);
  if (!bytes || bytes->size() != sizeof(Crc)) return std::nullopt;
  Crc crc = 0;
  for (const char c : *bytes) crc = crc << 8 | static_cast<unsigned char>(c);
  return crc;
}

// Polynomials over GF(2) modulo the CRC's, reflected: the highest bit is the coefficient of x^0.
template <typename Crc>
constexpr Crc kOne = Crc{1} << (sizeof(Crc) * 8 - 1);

// Requires: a != 0.
template <typename Crc>
Crc multiply(Crc a, Crc b, Crc polynomial) {
  Crc product = 0;
  for (Crc bit = kOne<Crc>;; bit >>= 1) {
    if ((a & bit) != 0) {
      product ^= b;
      if ((a & (bit - 1)) == 0) return product;
    }
    b = (b & 1) != 0 ? b >> 1 ^ polynomial : b >> 1;
  }
}

// Bytes that follow multiply the CRC by x^8 each.
template <typename Crc>
Crc combine(Crc a, Crc b, uint64_t b_bytes, Crc polynomial) {
  Crc power = kOne<Crc>;
  Crc square = kOne<Crc> >> 8;
  for (; b_bytes != 0; b_bytes >>= 1) {
    if ((b_bytes & 1) != 0) power = multiply(power, square, polynomial);
    square = multiply(square, square, polynomial);
  }
  return multiply(power, a, polynomial) ^ b;
}

}  // namespace

uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc) {
  return crc32_gzip_refl(crc, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
}

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc) {
  constexpr size_t kPieceBytesMax = 1u << 30;  // ISA-L takes an int
  crc = ~crc;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kPieceBytesMax));
    auto* data = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(piece.data()));  // only read
    crc = crc32_iscsi(data, static_cast<int>(piece.size()), crc);
    bytes = bytes.subspan(piece.size());
  }
  return ~crc;
}

uint64_t crc64_nvme(std::span<const std::byte> bytes, uint64_t crc) {
  return crc64_nvme_folds() ? crc64_nvme_by_folding(bytes, crc) : crc64_nvme_by_tables(bytes, crc);
}

uint32_t crc32_combine(uint32_t a, uint32_t b, uint64_t b_bytes) {
  return combine(a, b, b_bytes, kIeeePolynomialReflected);
}
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_bytes) {
  return combine(a, b, b_bytes, kCastagnoliPolynomialReflected);
}
uint64_t crc64_nvme_combine(uint64_t a, uint64_t b, uint64_t b_bytes) {
  return combine(a, b, b_bytes, kCrc64NvmePolynomial);
}

std::string checksum_text(uint32_t crc) { return big_endian_base64(crc); }
std::string checksum_text(uint64_t crc) { return big_endian_base64(crc); }
std::optional<uint32_t> parse_checksum32(std::string_view text) { return parse_big_endian_base64<uint32_t>(text); }
std::optional<uint64_t> parse_checksum64(std::string_view text) { return parse_big_endian_base64<uint64_t>(text); }

}  // namespace weir::net
