// volume/objects.h -- object semantics over the namespace: buckets, keys, entity tags, multipart uploads.
//
// A bucket is a mount point, named like its top-level directory; the object `a/b` is the file /BUCKET/a/b, a directory that was
// made on purpose is the object `a/b/`. Keys that no path can show (`a` beside `a/b`, empty components, `.` and `..`, components
// over 255 bytes, `a/` with content) are objects all the same: of the object-only shadow, which the mount does not show and
// which is persisted under its key. What open() and list() show is what a POSIX reader sees at the same instant, as of the last
// close of each file.
//
// Source of the semantics: Amazon S3 API reference. Protocol, authentication and checksums of bodies in flight are the front's.
//
// Threads: all methods may be called concurrently; a reader or writer belongs to one thread at a time. Waits: as Volume, with
// kWouldWait on a thread that must not wait.
// Crash: an object is there as a whole or not at all. Parts that were acknowledged survive as objects do.
// Errors, besides those named: kNotFound with is_no_bucket() when the bucket is missing; kInvalid for a key of 0 or more than
// kKeyBytesMax bytes, or with NUL; kNoSpace at the pinned limit or on a full disk (S3: 503 SlowDown); kUnavailable, kTimedOut,
// kDenied when a call needs the UFS (a cold object, WRITE_THROUGH) and it does not answer, or refuses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "io/file.h"
#include "meta/types.h"

namespace weir::volume {

inline constexpr size_t kObjectKeyBytesMax = 1'024;
inline constexpr size_t kObjectMetadataBytesMax = 2'048;   // of user metadata, names and values
inline constexpr size_t kObjectTagsMax = 10;
inline constexpr uint64_t kObjectPartBytesMin = 5ull << 20;  // every part but the last
inline constexpr uint32_t kObjectPartsMax = 10'000;
inline constexpr size_t kObjectsErasedMax = 1'000;         // by one call

// Whether a kNotFound speaks of the bucket, of the upload, or else of the key.
bool is_no_bucket(const Error& error);
bool is_no_upload(const Error& error);

struct ObjectName {
  std::string bucket;
  std::string key;
};

// Response headers kept with an object. An empty one was not given.
struct ObjectHeaders {
  std::string content_type;
  std::string content_encoding;
  std::string content_disposition;
  std::string content_language;
  std::string cache_control;
  std::string expires;
  std::string website_redirect;
  std::string storage_class;
  std::map<std::string, std::string> user;  // lower-case names, without x-amz-meta-

  bool operator==(const ObjectHeaders&) const = default;
};

using ObjectTags = std::map<std::string, std::string>;

enum class ChecksumAlgorithm : uint8_t { kCrc32, kCrc32c, kCrc64Nvme, kSha1, kSha256 };
enum class ChecksumType : uint8_t { kFullObject, kComposite };

struct ObjectChecksum {
  ChecksumAlgorithm algorithm = ChecksumAlgorithm::kCrc64Nvme;
  ChecksumType type = ChecksumType::kFullObject;
  std::string value;  // as in the header: base64, of a composite one with its "-N"

  bool operator==(const ObjectChecksum&) const = default;
};

// Of an object that was put in parts.
struct ObjectPart {
  uint32_t number = 0;
  uint64_t size = 0;
  std::string etag;
  int64_t modified_ns = 0;
  std::optional<ObjectChecksum> checksum;
};

// An object as one instant saw it. Its etag (without quotes) is the same as long as its content is, across rename, upload and
// restart: what put() was told, the store's for an object found in the bucket, and for content written by POSIX an opaque one
// with a dash.
struct Object {
  std::string key;
  InodeId inode{};
  uint64_t size = 0;
  std::string etag;
  int64_t modified_ns = 0;          // never goes back while the key is there
  ObjectHeaders headers;
  std::optional<ObjectChecksum> checksum;
  uint32_t parts = 0;               // 0: it was not put in parts
  uint32_t tags = 0;                // how many
  meta::FileState state = meta::FileState::kPersisted;
};

// Entity tags without quotes, "*" for any. Of a read: HTTP's (RFC 9110, 13.2.2) order of precedence. A write that fails one gets
// kPrecondition; kNotFound for if_match where there is no object; kConflict when a concurrent write won the race: the call, again.
struct ObjectConditions {
  std::vector<std::string> if_match;
  std::vector<std::string> if_none_match;
  std::optional<int64_t> if_modified_since_s;
  std::optional<int64_t> if_unmodified_since_s;

