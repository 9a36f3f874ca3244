#include "testing/fault_ufs.h"

#include <gtest/gtest.h>

#include <thread>

#include "testing/mem_ufs.h"

namespace weir::testing {
namespace {

using ufs::Etag;
using Kind = UfsFault::Kind;

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

class FaultUfsTest : public ::testing::Test {
 protected:
  MemUfs mem_;
  FaultUfs store_{mem_, 1};
};

TEST_F(FaultUfsTest, without_faults_it_is_the_store) {
  ASSERT_TRUE(store_.put("a", bytes("body"), {}, soon()));
  std::array<std::byte, 8> buffer;
  EXPECT_EQ(store_.get("a", 0, buffer, std::nullopt, soon(), nullptr), 4u);
  EXPECT_EQ(store_.calls(UfsCall::kPut), 1u);
  EXPECT_EQ(store_.calls(), 2u);
  EXPECT_EQ(store_.bytes_put(), 4u);
  EXPECT_EQ(store_.bytes_got(), 4u);
  EXPECT_EQ(store_.faults(), 0u);
}

TEST_F(FaultUfsTest, a_failure_before_has_no_effect_and_one_after_has) {
  store_.add({.kind = Kind::kFailBefore, .error = ErrorCode::kDenied, .call = UfsCall::kPut, .times = 1});
  store_.add({.kind = Kind::kFailAfter, .error = ErrorCode::kMayHaveHappened, .call = UfsCall::kPut, .times = 1});
  EXPECT_TRUE(failed_with(store_.put("a", bytes("1"), {}, soon()), ErrorCode::kDenied));
  EXPECT_TRUE(failed_with(mem_.head("a", soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_.put("a", bytes("1"), {}, soon()), ErrorCode::kMayHaveHappened));
  EXPECT_TRUE(mem_.head("a", soon()));
  EXPECT_TRUE(store_.put("a", bytes("1"), {}, soon()));
  EXPECT_EQ(store_.faults(), 2u);
}

TEST_F(FaultUfsTest, skip_and_key_choose_the_call) {
  store_.add({.key_part = "bad", .skip = 1, .times = 1});
  EXPECT_TRUE(store_.put("bad1", {}, {}, soon()));
  EXPECT_TRUE(store_.put("good", {}, {}, soon()));
  EXPECT_FALSE(store_.put("bad2", {}, {}, soon()));
  EXPECT_TRUE(store_.put("bad3", {}, {}, soon()));
}

TEST_F(FaultUfsTest, reads_come_short_or_damaged) {
  ASSERT_TRUE(mem_.put("a", bytes("12345678"), {}, soon()));
  std::array<std::byte, 8> buffer;
  store_.add({.kind = Kind::kShortRead, .times = 1});
  store_.add({.kind = Kind::kDamagedRead, .times = 1});
  EXPECT_EQ(store_.get("a", 0, buffer, std::nullopt, soon(), nullptr), 4u);
  EXPECT_EQ(store_.get("a", 0, buffer, std::nullopt, soon(), nullptr), 8u);
  EXPECT_FALSE(std::ranges::equal(buffer, bytes("12345678")));
  EXPECT_EQ(store_.get("a", 0, buffer, std::nullopt, soon(), nullptr), 8u);
  EXPECT_TRUE(std::ranges::equal(buffer, bytes("12345678")));
}

TEST_F(FaultUfsTest, a_black_hole_lasts_until_the_deadline_or_until_cleared) {
  store_.add({.kind = Kind::kBlackHole});
  EXPECT_TRUE(failed_with(store_.head("a", Deadline::after(std::chrono::milliseconds(20))), ErrorCode::kTimedOut));
  std::jthread closer([&] {
    while (store_.calls() < 2) std::this_thread::yield();
    store_.clear();
  });
  EXPECT_TRUE(failed_with(store_.head("a", Deadline::never()), ErrorCode::kUnavailable));
  EXPECT_TRUE(failed_with(store_.head("a", soon()), ErrorCode::kNotFound));
}

TEST_F(FaultUfsTest, one_seed_gives_one_story) {
  const auto story = [](uint64_t seed) {
    MemUfs mem;
    FaultUfs store(mem, seed);
    store.add({.probability = 0.3});
    std::string text;
    for (int i = 0; i < 200; ++i) text += store.put("k", {}, {}, soon()) ? '.' : 'x';
    return text;
  };
  EXPECT_EQ(story(7), story(7));
  EXPECT_NE(story(7), story(8));
}

}  // namespace
}  // namespace weir::testing
