// pages/reaper.h -- frees the space of removed files behind the calls that removed them.
//
// To free blocks can take a device that is told of it a hundred times as long as to forget a name. So it is done by a few
// threads, which wait for the device side by side; there are none before the first file. What is on its way takes space
// still: whoever needs space calls help() before anything is refused or evicted. The first thread that finds something after a rest
// gathers for a moment, so that a burst of removals wakes the others, and makes what they wait for durable, once for many files.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf; no call to the file system is made under it.
// Crash: files on their way are known to no metadata; the next start removes them.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/affinity.h"
#include "base/clock.h"
#include "io/file.h"
#include "pages/store_dir.h"

namespace weir::pages {

class Reaper {
 public:
  // A file whose name is to go, or (`remains` valid) one without a name whose descriptor is the last thing that holds it.
  struct Item {
    LocalFileId id{};
    Origin origin = Origin::kLocal;
    uint8_t dir = 0;
    bool has_map = false;
    uint32_t number = 0;  // see DiskPageStore::settle_removals()
    uint64_t bytes = 0;  // as accounted
    io::File remains;
  };

  // `unlink` takes the names of an item away.
  explicit Reaper(std::function<void(const Item&)> unlink) : unlink_(std::move(unlink)) {}
  ~Reaper() { stop(); }
  Reaper(const Reaper&) = delete;

  // False, and `item` is as it was: too many are on their way, or it was stopped.
  bool put(Item& item);
  // Returns when no name of `id` is on its way.
  void finish(LocalFileId id);
  // Frees one file, or waits until one is freed. False: none is on its way.
  bool help();

  // Frees what is on its way, for kStopMax at most; the rest is the next start's. Holds no file afterwards.
  void stop();

  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t files() const { return files_.load(std::memory_order_relaxed); }

  static constexpr size_t kItemsMax = 1 << 17;
  static constexpr size_t kThreadsMax = 8;
  static constexpr Duration kGatherTime = std::chrono::milliseconds(20);
  static constexpr Duration kStopMax = std::chrono::seconds(5);

 private:
  using Lock = std::unique_lock<std::mutex>;

  void run();
  // None once it stops.
  void add_thread();
  // Lets more come, and wakes who is needed for it then.
  void gather(Lock& lock);
  // Frees the oldest. Requires: there is one. `lock` is released meanwhile.
  void free_oldest(Lock& lock);

  const std::function<void(const Item&)> unlink_;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> files_{0};

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable freed_;
  std::condition_variable stopped_;
  std::deque<Item> items_;                  // oldest first
  std::unordered_set<LocalFileId> names_;   // of items_ and of what is being freed
  size_t being_freed_ = 0;
  uint64_t freed_count_ = 0;
  size_t idle_ = 0;                         // threads that wait for work
  bool gathers_ = false;                    // a thread does
  bool stopping_ = false;
  TimePoint stop_until_{};
  const Affinity affinity_ = Affinity::of_this_thread();  // not that of whoever needs a thread
  std::vector<std::jthread> threads_;
};

}  // namespace weir::pages
