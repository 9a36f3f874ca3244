// tests/semantics/mount_fixture.h -- for tests that use a mounted volume by plain system calls, in every way of talking to the
// kernel.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "tests/semantics/mounted_volume.h"

namespace weir::testing {

using fuse::Switch;

#define EXPECT_FAILS(err, call)                  \
  do {                                           \
    errno = 0;                                   \
    EXPECT_EQ(-1, call);                         \
    EXPECT_EQ(err, errno) << strerror(errno);    \
  } while (false)
#define ASSERT_WORKS(call) ASSERT_EQ(0, call) << strerror(errno)

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags, mode_t mode = 0644) : fd_(::open(path.c_str(), flags, mode)) {
    if (fd_ < 0) ADD_FAILURE() << "open " << path << ": " << strerror(errno);
  }
  ~Descriptor() { close(); }
  int close() { return fd_ < 0 ? 0 : ::close(std::exchange(fd_, -1)); }
  operator int() const { return fd_; }  // NOLINT: stands for the descriptor

 private:
  int fd_;
};

class Mount : public ::testing::TestWithParam<std::tuple<Switch, Switch>> {
 protected:
  void SetUp() override {
    if (const auto missing = MountedVolume::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
    std::filesystem::create_directories(MountedVolume::bucket(home_.path()));
    prepare_bucket();
    const auto [passthrough, io_uring] = GetParam();
    auto started = MountedVolume::start(home_.path(), {.passthrough = passthrough, .io_uring = io_uring, .policy = policy()});
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    mounted_ = std::move(*started);
    const fuse::Features features = mounted_->server().features();
    if (passthrough == Switch::kAuto && !features.passthrough) {
      GTEST_SKIP() << "SKIPPED: no passthrough: " << features.passthrough_reason;
    }
    if (io_uring == Switch::kAuto && !features.io_uring) {
      GTEST_SKIP() << "SKIPPED: no io_uring: " << features.io_uring_reason;
    }
  }

  void TearDown() override {
    if (mounted_) {
      EXPECT_EQ(mounted_->fsck(), "");
    }
  }

  virtual void prepare_bucket() {}
  virtual std::string policy() const { return "WRITE_BACK"; }

  std::string at(const std::string& name) const { return mounted_->root() / name; }

  void put(const std::string& name, std::string_view bytes) const {
    const Descriptor file(at(name), O_CREAT | O_TRUNC | O_WRONLY);
    ASSERT_EQ(static_cast<ssize_t>(bytes.size()), ::write(file, bytes.data(), bytes.size())) << strerror(errno);
  }
  std::string get(const std::string& name) const {
    const Descriptor file(at(name), O_RDONLY);
    std::string bytes(1 << 20, '\0');
    const ssize_t size = ::read(file, bytes.data(), bytes.size());
    EXPECT_GE(size, 0) << strerror(errno);
    bytes.resize(size < 0 ? 0 : static_cast<size_t>(size));
    return bytes;
  }
  struct stat stat_of(const std::string& name) const {
    struct stat st {};
    EXPECT_EQ(0, ::lstat(at(name).c_str(), &st)) << name << ": " << strerror(errno);
    return st;
  }
  std::vector<std::string> list(const std::string& name) const {
    std::vector<std::string> names;
    DIR* directory = ::opendir(at(name).c_str());
    if (directory == nullptr) ADD_FAILURE() << strerror(errno);
    while (const dirent* entry = ::readdir(directory)) {
      if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0) names.push_back(entry->d_name);
    }
    ::closedir(directory);
    std::sort(names.begin(), names.end());
    return names;
  }

  // Runs `body` in a child process with nothing but system calls; its result is the exit status.
  static int in_child(const std::function<int()>& body) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  TemporaryDirectory home_;
  std::unique_ptr<MountedVolume> mounted_;
};

class MountOfBucket : public Mount {
 protected:
  void prepare_bucket() override {
    const auto bucket = MountedVolume::bucket(home_.path());
    std::filesystem::create_directories(bucket / "old");
    std::ofstream(bucket / "old" / "data") << big();
    std::ofstream(bucket / "top") << "top";
  }
  static std::string big() {
    std::string bytes(5 << 20, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i >> 10);
    return bytes;
  }
};

inline std::string name_of_param(const ::testing::TestParamInfo<std::tuple<Switch, Switch>>& info) {
  const auto [passthrough, io_uring] = info.param;
  return std::string(passthrough == Switch::kAuto ? "passthrough" : "daemon") +
         (io_uring == Switch::kAuto ? "_io_uring" : "_device");
}

inline const auto kEveryWay = ::testing::Combine(::testing::Values(Switch::kAuto, Switch::kOff),
                                          ::testing::Values(Switch::kAuto, Switch::kOff));

}  // namespace weir::testing
