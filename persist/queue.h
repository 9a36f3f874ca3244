// persist/queue.h -- which waiting inode is worked on next: a bounded view of the durable queue.
//
// The durable queue is read a page at a time, urgent entries first, then ordinary ones by the time of their commit, so that
// memory and the time to start do not depend on its length. An ordinary entry is left alone for kQuietTime: what is
// deleted or renamed at once costs no request. While applications keep the volume busy it is left alone for longer, at most
// for Yielding::patience: a burst of small operations has the machine to itself, and nothing waits for ever.
//
// Entries can appear behind what was read already: a transaction takes its time before it commits (never more than
// kv::kTxnLifetimeMax), and a new commit to a file moves its entry back to the file's oldest one. So reading goes on from
// kv::kTxnLifetimeMax before the last reading, and starts again from the head after kHeadInterval.
//
// Of the workers that wait, one watches: it alone sleeps until something is due, reads, and is told of changes. The others
// sleep until it has found more than it can do itself.
//
// An inode is taken by one worker at a time. Large files (more than one part) take at most half of the workers, so that
// small ones never wait behind them: enter_large() parks the rest in order.
//
// Threads: all methods may be called concurrently. mutex_ is a leaf; the durable queue is read outside it.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "meta/namespace.h"

namespace weir::persist {

class Queue {
 public:
  static constexpr Duration kQuietTime = std::chrono::milliseconds(200);
  static constexpr size_t kWindowMax = 1'024;      // entries of a class known and not taken
  static constexpr size_t kWindowLow = 256;        // below it more is read
  static constexpr size_t kPageEntries = 512;
  static constexpr size_t kParkedMax = 256;        // large files that wait for room
  static constexpr size_t kDelayedMax = 1'024;
  static constexpr Duration kBusyInterval = std::chrono::milliseconds(50);  // between two looks at busy()
  static constexpr Duration kScanGap = std::chrono::milliseconds(2);       // between two readings on wake()
  static constexpr Duration kDueGap = std::chrono::milliseconds(20);       // and before one because something is due
  static constexpr Duration kHeadInterval = std::chrono::seconds(1);
  static constexpr Duration kHeadIntervalPassed = std::chrono::seconds(10);  // while entries were passed over
  static constexpr Duration kIdleInterval = std::chrono::seconds(30);

  struct Job {
    InodeId inode{};
    format::QueueClass queue_class = format::ORDINARY;
    bool large = false;  // holds room for a large file
  };

  // When ordinary entries stand back behind applications. `busy` is asked often and under mutex_: it takes no lock that is
  // held over a call into this class. Empty: never.
  struct Yielding {
    std::function<bool()> busy;
    Duration patience;
  };

  // `large_max`: large files at once.
  Queue(meta::Namespace& names, uint32_t large_max, Yielding yielding = {});

  // Waits for an inode to work on; nullopt after close(). The inode is the caller's until one of the methods below gives
  // it back.
  std::optional<Job> take();
  // An inode that stands in another's way; false while somebody works on it.
  bool try_take(InodeId inode);

  // Gives it back. If it still waits it comes again.
  void finish(const Job& job);
  // Gives it back, to come again after `delay`.
  void again(const Job& job, Duration delay);
  // Gives it back untouched, to come again after rescan(), or a later pass from the head.
  void pass_over(const Job& job);
  // Makes room for a large file, or keeps the job until there is: then false, and it is not the caller's any more.
  bool enter_large(Job& job);

  // Something was queued that somebody may wait for. Cheap.
  void wake();
  // Something was queued that nobody waits for. Cheaper: it is looked for after kQuietTime.
  void wake_for_ordinary();
  // Something was queued for later.
  void expect(int64_t due_ns);
  // Reads from the head again at once.
  void rescan();
  // Nothing is handed out between hold() and release(): there is nowhere to send it.
  void hold();
  void release();
  void close();

  uint64_t in_flight() const;

 private:
  enum class State : uint8_t { kWaiting, kTaken, kDelayed, kParked };
  struct Tracked {
    State state = State::kWaiting;
    format::QueueClass queue_class = format::ORDINARY;
    int64_t due_ns = 0;
    bool seen_again = false;  // in the durable queue while it was taken
  };
  using Cursor = std::optional<meta::QueuedInode>;

  static size_t index_of(format::QueueClass queue_class) { return queue_class == format::URGENT ? 0 : 1; }

  // All under mutex_.
  // Something changed for those who wait.
  void alert();
  // Until when the watch sleeps if nothing happens.
  TimePoint watch_end() const;
  std::optional<Job> pop();
  std::optional<Job> pop_window(format::QueueClass queue_class);
  // The first ordinary entry is to wait until applications are less busy, or it is old enough.
  bool yields();
  std::optional<Job> hand_out(InodeId inode, State from);
  void offer(const meta::QueuedInode& entry);
  void give_back(const Job& job);
  void forget(const Job& job);
  TimePoint next_scan() const;
  bool window_low(format::QueueClass queue_class) const { return window_[index_of(queue_class)].size() < kWindowLow; }
  // Read the durable queue; `lock` is released meanwhile.
  void scan(std::unique_lock<std::mutex>& lock);
  void scan_class(format::QueueClass queue_class, int64_t now_ns, std::unique_lock<std::mutex>& lock);

  meta::Namespace& names_;
  const uint32_t large_max_;
  const Yielding yielding_;

  mutable std::mutex mutex_;
  std::condition_variable watch_;  // the one that watches
  std::condition_variable idle_;   // the others that wait
  bool watching_ = false;
  TimePoint watch_end_{};
  std::unordered_map<InodeId, Tracked> tracked_;
  std::array<std::deque<InodeId>, 2> window_;   // may hold entries that are tracked otherwise by now
  std::multimap<TimePoint, Job> delayed_;
  std::deque<Job> parked_;
  uint32_t large_ = 0;
  uint64_t taken_ = 0;

  std::atomic<bool> woken_{true};
  std::atomic<bool> ordinary_queued_{false};  // since the last reading
  bool scanning_ = false;
  bool held_ = false;
  bool closed_ = false;
  bool head_now_ = true;          // read from the head at the next reading
  bool head_wanted_ = false;      // and within kHeadInterval: something was queued since
  bool passed_over_ = false;      // since the last reading from the head
  bool parked_overflow_ = false;
  std::array<Cursor, 2> cursor_;
  std::array<bool, 2> more_{};    // the window was full before the end was reached
  TimePoint last_scan_{};
  TimePoint last_head_{};
  TimePoint due_scan_ = TimePoint::max();  // then something becomes due
  int64_t last_scan_wall_ns_ = 0;
};

}  // namespace weir::persist
