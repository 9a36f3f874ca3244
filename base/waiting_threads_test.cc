#include "base/waiting_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <latch>

namespace weir {
namespace {

TEST(WaitingThreads, run_work_at_once_while_other_work_waits) {
  std::latch all_run(4);
  WaitingThreads threads(4);
  // Each waits for all the others: fewer than four threads would never end.
  for (int i = 0; i < 4; ++i) threads.post([&] { all_run.arrive_and_wait(); });
  all_run.wait();
}

TEST(WaitingThreads, finish_what_was_posted_before_they_stop) {
  std::atomic<int> done = 0;
  WaitingThreads threads(3);
  for (int i = 0; i < 1000; ++i) threads.post([&] { ++done; });
  threads.stop();
  EXPECT_EQ(1000, done);
}

}  // namespace
}  // namespace weir
