#include "pages/reaper.h"

#include <utility>

namespace weir::pages {

void Reaper::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    stop_until_ = Deadline::after(kStopMax).time();
  }
  work_.notify_all();
  stopped_.notify_all();
  threads_.clear();  // joins; no thread is added any more
  items_.clear();
}

bool Reaper::put(Item& item) {
  Lock lock(mutex_);
  if (stopping_ || items_.size() >= kItemsMax) return false;
  if (!item.remains.valid()) names_.insert(item.id);
  ++files_;
  bytes_ += item.bytes;
  items_.push_back(std::move(item));
  if (gathers_) return true;
  if (idle_ == 0) add_thread();
  lock.unlock();
  work_.notify_one();
  return true;
}

void Reaper::add_thread() {
  if (!stopping_ && threads_.size() < kThreadsMax) threads_.emplace_back([this] { run(); });
}

void Reaper::finish(LocalFileId id) {
  if (files() == 0) return;
  Lock lock(mutex_);
  while (names_.contains(id)) {
    if (items_.empty()) {
      freed_.wait(lock);
    } else {
      free_oldest(lock);
    }
  }
}

bool Reaper::help() {
  if (files() == 0) return false;
  Lock lock(mutex_);
  if (!items_.empty()) {
    free_oldest(lock);
    return true;
  }
  if (being_freed_ == 0) return false;
  freed_.wait(lock, [this, before = freed_count_] { return freed_count_ != before; });
  return true;
}

void Reaper::run() {
  affinity_.apply();
  Lock lock(mutex_);
  for (;;) {
    const bool rests = items_.empty();
    ++idle_;
    work_.wait(lock, [this] { return stopping_ || !items_.empty(); });
    --idle_;
    if (rests && being_freed_ == 0 && !gathers_) gather(lock);
    if (items_.empty() && !stopping_) continue;
    if (items_.empty() || (stopping_ && system_clock().now() >= stop_until_)) return;
    free_oldest(lock);
  }
}

void Reaper::gather(Lock& lock) {
  gathers_ = true;
  stopped_.wait_for(lock, kGatherTime, [this] { return stopping_; });
  gathers_ = false;
  if (items_.size() > 1 + idle_) add_thread();
  for (size_t i = 1; i < items_.size() && i <= idle_; ++i) work_.notify_one();
}

void Reaper::free_oldest(Lock& lock) {
  Item item = std::move(items_.front());
  items_.pop_front();
  ++being_freed_;
  lock.unlock();
  const bool named = !item.remains.valid();
  if (named) {
    unlink_(item);
  } else {
    item.remains.close();
  }
  lock.lock();
  if (named) names_.erase(item.id);
  bytes_ -= item.bytes;
  --files_;
  --being_freed_;
  ++freed_count_;
  freed_.notify_all();
}

}  // namespace weir::pages
