// persist/directory_times.h -- has the objects of directories say when their entries last changed.
//
// A directory is written anew once its entries have stood still for a while, or have changed for long: at most once in
// PersistOptions::deadline, however many entries come and go.
//
// Threads: one runs its loop; settle_all() may be called from any. Crash: what is to be written is durable in the metadata.
#pragma once

#include <functional>

#include "base/clock.h"
#include "base/result.h"
#include "meta/namespace.h"
#include "persist/background_pass.h"
#include "persist/call_deadlines.h"

namespace weir::persist {

class DirectoryTimes {
 public:
  static constexpr size_t kBatch = 500;
  static constexpr Duration kIntervalMax = std::chrono::seconds(15);
  static constexpr Duration kGap = std::chrono::milliseconds(50);
  static constexpr int kRestless = 10;  // after this many times `quiet` it does not matter that entries still change

  // `queued`: called when something was queued.
  DirectoryTimes(meta::Namespace& names, const CallDeadlines& deadlines, Duration quiet, std::function<void()> queued)
      : names_(names), deadlines_(deadlines), quiet_(quiet), queued_(std::move(queued)) {}

  BackgroundPass& loop() { return loop_; }
  // Waits for nothing to stand still.
  Result<void> settle_all() { return settle(Duration::zero()); }

 private:
  Result<void> settle(Duration quiet);
  // The time to wait before the next one.
  Duration pass();

  meta::Namespace& names_;
  const CallDeadlines& deadlines_;
  const Duration quiet_;
  const std::function<void()> queued_;
  BackgroundPass loop_{kGap, [this] { return pass(); }};
};

}  // namespace weir::persist
