// The mount outlives its daemon: the real binary, killed, upgraded and stopped under programs that notice no more than a pause.
// WEIR_KILLS: how often the daemon is killed under load (20).
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <thread>

#include "base/random.h"
#include "tests/cli/weir_binary.h"
#include "tests/crash/mount_load.h"
#include "tests/crash/object_load.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

constexpr auto kPatience = std::chrono::seconds(60);

int kills_wanted(int otherwise) {
  const char* const wanted = std::getenv("WEIR_KILLS");
  return wanted == nullptr ? otherwise : std::atoi(wanted);
}

struct Transport {
  const char* name;
  const char* passthrough;
  const char* io_uring;
};

class Keeper : public ::testing::TestWithParam<Transport> {
 protected:
  void SetUp() override {
    if (const auto obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << "SKIPPED: " << obstacle;
    daemon_.set("fuse.mount.point", daemon_.mount_point());
    daemon_.set("fuse.passthrough", transport().passthrough);
    daemon_.set("fuse.io_uring", transport().io_uring);
    daemon_.set("s3.port", std::to_string(s3_port_));
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    const auto added = daemon_.weir("mount-table add /s3 file://" + (daemon_.home() / "bucket").string());
    ASSERT_EQ(added.exit_code, 0) << added.err;
    ASSERT_EQ(::mkdir((root() / "load").c_str(), 0755), 0) << std::strerror(errno);
  }
  virtual Transport transport() const { return {"", "auto", "auto"}; }

  fs::path root() const { return daemon_.mount_point() / "s3"; }
  nlohmann::json status() const {
    return nlohmann::json::parse(daemon_.weir("status --json").out, nullptr, /*allow_exceptions=*/false);
  }
  pid_t daemon_pid() const { return status().value("pid", -1); }

  // SIGKILL; returns when another daemon serves.
  void kill_daemon() {
    const pid_t pid = daemon_pid();
    ASSERT_GT(pid, 0) << daemon_.log();
    ASSERT_EQ(::kill(pid, SIGKILL), 0);
    ASSERT_TRUE(served_by_another_than(pid)) << daemon_.log();
  }
  bool served_by_another_than(pid_t pid) const {
    for (const Deadline deadline = Deadline::after(kPatience); !deadline.expired();) {
      const nlohmann::json now = status();
      if (now.is_object() && now.value("pid", pid) != pid) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  void expect_sound() {
    const auto checked = daemon_.weir("fsck");
    EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
  }
  void expect_no_failures(MountLoad& load) {
    load.stop();
    EXPECT_EQ(load.failures(), "") << daemon_.log();
    std::printf("%llu calls, the longest took %lld ms\n", static_cast<unsigned long long>(load.calls()),
                static_cast<long long>(load.longest_pause().count()));
    EXPECT_LT(load.longest_pause(), kPatience);
  }
  bool is_mounted() const {
    std::ifstream table("/proc/self/mounts");
    for (std::string line; std::getline(table, line);) {
      if (line.find(' ' + daemon_.mount_point().string() + ' ') != std::string::npos) return true;
    }
    return false;
  }

  // Also one that nobody waited for.
  static bool is_dead(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (line.starts_with("State:")) return line.find('Z') != std::string::npos;
    }
    return true;
  }

  // Nobody listens there now; it is the same for each daemon.
  static uint16_t free_port() {
    const int socket = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size), 0);
    ::close(socket);
    return ntohs(address.sin_port);
  }

  WeirDaemon daemon_;
  const uint16_t s3_port_ = free_port();
};

