// daemon/offline_fsck.h -- fsck of a volume that nobody serves.
//
// Opens the stores as a daemon does, and recovers, uploads and removes nothing: what a stop left to be recovered is in flight, or,
// where it is a local file that nothing names, told. Threads: one.
#pragma once

#include <functional>
#include <string_view>

#include "base/result.h"
#include "daemon/properties.h"
#include "volume/fsck.h"

namespace weir::daemon {

// `line` gets what fsck_lines.h says. Errors: kBusy when a daemon has the volume; as the start of a daemon.
Result<void> fsck_offline(const Properties& properties, const volume::FsckOptions& options,
                          const std::function<void(std::string_view line)>& line);

}  // namespace weir::daemon
