#include <algorithm>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/no_wait.h"
#include "volume/local_volume.h"

namespace weir::volume {
namespace {

constexpr Duration kForLong = std::chrono::hours(1);
constexpr Duration kWrittenMeanwhileInterval = std::chrono::seconds(1);
// How often a call starts over because the other front changed what a name leads to.
constexpr int kNameTries = 16;

// Makes the change, once more while what it was to be made of is another one by then (kStale).
template <typename Change>
auto while_stale(const Change& change) {
  auto changed = change();
  for (int tries = 1; tries < kNameTries && failed_with(changed, ErrorCode::kStale); ++tries) changed = change();
  return changed;
}

}  // namespace

Duration LocalVolume::valid_for() const {
  return options_.names.sync_interval < Duration::zero() ? kForLong : options_.names.sync_interval;
}

Result<Entry> LocalVolume::entry_of(const meta::Inode& inode, uint64_t endings) {
  TRY_ASSIGN(auto attributes, files_->attributes(inode, endings));
  access_times_.overlay(attributes);
  return Entry{std::move(attributes), valid_for()};
}

void LocalVolume::note_reading(const meta::Inode& inode, uint64_t endings) {
  if (options_.access_times == AccessTimePolicy::kNever) return;
  const auto entry = entry_of(inode, endings);
  if (!entry.has_value()) return;
  const int64_t now_ns = unix_ns(names_->clock().wall_now());
  if (AccessTimes::counts(entry->attributes, now_ns)) access_times_.note(entry->attributes.inode, now_ns);
}

void LocalVolume::record_accesses(Deadline deadline) {
  const auto recorded = access_times_.flush([&](const std::vector<meta::AccessTime>& accesses) -> Result<void> {
    if (deadline.expired()) return fail(ErrorCode::kTimedOut);
    return names_->record_accesses(accesses);
  });
  if (!recorded.has_value()) log_warn("volume.access_times_not_recorded", {{"error", recorded.error()}});
}

Result<meta::Inode> LocalVolume::with_attributes(meta::Inode inode) {
  if (!inode.attributes_unknown()) return inode;
  TRY(NoWait::check());
  return lower_->load_attributes(inode, ufs_deadline());
}

Result<meta::Inode> LocalVolume::load(InodeId inode) {
  foreground_.note();
  TRY_ASSIGN(auto record, names_->load(inode));
  return with_attributes(std::move(record));
}

Result<void> LocalVolume::refresh_lower(InodeId directory) {
  if (options_.names.sync_interval != Duration::zero()) {
    lower_->refresh_in_background(directory);
    return {};
  }
  // Changes in the bucket are to be seen always; while it cannot be reached, what is known stands.
  TRY(NoWait::check());
  if (const auto refreshed = lower_->refresh(directory, ufs_deadline()); !refreshed.has_value())
    log_debug("volume.refresh_failed", {{"directory", directory}, {"error", refreshed.error()}});
  return {};
}

Result<std::optional<meta::Inode>> LocalVolume::find(InodeId parent, std::string_view name) {
  foreground_.note();
  if (may_be_hidden(name)) {
    if (const auto hidden = hidden_names_.find(parent, name)) {
      const auto inode = names_->load(*hidden);
      if (inode || inode.error() != ErrorCode::kNotFound) return inode;
    }
  }
  TRY_ASSIGN(meta::Found found, names_->find(parent, name));
  if (found.ask_lower) {
    TRY(NoWait::check());
    TRY(lower_->load_name(parent, name, ufs_deadline()));
    TRY_ASSIGN(found, names_->find(parent, name));
  } else if (found.refresh_due) {
    TRY(refresh_lower(parent));
    if (options_.names.sync_interval == Duration::zero()) {
      TRY_ASSIGN(found, names_->find(parent, name));
    }
  }
  // An object that no path led to may have it now.
  if (!found.inode && objects_->settle_name(parent, name)) {
    TRY_ASSIGN(found, names_->find(parent, name));
  }
  return std::move(found.inode);
}

Result<void> LocalVolume::list_lower(const meta::Inode& directory) {
  if (!directory.has_lower()) return {};
  const InodeId id(directory.id());
  if (directory.lower().listed_ns() == 0) {
    TRY(NoWait::check());
    return lower_->load_directory(id, ufs_deadline());
  }
  const Duration interval = options_.names.sync_interval;
  const int64_t now_ns = unix_ns(names_->clock().wall_now());
  if (interval < Duration::zero() || directory.lower().listed_ns() + interval.count() > now_ns) return {};
  return refresh_lower(id);
}

Result<Entry> LocalVolume::lookup(InodeId parent, std::string_view name) {
  const uint64_t endings = files_->endings();
  TRY_ASSIGN(auto found, find(parent, name));
  if (!found) return fail(ErrorCode::kNotFound);
  TRY_ASSIGN(const auto inode, with_attributes(*std::move(found)));
  return entry_of(inode, endings);
}

Result<Entry> LocalVolume::get_attributes(InodeId inode) {
  const uint64_t endings = files_->endings();
  TRY_ASSIGN(const auto record, load(inode));
  return entry_of(record, endings);
}

Result<Entry> LocalVolume::set_attributes(InodeId inode, const meta::AttributeChange& change,
                                          std::optional<uint64_t> size) {
  const uint64_t endings = files_->endings();
  // What the object says must not come later and undo the change.
  TRY_ASSIGN(auto record, load(inode));
  if (size) {
    if (meta::is_directory(record)) return fail(ErrorCode::kIsDirectory);
    TRY(files_->truncate(inode, *size));
  }
  if (change.permissions || change.uid || change.gid || change.atime_ns || change.mtime_ns) {
    if (change.atime_ns) access_times_.forget(inode);
    TRY_ASSIGN(record, files_->set_attributes(inode, change));
    persister_->wake_for_files(meta::Urgency::kOrdinary);
  } else if (size) {
    TRY_ASSIGN(record, names_->load(inode));
  }
  return entry_of(record, endings);
}

Result<Entry> LocalVolume::make_directory(InodeId parent, std::string_view name, uint32_t permissions,
                                          const meta::Caller& caller) {
  TRY_ASSIGN(const auto existing, find(parent, name));
  if (existing) return fail(ErrorCode::kExists);
  TRY_ASSIGN(const auto made, names_->make_directory(parent, name, permissions, caller));
  persister_->wake_for_files(meta::Urgency::kOrdinary);
  return entry_of(made, files_->endings());
}

Result<Entry> LocalVolume::make_symlink(InodeId parent, std::string_view name, std::string_view target,
                                        const meta::Caller& caller) {
  TRY_ASSIGN(const auto existing, find(parent, name));
  if (existing) return fail(ErrorCode::kExists);
  TRY_ASSIGN(const auto made, names_->make_symlink(parent, name, target, caller));
  persister_->wake_for_files(meta::Urgency::kOrdinary);
  return entry_of(made, files_->endings());
}

Result<Entry> LocalVolume::make_node(InodeId parent, std::string_view name, meta::FileType type, uint32_t permissions,
                                     uint64_t rdev, const meta::Caller& caller) {
  TRY_ASSIGN(const auto existing, find(parent, name));
  if (existing) return fail(ErrorCode::kExists);
  TRY_ASSIGN(const auto made, names_->make_node(parent, name, type, permissions, rdev, caller));
  persister_->wake_for_files(meta::Urgency::kOrdinary);
  return entry_of(made, files_->endings());
}

Result<Entry> LocalVolume::link(InodeId inode, InodeId new_parent, std::string_view new_name) {
  TRY_ASSIGN(const auto existing, find(new_parent, new_name));
  if (existing) return fail(ErrorCode::kExists);
  // What the object says must be known before there are two.
  TRY_ASSIGN(const auto record, load(inode));
  const InodeId id(record.id());
  bool needs_persist = false;
  {
    TRY_ASSIGN(auto removal, files_->begin_removal(id));
    TRY_ASSIGN(needs_persist, names_->link(id, new_parent, new_name));
    files_->finish_link(std::move(removal));
  }
  persister_->wake_for_files(meta::Urgency::kOrdinary);
  if (needs_persist) TRY(await_persisted(id, ufs_deadline()));
  const uint64_t endings = files_->endings();
  TRY_ASSIGN(const auto linked, names_->load(id));
  return entry_of(linked, endings);
}

Result<std::string> LocalVolume::read_symlink(InodeId inode) {
  TRY_ASSIGN(auto record, load(inode));
  if (record.type() != format::SYMLINK) return fail(ErrorCode::kInvalid, "not a symbolic link");
  return std::move(*record.mutable_symlink_target());
}

bool LocalVolume::may_be_hidden(std::string_view name) const {
  return options_.intercept_silly_renames && name.starts_with(HiddenNames::kPrefix);
}

Result<bool> LocalVolume::hide(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name) {
  if (may_be_hidden(name) && hidden_names_.rename(parent, name, new_parent, new_name)) return true;
  TRY(find(parent, name));
  TRY_ASSIGN(const auto target, find(new_parent, new_name));
  if (target) return false;
  return while_stale([&]() -> Result<bool> {
    TRY_ASSIGN(const auto found, names_->find(parent, name));
    if (!found.inode || meta::is_directory(*found.inode)) return false;
    const InodeId inode(found.inode->id());
    TRY_ASSIGN(auto removal, files_->begin_removal(inode));
    if (removal.in_use() == meta::InUse::kNo) return false;
    TRY_ASSIGN(const auto unlinked, names_->unlink(parent, name, removal.in_use(), inode));
    files_->finish_removal(std::move(removal), unlinked);
    hidden_names_.add(new_parent, new_name, inode);
    return true;
  });
}

Result<void> LocalVolume::unlink(InodeId parent, std::string_view name) {
  if (may_be_hidden(name) && hidden_names_.erase(parent, name)) return {};
  foreground_.note();
  if (asks_lower_always()) TRY(find(parent, name));
  const auto unlink_current = [&] { return unlink_known(parent, name); };
  TRY_ASSIGN(const bool known, while_stale(unlink_current));
  if (known) return {};
  TRY(find(parent, name));
  TRY_ASSIGN(const bool found, while_stale(unlink_current));
  return found ? Result<void>() : fail(ErrorCode::kNotFound);
}

Result<bool> LocalVolume::unlink_known(InodeId parent, std::string_view name) {
  bool refresh_due = false;
  {
    TRY_ASSIGN(const auto found, names_->find(parent, name));
    if (!found.inode) return false;
    if (meta::is_directory(*found.inode)) return fail(ErrorCode::kIsDirectory);
    const InodeId inode(found.inode->id());
    TRY(failpoint("volume.leaving_name"));
    TRY_ASSIGN(auto removal, files_->begin_removal(inode));
    TRY_ASSIGN(const auto unlinked, names_->unlink(parent, name, removal.in_use(), inode));
    files_->finish_removal(std::move(removal), unlinked);
    refresh_due = found.refresh_due;
  }
  objects_->settle_name(parent, name);
  if (refresh_due) lower_->refresh_in_background(parent);
  return true;
}

Result<void> LocalVolume::remove_directory(InodeId parent, std::string_view name) {
  TRY_ASSIGN(const auto found, find(parent, name));
  if (!found) return fail(ErrorCode::kNotFound);
  if (!meta::is_directory(*found)) return fail(ErrorCode::kNotDirectory);
  TRY(list_lower(*found));  // what only the bucket knows keeps it from being empty
  TRY_ASSIGN(const auto unlinked, names_->remove_directory(parent, name, meta::InUse::kNo));
  if (unlinked.erases_object) persister_->wake_for_erasures();
  objects_->settle_name(parent, name);
  return {};
}

Result<void> LocalVolume::remove_tree(InodeId parent, std::string_view name) {
  TRY_ASSIGN(const auto found, find(parent, name));
  if (!found) return fail(ErrorCode::kNotFound);
  auto detached = names_->detach_tree(parent, name);
  if (failed_with(detached, ErrorCode::kMayHaveHappened)) {
    // It did, unless the name still leads there.
    const auto now = names_->find(parent, name);
    const bool happened = now.has_value() ? !now->inode || now->inode->id() != found->id()
                                          : failed_with(now, ErrorCode::kNotFound);
    if (!happened) return fail(std::move(detached).error());
  } else {
    TRY(detached);
  }
  if (CacheListener* listener = listener_.load()) listener->entry_changed(parent, name);
  objects_->settle_name(parent, name);
  remover_->wake();
  return {};
}

Result<void> LocalVolume::rename(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name,
                                 meta::RenameMode mode) {
  if (may_be_hidden(new_name) && mode != meta::RenameMode::kExchange) {
    TRY_ASSIGN(const bool hidden, hide(parent, name, new_parent, new_name));
    if (hidden) return {};
  }
  foreground_.note();
  std::optional<meta::Renamed> done;
  if (!asks_lower_always()) {
    TRY_ASSIGN(done, while_stale([&] { return rename_known(parent, name, new_parent, new_name, mode, Names::kPerhapsUnknown); }));
  }
  if (!done) {
    TRY(find(parent, name));
    TRY_ASSIGN(const auto target, find(new_parent, new_name));
    if (target && meta::is_directory(*target)) TRY(list_lower(*target));
    TRY_ASSIGN(done, while_stale([&] { return rename_known(parent, name, new_parent, new_name, mode, Names::kKnown); }));
  }
  const meta::Renamed& renamed = *done;
  if (renamed.moved_is_directory || mode == meta::RenameMode::kExchange) {
    persister_->wake();
  } else {
    persister_->wake_for_files(meta::Urgency::kOrdinary);
  }
  if (mode != meta::RenameMode::kExchange) objects_->settle_name(parent, name);
  if (!renamed.policy_needs_persist) return {};
  const Deadline deadline = ufs_deadline();
  TRY(await_persisted(renamed.moved, deadline));
  if (renamed.exchanged) TRY(await_persisted(*renamed.exchanged, deadline));
  return {};
}

Result<std::optional<meta::Renamed>> LocalVolume::rename_known(InodeId parent, std::string_view name,
                                                               InodeId new_parent, std::string_view new_name,
                                                               meta::RenameMode mode, Names names) {
  TRY_ASSIGN(const auto found, names_->find(new_parent, new_name));
  const bool onto_directory = found.inode && meta::is_directory(*found.inode);
  const bool unknown = found.ask_lower || onto_directory;
  if (names == Names::kPerhapsUnknown && unknown) return std::optional<meta::Renamed>{};
  TRY(failpoint("volume.replacing_name"));
  std::optional<OpenFiles::Removal> removal;
  if (found.inode && mode == meta::RenameMode::kReplace && !onto_directory) {
    TRY_ASSIGN(removal, files_->begin_removal(InodeId(found.inode->id())));
  }
  auto renamed = names_->rename(parent, name, new_parent, new_name, mode, removal ? removal->in_use() : meta::InUse::kNo,
                                InodeId(found.inode ? found.inode->id() : 0));
  if (names == Names::kPerhapsUnknown && failed_with(renamed, ErrorCode::kNotFound)) return std::optional<meta::Renamed>{};
  TRY(renamed);
  if (removal && renamed->replaced) files_->finish_removal(*std::move(removal), *renamed->replaced);
  if (found.refresh_due) lower_->refresh_in_background(new_parent);
  return std::optional(*std::move(renamed));
}

Result<void> LocalVolume::await_persisted(InodeId inode, Deadline deadline) {
  const auto record = names_->load(inode);
  if (failed_with(record, ErrorCode::kNotFound)) return {};
  TRY(record);
  if (!meta::is_directory(*record)) {
    if (record->transient() || meta::content_persisted(*record)) return {};
    if (record->queued() == format::ORDINARY) TRY(names_->enqueue(inode, meta::Urgency::kUrgent));
    if (record->queued() == format::NOT_QUEUED && files_->open_for_write(inode)) return {};  // its close waits
    persister_->wake();
    for (;;) {
      // What is not committed is not uploaded; whoever wrote it waits in close.
      if (files_->nothing_to_publish(*record)) return {};
      const Deadline look_again = Deadline::after(kWrittenMeanwhileInterval);
      const bool last = look_again.time() >= deadline.time();
      auto persisted =
          persister_->wait_persisted(inode, Generation(record->generation()), last ? deadline : look_again);
      if (last || !failed_with(persisted, ErrorCode::kTimedOut)) return persisted;
    }
  }
  std::string after;
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, names_->read_directory(inode, after, 1'000));
    for (const auto& entry : page.entries) TRY(await_persisted(entry.inode, deadline));
    more = page.more;
    if (more) after = page.entries.back().cursor;
  }
  return {};
}

Result<Volume::DirectoryListing> LocalVolume::read_directory(InodeId directory, std::string_view after,
                                                             size_t entries_max, WithAttributes with_attributes) {
  if (after.empty()) {
    TRY_ASSIGN(const auto record, names_->load(directory));
    TRY(list_lower(record));
    note_reading(record, files_->endings());
  }
  TRY_ASSIGN(auto page, names_->read_directory(directory, after, entries_max));
  const uint64_t endings = files_->endings();
  DirectoryListing listing;
  listing.more = page.more;
  listing.entries.reserve(page.entries.size());
  for (auto& entry : page.entries) listing.entries.push_back({.entry = std::move(entry), .plus = {}});
  if (with_attributes == WithAttributes::kNo) return listing;
  std::vector<InodeId> ids;
  ids.reserve(listing.entries.size());
  for (const auto& entry : listing.entries) ids.push_back(entry.entry.inode);
  size_t next = 0;
  TRY(names_->visit(ids, [&](const std::optional<meta::Inode>& inode) {
    DirectoryEntryPlus& plus = listing.entries[next++];
    // One whose attributes only the object knows is asked for when somebody looks it up.
    if (!inode || inode->attributes_unknown()) return;
    if (auto found = entry_of(*inode, endings); found.has_value()) plus.plus = *std::move(found);
  }));
  return listing;
}

Result<InodeId> LocalVolume::parent_of(InodeId directory) {
  TRY_ASSIGN(const auto record, names_->load(directory));
  return InodeId(record.parent());
}

}  // namespace weir::volume
