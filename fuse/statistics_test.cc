#include "fuse/statistics.h"

#include <gtest/gtest.h>

#include <set>
#include <thread>
#include <vector>

namespace weir::fuse {
namespace {

TEST(Statistics, put_a_request_into_the_bucket_of_its_time) {
  Statistics statistics;
  const auto record = [&](Duration took) { statistics.record(Operation::kLookup, took, Statistics::Outcome::kOk); };
  record(std::chrono::nanoseconds(999));   // below 1 us
  record(std::chrono::microseconds(1));    // below 2 us
  record(std::chrono::microseconds(1000)); // below 1024 us
  record(std::chrono::hours(10));
  const auto counters = statistics.counters(Operation::kLookup);
  EXPECT_EQ(4u, counters.requests);
  EXPECT_EQ(1u, counters.buckets[0]);
  EXPECT_EQ(1u, counters.buckets[1]);
  EXPECT_EQ(1u, counters.buckets[10]);
  EXPECT_EQ(1u, counters.buckets.back());
  EXPECT_EQ(0u, counters.errors);
}

TEST(Statistics, lose_nothing_under_concurrency) {
  Statistics statistics;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10'000; ++i) {
        statistics.record(Operation::kCreate, std::chrono::microseconds(i), Statistics::Outcome::kError);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(40'000u, statistics.counters(Operation::kCreate).requests);
  EXPECT_EQ(40'000u, statistics.counters(Operation::kCreate).errors);
}

TEST(Statistics, name_every_operation_differently) {
  std::set<std::string_view> names;
  for (size_t i = 0; i < kOperations; ++i) {
    const auto name = name_of(static_cast<Operation>(i));
    EXPECT_FALSE(name.empty());
    EXPECT_TRUE(names.insert(name).second) << name;
  }
}

}  // namespace
}  // namespace weir::fuse
