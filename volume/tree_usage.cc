#include <utility>
#include <vector>

#include "base/no_wait.h"
#include "volume/local_volume.h"

namespace weir::volume {
namespace {

constexpr size_t kEntries = 500;  // summed up at once

// A directory on the way down, and those of its directories that are still to be gone into.
struct Frame {
  InodeId directory{};
  std::string cursor;
  bool more = true;
  std::vector<InodeId> below;
};

}  // namespace

Result<TreeUsage> LocalVolume::tree_usage(std::string_view path, CachedBytes cached,
                                          const std::function<bool(const TreeUsage&)>& progress) {
  TRY(NoWait::check());
  TRY_ASSIGN(const InodeId top, resolve(path));
  TRY_ASSIGN(const auto inode, load(top));
  TreeUsage usage;
  const auto add_local = [&](LocalFileId file) {
    const auto stat = pages_.stat(file);
    if (stat) usage.cached_bytes += std::min(stat->allocated_bytes, stat->size_bytes);
  };
  if (!meta::is_directory(inode)) {
    TRY_ASSIGN(const Entry entry, get_attributes(top));
    usage.files = 1;
    if (inode.type() == format::REGULAR) usage.bytes = entry.attributes.size;
    if (cached == CachedBytes::kCounted && inode.local_file() != 0) add_local(LocalFileId(inode.local_file()));
    return usage;
  }
  std::vector<Frame> stack;
  stack.push_back({.directory = top});
  while (!stack.empty()) {
    if (stopping_ || !progress(usage)) return fail(ErrorCode::kCancelled, "stopped");
    Frame& frame = stack.back();
    if (!frame.below.empty()) {
      const InodeId next = frame.below.back();
      frame.below.pop_back();
      stack.push_back({.directory = next});
      continue;
    }
    if (!frame.more) {
      stack.pop_back();
      continue;
    }
    if (frame.cursor.empty()) {
      const auto record = names_->load(frame.directory);
      if (failed_with(record, ErrorCode::kNotFound)) {  // removed meanwhile
        stack.pop_back();
        continue;
      }
      TRY(record);
      TRY(list_lower(*record));
      ++usage.directories;
    }
    TRY_ASSIGN(auto sum, cached == CachedBytes::kCounted
                             ? names_->sum_directory(frame.directory, frame.cursor, kEntries)
                             : names_->kept_sum(frame.directory, frame.cursor, kEntries));
    usage.files += sum.files;
    usage.bytes += sum.bytes;
    for (const LocalFileId file : sum.local_files) add_local(file);
    frame.cursor = std::move(sum.cursor);
    frame.more = sum.more;
    frame.below = std::move(sum.directories);
  }
  return usage;
}

}  // namespace weir::volume
