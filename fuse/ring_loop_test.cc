#include "fuse/ring_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "fuse/test_session.h"

namespace weir::fuse {
namespace {

constexpr uint32_t kLookup = 1, kWrite = 16, kReadSymlink = 5;
constexpr uint64_t kPayloadBytes = 128 << 10;
constexpr auto kPatience = std::chrono::seconds(30);

// A file system that answers LOOKUP with ENOENT, WRITE with what it took, READLINK with a fixed target, and notes what it saw.
class Server {
 public:
  Server() {
    static const fuse_lowlevel_ops kTable = [] {
      fuse_lowlevel_ops table{};
      table.lookup = [](fuse_req_t req, fuse_ino_t, const char* name) {
        of(req).see(name);
        fuse_reply_err(req, ENOENT);
      };
      table.write = [](fuse_req_t req, fuse_ino_t, const char* bytes, size_t size, off_t, fuse_file_info*) {
        of(req).see(std::string(bytes, size));
        fuse_reply_write(req, size);
      };
      table.readlink = [](fuse_req_t req, fuse_ino_t) {
        of(req).see(Origin::current()->sent_again() ? "again" : "first");
        fuse_reply_readlink(req, "target");
      };
      return table;
    }();
    session = make_test_session(kTable, this, ::dup(0), [](int, iovec* parts, int count, void* server) -> ssize_t {
      auto* const loop = static_cast<Server*>(server)->loop;
      if (loop != nullptr) (void)loop->reply({parts, static_cast<size_t>(count)});
      return 0;
    });
  }
  ~Server() { fuse_session_destroy(session); }

  void see(std::string what) {
    const std::lock_guard lock(mutex_);
    seen_.push_back(std::move(what));
  }
  std::vector<std::string> seen() {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

  fuse_session* session = nullptr;
  RingLoop* loop = nullptr;

 private:
  static Server& of(fuse_req_t req) { return *static_cast<Server*>(fuse_req_userdata(req)); }

  std::mutex mutex_;
  std::vector<std::string> seen_;
};

class RingLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto memory = RingMemory::make({.queues = 2, .depth = 4, .payload_bytes = kPayloadBytes});
    ASSERT_TRUE(memory) << memory.error().to_string();
    memory_ = *std::move(memory);
    ledger_ = *Ledger::make();
  }

  std::unique_ptr<RingLoop> make_loop() {
    auto shared = RingMemory::open(io::Descriptor(::dup(memory_->descriptor().get())));
    EXPECT_TRUE(shared) << shared.error().to_string();
    auto loop = std::make_unique<RingLoop>(server_.session, *std::move(shared), *ledger_);
    server_.loop = loop.get();
    return loop;
  }

