// meta/namespace.h -- the namespace: directories, inodes and their places in the bucket, over kv::Txn.
//
// Every operation is one transaction, within the limits of kv/kv.h; one .cc file an operation. The metadata is the upper layer of
// an overlay, the bucket's listing the lower one; see docs/design/0001-overlay.md. This class never calls the UFS: where the
// lower layer must be asked first, find() says so and meta/lower_layer.h does it.
//
// Names are byte strings of 1 to 255 bytes without '/' and NUL, and not "." or ".."; anything else is kInvalid or
// kNameTooLong.
//
// Threads: all methods may be called concurrently. Errors of every method, besides those named: kIo, kCorrupt (a record
// is damaged; the message names it), kTimedOut, kMayHaveHappened.
// Crash: an operation is there as a whole or not at all; those that returned survive the death of the process, those
// with Durability::kSynced also power loss.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "kv/kv.h"
#include "meta/path_rules.h"
#include "meta/types.h"

namespace weir::meta {

class Tables;

// What find() knows of a name.
struct Found {
  std::optional<Inode> inode;
  // The directory's lower layer was never listed completely: a missing name may be there all the same.
  bool ask_lower = false;
  // The listing is older than metadata.sync.interval.
  bool refresh_due = false;
};

struct DirectoryEntry {
  std::string name;
  InodeId inode{};
  FileType type = format::REGULAR;
  // The entry's place in the directory: read_directory(after = cursor) continues behind it, whatever happened to the
  // entry meanwhile.
  std::string cursor;
};

struct DirectoryPage {
  std::vector<DirectoryEntry> entries;
  bool more = false;
};

// Whether the volume holds the inode open, so that its content must outlive its last name.
enum class InUse : uint8_t { kNo, kYes };

enum class RenameMode : uint8_t { kReplace, kNoReplace, kExchange };

struct Renamed {
  InodeId moved{};
  bool moved_is_directory = false;
  std::optional<Unlinked> replaced;
  std::optional<InodeId> exchanged;
  bool policy_needs_persist = false;  // the new path is WRITE_THROUGH or NO_CACHE and something is not persisted
};

// What the local file of an inode open for write holds now.
struct ContentCommit {
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
  // Unknown: the blocks of its size.
  std::optional<uint64_t> allocated_bytes = {};
  // kPerhaps: nothing shows that it changed since the last commit, or that it did not; the inode's times stay.
  enum class Changed : uint8_t { kYes, kPerhaps } changed = Changed::kYes;
  // Pages are absent that the home holds.
  bool partial = false;
  // The local file as it is was synced: only with Durability::kSynced.
  bool synced = false;
};

struct WriteMarkState {
  InodeId inode{};
  LocalFileId local_file{};
  bool made = false;       // by this very opening: commit it whatever it holds
  uint64_t generation_before = 0;  // of the content, at the opening
  ContentCommit before;    // of the local file at the opening
};

// A key in the bucket about to be written for an inode; see claim().
struct Claim {
  Inode inode;            // as of the claim
  std::string path;       // in the namespace
  WritePolicy policy = WritePolicy::kWriteBack;
  MountId mount{};
  std::string key;        // where the object belongs
  // What is expected under `key`: an etag, nothing, or unknown (a whiteout or claim whose outcome was lost).
  enum class Expect : uint8_t { kNothing, kEtag, kUnknown } expect = Expect::kNothing;
  std::string expect_etag;
  // Of the whiteout that the claim took over: what lies under the key may still carry that inode's token.
  InodeId former{};
  Xattrs xattrs;          // as of the claim; not of a further name
  format::ObjectFacts facts;  // likewise
  // Another living inode's object is in the way and must be moved first; nothing was claimed. The id of its record.
  std::optional<InodeId> blocked_by;
  // A whiteout holds the key; nothing was claimed.
  bool being_erased = false;
  // Of a further name: where its inode's content lies, to be copied from.
  std::optional<format::Home> source;
  // The inode may be open for write. Then bytes whose local ctime is not inode.content_ctime_ns were not committed and
  // must not be published; the commit to come wakes the queue.
  bool open_for_write = false;
};

// What the parts of an object hold that was sent in parts.
struct PartDigests {
  static constexpr size_t kDigestBytes = 16;  // the first half of a SHA-256
  uint64_t part_bytes = 0;
  uint64_t size_bytes = 0;  // of the object
  std::string digests;      // of its parts, in order
};

// What was put into the bucket for an inode under its claim.
struct PersistedObject {
  MountId mount{};
  std::string key;
  std::string etag;
  uint64_t size = 0;
  uint64_t generation = 0;
  uint64_t attributes_version = 0;
  // What the object's metadata names as holding the extended attributes, without a key: nothing. Absent: unchanged.
  std::optional<format::Home> sidecar;
  // Absent: what is known of the parts of this generation's content stands.
  std::optional<PartDigests> part_digests;
  // That a directory's object says. Absent: unchanged.
  std::optional<int64_t> directory_mtime_ns;
};

struct PersistOutcome {
  bool fully_persisted = false;   // nothing is left to do for this inode; its queue entry is gone
  bool evictable = false;         // the local file may be evicted (and must be, under NO_CACHE)
  LocalFileId local_file{};
  bool gone = false;              // the inode was unlinked meanwhile; its object became a whiteout
  bool queued_names = false;      // its further names were queued
};

struct QueuedInode {
  InodeId inode{};
  format::QueueClass queue_class = format::ORDINARY;
  int64_t due_ns = 0;
};

struct EraseItem {
  MountId mount{};
  std::string key;
  std::string etag;          // empty: unknown
  InodeId former{};
  bool verify = false;       // erase only an object that has this etag or carries the token of `former`
  int64_t due_ns = 0;
  uint32_t attempts = 0;
  bool looked_at = false;    // done once; what arrived late is looked for at `due_ns`
};

struct UsageCounters {
  uint64_t inodes = 0;
  uint64_t bytes = 0;            // sizes of regular files
  uint64_t dirty_files = 0;      // inodes with a queue entry
  uint64_t dirty_bytes = 0;
};

// An object that a listing found; `common_prefix` stands for a directory.
struct LowerEntry {
  std::string name;              // one component
  bool directory = false;
  bool has_object = false;       // of a directory: a marker `name/` exists
  bool confirmed = false;        // of a directory: something was found below it after the listing
  std::string etag;
  uint64_t size = 0;
  int64_t mtime_ns = 0;
};

inline constexpr uint32_t kPartsOfObjectMax = 10'000;

// What an object's metadata said besides; see meta/object_facts_form.h.
struct LowerObject {
  format::ObjectFacts facts;
  std::string etag;                    // that it had where it was put; empty: not known
  uint32_t parts = 0;                  // of `part_bytes` each but the last; 0: not known, or none
  uint64_t part_bytes = 0;
  bool put = false;                    // Weir wrote it for an object, not for a file that POSIX made
  bool by_posix = false;               // the other way round
};

// What an object's metadata said; see meta/object_attributes.h.
struct LowerAttributes {
  FileType type = format::REGULAR;
  std::optional<uint32_t> permissions;
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<int64_t> mtime_ns;
  std::optional<uint64_t> rdev;
  std::string symlink_target;
  std::string link_group;              // empty: the object's file has one name
  std::string owner_volume_id;         // of the upload that the object comes from; empty: unknown
  uint64_t owner_generation = 0;
  Xattrs xattrs;
  // The object that holds the extended attributes, without a key: they are in the object's own metadata.
  format::Home sidecar;
  LowerObject object;
};

// Hands out ids from blocks taken from a counter of the store. Threads: concurrent.
class IdBlocks {
 public:
  Result<uint64_t> take(kv::Kv& kv, std::string_view counter);

