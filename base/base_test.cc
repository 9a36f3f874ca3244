#include <gtest/gtest.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/random.h"
#include "base/result.h"

namespace weir {
namespace {

Result<int> half(int n) {
  if (n % 2 != 0) return fail(ErrorCode::kInvalid, "odd");
  return n / 2;
}

Result<int> quarter(int n) {
  TRY_ASSIGN(const int h, half(n));
  TRY(half(h));
  return h / 2;
}

TEST(Result, try_assign_passes_the_value_on) { EXPECT_EQ(quarter(8), 2); }

TEST(Result, try_returns_the_error_of_the_inner_call) {
  const auto result = quarter(6);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code(), ErrorCode::kInvalid);
}

TEST(Error, message_runs_from_the_outermost_context_to_the_cause) {
  const Error error = Error(ErrorCode::kIo, "disk gone").wrap("write page 3");
  EXPECT_EQ(error.to_string(), "IO: write page 3: disk gone");
}

TEST(Error, a_conflict_is_retried_as_a_transaction_and_an_unknown_outcome_after_a_reread) {
  EXPECT_EQ(retry_of(ErrorCode::kConflict), Retry::kTransaction);
  EXPECT_EQ(retry_of(ErrorCode::kMayHaveHappened), Retry::kAfterReread);
  EXPECT_EQ(retry_of(ErrorCode::kNotFound), Retry::kNever);
}

TEST(Deadline, never_does_not_expire_and_the_past_has_nothing_left) {
  EXPECT_FALSE(Deadline::never().expired());
  EXPECT_EQ(Deadline::after(std::chrono::seconds(-1)).left(), Duration::zero());
  EXPECT_FALSE(Deadline::after(Duration::max()).expired());
}

TEST(Random, same_seed_same_sequence_and_below_stays_below) {
  Random a(7), b(7);
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(a.below(10), b.below(10));
    EXPECT_LT(a.below(3), 3u);
    b.below(3);
  }
}

TEST(Failpoint, acts_only_while_armed) {
  EXPECT_TRUE(failpoint("x").has_value());
  {
    ArmedFailpoint armed("x", [] { return Result<void>(fail(ErrorCode::kIo)); });
    EXPECT_TRUE(failed_with(failpoint("x"), ErrorCode::kIo));
    EXPECT_TRUE(failpoint("y").has_value());
  }
  EXPECT_TRUE(failpoint("x").has_value());
}

}  // namespace
}  // namespace weir
