// The under store fails in every way that a network and an S3 server have; the daemon goes on and recovers by itself.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "tests/cli/test_bucket.h"
#include "tests/cli/weir_binary.h"
#include "tests/fault/s3_proxy.h"
#include "tests/minio/minio_server.h"

namespace weir::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Kind = ProxyFault::Kind;

constexpr auto kPatience = std::chrono::seconds(60);

class Outage : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto missing = MinioServer::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
    bucket_ = TestBucket::make(Under::kMinio, {});
    ASSERT_NE(bucket_, nullptr);
    const std::string endpoint = bucket_->server()->endpoint();
    const std::string port = endpoint.substr(endpoint.rfind(':') + 1);
    uint16_t number = 0;
    std::from_chars(port.data(), port.data() + port.size(), number);
    auto proxy = S3Proxy::start(number);
    ASSERT_TRUE(proxy.has_value()) << proxy.error().to_string();
    proxy_ = *std::move(proxy);
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << daemon_.log();
  }

  void start() {
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    const Ended added = daemon_.weir(bucket_->add_command("/s3", {{"s3.endpoint", proxy_->endpoint()}}));
    ASSERT_EQ(added.exit_code, 0) << added.err;
    // A directory that was never listed needs its store for names that it does not know.
    ASSERT_EQ(daemon_.weir("fs ls /s3").exit_code, 0);
  }
  void put(const std::string& name, const std::string& content) {
    const Ended ended = daemon_.script("printf %s '" + content + "' | weir fs cp - /s3/" + name);
    ASSERT_EQ(ended.exit_code, 0) << ended.err;
  }
  void expect_persisted(const std::string& name, const std::string& content) {
    EXPECT_TRUE(daemon_.wait_state("/s3/" + name, "PERSISTED", kPatience)) << daemon_.weir("async-persist list").out;
    EXPECT_EQ(bucket_->get(name), content);
  }

  static bool eventually(const std::function<bool()>& holds) {
    for (const Deadline deadline = Deadline::after(kPatience); !holds(); std::this_thread::sleep_for(std::chrono::milliseconds(20)))
      if (deadline.expired()) return false;
    return true;
  }
  static std::set<std::string> files_up_to(int files) {
    std::set<std::string> names;
    for (int i = 1; i <= files; ++i) names.insert("file-" + std::to_string(i));
    return names;
  }
  // The bucket holds these and what was there before, and fsck agrees.
  void expect_sound(std::set<std::string> names) {
    std::set<std::string> found;
    for (const auto& [key, size] : bucket_->list()) {
      if (key != "before") found.insert(key);
    }
    EXPECT_EQ(found, names);
    const Ended fsck = daemon_.weir("fsck --ufs");
    EXPECT_EQ(fsck.exit_code, 0) << fsck.out << fsck.err;
  }

  std::unique_ptr<TestBucket> bucket_;
  std::unique_ptr<S3Proxy> proxy_;
  WeirDaemon daemon_;
};

// Semantics 6.4.
TEST_F(Outage, unmounting_drains_or_says_what_is_left_and_why) {
  start();
  put("before", "1");
  expect_persisted("before", "1");
  proxy_->set({.kind = Kind::kStatus, .status = 403, .code = "AccessDenied"});
  put("refused", "2");
  ASSERT_TRUE(daemon_.wait_until("weir --json async-persist stat --path /s3/refused | grep -q '\"refused\": true'", kPatience));
  const Ended left = daemon_.weir("umount --drain --timeout 1");
  EXPECT_EQ(left.exit_code, 4) << left.err;
  EXPECT_THAT(left.err, HasSubstr("/s3/refused"));
  EXPECT_THAT(left.err, HasSubstr("403"));
  proxy_->heal();
  const Ended drained = daemon_.weir("umount --drain --timeout 60");
  EXPECT_EQ(drained.exit_code, 0) << drained.err;
  EXPECT_EQ(bucket_->get("refused"), "2");
  EXPECT_EQ(daemon_.weir("umount --timeout 1").exit_code, 2);
}

