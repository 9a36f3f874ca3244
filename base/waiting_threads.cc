#include "base/waiting_threads.h"

#include <system_error>
#include <utility>

#include "base/log.h"

namespace weir {

void WaitingThreads::post(std::function<void()> work) {
  std::unique_lock lock(mutex_);
  if (idle_ <= queue_.size() && threads_.size() < threads_max_) {
    try {
      threads_.emplace_back([this] { run(); });
    } catch (const std::system_error& refused) {
      log_warn("threads.none_left", {{"threads", threads_.size()}, {"error", refused.what()}});
      if (threads_.empty()) {
        lock.unlock();
        return work();
      }
    }
  }
  queue_.push_back(std::move(work));
  work_came_.notify_one();
}

void WaitingThreads::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    work_came_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void WaitingThreads::run() {
  affinity_.apply();
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    work_came_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    const std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

}  // namespace weir
