// net/s3_xml.h -- the XML documents of the S3 API that a client reads and writes.
//
// Source: Amazon S3 API reference. Parsing is lenient about namespaces, order and unknown elements; what is not the
// expected document gives kCorrupt.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace weir::net {

struct S3Error {
  std::string code;  // "NoSuchKey"
  std::string message;
  std::string region;  // where the bucket really is, when the store says so
};

// Nothing when the text is not an <Error> document.
std::optional<S3Error> parse_s3_error(std::string_view xml);

struct S3ListedObject {
  std::string key;
  uint64_t size_bytes = 0;
  std::string etag;  // without quotes
  WallTime last_modified{};
};

struct S3ListPage {
  std::vector<S3ListedObject> objects;
  std::vector<std::string> prefixes;
  std::string next_token;  // empty: the last page
};
Result<S3ListPage> parse_list_objects_v2(std::string_view xml);  // undoes encoding-type=url

struct S3Part {
  uint32_t number = 0;
  std::string etag;
  uint64_t size_bytes = 0;
  std::string crc32c;  // empty: none
};
struct S3PartPage {
  std::vector<S3Part> parts;
  std::string next_marker;  // empty: the last page
};
Result<S3PartPage> parse_list_parts(std::string_view xml);

struct S3Upload {
  std::string key;
  std::string upload_id;
  WallTime started{};
};
struct S3UploadPage {
  std::vector<S3Upload> uploads;
  bool truncated = false;
  std::string next_key_marker;
  std::string next_upload_id_marker;
};
Result<S3UploadPage> parse_list_uploads(std::string_view xml);

Result<std::string> parse_upload_id(std::string_view xml);  // InitiateMultipartUploadResult

// CompleteMultipartUploadResult, CopyObjectResult, CopyPartResult.
struct S3Written {
  std::string etag;
  std::string crc32c;  // empty: none
};
Result<S3Written> parse_written(std::string_view xml);

struct S3DeleteError {
  std::string key;
  S3Error error;
};
Result<std::vector<S3DeleteError>> parse_delete_result(std::string_view xml);  // those that failed

std::string complete_multipart_xml(const std::vector<S3Part>& parts);
// Every key satisfies xml_can_carry(); the answer is to name failures only.
std::string delete_xml(const std::vector<std::string>& keys);

// Whether XML 1.0 gives `text` back unchanged: UTF-8 without control characters.
bool xml_can_carry(std::string_view text);

std::string_view without_quotes(std::string_view etag);

}  // namespace weir::net
