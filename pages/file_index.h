// pages/file_index.h -- all local files of a store in memory: what is known of each, who is next to be evicted, and
// the sums.
//
// Made for a million files: about 90 bytes each. Split into shards by id, each with a lock and a list of its evictable
// files by last use; a counter of uses orders the lists among each other, so that eviction is least-recently-used
// over all.
//
// Threads: methods that take a Shard require its mutex; the others may be called concurrently. Locks: a shard's mutex
// may be held during calls to the file system; at most one at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "pages/page_store.h"
#include "pages/store_dir.h"

namespace weir::pages {

class DiskLocalFile;

class FileIndex {
 public:
  struct Entry;
  using Node = std::pair<const LocalFileId, Entry>;

  struct Entry {
    DiskLocalFile* open = nullptr;  // the shared handle while one lives
    Node* older = nullptr;          // neighbours among the evictable files of the shard
    Node* newer = nullptr;
    uint64_t last_use = 0;
    uint64_t allocated_bytes = 0;
    uint8_t dir = 0;
    Origin origin = Origin::kLocal;
    Pin pin = Pin::kPinned;
    uint32_t unpinned_at = 0;       // see DiskPageStore::settle_removals()
    bool has_map : 1 = false;
    bool named : 1 = false;       // by the metadata, or made since start
    bool distrusted : 1 = false;  // nothing vouches for its bytes, and they have a home: goes with finish_recovery()
    bool accounted : 1 = false;   // allocated_bytes is known
    bool listed : 1 = false;      // among the evictable files
    bool renamed : 1 = false;     // and its directory was not synced since
  };

  struct Shard {
    std::mutex mutex;
    std::unordered_map<LocalFileId, Entry> files;
    Node* oldest = nullptr;
    Node* newest = nullptr;
    std::vector<DiskLocalFile*> open;
  };

  static constexpr size_t kShards = 64;

  Shard& shard_of(LocalFileId id) { return shards_[id.value() * 0x9e37'79b9'7f4a'7c15 >> 58]; }
  std::array<Shard, kShards>& shards() { return shards_; }

  Node* find(Shard& shard, LocalFileId id);
  // Null when the id is there already.
  Node* insert(Shard& shard, LocalFileId id, const Entry& entry);
  void erase(Shard& shard, Node& node);
  void set_allocated(Node& node, uint64_t bytes);
  void set_pin(Shard& shard, Node& node, Pin pin);
  // The handle was taken or given back: an evictable file is in the list only while nobody has it open, and enters it
  // as the most recently used.
  void set_open(Shard& shard, Node& node, DiskLocalFile* open);

  // The shard that holds the least recently used evictable file; null when there is none. Others may change that at
  // once.
  Shard* shard_to_evict();

  uint64_t used_bytes() const { return used_bytes_.load(std::memory_order_relaxed); }
  uint64_t pinned_bytes() const { return pinned_bytes_.load(std::memory_order_relaxed); }
  uint64_t files() const { return files_.load(std::memory_order_relaxed); }
  uint64_t pinned_files() const { return pinned_files_.load(std::memory_order_relaxed); }

 private:
  void relist(Shard& shard, Node& node);
  void unlist(Shard& shard, Node& node);

  std::array<Shard, kShards> shards_;
  std::atomic<uint64_t> uses_{0};
  std::atomic<uint64_t> used_bytes_{0};
  std::atomic<uint64_t> pinned_bytes_{0};
  std::atomic<uint64_t> files_{0};
  std::atomic<uint64_t> pinned_files_{0};
};

}  // namespace weir::pages
