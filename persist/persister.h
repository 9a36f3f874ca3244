// persist/persister.h -- brings the bucket into agreement with the namespace, in the background and for ever.
//
// What has to be done is durable in the metadata (queue entries, whiteouts to erase, directories that moved); the persister keeps
// nothing that a restart would miss. One inode is worked on by one thread at a time; two object keys of the same name never
// are. For each inode it compares where and what its object should be with where and what it is, and does the least:
// nothing, a copy on the server, or an upload.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "ufs/mount_table.h"

namespace weir::meta {
class LowerLayer;
}

namespace weir::persist {

struct PersistOptions {
  uint32_t threads = 16;                                    // inodes at once; half as many threads more send parts
  Duration deadline = std::chrono::seconds(60);             // async.persist.deadline
  Duration retry_interval_min = std::chrono::seconds(1);
  Duration retry_interval_max = std::chrono::hours(1);
  Duration call_timeout = std::chrono::seconds(15);         // of one UFS call, besides the time its bytes take
  uint64_t part_bytes = 16ull << 20;                        // objects above go up in parts
  uint32_t parts_in_flight = 4;                             // of one object
  uint32_t erase_batch = 500;
  Duration leftover_check_period = std::chrono::minutes(10);  // how often objects and uploads of ours are looked for that nobody needs
  Duration leftover_age = std::chrono::hours(1);              // younger ones are left alone
  // How long a store may go on with a request whose sender has died or given it up. 0: not at all.
  Duration late_effect_max = std::chrono::seconds(10);
  // Whether applications keep the volume so busy that work nobody waits for stands back, for stand_back_max() at most. Called
  // often, by several threads. Empty: never.
  std::function<bool()> foreground_busy;
};

inline Duration stand_back_max(const PersistOptions& options) { return options.deadline / 4; }

enum class Phase : uint8_t {
  kWaiting,
  kUploading,
  kCopying,
  kBackingOff,
  kStoreAway,  // its store takes nothing for now; see Persister::store_error
};
std::string_view name_of(Phase phase);

// One waiting inode, for `async-persist list|stat`.
struct QueueItem {
  InodeId inode{};
  std::string path;
  meta::FileState state = meta::FileState::kNotPersisted;
  Phase phase = Phase::kWaiting;
  bool urgent = false;
  uint64_t size_bytes = 0;
  uint64_t uploaded_bytes = 0;     // of the attempt under way
  int64_t dirty_since_ns = 0;
  int64_t next_try_ns = 0;
  uint32_t attempts = 0;
  std::string last_error;
  bool refused = false;            // by credentials or policy: needs somebody
};

struct PersistStats {
  uint64_t waiting_files = 0;
  uint64_t waiting_bytes = 0;
  int64_t oldest_age_ns = 0;
  uint64_t in_flight = 0;
  uint64_t persisted_files = 0;    // since start, as all below
  uint64_t persisted_bytes = 0;
  uint64_t copied_files = 0;
  uint64_t erased_objects = 0;
  uint64_t conflicts = 0;
  uint64_t aborted_uploads = 0;    // multipart uploads of ours that nobody would have completed
  uint64_t erased_leftovers = 0;   // objects of ours that nobody owned
  uint64_t errors_unavailable = 0;
  uint64_t errors_denied = 0;
  uint64_t errors_other = 0;
  uint64_t changed_while_uploading = 0;
};

// What is to be done before the bucket mirrors the namespace.
struct LeftToDo {
  uint64_t files = 0;  // and directories, symlinks, further names
  uint64_t bytes = 0;
  bool erasures = false;           // objects that nobody owns any more
  bool moved_directories = false;  // whose objects are still under the old prefix
  bool removals = false;           // trees of which something is left

  bool nothing() const { return files == 0 && !erasures && !moved_directories && !removals; }
};
std::string to_string(const LeftToDo& left);

class Persister {
 public:
  struct Events {
    // The local copy may go; under NO_CACHE the receiver drops it.
    std::function<void(InodeId, LocalFileId, meta::WritePolicy)> persisted;
    // A bucket's object was kept under another name beside the record `inode`.
    std::function<void(InodeId, const std::string& kept_as)> conflict;
    // Makes the local file of an inode whose content is not persisted complete; returns when it is, or with an error. kStale:
    // the home's object is not there any more. Called without locks.
    std::function<Result<void>(InodeId)> complete;
    // The kernel's idea of an inode's xattrs or attributes (user.weir.state) is stale.
    std::function<void(InodeId)> state_changed;
  };

  Persister(meta::Namespace& names, meta::LowerLayer& lower, pages::PageStore& pages, const ufs::MountTable& mounts,
            const PersistOptions& options, Events events);
  ~Persister();
  Persister(const Persister&) = delete;

  void start();
  // Takes no new work, cancels what can be resumed, returns when all threads are gone. Shortly before the deadline calls into
  // stores that do not answer are cut short (UnderStore::stop: the stores are of no use after that). What was not finished is
  // done after the next start.
  void stop(Deadline deadline);

  // There is more to do, of any kind. Cheap; callable from any thread.
  void wake();
  // Only files, directories or symlinks were queued: nothing is to be erased, no directory moved. Cheaper still for what nobody
  // waits for.
  void wake_for_files(meta::Urgency urgency);
  // Objects were given up and are to be erased; nothing else.
  void wake_for_erasures();

  // Returns when the inode's content of `generation` or later is persisted (or the inode is gone). kDenied as soon as the UFS
  // refused it, kTimedOut at the deadline; it stays queued either way.
  Result<void> wait_persisted(InodeId inode, Generation generation, Deadline deadline);

  // kDenied with the reason while the UFS refuses this inode: the next fsync's error.
  Result<void> refusal(InodeId inode) const;

  // Tries again now, whatever the back-off; nullopt: everything.
  Result<void> retry(std::optional<InodeId> inode);

  Result<std::vector<QueueItem>> list(size_t items_max);
  Result<std::optional<QueueItem>> item(InodeId inode);
  PersistStats stats() const;

  // Returns when nothing is queued, to be erased, moved or removed with its tree, and the objects of directories say when
  // their entries changed before the call; kTimedOut with what is left. What is queued meanwhile counts, too. `progress` is
  // called often; false: stop, with kCancelled.
  using DrainProgress = std::function<bool(const LeftToDo& left)>;
  Result<void> drain(Deadline deadline, const DrainProgress& progress = {});

  // Why nothing is sent to the mount point's store for now: kDenied when it refuses us, else it does not answer. It is tried
  // again every second or so.
  std::optional<Error> store_error(MountId mount) const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::persist
