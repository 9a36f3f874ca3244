#include "base/no_wait.h"
#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

Result<MountId> mount_of(Tables& tables, const Inode& inode) {
  if (inode.link_mount() != 0) return MountId(inode.link_mount());
  TRY_ASSIGN(const auto place, tables.place_of(inode));
  return place.mount;
}

}  // namespace

Result<bool> Namespace::link(InodeId inode, InodeId parent, std::string_view name) {
  TRY(check_name(name));
  TRY_ASSIGN(const InodeId record_id, new_inode_id());
  const auto rules = this->rules();
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (is_directory(record)) return fail(ErrorCode::kPermission, "a directory has one name");
    TRY_ASSIGN(const Inode directory, tables.load_parent(parent));
    TRY_ASSIGN(const auto existing, tables.find_dentry(parent, name));
    if (existing) return fail(ErrorCode::kExists);
    TRY(Tables::check_free_name(directory, name));
    if (record.links() == 0 && !record.linkable()) return fail(ErrorCode::kNotFound, "its last name is gone");
    TRY_ASSIGN(const MountId mount, mount_of(tables, record));
    TRY_ASSIGN(const auto place, tables.place_of(directory));
    if (place.mount != mount) return fail(ErrorCode::kCrossDevice);

    const InodeId id(record.id());
    record.set_ctime_ns(tables.now_ns());
    record.set_links(record.links() + 1);
    if (record.links() == 1) {
      record.set_linkable(false);
      record.clear_link_mount();
      tables.set_first_name(record, parent, name);
      tables.txn().erase(format::orphan_key(id));
    } else {
      TRY(tables.add_further_name(record, record_id, parent, name));
    }
    tables.put_dentry(parent, name, {id, record.type()});
    tables.touch_directory(parent, tables.now_ns());
    if (record.links() > 1 && record.link_group().empty()) {
      format::LinkGroup row;
      row.set_inode(record.id());
      tables.join_group(record, mount, volume_id_ + "/" + std::to_string(record.id()), row);
      record.set_attributes_version(record.attributes_version() + 1);
    }
    // Written now: the walk to the names' paths must see this record.
    tables.put_inode(record);

    TRY_ASSIGN(const WritePolicy policy, tables.policy_of(record, *rules));
    const bool committed = record.has_home() || !record.claimed_key().empty() ||
                           record.queued() != format::NOT_QUEUED || record.transient();
    if (committed && !record.quarantined()) {
      if (!fully_persisted(record)) tables.requeue(record, policy, queue_class_for(policy));
      tables.put_inode(record);
      if (content_persisted(record)) TRY(tables.requeue_further_names(record));
    }
    const bool needs_persist = persists_first(policy) && committed && !content_persisted(record);
    if (needs_persist) TRY(NoWait::check());
    return needs_persist;
  });
}

Result<Inode> Namespace::create_unnamed_file(InodeId directory, uint32_t permissions, const Caller& caller,
                                             LocalFileId local_file) {
  TRY_ASSIGN(const InodeId id, id_for(caller));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(const Inode parent, tables.load_parent(directory));
    TRY_ASSIGN(const auto place, tables.place_of(parent));
    const uint32_t gid = group_of_child(parent, caller);
    Inode inode = tables.make_unnamed_inode(id, format::REGULAR, permissions, caller.uid, gid);
    TRY(tables.inherit_acl(parent, caller, inode));
    inode.set_local_file(local_file.value());
    inode.set_linkable(true);
    inode.set_link_mount(place.mount.value());
    format::WriteMark mark;
    mark.set_local_file(local_file.value());
    tables.txn().put(format::writing_key(id), format::encode(mark));
    tables.txn().put(format::orphan_key(id), "");
    tables.put_inode(inode);
    return inode;
  });
}

Result<Inode> Namespace::load_name(InodeId parent, std::string_view name) {
  TRY(check_name(name));
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(const auto dentry, tables.load_dentry(parent, name));
    TRY_ASSIGN(const Inode inode, tables.load_inode(dentry.inode));
    if (is_directory(inode)) return inode;
    return tables.load_name(inode, parent, name);
  });
}

Result<Inode> Namespace::load_record(InodeId id) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(auto record, tables.find_record(id));
    if (!record) return fail(ErrorCode::kNotFound);
    return *std::move(record);
  });
}

}  // namespace weir::meta
