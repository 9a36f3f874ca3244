// persist/tree_walker.h -- walks directories that moved, or whose rules changed, and queues what lies in the wrong place.
//
// Threads: one runs its loop. Crash: a job remembers how far it came.
#pragma once

#include <functional>

#include "base/clock.h"
#include "meta/lower_layer.h"
#include "meta/namespace.h"
#include "persist/background_pass.h"
#include "persist/call_deadlines.h"

namespace weir::persist {

class TreeWalker {
 public:
  static constexpr size_t kStepEntries = 500;
  static constexpr size_t kJobsMax = 64;  // walked in turn; later ones wait
  static constexpr Duration kGap = std::chrono::milliseconds(20);  // between two looks for jobs on wake()
  static constexpr Duration kIdleInterval = std::chrono::seconds(30);
  static constexpr Duration kFailedPause = std::chrono::seconds(1);

  // `queued`: called after a step that may have queued something.
  TreeWalker(meta::Namespace& names, meta::LowerLayer& lower, const CallDeadlines& deadlines,
             std::function<void()> queued)
      : names_(names), lower_(lower), deadlines_(deadlines), queued_(std::move(queued)) {}

  BackgroundPass& loop() { return loop_; }

 private:
  // One step of every job. The time to wait before the next.
  Duration pass();
  // False: not now.
  bool step(InodeId job);

  meta::Namespace& names_;
  meta::LowerLayer& lower_;
  const CallDeadlines& deadlines_;
  const std::function<void()> queued_;
  BackgroundPass loop_{kGap, [this] { return pass(); }};
};

}  // namespace weir::persist
