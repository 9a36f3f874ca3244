// fuse/invalidator.h -- tells the kernel what changed behind its back.
//
// The kernel takes a directory's lock to drop a name and waits for a page being read to drop it; the requests that hold
// these may be waiting for whoever reports the change. So a thread of its own talks to the kernel, over a bounded queue. The
// reporting thread waits until the kernel knows, since the change must not be acknowledged before; but a thread that
// serves a request of this mount never does (its own request may hold the lock), and no thread longer than
// kAcknowledgeWait: then the kernel's caches are stale until the notice gets through, or their time is over.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf; the kernel is called without it.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "volume/volume.h"

namespace weir::fuse {

// The kernel's side, as far as the invalidator needs it.
class KernelCaches {
 public:
  virtual ~KernelCaches() = default;
  virtual void drop_content(InodeId inode) = 0;  // pages and attributes
  // Forgotten, and not only to be asked again at its next use: a question that was on its way before the change is answered with what
  // was there, and would make the entry valid again.
  virtual void drop_entry(InodeId directory, std::string_view name) = 0;
  virtual void expire_all_entries() = 0;
};

class Invalidator : public volume::CacheListener {
 public:
  static constexpr size_t kQueueMax = 65'536;
  static constexpr Duration kAcknowledgeWait = std::chrono::seconds(1);

  explicit Invalidator(KernelCaches& kernel);
  ~Invalidator() override { stop(); }

  void content_changed(InodeId inode) override;
  void entry_changed(InodeId directory, std::string_view name) override;
  // Notices that were not sent yet are dropped: the mount is gone.
  void stop();

  // Marks the calling thread as one that serves a request of the mount.
  class Serving {
   public:
    Serving() { ++depth_; }
    ~Serving() { --depth_; }
    Serving(const Serving&) = delete;
    Serving& operator=(const Serving&) = delete;
    static bool active() { return depth_ != 0; }

   private:
    static inline thread_local int depth_ = 0;
  };

 private:
  struct Notice {
    InodeId inode{};
    std::string name;  // empty: the inode's content
  };

  void post(Notice notice);
  void run();

  KernelCaches& kernel_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Notice> queue_;
  uint64_t posted_ = 0;
  uint64_t delivered_ = 0;
  bool overflowed_ = false;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace weir::fuse
