// What is said about mount points that cannot be used, and what happens to the mount of a server that died.
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>

#include "fuse/statistics.h"
#include "tests/semantics/mounted_volume.h"

namespace weir::testing {
namespace {

class MountPoint : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = MountedVolume::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
  }
  TemporaryDirectory home_;
};

TEST_F(MountPoint, that_is_not_empty_is_refused) {
  std::filesystem::create_directories(home_.path() / "mnt");
  std::ofstream(home_.path() / "mnt" / "precious") << "x";
  const auto started = MountedVolume::start(home_.path(), {});
  ASSERT_FALSE(started.has_value());
  EXPECT_EQ(ErrorCode::kNotEmpty, started.error().code());
  std::filesystem::remove(home_.path() / "mnt" / "precious");
}

TEST_F(MountPoint, that_is_missing_or_a_file_is_refused_by_name) {
  const auto home = home_.path();
  auto mounted = MountedVolume::start(home, {});
  ASSERT_TRUE(mounted.has_value()) << mounted.error().to_string();
  volume::Volume& volume = (*mounted)->volume();
  const auto absent = fuse::FuseServer::mount(volume, {.mount_point = home / "absent"});
  ASSERT_FALSE(absent.has_value());
  EXPECT_EQ(ErrorCode::kNotFound, absent.error().code());
  EXPECT_NE(std::string::npos, absent.error().to_string().find((home / "absent").string()));
  std::ofstream(home / "file") << "x";
  EXPECT_TRUE(failed_with(fuse::FuseServer::mount(volume, {.mount_point = home / "file"}), ErrorCode::kNotDirectory));
  EXPECT_TRUE(failed_with(fuse::FuseServer::mount(volume, {.mount_point = home / "mnt"}), ErrorCode::kBusy));
}

// A server that waits for itself cannot be killed.
TEST_F(MountPoint, is_not_asked_by_its_own_server_when_it_starts) {
  const auto mounted = MountedVolume::start(home_.path(), {});
  ASSERT_TRUE(mounted.has_value()) << mounted.error().to_string();
  const fuse::Statistics& statistics = (*mounted)->server().statistics();
  for (size_t i = 0; i < fuse::kOperations; ++i) {
    const auto operation = static_cast<fuse::Operation>(i);
    EXPECT_EQ(statistics.counters(operation).requests, 0u) << fuse::name_of(operation);
  }
}

// Semantics 2.2.
TEST_F(MountPoint, of_a_killed_server_is_taken_over_with_all_that_was_written) {
  int ready[2];
  ASSERT_EQ(0, ::pipe(ready));
  const pid_t server = ::fork();
  if (server == 0) {
    auto mounted = MountedVolume::start(home_.path(), {});
    if (mounted.has_value()) {
      std::ofstream((*mounted)->root() / "f") << "survives";
      (void)!::write(ready[1], "x", 1);
    }
    ::pause();
  }
  ::close(ready[1]);
  char byte;
  ASSERT_EQ(1, ::read(ready[0], &byte, 1));
  ::close(ready[0]);
  ASSERT_EQ(0, ::kill(server, SIGKILL));
  int status = 0;
  ASSERT_EQ(server, ::waitpid(server, &status, 0));
  auto mounted = MountedVolume::start(home_.path(), {});
  ASSERT_TRUE(mounted.has_value()) << mounted.error().to_string();
  std::ifstream file((*mounted)->root() / "f");
  std::string bytes;
  file >> bytes;
  EXPECT_EQ("survives", bytes);
}

TEST_F(MountPoint, that_another_mount_namespace_still_holds_is_given_up_all_the_same) {
  auto mounted = MountedVolume::start(home_.path(), {});
  ASSERT_TRUE(mounted.has_value()) << mounted.error().to_string();
  int ready[2];
  ASSERT_EQ(0, ::pipe(ready));
  const pid_t holder = ::fork();
  if (holder == 0) {
    const bool copied = ::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    (void)!::write(ready[1], copied ? "y" : "n", 1);
    ::pause();
    _exit(0);
  }
  ::close(ready[1]);
  char copied = 'n';
  ASSERT_EQ(1, ::read(ready[0], &copied, 1));
  ::close(ready[0]);
  const auto unmounted = (*mounted)->server().unmount(Deadline::after(std::chrono::seconds(10)));
  ::kill(holder, SIGKILL);
  ASSERT_EQ(holder, ::waitpid(holder, nullptr, 0));
  if (copied != 'y') GTEST_SKIP() << "SKIPPED: mount namespaces cannot be made here";
  EXPECT_TRUE(unmounted) << unmounted.error().to_string();
}

}  // namespace
}  // namespace weir::testing
