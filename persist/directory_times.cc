#include "persist/directory_times.h"

#include <algorithm>

#include "base/log.h"

namespace weir::persist {

Duration DirectoryTimes::pass() {
  if (const auto settled = settle(quiet_); !settled.has_value())
    log_error("persist.directory_times_unwritten", {{"error", settled.error()}});
  return std::clamp<Duration>(quiet_ / 4, kGap, kIntervalMax);
}

Result<void> DirectoryTimes::settle(Duration quiet) {
  const int64_t now_ns = unix_ns(names_.clock().wall_now());
  const int64_t still_since_ns = now_ns - quiet.count();
  const int64_t restless_since_ns = now_ns - kRestless * quiet.count();
  bool queued = false;
  InodeId after{};
  for (bool more = true; more && !deadlines_.stopping();) {
    TRY_ASSIGN(const auto changed, names_.changed_directories(after, kBatch));
    for (const auto& directory : changed) {
      after = directory.inode;
      if (directory.mtime_ns > still_since_ns && directory.since_ns > restless_since_ns) continue;
      TRY_ASSIGN(const bool written, names_.settle_directory_time(directory));
      queued |= written;
    }
    more = changed.size() == kBatch;
  }
  if (queued) queued_();
  return {};
}

}  // namespace weir::persist
