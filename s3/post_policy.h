// s3/post_policy.h -- what the owner of an access key lets a browser send: the signed policy of a form.
//
// Source: Amazon S3 API reference, "Creating a POST policy".
// Threads: a policy that was made is only read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/http.h"
#include "s3/refusal.h"

namespace weir::s3 {

class PostPolicy {
 public:
  // Of the field, base64. kInvalidPolicyDocument.
  static Reply<PostPolicy> parse(std::string_view base64);

  // Every field must be named by a condition and be as it says, `bucket` too; kAccessDenied says which is not.
  Reply<void> check(const net::Headers& fields, std::string_view bucket, WallTime now) const;
  // Of the file.
  uint64_t bytes_min() const { return bytes_min_; }
  uint64_t bytes_max() const { return bytes_max_; }

 private:
  struct Condition {
    std::string field;  // lower case
    std::string value;
    bool prefix = false;  // the field begins with `value`
  };

  WallTime expiration_{};
  std::vector<Condition> conditions_;
  uint64_t bytes_min_ = 0;
  uint64_t bytes_max_ = UINT64_MAX;
};

}  // namespace weir::s3
