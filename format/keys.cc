#include "format/keys.h"

#include <array>

namespace weir::format {
namespace {

// The table byte of every key. Never reused; documented in docs/format.md.
enum Table : char {
  kSuperblock = 'S',
  kConfig = 'G',
  kIdCounter = 'K',
  kUsage = 'C',
  kInode = 'I',
  kDirectoryMtime = 'M',
  kSubdirectories = 'N',
  kDentry = 'D',
  kXattr = 'X',
  kOwner = 'O',
  kClaim = 'L',
  kWriting = 'W',
  kOrphan = 'U',
  kTransient = 'T',
  kQueue = 'Q',
  kProgress = 'P',
  kPartDigests = 'A',
  kErase = 'Z',
  kTreeJob = 'J',
  kRemoval = 'H',
  kMount = 'B',
  kFurtherName = 'E',
  kLinkGroup = 'R',
  kObjectFacts = 'F',
  kShadow = 'Y',
  kObjectUpload = 'b',
  kObjectUploadPart = 'c',
  kObjectParts = 'd',
  kDirectory = 'a',
  kLoggedBody = 'k',
  kUpkeep = 'e',
};

// The second byte of keys of table `a`.
enum DirectoryTable : char {
  kBytes = 'b',
  kSubdirectory = 'd',
  kFiles = 'f',
  kChanged = 't',
};

// The second byte of keys of table `e`.
enum UpkeepTable : char {
  kRepaired = 'r',
  kExpectedUpload = 'u',
};

template <typename T>
void append_be(std::string& key, T value) {
  for (int shift = (sizeof(T) - 1) * 8; shift >= 0; shift -= 8) key += static_cast<char>(value >> shift);
}

uint64_t read_be(std::string_view bytes) {
  uint64_t value = 0;
  for (const char c : bytes) value = value << 8 | static_cast<uint8_t>(c);
  return value;
}

std::string table_key(Table table, std::string_view name) {
  std::string key(1, table);
  key += name;
  return key;
}

std::string id_key(Table table, uint64_t id) {
  std::string key;
  key.reserve(9);
  key += table;
  append_be(key, id);
  return key;
}

std::string id_name_key(Table table, uint64_t id, std::string_view name, std::string_view suffix = {}) {
  std::string key;
  key.reserve(9 + name.size() + suffix.size());
  key += table;
  append_be(key, id);
  key += name;
  key += suffix;
  return key;
}

std::string mount_name_key(Table table, MountId mount, std::string_view name) {
  std::string key;
  key.reserve(5 + name.size());
  key += table;
  append_be(key, mount.value());
  key += name;
  return key;
}

std::string directory_key(DirectoryTable table, InodeId directory) {
  std::string key;
  key.reserve(10);
  key += kDirectory;
  key += table;
  append_be(key, directory.value());
  return key;
}

// The end of the range of all keys that start with `begin`.
std::string end_of_prefix(std::string begin) {
  while (!begin.empty() && static_cast<uint8_t>(begin.back()) == 0xff) begin.pop_back();
  if (!begin.empty()) begin.back() = static_cast<char>(static_cast<uint8_t>(begin.back()) + 1);
  return begin;
}

KeyRange prefix_range(std::string begin) {
  std::string end = end_of_prefix(begin);
  return {std::move(begin), std::move(end)};
}

KeyRange table_range(Table table) { return prefix_range(std::string(1, table)); }

}  // namespace

std::string superblock_key() { return std::string(1, kSuperblock); }
std::string config_key(std::string_view document) { return table_key(kConfig, document); }
std::string id_counter_key(std::string_view counter) { return table_key(kIdCounter, counter); }
std::string usage_key(std::string_view counter) { return table_key(kUsage, counter); }

std::string inode_key(InodeId inode) { return id_key(kInode, inode.value()); }
KeyRange inode_range() { return table_range(kInode); }
std::string directory_mtime_key(InodeId directory) { return id_key(kDirectoryMtime, directory.value()); }
std::string subdirectories_key(InodeId directory) { return id_key(kSubdirectories, directory.value()); }

std::string changed_directory_key(InodeId directory) { return directory_key(kChanged, directory); }
KeyRange changed_directory_range() { return prefix_range({kDirectory, kChanged}); }
std::string directory_files_key(InodeId directory) { return directory_key(kFiles, directory); }
std::string directory_bytes_key(InodeId directory) { return directory_key(kBytes, directory); }
std::string subdirectory_key(InodeId parent, std::string_view name) {
  return directory_key(kSubdirectory, parent).append(name);
}
KeyRange subdirectory_range(InodeId parent) { return prefix_range(directory_key(kSubdirectory, parent)); }
Result<DirectoryKey> parse_directory_key(std::string_view key) {
  if (key.size() < 10 || key[0] != kDirectory) return fail(ErrorCode::kCorrupt, "directory key of the wrong form");
  DirectoryKey parsed{.directory = InodeId(read_be(key.substr(2, 8))), .name = key.substr(10)};
  switch (key[1]) {
    case kChanged: parsed.row = DirectoryRow::kChanged; break;
    case kFiles: parsed.row = DirectoryRow::kFiles; break;
    case kBytes: parsed.row = DirectoryRow::kBytes; break;
    case kSubdirectory: parsed.row = DirectoryRow::kSubdirectory; break;
    default: return fail(ErrorCode::kCorrupt, "directory key of an unknown kind");
  }
  if (parsed.name.empty() == (parsed.row == DirectoryRow::kSubdirectory))
    return fail(ErrorCode::kCorrupt, "directory key of the wrong length");
  return parsed;
}

std::string dentry_key(InodeId parent, std::string_view name, DentryKind kind) {
  return id_name_key(kDentry, parent.value(), name, kind == DentryKind::kDirectory ? "/" : "");
}
KeyRange dentry_range(InodeId parent) { return prefix_range(id_key(kDentry, parent.value())); }
std::string_view dentry_name(std::string_view key) {
  key.remove_prefix(9);
  if (key.ends_with('/')) key.remove_suffix(1);
  return key;
}

std::string further_name_key(InodeId inode, InodeId parent, std::string_view name) {
  std::string key;
  key.reserve(17 + name.size());
  key += kFurtherName;
  append_be(key, inode.value());
  append_be(key, parent.value());
  key += name;
  return key;
}
KeyRange further_name_range(InodeId inode) { return prefix_range(id_key(kFurtherName, inode.value())); }
std::string link_group_key(MountId mount, std::string_view group) { return mount_name_key(kLinkGroup, mount, group); }

std::string xattr_key(InodeId inode, std::string_view name) { return id_name_key(kXattr, inode.value(), name); }
KeyRange xattr_range(InodeId inode) { return prefix_range(id_key(kXattr, inode.value())); }
std::string_view xattr_name(std::string_view key) { return key.substr(9); }

std::string owner_key(MountId mount, std::string_view object_key) {
  return mount_name_key(kOwner, mount, object_key);
}
KeyRange owner_range(MountId mount, std::string_view prefix) {
  return prefix_range(mount_name_key(kOwner, mount, prefix));
}
std::string_view owner_object_key(std::string_view key) { return key.substr(5); }

std::string claim_key(MountId mount, std::string_view prefix) { return mount_name_key(kClaim, mount, prefix); }
KeyRange claim_range(MountId mount, std::string_view prefix) {
  return prefix_range(mount_name_key(kClaim, mount, prefix));
}

std::string writing_key(InodeId inode) { return id_key(kWriting, inode.value()); }
KeyRange writing_range() { return table_range(kWriting); }
std::string orphan_key(InodeId inode) { return id_key(kOrphan, inode.value()); }
KeyRange orphan_range() { return table_range(kOrphan); }
std::string transient_key(InodeId inode) { return id_key(kTransient, inode.value()); }
KeyRange transient_range() { return table_range(kTransient); }

std::string queue_key(QueueClass queue_class, int64_t due_ns, InodeId inode) {
  std::string key;
  key.reserve(18);
  key += kQueue;
  key += static_cast<char>(queue_class);
  append_be(key, static_cast<uint64_t>(due_ns));
  append_be(key, inode.value());
  return key;
}
KeyRange queue_range(QueueClass queue_class) {
  return prefix_range({kQueue, static_cast<char>(queue_class)});
}
Result<QueueEntry> parse_queue_key(std::string_view key) {
  if (key.size() != 18 || key[0] != kQueue) return fail(ErrorCode::kCorrupt, "queue key of the wrong form");
  return QueueEntry{static_cast<QueueClass>(key[1]), static_cast<int64_t>(read_be(key.substr(2, 8))),
                    InodeId(read_be(key.substr(10, 8)))};
}

std::string part_digests_key(InodeId inode, uint32_t chunk) {
  std::string key = id_key(kPartDigests, inode.value());
  append_be(key, chunk);
  return key;
}
KeyRange part_digests_range(InodeId inode) { return prefix_range(id_key(kPartDigests, inode.value())); }

std::string progress_key(InodeId inode) { return id_key(kProgress, inode.value()); }
KeyRange progress_range() { return table_range(kProgress); }

std::string erase_key(int64_t due_ns, MountId mount, std::string_view object_key) {
  std::string key;
  key.reserve(13 + object_key.size());
  key += kErase;
  append_be(key, static_cast<uint64_t>(due_ns));
  append_be(key, mount.value());
  key += object_key;
  return key;
}
KeyRange erase_range() { return table_range(kErase); }
Result<EraseEntry> parse_erase_key(std::string_view key) {
  if (key.size() < 13 || key[0] != kErase) return fail(ErrorCode::kCorrupt, "erase key of the wrong form");
  return EraseEntry{static_cast<int64_t>(read_be(key.substr(1, 8))),
                    MountId(static_cast<uint32_t>(read_be(key.substr(9, 4)))), std::string(key.substr(13))};
}

std::string tree_job_key(InodeId directory) { return id_key(kTreeJob, directory.value()); }
KeyRange tree_job_range() { return table_range(kTreeJob); }

std::string removal_key(InodeId directory) { return id_key(kRemoval, directory.value()); }
KeyRange removal_range() { return table_range(kRemoval); }

std::string object_facts_key(InodeId inode) { return id_key(kObjectFacts, inode.value()); }
KeyRange object_facts_range() { return table_range(kObjectFacts); }

std::string shadow_key(MountId mount, std::string_view object_key) {
  return mount_name_key(kShadow, mount, object_key);
}
KeyRange shadow_range(MountId mount) { return prefix_range(mount_name_key(kShadow, mount, {})); }
KeyRange shadow_range() { return table_range(kShadow); }
std::string_view shadow_object_key(std::string_view key) { return key.substr(5); }

std::string logged_body_key(LocalFileId local_file) { return id_key(kLoggedBody, local_file.value()); }
KeyRange logged_body_range() { return table_range(kLoggedBody); }

std::string object_parts_key(InodeId inode, uint32_t first_number) {
  std::string key = id_key(kObjectParts, inode.value());
  append_be(key, first_number);
  return key;
}
KeyRange object_parts_range(InodeId inode) { return prefix_range(id_key(kObjectParts, inode.value())); }

std::string object_upload_key(MountId mount, std::string_view object_key, std::string_view upload_id) {
  std::string key = mount_name_key(kObjectUpload, mount, object_key);
  key += '\0';
  key += upload_id;
  return key;
}
KeyRange object_upload_range(MountId mount) { return prefix_range(mount_name_key(kObjectUpload, mount, {})); }
KeyRange object_upload_range() { return table_range(kObjectUpload); }
Result<UploadEntry> parse_object_upload_key(std::string_view key) {
  const size_t end = key.size() < 5 ? std::string_view::npos : key.find('\0', 5);
  if (end == std::string_view::npos || key[0] != kObjectUpload) return fail(ErrorCode::kCorrupt, "upload key of the wrong form");
  return UploadEntry{MountId(static_cast<uint32_t>(read_be(key.substr(1, 4)))), std::string(key.substr(5, end - 5)),
                     std::string(key.substr(end + 1))};
}

std::string object_upload_part_key(uint64_t upload, uint32_t number) {
  std::string key = id_key(kObjectUploadPart, upload);
  append_be(key, number);
  return key;
}
KeyRange object_upload_part_range(uint64_t upload) { return prefix_range(id_key(kObjectUploadPart, upload)); }
KeyRange object_upload_part_range() { return table_range(kObjectUploadPart); }

std::string repaired_key(int64_t time_ns, std::string_view key) {
  std::string row{kUpkeep, kRepaired};
  append_be(row, static_cast<uint64_t>(time_ns));
  row += key;
  return row;
}
KeyRange repaired_range() { return prefix_range(std::string{kUpkeep, kRepaired}); }

std::string expected_upload_key(MountId mount, std::string_view object_key) {
  std::string row{kUpkeep, kExpectedUpload};
  append_be(row, mount.value());
  row += object_key;
  return row;
}
KeyRange expected_upload_range() { return prefix_range(std::string{kUpkeep, kExpectedUpload}); }
Result<ExpectedUploadEntry> parse_expected_upload_key(std::string_view key) {
  constexpr size_t kHead = 6;
  if (key.size() < kHead) return fail(ErrorCode::kCorrupt, "expected upload's key of the wrong length");
  return ExpectedUploadEntry{.mount = MountId(static_cast<uint32_t>(read_be(key.substr(2, 4)))),
                             .object_key = std::string(key.substr(kHead))};
}

std::string mount_key(MountId mount) { return mount_name_key(kMount, mount, {}); }
KeyRange mount_range() { return table_range(kMount); }

Result<InodeId> parse_id_key(std::string_view key) {
  if (key.size() != 9) return fail(ErrorCode::kCorrupt, "id key of the wrong length");
  return InodeId(read_be(key.substr(1)));
}

Result<void> decode_into(std::string_view value, google::protobuf::MessageLite* record) {
  if (value.empty()) return fail(ErrorCode::kCorrupt, "empty " + record->GetTypeName() + " record");
  if (value[0] != kRecordVersion) {
    return fail(ErrorCode::kNotSupported, record->GetTypeName() + " record of version " +
                                              std::to_string(static_cast<uint8_t>(value[0])) +
                                              "; this build reads version " + std::to_string(kRecordVersion));
  }
  if (!record->ParseFromArray(value.data() + 1, static_cast<int>(value.size() - 1)))
    return fail(ErrorCode::kCorrupt, "malformed " + record->GetTypeName() + " record");
  return {};
}

}  // namespace weir::format
