#include "volume/write_ender.h"

#include <algorithm>
#include <iterator>

namespace weir::volume {

WriteEnder::~WriteEnder() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

void WriteEnder::enqueue(OpenRef open) {
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(open));
  ++enqueued_;
  if (waiting_.size() == 1 || waiting_.size() == kBatch) work_.notify_one();
}

void WriteEnder::drain() {
  std::unique_lock lock(mutex_);
  const uint64_t all = enqueued_;
  drain_to_ = std::max(drain_to_, all);
  work_.notify_one();
  done_.wait(lock, [&] { return handled_ >= all || stopping_; });
}

void WriteEnder::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    work_.wait_for(lock, kIntervalMax,
                   [this] { return stopping_ || waiting_.size() >= kBatch || handled_ < drain_to_; });
    if (stopping_) break;
    std::vector<OpenRef> batch;
    const size_t count = std::min(waiting_.size(), kBatch);
    batch.reserve(count);
    std::move(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(count), std::back_inserter(batch));
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<ptrdiff_t>(count));

    lock.unlock();
    std::vector<OpenRef> again = end_(std::move(batch));
    lock.lock();
    handled_ += count;
    enqueued_ += again.size();
    std::move(again.begin(), again.end(), std::back_inserter(waiting_));
    done_.notify_all();
  }
  std::vector<OpenRef> dropped = std::move(waiting_);
  waiting_.clear();
  done_.notify_all();
  lock.unlock();
}

}  // namespace weir::volume
