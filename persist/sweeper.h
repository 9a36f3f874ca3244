// persist/sweeper.h -- what a predecessor that died left in the stores: multipart uploads that nobody will complete, and parked
// objects that nobody owns.
//
// Only what this volume made is touched: uploads under keys at which one was expected, begun since then, that no record goes on
// with; objects under the volume's own parking keys that no inode calls home. Both only once they are older than
// PersistOptions::leftover_age.
//
// Threads: one runs its loop. Crash: it looks again.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "meta/namespace.h"
#include "persist/background_pass.h"
#include "persist/breaker.h"
#include "persist/call_deadlines.h"
#include "persist/counters.h"
#include "persist/key_locks.h"
#include "persist/persister.h"
#include "ufs/mount_table.h"

namespace weir::persist {

class Sweeper {
 public:
  static constexpr Duration kGap = std::chrono::seconds(1);
  static constexpr Duration kFailedPause = std::chrono::minutes(1);  // at most: a store was away
  static constexpr size_t kPageUploads = 200;

  Sweeper(meta::Namespace& names, const ufs::MountTable& mounts, KeyLocks& key_locks, Breaker& breaker,
          const CallDeadlines& deadlines, Counters& counters, const PersistOptions& options)
      : names_(names), mounts_(mounts), key_locks_(key_locks), breaker_(breaker), deadlines_(deadlines),
        counters_(counters), options_(options) {}

  BackgroundPass& loop() { return loop_; }

 private:
  // Everything once. The time to wait before the next.
  Duration pass();
  Result<void> sweep_uploads(const meta::Namespace::ExpectedUpload& expected);
  Result<void> sweep_parked(MountId mount);
  Result<void> sweep_parked_object(MountId mount, ufs::UnderStore& store, const std::string& key);
  bool old_enough(int64_t since_ns) const;
  std::shared_ptr<ufs::UnderStore> store_of(MountId mount) const;  // null: not now

  meta::Namespace& names_;
  const ufs::MountTable& mounts_;
  KeyLocks& key_locks_;
  Breaker& breaker_;
  const CallDeadlines& deadlines_;
  Counters& counters_;
  const PersistOptions& options_;
  bool started_ = false;  // the first pass comes a period after the start
  BackgroundPass loop_{kGap, [this] { return pass(); }};
};

}  // namespace weir::persist