 private:
  std::mutex mutex_;  // held over the transaction that takes a block
  uint64_t next_ = 0;
  uint64_t end_ = 0;
};

// Keys whose objects were erased lately: a listing begun before must not bring them back. Threads: concurrent.
class RecentErasures {
 public:
  // Of those until then only the time is known: a predecessor remembered them.
  void forgotten_until(int64_t time_ns) { forgotten_until_ns_ = time_ns; }
  void add(MountId mount, const std::string& key, int64_t now_ns);
  // Whether the object may have been erased after `since_ns`; says yes rather too often than too rarely.
  bool erased_since(MountId mount, const std::string& key, int64_t since_ns) const;
  // The same of any object whose key begins with `prefix`.
  bool erased_below_since(MountId mount, const std::string& prefix, int64_t since_ns) const;

 private:
  static constexpr size_t kKeysMax = 100'000;
  static constexpr int kKeysLookedAtMax = 64;  // by erased_below_since()
  mutable std::mutex mutex_;  // leaf
  std::map<std::pair<MountId, std::string>, int64_t> keys_;
  std::deque<std::pair<int64_t, std::pair<MountId, std::string>>> order_;
  int64_t forgotten_until_ns_ = 0;
};

struct NamespaceOptions {
  Duration sync_interval = std::chrono::seconds(10);  // negative: never
  uint32_t root_uid = 0;
  uint32_t root_gid = 0;
};

class Namespace {
 public:
  // Opens the volume in `kv`, or makes a new one with `new_volume_id` where there is none.
  // Errors: kNotSupported (a format from the future; the message says which).
  static Result<std::unique_ptr<Namespace>> open(kv::Kv& kv, const Clock& clock, const NamespaceOptions& options,
                                                 std::string_view new_volume_id);

