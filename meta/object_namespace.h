// meta/object_namespace.h -- the namespace as objects see it: a bucket and a key instead of a directory and a name.
//
// The object `a/b` of a bucket is the file /BUCKET/a/b; the object `a/b/` is a directory that was made on purpose. Directories
// on the way that nobody made are implicit: a put makes them, the erasing of what they hold removes them, and they have no object
// in the bucket, like those that a listing found as a prefix. Symbolic links and special files are objects as the bucket has
// them: see meta/object_attributes.h.
//
// An object's entity tag is the same as long as its content is: what put() was told; of content found in the bucket the
// store's when it was found, kept when the object is copied elsewhere; else, of content that POSIX wrote, a digest of volume,
// inode and version of the content, and "-0". Not there is a file that was never committed.
//
// Keys that no path can show (`a` beside `a/b`, empty names, `.` and `..`, names over 255 bytes, `a/` with content) are objects of
// the shadow: inodes without a name, found by their key alone and persisted under it. When the names have room for one, it gets
// its name: see promote(). A directory that moves leaves behind those under its old path.
//
// Threads, errors and crashes as meta/namespace.h; besides: kNotFound with is_no_bucket() where the bucket is missing, with
// is_no_upload() where the upload is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"
#include "meta/types.h"

namespace weir::meta {

bool is_no_bucket(const Error& error);
bool is_no_upload(const Error& error);

// A file whose content some commit, or the bucket, has told; anything else that is not an implicit directory.
bool is_object(const Inode& inode);
// Of a directory: it has an object, or is to have one.
bool has_marker(const Inode& directory);
std::string etag_of(const Inode& inode, std::string_view volume_id);
// The same content is about to have another object in the store.
void keep_etag(Inode& inode, std::string_view new_home_etag);
// Last-Modified.
int64_t object_modified_ns(const Inode& inode);
// The inode's mtime is about to be changed.
void keep_modified(Inode& inode);
// Bytes of the body.
uint64_t object_size(const Inode& inode);
// The body of what is not a regular file.
std::string object_body(const Inode& inode);

// What a key leads to, at one instant.
struct KeyFound {
  InodeId bucket{};
  InodeId directory{};             // that the last name of the key is in; 0: it does not exist
  std::string name;                // the last name
  std::optional<Inode> inode;      // that has the name: an object or not, see is_object()
  format::ObjectFacts facts;       // of `inode`, if asked for
  // This directory was never listed completely: it may have the name all the same.
  std::optional<std::pair<InodeId, std::string>> ask_lower;
  // The same of a key that no path can show: listing the directory tells.
  std::optional<InodeId> needs_listing;
  // The innermost directory found, when its listing is older than metadata.sync.interval.
  std::optional<InodeId> refresh_due;
};
enum class WithFacts : uint8_t { kNo, kYes };

// Whether the change may be made, and with what it is made: called in its transaction, perhaps several times, with the
// object that is there then.
using ObjectGuard = std::function<Result<void>(const std::optional<Inode>& there)>;

// What the caller knows of the name that is replaced or erased, and holds (OpenFiles::Removal). kStale from a change: it is
// another one by now.
struct Incumbent {
  std::optional<InodeId> inode;
  InUse in_use = InUse::kNo;
};

struct ObjectPut {
  LocalFileId local_file{};
  uint64_t size = 0;
  int64_t content_ctime_ns = 0;
  uint64_t allocated_bytes = 0;
  bool synced = false;                 // the local file; only with Durability::kSynced
  std::string etag;                    // empty: as of content that POSIX wrote
  format::ObjectFacts facts;
  AttributeChange attributes;          // what the user metadata says of them
  Caller caller;                       // of a new file, and of directories on the way
  uint32_t file_permissions = 0644;
  uint32_t directory_permissions = 0755;
  Urgency urgency = Urgency::kOrdinary;
  // All bytes of the content, at most kLoggedBodyBytesMax, to be kept with the metadata until erase_bodies().
  std::optional<std::string_view> logged_body;
  // Instead of a local file: the content lies in the store already, under a key that park() reserved for this inode. kStale when
  // that is not so any more.
  struct Parked {
    InodeId inode{};
    format::Home home;
  };
  std::optional<Parked> parked;
  // Of an object that was put in parts: its upload, which ends with it. kNotFound with is_no_upload() when it did before.
  struct Upload {
    std::string id;
    std::vector<format::ObjectPart> parts;  // in order, at their offsets in the object
  };
  std::optional<Upload> upload;
};

// Within the store's limit for a value.
inline constexpr size_t kLoggedBodyBytesMax = 64 << 10;

// Names that lead elsewhere now.
using ChangedNames = std::vector<std::pair<InodeId, std::string>>;

struct ObjectCommitted {
  Inode inode;
  WritePolicy policy = WritePolicy::kWriteBack;
  bool takes_local_file = true;        // false: a directory needs none
  std::optional<Unlinked> replaced;
  ChangedNames changed;
};

struct ObjectErased {
  std::optional<Unlinked> unlinked;    // absent: there was nothing
  ChangedNames changed;
  bool erases_object = false;
};

struct ObjectRenamed {
  InodeId moved{};
  Generation generation{};             // of its content
  bool in_shadow = false;              // under its new key
  bool policy_needs_persist = false;   // the new path is WRITE_THROUGH or NO_CACHE and its content is not persisted
  std::optional<Unlinked> replaced;
  ChangedNames changed;
};

struct ObjectQuery {
  std::string_view bucket;
  std::string_view prefix;
  std::string_view delimiter;
  std::string_view after;
  size_t entries_max = 1'000;
  // A directory that was listed before this is to be listed again first; 0: listed at all is enough.
  int64_t listed_since_ns = 0;
};

struct ObjectPage {
  struct Entry {
    std::string key;
    bool common_prefix = false;        // and nothing else is set
    uint64_t size = 0;
    std::string etag;
    int64_t modified_ns = 0;
    std::string storage_class;
    format::ChecksumAlgorithm checksum_algorithm = format::NO_CHECKSUM;
    bool checksum_composite = false;
  };
  std::vector<Entry> entries;
  bool more = false;
  std::string next;                       // `after` of the next page
  std::optional<InodeId> needs_listing;   // nothing is known behind `next` before this directory is listed
  std::vector<InodeId> refresh_due;       // directories seen whose listing is old; at most kRefreshesMax
  static constexpr size_t kRefreshesMax = 100;
};

class ObjectNamespace {
 public:
  // `sync_interval` as of the namespace, which must outlive it.
  ObjectNamespace(Namespace& names, Duration sync_interval) : names_(names), sync_interval_(sync_interval) {}

