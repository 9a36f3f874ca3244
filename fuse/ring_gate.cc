#include "fuse/ring_gate.h"

#include <liburing.h>
#include <pthread.h>

namespace weir::fuse {

// libfuse cancels a ring's thread after waking it; a cancellation inside a handler would unwind half of an operation.
RingGate::RingGate() { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr); }

RingGate::~RingGate() {
  std::unique_lock lock(borrowed_mutex_);
  none_borrowed_.wait(lock, [this] { return borrowed_ == 0; });
}

RingGate& RingGate::of_this_thread() {
  static thread_local RingGate gate;
  return gate;
}

void RingGate::borrowed_count(int change) {
  const std::lock_guard lock(borrowed_mutex_);
  borrowed_ += change;
  if (borrowed_ == 0) none_borrowed_.notify_all();
}

}  // namespace weir::fuse

// Same contract as liburing's. The kernel takes at most what was published, so two submitters may both count an entry.
extern "C" int __wrap_io_uring_submit_and_wait(io_uring* ring, unsigned wait_nr) {
  unsigned to_submit;
  {
    const std::lock_guard lock(weir::fuse::RingGate::of_this_thread().mutex());
    io_uring_sq& queue = ring->sq;
    queue.sqe_head = queue.sqe_tail;
    io_uring_smp_store_release(queue.ktail, queue.sqe_tail);
    to_submit = io_uring_sq_ready(ring);
  }
  return io_uring_enter(static_cast<unsigned>(ring->ring_fd), to_submit, wait_nr, IORING_ENTER_GETEVENTS, nullptr);
}
