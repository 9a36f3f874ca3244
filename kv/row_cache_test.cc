#include "kv/row_cache.h"

#include <gtest/gtest.h>

namespace weir::kv {
namespace {

using Row = std::optional<std::optional<std::string>>;
const Row kUnknown;
const Row kAbsent{std::optional<std::string>()};
Row row(std::string value) { return std::optional<std::string>(std::move(value)); }

TEST(RowCache, a_committed_row_is_for_readers_of_its_version_and_later_ones) {
  RowCache cache(1 << 20);
  cache.put("k", "new", 5);
  EXPECT_EQ(cache.find("k", 4), kUnknown);
  EXPECT_EQ(cache.find("k", 5), row("new"));
  EXPECT_EQ(cache.find("k", 9), row("new"));
}

TEST(RowCache, what_was_read_is_remembered_absent_rows_too) {
  RowCache cache(1 << 20);
  cache.remember("there", "value", 3);
  cache.remember("absent", std::nullopt, 3);
  EXPECT_EQ(cache.find("there", 3), row("value"));
  EXPECT_EQ(cache.find("absent", 3), kAbsent);
}

TEST(RowCache, a_late_reader_does_not_bring_back_what_a_commit_replaced) {
  RowCache cache(1 << 20);
  cache.put("k", "new", 5);
  cache.remember("k", "old", 4);
  EXPECT_EQ(cache.find("k", 5), row("new"));
  cache.erase("k", 6);
  cache.remember("k", "old", 4);
  EXPECT_EQ(cache.find("k", 6), kUnknown);
  cache.remember("k", std::nullopt, 6);
  EXPECT_EQ(cache.find("k", 6), kAbsent);
}

TEST(RowCache, a_late_reader_does_not_bring_back_what_was_dropped_for_room) {
  RowCache cache(64 << 10);
  cache.put("k", "new", 5);
  for (int i = 0; i < 10'000; ++i) cache.put("other" + std::to_string(i), "value", 6);
  ASSERT_EQ(cache.find("k", 6), kUnknown);
  cache.remember("k", "old", 4);
  EXPECT_EQ(cache.find("k", 6), kUnknown);
}

TEST(RowCache, rows_in_use_stay_while_others_come_and_go) {
  RowCache cache(1 << 20);
  cache.put("hot", "value", 1);
  for (int i = 0; i < 100'000; ++i) {
    cache.put("cold" + std::to_string(i), "value", 2);
    if (i % 100 != 0) continue;
    ASSERT_EQ(cache.find("hot", 2), row("value"));
  }
}

TEST(RowCache, markers_and_large_values_are_not_kept_and_hide_what_was_there) {
  RowCache cache(1 << 20);
  cache.put("k", "value", 1);
  cache.put("k", "", 2);
  EXPECT_EQ(cache.find("k", 2), kUnknown);
  cache.put("k", std::string(RowCache::kValueBytesMax + 1, 'x'), 3);
  EXPECT_EQ(cache.find("k", 3), kUnknown);
}

TEST(RowCache, everything_can_be_dropped_at_once) {
  RowCache cache(1 << 20);
  cache.put("a", "1", 1);
  cache.put("b", "2", 1);
  cache.erase_all(2);
  EXPECT_EQ(cache.find("a", 2), kUnknown);
  cache.remember("b", "2", 1);
  EXPECT_EQ(cache.find("b", 2), kUnknown);
}

}  // namespace
}  // namespace weir::kv
