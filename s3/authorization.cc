#include "s3/authorization.h"

#include <algorithm>
#include <vector>

#include "net/encoding.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kAlgorithm = "AWS4-HMAC-SHA256";

bool starts_with_letters(std::string_view text, std::string_view lower_case_prefix) {
  return text.size() >= lower_case_prefix.size() && net::same_name(text.substr(0, lower_case_prefix.size()), lower_case_prefix);
}

std::string_view trim(std::string_view text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// Headers of a request that say something to S3 must be covered by the signature.
bool must_be_signed(std::string_view name) {
  return starts_with_letters(name, "x-amz-") && !net::same_name(name, "x-amz-content-sha256") &&
         !net::same_name(name, "x-amz-user-agent");
}

}  // namespace

struct Authorization::Claim {
  enum class Place : uint8_t { kHeader, kQuery };
  Place place = Place::kHeader;
  std::string access_key;
  net::SigningScope scope;
  std::vector<std::string> signed_headers;  // lower case
  std::string signature;
  std::string amz_date;
  WallTime date{};
  uint64_t valid_seconds = 0;  // kQuery
  std::string payload_hash;
  Code malformed = Code::kAuthorizationHeaderMalformed;

  // "AKID/20130524/us-east-1/s3/aws4_request"
  Reply<void> take_credential(std::string_view text) {
    const auto parts = split(text, '/');
    if (parts.size() != 5 || parts[0].empty() || parts[4] != "aws4_request")
      return refuse(malformed, "The Credential is not ACCESS-KEY/DATE/REGION/s3/aws4_request");
    access_key = parts[0];
    scope = {.date = std::string(parts[1]), .region = std::string(parts[2]), .service = std::string(parts[3])};
    return {};
  }
  Reply<void> take_signed_headers(std::string_view text) {
    for (const std::string_view name : split(text, ';')) {
      if (name.empty()) return refuse(malformed, "SignedHeaders has an empty name");
      std::string lower(name);
      for (char& c : lower)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
      signed_headers.push_back(std::move(lower));
    }
    if (std::ranges::find(signed_headers, "host") == signed_headers.end())
      return refuse(malformed, "SignedHeaders must name host");
    return {};
  }
  Reply<void> take_date(std::string_view text) {
    const auto parsed = net::parse_amz_date(text);
    if (!parsed) return refuse(malformed, "The date is not of the form 20130524T000000Z");
    amz_date = text;
    date = *parsed;
    return {};
  }
};

Reply<Authorization::Claim> Authorization::claim_in_header(const Request& request) {
  std::string_view text = request.header("authorization");
  Claim claim;
  if (text.starts_with("AWS ")) {
    return refuse(Code::kInvalidRequest,
                  "The authorization mechanism you have provided (Signature Version 2) is not supported. Please use AWS4-HMAC-SHA256.");
  }
  if (text.starts_with("AWS4-ECDSA-P256-SHA256"))
    return refuse(Code::kNotImplemented, "Signature Version 4A is not supported. Please use AWS4-HMAC-SHA256.");
  if (!text.starts_with(kAlgorithm))
    return refuse(Code::kInvalidArgument, "Unsupported Authorization Type. Please use AWS4-HMAC-SHA256.");
  text.remove_prefix(kAlgorithm.size());
  for (std::string_view part : split(text, ',')) {
    part = trim(part);
    const size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const std::string_view value = equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1);
    if (name == "Credential") {
      TRY(claim.take_credential(value));
    } else if (name == "SignedHeaders") {
      TRY(claim.take_signed_headers(value));
    } else if (name == "Signature") {
      claim.signature = value;
    }
  }
  if (claim.access_key.empty() || claim.signed_headers.empty() || claim.signature.empty())
    return refuse(claim.malformed, "The Authorization header needs Credential, SignedHeaders and Signature");
  if (const std::string_view date = request.header("x-amz-date"); !date.empty()) {
    TRY(claim.take_date(date));
  } else {
    const auto parsed = net::parse_http_date(request.header("date"));
    if (!parsed) return refuse(Code::kAccessDenied, "AWS authentication requires a valid Date or x-amz-date header");
    claim.date = *parsed;
    claim.amz_date = net::amz_date(*parsed);
  }
  claim.payload_hash = request.header("x-amz-content-sha256");
  if (claim.payload_hash.empty())
    return refuse(Code::kInvalidRequest, "Missing required header for this request: x-amz-content-sha256");
  return claim;
}

