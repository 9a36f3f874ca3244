// net/checksum.h -- the CRCs of S3: CRC32 (RFC 1952), CRC32C (Castagnoli, RFC 3720) and CRC64NVME (NVM Express, "Rocksoft").
//
// `crc` is the value of the bytes before, so crc(b, crc(a)) == crc(a b); zero to start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace weir::net {

uint32_t crc32(std::span<const std::byte> bytes, uint32_t crc = 0);
uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);
uint64_t crc64_nvme(std::span<const std::byte> bytes, uint64_t crc = 0);

// crc(a b) of crc(a), crc(b) and the size of b.
uint32_t crc32_combine(uint32_t a, uint32_t b, uint64_t b_bytes);
uint32_t crc32c_combine(uint32_t a, uint32_t b, uint64_t b_bytes);
uint64_t crc64_nvme_combine(uint64_t a, uint64_t b, uint64_t b_bytes);

// As the x-amz-checksum-* headers carry them: base64 of the big-endian bytes.
std::string checksum_text(uint32_t crc);
std::string checksum_text(uint64_t crc);
// Nothing when the text is no such checksum.
std::optional<uint32_t> parse_checksum32(std::string_view text);
std::optional<uint64_t> parse_checksum64(std::string_view text);

}  // namespace weir::net
