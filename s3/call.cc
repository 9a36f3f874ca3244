#include "s3/call.h"

#include <algorithm>
#include <array>

#include "net/encoding.h"
#include "net/s3_xml.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kUserPrefix = "x-amz-meta-";

constexpr std::array<std::string_view, 11> kStorageClasses = {
    "STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER",
    "DEEP_ARCHIVE", "OUTPOSTS", "GLACIER_IR", "SNOW", "EXPRESS_ONEZONE"};

constexpr std::array<std::string_view, 7> kCannedAcls = {
    "private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read",
    "bucket-owner-full-control"};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return lower;
}

bool begins_with(std::string_view name, std::string_view prefix) {
  return name.size() >= prefix.size() && net::same_name(name.substr(0, prefix.size()), prefix);
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

// Without "aws-chunked", which is about the wire.
std::string content_encoding(std::string_view text) {
  std::string kept;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view item = trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (item.empty() || net::same_name(item, "aws-chunked")) continue;
    if (!kept.empty()) kept += ',';
    kept += item;
  }
  return kept;
}

// Entity tags are in quotes, except from clients that leave them out.
std::vector<std::string> etags(std::string_view text) {
  std::vector<std::string> tags;
  while (!text.empty()) {
    const size_t comma = text.find(',');
    const std::string_view item = trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (!item.empty()) tags.emplace_back(net::without_quotes(item));
  }
  return tags;
}

std::optional<int64_t> seconds_of(std::string_view date) {
  const auto time = net::parse_http_date(date);
  if (!time) return std::nullopt;
  return std::chrono::floor<std::chrono::seconds>(*time).time_since_epoch().count();
}

}  // namespace

Reply<void> check_access(const Call& call, Access access, std::string_view bucket, std::string_view key) {
  if (call.identity.key == nullptr || allows(call.identity.key->scope, access, bucket, key)) return {};
  return refuse(Code::kAccessDenied, "Access Denied: the access key may not do this here");
}

Reply<void> check_list(const Call& call, std::string_view prefix) {
  if (call.identity.key == nullptr || allows_list(call.identity.key->scope, call.request.bucket, prefix)) return {};
  return refuse(Code::kAccessDenied, "Access Denied: the access key may not list this bucket, or only below its prefix");
}

Reply<void> check_bucket_seen(const Call& call) {
  if (call.identity.key == nullptr) return {};
  const std::string& bucket = call.identity.key->scope.bucket;
  if (bucket.empty() || bucket == call.request.bucket) return {};
  return refuse(Code::kAccessDenied, "Access Denied: the access key may not use this bucket");
}

Reply<volume::ObjectHeaders> object_headers(const Request& request) {
  volume::ObjectHeaders headers;
  headers.content_type = request.header("content-type");
  headers.content_encoding = content_encoding(request.header("content-encoding"));
  headers.content_disposition = request.header("content-disposition");
  headers.content_language = request.header("content-language");
  headers.cache_control = request.header("cache-control");
  headers.expires = request.header("expires");
  headers.website_redirect = request.header("x-amz-website-redirect-location");
  headers.storage_class = request.header("x-amz-storage-class");
  if (!headers.storage_class.empty() && std::ranges::find(kStorageClasses, headers.storage_class) == kStorageClasses.end())
    return refuse(Code::kInvalidStorageClass);
  if (headers.storage_class == "STANDARD") headers.storage_class.clear();
  size_t bytes = 0;
  for (const net::Header& header : request.headers) {
    if (!begins_with(header.name, kUserPrefix)) continue;
    const std::string name = lower_case(std::string_view(header.name).substr(kUserPrefix.size()));
    if (name.empty()) return refuse(Code::kInvalidArgument, "A header x-amz-meta- has no name");
    std::string& value = headers.user[name];
    value += (value.empty() ? "" : ",") + header.value;
    bytes += name.size() + header.value.size();
  }
  if (bytes > volume::kObjectMetadataBytesMax) {
    return refuse(Refusal(Code::kMetadataTooLarge)
                      .with("Size", std::to_string(bytes))
                      .with("MaxSizeAllowed", std::to_string(volume::kObjectMetadataBytesMax)));
  }
  return headers;
}

Reply<volume::ObjectTags> header_tags(const Request& request) {
  volume::ObjectTags tags;
  TRY_ASSIGN(const net::Query pairs, parse_query(request.header("x-amz-tagging"), volume::kObjectTagsMax + 1));
  for (const auto& [name, value] : pairs) {
    if (!tags.emplace(name, value).second) return refuse(Code::kInvalidArgument, "x-amz-tagging names a tag twice");
  }
  TRY(check_tags(tags));
  return tags;
}

volume::ObjectConditions read_conditions(const Request& request, std::string_view prefix) {
  const auto value = [&](std::string_view name) { return request.header(std::string(prefix) + std::string(name)); };
  return {.if_match = etags(value("if-match")),
          .if_none_match = etags(value("if-none-match")),
          .if_modified_since_s = seconds_of(value("if-modified-since")),
          .if_unmodified_since_s = seconds_of(value("if-unmodified-since"))};
}

