// ListObjects, ListObjectsV2, ListObjectVersions.
#include "net/encoding.h"
#include "s3/operations.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

constexpr uint32_t kEntriesMax = 1'000;

std::string_view value_of(const Request& request, std::string_view name) {
  const std::string* value = request.parameter(name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

// What the three kinds of listing share.
struct Query {
  volume::ListObjects list;
  bool url_encoded = false;

  // A text that came from the client or is a key, as the answer carries it.
  std::string text(std::string_view value) const { return url_encoded ? net::uri_encode_path(value) : std::string(value); }
};

Reply<Query> parse_listing(const Call& call) {
  Query query;
  query.list.bucket = call.request.bucket;
  query.list.prefix = value_of(call.request, "prefix");
  query.list.delimiter = value_of(call.request, "delimiter");
  TRY_ASSIGN(query.list.entries_max, number_parameter(call.request, "max-keys", kEntriesMax, kEntriesMax));
  if (const std::string* encoding = call.request.parameter("encoding-type"); encoding != nullptr && !encoding->empty()) {
    if (!net::same_name(*encoding, "url"))
      return refuse(Refusal(Code::kInvalidArgument, "Invalid Encoding Method specified in Request").with("ArgumentName", "encoding-type"));
    query.url_encoded = true;
  }
  TRY(check_list(call, query.list.prefix));
  return query;
}

void write_head(XmlWriter& xml, const Query& query, std::string_view bucket) {
  xml.text("Name", bucket);
  xml.text("Prefix", query.text(query.list.prefix));
  if (!query.list.delimiter.empty()) xml.text("Delimiter", query.text(query.list.delimiter));
  xml.number("MaxKeys", query.list.entries_max);
  if (query.url_encoded) xml.text("EncodingType", "url");
}

void write_owner(XmlWriter& xml) {
  xml.open("Owner");
  xml.text("ID", "weir");
  xml.text("DisplayName", "weir");
  xml.close("Owner");
}

enum class WithOwner : uint8_t { kNo, kYes };

void write_entry(XmlWriter& xml, const Query& query, const volume::ObjectListing::Entry& entry, WithOwner with_owner) {
  xml.text("Key", query.text(entry.key));
  xml.time("LastModified", entry.modified_ns);
  xml.etag("ETag", entry.etag);
  if (entry.checksum_algorithm) {
    xml.text("ChecksumAlgorithm", name_of(*entry.checksum_algorithm));
    xml.text("ChecksumType", name_of(entry.checksum_type));
  }
  xml.number("Size", entry.size);
  if (with_owner == WithOwner::kYes) write_owner(xml);
  xml.text("StorageClass", entry.storage_class.empty() ? "STANDARD" : entry.storage_class);
}

void write_prefixes(XmlWriter& xml, const Query& query, const volume::ObjectListing& listing) {
  for (const std::string& prefix : listing.common_prefixes) {
    xml.open("CommonPrefixes");
    xml.text("Prefix", query.text(prefix));
    xml.close("CommonPrefixes");
  }
}

void write_contents(XmlWriter& xml, const Query& query, const volume::ObjectListing& listing, WithOwner with_owner) {
  for (const auto& entry : listing.objects) {
    xml.open("Contents");
    write_entry(xml, query, entry, with_owner);
    xml.close("Contents");
  }
  write_prefixes(xml, query, listing);
}

// A continuation token is where the next page begins, in a form that any client carries along unchanged.
std::string token_of(std::string_view after) { return "1." + net::hex(net::bytes_of(after)); }
Reply<std::string> parse_token(std::string_view token) {
  auto after = token.starts_with("1.") ? net::unhex(token.substr(2)) : std::nullopt;
  if (!after) {
    return refuse(Refusal(Code::kInvalidArgument, "The continuation token provided is incorrect").with("ArgumentName", "continuation-token"));
  }
  return *std::move(after);
}

}  // namespace

Reply<Answer> list_objects(Call& call) {
  TRY_ASSIGN(Query query, parse_listing(call));
  query.list.after = value_of(call.request, "marker");
  TRY_ASSIGN(const auto listing, call.objects.list(query.list));
  XmlWriter xml("ListBucketResult");
  write_head(xml, query, call.request.bucket);
  xml.text("Marker", query.text(query.list.after));
  if (listing.more) xml.text("NextMarker", query.text(listing.next));
  xml.boolean("IsTruncated", listing.more);
  write_contents(xml, query, listing, WithOwner::kYes);
  return xml_answer(std::move(xml).take());
}

Reply<Answer> list_objects_v2(Call& call) {
  if (value_of(call.request, "list-type") != "2")
    return refuse(Refusal(Code::kInvalidArgument, "list-type must be 2").with("ArgumentName", "list-type"));
  TRY_ASSIGN(Query query, parse_listing(call));
  const std::string_view start_after = value_of(call.request, "start-after");
  const std::string* token = call.request.parameter("continuation-token");
  query.list.after = start_after;
  if (token != nullptr) {
    TRY_ASSIGN(query.list.after, parse_token(*token));
  }
  TRY_ASSIGN(const auto listing, call.objects.list(query.list));
  XmlWriter xml("ListBucketResult");
  write_head(xml, query, call.request.bucket);
  if (!start_after.empty()) xml.text("StartAfter", query.text(start_after));
  if (token != nullptr) xml.text("ContinuationToken", *token);
  if (listing.more) xml.text("NextContinuationToken", token_of(listing.next));
  xml.number("KeyCount", listing.objects.size() + listing.common_prefixes.size());
  xml.boolean("IsTruncated", listing.more);
  write_contents(xml, query, listing, value_of(call.request, "fetch-owner") == "true" ? WithOwner::kYes : WithOwner::kNo);
  return xml_answer(std::move(xml).take());
}

Reply<Answer> list_object_versions(Call& call) {
  TRY_ASSIGN(Query query, parse_listing(call));
  const std::string_view key_marker = value_of(call.request, "key-marker");
  const std::string_view version_marker = value_of(call.request, "version-id-marker");
  if (!version_marker.empty() && key_marker.empty()) {
    return refuse(Refusal(Code::kInvalidArgument, "A version-id marker cannot be specified without a key marker.")
                      .with("ArgumentName", "version-id-marker"));
  }
  query.list.after = key_marker;
  TRY_ASSIGN(const auto listing, call.objects.list(query.list));
  XmlWriter xml("ListVersionsResult");
  write_head(xml, query, call.request.bucket);
  xml.text("KeyMarker", query.text(key_marker));
  xml.text("VersionIdMarker", version_marker);
  if (listing.more) {
    xml.text("NextKeyMarker", query.text(listing.next));
    xml.text("NextVersionIdMarker", "null");
  }
  xml.boolean("IsTruncated", listing.more);
  for (const auto& entry : listing.objects) {
    xml.open("Version");
    xml.text("VersionId", "null");
    xml.boolean("IsLatest", true);
    write_entry(xml, query, entry, WithOwner::kYes);
    xml.close("Version");
  }
  write_prefixes(xml, query, listing);
  return xml_answer(std::move(xml).take());
}

}  // namespace weir::s3
