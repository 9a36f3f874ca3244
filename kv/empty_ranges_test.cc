#include "kv/empty_ranges.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/random.h"

namespace weir::kv {
namespace {

std::string begin_of_scan(EmptyRanges& ranges, std::string_view begin, std::string_view end, Version version) {
  return EmptyRanges::Scan(ranges, begin, end, version).begin();
}

void found(EmptyRanges& ranges, std::string_view begin, std::string_view end, Version version,
           std::string_view first_row) {
  EmptyRanges::Scan scan(ranges, begin, end, version);
  scan.found_nothing_before(first_row);
}

TEST(EmptyRanges, a_later_scan_begins_behind_the_gap) {
  EmptyRanges ranges;
  found(ranges, "q", "r", 5, "q7");
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 5), "q7");
  EXPECT_EQ(begin_of_scan(ranges, "q3", "r", 9), "q7");
  EXPECT_EQ(begin_of_scan(ranges, "q8", "r", 9), "q8");
}

TEST(EmptyRanges, an_earlier_version_may_have_had_rows_there) {
  EmptyRanges ranges;
  found(ranges, "q", "r", 5, "q7");
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 4), "q");
}

TEST(EmptyRanges, a_row_cuts_the_range_off) {
  EmptyRanges ranges;
  found(ranges, "q", "r", 5, "q7");
  ranges.put("q5", 6);
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 6), "q5");
  ranges.put("q", 7);
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 7), "q");
}

TEST(EmptyRanges, a_row_that_comes_during_the_scan_counts) {
  EmptyRanges ranges;
  EmptyRanges::Scan scan(ranges, "q", "r", 5);
  ranges.put("q2", 6);
  scan.found_nothing_before("q7");
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 6), "q2");
}

TEST(EmptyRanges, a_row_that_came_after_the_snapshot_and_before_the_scan_counts) {
  EmptyRanges ranges;
  ranges.put("q2", 6);
  found(ranges, "q", "r", 5, "q7");
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 6), "q");
}

TEST(EmptyRanges, ranges_that_touch_become_one) {
  EmptyRanges ranges;
  found(ranges, "q", "r", 5, "q3");
  found(ranges, "q", "r", 8, "q6");
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 8), "q6");
  EXPECT_EQ(begin_of_scan(ranges, "q1", "r", 9), "q6");
}

TEST(EmptyRanges, rows_of_other_tables_do_not_matter) {
  EmptyRanges ranges;
  ranges.put("p1", 9);
  found(ranges, "q", "r", 5, "q7");
  ranges.put("r", 10);
  EXPECT_EQ(begin_of_scan(ranges, "q", "r", 10), "q7");
}

TEST(EmptyRanges, a_range_over_several_tables_tells_nothing) {
  EmptyRanges ranges;
  found(ranges, "q", "s", 5, "r7");
  EXPECT_EQ(begin_of_scan(ranges, "q", "s", 5), "q");
}

// Commits and scans in any order; a scan that is open stands for a thread between its snapshot and its first row.
TEST(EmptyRanges, no_scan_misses_a_row) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    EmptyRanges ranges;
    std::deque<std::set<std::string>> history{{}};  // by version
    const auto key = [&] { return (random.below(8) == 0 ? "p" : "q") + std::to_string(random.below(40) + 10); };
    struct Open {
      Version version;
      std::string begin, end;
      std::unique_ptr<EmptyRanges::Scan> scan;
    };
    std::vector<Open> open;
    for (int step = 0; step < 400; ++step) {
      const uint64_t what = random.below(10);
      if (what < 4) {
        std::set<std::string> next = history.back();
        const Version version = history.size();
        for (uint64_t i = random.below(3) + 1; i-- > 0;) {
          const std::string changed = key();
          if (random.below(3) == 0) {
            next.insert(changed);
            ranges.put(changed, version);
          } else {
            next.erase(next.begin(), next.upper_bound(changed));  // a queue's front
          }
        }
        history.push_back(std::move(next));
      } else if (what < 7) {
        // A reader may have had its snapshot for some time.
        const Version version = history.size() - 1 - random.below(std::min<uint64_t>(history.size(), 4));
        std::string begin = random.below(2) == 0 ? "q" : key();
        std::string end = random.below(2) == 0 ? "r" : key();
        auto scan = std::make_unique<EmptyRanges::Scan>(ranges, begin, end, version);
        open.push_back({version, std::move(begin), std::move(end), std::move(scan)});
      } else if (!open.empty()) {
        const size_t index = random.below(open.size());
        Open& reader = open[index];
        const auto& rows = history[reader.version];
        const auto first = rows.lower_bound(reader.begin);
        if (first != rows.end() && *first < reader.end) {
          ASSERT_LE(reader.scan->begin(), *first);
        }
        const auto shown = rows.lower_bound(reader.scan->begin());
        const bool any = shown != rows.end() && *shown < reader.end;
        if (random.below(4) != 0) reader.scan->found_nothing_before(any ? *shown : reader.end);
        open.erase(open.begin() + static_cast<ptrdiff_t>(index));
      }
    }
  }
}

}  // namespace
}  // namespace weir::kv
