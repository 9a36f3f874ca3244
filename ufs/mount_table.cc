#include "ufs/mount_table.h"

#include <mutex>

namespace weir::ufs {

void MountTable::add(MountId mount, MountedStore store) {
  std::unique_lock lock(mutex_);
  stores_[mount] = std::move(store);
}

void MountTable::remove(MountId mount) {
  std::unique_lock lock(mutex_);
  stores_.erase(mount);
}

MountedStore MountTable::find(MountId mount) const {
  std::shared_lock lock(mutex_);
  const auto it = stores_.find(mount);
  return it == stores_.end() ? MountedStore{} : it->second;
}

std::vector<MountId> MountTable::mounts() const {
  std::shared_lock lock(mutex_);
  std::vector<MountId> ids;
  for (const auto& [mount, store] : stores_) ids.push_back(mount);
  return ids;
}

}  // namespace weir::ufs
