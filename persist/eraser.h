// persist/eraser.h -- removes the objects behind whiteouts.
//
// A whiteout whose object is known for certain goes in a batch. Where an upload or a copy may have put another object there,
// the object is looked at first and removed only if it is the one meant, or a leftover of ours; what others put there stays
// and shows up with the next listing. A store may finish a request whose sender has died or given it up; so there is a second
// look late_effect_max later, and until then the whiteout stands.
//
// Threads: one runs its loop.
// Crash: a whiteout stands until its object is gone; erasing twice is harmless.
#pragma once

#include <mutex>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "meta/namespace.h"
#include "persist/background_pass.h"
#include "persist/breaker.h"
#include "persist/call_deadlines.h"
#include "persist/counters.h"
#include "persist/key_locks.h"
#include "persist/persister.h"
#include "persist/task_pool.h"
#include "ufs/mount_table.h"

namespace weir::persist {

class Eraser {
 public:
  static constexpr Duration kGap = std::chrono::milliseconds(50);          // between passes on wake()
  static constexpr Duration kBusyPause = std::chrono::milliseconds(50);    // while applications are busy
  static constexpr Duration kIdleInterval = std::chrono::seconds(30);
  static constexpr Duration kFailedPause = std::chrono::seconds(1);

  Eraser(meta::Namespace& names, const ufs::MountTable& mounts, KeyLocks& key_locks, Breaker& breaker, TaskPool& pool,
         const CallDeadlines& deadlines, Counters& counters, const PersistOptions& options)
      : names_(names), mounts_(mounts), key_locks_(key_locks), breaker_(breaker), pool_(pool), deadlines_(deadlines),
        counters_(counters), options_(options), random_(Random::from_entropy()) {}

  BackgroundPass& loop() { return loop_; }

 private:
  using Items = std::vector<meta::EraseItem>;

  // Waits while applications are busy, until what is due since then has waited stand_back_max().
  void stand_back(int64_t due_ns);
  // Goes once through everything that is due. The time to wait before the next pass.
  Duration pass();
  // False: something could not be done now.
  bool erase(const Items& items);
  bool erase_known(ufs::UnderStore& store, MountId mount, const Items& items);
  bool erase_looked_at(ufs::UnderStore& store, MountId mount, const Items& items);
  bool erase_looked_at(ufs::UnderStore& store, const meta::EraseItem& item);
  Result<void> look_and_erase(ufs::UnderStore& store, const meta::EraseItem& item);
  bool settle(MountId mount, const meta::EraseItem& item, const Result<void>& result, Items* erased);

  meta::Namespace& names_;
  const ufs::MountTable& mounts_;
  KeyLocks& key_locks_;
  Breaker& breaker_;
  TaskPool& pool_;
  const CallDeadlines& deadlines_;
  Counters& counters_;
  const PersistOptions& options_;

  std::mutex random_mutex_;  // a leaf
  Random random_;
  BackgroundPass loop_{kGap, [this] { return pass(); }};
};

}  // namespace weir::persist