  Result<KeyFound> find(std::string_view bucket, std::string_view key, WithFacts with_facts);
  // Parts behind number `after` of an object that was put in parts, at most `parts_max`. kStale: its content is another one now.
  Result<std::vector<format::ObjectPart>> parts(const Inode& inode, uint32_t after, size_t parts_max);

  // Puts a new file in the place of what the key names, as rename(2) would, with the directories on the way; of an empty one
  // under a directory's key `a/` makes the directory, or gives the one that is there an object. kStale, and what the guard says.
  Result<ObjectCommitted> put(std::string_view bucket, std::string_view key, const ObjectPut& put,
                              const Incumbent& incumbent, const ObjectGuard& guard, kv::Durability durability);
  // Before an object is copied to the parking key of an inode that is yet to be made. What is there is erased after an hour, or as soon
  // as `drop_parked` says so, unless put() gave it to the inode.
  Result<void> park(MountId mount, InodeId inode);
  Result<void> drop_parked(MountId mount, InodeId inode);
  // All that are reserved. Requires: nobody copies to them any more.
  Result<void> drop_all_parked();
  // Changes the facts of what is there; its content stays. kNotFound. `change` may alter attributes of the inode, too.
  using ChangeFacts = std::function<Result<void>(Inode& inode, format::ObjectFacts& facts)>;
  Result<Inode> change(std::string_view bucket, std::string_view key, const ChangeFacts& change,
                       kv::Durability durability);
  // Removes the name, then implicit directories above that are empty. A directory's object goes, the directory stays while it has
  // entries. Nothing there is success.
  Result<ObjectErased> erase(std::string_view bucket, std::string_view key, const Incumbent& incumbent,
                             const ObjectGuard& guard, kv::Durability durability);

