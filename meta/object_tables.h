// meta/object_tables.h -- keys, facts and implicit directories within one transaction: what operations on objects are made of.
//
// Threads: as kv::Txn, one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "meta/object_namespace.h"
#include "meta/tables.h"

namespace weir::meta {

// An object that is replaced is not erased from the store for so long: the upload of the new one takes its place.
inline constexpr int64_t kReplacedGraceNs = 60'000'000'000;
inline constexpr std::string_view kNoUpload = "no such upload";

// The names on the way to a key. `a/b/` is the directory `b` in `a`.
struct KeyPath {
  std::vector<std::string> names;  // at least one
  bool directory = false;

  // kInvalid: no path can show the key. kPermission: it is kept for objects of the volume's own.
  static Result<KeyPath> parse(std::string_view key);
};

class ObjectTables {
 public:
  explicit ObjectTables(Tables& tables) : tables_(tables) {}

  // The directory of a mount point; kNotFound with is_no_bucket().
  Result<Inode> load_bucket(std::string_view bucket);

  // How far the names lead.
  struct Place {
    InodeId directory{};                         // the innermost one reached
    size_t depth = 0;                            // index of the name looked for in it
    size_t names = 0;                            // of the path
    std::optional<Tables::DentryRef> dentry;     // what has that name
    bool whole() const { return depth + 1 == names; }
  };
  // Up to the last name, one that is missing, or one on the way that is no directory.
  Result<Place> walk(const Inode& bucket, const KeyPath& path);

  // --- the shadow: objects that no path shows
  Result<std::optional<Inode>> find_shadow(MountId mount, std::string_view key,
                                           kv::Isolation isolation = kv::Isolation::kSerializable);
  // Puts the inode into the shadow; changes the record, the caller puts it.
  void put_shadow(const Inode& bucket, std::string_view key, Inode& inode);
  // A new one, with times of now.
  Inode make_shadow(const Inode& bucket, std::string_view key, InodeId id, const ObjectPut& put);
  Result<Unlinked> remove_shadow(MountId mount, Inode inode, InUse in_use);

  // What a key leads to. Of a directory's key the shadow is asked first, of others the names.
  struct Resolved {
    std::optional<KeyPath> path;  // absent: no path can show the key
    Place place;                  // without a path: as far as names lead
    std::optional<Inode> inode;
    bool in_shadow = false;       // the inode is
    bool blocked = false;         // the names have no room for the key
  };
  Result<Resolved> resolve(const Inode& bucket, std::string_view key);

  using NextId = std::function<Result<InodeId>()>;
  // Makes the directories that are missing; returns the one for the last name. `place` leads there then.
  Result<Inode> make_parents(const KeyPath& path, Place& place, const ObjectPut& put, const NextId& next_id,
                             ChangedNames& changed);
  // An implicit one, unless it inherits attributes that are to be kept.
  Result<Inode> make_directory(const Inode& parent, std::string_view name, const ObjectPut& put, InodeId id);
  // A directory is not an object any more. Whether there is one to erase in the store.
  Result<bool> erase_marker(Inode& directory);
  // Removes the directory and those above while they are implicit and empty.
  Result<void> prune(InodeId directory, ChangedNames& changed);

  // Of `inode`; empty when there are none.
  Result<format::ObjectFacts> facts(const Inode& inode);
  // Changes the record, the caller puts it.
  void put_facts(Inode& inode, const format::ObjectFacts& facts);
  void put_parts(Inode& inode, const std::vector<format::ObjectPart>& parts);

  // --- uploads
  Result<format::ObjectUpload> load_upload(MountId mount, std::string_view key, std::string_view upload_id);
  // Its rows; returns its local files.
  Result<std::vector<LocalFileId>> erase_upload(MountId mount, std::string_view key, std::string_view upload_id,
                                                const format::ObjectUpload& upload);

  // The content is another one than that which was put: what was said of it is not so any more. Headers, user metadata and
  // tags stay. Changes the record, the caller puts it.
  Result<void> content_written(Inode& inode);
  // What the object in the bucket said. Changes the record, the caller puts it.
  void take_found(Inode& inode, const LowerObject& found);
  // The content is another one that was found in the bucket: whatever was known of the object is not so any more.
  void content_found(Inode& inode);

  // A new inode's content is the parked object; changes the record, the caller puts it. kStale: it is kept for nobody any more.
  Result<void> take_parked(Inode& inode, const format::Home& home);

  // The whiteout of an object that is about to be replaced under its key is not due at once.
  Result<void> spare_replaced(MountId mount, std::string_view key, int64_t grace_ns);

 private:
  Result<Place> walk_showable(const Inode& bucket, std::string_view key);

  Tables& tables_;
};

}  // namespace weir::meta
