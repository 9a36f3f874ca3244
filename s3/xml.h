// s3/xml.h -- the XML documents of the S3 API, as the server writes and reads them.
//
// Source: Amazon S3 API reference. Reading is lenient about namespaces, order and unknown elements; what is not the expected
// document is kMalformedXml.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "s3/refusal.h"
#include "volume/objects.h"

namespace weir::s3 {

// Appends elements to a document; names are literals, contents are escaped. A character that XML cannot carry is written as a
// character reference, as S3 does; a byte that is no UTF-8 becomes U+FFFD: clients that need more ask for encoding-type=url.
class XmlWriter {
 public:
  explicit XmlWriter(std::string_view root, std::string_view attributes = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"");

  void open(std::string_view name);
  void close(std::string_view name);
  void text(std::string_view name, std::string_view value);
  void number(std::string_view name, std::integral auto value) { raw(name, std::to_string(value)); }
  void boolean(std::string_view name, bool value) { raw(name, value ? "true" : "false"); }
  void time(std::string_view name, int64_t unix_ns);
  void etag(std::string_view name, std::string_view etag);  // with quotes
  std::string take() &&;

 private:
  void raw(std::string_view name, std::string_view value);

  const std::string root_;
  std::string text_;
};

inline constexpr std::string_view kXmlDeclaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

std::string error_xml(const Refusal& refusal, std::string_view resource, std::string_view request_id);

struct DeleteRequest {
  struct Entry {
    std::string key;
    std::string version_id;  // empty: none
    std::string etag;        // without quotes; empty: whatever is there
  };
  std::vector<Entry> entries;
  bool quiet = false;
};
Reply<DeleteRequest> parse_delete(std::string_view xml);

// With the parts' checksums of this kind alone: others are not kept.
Reply<std::vector<volume::CompletedPart>> parse_complete(std::string_view xml, std::optional<volume::ChecksumAlgorithm> algorithm);
// kInvalidTag as well.
Reply<volume::ObjectTags> parse_tagging(std::string_view xml);
std::string tagging_xml(const volume::ObjectTags& tags);
// The LocationConstraint, or nothing. An empty body is fine.
Reply<std::string> parse_create_bucket(std::string_view xml);

// kInvalidTag: too many, too long.
Reply<void> check_tags(const volume::ObjectTags& tags);

}  // namespace weir::s3
