// The command line and the daemon as processes, over a directory and over MinIO.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "format/keys.h"
#include "kv/rocks_kv.h"
#include "kv/run_txn.h"
#include "tests/cli/test_bucket.h"
#include "tests/cli/weir_binary.h"
#include "tests/minio/minio_server.h"

namespace weir::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr auto kPatience = std::chrono::seconds(60);

class CliOverStore : public ::testing::TestWithParam<Under> {
 protected:
  void SetUp() override {
    if (GetParam() == Under::kMinio) {
      if (const auto missing = MinioServer::missing()) GTEST_SKIP() << *missing;
    }
    bucket_ = TestBucket::make(GetParam(), daemon_.home() / "bucket");
    ASSERT_NE(bucket_, nullptr);
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << daemon_.log();
  }

  void start_mounted() {
    daemon_.set("fuse.mount.point", daemon_.mount_point());
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
  }
  void start_with_bucket() {
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    const Ended added = daemon_.weir(bucket_->add_command());
    ASSERT_EQ(added.exit_code, 0) << added.err;
  }

  WeirDaemon daemon_;
  std::unique_ptr<TestBucket> bucket_;
};

// Semantics 4.2.
TEST_P(CliOverStore, the_session_works_as_written) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
  bucket_->put("datasets/old.txt", "was here before\n");
  start_mounted();
  ASSERT_EQ(daemon_.weir(bucket_->add_command()).exit_code, 0);

  EXPECT_EQ(daemon_.script("weir conf get write.cache.enabled").out, "true\n");
  EXPECT_EQ(daemon_.script(R"SH(EDITOR="cp /dev/stdin" weir pathconfig edit <<< '{"apiVersion":"v1.0","defaultRule":{"description":"Global default","policyMode":"WRITE_THROUGH"},"pathRules":[{"alluxioPath":"/s3/checkpoints/**","description":"Low-latency checkpoint writes","policyMode":"WRITE_BACK","properties":{"writeReplicas":1}}]}')SH")
                .out,
            "Update successful!\n");
  EXPECT_THAT(daemon_.script("weir pathconfig test --path /s3/checkpoints/epoch-1/model.pt").out,
              HasSubstr("\"policyMode\": \"WRITE_BACK\""));
  EXPECT_THAT(daemon_.script("weir pathconfig test --path /s3/other").out,
              HasSubstr("\"policyMode\": \"WRITE_THROUGH\""));

  ASSERT_EQ(daemon_.script("mkdir $MNT/s3/checkpoints && echo hello > $MNT/s3/checkpoints/test.txt").exit_code, 0);
  EXPECT_THAT(daemon_.script("weir fs ls /s3/checkpoints/test.txt").out, HasSubstr("PERSISTED"));
  EXPECT_TRUE(daemon_.wait_state("/s3/checkpoints/test.txt", "PERSISTED", kPatience));
  const Ended list = daemon_.script("weir async-persist list; weir async-persist stat --path /s3/checkpoints/test.txt");
  EXPECT_EQ(list.exit_code, 0) << list.err;
  EXPECT_THAT(list.out, HasSubstr("/s3/checkpoints/test.txt"));

  EXPECT_EQ(bucket_->get("checkpoints/test.txt"), "hello\n");
  const auto metadata = bucket_->metadata("checkpoints/test.txt");
  struct stat st{};
  ASSERT_EQ(::stat((daemon_.mount_point() / "s3/checkpoints/test.txt").c_str(), &st), 0);
  ASSERT_TRUE(metadata.contains("mode") && metadata.contains("mtime"));
  EXPECT_EQ(metadata.at("mode"), std::to_string(st.st_mode));
  EXPECT_THAT(metadata.at("mtime"), StartsWith(std::to_string(st.st_mtim.tv_sec)));
  EXPECT_EQ(daemon_.script("cat $MNT/s3/datasets/old.txt; ls $MNT/s3").out, "was here before\ncheckpoints\ndatasets\n");

  // Under WRITE_THROUGH close() returns when the object is there.
  ASSERT_EQ(daemon_.script("echo through > $MNT/s3/through.txt").exit_code, 0);
  EXPECT_EQ(bucket_->get("through.txt"), "through\n");
  EXPECT_EQ(daemon_.stop(), 0);
}

// Semantics 4.6.
TEST_P(CliOverStore, a_renamed_checkpoint_and_its_successor_both_end_up_under_their_names) {
  daemon_.set("async.persist.bandwidth", "32MiB");  // so that the rename falls into the upload
  start_with_bucket();
  const Ended ended = daemon_.script(R"(set -e
    head -c 64M /dev/urandom > "$TMPDIR"/one; head -c 24M /dev/urandom > "$TMPDIR"/two; cd "$TMPDIR"
    weir fs mkdir /s3/ckpt.tmp; weir fs cp one /s3/ckpt.tmp/model; sleep 0.3
    weir fs mv /s3/ckpt.tmp /s3/ckpt-100
    weir fs mkdir /s3/ckpt.tmp; weir fs cp two /s3/ckpt.tmp/model
    cmp one <(weir fs cat /s3/ckpt-100/model); cmp two <(weir fs cat /s3/ckpt.tmp/model)
    weir fs persist --wait --timeout 60 /s3/ckpt-100 /s3/ckpt.tmp
    cmp one <(weir fs cat /s3/ckpt-100/model); cmp two <(weir fs cat /s3/ckpt.tmp/model))");
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const auto bytes = [&](const char* name) {
    std::ifstream file(daemon_.home() / name, std::ios::binary);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  };
  EXPECT_TRUE(bucket_->get("ckpt-100/model") == bytes("one"));
  EXPECT_TRUE(bucket_->get("ckpt.tmp/model") == bytes("two"));
}

// Semantics 2.2.
TEST_P(CliOverStore, a_kill_loses_nothing_and_the_queue_goes_on) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
  start_mounted();
  ASSERT_EQ(daemon_.weir(bucket_->add_command()).exit_code, 0);
  constexpr int kFiles = 200;
  ASSERT_EQ(daemon_.script("for i in $(seq " + std::to_string(kFiles) + "); do echo $i > $MNT/s3/$i; done").exit_code, 0);
  daemon_.kill();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  EXPECT_EQ(daemon_.script("for i in $(seq " + std::to_string(kFiles) + "); do [ $(cat $MNT/s3/$i) = $i ] || exit 1; done")
                .exit_code,
            0);
  const Ended persisted = daemon_.weir("fs persist --wait --timeout 60 /s3");
  ASSERT_EQ(persisted.exit_code, 0) << persisted.err;
  for (int i = 1; i <= kFiles; ++i) EXPECT_EQ(bucket_->get(std::to_string(i)), std::to_string(i) + "\n");
}

TEST_P(CliOverStore, files_are_made_moved_read_and_removed) {
  start_with_bucket();
  const Ended ended = daemon_.script(R"(set -e
    cd "$TMPDIR"; head -c 3M /dev/urandom > local; chmod 640 local
    weir fs mkdir -p /s3/a/b; weir fs mkdir -p /s3/a/b
    weir fs cp local /s3/a/b/; weir fs cp /s3/a/b/local /s3/a/copy; weir fs cp /s3/a/copy back; cmp local back
    echo text | weir fs cp - /s3/a/piped; weir fs cat /s3/a/piped /s3/a/piped
    weir fs mv /s3/a/piped /s3/a/b/moved; weir fs ls -R /s3/a; weir fs du /s3/a; weir fs stat /s3/a/copy
    weir fs check-cached /s3/a/copy
    weir --json fs ls /s3/a | python3 -c 'import json,sys; print(sorted(e["name"] for e in json.load(sys.stdin)))'
    weir fs rm -r /s3/a; weir fs ls /s3)");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, StartsWith("text\ntext\n"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("-rw-r-----  .* 3145728  .*PERSISTED +/s3/a/b/local\n"));
  EXPECT_THAT(ended.out, HasSubstr("/s3/a/b/moved\n"));
  EXPECT_THAT(ended.out, HasSubstr("\ncached  /s3/a/copy\n"));
  EXPECT_THAT(ended.out, ::testing::EndsWith("['b', 'copy']\n"));

  EXPECT_EQ(daemon_.weir("fs ls /s3/absent").exit_code, 1);
  EXPECT_EQ(daemon_.weir("fs cat /s3").exit_code, 1);
  EXPECT_EQ(daemon_.script("echo x | weir fs cp - /s3/no/parent").exit_code, 1);
  EXPECT_EQ(daemon_.weir("fs rm /s3/absent").exit_code, 1);
}

TEST_P(CliOverStore, trees_are_copied_summed_up_and_removed) {
  start_with_bucket();
  const Ended ended = daemon_.script(R"(set -e
    cd "$TMPDIR"; mkdir -p tree/a/b tree/empty; head -c 3M /dev/urandom > tree/a/big; echo x > tree/a/b/small
    ln -s ../a/big tree/a/link; chmod 750 tree/a; chmod 640 tree/a/b/small
    weir fs cp -r tree /s3/; weir fs cp -r /s3/tree /s3/copy; weir fs mv /s3/copy /s3/moved
    weir fs cp -r /s3/moved back; diff -r --no-dereference tree back; readlink back/a/link
    weir fs ls -R /s3/moved; weir fs du -s /s3/moved; weir fs du /s3/tree
    weir --json fs du -s --cached /s3/moved | python3 -c 'import json,sys; print(json.load(sys.stdin)[0])')");
  EXPECT_EQ(ended.exit_code, 0) << ended.err << ended.out;
  EXPECT_THAT(ended.out, StartsWith("../a/big\n"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("drwxr-x---  .*/s3/moved/a\n"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("-rw-r-----  .*/s3/moved/a/b/small\n"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("\n3 +4 +3.0 MiB +/s3/moved\n"));
  EXPECT_THAT(ended.out, ::testing::ContainsRegex("\n3 +2 +3.0 MiB +/s3/tree/a\n0 +1 +0 B +/s3/tree/empty\n3 +4 +3.0 MiB +/s3/tree\n"));
  EXPECT_THAT(ended.out, HasSubstr("'files': 3, 'directories': 4, 'bytes': 3145730"));

  const Ended plain = daemon_.weir("fs cp /s3/tree /s3/other");
  EXPECT_EQ(plain.exit_code, 1);
  EXPECT_THAT(plain.err, HasSubstr("/s3/tree is a directory; give -r"));
  EXPECT_THAT(daemon_.weir("fs cp -r /s3/tree /s3/tree/a").err, HasSubstr("into itself"));
  EXPECT_THAT(daemon_.weir("fs cp -r /s3/tree /s3/tree/a/big").err, HasSubstr("is there and is no directory"));

  ASSERT_EQ(daemon_.weir("fs persist --wait --timeout 60 /s3").exit_code, 0);
  EXPECT_EQ(bucket_->get("tree/a/b/small"), "x\n");
  EXPECT_THAT(daemon_.weir("fs rm -R /s3").err, HasSubstr("mount-table remove"));
  EXPECT_EQ(daemon_.weir("fs rm /s3/tree").exit_code, 1);
  const Ended removed = daemon_.weir("fs rm -R /s3/tree /s3/moved");
  EXPECT_EQ(removed.exit_code, 0) << removed.err;
  EXPECT_EQ(daemon_.weir("fs ls /s3").out, "");
  EXPECT_TRUE(daemon_.wait_until("weir --json status | python3 -c 'import json,sys; s=json.load(sys.stdin); "
                                 "sys.exit(bool(s[\"removals\"][\"under_way\"]))'", kPatience));
  EXPECT_TRUE(daemon_.wait_until("weir --json fsck --ufs | python3 -c 'import json,sys; s=json.load(sys.stdin)[\"summary\"]; "
                                 "sys.exit(bool(s[\"objects\"] + s[\"in_flight\"] + s[\"discrepancies\"]))'", kPatience));
  EXPECT_EQ(bucket_->get("tree/a/b/small"), "absent");
  EXPECT_EQ(bucket_->get("moved/a/"), "absent");
}

TEST_P(CliOverStore, a_copied_tree_has_owners_times_and_extended_attributes) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
  start_mounted();
  ASSERT_EQ(daemon_.weir(bucket_->add_command()).exit_code, 0);
  const Ended ended = daemon_.script(R"PY(set -e
    cat > $TMPDIR/tree.py <<'END'
import os, sys
mount = sys.argv[1]
def make(path, mode, uid, gid, times, xattrs):
    os.chown(path, uid, gid, follow_symlinks=False)
    if not os.path.islink(path): os.chmod(path, mode)
    for name, value in xattrs.items(): os.setxattr(path, name, value, follow_symlinks=False)
    os.utime(path, ns=times, follow_symlinks=False)
def shown(top):
    all = {}
    for path in [top] + [os.path.join(at, name) for at, dirs, files in os.walk(top) for name in dirs + files]:
        st = os.lstat(path)
        xattrs = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
        all[path[len(top):]] = (st.st_mode, st.st_uid, st.st_gid, st.st_mtime_ns, sorted(xattrs.items()))
    return all
if sys.argv[2] == "make":
    top = mount + "/s3/t"
    os.makedirs(top + "/d/e")
    open(top + "/d/f", "w").write("x")
    os.symlink("f", top + "/d/l")
    make(top + "/d/f", 0o6755, 5, 6, (10**18 + 1, 10**18 + 2), {"user.k": b"v", "security.k": b"\0w", "trusted.k": b""})
    make(top + "/d/l", 0, 7, 8, (10**18 + 3, 10**18 + 4), {"trusted.k": b"l"})
    make(top + "/d/e", 0o2750, 9, 10, (10**18 + 5, 10**18 + 6), {"user.k": b"e"})
    make(top + "/d", 0o500, 11, 12, (10**18 + 7, 10**18 + 8), {})
    make(top, 0o1777, 13, 14, (10**18 + 9, 10**18 + 10), {"user.top": b"t"})
else:
    a, b = shown(mount + "/s3/t"), shown(mount + "/s3/u")
    for path in sorted(a.keys() | b.keys()):
        if a.get(path) != b.get(path): print(path, a.get(path), b.get(path))
    print(len(a), "compared")
END
    python3 $TMPDIR/tree.py $MNT make
    weir fs cp -r /s3/t /s3/u
    python3 $TMPDIR/tree.py $MNT compare)PY");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_EQ(ended.out, "5 compared\n");
}

