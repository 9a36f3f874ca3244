#include "volume/volume.h"

#include <algorithm>

#include "base/log.h"
#include "volume/local_volume.h"
#include "volume/recovery.h"

namespace weir::volume {
namespace {

constexpr std::string_view kRulesDocument = "pathconfig";
constexpr Duration kAccessRecordPeriod = std::chrono::seconds(5);
constexpr std::string_view kWriteThroughRules =
    R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_THROUGH"}, "pathRules": []})";
// All looks at the bucket that a start after a loss of power waits for.
constexpr Duration kHomesLookMax = std::chrono::seconds(5);
// How often a volume that scrubs by itself looks whether it is time to.
constexpr Duration kScrubLookMin = std::chrono::seconds(1);
constexpr Duration kScrubLookMax = std::chrono::minutes(1);

}  // namespace

Result<std::unique_ptr<Volume>> Volume::open(kv::Kv& kv, pages::PageStore& pages, const Clock& clock,
                                             const VolumeOptions& options, std::string_view new_volume_id) {
  TRY_ASSIGN(auto names, meta::Namespace::open(kv, clock, options.names, new_volume_id));
  auto volume = std::make_unique<LocalVolume>(std::move(names), pages, options);
  TRY(volume->start());
  return volume;
}

LocalVolume::LocalVolume(std::unique_ptr<meta::Namespace> names, pages::PageStore& pages, const VolumeOptions& options)
    : options_(options),
      names_(std::move(names)),
      pages_(pages),
      hidden_names_([this](InodeId inode) { return files_->is_open(inode); }),
      foreground_(names_->clock()),
      mounts_(*names_, stores_, options_) {
  lower_ = std::make_unique<meta::LowerLayer>(
      *names_, stores_,
      [this](InodeId, const meta::Namespace::LowerChanges& changes) { lower_changed(changes); });
  persist::Persister::Events events;
  events.persisted = [this](InodeId inode, LocalFileId, meta::WritePolicy policy) {
    const bool drop = policy == meta::WritePolicy::kNoCache;
    files_->persisted(inode, drop ? OpenFiles::LocalCopy::kDrop : OpenFiles::LocalCopy::kKeep);
  };
  events.conflict = [this](InodeId inode, const std::string& kept_as) {
    const auto record = names_->load_record(inode);
    if (!record.has_value()) return;
    log_warn("volume.conflict", {{"inode", inode}, {"name", record->name()}, {"kept_as", kept_as}});
    if (CacheListener* listener = listener_.load()) listener->entry_changed(InodeId(record->parent()), kept_as);
  };
  events.complete = [this](InodeId inode) { return files_->complete(inode); };
  events.state_changed = [](InodeId) {};  // the kernel keeps no xattrs of ours
  persist::PersistOptions persist_options = options.persist;
  persist_options.foreground_busy = [this] { return foreground_busy(); };
  persister_ = std::make_unique<persist::Persister>(*names_, *lower_, pages_, stores_, persist_options,
                                                    std::move(events));
  bodies_.emplace(*names_, pages_);
  files_ = std::make_unique<OpenFiles>(*names_, *lower_, pages_, stores_, *persister_, *bodies_,
                                       OpenFilesOptions{.ufs_timeout = options.ufs_timeout,
                                                        .admit_slow_max = options.admit_slow_max,
                                                        .read_ahead_pages = options.read_ahead_pages,
                                                        .read_ahead_requests = options.read_ahead_requests});
  pages_.set_removal_barrier([this] { return names_->kv().sync(); });
  objects_.emplace(LocalObjects::Parts{*names_, *lower_, stores_, pages_, *files_, *bodies_, *persister_, mounts_, foreground_, listener_},
                   options_);
  scrub_.emplace(*names_, pages_, options_.scrub_bytes_per_second, [this](InodeId inode) {
    if (CacheListener* const listener = listener_.load()) listener->content_changed(inode);
  });
}

bool LocalVolume::foreground_busy() {
  if (!foreground_.busy()) return false;
  const auto usage = pages_.usage();
  return usage.pinned_bytes < usage.pinned_limit_bytes / 2;
}

LocalVolume::~LocalVolume() {
  end_background();
  persister_->stop(Deadline::after(Duration::zero()));
  // Whoever still waits for a store shall not hold up the end.
  for (const MountId mount : stores_.mounts()) {
    if (const auto store = stores_.find(mount).store) store->stop();
  }
  remover_.reset();
  held_.clear();
  files_.reset();
  // Nobody can say any more whether it is for good.
  if (!stopped_) pages_.set_removal_barrier([] { return Result<void>(fail(ErrorCode::kCancelled)); });
  lower_.reset();  // its threads wake the persister, and tell the objects of what they found
  objects_.reset();
  bodies_.reset();
}

Result<void> LocalVolume::start() {
  TRY(load_rules());
  TRY_ASSIGN(const Recovered recovered,
             recover(*names_, pages_, inodes_of(options_.held),
                     options_.callers_wait ? LocalFiles::kBehind : LocalFiles::kBefore));
  bodies_->take_over(recovered.bodies);
  recovered_orphans_ = recovered.orphans;
  recovered_marks_ = recovered.marks;
  garbage_files_ = recovered.garbage;
  TRY_ASSIGN(held_, files_->resume(options_.held));
  log_info("volume.recovered", {{"volume", id()},
                                {"open_for_write", recovered.marks},
                                {"orphans", recovered.orphans},
                                {"local_files", recovered.local_files},
                                {"garbage", recovered.garbage},
                                {"quarantined", recovered.quarantined},
                                {"cut", recovered.cut},
                                {"reverted", recovered.reverted},
                                {"held_open", held_.size()}});
  TRY(mounts_.open());
  TRY(objects_->start());
  look_at_homes(recovered.in_doubt);
  if (recovered.local_files_left) {
    recovered_ = false;
    recovery_ = std::thread([this] { recover_local_files(); });
  }
  persister_->start();
  remover_.emplace(*names_, *files_, stores_, [this] { persister_->wake(); });
  if (options_.access_times != AccessTimePolicy::kNever)
    access_recorder_.emplace(kAccessRecordPeriod, [this] { record_accesses(Deadline::never()); });
  if (options_.scrub_period >= Duration::zero())
    scrubber_.emplace(std::clamp(options_.scrub_period, kScrubLookMin, kScrubLookMax), [this] { scrub_when_due(); });
  leftovers_.emplace(options_.orphan_check_period, [this] {
    files_->collect_leftovers();
    requeue_transient();
    objects_->abort_abandoned_uploads();
  });
  if (options_.flush_interval > Duration::zero()) {
    flusher_.emplace(options_.flush_interval, [this] { (void)flush_to_disk(); });
  }
  return {};
}

// Before anybody builds on what is not there any more. Where the store cannot be reached nobody can, and the persister looks again.
void LocalVolume::look_at_homes(const std::vector<InodeId>& in_doubt) {
  const Deadline deadline = Deadline::after(std::min(options_.ufs_timeout, kHomesLookMax));
  for (const InodeId inode : in_doubt) {
    const auto looked = lower_->look_at_home(inode, meta::LowerLayer::Accept::kAny, deadline);
    if (!looked.has_value()) log_warn("volume.home_in_doubt", {{"inode", inode}, {"error", looked.error()}});
    if (deadline.expired()) return;
  }
}

void LocalVolume::scrub_when_due() {
  recovered_.wait(false);
  if (stopping_) return;
  const auto last = scrub_->last();
  if (!last) return;
  const int64_t now_ns = unix_ns(names_->clock().wall_now());
  if (*last && (*last)->started_ns + options_.scrub_period.count() > now_ns) return;
  const auto scrubbed = scrub(Scrub::From::kLastStop, {});
  if (scrubbed) {
    log_info("scrub.done", {{"files", scrubbed->files}, {"bytes", scrubbed->bytes}, {"dropped", scrubbed->dropped_files},
                            {"quarantined", scrubbed->quarantined_files}});
  } else if (scrubbed.error() != ErrorCode::kCancelled && scrubbed.error() != ErrorCode::kBusy) {
    log_error("scrub.failed", {{"error", scrubbed.error()}});
  }
}

bool LocalVolume::flush_to_disk() {
  // What fails is tried again with the next flush; until then it is as if the interval were longer.
  const auto flushed = files_->flush_to_disk();
  if (!flushed.has_value()) log_error("volume.flush_failed", {{"error", flushed.error()}});
  return flushed.has_value();
}

void LocalVolume::recover_local_files() {
  uint64_t local_files = 0;
  const auto finished = [&]() -> Result<uint64_t> {
    Result<void> failed;
    TRY(names_->for_each_local_file([&](const meta::Inode& inode) {
      ++local_files;
      failed = files_->recover_local_file(InodeId(inode.id()));
      return failed.has_value() && !stopping_;
    }));
    TRY(failed);
    // What was not named is garbage only if all were looked at.
    if (stopping_) return fail(ErrorCode::kCancelled);
    return pages_.finish_recovery();
  }();
  if (finished) {
    garbage_files_ += *finished;
    log_info("volume.local_files_recovered", {{"local_files", local_files}, {"garbage", *finished}});
  } else if (finished.error() != ErrorCode::kCancelled) {
    log_error("volume.local_files_not_recovered", {{"error", finished.error()}});
  }
  recovered_ = true;
  recovered_.notify_all();
}

void LocalVolume::end_recovery() {
  if (recovery_.joinable()) recovery_.join();
}

void LocalVolume::end_background() {
  stopping_ = true;
  end_recovery();
  leftovers_.reset();
  access_recorder_.reset();
  scrubber_.reset();
  flusher_.reset();
  if (remover_) remover_->close();
}

void LocalVolume::stop(Deadline deadline) {
  end_background();
  files_->commit_all();
  record_accesses(deadline);
  persister_->stop(deadline);
  if (const auto settled = bodies_->settle_all(deadline); !settled.has_value())
    log_warn("volume.bodies_left", {{"error", settled.error()}});
  if (!flush_to_disk()) return;
  // What is removed from here on is so for good.
  pages_.set_removal_barrier({});
  stopped_ = true;
}

Result<void> LocalVolume::load_rules() {
  if (!options_.write_cache_enabled) {
    TRY_ASSIGN(auto rules, meta::PathRules::parse(kWriteThroughRules));
    names_->set_rules(std::make_shared<const meta::PathRules>(std::move(rules)));
    return {};
  }
  TRY_ASSIGN(const auto document, names_->document(kRulesDocument));
  if (!document) return {};
  // Guessing here could publish what was TRANSIENT: better not to start.
  TRY_ASSIGN(auto rules, meta::PathRules::parse(*document));
  names_->set_rules(std::make_shared<const meta::PathRules>(std::move(rules)));
  return {};
}

void LocalVolume::requeue_transient() {
  const auto requeued = transient_scan_.run([this]() -> Result<void> {
    TRY(names_->requeue_transient([this] { return stopping_.load(); }));
    persister_->wake();
    return {};
  });
  if (!requeued.has_value()) log_warn("volume.requeue_failed", {{"error", requeued.error()}});
}

Result<std::string> LocalVolume::rules_document() { return names_->rules()->to_json(); }

Result<void> LocalVolume::set_rules_document(std::string_view json) {
  TRY_ASSIGN(auto rules, meta::PathRules::parse(json));
  TRY(names_->put_document(kRulesDocument, json));
  if (!options_.write_cache_enabled) return {};  // kept for when it is
  names_->set_rules(std::make_shared<const meta::PathRules>(std::move(rules)));
  transient_scan_.rules_changed();
  requeue_transient();
  return {};
}

void LocalVolume::lower_changed(const meta::Namespace::LowerChanges& changes) {
  for (const LocalFileId local : changes.stale_local_files) pages_.remove(local);
  if (changes.shadows_found) objects_->shadows_found();
  objects_->make_room(changes.entries_changed);
  if (!changes.content_changed.empty()) persister_->wake();  // other names of it may have been queued
  CacheListener* const listener = listener_.load();
  if (listener == nullptr) return;
  for (const InodeId inode : changes.content_changed) listener->content_changed(inode);
  for (const auto& [directory, name] : changes.entries_changed) listener->entry_changed(directory, name);
}

Result<Volume::MountPoint> LocalVolume::add_mount(std::string_view path, std::string_view uri,
                                                  const Properties& properties) {
  TRY_ASSIGN(MountPoint mount, mounts_.add(path, uri, properties));
  if (CacheListener* listener = listener_.load()) listener->entry_changed(kRootInode, mount.path.substr(1));
  return mount;
}

Result<void> LocalVolume::remove_mount(std::string_view path) {
  TRY(mounts_.remove(path, [this](LocalFileId local) { pages_.remove(local); }));
  if (CacheListener* listener = listener_.load())
    listener->entry_changed(kRootInode, path.starts_with('/') ? path.substr(1) : path);
  return {};
}

}  // namespace weir::volume
