// volume/access_times.h -- when files and directories were last read, as relatime keeps it, until the namespace is told.
//
// A reading counts if the access time that is known is not after the last change, or is a day old: so a file that is read again
// and again costs one update a day. What was noted is in memory until the next flush; a crash loses it, and then the next reading
// counts again.
//
// Threads: all methods may be called concurrently. Locks: leaves.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "meta/types.h"

namespace weir::volume {

class AccessTimes {
 public:
  // Whether a reading at `now_ns` of what has these attributes counts.
  static bool counts(const meta::Attributes& attributes, int64_t now_ns);

  // The inode was read. Passed over while kNotedMax wait for a flush.
  void note(InodeId inode, int64_t now_ns);
  // Puts what was noted in the attributes' place.
  void overlay(meta::Attributes& attributes) const;
  // Before the access time is set by a call: returns once no flush is telling an earlier one of it any more.
  void forget(InodeId inode);

  // Gives everything noted to `record`, in batches of kBatch at most; what it took is forgotten unless it was noted anew meanwhile.
  // Stops at the first error; the rest stays.
  Result<void> flush(const std::function<Result<void>(const std::vector<meta::AccessTime>&)>& record);

  static constexpr size_t kNotedMax = 100'000;
  static constexpr size_t kBatch = 64;

 private:
  static constexpr size_t kShards = 16;
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    std::unordered_map<uint64_t, int64_t> noted;
    bool recording = false;             // some of it is being told
    std::condition_variable recorded;
  };
  Shard& shard_of(InodeId inode) { return shards_[inode.value() % kShards]; }
  const Shard& shard_of(InodeId inode) const { return shards_[inode.value() % kShards]; }

  std::array<Shard, kShards> shards_;
  std::atomic<size_t> count_ = 0;
};

}  // namespace weir::volume
