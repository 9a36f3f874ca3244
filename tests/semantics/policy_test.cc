// What programs see of write policies, of names that are the volume's own, and of a bucket that others change.
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <thread>

#include "tests/semantics/mount_fixture.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

class Policies : public Mount {
 protected:
  fs::path object(const std::string& key) const { return MountedVolume::bucket(home_.path()) / key; }
  std::string object_bytes(const std::string& key) const {
    std::ifstream file(object(key), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string state(const std::string& name) const {
    char value[64];
    const ssize_t size = ::getxattr(at(name).c_str(), "user.weir.state", value, sizeof(value));
    return size < 0 ? strerror(errno) : std::string(value, static_cast<size_t>(size));
  }
  void rules(const std::string& default_policy, const std::string& path_rules = "") const {
    const auto set = mounted_->volume().set_rules_document(
        R"({"apiVersion":"v1.0","defaultRule":{"policyMode":")" + default_policy + R"("},"pathRules":[)" + path_rules + "]}");
    ASSERT_TRUE(set.has_value()) << set.error().to_string();
  }
  static std::string rule(const std::string& path, const std::string& policy) {
    return R"({"path":")" + path + R"(","policyMode":")" + policy + R"("})";
  }
  void drain() const {
    const auto drained = mounted_->volume().persister().drain(Deadline::after(std::chrono::seconds(60)));
    ASSERT_TRUE(drained.has_value()) << drained.error().to_string();
  }
  static bool wait(const std::function<bool()>& holds) {
    for (const Deadline deadline = Deadline::after(std::chrono::seconds(60)); !holds();
         std::this_thread::sleep_for(std::chrono::milliseconds(20)))
      if (deadline.expired()) return false;
    return true;
  }
  uint64_t cached_bytes(const std::string& name) const {
    const auto status = mounted_->volume().status("/s3/" + name);
    return status.has_value() ? status->cached_bytes : UINT64_MAX;
  }
};

// A bucket that takes nothing new, not from root either, while this lives.
class ReadOnlyFolder {
 public:
  explicit ReadOnlyFolder(const fs::path& folder) : fd_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY)) {
    works_ = set(FS_IMMUTABLE_FL);
  }
  ~ReadOnlyFolder() {
    set(0);
    ::close(fd_);
  }
  bool works() const { return works_; }

 private:
  bool set(int flag) const {
    int flags = 0;
    if (::ioctl(fd_, FS_IOC_GETFLAGS, &flags) != 0) return false;
    flags = (flags & ~FS_IMMUTABLE_FL) | flag;
    return ::ioctl(fd_, FS_IOC_SETFLAGS, &flags) == 0;
  }

  const int fd_;
  bool works_ = false;
};

// Semantics 1.6.
TEST_P(Policies, the_root_directory_holds_mount_points_only) {
  const std::string root = mounted_->root().parent_path();
  EXPECT_FAILS(EPERM, ::mkdir((root + "/d").c_str(), 0755));
  EXPECT_FAILS(EPERM, ::open((root + "/f").c_str(), O_CREAT | O_WRONLY, 0644));
  EXPECT_FAILS(EPERM, ::symlink("x", (root + "/l").c_str()));
  EXPECT_FAILS(EBUSY, ::rmdir((root + "/s3").c_str()));
}

// Semantics 1.16.
TEST_P(Policies, names_of_the_volumes_own_are_refused_in_a_mount_points_directory_alone) {
  for (const char* name : {".weir-attributes", ".weir-long", ".weir-parked"}) {
    EXPECT_FAILS(EPERM, ::mkdir(at(name).c_str(), 0755));
    EXPECT_FAILS(EPERM, ::open(at(name).c_str(), O_CREAT | O_WRONLY, 0644));
  }
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  EXPECT_EQ(0, ::mkdir(at("d/.weir-long").c_str(), 0755)) << strerror(errno);
}

// Semantics 1.3.
TEST_P(Policies, the_number_of_a_removed_file_is_never_used_again) {
  std::vector<ino_t> seen;
  for (int i = 0; i < 50; ++i) {
    put("f", "x");
    seen.push_back(stat_of("f").st_ino);
    ASSERT_WORKS(::unlink(at("f").c_str()));
  }
  std::sort(seen.begin(), seen.end());
  EXPECT_EQ(std::adjacent_find(seen.begin(), seen.end()), seen.end());
}