  const std::string& volume_id() const { return volume_id_; }
  kv::Kv& kv() { return kv_; }
  const Clock& clock() const { return clock_; }

  // Ids come in blocks, so that taking one rarely needs a transaction; ids of a block that a crash cut short are lost.
  Result<InodeId> new_inode_id();
  Result<LocalFileId> new_local_file_id();

  // --- reading: find.cc, directory.cc, attributes.cc, xattr.cc
  Result<Found> find(InodeId parent, std::string_view name);
  Result<Inode> load(InodeId inode);                 // kNotFound
  // Those of `inodes`, in order and of one snapshot; nullopt for one that cannot be had.
  Result<void> visit(const std::vector<InodeId>& inodes, const std::function<void(const std::optional<Inode>&)>& visitor);
  // The record that speaks of the object under one name of an inode: its own, or a further name's; see is_further_name().
  Result<Inode> load_name(InodeId parent, std::string_view name);  // link.cc; kNotFound
  // An inode, or a further name by its own id.
  Result<Inode> load_record(InodeId id);             // link.cc; kNotFound
  // Of the path, or the strictest of all paths: WRITE_THROUGH, NO_CACHE, WRITE_BACK, TRANSIENT.
  Result<WritePolicy> policy(const Inode& inode);    // content.cc
  Result<Attributes> attributes(const Inode& inode); // of a directory: mtime and link count from their counters
  // Entries in S3 order, without "." and ".."; `after` is empty or a cursor. kNotDirectory.
  Result<DirectoryPage> read_directory(InodeId directory, std::string_view after, size_t entries_max);
  Result<std::string> path_of(InodeId inode);        // kNotFound for what has no name any more
  Result<Inode> resolve(std::string_view path);      // of what is materialised; follows no symlinks
  Result<std::string> xattr(InodeId inode, std::string_view name);  // kNoAttribute
  Result<std::vector<std::string>> xattr_names(InodeId inode);
  Result<UsageCounters> usage();
  // What the entries of a directory behind the cursor `after` come to, at most `entries_max` of them. An inode with several
  // names counts under its first one; open files count as of their last commit.
  struct DirectorySum {
    uint64_t files = 0;  // everything but directories
    uint64_t bytes = 0;  // sizes of regular files
    std::vector<InodeId> directories;
    std::vector<LocalFileId> local_files;
    std::string cursor;
    bool more = false;
  };
  Result<DirectorySum> sum_directory(InodeId directory, std::string_view after, size_t entries_max);  // usage.cc
  // The same from the sums that are kept, without local files: as many reads as there are directories, at most `directories_max` of
  // those behind the cursor. Files and bytes come with the first call.
  Result<DirectorySum> kept_sum(InodeId directory, std::string_view after, size_t directories_max);   // usage.cc

