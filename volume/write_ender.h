// volume/write_ender.h -- records the end of writing behind the caller of close(), many inodes in one transaction.
//
// What waits here is bounded by the open inodes: each waits at most once per close, and kIntervalMax at most.
// Threads: all methods may be called concurrently; `end` runs on one thread of the ender's own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "volume/open_table.h"

namespace weir::volume {

class WriteEnder {
 public:
  // Returns those whose end could not be recorded; they come again.
  using End = std::function<std::vector<OpenRef>(std::vector<OpenRef>)>;

  explicit WriteEnder(End end) : end_(std::move(end)), thread_([this] { run(); }) {}
  ~WriteEnder();  // what waits is dropped: the marks stand, and the next start ends them
  WriteEnder(const WriteEnder&) = delete;

  void enqueue(OpenRef open);
  // Returns when everything enqueued before the call was handed to `end`.
  void drain();

  static constexpr Duration kIntervalMax = std::chrono::milliseconds(100);
  static constexpr size_t kBatch = 256;

 private:
  void run();

  const End end_;
  std::mutex mutex_;  // leaf
  std::condition_variable work_;
  std::condition_variable done_;
  std::vector<OpenRef> waiting_;
  uint64_t enqueued_ = 0;
  uint64_t handled_ = 0;
  uint64_t drain_to_ = 0;  // no waiting for more before this many were handled
  bool stopping_ = false;
  std::jthread thread_;
};

}  // namespace weir::volume
