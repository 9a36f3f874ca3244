// Fifos, sockets and devices, by plain system calls.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <string>
#include <thread>

#include "tests/semantics/mount_fixture.h"

namespace weir::testing {
namespace {

class Nodes : public Mount {
 protected:
  int make(const std::string& name, mode_t mode, dev_t device = 0) const {
    return ::mknod(at(name).c_str(), mode, device);
  }
};

// Semantics 1.14.
TEST_P(Nodes, devices_keep_their_numbers) {
  ASSERT_WORKS(make("null", S_IFCHR | 0666, makedev(1, 3)));
  ASSERT_WORKS(make("disk", S_IFBLK | 0600, makedev(259, 70'000)));
  const struct stat null = stat_of("null");
  EXPECT_TRUE(S_ISCHR(null.st_mode));
  EXPECT_EQ(makedev(1, 3), null.st_rdev);
  const struct stat disk = stat_of("disk");
  EXPECT_TRUE(S_ISBLK(disk.st_mode));
  EXPECT_EQ(makedev(259, 70'000), disk.st_rdev);
  EXPECT_EQ(0, disk.st_size);
  // Mounted nodev.
  EXPECT_FAILS(EACCES, ::open(at("null").c_str(), O_RDWR));
}

TEST_P(Nodes, a_directory_tells_their_types) {
  ASSERT_WORKS(make("c", S_IFCHR | 0600, makedev(1, 3)));
  ASSERT_WORKS(make("p", S_IFIFO | 0600));
  ASSERT_WORKS(make("s", S_IFSOCK | 0600));
  DIR* directory = ::opendir(mounted_->root().c_str());
  ASSERT_NE(nullptr, directory);
  std::map<std::string, int> types;
  while (const dirent* entry = ::readdir(directory)) {
    if (entry->d_name[0] != '.') types[entry->d_name] = entry->d_type;
  }
  ::closedir(directory);
  EXPECT_EQ((std::map<std::string, int>{{"c", DT_CHR}, {"p", DT_FIFO}, {"s", DT_SOCK}}), types);
}

// Semantics 1.14.
TEST_P(Nodes, a_fifo_carries_bytes) {
  ASSERT_WORKS(::mkfifo(at("fifo").c_str(), 0600));
  std::thread writer([path = at("fifo")] {
    const int fd = ::open(path.c_str(), O_WRONLY);
    (void)!::write(fd, "hello", 5);
    ::close(fd);
  });
  const Descriptor reader(at("fifo"), O_RDONLY);
  char bytes[8] = {};
  EXPECT_EQ(5, ::read(reader, bytes, sizeof bytes));
  writer.join();
  EXPECT_STREQ("hello", bytes);
  EXPECT_EQ(0, stat_of("fifo").st_size);
}

TEST_P(Nodes, a_socket_is_bound_and_connected_to) {
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  const std::string path = at("sock");
  if (path.size() >= sizeof address.sun_path) GTEST_SKIP() << "SKIPPED: the mount's path is too long for a socket";
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
  const int client = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_WORKS(::bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address));
  ASSERT_WORKS(::listen(server, 1));
  EXPECT_TRUE(S_ISSOCK(stat_of("sock").st_mode));
  EXPECT_EQ(0, ::connect(client, reinterpret_cast<const sockaddr*>(&address), sizeof address)) << strerror(errno);
  ::close(client);
  ::close(server);
  ASSERT_WORKS(::unlink(path.c_str()));
}

// Semantics 1.14.
TEST_P(Nodes, a_nameless_fifo_is_asked_and_changed_through_its_descriptor) {
  ASSERT_WORKS(make("made", S_IFIFO | 0640));
  ASSERT_WORKS(make("listed", S_IFIFO | 0640));
  ASSERT_WORKS(make("replaced", S_IFIFO | 0640));
  put("other", "x");
  list(".");
  const Descriptor made(at("made"), O_RDWR | O_NONBLOCK);
  const Descriptor listed(at("listed"), O_RDWR | O_NONBLOCK);
  const Descriptor replaced(at("replaced"), O_RDWR | O_NONBLOCK);
  ASSERT_WORKS(::unlink(at("made").c_str()));
  ASSERT_WORKS(::unlink(at("listed").c_str()));
  ASSERT_WORKS(::rename(at("other").c_str(), at("replaced").c_str()));
  for (const int fd : {int{made}, int{listed}, int{replaced}}) {
    struct stat st {};
    ASSERT_WORKS(::fstat(fd, &st));
    EXPECT_EQ(mode_t{S_IFIFO | 0640}, st.st_mode);
    EXPECT_EQ(0u, st.st_nlink);
    ASSERT_WORKS(::fchmod(fd, 0600));
    ASSERT_WORKS(::fchown(fd, 7, 8));
    ASSERT_WORKS(::fstat(fd, &st));
    EXPECT_EQ(mode_t{S_IFIFO | 0600}, st.st_mode);
    EXPECT_EQ(7u, st.st_uid);
    EXPECT_EQ(8u, st.st_gid);
    EXPECT_EQ(2, ::write(fd, "ab", 2));
    char bytes[2] = {};
    EXPECT_EQ(2, ::read(fd, bytes, 2));
  }
  EXPECT_EQ("x", get("replaced"));
}

TEST_P(Nodes, mknod_makes_regular_files_too) {
  ASSERT_WORKS(make("f", S_IFREG | 0640));
  EXPECT_TRUE(S_ISREG(stat_of("f").st_mode));
  EXPECT_EQ(0640u, stat_of("f").st_mode & 07777);
  put("f", "x");
  EXPECT_EQ("x", get("f"));
  EXPECT_FAILS(EEXIST, make("f", S_IFIFO | 0600));
}

TEST_P(Nodes, are_renamed_and_removed_like_files) {
  ASSERT_WORKS(make("p", S_IFIFO | 0600));
  ASSERT_WORKS(::chmod(at("p").c_str(), 0644));
  ASSERT_WORKS(::rename(at("p").c_str(), at("q").c_str()));
  EXPECT_EQ(mode_t{S_IFIFO | 0644}, stat_of("q").st_mode);
  EXPECT_FAILS(EINVAL, ::truncate(at("q").c_str(), 0));
  ASSERT_WORKS(::unlink(at("q").c_str()));
  EXPECT_TRUE(list(".").empty());
}

INSTANTIATE_TEST_SUITE_P(EveryWay, Nodes, kEveryWay, name_of_param);

}  // namespace
}  // namespace weir::testing
