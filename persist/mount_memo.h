// persist/mount_memo.h -- the mount point an inode lies below, without a transaction for each.
//
// A directory never leaves its mount point, so what was found once holds for ever.
// Threads: all methods may be called concurrently.
#pragma once

#include <mutex>
#include <unordered_map>

#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"

namespace weir::persist {

class MountMemo {
 public:
  static constexpr size_t kDirectoriesMax = 65'536;  // all are forgotten beyond

  explicit MountMemo(meta::Namespace& names) : names_(names) {}

  // kNotFound: no name leads to it.
  Result<MountId> mount_of(const meta::Inode& inode);

 private:
  meta::Namespace& names_;
  std::mutex mutex_;  // a leaf
  std::unordered_map<InodeId, MountId> mounts_;  // by directory
};

}  // namespace weir::persist