class KeeperUnderLoad : public Keeper {
 protected:
  void SetUp() override {
    Keeper::SetUp();
    const nlohmann::json rings = status()["fuse"]["io_uring"];
    if (!HasFatalFailure() && GetParam().io_uring == std::string("auto") && !rings.value("on", false))
      GTEST_SKIP() << "SKIPPED: no rings: " << rings.dump();
  }
  Transport transport() const override { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(, KeeperUnderLoad,
                         ::testing::Values(Transport{"passthrough", "auto", "auto"}, Transport{"daemon", "off", "auto"},
                                           Transport{"device", "off", "off"}),
                         [](const auto& info) { return std::string(info.param.name); });

// Semantics 6.6.
TEST_P(KeeperUnderLoad, no_call_fails_while_the_daemon_is_killed) {
  const int kills = kills_wanted(20);
  std::mt19937 random(std::random_device{}());
  MountLoad load(root() / "load");
  for (int i = 0; i < kills && load.failures().empty(); ++i) {
    // Longer than what counts as dying at once.
    std::this_thread::sleep_for(std::chrono::milliseconds(1000 + random() % 300));
    kill_daemon();
    if (HasFatalFailure()) break;
  }
  expect_no_failures(load);
  EXPECT_EQ(status()["keeper"].value("restarts", 0), kills);
  expect_sound();
}

// Semantics 6.6, 7.3.
TEST_P(KeeperUnderLoad, nothing_that_s3_acknowledged_is_lost_while_the_daemon_is_killed) {
  const int kills = kills_wanted(6);
  const uint64_t seed = Random::from_entropy().next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const auto keys = nlohmann::json::parse(daemon_.weir("--json s3 key list --secrets").out)["keys"][0];
  MountLoad files(root() / "load");
  ObjectLoad objects(s3_port_, {keys["access_key"], keys["secret_key"], ""}, root(), "s3", "objects", seed);
  for (int i = 0; i < kills && files.failures().empty() && objects.failures().empty(); ++i) {
    // Longer than what counts as dying at once.
    std::this_thread::sleep_for(std::chrono::milliseconds(1000 + random.below(300)));
    kill_daemon();
    if (HasFatalFailure()) break;
  }
  expect_no_failures(files);
  objects.stop();
  EXPECT_EQ(objects.failures(), "") << daemon_.log();
  EXPECT_NE(objects.acknowledged(), 0u);
  EXPECT_NE(objects.broken_off(), 0u);
  expect_sound();
}

TEST_P(KeeperUnderLoad, no_call_fails_while_the_binary_is_upgraded) {
  MountLoad load(root() / "load");
  const pid_t keeper = status()["keeper"].value("pid", -1);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    const fs::path binary = daemon_.home() / ("weir-" + std::to_string(i));
    fs::copy_file(weir_binary(), binary);
    const pid_t before = daemon_pid();
    const auto upgraded = daemon_.weir("upgrade --binary " + binary.string());
    EXPECT_EQ(upgraded.exit_code, 0) << upgraded.err << daemon_.log();
    const pid_t now = daemon_pid();
    EXPECT_NE(now, before);
    EXPECT_EQ(fs::read_symlink("/proc/" + std::to_string(now) + "/exe"), binary);
    EXPECT_EQ(status()["keeper"].value("pid", -1), keeper);
    // From now on it is the one that is started after a crash.
    kill_daemon();
    EXPECT_EQ(fs::read_symlink("/proc/" + std::to_string(daemon_pid()) + "/exe"), binary);
  }
  expect_no_failures(load);
  expect_sound();
}

TEST_F(Keeper, a_binary_that_does_not_serve_gives_way_to_the_one_before) {
  MountLoad load(root() / "load");
  const auto upgraded = daemon_.weir("upgrade --binary /bin/false");
  EXPECT_EQ(upgraded.exit_code, 1);
  EXPECT_NE(upgraded.err.find("the one before serves again"), std::string::npos) << upgraded.err;
  EXPECT_EQ(fs::read_symlink("/proc/" + std::to_string(daemon_pid()) + "/exe"), fs::canonical(weir_binary()));
  EXPECT_EQ(daemon_.weir("upgrade --binary /nowhere").exit_code, 1);
  expect_no_failures(load);
}

// Semantics 6.6.
TEST_F(Keeper, what_is_open_goes_on) {
  const fs::path at = root() / "load";
  const int unlinked = ::open((at / "unlinked").c_str(), O_CREAT | O_RDWR, 0644);
  ASSERT_EQ(::write(unlinked, "content", 7), 7);
  ASSERT_EQ(::unlink((at / "unlinked").c_str()), 0);
  const int nameless = ::open(at.c_str(), O_TMPFILE | O_RDWR, 0644);
  ASSERT_EQ(::write(nameless, "nameless", 8), 8);
  const int locked = ::open((at / "locked").c_str(), O_CREAT | O_RDWR, 0644);
  ASSERT_EQ(::flock(locked, LOCK_EX), 0);
  const int positioned = ::open((at / "positioned").c_str(), O_CREAT | O_RDWR, 0644);
  ASSERT_EQ(::write(positioned, "0123456789", 10), 10);
  ASSERT_EQ(::lseek(positioned, 4, SEEK_SET), 4);
  const int appended = ::open((at / "appended").c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644);
  ASSERT_EQ(::write(appended, "one", 3), 3);
  const int mapped = ::open((at / "mapped").c_str(), O_CREAT | O_RDWR, 0644);
  ASSERT_EQ(::ftruncate(mapped, 4096), 0);
  auto* const memory = static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0));
  ASSERT_NE(memory, MAP_FAILED);
  std::strcpy(memory, "before");
  ASSERT_EQ(::mkdir((at / "listed").c_str(), 0755), 0);
  constexpr int kEntries = 500;
  for (int i = 0; i < kEntries; ++i) ::close(::open((at / "listed" / std::to_string(1000 + i)).c_str(), O_CREAT, 0644));
  const int listed = ::open((at / "listed").c_str(), O_RDONLY | O_DIRECTORY);
  int entries = 0;
  const auto read_some = [&] {
    alignas(dirent64) char buffer[4096];
    const long bytes = ::syscall(SYS_getdents64, listed, buffer, sizeof buffer);
    for (long place = 0; place < bytes; place += reinterpret_cast<dirent64*>(buffer + place)->d_reclen) ++entries;
    return bytes;
  };
  ASSERT_GT(read_some(), 0);

  for (int kill = 0; kill < 2; ++kill) {
    kill_daemon();
    ASSERT_FALSE(HasFatalFailure());
    // An entry before the place would shift places that were not kept.
    if (kill == 0) {
      EXPECT_EQ(::unlink((at / "listed/1000").c_str()), 0);
    }
    EXPECT_GT(read_some(), 0) << std::strerror(errno);
  }

  char text[16] = "";
  EXPECT_EQ(::pread(unlinked, text, sizeof text, 0), 7) << std::strerror(errno);
  EXPECT_STREQ(text, "content");
  EXPECT_EQ(::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(nameless)).c_str(), AT_FDCWD, (at / "named").c_str(),
                     AT_SYMLINK_FOLLOW),
            0)
      << std::strerror(errno);
  EXPECT_EQ(fs::file_size(at / "named"), 8u);
  const int other = ::open((at / "locked").c_str(), O_RDONLY);
  EXPECT_EQ(::flock(other, LOCK_EX | LOCK_NB), -1);
  EXPECT_EQ(::read(positioned, text, 3), 3);
  EXPECT_EQ(std::string(text, 3), "456");
  EXPECT_EQ(::write(appended, "two", 3), 3);
  EXPECT_EQ(fs::file_size(at / "appended"), 6u);
  std::strcpy(memory + 100, "after");
  EXPECT_EQ(::msync(memory, 4096, MS_SYNC), 0);
  char both[4096];
  EXPECT_EQ(::pread(mapped, both, sizeof both, 0), 4096);
  EXPECT_STREQ(both, "before");
  EXPECT_STREQ(both + 100, "after");
  while (read_some() > 0) {
  }
  EXPECT_EQ(entries, kEntries + 2);

  ::munmap(memory, 4096);
  for (const int fd : {unlinked, nameless, locked, positioned, appended, mapped, listed, other}) EXPECT_EQ(::close(fd), 0);
  EXPECT_EQ(daemon_.wait_until("[ $(weir status --json | grep -c '\"open_files\": 0') = 1 ]", kPatience), true);
  expect_sound();
}

