#include "fuse/special_files.h"

#include <algorithm>

namespace weir::fuse {

bool SpecialFiles::is_special(meta::FileType type) {
  return type == format::FIFO || type == format::SOCKET || type == format::CHAR_DEVICE || type == format::BLOCK_DEVICE;
}

void SpecialFiles::looked_up(const meta::Attributes& attributes) {
  if (!is_special(attributes.type)) return;
  const std::lock_guard lock(mutex_);
  Known& known = known_[attributes.inode.value()];
  ++known.lookups;
  known.attributes = attributes;
  count_.store(known_.size(), std::memory_order_relaxed);
}

void SpecialFiles::forgotten(InodeId inode, uint64_t lookups) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(inode.value());
  if (found == known_.end()) return;
  found->second.lookups -= std::min(lookups, found->second.lookups);
  if (found->second.lookups == 0) known_.erase(found);
  count_.store(known_.size(), std::memory_order_relaxed);
}

std::optional<meta::Attributes> SpecialFiles::find(InodeId inode) const {
  if (count_.load(std::memory_order_relaxed) == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(inode.value());
  if (found == known_.end()) return std::nullopt;
  meta::Attributes attributes = found->second.attributes;
  attributes.links = 0;
  return attributes;
}

std::optional<meta::Attributes> SpecialFiles::change(InodeId inode, const meta::AttributeChange& change, int64_t now_ns) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(inode.value());
    if (found == known_.end()) return std::nullopt;
    meta::Attributes& attributes = found->second.attributes;
    if (change.permissions) attributes.permissions = *change.permissions;
    if (change.uid) attributes.uid = *change.uid;
    if (change.gid) attributes.gid = *change.gid;
    if (change.atime_ns) attributes.atime_ns = *change.atime_ns;
    if (change.mtime_ns) attributes.mtime_ns = *change.mtime_ns;
    attributes.ctime_ns = now_ns;
  }
  return find(inode);
}

}  // namespace weir::fuse
