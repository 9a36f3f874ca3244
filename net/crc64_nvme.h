// net/crc64_nvme.h -- the two ways to compute CRC64NVME: what net/checksum.h chooses from, and what its test compares.
//
// `crc` as in net/checksum.h. Threads: functions may be called concurrently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace weir::net {

// Reflected: the highest bit is the coefficient of x^0.
inline constexpr uint64_t kCrc64NvmePolynomial = 0x9a6c9329ac4bc9b5;

// Tables, eight bytes at a time: everywhere.
uint64_t crc64_nvme_by_tables(std::span<const std::byte> bytes, uint64_t crc);

// Carry-less multiplication, 128 bytes at a time. Requires: crc64_nvme_folds().
uint64_t crc64_nvme_by_folding(std::span<const std::byte> bytes, uint64_t crc);
// Whether this processor multiplies so.
bool crc64_nvme_folds();

}  // namespace weir::net
