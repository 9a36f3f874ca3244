// daemon/daemon.h -- one running volume: the only place that picks concrete stores and puts the parts together.
//
// Threads: one thread at a time.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "daemon/keeper_link.h"
#include "daemon/live_config.h"

namespace weir::daemon {

class Daemon {
 public:
  // Takes the volume folder, opens metadata, page store and volume, listens, mounts. On an error nothing is left behind,
  // and its message says what is wrong and what to do.
  // With a keeper it goes on with the mount that a predecessor left. `keeper` is null where none has started this process; it
  // must outlive the daemon.
  static Result<std::unique_ptr<Daemon>> start(const Properties& properties, const ConfigSources& sources,
                                               KeeperLink* keeper);
  virtual ~Daemon() = default;

  // SIGHUP.
  virtual Result<void> reload() = 0;

  // Ends the S3 endpoint, unmounts, stops listening, stops the volume, writes the metadata through. kTimedOut: requests still run inside the
  // volume, and the process must end without destroying this object. Everything acknowledged is durable either way.
  virtual Result<void> stop(Deadline deadline) = 0;

  // Leaves the mount to a successor. Whatever it returns, the process must end without destroying this object: what was not
  // done by the deadline is as after a crash.
  virtual Result<void> hand_over(Deadline deadline) = 0;
};

}  // namespace weir::daemon