// Semantics 6.4.
TEST_F(Outage, a_stop_returns_within_its_grace_period_though_the_store_is_a_black_hole) {
  daemon_.set("shutdown.grace.period", "8s");
  start();
  proxy_->set({.kind = Kind::kBlackHole});
  put("waits", "1");
  EXPECT_EQ(daemon_.weir("fs persist --wait --timeout 1 /s3/waits").exit_code, 1);
  EXPECT_EQ(daemon_.stop(), 0);  // 1: it was cut off
  proxy_->heal();
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  expect_persisted("waits", "1");
}

// Semantics 4.4.
TEST_F(Outage, whatever_the_store_does_local_work_goes_on_and_all_is_persisted_once_it_is_well) {
  start();
  put("before", "0");
  expect_persisted("before", "0");
  const ProxyFault faults[] = {
      {.kind = Kind::kReset},
      {.kind = Kind::kBlackHole},
      {.kind = Kind::kStatus, .status = 503, .code = "SlowDown"},
      {.kind = Kind::kStatus, .status = 429, .code = "TooManyRequests"},
      {.kind = Kind::kStatus, .status = 500, .code = "InternalError"},
      {.kind = Kind::kStatus, .status = 403, .code = "InvalidAccessKeyId"},
      {.kind = Kind::kStatus, .status = 404, .code = "NoSuchBucket"},
  };
  int number = 0;
  for (const ProxyFault& fault : faults) {
    const std::string name = "file-" + std::to_string(++number);
    SCOPED_TRACE(name);
    proxy_->set(fault);
    put(name, name);
    ASSERT_TRUE(eventually([&] { return proxy_->hits() != 0; }));
    EXPECT_EQ(daemon_.weir("fs cat /s3/" + name + " /s3/before").out, name + "0");
    EXPECT_THAT(daemon_.weir("fs ls /s3/" + name).out, HasSubstr("NOT_PERSISTED"));
    proxy_->heal();
    expect_persisted(name, name);
  }
  expect_sound(files_up_to(number));
}

// Four writers of whole files, each until its first failure; prints the names of the files that are whole, and what the failures were.
constexpr const char* kWriters = R"(import os, sys, threading
folder, failures, whole = sys.argv[1], [], []
def write(writer):
    for number in range(400):
        name = f'{writer}-{number}'
        path = os.path.join(folder, name)
        try:
            with open(path, 'wb', buffering=0) as file:
                for _ in range(4): file.write(b'x' * 65536)
            whole.append(name)
        except OSError as e:
            failures.append(e.errno)
            if os.path.lexists(path): os.unlink(path)
            return
threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(*failures)
print(*whole)
)";

// Semantics 6.1, 6.2.
TEST_F(Outage, writers_meet_the_pinned_limit_at_their_call_and_all_of_it_is_persisted_after_the_heal) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << "SKIPPED: " << obstacle;
  daemon_.set("fuse.mount.point", daemon_.mount_point());
  daemon_.set("worker.page.store.size", "64MiB");
  daemon_.set("worker.page.store.pinned.file.capacity.limit.ratio", "0.5");
  start();
  put("before", "0");
  expect_persisted("before", "0");
  proxy_->set({.kind = Kind::kBlackHole});
  std::ofstream(daemon_.home() / "writers.py") << kWriters;
  const Ended written = daemon_.script("timeout -s KILL 60 python3 $TMPDIR/writers.py $MNT/s3");
  ASSERT_EQ(written.exit_code, 0) << written.err;
  std::istringstream lines(written.out);
  std::string failures, names;
  std::getline(lines, failures);
  std::getline(lines, names);
  EXPECT_EQ(failures, "28 28 28 28");  // ENOSPC
  std::istringstream words(names);
  std::set<std::string> whole{std::istream_iterator<std::string>(words), {}};
  EXPECT_GE(whole.size() * (256 << 10), size_t{16 << 20});
  EXPECT_LE(whole.size() * (256 << 10), size_t{40 << 20});

  // The S3 endpoint says that it is to be tried again.
  const std::string put_object =
      "set -e; eval $(weir --json status | python3 -c 'import json,sys; print(\"url=\" + json.load(sys.stdin)[\"s3\"][\"url\"])'); "
      "key=$(weir --json s3 key list --secrets | python3 -c 'import json,sys; k=json.load(sys.stdin)[\"keys\"][0]; "
      "print(k[\"access_key\"] + \":\" + k[\"secret_key\"])'); head -c 1000000 /dev/zero > $TMPDIR/object; "
      "curl -s -m 60 -D - -H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' --aws-sigv4 aws:amz:us-east-1:s3 --user $key -T $TMPDIR/object $url/s3/object";
  const std::string refused = daemon_.script(put_object).out;
  EXPECT_THAT(refused, AllOf(HasSubstr("HTTP/1.1 503"), HasSubstr("SlowDown")));
  EXPECT_THAT(refused, HasSubstr("Retry-After:"));

  // What needs no room goes on, and what is removed makes room.
  EXPECT_EQ(daemon_.script("timeout -s KILL 60 cat $MNT/s3/before").out, "0");
  for (int i = 0; i < 20; ++i) {
    const std::string name = *whole.begin();
    ASSERT_EQ(daemon_.script("timeout -s KILL 60 rm $MNT/s3/" + name).exit_code, 0);
    whole.erase(whole.begin());
  }
  EXPECT_TRUE(daemon_.wait_until("timeout -s KILL 60 dd if=/dev/zero of=$MNT/s3/again bs=64k count=4 2> $TMPDIR/dd", kPatience));
  whole.insert("again");

  proxy_->heal();
  EXPECT_TRUE(daemon_.wait_until("weir --json async-persist stat | grep -q '\"waiting_files\": *0'", kPatience))
      << daemon_.weir("async-persist list").out;
  EXPECT_THAT(daemon_.script(put_object).out, HasSubstr("HTTP/1.1 200"));
  EXPECT_TRUE(daemon_.wait_state("/s3/object", "PERSISTED", kPatience)) << daemon_.weir("async-persist list").out;
  whole.insert("object");
  expect_sound(whole);
}

