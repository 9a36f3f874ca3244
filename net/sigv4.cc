#include "net/sigv4.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "net/encoding.h"

namespace weir::net {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  }
  return out;
}

// Trims, and folds runs of spaces to one.
std::string canonical_value(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool space = c == ' ' || c == '\t';
    if (!space) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (!out.empty() && out.back() == ' ') out.pop_back();
  return out;
}

Headers canonical_headers(const Headers& headers) {
  Headers canonical;
  for (const Header& h : headers) canonical.push_back({lower_case(h.name), canonical_value(h.value)});
  std::ranges::stable_sort(canonical, {}, &Header::name);
  Headers merged;
  for (Header& h : canonical) {
    if (!merged.empty() && merged.back().name == h.name) {
      merged.back().value += ',' + h.value;
    } else {
      merged.push_back(std::move(h));
    }
  }
  return merged;
}

std::string names_of(const Headers& canonical) {
  std::string names;
  for (const Header& h : canonical) {
    if (!names.empty()) names += ';';
    names += h.name;
  }
  return names;
}

std::string canonical_query(const Query& query) {
  std::vector<std::pair<std::string, std::string>> encoded;
  for (const QueryParameter& p : query) encoded.emplace_back(uri_encode(p.name), uri_encode(p.value));
  std::ranges::sort(encoded);
  std::string text;
  for (const auto& [name, value] : encoded) {
    if (!text.empty()) text += '&';
    text += name + '=' + value;
  }
  return text;
}

}  // namespace

std::string signed_header_names(const Headers& headers) { return names_of(canonical_headers(headers)); }

std::string canonical_request(const RequestToSign& request) {
  const Headers canonical = canonical_headers(request.headers);
  std::string text;
  text.append(request.method) += '\n';
  text.append(request.path.empty() ? "/" : request.path) += '\n';
  text += canonical_query(request.query) + '\n';
  for (const Header& h : canonical) text += h.name + ':' + h.value + '\n';
  text += '\n';
  text += names_of(canonical) + '\n';
  text += request.payload_hash;
  return text;
}

std::string string_to_sign(std::string_view amz_date, const SigningScope& scope, std::string_view canonical_request) {
  std::string text(kAlgorithm);
  text += '\n';
  text.append(amz_date) += '\n';
  text += scope.text() + '\n';
  text += hex(sha256(bytes_of(canonical_request)));
  return text;
}

Sha256 signing_key(std::string_view secret_key, const SigningScope& scope) {
  const std::string start = "AWS4" + std::string(secret_key);
  const Sha256 by_date = hmac_sha256(bytes_of(start), scope.date);
  const Sha256 by_region = hmac_sha256(by_date, scope.region);
  const Sha256 by_service = hmac_sha256(by_region, scope.service);
  return hmac_sha256(by_service, "aws4_request");
}

std::string signature(const Sha256& key, std::string_view string_to_sign) {
  return hex(hmac_sha256(key, string_to_sign));
}

void sign_headers(std::string_view method, std::string_view path, const Query& query, Headers& headers,
                  std::string_view payload_hash, const Credentials& credentials, std::string_view region,
                  WallTime now) {
  const std::string date = amz_date(now);
  headers.push_back({"x-amz-date", date});
  headers.push_back({"x-amz-content-sha256", std::string(payload_hash)});
  if (!credentials.session_token.empty()) headers.push_back({"x-amz-security-token", credentials.session_token});
  const SigningScope scope{date.substr(0, 8), std::string(region)};
  const std::string canonical = canonical_request({method, path, query, headers, payload_hash});
  const std::string proof =
      signature(signing_key(credentials.secret_key, scope), string_to_sign(date, scope, canonical));
  headers.push_back({"authorization", std::string(kAlgorithm) + " Credential=" + credentials.access_key + '/' +
                                          scope.text() + ",SignedHeaders=" + signed_header_names(headers) +
                                          ",Signature=" + proof});
}

Query presign(std::string_view method, std::string_view host, std::string_view path, const Query& query,
              const Credentials& credentials, std::string_view region, WallTime now, std::chrono::seconds valid) {
  const std::string date = amz_date(now);
  const SigningScope scope{date.substr(0, 8), std::string(region)};
  Query full = query;
  full.push_back({"X-Amz-Algorithm", std::string(kAlgorithm)});
  full.push_back({"X-Amz-Credential", credentials.access_key + '/' + scope.text()});
  full.push_back({"X-Amz-Date", date});
  full.push_back({"X-Amz-Expires", std::to_string(valid.count())});
  if (!credentials.session_token.empty()) full.push_back({"X-Amz-Security-Token", credentials.session_token});
  full.push_back({"X-Amz-SignedHeaders", "host"});
  const Headers headers{{"host", std::string(host)}};
  const std::string canonical = canonical_request({method, path, full, headers, kUnsignedPayload});
  const Sha256 key = signing_key(credentials.secret_key, scope);
  full.push_back({"X-Amz-Signature", signature(key, string_to_sign(date, scope, canonical))});
  return full;
}

}  // namespace weir::net
