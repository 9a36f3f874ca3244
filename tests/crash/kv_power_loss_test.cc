// The metadata store on a disk that loses power: what was synced is there, and before it everything that was committed earlier.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "kv/rocks_kv.h"
#include "tests/crash/volatile_disk.h"

namespace weir::kv {
namespace {

using testing::Loss;
using testing::VolatileDisk;
namespace fs = std::filesystem;

class KvPowerLoss : public ::testing::Test {
 protected:
  KvPowerLoss() {
    char path[] = "/tmp/weir-kv-power-XXXXXX";
    dir_ = ::mkdtemp(path);
    set_log_level(LogLevel::kError);  // RocksDB tells of every torn log
    fs::create_directory(dir_ + "/root");
    disk_ = std::make_unique<VolatileDisk>(dir_ + "/root");
  }
  ~KvPowerLoss() override {
    disk_.reset();
    fs::remove_all(dir_);
  }

  std::unique_ptr<RocksKv> open(const std::string& dir) {
    auto kv = RocksKv::open({.dir = dir, .write_buffer_bytes = 64 << 10});
    EXPECT_TRUE(kv.has_value()) << kv.error().to_string();
    return kv.has_value() ? *std::move(kv) : nullptr;
  }
  std::unique_ptr<RocksKv> open() { return open(dir_ + "/root/kv"); }
  // As after SIGKILL.
  std::unique_ptr<RocksKv> restart(std::unique_ptr<RocksKv> kv) {
    disk_->kill();
    kv.reset();
    disk_->revive();
    return open();
  }
  std::unique_ptr<RocksKv> lose_power(Loss loss) {
    const std::string image = dir_ + "/image" + std::to_string(++images_);
    disk_->lose_power(image, loss, random_);
    return open(image + "/kv");
  }

  static std::string key(uint64_t n) {
    std::string text = std::to_string(n);
    return std::string(10 - text.size(), '0') + text;
  }
  static void commit(Kv& kv, uint64_t n, Durability durability) {
    const auto txn = kv.begin();
    txn->put(key(n), std::string(500, 'v'));
    ASSERT_TRUE(txn->commit(durability).has_value());
  }
  // How many are there, of the first ones without a gap; and none may be behind a gap.
  static uint64_t prefix(Kv& kv) {
    const auto txn = kv.begin();
    uint64_t n = 0;
    std::string begin;
    for (bool more = true; more;) {
      const auto page = txn->get_range(begin, "9").value();
      for (const auto& row : page.rows) EXPECT_EQ(row.key, key(++n));
      more = page.more;
      if (more) begin = key_after(page.rows.back().key);
    }
    return n;
  }

  const uint64_t seed_ = Random::from_entropy().next();
  Random random_{seed_};
  ::testing::ScopedTrace trace_{__FILE__, __LINE__, "seed " + std::to_string(seed_)};
  std::string dir_;
  std::unique_ptr<VolatileDisk> disk_;
  int images_ = 0;
};

TEST_F(KvPowerLoss, keeps_what_was_synced_and_a_prefix_of_the_rest) {
  const auto kv = open();
  uint64_t synced = 0;
  for (uint64_t n = 1; n <= 400; ++n) {
    const bool sync = random_.one_in(40);
    commit(*kv, n, sync ? Durability::kSynced : Durability::kWritten);
    if (sync) synced = n;
    if (!random_.one_in(25)) continue;
    const auto after = lose_power(static_cast<Loss>(1 + random_.below(3)));
    const uint64_t there = prefix(*after);
    EXPECT_GE(there, synced);
    EXPECT_LE(there, n);
  }
}

// What an earlier process wrote is in the kernel only; what a later one syncs builds on it.
TEST_F(KvPowerLoss, keeps_what_was_synced_after_a_crash_of_the_process) {
  for (int round = 0; round < 2; ++round) {
    fs::remove_all(dir_ + "/root/kv");
    auto kv = open();
    uint64_t n = 0;
    for (int process = 0; process < 3; ++process) {
      for (int i = 0; i < 20; ++i) commit(*kv, ++n, Durability::kWritten);
      kv = restart(std::move(kv));
    }
    commit(*kv, ++n, Durability::kSynced);
    const uint64_t synced = n;
    for (int i = 0; i < 20; ++i) commit(*kv, ++n, Durability::kWritten);
    for (const Loss loss : {Loss::kAll, Loss::kLatest, Loss::kSome}) {
      auto after = lose_power(loss);
      EXPECT_GE(prefix(*after), synced);
    }
  }
}

// The canary of the test before.
TEST_F(KvPowerLoss, misses_the_flush_of_the_logs_of_an_earlier_process) {
  auto kv = restart(open());
  const auto sites = disk_->sync_sites();
  const auto site = std::ranges::find_if(sites, [](const auto& each) { return each.find("sync_logs") != std::string::npos; });
  ASSERT_NE(site, sites.end());
  disk_->ignore_syncs(*site);
  commit(*kv, 1, Durability::kWritten);
  kv = restart(std::move(kv));
  commit(*kv, 2, Durability::kSynced);
  const auto after = lose_power(Loss::kAll);
  EXPECT_FALSE(after->begin()->get(key(1)).value().has_value());
}

TEST_F(KvPowerLoss, goes_on_from_the_prefix_that_was_left) {
  for (int round = 0; round < 2; ++round) {
    fs::remove_all(dir_ + "/root/kv");
    std::string root = dir_ + "/root";
    auto kv = open();
    uint64_t n = 0;
    for (int i = 0; i < 50; ++i) commit(*kv, ++n, Durability::kWritten);
    for (int loss = 0; loss < 3; ++loss) {
      const std::string image = dir_ + "/image" + std::to_string(++images_);
      disk_->lose_power(image, Loss::kSome, random_);
      kv.reset();
      disk_ = std::make_unique<VolatileDisk>(image);
      kv = open(image + "/kv");
      n = prefix(*kv);
      for (int i = 0; i < 20; ++i) commit(*kv, ++n, i == 10 ? Durability::kSynced : Durability::kWritten);
      EXPECT_EQ(prefix(*kv), n);
      const auto after = lose_power(Loss::kLatest);
      EXPECT_GE(prefix(*after), n - 9);
    }
    kv.reset();
    disk_ = std::make_unique<VolatileDisk>(root);
  }
}

// One flush of the device for all who wait.
TEST_F(KvPowerLoss, sixteen_who_sync_share_flushes) {
  const auto kv = open();
  // A device that takes its time.
  const ArmedFailpoint slow("kv.rocks.before_sync", []() -> Result<void> {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return {};
  });
  constexpr uint64_t kEach = 20;
  const uint64_t flushes_before = kv->flushes();
  std::vector<std::thread> threads;
  for (uint64_t t = 0; t < 16; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < kEach; ++i) commit(*kv, 1'000 * t + i, Durability::kSynced);
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LT(kv->flushes() - flushes_before, 16 * kEach / 3);
}

}  // namespace
}  // namespace weir::kv