  bool empty() const {
    return if_match.empty() && if_none_match.empty() && !if_modified_since_s && !if_unmodified_since_s;
  }
};

// When a write is acknowledged, see the three verbs of durability. WRITE_THROUGH and NO_CACHE paths are always kPersist.
enum class ObjectDurability : uint8_t { kWrite, kSync, kPersist };

// Reads one version of an object, whatever happens to its name meanwhile.
class ObjectReader {
 public:
  virtual ~ObjectReader() = default;
  virtual const Object& object() const = 0;
  // The whole content, for sendfile(2), at the same offsets; null while some of it is only in the UFS.
  virtual const io::File* local_file() const = 0;
  // Short only at the end.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) = 0;
  // Whether all that was read so far, local_file() too, is of one state of the content, that which object() speaks of. kStale: the
  // file was written in place meanwhile.
  virtual Result<void> verify() { return {}; }
  // Where a part of an object that was put in parts begins. kRange when there is no such part; of an object that was not, part
  // 1 is all of it.
  struct Extent {
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  virtual Result<Extent> part(uint32_t number) = 0;
  // Of parts `after` < number, at most `parts_max`.
  virtual Result<std::vector<ObjectPart>> parts(uint32_t after, size_t parts_max) = 0;
};

struct PutFacts {
  ObjectHeaders headers;
  ObjectTags tags;
  std::string etag;                        // hex MD5 of what was written
  std::optional<ObjectChecksum> checksum;  // of what was written
};

// Takes the content of an object, or of a part, that nobody sees before commit(). Destroyed without: nothing stays.
class ObjectWriter {
 public:
  virtual ~ObjectWriter() = default;
  // Appends. kNoSpace after waiting a moment for room.
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
};

class PutWriter : public ObjectWriter {
 public:
  // Puts the object in the place of what is there, as one step for every reader. Once.
  virtual Result<Object> commit(const PutFacts& facts, const ObjectConditions& conditions,
                                ObjectDurability durability) = 0;
};

class PartWriter : public ObjectWriter {
 public:
  // The part takes the place of an earlier one with its number. Once. kNotFound with is_no_upload() when the upload ended meanwhile.
  virtual Result<ObjectPart> commit(std::string_view etag, const std::optional<ObjectChecksum>& checksum,
                                    ObjectDurability durability) = 0;
};

struct ListObjects {
  std::string bucket;
  std::string prefix;
  std::string delimiter;   // any text; empty: none
  std::string after;       // keys and common prefixes behind it; a common prefix that it lies in is passed over
  uint32_t entries_max = 1'000;  // objects and common prefixes together; 0 gives an empty, complete page
};

// In the byte order of keys.
struct ObjectListing {
  struct Entry {
    std::string key;
    uint64_t size = 0;
    std::string etag;
    int64_t modified_ns = 0;
    std::string storage_class;
    std::optional<ChecksumAlgorithm> checksum_algorithm;
    ChecksumType checksum_type = ChecksumType::kFullObject;
  };
  std::vector<Entry> objects;
  std::vector<std::string> common_prefixes;
  bool more = false;
  std::string next;        // `after` for the next page
};

struct CopyOptions {
  ObjectConditions source_conditions;
  ObjectConditions conditions;               // of the target
  std::optional<ObjectHeaders> headers;      // absent: the source's
  std::optional<ObjectTags> tags;            // absent: the source's
  // The copy carries a checksum of this kind; absent: the source's.
  std::optional<ChecksumAlgorithm> checksum;
  ObjectDurability durability = ObjectDurability::kSync;
};

struct UploadOptions {
  ObjectHeaders headers;
  ObjectTags tags;
  std::optional<ChecksumAlgorithm> checksum_algorithm;
  ChecksumType checksum_type = ChecksumType::kComposite;
};

struct ObjectUpload {
  std::string key;
  std::string upload_id;
  int64_t started_ns = 0;
  UploadOptions options;
};

struct CompletedPart {
  uint32_t number = 0;
  std::string etag;
  std::optional<std::string> checksum;  // value, when the client names one
};

struct CompleteOptions {
  std::vector<CompletedPart> parts;
  std::optional<uint64_t> size;                       // of the whole, as the client expects it: kInvalid if it is not
  std::optional<ObjectChecksum> checksum;             // of the whole, as the client expects it: kCorrupt if it is not
  ObjectConditions conditions;
  ObjectDurability durability = ObjectDurability::kSync;
};

// Why complete() gave kInvalid.
enum class CompleteProblem : uint8_t { kInvalidPart, kInvalidPartOrder, kEntityTooSmall, kOther };
CompleteProblem complete_problem(const Error& error);

class Objects {
 public:
  virtual ~Objects() = default;

