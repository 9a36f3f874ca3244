// volume/ticker.h -- a thread that calls a function at once, and then every so often.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/clock.h"

namespace weir::volume {

class Ticker {
 public:
  Ticker(Duration period, std::function<void()> tick) : period_(period), tick_(std::move(tick)), thread_([this] { run(); }) {}
  // Waits for a tick under way.
  ~Ticker() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    stop_.notify_all();
    thread_.join();
  }
  Ticker(const Ticker&) = delete;

 private:
  void run() {
    std::unique_lock lock(mutex_);
    do {
      lock.unlock();
      tick_();
      lock.lock();
    } while (!stop_.wait_for(lock, period_, [this] { return stopping_; }));
  }

  const Duration period_;
  const std::function<void()> tick_;
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace weir::volume
