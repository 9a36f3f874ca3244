// s3/checksums.h -- the five checksums of S3: what requests and answers call them.
//
// Threads: functions may be called concurrently.
#pragma once

#include <optional>
#include <string_view>

#include "volume/object_checksum.h"
#include "volume/objects.h"

namespace weir::s3 {

using volume::ChecksumAlgorithm;
using volume::ChecksumHasher;
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

}  // namespace weir::s3
