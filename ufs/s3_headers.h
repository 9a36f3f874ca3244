// ufs/s3_headers.h -- what the headers of S3 say: conditions, attributes and checksums of objects.
//
// Source: the S3 API reference (PutObject, GetObject, HeadObject), RFC 9110.
// Threads: pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "net/http.h"
#include "ufs/under_store.h"

namespace weir::ufs::s3 {

inline constexpr const char* kChecksumHeader = "x-amz-checksum-crc32c";
inline constexpr Duration kSilentWork = std::chrono::minutes(10);  // copies and completions may answer late

std::optional<uint64_t> number(std::string_view text);  // decimal, nothing else
std::string in_quotes(std::string_view etag);

void add_conditions(net::Headers& headers, const Conditions& conditions);
void add_attributes(net::Headers& headers, const ObjectAttributes& attributes);

ObjectAttributes attributes_of(const net::Headers& headers);
ObjectInfo info_of(std::string_view key, const net::Headers& headers, uint64_t size_bytes);

bool is_md5(std::string_view etag);
// With these the etag of a single PUT is not the MD5 of its bytes.
bool hides_md5(const net::Headers& headers);
// The CRC32C of the whole object; multipart uploads have one of their parts' checksums, "xxx=-2".
std::optional<std::string> whole_checksum(const net::Headers& headers);

// Which bytes of an object of how many a 206 brings: "bytes 0-9/100".
struct ContentRange {
  uint64_t offset = 0;
  uint64_t total = 0;
};
std::optional<ContentRange> content_range(const net::Headers& headers);

}  // namespace weir::ufs::s3
