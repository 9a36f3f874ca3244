#include "volume/local_volume.h"

namespace weir::volume {
namespace {

// What the volume knows of a file, as attributes that can be read. They are not listed, so that copying all
// attributes of a file does not fail on them, and cannot be set.
constexpr std::string_view kOwnPrefix = "user.weir.";
constexpr std::string_view kState = "user.weir.state";
constexpr std::string_view kPolicy = "user.weir.policy";
constexpr std::string_view kEtag = "user.weir.etag";
constexpr std::string_view kHome = "user.weir.home";

}  // namespace

Result<meta::Inode> LocalVolume::load_xattrs(InodeId inode) {
  TRY_ASSIGN(auto record, load(inode));
  if (record.attributes_unknown())
    return fail(ErrorCode::kUnavailable, "the object that holds the extended attributes cannot be reached");
  return record;
}

Result<std::string> LocalVolume::get_xattr(InodeId inode, std::string_view name) {
  if (!name.starts_with(kOwnPrefix)) {
    TRY_ASSIGN(const auto record, load_xattrs(inode));
    if (record.xattr_bytes() == 0) return fail(ErrorCode::kNoAttribute);
    return names_->xattr(InodeId(record.id()), name);
  }
  TRY_ASSIGN(const auto record, names_->load(inode));
  if (name == kState) return std::string(meta::name_of(state_of(record)));
  if (name == kPolicy) {
    TRY_ASSIGN(const auto policy, names_->policy(record));
    return std::string(meta::name_of(policy));
  }
  if (name == kEtag && record.has_home()) return record.home().etag();
  if (name == kHome && record.has_home()) return uri_of(record.home());
  return fail(ErrorCode::kNoAttribute);
}

Result<std::vector<std::string>> LocalVolume::list_xattrs(InodeId inode) {
  TRY_ASSIGN(const auto record, load_xattrs(inode));
  if (record.xattr_bytes() == 0) return std::vector<std::string>{};
  return names_->xattr_names(InodeId(record.id()));
}

Result<void> LocalVolume::set_xattr(InodeId inode, std::string_view name, std::string_view value,
                                    meta::Namespace::XattrMode mode) {
  if (name.starts_with(kOwnPrefix))
    return fail(ErrorCode::kPermission, std::string(name) + " is the volume's and cannot be set");
  // What the object says must not come later and undo the change.
  TRY(load_xattrs(inode));
  TRY(names_->set_xattr(inode, name, value, mode));
  persister_->wake();
  return {};
}

Result<void> LocalVolume::remove_xattr(InodeId inode, std::string_view name) {
  if (name.starts_with(kOwnPrefix))
    return fail(ErrorCode::kPermission, std::string(name) + " is the volume's and cannot be removed");
  TRY(load_xattrs(inode));
  TRY(names_->remove_xattr(inode, name));
  persister_->wake();
  return {};
}

}  // namespace weir::volume
