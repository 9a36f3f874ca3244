// meta/tables.h -- typed access to the tables of format/keys.h within one transaction: what the operations are made of.
//
// Threads: as kv::Txn, one at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "format/keys.h"
#include "kv/kv.h"
#include "meta/path_rules.h"
#include "meta/types.h"

namespace weir::meta {

// kInvalid or kNameTooLong.
Result<void> check_name(std::string_view name);

class Tables {
 public:
  Tables(kv::Txn& txn, int64_t now_ns) : txn_(txn), now_ns_(now_ns) {}

  kv::Txn& txn() { return txn_; }
  int64_t now_ns() const { return now_ns_; }

  // --- inodes
  Result<std::optional<Inode>> find_inode(InodeId inode, kv::Isolation isolation = kv::Isolation::kSerializable);
  Result<Inode> load_inode(InodeId inode, kv::Isolation isolation = kv::Isolation::kSerializable);  // kNotFound
  // A directory in which names may be changed: kNotFound when removed, kNotDirectory, kPermission for the root.
  Result<Inode> load_parent(InodeId directory);
  void put_inode(const Inode& inode);
  // The record, its counters and its xattrs.
  void erase_inode(const Inode& inode);
  // A new inode with times of now, its dentry, and the parent's mtime.
  Inode make_inode(InodeId id, FileType type, InodeId parent, std::string_view name, uint32_t permissions, uint32_t uid,
                   uint32_t gid);

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
  // Gives up every key the inode owns: its home and a claim.
  Result<bool> release_keys(const Inode& inode);

  // --- the lower layer
  // Gives a new directory the lower layer under its path, listed at `listed_ns`, unless a renamed directory still reads
  // that prefix: then it is opaque.
  Result<void> attach_lower(Inode& directory, const Inode& parent, int64_t listed_ns);
  // A directory that moved to `place`: it goes on reading its old prefix and claims it, until a tree job has walked all
  // that is below it.
  Result<void> redirect_lower(const Inode& directory, const Place& place);
  // (Re)starts the walk.
  Result<void> put_tree_job(InodeId directory, const format::Lower* claim);
  // Ends it: no prefix is claimed for it any more.
  Result<void> erase_tree_job(InodeId directory);

  // --- the end of an inode
  // Takes the dentry away, and with it the inode: off the queue, keys given up, record erased, or kept as an orphan while
  // in use. kNotEmpty for a directory with entries.
  Result<Unlinked> remove_entry(InodeId parent, std::string_view name, DentryRef dentry, bool in_use);

  void count(std::string_view counter, int64_t delta);

 private:
  kv::Txn& txn_;
  const int64_t now_ns_;
};

// Names of the volume's counters.
inline constexpr std::string_view kInodeCount = "inodes";
inline constexpr std::string_view kByteCount = "bytes";
inline constexpr std::string_view kDirtyFileCount = "dirty_files";
inline constexpr std::string_view kDirtyByteCount = "dirty_bytes";

}  // namespace weir::meta