  // As the kernel and the owner do it.
  void put(uint32_t queue, uint32_t index, uint64_t unique, uint32_t opcode, std::string_view operation,
           std::string_view payload) {
    RingSlot& slot = memory_->slot(queue, index);
    const kernel::InHeader header{.bytes = static_cast<uint32_t>(sizeof header + operation.size() + payload.size()),
                                  .opcode = opcode,
                                  .unique = unique,
                                  .node = 1,
                                  .uid = 0,
                                  .gid = 0,
                                  .pid = 0,
                                  .extension_bytes = 0,
                                  .padding = 0};
    std::memcpy(slot.header.in_out, &header, sizeof header);
    operation.copy(slot.header.operation, operation.size());
    payload.copy(memory_->payload(slot).data(), payload.size());
    slot.header.payload_bytes = static_cast<uint32_t>(payload.size());
    slot.header.commit_id = unique;
    slot.message_bytes.store(0);
    slot.staged_bytes = 0;
    slot.unique.store(unique);
    ASSERT_TRUE(memory_->state(queue, index).offer());
    RingQueue& ring = memory_->queue(queue);
    ring.requests_made.fetch_add(1);
    wake(ring.requests_made, 1);
  }
  bool replied(uint32_t queue, uint32_t index) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (std::chrono::steady_clock::now() < end) {
      if (memory_->state(queue, index).get() == RingSlotState::kReplied) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  kernel::OutHeader reply(uint32_t queue, uint32_t index) {
    kernel::OutHeader header;
    std::memcpy(&header, memory_->slot(queue, index).header.in_out, sizeof header);
    return header;
  }
  static std::string name(std::string_view text) { return std::string(text) + '\0'; }
  static std::string write_of(uint32_t bytes) {
    std::string operation(40, '\0');  // struct fuse_write_in
    std::memcpy(&operation[16], &bytes, sizeof bytes);
    return operation;
  }

  std::unique_ptr<RingMemory> memory_;
  std::unique_ptr<Ledger> ledger_;
  Server server_;
};

TEST_F(RingLoopTest, requests_of_all_queues_are_answered_in_their_slots) {
  auto loop = make_loop();
  loop->start();
  put(0, 3, 10, kLookup, "", name("absent"));
  put(1, 0, 12, kReadSymlink, "", "");
  ASSERT_TRUE(replied(0, 3));
  EXPECT_EQ(reply(0, 3).unique, 10u);
  EXPECT_EQ(reply(0, 3).error, -ENOENT);
  ASSERT_TRUE(replied(1, 0));
  EXPECT_EQ(reply(1, 0).error, 0);
  const RingSlot& slot = memory_->slot(1, 0);
  EXPECT_EQ(slot.header.payload_bytes, 6u);
  EXPECT_EQ(std::string(memory_->payload(memory_->slot(1, 0)).data(), 6), "target");
  loop->stop();
  EXPECT_THAT(server_.seen(), ::testing::UnorderedElementsAre("absent", "first"));
}

TEST_F(RingLoopTest, the_reply_to_a_large_request_leaves_its_payload_until_the_owner_takes_it) {
  auto loop = make_loop();
  loop->start();
  const std::string bytes(100'000, 'w');
  put(0, 0, 20, kWrite, write_of(100'000), bytes);
  ASSERT_TRUE(replied(0, 0));
  RingSlot& slot = memory_->slot(0, 0);
  EXPECT_EQ(slot.staged_bytes, 8u);  // struct fuse_write_out
  uint32_t written = 0;
  std::memcpy(&written, slot.staged, sizeof written);
  EXPECT_EQ(written, 100'000u);
  EXPECT_EQ(std::string(memory_->payload(slot).data(), bytes.size()), bytes);
  loop->stop();
  EXPECT_THAT(server_.seen(), ::testing::ElementsAre(bytes));
}

TEST_F(RingLoopTest, what_a_predecessor_took_is_served_again_and_the_rest_for_the_first_time) {
  put(1, 3, 34, kWrite, write_of(50'000), std::string(50'000, 'x'));
  {
    auto predecessor = make_loop();
    predecessor->start();
    ASSERT_TRUE(replied(1, 3));
    predecessor->stop();
  }
  // It died at the end of this reply, after it had taken another request, and before it took a third.
  RingSlotState& replying = memory_->state(1, 3);
  ASSERT_TRUE(replying.collect() && replying.offer() && replying.take());
  put(0, 2, 32, kReadSymlink, "", "");
  ASSERT_TRUE(memory_->state(0, 2).take());
  put(0, 1, 30, kReadSymlink, "", "");

  auto loop = make_loop();
  const auto left = loop->left_by_predecessor();
  ASSERT_EQ(left.size(), 2u);
  LedgerIntent* const intent = ledger_->take_intent();
  for (const auto& serve : left) serve(intent);
  EXPECT_EQ(reply(0, 2).unique, 32u);
  EXPECT_EQ(reply(1, 3).unique, 34u);
  EXPECT_EQ(memory_->state(0, 2).get(), RingSlotState::kReplied);
  EXPECT_EQ(memory_->state(1, 3).get(), RingSlotState::kReplied);
  loop->start();
  ASSERT_TRUE(replied(0, 1));
  loop->stop();
  EXPECT_THAT(server_.seen(), ::testing::ElementsAre(std::string(50'000, 'x'), "again", std::string(50'000, 'x'), "first"));
}

TEST_F(RingLoopTest, memory_of_another_layout_is_refused) {
  io::Descriptor empty(::memfd_create("empty", MFD_CLOEXEC));
  EXPECT_EQ(RingMemory::open(std::move(empty)).error(), ErrorCode::kNotSupported);
  io::Descriptor cut(::dup(memory_->descriptor().get()));
  ASSERT_EQ(::ftruncate(cut.get(), 1 << 20), 0);
  EXPECT_EQ(RingMemory::open(std::move(cut)).error(), ErrorCode::kNotSupported);
}

}  // namespace
}  // namespace weir::fuse
