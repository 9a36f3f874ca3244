// ufs/s3_errors.h -- the one table from what an S3 store or the network says to an ErrorCode, and what to do about it.
//
// Source: Amazon S3 API reference, "Error responses"; the codes that only MinIO has start with XMinio.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "net/http_client.h"

namespace weir::ufs {

enum class Again : uint8_t {
  kNo,
  kYes,       // try again; the request had no effect
  kOnce,      // as kYes, one more time: bytes that arrive damaged twice are not a matter of luck
  kMaybeDone, // try again; the request may have had its effect
};

struct S3Verdict {
  ErrorCode code = ErrorCode::kUnavailable;
  Again again = Again::kNo;
  std::string_view advice;  // what the user can do; may be empty
};

// `s3_code` is empty when the response had no error document.
S3Verdict judge_response(int http_status, std::string_view s3_code);
S3Verdict judge_failure(const net::HttpError& error);

}  // namespace weir::ufs