  struct Bucket {
    std::string name;
    int64_t created_ns = 0;
  };
  virtual Result<std::vector<Bucket>> buckets() = 0;
  virtual Result<Bucket> find_bucket(std::string_view bucket) = 0;
  // Makes the directory or prefix NAME below the configured UFS root and mounts it. kPermission without a root, kExists, kInvalid
  // (no name of a bucket).
  virtual Result<Bucket> create_bucket(std::string_view bucket) = 0;
  // kNotEmpty; kPermission for a mount point that create_bucket() did not make.
  virtual Result<void> remove_bucket(std::string_view bucket) = 0;

  // kNotFound; kPrecondition: if_match or if_unmodified_since failed. `*not_modified` is set, and the object returned, when
  // if_none_match or if_modified_since says that the client has it already.
  virtual Result<std::unique_ptr<ObjectReader>> open(const ObjectName& name, const ObjectConditions& conditions,
                                                     bool* not_modified) = 0;
  // As open(), without the content: what HEAD needs.
  virtual Result<Object> head(const ObjectName& name, const ObjectConditions& conditions, bool* not_modified) = 0;
  virtual Result<std::unique_ptr<PutWriter>> put(const ObjectName& name) = 0;
  // The content is copied only where it must be: not onto itself, not between objects that are only in the same store.
  virtual Result<Object> copy(const ObjectName& source, const ObjectName& target, const CopyOptions& options) = 0;
  // Nothing there is success. kNotEmpty is never returned: a directory's key `a/` is no object any more, and its other entries stay.
  virtual Result<void> erase(const ObjectName& name, const ObjectConditions& conditions, ObjectDurability durability) = 0;
  // At most kObjectsErasedMax keys; one result for each.
  virtual std::vector<Result<void>> erase(std::string_view bucket, std::span<const std::string> keys,
                                          ObjectDurability durability) = 0;
  // As rename(2), within a bucket, in one step for every reader of both fronts: copies nothing, content, facts and etag stay.
  // Synced when it returns; under WRITE_THROUGH and NO_CACHE persisted. kNotFound; kInvalid for keys that end in '/';
  // kNotSupported from a file that has several names to a key that no path can show.
  virtual Result<void> rename(const ObjectName& source, std::string_view target_key, const ObjectConditions& source_conditions,
                              const ObjectConditions& target_conditions) = 0;
  virtual Result<ObjectListing> list(const ListObjects& query) = 0;

  virtual Result<ObjectTags> tags(const ObjectName& name) = 0;
  virtual Result<void> set_tags(const ObjectName& name, const ObjectTags& tags) = 0;  // empty: none

  virtual Result<std::string> create_upload(const ObjectName& name, const UploadOptions& options) = 0;
  virtual Result<ObjectUpload> find_upload(const ObjectName& name, std::string_view upload_id) = 0;
  // `size`: of the part, if the client said.
  virtual Result<std::unique_ptr<PartWriter>> put_part(const ObjectName& name, std::string_view upload_id, uint32_t number,
                                                       std::optional<uint64_t> size) = 0;
  // The completed object. Repeating a call that took effect gives the same answer, while the object is there.
  virtual Result<Object> complete_upload(const ObjectName& name, std::string_view upload_id,
                                         const CompleteOptions& options) = 0;
  virtual Result<void> abort_upload(const ObjectName& name, std::string_view upload_id) = 0;
  virtual Result<std::vector<ObjectPart>> upload_parts(const ObjectName& name, std::string_view upload_id, uint32_t after,
                                                       size_t parts_max) = 0;
  // In the order of keys, then of their start; behind (key_after, id_after).
  virtual Result<std::vector<ObjectUpload>> uploads(std::string_view bucket, std::string_view prefix,
                                                    std::string_view key_after, std::string_view id_after,
                                                    size_t uploads_max) = 0;
};

}  // namespace weir::volume
