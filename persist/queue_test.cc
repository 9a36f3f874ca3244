#include "persist/queue.h"

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "meta/namespace_fixture.h"

namespace weir::persist {
namespace {

using meta::Urgency;

class QueueTest : public meta::NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    queue_ = std::make_unique<Queue>(*names_, 2);
  }

  InodeId commit(const std::string& name, Urgency urgency = Urgency::kOrdinary) {
    const InodeId inode = create(root_, name);
    write(inode, 1, urgency);
    return inode;
  }

  // What the queue hands out within a while.
  std::optional<Queue::Job> take() {
    auto job = std::async(std::launch::async, [this] { return queue_->take(); });
    if (job.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
      ADD_FAILURE() << "nothing was handed out";
      queue_->close();
    }
    return job.get();
  }

  std::unique_ptr<Queue> queue_;
};

TEST_F(QueueTest, urgent_comes_first_then_the_oldest_commit) {
  const InodeId a = commit("a");
  const InodeId b = commit("b");
  const InodeId c = commit("c", Urgency::kUrgent);
  EXPECT_EQ(take()->inode, c);
  EXPECT_EQ(take()->inode, a);
  EXPECT_EQ(take()->inode, b);
}

TEST_F(QueueTest, an_inode_is_taken_once_at_a_time_and_comes_again_while_it_waits) {
  const InodeId a = commit("a");
  const auto job = take();
  EXPECT_FALSE(queue_->try_take(a));
  const InodeId b = commit("b");
  queue_->wake();
  EXPECT_EQ(take()->inode, b);
  queue_->finish(*job);
  queue_->rescan();
  EXPECT_EQ(take()->inode, a);
}

TEST_F(QueueTest, one_that_was_taken_out_of_order_comes_in_its_turn_if_it_still_waits) {
  const InodeId a = commit("a");
  const InodeId b = commit("b");
  const auto first = take();
  ASSERT_EQ(first->inode, a);
  ASSERT_TRUE(queue_->try_take(b));
  queue_->finish({.inode = b});
  EXPECT_EQ(take()->inode, b);
}

TEST_F(QueueTest, a_commit_dated_before_what_was_read_is_found) {
  const InodeId a = commit("a");
  const InodeId b = commit("b");
  const auto job = take();
  ASSERT_EQ(job->inode, a);
  ASSERT_EQ(take()->inode, b);
  // Put off, then written again: its entry goes back to the time of its first commit.
  const int64_t later = unix_ns(system_clock().wall_now()) + 3'600'000'000'000;
  ASSERT_TRUE(names_->defer(a, later, {}).has_value());
  queue_->finish(*job);
  ASSERT_TRUE(names_->commit_content(a, {.size = 2}, Urgency::kOrdinary, kv::Durability::kWritten).has_value());
  queue_->wake();
  EXPECT_EQ(take()->inode, a);
}

TEST_F(QueueTest, one_put_off_comes_when_it_is_due) {
  const InodeId a = commit("a");
  const auto job = take();
  const int64_t due = unix_ns(system_clock().wall_now()) + 300'000'000;
  ASSERT_TRUE(names_->defer(a, due, {}).has_value());
  queue_->expect(due);
  queue_->finish(*job);
  std::optional<Queue::Job> again;
  // Before it is due it may be handed out by what was known earlier; the worker sees that and gives it back.
  do {
    again = take();
    ASSERT_EQ(again->inode, a);
    queue_->finish(*again);
  } while (unix_ns(system_clock().wall_now()) < due);
}

TEST_F(QueueTest, what_was_passed_over_comes_after_a_rescan) {
  const InodeId a = commit("a");
  const InodeId b = commit("b");
  queue_->pass_over(*take());
  EXPECT_EQ(take()->inode, b);
  queue_->rescan();
  EXPECT_EQ(take()->inode, a);
}

TEST_F(QueueTest, large_files_leave_room_for_small_ones) {
  std::vector<InodeId> inodes;
  for (int i = 0; i < 4; ++i) inodes.push_back(commit("f" + std::to_string(i)));
  auto first = *take();
  auto second = *take();
  auto third = *take();
  EXPECT_TRUE(queue_->enter_large(first));
  EXPECT_TRUE(queue_->enter_large(second));
  EXPECT_FALSE(queue_->enter_large(third));
  EXPECT_EQ(take()->inode, inodes[3]);
  queue_->finish(first);
  const auto parked = take();
  EXPECT_EQ(parked->inode, inodes[2]);
  EXPECT_TRUE(parked->large);
}

TEST_F(QueueTest, a_backlog_beyond_the_window_is_handed_out_whole_and_once) {
  constexpr size_t kFiles = 3 * Queue::kWindowMax;
  std::set<InodeId> waiting;
  for (size_t i = 0; i < kFiles; ++i) waiting.insert(commit("f" + std::to_string(i)));
  for (size_t i = 0; i < kFiles; ++i) {
    const auto job = take();
    ASSERT_TRUE(job.has_value());
    ASSERT_EQ(waiting.erase(job->inode), 1u);
    persist(job->inode);
    queue_->finish(*job);
  }
}

