// What programs see of trees that are removed in one step, and of silly renames.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "tests/semantics/mounted_volume.h"

namespace weir::testing {
namespace {

using fuse::Switch;

constexpr auto kPatience = std::chrono::seconds(60);

class Removal : public ::testing::TestWithParam<Switch> {
 protected:
  void SetUp() override {
    if (const auto missing = MountedVolume::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
    auto started = MountedVolume::start(
        home_.path(), {.passthrough = GetParam(), .io_uring = GetParam(), .intercept_silly_renames = true});
    ASSERT_TRUE(started.has_value()) << started.error().to_string();
    mounted_ = std::move(*started);
  }
  void TearDown() override {
    if (mounted_) {
      EXPECT_EQ(mounted_->fsck(), "");
    }
  }

  std::string at(const std::string& name) const { return mounted_->root() / name; }
  void put(const std::string& name, const std::string& bytes) const {
    std::ofstream file(at(name), std::ios::binary);
    file << bytes;
    file.close();
    ASSERT_TRUE(file.good()) << name;
  }
  static bool there(const std::string& path) {
    struct stat st{};
    return ::lstat(path.c_str(), &st) == 0;
  }
  static std::string read(int fd) {
    std::string bytes(100, '\0');
    const ssize_t size = ::pread(fd, bytes.data(), bytes.size(), 0);
    EXPECT_GE(size, 0) << strerror(errno);
    bytes.resize(size < 0 ? 0 : static_cast<size_t>(size));
    return bytes;
  }
  void remove_tree(const std::string& name) const {
    const auto root = mounted_->volume().resolve("/s3");
    const auto removed = mounted_->volume().remove_tree(*root, name);
    ASSERT_TRUE(removed.has_value()) << removed.error().to_string();
  }
  static bool wait(const std::function<bool()>& holds) {
    for (const Deadline deadline = Deadline::after(kPatience); !holds();
         std::this_thread::sleep_for(std::chrono::milliseconds(10)))
      if (deadline.expired()) return false;
    return true;
  }
  bool removed_for_good() const {
    return wait([&] { return mounted_->volume().statistics().trees_being_removed == 0; });
  }

  TemporaryDirectory home_;
  std::unique_ptr<MountedVolume> mounted_;
};

// Semantics 1.4.
TEST_P(Removal, a_removed_tree_is_gone_for_every_process_at_once) {
  ASSERT_EQ(0, ::mkdir(at("t").c_str(), 0755));
  ASSERT_EQ(0, ::mkdir(at("t/d").c_str(), 0755));
  put("t/d/f", "text");
  ASSERT_TRUE(there(at("t/d/f")));  // known to the kernel
  remove_tree("t");
  EXPECT_FALSE(there(at("t/d/f")));
  EXPECT_FALSE(there(at("t")));
  EXPECT_EQ(ENOENT, errno);
  ASSERT_EQ(0, ::mkdir(at("t").c_str(), 0755));
  EXPECT_FALSE(there(at("t/d")));
  EXPECT_TRUE(removed_for_good());
}

// Semantics 1.4.
TEST_P(Removal, open_files_in_a_removed_tree_work_until_they_are_closed) {
  ASSERT_EQ(0, ::mkdir(at("t").c_str(), 0755));
  put("t/f", "text");
  const int directory = ::open(at("t").c_str(), O_RDONLY | O_DIRECTORY);
  const int fd = ::open(at("t/f").c_str(), O_RDWR);
  ASSERT_GE(fd, 0) << strerror(errno);
  remove_tree("t");
  EXPECT_TRUE(removed_for_good());
  EXPECT_EQ(read(fd), "text");
  EXPECT_EQ(5, ::pwrite(fd, " more", 5, 4));
  EXPECT_EQ(0, ::fsync(fd)) << strerror(errno);
  EXPECT_EQ(read(fd), "text more");
  struct stat st{};
  ASSERT_EQ(0, ::fstat(fd, &st)) << strerror(errno);
  EXPECT_EQ(st.st_nlink, 0u);
  EXPECT_EQ(st.st_size, 9);
  // Who stands in it can make nothing there any more.
  EXPECT_EQ(-1, ::openat(directory, "new", O_CREAT | O_WRONLY, 0644));
  EXPECT_EQ(ENOENT, errno);
  EXPECT_EQ(0, ::close(fd));
  ::close(directory);
}

// Semantics 1.4.
TEST_P(Removal, an_open_file_renamed_to_a_hidden_name_vanishes_with_its_last_close) {
  put("f", "text");
  const int fd = ::open(at("f").c_str(), O_RDWR);
  ASSERT_GE(fd, 0) << strerror(errno);
  ASSERT_EQ(0, ::rename(at("f").c_str(), at(".fuse_hidden0001").c_str())) << strerror(errno);
  EXPECT_FALSE(there(at("f")));
  const int second = ::open(at(".fuse_hidden0001").c_str(), O_RDONLY);
  ASSERT_GE(second, 0) << strerror(errno);
  EXPECT_EQ(read(second), "text");
  EXPECT_TRUE(std::filesystem::is_empty(mounted_->root()));
  ::close(second);
  ::close(fd);
  // Releases reach the daemon behind close().
  EXPECT_TRUE(wait([&] {
    const int again = ::open(at(".fuse_hidden0001").c_str(), O_RDONLY);
    if (again >= 0) ::close(again);
    return again < 0;
  }));
  EXPECT_TRUE(wait([&] { return mounted_->volume().statistics().usage.inodes == 2; }));
  EXPECT_TRUE(mounted_->volume().persister().drain(Deadline::after(kPatience)).has_value());
  for (const char* key : {"f", ".fuse_hidden0001"})
    EXPECT_FALSE(std::filesystem::exists(MountedVolume::bucket(home_.path()) / key)) << key;
}

INSTANTIATE_TEST_SUITE_P(Modes, Removal, ::testing::Values(Switch::kAuto, Switch::kOff),
                         [](const auto& info) { return info.param == Switch::kAuto ? "direct" : "plain"; });

}  // namespace
}  // namespace weir::testing
