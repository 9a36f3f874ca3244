// What programs may expect of a mounted volume: plain system calls, with every way of talking to the kernel.
#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/semantics/mount_fixture.h"

namespace weir::testing {
namespace {

// --- content

TEST_P(Mount, what_was_written_is_read_back) {
  const Descriptor file(at("f"), O_CREAT | O_EXCL | O_RDWR);
  std::string bytes(3'000'000, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 131 >> 3);
  ASSERT_EQ(static_cast<ssize_t>(bytes.size()), ::write(file, bytes.data(), bytes.size()));
  EXPECT_EQ(3'000'000, stat_of("f").st_size);
  std::string back(bytes.size(), '\0');
  ASSERT_EQ(static_cast<ssize_t>(back.size()), ::pread(file, back.data(), back.size(), 0));
  EXPECT_TRUE(bytes == back);
}

// Semantics 2.1.
TEST_P(Mount, another_process_reads_at_once_what_was_written) {
  const Descriptor file(at("f"), O_CREAT | O_WRONLY);
  ASSERT_EQ(5, ::write(file, "hello", 5));
  const std::string path = at("f");
  EXPECT_EQ(0, in_child([&] {
    char bytes[8] = {};
    const int fd = ::open(path.c_str(), O_RDONLY);
    if (fd < 0 || ::read(fd, bytes, sizeof bytes) != 5) return 1;
    return std::memcmp(bytes, "hello", 5) == 0 ? 0 : 2;
  }));
}

TEST_P(Mount, writes_in_place_change_only_their_range) {
  put("f", std::string(100'000, 'a'));
  {
    const Descriptor file(at("f"), O_RDWR);
    ASSERT_EQ(3, ::pwrite(file, "xyz", 3, 50'000));
  }
  std::string expected(100'000, 'a');
  expected.replace(50'000, 3, "xyz");
  EXPECT_EQ(expected, get("f"));
}

TEST_P(Mount, appends_of_two_descriptors_never_overwrite_each_other) {
  const Descriptor first(at("log"), O_CREAT | O_WRONLY | O_APPEND);
  const Descriptor second(at("log"), O_WRONLY | O_APPEND);
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(2, ::write(first, "a\n", 2));
    ASSERT_EQ(2, ::write(second, "b\n", 2));
  }
  std::string expected;
  for (int i = 0; i < 10; ++i) expected += "a\nb\n";
  EXPECT_EQ(expected, get("log"));
}

TEST_P(Mount, truncate_cuts_and_extends_with_zeros) {
  put("f", "0123456789");
  ASSERT_WORKS(::truncate(at("f").c_str(), 4));
  EXPECT_EQ("0123", get("f"));
  ASSERT_WORKS(::truncate(at("f").c_str(), 8));
  EXPECT_EQ(std::string("0123\0\0\0\0", 8), get("f"));
  const Descriptor file(at("f"), O_RDWR);
  ASSERT_WORKS(::ftruncate(file, 2));
  EXPECT_EQ(2, stat_of("f").st_size);
  EXPECT_EQ("01", get("f"));
}

TEST_P(Mount, open_with_trunc_empties_and_with_excl_refuses_what_exists) {
  put("f", "something");
  EXPECT_FAILS(EEXIST, ::open(at("f").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644));
  {
    const Descriptor file(at("f"), O_WRONLY | O_TRUNC);
    EXPECT_EQ(0, stat_of("f").st_size);
  }
  EXPECT_EQ("", get("f"));
  EXPECT_FAILS(ENOENT, ::open(at("absent").c_str(), O_RDONLY));
}

TEST_P(Mount, fsync_and_fdatasync_work_on_files_and_directories) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  const Descriptor file(at("d/f"), O_CREAT | O_WRONLY);
  ASSERT_EQ(1, ::write(file, "x", 1));
  EXPECT_EQ(0, ::fsync(file));
  EXPECT_EQ(0, ::fdatasync(file));
  const Descriptor directory(at("d"), O_RDONLY | O_DIRECTORY);
  EXPECT_EQ(0, ::fsync(directory));
}

// Semantics 1.4.
TEST_P(Mount, an_unlinked_open_file_lives_until_its_last_close) {
  const Descriptor file(at("f"), O_CREAT | O_RDWR);
  ASSERT_EQ(5, ::write(file, "alive", 5));
  ASSERT_WORKS(::unlink(at("f").c_str()));
  EXPECT_FAILS(ENOENT, ::access(at("f").c_str(), F_OK));
  char bytes[5];
  EXPECT_EQ(5, ::pread(file, bytes, 5, 0));
  EXPECT_EQ(2, ::pwrite(file, "A!", 2, 5));
  struct stat st {};
  ASSERT_WORKS(::fstat(file, &st));
  EXPECT_EQ(7, st.st_size);
  EXPECT_EQ(0u, st.st_nlink);
}

TEST_P(Mount, a_shared_mapping_writes_the_file_and_its_mtime_moves) {
  put("f", std::string(8192, 'a'));
  const timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), old, 0));
  {
    const Descriptor file(at("f"), O_RDWR);
    auto* memory = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    ASSERT_NE(MAP_FAILED, memory) << strerror(errno);
    EXPECT_EQ(1'000'000'000, stat_of("f").st_mtim.tv_sec);  // now in the kernel's cache
    memory[5000] = 'b';
    ASSERT_WORKS(::msync(memory, 8192, MS_SYNC));
    ASSERT_WORKS(::munmap(memory, 8192));
  }
  EXPECT_GT(stat_of("f").st_mtim.tv_sec, 1'000'000'000);  // before a read makes the kernel ask again
  EXPECT_EQ('b', get("f")[5000]);
}

TEST_P(Mount, opens_of_one_file_for_reading_and_writing_always_agree) {
  put("f", std::string(4096, 'a'));
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 100; ++i) {
        const int fd = ::open(at("f").c_str(), t % 2 == 0 ? O_RDONLY : O_RDWR);
        char byte = 'a';
        if (fd < 0 || (t % 2 == 0 ? ::pread(fd, &byte, 1, 0) : ::pwrite(fd, &byte, 1, t)) != 1) ++failures;
        if (fd >= 0) ::close(fd);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, failures);
}

TEST_P(Mount, fallocate_reserves_and_seek_finds_holes) {
  const Descriptor file(at("f"), O_CREAT | O_RDWR);
  ASSERT_EQ(4, ::pwrite(file, "data", 4, 1 << 20));
  struct stat st {};
  if (::fallocate(file, 0, 0, 2 << 20) == 0) {
    ASSERT_WORKS(::fstat(file, &st));
    EXPECT_EQ(2 << 20, st.st_size);
  } else {
    EXPECT_EQ(EOPNOTSUPP, errno);
  }
  EXPECT_EQ(1 << 20, ::lseek(file, 1 << 20, SEEK_DATA));
  ASSERT_WORKS(::fstat(file, &st));
  EXPECT_FAILS(ENXIO, ::lseek(file, st.st_size, SEEK_DATA));
  EXPECT_FAILS(EOPNOTSUPP, ::fallocate(file, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
}

TEST_P(Mount, flock_excludes_another_descriptor) {
  const Descriptor first(at("f"), O_CREAT | O_RDWR);
  const Descriptor second(at("f"), O_RDWR);
  ASSERT_WORKS(::flock(first, LOCK_EX));
  EXPECT_FAILS(EWOULDBLOCK, ::flock(second, LOCK_EX | LOCK_NB));
  ASSERT_WORKS(::flock(first, LOCK_UN));
  EXPECT_EQ(0, ::flock(second, LOCK_EX | LOCK_NB));
}

// --- names

TEST_P(Mount, directories_are_made_and_removed_with_the_errors_of_posix) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0750));
  EXPECT_EQ(S_IFDIR | 0750u, stat_of("d").st_mode);
  EXPECT_FAILS(EEXIST, ::mkdir(at("d").c_str(), 0750));
  put("d/f", "x");
  EXPECT_FAILS(ENOTEMPTY, ::rmdir(at("d").c_str()));
  EXPECT_FAILS(ENOTDIR, ::rmdir(at("d/f").c_str()));
  EXPECT_FAILS(EISDIR, ::unlink(at("d").c_str()));
  EXPECT_FAILS(ENOTDIR, ::open(at("d/f/g").c_str(), O_RDONLY));
  EXPECT_FAILS(EISDIR, ::open(at("d").c_str(), O_WRONLY));
  ASSERT_WORKS(::unlink(at("d/f").c_str()));
  ASSERT_WORKS(::rmdir(at("d").c_str()));
  EXPECT_FAILS(ENOENT, ::rmdir(at("d").c_str()));
}

TEST_P(Mount, a_listing_has_every_entry_once_and_rewind_shows_changes) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  std::vector<std::string> expected;
  for (int i = 0; i < 1500; ++i) {
    expected.push_back("entry-with-a-longer-name-" + std::to_string(10'000 + i));
    ASSERT_WORKS(::mknod(at("d/" + expected.back()).c_str(), S_IFREG | 0644, 0));
  }
  EXPECT_EQ(expected, list("d"));
  EXPECT_EQ(expected, list("d"));  // plain and with attributes

  DIR* directory = ::opendir(at("d").c_str());
  ASSERT_NE(nullptr, directory);
  for (int i = 0; i < 100; ++i) ASSERT_NE(nullptr, ::readdir(directory));
  put("d/new", "x");
  ::rewinddir(directory);
  std::set<std::string> names;
  while (const dirent* entry = ::readdir(directory)) EXPECT_TRUE(names.insert(entry->d_name).second);
  EXPECT_EQ(expected.size() + 3, names.size());
  EXPECT_TRUE(names.contains("new"));
  ::closedir(directory);
}

TEST_P(Mount, seekdir_returns_to_where_telldir_was) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  for (int i = 0; i < 1000; ++i) ASSERT_WORKS(::mknod(at("d/f" + std::to_string(i)).c_str(), S_IFREG | 0644, 0));
  DIR* directory = ::opendir(at("d").c_str());
  ASSERT_NE(nullptr, directory);
  std::vector<std::pair<long, std::string>> places;
  for (;;) {
    const long place = ::telldir(directory);
    const dirent* entry = ::readdir(directory);
    if (entry == nullptr) break;
    places.emplace_back(place, entry->d_name);
  }
  ASSERT_EQ(1002u, places.size());
  for (const size_t i : {700u, 3u, 1001u, 0u, 256u, 999u}) {
    ::seekdir(directory, places[i].first);
    for (size_t k = i; k < std::min<size_t>(i + 5, places.size()); ++k) {
      const dirent* entry = ::readdir(directory);
      ASSERT_NE(nullptr, entry);
      EXPECT_EQ(places[k].second, entry->d_name);
    }
  }
  ::closedir(directory);
}

TEST_P(Mount, removing_while_listing_leaves_nothing) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  for (int i = 0; i < 700; ++i) ASSERT_WORKS(::mknod(at("d/f" + std::to_string(i)).c_str(), S_IFREG | 0644, 0));
  DIR* directory = ::opendir(at("d").c_str());
  ASSERT_NE(nullptr, directory);
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != 'f') continue;
    ASSERT_WORKS(::unlinkat(::dirfd(directory), entry->d_name, 0));
  }
  ::closedir(directory);
  EXPECT_EQ(0, ::rmdir(at("d").c_str())) << strerror(errno);
}

