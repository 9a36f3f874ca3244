// persist/background_pass.h -- the loop of a background thread: a pass over what is to be done, then a pause until the next
// one is due or somebody says that there is more.
//
// Threads: one runs it; all other methods may be called from any.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>

#include "base/clock.h"

namespace weir::persist {

class BackgroundPass {
 public:
  // `pass` returns the time to wait before the next; zero: none. `gap` lies between two passes even on wake().
  BackgroundPass(Duration gap, std::function<Duration()> pass) : gap_(gap), pass_(std::move(pass)) {}

  // Until close().
  void run();
  void wake();
  void close();
  // False: closed before the time was over.
  bool sleep(Duration duration);

 private:
  const Duration gap_;
  const std::function<Duration()> pass_;

  std::mutex mutex_;  // a leaf
  std::condition_variable changed_;
  bool woken_ = true;
  bool closed_ = false;
};

}  // namespace weir::persist
