#include "pages/reaper.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace weir::pages {
namespace {

constexpr uint64_t kFiles = 500;

class ReaperTest : public ::testing::Test {
 protected:
  bool put(uint64_t id) {
    Reaper::Item item{.id = LocalFileId(id), .bytes = 1, .remains = {}};
    return reaper_.put(item);
  }

  std::atomic<uint64_t> unlinked_ = 0;
  Reaper reaper_{[this](const Reaper::Item&) { ++unlinked_; }};
};

TEST_F(ReaperTest, frees_each_file_once_with_bursts_and_rests_between) {
  for (uint64_t id = 1; id <= kFiles; ++id) {
    ASSERT_TRUE(put(id));
    if (id % 100 == 0) reaper_.finish(LocalFileId(id));
  }
  reaper_.stop();
  EXPECT_EQ(kFiles, unlinked_);
  EXPECT_EQ(0u, reaper_.files());
  EXPECT_EQ(0u, reaper_.bytes());
  EXPECT_FALSE(put(kFiles + 1));
}

TEST_F(ReaperTest, whoever_needs_space_waits_for_nobody_who_gathers) {
  ASSERT_TRUE(put(1));
  ASSERT_TRUE(put(2));
  while (reaper_.help()) {
  }
  EXPECT_EQ(2u, unlinked_);
  ASSERT_TRUE(put(3));
  reaper_.finish(LocalFileId(3));
  EXPECT_EQ(3u, unlinked_);
}

TEST_F(ReaperTest, frees_by_itself) {
  for (int burst = 1; burst <= 3; ++burst) {
    ASSERT_TRUE(put(1));
    while (reaper_.files() != 0) std::this_thread::yield();
    EXPECT_EQ(static_cast<uint64_t>(burst), unlinked_);
  }
}

// Whoever frees beside the first thread takes long.
TEST(Reaper, leaves_no_thread_behind_when_it_stops) {
  std::mutex mutex;
  std::condition_variable changed;
  std::thread::id first{};
  bool stopped = false;
  int at_work = 0;
  Reaper reaper([&](const Reaper::Item&) {
    std::unique_lock lock(mutex);
    if (first == std::thread::id{}) first = std::this_thread::get_id();
    if (first == std::this_thread::get_id()) return;
    ++at_work;
    changed.wait_for(lock, std::chrono::seconds(1), [&] { return stopped; });
    --at_work;
  });
  const auto put = [&](uint64_t id) {
    Reaper::Item item{.id = LocalFileId(id), .bytes = 1, .remains = {}};
    ASSERT_TRUE(reaper.put(item));
  };
  put(1);
  while (reaper.files() != 0) std::this_thread::yield();
  // The first thread rests now, and is stopped before it knows of more.
  for (uint64_t id = 2; id <= 8; ++id) put(id);
  reaper.stop();
  const std::lock_guard lock(mutex);
  EXPECT_EQ(at_work, 0);
  stopped = true;
  changed.notify_all();
}

}  // namespace
}  // namespace weir::pages