  // --- changing names. kNotFound (parent gone or removed), kExists, kNotDirectory, kPermission (the root directory holds
  // mount points only), kNameTooLong, kInvalid.
  Result<Inode> create_file(InodeId parent, std::string_view name, uint32_t permissions, const Caller& caller,
                            LocalFileId local_file);                              // create.cc; also marks it open for write
  Result<Inode> make_directory(InodeId parent, std::string_view name, uint32_t permissions,
                               const Caller& caller);                             // create.cc
  Result<Inode> make_symlink(InodeId parent, std::string_view name, std::string_view target,
                             const Caller& caller);                               // create.cc
  // A fifo, socket or device. kInvalid for other types.
  Result<Inode> make_node(InodeId parent, std::string_view name, FileType type, uint32_t permissions, uint64_t rdev,
                          const Caller& caller);                                  // create.cc
  // One more name. kPermission for a directory, kCrossDevice, kTooManyLinks, kNotFound when the inode lost its last name. Whether
  // the policy wants it persisted at once, as of Renamed; kWouldWait if so and the thread must not wait for that (NoWait).
  Result<bool> link(InodeId inode, InodeId parent, std::string_view name);      // link.cc
  // A file of the directory's mount point without a name, open for write. Gone after reclaim(), unless link() named it.
  Result<Inode> create_unnamed_file(InodeId directory, uint32_t permissions, const Caller& caller,
                                    LocalFileId local_file);                      // link.cc
  // `expected`: what the caller knows that the name leads to, InodeId(0) for nothing, of which `in_use` speaks; kStale when it is
  // another one by now. Without it nobody else may change the name meanwhile.
  // kIsDirectory for a directory.
  Result<Unlinked> unlink(InodeId parent, std::string_view name, InUse in_use,
                          std::optional<InodeId> expected = std::nullopt);        // unlink.cc
  // kNotEmpty, kNotDirectory; kBusy for a mount point.
  Result<Unlinked> remove_directory(InodeId parent, std::string_view name, InUse in_use);  // unlink.cc
  // kCrossDevice between mount points, kLoop into the own subtree, kNotEmpty, kIsDirectory, kNotDirectory.
  // `replaced_in_use` and `expected` speak of what `new_name` leads to, as of unlink(). kWouldWait where the policy wants something
  // persisted at once and the thread must not wait for that (NoWait).
  Result<Renamed> rename(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name,
                         RenameMode mode, InUse replaced_in_use,
                         std::optional<InodeId> expected = std::nullopt);         // rename.cc
  // An inode that lost its last name and is still open gives up its objects: at once, when nothing of its content is in them alone
  // or all of it in the local file `complete`, which is not evicted from now on; else the home is queued to be moved to
  // parking_key(). Whether there is something to erase or to move.
  Result<bool> release_objects(InodeId inode, LocalFileId complete);              // unlink.cc
  // The last handle of an unlinked inode was closed. Returns the local file to forget.
  Result<LocalFileId> reclaim(InodeId inode);                                     // unlink.cc

  // --- changing attributes: attributes.cc, xattr.cc
  Result<Inode> set_attributes(InodeId inode, const AttributeChange& change);
  // Access times that are later than those that are known; nothing else changes, ctime neither. In one transaction.
  Result<void> record_accesses(const std::vector<AccessTime>& accesses);
  // An access ACL sets the permissions, and is kept only where it says more than they can; see meta/acl.h. A default ACL is
  // kInvalid for anything but a directory.
  enum class XattrMode : uint8_t { kSet, kCreate, kReplace };
  Result<void> set_xattr(InodeId inode, std::string_view name, std::string_view value, XattrMode mode);
  Result<void> remove_xattr(InodeId inode, std::string_view name);