TEST_P(CliOverStore, fsck_proves_the_volume_sound_and_names_what_is_not) {
  start_with_bucket();
  const Ended made = daemon_.script(R"(set -e
    weir fs mkdir /s3/a; echo one | weir fs cp - /s3/a/one; echo two | weir fs cp - /s3/a/two; weir fs mv /s3/a/two /s3/two
    weir fs persist --wait --timeout 60 /s3)");
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Ended clean = daemon_.weir("fsck --ufs");
  EXPECT_EQ(clean.exit_code, 0) << clean.out << clean.err;
  EXPECT_THAT(clean.out, StartsWith("clean: 4 names"));
  bucket_->put("a/one", "three");
  const Ended damaged = daemon_.weir("fsck --ufs");
  EXPECT_EQ(damaged.exit_code, 1) << damaged.err;
  EXPECT_THAT(damaged.out, HasSubstr("object_differs: /s3/a/one (inode "));
  EXPECT_EQ(daemon_.weir("fsck --ufs /s3/two").exit_code, 0);
  const Ended json = daemon_.script(
      R"(weir --json fsck --ufs | python3 -c 'import json,sys; d=json.load(sys.stdin); print(d["discrepancies"][0]["key"], d["summary"]["discrepancies"])')");
  EXPECT_EQ(json.out, "a/one 1\n");
  EXPECT_EQ(daemon_.weir("fsck /s3/absent").exit_code, 1);
}

