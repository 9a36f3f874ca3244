// A volume with empty metadata over a bucket that another volume wrote shows the same tree.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "tests/minio/minio_server.h"
#include "tests/semantics/mounted_volume.h"
#include "tests/semantics/tree.h"

namespace weir::testing {
namespace {

using ::testing::UnorderedElementsAreArray;

#define ASSERT_WORKS(call) ASSERT_LE(0, call) << #call << ": " << strerror(errno)

// Where the bucket is.
struct Place {
  std::string uri;
  std::map<std::string, std::string> properties;
};

void write_file(int directory, const char* name, mode_t mode, std::string_view content) {
  const int fd = ::openat(directory, name, O_CREAT | O_WRONLY | O_EXCL, 0600);
  ASSERT_WORKS(fd) << name;
  ASSERT_EQ(static_cast<ssize_t>(content.size()), ::write(fd, content.data(), content.size()));
  ASSERT_WORKS(::fchmod(fd, mode));
  ASSERT_WORKS(::close(fd));
}

void set_mtime(int directory, const char* name, time_t seconds, long ns) {
  const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = seconds, .tv_nsec = ns}};
  ASSERT_WORKS(::utimensat(directory, name, times, AT_SYMLINK_NOFOLLOW));
}

void build_tree(const std::string& root) {
  const int top = ::open(root.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_WORKS(top);
  write_file(top, "plain", 0644, "hello");
  write_file(top, "empty", 0600, "");
  write_file(top, "modes", 01751, "x");
  write_file(top, "large", 0640, std::string(20 << 20, 'l'));
  set_mtime(top, "plain", 1'700'000'000, 123'456'789);
  set_mtime(top, "empty", -86'400 * 365, 500'000'000);
  write_file(top, std::string(255, 'n').c_str(), 0644, "a name of 255 bytes");
  write_file(top, "caf\xe9 100%", 0644, "a name that is not UTF-8");
  write_file(top, ".weir-bytes:caf%E9 100%25", 0644, "a name like the form of the other");
  ASSERT_WORKS(::symlinkat("plain", top, "link"));
  ASSERT_WORKS(::symlinkat(std::string(4'000, 't').c_str(), top, "long link"));
  set_mtime(top, "link", 1'600'000'000, 1);
  if (::geteuid() == 0) {
    ASSERT_WORKS(::fchownat(top, "plain", 1'234, 5'678, 0));
    ASSERT_WORKS(::fchownat(top, "link", 4'321, 8'765, AT_SYMLINK_NOFOLLOW));
    const std::string plain = root + "/plain";
    ASSERT_WORKS(::setxattr(plain.c_str(), "trusted.note", "t", 1, 0));
  }
  const std::string plain = root + "/plain";
  const std::string large = root + "/large";
  ASSERT_WORKS(::setxattr(plain.c_str(), "user.few", "a few bytes", 11, 0));
  ASSERT_WORKS(::setxattr(plain.c_str(), "user.none", "", 0, 0));
  ASSERT_WORKS(::setxattr(large.c_str(), "user.many", std::string(65'536, 'v').data(), 65'536, 0));

  ASSERT_WORKS(::mkdirat(top, "directory", 0750));
  const std::string directory_path = root + "/directory";
  ASSERT_WORKS(::setxattr(directory_path.c_str(), "user.directory", "d", 1, 0));
  const int directory = ::openat(top, "directory", O_RDONLY | O_DIRECTORY);
  write_file(directory, "below", 0444, "below");
  ASSERT_WORKS(::mkdirat(directory, "empty", 0711));
  ASSERT_WORKS(::mkdirat(directory, "caf\xe9", 0755));
  const int latin = ::openat(directory, "caf\xe9", O_RDONLY | O_DIRECTORY);
  write_file(latin, "file", 0644, "in a directory whose name is not UTF-8");
  set_mtime(directory, "caf\xe9", 1'500'000'002, 0);
  set_mtime(directory, "empty", 1'500'000'001, 0);
  set_mtime(top, "directory", 1'500'000'000, 7);
  ::close(latin);
  ::close(directory);

  // Keys of far more than 1,024 bytes.
  int deep = ::dup(top);
  const std::string component(200, 'd');
  for (int depth = 0; depth < 10; ++depth) {
    ASSERT_WORKS(::mkdirat(deep, component.c_str(), 0755));
    const int next = ::openat(deep, component.c_str(), O_RDONLY | O_DIRECTORY);
    ASSERT_WORKS(next);
    write_file(next, "file", 0600 + depth, "at depth " + std::to_string(depth));
    ::close(deep);
    deep = next;
  }
  ASSERT_WORKS(::symlinkat("target", deep, "link"));
  ASSERT_WORKS(::renameat(deep, "file", deep, "renamed"));
  ::close(deep);
  set_mtime(top, component.c_str(), 1'400'000'000, 0);  // the ones below have the times of their entries
  ::close(top);
}

void expect_rebuilt(const Place& place) {
  const MountedVolumeOptions options{.bucket_uri = place.uri, .bucket_properties = place.properties};
  const TemporaryDirectory home;
  std::map<std::string, std::string> written;
  {
    const auto first = MountedVolume::start(home.path(), options);
    ASSERT_TRUE(first.has_value()) << first.error().to_string();
    build_tree((*first)->root());
    if (::testing::Test::HasFatalFailure()) return;
    written = tree_of((*first)->root());
    const auto drained = (*first)->volume().persister().drain(Deadline::after(std::chrono::minutes(2)));
    ASSERT_TRUE(drained.has_value()) << drained.error().to_string();
    EXPECT_THAT(tree_of((*first)->root()), UnorderedElementsAreArray(written));
  }
  const TemporaryDirectory other;
  const auto second = MountedVolume::start(other.path(), options);
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  EXPECT_GT(written.size(), 30u);
  EXPECT_THAT(tree_of((*second)->root()), UnorderedElementsAreArray(written));
}

TEST(Rebuild, a_directory_of_objects_shows_the_tree_that_was_written) {
  if (const auto missing = MountedVolume::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
  const TemporaryDirectory bucket;
  expect_rebuilt({"file://" + bucket.path().string(), {}});
}

// Semantics 4.8, 4.10, 4.13, 4.14, 5.6.
TEST(Rebuild, a_bucket_shows_the_tree_that_was_written) {
  if (const auto missing = MountedVolume::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
  if (const auto missing = MinioServer::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
  const auto minio = MinioServer::start();
  ASSERT_TRUE(minio.has_value()) << minio.error().to_string();
  ASSERT_TRUE((*minio)->create_bucket("rebuild").has_value());
  expect_rebuilt({"s3://rebuild/volume",
                  {{"s3.endpoint", (*minio)->endpoint()},
                   {"s3.access.key", (*minio)->access_key()},
                   {"s3.secret.key", (*minio)->secret_key()}}});
}

}  // namespace
}  // namespace weir::testing
