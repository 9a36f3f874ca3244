#include <algorithm>

#include "meta/acl.h"
#include "meta/namespace.h"
#include "meta/object_namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

Result<int64_t> counter(kv::Txn& txn, const std::string& key, int64_t absent) {
  TRY_ASSIGN(const auto value, txn.get(key, kv::Isolation::kSnapshot));
  return value ? kv::decode_counter(*value) : Result<int64_t>(absent);
}

// The access ACL says what the permissions say.
Result<void> follow_permissions(Tables& tables, const Inode& inode) {
  if (inode.xattr_bytes() == 0) return {};
  const std::string key = format::xattr_key(InodeId(inode.id()), kAccessAcl);
  TRY_ASSIGN(const auto value, tables.txn().get(key));
  if (!value) return {};
  TRY_ASSIGN(Acl acl, Acl::decode(*value));
  acl.set_permissions(inode.permissions());
  tables.txn().put(key, acl.encode());
  return {};
}

}  // namespace

Result<Attributes> Namespace::attributes(const Inode& inode) {
  Attributes attributes;
  attributes.inode = InodeId(inode.id());
  attributes.type = inode.type();
  attributes.permissions = inode.permissions();
  attributes.uid = inode.uid();
  attributes.gid = inode.gid();
  attributes.links = inode.links();
  attributes.rdev = inode.rdev();
  attributes.size = inode.type() == format::SYMLINK ? inode.symlink_target().size() : inode.size();
  attributes.allocated_bytes = inode.has_allocated_bytes() ? inode.allocated_bytes() : block_bytes(inode.size());
  attributes.atime_ns = inode.atime_ns();
  attributes.mtime_ns = inode.mtime_ns();
  attributes.ctime_ns = inode.ctime_ns();
  attributes.btime_ns = inode.btime_ns();
  if (!is_directory(inode)) return attributes;

  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<Attributes> {
    TRY_ASSIGN(const int64_t mtime_ns,
               counter(txn, format::directory_mtime_key(attributes.inode), attributes.mtime_ns));
    TRY_ASSIGN(const int64_t subdirectories, counter(txn, format::subdirectories_key(attributes.inode), 0));
    attributes.size = 4'096;
    attributes.allocated_bytes = 4'096;
    attributes.mtime_ns = std::max(attributes.mtime_ns, mtime_ns);
    attributes.ctime_ns = std::max(attributes.ctime_ns, mtime_ns);
    if (inode.links() != 0) attributes.links = 2 + static_cast<uint32_t>(std::max<int64_t>(subdirectories, 0));
    return attributes;
  });
}

Result<Inode> Namespace::set_attributes(InodeId inode, const AttributeChange& change) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (change.permissions) {
      record.set_permissions(*change.permissions & 07777);
      TRY(follow_permissions(tables, record));
    }
    if (change.uid) record.set_uid(*change.uid);
    if (change.gid) record.set_gid(*change.gid);
    if (change.atime_ns) record.set_atime_ns(*change.atime_ns);
    if (change.mtime_ns) {
      keep_modified(record);
      record.set_mtime_ns(*change.mtime_ns);
      if (is_directory(record))
        tables.txn().put(format::directory_mtime_key(inode), kv::encode_counter(*change.mtime_ns));
    }
    record.set_ctime_ns(tables.now_ns());
    if (change.permissions || change.uid || change.gid || change.mtime_ns) {
      tables.attributes_changed(record);
    }
    tables.put_inode(record);
    return record;
  });
}

Result<void> Namespace::record_accesses(const std::vector<AccessTime>& accesses) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    for (const AccessTime& access : accesses) {
      TRY_ASSIGN(auto record, tables.find_inode(access.inode));
      if (!record || record->atime_ns() >= access.atime_ns) continue;
      record->set_atime_ns(access.atime_ns);
      tables.put_inode(*record);
    }
    return {};
  });
}

}  // namespace weir::meta
