// meta/tables.h -- typed access to the tables of format/keys.h within one transaction: what the operations are made of.
//
// Threads: as kv::Txn, one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "format/keys.h"
#include "kv/kv.h"
#include "meta/path_rules.h"
#include "meta/types.h"

namespace weir::meta {

struct PartDigests;

// kInvalid or kNameTooLong.
Result<void> check_name(std::string_view name);
// kStale unless `now` is the inode that was expected, if any was.
Result<void> check_expected(std::optional<InodeId> expected, InodeId now);
// Whether the volume keeps objects of its own under this name in a mount point's directory.
bool is_reserved_name(std::string_view name);

class Tables {
 public:
  Tables(kv::Txn& txn, int64_t now_ns) : txn_(txn), now_ns_(now_ns) {}

  kv::Txn& txn() { return txn_; }
  int64_t now_ns() const { return now_ns_; }

  // --- inodes
  // The id of a further name's record stands for its inode.
  Result<std::optional<Inode>> find_inode(InodeId inode, kv::Isolation isolation = kv::Isolation::kSerializable);
  Result<Inode> load_inode(InodeId inode, kv::Isolation isolation = kv::Isolation::kSerializable);  // kNotFound
  // Of a further name: its own record, completed with what it shares with its inode.
  Result<std::optional<Inode>> find_record(InodeId id, kv::Isolation isolation = kv::Isolation::kSerializable);
  // A directory in which names may be changed: kNotFound when removed, kNotDirectory, kPermission for the root.
  Result<Inode> load_parent(InodeId directory);
  // Of a further name: what is its own.
  void put_inode(const Inode& inode);
  // The record, its counters, its xattrs and its group.
  Result<void> erase_inode(const Inode& inode);
  // A new inode with times of now and without a name.
  Inode make_unnamed_inode(InodeId id, FileType type, uint32_t permissions, uint32_t uid, uint32_t gid);
  // kPermission for a reserved name in a mount point's directory.
  static Result<void> check_free_name(const Inode& parent, std::string_view name);
  // A new inode with times of now, and its dentry. One that was there before does not move the parent's mtime.
  enum class Novelty : uint8_t { kNew, kThereBefore };
  Inode make_inode(InodeId id, FileType type, InodeId parent, std::string_view name, uint32_t permissions, uint32_t uid,
                   uint32_t gid, Novelty novelty = Novelty::kNew);
  // For a new inode: the directory's default ACL, or else the umask, decides what is left of its permissions.
  Result<void> inherit_acl(const Inode& directory, const Caller& caller, Inode& inode);

  // What travels as object metadata changed: it is to be persisted. put_inode() is the caller's.
  void attributes_changed(Inode& inode);

  // --- dentries
  struct DentryRef {
    InodeId inode{};
    FileType type = format::REGULAR;
  };
  Result<std::optional<DentryRef>> find_dentry(InodeId parent, std::string_view name);
  Result<DentryRef> load_dentry(InodeId parent, std::string_view name);  // kNotFound
  void put_dentry(InodeId parent, std::string_view name, DentryRef dentry);
  void erase_dentry(InodeId parent, std::string_view name, FileType type);
  Result<bool> directory_empty(InodeId directory);
  void touch_directory(InodeId directory, int64_t mtime_ns);
  void count_subdirectory(InodeId directory, int64_t delta);
  // The inode comes to the directory whose entry its first name is, or (-1) goes from there.
  void count_entry(InodeId directory, const Inode& inode, int64_t delta);

  // --- hard links
  // The record that speaks of the object under this name of `inode`: its own, or a further name's.
  Result<Inode> load_name(const Inode& inode, InodeId parent, std::string_view name);
  Result<std::vector<Inode>> further_names(const Inode& inode);
  // A new name besides the ones the inode has; neither its dentry nor its count of links. kTooManyLinks.
  Result<Inode> add_further_name(const Inode& inode, InodeId id, InodeId parent, std::string_view name);
  // The first name of the inode, in its record and in the sums of directories.
  void set_first_name(Inode& inode, InodeId parent, std::string_view name);
  // The record now speaks of another name; neither its dentries nor its inode's ctime.
  void move_name(Inode& record, InodeId parent, std::string_view name);
  // Gives up the name's keys and its record. Whether there is an object to erase.
  Result<bool> erase_further_name(Inode record);
  // Gives the objects of all names a group, if they have none.
  void join_group(Inode& inode, MountId mount, std::string_view group, const format::LinkGroup& row);
  // Queues the further names whose objects are not their inode's any more. Requires: the inode's content is persisted.
  // Whether there are any.
  Result<bool> requeue_further_names(const Inode& inode);

