// s3/checksums.h -- the five checksums of S3: their names, and how they are computed.
//
// Threads: functions may be called concurrently; a ChecksumHasher belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "net/digest.h"
#include "volume/objects.h"

namespace weir::s3 {

using volume::ChecksumAlgorithm;
using volume::ChecksumType;
using volume::ObjectChecksum;

std::string_view name_of(ChecksumAlgorithm algorithm);    // "CRC32"
std::string_view header_of(ChecksumAlgorithm algorithm);  // "x-amz-checksum-crc32"
std::string_view element_of(ChecksumAlgorithm algorithm); // "ChecksumCRC32"
std::string_view name_of(ChecksumType type);              // "COMPOSITE"

// Names in any case.
std::optional<ChecksumAlgorithm> find_algorithm(std::string_view name);
std::optional<ChecksumAlgorithm> find_algorithm_of_header(std::string_view header_name);

// Of a whole that is put in parts, when the client does not say.
ChecksumType default_type(ChecksumAlgorithm algorithm);

// Whether `value` is base64 of as many bytes as the algorithm gives.
bool is_checksum(ChecksumAlgorithm algorithm, std::string_view value);

class ChecksumHasher {
 public:
  explicit ChecksumHasher(ChecksumAlgorithm algorithm);
  void add(std::span<const std::byte> bytes);
  std::string finish();  // as in the header

 private:
  const ChecksumAlgorithm algorithm_;
  std::variant<uint32_t, uint64_t, net::Hasher<net::Sha1>, net::Hasher<net::Sha256>> state_;
};

}  // namespace weir::s3
