#include "meta/repair.h"

#include <algorithm>

#include "meta/check.h"
#include "meta/operation.h"
#include "meta/remedy.h"

namespace weir::meta {

Result<InodeId> Repair::lost_found_of(MountId mount) {
  if (const auto it = lost_found_.find(mount); it != lost_found_.end() && names_.load(it->second)) return it->second;
  TRY_ASSIGN(const auto mounts, names_.mounts());
  const auto it = std::ranges::find(mounts, mount.value(), &format::Mount::id);
  if (it == mounts.end()) return fail(ErrorCode::kNotFound, "no mount point to put into lost+found of");
  const InodeId parent(it->directory());
  TRY_ASSIGN(auto found, names_.find(parent, kLostFoundName));
  InodeId directory{};
  if (found.inode) {
    if (!is_directory(*found.inode))
      return fail(ErrorCode::kNotDirectory, "/" + it->name() + "/lost+found is no directory: rename it");
    directory = InodeId(found.inode->id());
  } else {
    TRY_ASSIGN(const Inode made, names_.make_directory(parent, kLostFoundName, 0700, {.uid = 0, .gid = 0}));
    directory = InodeId(made.id());
  }
  lost_found_[mount] = directory;
  return directory;
}

Result<bool> Repair::persist_again(InodeId inode, std::string_view home_etag) {
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<bool> {
        TRY_ASSIGN(Inode record, tables.load_inode(inode));
        if (!content_persisted(record) || record.home().etag() != home_etag || record.links() == 0) return false;
        record.set_persisted_generation(0);
        record.set_persisted_attributes_version(0);
        tables.enqueue(record, format::ORDINARY, tables.now_ns());
        tables.put_inode(record);
        return true;
      },
      kv::Durability::kSynced);
}

Result<Repair::Outcome> Repair::repair(const std::string& row, std::string_view kind) {
  const auto find_in = [&](Check::Look& look) -> Check::Finding* {
    const auto it = std::ranges::find_if(look.findings, [&](const auto& finding) { return finding.discrepancy.kind == kind; });
    return it == look.findings.end() ? nullptr : &*it;
  };
  RemedySupplies supplies;
  TRY_ASSIGN(Check::Look look, Check(names_.kv()).look_at({&row, 1}));
  const Check::Finding* const seen = find_in(look);
  if (seen == nullptr) return Outcome::kAgrees;
  if (!seen->remedy) return Outcome::kUndecided;
  const MountId mount = seen->remedy.lost_found_of;
  if (mount != MountId{}) {
    TRY_ASSIGN(supplies.lost_found, lost_found_of(mount));
  }
  TRY_ASSIGN(supplies.new_id, names_.new_inode_id());
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<Outcome> {
        TRY_ASSIGN(Check::Look now, Check::look_at(tables.txn(), row));
        const Check::Finding* const found = find_in(now);
        if (found == nullptr) return Outcome::kAgrees;
        // Another remedy than the one that the supplies are for: the next run's affair.
        if (!found->remedy || found->remedy.lost_found_of != mount) return Outcome::kUndecided;
        TRY(found->remedy.apply(tables, supplies));
        return Outcome::kRepaired;
      },
      kv::Durability::kSynced);
}

}  // namespace weir::meta