Reply<Authorization::Claim> Authorization::claim_in_query(const Request& request) {
  Claim claim;
  claim.place = Claim::Place::kQuery;
  claim.malformed = Code::kAuthorizationQueryParametersError;
  const auto value = [&](std::string_view name) {
    const std::string* found = request.parameter(name);
    return found == nullptr ? std::string_view() : std::string_view(*found);
  };
  if (value("X-Amz-Algorithm") == "AWS4-ECDSA-P256-SHA256")
    return refuse(Code::kNotImplemented, "Signature Version 4A is not supported. Please use AWS4-HMAC-SHA256.");
  if (value("X-Amz-Algorithm") != kAlgorithm)
    return refuse(claim.malformed, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
  for (const std::string_view name : {"X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"}) {
    if (value(name).empty()) {
      return refuse(claim.malformed, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, "
                                     "X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters. Missing: " +
                                         std::string(name));
    }
  }
  TRY(claim.take_credential(value("X-Amz-Credential")));
  TRY(claim.take_signed_headers(value("X-Amz-SignedHeaders")));
  TRY(claim.take_date(value("X-Amz-Date")));
  const auto seconds = parse_number(value("X-Amz-Expires"));
  if (!seconds) return refuse(claim.malformed, "X-Amz-Expires should be a number");
  if (*seconds > kPresignedSecondsMax)
    return refuse(claim.malformed, "X-Amz-Expires must be less than a week (in seconds); that is, less than 604800");
  claim.valid_seconds = *seconds;
  claim.signature = value("X-Amz-Signature");
  claim.payload_hash = request.header("x-amz-content-sha256");
  if (claim.payload_hash.empty()) claim.payload_hash = value("X-Amz-Content-Sha256");
  if (claim.payload_hash.empty()) claim.payload_hash = net::kUnsignedPayload;
  return claim;
}

Reply<void> Authorization::check_time(const Claim& claim) const {
  const WallTime now = clock_.wall_now();
  if (claim.place == Claim::Place::kHeader) {
    if (claim.date > now + kSkewMax || claim.date < now - kSkewMax) {
      return refuse(Refusal(Code::kRequestTimeTooSkewed)
                        .with("RequestTime", claim.amz_date)
                        .with("ServerTime", net::iso_date(now))
                        .with("MaxAllowedSkewMilliseconds",
                              std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(kSkewMax).count())));
    }
    return {};
  }
  if (claim.date > now + kSkewMax) return refuse(Code::kAccessDenied, "Request is not valid yet");
  const WallTime end = claim.date + std::chrono::seconds(claim.valid_seconds);
  if (end < now) {
    return refuse(Refusal(Code::kAccessDenied, "Request has expired")
                      .with("X-Amz-Expires", std::to_string(claim.valid_seconds))
                      .with("Expires", net::iso_date(end))
                      .with("ServerTime", net::iso_date(now)));
  }
  return {};
}

Reply<void> Authorization::check_scope(const Claim& claim) const {
  if (claim.scope.service != "s3") {
    return refuse(claim.malformed, "The credential's service \"" + claim.scope.service + "\" is wrong; expecting \"s3\"");
  }
  if (claim.scope.date != claim.amz_date.substr(0, 8)) {
    return refuse(claim.malformed, "The credential's date \"" + claim.scope.date + "\" is not that of the request, \"" +
                                       claim.amz_date.substr(0, 8) + "\"");
  }
  const std::string& region = claim.scope.region;
  if (!region_.empty() && region != region_ && region != "us-east-1" && region != "auto") {
    return refuse(Refusal(claim.malformed, "The region \"" + region + "\" is wrong; expecting \"" + region_ + "\"")
                      .with("Region", region_));
  }
  return {};
}

Reply<Identity> Authorization::identify(const Request& request) {
  if (mode_ == AuthMode::kAny) return Identity{};
  const bool in_header = !request.header("authorization").empty();
  const bool in_query = request.parameter("X-Amz-Signature") != nullptr || request.parameter("X-Amz-Algorithm") != nullptr ||
                        request.parameter("X-Amz-Credential") != nullptr;
  if (in_header && in_query) {
    return refuse(Code::kInvalidArgument,
                  "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or "
                  "the Authorization header should be specified");
  }
  if (in_header) {
    TRY_ASSIGN(const Claim claim, claim_in_header(request));
    return verify(request, claim);
  }
  if (in_query) {
    TRY_ASSIGN(const Claim claim, claim_in_query(request));
    return verify(request, claim);
  }
  if (request.parameter("AWSAccessKeyId") != nullptr && request.parameter("Signature") != nullptr) {
    return refuse(Code::kInvalidRequest,
                  "The authorization mechanism you have provided (Signature Version 2) is not supported. Please use AWS4-HMAC-SHA256.");
  }
  if (mode_ == AuthMode::kAnonymous) return Identity{};
  return refuse(Code::kAccessDenied, "Access Denied: the request has no credentials, and this endpoint wants them");
}

