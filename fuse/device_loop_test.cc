#include "fuse/device_loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "base/waiting_threads.h"
#include "fuse/fuse_api.h"
#include "fuse/kernel_interface.h"
#include "fuse/test_session.h"

namespace weir::fuse {
namespace {

constexpr uint32_t kLookup = 1;

// A connection to a file system that counts what it is asked; the test is the kernel, and its messages are packets.
class DeviceLoopTest : public ::testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    kernel_ = ends[0];
    static const fuse_lowlevel_ops kTable = [] {
      fuse_lowlevel_ops table{};
      table.lookup = [](fuse_req_t req, fuse_ino_t, const char*) {
        ++of(req).lookups_;
        fuse_reply_err(req, ENOENT);
      };
      table.forget = [](fuse_req_t req, fuse_ino_t, uint64_t lookups) {
        of(req).forgotten_ += lookups;
        fuse_reply_none(req);
      };
      return table;
    }();
    session_ = make_test_session(kTable, this, ends[1], [](int, iovec*, int, void*) -> ssize_t { return 0; });
    loop_ = std::make_unique<DeviceLoop>(session_, ends[1], *ledger_, waiting_, 4, 1 << 17,
                                         [] { return std::vector<DeviceLoop::Left>(); });
  }
  void TearDown() override {
    loop_.reset();
    fuse_session_destroy(session_);
    close_kernel();
  }

  void forget(uint64_t lookups) {
    struct {
      kernel::InHeader header;
      uint64_t lookups;
    } message{{sizeof message, kernel::kForget, 2, 7, 0, 0, 0, 0, 0}, lookups};
    send(&message, sizeof message);
  }
  void lookup() {
    struct {
      kernel::InHeader header;
      char name[8];
    } message{{sizeof message, kLookup, 4, 1, 0, 0, 0, 0, 0}, "absent"};
    send(&message, sizeof message);
  }
  void close_kernel() {
    if (kernel_ >= 0) ::close(kernel_);
    kernel_ = -1;
  }

  std::unique_ptr<Ledger> ledger_ = *Ledger::make();
  WaitingThreads waiting_{2};
  int kernel_ = -1;
  fuse_session* session_ = nullptr;
  std::unique_ptr<DeviceLoop> loop_;
  std::atomic<uint64_t> forgotten_ = 0, lookups_ = 0;

 private:
  static DeviceLoopTest& of(fuse_req_t req) { return *static_cast<DeviceLoopTest*>(fuse_req_userdata(req)); }
  void send(const void* bytes, size_t size) {
    ASSERT_EQ(::send(kernel_, bytes, size, 0), static_cast<ssize_t>(size));
  }
};

TEST_F(DeviceLoopTest, beside_rings_everything_that_is_forgotten_is_heard_of_and_requests_are_served) {
  loop_->leave_requests_to_rings();
  std::thread kernel([this] {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 3; ++j) forget(3);
      lookup();
    }
    close_kernel();
  });
  loop_->run(DeviceLoop::Begin::kAnew);
  kernel.join();
  EXPECT_EQ(forgotten_, 36u);
  EXPECT_EQ(lookups_, 4u);
}

TEST_F(DeviceLoopTest, a_stop_ends_what_reads_and_what_rests) {
  loop_->leave_requests_to_rings();
  std::thread runs([this] { loop_->run(DeviceLoop::Begin::kAnew); });
  forget(1);
  while (forgotten_ == 0) std::this_thread::yield();
  loop_->stop();
  runs.join();
  EXPECT_EQ(forgotten_, 1u);
}

}  // namespace
}  // namespace weir::fuse