// Semantics 6.1.
TEST_F(Outage, a_writer_of_one_large_file_meets_the_pinned_limit) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << "SKIPPED: " << obstacle;
  daemon_.set("fuse.mount.point", daemon_.mount_point());
  daemon_.set("fuse.passthrough", "off");  // else the kernel does not ask
  daemon_.set("worker.page.store.size", "64MiB");
  daemon_.set("worker.page.store.pinned.file.capacity.limit.ratio", "0.5");
  start();
  proxy_->set({.kind = Kind::kBlackHole});
  const Ended written = daemon_.script("LC_ALL=C timeout -s KILL 120 dd if=/dev/zero of=$MNT/s3/large bs=64k count=4096");
  EXPECT_EQ(written.exit_code, 1) << written.err;
  EXPECT_THAT(written.err, HasSubstr("No space left on device"));
}

// Semantics 4.4.
TEST_F(Outage, a_bucket_that_was_erased_and_made_again_gets_what_waits_and_what_it_lost_is_told) {
  daemon_.set("metadata.sync.interval", "-1");  // else what it lost counts as removed by others
  start();
  const Ended rules = daemon_.script(
      R"SH(EDITOR="cp /dev/stdin" weir pathconfig edit <<< '{"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},"pathRules":[{"path":"/s3/remote","policyMode":"NO_CACHE"}]}')SH");
  ASSERT_EQ(rules.exit_code, 0) << rules.err;
  put("cached", "1");
  put("remote", "2");
  expect_persisted("cached", "1");
  expect_persisted("remote", "2");
  bucket_->erase_whole();
  put("waits", "3");
  EXPECT_TRUE(daemon_.wait_until("weir async-persist stat --path /s3/waits | grep -q NoSuchBucket", kPatience))
      << daemon_.weir("async-persist stat --path /s3/waits").out;
  EXPECT_EQ(daemon_.weir("fs cat /s3/cached /s3/waits").out, "13");
  const Ended absent = daemon_.weir("fs cat /s3/remote");
  EXPECT_NE(absent.exit_code, 0);
  EXPECT_EQ(absent.out, "");
  for (const char* name : {"cached", "remote", "waits"}) EXPECT_THAT(daemon_.weir("fs ls /s3").out, HasSubstr(name));

  bucket_->make_again();
  expect_persisted("waits", "3");
  EXPECT_EQ(daemon_.weir("fs cat /s3/cached").out, "1");
  const Ended told = daemon_.weir("fsck --ufs");
  EXPECT_EQ(told.exit_code, 1);
  EXPECT_THAT(told.out, HasSubstr("object_missing: /s3/cached"));
  EXPECT_THAT(told.out, HasSubstr("object_missing: /s3/remote"));
  (void)daemon_.weir("fsck --ufs --repair");
  expect_persisted("cached", "1");
}