TEST_F(QueueTest, ordinary_entries_stand_back_while_applications_are_busy_and_urgent_ones_do_not) {
  std::atomic<bool> busy = true;
  queue_ = std::make_unique<Queue>(*names_, 2, Queue::Yielding{[&] { return busy.load(); }, std::chrono::minutes(1)});
  const InodeId ordinary = commit("ordinary");
  const InodeId urgent = commit("urgent", Urgency::kUrgent);
  EXPECT_EQ(take()->inode, urgent);
  auto next = std::async(std::launch::async, [this] { return queue_->take(); });
  EXPECT_EQ(next.wait_for(Queue::kQuietTime + std::chrono::milliseconds(200)), std::future_status::timeout);
  busy = false;
  EXPECT_EQ(next.get()->inode, ordinary);
}

TEST_F(QueueTest, of_the_workers_that_wait_only_one_wakes_up_to_look) {
  constexpr size_t kWorkers = 4;
  std::mutex mutex;
  std::vector<std::thread::id> looks;
  queue_ = std::make_unique<Queue>(*names_, 2, Queue::Yielding{[&] {
                                     const std::lock_guard lock(mutex);
                                     looks.push_back(std::this_thread::get_id());
                                     return true;
                                   },
                                   std::chrono::hours(1)});
  commit("f");
  const auto eventually = [&](const std::function<bool()>& condition) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    for (;;) {
      {
        const std::lock_guard lock(mutex);
        if (condition()) return true;
      }
      if (deadline.expired()) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  };
  std::vector<std::future<std::optional<Queue::Job>>> workers;
  const auto add_worker = [&] {
    workers.push_back(std::async(std::launch::async, [this] { return queue_->take(); }));
  };
  add_worker();
  EXPECT_TRUE(eventually([&] { return !looks.empty(); }));  // from now on everybody who comes looks
  while (workers.size() < kWorkers) add_worker();
  EXPECT_TRUE(eventually([&] { return std::set(looks.begin(), looks.end()).size() == kWorkers; }));
  {
    const std::lock_guard lock(mutex);
    looks.clear();
  }
  EXPECT_TRUE(eventually([&] { return looks.size() >= 10; }));
  {
    const std::lock_guard lock(mutex);
    EXPECT_EQ(std::set(looks.begin(), looks.end()).size(), 1u);
  }
  queue_->close();
  for (auto& worker : workers) EXPECT_FALSE(worker.get().has_value());
}

TEST_F(QueueTest, every_worker_that_waits_gets_of_what_comes_at_once) {
  constexpr size_t kWorkers = 8;
  std::vector<std::future<std::optional<Queue::Job>>> workers;
  for (size_t i = 0; i < kWorkers; ++i)
    workers.push_back(std::async(std::launch::async, [this] { return queue_->take(); }));
  std::set<InodeId> waiting;
  for (size_t i = 0; i < kWorkers; ++i) waiting.insert(commit("f" + std::to_string(i)));
  queue_->wake_for_ordinary();
  for (auto& worker : workers) {
    if (worker.wait_for(std::chrono::seconds(60)) != std::future_status::ready) {
      ADD_FAILURE() << "a worker sleeps on";
      queue_->close();
    }
    const auto job = worker.get();
    if (job) waiting.erase(job->inode);
  }
  EXPECT_TRUE(waiting.empty());
}

TEST_F(QueueTest, an_urgent_entry_reaches_workers_that_sleep) {
  auto first = std::async(std::launch::async, [this] { return queue_->take(); });
  auto second = std::async(std::launch::async, [this] { return queue_->take(); });
  EXPECT_EQ(first.wait_for(std::chrono::milliseconds(100)), std::future_status::timeout);
  const InodeId inode = commit("f", Urgency::kUrgent);
  queue_->wake();
  const Deadline deadline = Deadline::after(std::chrono::seconds(25));  // well below the idle interval
  const auto ready = [](auto& worker) { return worker.wait_for(std::chrono::milliseconds(5)) == std::future_status::ready; };
  while (!ready(first) && !ready(second) && !deadline.expired()) {
  }
  EXPECT_FALSE(deadline.expired());
  queue_->close();
  const auto one = first.get();
  const auto other = second.get();
  ASSERT_NE(one.has_value(), other.has_value());
  EXPECT_EQ((one ? one : other)->inode, inode);
}

TEST_F(QueueTest, an_entry_as_old_as_the_patience_stands_back_no_longer) {
  queue_ = std::make_unique<Queue>(*names_, 2, Queue::Yielding{[] { return true; }, std::chrono::milliseconds(300)});
  const InodeId inode = commit("f");
  EXPECT_EQ(take()->inode, inode);
}

TEST_F(QueueTest, nothing_is_handed_out_while_held_and_close_ends_waiting) {
  commit("a");
  queue_->hold();
  auto job = std::async(std::launch::async, [this] { return queue_->take(); });
  EXPECT_EQ(job.wait_for(Queue::kQuietTime * 2), std::future_status::timeout);
  queue_->close();
  EXPECT_FALSE(job.get().has_value());
}

}  // namespace
}  // namespace weir::persist
