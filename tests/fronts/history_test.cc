// The checker itself: what it must explain, and what it must refuse.
#include <gtest/gtest.h>

#include "tests/fronts/history.h"

namespace weir::testing {
namespace {

constexpr uint8_t kA = 0;
constexpr uint8_t kB = 1;
constexpr uint8_t kC = 2;

Call one(Step step) { return {.steps = {step}}; }
Step put(uint8_t name, Content content) { return {.kind = StepKind::kPut, .name = name, .content = content}; }
Step got(uint8_t name, Content seen) { return {.kind = StepKind::kGet, .name = name, .seen = seen}; }
Call stat(uint8_t name, Content seen) {
  return {.order = Order::kInOrder, .steps = {{.kind = StepKind::kOpen, .name = name}, {.kind = StepKind::kRead, .seen = seen}}};
}
Step absent(StepKind kind, uint8_t name) { return {.kind = kind, .name = name, .outcome = Outcome::kAbsent}; }

class HistoryTest : public ::testing::Test {
 protected:
  void alone(int thread, Call call) {
    history_.begin(thread);
    history_.end(thread, std::move(call));
  }
  bool explained() const { return history_.check().empty(); }

  History history_{3, 3};
};

TEST_F(HistoryTest, what_was_written_is_read_until_it_is_overwritten) {
  alone(0, one(absent(StepKind::kGet, kA)));
  alone(0, one(put(kA, 1)));
  alone(1, one(got(kA, 1)));
  alone(0, one(put(kA, 2)));
  EXPECT_TRUE(explained());
  alone(1, one(got(kA, 1)));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, a_read_beside_a_write_sees_the_old_or_the_new_but_not_the_old_after_the_new) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one(got(kA, 1)));
  alone(1, one(got(kA, 2)));
  alone(2, one(got(kA, 2)));
  History worse = History(2, 1);
  history_.end(0, one(put(kA, 2)));
  EXPECT_TRUE(explained());

  worse.begin(0);
  worse.end(0, one(put(kA, 1)));
  worse.begin(0);
  worse.begin(1);
  worse.end(1, one(got(kA, 2)));
  worse.begin(1);
  worse.end(1, one(got(kA, 1)));
  worse.end(0, one(put(kA, 2)));
  EXPECT_NE(worse.check(), "");
}

TEST_F(HistoryTest, a_moved_file_is_under_one_of_two_names_at_any_instant) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, {.steps = {absent(StepKind::kGet, kA), got(kB, 1)}});
  history_.end(0, one({.kind = StepKind::kRename, .name = kA, .other = kB}));
  EXPECT_TRUE(explained());
  history_.begin(0);
  alone(1, {.steps = {absent(StepKind::kGet, kA), absent(StepKind::kGet, kB)}});
  history_.end(0, one({.kind = StepKind::kRename, .name = kB, .other = kA}));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, a_walk_over_names_sees_each_by_itself) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, {.order = Order::kAny, .steps = {absent(StepKind::kListed, kA), absent(StepKind::kListed, kB)}});
  history_.end(0, one({.kind = StepKind::kRename, .name = kA, .other = kB}));
  EXPECT_TRUE(explained());
  history_.begin(0);
  alone(1, {.order = Order::kAny, .steps = {absent(StepKind::kListed, kB), absent(StepKind::kListed, kA)}});
  history_.end(0, {.order = Order::kInOrder, .steps = {{.kind = StepKind::kLinkFrom, .name = kB}, {.kind = StepKind::kLinkTo, .name = kA}}});
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, of_two_racing_creations_one_is_refused) {
  history_.begin(0);
  history_.begin(1);
  history_.end(0, one({.kind = StepKind::kPutIfAbsent, .name = kA, .content = 1}));
  history_.end(1, one({.kind = StepKind::kCreate, .name = kA, .outcome = Outcome::kRefused}));
  EXPECT_TRUE(explained());
  alone(1, one({.kind = StepKind::kPutIfAbsent, .name = kA, .content = 2}));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, a_file_is_an_object_from_its_first_close_on) {
  alone(0, one({.kind = StepKind::kCreate, .name = kA}));
  alone(0, one({.kind = StepKind::kWrite, .content = 1}));
  alone(1, stat(kA, 1));
  alone(1, one(absent(StepKind::kGet, kA)));
  alone(1, one({.kind = StepKind::kErase, .name = kA}));
  alone(0, one({.kind = StepKind::kClose}));
  alone(1, one(got(kA, 1)));
  EXPECT_TRUE(explained());
}

