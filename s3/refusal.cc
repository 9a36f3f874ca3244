#include "s3/refusal.h"

#include <array>

#include "base/check.h"
#include "volume/objects.h"

namespace weir::s3 {
namespace {

struct Row {
  Code code;
  std::string_view name;
  int status;
  std::string_view message;
};

using enum Code;

constexpr std::array kTable = {
    Row{kAccessDenied, "AccessDenied", 403, "Access Denied"},
    Row{kAuthorizationHeaderMalformed, "AuthorizationHeaderMalformed", 400, "The authorization header is malformed"},
    Row{kAuthorizationQueryParametersError, "AuthorizationQueryParametersError", 400,
        "The query parameters that authorize the request are malformed"},
    Row{kBadDigest, "BadDigest", 400, "The digest you specified did not match what we received"},
    Row{kBucketAlreadyOwnedByYou, "BucketAlreadyOwnedByYou", 409, "The bucket exists already"},
    Row{kBucketNotEmpty, "BucketNotEmpty", 409, "The bucket you tried to delete is not empty"},
    Row{kConditionalRequestConflict, "ConditionalRequestConflict", 409,
        "A conflicting write of this key happened meanwhile; try again"},
    Row{kEntityTooLarge, "EntityTooLarge", 400, "Your proposed upload exceeds the maximum allowed size"},
    Row{kEntityTooSmall, "EntityTooSmall", 400, "Your proposed upload is smaller than the minimum allowed size"},
    Row{kIncompleteBody, "IncompleteBody", 400,
        "You did not provide the number of bytes specified by the Content-Length HTTP header"},
    Row{kInternalError, "InternalError", 500, "We encountered an internal error. Please try again."},
    Row{kInvalidAccessKeyId, "InvalidAccessKeyId", 403, "The access key ID you provided does not exist in our records"},
    Row{kInvalidArgument, "InvalidArgument", 400, "Invalid argument"},
    Row{kInvalidBucketName, "InvalidBucketName", 400, "The specified bucket is not valid"},
    Row{kInvalidDigest, "InvalidDigest", 400, "The Content-MD5 you specified is not valid"},
    Row{kInvalidPart, "InvalidPart", 400,
        "One or more of the specified parts could not be found, or its entity tag did not match"},
    Row{kInvalidPartNumber, "InvalidPartNumber", 416, "The requested part number is not satisfiable"},
    Row{kInvalidPartOrder, "InvalidPartOrder", 400, "The list of parts was not in ascending order"},
    Row{kInvalidPolicyDocument, "InvalidPolicyDocument", 400, "The content of the form does not meet the conditions of the policy document"},
    Row{kInvalidRange, "InvalidRange", 416, "The requested range is not satisfiable"},
    Row{kInvalidRequest, "InvalidRequest", 400, "Invalid request"},
    Row{kInvalidStorageClass, "InvalidStorageClass", 400, "The storage class you specified is not valid"},
    Row{kInvalidTag, "InvalidTag", 400, "The tag provided was not a valid tag"},
    Row{kInvalidUri, "InvalidURI", 400, "Couldn't parse the specified URI"},
    Row{kKeyTooLong, "KeyTooLongError", 400, "Your key is too long"},
    Row{kMalformedPostRequest, "MalformedPOSTRequest", 400, "The body of your POST request is not well-formed multipart/form-data"},
    Row{kMalformedXml, "MalformedXML", 400, "The XML you provided was not well-formed or did not validate"},
    Row{kMaxPostPreDataLengthExceeded, "MaxPostPreDataLengthExceeded", 400,
        "Your POST request fields preceding the upload file were too large"},
    Row{kMetadataTooLarge, "MetadataTooLarge", 400, "Your metadata headers exceed the maximum allowed metadata size"},
    Row{kMethodNotAllowed, "MethodNotAllowed", 405, "The specified method is not allowed against this resource"},
    Row{kMissingContentLength, "MissingContentLength", 411, "You must provide the Content-Length HTTP header"},
    Row{kMissingRequestBody, "MissingRequestBodyError", 400, "Request body is empty"},
    Row{kNoSuchBucket, "NoSuchBucket", 404, "The specified bucket does not exist"},
    Row{kNoSuchBucketPolicy, "NoSuchBucketPolicy", 404, "The bucket policy does not exist"},
    Row{kNoSuchConfiguration, "NoSuchConfiguration", 404, "The specified configuration does not exist"},
    Row{kNoSuchCorsConfiguration, "NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"},
    Row{kNoSuchKey, "NoSuchKey", 404, "The specified key does not exist."},
    Row{kNoSuchLifecycleConfiguration, "NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"},
    Row{kNoSuchObjectLockConfiguration, "NoSuchObjectLockConfiguration", 404,
        "The specified object does not have an ObjectLock configuration"},
    Row{kNoSuchPublicAccessBlock, "NoSuchPublicAccessBlockConfiguration", 404,
        "The public access block configuration was not found"},
    Row{kNoSuchTagSet, "NoSuchTagSet", 404, "There is no tag set associated with the bucket"},
    Row{kNoSuchUpload, "NoSuchUpload", 404,
        "The specified upload does not exist: its ID is not valid, or it was aborted or completed"},
    Row{kNoSuchVersion, "NoSuchVersion", 404, "The specified version does not exist; objects have the version \"null\" only"},
    Row{kNoSuchWebsiteConfiguration, "NoSuchWebsiteConfiguration", 404,
        "The specified bucket does not have a website configuration"},
    Row{kNotImplemented, "NotImplemented", 501, "A header or parameter you provided implies functionality that is not implemented"},
    Row{kObjectLockConfigurationNotFound, "ObjectLockConfigurationNotFoundError", 404,
        "Object Lock configuration does not exist for this bucket"},
    Row{kOwnershipControlsNotFound, "OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"},
    Row{kPreconditionFailed, "PreconditionFailed", 412, "At least one of the pre-conditions you specified did not hold"},
    Row{kReplicationConfigurationNotFound, "ReplicationConfigurationNotFoundError", 404,
        "The replication configuration was not found"},
    Row{kRequestHeaderTooLarge, "RequestHeaderSectionTooLarge", 400, "Your request header section is too large"},
    Row{kRequestTimeTooSkewed, "RequestTimeTooSkewed", 403,
        "The difference between the request time and the current time is too large"},
    Row{kRequestTimeout, "RequestTimeout", 400,
        "Your socket connection to the server was not read from or written to within the timeout period"},
    Row{kEncryptionConfigurationNotFound, "ServerSideEncryptionConfigurationNotFoundError", 404,
        "The server side encryption configuration was not found"},
    Row{kServiceUnavailable, "ServiceUnavailable", 503, "Please try again later"},
    Row{kSignatureDoesNotMatch, "SignatureDoesNotMatch", 403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method."},
    Row{kSlowDown, "SlowDown", 503, "Please reduce your request rate"},
    Row{kTooManyParts, "TooManyParts", 400, "You have attempted to create more parts than allowed"},
    Row{kXAmzContentSha256Mismatch, "XAmzContentSHA256Mismatch", 400,
        "The provided 'x-amz-content-sha256' header does not match what was computed."},
    Row{kWouldWait, "InternalError", 500, ""},
};

const Row& row_of(Code code) {
  const Row& row = kTable[static_cast<size_t>(code)];
  CHECK(row.code == code);
  return row;
}

Code code_of(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kNotFound:
      if (volume::is_no_bucket(error)) return kNoSuchBucket;
      return volume::is_no_upload(error) ? kNoSuchUpload : kNoSuchKey;
    case ErrorCode::kExists: return kBucketAlreadyOwnedByYou;
    case ErrorCode::kNotEmpty: return kBucketNotEmpty;
    case ErrorCode::kPermission:
    case ErrorCode::kReadOnly:
    case ErrorCode::kDenied: return kAccessDenied;
    case ErrorCode::kNameTooLong: return kKeyTooLong;
    case ErrorCode::kTooLarge: return kEntityTooLarge;
    case ErrorCode::kInvalid: return kInvalidArgument;
    case ErrorCode::kNotSupported: return kNotImplemented;
    case ErrorCode::kRange: return kInvalidPartNumber;
    case ErrorCode::kNoSpace: return kSlowDown;
    case ErrorCode::kConflict: return kConditionalRequestConflict;
    case ErrorCode::kPrecondition: return kPreconditionFailed;
    case ErrorCode::kBusy:
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimedOut:
    case ErrorCode::kCancelled: return kServiceUnavailable;
    case ErrorCode::kWouldWait: return kWouldWait;
    default: return kInternalError;
  }
}

}  // namespace

std::string_view name_of(Code code) { return row_of(code).name; }
int status_of(Code code) { return row_of(code).status; }

Refusal::Refusal(Code code) : code(code), message(row_of(code).message) {}

Refusal::Refusal(const Error& error) : Refusal(code_of(error)) {
  if (code == kWouldWait) return;
  if (status_of(code) >= 500) cause = error.to_string();
  // What concerns the client's own request is said in the error's words; of what went wrong inside only the log tells.
  if (code == kInternalError || code == kNoSuchKey || code == kNoSuchBucket || code == kNoSuchUpload) return;
  if (!error.context().empty()) message = error.context();
}

Refusal Refusal::with(std::string name, std::string value) && {
  details.emplace_back(std::move(name), std::move(value));
  return std::move(*this);
}

Refusal Refusal::with_header(std::string name, std::string value) && {
  headers.push_back({std::move(name), std::move(value)});
  return std::move(*this);
}

}  // namespace weir::s3