TEST_P(CliOverStore, the_command_line_works_under_its_old_name) {
  start_with_bucket();
  EXPECT_EQ(daemon_.script("alluxio conf get alluxio.write.cache.enabled").out, "true\n");
  EXPECT_EQ(daemon_.script("echo x | alluxio fs cp - /s3/x && alluxio fs ls /s3 -Dalluxio.log.level=debug").exit_code, 0);
}

INSTANTIATE_TEST_SUITE_P(Stores, CliOverStore, ::testing::Values(Under::kDirectory, Under::kMinio),
                         [](const auto& info) { return info.param == Under::kDirectory ? "directory" : "minio"; });

class Cli : public ::testing::Test {
 protected:
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << daemon_.log();
  }
  void start() { ASSERT_TRUE(daemon_.start()) << daemon_.log(); }
  void expect_refused(const std::string& reason, const std::string& arguments = "") {
    const Ended ended = daemon_.start_refused(arguments);
    EXPECT_EQ(ended.exit_code, 1);
    EXPECT_THAT(ended.err, HasSubstr(reason));
  }

  WeirDaemon daemon_;
};

TEST_F(Cli, every_command_has_help_and_wrong_usage_is_2) {
  for (const char* command :
       {"", "serve", "mount", "umount", "mount-table add", "mount-table list", "mount-table remove", "conf get", "conf set",
        "conf list", "fs ls", "fs stat", "fs cat", "fs cp", "fs mv", "fs mkdir", "fs rm", "fs du", "fs check-cached",
        "fs persist", "pathconfig edit", "pathconfig get", "pathconfig test", "pathconfig validate", "async-persist list",
        "async-persist stat", "async-persist retry", "status", "fsck", "version"}) {
    const Ended help = daemon_.weir(std::string(command) + " --help");
    EXPECT_EQ(help.exit_code, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("Usage")) << command;
  }
  EXPECT_EQ(daemon_.weir("").exit_code, 2);
  EXPECT_EQ(daemon_.weir("fs").exit_code, 2);
  EXPECT_EQ(daemon_.weir("fs nonsense").exit_code, 2);
  EXPECT_EQ(daemon_.weir("fs cp one").exit_code, 2);
  EXPECT_EQ(daemon_.weir("version").exit_code, 0);
}

