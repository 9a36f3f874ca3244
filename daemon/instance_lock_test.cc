#include "daemon/instance_lock.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <string>
#include <thread>

namespace weir::daemon {
namespace {

using ::testing::HasSubstr;

// A process that holds the lock until it is released.
class Holder {
 public:
  enum class MainThread { kStays, kHasEnded };

  Holder(const std::string& dir, MainThread main_thread) {
    int held[2];
    int release[2];
    EXPECT_EQ(::pipe(held), 0);
    EXPECT_EQ(::pipe(release), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(release[1]);
      const auto lock = InstanceLock::take(dir);
      if (!lock) ::_exit(1);
      const auto wait = [fd = release[0]] {
        char byte;
        ::_exit(::read(fd, &byte, 1) == 0 ? 0 : 1);
      };
      std::thread other;
      if (main_thread == MainThread::kHasEnded) other = std::thread(wait);
      if (::write(held[1], "h", 1) != 1) ::_exit(1);
      if (main_thread == MainThread::kHasEnded) ::syscall(SYS_exit, 0);
      wait();
    }
    ::close(held[1]);
    ::close(release[0]);
    char byte;
    EXPECT_EQ(::read(held[0], &byte, 1), 1);
    ::close(held[0]);
    release_ = release[1];
  }
  ~Holder() {
    release();
    ::waitpid(pid_, nullptr, 0);
  }

  void release() {
    if (release_ >= 0) ::close(release_);
    release_ = -1;
  }
  pid_t pid() const { return pid_; }
  void await_end_of_main_thread() const {
    for (std::string line; line.find('Z') == std::string::npos; std::this_thread::yield()) {
      std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
      while (std::getline(status, line) && !line.starts_with("State:")) {
      }
    }
  }

 private:
  pid_t pid_ = -1;
  int release_ = -1;
};

class InstanceLockTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(dir_); }
  const std::string dir_ = ::testing::TempDir() + "weir-lock-" + std::to_string(::getpid());
};

TEST_F(InstanceLockTest, names_the_process_that_has_the_folder) {
  const Holder holder(dir_, Holder::MainThread::kStays);
  const auto refused = InstanceLock::take(dir_);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error(), ErrorCode::kBusy);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("pid " + std::to_string(holder.pid())));
}

TEST_F(InstanceLockTest, is_free_after_its_process) {
  { const Holder holder(dir_, Holder::MainThread::kStays); }
  EXPECT_TRUE(InstanceLock::take(dir_).has_value());
}

// The main thread of a killed process is often the first to go.
TEST_F(InstanceLockTest, waits_for_the_last_thread_of_a_process_that_is_dying) {
  Holder holder(dir_, Holder::MainThread::kHasEnded);
  holder.await_end_of_main_thread();
  auto taking = std::async(std::launch::async, [this] { return InstanceLock::take(dir_); });
  EXPECT_EQ(taking.wait_for(std::chrono::milliseconds(500)), std::future_status::timeout) << "the lock was given or refused";
  holder.release();
  const auto taken = taking.get();
  EXPECT_TRUE(taken.has_value()) << (taken ? "" : taken.error().to_string());
}

}  // namespace
}  // namespace weir::daemon
