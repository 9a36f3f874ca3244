#include "meta/acl.h"
#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

Result<void> check_xattr_name(std::string_view name) {
  if (name.empty() || name.find('\0') != std::string_view::npos)
    return fail(ErrorCode::kInvalid, "not the name of an extended attribute");
  if (name.size() > kXattrNameBytesMax) return fail(ErrorCode::kRange, "the attribute's name is over 255 bytes");
  return {};
}

// Takes an ACL's permissions over; false when they are all it says.
Result<bool> accept_acl(Inode& inode, std::string_view name, std::string_view value) {
  if (inode.type() == format::SYMLINK) return fail(ErrorCode::kNotSupported, "symbolic links have no ACL");
  TRY_ASSIGN(const Acl acl, Acl::decode(value));
  if (name == kDefaultAcl) {
    if (!is_directory(inode)) return fail(ErrorCode::kInvalid, "only directories have a default ACL");
    return true;
  }
  inode.set_permissions((inode.permissions() & ~0777u) | acl.permissions());
  return !acl.minimal();
}

// One more name must not make the list longer than a reader's buffer can be.
Result<void> check_list(Tables& tables, InodeId inode, std::string_view name) {
  TRY_ASSIGN(const Xattrs xattrs, tables.xattrs(inode));
  size_t bytes = name.size() + 1;
  for (const auto& [other, value] : xattrs) bytes += other.size() + 1;
  if (bytes <= kXattrListBytesMax) return {};
  return fail(ErrorCode::kNoSpace, "the names of the inode's attributes are over 65,536 bytes together");
}

}  // namespace

Result<std::string> Namespace::xattr(InodeId inode, std::string_view name) {
  TRY(check_xattr_name(name));
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::string> {
    TRY_ASSIGN(auto value, tables.txn().get(format::xattr_key(inode, name)));
    if (!value) return fail(ErrorCode::kNoAttribute);
    return *std::move(value);
  });
}

Result<std::vector<std::string>> Namespace::xattr_names(InodeId inode) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::vector<std::string>> {
    TRY_ASSIGN(const Xattrs xattrs, tables.xattrs(inode));
    std::vector<std::string> names;
    names.reserve(xattrs.size());
    for (const auto& [name, value] : xattrs) names.push_back(name);
    return names;
  });
}

Result<void> Namespace::set_xattr(InodeId inode, std::string_view name, std::string_view value, XattrMode mode) {
  TRY(check_xattr_name(name));
  if (value.size() > kXattrValueBytesMax)
    return fail(ErrorCode::kTooLarge, "the attribute's value is over 65,536 bytes");
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    const std::string key = format::xattr_key(InodeId(record.id()), name);
    TRY_ASSIGN(const auto before, tables.txn().get(key));
    if (before && mode == XattrMode::kCreate) return fail(ErrorCode::kExists);
    if (!before && mode == XattrMode::kReplace) return fail(ErrorCode::kNoAttribute);
    bool keep = true;
    if (is_acl(name)) {
      TRY_ASSIGN(keep, accept_acl(record, name, value));
    }
    uint64_t bytes = record.xattr_bytes();
    if (keep) bytes += name.size() + 1 + value.size();
    if (before) bytes -= name.size() + 1 + before->size();
    if (bytes > kXattrBytesMax) return fail(ErrorCode::kNoSpace, "the inode's attributes are over 1 MiB together");
    if (keep && !before && bytes > kXattrListBytesMax) TRY(check_list(tables, InodeId(record.id()), name));
    if (keep) {
      tables.txn().put(key, value);
    } else if (before) {
      tables.txn().erase(key);
    }
    record.set_xattr_bytes(bytes);
    record.set_ctime_ns(tables.now_ns());
    tables.attributes_changed(record);
    tables.put_inode(record);
    return {};
  });
}

Result<void> Namespace::remove_xattr(InodeId inode, std::string_view name) {
  TRY(check_xattr_name(name));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    const std::string key = format::xattr_key(InodeId(record.id()), name);
    TRY_ASSIGN(const auto before, tables.txn().get(key));
    if (!before) return fail(ErrorCode::kNoAttribute);
    tables.txn().erase(key);
    record.set_xattr_bytes(record.xattr_bytes() - (name.size() + 1 + before->size()));
    record.set_ctime_ns(tables.now_ns());
    tables.attributes_changed(record);
    tables.put_inode(record);
    return {};
  });
}

}  // namespace weir::meta