TEST_P(Mount, a_name_deleted_during_a_listing_is_not_there_afterwards) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  for (int i = 0; i < 600; ++i) ASSERT_WORKS(::mknod(at("d/f" + std::to_string(i)).c_str(), S_IFREG | 0644, 0));
  DIR* directory = ::opendir(at("d").c_str());
  for (int i = 0; i < 10; ++i) ASSERT_NE(nullptr, ::readdir(directory));
  std::set<std::string> removed;
  for (int i = 0; i < 600; i += 7) {
    removed.insert("f" + std::to_string(i));
    ASSERT_WORKS(::unlink(at("d/f" + std::to_string(i)).c_str()));
  }
  while (::readdir(directory) != nullptr) {
  }
  ::closedir(directory);
  for (const std::string& name : removed) EXPECT_FAILS(ENOENT, ::access(at("d/" + name).c_str(), F_OK));
}

// Semantics 1.2.
TEST_P(Mount, rename_replaces_refuses_and_exchanges) {
  put("a", "A");
  put("b", "B");
  EXPECT_FAILS(EEXIST, ::renameat2(AT_FDCWD, at("a").c_str(), AT_FDCWD, at("b").c_str(), RENAME_NOREPLACE));
  ASSERT_WORKS(::renameat2(AT_FDCWD, at("a").c_str(), AT_FDCWD, at("b").c_str(), RENAME_EXCHANGE));
  EXPECT_EQ("B", get("a"));
  EXPECT_EQ("A", get("b"));
  ASSERT_WORKS(::rename(at("a").c_str(), at("b").c_str()));
  EXPECT_EQ("B", get("b"));
  EXPECT_FAILS(ENOENT, ::access(at("a").c_str(), F_OK));
  EXPECT_FAILS(ENOENT, ::rename(at("a").c_str(), at("c").c_str()));
}

