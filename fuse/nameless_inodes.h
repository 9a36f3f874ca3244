// fuse/special_files.h -- fifos, sockets and devices that the kernel knows, so that it can ask about one whose last name is gone.
//
// The kernel opens them without telling. But it holds each inode that it looked up until it says to forget it, and until then
// their attributes are kept here: while the volume has the inode it is asked, afterwards these answer. They go with the process.
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

class SpecialFiles {
 public:
  static bool is_special(meta::FileType type);

  // Before the reply that makes the kernel look up one of these once more.
  void looked_up(const meta::Attributes& attributes);
  // The kernel gave back so many of its lookups, or never got them.
  void forgotten(InodeId inode, uint64_t lookups);
  // As last seen, without a name.
  std::optional<meta::Attributes> find(InodeId inode) const;
  // Of what find() gave: nothing when the kernel forgot it meanwhile.
  std::optional<meta::Attributes> change(InodeId inode, const meta::AttributeChange& change, int64_t now_ns);

 private:
  struct Known {
    uint64_t lookups = 0;
    meta::Attributes attributes;
  };

  std::atomic<size_t> count_ = 0;
  mutable std::mutex mutex_;
  std::unordered_map<uint64_t, Known> known_;
};

}  // namespace weir::fuse
