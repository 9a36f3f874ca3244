// s3/refusal.h -- how S3 says no: its error codes with their HTTP status, and the one table from Error to them.
//
// Source: Amazon S3 API reference, "Error responses".
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/result.h"
#include "net/http.h"

namespace weir::s3 {

enum class Code : uint8_t {
  kAccessDenied,
  kAuthorizationHeaderMalformed,
  kAuthorizationQueryParametersError,
  kBadDigest,
  kBucketAlreadyOwnedByYou,
  kBucketNotEmpty,
  kConditionalRequestConflict,
  kEntityTooLarge,
  kEntityTooSmall,
  kIncompleteBody,
  kInternalError,
  kInvalidAccessKeyId,
  kInvalidArgument,
  kInvalidBucketName,
  kInvalidDigest,
  kInvalidPart,
  kInvalidPartNumber,
  kInvalidPartOrder,
  kInvalidPolicyDocument,
  kInvalidRange,
  kInvalidRequest,
  kInvalidStorageClass,
  kInvalidTag,
  kInvalidUri,
  kKeyTooLong,
  kMalformedPostRequest,
  kMalformedXml,
  kMaxPostPreDataLengthExceeded,
  kMetadataTooLarge,
  kMethodNotAllowed,
  kMissingContentLength,
  kMissingRequestBody,
  kNoSuchBucket,
  kNoSuchBucketPolicy,
  kNoSuchConfiguration,
  kNoSuchCorsConfiguration,
  kNoSuchKey,
  kNoSuchLifecycleConfiguration,
  kNoSuchObjectLockConfiguration,
  kNoSuchPublicAccessBlock,
  kNoSuchTagSet,
  kNoSuchUpload,
  kNoSuchVersion,
  kNoSuchWebsiteConfiguration,
  kNotImplemented,
  kObjectLockConfigurationNotFound,
  kOwnershipControlsNotFound,
  kPreconditionFailed,
  kReplicationConfigurationNotFound,
  kRequestHeaderTooLarge,
  kRequestTimeTooSkewed,
  kRequestTimeout,
  kEncryptionConfigurationNotFound,
  kServiceUnavailable,
  kSignatureDoesNotMatch,
  kSlowDown,
  kTooManyParts,
  kXAmzContentSha256Mismatch,
  kWouldWait,  // never leaves the server: the call is to be repeated on a thread that may wait
};

std::string_view name_of(Code code);  // "NoSuchKey"
int status_of(Code code);

// Why a request was not answered as it wished. Its message is for people: it names the header, the field or the limit.
struct Refusal {
  explicit Refusal(Code code);  // S3's own message
  Refusal(Code code, std::string message) : code(code), message(std::move(message)) {}
  Refusal(const Error& error);  // NOLINT: implicit, so that TRY passes errors on

  // Adds an element to the error document.
  Refusal with(std::string name, std::string value) &&;
  Refusal with_header(std::string name, std::string value) &&;

  Code code;
  std::string message;
  std::string cause;  // for the log alone
  std::vector<std::pair<std::string, std::string>> details;
  net::Headers headers;
};

template <typename T>
using Reply = std::expected<T, Refusal>;

inline std::unexpected<Refusal> refuse(Code code) { return std::unexpected(Refusal(code)); }
inline std::unexpected<Refusal> refuse(Code code, std::string message) {
  return std::unexpected(Refusal(code, std::move(message)));
}
inline std::unexpected<Refusal> refuse(Refusal refusal) { return std::unexpected(std::move(refusal)); }

}  // namespace weir::s3
