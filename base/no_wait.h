// base/no_wait.h -- marks a thread that must not wait for an under store.
//
// A front that serves many requests on one thread (one FUSE ring per core) would stall all of them behind one that
// waits for the network. While a NoWait lives, whoever would have to wait for an under store fails with kWouldWait
// instead, leaving things such that the whole call can be repeated; the front does so on a thread that may wait.
#pragma once

#include "base/result.h"

namespace weir {

class NoWait {
 public:
  NoWait() { ++depth_; }
  ~NoWait() { --depth_; }
  NoWait(const NoWait&) = delete;
  NoWait& operator=(const NoWait&) = delete;

  static bool active() { return depth_ != 0; }
  // To be called before a wait for an under store: TRY(NoWait::check()).
  static Result<void> check() {
    if (active()) return fail(ErrorCode::kWouldWait);
    return {};
  }

 private:
  static inline thread_local int depth_ = 0;
};

}  // namespace weir
