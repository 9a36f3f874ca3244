// fuse/directory_handle.h -- one open directory: the kernel's offsets over the volume's cursors.
//
// An entry's offset is its running index, counted since the directory was last read from its start; the volume continues behind
// a cursor, whatever happened to the entry there. The handle remembers the cursors of the last kCursorsKept entries it
// gave out, and every kCursorStride-th of all: going back among the former is exact; farther back is exact unless entries
// before the target were added or removed since. Nothing else is kept: every read asks the volume anew, because
// attributes that the kernel gets must not be older than its request.
//
// Threads: read() may be called concurrently; calls are served one by one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "volume/volume.h"

namespace weir::fuse {

class DirectoryHandle {
 public:
  static constexpr size_t kCursorsKept = 4096;
  static constexpr size_t kCursorStride = 256;

  enum class Take : uint8_t { kTaken, kNoRoom };
  // `next` is the offset behind the entry.
  using Visitor = std::function<Take(const volume::DirectoryEntryPlus& entry, uint64_t next)>;
  // Volume::read_directory for the directory.
  using Source = std::function<Result<volume::Volume::DirectoryListing>(std::string_view after, size_t entries_max)>;

  DirectoryHandle() = default;
  // Goes on for another handle, of which it knows these offsets and the cursors that lead there.
  explicit DirectoryHandle(std::vector<std::pair<uint64_t, std::string>> places);

  // Visits entries from `offset` on until the visitor has no room or there are no more; offset 0 starts anew. Asks the
  // source for about `entries_max` entries.
  Result<void> read(uint64_t offset, size_t entries_max, const Source& source, const Visitor& visitor);

 private:
  // The offset at or before `offset` that can be read from, and its cursor; forgets what lies behind it.
  std::pair<uint64_t, std::string> seek(uint64_t offset);
  void remember(uint64_t next, const std::string& cursor);

  std::mutex mutex_;
  std::deque<std::string> recent_;                            // of the entries before recent_end_
  uint64_t recent_end_ = 0;
  std::vector<std::pair<uint64_t, std::string>> waypoints_;   // (offset behind, cursor), ascending
};

}  // namespace weir::fuse
