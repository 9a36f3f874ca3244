#include "volume/fetcher.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>

namespace weir::volume {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kRead = 128 << 10;
constexpr uint32_t kUnitsMax = 32;

TEST(ReadAheadWindow, the_first_read_asks_for_nothing_ahead) {
  ReadAheadWindow window;
  EXPECT_EQ(window.after_read(0, kRead, kUnitsMax).size, 0u);
}

TEST(ReadAheadWindow, reads_in_sequence_are_run_ahead_of_without_gap_or_overlap_by_a_growing_window) {
  ReadAheadWindow window;
  uint64_t covered = kRead;  // by the first read itself
  uint64_t largest = 0;
  uint64_t steps = 0;
  for (uint64_t offset = 0; offset < 256 * kMiB; offset += kRead) {
    const auto range = window.after_read(offset, kRead, kUnitsMax);
    if (range.size == 0) continue;
    ++steps;
    // The second read still finds nothing fetched ahead.
    EXPECT_EQ(range.offset, steps == 1 ? 2 * kRead : covered);
    covered = range.offset + range.size;
    EXPECT_LE(covered, offset + kRead + kUnitsMax * kMiB);
    EXPECT_LE(range.size, std::max(ReadAheadWindow::kFromStart * kMiB, (ReadAheadWindow::kGrowth + 1) * (offset + kRead)));
    largest = std::max(largest, range.size);
  }
  EXPECT_GE(covered, 256 * kMiB);
  EXPECT_GE(largest, kUnitsMax / 2 * kMiB);
  EXPECT_LT(steps, 40u);
}

TEST(ReadAheadWindow, reads_slightly_out_of_order_are_still_in_sequence) {
  ReadAheadWindow window;
  uint64_t asked = 0;
  for (uint64_t offset = 0; offset < 16 * kMiB; offset += 2 * kRead) {
    asked += window.after_read(offset + kRead, kRead, kUnitsMax).size;
    asked += window.after_read(offset, kRead, kUnitsMax).size;
  }
  EXPECT_GT(asked, 16 * kMiB);
}

TEST(ReadAheadWindow, random_reads_ask_for_nothing_and_begin_anew) {
  ReadAheadWindow window;
  for (uint64_t i = 0; i < 20; ++i) EXPECT_EQ(window.after_read((i * 7 % 20) * 50 * kMiB, kRead, kUnitsMax).size, 0u);
  const auto range = window.after_read(19 * 7 % 20 * 50 * kMiB + kRead, kRead, kUnitsMax);
  EXPECT_EQ(range.size, kMiB);
}

TEST(ReadAheadWindow, the_window_is_small_until_a_sequence_that_began_inside_is_proven) {
  ReadAheadWindow window;
  uint64_t ahead_end = 0;
  const uint64_t start = 7 * kMiB;
  for (uint64_t offset = start; offset < start + kMiB; offset += kRead) {
    const auto range = window.after_read(offset, kRead, kUnitsMax);
    if (range.size != 0) ahead_end = range.offset + range.size;
    EXPECT_LE(ahead_end, offset + kRead + kMiB);
  }
  const auto range = window.after_read(start + kMiB, kRead, kUnitsMax);
  EXPECT_GE(range.offset + range.size, start + ReadAheadWindow::kGrowth * kMiB);
}

TEST(ReadAheadWindow, what_was_asked_for_is_wanted_until_the_reader_goes_elsewhere) {
  auto window = std::make_unique<ReadAheadWindow>();
  window->after_read(0, kRead, kUnitsMax);
  const auto first = window->after_read(kRead, kRead, kUnitsMax);
  EXPECT_FALSE(first.wanted.expired());
  window->after_read(2 * kRead, kRead, kUnitsMax);
  EXPECT_FALSE(first.wanted.expired());
  window->after_read(100 * kMiB, kRead, kUnitsMax);
  EXPECT_TRUE(first.wanted.expired());
  const auto second = window->after_read(100 * kMiB + kRead, kRead, kUnitsMax);
  EXPECT_FALSE(second.wanted.expired());
  window.reset();
  EXPECT_TRUE(second.wanted.expired());
}

TEST(ReadAheadWindow, no_window_is_nothing_ahead) {
  ReadAheadWindow window;
  for (uint64_t offset = 0; offset < 4 * kMiB; offset += kRead) EXPECT_EQ(window.after_read(offset, kRead, 0).size, 0u);
}

}  // namespace
}  // namespace weir::volume
