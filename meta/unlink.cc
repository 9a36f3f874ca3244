#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {

Result<Unlinked> Namespace::remove_name(InodeId parent, std::string_view name, InUse in_use, FileKind kind,
                                        std::optional<InodeId> expected) {
  TRY(check_name(name));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Unlinked> {
    TRY(tables.load_parent(parent));
    TRY_ASSIGN(const auto dentry, tables.load_dentry(parent, name));
    TRY(check_expected(expected, dentry.inode));
    if (kind == FileKind::kDirectory && dentry.type != format::DIRECTORY) return fail(ErrorCode::kNotDirectory);
    if (kind == FileKind::kOther && dentry.type == format::DIRECTORY) return fail(ErrorCode::kIsDirectory);
    tables.touch_directory(parent, tables.now_ns());
    return tables.remove_entry(parent, name, dentry, in_use == InUse::kYes);
  });
}

Result<Unlinked> Namespace::unlink(InodeId parent, std::string_view name, InUse in_use, std::optional<InodeId> expected) {
  return remove_name(parent, name, in_use, FileKind::kOther, expected);
}

Result<Unlinked> Namespace::remove_directory(InodeId parent, std::string_view name, InUse in_use) {
  if (parent == kRootInode)
    return fail(ErrorCode::kBusy, "a mount point is removed by mount-table remove, not by rmdir");
  return remove_name(parent, name, in_use, FileKind::kDirectory, std::nullopt);
}

Result<bool> Namespace::release_objects(InodeId inode, LocalFileId complete) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
    TRY_ASSIGN(auto record, tables.find_inode(inode));
    if (!record || record->links() != 0 || !holds_objects(*record)) return false;
    const bool local = complete != LocalFileId(0) && LocalFileId(record->local_file()) == complete;
    if (needs_home(*record) && !local) {
      if (record->home().key() == parking_key(inode)) return false;
      tables.enqueue(*record, format::ORDINARY, tables.now_ns());
      tables.put_inode(*record);
      return true;
    }
    TRY_ASSIGN(const bool released, tables.release_keys(*record));
    TRY(tables.release_sidecars(*record));
    tables.dequeue(*record);
    record->clear_home();
    record->clear_claimed_key();
    record->clear_claimed_mount();
    record->clear_sidecar();
    record->clear_claimed_sidecar();
    record->set_partial(false);
    record->set_attributes_unknown(false);  // there is nobody left to ask
    tables.put_inode(*record);
    return released;
  });
}

Result<LocalFileId> Namespace::reclaim(InodeId inode) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LocalFileId> {
    tables.txn().erase(format::orphan_key(inode));
    TRY_ASSIGN(auto record, tables.find_inode(inode));
    if (!record || record->links() != 0) return LocalFileId(0);
    tables.dequeue(*record);
    TRY(tables.release_keys(*record));
    TRY(tables.release_sidecars(*record));
    tables.txn().erase(format::writing_key(inode));
    TRY(tables.erase_inode(*record));
    return LocalFileId(record->local_file());
  });
}

Result<std::vector<InodeId>> Namespace::orphans() {
  std::vector<InodeId> orphans;
  auto range = format::orphan_range();
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, kv::read_txn(kv_, [&](kv::Txn& txn) { return txn.get_range(range.begin, range.end); }));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const InodeId id, format::parse_id_key(row.key));
      orphans.push_back(id);
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return orphans;
}

}  // namespace weir::meta