  // --- content: content.cc
  // Marks the inode open for write before the first byte can change: a new generation, `writing` mark. `local_file` is
  // the local file that will be written, `now` its state; it takes the place of `replaces` (the same one, to write in
  // place). kStale when the inode's local file is another one by now: the bucket had a later version.
  Result<Inode> begin_write(InodeId inode, LocalFileId local_file, const ContentCommit& now, LocalFileId replaces);
  // Commits what the local file holds: size, times, and a queue entry (or TRANSIENT) by the policy of the path.
  struct Committed {
    Inode inode;
    WritePolicy policy = WritePolicy::kWriteBack;
  };
  Result<Committed> commit_content(InodeId inode, const ContentCommit& content, Urgency urgency,
                                   kv::Durability durability);
  // The last writer is gone; what was committed stands. When nothing was written since begin_write (`unchanged`), the
  // inode is what it was before. One transaction for all of them.
  struct EndWrite {
    InodeId inode{};
    bool unchanged = false;
  };
  Result<void> end_writes(const std::vector<EndWrite>& ended);
  // Inodes open for write when the process died; recovery commits and ends them.
  Result<std::vector<WriteMarkState>> write_marks();
  Result<std::vector<InodeId>> orphans();
  // A copy of the home's object was begun (or, with 0, dropped): no new generation.
  Result<void> set_local_file(InodeId inode, LocalFileId local_file, std::string_view home_etag);
  // No page of the local file is absent any more, and its ctime is this now; what was committed stands.
  Result<void> set_complete(InodeId inode, LocalFileId local_file, int64_t content_ctime_ns);
  // The local file's bytes are lost or rotten: quarantined if they are nowhere else.
  Result<Inode> report_corruption(InodeId inode, LocalFileId local_file);
  // The content is again what the home holds, which was persisted before what the local file has; that one is nobody's any more.
  // kInDoubt: an upload over the home was under way, and may have taken effect; the next look at the bucket takes in what is there.
  // Requires: there is a home.
  enum class Home : uint8_t { kKnown, kInDoubt };
  Result<Home> revert_to_home(InodeId inode);

  // --- what survives a loss of power: flush.cc
  // Content that was committed without being synced belongs to an epoch. Whoever flushes ends one, makes all local files
  // durable, and says so: then what was committed in it is durable.
  uint64_t flush_epoch() const { return flush_epoch_.load(); }
  uint64_t flushed_epoch() const { return flushed_epoch_.load(); }
  // Whether content was committed in the epoch that runs now.
  bool flush_due() const { return epoch_in_use_.load() >= flush_epoch_.load(); }
  void note_unsynced(uint64_t epoch);
  // Returns the epoch that it ended.
  uint64_t begin_flush() { return flush_epoch_.fetch_add(1); }
  // Durable on return, as everything that was committed before.
  Result<void> end_flush(uint64_t epoch);
  // So many bytes of the local file are durable, whatever epoch their content is of.
  Result<void> note_durable(InodeId inode, LocalFileId local_file, uint64_t size, kv::Durability durability);
  // Before a local file loses bytes behind `size` in place: from now on not more than so much of it counts as durable. Durable on
  // return.
  Result<void> limit_durable(InodeId inode, uint64_t size);
  // Calls `visit` for every inode with a local file, from a sequence of snapshots, until it says false.
  Result<void> for_each_local_file(const std::function<bool(const Inode&)>& visit);

