#include "pages/file_index.h"

#include <limits>

namespace weir::pages {

FileIndex::Node* FileIndex::find(Shard& shard, LocalFileId id) {
  const auto it = shard.files.find(id);
  return it == shard.files.end() ? nullptr : &*it;
}

FileIndex::Node* FileIndex::insert(Shard& shard, LocalFileId id, const Entry& entry) {
  const auto [it, inserted] = shard.files.try_emplace(id, entry);
  if (!inserted) return nullptr;
  ++files_;
  used_bytes_ += entry.allocated_bytes;
  if (entry.pin == Pin::kPinned) {
    ++pinned_files_;
    pinned_bytes_ += entry.allocated_bytes;
  }
  relist(shard, *it);
  return &*it;
}

void FileIndex::erase(Shard& shard, Node& node) {
  unlist(shard, node);
  set_allocated(node, 0);
  --files_;
  if (node.second.pin == Pin::kPinned) --pinned_files_;
  const LocalFileId id = node.first;  // the node dies before erase() is done with its key
  shard.files.erase(id);
}

void FileIndex::set_allocated(Node& node, uint64_t bytes) {
  Entry& entry = node.second;
  const uint64_t change = bytes - entry.allocated_bytes;  // modulo 2^64, as the sums
  entry.allocated_bytes = bytes;
  entry.accounted = true;
  if (change == 0) return;
  used_bytes_ += change;
  if (entry.pin == Pin::kPinned) pinned_bytes_ += change;
}

void FileIndex::set_pin(Shard& shard, Node& node, Pin pin) {
  Entry& entry = node.second;
  if (entry.pin == pin) return;
  entry.pin = pin;
  if (pin == Pin::kPinned) {
    ++pinned_files_;
    pinned_bytes_ += entry.allocated_bytes;
  } else {
    --pinned_files_;
    pinned_bytes_ -= entry.allocated_bytes;
  }
  relist(shard, node);
}

void FileIndex::set_open(Shard& shard, Node& node, DiskLocalFile* open) {
  node.second.open = open;
  relist(shard, node);
}

FileIndex::Shard* FileIndex::shard_to_evict() {
  Shard* chosen = nullptr;
  uint64_t oldest_use = std::numeric_limits<uint64_t>::max();
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    if (shard.oldest == nullptr || shard.oldest->second.last_use >= oldest_use) continue;
    oldest_use = shard.oldest->second.last_use;
    chosen = &shard;
  }
  return chosen;
}

void FileIndex::relist(Shard& shard, Node& node) {
  Entry& entry = node.second;
  unlist(shard, node);
  if (entry.pin == Pin::kPinned || entry.open != nullptr) return;
  entry.last_use = uses_.fetch_add(1, std::memory_order_relaxed);
  entry.listed = true;
  entry.older = shard.newest;
  (shard.newest != nullptr ? shard.newest->second.newer : shard.oldest) = &node;
  shard.newest = &node;
}

void FileIndex::unlist(Shard& shard, Node& node) {
  Entry& entry = node.second;
  if (!entry.listed) return;
  (entry.older != nullptr ? entry.older->second.newer : shard.oldest) = entry.newer;
  (entry.newer != nullptr ? entry.newer->second.older : shard.newest) = entry.older;
  entry.older = entry.newer = nullptr;
  entry.listed = false;
}

}  // namespace weir::pages
