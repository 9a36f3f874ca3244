// volume/due_scan.h -- when to run a scan that brings stored state into line with rules that transactions read as they run.
//
// It is due after a change of the rules until a scan that began when every transaction that still went by the old ones had
// ended has gone through. Threads: all methods may be called concurrently. Locks: mutex_ is a leaf.
#pragma once

#include <functional>
#include <mutex>
#include <optional>

#include "base/clock.h"
#include "base/result.h"

namespace weir::volume {

class DueScan {
 public:
  // `settling`: how long a transaction may go on by the old rules. Due from the start.
  DueScan(Duration settling, const Clock& clock) : settling_(settling), clock_(clock), changed_(clock.now()) {}

  void rules_changed() {
    const std::lock_guard lock(mutex_);
    changed_ = clock_.now();
  }

  // Runs `scan` if it is due; what fails stays due.
  Result<void> run(const std::function<Result<void>()>& scan) {
    const TimePoint begin = clock_.now();
    {
      const std::lock_guard lock(mutex_);
      if (scanned_ && *scanned_ >= changed_ + settling_) return {};
    }
    TRY(scan());
    const std::lock_guard lock(mutex_);
    if (!scanned_ || *scanned_ < begin) scanned_ = begin;
    return {};
  }

 private:
  const Duration settling_;
  const Clock& clock_;
  std::mutex mutex_;
  TimePoint changed_;
  std::optional<TimePoint> scanned_;  // when the last whole scan began
};

}  // namespace weir::volume