  // --- persisting: persist.cc, erase.cc, tree_job.cc; called by persist/ alone. Here an inode is a record: a further name of one
  // is queued, claims and persists its object under an id of its own, after its inode's content is persisted.
  // Queue entries of a class, oldest first, due at or before `due_ns`, behind `after`.
  Result<std::vector<QueuedInode>> queued(format::QueueClass queue_class, int64_t due_ns,
                                          const std::optional<QueuedInode>& after, size_t entries_max);
  // Takes the object key of the inode's present path for it. kNotFound: the inode is gone, or a further name has to wait for
  // its inode's content; it is off the queue. Whiteouts due at or before `whiteouts_hold_ns` hold their keys.
  Result<Claim> claim(InodeId inode, int64_t whiteouts_hold_ns = std::numeric_limits<int64_t>::min());
  // Whether the key is still the record's: to be asked once nothing can erase what is put there (persist/key_locks.h). What was
  // removed since its claim may have had its whiteout erased already.
  Result<bool> owns_key(InodeId inode, MountId mount, std::string_view key);
  // Gives up a claim on the key of the home, which nobody wrote to: what lies there is what others put there, and the next look at the
  // bucket may take it in.
  Result<void> withdraw_claim(InodeId inode, MountId mount, std::string_view key);
  // Takes `key`'s object away from its owner for `claimant`'s sake: the owner's object was copied to `new_key` (etag of
  // the copy), or, with an empty `new_key`, is not needed because its content is local and unpersisted.
  Result<void> rehome(InodeId owner, MountId mount, std::string_view key, std::string_view new_key,
                      std::string_view new_etag);
  // Of the content that the home of `inode` holds; absent when they are not known, or the home is another one by now.
  // Multipart uploads of ours under an object key, so that none that was begun and not recorded stays behind: expected (synced) before
  // one is begun, forgotten when none is left there. upload_intents.cc
  struct ExpectedUpload {
    MountId mount{};
    std::string key;
    int64_t since_ns = 0;  // the earliest one is not older
  };
  Result<void> expect_upload(MountId mount, std::string_view key);
  Result<std::vector<ExpectedUpload>> expected_uploads(const std::optional<ExpectedUpload>& after, size_t uploads_max);
  Result<void> forget_expected_upload(const ExpectedUpload& upload);
  // The record that owns the key; 0: none, or it is to be erased; nullopt: there is no row.
  Result<std::optional<InodeId>> owner_of_key(MountId mount, std::string_view key);
  Result<std::optional<PartDigests>> part_digests(const Inode& inode);
  // Takes `key` for an object of extended attributes that is about to be written for the inode. kNotFound.
  Result<void> claim_sidecar(InodeId inode, MountId mount, std::string_view key);
  // Takes parking_key() for an inode that waits_for_parking(), before its object is copied there. kNotFound: it does not any more.
  Result<Inode> claim_parking(InodeId inode);
  // A key that no path leads to, for an object that must get out of the way.
  std::string parking_key(InodeId inode) const;
  std::optional<InodeId> parked_inode(std::string_view key) const;  // whose parking_key() it is
  Result<PersistOutcome> commit_persisted(InodeId inode, const PersistedObject& object);
  // Moves the queue entry to `due_ns` and records why.
  Result<void> defer(InodeId inode, int64_t due_ns, const format::Progress& progress);
  Result<void> enqueue(InodeId inode, Urgency urgency);  // now, whatever it waited for
  Result<std::optional<format::Progress>> progress(InodeId inode);
  Result<void> put_progress(InodeId inode, const format::Progress& progress);
  // Somebody else's object sits under the inode's key and is kept as `conflict_name` beside it, as a new inode whose home is
  // `conflict_key` after the copy.
  Result<void> record_conflict(InodeId inode, MountId mount, std::string_view conflict_name,
                               std::string_view conflict_key, std::string_view etag, uint64_t size,
                               int64_t mtime_ns);

  // Whiteouts in the order of their due times, due at or before `due_ns`, behind `after`.
  Result<std::vector<EraseItem>> erases(int64_t due_ns, size_t items_max,
                                        const std::optional<EraseItem>& after = std::nullopt);
  // Whether the whiteout still stands as `item` saw it, that is, the object may be erased.
  Result<bool> erase_allowed(const EraseItem& item);
  Result<void> erased(const std::vector<EraseItem>& items);  // the whiteouts are gone
  enum class Deferral : uint8_t { kFailed, kLookAgain };
  Result<void> defer_erase(const EraseItem& item, int64_t due_ns, Deferral why);