// Semantics 1.2.
TEST_P(Mount, directories_are_renamed_with_what_is_in_them) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  ASSERT_WORKS(::mkdir(at("d/sub").c_str(), 0755));
  put("d/sub/f", "deep");
  EXPECT_FAILS(EINVAL, ::rename(at("d").c_str(), at("d/sub/d").c_str()));
  ASSERT_WORKS(::rename(at("d").c_str(), at("e").c_str()));
  EXPECT_EQ("deep", get("e/sub/f"));
  EXPECT_FAILS(ENOENT, ::access(at("d/sub/f").c_str(), F_OK));
  ASSERT_WORKS(::mkdir(at("other").c_str(), 0755));
  EXPECT_FAILS(ENOTEMPTY, ::rename(at("other").c_str(), at("e").c_str()));
  put("file", "x");
  EXPECT_FAILS(EISDIR, ::rename(at("file").c_str(), at("other").c_str()));
  EXPECT_FAILS(ENOTDIR, ::rename(at("other").c_str(), at("file").c_str()));
  ASSERT_WORKS(::rename(at("e").c_str(), at("other").c_str()));
  EXPECT_EQ("deep", get("other/sub/f"));
}

// Semantics 1.3.
TEST_P(Mount, a_file_open_across_its_rename_is_the_same_file) {
  const Descriptor file(at("before"), O_CREAT | O_RDWR);
  ASSERT_EQ(3, ::write(file, "one", 3));
  ASSERT_WORKS(::rename(at("before").c_str(), at("after").c_str()));
  ASSERT_EQ(3, ::write(file, "two", 3));
  EXPECT_EQ("onetwo", get("after"));
}

