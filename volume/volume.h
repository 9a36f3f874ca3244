// volume/volume.h -- the one file API that both fronts call: handles, POSIX and object semantics, lock order.
//
// A volume is one namespace: its metadata, its page store, its mount points and its persister. Names and content change
// only through it, so that what it acknowledged is what every reader sees.
//
// Threads: all methods may be called concurrently. Lock order, outermost first: the locks of names, OpenInode::mutex, then
// leaves. No lock is held over a call into a UFS.
// Waits: a call that needs the UFS fails once the UFS made no progress for `ufs_timeout`; all others never wait for it. On a thread that must not wait
// (base/no_wait.h) such a call fails with kWouldWait; repeating it is right. A rename into a path that persists before it
// returns does so before it changes anything.
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
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "meta/lower_layer.h"
#include "meta/namespace.h"
#include "meta/types.h"
#include "pages/page_store.h"
#include "persist/persister.h"
#include "ufs/mount_table.h"
#include "volume/fsck.h"
#include "volume/scrub.h"

namespace weir::volume {

class Objects;

struct ObjectsOptions {
  // Of files and directories that the object front makes. A file that replaces another keeps that one's.
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t file_permissions = 0644;
  uint32_t directory_permissions = 0755;
  // URI below which buckets can be made, each as a directory or prefix of its name; empty: they cannot.
  std::string bucket_root;
  // Objects that were begun to be put in parts and neither completed nor aborted are forgotten after so long.
  Duration upload_abandoned_after = std::chrono::days(7);
};

enum class Access : uint8_t { kRead, kWrite, kReadWrite };

// A file that a front had open when the last process ended, and that its callers go on using.
struct HeldFile {
  InodeId inode{};
  Access access = Access::kRead;
  LocalFileId local_file{};  // OpenFile::local_file_key() of a handle that was IoPath::kLocalFile; 0: it was kPaged
};

enum class AccessTimePolicy : uint8_t {
  kNever,     // reading moves no access time
  kRelative,  // as relatime: see volume/access_times.h
};

struct VolumeOptions {
  meta::NamespaceOptions names;
  persist::PersistOptions persist;
  std::map<std::string, std::string> ufs_properties;  // defaults of every s3:// mount point: s3.endpoint, s3.access.key, ...
  uint64_t upload_bytes_per_second = 0;               // of all mount points together; 0: no limit
  Duration ufs_timeout = std::chrono::seconds(60);    // of one call that an application waits for
  uint32_t read_ahead_pages = 64;
  uint32_t read_ahead_requests = 8;
  Duration admit_slow_max = std::chrono::milliseconds(100);
  Duration orphan_check_period = std::chrono::minutes(10);
  uint64_t scrub_bytes_per_second = 64 << 20;         // 0: no limit
  Duration scrub_period = Duration(-1);               // negative: only when asked for
  Duration flush_interval = std::chrono::seconds(5);  // what was written reaches the disk within this time; 0: by its own syncs alone
  bool intercept_silly_renames = false;               // see volume/hidden_names.h
  AccessTimePolicy access_times = AccessTimePolicy::kNever;
  bool write_cache_enabled = true;                    // false: every path is WRITE_THROUGH
  ObjectsOptions objects;
  std::vector<HeldFile> held;                         // open since before the start; see Volume::take_held()
  bool callers_wait = false;                          // open() leaves what can be done while serving for then
  // Makes the store behind a mount point from its URI and properties; empty: ufs::open_ufs.
  std::function<Result<std::shared_ptr<ufs::UnderStore>>(std::string_view uri,
                                                         const std::map<std::string, std::string>& properties)>
      open_store;
};

// What a lookup or creation hands out.
struct Entry {
  meta::Attributes attributes;
  // For how long the fronts may answer from their own caches; zero: not at all.
  Duration valid_for{};
};

// Stale caches of the fronts; called before the change is acknowledged. Must not call back into the volume.
class CacheListener {
 public:
  virtual ~CacheListener() = default;
  virtual void content_changed(InodeId inode) = 0;                              // data and attributes
  virtual void entry_changed(InodeId directory, std::string_view name) = 0;     // name, also a negative entry
};

struct OpenOptions {
  Access access = Access::kRead;
  bool truncate = false;  // of a file opened for reading, too
  bool counts_as_reading = false;  // for the access time: what is read later on is not seen by everybody who would note it
};

enum class Allocate : uint8_t {
  kReserve,          // blocks; the size grows to cover the range
  kReserveKeepSize,
  kZero,             // the range reads as zeros; the size grows to cover it
  kZeroKeepSize,
  kPunchHole,        // the range reads as zeros and takes no blocks; the size stays
};

enum class Seek : uint8_t { kData, kHole };

// How reads and writes of an open file travel.
enum class IoPath : uint8_t {
  kLocalFile,  // complete local file: a front may let the kernel use it directly
  kPaged,      // through OpenFile::read and write
};

// A file held open by one opener. Destroyed by its owner after close(). All handles of one inode agree on one local file.
class OpenFile {
 public:
  virtual ~OpenFile() = default;

