// ufs/mount_table.h -- which under store is behind which mount point.
//
// Threads: all methods may be called concurrently; a store stays alive while somebody holds it.
#pragma once

#include <map>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "base/ids.h"
#include "ufs/under_store.h"

namespace weir::ufs {

struct MountedStore {
  std::shared_ptr<UnderStore> store;
  Capabilities capabilities;
};

class MountTable {
 public:
  void add(MountId mount, MountedStore store);
  void remove(MountId mount);
  // An empty `store` when there is no such mount.
  MountedStore find(MountId mount) const;
  std::vector<MountId> mounts() const;

 private:
  mutable std::shared_mutex mutex_;  // leaf
  std::map<MountId, MountedStore> stores_;
};

}  // namespace weir::ufs
