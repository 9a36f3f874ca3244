#include "persist/leftover.h"

#include "meta/object_attributes.h"

namespace weir::persist {

Result<bool> is_leftover(meta::Namespace& names, MountId mount, std::string_view key, const ufs::ObjectHead& head) {
  const auto token = meta::owner_of(head.attributes);
  if (!token || token->volume_id != names.volume_id()) return false;
  const auto inode = names.load_record(token->inode);
  if (failed_with(inode, ErrorCode::kNotFound)) return true;
  if (!inode) return fail(inode.error());
  return !inode->has_home() || MountId(inode->home().mount()) != mount || inode->home().key() != key;
}

}  // namespace weir::persist
