// Buckets that other tools wrote show what those tools would show; the tools see what Weir wrote.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <thread>

#include "tests/minio/minio_server.h"
#include "tests/semantics/mounted_volume.h"
#include "tests/semantics/tree.h"

namespace weir::testing {
namespace {

using ::testing::UnorderedElementsAreArray;

#define ASSERT_WORKS(call) ASSERT_LE(0, call) << #call << ": " << strerror(errno)

bool installed(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null 2>&1").c_str()) == 0;
}

int run(const std::string& command) { return std::system((command + " >/dev/null 2>&1").c_str()); }

class Others : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = MountedVolume::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
    if (const auto missing = MinioServer::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
    auto minio = MinioServer::start();
    ASSERT_TRUE(minio.has_value()) << minio.error().to_string();
    minio_ = *std::move(minio);
    ASSERT_TRUE(minio_->create_bucket("others").has_value());
  }

  Result<std::unique_ptr<MountedVolume>> weir() {
    return MountedVolume::start(home_.path(), {.bucket_uri = "s3://others",
                                               .bucket_properties = {{"s3.endpoint", minio_->endpoint()},
                                                                     {"s3.access.key", minio_->access_key()},
                                                                     {"s3.secret.key", minio_->secret_key()}}});
  }

  // Files of every kind that a tool may keep the attributes of, below `root`.
  static void build_tree(const std::string& root, bool links_and_xattrs) {
    ASSERT_WORKS(::mkdir((root + "/d").c_str(), 0750));
    for (const auto& [name, mode] :
         {std::pair("plain", 0640), std::pair("d/below", 0604), std::pair("executable", 0755)}) {
      const std::string path = root + "/" + name;
      std::ofstream(path) << "content of " << name;
      ASSERT_WORKS(::chmod(path.c_str(), static_cast<mode_t>(mode)));
      if (::geteuid() == 0) {
        ASSERT_WORKS(::chown(path.c_str(), 1'234, 5'678));
      }
    }
    if (links_and_xattrs) {
      ASSERT_WORKS(::symlink("d/below", (root + "/link").c_str()));
      ASSERT_WORKS(::setxattr((root + "/plain").c_str(), "user.color", "red", 3, 0));
      ASSERT_WORKS(::setxattr((root + "/plain").c_str(), "user.shape", "a, \"b\": {c}", 11, 0));
    }
    const timespec times[2] = {{.tv_sec = 1'600'000'000, .tv_nsec = 0}, {.tv_sec = 1'500'000'000, .tv_nsec = 0}};
    for (const char* name : {"plain", "d/below", "executable"})
      ASSERT_WORKS(::utimensat(AT_FDCWD, (root + "/" + name).c_str(), times, 0));
    ASSERT_WORKS(::chmod((root + "/d").c_str(), 0750));
  }

  TemporaryDirectory home_;
  TemporaryDirectory work_;
  std::unique_ptr<MinioServer> minio_;
};

// A mount of the bucket by s3fs, for as long as it lives.
class S3fs {
 public:
  S3fs(const MinioServer& minio, const std::filesystem::path& work) : root_(work / "mnt") {
    std::filesystem::create_directory(root_);
    const std::filesystem::path passwd = work / "passwd";
    std::ofstream(passwd) << minio.access_key() << ":" << minio.secret_key() << "\n";
    std::filesystem::permissions(passwd, std::filesystem::perms(0600));
    mounted_ = run("s3fs others " + root_.string() + " -o passwd_file=" + passwd.string() + " -o url=" +
                   minio.endpoint() + " -o use_path_request_style -o use_xattr -o enable_noobj_cache") == 0;
    for (const Deadline deadline = Deadline::after(std::chrono::seconds(60)); mounted_ && !deadline.expired();) {
      if (run("mountpoint -q " + root_.string()) == 0) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  ~S3fs() {
    if (mounted_) run("umount " + root_.string() + " || umount -l " + root_.string());
  }
  bool mounted() const { return mounted_; }
  const std::filesystem::path& root() const { return root_; }

 private:
  const std::filesystem::path root_;
  bool mounted_ = false;
};

// Semantics 5.9.
TEST_F(Others, what_s3fs_wrote_is_shown_as_s3fs_shows_it) {
  if (!installed("s3fs") || ::geteuid() != 0) GTEST_SKIP() << "SKIPPED: no s3fs, or not root";
  std::map<std::string, std::string> shown;
  {
    const S3fs s3fs(*minio_, work_.path());
    if (!s3fs.mounted()) GTEST_SKIP() << "SKIPPED: s3fs cannot mount here";
    build_tree(s3fs.root(), true);
    shown = tree_of(s3fs.root(), DirectoryTimes::kIgnored);
  }
  const auto volume = weir();
  ASSERT_TRUE(volume.has_value()) << volume.error().to_string();
  EXPECT_EQ(shown.size(), 5u);
  EXPECT_THAT(tree_of((*volume)->root(), DirectoryTimes::kIgnored), UnorderedElementsAreArray(shown));
}

// Semantics 5.9.
TEST_F(Others, what_rclone_copied_has_the_attributes_of_its_source) {
  if (!installed("rclone")) GTEST_SKIP() << "SKIPPED: no rclone";
  const std::filesystem::path source = work_.path() / "source";
  std::filesystem::create_directory(source);
  build_tree(source, false);
  const std::string environment = "env -u AWS_CA_BUNDLE RCLONE_CONFIG=/dev/null RCLONE_CONFIG_B_TYPE=s3"
                                  " RCLONE_CONFIG_B_PROVIDER=Minio RCLONE_CONFIG_B_ENDPOINT=" + minio_->endpoint() +
                                  " RCLONE_CONFIG_B_ACCESS_KEY_ID=" + minio_->access_key() +
                                  " RCLONE_CONFIG_B_SECRET_ACCESS_KEY=" + minio_->secret_key() + " ";
  ASSERT_EQ(run(environment + "rclone copy --metadata " + source.string() + " b:others"), 0);
  const auto volume = weir();
  ASSERT_TRUE(volume.has_value()) << volume.error().to_string();
  auto expected = tree_of(source, DirectoryTimes::kIgnored);
  auto seen = tree_of((*volume)->root(), DirectoryTimes::kIgnored);
  // Of directories this rclone may keep nothing.
  expected.erase("d");
  seen.erase("d");
  EXPECT_THAT(seen, UnorderedElementsAreArray(expected));
}

}  // namespace
}  // namespace weir::testing
