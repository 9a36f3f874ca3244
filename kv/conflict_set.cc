#include "kv/conflict_set.h"

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace weir::kv {

void ConflictSet::record_key(std::string_view key, Version version) {
  newest_ = version;
  const auto it = points_.lower_bound(key);
  if (it != points_.end() && it->first == key) {
    it->second = version;
  } else {
    points_.emplace_hint(it, key, version);
  }
}

void ConflictSet::record_range(std::string_view begin, std::string_view end, Version version) {
  if (begin >= end) return;
  newest_ = version;
  // The new interval is the newest of all: it replaces what it covers and cuts what it overlaps.
  auto it = intervals_.lower_bound(begin);
  if (it != intervals_.begin()) {
    const auto left = std::prev(it);
    Interval& old = left->second;
    if (old.end > begin) {
      if (old.end > end) it = intervals_.emplace_hint(it, end, Interval{old.end, old.version});
      old.end.assign(begin);
    }
  }
  while (it != intervals_.end() && it->first < end) {
    if (it->second.end > end) {
      Interval rest = std::move(it->second);
      intervals_.erase(it);
      intervals_.emplace(end, std::move(rest));
      break;
    }
    it = intervals_.erase(it);
  }
  intervals_.emplace(begin, Interval{std::string(end), version});
}

bool ConflictSet::key_written_since(std::string_view key, Version since) const {
  if (newest_ <= since) return false;
  if (const auto it = points_.find(key); it != points_.end() && it->second > since) return true;
  if (intervals_.empty()) return false;
  auto it = intervals_.upper_bound(key);
  if (it == intervals_.begin()) return false;
  --it;
  return it->second.end > key && it->second.version > since;
}

bool ConflictSet::range_written_since(std::string_view begin, std::string_view end, Version since) const {
  if (newest_ <= since || begin >= end) return false;
  for (auto it = points_.lower_bound(begin); it != points_.end() && it->first < end; ++it) {
    if (it->second > since) return true;
  }
  auto it = intervals_.upper_bound(begin);
  if (it != intervals_.begin() && std::prev(it)->second.end > begin) --it;
  for (; it != intervals_.end() && it->first < end; ++it) {
    if (it->second.version > since) return true;
  }
  return false;
}

Result<void> ConflictSet::check(const KeyRanges& reads, Version since) const {
  if (since < floor_) return fail(ErrorCode::kTooOld);
  if (newest_ <= since) return {};
  for (size_t i = 0; i < reads.size(); ++i) {
    const KeyRanges::Range range = reads[i];
    if (range.single ? key_written_since(range.begin, since) : range_written_since(range.begin, range.end, since)) {
      return fail(ErrorCode::kConflict);
    }
  }
  return {};
}

void ConflictSet::prune(Version oldest) {
  forget_through(std::min(oldest, newest_));
  if (size() > entries_max_ / 2) {
    // A reader holds too much: the older half goes, and with it that reader's right to commit.
    std::vector<Version> versions;
    versions.reserve(size());
    for (const auto& [key, version] : points_) versions.push_back(version);
    for (const auto& [key, interval] : intervals_) versions.push_back(interval.version);
    const auto median = versions.begin() + static_cast<ptrdiff_t>(versions.size() / 2);
    std::nth_element(versions.begin(), median, versions.end());
    forget_through(*median);
  }
  prune_at_ = std::min(std::max(kPruneMin, 2 * size()), entries_max_);
}

void ConflictSet::forget_through(Version version) {
  floor_ = std::max(floor_, version);
  if (version >= newest_) {
    points_.clear();
    intervals_.clear();
    return;
  }
  std::erase_if(points_, [&](const auto& entry) { return entry.second <= version; });
  std::erase_if(intervals_, [&](const auto& entry) { return entry.second.version <= version; });
}

}  // namespace weir::kv
