// daemon/keeper.h -- the process of `weir serve` where the mount is to outlive the daemon: it holds the kernel's connection and
// the ledger, and starts the daemon proper, again when that dies.
//
// It owns the connection's rings, too. It does nothing else, so that there is little it could die of: no volume, no configuration,
// and besides the rings' threads one thread. SIGTERM, SIGINT and
// SIGHUP are passed on; it ends with its daemon, and the daemon with it. A daemon that dies again and again is started more and
// more slowly, and in the end no more: then the mount is taken away.
#pragma once

#include <functional>

namespace weir::daemon {

// Returns the exit code: the daemon's, if it ended in good order or never served. `started` is called when the first daemon
// serves. Requires: one thread, and the signals are blocked.
int keep_daemon(const std::function<void()>& started);

}  // namespace weir::daemon