  // Gives the object another key, over what is there, with the directories on the way; implicit ones that it leaves empty go. Its
  // content, facts and etag stay. `incumbent` is what the target leads to. kNotFound; kInvalid for keys that end in '/';
  // kNotSupported from a file with several names to a key that no path can show; kStale, and what the guards say.
  struct RenameGuards {
    ObjectGuard source;
    ObjectGuard target;
  };
  Result<ObjectRenamed> rename(std::string_view bucket, std::string_view source, std::string_view target,
                               const Incumbent& incumbent, const RenameGuards& guards, const ObjectPut& defaults,
                               kv::Durability durability);                               // object_rename.cc

  // One snapshot, in the byte order of keys.
  Result<ObjectPage> list(const ObjectQuery& query);

  // --- the shadow: object_shadow.cc
  Result<bool> has_shadows();
  struct ShadowPage {
    std::vector<std::string> keys;
    bool more = false;
  };
  // Keys of the shadow from `from` on.
  Result<ShadowPage> shadows(std::string_view bucket, std::string_view from);
  // Gives the object its name, if there is room for it by now; one whose name a file has taken gets another beside it. Returns the
  // names that lead elsewhere now.
  Result<ChangedNames> promote(std::string_view bucket, std::string_view key, const ObjectPut& defaults);

  // --- uploads: object_uploads.cc. Their local files belong to the volume until they are removed here.
  struct Upload {
    std::string key;
    std::string upload_id;
    format::ObjectUpload record;
  };
  Result<Upload> create_upload(std::string_view bucket, std::string_view key, const format::ObjectFacts& facts);
  Result<Upload> find_upload(std::string_view bucket, std::string_view key, std::string_view upload_id);
  // Uploads of keys that begin with `prefix`, behind (key_after, id_after), in the order of keys and starts.
  Result<std::vector<Upload>> uploads(std::string_view bucket, std::string_view prefix, std::string_view key_after,
                                      std::string_view id_after, size_t uploads_max);
  // Gives the upload an assembly file unless it has one; returns it as it is then.
  Result<Upload> set_assembly(std::string_view bucket, std::string_view key, std::string_view upload_id,
                              LocalFileId local_file, uint64_t stride);
  Result<std::optional<format::ObjectPart>> find_part(const Upload& upload, uint32_t number);
  Result<std::vector<format::ObjectPart>> upload_parts(const Upload& upload, uint32_t after, size_t parts_max);
  // Accepts a part in the place of an earlier one. Returns it with its time, and the local file that held nothing but that one, or 0.
  struct PartCommitted {
    format::ObjectPart part;
    LocalFileId replaced{};
  };
  Result<PartCommitted> commit_part(std::string_view bucket, std::string_view key, std::string_view upload_id,
                                    const format::ObjectPart& part, kv::Durability durability);
  // Forgets it. Returns its local files.
  Result<std::vector<LocalFileId>> abort_upload(std::string_view bucket, std::string_view key, std::string_view upload_id);
  // All uploads, from a sequence of snapshots.
  Result<void> for_each_upload(const std::function<Result<void>(MountId mount, const Upload& upload)>& visit);
  // A part whose bytes were lost with the power.
  Result<void> drop_part(const Upload& upload, uint32_t number);

  // --- bodies kept with the metadata: object_bodies.cc
  struct Body {
    LocalFileId local_file{};
    format::LoggedBody record;
    // The inode, if that local file still holds this content of it.
    std::optional<Inode> inode;
  };
  // nullopt: there is none.
  Result<std::optional<Body>> find_body(LocalFileId local_file);
  // All of them, from a sequence of snapshots.
  Result<void> for_each_body(const std::function<Result<void>(const Body& body)>& visit);
  Result<void> erase_bodies(std::span<const LocalFileId> local_files, kv::Durability durability);

 private:
  Namespace& names_;
  const Duration sync_interval_;
};

}  // namespace weir::meta
