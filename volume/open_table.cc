#include "volume/open_table.h"

namespace weir::volume {

OpenRef::~OpenRef() {
  if (open_ != nullptr) table_->release(open_);
}

OpenRef OpenRef::share() const { return open_ == nullptr ? OpenRef() : table_->share(open_); }

OpenRef OpenTable::acquire(InodeId inode) {
  Shard& shard = shard_of(inode);
  std::lock_guard lock(shard.mutex);
  auto& open = shard.inodes[inode.value()];
  if (!open) open = std::make_unique<OpenInode>(inode);
  ++open->references_;
  return OpenRef(this, open.get());
}

OpenRef OpenTable::find(InodeId inode) {
  Shard& shard = shard_of(inode);
  std::lock_guard lock(shard.mutex);
  const auto it = shard.inodes.find(inode.value());
  if (it == shard.inodes.end()) return {};
  ++it->second->references_;
  return OpenRef(this, it->second.get());
}

std::vector<OpenRef> OpenTable::all() {
  std::vector<OpenRef> refs;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (const auto& [id, open] : shard.inodes) {
      ++open->references_;
      refs.push_back(OpenRef(this, open.get()));
    }
  }
  return refs;
}

OpenRef OpenTable::share(OpenInode* open) {
  std::lock_guard lock(shard_of(open->id).mutex);
  ++open->references_;
  return OpenRef(this, open);
}

void OpenTable::release(OpenInode* open) {
  std::unique_ptr<OpenInode> last;  // destroyed, with its local file, after the lock
  Shard& shard = shard_of(open->id);
  std::lock_guard lock(shard.mutex);
  if (--open->references_ != 0) return;
  const auto it = shard.inodes.find(open->id.value());
  last = std::move(it->second);
  shard.inodes.erase(it);
}

}  // namespace weir::volume
