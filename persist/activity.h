// persist/activity.h -- what is being done right now, and who waits for it.
//
// Threads: all methods may be called concurrently; mutex_ is a leaf.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/clock.h"
#include "base/ids.h"
#include "persist/persister.h"

namespace weir::persist {

class Activity {
 public:
  struct Attempt {
    std::atomic<Phase> phase{Phase::kWaiting};
    std::atomic<uint64_t> uploaded_bytes{0};
  };

  // An attempt under way; it ends with the object.
  class Running {
   public:
    Running(Activity& activity, InodeId inode);
    ~Running();
    Running(const Running&) = delete;
    Attempt& attempt() { return *attempt_; }

   private:
    Activity& activity_;
    const InodeId inode_;
    const std::shared_ptr<Attempt> attempt_;
  };

  struct Snapshot {
    Phase phase;
    uint64_t uploaded_bytes;
  };
  std::optional<Snapshot> find(InodeId inode) const;
  uint64_t in_flight() const;

  // The inode's state was changed durably: its waiters look again.
  void changed(InodeId inode);

  // Waits for changed(inode) since the construction or the last wait. False at the deadline.
  class Waiter {
   public:
    Waiter(Activity& activity, InodeId inode);
    ~Waiter();
    Waiter(const Waiter&) = delete;
    bool wait(Deadline deadline);

   private:
    Activity& activity_;
    const InodeId inode_;
    uint64_t seen_ = 0;
  };

  // Wakes every waiter, now and later: the owner is stopping.
  void close();
  bool closed() const { return closed_.load(); }

 private:
  struct Waited {
    uint32_t waiters = 0;
    uint64_t changes = 0;
  };

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<InodeId, std::shared_ptr<Attempt>> running_;
  std::unordered_map<InodeId, Waited> waited_;
  std::atomic<bool> closed_{false};
};

}  // namespace weir::persist
