// Real programs on a real mount over MinIO. Each is a script of this folder that works in a folder of the mount and
// checks what the program made; after it, the bucket must mirror the mount, and a volume made from nothing but the
// bucket must show the same tree.
//
// A script gets $WORK, an empty folder of the mount, and $LOCAL, an empty folder beside it. It exits 77 when it lacks
// something, with the reason as its last line.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <iostream>

#include "tests/cli/test_bucket.h"
#include "tests/cli/weir_binary.h"
#include "tests/minio/minio_server.h"
#include "tests/programs/mirror.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

constexpr int kSkipped = 77;
constexpr auto kQuietPatience = std::chrono::seconds(120);

std::string last_line(std::string text) {
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

class Programs : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
    if (const auto missing = MinioServer::missing()) GTEST_SKIP() << *missing;
    bucket_ = TestBucket::make(Under::kMinio, {});
    ASSERT_NE(bucket_, nullptr);
    // Programs run as other users, too.
    fs::permissions(daemon_.home(), fs::perms(0755));
    ASSERT_NO_FATAL_FAILURE(start_mounted(daemon_));
    ASSERT_TRUE(fs::create_directory(tree() / "work"));
    ASSERT_TRUE(fs::create_directory(daemon_.home() / "local"));
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << daemon_.log();
  }

  // The script, then what must be true of every program.
  void run(const std::string& script) {
    const Ended ended = daemon_.script("export WORK=\"$MNT\"/s3/work LOCAL=\"$TMPDIR\"/local; "
                                       "exec timeout --kill-after=10 300 " WEIR_PROGRAMS_DIR "/" +
                                       script);
    if (ended.exit_code == kSkipped) GTEST_SKIP() << last_line(ended.out);
    ASSERT_EQ(ended.exit_code, 0) << script << " failed (124: it took too long)\n" << ended.out << ended.err;
    expect_mirrored();
  }

 private:
  static void start_mounted(WeirDaemon& daemon, const TestBucket& bucket) {
    daemon.set("fuse.mount.point", daemon.mount_point());
    ASSERT_TRUE(daemon.start()) << daemon.log();
    const Ended added = daemon.weir(bucket.add_command());
    ASSERT_EQ(added.exit_code, 0) << added.err;
  }
  void start_mounted(WeirDaemon& daemon) { start_mounted(daemon, *bucket_); }
  fs::path tree() const { return daemon_.mount_point() / "s3"; }

  void expect_mirrored() {
    const Tree tree = read_tree(this->tree());
    EXPECT_EQ(mirror_differences(daemon_, *bucket_, "", tree, Deadline::after(kQuietPatience)), "");
    EXPECT_EQ(differences(tree, read_tree(this->tree())), "") << "persisting changed the tree";
    const Ended checked = daemon_.weir("fsck --ufs");
    EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
    WeirDaemon rebuilt;
    ASSERT_NO_FATAL_FAILURE(start_mounted(rebuilt));
    // A file has its whole link count once each of its names was looked at.
    (void)read_tree(rebuilt.mount_point() / "s3");
    EXPECT_EQ(differences(rebuildable(tree), rebuildable(read_tree(rebuilt.mount_point() / "s3"))), "")
        << "in a volume made from the bucket";
  }

  // What of a tree is kept in its bucket.
  static Tree rebuildable(Tree tree) {
    tree.erase("");
    for (auto& [path, entry] : tree) {
      if (S_ISDIR(entry.mode)) entry.mtime_ns = 0;
    }
    return tree;
  }

  WeirDaemon daemon_;
  std::unique_ptr<TestBucket> bucket_;
};

TEST_F(Programs, git_clones_commits_collects_and_finds_no_fault) { run("git.sh"); }
TEST_F(Programs, sqlite_keeps_its_promises_with_both_journals_and_many_writers) { run("sqlite.py"); }
TEST_F(Programs, postgres_survives_a_kill_under_load) { run("postgres.sh"); }
TEST_F(Programs, rsync_there_and_back_finds_no_difference) { run("rsync.sh"); }
TEST_F(Programs, tar_unpacks_compares_and_packs_the_same) { run("tar.sh"); }
TEST_F(Programs, make_builds_with_four_jobs_and_builds_again_only_what_changed) { run("make.sh"); }
TEST_F(Programs, npm_installs_a_local_package) { run("npm.sh"); }
TEST_F(Programs, checkpoints_of_eight_processes_are_whole_at_every_instant) { run("checkpoint.py"); }
TEST_F(Programs, vim_edits_in_place_and_by_rename_with_swap_and_backup) { run("vim.sh"); }

}  // namespace
}  // namespace weir::testing
