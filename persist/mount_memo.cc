#include "persist/mount_memo.h"

#include <optional>
#include <vector>

namespace weir::persist {

Result<MountId> MountMemo::mount_of(const meta::Inode& inode) {
  if (inode.has_home()) return MountId(inode.home().mount());
  std::vector<InodeId> walked;
  std::optional<MountId> mount;
  meta::Inode current = inode;
  while (!mount) {
    const InodeId parent(current.parent());
    if (parent == kRootInode) {
      mount = MountId(current.lower().mount());
      break;
    }
    {
      std::lock_guard lock(mutex_);
      const auto it = mounts_.find(parent);
      if (it != mounts_.end()) mount = it->second;
    }
    if (mount) break;
    walked.push_back(parent);
    TRY_ASSIGN(current, names_.load(parent));
  }
  std::lock_guard lock(mutex_);
  if (mounts_.size() + walked.size() > kDirectoriesMax) mounts_.clear();
  for (const InodeId directory : walked) mounts_[directory] = *mount;
  return *mount;
}

}  // namespace weir::persist
