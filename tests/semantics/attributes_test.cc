// What programs may expect of modes, owners, ACLs, times, extended attributes, locks and directories: plain system calls, with every
// way of talking to the kernel.
#include <fcntl.h>
#include <grp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

#include <map>
#include <set>
#include <thread>

#include "tests/semantics/mount_fixture.h"

namespace weir::testing {
namespace {

constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";
constexpr uint32_t kSomeUser = 1'234;

class Attributes : public Mount {
 protected:
  static bool root() { return ::geteuid() == 0; }

  // An ACL as the kernel's bytes: owner, one named user, owning group, mask, others.
  static std::string acl(int owner, int user, int group, int mask, int other) {
    std::string value("\2\0\0\0", 4);
    const auto entry = [&](int tag, int permissions, uint32_t id) {
      for (const auto& [number, size] : {std::pair<uint32_t, int>(tag, 2), {permissions, 2}, {id, 4}}) {
        for (int i = 0; i < size; ++i) value.push_back(static_cast<char>(number >> 8 * i));
      }
    };
    entry(1, owner, 0xffff'ffff);
    if (user >= 0) entry(2, user, kSomeUser);
    entry(4, group, 0xffff'ffff);
    if (mask >= 0) entry(16, mask, 0xffff'ffff);
    entry(32, other, 0xffff'ffff);
    return value;
  }
  static std::string acl(int owner, int group, int other) { return acl(owner, -1, group, -1, other); }

  std::string xattr(const std::string& name, const char* attribute) const {
    std::string value(65'536, '\0');
    const ssize_t size = ::lgetxattr(at(name).c_str(), attribute, value.data(), value.size());
    if (size < 0) return strerrorname_np(errno);
    value.resize(static_cast<size_t>(size));
    return value;
  }
  int set_xattr(const std::string& name, const char* attribute, const std::string& value) const {
    return ::lsetxattr(at(name).c_str(), attribute, value.data(), value.size(), 0);
  }
  uint32_t mode_of(const std::string& name) const { return stat_of(name).st_mode & 07777; }

  static int as_user(uint32_t id, const std::function<int()>& act) {
    return in_child([&] {
      if (::setgroups(0, nullptr) != 0 || ::setgid(id) != 0 || ::setuid(id) != 0) return 99;
      return act();
    });
  }
};

// --- ACLs

// Semantics 1.7.
TEST_P(Attributes, an_acl_and_the_mode_agree) {
  put("f", "x");
  ASSERT_WORKS(::chmod(at("f").c_str(), 0600));
  EXPECT_EQ("ENODATA", xattr("f", kAccess));
  ASSERT_WORKS(set_xattr("f", kAccess, acl(6, 4, 0, 4, 0)));
  EXPECT_EQ(0640u, mode_of("f"));
  ASSERT_WORKS(::chmod(at("f").c_str(), 0666));
  EXPECT_EQ(acl(6, 4, 0, 6, 6), xattr("f", kAccess));
  EXPECT_EQ(0666u, mode_of("f"));
  ASSERT_WORKS(set_xattr("f", kAccess, acl(7, 5, 1)));
  EXPECT_EQ(0751u, mode_of("f"));
  EXPECT_EQ("ENODATA", xattr("f", kAccess));
  EXPECT_FAILS(EINVAL, set_xattr("f", kAccess, acl(9, 7, 7)));
  EXPECT_FAILS(EACCES, set_xattr("f", kDefault, acl(7, 7, 7)));
}

// Semantics 1.7.
TEST_P(Attributes, the_kernel_decides_by_acls) {
  if (!root()) GTEST_SKIP() << "SKIPPED: needs root to act as another user";
  put("f", "x");
  ASSERT_WORKS(::chmod(at("f").c_str(), 0600));
  const std::string path = at("f");
  const auto opens = [&](uint32_t id) {
    return as_user(id, [&] { return ::open(path.c_str(), O_RDWR) >= 0 ? 0 : errno; });
  };
  EXPECT_EQ(EACCES, opens(kSomeUser));
  ASSERT_WORKS(set_xattr("f", kAccess, acl(6, 6, 0, 6, 0)));
  EXPECT_EQ(0, opens(kSomeUser));
  EXPECT_EQ(EACCES, opens(kSomeUser + 1));
  ASSERT_WORKS(::chmod(path.c_str(), 0600));
  EXPECT_EQ(EACCES, opens(kSomeUser));
}

// Semantics 1.7.
TEST_P(Attributes, a_default_acl_is_inherited_in_place_of_the_umask) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  ASSERT_WORKS(set_xattr("d", kDefault, acl(7, 7, 5, 7, 0)));
  EXPECT_EQ(0755u, mode_of("d"));
  const std::string d = at("d");
  ASSERT_EQ(0, in_child([&] {
    ::umask(077);
    if (::open((d + "/f").c_str(), O_CREAT | O_WRONLY, 0666) < 0) return 1;
    if (::mkdir((d + "/sub").c_str(), 0777) != 0) return 2;
    if (::mknod((d + "/node").c_str(), S_IFREG | 0644, 0) != 0) return 3;
    return ::symlink("f", (d + "/link").c_str()) == 0 ? 0 : 4;
  }));
  EXPECT_EQ(acl(6, 7, 5, 6, 0), xattr("d/f", kAccess));
  EXPECT_EQ(0660u, mode_of("d/f"));
  EXPECT_EQ("ENODATA", xattr("d/f", kDefault));
  EXPECT_EQ(acl(6, 7, 5, 4, 0), xattr("d/node", kAccess));
  EXPECT_EQ(acl(7, 7, 5, 7, 0), xattr("d/sub", kAccess));
  EXPECT_EQ(acl(7, 7, 5, 7, 0), xattr("d/sub", kDefault));
  EXPECT_EQ(0777u, mode_of("d/link"));
  ASSERT_WORKS(::removexattr(at("d").c_str(), kDefault));
  EXPECT_EQ("ENODATA", xattr("d", kDefault));
}

TEST_P(Attributes, the_umask_is_taken_from_what_is_made) {
  const std::string here = at("");
  ASSERT_EQ(0, in_child([&] {
    ::umask(027);
    if (::open((here + "f").c_str(), O_CREAT | O_WRONLY, 0666) < 0) return 1;
    return ::mkdir((here + "d").c_str(), 0777) == 0 ? 0 : 2;
  }));
  EXPECT_EQ(0640u, mode_of("f"));
  EXPECT_EQ(0750u, mode_of("d"));
}

TEST_P(Attributes, an_acl_set_by_somebody_outside_the_group_takes_the_set_group_id_bit) {
  if (!root()) GTEST_SKIP() << "SKIPPED: needs root to act as another user";
  put("f", "x");
  ASSERT_WORKS(::chown(at("f").c_str(), kSomeUser, 77));
  ASSERT_WORKS(::chmod(at("f").c_str(), 02755));
  const std::string path = at("f");
  const std::string value = acl(7, 5, 5, 5, 5);
  EXPECT_EQ(0, as_user(kSomeUser, [&] {
    return ::setxattr(path.c_str(), kAccess, value.data(), value.size(), 0) == 0 ? 0 : errno;
  }));
  EXPECT_EQ(0755u, mode_of("f"));
}

// --- modes

TEST_P(Attributes, a_set_group_id_directory_hands_its_group_on) {
  if (!root()) GTEST_SKIP() << "SKIPPED: needs root to give a directory another group";
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  ASSERT_WORKS(::chown(at("d").c_str(), -1, 77));
  ASSERT_WORKS(::chmod(at("d").c_str(), 02755));
  put("d/f", "x");
  ASSERT_WORKS(::mkdir(at("d/sub").c_str(), 0755));
  EXPECT_EQ(77u, stat_of("d/f").st_gid);
  EXPECT_EQ(0644u, mode_of("d/f"));
  EXPECT_EQ(77u, stat_of("d/sub").st_gid);
  EXPECT_EQ(02755u, mode_of("d/sub"));
}

// Semantics 1.8.
TEST_P(Attributes, a_change_of_owner_takes_the_set_id_bits_from_all_but_directories) {
  if (!root()) GTEST_SKIP() << "SKIPPED: needs root to change owners";
  put("f", "x");
  ASSERT_WORKS(::mkfifo(at("fifo").c_str(), 0644));
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  for (const std::string name : {"f", "fifo", "d"}) {
    ASSERT_WORKS(::chmod(at(name).c_str(), 06755));
    ASSERT_WORKS(::chown(at(name).c_str(), kSomeUser, 77));
    EXPECT_EQ(name == "d" ? 06755u : 0755u, mode_of(name)) << name;
  }
}

TEST_P(Attributes, in_a_sticky_directory_only_owners_remove) {
  if (!root()) GTEST_SKIP() << "SKIPPED: needs root to act as another user";
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  ASSERT_WORKS(::chmod(at("d").c_str(), 01777));
  put("d/f", "x");
  const std::string path = at("d/f");
  EXPECT_EQ(EPERM, as_user(kSomeUser, [&] { return ::unlink(path.c_str()) == 0 ? 0 : errno; }));
  EXPECT_EQ(EPERM, as_user(kSomeUser, [&] { return ::rename(path.c_str(), (path + "2").c_str()) == 0 ? 0 : errno; }));
}

// --- times

// Semantics 1.10.
TEST_P(Attributes, times_reach_from_1677_to_2262_in_nanoseconds) {
  put("f", "x");
  for (const int64_t seconds : {int64_t{-1}, int64_t{-9'000'000'000}, int64_t{0}, int64_t{4'294'967'296}, int64_t{9'000'000'000}}) {
    const timespec times[2] = {{seconds, 999'999'999}, {seconds, 1}};
    ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), times, 0));
    EXPECT_EQ(seconds, stat_of("f").st_atim.tv_sec);
    EXPECT_EQ(999'999'999, stat_of("f").st_atim.tv_nsec);
    EXPECT_EQ(seconds, stat_of("f").st_mtim.tv_sec);
    EXPECT_EQ(1, stat_of("f").st_mtim.tv_nsec);
  }
  const timespec far[2] = {{int64_t{1} << 40, 0}, {-(int64_t{1} << 40), 0}};
  ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), far, 0));
  EXPECT_GT(stat_of("f").st_atim.tv_sec, 9'000'000'000);
  EXPECT_LT(stat_of("f").st_mtim.tv_sec, -9'000'000'000);
}

// Semantics 1.10.
TEST_P(Attributes, utime_now_and_utime_omit_do_what_they_say) {
  put("f", "x");
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  for (const std::string name : {"f", "d"}) {
    const timespec old[2] = {{1'000'000'000, 5}, {1'000'000'000, 6}};
    ASSERT_WORKS(::utimensat(AT_FDCWD, at(name).c_str(), old, 0));
    const timespec none[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
    ASSERT_WORKS(::utimensat(AT_FDCWD, at(name).c_str(), none, 0));
    EXPECT_EQ(5, stat_of(name).st_atim.tv_nsec);
    EXPECT_EQ(6, stat_of(name).st_mtim.tv_nsec);
    const timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
    ASSERT_WORKS(::utimensat(AT_FDCWD, at(name).c_str(), now, 0));
    EXPECT_EQ(1'000'000'000, stat_of(name).st_atim.tv_sec);
    EXPECT_GT(stat_of(name).st_mtim.tv_sec, 1'600'000'000);
  }
}

// Semantics 1.10.
TEST_P(Attributes, reading_moves_the_access_time_once_after_each_change) {
  put("f", "x");
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  const auto read = [&](const std::string& name) { name == "f" ? void(get("f")) : void(list("d")); };
  const auto ns = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
  for (const std::string name : {"f", "d"}) {
    SCOPED_TRACE(name);
    const timespec old[2] = {{1'000'000'000, 5}, {900'000'000, 6}};
    ASSERT_WORKS(::utimensat(AT_FDCWD, at(name).c_str(), old, 0));
    const struct stat before = stat_of(name);
    EXPECT_EQ(1'000'000'000, before.st_atim.tv_sec);
    read(name);
    const struct stat once = stat_of(name);
    EXPECT_GT(ns(once.st_atim), ns(before.st_ctim));
    EXPECT_EQ(ns(once.st_mtim), ns(before.st_mtim));
    EXPECT_EQ(ns(once.st_ctim), ns(before.st_ctim));
    read(name);
    EXPECT_EQ(ns(stat_of(name).st_atim), ns(once.st_atim));
    const timespec changed[2] = {{0, UTIME_OMIT}, {5'000'000'000, 0}};
    ASSERT_WORKS(::utimensat(AT_FDCWD, at(name).c_str(), changed, 0));
    EXPECT_EQ(ns(stat_of(name).st_atim), ns(once.st_atim));
    read(name);
    EXPECT_GT(ns(stat_of(name).st_atim), ns(once.st_atim));
  }
}

// Semantics 1.10.
TEST_P(Attributes, a_descriptor_with_o_noatime_moves_no_access_time) {
  put("f", "x");
  const timespec old[2] = {{1'000'000'000, 5}, {1'000'000'000, 6}};
  ASSERT_WORKS(::utimensat(AT_FDCWD, at("f").c_str(), old, 0));
  {
    const Descriptor file(at("f"), O_RDONLY | O_NOATIME);
    char byte = 0;
    EXPECT_EQ(1, ::read(file, &byte, 1));
  }
  EXPECT_EQ(1'000'000'000, stat_of("f").st_atim.tv_sec);
}

// --- extended attributes

// Semantics 1.9.
TEST_P(Attributes, xattrs_live_in_user_trusted_and_security) {
  put("f", "x");
  ASSERT_WORKS(set_xattr("f", "user.a", "1"));
  ASSERT_WORKS(set_xattr("f", "user.empty", ""));
  EXPECT_EQ("1", xattr("f", "user.a"));
  EXPECT_EQ("", xattr("f", "user.empty"));
  EXPECT_FAILS(EOPNOTSUPP, set_xattr("f", "other.a", "1"));
  if (!root()) GTEST_SKIP() << "SKIPPED: trusted and security need root";
  ASSERT_WORKS(set_xattr("f", "trusted.a", "2"));
  ASSERT_WORKS(set_xattr("f", "security.weir", "3"));
  EXPECT_EQ("2", xattr("f", "trusted.a"));
  EXPECT_EQ("3", xattr("f", "security.weir"));
  ASSERT_WORKS(::symlink("f", at("l").c_str()));
  EXPECT_FAILS(EPERM, set_xattr("l", "user.a", "1"));
  ASSERT_WORKS(set_xattr("l", "trusted.a", "4"));
  EXPECT_EQ("4", xattr("l", "trusted.a"));

  const std::string path = at("f");
  const auto names_of = [&] {
    std::vector<char> list(65'536);
    const ssize_t size = ::listxattr(path.c_str(), list.data(), list.size());
    std::set<std::string> names;
    for (ssize_t at = 0; at < size; at += static_cast<ssize_t>(std::strlen(&list[at])) + 1) names.insert(&list[at]);
    return names;
  };
  EXPECT_EQ((std::set<std::string>{"security.weir", "trusted.a", "user.a", "user.empty"}), names_of());
  ASSERT_WORKS(::chmod(path.c_str(), 0666));
  EXPECT_EQ(0, as_user(kSomeUser, [&] { return names_of().contains("trusted.a") ? 1 : 0; }));
  EXPECT_EQ(ENODATA, as_user(kSomeUser, [&] { return ::getxattr(path.c_str(), "trusted.a", nullptr, 0) < 0 ? errno : 0; }));
}

// Semantics 1.9.
TEST_P(Attributes, xattrs_have_the_limits_of_the_kernel) {
  put("f", "x");
  const std::string long_name = "user." + std::string(250, 'n');
  ASSERT_WORKS(set_xattr("f", long_name.c_str(), "1"));
  EXPECT_EQ("1", xattr("f", long_name.c_str()));
  EXPECT_FAILS(ERANGE, set_xattr("f", (long_name + "n").c_str(), "1"));
  const std::string big(65'536, 'v');
  ASSERT_WORKS(set_xattr("f", "user.big", big));
  EXPECT_TRUE(big == xattr("f", "user.big"));
  EXPECT_FAILS(E2BIG, set_xattr("f", "user.big", big + 'v'));
}

// --- the volume

// Semantics 6.5.
TEST_P(Attributes, statfs_promises_no_more_than_the_disk_has) {
  struct statvfs mount {};
  struct statvfs disk {};
  ASSERT_WORKS(::statvfs(at("").c_str(), &mount));
  ASSERT_WORKS(::statvfs((home_.path() / "pages").c_str(), &disk));
  EXPECT_GT(mount.f_bavail, 0u);
  EXPECT_LE(mount.f_bavail * mount.f_frsize, disk.f_blocks * disk.f_frsize);
}

// --- locks

// Semantics 1.11.
TEST_P(Attributes, flock_posix_and_ofd_locks_exclude_other_processes) {
  const Descriptor file(at("f"), O_CREAT | O_RDWR);
  const std::string path = at("f");
  struct flock whole {};
  whole.l_type = F_WRLCK;
  struct flock tail = whole;
  tail.l_start = 100;
  const auto in_another = [&](int command, struct flock range) {
    return in_child([&] {
      const int fd = ::open(path.c_str(), O_RDWR);
      if (command == LOCK_EX) return ::flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
      return ::fcntl(fd, command, &range) == 0 ? 0 : errno;
    });
  };
  ASSERT_WORKS(::flock(file, LOCK_EX));
  EXPECT_EQ(EWOULDBLOCK, in_another(LOCK_EX, {}));
  ASSERT_WORKS(::flock(file, LOCK_UN));
  EXPECT_EQ(0, in_another(LOCK_EX, {}));

  ASSERT_WORKS(::fcntl(file, F_SETLK, &tail));
  EXPECT_EQ(EAGAIN, in_another(F_SETLK, whole));
  struct flock head = whole;
  head.l_len = 100;
  EXPECT_EQ(0, in_another(F_SETLK, head));
  tail.l_type = F_UNLCK;
  ASSERT_WORKS(::fcntl(file, F_SETLK, &tail));

  ASSERT_WORKS(::fcntl(file, F_OFD_SETLK, &whole));
  EXPECT_EQ(EAGAIN, in_another(F_OFD_SETLK, whole));
  const Descriptor second(at("f"), O_RDWR);
  EXPECT_FAILS(EAGAIN, ::fcntl(second, F_OFD_SETLK, &whole));
}

// --- directories

// Semantics 1.12.
TEST_P(Attributes, seekdir_finds_its_place_while_entries_come_and_go) {
  ASSERT_WORKS(::mkdir(at("d").c_str(), 0755));
  const auto name = [](int i) { return "entry-" + std::to_string(1'000 + i); };
  for (int i = 0; i < 600; ++i) put("d/" + name(i), "");
  DIR* directory = ::opendir(at("d").c_str());
  ASSERT_NE(nullptr, directory);
  std::map<std::string, long> places;  // behind an entry
  std::vector<std::string> order;
  for (int i = 0; i < 400; ++i) {
    const dirent* entry = ::readdir(directory);
    ASSERT_NE(nullptr, entry);
    order.push_back(entry->d_name);
    places[entry->d_name] = ::telldir(directory);
  }
  for (int i = 0; i < 100; i += 2) ASSERT_WORKS(::unlink(at("d/" + name(i)).c_str()));
  for (int i = 0; i < 100; ++i) put("d/" + name(i) + "-new", "");
  for (const int i : {150, 300, 399, 200}) {
    ::seekdir(directory, places.at(order[static_cast<size_t>(i)]));
    const dirent* entry = ::readdir(directory);
    ASSERT_NE(nullptr, entry);
    if (i == 399) continue;
    EXPECT_EQ(order[static_cast<size_t>(i) + 1], entry->d_name);
  }
  ::closedir(directory);
}

class LargeDirectory : public Mount {
 protected:
  static constexpr int kEntries = 100'000;
  std::string policy() const override { return "TRANSIENT"; }
};

// Semantics 1.12.
TEST_P(LargeDirectory, of_a_hundred_thousand_entries_is_listed_whole) {
  volume::Volume& volume = mounted_->volume();
  const InodeId root = volume.lookup(kRootInode, "s3")->attributes.inode;
  const InodeId directory = volume.make_directory(root, "large", 0755, {})->attributes.inode;
  std::vector<std::thread> makers;
  for (int t = 0; t < 4; ++t) {
    makers.emplace_back([&, t] {
      for (int i = t; i < kEntries; i += 4) {
        EXPECT_TRUE(volume.make_symlink(directory, std::to_string(i), "target", {}).has_value());
      }
    });
  }
  for (std::thread& maker : makers) maker.join();
  const auto names = list("large");
  EXPECT_EQ(static_cast<size_t>(kEntries), names.size());
  EXPECT_EQ(static_cast<size_t>(kEntries), std::set<std::string>(names.begin(), names.end()).size());
}

// Semantics 1.17.
TEST_P(Attributes, a_removed_directory_that_is_open_is_asked_and_changed_through_its_descriptor) {
  for (const char* name : {"removed", "replaced", "in_a_tree"}) ASSERT_WORKS(::mkdir(at(name).c_str(), 0750));
  ASSERT_WORKS(::mkdir(at("other").c_str(), 0700));
  const Descriptor removed(at("removed"), O_RDONLY | O_DIRECTORY);
  const Descriptor replaced(at("replaced"), O_RDONLY | O_DIRECTORY);
  const Descriptor in_a_tree(at("in_a_tree"), O_RDONLY | O_DIRECTORY);
  for (const char* name : {"removed", "replaced", "in_a_tree"}) ASSERT_WORKS(::chmod(at(name).c_str(), 0710));
  ASSERT_WORKS(::rmdir(at("removed").c_str()));
  ASSERT_WORKS(::rename(at("other").c_str(), at("replaced").c_str()));
  const auto root = mounted_->volume().resolve("/s3");
  ASSERT_TRUE(root.has_value());
  ASSERT_TRUE(mounted_->volume().remove_tree(*root, "in_a_tree").has_value());
  for (const int fd : {int{removed}, int{replaced}, int{in_a_tree}}) {
    // The file system is asked, whatever the kernel remembers.
    const auto ask = [fd] {
      struct statx st {};
      EXPECT_EQ(0, ::statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &st)) << strerror(errno);
      return st;
    };
    EXPECT_EQ(S_IFDIR | 0710, ask().stx_mode);
    ASSERT_WORKS(::fchmod(fd, 0700));
    EXPECT_EQ(S_IFDIR | 0700, ask().stx_mode);
    ASSERT_WORKS(::fsync(fd));
    if (fd == in_a_tree) continue;  // its end comes behind the call
    EXPECT_EQ(0u, ask().stx_nlink);
    EXPECT_FAILS(ENOENT, ::mkdirat(fd, "new", 0755));
  }
  EXPECT_EQ(0700u, mode_of("replaced"));
}

INSTANTIATE_TEST_SUITE_P(EveryWay, Attributes, kEveryWay, name_of_param);
INSTANTIATE_TEST_SUITE_P(OneWay, LargeDirectory, ::testing::Values(std::tuple(Switch::kOff, Switch::kOff)), name_of_param);

}  // namespace
}  // namespace weir::testing