TEST_F(HistoryTest, what_is_open_stays_whatever_becomes_of_its_name) {
  alone(0, one(put(kA, 1)));
  alone(1, one({.kind = StepKind::kOpen, .name = kA}));
  alone(0, one(put(kA, 2)));
  alone(1, one({.kind = StepKind::kRead, .seen = 1}));
  EXPECT_TRUE(explained());
  alone(1, one({.kind = StepKind::kOpen, .name = kA}));
  alone(1, one({.kind = StepKind::kRead, .seen = 1}));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, what_is_written_in_place_is_committed_by_a_get_or_a_close) {
  alone(0, one(put(kA, 1)));
  alone(0, {.order = Order::kInOrder, .steps = {{.kind = StepKind::kOpenToWrite, .name = kA}, {.kind = StepKind::kCut}}});
  alone(0, one({.kind = StepKind::kWrite, .content = 2}));
  alone(1, one({.kind = StepKind::kHead, .name = kA, .seen = 1}));
  alone(1, one(got(kA, 2)));
  alone(1, one({.kind = StepKind::kHead, .name = kA, .seen = 2}));
  EXPECT_TRUE(explained());
  alone(1, one(got(kA, 1)));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, the_mount_may_look_a_name_up_as_it_was_until_the_call_that_changes_it_has_ended) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one(got(kA, 2)));
  alone(1, stat(kA, 1));
  alone(1, one({.kind = StepKind::kOpen, .name = kA}));
  alone(1, one({.kind = StepKind::kRead, .seen = 1}));
  history_.end(0, one(put(kA, 2)));
  EXPECT_TRUE(explained());
  alone(1, stat(kA, 1));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, what_the_mount_remembered_may_show_in_a_call_that_ends_later) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one(got(kA, 2)));
  history_.begin(1);
  history_.end(0, one(put(kA, 2)));
  history_.end(1, stat(kA, 1));
  EXPECT_TRUE(explained());
}

TEST_F(HistoryTest, the_mount_may_move_what_it_remembers_until_the_call_that_changes_it_has_ended) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one(got(kA, 2)));
  alone(1, one({.kind = StepKind::kRename, .name = kA, .other = kB}));
  alone(1, stat(kB, 1));
  alone(2, one(got(kB, 2)));
  history_.end(0, one(put(kA, 2)));
  EXPECT_TRUE(explained());
  alone(1, stat(kB, 1));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, a_link_is_made_to_what_was_found_whatever_its_name_is_by_then) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one({.kind = StepKind::kUnlink, .name = kB, .outcome = Outcome::kAbsent}));
  alone(1, one({.kind = StepKind::kRename, .name = kA, .other = kC}));
  alone(1, {.steps = {absent(StepKind::kGet, kA), absent(StepKind::kGet, kB)}});
  history_.end(0, {.order = Order::kInOrder, .steps = {{.kind = StepKind::kLinkFrom, .name = kA}, {.kind = StepKind::kLinkTo, .name = kB}}});
  alone(1, {.steps = {got(kB, 1), got(kC, 1)}});
  EXPECT_TRUE(explained());
  history_.begin(0);
  alone(1, one({.kind = StepKind::kUnlink, .name = kC}));
  alone(1, one({.kind = StepKind::kUnlink, .name = kB}));
  alone(1, {.steps = {absent(StepKind::kGet, kA), absent(StepKind::kGet, kB), absent(StepKind::kGet, kC)}});
  history_.end(0, {.order = Order::kInOrder, .steps = {{.kind = StepKind::kLinkFrom, .name = kC}, {.kind = StepKind::kLinkTo, .name = kA}}});
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, what_is_told_of_a_file_may_be_later_than_what_its_name_led_to) {
  alone(0, one(put(kA, 1)));
  alone(0, {.order = Order::kInOrder, .steps = {{.kind = StepKind::kOpenToWrite, .name = kA}, {.kind = StepKind::kCut}}});
  history_.begin(1);
  alone(2, one({.kind = StepKind::kErase, .name = kA}));
  alone(0, one({.kind = StepKind::kWrite, .content = 2}));
  history_.end(1, stat(kA, 2));
  EXPECT_TRUE(explained());
  alone(1, stat(kA, 2));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, s3_is_never_behind) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one(got(kA, 2)));
  alone(2, one(got(kA, 1)));
  history_.end(0, one(put(kA, 2)));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, a_copy_is_of_what_was_there_at_its_first_instant) {
  alone(0, one(put(kA, 1)));
  history_.begin(0);
  alone(1, one(put(kA, 2)));
  history_.end(0, {.order = Order::kInOrder, .steps = {{.kind = StepKind::kCopyFrom, .name = kA}, {.kind = StepKind::kCopyTo, .name = kB}}});
  alone(2, one(got(kB, 1)));
  EXPECT_TRUE(explained());
  alone(2, one(got(kB, 2)));
  EXPECT_FALSE(explained());
}

TEST_F(HistoryTest, a_call_that_did_nothing_explains_nothing) {
  alone(0, {});
  EXPECT_TRUE(explained());
  alone(0, one(got(kA, 1)));
  EXPECT_FALSE(explained());
}

}  // namespace
}  // namespace weir::testing
