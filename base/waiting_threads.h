// base/waiting_threads.h -- threads for requests that wait: for an under store, or for the disk.
//
// Threads are started as work comes and kept, on the CPUs of the thread that made this; beyond `threads_max` work queues. The
// queue is bounded by its producers: every entry is a request that its front keeps a place for.
// Threads: post() may be called concurrently; stop() once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/affinity.h"

namespace weir {

class WaitingThreads {
 public:
  explicit WaitingThreads(size_t threads_max) : threads_max_(threads_max) {}
  ~WaitingThreads() { stop(); }

  // Requires: stop() was not called.
  void post(std::function<void()> work);
  // Returns when everything posted was done.
  void stop();

 private:
  void run();

  const size_t threads_max_;
  const Affinity affinity_ = Affinity::of_this_thread();
  std::mutex mutex_;
  std::condition_variable work_came_;
  std::deque<std::function<void()>> queue_;
  std::vector<std::thread> threads_;
  size_t idle_ = 0;
  bool stopping_ = false;
};

}  // namespace weir
