#include "fuse/invalidator.h"

#include <utility>

#include "base/log.h"

namespace weir::fuse {

Invalidator::Invalidator(KernelCaches& kernel) : kernel_(kernel), thread_([this] { run(); }) {}

void Invalidator::content_changed(InodeId inode) { post({inode, {}}); }

void Invalidator::entry_changed(InodeId directory, std::string_view name) {
  post({directory, std::string(name)});
}

void Invalidator::post(Notice notice) {
  std::unique_lock lock(mutex_);
  if (stopping_) return;
  const TimePoint until = Deadline::after(kAcknowledgeWait).time();
  const bool may_wait = !Serving::active();
  if (may_wait) changed_.wait_until(lock, until, [this] { return stopping_ || queue_.size() < kQueueMax; });
  if (queue_.size() >= kQueueMax) {
    // Names are all asked again, which is cheap; content keeps its own time.
    if (!std::exchange(overflowed_, true)) log_warn("fuse.invalidations_overflowed", {{"queued", queue_.size()}});
    return;
  }
  queue_.push_back(std::move(notice));
  const uint64_t mine = ++posted_;
  changed_.notify_all();
  if (!may_wait) return;
  if (!changed_.wait_until(lock, until, [&] { return stopping_ || delivered_ >= mine; })) {
    log_warn("fuse.invalidation_late", {{"queued", queue_.size()}});
  }
}

void Invalidator::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Invalidator::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    const Notice notice = std::move(queue_.front());
    queue_.pop_front();
    const bool expire_all = queue_.empty() && std::exchange(overflowed_, false);
    lock.unlock();
    if (notice.name.empty()) {
      kernel_.drop_content(notice.inode);
    } else {
      kernel_.drop_entry(notice.inode, notice.name);
    }
    if (expire_all) kernel_.expire_all_entries();
    lock.lock();
    ++delivered_;
    changed_.notify_all();
  }
}

}  // namespace weir::fuse
