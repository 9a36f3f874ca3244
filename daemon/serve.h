// daemon/serve.h -- the process of a daemon: signals, log, background, exit code.
#pragma once

#include "daemon/config.h"

namespace weir::daemon {

struct ServeOptions {
  ConfigSources sources;
  bool background = false;  // return once the volume is served; the log goes to weir.log in volume.dir by default
};

// With fuse.keeper this process is the keeper, and the daemon proper a child of it, which this function is in turn.
// Serves until SIGTERM or SIGINT; SIGHUP reloads. Returns the exit code: 0 after an orderly end, 1 when it could not start
// (with the reason on standard error) or not stop within shutdown.grace.period.
int serve(const ServeOptions& options);

}  // namespace weir::daemon
