#include "base/no_wait.h"
#include "volume/local_volume.h"

namespace weir::volume {

meta::FileState LocalVolume::state_of(const meta::Inode& inode) {
  const auto state = meta::state_of(inode);
  const InodeId id(meta::is_further_name(inode) ? inode.link_of() : inode.id());
  if (state == meta::FileState::kPersisted && files_->changed(id))
    return meta::FileState::kNotPersisted;
  return state;
}

Result<std::string> LocalVolume::uri_of(const format::Home& home) const {
  const auto mounted = stores_.find(MountId(home.mount()));
  if (!mounted.store) return fail(ErrorCode::kUnavailable, "the under store of the file's home is not mounted");
  std::string uri = mounted.store->uri();
  if (!uri.ends_with('/')) uri += '/';
  return uri + home.key();
}

Result<InodeId> LocalVolume::resolve(std::string_view path) {
  TRY_ASSIGN(const Resolved resolved, resolve_name(path));
  return resolved.inode;
}

Result<LocalVolume::Resolved> LocalVolume::resolve_name(std::string_view path) {
  if (!path.starts_with('/')) return fail(ErrorCode::kInvalid, "path must begin with '/': " + std::string(path));
  Resolved resolved{.inode = kRootInode, .parent = kRootInode, .name = {}};
  for (size_t begin = 1; begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (end > begin) {
      resolved.parent = resolved.inode;
      resolved.name = path.substr(begin, end - begin);
      TRY_ASSIGN(const auto found, find(resolved.parent, resolved.name));
      if (!found) return fail(ErrorCode::kNotFound, "no such file or directory: " + std::string(path.substr(0, end)));
      resolved.inode = InodeId(found->id());
    }
    begin = end + 1;
  }
  return resolved;
}

Result<meta::Inode> LocalVolume::record_of(const Resolved& resolved) {
  // Its attributes first: they may make it a further name.
  TRY_ASSIGN(auto inode, load(resolved.inode));
  if (resolved.name.empty()) return inode;
  return names_->load_name(resolved.parent, resolved.name);
}

Result<FileStatus> LocalVolume::status(std::string_view path) {
  TRY_ASSIGN(const Resolved resolved, resolve_name(path));
  const uint64_t endings = files_->endings();
  TRY_ASSIGN(const auto record, record_of(resolved));
  TRY_ASSIGN(const auto inode, names_->load(InodeId(record.id())));
  TRY_ASSIGN(const Entry entry, entry_of(inode, endings));
  FileStatus status;
  TRY_ASSIGN(status.path, names_->path_of(InodeId(record.id())));
  status.attributes = entry.attributes;
  status.state = state_of(record);
  TRY_ASSIGN(status.policy, names_->policy(record));
  status.symlink_target = inode.symlink_target();
  if (record.has_home()) {
    status.home = uri_of(record.home()).value_or("");
    status.etag = record.home().etag();
  }
  if (inode.local_file() != 0) {
    const auto local = pages_.stat(LocalFileId(inode.local_file()));
    if (local.has_value()) status.cached_bytes = std::min(local->allocated_bytes, local->size_bytes);
  }
  return status;
}

Result<void> LocalVolume::persist_now(std::string_view path) {
  TRY_ASSIGN(const Resolved resolved, resolve_name(path));
  TRY_ASSIGN(const auto record, record_of(resolved));
  TRY(names_->enqueue(resolved.inode, meta::Urgency::kUrgent));
  if (meta::is_further_name(record)) TRY(names_->enqueue(InodeId(record.id()), meta::Urgency::kUrgent));
  persister_->wake();
  return {};
}

Result<std::vector<meta::LowerLayer::Hidden>> LocalVolume::hidden(std::string_view path) {
  TRY_ASSIGN(const InodeId directory, resolve(path));
  TRY(NoWait::check());
  return lower_->hidden(directory, ufs_deadline());
}

Result<std::vector<Volume::MountPoint>> LocalVolume::mount_points() {
  TRY_ASSIGN(auto points, mounts_.list());
  for (MountPoint& point : points) {
    const auto away = persister_->store_error(point.id);
    if (!away) continue;
    point.reachable = false;
    point.refused = *away == ErrorCode::kDenied;
    point.error = away->to_string();
  }
  return points;
}

Result<Volume::Capacity> LocalVolume::capacity() {
  TRY_ASSIGN(const auto usage, names_->usage());
  const auto pages = pages_.usage();
  // What can be written before something must be uploaded: the truth for whoever asks before writing. Files that are not
  // pinned make room.
  const uint64_t used = std::min(pages.pinned_bytes, pages.pinned_limit_bytes);
  const uint64_t evictable = pages.used_bytes - std::min(pages.used_bytes, pages.pinned_bytes + pages.quarantined_bytes);
  return Capacity{.total_bytes = pages.pinned_limit_bytes,
                  .free_bytes = std::min(pages.pinned_limit_bytes - used, pages.devices_free_bytes + evictable),
                  .inodes = usage.inodes};
}

Result<std::vector<Volume::TreeRemoval>> LocalVolume::tree_removals(size_t trees_max) {
  TRY_ASSIGN(const auto jobs, names_->removals(InodeId{}, trees_max));
  std::vector<TreeRemoval> trees;
  for (const format::TreeRemoval& job : jobs)
    trees.push_back({.path = job.path(), .since_ns = job.since_ns(), .removed = job.removed()});
  return trees;
}

VolumeStatistics LocalVolume::statistics() {
  VolumeStatistics statistics;
  statistics.usage = names_->usage().value_or(meta::UsageCounters{});
  statistics.pages = pages_.usage();
  statistics.persist = persister_->stats();
  statistics.open_files = files_->open_count();
  statistics.hidden_objects = lower_->hidden_count();
  statistics.cache_hit_bytes = files_->hit_bytes();
  statistics.cache_miss_bytes = files_->fetched_bytes();
  constexpr size_t kRemovalsCounted = 10'000;
  if (const auto removals = names_->removals(InodeId{}, kRemovalsCounted)) statistics.trees_being_removed = removals->size();
  statistics.tree_entries_removed = remover_->removed_entries();
  statistics.kv = names_->kv().usage();
  statistics.leftovers = {.orphans = files_->orphans_reclaimed() + recovered_orphans_,
                          .writers = files_->writers_recovered() + recovered_marks_,
                          .local_files = garbage_files_,
                          .uploads = objects_->abandoned_uploads()};
  const Scrub::Counters& scrub = scrub_->counters();
  statistics.scrub = {.running = scrub.running,
                      .runs = scrub.runs,
                      .bytes = scrub.bytes,
                      .dropped_files = scrub.dropped_files,
                      .quarantined_files = scrub.quarantined_files,
                      .unreadable_files = scrub.unreadable_files};
  return statistics;
}

Result<ScrubSummary> LocalVolume::scrub(Scrub::From from, const ScrubListener& listener) {
  TRY(NoWait::check());
  recovered_.wait(false);
  const ScrubListener heeding{.finding = listener.finding, .progress = [&](const ScrubSummary& summary) {
                                return !stopping_ && (!listener.progress || listener.progress(summary));
                              }};
  return scrub_->run(from, heeding);
}

Result<FsckSummary> LocalVolume::fsck(const FsckOptions& options, const FsckListener& listener) {
  TRY(NoWait::check());
  recovered_.wait(false);  // local files without an owner are no discrepancy before
  TRY(resolve(options.path));  // taken in from the bucket, if need be
  FsckListener heeding{.discrepancy = listener.discrepancy, .progress = [&](const FsckSummary& summary) {
                         return !stopping_ && (!listener.progress || listener.progress(summary));
                       }};
  FsckOptions plain = options;
  while (plain.path.size() > 1 && plain.path.ends_with('/')) plain.path.pop_back();
  plain.ufs_timeout = options_.ufs_timeout;
  plain.is_being_filled = [this](LocalFileId file) { return objects_->is_being_filled(file); };
  auto summary = run_fsck(*names_, pages_, stores_, plain, heeding);
  if (plain.repair == FsckRepair::kYes) persister_->wake();
  return summary;
}

}  // namespace weir::volume