// Semantics 4.1.
TEST_F(Outage, a_reply_that_is_lost_after_the_object_was_written_makes_no_other_object) {
  start();
  proxy_->set({.kind = Kind::kLoseReply, .method = "PUT", .times = 4});
  for (int i = 1; i <= 4; ++i) put("file-" + std::to_string(i), "file-" + std::to_string(i));
  for (int i = 1; i <= 4; ++i) expect_persisted("file-" + std::to_string(i), "file-" + std::to_string(i));
  EXPECT_EQ(proxy_->hits(), 4u);
  expect_sound(files_up_to(4));
}

// Semantics 2.1.
TEST_F(Outage, a_reply_that_ends_too_early_is_never_taken_for_the_content) {
  const std::string content(3 << 20, 'x');
  bucket_->put("object", content);
  start();
  proxy_->set({.kind = Kind::kTruncate, .method = "GET", .times = 3});
  const Ended read = daemon_.weir("fs cat /s3/object");
  EXPECT_EQ(read.exit_code, 0) << read.err;
  EXPECT_TRUE(read.out == content);
}

TEST_F(Outage, a_slow_store_is_waited_for) {
  start();
  proxy_->set({.kind = Kind::kSlow, .delay = std::chrono::milliseconds(1'500)});
  for (const char* name : {"a", "b", "c"}) put(name, name);
  for (const char* name : {"a", "b", "c"}) expect_persisted(name, name);
}

// Semantics 2.3.
TEST_F(Outage, a_refusal_is_seen_everywhere_until_it_is_mended) {
  if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << "SKIPPED: " << obstacle;
  daemon_.set("fuse.mount.point", daemon_.mount_point());
  start();
  proxy_->set({.kind = Kind::kStatus, .status = 403, .code = "SignatureDoesNotMatch"});
  ASSERT_EQ(daemon_.script("echo 1 > $MNT/s3/file").exit_code, 0);
  const auto told = [&](const std::string& command, const std::string& what) {
    return daemon_.wait_until(command + " | grep -q '" + what + "'", kPatience);
  };
  EXPECT_TRUE(told("weir async-persist stat --path /s3/file", "403"));
  EXPECT_TRUE(told("weir async-persist stat", "/s3 takes nothing now.*403"));
  EXPECT_TRUE(told("weir status", "/s3.*403"));
  EXPECT_TRUE(told("weir mount-table list", "/s3.*403"));
  const std::string metrics =
      "curl -s http://127.0.0.1:$(weir --json status | python3 -c 'import json,sys;print(json.load(sys.stdin)[\"admin_port\"])')/metrics";
  EXPECT_TRUE(told(metrics, "^weir_under_store_refused{mount=\"/s3\"} 1"));
  EXPECT_TRUE(told(metrics, "^weir_under_store_available{mount=\"/s3\"} 0"));
  const std::string sync =
      "python3 -c 'import os,sys\nf=os.open(sys.argv[1],os.O_WRONLY)\ntry:\n os.fsync(f)\nexcept OSError as e:\n print(e.errno)' $MNT/s3/file";
  EXPECT_EQ(daemon_.script(sync).out, "5\n");
  proxy_->heal();
  expect_persisted("file", "1\n");
  EXPECT_TRUE(told(metrics, "^weir_under_store_refused{mount=\"/s3\"} 0"));
  EXPECT_EQ(daemon_.script(sync).out, "");
}

// Semantics 5.2.
TEST_F(Outage, what_others_wrote_meanwhile_is_kept_beside) {
  start();
  put("file", "first");
  expect_persisted("file", "first");
  proxy_->set({.kind = Kind::kReset});
  put("file", "ours");
  bucket_->put("file", "theirs");
  proxy_->heal();
  expect_persisted("file", "ours");
  std::string kept;
  for (const auto& [key, size] : bucket_->list()) {
    if (key.starts_with("file.conflict-")) kept = bucket_->get(key);
  }
  EXPECT_EQ(kept, "theirs");
}

TEST_F(Outage, the_support_bundle_holds_no_secret) {
  daemon_.set("s3.access.key", "AKIDOFTHECONFIG");
  daemon_.set("s3.secret.key", "secret/of+the/config");
  ::setenv("BACKUP_PASSWORD", "hunter2-of-the-environment", 1);
  daemon_.set("log.file", daemon_.home() / "weir.log");
  start();
  put("file", "1");
  // As a careless message would have it.
  ASSERT_EQ(daemon_.script("cd $TMPDIR; echo \"url=http://u:$BACKUP_PASSWORD@host secret/of+the/config\" >> weir.log; "
                           "weir --json s3 key list --secrets | grep -o '\"secret_key\": *\"[^\"]*' | sed 's/.*\"//' > key; "
                           "echo \"key=$(cat key)\" >> weir.log; test -s key").exit_code, 0);
  const auto look = [&](const std::string& how) {
    SCOPED_TRACE(how);
    const Ended made = daemon_.script("cd $TMPDIR; rm -rf out bundle.tar.gz; mkdir out; weir support-bundle -o bundle.tar.gz && "
                                      "tar -xzf bundle.tar.gz -C out && ls out/weir-support");
    ASSERT_EQ(made.exit_code, 0) << made.err;
    for (const char* name : {"system.txt", "config.json", "log.txt"}) EXPECT_THAT(made.out, HasSubstr(name));
    const std::string all = daemon_.script("cat $TMPDIR/out/weir-support/*").out;
    EXPECT_THAT(all, HasSubstr("daemon.started"));
    EXPECT_THAT(all, HasSubstr("key=******"));
    for (const std::string& secret : {std::string("AKIDOFTHECONFIG"), std::string("secret/of+the"), std::string("hunter2"), bucket_->server()->secret_key(),
                                     daemon_.script("cat $TMPDIR/key").out.substr(0, 20)})
      EXPECT_THAT(all, Not(HasSubstr(secret)));
    EXPECT_EQ(daemon_.script("stat -c %a $TMPDIR/bundle.tar.gz").out, "600\n");
  };
  look("of a daemon");
  const std::string list = daemon_.script("ls $TMPDIR/out/weir-support").out;
  for (const char* name : {"status.json", "metrics.txt", "mounts.json", "pathconfig.json", "fsck.jsonl", "async-persist-stat.json"})
    EXPECT_THAT(list, HasSubstr(name));
  EXPECT_THAT(daemon_.script("cat $TMPDIR/out/weir-support/fsck.jsonl").out, HasSubstr("\"summary\""));
  EXPECT_EQ(daemon_.stop(), 0);
  look("of nobody");
}

// Semantics 6.7.
TEST_F(Outage, fsck_and_scrub_find_and_repair_with_a_daemon_and_without) {
  start();
  put("file", "content");
  expect_persisted("file", "content");
  const Ended scrubbed = daemon_.weir("--json scrub");
  EXPECT_EQ(scrubbed.exit_code, 0) << scrubbed.err;
  EXPECT_THAT(scrubbed.out, HasSubstr("\"summary\""));
  ASSERT_TRUE(bucket_->store().erase("file", std::nullopt, Deadline::after(kPatience)).has_value());
  const Ended told = daemon_.weir("fsck --ufs --repair --dry-run");
  EXPECT_EQ(told.exit_code, 1);
  EXPECT_THAT(told.out, HasSubstr("object_missing"));
  EXPECT_THAT(told.out, HasSubstr("written again"));
  const Ended repaired = daemon_.weir("fsck --ufs --repair");
  EXPECT_EQ(repaired.exit_code, 0) << repaired.out << repaired.err;
  expect_persisted("file", "content");
  EXPECT_EQ(daemon_.weir("fsck --offline").exit_code, 1);  // it is in use
  EXPECT_EQ(daemon_.stop(), 0);
  ASSERT_TRUE(bucket_->store().erase("file", std::nullopt, Deadline::after(kPatience)).has_value());
  EXPECT_EQ(daemon_.weir("fsck --offline").exit_code, 0);
  EXPECT_EQ(daemon_.weir("fsck --offline --ufs").exit_code, 1);
  const Ended offline = daemon_.weir("fsck --offline --ufs --repair");
  EXPECT_EQ(offline.exit_code, 0) << offline.out << offline.err;
  ASSERT_TRUE(daemon_.start()) << daemon_.log();
  expect_persisted("file", "content");
}

}  // namespace
}  // namespace weir::testing
