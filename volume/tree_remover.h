// volume/tree_remover.h -- removes, behind the caller, what is in trees that were taken out of the namespace.
//
// The jobs are durable (see Namespace::detach_tree); this goes through them in bounded batches: inodes, their local files, the
// whiteouts of their objects, which the persister then erases in batches. Of directories that were never listed it lists the
// prefix and whites out what is there. What is open lives until its last close.
//
// Threads: one of its own; all methods may be called concurrently.
// Crash: a job goes on where it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "base/clock.h"
#include "meta/namespace.h"
#include "persist/background_pass.h"
#include "ufs/mount_table.h"
#include "volume/open_files.h"

namespace weir::volume {

class TreeRemover {
 public:
  static constexpr size_t kBatch = 200;  // entries in one transaction
  static constexpr Duration kGap = std::chrono::milliseconds(10);  // between two looks for jobs on wake()
  static constexpr Duration kIdleInterval = std::chrono::seconds(30);
  static constexpr Duration kFailedPause = std::chrono::seconds(1);
  static constexpr Duration kListTimeout = std::chrono::seconds(10);

  // `whiteouts`: called after there may be new ones.
  TreeRemover(meta::Namespace& names, OpenFiles& files, const ufs::MountTable& stores, std::function<void()> whiteouts);
  // Returns when what is under way is done; the rest goes on at the next start.
  ~TreeRemover();
  TreeRemover(const TreeRemover&) = delete;

  void wake() { loop_.wake(); }
  // Begins to stop, without waiting.
  void close();

  uint64_t removed_entries() const { return removed_entries_.load(std::memory_order_relaxed); }  // since start

 private:
  enum class Progress : uint8_t { kMoved, kStuck, kOver };

  // Goes through all jobs; the time to wait before the next pass.
  Duration pass();
  Result<Progress> step(InodeId job);
  Result<void> remove(InodeId job, const meta::Namespace::RemovalWork& work);
  Result<void> purge(InodeId job, const meta::Namespace::RemovalWork& work);

  meta::Namespace& names_;
  OpenFiles& files_;
  const ufs::MountTable& stores_;
  const std::function<void()> whiteouts_;
  std::atomic<uint64_t> removed_entries_ = 0;
  std::atomic<bool> closed_ = false;
  persist::BackgroundPass loop_{kGap, [this] { return pass(); }};
  std::jthread thread_;
};

}  // namespace weir::volume
