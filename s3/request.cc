#include "s3/request.h"

#include <algorithm>
#include <charconv>

#include "net/encoding.h"

namespace weir::s3 {
namespace {

bool is_hex_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool escapes_are_whole(std::string_view text) {
  for (size_t i = text.find('%'); i != std::string_view::npos; i = text.find('%', i + 3)) {
    if (i + 2 >= text.size() || !is_hex_digit(text[i + 1]) || !is_hex_digit(text[i + 2])) return false;
  }
  return true;
}

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return lower;
}

// Without the port; brackets of IPv6 stay.
std::string_view host_name(std::string_view host) {
  const size_t colon = host.rfind(':');
  if (colon == std::string_view::npos || host.find(']', colon) != std::string_view::npos) return host;
  return host.substr(0, colon);
}

// Empty when the host is none of a bucket.
std::string bucket_of_host(std::string_view host, std::span<const std::string> domains) {
  const std::string name = lower_case(host_name(host));
  for (const std::string& domain : domains) {
    if (name.size() > domain.size() + 1 && name.ends_with(domain) && name[name.size() - domain.size() - 1] == '.')
      return name.substr(0, name.size() - domain.size() - 1);
  }
  return {};
}

}  // namespace

const std::string* Request::parameter(std::string_view name) const {
  const auto found = std::ranges::find(query, name, &net::QueryParameter::name);
  return found == query.end() ? nullptr : &found->value;
}

Reply<void> parse_target(std::string_view target, std::span<const std::string> domains, Request& request) {
  // A proxy's form names the host again.
  if (const size_t scheme = target.find("://"); !target.starts_with('/') && scheme != std::string_view::npos) {
    const size_t path = target.find('/', scheme + 3);
    target = path == std::string_view::npos ? std::string_view("/") : target.substr(path);
  }
  if (!target.starts_with('/')) return refuse(Code::kInvalidUri);
  const size_t mark = target.find('?');
  const std::string_view path = target.substr(0, mark);
  if (!escapes_are_whole(path)) return refuse(Code::kInvalidUri, "The path has a broken percent escape");
  request.raw_path = path;
  request.query.clear();
  if (mark != std::string_view::npos) {
    TRY_ASSIGN(request.query, parse_query(target.substr(mark + 1), kQueryParametersMax));
  }
  request.bucket = bucket_of_host(request.header("host"), domains);
  std::string_view rest = path.substr(1);
  if (request.bucket.empty()) {
    const size_t slash = rest.find('/');
    request.bucket = net::uri_decode(rest.substr(0, slash));
    rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
    if (request.bucket.empty() && !rest.empty())
      return refuse(Code::kInvalidBucketName, "The path has no bucket: it starts with an empty component");
  }
  request.key = net::uri_decode(rest);
  return {};
}

Reply<net::Query> parse_query(std::string_view text, size_t parameters_max) {
  net::Query query;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    if (pair.empty()) continue;
    if (!escapes_are_whole(pair)) return refuse(Code::kInvalidUri, "The query has a broken percent escape");
    if (query.size() == parameters_max)
      return refuse(Code::kInvalidUri, "More than " + std::to_string(parameters_max) + " query parameters");
    const size_t equals = pair.find('=');
    query.push_back({net::form_decode(pair.substr(0, equals)),
                     equals == std::string_view::npos ? std::string() : net::form_decode(pair.substr(equals + 1))});
  }
  return query;
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

Reply<CopySource> parse_copy_source(std::string_view text) {
  const auto malformed = [] {
    return refuse(Refusal(Code::kInvalidArgument, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
                      .with("ArgumentName", "x-amz-copy-source"));
  };
  if (text.starts_with('/')) text.remove_prefix(1);
  constexpr std::string_view kVersion = "?versionId=";
  if (const size_t version = text.find(kVersion); version != std::string_view::npos) {
    if (text.substr(version + kVersion.size()) != "null") return refuse(Code::kNoSuchVersion);
    text = text.substr(0, version);
  }
  if (!escapes_are_whole(text)) return malformed();
  // Some clients encode the slashes, too.
  const std::string decoded = net::uri_decode(text);
  std::string_view path = decoded;
  if (path.starts_with('/')) path.remove_prefix(1);
  const size_t slash = path.find('/');
  if (slash == std::string_view::npos || slash == 0 || slash + 1 == path.size()) return malformed();
  return CopySource{std::string(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

Reply<std::optional<ByteRange>> parse_range(std::string_view text, uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  const auto ignored = [] { return std::optional<ByteRange>(); };
  if (!text.starts_with(kUnit)) return ignored();
  text.remove_prefix(kUnit.size());
  const size_t dash = text.find('-');
  if (dash == std::string_view::npos || text.contains(',')) return ignored();
  const auto first = parse_number(text.substr(0, dash));
  const auto last = parse_number(text.substr(dash + 1));
  const bool suffix = dash == 0;
  const bool open_ended = dash + 1 == text.size();
  if ((!suffix && !first) || (!open_ended && !last) || (suffix && open_ended)) return ignored();
  if (!suffix && !open_ended && *last < *first) return ignored();
  const uint64_t offset = suffix ? size - std::min(size, *last) : *first;
  if (offset >= size || (suffix && *last == 0)) {
    return refuse(Refusal(Code::kInvalidRange)
                      .with("RangeRequested", std::string(kUnit) + std::string(text))
                      .with("ActualObjectSize", std::to_string(size))
                      .with_header("Content-Range", "bytes */" + std::to_string(size)));
  }
  const uint64_t end = suffix || open_ended ? size : std::min(size - 1, *last) + 1;
  return ByteRange{offset, end - offset};
}

}  // namespace weir::s3
