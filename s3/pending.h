// s3/pending.h -- what a thread will have done, for a coroutine that waits for it, for a while at a time.
//
// Threads: set() by one thread, once; wait_for() by one coroutine.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "s3/asio.h"

namespace weir::s3 {

template <typename T>
class Pending : public std::enable_shared_from_this<Pending<T>> {
 public:
  explicit Pending(boost::asio::io_context& io) : io_(io), timer_(io) {}

  void set(T value) {
    const std::lock_guard lock(mutex_);
    value_.emplace(std::move(value));
    timer_.cancel();
    wake();
  }

  // Returns when the value is there, or the time has passed. Spurious returns happen.
  boost::asio::awaitable<void> wait_for(Duration time) {
    // g++ 12 destroys what a lambda in this expression captures twice: it must be trivial.
    co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>&, void()>(
        [this, time](auto handler) {
          // The coroutine may go on, and end, before this returns.
          const auto pending = this->shared_from_this();
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          const std::lock_guard lock(pending->mutex_);
          pending->resume_ = [&io = pending->io_, shared] { boost::asio::post(io, [shared] { std::move (*shared)(); }); };
          if (pending->value_) return pending->wake();
          if (time == Duration::max()) return;
          pending->timer_.expires_after(time);
          pending->timer_.async_wait([pending](const boost::system::error_code& code) {
            if (code) return;
            const std::lock_guard relock(pending->mutex_);
            pending->wake();
          });
        },
        boost::asio::use_awaitable);
  }

  bool ready() const {
    const std::lock_guard lock(mutex_);
    return value_.has_value();
  }
  // Requires: ready(). Once.
  T take() {
    const std::lock_guard lock(mutex_);
    return *std::move(value_);
  }

 private:
  // Under mutex_.
  void wake() {
    if (auto resume = std::exchange(resume_, nullptr)) resume();
  }

  boost::asio::io_context& io_;
  mutable std::mutex mutex_;  // a leaf
  boost::asio::steady_timer timer_;
  std::function<void()> resume_;
  std::optional<T> value_;
};

}  // namespace weir::s3