// Semantics 6.6.
TEST_F(Keeper, its_own_death_ends_the_mount_and_the_next_start_finds_everything) {
  std::ofstream(root() / "load/file") << "content";
  const pid_t pid = daemon_pid();
  const int held = ::open((root() / "load/file").c_str(), O_RDWR);
  daemon_.kill();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_TRUE(is_dead(pid));
  EXPECT_EQ(::close(held), -1);
  std::string content;
  std::ifstream(root() / "load/file") >> content;
  EXPECT_EQ(content, "content");
  EXPECT_EQ(status()["keeper"].value("restarts", -1), 0);
  expect_sound();
}

TEST_F(Keeper, sigterm_to_the_daemon_ends_both) {
  ASSERT_EQ(::kill(daemon_pid(), SIGTERM), 0);
  EXPECT_EQ(daemon_.wait(), 0) << daemon_.log();
  EXPECT_FALSE(is_mounted());
}

TEST_F(Keeper, sigterm_ends_it_while_the_daemon_starts_again) {
  ASSERT_EQ(::kill(daemon_pid(), SIGKILL), 0);
  EXPECT_NE(daemon_.stop(), -1) << daemon_.log();  // the code is the daemon's last one, whichever came first
  EXPECT_FALSE(is_mounted());
}

TEST_F(Keeper, it_gives_up_a_daemon_that_does_not_start_any_more) {
  const pid_t pid = daemon_pid();
  std::ofstream(daemon_.config(), std::ios::app) << "no.such.property: 1\n";
  ASSERT_EQ(::kill(pid, SIGKILL), 0);
  EXPECT_EQ(daemon_.wait(), 1) << daemon_.log();
  EXPECT_NE(daemon_.log().find("the daemon is not started any more"), std::string::npos) << daemon_.log();
  EXPECT_FALSE(is_mounted());
}

TEST_F(Keeper, a_mount_made_while_running_is_kept_too) {
  ASSERT_EQ(daemon_.weir("umount").exit_code, 0);
  EXPECT_FALSE(is_mounted());
  kill_daemon();
  EXPECT_FALSE(is_mounted());
  ASSERT_EQ(daemon_.weir("mount").exit_code, 0);
  std::ofstream(root() / "load/file") << "content";
  kill_daemon();
  EXPECT_EQ(fs::file_size(root() / "load/file"), 7u);
}

}  // namespace
}  // namespace weir::testing
