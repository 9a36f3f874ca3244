// daemon/fsck_lines.h -- fsck as lines of JSON: progress, each discrepancy, and at the end a summary or an error.
#pragma once

#include <functional>

#include "base/result.h"
#include "daemon/line_reply.h"
#include "volume/fsck.h"

namespace weir::daemon {

// `run` is the check itself.
Result<void> report_fsck(LineReply& lines,
                         const std::function<Result<volume::FsckSummary>(const volume::FsckListener&)>& run);

}  // namespace weir::daemon
