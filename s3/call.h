// s3/call.h -- what an operation is given, and what it gives back.
//
// An operation is a plain function that may be called again from its start: on a thread that must not wait for the under store it
// gives kWouldWait, and the server repeats it on one that may.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "net/http.h"
#include "s3/authorization.h"
#include "s3/payload.h"
#include "s3/refusal.h"
#include "s3/request.h"
#include "volume/objects.h"

namespace weir::s3 {

struct FrontOptions {
  std::string region;                 // empty: any is accepted, and us-east-1 told
  std::vector<std::string> domains;   // of virtual hosts: BUCKET.DOMAIN
  volume::ObjectDurability put_durability = volume::ObjectDurability::kSync;
  AuthMode auth = AuthMode::kKeys;
};

struct Answer {
  int status = 200;
  net::Headers headers;
  std::string body;
  // Its bytes [offset, offset + size) are the body, if set.
  std::unique_ptr<volume::ObjectReader> content;
  uint64_t offset = 0;
  uint64_t size = 0;
  std::optional<uint64_t> content_length;  // of a HEAD: what GET would send
};

// Takes the content of a PUT as it comes.
class Intake {
 public:
  virtual ~Intake() = default;
  // The checksum that is kept with the content, and told to finish(), if any; the client's own is verified all the same.
  virtual std::optional<ChecksumAlgorithm> kept_checksum() const = 0;
  virtual Reply<void> write(std::span<const std::byte> bytes) = 0;
  virtual Reply<Answer> finish(const PayloadFacts& facts) = 0;
};

struct Call {
  const Request& request;
  Identity& identity;  // of a form, who signed it: nobody yet when the operation begins
  Authorization& authorization;
  const PayloadPromise& promise;
  volume::Objects& objects;
  const FrontOptions& options;
  const Clock& clock;
  std::string_view body;  // of an operation that takes a document

  volume::ObjectName name() const { return {request.bucket, request.key}; }
  std::string_view header(std::string_view header_name) const { return request.header(header_name); }
};

// kAccessDenied unless the caller may.
Reply<void> check_access(const Call& call, Access access, std::string_view bucket, std::string_view key);
Reply<void> check_list(const Call& call, std::string_view prefix);
// Whatever of a bucket a key may use, it may see that the bucket is there and how it is configured.
Reply<void> check_bucket_seen(const Call& call);

// --- what several operations read from headers

Reply<volume::ObjectHeaders> object_headers(const Request& request);
Reply<volume::ObjectTags> header_tags(const Request& request);
// If-Match, If-None-Match, If-(Un)Modified-Since of a read; `prefix` "x-amz-copy-source-" for those of a copy's source.
volume::ObjectConditions read_conditions(const Request& request, std::string_view prefix = {});
// Of a write: If-Match with an etag, or If-None-Match: *.
Reply<volume::ObjectConditions> write_conditions(const Request& request);
Reply<volume::ObjectDurability> durability(const Call& call);
// Headers that ask for what is not there: object lock, grants, SSE-C, KMS, appending.
Reply<void> refuse_unsupported(const Request& request);
// partNumber=, versionId=, uploadId=
Reply<uint32_t> part_number(const Request& request);
Reply<void> check_version(const Request& request);
Reply<uint32_t> number_parameter(const Request& request, std::string_view name, uint32_t otherwise, uint32_t max);

// --- what several operations answer

std::string in_quotes(std::string_view etag);
Answer xml_answer(std::string body);
Answer empty_answer(int status);
void add_checksum(net::Headers& headers, const std::optional<ObjectChecksum>& checksum);
void add_state(net::Headers& headers, meta::FileState state);
void add_encryption(const Request& request, net::Headers& headers);

}  // namespace weir::s3