  // Directories behind `after` whose entries changed since their objects were written; see directory_times.cc.
  struct ChangedDirectory {
    InodeId inode{};
    int64_t since_ns = 0;  // the first change
    int64_t mtime_ns = 0;
  };
  Result<std::vector<ChangedDirectory>> changed_directories(InodeId after, size_t directories_max);
  // Queues the directory's object, if there is one and it says another mtime, unless entries changed since `changed`.
  // Whether it was queued.
  Result<bool> settle_directory_time(const ChangedDirectory& changed);

  Result<std::vector<InodeId>> tree_jobs(size_t jobs_max);
  // Looks at up to `entries_max` descendants of a moved directory: queues those whose home is not where their path is, or
  // whose policy now asks for persisting. True: done. kNotFound with ask_lower semantics: `needs_listing` is a
  // directory whose lower layer must be listed first.
  struct TreeStep {
    bool done = false;
    std::optional<InodeId> needs_listing;
    bool detached = false;  // the directory is inside a tree that is being removed: nothing to do
  };
  Result<TreeStep> tree_step(InodeId job, size_t entries_max);
  Result<void> add_tree_job(InodeId directory);

  // --- removing whole trees: remove_tree.cc
  // Takes the directory with all below it out of the namespace; a durable job removes what it held. Returns the job: the
  // directory's inode. kNotDirectory; kBusy for a mount point.
  Result<InodeId> detach_tree(InodeId parent, std::string_view name);
  // Jobs behind `after` (InodeId{}: the first).
  Result<std::vector<format::TreeRemoval>> removals(InodeId after, size_t jobs_max);
  // What a job has to do next: remove `entries` of `directory`, or, when there are none and `purge` is set, list that prefix from
  // `purged_to` on and white out what is there.
  struct RemovalWork {
    bool over = false;
    InodeId directory{};
    std::vector<DirectoryEntry> entries;
    std::optional<format::Lower> purge;
    std::string purged_to;
  };
  Result<RemovalWork> removal_work(InodeId job, size_t entries_max);
  struct RemovedEntries {
    bool over = false;
    std::vector<Unlinked> unlinked;
  };
  // Removes the first entries of `work`, as many as `in_use` speaks of, up to a directory that is not empty: the job goes into
  // that one. Without entries: the directory is done.
  Result<RemovedEntries> remove_entries(InodeId job, const RemovalWork& work, const std::vector<InUse>& in_use);
  struct ListedObject {
    std::string key;
    std::string etag;
  };
  enum class Listing : uint8_t { kPart, kWhole };
  // Whites out objects below `lower` that belong to the tree: those that nobody owns and no directory that moved away reads.
  // At most kLowerBatchMax a call, in the order of their keys; kWhole: they were the last ones.
  Result<void> whiteout_listed(InodeId job, const format::Lower& lower, const std::vector<ListedObject>& objects,
                               Listing listing);