// Semantics 1.5.
TEST_P(Mount, symlinks_hold_targets_of_4095_bytes) {
  const std::string longest(4095, 't');
  ASSERT_WORKS(::symlink(longest.c_str(), at("l").c_str()));
  std::string target(PATH_MAX, '\0');
  ASSERT_EQ(4095, ::readlink(at("l").c_str(), target.data(), target.size()));
  EXPECT_EQ(longest, target.substr(0, 4095));
  EXPECT_EQ(4095, stat_of("l").st_size);
  put("f", "pointed at");
  ASSERT_WORKS(::symlink("f", at("s").c_str()));
  EXPECT_EQ("pointed at", get("s"));
}

// Semantics 1.5.
TEST_P(Mount, names_end_at_255_bytes) {
  put(std::string(255, 'n'), "x");
  EXPECT_EQ("x", get(std::string(255, 'n')));
  EXPECT_FAILS(ENAMETOOLONG, ::open(at(std::string(256, 'n')).c_str(), O_CREAT | O_WRONLY, 0644));
  put("caf\xe9 \x01", "bytes, not UTF-8");
  EXPECT_EQ("bytes, not UTF-8", get("caf\xe9 \x01"));
}

TEST_P(Mount, eight_threads_create_in_one_directory) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        const std::string path = at("d/" + std::to_string(t) + "-" + std::to_string(i));
        const int fd = ::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
        if (fd < 0 || ::write(fd, "x", 1) != 1 || ::close(fd) != 0) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, failures);
  EXPECT_EQ(400u, list("d").size());
}

