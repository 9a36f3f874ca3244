#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

Result<std::optional<format::TreeRemoval>> find_removal(Tables& tables, InodeId job,
                                                        kv::Isolation isolation = kv::Isolation::kSerializable) {
  TRY_ASSIGN(const auto value, tables.txn().get(format::removal_key(job), isolation));
  if (!value) return std::optional<format::TreeRemoval>{};
  TRY_ASSIGN(auto removal, format::decode<format::TreeRemoval>(*value));
  return std::optional(std::move(removal));
}

void put_removal(Tables& tables, const format::TreeRemoval& removal) {
  tables.txn().put(format::removal_key(InodeId(removal.directory())), format::encode(removal));
}

bool never_listed(const Inode& directory) { return directory.has_lower() && directory.lower().listed_ns() == 0; }

// Takes `directory`, whose dentry is gone already, out of the namespace under a job of its own. The prefix that it reads stays
// claimed until its objects are whited out: no listing shows them again, no new directory reads them.
Result<void> begin_removal(Tables& tables, Inode directory, MountId mount, std::string_view path) {
  const InodeId id(directory.id());
  format::TreeRemoval removal;
  removal.set_directory(id.value());
  removal.set_mount(mount.value());
  removal.set_path(std::string(path));
  removal.set_since_ns(tables.now_ns());
  removal.add_stack()->set_directory(id.value());
  TRY_ASSIGN(const auto claims, tables.take_tree_job(id));
  for (const auto& claim : claims) *removal.add_claims() = claim;
  if (directory.has_lower()) {
    tables.txn().put(format::claim_key(MountId(directory.lower().mount()), directory.lower().prefix()), "");
    *removal.add_claims() = directory.lower();
  }
  tables.dequeue(directory);
  tables.set_transient(directory, false);
  directory.set_links(0);
  directory.set_ctime_ns(tables.now_ns());
  tables.put_inode(directory);
  put_removal(tables, removal);
  return {};
}

// The end of a job: nothing is left below, and whiteouts stand for all objects that were.
Result<void> end_removal(Tables& tables, const format::TreeRemoval& removal, const Inode& directory) {
  TRY(tables.release_keys(directory));
  for (const auto& claim : removal.claims())
    tables.txn().erase(format::claim_key(MountId(claim.mount()), claim.prefix()));
  TRY(tables.erase_inode(directory));
  tables.txn().erase(format::removal_key(InodeId(directory.id())));
  return {};
}

// Whether a directory that moved away still reads a prefix below `prefix` that holds the key.
class ClaimsBelow {
 public:
  ClaimsBelow(Tables& tables, MountId mount, std::string_view prefix) : tables_(tables), mount_(mount), prefix_(prefix) {}

  Result<bool> hold(std::string_view key) {
    for (size_t slash = key.find('/', prefix_.size()); slash != std::string_view::npos; slash = key.find('/', slash + 1)) {
      const std::string_view below = key.substr(0, slash + 1);
      if (below == last_) {
        if (last_claimed_) return true;
        continue;
      }
      TRY_ASSIGN(const auto claim, tables_.txn().get(format::claim_key(mount_, below)));
      last_ = below;
      last_claimed_ = claim.has_value();
      if (last_claimed_) return true;
    }
    return false;
  }

 private:
  Tables& tables_;
  const MountId mount_;
  const std::string_view prefix_;
  std::string last_;  // asked for last
  bool last_claimed_ = false;
};

}  // namespace

Result<InodeId> Namespace::detach_tree(InodeId parent, std::string_view name) {
  TRY(check_name(name));
  if (parent == kRootInode)
    return fail(ErrorCode::kBusy, "a mount point is removed by mount-table remove, not with its tree");
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<InodeId> {
    TRY(tables.load_parent(parent));
    TRY_ASSIGN(const auto dentry, tables.load_dentry(parent, name));
    if (dentry.type != format::DIRECTORY) return fail(ErrorCode::kNotDirectory);
    TRY_ASSIGN(Inode directory, tables.load_inode(dentry.inode));
    TRY_ASSIGN(const auto place, tables.place_of(directory));
    tables.erase_dentry(parent, name, format::DIRECTORY);
    tables.count_subdirectory(parent, -1);
    tables.touch_directory(parent, tables.now_ns());
    TRY(begin_removal(tables, std::move(directory), place.mount, place.path));
    return dentry.inode;
  });
}

Result<std::vector<format::TreeRemoval>> Namespace::removals(InodeId after, size_t jobs_max) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::vector<format::TreeRemoval>> {
    const std::string begin = after == InodeId{} ? format::removal_range().begin : kv::key_after(format::removal_key(after));
    TRY_ASSIGN(const auto page, tables.txn().get_range(begin, format::removal_range().end,
                                                       {.rows_max = jobs_max, .isolation = kv::Isolation::kSnapshot}));
    std::vector<format::TreeRemoval> removals;
    for (const auto& row : page.rows) {
      TRY_ASSIGN(auto removal, format::decode<format::TreeRemoval>(row.value));
      removals.push_back(std::move(removal));
    }
    return removals;
  });
}

