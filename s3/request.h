// s3/request.h -- one request, taken apart: what it asks of which bucket and key.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/http.h"
#include "s3/refusal.h"

namespace weir::s3 {

inline constexpr size_t kQueryParametersMax = 100;

struct Request {
  net::Method method = net::Method::kGet;
  std::string raw_path;  // as on the request line, without the query
  std::string bucket;    // decoded; empty: the service
  std::string key;       // decoded; empty: the bucket
  net::Query query;      // decoded, in the order given
  net::Headers headers;
  std::string id;        // x-amz-request-id
  std::string client;    // "10.0.0.7:41022"

  // Null when absent; the first of several.
  const std::string* parameter(std::string_view name) const;
  // Empty when absent.
  std::string_view header(std::string_view name) const { return net::header(headers, name); }
};

// Fills path, query, bucket and key from the request line and the Host header. A host below one of `domains` names the bucket.
Reply<void> parse_target(std::string_view target, std::span<const std::string> domains, Request& request);

// As in query strings and in x-amz-tagging: "a=1&b=%20". kInvalidUri: a broken escape, or more than `parameters_max`.
Reply<net::Query> parse_query(std::string_view text, size_t parameters_max);

// A whole number; nothing for anything else.
std::optional<uint64_t> parse_number(std::string_view text);

// "/BUCKET/KEY" or "BUCKET/KEY", encoded, with or without "?versionId=": x-amz-copy-source.
struct CopySource {
  std::string bucket;
  std::string key;
};
Reply<CopySource> parse_copy_source(std::string_view text);

// What a Range header wants of `size` bytes. Nothing for one that is to be ignored: another unit, several ranges, no sense.
// kInvalidRange when none of it is there.
struct ByteRange {
  uint64_t offset = 0;
  uint64_t size = 0;
};
Reply<std::optional<ByteRange>> parse_range(std::string_view text, uint64_t size);

}  // namespace weir::s3