TEST_F(Cli, without_a_daemon_it_says_how_to_find_one) {
  const Ended ended = daemon_.weir("--socket /nowhere/weir.sock status");
  EXPECT_EQ(ended.exit_code, 3);
  EXPECT_THAT(ended.err, HasSubstr("/nowhere/weir.sock"));
  EXPECT_THAT(ended.err, HasSubstr("there is no such socket"));
  EXPECT_THAT(ended.err, HasSubstr("WEIR_SOCKET"));
}

TEST_F(Cli, properties_are_changed_now_or_for_the_next_start) {
  start();
  EXPECT_THAT(daemon_.weir("conf set log.level debug").out, HasSubstr("at once"));
  EXPECT_THAT(daemon_.weir("conf set alluxio.fuse.threads 7").out, HasSubstr("at the next start"));
  EXPECT_EQ(daemon_.weir("conf get fuse.threads").out, "64\n");
  EXPECT_EQ(daemon_.weir("conf get log.level").out, "debug\n");
  const Ended unknown = daemon_.weir("conf set write.cache.enable false");
  EXPECT_EQ(unknown.exit_code, 1);
  EXPECT_THAT(unknown.err, HasSubstr("write.cache.enabled"));
  EXPECT_EQ(daemon_.weir("conf set fuse.threads many").exit_code, 1);
  EXPECT_EQ(daemon_.stop(), 0);
  start();
  EXPECT_EQ(daemon_.weir("conf get fuse.threads").out, "7\n");
}

