// fuse/ring_loop.h -- serves the requests that a RingOwner puts into memory, and replies there.
//
// Each queue has two threads on its CPU. A handler must not wait on them (Origin::of_ring()): what has to goes on on another thread.
//
// Threads: start() once, then stop() once; reply() from any.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "base/result.h"
#include "fuse/fuse_api.h"
#include "fuse/ledger.h"
#include "fuse/ring_memory.h"

namespace weir::fuse {

class RingLoop {
 public:
  RingLoop(fuse_session* session, std::unique_ptr<RingMemory> memory, Ledger& ledger);
  ~RingLoop();
  RingLoop(const RingLoop&) = delete;
  RingLoop& operator=(const RingLoop&) = delete;

  // What a predecessor took and did not reply to; each serves one request, on a thread that may wait, with an intent that
  // the caller took. Requires: before start().
  using Left = std::function<void(LedgerIntent*)>;
  std::vector<Left> left_by_predecessor();

  void start();
  // Takes no further request. Returns when all that were taken have their replies.
  void stop();

  // The reply to a request of a ring; false: it came over the device.
  bool reply(std::span<const iovec> parts);

 private:
  struct Place {
    uint32_t queue;
    uint32_t slot;
  };

  void run(uint32_t queue);
  void serve(Place place, LedgerIntent* intent, bool again);
  std::span<char> build_message(RingSlot& slot);
  // The slot of a request that was taken and has no reply.
  std::optional<Place> find_taken(uint64_t unique);
  bool is_taken(Place place, uint64_t unique);
  std::optional<Place> take_request(uint32_t queue);
  std::vector<Place> all_taken();

  static thread_local Place last_served_;  // by the calling thread

  fuse_session* const session_;
  const std::unique_ptr<RingMemory> memory_;
  Ledger& ledger_;
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> threads_;
};

}  // namespace weir::fuse