  virtual InodeId inode() const = 0;
  virtual Access access() const = 0;
  virtual IoPath io_path() const = 0;
  // Valid while the handle lives and io_path() is kLocalFile.
  virtual const io::File& local_file() const = 0;
  // A number that is the same for all handles that share local_file(), and never reused while one of them lives.
  virtual uint64_t local_file_key() const = 0;

  // Short only at the end of the file. Fetches absent pages, with read-ahead.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) = 0;
  // All or an error. kNoSpace at the pinned limit.
  virtual Result<void> write(uint64_t offset, std::span<const std::byte> bytes) = 0;
  // At the end of the file as it is then, whoever else appends. `about_to` is told where that is, before the first byte is
  // written and while nobody else appends.
  using AppendPlace = std::function<void(uint64_t offset)>;
  virtual Result<void> append(std::span<const std::byte> bytes, const AppendPlace& about_to = {}) = 0;
  virtual Result<void> truncate(uint64_t size) = 0;
  // What fallocate(2) does with a range; kNoSpace as write(). kTooLarge beyond the largest file.
  virtual Result<void> allocate(Allocate what, uint64_t offset, uint64_t size) = 0;
  // The first byte at or after `offset` that is data, or in a hole (as which the end of the file counts); nullopt at the end
  // and beyond. Bytes that are not on this node count as data. Fetches nothing.
  virtual Result<std::optional<uint64_t>> seek(Seek what, uint64_t offset) = 0;

  // close(2) of one descriptor: commits what was written, by the policy of the path; under WRITE_THROUGH and NO_CACHE
  // returns when it is persisted, or with the UFS's error. No-op for a handle that cannot write.
  virtual Result<void> flush() = 0;
  // Sync, and persist at once. kDenied (EIO for POSIX) while the UFS refuses the file.
  virtual Result<void> sync() = 0;
  // The last reference to the descriptor is gone. Cheap; never waits.
  virtual void close() = 0;
};

struct DirectoryEntryPlus {
  meta::DirectoryEntry entry;
  std::optional<Entry> plus;  // absent when its attributes could not be had in time
};

enum class WithAttributes : uint8_t { kNo, kYes };

struct VolumeStatistics {
  meta::UsageCounters usage;
  pages::PageStoreUsage pages;
  persist::PersistStats persist;
  uint64_t open_files = 0;
  uint64_t hidden_objects = 0;
  uint64_t cache_hit_bytes = 0;      // read from present pages, through the daemon
  uint64_t cache_miss_bytes = 0;     // fetched from a UFS
  uint64_t trees_being_removed = 0;
  uint64_t tree_entries_removed = 0; // since start
  kv::Kv::Usage kv;
  struct Leftovers {              // since start, with what the start found
    uint64_t orphans = 0;         // unlinked inodes that nobody had open any more
    uint64_t writers = 0;         // files whose writer was gone: committed as they were
    uint64_t local_files = 0;     // that no inode named
    uint64_t uploads = 0;         // objects that clients began to put in parts and gave up
  } leftovers;
  struct Scrubbing {
    bool running = false;
    uint64_t runs = 0;  // since start, as all below
    uint64_t bytes = 0;
    uint64_t dropped_files = 0;
    uint64_t quarantined_files = 0;
    uint64_t unreadable_files = 0;
  } scrub;
};

// What a file, or a directory with all below it, comes to.
struct TreeUsage {
  uint64_t files = 0;         // everything but directories
  uint64_t directories = 0;   // with the one asked for
  uint64_t bytes = 0;         // sizes of regular files as of their last commit
  uint64_t cached_bytes = 0;  // present on this node, if asked for
};
enum class CachedBytes : uint8_t { kIgnored, kCounted };

// Everything `fs ls` and `fs stat` show.
struct FileStatus {
  std::string path;
  meta::Attributes attributes;
  meta::FileState state = meta::FileState::kPersisted;
  meta::WritePolicy policy = meta::WritePolicy::kWriteBack;
  std::string symlink_target;
  std::string home;                  // URI of the object, empty: none
  std::string etag;
  uint64_t cached_bytes = 0;         // present on this node
};

class Volume {
 public:
  // Opens or makes the volume; recovers what was open for write, tells the page store what lives, mounts the mount table
  // (a mount point whose UFS cannot be reached is there all the same, with an error in the log), starts persisting.
  // The parts must outlive the volume.
  static Result<std::unique_ptr<Volume>> open(kv::Kv& kv, pages::PageStore& pages, const Clock& clock,
                                              const VolumeOptions& options, std::string_view new_volume_id);
  virtual ~Volume() = default;

