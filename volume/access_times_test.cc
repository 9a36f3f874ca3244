#include "volume/access_times.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace weir::volume {
namespace {

constexpr int64_t kSecond = Duration(std::chrono::seconds(1)).count();
constexpr int64_t kDay = 86'400 * kSecond;

int64_t atime_of(const AccessTimes& times, InodeId inode, int64_t known_ns = 0) {
  meta::Attributes attributes{.inode = inode, .atime_ns = known_ns};
  times.overlay(attributes);
  return attributes.atime_ns;
}

TEST(AccessTimes, a_reading_counts_after_a_change_and_after_a_day) {
  const int64_t now = 10 * kDay;
  const auto counts = [&](int64_t atime, int64_t mtime, int64_t ctime) {
    return AccessTimes::counts({.atime_ns = atime, .mtime_ns = mtime, .ctime_ns = ctime}, now);
  };
  EXPECT_FALSE(counts(now - kSecond, now - 2 * kSecond, now - 2 * kSecond));
  EXPECT_TRUE(counts(now - kSecond, now - kSecond, now - 2 * kSecond));
  EXPECT_TRUE(counts(now - kSecond, now - 2 * kSecond, now - kSecond));
  EXPECT_TRUE(counts(now - kDay, 0, 0));
  EXPECT_FALSE(counts(now - kDay + 1, 0, 0));
}

TEST(AccessTimes, the_latest_one_stands_until_the_namespace_has_it) {
  AccessTimes times;
  times.note(InodeId(7), 100);
  times.note(InodeId(7), 90);
  EXPECT_EQ(atime_of(times, InodeId(7)), 100);
  EXPECT_EQ(atime_of(times, InodeId(7), 200), 200);
  EXPECT_EQ(atime_of(times, InodeId(8)), 0);
  const auto refused = times.flush([](const auto&) -> Result<void> { return fail(ErrorCode::kUnavailable); });
  EXPECT_FALSE(refused.has_value());
  EXPECT_EQ(atime_of(times, InodeId(7)), 100);
  std::map<uint64_t, int64_t> recorded;
  const auto flush = [&](std::optional<int64_t> meanwhile) {
    return times.flush([&](const std::vector<meta::AccessTime>& batch) -> Result<void> {
      EXPECT_LE(batch.size(), AccessTimes::kBatch);
      for (const auto& [inode, atime_ns] : batch) recorded[inode.value()] = atime_ns;
      if (meanwhile) times.note(InodeId(7), *meanwhile);
      return {};
    });
  };
  ASSERT_TRUE(flush(300));
  EXPECT_EQ(recorded[7], 100);
  EXPECT_EQ(atime_of(times, InodeId(7)), 300);
  ASSERT_TRUE(flush(std::nullopt));
  EXPECT_EQ(recorded[7], 300);
  EXPECT_EQ(atime_of(times, InodeId(7)), 0);
}

TEST(AccessTimes, every_one_is_told_once) {
  AccessTimes times;
  for (uint64_t inode = 1; inode <= 5'000; ++inode) times.note(InodeId(inode), static_cast<int64_t>(inode));
  std::map<uint64_t, int> told;
  ASSERT_TRUE(times.flush([&](const std::vector<meta::AccessTime>& batch) -> Result<void> {
    for (const auto& access : batch) ++told[access.inode.value()];
    return {};
  }));
  EXPECT_EQ(told.size(), 5'000u);
  for (const auto& [inode, times_told] : told) EXPECT_EQ(times_told, 1) << inode;
}

TEST(AccessTimes, one_that_is_forgotten_is_not_told_after_that) {
  AccessTimes times;
  times.note(InodeId(7), 100);
  times.forget(InodeId(7));
  EXPECT_EQ(atime_of(times, InodeId(7)), 0);
  ASSERT_TRUE(times.flush([](const auto&) -> Result<void> {
    ADD_FAILURE();
    return {};
  }));
  // While it is being told, forgetting waits.
  times.note(InodeId(7), 200);
  std::atomic<bool> telling = false;
  std::atomic<bool> told = false;
  std::thread flush([&] {
    EXPECT_TRUE(times.flush([&](const auto&) -> Result<void> {
      telling = true;
      std::this_thread::yield();
      told = true;
      return {};
    }));
  });
  while (!telling) std::this_thread::yield();
  times.forget(InodeId(7));
  EXPECT_TRUE(told);
  flush.join();
}

}  // namespace
}  // namespace weir::volume