  // --- places
  struct Place {
    std::string path;       // in the namespace
    MountId mount{};        // 0: the root directory
    std::string key;        // of the object; a directory's ends in '/'; empty for a mount point's directory
  };
  // kNotFound for what has no name any more.
  Result<Place> place_of(const Inode& inode, kv::Isolation isolation = kv::Isolation::kSerializable);
  // Whether `inode` is `ancestor` or lies below it.
  Result<bool> is_below(const Inode& inode, InodeId ancestor);
  // By the path; of an inode with several names the strictest of all their paths' policies.
  Result<WritePolicy> policy_of(const Inode& record, const PathRules& rules);

  // --- the queue
  // Puts the inode's entry where it belongs, if it waits for anything; changes the record, the caller puts it.
  void enqueue(Inode& inode, format::QueueClass queue_class, int64_t due_ns);
  void dequeue(Inode& inode);
  // Decides by policy what a change of content, attributes or place means for the queue.
  void requeue(Inode& inode, WritePolicy policy, format::QueueClass queue_class);
  void set_transient(Inode& inode, bool transient);
  // Size of a regular file, keeping the volume's counters right.
  void set_size(Inode& inode, uint64_t size);

  // --- owners and whiteouts
  Result<std::optional<format::Owner>> find_owner(MountId mount, std::string_view key,
                                                  kv::Isolation isolation = kv::Isolation::kSerializable);
  void put_owner(MountId mount, std::string_view key, InodeId inode);
  // `before` is the row as read: its erase entry is removed with it.
  void erase_owner(MountId mount, std::string_view key, const std::optional<format::Owner>& before);
  void put_whiteout(MountId mount, std::string_view key, std::string_view etag, InodeId former, bool verify);
  // Gives up every key the record owns: its home and a claim.
  Result<bool> release_keys(const Inode& inode);
  // Gives up the objects that hold the inode's extended attributes.
  Result<void> release_sidecars(const Inode& inode);
  // One of them, if the inode owns it.
  Result<void> release_sidecar(const Inode& inode, MountId mount, std::string_view key, std::string_view etag);

  // --- digests of the parts of the home's object
  Result<std::optional<PartDigests>> part_digests(const Inode& inode);
  // nullopt: they are not known. Changes the record, the caller puts it.
  void put_part_digests(Inode& inode, uint64_t generation, const std::optional<PartDigests>& digests);

  // --- extended attributes
  Result<Xattrs> xattrs(InodeId inode, kv::Isolation isolation = kv::Isolation::kSerializable);
  // Puts `xattrs` in the place of those that the inode has; changes the record, the caller puts it.
  void replace_xattrs(Inode& inode, const Xattrs& xattrs);

  // --- the lower layer
  // Gives a new directory the lower layer under its path, listed at `listed_ns`, unless a renamed directory still reads
  // that prefix: then it is opaque.
  Result<void> attach_lower(Inode& directory, const Inode& parent, int64_t listed_ns);
  // A directory that moved to `place`: it goes on reading its old prefix and claims it, until a tree job has walked all
  // that is below it.
  Result<void> redirect_lower(const Inode& directory, const Place& place);
  // (Re)starts the walk.
  Result<void> put_tree_job(InodeId directory, const format::Lower* claim);
  // Ends it, but not its claims, which are the caller's now.
  Result<std::vector<format::Lower>> take_tree_job(InodeId directory);
  // Ends it: no prefix is claimed for it any more.
  Result<void> erase_tree_job(InodeId directory);

  // --- the end of an inode
  // Takes the dentry away, and with an inode's last name the inode: off the queue, keys given up, record erased, or kept as an
  // orphan while in use. kNotEmpty for a directory with entries.
  Result<Unlinked> remove_entry(InodeId parent, std::string_view name, DentryRef dentry, bool in_use);

  // The inode has no name any more: off the queue, keys given up, record erased, or kept as an orphan while in use.
  Result<Unlinked> end_inode(Inode inode, bool in_use);

  void count(std::string_view counter, int64_t delta);

 private:
  Result<std::optional<Inode>> find_stored(InodeId id, kv::Isolation isolation);
  void put_first_xattr(Inode& inode, std::string_view name, const std::string& value);
  // One of several names goes.
  Result<Unlinked> remove_one_name(Inode inode, InodeId parent, std::string_view name);
  // The first name goes: a further one takes its place. Whether there is an object to erase.
  Result<bool> promote_further_name(Inode& inode);

  kv::Txn& txn_;
  const int64_t now_ns_;
};

// Names of the volume's counters.
inline constexpr std::string_view kInodeCount = "inodes";
inline constexpr std::string_view kLastErasure = "last_erasure_ns";
inline constexpr std::string_view kByteCount = "bytes";
inline constexpr std::string_view kDirtyFileCount = "dirty_files";
inline constexpr std::string_view kDirtyByteCount = "dirty_bytes";

}  // namespace weir::meta
