#include "kv/write_buffer.h"

#include <gtest/gtest.h>

#include <string>

namespace weir::kv {
namespace {

using Kind = WriteBuffer::Atomic::Kind;

std::string keys(const WriteBuffer& writes, std::string_view begin, std::string_view end, Direction direction) {
  std::string keys;
  for (auto cursor = writes.scan(begin, end, direction); cursor.valid(); cursor.next()) keys += cursor.key();
  return keys;
}

TEST(WriteBuffer, the_last_write_of_a_key_counts) {
  WriteBuffer writes;
  EXPECT_TRUE(writes.empty());
  writes.put("a", "1");
  writes.put("a", "2");
  EXPECT_EQ(writes.find("a")->resolve("below").value(), "2");
  writes.erase("a");
  EXPECT_EQ(writes.find("a")->resolve("below").value(), std::nullopt);
  EXPECT_EQ(writes.find("b"), nullptr);
  EXPECT_FALSE(writes.empty());
}

TEST(WriteBuffer, atomic_operations_apply_in_order_on_what_lies_below) {
  WriteBuffer writes;
  writes.apply("a", {Kind::kAdd, 2});
  writes.apply("a", {Kind::kAdd, 3});
  writes.apply("a", {Kind::kMax, 100});
  writes.apply("a", {Kind::kMax, 50});
  writes.apply("a", {Kind::kAdd, 1});
  const WriteBuffer::Write& write = *writes.find("a");
  EXPECT_TRUE(write.needs_snapshot());
  EXPECT_EQ(write.resolve(std::nullopt).value(), encode_counter(101));
  EXPECT_EQ(write.resolve(encode_counter(200)).value(), encode_counter(206));
  EXPECT_TRUE(failed_with(write.resolve("text"), ErrorCode::kCorrupt));
}

TEST(WriteBuffer, a_sum_beyond_64_bits_wraps) {
  WriteBuffer writes;
  writes.apply("a", {Kind::kAdd, 1});
  EXPECT_EQ(writes.find("a")->resolve(encode_counter(INT64_MAX)).value(), encode_counter(INT64_MIN));
}

TEST(WriteBuffer, a_put_or_an_erasure_settles_the_base_of_later_atomic_operations) {
  WriteBuffer writes;
  writes.put("a", encode_counter(10));
  writes.erase("b");
  writes.erase_range("c", "d");
  for (const char* key : {"a", "b", "c"}) writes.apply(key, {Kind::kAdd, 1});
  EXPECT_EQ(writes.find("a")->resolve(encode_counter(50)).value(), encode_counter(11));
  EXPECT_EQ(writes.find("b")->resolve(encode_counter(50)).value(), encode_counter(1));
  EXPECT_EQ(writes.find("c")->resolve(encode_counter(50)).value(), encode_counter(1));
  writes.put("d", "text");
  writes.apply("d", {Kind::kAdd, 1});
  EXPECT_TRUE(failed_with(writes.find("d")->resolve(std::nullopt), ErrorCode::kCorrupt));
}

TEST(WriteBuffer, erasing_a_range_drops_the_writes_in_it) {
  WriteBuffer writes;
  for (const char* key : {"a", "b", "c", "d"}) writes.put(key, "1");
  writes.erase_range("b", "d");
  EXPECT_EQ(keys(writes, "", "z", Direction::kForward), "ad");
  EXPECT_TRUE(writes.erased_around("b"));
  EXPECT_TRUE(writes.erased_around("czz"));
  EXPECT_FALSE(writes.erased_around("d"));
  EXPECT_FALSE(writes.erased_around("a"));
}

TEST(WriteBuffer, erased_ranges_that_overlap_or_touch_become_one) {
  WriteBuffer writes;
  writes.erase_range("b", "d");
  writes.erase_range("f", "h");
  writes.erase_range("x", "x");
  writes.erase_range("z", "y");
  EXPECT_EQ(writes.erased().size(), 2u);
  writes.erase_range("d", "e");
  EXPECT_EQ(writes.erased().size(), 2u);
  EXPECT_EQ(writes.erased_around("d")->begin, "b");
  writes.erase_range("a", "g");
  ASSERT_EQ(writes.erased().size(), 1u);
  EXPECT_EQ(writes.erased_around("f")->begin, "a");
  EXPECT_EQ(writes.erased_around("f")->end, "h");
  writes.erase_range("b", "c");
  EXPECT_EQ(writes.erased_around("g")->end, "h");
}

TEST(WriteBuffer, a_scan_walks_its_range_in_either_direction) {
  WriteBuffer writes;
  for (const char* key : {"a", "b", "c", "d"}) writes.put(key, "1");
  EXPECT_EQ(keys(writes, "b", "d", Direction::kForward), "bc");
  EXPECT_EQ(keys(writes, "b", "d", Direction::kReverse), "cb");
  EXPECT_EQ(keys(writes, "a", "z", Direction::kReverse), "dcba");
  EXPECT_EQ(keys(writes, "d", "b", Direction::kForward), "");
  EXPECT_EQ(keys(writes, "bb", "bc", Direction::kReverse), "");
}

TEST(WriteBuffer, bytes_are_those_a_commit_would_carry) {
  WriteBuffer writes;
  writes.put("key", "value");
  EXPECT_EQ(writes.bytes(), 8u);
  writes.put("key", "v");
  EXPECT_EQ(writes.bytes(), 4u);
  writes.erase("key");
  EXPECT_EQ(writes.bytes(), 3u);
  writes.apply("n", {Kind::kAdd, 1});
  writes.apply("n", {Kind::kAdd, 1});
  EXPECT_EQ(writes.bytes(), 12u);
  writes.erase_range("a", "z");
  EXPECT_EQ(writes.bytes(), 2u);
  writes.erase_range("b", "c");
  EXPECT_EQ(writes.bytes(), 2u);
}

}  // namespace
}  // namespace weir::kv
