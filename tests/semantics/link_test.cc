// Hard links and files without a name, by plain system calls.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <string>

#include "tests/semantics/mount_fixture.h"

namespace weir::testing {
namespace {

bool later(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

class Links : public Mount {
 protected:
  int link(const std::string& from, const std::string& to) const { return ::link(at(from).c_str(), at(to).c_str()); }
  int unlink(const std::string& name) const { return ::unlink(at(name).c_str()); }
  int rename(const std::string& from, const std::string& to, unsigned flags = 0) const {
    return ::renameat2(AT_FDCWD, at(from).c_str(), AT_FDCWD, at(to).c_str(), flags);
  }
  int name_descriptor(int fd, const std::string& name) const {
    return ::linkat(fd, "", AT_FDCWD, at(name).c_str(), AT_EMPTY_PATH);
  }
};

// Semantics 1.13.
TEST_P(Links, all_names_are_equal) {
  put("a", "one");
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  ASSERT_WORKS(link("a", "d/b"));
  const struct stat a = stat_of("a");
  const struct stat b = stat_of("d/b");
  EXPECT_EQ(a.st_ino, b.st_ino);
  EXPECT_EQ(2u, a.st_nlink);
  EXPECT_EQ(2u, b.st_nlink);
  put("d/b", "two and more");
  EXPECT_EQ("two and more", get("a"));
  EXPECT_EQ(12, stat_of("a").st_size);
  ASSERT_WORKS(::chmod(at("d/b").c_str(), 0600));
  EXPECT_EQ(0600u, stat_of("a").st_mode & 07777);
  ASSERT_WORKS(unlink("a"));
  EXPECT_EQ(1u, stat_of("d/b").st_nlink);
  EXPECT_EQ("two and more", get("d/b"));
  EXPECT_EQ(a.st_ino, stat_of("d/b").st_ino);
}

TEST_P(Links, are_refused_where_a_local_file_system_refuses_them) {
  put("f", "x");
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  EXPECT_FAILS(EPERM, link("d", "d2"));
  EXPECT_FAILS(EEXIST, link("f", "d"));
  EXPECT_FAILS(EEXIST, link("f", "f"));
  EXPECT_FAILS(ENOENT, link("absent", "x"));
  EXPECT_FAILS(ENOENT, link("f", "absent/x"));
  EXPECT_FAILS(ENOTDIR, link("f", "f/x"));
  EXPECT_FAILS(ENAMETOOLONG, link("f", std::string(256, 'x')));
  ASSERT_WORKS(link("f", std::string(255, 'x')));
}

// Semantics 1.13.
TEST_P(Links, set_the_times_of_file_and_directory) {
  put("f", "x");
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  struct stat file = stat_of("f");
  const struct stat directory = stat_of("d");
  ::usleep(20'000);
  ASSERT_WORKS(link("f", "d/g"));
  EXPECT_TRUE(later(stat_of("f").st_ctim, file.st_ctim));
  EXPECT_TRUE(later(stat_of("d").st_mtim, directory.st_mtim));
  EXPECT_FALSE(later(stat_of("f").st_mtim, file.st_mtim));
  file = stat_of("f");
  ::usleep(20'000);
  ASSERT_WORKS(unlink("d/g"));
  EXPECT_TRUE(later(stat_of("f").st_ctim, file.st_ctim));
}

// Semantics 1.13.
TEST_P(Links, renaming_one_name_over_another_of_the_same_file_does_nothing) {
  put("a", "x");
  ASSERT_WORKS(link("a", "b"));
  ASSERT_WORKS(rename("a", "b"));
  ASSERT_WORKS(rename("a", "b", RENAME_EXCHANGE));
  EXPECT_EQ((std::vector<std::string>{"a", "b"}), list("."));
  EXPECT_EQ(2u, stat_of("a").st_nlink);
}

TEST_P(Links, names_are_renamed_alone) {
  put("a", "file");
  put("x", "other");
  ASSERT_WORKS(link("a", "b"));
  ASSERT_WORKS(rename("b", "c"));
  ASSERT_WORKS(rename("a", "d"));
  EXPECT_EQ("file", get("c"));
  EXPECT_EQ("file", get("d"));
  ASSERT_WORKS(rename("x", "c"));
  EXPECT_EQ("other", get("c"));
  EXPECT_EQ(1u, stat_of("d").st_nlink);
  ASSERT_WORKS(link("d", "e"));
  ASSERT_WORKS(rename("c", "e", RENAME_EXCHANGE));
  EXPECT_EQ("other", get("e"));
  EXPECT_EQ("file", get("c"));
  EXPECT_EQ(stat_of("c").st_ino, stat_of("d").st_ino);
}

TEST_P(Links, an_open_file_outlives_each_of_its_names) {
  const Descriptor file(at("a"), O_CREAT | O_RDWR);
  ASSERT_EQ(3, ::write(file, "one", 3));
  ASSERT_WORKS(link("a", "b"));
  ASSERT_WORKS(unlink("a"));
  ASSERT_EQ(3, ::write(file, "two", 3));
  EXPECT_EQ("onetwo", get("b"));
  ASSERT_WORKS(unlink("b"));
  struct stat st {};
  ASSERT_WORKS(::fstat(file, &st));
  EXPECT_EQ(0u, st.st_nlink);
  char bytes[8] = {};
  EXPECT_EQ(6, ::pread(file, bytes, sizeof bytes, 0));
  const std::string through = "/proc/self/fd/" + std::to_string(int{file});
  EXPECT_FAILS(ENOENT, ::linkat(AT_FDCWD, through.c_str(), AT_FDCWD, at("c").c_str(), AT_SYMLINK_FOLLOW));
}

TEST_P(Links, symlinks_and_fifos_have_them_too) {
  ASSERT_WORKS(::symlink("target", at("s").c_str()));
  ASSERT_WORKS(::mkfifo(at("f").c_str(), 0600));
  ASSERT_WORKS(link("s", "s2"));
  ASSERT_WORKS(link("f", "f2"));
  EXPECT_EQ(stat_of("s").st_ino, stat_of("s2").st_ino);
  EXPECT_TRUE(S_ISLNK(stat_of("s2").st_mode));
  EXPECT_TRUE(S_ISFIFO(stat_of("f2").st_mode));
  EXPECT_EQ(2u, stat_of("f").st_nlink);
}

// Semantics 1.13.
TEST_P(Links, there_is_a_most_of_them) {
  put("f", "x");
  for (int i = 1; i < 1'000; ++i) ASSERT_WORKS(link("f", "n" + std::to_string(i)));
  EXPECT_FAILS(EMLINK, link("f", "more"));
  EXPECT_EQ(1'000u, stat_of("f").st_nlink);
}

// Semantics 4.9.
TEST_P(Links, each_name_has_its_object) {
  put("a", "text");
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  ASSERT_WORKS(link("a", "d/b"));
  const auto bucket = MountedVolume::bucket(home_.path());
  const auto object = [&](const char* key) {
    std::ifstream in(bucket / key);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  for (const Deadline deadline = Deadline::after(std::chrono::seconds(30)); !deadline.expired();) {
    if (object("a") == "text" && object("d/b") == "text") return;
    ::usleep(10'000);
  }
  FAIL() << "a: " << object("a") << ", d/b: " << object("d/b");
}

// --- files without a name

TEST_P(Links, a_file_without_a_name_is_used_like_any_other) {
  const Descriptor file(at("."), O_TMPFILE | O_RDWR, 0600);
  ASSERT_EQ(5, ::write(file, "hello", 5));
  char bytes[8] = {};
  EXPECT_EQ(5, ::pread(file, bytes, sizeof bytes, 0));
  struct stat st {};
  ASSERT_WORKS(::fstat(file, &st));
  EXPECT_EQ(0u, st.st_nlink);
  EXPECT_EQ(5, st.st_size);
  EXPECT_EQ(0600u, st.st_mode & 07777);
  ASSERT_WORKS(::fsync(file));
  EXPECT_TRUE(list(".").empty());
}

// Semantics 1.15.
TEST_P(Links, a_file_without_a_name_is_given_one) {
  Descriptor file(at("."), O_TMPFILE | O_RDWR, 0640);
  ASSERT_EQ(3, ::write(file, "one", 3));
  EXPECT_FAILS(EEXIST, name_descriptor(file, "."));
  ASSERT_WORKS(name_descriptor(file, "a"));
  EXPECT_EQ(1u, stat_of("a").st_nlink);
  EXPECT_EQ("one", get("a"));
  ASSERT_EQ(3, ::write(file, "two", 3));
  const std::string through = "/proc/self/fd/" + std::to_string(int{file});
  ASSERT_WORKS(::linkat(AT_FDCWD, through.c_str(), AT_FDCWD, at("b").c_str(), AT_SYMLINK_FOLLOW));
  ASSERT_WORKS(file.close());
  EXPECT_EQ("onetwo", get("a"));
  EXPECT_EQ("onetwo", get("b"));
  EXPECT_EQ(2u, stat_of("a").st_nlink);
  EXPECT_EQ(0640u, stat_of("a").st_mode & 07777);
}

TEST_P(Links, a_file_that_is_to_stay_without_a_name_gets_none) {
  const Descriptor file(at("."), O_TMPFILE | O_EXCL | O_RDWR, 0600);
  EXPECT_FAILS(ENOENT, name_descriptor(file, "a"));
}

// Semantics 1.15.
TEST_P(Links, a_file_that_got_a_name_and_lost_it_gets_none_again) {
  const Descriptor file(at("."), O_TMPFILE | O_RDWR, 0600);
  ASSERT_WORKS(name_descriptor(file, "a"));
  ASSERT_WORKS(unlink("a"));
  EXPECT_FAILS(ENOENT, name_descriptor(file, "b"));
}

INSTANTIATE_TEST_SUITE_P(EveryWay, Links, kEveryWay, name_of_param);

}  // namespace
}  // namespace weir::testing
