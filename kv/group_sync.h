// kv/group_sync.h -- one device flush for everybody who waits for one.
//
// A caller that finds a flush running waits for it to end; it began too early to cover that caller's commit, so one of
// the waiters then starts the next, which covers them all. Commits that do not sync never come here.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf, not held during a flush.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include "base/result.h"

namespace weir::kv {

class GroupSync {
 public:
  // Positions in the commit order, ascending. `written` is what a flush started now would cover; `flush` makes it
  // durable.
  GroupSync(std::function<uint64_t()> written, std::function<Result<void>()> flush)
      : written_(std::move(written)), flush_(std::move(flush)) {}

  // Returns once everything up to `position`, which is written, is durable. Waits as long as the device takes for at
  // most two flushes. Errors: those of the flush that should have covered `position`.
  Result<void> sync_through(uint64_t position);

  uint64_t flushes() const;

 private:
  const std::function<uint64_t()> written_;
  const std::function<Result<void>()> flush_;

  mutable std::mutex mutex_;
  std::condition_variable flushed_;
  bool flushing_ = false;
  uint64_t synced_ = 0;
  uint64_t flushes_ = 0;
  uint64_t failures_ = 0;
  uint64_t failed_ = 0;   // the last position a failed flush should have covered
  Result<void> failure_;  // of the last one
};

}  // namespace weir::kv