TEST_F(Cli, a_hangup_reads_the_configuration_again) {
  start();
  EXPECT_EQ(daemon_.weir("conf get log.level").out, "info\n");
  daemon_.set("log.level", "warn");
  daemon_.set("fuse.threads", "9");
  daemon_.reload();
  EXPECT_EQ(daemon_.script("until [ $(weir conf get log.level) = warn ]; do sleep 0.01; done").exit_code, 0);
  EXPECT_EQ(daemon_.weir("conf get fuse.threads").out, "64\n");  // at the next start
  daemon_.set("log.level", "loud");
  daemon_.reload();
  EXPECT_EQ(daemon_.script("until grep -q reload_failed $TMPDIR/log; do sleep 0.01; done").exit_code, 0);
  // The command line would refuse the file, too; it need not read it.
  EXPECT_EQ(daemon_.weir("--socket $TMPDIR/volume/weir.sock conf get log.level").out, "warn\n");
}

TEST_F(Cli, secrets_are_never_shown) {
  daemon_.set("s3.access.key", "AKIDEXAMPLE");
  daemon_.set("s3.secret.key", "very-secret");
  start();
  EXPECT_EQ(daemon_.weir("conf get s3.secret.key").out, "******\n");
  EXPECT_THAT(daemon_.weir("conf list --json").out, Not(HasSubstr("very-secret")));
}

