#include "volume/access_times.h"

#include <algorithm>
#include <chrono>
#include <span>

#include "base/clock.h"

namespace weir::volume {
namespace {

constexpr int64_t kOldNs = Duration(std::chrono::hours(24)).count();

}  // namespace

bool AccessTimes::counts(const meta::Attributes& attributes, int64_t now_ns) {
  return attributes.atime_ns <= attributes.mtime_ns || attributes.atime_ns <= attributes.ctime_ns ||
         now_ns - attributes.atime_ns >= kOldNs;
}

void AccessTimes::note(InodeId inode, int64_t now_ns) {
  if (count_.load(std::memory_order_relaxed) >= kNotedMax) return;
  Shard& shard = shard_of(inode);
  const std::lock_guard lock(shard.mutex);
  const auto [entry, added] = shard.noted.try_emplace(inode.value(), now_ns);
  entry->second = std::max(entry->second, now_ns);
  if (added) count_.fetch_add(1, std::memory_order_relaxed);
}

void AccessTimes::overlay(meta::Attributes& attributes) const {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  const Shard& shard = shard_of(attributes.inode);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.noted.find(attributes.inode.value());
  if (found != shard.noted.end()) attributes.atime_ns = std::max(attributes.atime_ns, found->second);
}

void AccessTimes::forget(InodeId inode) {
  Shard& shard = shard_of(inode);
  std::unique_lock lock(shard.mutex);
  shard.recorded.wait(lock, [&] { return !shard.recording; });
  count_.fetch_sub(shard.noted.erase(inode.value()), std::memory_order_relaxed);
}

Result<void> AccessTimes::flush(const std::function<Result<void>(const std::vector<meta::AccessTime>&)>& record) {
  for (Shard& shard : shards_) {
    std::unique_lock lock(shard.mutex);
    std::vector<meta::AccessTime> all;
    for (const auto& [inode, atime_ns] : shard.noted) all.push_back({InodeId(inode), atime_ns});
    for (auto left = std::span<const meta::AccessTime>(all); !left.empty(); left = left.subspan(std::min(kBatch, left.size()))) {
      std::vector<meta::AccessTime> batch;
      for (const meta::AccessTime& access : left.first(std::min(kBatch, left.size())))
        if (shard.noted.contains(access.inode.value())) batch.push_back(access);  // else forgotten meanwhile
      if (batch.empty()) continue;
      shard.recording = true;
      lock.unlock();
      const auto recorded = record(batch);
      lock.lock();
      shard.recording = false;
      shard.recorded.notify_all();
      TRY(recorded);
      for (const meta::AccessTime& access : batch) {
        const auto found = shard.noted.find(access.inode.value());
        if (found == shard.noted.end() || found->second != access.atime_ns) continue;
        shard.noted.erase(found);
        count_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
  }
  return {};
}

}  // namespace weir::volume
