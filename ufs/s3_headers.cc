#include "ufs/s3_headers.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <utility>

#include "net/encoding.h"
#include "net/s3_xml.h"

namespace weir::ufs::s3 {
namespace {

constexpr std::string_view kMetadataHeader = "x-amz-meta-";

}  // namespace

std::optional<uint64_t> number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (code != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::string in_quotes(std::string_view etag) { return '"' + std::string(etag) + '"'; }

void add_conditions(net::Headers& headers, const Conditions& conditions) {
  if (conditions.if_match) headers.push_back({"if-match", in_quotes(*conditions.if_match)});
  if (conditions.if_none_match) headers.push_back({"if-none-match", "*"});
}

void add_attributes(net::Headers& headers, const ObjectAttributes& attributes) {
  headers.push_back({"content-type",
                     attributes.content_type.empty() ? "application/octet-stream" : attributes.content_type});
  for (const auto& [name, header] : kObjectHeaders) {
    if (!(attributes.*header).empty()) headers.push_back({std::string(name), attributes.*header});
  }
  for (const auto& [name, value] : attributes.user) {
    headers.push_back({std::string(kMetadataHeader) + name, value});
  }
}

ObjectAttributes attributes_of(const net::Headers& headers) {
  ObjectAttributes attributes;
  attributes.content_type = net::header(headers, "content-type");
  for (const auto& [name, header] : kObjectHeaders) attributes.*header = net::header(headers, name);
  for (const net::Header& header : headers) {
    if (header.name.size() <= kMetadataHeader.size() ||
        !net::same_name(std::string_view(header.name).substr(0, kMetadataHeader.size()), kMetadataHeader)) {
      continue;
    }
    std::string name = header.name.substr(kMetadataHeader.size());
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    attributes.user.emplace(std::move(name), header.value);
  }
  return attributes;
}

ObjectInfo info_of(std::string_view key, const net::Headers& headers, uint64_t size_bytes) {
  return {std::string(key), size_bytes, std::string(net::without_quotes(net::header(headers, "etag"))),
          net::parse_http_date(net::header(headers, "last-modified")).value_or(WallTime{})};
}

bool is_md5(std::string_view etag) {
  return etag.size() == 32 && etag.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

bool hides_md5(const net::Headers& headers) {
  return net::header(headers, "x-amz-server-side-encryption").starts_with("aws:kms") ||
         !net::header(headers, "x-amz-server-side-encryption-customer-algorithm").empty();
}

std::optional<std::string> whole_checksum(const net::Headers& headers) {
  const std::string* checksum = net::find_header(headers, kChecksumHeader);
  if (checksum == nullptr || checksum->contains('-')) return std::nullopt;
  if (const auto type = net::header(headers, "x-amz-checksum-type"); !type.empty() && type != "FULL_OBJECT") {
    return std::nullopt;
  }
  return *checksum;
}

std::optional<ContentRange> content_range(const net::Headers& headers) {
  constexpr std::string_view kUnit = "bytes ";
  const std::string_view text = net::header(headers, "content-range");
  const size_t dash = text.find('-');
  const size_t slash = text.find('/');
  if (!text.starts_with(kUnit) || dash == std::string_view::npos || slash == std::string_view::npos || dash > slash)
    return std::nullopt;
  const auto offset = number(text.substr(kUnit.size(), dash - kUnit.size()));
  const auto total = number(text.substr(slash + 1));
  if (!offset || !total) return std::nullopt;
  return ContentRange{*offset, *total};
}

}  // namespace weir::ufs::s3