// Semantics 3.6.
TEST_F(Cli, a_broken_rule_document_is_refused_and_the_text_kept) {
  start();
  const Ended ended = daemon_.script(R"(EDITOR="cp /dev/stdin" weir pathconfig edit <<< '{"apiVersion":"v1.0",
"defaultRule":{"policyMode":"WRITE_SOMETIMES"}}')");
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.err, HasSubstr("line 2, column 29"));
  EXPECT_THAT(ended.err, HasSubstr("WRITE_SOMETIMES"));
  const size_t at = ended.err.find("is kept in ");
  ASSERT_NE(at, std::string::npos) << ended.err;
  std::string kept = ended.err.substr(at + std::string("is kept in ").size());
  kept.resize(kept.find('\n'));
  EXPECT_THAT(run_script("cat " + kept).out, HasSubstr("WRITE_SOMETIMES"));
  EXPECT_THAT(daemon_.weir("pathconfig get").out, HasSubstr("WRITE_BACK"));
  EXPECT_EQ(daemon_.script("weir pathconfig get | weir pathconfig validate -").exit_code, 0);
  EXPECT_EQ(daemon_.script("echo '{' | weir pathconfig validate -").exit_code, 1);
}

TEST_F(Cli, metrics_and_health_are_on_the_admin_port_and_nothing_else_is) {
  start();
  const Ended ended = daemon_.script(R"(set -e
    port=$(weir status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["admin_port"])')
    get() { python3 -c 'import sys,urllib.request,urllib.error
try: print(urllib.request.urlopen(sys.argv[1]).read().decode())
except urllib.error.HTTPError as e: print(e.code)' http://127.0.0.1:$port$1; }
    get /healthz; get /metrics; get /v1/conf; get /nothing)");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, StartsWith("ok\n"));
  for (const char* metric : {"weir_dirty_files 0", "weir_dirty_oldest_age_seconds", "weir_page_store_capacity_bytes",
                             "weir_persist_errors_total{cause=\"denied\"} 0", "weir_cache_hit_bytes_total",
                             "weir_kv_disk_bytes"}) {
    EXPECT_THAT(ended.out, HasSubstr(metric));
  }
  EXPECT_THAT(ended.out, HasSubstr("403\n"));
  EXPECT_THAT(ended.out, HasSubstr("404\n"));
}

TEST_F(Cli, the_daemon_goes_to_the_background_once_it_serves) {
  const Ended ended = daemon_.script("mkdir -p $TMPDIR/v2 $TMPDIR/p2; weir -Dvolume.dir=$TMPDIR/v2 -Dadmin.port=0 -Ds3.port=0 "
                                     "-Dworker.page.store.dirs=$TMPDIR/p2 --config '' serve -d && "
                                     "weir --socket $TMPDIR/v2/weir.sock status --json");
  ASSERT_EQ(ended.exit_code, 0) << ended.err;
  const size_t at = ended.out.find("\"pid\": ");
  ASSERT_NE(at, std::string::npos);
  const pid_t pid = std::stoi(ended.out.substr(at + 7));
  ASSERT_EQ(::kill(pid, SIGTERM), 0);
  while (::kill(pid, 0) == 0) ::usleep(10'000);
}

// --- bad input

TEST_F(Cli, bad_properties_stop_the_start_by_name) {
  expect_refused("did you mean \"admin.port\"", "-D admin.prot=1");
  expect_refused("property admin.port: \"high\"", "-D alluxio.admin.port=high");
  expect_refused("worker.page.store.dirs is not set", "-D worker.page.store.dirs=");
}

// Semantics 6.3.
TEST_F(Cli, a_second_daemon_on_the_volume_is_refused_with_the_pid_of_the_first) {
  start();
  expect_refused("in use by the daemon with pid");
}

TEST_F(Cli, a_page_store_of_another_volume_or_in_use_is_refused) {
  start();
  WeirDaemon other;
  other.set("worker.page.store.dirs", daemon_.home() / "pages");
  Ended ended = other.start_refused();
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.err, HasSubstr((daemon_.home() / "pages").string()));
  EXPECT_EQ(daemon_.stop(), 0);
  ended = other.start_refused();
  EXPECT_EQ(ended.exit_code, 1);
  EXPECT_THAT(ended.err, HasSubstr("volume"));
}

TEST_F(Cli, metadata_of_a_later_format_is_refused) {
  start();
  EXPECT_EQ(daemon_.stop(), 0);
  {
    const auto kv = kv::RocksKv::open({.dir = daemon_.home() / "volume/kv"});
    ASSERT_TRUE(kv.has_value()) << kv.error().to_string();
    const auto txn = (*kv)->begin();
    const auto value = txn->get(format::superblock_key());
    ASSERT_TRUE(value.has_value() && value->has_value());
    auto superblock = format::decode<format::Superblock>(**value);
    ASSERT_TRUE(superblock.has_value());
    superblock->set_format_version(format::kFormatVersion + 1);
    txn->put(format::superblock_key(), format::encode(*superblock));
    ASSERT_TRUE(txn->commit(kv::Durability::kSynced).has_value());
  }
  expect_refused("version " + std::to_string(format::kFormatVersion + 1));
}

TEST_F(Cli, a_port_in_use_is_refused) {
  const int taken = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(taken, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(taken, 1), 0);
  ASSERT_EQ(::getsockname(taken, reinterpret_cast<sockaddr*>(&address), &size), 0);
  expect_refused("admin.port", "-D admin.port=" + std::to_string(ntohs(address.sin_port)));
  ::close(taken);
}

TEST_F(Cli, a_bad_mount_point_is_refused) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
  expect_refused("/absent", "-D fuse.mount.point=" + (daemon_.home() / "absent").string());
  std::ofstream(daemon_.mount_point() / "file") << "x";
  expect_refused("empty", "-D fuse.mount.point=" + daemon_.mount_point().string());
}

