#include "ufs/s3_errors.h"

#include <algorithm>
#include <array>

namespace weir::ufs {
namespace {

struct Row {
  std::string_view s3_code;
  S3Verdict verdict;
};

using enum ErrorCode;

constexpr std::string_view kKeyAdvice = "check the access key (s3.access.key, AWS_ACCESS_KEY_ID)";
constexpr std::string_view kTokenAdvice = "renew the session token (s3.session.token, AWS_SESSION_TOKEN)";
constexpr std::string_view kRegionAdvice = "set s3.region (and s3.endpoint) to where the bucket is";
constexpr std::string_view kFullAdvice = "the store has no space left: free some or raise its quota";

constexpr auto kRows = std::to_array<Row>({
    {"NoSuchKey", {kNotFound}},
    {"NoSuchVersion", {kNotFound}},
    {"NoSuchUpload", {kNotFound}},
    {"PreconditionFailed", {kPrecondition}},
    {"ConditionalRequestConflict", {kUnavailable, Again::kYes}},
    {"OperationAborted", {kUnavailable, Again::kYes}},

    {"NoSuchBucket", {kDenied, Again::kNo, "create the bucket or correct its name"}},
    {"AccessDenied", {kDenied, Again::kNo, "the credentials are known but a policy forbids this: allow it"}},
    {"AllAccessDisabled", {kDenied, Again::kNo, "the bucket's owner must allow access again"}},
    {"AccountProblem", {kDenied, Again::kNo, "the store's account has a problem: ask the provider"}},
    {"InvalidAccessKeyId", {kDenied, Again::kNo, kKeyAdvice}},
    {"SignatureDoesNotMatch",
     {kDenied, Again::kNo, "the secret key does not belong to the access key: check it (s3.secret.key, "
                           "AWS_SECRET_ACCESS_KEY)"}},
    {"ExpiredToken", {kDenied, Again::kNo, kTokenAdvice}},
    {"InvalidToken", {kDenied, Again::kNo, kTokenAdvice}},
    {"InvalidTokenId", {kDenied, Again::kNo, kTokenAdvice}},
    {"TokenRefreshRequired", {kDenied, Again::kNo, kTokenAdvice}},
    {"RequestTimeTooSkewed", {kDenied, Again::kNo, "set this machine's clock (NTP)"}},
    {"RequestExpired", {kDenied, Again::kNo, "set this machine's clock (NTP)"}},
    {"PermanentRedirect", {kDenied, Again::kNo, kRegionAdvice}},
    {"TemporaryRedirect", {kDenied, Again::kNo, kRegionAdvice}},
    {"AuthorizationHeaderMalformed", {kDenied, Again::kNo, kRegionAdvice}},
    {"IllegalLocationConstraintException", {kDenied, Again::kNo, kRegionAdvice}},
    {"InvalidObjectState", {kDenied, Again::kNo, "the object is in an archive class: restore it first"}},

    {"SlowDown", {kUnavailable, Again::kYes}},
    {"TooManyRequests", {kUnavailable, Again::kYes}},
    {"RequestLimitExceeded", {kUnavailable, Again::kYes}},
    {"ThrottlingException", {kUnavailable, Again::kYes}},
    {"RequestThrottled", {kUnavailable, Again::kYes}},
    {"BandwidthLimitExceeded", {kUnavailable, Again::kYes}},
    {"RequestTimeout", {kUnavailable, Again::kYes}},
    {"IncompleteBody", {kUnavailable, Again::kYes}},
    {"InternalError", {kUnavailable, Again::kMaybeDone}},
    {"ServiceUnavailable", {kUnavailable, Again::kMaybeDone}},
    {"XMinioServerNotInitialized", {kUnavailable, Again::kYes}},
    {"XMinioStorageFull", {kUnavailable, Again::kYes, kFullAdvice}},
    {"XMinioAdminBucketQuotaExceeded", {kDenied, Again::kNo, kFullAdvice}},
    {"QuotaExceeded", {kDenied, Again::kNo, kFullAdvice}},

    {"BadDigest", {kCorrupt, Again::kOnce}},
    {"XAmzContentChecksumMismatch", {kCorrupt, Again::kOnce}},
    {"XAmzContentSHA256Mismatch", {kCorrupt, Again::kOnce}},

    {"EntityTooLarge", {kTooLarge}},
    {"MetadataTooLarge", {kTooLarge}},
    {"NotImplemented", {kNotSupported}},
    {"MethodNotAllowed", {kNotSupported}},
});

S3Verdict by_status(int status) {
  switch (status) {
    case 301:
    case 302:
    case 307:
      return {kDenied, Again::kNo, kRegionAdvice};
    case 401:
    case 403:
      return {kDenied, Again::kNo, "check the credentials, their policy and that the bucket exists"};
    case 404:
      return {kNotFound};
    case 405:
    case 501:
      return {kNotSupported};
    case 408:
    case 425:
    case 429:
      return {kUnavailable, Again::kYes};
    case 409:
      return {kUnavailable, Again::kYes};
    case 412:
      return {kPrecondition};
    case 413:
      return {kTooLarge};
    case 507:
      return {kUnavailable, Again::kYes, kFullAdvice};
    default:
      if (status >= 500) return {kUnavailable, Again::kMaybeDone};
      if (status / 100 == 4) return {kInvalid};
      return {kUnavailable, Again::kNo, "this is not an S3 endpoint: check s3.endpoint"};
  }
}

}  // namespace

S3Verdict judge_response(int http_status, std::string_view s3_code) {
  const auto* row = std::ranges::find(kRows, s3_code, &Row::s3_code);
  if (row != kRows.end()) return row->verdict;
  if (s3_code.starts_with("KMS.")) return {kDenied, Again::kNo, "the bucket's encryption key refuses: check its policy"};
  // 200 with an error document (CopyObject, CompleteMultipartUpload) that the table does not know.
  if (http_status / 100 == 2) return {kUnavailable, Again::kMaybeDone};
  return by_status(http_status);
}

S3Verdict judge_failure(const net::HttpError& error) {
  const Again again = error.maybe_sent ? Again::kMaybeDone : Again::kYes;
  using Kind = net::HttpErrorKind;
  switch (error.kind) {
    case Kind::kBadUrl:
      return {kInvalid, Again::kNo, "write s3.endpoint as https://host or http://host:port"};
    case Kind::kResolve:
      return {kUnavailable, again, "the endpoint's host name is not known: check s3.endpoint and DNS"};
    case Kind::kConnect:
      return {kUnavailable, again, "nothing answers there: check s3.endpoint, that the store runs, and the firewall"};
    case Kind::kTls:
      return {kUnavailable, again, "TLS fails: does the endpoint speak https?"};
    case Kind::kCertificate:
      return {kDenied, Again::kNo, "the endpoint's certificate is not trusted: set s3.ca.file to its CA"};
    case Kind::kBroken:
    case Kind::kStalled:
      return {kUnavailable, again};
    case Kind::kBadResponse:
      return {kUnavailable, again, "this is not an S3 endpoint: check s3.endpoint"};
    case Kind::kTimedOut:
      return {kTimedOut, error.maybe_sent ? Again::kMaybeDone : Again::kNo};
    case Kind::kStopped:
      return {kCancelled};
  }
  return {};
}

}  // namespace weir::ufs