// --- attributes

TEST_P(Mount, times_have_nanoseconds_and_utime_omit_leaves_them) {
  put("f", "x");
  const timespec both[2] = {{1'111'111'111, 123'456'789}, {1'222'222'222, 987'654'321}};
  ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), both, 0));
  EXPECT_EQ(1'222'222'222, stat_of("f").st_mtim.tv_sec);
  EXPECT_EQ(987'654'321, stat_of("f").st_mtim.tv_nsec);
  EXPECT_EQ(123'456'789, stat_of("f").st_atim.tv_nsec);
  const timespec one[2] = {{0, UTIME_OMIT}, {1'333'333'333, 1}};
  ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), one, 0));
  EXPECT_EQ(1'111'111'111, stat_of("f").st_atim.tv_sec);
  EXPECT_EQ(1'333'333'333, stat_of("f").st_mtim.tv_sec);
}

TEST_P(Mount, times_set_on_a_file_being_written_stay_after_its_close) {
  {
    const Descriptor file(at("f"), O_CREAT | O_WRONLY);
    ASSERT_EQ(1, ::write(file, "x", 1));
    const timespec both[2] = {{1'111'111'111, 1}, {1'222'222'222, 2}};
    ASSERT_WORKS(::futimens(file, both));
  }
  EXPECT_EQ(1'222'222'222, stat_of("f").st_mtim.tv_sec);
}

TEST_P(Mount, a_write_moves_mtime_and_ctime) {
  put("f", "x");
  const timespec old[2] = {{1'000'000'000, 0}, {1'000'000'000, 0}};
  ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), old, 0));
  const Descriptor file(at("f"), O_WRONLY);
  ASSERT_EQ(1, ::write(file, "y", 1));
  EXPECT_GT(stat_of("f").st_mtim.tv_sec, 1'000'000'000);
}

TEST_P(Mount, mode_and_owner_change) {
  put("f", "x");
  ASSERT_WORKS(::chmod(at("f").c_str(), 0601));
  EXPECT_EQ(S_IFREG | 0601u, stat_of("f").st_mode);
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: changing an owner needs root";
  ASSERT_WORKS(::chown(at("f").c_str(), 12'345, 54'321));
  EXPECT_EQ(12'345u, stat_of("f").st_uid);
  EXPECT_EQ(54'321u, stat_of("f").st_gid);
}

// Semantics 1.8.
TEST_P(Mount, set_id_bits_go_when_others_write_or_the_owner_changes) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: needs root to act as another user";
  const auto set_id = [&](const std::string& name) {
    put(name, "program");
    ASSERT_WORKS(::chmod(at(name).c_str(), 06777));
  };
  const auto as_nobody = [&](const std::string& name, const std::function<int(const char*)>& act) {
    const std::string path = at(name);
    ASSERT_EQ(0, in_child([&] {
      if (::setgid(65'534) != 0 || ::setuid(65'534) != 0) return 9;
      return act(path.c_str());
    }));
  };
  set_id("written");
  as_nobody("written", [](const char* path) {
    const int fd = ::open(path, O_WRONLY);
    return fd >= 0 && ::write(fd, "x", 1) == 1 ? 0 : 1;
  });
  EXPECT_EQ(S_IFREG | 0777u, stat_of("written").st_mode);
  set_id("truncated");
  as_nobody("truncated", [](const char* path) { return ::truncate(path, 1) == 0 ? 0 : 1; });
  EXPECT_EQ(S_IFREG | 0777u, stat_of("truncated").st_mode);
  set_id("emptied");
  as_nobody("emptied", [](const char* path) { return ::open(path, O_WRONLY | O_TRUNC) >= 0 ? 0 : 1; });
  EXPECT_EQ(S_IFREG | 0777u, stat_of("emptied").st_mode);
  set_id("owned");
  ASSERT_WORKS(::chown(at("owned").c_str(), 1, 1));
  EXPECT_EQ(S_IFREG | 0777u, stat_of("owned").st_mode);
  set_id("by-root");
  const Descriptor file(at("by-root"), O_WRONLY);
  ASSERT_EQ(1, ::write(file, "x", 1));
  EXPECT_EQ(S_IFREG | 06777u, stat_of("by-root").st_mode);
}

TEST_P(Mount, permissions_are_checked) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: needs root to act as another user";
  put("secret", "x");
  ASSERT_WORKS(::chmod(at("secret").c_str(), 0600));
  const std::string path = at("secret");
  EXPECT_EQ(EACCES, in_child([&] {
    if (::setgid(65'534) != 0 || ::setuid(65'534) != 0) return 0;
    return ::open(path.c_str(), O_RDONLY) < 0 ? errno : 0;
  }));
}