Result<Namespace::RemovalWork> Namespace::removal_work(InodeId job, size_t entries_max) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<RemovalWork> {
    RemovalWork work;
    TRY_ASSIGN(const auto removal, find_removal(tables, job, kv::Isolation::kSnapshot));
    if (!removal || removal->stack_size() == 0) {
      work.over = true;
      return work;
    }
    const format::TreeFrame& frame = removal->stack(removal->stack_size() - 1);
    work.directory = InodeId(frame.directory());
    const auto range = format::dentry_range(work.directory);
    const std::string begin =
        frame.resume_after().empty() ? range.begin : kv::key_after(range.begin + frame.resume_after());
    TRY_ASSIGN(const auto page, tables.txn().get_range(begin, range.end,
                                                       {.rows_max = entries_max, .isolation = kv::Isolation::kSnapshot}));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
      work.entries.push_back({std::string(format::dentry_name(row.key)), InodeId(dentry.inode()), dentry.type(),
                              row.key.substr(range.begin.size())});
    }
    if (!work.entries.empty() || removal->stack_size() > 1) return work;
    TRY_ASSIGN(const auto directory, tables.find_inode(job, kv::Isolation::kSnapshot));
    if (directory && never_listed(*directory)) {
      work.purge = directory->lower();
      work.purged_to = removal->purged_to();
    }
    return work;
  });
}

Result<Namespace::RemovedEntries> Namespace::remove_entries(InodeId job, const RemovalWork& work,
                                                            const std::vector<InUse>& in_use) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<RemovedEntries> {
    RemovedEntries removed;
    TRY_ASSIGN(auto removal, find_removal(tables, job));
    if (!removal) return removed;
    auto* frame = removal->mutable_stack(removal->stack_size() - 1);
    if (InodeId(frame->directory()) != work.directory) return removed;
    for (size_t i = 0; i < in_use.size(); ++i) {
      const DirectoryEntry& entry = work.entries[i];
      TRY_ASSIGN(const auto dentry, tables.find_dentry(work.directory, entry.name));
      if (dentry && dentry->inode == entry.inode) {
        if (dentry->type == format::DIRECTORY) {
          TRY_ASSIGN(const bool empty, tables.directory_empty(entry.inode));
          if (!empty) {
            removal->add_stack()->set_directory(entry.inode.value());
            break;
          }
          TRY_ASSIGN(Inode directory, tables.load_inode(entry.inode));
          if (never_listed(directory)) {
            tables.erase_dentry(work.directory, entry.name, format::DIRECTORY);
            tables.count_subdirectory(work.directory, -1);
            TRY(begin_removal(tables, std::move(directory), MountId(removal->mount()), removal->path()));
            frame->set_resume_after(entry.cursor);
            continue;
          }
        }
        TRY_ASSIGN(auto unlinked, tables.remove_entry(work.directory, entry.name, *dentry, in_use[i] == InUse::kYes));
        removed.unlinked.push_back(unlinked);
      }
      frame->set_resume_after(entry.cursor);
    }
    removal->set_removed(removal->removed() + removed.unlinked.size());
    if (!work.entries.empty()) {
      put_removal(tables, *removal);
      return removed;
    }

    // Behind the cursor nothing is left; before it only what somebody made meanwhile, inside the tree.
    TRY_ASSIGN(const bool empty, tables.directory_empty(work.directory));
    if (!empty) {
      frame->clear_resume_after();
    } else if (removal->stack_size() > 1) {
      removal->mutable_stack()->RemoveLast();  // the next look at its parent removes it
    } else {
      TRY_ASSIGN(const Inode directory, tables.load_inode(job));
      if (never_listed(directory)) return removed;  // its objects first
      TRY(end_removal(tables, *removal, directory));
      removed.over = true;
      return removed;
    }
    put_removal(tables, *removal);
    return removed;
  });
}

Result<void> Namespace::whiteout_listed(InodeId job, const format::Lower& lower, const std::vector<ListedObject>& objects,
                                        Listing listing) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(auto removal, find_removal(tables, job));
    if (!removal) return {};
    TRY_ASSIGN(Inode directory, tables.load_inode(job));
    const MountId mount(lower.mount());
    if (directory.lower().mount() != lower.mount() || directory.lower().prefix() != lower.prefix()) return {};
    ClaimsBelow claims(tables, mount, lower.prefix());
    for (const ListedObject& object : objects) {
      removal->set_purged_to(object.key);
      TRY_ASSIGN(const auto owner, tables.find_owner(mount, object.key));
      if (owner) continue;  // another name's, or whited out already
      TRY_ASSIGN(const bool claimed, claims.hold(object.key));
      if (claimed) continue;
      tables.put_whiteout(mount, object.key, object.etag, InodeId{}, false);
      removal->set_removed(removal->removed() + 1);
    }
    if (listing == Listing::kWhole) {
      directory.mutable_lower()->set_listed_ns(tables.now_ns());
      tables.put_inode(directory);
    }
    put_removal(tables, *removal);
    return {};
  });
}

}  // namespace weir::meta
