#include "kv/group_sync.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>
#include <vector>

namespace weir::kv {
namespace {

TEST(GroupSync, what_is_durable_already_costs_no_flush) {
  uint64_t written = 5;
  GroupSync sync([&] { return written; }, [] { return Result<void>(); });
  EXPECT_TRUE(sync.sync_through(5).has_value());
  EXPECT_TRUE(sync.sync_through(3).has_value());
  EXPECT_EQ(sync.flushes(), 1u);
  written = 6;
  EXPECT_TRUE(sync.sync_through(6).has_value());
  EXPECT_EQ(sync.flushes(), 2u);
}

TEST(GroupSync, everybody_who_comes_during_a_flush_shares_the_next) {
  constexpr int kWaiters = 8;
  std::atomic<uint64_t> written = 1;
  std::latch first_runs(1), first_may_end(1);
  std::atomic<int> flushes = 0;
  GroupSync sync([&] { return written.load(); },
                 [&] {
                   if (flushes++ == 0) {
                     first_runs.count_down();
                     first_may_end.wait();
                   }
                   return Result<void>();
                 });
  std::thread first([&] { EXPECT_TRUE(sync.sync_through(1).has_value()); });
  first_runs.wait();
  written = 2;  // too late for the flush that runs
  std::vector<std::thread> waiters;
  for (int i = 0; i < kWaiters; ++i) {
    waiters.emplace_back([&] {
      EXPECT_TRUE(sync.sync_through(2).has_value());
      EXPECT_EQ(flushes, 2);
    });
  }
  first_may_end.count_down();
  first.join();
  for (auto& waiter : waiters) waiter.join();
  EXPECT_EQ(flushes, 2);
}

TEST(GroupSync, a_failed_flush_fails_whoever_it_should_have_covered_and_the_next_call_tries_again) {
  bool fails = true;
  GroupSync sync([] { return uint64_t{1}; },
                 [&] { return fails ? Result<void>(fail(ErrorCode::kIo, "device gone")) : Result<void>(); });
  EXPECT_TRUE(failed_with(sync.sync_through(1), ErrorCode::kIo));
  EXPECT_TRUE(failed_with(sync.sync_through(1), ErrorCode::kIo));
  EXPECT_EQ(sync.flushes(), 2u);
  fails = false;
  EXPECT_TRUE(sync.sync_through(1).has_value());
}

}  // namespace
}  // namespace weir::kv
