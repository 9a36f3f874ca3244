// ufs/under_store.h -- the store under the volume: where objects end up.
//
// An UnderStore is one bucket or directory with an optional prefix; keys are relative to it, byte strings without NUL
// of 1 to kKeyBytesMax bytes after the prefix is put before them, or to kLongKeyBytesMax. A key is an object or it is
// not; there are no directories (`a/` may be an object of its own, beside `a/b`). A store may refuse keys that it cannot
// hold (kInvalid): MinIO refuses `.` and `..` components, `//`, and components over 255 bytes. MinIO holds `a/b` beside
// `a`, but its listings leave out what is below `a/` then. S3 takes UTF-8 of up to 1,024 bytes only: what is kept there
// in another form is listed with the delimiter "/" and a prefix that ends in it, and not in order (ufs/s3_names.h).
//
// Threads: all methods may be called concurrently; each call blocks until its deadline at the latest.
// Retries: transient failures (refused, reset, 5xx, throttled, lost reply of an idempotent call) are retried inside
// until the deadline; what comes out is final for this call:
//   kNotFound       no such object (never used for "no such bucket")
//   kPrecondition   a condition did not hold; `Conditions` tells how a lost reply of a conditional write is treated
//   kDenied         credentials, policy or a missing bucket: trying again soon is useless; context has the store's words
//   kUnavailable    not reached, throttled or failing until the deadline
//   kTimedOut       no answer until the deadline
//   kCorrupt        what arrived does not match its checksum, also after another try
//   kInvalid, kTooLarge, kNotSupported   the request as such
//   kMayHaveHappened   a write was sent, its outcome is unknown
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace weir::ufs {

inline constexpr size_t kKeyBytesMax = 1'024;
inline constexpr size_t kLongKeyBytesMax = 4'000;       // of stores that hold longer keys in another form
inline constexpr size_t kUserMetadataBytesMax = 2'048;  // names with "x-amz-meta-", and values: as MinIO counts
inline constexpr uint64_t kPutBytesMax = 5ull << 30;    // one put() or upload_part()
inline constexpr uint64_t kPartBytesMin = 5ull << 20;   // every part but the last
inline constexpr uint32_t kPartsMax = 10'000;
inline constexpr size_t kEraseBatchMax = 1'000;

// Opaque; without the quotes HTTP puts around it.
using Etag = std::string;

// User metadata: names of a-z 0-9 - _ . without "x-amz-meta-"; values of printable ASCII, no space at either end.
// Writes of anything else are kInvalid; what others wrote is returned as it is.
using UserMetadata = std::map<std::string, std::string, std::less<>>;

// Headers that come back with the object. Empty: none; of the content type, the store's default. Printable ASCII.
struct ObjectAttributes {
  std::string content_type;
  std::string content_encoding;
  std::string content_disposition;
  std::string content_language;
  std::string cache_control;
  std::string expires;
  UserMetadata user;
};

// All headers but the content type, by their names.
inline constexpr std::pair<std::string_view, std::string ObjectAttributes::*> kObjectHeaders[] = {
    {"content-encoding", &ObjectAttributes::content_encoding},
    {"content-disposition", &ObjectAttributes::content_disposition},
    {"content-language", &ObjectAttributes::content_language},
    {"cache-control", &ObjectAttributes::cache_control},
    {"expires", &ObjectAttributes::expires},
};

// Whether an object that was written with `written` says `found`.
bool says(const ObjectAttributes& found, const ObjectAttributes& written);

struct ObjectInfo {
  std::string key;
  uint64_t size_bytes = 0;
  Etag etag;
  WallTime last_modified{};
};

struct ObjectHead {
  ObjectInfo info;
  ObjectAttributes attributes;
};

// At most one is set. Where the capabilities say that a store does not check them atomically, a head before the call
// stands in. When the reply of a conditional write was lost and the repeated call fails its condition, the object
// there is compared with what was sent: the same bytes and metadata are this call's own success.
struct Conditions {
  std::optional<Etag> if_match;   // the object is there with this etag
  bool if_none_match = false;     // no object is there
};

struct PutOptions {
  ObjectAttributes attributes;
  Conditions conditions;
};

struct CopyOptions {
  std::optional<Etag> source_if_match;
  Conditions conditions;                         // on the destination
  std::optional<ObjectAttributes> attributes;    // absent: the source's are kept
};

struct Part {
  uint32_t number = 0;  // 1..kPartsMax
  Etag etag;
  uint64_t size_bytes = 0;
  std::string checksum;  // CRC32C as the store writes it; empty where the store keeps none
};

struct UploadInfo {
  std::string key;
  std::string upload_id;
  WallTime started{};
};

struct ListRequest {
  std::string prefix;
  std::string delimiter;     // empty: every key below the prefix
  std::string start_after;   // for the first page; exclusive
  std::string token;         // from the previous page
  uint32_t keys_max = 1'000;
};

struct ListPage {
  std::vector<ObjectInfo> objects;      // in byte order of key
  std::vector<std::string> prefixes;    // common prefixes, up to and including the delimiter
  std::string token;                    // empty: this was the last page
  // Where a store keeps some keys in another form these come out of order. Then this page and those before it show, but
  // for them, every key up to this one.
  std::string complete_until;
};

// A bound on what put, copy and friends may assume; found out when a mount point is added.
struct Capabilities {
  bool conditional_put = false;     // If-Match and If-None-Match hold atomically on put and complete
  bool conditional_copy = false;    // Conditions hold atomically on copy
  bool multipart_copy = false;      // upload_part_copy works
};

class UnderStore {
 public:
  virtual ~UnderStore() = default;

  // "s3://bucket/prefix/" or "file:///dir/": for messages.
  virtual std::string uri() const = 0;

  // Reaches the store, checks credentials and that bucket or directory exist, finds out the capabilities by trying
  // them on a scratch key below the prefix that is removed again. The message of its error says which of endpoint,
  // bucket, credentials, clock or permission is wrong and what to do.
  virtual Result<Capabilities> probe(Deadline deadline) = 0;

  virtual Result<ObjectHead> head(std::string_view key, Deadline deadline) = 0;

  // Reads [offset, offset + buffer.size()) and returns the number of bytes that are there: short only at the object's
  // end, zero beyond it. With `if_match`, kPrecondition when the object is another one now. `info` of the object read
  // (size_bytes is the whole object's) goes to `*info` when it is not null.
  virtual Result<size_t> get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                             const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info = nullptr) = 0;

  // As get(), for a caller who can use bytes before the last one came: `arrived(n)` says on the calling thread that the first n
  // bytes of the buffer are the object's and stay, whatever the call returns. n never falls. A store that cannot tell, or that
  // has a checksum of all of them to look at, never calls it.
  using Arrived = std::function<void(size_t bytes)>;
  virtual Result<size_t> get_streaming(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                                       const std::optional<Etag>& if_match, Deadline deadline, const Arrived& arrived) {
    static_cast<void>(arrived);
    return get(key, offset, buffer, if_match, deadline);
  }

  // Creates or replaces the object, whole or not at all; the bytes travel with a checksum that the store verifies.
  virtual Result<Etag> put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                           Deadline deadline) = 0;

  virtual Result<std::string> create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                               Deadline deadline) = 0;
  virtual Result<Part> upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                                   std::span<const std::byte> body, Deadline deadline) = 0;
  // The part is `size` bytes of `source` from `offset`, copied by the store.
  virtual Result<Part> upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                        std::string_view source, const std::optional<Etag>& source_if_match,
                                        uint64_t offset, uint64_t size, Deadline deadline) = 0;
  // Repeatable: completing a completed upload whose object is still there succeeds.
  virtual Result<Etag> complete_multipart(std::string_view key, std::string_view upload_id,
                                          const std::vector<Part>& parts, const Conditions& conditions,
                                          Deadline deadline) = 0;
  // Succeeds when the upload is gone already.
  virtual Result<void> abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) = 0;
  // kNotFound when the upload is gone.
  virtual Result<std::vector<Part>> list_parts(std::string_view key, std::string_view upload_id,
                                               Deadline deadline) = 0;
  // Uploads that are neither completed nor aborted. MinIO lists them only when the prefix is the whole key.
  virtual Result<std::vector<UploadInfo>> list_uploads(std::string_view prefix, Deadline deadline) = 0;

  // Server-side; objects over kPutBytesMax are copied in parts. kNotFound: no source.
  virtual Result<Etag> copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                            Deadline deadline) = 0;

  // Succeeds when the object is gone already. With if_match the object is removed only if it still has that etag, else
  // kPrecondition (where the store cannot check it in one step, a head before it stands in).
  virtual Result<void> erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) = 0;

  // At most kEraseBatchMax keys; returns one result for each, in order.
  virtual Result<std::vector<Result<void>>> erase_batch(const std::vector<std::string>& keys, Deadline deadline) = 0;

  virtual Result<ListPage> list(const ListRequest& request, Deadline deadline) = 0;

  // Calls that wait for the store end with kCancelled within about a second (kMayHaveHappened when a write was sent),
  // later calls at once. For a shutdown that must not wait for a dead store.
  virtual void stop() {}
};

}  // namespace weir::ufs
