#include "persist/breaker.h"

#include <gtest/gtest.h>

namespace weir::persist {
namespace {

constexpr MountId kMount(1);
constexpr MountId kOther(2);
const Error kDown(ErrorCode::kUnavailable, "connection refused");
const Error kRefused(ErrorCode::kDenied, "AccessDenied");

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  void advance(Duration d) { now_ += d; }
  void advance_to(TimePoint t) { now_ = t; }

 private:
  TimePoint now_{std::chrono::hours(1)};
};

class BreakerTest : public ::testing::Test {
 protected:
  ManualClock clock_;
  Breaker breaker_{clock_, 1};
};

TEST_F(BreakerTest, a_failure_pauses_its_mount_alone_until_a_probe) {
  breaker_.failed(kMount, InodeId(7), kDown);
  EXPECT_FALSE(breaker_.allows(kMount));
  EXPECT_TRUE(breaker_.allows(kOther));
  EXPECT_EQ(breaker_.probes_due(), std::vector{kMount});
}

TEST_F(BreakerTest, a_probe_that_passes_blames_the_items) {
  breaker_.failed(kMount, InodeId(7), kDown);
  breaker_.failed(kMount, InodeId(8), kDown);
  const auto verdict = breaker_.probed(kMount, std::nullopt);
  EXPECT_TRUE(verdict.resumed);
  ASSERT_EQ(verdict.to_blame.size(), 2u);
  EXPECT_EQ(verdict.to_blame[1].inode, InodeId(8));
  EXPECT_TRUE(breaker_.allows(kMount));
}

TEST_F(BreakerTest, a_probe_that_fails_keeps_the_items_in_place_and_comes_again_within_seconds) {
  breaker_.failed(kMount, InodeId(7), kDown);
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(breaker_.probed(kMount, kDown).to_blame.empty());
    EXPECT_FALSE(breaker_.allows(kMount));
    EXPECT_TRUE(breaker_.probes_due().empty());
    EXPECT_LE(breaker_.next_probe() - clock_.now(), Breaker::kPauseMax);
    clock_.advance_to(breaker_.next_probe());
    EXPECT_EQ(breaker_.probes_due(), std::vector{kMount});
  }
  const auto verdict = breaker_.probed(kMount, std::nullopt);
  EXPECT_TRUE(verdict.resumed);
  EXPECT_TRUE(verdict.to_blame.empty());
}

TEST_F(BreakerTest, a_late_success_of_an_old_call_does_not_resume) {
  breaker_.failed(kMount, InodeId(7), kDown);
  breaker_.succeeded(kMount);
  EXPECT_FALSE(breaker_.allows(kMount));
}

TEST_F(BreakerTest, many_failures_in_a_row_pause_the_mount_though_probes_pass) {
  for (uint32_t i = 0; i < Breaker::kFailuresInRow - 1; ++i) {
    breaker_.failed(kMount, InodeId(i), kDown);
    EXPECT_TRUE(breaker_.probed(kMount, std::nullopt).resumed);
  }
  breaker_.failed(kMount, InodeId(99), kDown);
  EXPECT_FALSE(breaker_.probed(kMount, std::nullopt).resumed);
  EXPECT_FALSE(breaker_.allows(kMount));
  clock_.advance(Breaker::kPauseMax);
  EXPECT_TRUE(breaker_.probed(kMount, std::nullopt).resumed);
}

TEST_F(BreakerTest, refusals_in_a_row_refuse_the_mount) {
  for (uint32_t i = 0; i + 1 < Breaker::kDeniedInRow; ++i) breaker_.denied(kMount, kRefused);
  EXPECT_TRUE(breaker_.allows(kMount));
  breaker_.denied(kMount, kRefused);
  EXPECT_FALSE(breaker_.allows(kMount));
  ASSERT_TRUE(breaker_.refusal(kMount).has_value());
  EXPECT_EQ(breaker_.refusal(kMount)->context(), "AccessDenied");
  EXPECT_TRUE(breaker_.probed(kMount, std::nullopt).resumed);
  EXPECT_FALSE(breaker_.refusal(kMount).has_value());
}

TEST_F(BreakerTest, a_success_between_refusals_keeps_the_mount_going) {
  for (uint32_t i = 0; i < 3 * Breaker::kDeniedInRow; ++i) {
    breaker_.denied(kMount, kRefused);
    if (i % 2 == 1) breaker_.succeeded(kMount);
  }
  EXPECT_TRUE(breaker_.allows(kMount));
}

TEST_F(BreakerTest, probe_now_ends_a_pause) {
  breaker_.failed(kMount, InodeId(7), kDown);
  (void)breaker_.probed(kMount, kDown);
  EXPECT_TRUE(breaker_.probes_due().empty());
  breaker_.probe_now();
  EXPECT_EQ(breaker_.probes_due(), std::vector{kMount});
}

}  // namespace
}  // namespace weir::persist
