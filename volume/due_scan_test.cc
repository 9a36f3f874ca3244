#include "volume/due_scan.h"

#include <gtest/gtest.h>

namespace weir::volume {
namespace {

using std::chrono::seconds;

struct StoppedClock final : Clock {
  TimePoint now() const override { return time; }
  WallTime wall_now() const override { return WallTime(time.time_since_epoch()); }
  TimePoint time{seconds(1'000)};
};

class DueScanTest : public ::testing::Test {
 protected:
  bool runs() {
    bool ran = false;
    EXPECT_TRUE(scan_.run([&]() -> Result<void> {
      ran = true;
      return {};
    }).has_value());
    return ran;
  }

  StoppedClock clock_;
  DueScan scan_{seconds(5), clock_};
};

TEST_F(DueScanTest, it_runs_at_the_start_and_once_more_when_old_transactions_have_ended) {
  EXPECT_TRUE(runs());
  clock_.time += seconds(4);
  EXPECT_TRUE(runs());
  clock_.time += seconds(1);
  EXPECT_TRUE(runs());
  EXPECT_FALSE(runs());
  clock_.time += seconds(3'600);
  EXPECT_FALSE(runs());
}

TEST_F(DueScanTest, a_change_makes_it_due_again) {
  clock_.time += seconds(10);
  EXPECT_TRUE(runs());
  EXPECT_FALSE(runs());
  scan_.rules_changed();
  EXPECT_TRUE(runs());
  clock_.time += seconds(5);
  EXPECT_TRUE(runs());
  EXPECT_FALSE(runs());
}

TEST_F(DueScanTest, a_change_during_the_scan_is_not_lost) {
  clock_.time += seconds(10);
  ASSERT_TRUE(scan_.run([&]() -> Result<void> {
    scan_.rules_changed();
    return {};
  }).has_value());
  EXPECT_TRUE(runs());
}

TEST_F(DueScanTest, what_failed_stays_due) {
  clock_.time += seconds(10);
  EXPECT_FALSE(scan_.run([]() -> Result<void> { return fail(ErrorCode::kIo); }).has_value());
  EXPECT_TRUE(runs());
  EXPECT_FALSE(runs());
}

}  // namespace
}  // namespace weir::volume