// Semantics 2.11.
TEST_P(Policies, syncfs_succeeds) {
  const Descriptor root(at(""), O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(0, ::syncfs(root));
}

// Semantics 2.3, 4.4.
TEST_P(Policies, fsync_tells_a_refusal_and_nothing_is_lost) {
  const Descriptor file(at("f"), O_CREAT | O_RDWR);
  ASSERT_EQ(4, ::write(file, "text", 4));
  {
    const ReadOnlyFolder refusing(MountedVolume::bucket(home_.path()));
    if (!refusing.works()) GTEST_SKIP() << "SKIPPED: no immutable folders here";
    EXPECT_TRUE(wait([&] { return ::fsync(file) == -1 && errno == EIO; }));
    EXPECT_EQ("text", get("f"));
  }
  ASSERT_TRUE(mounted_->volume().persister().retry(std::nullopt).has_value());
  EXPECT_TRUE(wait([&] { return object_bytes("f") == "text"; }));
  EXPECT_TRUE(wait([&] { return ::fsync(file) == 0; }));
}

// Semantics 3.2.
TEST_P(Policies, a_write_through_close_returns_when_the_file_is_persisted_or_with_the_error) {
  rules("WRITE_THROUGH");
  {
    Descriptor file(at("f"), O_CREAT | O_WRONLY);
    ASSERT_EQ(4, ::write(file, "text", 4));
    ASSERT_WORKS(file.close());
    EXPECT_EQ("text", object_bytes("f"));
  }
  const ReadOnlyFolder refusing(MountedVolume::bucket(home_.path()));
  if (!refusing.works()) GTEST_SKIP() << "SKIPPED: no immutable folders here";
  Descriptor file(at("g"), O_CREAT | O_WRONLY);
  ASSERT_EQ(4, ::write(file, "more", 4));
  EXPECT_FAILS(EIO, file.close());
  EXPECT_EQ("more", get("g"));
  EXPECT_EQ("NOT_PERSISTED", state("g"));
}

// Semantics 3.3.
TEST_P(Policies, transient_files_never_reach_the_bucket) {
  rules("TRANSIENT");
  put("f", "text");
  drain();
  EXPECT_EQ("TRANSIENT", state("f"));
  EXPECT_FALSE(fs::exists(object("f")));
}

// Semantics 3.4.
TEST_P(Policies, of_a_file_under_no_cache_no_copy_is_kept) {
  rules("NO_CACHE");
  {
    Descriptor file(at("f"), O_CREAT | O_WRONLY);
    ASSERT_EQ(4, ::write(file, "text", 4));
    ASSERT_WORKS(file.close());
    EXPECT_EQ("text", object_bytes("f"));
  }
  EXPECT_TRUE(wait([&] { return cached_bytes("f") == 0; }));
  EXPECT_EQ("text", get("f"));
}

// Semantics 3.5.
TEST_P(Policies, the_rule_with_the_longest_text_before_its_first_star_wins) {
  rules("WRITE_BACK", rule("/s3/**", "TRANSIENT") + "," + rule("/s3/keep*/**", "WRITE_BACK"));
  ASSERT_WORKS(::mkdir(at("keep-1").c_str(), 0755));
  ASSERT_WORKS(::mkdir(at("tmp").c_str(), 0755));
  put("keep-1/f", "kept");
  put("tmp/f", "not kept");
  drain();
  EXPECT_EQ("PERSISTED", state("keep-1/f"));
  EXPECT_EQ("TRANSIENT", state("tmp/f"));
}

// Semantics 3.7.
TEST_P(Policies, a_renamed_file_has_the_policy_of_its_new_path) {
  rules("WRITE_BACK", rule("/s3/tmp/**", "TRANSIENT") + "," + rule("/s3/sure/**", "WRITE_THROUGH"));
  for (const char* folder : {"tmp", "sure"}) ASSERT_WORKS(::mkdir(at(folder).c_str(), 0755));
  put("tmp/a", "a");
  put("tmp/b", "b");
  drain();
  ASSERT_WORKS(::rename(at("tmp/a").c_str(), at("a").c_str()));
  drain();
  EXPECT_EQ("a", object_bytes("a"));
  ASSERT_WORKS(::rename(at("tmp/b").c_str(), at("sure/b").c_str()));
  EXPECT_EQ("b", object_bytes("sure/b"));
  EXPECT_EQ("PERSISTED", state("sure/b"));
}

// Semantics 3.9.
TEST_P(Policies, of_a_file_with_several_names_the_strictest_policy_holds) {
  rules("WRITE_BACK", rule("/s3/tmp/**", "TRANSIENT"));
  ASSERT_WORKS(::mkdir(at("tmp").c_str(), 0755));
  put("tmp/f", "text");
  drain();
  EXPECT_FALSE(fs::exists(object("tmp/f")));
  ASSERT_WORKS(::link(at("tmp/f").c_str(), at("f").c_str()));
  drain();
  EXPECT_EQ("text", object_bytes("f"));
  EXPECT_EQ("text", object_bytes("tmp/f"));
}

// Semantics 5.1, 5.8.
TEST_P(Policies, what_others_put_into_the_bucket_is_seen_and_moves_no_time_when_it_was_there_before) {
  fs::create_directories(object("old"));
  std::ofstream(object("old") / "before") << "before";
  EXPECT_TRUE(wait([&] { return ::access(at("old").c_str(), F_OK) == 0; }));
  const timespec mtime = stat_of("old").st_mtim;
  EXPECT_EQ(std::vector<std::string>{"before"}, list("old"));
  EXPECT_EQ(mtime.tv_sec, stat_of("old").st_mtim.tv_sec);
  EXPECT_EQ(mtime.tv_nsec, stat_of("old").st_mtim.tv_nsec);
  std::ofstream(object("old") / "after") << "after";
  EXPECT_TRUE(wait([&] { return ::access(at("old/after").c_str(), F_OK) == 0; }));
  EXPECT_EQ("after", get("old/after"));
}

// Semantics 6.2.
TEST_P(Policies, what_the_metadata_can_answer_does_not_wait_for_the_bucket) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  put("d/f", "text");
  const ReadOnlyFolder refusing(MountedVolume::bucket(home_.path()));
  if (!refusing.works()) GTEST_SKIP() << "SKIPPED: no immutable folders here";
  put("d/g", "more");
  ASSERT_WORKS(::rename(at("d/f").c_str(), at("d/h").c_str()));
  EXPECT_EQ((std::vector<std::string>{"g", "h"}), list("d"));
  EXPECT_EQ("text", get("d/h"));
  ASSERT_WORKS(::unlink(at("d/g").c_str()));
  EXPECT_FAILS(ENOENT, ::access(at("d/g").c_str(), F_OK));
}

INSTANTIATE_TEST_SUITE_P(BothWays, Policies,
                         ::testing::Values(std::tuple(Switch::kAuto, Switch::kAuto), std::tuple(Switch::kOff, Switch::kOff)),
                         name_of_param);

}  // namespace
}  // namespace weir::testing
