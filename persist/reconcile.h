// persist/reconcile.h -- one inode: finds out what its object should be and is, and does what is missing.
//
// Lock order: an inode taken from the queue, then the inode in its way (tried, never waited for), then one object key.
// Threads: work() may be called concurrently with jobs of one queue.
// Crash: each step is durable before the next one depends on it; work() started again finds out where it was. At every
// instant an inode's home holds its content or its content is local (H1, H2).
#pragma once

#include <functional>
#include <mutex>

#include "base/random.h"
#include "base/result.h"
#include "meta/lower_layer.h"
#include "meta/namespace.h"
#include "meta/object_attributes.h"
#include "pages/page_store.h"
#include "persist/activity.h"
#include "persist/breaker.h"
#include "persist/call_deadlines.h"
#include "persist/counters.h"
#include "persist/key_locks.h"
#include "persist/mount_memo.h"
#include "persist/persister.h"
#include "persist/publisher.h"
#include "persist/queue.h"
#include "persist/uploader.h"
#include "ufs/mount_table.h"

namespace weir::persist {

class Reconciler {
 public:
  struct Parts {
    meta::Namespace& names;
    meta::LowerLayer& lower;
    pages::PageStore& pages;
    const ufs::MountTable& mounts;
    Queue& queue;
    KeyLocks& key_locks;
    Breaker& breaker;
    Publisher& publisher;
    Uploader& uploader;
    Activity& activity;
    const CallDeadlines& deadlines;
    Counters& counters;
    const Persister::Events& events;
  };

  Reconciler(const Parts& parts, const PersistOptions& options, std::function<void()> erase_due)
      : parts_(parts), options_(options), erase_due_(std::move(erase_due)), memo_(parts.names),
        random_(Random::from_entropy()), started_ns_(unix_ns(parts.names.clock().wall_now())) {}

  // Works on the job's inode and gives the job back to the queue.
  void work(Queue::Job job);

  // Puts an inode off that failed; its order among others is lost.
  void put_off(InodeId inode, const Error& error);

 private:
  // How an attempt ended; an error is the other way.
  enum class Outcome : uint8_t {
    kDone,        // nothing is left, or what is left comes again by itself
    kBlocked,     // somebody works on the inode in the way, or may still be erasing
  };

  int64_t held_whiteouts_ns() const;
  Result<Outcome> reconcile(InodeId inode, MountId* mount, Activity::Attempt& attempt);
  // Moves the object of the inode in the way elsewhere. False: not now.
  Result<bool> clear_way(const meta::Claim& claim);
  Result<void> move_away(const meta::Claim& blocked, InodeId in_the_way);
  Result<void> park(const meta::Inode& inode, ufs::UnderStore& store);
  // The object of an inode that lost its last name and is still open goes, or is moved where it is in nobody's way.
  Result<void> settle_unnamed(InodeId inode, MountId* mount);

  // Writes the object beside the claimed one that `form` asks for, unless it is there already.
  Result<format::Home> bring_sidecar(const meta::Claim& claim, ufs::UnderStore& store, const meta::ObjectForm& form);
  Result<meta::PersistedObject> bring(const meta::Claim& claim, ufs::UnderStore& store, Activity::Attempt& attempt);
  Result<meta::PersistedObject> upload(const meta::Claim& claim, ufs::UnderStore& store, Activity::Attempt& attempt);
  // Of a further name its inode's home, else its own, to where it belongs.
  Result<meta::PersistedObject> copy_content(const meta::Claim& claim, ufs::UnderStore& store,
                                             Activity::Attempt& attempt);
  // The home's object was changed or removed by others before it could be copied.
  Result<meta::PersistedObject> replace_lost_home(const meta::Claim& claim, ufs::UnderStore& store,
                                                  Activity::Attempt& attempt);
  void settle(const meta::Claim& claim, const meta::PersistOutcome& outcome);
  void fail_attempt(const Queue::Job& job, MountId mount, const Error& error);
  Result<std::shared_ptr<ufs::UnderStore>> store_of(MountId mount) const;
  Duration random_backoff(uint32_t attempts, Duration first, Duration longest);

  const Parts parts_;
  const PersistOptions options_;
  const std::function<void()> erase_due_;  // a whiteout may have come into being
  MountMemo memo_;
  std::mutex random_mutex_;  // a leaf
  Random random_;
  const int64_t started_ns_;
};

}  // namespace weir::persist
