#include "persist/reconcile.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

#include "base/failpoint.h"
#include "base/log.h"
#include "persist/backoff.h"

namespace weir::persist {
namespace {

// Rounds of one attempt: each ends with a durable step, and the namespace may have changed meanwhile.
constexpr int kRoundsMax = 8;
constexpr Duration kBlockedPauseMin = std::chrono::milliseconds(5);
constexpr Duration kBlockedPauseMax = std::chrono::milliseconds(50);
constexpr Duration kChangedPauseMin = std::chrono::milliseconds(100);
constexpr Duration kChangedPauseMax = std::chrono::seconds(5);
// Between the tries of a file whose store is unwell; longer for one that seems to be the only one that fails.
constexpr Duration kUnwellPauseMax = std::chrono::seconds(3);
constexpr Duration kUnwellPauseLong = std::chrono::minutes(1);
constexpr uint32_t kUnwellAttemptsPatient = 100;

bool lies_at(const meta::Inode& inode, MountId mount, std::string_view key) {
  return inode.has_home() && MountId(inode.home().mount()) == mount && inode.home().key() == key;
}

// `sidecar`: what an object of the claimed attributes names; of another one it is not known.
meta::PersistedObject persisted(const meta::Claim& claim, const Publisher::Published& published, uint64_t size,
                                std::optional<format::Home> sidecar) {
  if (published.attributes_version != claim.inode.attributes_version()) sidecar.reset();
  return {.mount = claim.mount,
          .key = claim.key,
          .etag = published.etag,
          .size = size,
          .generation = claim.inode.generation(),
          .attributes_version = published.attributes_version,
          .sidecar = std::move(sidecar)};
}

}  // namespace

void Reconciler::work(Queue::Job job) {
  const auto inode = parts_.names.load_record(job.inode);
  const int64_t now_ns = unix_ns(parts_.names.clock().wall_now());
  if (!inode || inode->queued() == format::NOT_QUEUED || inode->queued_due_ns() > now_ns) {
    if (!inode && inode.error() != ErrorCode::kNotFound)
      log_error("persist.inode_unreadable", {{"inode", job.inode}, {"error", inode.error()}});
    parts_.queue.finish(job);
    return;
  }
  if (parts_.breaker.any_paused()) {
    const auto mount = memo_.mount_of(*inode);
    if (mount && !parts_.breaker.allows(*mount)) {
      parts_.queue.pass_over(job);
      return;
    }
  }
  const bool large = inode->type() == format::REGULAR && !meta::content_persisted(*inode) &&
                     inode->size() > options_.part_bytes;
  if (large && !job.large && !parts_.queue.enter_large(job)) return;

  // An object that was moved before anybody looked at it may turn out to be a further name of another file.
  if (inode->attributes_unknown() && !meta::is_directory(*inode))
    (void)parts_.lower.load_attributes(*inode, parts_.deadlines.reply());

  MountId mount{};
  Result<Outcome> outcome = Outcome::kDone;
  {
    Activity::Running running(parts_.activity, job.inode);
    outcome = reconcile(job.inode, &mount, running.attempt());
  }
  if (!outcome) {
    fail_attempt(job, mount, outcome.error());
  } else if (*outcome == Outcome::kBlocked) {
    parts_.queue.again(job, random_backoff(1, kBlockedPauseMax, kBlockedPauseMax));
  } else {
    parts_.queue.finish(job);
  }
  parts_.activity.changed(job.inode);
}

// What a predecessor was erasing when it died may be gone only after its death.
int64_t Reconciler::held_whiteouts_ns() const {
  const int64_t until_ns = started_ns_ + options_.late_effect_max.count();
  const bool holds = options_.late_effect_max > Duration::zero() && unix_ns(parts_.names.clock().wall_now()) < until_ns;
  return holds ? started_ns_ : std::numeric_limits<int64_t>::min();
}

Result<Reconciler::Outcome> Reconciler::reconcile(InodeId inode, MountId* mount, Activity::Attempt& attempt) {
  for (int round = 0; round < kRoundsMax; ++round) {
    if (parts_.deadlines.stopping()) return fail(ErrorCode::kCancelled);
    const auto claim = parts_.names.claim(inode, held_whiteouts_ns());
    if (failed_with(claim, ErrorCode::kNotFound)) {
      TRY(settle_unnamed(inode, mount));
      return Outcome::kDone;
    }
    if (!claim) return fail(claim.error());
    const bool content_clean = meta::content_persisted(claim->inode);
    if (claim->policy == meta::WritePolicy::kTransient && !content_clean && !claim->source) return Outcome::kDone;
    if (claim->inode.quarantined() && !content_clean && !claim->source)
      return fail(ErrorCode::kCorrupt, "the file is quarantined: its bytes are lost or rotten");
    *mount = claim->mount;
    TRY(failpoint("persist.claimed"));
    if (claim->being_erased) return Outcome::kBlocked;
    if (claim->blocked_by) {
      TRY_ASSIGN(const bool cleared, clear_way(*claim));
      if (!cleared) return Outcome::kBlocked;
      continue;
    }

    if (!content_clean && claim->inode.partial() && parts_.events.complete) {
      TRY(parts_.events.complete(inode));
      continue;
    }

    TRY_ASSIGN(const auto store, store_of(claim->mount));
    meta::PersistOutcome outcome;
    {
      TRY(failpoint("persist.lock"));
      TRY_ASSIGN(const auto held, parts_.key_locks.lock(claim->mount, claim->key, parts_.deadlines.reply()));
      TRY_ASSIGN(const bool owned, parts_.names.owns_key(inode, claim->mount, claim->key));
      if (!owned) continue;  // removed, and perhaps erased, since the claim
      TRY_ASSIGN(const auto object, bring(*claim, *store, attempt));
      TRY(failpoint("persist.uploaded"));
      auto committed = parts_.names.commit_persisted(inode, object);
      if (failed_with(committed, ErrorCode::kPrecondition)) continue;  // the key is another's by now
      if (!committed) return fail(std::move(committed).error());
      outcome = *committed;
    }
    TRY(failpoint("persist.committed"));
    parts_.breaker.succeeded(claim->mount);
    settle(*claim, outcome);
    erase_due_();
    if (outcome.gone) TRY(settle_unnamed(inode, mount));
    if (outcome.gone || outcome.fully_persisted) return Outcome::kDone;
  }
  return Outcome::kDone;
}

void Reconciler::settle(const meta::Claim& claim, const meta::PersistOutcome& outcome) {
  const InodeId inode(claim.inode.id());
  if (outcome.evictable && outcome.local_file != LocalFileId(0)) {
    // The handle keeps the file from being evicted until it is known that no write began before the pin was taken off.
    // Who begins one pins the file after that is committed.
    const auto file = parts_.pages.open(outcome.local_file);
    if (file) {
      parts_.pages.set_pin(outcome.local_file, pages::Pin::kEvictable);
      const auto now = parts_.names.load(inode);
      if (now && LocalFileId(now->local_file()) == outcome.local_file && !meta::content_persisted(*now))
        parts_.pages.set_pin(outcome.local_file, pages::Pin::kPinned);
    }
    if (parts_.events.persisted) parts_.events.persisted(inode, outcome.local_file, claim.policy);
  }
  if (outcome.queued_names) parts_.queue.wake();
  if (parts_.events.state_changed && !outcome.gone) parts_.events.state_changed(inode);
}

Result<meta::PersistedObject> Reconciler::bring(const meta::Claim& claim, ufs::UnderStore& store,
                                                Activity::Attempt& attempt) {
  const meta::Inode& inode = claim.inode;
  if (meta::fully_persisted(inode) && lies_at(inode, claim.mount, claim.key)) {
    return meta::PersistedObject{.mount = claim.mount,
                                 .key = claim.key,
                                 .etag = inode.home().etag(),
                                 .size = inode.home().size(),
                                 .generation = inode.generation(),
                                 .attributes_version = inode.attributes_version()};
  }
  // The bucket never goes ahead of what a loss of power leaves of the metadata: else an object would be there that no name owns,
  // or gone that one does.
  TRY(parts_.names.kv().sync());
  const bool copied = claim.source || (inode.type() == format::REGULAR && meta::content_persisted(inode));
  if (copied) return copy_content(claim, store, attempt);
  auto object = upload(claim, store, attempt);
  if (failed_with(object, ErrorCode::kNotFound)) {
    TRY(parts_.names.report_corruption(InodeId(inode.id()), LocalFileId(inode.local_file())));
    return fail(ErrorCode::kIo, "the only copy, local file " + std::to_string(inode.local_file()) + ", is gone");
  }
  return object;
}

Result<meta::PersistedObject> Reconciler::upload(const meta::Claim& claim, ufs::UnderStore& store,
                                                 Activity::Attempt& attempt) {
  const meta::ObjectForm form = meta::form_object(claim.inode, claim.xattrs, claim.facts, parts_.names.volume_id(), claim.key);
  TRY_ASSIGN(auto sidecar, bring_sidecar(claim, store, form));
  const bool record = claim.inode.type() != format::REGULAR;
  TRY_ASSIGN(auto uploaded, record ? parts_.uploader.upload_record(claim, form.attributes, store)
                                         : parts_.uploader.upload_file(claim, form.attributes, store, attempt));
  ++parts_.counters.persisted_files;
  if (!record) parts_.counters.persisted_bytes += uploaded.size;
  auto object = persisted(claim, uploaded.published, uploaded.size, std::move(sidecar));
  if (meta::is_directory(claim.inode) && object.attributes_version == claim.inode.attributes_version())
    object.directory_mtime_ns = claim.inode.mtime_ns();
  object.part_digests = std::move(uploaded.part_digests);
  return object;
}

Result<format::Home> Reconciler::bring_sidecar(const meta::Claim& claim, ufs::UnderStore& store,
                                               const meta::ObjectForm& form) {
  const InodeId inode(claim.inode.id());
  format::Home sidecar;
  if (form.sidecar_key.empty()) return sidecar;
  if (claim.inode.sidecar().key() == form.sidecar_key) return claim.inode.sidecar();
  // Who unlinks the inode after this leaves a whiteout, which waits for the key.
  TRY_ASSIGN(const auto held, parts_.key_locks.lock(claim.mount, form.sidecar_key, parts_.deadlines.reply()));
  const auto claimed = parts_.names.claim_sidecar(inode, claim.mount, form.sidecar_key);
  if (failed_with(claimed, ErrorCode::kNotFound)) return fail(ErrorCode::kBusy, "the file was removed");
  TRY(claimed);
  TRY(failpoint("persist.sidecar_claimed"));
  const std::string token = meta::format_owner({.volume_id = parts_.names.volume_id(),
                                                .inode = inode,
                                                .generation = Generation(claim.inode.generation())});
  const ufs::ObjectAttributes attributes{.content_type = std::string(meta::kSidecarContentType),
                                         .user = {{std::string(meta::kOwnerMetadata), token}}};
  const auto body = std::as_bytes(std::span(form.sidecar_body));
  TRY_ASSIGN(auto etag,
             store.put(form.sidecar_key, body, {.attributes = attributes}, parts_.deadlines.transfer(body.size())));
  TRY(failpoint("persist.sidecar_written"));
  sidecar.set_mount(claim.mount.value());
  sidecar.set_key(form.sidecar_key);
  sidecar.set_etag(std::move(etag));
  sidecar.set_size(body.size());
  return sidecar;
}

Result<meta::PersistedObject> Reconciler::copy_content(const meta::Claim& claim, ufs::UnderStore& store,
                                                       Activity::Attempt& attempt) {
  const format::Home& home = claim.source ? *claim.source : claim.inode.home();
  if (MountId(home.mount()) != claim.mount)
    return fail(ErrorCode::kInternal, "the home of " + claim.path + " is below another mount point");
  attempt.phase = Phase::kCopying;
  const bool in_place = home.key() == claim.key;
  const meta::OwnerToken own{.volume_id = parts_.names.volume_id(),
                             .inode = InodeId(claim.inode.id()),
                             .generation = Generation(claim.inode.generation())};
  // What the attributes are is not known, or what they say without those of others.
  meta::ObjectForm form;
  std::optional<format::Home> sidecar;
  if (!claim.inode.attributes_unknown() && !claim.source) {
    form = meta::form_object(claim.inode, claim.xattrs, claim.facts, parts_.names.volume_id(), claim.key);
    TRY_ASSIGN(sidecar, bring_sidecar(claim, store, form));
  }
  bool lost = false;
  auto published = parts_.publisher.publish(
      claim, form.attributes, store, home.size(), [&](const ufs::Conditions& conditions) -> Result<ufs::Etag> {
        const auto source = store.head(home.key(), parts_.deadlines.reply());
        lost = failed_with(source, ErrorCode::kNotFound);
        if (!source) return fail(source.error());
        const ufs::Etag& etag = source->info.etag;
        // Our token on another etag: written by a copy in place whose outcome was lost.
        lost = etag != home.etag() && meta::owner_of(source->attributes) != own;
        if (lost) return fail(ErrorCode::kStale);
        const meta::ObjectForm copied =
            meta::form_copy(source->attributes, claim.inode, claim.xattrs, claim.facts, parts_.names.volume_id(), claim.key);
        if (sidecar && copied.sidecar_key != form.sidecar_key) {
          TRY_ASSIGN(sidecar, bring_sidecar(claim, store, copied));
        }
        return store.copy(home.key(), claim.key,
                          {.source_if_match = etag,
                           .conditions = in_place ? ufs::Conditions{.if_match = etag} : conditions,
                           .attributes = copied.attributes},
                          parts_.deadlines.copy(home.size()));
      });
  if (lost) return replace_lost_home(claim, store, attempt);
  if (!published) return fail(std::move(published).error());
  // Not known is as good as right: the copy took over what the source said.
  if (claim.inode.attributes_unknown()) published->attributes_version = claim.inode.attributes_version();
  TRY(failpoint("persist.copied"));
  ++parts_.counters.copied_files;
  return persisted(claim, *published, home.size(), std::move(sidecar));
}

Result<meta::PersistedObject> Reconciler::replace_lost_home(const meta::Claim& claim, ufs::UnderStore& store,
                                                            Activity::Attempt& attempt) {
  const meta::Inode& inode = claim.inode;
  if (claim.source) {
    // Its inode's object may have moved or been written anew meanwhile; else the next listing tells what became of it.
    const auto linked = parts_.names.load(InodeId(inode.link_of()));
    if (linked) parts_.lower.refresh_in_background(InodeId(linked->parent()));
    return fail(ErrorCode::kBusy, "object '" + claim.source->key() + "' was changed before it could be copied");
  }
  // Only attributes were to be written onto what lies at its place: the bucket's version is the newer one. What lies elsewhere stays the
  // file's if an upload of ours that nobody knows of put it there.
  const bool in_place = lies_at(inode, claim.mount, claim.key);
  if (in_place) TRY(parts_.names.withdraw_claim(InodeId(inode.id()), claim.mount, claim.key));
  using Accept = meta::LowerLayer::Accept;
  TRY_ASSIGN(const bool another, parts_.lower.look_at_home(InodeId(inode.id()), in_place ? Accept::kAny : Accept::kOwn,
                                                           parts_.deadlines.reply()));
  if (another) return fail(ErrorCode::kBusy, "object '" + inode.home().key() + "' is another one than was known");
  if (in_place) {
    parts_.lower.refresh_in_background(InodeId(inode.parent()));
    return fail(ErrorCode::kStale, "object '" + claim.key + "' was changed in the bucket");
  }
  auto uploaded = upload(claim, store, attempt);
  if (uploaded) log_warn("persist.lost_home_replaced", {{"path", claim.path}, {"home", inode.home().key()}});
  if (uploaded || uploaded.error() != ErrorCode::kNotFound) return uploaded;
  log_warn("persist.removed_in_bucket", {{"path", claim.path}, {"home", inode.home().key()}});
  TRY(parts_.names.drop_lower(InodeId(inode.parent()), inode.name(), inode.home().etag()));
  return fail(ErrorCode::kStale, "its object '" + inode.home().key() + "' was removed or replaced in the bucket");
}

Result<bool> Reconciler::clear_way(const meta::Claim& claim) {
  const Queue::Job in_the_way{.inode = *claim.blocked_by};
  if (!parts_.queue.try_take(in_the_way.inode)) return false;
  const auto moved = move_away(claim, in_the_way.inode);
  parts_.queue.finish(in_the_way);
  parts_.queue.wake();  // it may not have waited before
  parts_.activity.changed(in_the_way.inode);
  TRY(moved);
  return true;
}

Result<void> Reconciler::move_away(const meta::Claim& blocked, InodeId in_the_way) {
  const auto record = parts_.names.load_record(in_the_way);
  if (failed_with(record, ErrorCode::kNotFound)) return {};
  if (!record) return fail(record.error());
  // The object of a further name can be made again from its inode's at any time.
  if (meta::is_further_name(*record)) return parts_.names.rehome(in_the_way, blocked.mount, blocked.key, "", "");
  const auto claim = parts_.names.claim(in_the_way);
  if (failed_with(claim, ErrorCode::kNotFound)) {
    // Without a name, but alive: it is open, or in a tree that is being removed.
    const auto orphan = parts_.names.load(in_the_way);
    if (failed_with(orphan, ErrorCode::kNotFound)) return {};
    if (!orphan) return fail(orphan.error());
    if (!lies_at(*orphan, blocked.mount, blocked.key) || !meta::needs_home(*orphan))
      return parts_.names.rehome(in_the_way, blocked.mount, blocked.key, "", "");
    if (orphan->links() != 0) {
      TRY_ASSIGN(const auto store, store_of(blocked.mount));
      return park(*orphan, *store);
    }
    MountId mount{};
    return settle_unnamed(in_the_way, &mount);
  }
  if (!claim) return fail(claim.error());
  const meta::Inode& inode = claim->inode;
  if (!lies_at(inode, blocked.mount, blocked.key) || !meta::needs_home(inode))
    return parts_.names.rehome(in_the_way, blocked.mount, blocked.key, "", "");
  if (claim->mount == blocked.mount && claim->key == blocked.key) return {};  // it has come back to its place
  TRY_ASSIGN(const auto store, store_of(claim->mount));
  // What is being written is not uploaded before its time.
  if (claim->blocked_by || !meta::content_persisted(inode)) return park(inode, *store);

  Activity::Running running(parts_.activity, in_the_way);
  TRY_ASSIGN(const auto held, parts_.key_locks.lock(claim->mount, claim->key, parts_.deadlines.reply()));
  TRY_ASSIGN(const bool owned, parts_.names.owns_key(in_the_way, claim->mount, claim->key));
  if (!owned) return {};
  TRY_ASSIGN(const auto object, bring(*claim, *store, running.attempt()));
  TRY(failpoint("persist.moved_away"));
  const auto committed = parts_.names.commit_persisted(in_the_way, object);
  if (failed_with(committed, ErrorCode::kPrecondition)) return {};
  if (!committed) return fail(committed.error());
  settle(*claim, *committed);
  return {};
}

Result<void> Reconciler::park(const meta::Inode& inode, ufs::UnderStore& store) {
  const InodeId id(inode.id());
  const format::Home& home = inode.home();
  const std::string key = parts_.names.parking_key(id);
  // Else nobody would look for the copy again, once what made it necessary was undone.
  TRY(parts_.names.kv().sync());
  const auto etag = store.copy(home.key(), key, {.source_if_match = home.etag()}, parts_.deadlines.copy(home.size()));
  if (failed_with(etag, ErrorCode::kNotFound) || failed_with(etag, ErrorCode::kPrecondition)) {
    return fail(ErrorCode::kStale, "object '" + home.key() + "' in " + store.uri() +
                                       " was changed or removed in the bucket before it could be moved");
  }
  if (!etag) return fail(etag.error());
  TRY(failpoint("persist.parked"));
  return parts_.names.rehome(id, MountId(home.mount()), home.key(), key, *etag);
}

Result<void> Reconciler::settle_unnamed(InodeId inode, MountId* mount) {
  TRY_ASSIGN(const bool released, parts_.names.release_objects(inode, LocalFileId(0)));
  if (!released) return {};
  erase_due_();
  const auto claimed = parts_.names.claim_parking(inode);
  if (failed_with(claimed, ErrorCode::kNotFound)) return {};
  if (!claimed) return fail(claimed.error());
  *mount = MountId(claimed->home().mount());
  TRY_ASSIGN(const auto store, store_of(*mount));
  // A last close from here on leaves a whiteout on the key, which waits for this copy.
  TRY_ASSIGN(const auto held, parts_.key_locks.lock(*mount, claimed->claimed_key(), parts_.deadlines.reply()));
  TRY_ASSIGN(const bool owned, parts_.names.owns_key(inode, *mount, claimed->claimed_key()));
  if (!owned) return {};
  TRY(failpoint("persist.parking_claimed"));
  TRY(park(*claimed, *store));
  erase_due_();
  return {};
}

void Reconciler::fail_attempt(const Queue::Job& job, MountId mount, const Error& error) {
  if (parts_.deadlines.stopping()) {
    // Cut short; it says nothing about the store or the file.
    parts_.queue.finish(job);
    return;
  }
  switch (error.code()) {
    case ErrorCode::kCancelled:
      parts_.queue.finish(job);
      return;
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimedOut:
      ++parts_.counters.errors_unavailable;
      log_warn("persist.unavailable", {{"inode", job.inode}, {"error", error}});
      if (mount == MountId{}) break;
      parts_.breaker.failed(mount, job.inode, error);
      parts_.queue.pass_over(job);
      return;
    case ErrorCode::kBusy:
      ++parts_.counters.changed_while_uploading;
      break;
    case ErrorCode::kDenied:
      ++parts_.counters.errors_denied;
      parts_.breaker.denied(mount, error);
      break;
    default:
      ++parts_.counters.errors_other;
  }
  put_off(job.inode, error);
  parts_.queue.finish(job);
}

void Reconciler::put_off(InodeId inode, const Error& error) {
  auto recorded = parts_.names.progress(inode);
  format::Progress progress = recorded && *recorded ? **std::move(recorded) : format::Progress();
  progress.set_attempts(progress.attempts() + 1);
  progress.set_last_error(error.to_string());
  progress.set_last_error_code(static_cast<uint32_t>(error.code()));
  progress.set_permanent(error == ErrorCode::kDenied);
  const bool changed = error == ErrorCode::kBusy;
  // A store that fails now and then is the store's affair: when it is well again nothing shall wait long.
  const bool unwell = error == ErrorCode::kUnavailable || error == ErrorCode::kTimedOut;
  const Duration longest = !unwell                                        ? options_.retry_interval_max
                           : progress.attempts() < kUnwellAttemptsPatient ? kUnwellPauseMax
                                                                          : kUnwellPauseLong;
  const Duration pause =
      changed ? random_backoff(progress.attempts(), kChangedPauseMin, kChangedPauseMax)
              : random_backoff(progress.attempts(), options_.retry_interval_min, std::min(longest, options_.retry_interval_max));
  const int64_t due_ns = unix_ns(parts_.names.clock().wall_now()) + pause.count();
  progress.set_next_try_ns(due_ns);
  if (!changed) {
    log_warn("persist.put_off", {{"inode", inode}, {"attempts", progress.attempts()},
                                 {"seconds", pause.count() / 1'000'000'000}, {"error", error}});
  }
  const auto deferred = parts_.names.defer(inode, due_ns, progress);
  if (!deferred) log_error("persist.not_put_off", {{"inode", inode}, {"error", deferred.error()}});
  parts_.queue.expect(due_ns);
  parts_.activity.changed(inode);
}

Result<std::shared_ptr<ufs::UnderStore>> Reconciler::store_of(MountId mount) const {
  auto store = parts_.mounts.find(mount).store;
  if (!store)
    return fail(ErrorCode::kUnavailable, "the store of mount point " + std::to_string(mount.value()) +
                                             " is not attached; see weir mount-table list");
  return store;
}

Duration Reconciler::random_backoff(uint32_t attempts, Duration first, Duration longest) {
  std::lock_guard lock(random_mutex_);
  return backoff(attempts, first, longest, random_);
}

}  // namespace weir::persist