Reply<Identity> Authorization::identify_form(const FormSignature& form) {
  if (mode_ == AuthMode::kAny) return Identity{};
  if (form.signature.empty() && form.credential.empty()) {
    if (mode_ == AuthMode::kAnonymous) return Identity{};
    return refuse(Code::kAccessDenied, "Access Denied: the form has no x-amz-signature, and this endpoint wants one");
  }
  if (form.policy.empty()) return refuse(Code::kInvalidArgument, "Bucket POST must contain a field named 'policy' when it is signed.");
  Claim claim;
  claim.malformed = Code::kInvalidArgument;
  if (form.algorithm != kAlgorithm) return refuse(claim.malformed, "x-amz-algorithm only supports \"AWS4-HMAC-SHA256\"");
  TRY(claim.take_credential(form.credential));
  TRY(claim.take_date(form.date));
  TRY(check_scope(claim));
  const std::shared_ptr<const AccessKey> key = keys_.find(claim.access_key);
  if (key == nullptr) return refuse(Refusal(Code::kInvalidAccessKeyId).with("AWSAccessKeyId", claim.access_key));
  if (!net::same_secret(net::signature(signing_key(*key, claim.scope), form.policy), form.signature)) {
    return refuse(Refusal(Code::kSignatureDoesNotMatch)
                      .with("AWSAccessKeyId", claim.access_key)
                      .with("SignatureProvided", std::string(form.signature)));
  }
  return Identity{.key = key, .chunks = std::nullopt};
}

Reply<Identity> Authorization::verify(const Request& request, const Claim& claim) {
  TRY(check_scope(claim));
  TRY(check_time(claim));
  const std::shared_ptr<const AccessKey> key = keys_.find(claim.access_key);
  if (key == nullptr) return refuse(Refusal(Code::kInvalidAccessKeyId).with("AWSAccessKeyId", claim.access_key));

  net::Headers signed_headers;
  for (const std::string& name : claim.signed_headers) {
    bool found = false;
    for (const net::Header& header : request.headers) {
      if (!net::same_name(header.name, name)) continue;
      signed_headers.push_back(header);
      found = true;
    }
    // One that is absent was signed as empty.
    if (!found) signed_headers.push_back({name, ""});
  }
  for (const net::Header& header : request.headers) {
    const auto same = [&](const std::string& name) { return net::same_name(name, header.name); };
    if (must_be_signed(header.name) && std::ranges::none_of(claim.signed_headers, same)) {
      return refuse(Refusal(Code::kAccessDenied, "There were headers present in the request which were not signed")
                        .with("HeadersNotSigned", header.name));
    }
  }
  net::Query query;
  for (const net::QueryParameter& parameter : request.query)
    if (claim.place == Claim::Place::kHeader || parameter.name != "X-Amz-Signature") query.push_back(parameter);

  const net::Sha256 signing = signing_key(*key, claim.scope);
  const auto proof = [&](std::string_view path) {
    const std::string canonical =
        net::canonical_request({net::name_of(request.method), path, query, signed_headers, claim.payload_hash});
    return net::signature(signing, net::string_to_sign(claim.amz_date, claim.scope, canonical));
  };
  // Both name the same key: clients that leave more of it bare than S3 does sign either form.
  const std::string plain = net::uri_encode_path(net::uri_decode(request.raw_path));
  const bool good = net::same_secret(proof(request.raw_path), claim.signature) ||
                    (plain != request.raw_path && net::same_secret(proof(plain), claim.signature));
  if (!good) {
    return refuse(Refusal(Code::kSignatureDoesNotMatch)
                      .with("AWSAccessKeyId", claim.access_key)
                      .with("SignatureProvided", claim.signature));
  }
  return Identity{.key = key,
                  .chunks = ChunkSigning{.key = signing,
                                         .amz_date = claim.amz_date,
                                         .scope = claim.scope.text(),
                                         .seed = claim.signature}};
}

net::Sha256 Authorization::signing_key(const AccessKey& key, const net::SigningScope& scope) {
  // With the secret: a key that was removed and made again has another one.
  const std::string name = key.id + '/' + key.secret + '/' + scope.text();
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = signing_keys_.find(name); found != signing_keys_.end()) return found->second;
  }
  const net::Sha256 made = net::signing_key(key.secret, scope);
  const std::lock_guard lock(mutex_);
  if (signing_keys_.size() >= kSigningKeysMax) signing_keys_.clear();
  signing_keys_.emplace(name, made);
  return made;
}

bool allows(const Scope& scope, Access access, std::string_view bucket, std::string_view key) {
  if (access == Access::kWrite && scope.rights == Rights::kReadOnly) return false;
  return scope.bucket.empty() || (scope.bucket == bucket && key.starts_with(scope.prefix));
}

bool allows_list(const Scope& scope, std::string_view bucket, std::string_view prefix) {
  return scope.bucket.empty() || (scope.bucket == bucket && prefix.starts_with(scope.prefix));
}

}  // namespace weir::s3
