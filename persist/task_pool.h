// persist/task_pool.h -- a fixed number of threads for pieces of larger work: parts of an object, slices of an erase batch.
//
// Threads: submit() may be called concurrently, but not from a task. Tasks run in the order of submission and must not throw.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace weir::persist {

class TaskPool {
 public:
  explicit TaskPool(uint32_t threads);
  ~TaskPool();  // runs what was submitted
  TaskPool(const TaskPool&) = delete;

  uint32_t threads() const { return static_cast<uint32_t>(threads_.size()); }
  // The caller bounds what it has outstanding; see TaskGroup.
  void submit(std::function<void()> task);

 private:
  void run();

  std::mutex mutex_;  // a leaf
  std::condition_variable work_;
  std::deque<std::function<void()>> tasks_;
  bool closed_ = false;
  std::vector<std::thread> threads_;
};

// The tasks of one piece of work, at most `outstanding_max` of them submitted at a time.
// Threads: one thread calls; the tasks run on the pool.
class TaskGroup {
 public:
  TaskGroup(TaskPool& pool, uint32_t outstanding_max) : pool_(pool), outstanding_max_(outstanding_max) {}
  ~TaskGroup() { wait(); }
  TaskGroup(const TaskGroup&) = delete;

  // Waits for room first.
  void run(std::function<void()> task);
  void wait();

 private:
  TaskPool& pool_;
  const uint32_t outstanding_max_;
  std::mutex mutex_;  // a leaf
  std::condition_variable finished_;
  uint32_t outstanding_ = 0;
};

}  // namespace weir::persist
