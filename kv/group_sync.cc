#include "kv/group_sync.h"

#include <algorithm>

namespace weir::kv {

Result<void> GroupSync::sync_through(uint64_t position) {
  std::unique_lock lock(mutex_);
  const uint64_t failures_before = failures_;
  while (synced_ < position) {
    if (failures_ != failures_before && failed_ >= position) return failure_;
    if (flushing_) {
      flushed_.wait(lock);
      continue;
    }
    flushing_ = true;
    ++flushes_;
    lock.unlock();
    const uint64_t target = written_();
    auto result = flush_();
    lock.lock();
    flushing_ = false;
    if (result.has_value()) {
      synced_ = std::max(synced_, target);
    } else {
      ++failures_;
      failed_ = std::max(failed_, target);
      failure_ = std::move(result);
    }
    flushed_.notify_all();
  }
  return {};
}

uint64_t GroupSync::flushes() const {
  const std::lock_guard lock(mutex_);
  return flushes_;
}

}  // namespace weir::kv
