#include "fuse/invalidator.h"

#include <gtest/gtest.h>

#include <future>
#include <semaphore>
#include <vector>

namespace weir::fuse {
namespace {

// A kernel that takes one notice for each permit.
class SlowKernel : public KernelCaches {
 public:
  explicit SlowKernel(int permits) : permits_(permits) {}
  void drop_content(InodeId inode) override { take("content " + std::to_string(inode.value())); }
  void drop_entry(InodeId directory, std::string_view name) override {
    take("entry " + std::to_string(directory.value()) + "/" + std::string(name));
  }
  void expire_all_entries() override { take("all"); }

  void permit(int count) { permits_.release(count); }
  std::vector<std::string> taken() {
    const std::lock_guard lock(mutex_);
    return taken_;
  }

 private:
  void take(std::string what) {
    permits_.acquire();
    const std::lock_guard lock(mutex_);
    taken_.push_back(std::move(what));
  }

  std::counting_semaphore<> permits_;
  std::mutex mutex_;
  std::vector<std::string> taken_;
};

TEST(Invalidator, returns_when_the_kernel_knows) {
  SlowKernel kernel(2);
  Invalidator invalidator(kernel);
  invalidator.content_changed(InodeId{7});
  EXPECT_EQ(std::vector<std::string>{"content 7"}, kernel.taken());
  invalidator.entry_changed(InodeId{1}, "name");
  EXPECT_EQ((std::vector<std::string>{"content 7", "entry 1/name"}), kernel.taken());
}

TEST(Invalidator, never_holds_up_a_thread_that_serves_a_request) {
  SlowKernel kernel(0);
  Invalidator invalidator(kernel);
  {
    const Invalidator::Serving serving;
    for (uint64_t i = 0; i < 1000; ++i) invalidator.content_changed(InodeId{i});
  }
  EXPECT_TRUE(kernel.taken().empty());  // and yet the calls returned
  kernel.permit(1001);
  invalidator.content_changed(InodeId{1000});
  EXPECT_EQ(1001u, kernel.taken().size());
}

TEST(Invalidator, gives_up_waiting_for_a_kernel_that_does_not_answer) {
  SlowKernel kernel(0);
  Invalidator invalidator(kernel);
  invalidator.entry_changed(InodeId{1}, "late");
  EXPECT_TRUE(kernel.taken().empty());
  kernel.permit(1);  // else the invalidator's thread would never end
}

TEST(Invalidator, expires_all_names_after_an_overflow) {
  SlowKernel kernel(0);
  Invalidator invalidator(kernel);
  {
    const Invalidator::Serving serving;
    for (size_t i = 0; i < Invalidator::kQueueMax + 2; ++i) invalidator.entry_changed(InodeId{1}, "n");
  }
  kernel.permit(static_cast<int>(Invalidator::kQueueMax) + 100);
  for (;;) {
    const auto taken = kernel.taken();
    if (!taken.empty() && taken.back() == "all") break;
    std::this_thread::yield();
  }
}

TEST(Invalidator, stops_with_notices_left) {
  SlowKernel kernel(1);
  Invalidator invalidator(kernel);
  {
    const Invalidator::Serving serving;
    for (uint64_t i = 0; i < 10; ++i) invalidator.content_changed(InodeId{i});
  }
  kernel.permit(1);
  std::thread late([&] { kernel.permit(20); });
  invalidator.stop();
  late.join();
  invalidator.content_changed(InodeId{99});  // no effect, and returns
}

}  // namespace
}  // namespace weir::fuse
