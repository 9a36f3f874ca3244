#include "fuse/ring_owner.h"

#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <climits>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/affinity.h"
#include "base/check.h"
#include "io/errno.h"

namespace weir::fuse {
namespace {

// Newer than the headers that this is built with (Linux 6.7).
constexpr uint8_t kFutexWait = 51;           // IORING_OP_FUTEX_WAIT
constexpr int32_t kFutexOf32Bits = 2;        // FUTEX2_SIZE_U32
constexpr uint64_t kAnyWaker = 0xffff'ffff;  // FUTEX_BITSET_MATCH_ANY

constexpr uint64_t kReplies = RingShape::kDepthMax;  // user data of the wait for replies; smaller: a slot
constexpr uint32_t kBesidesSlots = 8;
constexpr size_t kEntryBytes = 128;  // IORING_SETUP_SQE128
// What comes in is taken in when its one thread waits for it, not by interrupting whatever that does.
constexpr uint32_t kRingFlags =
    IORING_SETUP_SQE128 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN;

}  // namespace

// One queue's ring.
class RingOwner::Ring {
 public:
  Ring(int device, RingMemory& memory, uint32_t index)
      : device_(device), memory_(memory), index_(index), queue_(memory.queue(index)), vectors_(memory.shape().depth) {}
  ~Ring() {
    if (made_) io_uring_queue_exit(&ring_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // On the thread that runs it, since the kernel counts requests as a thread's.
  Result<void> begin() {
    io_uring_params parameters{};
    parameters.flags = kRingFlags | IORING_SETUP_CQSIZE;
    parameters.cq_entries = 2 * (memory_.shape().depth + kBesidesSlots);
    if (const int made = io_uring_queue_init_params(memory_.shape().depth + kBesidesSlots, &ring_, &parameters); made != 0)
      return fail(io::from_errno(-made, "make", "an io_uring"));
    made_ = true;
    (void)io_uring_register_ring_fd(&ring_);  // saves looking it up for each call
    for (uint32_t slot = 0; slot < memory_.shape().depth; ++slot) add_register(slot);
    if (const int sent = io_uring_submit(&ring_); sent < 0) return fail(io::from_errno(-sent, "submit to", "an io_uring"));
    // What is refused is refused at once.
    io_uring_cqe* event = nullptr;
    if (io_uring_peek_cqe(&ring_, &event) == 0 && event->res < 0)
      return fail(ErrorCode::kNotSupported, "the kernel refuses rings: " + std::generic_category().message(-event->res));
    return {};
  }

  void run() {
    while (!stopping_.load() && live_ != 0) {
      // Read before the replies, so that none is missed.
      const uint32_t replies_made = queue_.replies_made.load();
      commit_replies();
      if (!waits_for_replies_) add_wait(replies_made);
      io_uring_submit_and_wait(&ring_, 1);
      take_events();
    }
    queue_.ended.store(1);
    queue_.requests_made.fetch_add(1);
    wake(queue_.requests_made, INT_MAX);
  }

  // From any thread.
  void stop() {
    stopping_.store(true);
    queue_.replies_made.fetch_add(1);
    wake(queue_.replies_made, 1);
  }

 private:
  io_uring_sqe* entry(uint64_t user_data) {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    CHECK(entry != nullptr);  // there is one for each slot, and for the wait
    std::memset(static_cast<void*>(entry), 0, kEntryBytes);
    entry->user_data = user_data;
    return entry;
  }

  io_uring_sqe* command(uint32_t slot, uint32_t what, uint64_t commit_id) {
    io_uring_sqe* const command = entry(slot);
    command->opcode = IORING_OP_URING_CMD;
    command->fd = device_;
    command->cmd_op = what;
    const kernel::RingCommand arguments{
        .flags = 0, .commit_id = commit_id, .queue = static_cast<uint16_t>(index_), .padding = {}};
    std::memcpy(command->cmd, &arguments, sizeof arguments);
    return command;
  }

  void add_register(uint32_t slot) {
    RingSlot& memory = memory_.slot(index_, slot);
    const auto payload = memory_.payload(memory);
    vectors_[slot] = {iovec{&memory.header, sizeof memory.header}, iovec{payload.data(), payload.size()}};
    io_uring_sqe* const command = this->command(slot, kernel::kRegister, 0);
    command->addr = reinterpret_cast<uint64_t>(vectors_[slot].data());
    command->len = 2;
    ++live_;
  }

  void add_wait(uint32_t value) {
    io_uring_sqe* const wait = entry(kReplies);
    wait->opcode = kFutexWait;
    wait->fd = kFutexOf32Bits;
    wait->addr = reinterpret_cast<uint64_t>(&queue_.replies_made);
    wait->addr2 = value;
    wait->addr3 = kAnyWaker;
    waits_for_replies_ = true;
  }

  void commit_replies() {
    for (uint32_t index = 0; index < memory_.shape().depth; ++index) {
      RingSlotState& state = queue_.states[index];
      if (state.get() != RingSlotState::kReplied) continue;
      RingSlot& slot = memory_.slot(index_, index);
      if (slot.staged_bytes != 0) {
        std::memcpy(memory_.payload(slot).data(), slot.staged, std::min<size_t>(slot.staged_bytes, sizeof slot.staged));
        slot.staged_bytes = 0;
      }
      CHECK(state.collect());
      command(index, kernel::kCommitAndFetch, slot.header.commit_id);
    }
  }

  void take_events() {
    unsigned head = 0;
    unsigned seen = 0;
    bool requests = false;
    io_uring_cqe* event = nullptr;
    io_uring_for_each_cqe(&ring_, head, event) {
      ++seen;
      if (event->user_data == kReplies) {
        waits_for_replies_ = false;
      } else if (event->res < 0) {
        --live_;  // the connection has ended
      } else {
        take_request(static_cast<uint32_t>(event->user_data));
        requests = true;
      }
    }
    io_uring_cq_advance(&ring_, seen);
    if (!requests) return;
    queue_.requests_made.fetch_add(1);
    if (queue_.servers_waiting.load() != 0) wake(queue_.requests_made, 1);
  }

  void take_request(uint32_t index) {
    RingSlot& slot = memory_.slot(index_, index);
    slot.message_bytes.store(0);
    slot.staged_bytes = 0;
    slot.unique.store(slot.header.commit_id);
    CHECK(queue_.states[index].offer());
  }

  const int device_;
  RingMemory& memory_;
  const uint32_t index_;
  RingQueue& queue_;
  std::vector<std::array<iovec, 2>> vectors_;
  io_uring ring_{};
  bool made_ = false;
  bool waits_for_replies_ = false;
  uint32_t live_ = 0;  // slots that the kernel knows
  std::atomic<bool> stopping_{false};
};

struct RingOwner::State {
  std::unique_ptr<RingMemory> memory;
  std::vector<std::unique_ptr<Ring>> rings;

  std::mutex mutex;
  std::condition_variable changed;
  size_t begun = 0;
  bool decided = false;  // below
  bool go = false;
  std::optional<Error> error;
  std::vector<std::thread> threads;

  void serve(uint32_t index) {
    Affinity::only(index).apply();
    auto begun_well = rings[index]->begin();
    {
      std::unique_lock lock(mutex);
      ++begun;
      if (!begun_well && !error) error = begun_well.error();
      changed.notify_all();
      changed.wait(lock, [this] { return decided; });
      if (!go) return;
    }
    rings[index]->run();
  }
};

RingOwner::RingOwner(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<RingOwner>> RingOwner::start(int device, const RingShape& shape) {
  auto state = std::make_unique<State>();
  TRY_ASSIGN(state->memory, RingMemory::make(shape));
  for (uint32_t queue = 0; queue < shape.queues; ++queue)
    state->rings.push_back(std::make_unique<Ring>(device, *state->memory, queue));
  std::unique_ptr<RingOwner> owner(new RingOwner(std::move(state)));
  State& all = *owner->state_;
  size_t started = 0;
  std::optional<Error> error;
  try {
    for (; started < shape.queues; ++started)
      all.threads.emplace_back([&all, queue = static_cast<uint32_t>(started)] { all.serve(queue); });
  } catch (const std::system_error& refused) {
    error = Error(ErrorCode::kNoSpace, std::string("no thread for a ring: ") + refused.what());
  }
  {
    std::unique_lock lock(all.mutex);
    all.changed.wait(lock, [&] { return all.begun == started; });
    if (!error) error = all.error;
    all.decided = true;
    all.go = !error;
    all.changed.notify_all();
  }
  if (error) return fail(*std::move(error));
  return owner;
}

RingOwner::~RingOwner() {
  for (const auto& ring : state_->rings) ring->stop();
  for (std::thread& thread : state_->threads) thread.join();
}

const io::Descriptor& RingOwner::memory() const { return state_->memory->descriptor(); }

std::string io_uring_obstacle() {
  io_uring ring{};
  io_uring_params parameters{};
  parameters.flags = kRingFlags;
  const int made = io_uring_queue_init_params(1, &ring, &parameters);
  if (made != 0) return "no io_uring: " + std::generic_category().message(-made);
  io_uring_queue_exit(&ring);
  return {};
}

uint32_t number_of_queues() { return static_cast<uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_CONF))); }

}  // namespace weir::fuse
