#include "persist/tree_walker.h"

#include "base/failpoint.h"
#include "base/log.h"

namespace weir::persist {

Duration TreeWalker::pass() {
  const auto jobs = names_.tree_jobs(kJobsMax);
  if (!jobs) {
    log_error("persist.tree_jobs_unreadable", {{"error", jobs.error()}});
    return kFailedPause;
  }
  if (jobs->empty()) return kIdleInterval;
  bool moved_on = false;
  for (const InodeId job : *jobs) {
    if (deadlines_.stopping()) return kFailedPause;
    moved_on |= step(job);
  }
  return moved_on ? Duration::zero() : kFailedPause;
}

bool TreeWalker::step(InodeId job) {
  if (!failpoint("persist.tree_step")) return false;
  const auto step = names_.tree_step(job, kStepEntries);
  if (!step) {
    log_error("persist.tree_job_failed", {{"inode", job}, {"error", step.error()}});
    return false;
  }
  if (step->detached) return false;
  queued_();
  if (!step->needs_listing) return true;
  const auto listed = lower_.load_directory(*step->needs_listing, deadlines_.reply());
  // A directory that was removed meanwhile is passed over by the next step.
  if (listed || listed.error() == ErrorCode::kNotFound) return true;
  log_warn("persist.tree_job_waits", {{"inode", job}, {"error", listed.error()}});
  return false;
}

}  // namespace weir::persist