  // --- lower layer: lower.cc; called by meta/lower_layer.h alone
  // Takes entries of one listing of the directory in: new ones are materialised, changed clean ones updated, owned and
  // whited-out keys passed over. At most kLowerBatchMax entries a call. `listed_from_ns`: when that listing began.
  static constexpr size_t kLowerBatchMax = 200;
  struct LowerChanges {
    std::vector<InodeId> content_changed;   // caches of these are stale
    std::vector<std::pair<InodeId, std::string>> entries_changed;
    std::vector<LocalFileId> stale_local_files;
    std::vector<std::string> shadowed;      // names of objects that a directory of the same name hides
    bool shadows_found = false;             // objects that no path shows
    // Directories that are taken in only when confirmed: stores show a prefix for a moment longer than there is
    // anything below it, and the name is, or was a moment ago, something else.
    std::vector<LowerEntry> doubtful;
  };
  // kStale when the directory's lower layer is another prefix by now.
  Result<LowerChanges> merge_lower(InodeId directory, const format::Lower& lower,
                                   const std::vector<LowerEntry>& entries);
  // Another object than the known one lies where the home of a clean inode is: that is its content now. Nothing changes if the home is
  // not `known_etag` any more, or something is being written to it.
  Result<LowerChanges> take_home(InodeId inode, std::string_view known_etag, std::string_view etag, uint64_t size, int64_t mtime_ns);
  // The object of a clean entry was not in a complete listing and a head confirmed that it is gone.
  Result<LowerChanges> drop_lower(InodeId directory, std::string_view name, std::string_view etag);
  // The same of objects that no path can show, below a prefix that the directory reads: they become objects of the shadow
  // (meta/object_namespace.h). object_shadow.cc
  struct HiddenObject {
    std::string key;
    std::string etag;
    uint64_t size = 0;
    int64_t mtime_ns = 0;
  };
  Result<LowerChanges> merge_hidden(MountId mount, int64_t listed_from_ns, const std::vector<HiddenObject>& objects);
  // The object of one of them is gone. object_shadow.cc
  Result<LowerChanges> drop_hidden(InodeId inode, std::string_view etag);
  Result<void> set_listed(InodeId directory, const format::Lower& lower, int64_t listed_ns);
  // What the object's metadata said. Returns the inode that the object's name leads to: another one when it turned out to be a
  // further name of that.
  Result<Inode> set_lower_attributes(InodeId inode, std::string_view etag, const LowerAttributes& attributes);

  // --- configuration: config.cc
  Result<std::vector<format::Mount>> mounts();
  Result<format::Mount> add_mount(std::string_view name, std::string_view uri,
                                  const std::vector<std::pair<std::string, std::string>>& properties);
  // Forgets the mount point and everything below it; the bucket keeps its objects. kNotEmpty while anything below it waits to
  // be persisted or erased. `forget` is called for every local file that is nobody's any more.
  Result<void> remove_mount(std::string_view name, const std::function<void(LocalFileId)>& forget);
  Result<std::optional<std::string>> document(std::string_view name);
  Result<void> put_document(std::string_view name, std::string_view text);
  // In force from the next operation on; see requeue_transient().
  void set_rules(std::shared_ptr<const PathRules> rules);
  // Queues TRANSIENT files that the rules in force want persisted. To be called after a change of rules, and after every
  // start: a crash may have come between. Returns early once `stopping` says so.
  Result<void> requeue_transient(const std::function<bool()>& stopping);
  std::shared_ptr<const PathRules> rules() const;

 private:
  Namespace(kv::Kv& kv, const Clock& clock, const NamespaceOptions& options, std::string volume_id);

  Result<InodeId> id_for(const Caller& caller);
  // The policy of the inode's path. One rule for all paths costs no walk.
  Result<WritePolicy> policy_of(Tables& tables, const Inode& inode) const;
  // Makes the sums of directories in a volume whose earlier builds did not keep them. Nobody else may use it meanwhile.
  // Crash: begun anew by the next opening.
  static Result<void> make_directory_sums(kv::Kv& kv);                           // usage.cc
  Result<bool> something_waits(Tables& tables, MountId mount);
  Result<void> forget_mount(InodeId directory, MountId mount, const std::function<void(LocalFileId)>& forget);
  bool refresh_due(const Inode& directory, int64_t now_ns) const;
  Result<void> load_flushed_epoch();
  enum class FileKind : uint8_t { kDirectory, kOther };
  Result<Unlinked> remove_name(InodeId parent, std::string_view name, InUse in_use, FileKind kind, std::optional<InodeId> expected);

  kv::Kv& kv_;
  const Clock& clock_;
  const NamespaceOptions options_;
  const std::string volume_id_;
  std::atomic<std::shared_ptr<const PathRules>> rules_;
  RecentErasures recent_erasures_;
  IdBlocks inode_ids_;
  IdBlocks local_file_ids_;
  std::atomic<uint64_t> flush_epoch_{1};
  std::atomic<uint64_t> flushed_epoch_{0};
  std::atomic<uint64_t> epoch_in_use_{0};
};

}  // namespace weir::meta
