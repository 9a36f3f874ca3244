#include "persist/task_pool.h"

#include <algorithm>

namespace weir::persist {

TaskPool::TaskPool(uint32_t threads) {
  for (uint32_t i = 0; i < std::max(threads, 1u); ++i) threads_.emplace_back([this] { run(); });
}

TaskPool::~TaskPool() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void TaskPool::submit(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  work_.notify_one();
}

void TaskPool::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return closed_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    const std::function<void()> task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task();
    lock.lock();
  }
}

void TaskGroup::run(std::function<void()> task) {
  {
    std::unique_lock lock(mutex_);
    finished_.wait(lock, [&] { return outstanding_ < outstanding_max_; });
    ++outstanding_;
  }
  pool_.submit([this, task = std::move(task)] {
    task();
    // Notified under the lock: the waiter may destroy the group as soon as it can take it.
    std::lock_guard lock(mutex_);
    --outstanding_;
    finished_.notify_all();
  });
}

void TaskGroup::wait() {
  std::unique_lock lock(mutex_);
  finished_.wait(lock, [&] { return outstanding_ == 0; });
}

}  // namespace weir::persist
