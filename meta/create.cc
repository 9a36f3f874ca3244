#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

Result<Inode> make_child(Tables& tables, InodeId id, FileType type, InodeId parent, std::string_view name,
                         uint32_t permissions, const Caller& caller, Inode* parent_record) {
  TRY_ASSIGN(*parent_record, tables.load_parent(parent));
  TRY_ASSIGN(const auto existing, tables.find_dentry(parent, name));
  if (existing) return fail(ErrorCode::kExists);
  TRY(Tables::check_free_name(*parent_record, name));
  const uint32_t gid = group_of_child(*parent_record, caller);
  if (type == format::DIRECTORY && (parent_record->permissions() & 02000) != 0) permissions |= 02000;
  Inode inode = tables.make_inode(id, type, parent, name, permissions, caller.uid, gid);
  if (type != format::SYMLINK) TRY(tables.inherit_acl(*parent_record, caller, inode));
  return inode;
}

}  // namespace

Result<Inode> Namespace::create_file(InodeId parent, std::string_view name, uint32_t permissions,
                                     const Caller& caller, LocalFileId local_file) {
  TRY(check_name(name));
  TRY_ASSIGN(const InodeId id, id_for(caller));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    Inode directory;
    TRY_ASSIGN(Inode inode, make_child(tables, id, format::REGULAR, parent, name, permissions, caller, &directory));
    inode.set_local_file(local_file.value());
    format::WriteMark mark;
    mark.set_local_file(local_file.value());
    tables.txn().put(format::writing_key(id), format::encode(mark));
    tables.put_inode(inode);
    return inode;
  });
}

Result<Inode> Namespace::make_directory(InodeId parent, std::string_view name, uint32_t permissions,
                                        const Caller& caller) {
  TRY(check_name(name));
  TRY_ASSIGN(const InodeId id, id_for(caller));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    Inode directory;
    TRY_ASSIGN(Inode inode, make_child(tables, id, format::DIRECTORY, parent, name, permissions, caller, &directory));
    TRY(tables.attach_lower(inode, directory, tables.now_ns()));
    TRY_ASSIGN(const WritePolicy policy, policy_of(tables, inode));
    tables.requeue(inode, policy, format::ORDINARY);
    tables.put_inode(inode);
    return inode;
  });
}

Result<Inode> Namespace::make_node(InodeId parent, std::string_view name, FileType type, uint32_t permissions,
                                   uint64_t rdev, const Caller& caller) {
  TRY(check_name(name));
  if (!is_special(type)) return fail(ErrorCode::kInvalid, "not a fifo, socket or device");
  TRY_ASSIGN(const InodeId id, id_for(caller));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    Inode directory;
    TRY_ASSIGN(Inode inode, make_child(tables, id, type, parent, name, permissions, caller, &directory));
    if (is_device(type)) inode.set_rdev(rdev);
    TRY_ASSIGN(const WritePolicy policy, policy_of(tables, inode));
    tables.requeue(inode, policy, format::ORDINARY);
    tables.put_inode(inode);
    return inode;
  });
}

Result<Inode> Namespace::make_symlink(InodeId parent, std::string_view name, std::string_view target,
                                      const Caller& caller) {
  TRY(check_name(name));
  if (target.empty()) return fail(ErrorCode::kNotFound, "a symbolic link needs a target");
  if (target.size() > kSymlinkBytesMax) return fail(ErrorCode::kNameTooLong, "the target is over 4,096 bytes");
  TRY_ASSIGN(const InodeId id, id_for(caller));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    Inode directory;
    TRY_ASSIGN(Inode inode, make_child(tables, id, format::SYMLINK, parent, name, 0777, caller, &directory));
    inode.set_symlink_target(std::string(target));
    TRY_ASSIGN(const WritePolicy policy, policy_of(tables, inode));
    tables.requeue(inode, policy, format::ORDINARY);
    tables.put_inode(inode);
    return inode;
  });
}

}  // namespace weir::meta
