// net/checksum.h -- the CRCs of S3: CRC32C (Castagnoli, RFC 3720) and CRC64NVME (NVM Express, "Rocksoft").
//
// `crc` is the value of the bytes before, so crc(b, crc(a)) == crc(a b); zero to start.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace weir::net {

uint32_t crc32c(std::span<const std::byte> bytes, uint32_t crc = 0);
uint64_t crc64_nvme(std::span<const std::byte> bytes, uint64_t crc = 0);

// As the x-amz-checksum-* headers carry them: base64 of the big-endian bytes.
std::string checksum_text(uint32_t crc);
std::string checksum_text(uint64_t crc);

}  // namespace weir::net
