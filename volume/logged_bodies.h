// volume/logged_bodies.h -- small objects whose bytes are durable with the metadata before their local files are.
//
// A synced put of a small object commits its bytes as a row, in the transaction that makes it an object: one flush of the metadata's
// log covers as many puts as wait for one. The local file is written before that, but not synced. Behind the callers many such
// files are made durable at once, and their rows go. These hold at every instant:
//
// - While a row stands, its local file holds the row's bytes to every reader, and nobody changes it: whoever is about to calls
//   release() first. So after a power loss the row may be written over the file.
// - A row goes only when its local file is durable, or holds the object's content no more.
//
// Threads: all methods may be called concurrently. Locks: called under OpenInode::mutex; settling_, then mutex_, which is a leaf.
// Waits: release() and settle_all() for the device; nothing else waits.
// Crash: rows that stand are found by the next start (see recover() in volume/recovery.h), which hands them over.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "meta/object_namespace.h"
#include "pages/page_store.h"

namespace weir::volume {

// Writes the row's bytes to its local file, which is made if it is not there. They are not synced yet. Errors: kNoSpace, kIo.
Result<std::shared_ptr<pages::LocalFile>> restore_body(pages::PageStore& pages, const meta::ObjectNamespace::Body& body);

class LoggedBodies {
 public:
  LoggedBodies(meta::Namespace& names, pages::PageStore& pages);
  ~LoggedBodies();  // rows that stand are the next start's
  LoggedBodies(const LoggedBodies&) = delete;

  static constexpr size_t kBodyBytesMax = meta::kLoggedBodyBytesMax;
  // More is not taken: what makes files durable is stuck, and whoever puts then waits for that.
  static constexpr uint64_t kWaitingBytesMax = 64 << 20;
  static constexpr size_t kWaitingFilesMax = 20'000;
  // Files are made durable when so many wait, or one for so long.
  static constexpr uint64_t kGroupBytes = 8 << 20;
  static constexpr size_t kGroupFiles = 2'000;
  static constexpr Duration kWaitMax = std::chrono::milliseconds(500);

  // One row that may come to stand. Withdrawn with its owner unless it was committed.
  class Entry {
   public:
    Entry(Entry&& other) noexcept;
    Entry& operator=(Entry&&) = delete;
    ~Entry();
    // The row stands, or may.
    void committed();

   private:
    friend class LoggedBodies;
    Entry(LoggedBodies& owner, LocalFileId local_file) : owner_(&owner), local_file_(local_file) {}
    LoggedBodies* owner_;  // null: over
    LocalFileId local_file_;
  };
  // Before the first byte is written to the local file, whose row is committed after its last. nullopt: too much waits.
  std::optional<Entry> begin(LocalFileId local_file, uint64_t bytes);

  // Takes over rows that stand, of files that hold what the rows say.
  struct Standing {
    LocalFileId local_file{};
    uint64_t bytes = 0;
  };
  void take_over(std::span<const Standing> rows);

  // The local file is about to be changed: returns when it is durable, and durably has no row.
  Result<void> release(pages::LocalFile& file);

  // Rows that stand when it is called are gone when it returns. The error of the first try; kTimedOut.
  Result<void> settle_all(Deadline deadline);

  // Rows that stand or may.
  size_t waiting() const { return waiting_.load(std::memory_order_relaxed); }

 private:
  struct Waiting {
    uint64_t bytes = 0;
    uint64_t failed_syncs = 0;  // of the page store, before the file was written
    bool committed = false;
  };
  using Group = std::vector<std::pair<LocalFileId, uint64_t>>;  // with Waiting::failed_syncs

  void run();
  void add(LocalFileId local_file, Waiting waiting);
  void forget(LocalFileId local_file);
  Group committed_now() const;
  Result<void> settle(const Group& group);
  Result<void> settle_one(LocalFileId local_file, uint64_t failed_syncs);

  meta::ObjectNamespace objects_;
  pages::PageStore& pages_;

  std::mutex settling_;  // one file by itself: nobody restores it while another lets it be changed
  mutable std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  std::unordered_map<LocalFileId, Waiting> rows_;
  std::atomic<size_t> waiting_ = 0;     // size of rows_
  uint64_t waiting_bytes_ = 0;
  size_t standing_files_ = 0;           // committed ones of rows_
  uint64_t standing_bytes_ = 0;
  TimePoint due_ = TimePoint::max();    // of the next group, while there are any
  uint64_t asked_ = 0;                  // calls of settle_all()
  uint64_t answered_ = 0;               // of those, begun before the last group was
  Result<void> outcome_;                // of the last group
  bool stopping_ = false;
  std::thread thread_;                  // last: it uses all of the above
};

}  // namespace weir::volume