  // Commits what is open, stops persisting; nothing may be called after it.
  virtual void stop(Deadline deadline) = 0;

  virtual void set_cache_listener(CacheListener* listener) = 0;  // null: none
  virtual const std::string& id() const = 0;
  // The handle of VolumeOptions::held[index]; each is there once. From the opening of the volume on its inode counts as open: it
  // is not reclaimed, and what is written to it is committed by its close. Its local file is the same one, unless that is not
  // there any more: then it is paged. Errors: why it could not be opened.
  virtual Result<std::unique_ptr<OpenFile>> take_held(size_t index) = 0;
  // For meta::Caller::new_id.
  virtual Result<InodeId> new_inode_id() = 0;

  // --- names
  virtual Result<Entry> lookup(InodeId parent, std::string_view name) = 0;
  virtual Result<Entry> get_attributes(InodeId inode) = 0;
  // `size` truncates or extends. Open handles see the change at once.
  virtual Result<Entry> set_attributes(InodeId inode, const meta::AttributeChange& change,
                                       std::optional<uint64_t> size) = 0;
  virtual Result<Entry> make_directory(InodeId parent, std::string_view name, uint32_t permissions,
                                       const meta::Caller& caller) = 0;
  virtual Result<Entry> make_symlink(InodeId parent, std::string_view name, std::string_view target,
                                     const meta::Caller& caller) = 0;
  // A fifo, socket or device.
  virtual Result<Entry> make_node(InodeId parent, std::string_view name, meta::FileType type, uint32_t permissions,
                                  uint64_t rdev, const meta::Caller& caller) = 0;
  // One more name for what is not a directory; see Namespace::link. Under WRITE_THROUGH and NO_CACHE as rename.
  virtual Result<Entry> link(InodeId inode, InodeId new_parent, std::string_view new_name) = 0;
  virtual Result<std::string> read_symlink(InodeId inode) = 0;
  virtual Result<void> unlink(InodeId parent, std::string_view name) = 0;
  virtual Result<void> remove_directory(InodeId parent, std::string_view name) = 0;
  // Removes a directory with all below it, in one step for every reader; what it held is given back behind the caller, and
  // goes on after a restart. Open files below live until their last close. kNotDirectory; kBusy for a mount point.
  virtual Result<void> remove_tree(InodeId parent, std::string_view name) = 0;
  virtual Result<void> rename(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name,
                              meta::RenameMode mode) = 0;

  // At most `entries_max` entries behind the cursor `after` ("" = from the start), in S3 order.
  struct DirectoryListing {
    std::vector<DirectoryEntryPlus> entries;
    bool more = false;
  };
  virtual Result<DirectoryListing> read_directory(InodeId directory, std::string_view after, size_t entries_max,
                                                  WithAttributes with_attributes) = 0;
  virtual Result<InodeId> parent_of(InodeId directory) = 0;