TEST_P(Mount, xattrs_follow_their_flags_and_sizes) {
  put("f", "x");
  const std::string path = at("f");
  const auto set = [&](const char* value, int flags) {
    return ::setxattr(path.c_str(), "user.k", value, std::strlen(value), flags);
  };
  EXPECT_FAILS(ENODATA, ::getxattr(path.c_str(), "user.k", nullptr, 0));
  EXPECT_FAILS(ENODATA, set("v", XATTR_REPLACE));
  ASSERT_WORKS(set("value", XATTR_CREATE));
  EXPECT_FAILS(EEXIST, set("other", XATTR_CREATE));
  EXPECT_EQ(5, ::getxattr(path.c_str(), "user.k", nullptr, 0));
  char value[16];
  EXPECT_FAILS(ERANGE, ::getxattr(path.c_str(), "user.k", value, 4));
  ASSERT_EQ(5, ::getxattr(path.c_str(), "user.k", value, sizeof value));
  EXPECT_EQ("value", std::string(value, 5));
  std::string names(4096, '\0');
  const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
  ASSERT_GT(size, 0);
  EXPECT_NE(std::string::npos, names.substr(0, static_cast<size_t>(size)).find(std::string("user.k\0", 7)));
  EXPECT_EQ(size, ::listxattr(path.c_str(), nullptr, 0));
  ASSERT_WORKS(::removexattr(path.c_str(), "user.k"));
  EXPECT_FAILS(ENODATA, ::removexattr(path.c_str(), "user.k"));
  EXPECT_FAILS(EOPNOTSUPP, ::setxattr(path.c_str(), "unknown.k", "v", 1, 0));
}

TEST_P(Mount, statfs_tells_the_room) {
  struct statvfs st {};
  ASSERT_WORKS(::statvfs(at("").c_str(), &st));
  EXPECT_GT(st.f_blocks, 0u);
  EXPECT_LE(st.f_bavail, st.f_blocks);
  EXPECT_EQ(255u, st.f_namemax);
}

// --- the bucket

// Semantics 3.1, 4.7.
TEST_P(Mount, a_written_file_becomes_an_object_of_its_own_path) {
  ASSERT_WORKS(::mkdir(at("checkpoints").c_str(), 0755));
  put("checkpoints/model", "weights");
  const auto object = MountedVolume::bucket(home_.path()) / "checkpoints" / "model";
  const Deadline deadline = Deadline::after(std::chrono::seconds(30));
  while (!std::filesystem::exists(object) && !deadline.expired()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  std::ifstream file(object);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  EXPECT_EQ("weights", bytes);
}

TEST_P(MountOfBucket, objects_are_listed_and_read) {
  EXPECT_EQ((std::vector<std::string>{"old", "top"}), list(""));
  EXPECT_EQ(5 << 20, stat_of("old/data").st_size);
  const Descriptor file(at("old/data"), O_RDONLY);
  std::string bytes(5 << 20, '\0');
  size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t part = ::read(file, bytes.data() + got, bytes.size() - got);
    ASSERT_GT(part, 0) << strerror(errno);
    got += static_cast<size_t>(part);
  }
  EXPECT_TRUE(bytes == big());
  EXPECT_EQ("top", get("top"));
}

