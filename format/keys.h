// format/keys.h -- every key of the metadata store. One leading byte names the table; integers are big-endian, so that
// KV order is numeric order. docs/format.md describes each table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "format/records.pb.h"

namespace weir::format {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr char kRecordVersion = 1;

// Half-open.
struct KeyRange {
  std::string begin;
  std::string end;
};

std::string superblock_key();
std::string config_key(std::string_view document);          // "pathconfig", "conf"
std::string id_counter_key(std::string_view counter);       // "inode", "local_file", "mount"
std::string usage_key(std::string_view counter);            // atomic counters of the volume

std::string inode_key(InodeId inode);
KeyRange inode_range();
std::string directory_mtime_key(InodeId directory);         // atomic max
std::string subdirectories_key(InodeId directory);          // atomic add
// Its entries changed since the object that stands for it was written.
std::string changed_directory_key(InodeId directory);
KeyRange changed_directory_range();
// What a key of table `a` speaks of.
enum class DirectoryRow : uint8_t { kChanged, kFiles, kBytes, kSubdirectory };
struct DirectoryKey {
  DirectoryRow row = DirectoryRow::kChanged;
  InodeId directory{};
  std::string_view name;  // of a subdirectory; lives as long as the key
};
Result<DirectoryKey> parse_directory_key(std::string_view key);
// Sums over its entries: everything but directories, and the sizes of regular files. Atomic add. What has several names
// counts under its first one.
std::string directory_files_key(InodeId directory);
std::string directory_bytes_key(InodeId directory);
// Its directories: their inodes, as counters are kept.
std::string subdirectory_key(InodeId parent, std::string_view name);
KeyRange subdirectory_range(InodeId parent);
// What a changed directory's row holds, by atomic max: of several times the earliest.
inline int64_t encode_changed_since(int64_t time_ns) { return INT64_MAX - time_ns; }
inline int64_t decode_changed_since(int64_t value) { return INT64_MAX - value; }

// A directory's dentry carries a trailing '/', so that KV order is the order of S3 keys: `a-b` < `a/x` < `a0`.
enum class DentryKind : uint8_t { kLeaf, kDirectory };
std::string dentry_key(InodeId parent, std::string_view name, DentryKind kind);
KeyRange dentry_range(InodeId parent);
// The name behind the parent in a dentry's key, without the trailing '/'.
std::string_view dentry_name(std::string_view key);

// A name of the inode besides its first one.
std::string further_name_key(InodeId inode, InodeId parent, std::string_view name);
KeyRange further_name_range(InodeId inode);
std::string link_group_key(MountId mount, std::string_view group);

std::string xattr_key(InodeId inode, std::string_view name);
KeyRange xattr_range(InodeId inode);
std::string_view xattr_name(std::string_view key);

std::string owner_key(MountId mount, std::string_view object_key);
KeyRange owner_range(MountId mount, std::string_view prefix);
std::string_view owner_object_key(std::string_view key);

std::string claim_key(MountId mount, std::string_view prefix);  // a prefix that a renamed directory still reads
KeyRange claim_range(MountId mount, std::string_view prefix);

std::string writing_key(InodeId inode);
KeyRange writing_range();
std::string orphan_key(InodeId inode);                      // unlinked, still open
KeyRange orphan_range();
std::string transient_key(InodeId inode);                   // committed under TRANSIENT
KeyRange transient_range();

std::string queue_key(QueueClass queue_class, int64_t due_ns, InodeId inode);
KeyRange queue_range(QueueClass queue_class);
struct QueueEntry {
  QueueClass queue_class;
  int64_t due_ns;
  InodeId inode;
};
Result<QueueEntry> parse_queue_key(std::string_view key);

std::string part_digests_key(InodeId inode, uint32_t chunk);
KeyRange part_digests_range(InodeId inode);

std::string progress_key(InodeId inode);
KeyRange progress_range();

std::string erase_key(int64_t due_ns, MountId mount, std::string_view object_key);
KeyRange erase_range();
struct EraseEntry {
  int64_t due_ns;
  MountId mount;
  std::string object_key;
};
Result<EraseEntry> parse_erase_key(std::string_view key);

std::string tree_job_key(InodeId directory);
KeyRange tree_job_range();

std::string removal_key(InodeId directory);                 // a tree being removed
KeyRange removal_range();

std::string object_facts_key(InodeId inode);
KeyRange object_facts_range();
std::string shadow_key(MountId mount, std::string_view object_key);
KeyRange shadow_range(MountId mount);
KeyRange shadow_range();
std::string_view shadow_object_key(std::string_view key);
std::string logged_body_key(LocalFileId local_file);        // a small object that was put, until its local file is durable
KeyRange logged_body_range();
std::string object_parts_key(InodeId inode, uint32_t first_number);
KeyRange object_parts_range(InodeId inode);
// Uploads sort by key, then by id, which is text.
std::string object_upload_key(MountId mount, std::string_view object_key, std::string_view upload_id);
KeyRange object_upload_range(MountId mount);
KeyRange object_upload_range();
struct UploadEntry {
  MountId mount;
  std::string object_key;
  std::string upload_id;
};
Result<UploadEntry> parse_object_upload_key(std::string_view key);
std::string object_upload_part_key(uint64_t upload, uint32_t number);
KeyRange object_upload_part_range(uint64_t upload);
KeyRange object_upload_part_range();

// A row that a repair took out or wrote over: its key, and its value as the value.
std::string repaired_key(int64_t time_ns, std::string_view key);
KeyRange repaired_range();
// A key under which a multipart upload of ours may have been begun.
std::string expected_upload_key(MountId mount, std::string_view object_key);
KeyRange expected_upload_range();
struct ExpectedUploadEntry {
  MountId mount;
  std::string object_key;
};
Result<ExpectedUploadEntry> parse_expected_upload_key(std::string_view key);

std::string mount_key(MountId mount);
KeyRange mount_range();

// The id in a key made of a table byte and one id: inode, writing, orphan, transient, progress, tree_job,
// removal, object_facts, and (of a local file) logged_body.
Result<InodeId> parse_id_key(std::string_view key);

// Record <-> value. decode() gives kCorrupt for bytes that are no such record, kNotSupported for a later version.
template <typename Record>
std::string encode(const Record& record) {
  std::string value(1, kRecordVersion);
  record.AppendToString(&value);
  return value;
}
Result<void> decode_into(std::string_view value, google::protobuf::MessageLite* record);
template <typename Record>
Result<Record> decode(std::string_view value) {
  Record record;
  TRY(decode_into(value, &record));
  return record;
}

}  // namespace weir::format
