#include "fuse/ring_loop.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <optional>
#include <utility>

#include "base/affinity.h"
#include "base/check.h"
#include "base/log.h"

namespace weir::fuse {
namespace {

constexpr int kThreadsOfQueue = 2;  // one request must not keep the next one waiting
constexpr auto kIdlePeriod = std::chrono::milliseconds(1);

}  // namespace

thread_local RingLoop::Place RingLoop::last_served_{};

RingLoop::RingLoop(fuse_session* session, std::unique_ptr<RingMemory> memory, Ledger& ledger)
    : session_(session), memory_(std::move(memory)), ledger_(ledger) {}

RingLoop::~RingLoop() {
  if (!threads_.empty()) stop();
}

void RingLoop::start() {
  for (uint32_t queue = 0; queue < memory_->shape().queues; ++queue) {
    memory_->queue(queue).servers_waiting.store(0);  // those of a predecessor do not wait any more
    for (int i = 0; i < kThreadsOfQueue; ++i) threads_.emplace_back([this, queue] { run(queue); });
  }
}

void RingLoop::stop() {
  stopping_.store(true);
  for (uint32_t queue = 0; queue < memory_->shape().queues; ++queue) {
    std::atomic<uint32_t>& word = memory_->queue(queue).requests_made;
    word.fetch_add(1);
    wake(word, INT_MAX);
  }
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  while (!all_taken().empty()) std::this_thread::sleep_for(kIdlePeriod);
}

std::vector<RingLoop::Place> RingLoop::all_taken() {
  std::vector<Place> taken;
  for (uint32_t queue = 0; queue < memory_->shape().queues; ++queue) {
    if (memory_->queue(queue).ended.load() != 0) continue;
    for (uint32_t slot = 0; slot < memory_->shape().depth; ++slot) {
      if (memory_->state(queue, slot).get() == RingSlotState::kTaken) taken.push_back({queue, slot});
    }
  }
  return taken;
}

// ---- requests

void RingLoop::run(uint32_t index) {
  Affinity::only(index).apply();
  LedgerIntent* const intent = ledger_.take_intent();
  if (intent == nullptr) {
    log_error("fuse.ring_not_served", {{"queue", index}, {"reason", "too many requests are noted"}});
    return;
  }
  RingQueue& queue = memory_->queue(index);
  while (!stopping_.load() && queue.ended.load() == 0) {
    const uint32_t made = queue.requests_made.load();
    std::optional<Place> place = take_request(index);
    if (!place) {
      queue.servers_waiting.fetch_add(1);
      place = take_request(index);  // one that came before the owner could see that somebody waits
      if (!place && !stopping_.load()) wait_for_change(queue.requests_made, made);
      queue.servers_waiting.fetch_sub(1);
    }
    if (place) serve(*place, intent, false);
  }
  ledger_.give_back(intent);
}

std::optional<RingLoop::Place> RingLoop::take_request(uint32_t queue) {
  for (uint32_t slot = 0; slot < memory_->shape().depth; ++slot) {
    RingSlotState& state = memory_->state(queue, slot);
    if (state.get() == RingSlotState::kRequest && state.take()) return Place{queue, slot};
  }
  return std::nullopt;
}

std::vector<RingLoop::Left> RingLoop::left_by_predecessor() {
  std::vector<Left> left;
  for (const Place place : all_taken()) left.push_back([this, place](LedgerIntent* intent) { serve(place, intent, true); });
  return left;
}

std::span<char> RingLoop::build_message(RingSlot& slot) {
  char* const memory = reinterpret_cast<char*>(&slot);
  if (const uint32_t bytes = slot.message_bytes.load(std::memory_order_acquire); bytes != 0)
    return {memory + slot.message_at, bytes};
  kernel::InHeader header;
  std::memcpy(&header, slot.header.in_out, sizeof header);
  const size_t payload_bytes = slot.header.payload_bytes;
  CHECK(header.bytes >= sizeof header + payload_bytes && payload_bytes <= memory_->shape().payload_bytes);
  const size_t operation_bytes = header.bytes - sizeof header - payload_bytes;
  CHECK(operation_bytes <= sizeof slot.header.operation);

  const std::span<char> payload = memory_->payload(slot);
  const size_t head_bytes = sizeof header + operation_bytes;
  const bool copied = header.bytes <= RingSlot::kMessageBytes;
  char* const message = copied ? slot.message : payload.data() - head_bytes;
  std::memcpy(message, &header, sizeof header);
  std::memcpy(message + sizeof header, slot.header.operation, operation_bytes);
  if (copied) std::memcpy(message + head_bytes, payload.data(), payload_bytes);
  slot.message_at = static_cast<uint32_t>(message - memory);
  slot.message_bytes.store(header.bytes, std::memory_order_release);
  return {message, header.bytes};
}

void RingLoop::serve(Place place, LedgerIntent* intent, bool again) {
  RingSlot& slot = memory_->slot(place.queue, place.slot);
  const uint64_t unique = slot.header.commit_id;
  const std::span<char> message = build_message(slot);
  last_served_ = place;
  const Origin origin(ledger_, intent, again ? unique | Origin::kSentAgain : unique,
                      again ? Origin::Thread::kMayWait : Origin::Thread::kOfRing);
  process(session_, message);
}

// ---- replies

bool RingLoop::is_taken(Place place, uint64_t unique) {
  return memory_->state(place.queue, place.slot).get() == RingSlotState::kTaken &&
         memory_->slot(place.queue, place.slot).unique.load(std::memory_order_relaxed) == unique;
}

std::optional<RingLoop::Place> RingLoop::find_taken(uint64_t unique) {
  if (last_served_.queue < memory_->shape().queues && last_served_.slot < memory_->shape().depth &&
      is_taken(last_served_, unique))
    return last_served_;
  for (uint32_t queue = 0; queue < memory_->shape().queues; ++queue) {
    for (uint32_t slot = 0; slot < memory_->shape().depth; ++slot) {
      if (is_taken({queue, slot}, unique)) return Place{queue, slot};
    }
  }
  return std::nullopt;
}

bool RingLoop::reply(std::span<const iovec> parts) {
  kernel::OutHeader header;
  std::memcpy(&header, parts[0].iov_base, sizeof header);
  if (header.unique == 0) return false;
  const auto place = find_taken(header.unique);
  if (!place) return false;
  RingSlot& slot = memory_->slot(place->queue, place->slot);
  RingQueue& queue = memory_->queue(place->queue);

  const std::span<char> payload = memory_->payload(slot);
  size_t bytes = 0;
  for (const iovec& part : parts) bytes += part.iov_len;
  bytes -= sizeof header;
  CHECK(bytes <= payload.size());
  // As long as there is no reply the request is to be found whole.
  const bool request_in_payload = slot.message_at + slot.message_bytes.load() > sizeof slot;
  const bool staged = request_in_payload && bytes != 0;
  CHECK(!staged || bytes <= sizeof slot.staged);
  char* to = staged ? slot.staged : payload.data();
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t skipped = i == 0 ? sizeof header : 0;
    std::memcpy(to, static_cast<const char*>(parts[i].iov_base) + skipped, parts[i].iov_len - skipped);
    to += parts[i].iov_len - skipped;
  }
  slot.staged_bytes = staged ? static_cast<uint32_t>(bytes) : 0;
  slot.header.payload_bytes = static_cast<uint32_t>(bytes);
  std::memcpy(slot.header.in_out, &header, sizeof header);
  CHECK(memory_->state(place->queue, place->slot).reply());
  queue.replies_made.fetch_add(1);
  wake(queue.replies_made, 1);
  return true;
}

}  // namespace weir::fuse
