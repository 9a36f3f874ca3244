// fuse/nameless_inodes.h -- attributes of what the kernel may ask about after the volume has given it up with its last name.
//
// Fifos, sockets and devices: the kernel opens them without telling, but it holds each inode that it looked up until it says to
// forget it. Directories: from their opening to the release. While the volume has the inode it is asked, afterwards what was
// seen last answers. It goes with the process.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "base/ids.h"
#include "meta/types.h"

namespace weir::fuse {

class NamelessInodes {
 public:
  static bool is_special(meta::FileType type);

  // Before the reply that makes the kernel look up one more time what may be a special file.
  void looked_up(const meta::Attributes& attributes);
  // The kernel gave back so many of its lookups, or never got them.
  void forgotten(InodeId inode, uint64_t lookups);
  // Before the reply that opens a directory, and after its release.
  void opened(const meta::Attributes& directory);
  void released(InodeId directory);
  bool any_open() const { return open_.load(std::memory_order_relaxed) != 0; }

  // What it is like now, should it be one that is kept.
  void seen(const meta::Attributes& attributes);
  // As last seen, without a name.
  std::optional<meta::Attributes> find(InodeId inode) const;
  // Of what find() gave: nothing when the kernel forgot it meanwhile.
  std::optional<meta::Attributes> change(InodeId inode, const meta::AttributeChange& change, int64_t now_ns);

 private:
  struct Known {
    uint64_t lookups = 0;
    uint64_t openings = 0;
    meta::Attributes attributes;
  };
  using Inodes = std::unordered_map<uint64_t, Known>;

  // Under mutex_.
  void drop_if_unused(Inodes::iterator known);

  std::atomic<size_t> count_ = 0;
  std::atomic<size_t> open_ = 0;  // directories
  mutable std::mutex mutex_;
  Inodes known_;
};

}  // namespace weir::fuse
