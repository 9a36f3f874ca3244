// volume/open_table.h -- the inodes that are held open, or whose close is still to be recorded.
//
// Threads: all methods may be called concurrently; the fields of an OpenInode belong to whoever holds its mutex.
// Locks: OpenInode::mutex may be held over a KV transaction about this inode, never over a call into a UFS. A shard's
// mutex is a leaf.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "volume/content.h"

namespace weir::volume {

struct OpenInode {
  explicit OpenInode(InodeId inode) : id(inode) {}

  // A local file at some time.
  struct Known {
    uint64_t size = 0;
    int64_t mtime_ns = 0;
    int64_t ctime_ns = 0;
    bool operator==(const Known&) const = default;
  };

  const InodeId id;
  std::mutex mutex;

  // What opens and paged reads use. Null while nobody needed it. The local file stays open with it.
  std::shared_ptr<Content> content;
  uint32_t handles = 0;
  uint32_t version_handles = 0;     // of them, that read one version: the kernel knows nothing of these
  uint32_t local_handles = 0;       // of them, on a local file that the kernel may use directly
  LocalFileId local_content{};      // which one, while there are any
  uint32_t writers = 0;             // of them, that may write

  // The durable `writing` mark stands: the content may differ from what the namespace knows.
  bool marked = false;
  // The end of writing is being recorded; nothing may begin until it is.
  bool ending = false;
  std::condition_variable ended;
  bool committed = false;           // since the mark was made
  uint64_t generation = 0;          // of the content as of the last begin or commit here; older records know less
  bool commit_due = false;          // whatever the local file's stat says
  uint64_t cut_to = UINT64_MAX;     // the least size that the local file was cut to since a flush began
  Known flushed;                    // the local file as it was when last flushed
  bool filled = false;              // pages may be filled since `known`: that moves the local file's ctime, too
  Generation persist_due{};         // a flush under WRITE_THROUGH has to wait for it; 0: none
  bool drop_when_closed = false;    // NO_CACHE, and persisted
  bool unlinked = false;            // the last name is gone
  Known known;                      // the local file as the namespace knows it

 private:
  friend class OpenTable;
  uint64_t references_ = 0;         // guarded by the shard
};

class OpenTable;

// Keeps an entry of the table in being.
class OpenRef {
 public:
  OpenRef() = default;
  OpenRef(OpenRef&& other) noexcept
      : table_(std::exchange(other.table_, nullptr)), open_(std::exchange(other.open_, nullptr)) {}
  OpenRef& operator=(OpenRef&& other) noexcept {
    std::swap(table_, other.table_);
    std::swap(open_, other.open_);
    return *this;
  }
  ~OpenRef();

  OpenRef share() const;
  explicit operator bool() const { return open_ != nullptr; }
  OpenInode& operator*() const { return *open_; }
  OpenInode* operator->() const { return open_; }

 private:
  friend class OpenTable;
  OpenRef(OpenTable* table, OpenInode* open) : table_(table), open_(open) {}

  OpenTable* table_ = nullptr;
  OpenInode* open_ = nullptr;
};

class OpenTable {
 public:
  OpenRef acquire(InodeId inode);  // made when absent
  OpenRef find(InodeId inode);     // empty when absent
  std::vector<OpenRef> all();

 private:
  friend class OpenRef;
  static constexpr size_t kShards = 64;
  struct alignas(64) Shard {
    std::mutex mutex;
    std::unordered_map<uint64_t, std::unique_ptr<OpenInode>> inodes;
  };

  Shard& shard_of(InodeId inode) { return shards_[inode.value() % kShards]; }
  OpenRef share(OpenInode* open);
  void release(OpenInode* open);

  std::array<Shard, kShards> shards_;
};

}  // namespace weir::volume
