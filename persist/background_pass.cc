#include "persist/background_pass.h"

namespace weir::persist {

void BackgroundPass::run() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    woken_ = false;
    lock.unlock();
    const Duration pause = pass_();
    lock.lock();
    if (pause == Duration::zero()) continue;
    changed_.wait_for(lock, gap_, [&] { return closed_; });
    changed_.wait_for(lock, pause, [&] { return closed_ || woken_; });
  }
}

void BackgroundPass::wake() {
  const std::lock_guard lock(mutex_);
  if (woken_) return;
  woken_ = true;
  changed_.notify_all();
}

void BackgroundPass::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

bool BackgroundPass::sleep(Duration duration) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, duration, [&] { return closed_; });
}

}  // namespace weir::persist
