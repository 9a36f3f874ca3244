// fuse/ring_memory.h -- memory in which the requests of FUSE over io_uring lie, shared by the process that owns the rings and the
// one that serves.
//
// There is a queue for each CPU, of `depth` slots. Whose a slot is stands in one word, which each side moves on in a single step
// (RingSlotState): there is no instant at which either side could die, or be held up, and leave a slot to nobody or to two. What a
// holder writes into a slot it writes before it gives the slot away; a message is kept (`message_bytes`) before its memory is
// reused. So a successor of a server finds every request that has no reply, whole.
//
// Threads: atomics are for both sides; the rest of a slot is its holder's.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"
#include "fuse/kernel_interface.h"
#include "io/descriptor.h"

namespace weir::fuse {

inline constexpr uint32_t kRingMemoryVersion = 2;

struct RingShape {
  static constexpr uint32_t kDepthMax = 64;

  uint32_t queues = 0;         // one for each CPU that there can be
  uint32_t depth = 0;          // slots of a queue
  uint32_t payload_bytes = 0;  // of a slot; a multiple of the page size
};

// Whose a slot is. A server that died leaves those that it took as kTaken; its successor serves them again.
//
//   kFree  -- owner: offer() -->  kRequest  -- server: take() -->  kTaken  -- server: reply() -->  kReplied  -- owner: collect() -->  kFree
//
// Each step is made by one compare-exchange; false: somebody else made it, or it is not the turn of this one.
class RingSlotState {
 public:
  enum Value : uint32_t {
    kFree,     // the kernel's: a request may come into it
    kRequest,  // any server's
    kTaken,    // the server's that took it
    kReplied,  // the owner's, to hand the reply to the kernel
  };

  Value get() const { return static_cast<Value>(value_.load()); }
  bool offer() { return move(kFree, kRequest); }
  bool take() { return move(kRequest, kTaken); }
  bool reply() { return move(kTaken, kReplied); }
  bool collect() { return move(kReplied, kFree); }

 private:
  bool move(uint32_t from, uint32_t to) { return value_.compare_exchange_strong(from, to); }

  std::atomic<uint32_t> value_;
};

struct RingSlot {
  // What is longer is built in the payload, in front of which the message's header finds room.
  static constexpr size_t kMessageBytes = 2048;
  static constexpr size_t kStagedBytes = 1024;

  kernel::RingHeader header;
  std::atomic<uint64_t> unique;         // of the request that is here
  std::atomic<uint32_t> message_bytes;  // 0: not built yet
  uint32_t message_at;                  // in this slot's memory
  // A reply to a request whose payload was not copied: to be moved there by the owner, so that the request stays whole.
  uint32_t staged_bytes;
  alignas(512) char staged[kStagedBytes];
  alignas(2048) char message[kMessageBytes];  // the payload follows
};
static_assert(sizeof(RingSlot) == 4096);

struct RingQueue {
  alignas(64) std::array<RingSlotState, RingShape::kDepthMax> states;
  alignas(64) std::atomic<uint32_t> requests_made;  // servers wait for it to move
  std::atomic<uint32_t> servers_waiting;
  alignas(64) std::atomic<uint32_t> replies_made;   // the owner waits for it to move
  std::atomic<uint32_t> ended;                      // no request will come any more
};

class RingMemory {
 public:
  // New, with all of it free. Takes memory as it is used.
  static Result<std::unique_ptr<RingMemory>> make(const RingShape& shape);
  // kNotSupported: of another version.
  static Result<std::unique_ptr<RingMemory>> open(io::Descriptor memory);
  ~RingMemory();
  RingMemory(const RingMemory&) = delete;
  RingMemory& operator=(const RingMemory&) = delete;

  const RingShape& shape() const { return shape_; }
  const io::Descriptor& descriptor() const { return descriptor_; }
  RingQueue& queue(uint32_t index) { return queues_[index]; }
  RingSlotState& state(uint32_t queue, uint32_t index) { return queues_[queue].states[index]; }
  RingSlot& slot(uint32_t queue, uint32_t index) {
    return *reinterpret_cast<RingSlot*>(slots_ + (size_t{queue} * shape_.depth + index) * slot_bytes());
  }
  std::span<char> payload(RingSlot& slot) { return {reinterpret_cast<char*>(&slot + 1), shape_.payload_bytes}; }

 private:
  struct Head;

  RingMemory(io::Descriptor descriptor, char* address, size_t bytes, const RingShape& shape);
  size_t slot_bytes() const { return sizeof(RingSlot) + shape_.payload_bytes; }
  static size_t bytes_of(const RingShape& shape);

  const io::Descriptor descriptor_;
  char* const address_;
  const size_t bytes_;
  const RingShape shape_;
  RingQueue* const queues_;
  char* const slots_;
};

// Wakes up to `count` threads, of any process, that wait for `word`; waits until it is not `value` any more, or something else
// wakes the thread.
void wake(std::atomic<uint32_t>& word, int count);
void wait_for_change(std::atomic<uint32_t>& word, uint32_t value);

}  // namespace weir::fuse
