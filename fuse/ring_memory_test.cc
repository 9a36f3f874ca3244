#include "fuse/ring_memory.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

namespace weir::fuse {
namespace {

constexpr int kRequests = 3;      // come into one slot, one after the other
constexpr int kDeathsMax = 2;     // of servers
constexpr int kThreads = 2;       // of a server, besides the one that serves what its predecessor left

// The owner of one slot and the servers that come one after the other, stepped by hand: whoever is not stepped is held up.
class World {
 public:
  // Whoever can make a step: 0 the owner, 1 a death, from 2 on the threads of the server that lives.
  static constexpr int kActors = 3 + kThreads;

  // False: it cannot make one now.
  bool step(int actor) {
    if (actor == 0) return step_owner();
    if (actor == 1) return die();
    return step_thread(threads_[static_cast<size_t>(actor - 2)], actor == 2);
  }

  bool finished() const { return collected_ == kRequests; }
  const std::string& wrong() const { return wrong_; }
  auto key() const {
    std::vector<int> of_threads;
    for (const Thread& thread : threads_) of_threads.insert(of_threads.end(), {thread.looked, thread.serving, thread.done});
    return std::tuple(state_.get(), offered_, collected_, deaths_, served_, interrupted_, of_threads, replies_);
  }
  World() = default;
  World(const World& other)
      : offered_(other.offered_),
        collected_(other.collected_),
        deaths_(other.deaths_),
        served_(other.served_),
        interrupted_(other.interrupted_),
        replies_(other.replies_),
        threads_(other.threads_),
        wrong_(other.wrong_) {
    for (int i = 0; i < static_cast<int>(other.state_.get()); ++i) advance();
  }

 private:
  struct Thread {
    bool looked = false;  // for what the predecessor left
    bool serving = false;
    bool done = false;    // served, and has not replied
  };

  void advance() {
    switch (state_.get()) {
      case RingSlotState::kFree: state_.offer(); break;
      case RingSlotState::kRequest: state_.take(); break;
      case RingSlotState::kTaken: state_.reply(); break;
      case RingSlotState::kReplied: state_.collect(); break;
    }
  }

  bool step_owner() {
    if (state_.get() == RingSlotState::kFree && offered_ < kRequests) {
      served_ = interrupted_ = replies_ = 0;
      ++offered_;
      return state_.offer();
    }
    if (!state_.collect()) return false;
    ++collected_;
    if (replies_ != 1) wrong_ = "a request has " + std::to_string(replies_) + " replies";
    return true;
  }

  bool die() {
    if (deaths_ == kDeathsMax) return false;
    ++deaths_;
    for (const Thread& thread : threads_) interrupted_ += thread.serving;
    threads_.assign(1 + kThreads, {});
    return true;
  }

  // Those that take new requests begin when what was left was found.
  bool step_thread(Thread& thread, bool of_those_left) {
    if (thread.serving) return serve(thread);
    if (of_those_left) {
      if (thread.looked) return false;
      thread.looked = true;
      thread.serving = state_.get() == RingSlotState::kTaken;
      return true;
    }
    if (!threads_.front().looked) return false;
    thread.serving = state_.take();
    return thread.serving;
  }

  bool serve(Thread& thread) {
    if (!thread.done) {
      thread.done = true;
      if (++served_ > 1 + interrupted_) wrong_ = "a request is served twice by those who live";
      return true;
    }
    thread = {.looked = thread.looked};
    ++replies_;
    if (!state_.reply()) wrong_ = "a reply to a request that has one";
    return true;
  }

  RingSlotState state_{};
  int offered_ = 0, collected_ = 0, deaths_ = 0;
  int served_ = 0, interrupted_ = 0, replies_ = 0;  // of the request that came last
  std::vector<Thread> threads_ = std::vector<Thread>(1 + kThreads);
  std::string wrong_;
};

TEST(RingSlotState, in_every_order_of_steps_and_deaths_each_request_gets_one_reply) {
  std::vector<World> open(1);
  std::set<decltype(World().key())> known;
  size_t finished = 0;
  while (!open.empty()) {
    const World world = open.back();
    open.pop_back();
    if (!known.insert(world.key()).second) continue;
    if (world.finished()) {
      ++finished;
      continue;
    }
    bool stuck = true;
    for (int actor = 0; actor < World::kActors; ++actor) {
      World next = world;
      if (!next.step(actor)) continue;
      ASSERT_EQ(next.wrong(), "");
      if (actor != 1) stuck = false;
      open.push_back(next);
    }
    ASSERT_FALSE(stuck) << "nobody serves a request";
  }
  EXPECT_GT(finished, 0u);
  EXPECT_GT(known.size(), 100u);
}

TEST(RingSlotState, a_step_is_made_by_one_alone_and_in_its_turn) {
  RingSlotState state{};
  EXPECT_FALSE(state.take() || state.reply() || state.collect());
  EXPECT_TRUE(state.offer());
  EXPECT_FALSE(state.offer() || state.reply() || state.collect());
  EXPECT_TRUE(state.take());
  EXPECT_FALSE(state.take() || state.offer() || state.collect());
  EXPECT_TRUE(state.reply());
  EXPECT_FALSE(state.reply() || state.take() || state.offer());
  EXPECT_TRUE(state.collect());
  EXPECT_EQ(state.get(), RingSlotState::kFree);
}

}  // namespace
}  // namespace weir::fuse