// Semantics 2.12.
TEST_P(MountOfBucket, an_object_is_edited_in_place_and_appended_to) {
  {
    const Descriptor file(at("old/data"), O_RDWR);
    ASSERT_EQ(3, ::pwrite(file, "xyz", 3, 3 << 20));
  }
  {
    const Descriptor file(at("old/data"), O_WRONLY | O_APPEND);
    ASSERT_EQ(3, ::write(file, "end", 3));
  }
  std::string expected = big().replace(3 << 20, 3, "xyz") + "end";
  std::string bytes(expected.size(), '\0');
  const Descriptor file(at("old/data"), O_RDONLY);
  ASSERT_EQ(static_cast<ssize_t>(bytes.size()), ::pread(file, bytes.data(), bytes.size(), 0));
  EXPECT_TRUE(bytes == expected);
}

// Semantics 1.4.
TEST_P(MountOfBucket, the_name_of_a_removed_open_file_is_free_in_the_bucket_too) {
  const Descriptor file(at("old/data"), O_RDONLY);
  char first = 0;
  ASSERT_EQ(1, ::pread(file, &first, 1, 0));
  ASSERT_WORKS(::unlink(at("old/data").c_str()));
  const auto object = MountedVolume::bucket(home_.path()) / "old" / "data";
  const Deadline deadline = Deadline::after(std::chrono::seconds(30));
  while (std::filesystem::exists(object) && !deadline.expired()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  EXPECT_FALSE(std::filesystem::exists(object));
  std::string rest(1 << 20, '\0');
  ASSERT_EQ(static_cast<ssize_t>(rest.size()), ::pread(file, rest.data(), rest.size(), 4 << 20));
  EXPECT_TRUE(rest == big().substr(4 << 20));
}

TEST_P(MountOfBucket, a_file_changes_from_fetched_page_by_page_to_local) {
  for (int i = 0; i < 3; ++i) {
    const Descriptor file(at("old/data"), O_RDONLY);
    std::string bytes(5 << 20, '\0');
    ASSERT_EQ(static_cast<ssize_t>(bytes.size()), ::pread(file, bytes.data(), bytes.size(), 0)) << strerror(errno);
    EXPECT_TRUE(bytes == big());
    ::usleep(20'000);  // RELEASE comes behind close(2)
  }
  if (mounted_->server().features().passthrough) {
    EXPECT_GT(mounted_->server().statistics().passthrough_opens(), 0u);
  }
}

TEST_P(Mount, the_features_that_were_asked_for_are_used) {
  put("f", "x");
  const auto [passthrough, io_uring] = GetParam();
  EXPECT_EQ(passthrough == Switch::kAuto, mounted_->server().statistics().passthrough_opens() > 0);
  EXPECT_EQ(io_uring == Switch::kAuto, mounted_->server().features().io_uring);
  // Counted behind the reply.
  const auto creates = [&] { return mounted_->server().statistics().counters(fuse::Operation::kCreate).requests; };
  for (const Deadline deadline = Deadline::after(std::chrono::seconds(30)); creates() == 0 && !deadline.expired();) {
    std::this_thread::yield();
  }
  EXPECT_EQ(1u, creates());
}

// --- the mount

TEST_P(Mount, open_files_do_not_keep_it_beyond_the_deadline) {
  const Descriptor file(at("f"), O_CREAT | O_WRONLY);
  ASSERT_EQ(1, ::write(file, "x", 1));
  const auto unmounted = mounted_->server().unmount(Deadline::after(std::chrono::seconds(2)));
  EXPECT_TRUE(unmounted.has_value()) << unmounted.error().to_string();
  EXPECT_FALSE(std::filesystem::exists(mounted_->root()));
}

INSTANTIATE_TEST_SUITE_P(EveryWay, Mount, kEveryWay, name_of_param);
INSTANTIATE_TEST_SUITE_P(EveryWay, MountOfBucket, kEveryWay, name_of_param);

}  // namespace
}  // namespace weir::testing
