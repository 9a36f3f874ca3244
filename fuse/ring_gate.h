// fuse/ring_gate.h -- lets a thread that does not own an io_uring answer requests that came over it.
//
// libfuse gives each ring a thread, which serves the ring's requests, and lets other threads reply: under the ring's lock
// they put an entry into the submission queue and submit it. But the ring's own thread submits and waits without that
// lock, and the queue is not made for two writers: an entry half filled, or the tail moved back, loses a reply
// and with it the caller. So io_uring_submit_and_wait(), which only the rings' threads call, is replaced (the linker's --wrap) by
// one that publishes the queue under the ring's gate and waits outside of it; other threads reply under the gate.
//
// Lock order: the gate, then libfuse's ring lock. The ring's thread holds the latter while it runs handlers, so nothing
// a handler waits for may happen under the gate, which is held for the reply alone.
#pragma once

#include <condition_variable>
#include <mutex>

namespace weir::fuse {

class RingGate {
 public:
  RingGate();
  // At the end of the ring's thread: waits until no other thread has a request of the ring, so that libfuse, which joins
  // the thread before it frees the ring, never frees a request that is still to be answered.
  ~RingGate();
  RingGate(const RingGate&) = delete;
  RingGate& operator=(const RingGate&) = delete;

  // The gate of the ring that the calling thread serves.
  static RingGate& of_this_thread();

  void enter() { borrowed_count(+1); }  // a request goes to another thread
  void leave() { borrowed_count(-1); }  // it was answered there
  std::mutex& mutex() { return mutex_; }

 private:
  void borrowed_count(int change);

  std::mutex mutex_;  // the submission queue, between libfuse's lock sections
  std::mutex borrowed_mutex_;
  std::condition_variable none_borrowed_;
  int borrowed_ = 0;
};

}  // namespace weir::fuse
