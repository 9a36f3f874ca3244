// daemon/daemon.h -- one running volume: the only place that picks concrete stores and puts the parts together.
//
// Threads: one thread at a time.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "daemon/live_config.h"

namespace weir::daemon {

class Daemon {
 public:
  // Takes the volume folder, opens metadata, page store and volume, listens, mounts. On an error nothing is left behind,
  // and its message says what is wrong and what to do.
  static Result<std::unique_ptr<Daemon>> start(const Properties& properties, const ConfigSources& sources);
  virtual ~Daemon() = default;

  // SIGHUP.
  virtual Result<void> reload() = 0;

  // Unmounts, stops listening, stops the volume, writes the metadata through. kTimedOut: requests still run inside the
  // volume, and the process must end without destroying this object. Everything acknowledged is durable either way.
  virtual Result<void> stop(Deadline deadline) = 0;
};

}  // namespace weir::daemon