TEST_F(Cli, a_bad_under_store_is_refused_with_the_reason) {
  start();
  const auto refused = [&](const std::string& arguments, const std::string& reason) {
    const Ended ended = daemon_.weir("mount-table add /s3 " + arguments);
    EXPECT_EQ(ended.exit_code, 1) << arguments;
    EXPECT_THAT(ended.err, HasSubstr(reason)) << arguments;
  };
  refused("ftp://host/dir", "ftp://host/dir");
  refused("file:///no/such/directory", "/no/such/directory");
  refused("s3://bucket -o s3.endpoint=127.0.0.1:1 -o s3.access.key=a -o s3.secret.key=b", "no scheme");
  refused("s3://bucket -o s3.endpont=x", "s3.endpont");
  EXPECT_THAT(daemon_.weir("mount-table list").out, Not(HasSubstr("/s3")));
  EXPECT_EQ(daemon_.weir("status").exit_code, 0);
}

TEST_F(Cli, what_is_wrong_with_an_s3_store_is_said) {
  if (const auto missing = MinioServer::missing()) GTEST_SKIP() << *missing;
  const auto server = MinioServer::start();
  ASSERT_TRUE(server.has_value()) << server.error().to_string();
  ASSERT_TRUE((*server)->create_bucket("weir").has_value());
  start();
  const auto refusal = [&](const std::string& bucket, const std::string& key, const std::string& secret,
                           const std::string& endpoint) {
    const Ended ended = daemon_.weir("mount-table add /s3 s3://" + bucket + " -o s3.endpoint=" + endpoint +
                                     " -o s3.access.key=" + key + " -o s3.secret.key=" + secret);
    EXPECT_EQ(ended.exit_code, 1) << ended.out;
    return ended.err;
  };
  const std::string& key = (*server)->access_key();
  const std::string& secret = (*server)->secret_key();
  EXPECT_THAT(refusal("absent", key, secret, (*server)->endpoint()), HasSubstr("bucket"));
  EXPECT_THAT(refusal("weir", "nobody", secret, (*server)->endpoint()), HasSubstr("access"));
  EXPECT_THAT(refusal("weir", key, "wrong", (*server)->endpoint()), HasSubstr("secret"));
  EXPECT_THAT(refusal("weir", key, secret, "http://127.0.0.1:1"), HasSubstr("127.0.0.1:1"));
  EXPECT_THAT(daemon_.weir("mount-table list").out, Not(HasSubstr("/s3")));
}

