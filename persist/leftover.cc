#include "persist/leftover.h"

#include <optional>

#include "meta/object_attributes.h"

namespace weir::persist {
namespace {

// The inode that put the object there, if we did. Under a key for parking lies whatever was parked, by the key's own inode.
std::optional<InodeId> put_by(const meta::Namespace& names, std::string_view key, const ufs::ObjectHead& head) {
  if (const auto parked = names.parked_inode(key)) return parked;
  const auto token = meta::owner_of(head.attributes);
  if (!token || token->volume_id != names.volume_id()) return std::nullopt;
  return token->inode;
}

}  // namespace

Result<bool> is_leftover(meta::Namespace& names, MountId mount, std::string_view key, const ufs::ObjectHead& head) {
  const auto id = put_by(names, key, head);
  if (!id) return false;
  const auto inode = names.load_record(*id);
  if (failed_with(inode, ErrorCode::kNotFound)) return true;
  if (!inode) return fail(inode.error());
  return !inode->has_home() || MountId(inode->home().mount()) != mount || inode->home().key() != key;
}

}  // namespace weir::persist
