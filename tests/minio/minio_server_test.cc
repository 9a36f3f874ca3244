#include "tests/minio/minio_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

namespace weir::testing {
namespace {

class MinioServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = MinioServer::missing()) GTEST_SKIP() << *reason;
  }
};

TEST_F(MinioServerTest, two_servers_run_side_by_side_and_leave_no_process) {
  pid_t pids[2];
  {
    const auto first = MinioServer::start();
    const auto second = MinioServer::start();
    ASSERT_TRUE(first.has_value()) << first.error().to_string();
    ASSERT_TRUE(second.has_value()) << second.error().to_string();
    EXPECT_NE((*first)->endpoint(), (*second)->endpoint());
    pids[0] = (*first)->pid();
    pids[1] = (*second)->pid();
  }
  for (const pid_t pid : pids) {
    EXPECT_EQ(kill(pid, 0), -1);
    EXPECT_EQ(errno, ESRCH);
  }
}

TEST_F(MinioServerTest, a_bucket_is_created_once) {
  const auto server = MinioServer::start();
  ASSERT_TRUE(server.has_value()) << server.error().to_string();
  const auto created = (*server)->create_bucket("bucket");
  EXPECT_TRUE(created.has_value()) << created.error().to_string();
  const auto again = (*server)->create_bucket("bucket");
  ASSERT_TRUE(failed_with(again, ErrorCode::kUnavailable));
  EXPECT_THAT(again.error().to_string(), ::testing::HasSubstr("BucketAlreadyOwnedByYou"));
}

TEST_F(MinioServerTest, dies_with_the_process_that_started_it) {
  std::string left_behind = ::testing::TempDir() + "weir-minio-orphan-XXXXXX";
  ASSERT_NE(mkdtemp(left_behind.data()), nullptr);
  int channel[2];
  ASSERT_EQ(pipe(channel), 0);
  const pid_t starter = fork();
  if (starter == 0) {
    setenv("TMPDIR", left_behind.c_str(), 1);
    const auto server = MinioServer::start();
    const pid_t pid = server ? (*server)->pid() : -1;
    if (write(channel[1], &pid, sizeof(pid)) != sizeof(pid)) _exit(1);
    raise(SIGKILL);
  }
  pid_t server = -1;
  close(channel[1]);
  ASSERT_EQ(read(channel[0], &server, sizeof(server)), static_cast<ssize_t>(sizeof(server)));
  waitpid(starter, nullptr, 0);
  ASSERT_GT(server, 0);
  const Deadline deadline = Deadline::after(std::chrono::seconds(20));
  // A zombie still counts as a process: it is gone when it has no memory any more.
  const std::string executable = "/proc/" + std::to_string(server) + "/exe";
  while (std::filesystem::exists(executable) && !deadline.expired()) usleep(10'000);
  EXPECT_FALSE(std::filesystem::exists(executable));
  std::filesystem::remove_all(left_behind);
}

TEST(MinioServer, says_what_is_missing_and_the_way_out) {
  const char* before = std::getenv("WEIR_MINIO");
  const std::string saved = before ? before : "";
  setenv("WEIR_MINIO", "/nonexistent/minio", 1);
  const auto reason = MinioServer::missing();
  before ? setenv("WEIR_MINIO", saved.c_str(), 1) : unsetenv("WEIR_MINIO");
  ASSERT_TRUE(reason.has_value());
  EXPECT_THAT(*reason, ::testing::HasSubstr("/nonexistent/minio"));
  EXPECT_THAT(*reason, ::testing::HasSubstr("WEIR_MINIO"));
}

}  // namespace
}  // namespace weir::testing