  virtual Result<std::string> get_xattr(InodeId inode, std::string_view name) = 0;
  virtual Result<std::vector<std::string>> list_xattrs(InodeId inode) = 0;
  virtual Result<void> set_xattr(InodeId inode, std::string_view name, std::string_view value,
                                 meta::Namespace::XattrMode mode) = 0;
  virtual Result<void> remove_xattr(InodeId inode, std::string_view name) = 0;

  struct Capacity {
    uint64_t total_bytes = 0;
    uint64_t free_bytes = 0;
    uint64_t inodes = 0;
  };
  virtual Result<Capacity> capacity() = 0;

  // --- content
  struct Created {
    Entry entry;
    std::unique_ptr<OpenFile> file;
  };
  virtual Result<Created> create(InodeId parent, std::string_view name, uint32_t permissions,
                                 const meta::Caller& caller, const OpenOptions& options) = 0;
  // A file without a name (O_TMPFILE). It is gone with its last close, or after a crash, unless link() gave it one.
  virtual Result<Created> create_unnamed(InodeId directory, uint32_t permissions, const meta::Caller& caller,
                                         const OpenOptions& options) = 0;
  virtual Result<std::unique_ptr<OpenFile>> open_file(InodeId inode, const OpenOptions& options) = 0;
  // The names and attributes of a directory's entries survive power loss (fsync of a directory).
  virtual Result<void> sync_directory(InodeId) { return sync_all(); }
  // All written content and metadata survive power loss.
  virtual Result<void> sync_all() = 0;

  // --- by path, for the command line
  virtual Result<FileStatus> status(std::string_view path) = 0;
  virtual Result<InodeId> resolve(std::string_view path) = 0;
  virtual Result<void> persist_now(std::string_view path) = 0;              // urgent; see persister().wait_persisted
  virtual Result<std::vector<meta::LowerLayer::Hidden>> hidden(std::string_view path) = 0;
  // In memory that does not grow with the tree. Directories that were never listed are. `progress` is called often; false: stop.
  virtual Result<TreeUsage> tree_usage(std::string_view path, CachedBytes cached,
                                       const std::function<bool(const TreeUsage&)>& progress) = 0;

  // --- mount points and rules
  struct MountPoint {
    MountId id{};
    std::string path;
    std::string uri;
    std::map<std::string, std::string> properties;  // secrets masked
    bool reachable = false;                         // it answers, as far as is known
    bool refused = false;                           // it refuses us (credentials, policy, no bucket): somebody must mend it
    std::string error;                              // why it is not reachable
    ufs::Capabilities capabilities;
  };
  // Probes the UFS first; its error is returned and nothing is added.
  virtual Result<MountPoint> add_mount(std::string_view path, std::string_view uri,
                                       const std::map<std::string, std::string>& properties) = 0;
  // kNotEmpty while something below it waits to be persisted.
  virtual Result<void> remove_mount(std::string_view path) = 0;
  virtual Result<std::vector<MountPoint>> mount_points() = 0;
  // The values of their properties that are never shown: so that they can be kept out of what is shown.
  virtual Result<std::vector<std::string>> mount_secrets() = 0;

  virtual std::shared_ptr<const meta::PathRules> rules() const = 0;
  virtual Result<std::string> rules_document() = 0;
  virtual Result<void> set_rules_document(std::string_view json) = 0;       // kInvalid: nothing changes

  // Trees that were removed and still hold something, at most `trees_max`.
  struct TreeRemoval {
    std::string path;
    int64_t since_ns = 0;
    uint64_t removed = 0;  // entries and objects so far
  };
  virtual Result<std::vector<TreeRemoval>> tree_removals(size_t trees_max) = 0;

  virtual Objects& objects() = 0;
  virtual persist::Persister& persister() = 0;
  virtual VolumeStatistics statistics() = 0;

  // Compares metadata, page store and, if asked, under store; see volume/fsck.h. May take long; stops when the listener says so.
  virtual Result<FsckSummary> fsck(const FsckOptions& options, const FsckListener& listener) = 0;
  // Reads all local files and compares them with their checksums; see volume/scrub.h. kBusy while another one runs.
  virtual Result<ScrubSummary> scrub(Scrub::From from, const ScrubListener& listener) = 0;
  // The last complete one.
  virtual Result<std::optional<ScrubSummary>> last_scrub() = 0;
};

}  // namespace weir::volume
