// volume/fetcher.h -- brings absent pages of a local file from the under store.
//
// Every read of an object is conditional on the etag of the home that the local file was begun for, so that one local file
// never holds bytes of two versions. One page is fetched by one thread at a time; others that need it wait.
//
// Absent pages beside each other come with one request, kRunBytes at most (and at least one page); each is present as soon as it
// is here, before the request is over. A reader fetches itself what it needs, and no more, so that its first byte waits for
// little; what is ahead of it comes in runs, several at a time, up to the window that ReadAheadWindow says. Memory: a run
// for each request that is under way.
//
// Threads: all methods may be called concurrently. No lock is held over a call into the under store.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "ufs/mount_table.h"
#include "volume/content.h"

namespace weir::volume {

struct FetcherOptions {
  Duration timeout = std::chrono::seconds(60);  // of one request
  uint32_t read_ahead_pages = 64;               // units of ReadAheadWindow::kUnit
  uint32_t read_ahead_requests = 8;             // under way at once, of all files; at least 1
};

// Follows the reads of one handle and says how far ahead to fetch: nothing for the first read and for random access, else a
// window that grows with what was read in sequence, up to a number of units. It grows faster for who began at the start of the file.
// It moves on in steps of half a window, so that what is fetched ahead comes in long runs.
// Threads: concurrent; the kernel sends reads of one file in parallel and slightly out of order.
class ReadAheadWindow {
 public:
  struct Range {
    uint64_t offset = 0;
    uint64_t size = 0;                 // 0: nothing
    std::weak_ptr<const void> wanted;  // expires when the reader goes on elsewhere, or is gone
  };
  Range after_read(uint64_t offset, uint64_t size, uint32_t units_max);

  static constexpr uint64_t kUnit = 1 << 20;      // the least window
  static constexpr uint64_t kFromStart = 8;       // units: the least one of a sequence from the start of the file
  static constexpr uint64_t kProven = 1 << 20;    // more than this was read in sequence: the window is kGrowth times that
  static constexpr uint64_t kGrowth = 16;
  static constexpr uint64_t kDisorder = 1 << 20;  // a read this far from the expected offset still is sequential

 private:
  std::mutex mutex_;  // leaf
  uint64_t first_ = 0;  // of the sequence
  uint64_t next_ = 0;
  uint64_t ahead_end_ = 0;
  bool begun_ = false;
  std::shared_ptr<const void> sequence_;  // null while nothing was asked for
};

class Fetcher {
 public:
  // Where the bytes of `content` lie, after they were not found at `tried`. kStale: the object is another version now, or gone.
  using FindHome = std::function<Result<format::Home>(const Content& content, const format::Home& tried)>;

  Fetcher(const ufs::MountTable& mounts, const FetcherOptions& options, FindHome find_home);
  ~Fetcher();  // waits for requests ahead under way
  Fetcher(const Fetcher&) = delete;

  // Ensures: every page of [offset, offset + size) is present.
  // Errors: kStale, kTimedOut (within the timeout nothing came), what UnderStore::get and LocalFile::fill give.
  Result<void> fetch(Content& content, uint64_t offset, uint64_t size);

  // The whole file is present and checked: local().complete().
  Result<void> fetch_all(const std::shared_ptr<Content>& content);

  // Begins fetching absent pages that start in the range. Dropped when kReadAheadMax runs are waiting, and when the reader does
  // not want them any more by the time it is their turn.
  void read_ahead(const std::shared_ptr<Content>& content, const ReadAheadWindow::Range& range);

  uint32_t read_ahead_pages() const { return options_.read_ahead_pages; }
  uint64_t fetched_bytes() const { return fetched_bytes_.load(std::memory_order_relaxed); }

  static constexpr uint64_t kRunBytes = 8 << 20;
  static constexpr size_t kReadAheadMax = 1'024;
  // Of one page, or of each MiB of a run that is fetched ahead: a request has the time of its bytes, FetcherOptions::timeout at most.
  static constexpr Duration kReadAheadTimeout = std::chrono::seconds(10);

 private:
  using ByteRange = pages::LocalFile::ByteRange;

  struct Task {
    std::shared_ptr<Content> content;
    ByteRange run;
    std::weak_ptr<const void> wanted;
  };
  // Pages beside each other; all but the last one are of page_bytes.
  struct Run {
    ByteRange bytes;
    uint64_t page_bytes = 0;
  };
  // Memory for the bytes of one run after the other.
  class Buffer {
   public:
    std::span<std::byte> take(uint64_t size);
    void free();

   private:
    std::unique_ptr<std::byte[]> bytes_;
    uint64_t capacity_ = 0;
  };

  class Claim;
  enum class Busy : uint8_t { kWait, kSkip };
  // The first run of pages in the range that are absent and that nobody fetches; they are the caller's to fetch from now on.
  // Requires: content.mutex_.
  static Run claim_run(Content& content, uint64_t offset, uint64_t size);
  // Fetches a claimed run, and gives each page of it free.
  Result<void> fetch_run(Content& content, const Run& run, std::span<std::byte> bytes, Deadline deadline);
  Result<void> fetch_range(Content& content, uint64_t offset, uint64_t size, Duration timeout, Busy busy, Buffer& buffer);
  void run();

  const ufs::MountTable& mounts_;
  const FetcherOptions options_;
  const FindHome find_home_;
  std::atomic<uint64_t> fetched_bytes_ = 0;

  std::mutex mutex_;  // leaf
  std::condition_variable work_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::jthread> threads_;
};

}  // namespace weir::volume
