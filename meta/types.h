// meta/types.h -- what the namespace hands out: inodes, attributes, requests to change them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "format/records.pb.h"

namespace weir::meta {

inline constexpr size_t kNameBytesMax = 255;
inline constexpr size_t kSymlinkBytesMax = 4'096;       // the kernel's limit counts the NUL: 4,095 through a mount
inline constexpr size_t kXattrNameBytesMax = 255;
inline constexpr size_t kXattrValueBytesMax = 65'536;
// Objects that had to get out of the way of another inode's object, for a moment; never shown.
inline constexpr std::string_view kParkingPrefix = ".weir-parked/";
// Objects that hold extended attributes; never shown.
inline constexpr std::string_view kSidecarPrefix = ".weir-attributes/";

// Names of one inode. Each has an object of its own in the bucket.
inline constexpr uint32_t kLinksMax = 1'000;

inline constexpr size_t kXattrListBytesMax = 65'536;    // of all names of an inode, with their NULs
inline constexpr size_t kXattrBytesMax = 1 << 20;       // of all names, with their NULs, and values of an inode

using format::FileType;

// Extended attributes, by name.
using Xattrs = std::map<std::string, std::string, std::less<>>;

// An inode as one transaction saw it.
using Inode = format::Inode;

struct Attributes {
  InodeId inode{};
  FileType type = format::REGULAR;
  uint32_t permissions = 0;  // 07777
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 1;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint64_t allocated_bytes = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  int64_t btime_ns = 0;
};

// Who asks; the kernel has checked permissions (default_permissions), the S3 front by its own rules.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  // Taken from the permissions of what is made, unless the directory has a default ACL.
  uint32_t umask = 0;
  // Of what is made, from Namespace::new_inode_id(), so that the caller knows it before; 0: one is taken.
  InodeId new_id{};
};

// Of a new name: set-group-id directories hand their group on.
inline uint32_t group_of_child(const format::Inode& parent, const Caller& caller) {
  return (parent.permissions() & 02000) != 0 ? parent.gid() : caller.gid;
}

// Only what is set changes. Changing anything sets ctime to now.
struct AttributeChange {
  std::optional<uint32_t> permissions;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<int64_t> atime_ns;
  std::optional<int64_t> mtime_ns;
};

// When an inode was last read.
struct AccessTime {
  InodeId inode{};
  int64_t atime_ns = 0;
};

enum class FileState : uint8_t { kNotPersisted, kPersisted, kTransient, kQuarantined };
std::string_view name_of(FileState state);  // "NOT_PERSISTED", ...

// Of an inode at rest; one that is open for write is kNotPersisted (or kTransient) from its opening on.
FileState state_of(const Inode& inode);

// The content the home holds is the current one.
inline bool content_persisted(const Inode& inode) {
  return inode.has_home() && inode.persisted_generation() == inode.generation();
}
// The home holds bytes of the current content that are nowhere else.
inline bool needs_home(const Inode& inode) {
  return inode.has_home() && (content_persisted(inode) || inode.partial());
}
// Lost its last name while it is open, and its home is to be moved out of the way of the name's next owner.
inline bool waits_for_parking(const Inode& inode) {
  return inode.links() == 0 && inode.queued() != format::NOT_QUEUED && needs_home(inode);
}
inline bool holds_objects(const Inode& inode) {
  return inode.has_home() || inode.has_sidecar() || !inode.claimed_key().empty() || !inode.claimed_sidecar().empty();
}
// Home holds the content and the attributes.
inline bool fully_persisted(const Inode& inode) {
  return content_persisted(inode) && inode.persisted_attributes_version() == inode.attributes_version();
}

// How much of the local file survives a loss of power; epochs up to `flushed_epoch` were flushed.
inline uint64_t durable_bytes(const Inode& inode, uint64_t flushed_epoch) {
  const bool all = inode.flush_epoch() != 0 && inode.flush_epoch() <= flushed_epoch;
  return all ? std::max(inode.size(), inode.durable_bytes()) : inode.durable_bytes();
}

// What so many bytes take on a disk, without holes.
inline uint64_t block_bytes(uint64_t size) { return (size + 4'095) / 4'096 * 4'096; }

inline bool is_device(FileType type) { return type == format::CHAR_DEVICE || type == format::BLOCK_DEVICE; }
// Has neither content nor a target.
inline bool is_special(FileType type) { return is_device(type) || type == format::FIFO || type == format::SOCKET; }
inline bool is_directory(const Inode& inode) { return inode.type() == format::DIRECTORY; }

// A record that speaks of a name of an inode besides its first one, and of the object under that name. All else in it is its
// inode's: see Inode.link_of in format/records.proto.
inline bool is_further_name(const Inode& record) { return record.link_of() != 0; }

// What lost a name.
struct Unlinked {
  InodeId inode{};
  FileType type = format::REGULAR;
  bool last_name = true;
  LocalFileId local_file{};  // of an inode that is gone for good: the page store may forget it; else 0
  bool erases_object = false;
  bool keeps_objects = false;  // it is still open, and has objects in the bucket: see Namespace::release_objects()
};

enum class WritePolicy : uint8_t { kWriteThrough, kWriteBack, kTransient, kNoCache };
std::string_view name_of(WritePolicy policy);  // "WRITE_THROUGH", ...
// A call that writes under it returns when what it wrote is persisted.
inline bool persists_first(WritePolicy policy) {
  return policy == WritePolicy::kWriteThrough || policy == WritePolicy::kNoCache;
}

// Whether the caller waits for the upload, whatever the policy (fsync).
enum class Urgency : uint8_t { kOrdinary, kUrgent };
inline format::QueueClass queue_class_for(WritePolicy policy, Urgency urgency = Urgency::kOrdinary) {
  return urgency == Urgency::kUrgent || persists_first(policy) ? format::URGENT : format::ORDINARY;
}

}  // namespace weir::meta
