#include "persist/activity.h"

namespace weir::persist {

Activity::Running::Running(Activity& activity, InodeId inode)
    : activity_(activity), inode_(inode), attempt_(std::make_shared<Attempt>()) {
  std::lock_guard lock(activity_.mutex_);
  activity_.running_[inode_] = attempt_;
}

Activity::Running::~Running() {
  std::lock_guard lock(activity_.mutex_);
  activity_.running_.erase(inode_);
}

std::optional<Activity::Snapshot> Activity::find(InodeId inode) const {
  std::lock_guard lock(mutex_);
  const auto it = running_.find(inode);
  if (it == running_.end()) return std::nullopt;
  return Snapshot{it->second->phase.load(), it->second->uploaded_bytes.load()};
}

uint64_t Activity::in_flight() const {
  std::lock_guard lock(mutex_);
  return running_.size();
}

void Activity::changed(InodeId inode) {
  std::lock_guard lock(mutex_);
  const auto it = waited_.find(inode);
  if (it == waited_.end()) return;
  ++it->second.changes;
  changed_.notify_all();
}

Activity::Waiter::Waiter(Activity& activity, InodeId inode) : activity_(activity), inode_(inode) {
  std::lock_guard lock(activity_.mutex_);
  Waited& waited = activity_.waited_[inode_];
  ++waited.waiters;
  seen_ = waited.changes;
}

Activity::Waiter::~Waiter() {
  std::lock_guard lock(activity_.mutex_);
  const auto it = activity_.waited_.find(inode_);
  if (--it->second.waiters == 0) activity_.waited_.erase(it);
}

bool Activity::Waiter::wait(Deadline deadline) {
  std::unique_lock lock(activity_.mutex_);
  const auto ready = [&] { return activity_.closed() || activity_.waited_[inode_].changes != seen_; };
  if (!activity_.changed_.wait_until(lock, deadline.time(), ready)) return false;
  seen_ = activity_.waited_[inode_].changes;
  return true;
}

void Activity::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

}  // namespace weir::persist
