#include "kv/conflict_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "base/random.h"

namespace weir::kv {
namespace {

TEST(ConflictSet, a_key_is_written_since_every_version_before_its_write) {
  ConflictSet set;
  set.record_key("b", 5);
  EXPECT_TRUE(set.key_written_since("b", 4));
  EXPECT_FALSE(set.key_written_since("b", 5));
  EXPECT_FALSE(set.key_written_since("a", 0));
  EXPECT_TRUE(set.range_written_since("a", "c", 4));
  EXPECT_FALSE(set.range_written_since("a", "c", 5));
  EXPECT_FALSE(set.range_written_since("a", "b", 0));
  EXPECT_FALSE(set.range_written_since("b", "b", 0));
}

TEST(ConflictSet, a_range_counts_for_every_key_in_it_and_no_other) {
  ConflictSet set;
  set.record_range("b", "d", 3);
  EXPECT_FALSE(set.key_written_since("a", 0));
  EXPECT_TRUE(set.key_written_since("b", 2));
  EXPECT_TRUE(set.key_written_since("czzz", 2));
  EXPECT_FALSE(set.key_written_since("d", 0));
  EXPECT_TRUE(set.range_written_since("c", "ca", 0));
  EXPECT_TRUE(set.range_written_since("a", "z", 0));
  EXPECT_FALSE(set.range_written_since("a", "b", 0));
  EXPECT_FALSE(set.range_written_since("d", "z", 0));
}

TEST(ConflictSet, a_younger_range_cuts_the_older_one_it_overlaps) {
  ConflictSet set;
  set.record_range("b", "h", 1);
  set.record_range("d", "f", 2);
  EXPECT_TRUE(set.key_written_since("c", 0));
  EXPECT_FALSE(set.key_written_since("c", 1));
  EXPECT_TRUE(set.key_written_since("e", 1));
  EXPECT_TRUE(set.key_written_since("g", 0));
  EXPECT_FALSE(set.key_written_since("g", 1));
  EXPECT_EQ(set.size(), 3u);
  set.record_range("a", "z", 3);
  EXPECT_EQ(set.size(), 1u);
}

TEST(ConflictSet, pruning_forgets_nothing_a_living_reader_can_ask_for) {
  ConflictSet set;
  set.record_key("a", 1);
  set.record_key("b", 2);
  set.record_range("c", "d", 3);
  set.prune(1);
  EXPECT_EQ(set.floor(), 1u);
  EXPECT_EQ(set.size(), 2u);
  EXPECT_TRUE(set.key_written_since("b", 1));
  EXPECT_TRUE(set.key_written_since("c", 2));
  KeyRanges reads;
  reads.add_key("x");
  EXPECT_TRUE(set.check(reads, 1).has_value());
  EXPECT_TRUE(failed_with(set.check(reads, 0), ErrorCode::kTooOld));
}

TEST(ConflictSet, pruning_at_the_newest_version_empties_it) {
  ConflictSet set;
  for (Version v = 1; v <= 2000; ++v) set.record_key("k" + std::to_string(v), v);
  EXPECT_TRUE(set.wants_pruning());
  set.prune(2000);
  EXPECT_EQ(set.size(), 0u);
  EXPECT_FALSE(set.wants_pruning());
}

TEST(ConflictSet, an_old_reader_cannot_make_it_grow_beyond_its_bound) {
  constexpr size_t kBound = 100;
  ConflictSet set(kBound);
  for (Version v = 1; v <= 10'000; ++v) {
    set.record_key("k" + std::to_string(v), v);
    if (set.wants_pruning()) set.prune(0);
    ASSERT_LE(set.size(), kBound);
  }
  EXPECT_TRUE(failed_with(set.check(KeyRanges(), 0), ErrorCode::kTooOld));
  EXPECT_TRUE(set.key_written_since("k10000", 9'999));
  EXPECT_GT(set.floor(), 9'000u);
}

// Against the plain definition: the last version that wrote each of few keys.
TEST(ConflictSet, agrees_with_a_table_of_last_writers) {
  const uint64_t seed = Random::from_entropy().next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  constexpr uint64_t kKeys = 20;
  const auto key = [](uint64_t i) { return std::string(1, static_cast<char>('a' + i)); };
  ConflictSet set;
  std::vector<Version> last(kKeys, 0);
  for (Version version = 1; version <= 20'000; ++version) {
    const uint64_t begin = random.below(kKeys), end = random.below(kKeys + 1);
    if (random.one_in(3)) {
      set.record_range(key(begin), key(end), version);
      for (uint64_t i = begin; i < end; ++i) last[i] = version;
    } else {
      set.record_key(key(begin), version);
      last[begin] = version;
    }
    if (random.one_in(50)) set.prune(version - std::min(random.below(20), version));
    const uint64_t from = random.below(kKeys), to = random.below(kKeys + 1);
    const Version since = version - std::min(random.below(40), version - set.floor());
    ASSERT_EQ(set.key_written_since(key(from), since), last[from] > since) << version;
    bool expected = false;
    for (uint64_t i = from; i < to; ++i) expected |= last[i] > since;
    ASSERT_EQ(set.range_written_since(key(from), key(to), since), expected) << version;
  }
}

}  // namespace
}  // namespace weir::kv
