// net/sigv4.h -- AWS Signature Version 4 for S3: what both ends of a request compute.
//
// Source: Amazon S3 API reference, "Authenticating Requests (AWS Signature Version 4)". S3 signs the path as it stands
// on the request line, encoded once; it does not fold `//` or `..`.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "net/digest.h"
#include "net/http.h"

namespace weir::net {

inline constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
inline constexpr std::string_view kEmptyPayloadHash =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct Credentials {
  std::string access_key;
  std::string secret_key;
  std::string session_token;  // empty: none

  friend bool operator==(const Credentials&, const Credentials&) = default;
};

struct SigningScope {
  std::string date;  // "20130524"
  std::string region;
  std::string service = "s3";

  std::string text() const { return date + '/' + region + '/' + service + "/aws4_request"; }
};

struct RequestToSign {
  std::string_view method;
  std::string_view path;  // encoded, as on the request line
  const Query& query;     // decoded, any order; without X-Amz-Signature
  const Headers& headers; // those to be signed, any order; "host" is among them
  std::string_view payload_hash;
};

// The steps, for whoever verifies.
std::string signed_header_names(const Headers& headers);
std::string canonical_request(const RequestToSign& request);
std::string string_to_sign(std::string_view amz_date, const SigningScope& scope, std::string_view canonical_request);
Sha256 signing_key(std::string_view secret_key, const SigningScope& scope);
std::string signature(const Sha256& key, std::string_view string_to_sign);

// Adds x-amz-date, x-amz-content-sha256, x-amz-security-token when there is one, and authorization. `headers` has host
// and everything else that is to be signed.
void sign_headers(std::string_view method, std::string_view path, const Query& query, Headers& headers,
                  std::string_view payload_hash, const Credentials& credentials, std::string_view region, WallTime now);

// Returns the query of a presigned request: `query` and the X-Amz-* parameters, the signature last. Only the host is
// signed. `valid` is at most seven days.
Query presign(std::string_view method, std::string_view host, std::string_view path, const Query& query,
              const Credentials& credentials, std::string_view region, WallTime now, std::chrono::seconds valid);

}  // namespace weir::net
