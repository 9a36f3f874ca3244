// RocksKv on a disk that fills up, on one that cannot be written, and with steps that fail between two others.
#include <gtest/gtest.h>

#include <sys/mount.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/failpoint.h"
#include "kv/mem_kv.h"
#include "kv/rocks_kv.h"
#include "kv/run_txn.h"
#include "testing/fault_kv.h"

namespace weir::kv {
namespace {

namespace fs = std::filesystem;

class KvFault : public ::testing::Test {
 protected:
  KvFault() {
    std::string pattern = (fs::temp_directory_path() / "weir-kv-fault-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~KvFault() override {
    if (mounted_) ::umount2(root_.c_str(), MNT_DETACH);
    fs::remove_all(root_);
  }

  bool mount_small_disk(const char* size) {
    mounted_ = ::mount("tmpfs", root_.c_str(), "tmpfs", 0, size) == 0;
    return mounted_;
  }
  std::string root() const { return root_.string(); }
  std::string dir() const { return (root_ / "kv").string(); }

  static Result<void> put(Kv& kv, const std::string& key, const std::string& value,
                          Durability durability = Durability::kWritten) {
    const auto txn = kv.begin();
    txn->put(key, value);
    txn->add("count", 1);
    return txn->commit(durability);
  }

 private:
  fs::path root_;
  bool mounted_ = false;
};

TEST_F(KvFault, a_full_disk_fails_commits_loses_none_and_is_overcome_when_space_is_back) {
  if (!mount_small_disk("size=24m")) GTEST_SKIP() << "SKIPPED: needs the right to mount a tmpfs";
  const std::string ballast = root() + "/ballast";
  std::ofstream(ballast) << std::string(8 << 20, 'b');
  std::map<std::string, std::string> acknowledged;
  {
    auto opened = RocksKv::open({.dir = dir(), .write_buffer_bytes = 1 << 20});
    ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
    RocksKv& kv = **opened;
    int failures = 0;
    uint64_t noise = 1;
    for (int i = 0; failures < 20; ++i) {
      ASSERT_LT(i, 10'000) << "the disk never filled up";
      std::string value(50'000, '\0');  // incompressible
      for (char& byte : value) byte = static_cast<char>((noise = noise * 6364136223846793005u + 1) >> 56);
      const std::string key = "k" + std::to_string(i);
      const auto committed = put(kv, key, value, i % 7 == 0 ? Durability::kSynced : Durability::kWritten);
      if (committed.has_value()) {
        acknowledged[key] = value;
        continue;
      }
      ASSERT_TRUE(committed.error().code() == ErrorCode::kNoSpace ||
                  committed.error().code() == ErrorCode::kMayHaveHappened)
          << committed.error().to_string();
      ++failures;
      if (committed.error().code() == ErrorCode::kNoSpace) {
        EXPECT_EQ(kv.begin()->get(key).value(), std::nullopt);
      } else {
        acknowledged[key] = value;
      }
    }
    for (const auto& [key, value] : acknowledged) ASSERT_EQ(kv.begin()->get(key).value(), value) << key;

    fs::remove(ballast);
    // Where the log was damaged with nothing in memory, it takes opening again.
    for (const Deadline deadline = Deadline::after(std::chrono::seconds(5)); !deadline.expired();) {
      const auto committed = put(kv, "after", "space is back", Durability::kSynced);
      if (committed.has_value()) {
        acknowledged["after"] = "space is back";
        break;
      }
      ASSERT_TRUE(failed_with(committed, ErrorCode::kNoSpace)) << committed.error().to_string();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
  auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(opened.has_value()) << opened.error().to_string();
  EXPECT_TRUE(put(**opened, "again", "open", Durability::kSynced).has_value());
  acknowledged["again"] = "open";
  for (const auto& [key, value] : acknowledged) EXPECT_EQ((*opened)->begin()->get(key).value(), value) << key;
  EXPECT_EQ((*opened)->begin()->get("count").value(), encode_counter(static_cast<int64_t>(acknowledged.size())));
}

TEST_F(KvFault, opening_on_a_full_disk_says_so) {
  if (!mount_small_disk("size=64k")) GTEST_SKIP() << "SKIPPED: needs the right to mount a tmpfs";
  std::ofstream(root() + "/ballast") << std::string(1 << 20, 'b');
  const auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(failed_with(opened, ErrorCode::kNoSpace)) << opened.error().to_string();
  EXPECT_NE(opened.error().to_string().find(dir()), std::string::npos);
}

TEST_F(KvFault, opening_on_a_read_only_disk_says_so) {
  if (!mount_small_disk("size=8m")) GTEST_SKIP() << "SKIPPED: needs the right to mount a tmpfs";
  ASSERT_EQ(::mount(nullptr, root().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(failed_with(opened, ErrorCode::kReadOnly)) << opened.error().to_string();
  EXPECT_NE(opened.error().to_string().find(dir()), std::string::npos);
}

TEST_F(KvFault, a_batch_that_fails_before_the_write_leaves_no_trace) {
  auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(opened.has_value());
  RocksKv& kv = **opened;
  ASSERT_TRUE(put(kv, "a", "1").has_value());
  const auto reader = kv.begin();
  ASSERT_EQ(reader->get("a").value(), "1");
  {
    const ArmedFailpoint armed("kv.rocks.before_write", [] { return Result<void>(fail(ErrorCode::kIo)); });
    EXPECT_TRUE(failed_with(put(kv, "a", "2"), ErrorCode::kIo));
  }
  EXPECT_EQ(kv.begin()->get("a").value(), "1");
  // The counter's latest value is what was committed, not what was worked out for the failed batch.
  ASSERT_TRUE(put(kv, "b", "1").has_value());
  EXPECT_EQ(kv.begin()->get("count").value(), encode_counter(2));
  // Whoever begins now is not held up by the failed one's versions.
  const auto txn = kv.begin();
  ASSERT_EQ(txn->get("a").value(), "1");
  txn->put("a", "3");
  EXPECT_TRUE(txn->commit().has_value());
}

TEST_F(KvFault, a_commit_whose_flush_fails_is_visible_and_its_outcome_unknown) {
  auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(opened.has_value());
  RocksKv& kv = **opened;
  {
    const ArmedFailpoint armed("kv.rocks.before_sync", [] { return Result<void>(fail(ErrorCode::kIo)); });
    EXPECT_TRUE(failed_with(put(kv, "a", "1", Durability::kSynced), ErrorCode::kMayHaveHappened));
    EXPECT_TRUE(put(kv, "b", "1").has_value());
    EXPECT_TRUE(failed_with(kv.sync(), ErrorCode::kIo));
  }
  EXPECT_EQ(kv.begin()->get("a").value(), "1");
  EXPECT_TRUE(kv.sync().has_value());
}

TEST_F(KvFault, a_synced_read_only_commit_syncs_what_it_read) {
  auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(opened.has_value());
  RocksKv& kv = **opened;
  ASSERT_TRUE(put(kv, "a", "1").has_value());
  const uint64_t flushes = kv.flushes();
  const auto txn = kv.begin();
  ASSERT_EQ(txn->get("a").value(), "1");
  ASSERT_TRUE(txn->commit(Durability::kSynced).has_value());
  EXPECT_EQ(kv.flushes(), flushes + 1);
}

// While a first commit is held up in front of its write, others line up; they then share one batch. Each of a pair
// signs the pair's row, which tells the order they were given.
TEST_F(KvFault, transactions_of_one_batch_see_each_other_in_order) {
  auto opened = RocksKv::open({.dir = dir()});
  ASSERT_TRUE(opened.has_value());
  RocksKv& kv = **opened;
  for (int round = 0; round < 10; ++round) {
    ASSERT_TRUE(put(kv, "b1", "old").has_value());
    ASSERT_TRUE(put(kv, "n", encode_counter(100)).has_value());
    const auto update = [&] {
      auto txn = kv.begin();
      EXPECT_TRUE(txn->get("x").has_value());
      txn->put("x", "new");
      return txn;
    };
    const auto lost_update_1 = update(), lost_update_2 = update();

    std::promise<void> held, release;
    std::atomic<bool> first = true;
    const ArmedFailpoint armed("kv.rocks.before_write", [&]() -> Result<void> {
      if (first.exchange(false)) {
        held.set_value();
        release.get_future().wait();
      }
      return {};
    });
    std::thread holder([&] { EXPECT_TRUE(put(kv, "hold", "up").has_value()); });
    held.get_future().wait();

    std::atomic<int> winners = 0;
    const auto blind = [&](auto fill) {
      return std::thread([&kv, fill] {
        const auto txn = kv.begin();
        fill(*txn);
        EXPECT_TRUE(txn->commit().has_value());
      });
    };
    std::vector<std::thread> threads;
    threads.push_back(blind([](Txn& txn) { txn.put("b2", "new"), txn.put("last range", "put"); }));
    threads.push_back(blind([](Txn& txn) { txn.erase_range("b", "c"), txn.put("last range", "erase"); }));
    threads.push_back(blind([](Txn& txn) { txn.put("n", encode_counter(5)), txn.put("last counter", "put"); }));
    threads.push_back(blind([](Txn& txn) { txn.add("n", 1), txn.put("last counter", "add"); }));
    threads.push_back(blind([](Txn& txn) { txn.add("sum", 1); }));
    threads.push_back(blind([](Txn& txn) { txn.add("sum", 1); }));
    threads.emplace_back([&] { winners += lost_update_1->commit().has_value(); });
    threads.emplace_back([&] { winners += lost_update_2->commit().has_value(); });
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // for most to line up; the test holds without
    release.set_value();
    holder.join();
    for (auto& thread : threads) thread.join();

    const auto txn = kv.begin();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(txn->get("sum").value(), encode_counter(2 * (round + 1)));
    EXPECT_EQ(txn->get("n").value(), encode_counter(txn->get("last counter").value() == "add" ? 6 : 5));
    EXPECT_EQ(txn->get("b1").value(), std::nullopt);
    EXPECT_EQ(txn->get("b2").value().has_value(), txn->get("last range").value() == "put");
  }
}

// ---- the retry loop over a store that loses replies ----

using Fault = testing::FaultKv::Fault;

TEST(RunTxn, conflicts_are_retried_and_other_errors_are_not) {
  MemKv base;
  testing::FaultKv kv(base);
  int runs = 0;
  const auto body = [&](Txn& txn) -> Result<int> {
    txn.add("n", 1);
    return ++runs;
  };
  kv.script({Fault::kConflict, Fault::kTooOld, Fault::kConflict});
  EXPECT_EQ(run_txn(kv, body), 4);
  EXPECT_EQ(base.begin()->get("n").value(), encode_counter(1));
  kv.script({Fault::kIo});
  EXPECT_TRUE(failed_with(run_txn(kv, body), ErrorCode::kIo));
  EXPECT_EQ(runs, 5);
}

TEST(RunTxn, an_unknown_outcome_goes_to_the_caller_unless_the_body_is_repeatable) {
  for (const Fault fault : {Fault::kLostReply, Fault::kLostRequest}) {
    MemKv base;
    testing::FaultKv kv(base);
    const auto body = [](Txn& txn) -> Result<void> {
      TRY_ASSIGN(const auto done, txn.get("done"));
      if (done.has_value()) return {};
      txn.put("done", "");
      txn.add("n", 1);
      return {};
    };
    kv.script({fault});
    EXPECT_TRUE(failed_with(run_txn(kv, body), ErrorCode::kMayHaveHappened));
    EXPECT_EQ(base.begin()->get("done").value().has_value(), fault == Fault::kLostReply);
    kv.script({fault});
    EXPECT_TRUE(run_txn(kv, body, {.repeatable = RunOptions::Repeatable::kYes}).has_value());
    EXPECT_EQ(base.begin()->get("n").value(), encode_counter(1));
  }
}

TEST(RunTxn, the_deadline_ends_the_loop_with_the_last_error_named) {
  MemKv base;
  testing::FaultKv kv(base, 1, {.conflict = 1000});
  const auto result = run_txn(
      kv,
      [](Txn& txn) -> Result<void> {
        txn.put("a", "1");
        return {};
      },
      {.deadline = Deadline::after(std::chrono::milliseconds(20))});
  ASSERT_TRUE(failed_with(result, ErrorCode::kTimedOut));
  EXPECT_NE(result.error().to_string().find("CONFLICT"), std::string::npos);
  EXPECT_GE(kv.injected(), 1u);
}

TEST(RunTxn, an_error_of_the_body_aborts_and_is_handed_on) {
  MemKv kv;
  const auto result = run_txn(kv, [](Txn& txn) -> Result<void> {
    txn.put("a", "1");
    return fail(ErrorCode::kExists);
  });
  EXPECT_TRUE(failed_with(result, ErrorCode::kExists));
  EXPECT_EQ(kv.begin()->get("a").value(), std::nullopt);
}

}  // namespace
}  // namespace weir::kv
