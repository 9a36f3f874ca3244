#include "fuse/nameless_inodes.h"

#include <algorithm>

namespace weir::fuse {

bool NamelessInodes::is_special(meta::FileType type) {
  return type == format::FIFO || type == format::SOCKET || type == format::CHAR_DEVICE || type == format::BLOCK_DEVICE;
}

void NamelessInodes::looked_up(const meta::Attributes& attributes) {
  if (!is_special(attributes.type)) return;
  const std::lock_guard lock(mutex_);
  Known& known = known_[attributes.inode.value()];
  ++known.lookups;
  known.attributes = attributes;
  count_.store(known_.size(), std::memory_order_relaxed);
}

void NamelessInodes::forgotten(InodeId inode, uint64_t lookups) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(inode.value());
  if (found == known_.end()) return;
  found->second.lookups -= std::min(lookups, found->second.lookups);
  drop_if_unused(found);
}

void NamelessInodes::opened(const meta::Attributes& directory) {
  const std::lock_guard lock(mutex_);
  Known& known = known_[directory.inode.value()];
  if (++known.openings == 1) open_.fetch_add(1, std::memory_order_relaxed);
  known.attributes = directory;
  count_.store(known_.size(), std::memory_order_relaxed);
}

void NamelessInodes::released(InodeId directory) {
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(directory.value());
  if (found == known_.end() || found->second.openings == 0) return;
  if (--found->second.openings == 0) open_.fetch_sub(1, std::memory_order_relaxed);
  drop_if_unused(found);
}

void NamelessInodes::drop_if_unused(Inodes::iterator known) {
  if (known->second.lookups == 0 && known->second.openings == 0) known_.erase(known);
  count_.store(known_.size(), std::memory_order_relaxed);
}

void NamelessInodes::seen(const meta::Attributes& attributes) {
  if (count_.load(std::memory_order_relaxed) == 0) return;
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(attributes.inode.value());
  if (found != known_.end()) found->second.attributes = attributes;
}

std::optional<meta::Attributes> NamelessInodes::find(InodeId inode) const {
  if (count_.load(std::memory_order_relaxed) == 0) return std::nullopt;
  const std::lock_guard lock(mutex_);
  const auto found = known_.find(inode.value());
  if (found == known_.end()) return std::nullopt;
  meta::Attributes attributes = found->second.attributes;
  attributes.links = 0;
  return attributes;
}

std::optional<meta::Attributes> NamelessInodes::change(InodeId inode, const meta::AttributeChange& change, int64_t now_ns) {
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
