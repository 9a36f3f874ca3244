#include "fuse/directory_handle.h"

#include <algorithm>

namespace weir::fuse {

DirectoryHandle::DirectoryHandle(std::vector<std::pair<uint64_t, std::string>> places) : waypoints_(std::move(places)) {
  std::ranges::sort(waypoints_);
}

Result<void> DirectoryHandle::read(uint64_t offset, size_t entries_max, const Source& source,
                                   const Visitor& visitor) {
  const std::lock_guard lock(mutex_);
  auto [at, cursor] = seek(offset);
  for (;;) {
    // An offset of another handle (NFS) may lie far behind what this one knows.
    const uint64_t to_skip = offset - std::min(at, offset);
    const size_t wanted = std::max<uint64_t>(std::min<uint64_t>(to_skip, kCursorsKept), entries_max);
    TRY_ASSIGN(const volume::Volume::DirectoryListing listing, source(cursor, wanted));
    for (const volume::DirectoryEntryPlus& entry : listing.entries) {
      if (at >= offset && visitor(entry, at + 1) == Take::kNoRoom) return {};
      remember(++at, entry.entry.cursor);
    }
    if (!listing.more || listing.entries.empty()) return {};
    cursor = listing.entries.back().entry.cursor;
    if (at > offset) return {};  // a short reply is fine, the kernel comes back
  }
}

std::pair<uint64_t, std::string> DirectoryHandle::seek(uint64_t offset) {
  while (recent_end_ > offset && !recent_.empty()) {
    recent_.pop_back();
    --recent_end_;
  }
  while (!waypoints_.empty() && waypoints_.back().first > offset) waypoints_.pop_back();
  if (!recent_.empty()) return {recent_end_, recent_.back()};
  if (!waypoints_.empty()) {
    recent_end_ = waypoints_.back().first;
    return waypoints_.back();
  }
  recent_end_ = 0;
  return {0, {}};
}

void DirectoryHandle::remember(uint64_t next, const std::string& cursor) {
  recent_.push_back(cursor);
  recent_end_ = next;
  if (recent_.size() > kCursorsKept) recent_.pop_front();
  if (next % kCursorStride == 0 && (waypoints_.empty() || waypoints_.back().first < next)) {
    waypoints_.emplace_back(next, cursor);
  }
}

}  // namespace weir::fuse
