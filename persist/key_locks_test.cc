#include "persist/key_locks.h"

#include <gtest/gtest.h>

#include <thread>

namespace weir::persist {
namespace {

Deadline soon() { return Deadline::after(std::chrono::milliseconds(20)); }
Deadline late() { return Deadline::after(std::chrono::seconds(30)); }

TEST(KeyLocks, a_key_is_held_once) {
  KeyLocks locks;
  auto held = locks.lock(MountId(1), "a", soon());
  ASSERT_TRUE(held.has_value());
  EXPECT_TRUE(failed_with(locks.lock(MountId(1), "a", soon()), ErrorCode::kTimedOut));
  EXPECT_FALSE(locks.try_lock(MountId(1), "a"));
  EXPECT_TRUE(locks.try_lock(MountId(1), "b"));
  EXPECT_TRUE(locks.try_lock(MountId(2), "a"));
}

TEST(KeyLocks, what_moved_on_is_released_once) {
  KeyLocks locks;
  {
    auto first = locks.try_lock(MountId(1), "a");
    const KeyLocks::Held second = *std::move(first);
    first.reset();
    EXPECT_FALSE(locks.try_lock(MountId(1), "a"));
  }
  EXPECT_TRUE(locks.try_lock(MountId(1), "a"));
}

TEST(KeyLocks, a_waiter_gets_the_key_when_it_is_released) {
  KeyLocks locks;
  auto held = locks.try_lock(MountId(1), "a");
  std::thread waiter([&] { EXPECT_TRUE(locks.lock(MountId(1), "a", late()).has_value()); });
  held.reset();
  waiter.join();
}

}  // namespace
}  // namespace weir::persist