Reply<volume::ObjectConditions> write_conditions(const Request& request) {
  volume::ObjectConditions conditions{.if_match = etags(request.header("if-match")),
                                      .if_none_match = etags(request.header("if-none-match"))};
  if (!conditions.if_none_match.empty() && conditions.if_none_match != std::vector<std::string>{"*"})
    return refuse(Refusal(Code::kNotImplemented, "If-None-Match of a write takes * only").with("Header", "If-None-Match"));
  if (!conditions.if_none_match.empty() && !conditions.if_match.empty())
    return refuse(Code::kInvalidRequest, "If-Match and If-None-Match exclude each other");
  return conditions;
}

Reply<volume::ObjectDurability> durability(const Call& call) {
  const std::string_view wanted = call.header("x-weir-durability");
  if (wanted.empty()) return call.options.put_durability;
  if (wanted == "write") return volume::ObjectDurability::kWrite;
  if (wanted == "sync") return volume::ObjectDurability::kSync;
  if (wanted == "persist") return volume::ObjectDurability::kPersist;
  return refuse(Code::kInvalidArgument, "x-weir-durability must be write, sync or persist");
}

Reply<void> refuse_unsupported(const Request& request) {
  for (const net::Header& header : request.headers) {
    const auto absent = [&] {
      return refuse(Refusal(Code::kNotImplemented, "The header " + header.name + " is not supported").with("Header", header.name));
    };
    if (!begins_with(header.name, "x-amz-")) continue;
    if (begins_with(header.name, "x-amz-grant-") || begins_with(header.name, "x-amz-server-side-encryption-") ||
        begins_with(header.name, "x-amz-copy-source-server-side-encryption-") ||
        net::same_name(header.name, "x-amz-write-offset-bytes"))
      return absent();
    if (begins_with(header.name, "x-amz-object-lock-"))
      return refuse(Code::kInvalidRequest, "Bucket is missing Object Lock Configuration");
    if (net::same_name(header.name, "x-amz-server-side-encryption") && header.value != "AES256")
      return refuse(Refusal(Code::kNotImplemented, "x-amz-server-side-encryption: only AES256 is accepted").with("Header", header.name));
    if (net::same_name(header.name, "x-amz-acl") && std::ranges::find(kCannedAcls, header.value) == kCannedAcls.end())
      return refuse(Refusal(Code::kInvalidArgument, "x-amz-acl is no canned ACL").with("ArgumentName", "x-amz-acl"));
  }
  return {};
}

Reply<uint32_t> part_number(const Request& request) {
  const std::string* text = request.parameter("partNumber");
  const auto number = text == nullptr ? std::nullopt : parse_number(*text);
  if (!number || *number == 0 || *number > volume::kObjectPartsMax) {
    return refuse(Refusal(Code::kInvalidArgument, "Part number must be an integer between 1 and 10000, inclusive")
                      .with("ArgumentName", "partNumber")
                      .with("ArgumentValue", text == nullptr ? "" : *text));
  }
  return static_cast<uint32_t>(*number);
}

Reply<void> check_version(const Request& request) {
  const std::string* version = request.parameter("versionId");
  if (version == nullptr || version->empty() || *version == "null") return {};
  return refuse(Refusal(Code::kNoSuchVersion).with("VersionId", *version));
}

Reply<uint32_t> number_parameter(const Request& request, std::string_view name, uint32_t otherwise, uint32_t max) {
  const std::string* text = request.parameter(name);
  if (text == nullptr || text->empty()) return otherwise;
  const auto number = parse_number(*text);
  if (!number || *number > INT32_MAX) {
    return refuse(Refusal(Code::kInvalidArgument, "Argument " + std::string(name) + " must be an integer between 0 and 2147483647")
                      .with("ArgumentName", std::string(name))
                      .with("ArgumentValue", *text));
  }
  return std::min(static_cast<uint32_t>(*number), max);
}

std::string in_quotes(std::string_view etag) { return '"' + std::string(etag) + '"'; }

Answer xml_answer(std::string body) {
  return {.headers = {{"Content-Type", "application/xml"}}, .body = std::move(body)};
}

Answer empty_answer(int status) { return {.status = status}; }

void add_checksum(net::Headers& headers, const std::optional<ObjectChecksum>& checksum) {
  if (!checksum) return;
  headers.push_back({std::string(header_of(checksum->algorithm)), checksum->value});
  headers.push_back({"x-amz-checksum-type", std::string(name_of(checksum->type))});
}

void add_state(net::Headers& headers, meta::FileState state) {
  headers.push_back({"x-weir-state", std::string(meta::name_of(state))});
}

void add_encryption(const Request& request, net::Headers& headers) {
  if (const std::string_view value = request.header("x-amz-server-side-encryption"); !value.empty())
    headers.push_back({"x-amz-server-side-encryption", std::string(value)});
}

}  // namespace weir::s3
