#include "volume/foreground.h"

#include <gtest/gtest.h>

namespace weir::volume {
namespace {

class HandClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  void advance(Duration by) { now_ += by; }

 private:
  TimePoint now_{std::chrono::hours(1)};
};

class ForegroundTest : public ::testing::Test {
 protected:
  bool busy_after(int operations, Duration elapsed) {
    for (int i = 0; i < operations; ++i) foreground_.note();
    clock_.advance(elapsed);
    return foreground_.busy();
  }

  HandClock clock_;
  Foreground foreground_{clock_};
};

TEST_F(ForegroundTest, many_operations_in_a_short_time_are_busy_until_they_end) {
  EXPECT_FALSE(busy_after(0, Foreground::kWindow));
  EXPECT_TRUE(busy_after(100, Foreground::kWindow));
  EXPECT_FALSE(busy_after(3, Foreground::kWindow));
}

TEST_F(ForegroundTest, much_content_counts_as_many_operations) {
  for (int i = 0; i < 100; ++i) foreground_.note_content(Foreground::kOperationBytes / 2);
  EXPECT_TRUE(busy_after(0, Foreground::kWindow));
  foreground_.note_content(3 * Foreground::kOperationBytes);
  EXPECT_FALSE(busy_after(0, Foreground::kWindow));
}

TEST_F(ForegroundTest, within_a_window_the_answer_stays) {
  EXPECT_TRUE(busy_after(100, Foreground::kWindow));
  EXPECT_TRUE(busy_after(0, Foreground::kWindow / 2));
}

TEST_F(ForegroundTest, a_burst_after_a_long_pause_is_seen) {
  EXPECT_TRUE(busy_after(200, std::chrono::minutes(5)));
}

}  // namespace
}  // namespace weir::volume
