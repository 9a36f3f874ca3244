#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {

Result<Unlinked> Namespace::remove_name(InodeId parent, std::string_view name, InUse in_use, FileKind kind) {
  TRY(check_name(name));
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Unlinked> {
    TRY(tables.load_parent(parent));
    TRY_ASSIGN(const auto dentry, tables.load_dentry(parent, name));
    if (kind == FileKind::kDirectory && dentry.type != format::DIRECTORY) return fail(ErrorCode::kNotDirectory);
    if (kind == FileKind::kOther && dentry.type == format::DIRECTORY) return fail(ErrorCode::kIsDirectory);
    tables.touch_directory(parent, tables.now_ns());
    return tables.remove_entry(parent, name, dentry, in_use == InUse::kYes);
  });
}

Result<Unlinked> Namespace::unlink(InodeId parent, std::string_view name, InUse in_use) {
  return remove_name(parent, name, in_use, FileKind::kOther);
}

Result<Unlinked> Namespace::remove_directory(InodeId parent, std::string_view name, InUse in_use) {
  if (parent == kRootInode)
    return fail(ErrorCode::kBusy, "a mount point is removed by mount-table remove, not by rmdir");
  return remove_name(parent, name, in_use, FileKind::kDirectory);
}

Result<LocalFileId> Namespace::reclaim(InodeId inode) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LocalFileId> {
    tables.txn().erase(format::orphan_key(inode));
    TRY_ASSIGN(const auto record, tables.find_inode(inode));
    if (!record || record->links() != 0) return LocalFileId(0);
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