// Semantics 6.4.
TEST_F(Cli, a_store_that_is_gone_stops_neither_the_start_nor_the_end) {
  if (const auto missing = MinioServer::missing()) GTEST_SKIP() << *missing;
  {
    const auto bucket = TestBucket::make(Under::kMinio, {});
    ASSERT_NE(bucket, nullptr);
    start();
    ASSERT_EQ(daemon_.weir(bucket->add_command()).exit_code, 0);
    ASSERT_EQ(daemon_.script("echo before | weir fs cp - /s3/before && weir fs persist --wait /s3/before").exit_code, 0);
  }
  EXPECT_EQ(daemon_.script("echo while | weir fs cp - /s3/while").exit_code, 0);
  EXPECT_EQ(daemon_.weir("fs cat /s3/while").out, "while\n");
  EXPECT_EQ(daemon_.stop(), 0);
  start();
  EXPECT_EQ(daemon_.weir("fs cat /s3/before /s3/while").out, "before\nwhile\n");
  EXPECT_THAT(daemon_.weir("fs ls /s3/while").out, HasSubstr("NOT_PERSISTED"));
  EXPECT_THAT(daemon_.weir("async-persist list").out, HasSubstr("/s3/while"));
  EXPECT_EQ(daemon_.weir("fs persist --wait --timeout 1 /s3/while").exit_code, 1);
  EXPECT_EQ(daemon_.stop(), 0);
}

// Semantics 5.4.
TEST_F(Cli, keys_that_no_path_can_show_are_listed_and_left_alone) {
  const auto bucket = TestBucket::make(Under::kDirectory, daemon_.home() / "bucket");
  ASSERT_NE(bucket, nullptr);
  for (const char* key : {"seen", "odd//key", "up/../key", "data/"}) bucket->put(key, "x");
  start();
  ASSERT_EQ(daemon_.weir(bucket->add_command()).exit_code, 0);
  EXPECT_THAT(daemon_.weir("fs ls -R /s3").out, HasSubstr(" /s3/seen\n"));
  const std::string hidden = daemon_.weir("fs ls --hidden /s3 /s3/odd /s3/up /s3/data").out;
  for (const char* key : {"odd//", "up/../", "data/"}) EXPECT_THAT(hidden, HasSubstr(key));
  EXPECT_EQ(daemon_.script("weir fs rm -r /s3/seen && weir fs persist --wait /s3").exit_code, 0);
  for (const char* key : {"odd//key", "up/../key", "data/"}) EXPECT_EQ(bucket->get(key), "x") << key;
}

TEST_F(Cli, mount_points_are_listed_and_removed) {
  start();
  ASSERT_EQ(daemon_.weir("mount-table add /s3 file://" + (daemon_.home() / "bucket").string()).exit_code, 0);
  EXPECT_THAT(daemon_.weir("mount-table list").out, ::testing::ContainsRegex("/s3 +file://.*/bucket"));
  EXPECT_EQ(daemon_.weir("mount-table remove /s3").exit_code, 0);
  EXPECT_THAT(daemon_.weir("mount-table list").out, Not(HasSubstr("/s3")));
  EXPECT_EQ(daemon_.weir("mount-table remove /s3").exit_code, 1);
}

TEST_F(Cli, the_volume_is_mounted_and_unmounted_while_it_is_served) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
  start();
  ASSERT_EQ(daemon_.weir("mount-table add /s3 file://" + (daemon_.home() / "bucket").string()).exit_code, 0);
  const Ended ended = daemon_.script("set -e; weir mount $MNT; ls $MNT; weir umount; ls -A $MNT; weir mount $MNT; ls $MNT");
  EXPECT_EQ(ended.exit_code, 0) << ended.err;
  EXPECT_THAT(ended.out, ::testing::EndsWith("s3\n"));
  EXPECT_EQ(daemon_.stop(), 0);
  EXPECT_EQ(run_script("ls -A '" + daemon_.mount_point().string() + "'").out, "");
}

}  // namespace
}  // namespace weir::testing
