#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

#include "meta/namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// The object that was written names `sidecar`, or none: the others of the inode are of no use any more.
Result<void> settle_sidecar(Tables& tables, Inode& record, MountId mount, const format::Home& sidecar) {
  if (record.has_sidecar() && record.sidecar().key() != sidecar.key())
    TRY(tables.release_sidecar(record, mount, record.sidecar().key(), record.sidecar().etag()));
  if (record.claimed_sidecar() != sidecar.key() && record.claimed_sidecar() != record.sidecar().key())
    TRY(tables.release_sidecar(record, mount, record.claimed_sidecar(), ""));
  record.clear_claimed_sidecar();
  record.clear_sidecar();
  if (!sidecar.key().empty()) *record.mutable_sidecar() = sidecar;
  return {};
}

}  // namespace

Result<std::vector<QueuedInode>> Namespace::queued(format::QueueClass queue_class, int64_t due_ns,
                                                   const std::optional<QueuedInode>& after, size_t entries_max) {
  const std::string begin =
      after ? kv::key_after(format::queue_key(queue_class, after->due_ns, after->inode))
            : format::queue_range(queue_class).begin;
  const std::string end = format::queue_key(queue_class, due_ns + 1, InodeId(0));
  if (begin >= end) return std::vector<QueuedInode>{};
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<std::vector<QueuedInode>> {
    TRY_ASSIGN(const auto page,
               txn.get_range(begin, end, {.rows_max = entries_max, .isolation = kv::Isolation::kSnapshot}));
    std::vector<QueuedInode> entries;
    entries.reserve(page.rows.size());
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto entry, format::parse_queue_key(row.key));
      entries.push_back({entry.inode, entry.queue_class, entry.due_ns});
    }
    return entries;
  });
}

Result<Claim> Namespace::claim(InodeId inode, int64_t whiteouts_hold_ns) {
  const auto rules = this->rules();
  // A transaction that finds the inode without a place still takes it off the queue.
  TRY_ASSIGN(auto claim, run_operation(kv_, clock_, [&](Tables& tables) -> Result<std::optional<Claim>> {
    TRY_ASSIGN(auto found, tables.find_record(inode));
    if (!found) return std::optional<Claim>{};
    Claim claim;
    Inode& record = claim.inode;
    record = *std::move(found);
    auto place = tables.place_of(record);
    if (failed_with(place, ErrorCode::kNotFound) || (place && place->key.empty())) {
      tables.dequeue(record);
      tables.put_inode(record);
      return std::optional<Claim>{};
    }
    TRY(place);
    claim.path = std::move(place->path);
    TRY_ASSIGN(claim.policy, tables.policy_of(record, *rules));
    claim.mount = place->mount;
    claim.key = std::move(place->key);
    if (is_further_name(record)) {
      TRY_ASSIGN(const Inode linked, tables.load_inode(InodeId(record.link_of())));
      // Its object is to say what the inode's says.
      if (!fully_persisted(linked)) {
        // Not persisted, whatever it was: so it is queued again when its inode's content is.
        record.set_persisted_attributes_version(0);
        tables.dequeue(record);
        tables.put_inode(record);
        return std::optional<Claim>{};
      }
      claim.source = linked.home();
    } else if (claim.policy == WritePolicy::kTransient && !content_persisted(record)) {
      tables.requeue(record, claim.policy, format::ORDINARY);
      tables.put_inode(record);
      return std::optional(std::move(claim));
    }
    TRY_ASSIGN(const auto mark, tables.txn().get(format::writing_key(inode), kv::Isolation::kSnapshot));
    claim.open_for_write = mark.has_value();
    if (is_directory(record)) {
      const std::string mtime_key = format::directory_mtime_key(inode);
      TRY_ASSIGN(const auto mtime, tables.txn().get(mtime_key, kv::Isolation::kSnapshot));
      if (mtime) {
        TRY_ASSIGN(const int64_t mtime_ns, kv::decode_counter(*mtime));
        record.set_mtime_ns(std::max(record.mtime_ns(), mtime_ns));
      }
    }
    if (record.xattr_bytes() != 0 && !is_further_name(record)) {
      TRY_ASSIGN(claim.xattrs, tables.xattrs(inode, kv::Isolation::kSnapshot));
    }
    if (!is_further_name(record)) {
      TRY_ASSIGN(claim.facts, ObjectTables(tables).facts(record));
    }

    if (is_directory(record)) {
      // An object that was put under the directory's key stands for it.
      TRY_ASSIGN(const auto shadow, tables.txn().get(format::shadow_key(claim.mount, claim.key)));
      if (shadow) {
        tables.dequeue(record);
        record.set_persisted_attributes_version(record.attributes_version());
        tables.put_inode(record);
        return std::optional<Claim>{};
      }
    }

    const bool at_home = record.has_home() && record.home().key() == claim.key;
    TRY_ASSIGN(const auto owner, tables.find_owner(claim.mount, claim.key));
    if (owner && owner->inode() != 0 && owner->inode() != inode.value()) {
      TRY_ASSIGN(const auto other, tables.find_record(InodeId(owner->inode())));
      if (other) {
        claim.blocked_by = InodeId(owner->inode());
        return std::optional(std::move(claim));
      }
    }
    if (owner && owner->inode() == 0 && owner->erase_due_ns() <= whiteouts_hold_ns) {
      claim.being_erased = true;
      return std::optional(std::move(claim));
    }
    if (owner && owner->inode() == inode.value()) {
      claim.expect = at_home && record.claimed_key().empty() ? Claim::Expect::kEtag : Claim::Expect::kUnknown;
      if (at_home) claim.expect_etag = record.home().etag();
    } else if (owner) {
      claim.expect = Claim::Expect::kUnknown;
      claim.expect_etag = owner->etag();
      claim.former = InodeId(owner->former());
    }
    if (!record.claimed_key().empty() && record.claimed_key() != claim.key &&
        !(record.has_home() && record.home().key() == record.claimed_key())) {
      const MountId mount(record.claimed_mount());
      TRY_ASSIGN(const auto previous, tables.find_owner(mount, record.claimed_key()));
      if (previous && previous->inode() == inode.value())
        tables.put_whiteout(mount, record.claimed_key(), "", inode, true);
    }
    if (at_home && fully_persisted(record)) {
      if (record.claimed_key() != claim.key) {
        record.clear_claimed_key();
        tables.put_inode(record);
      }
      return std::optional(std::move(claim));
    }
    if (!owner || owner->inode() != inode.value()) {
      tables.erase_owner(claim.mount, claim.key, owner);
      tables.put_owner(claim.mount, claim.key, inode);
    }
    record.set_claimed_key(claim.key);
    record.set_claimed_mount(claim.mount.value());
    tables.put_inode(record);
    return std::optional(std::move(claim));
  }));
  if (!claim) return fail(ErrorCode::kNotFound);
  return *std::move(claim);
}

Result<bool> Namespace::owns_key(InodeId inode, MountId mount, std::string_view key) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, key, kv::Isolation::kSnapshot));
    return owner && InodeId(owner->inode()) == inode;
  });
}

Result<std::optional<PartDigests>> Namespace::part_digests(const Inode& inode) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::optional<PartDigests>> {
    TRY_ASSIGN(const auto now, tables.find_inode(InodeId(inode.id())));
    if (!now || now->home().key() != inode.home().key() || now->home().etag() != inode.home().etag())
      return std::optional<PartDigests>{};
    return tables.part_digests(*now);
  });
}

Result<void> Namespace::claim_sidecar(InodeId inode, MountId mount, std::string_view key) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    const std::string earlier = record.claimed_sidecar();
    if (earlier == key) return {};
    if (earlier != record.sidecar().key()) TRY(tables.release_sidecar(record, mount, earlier, ""));
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, key));
    tables.erase_owner(mount, key, owner);
    tables.put_owner(mount, key, inode);
    record.set_claimed_sidecar(std::string(key));
    tables.put_inode(record);
    return {};
  });
}

Result<Inode> Namespace::claim_parking(InodeId inode) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (!waits_for_parking(record)) return fail(ErrorCode::kNotFound);
    const MountId mount(record.home().mount());
    const std::string key = parking_key(inode);
    const std::string earlier = record.claimed_key();
    if (earlier == key) return record;
    if (!earlier.empty() && earlier != record.home().key()) {
      const MountId earlier_mount(record.claimed_mount());
      TRY_ASSIGN(const auto owner, tables.find_owner(earlier_mount, earlier));
      if (owner && owner->inode() == record.id()) tables.put_whiteout(earlier_mount, earlier, "", inode, true);
    }
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, key));
    tables.erase_owner(mount, key, owner);
    tables.put_owner(mount, key, inode);
    record.set_claimed_key(key);
    record.set_claimed_mount(mount.value());
    tables.put_inode(record);
    return record;
  });
}

std::string Namespace::parking_key(InodeId inode) const {
  return std::string(kParkingPrefix) + volume_id_ + "-" + std::to_string(inode.value());
}

std::optional<InodeId> Namespace::parked_inode(std::string_view key) const {
  const std::string prefix = parking_key(InodeId{});
  const std::string_view volume = std::string_view(prefix).substr(0, prefix.size() - 1);
  if (!key.starts_with(volume)) return std::nullopt;
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(key.data() + volume.size(), key.data() + key.size(), id);
  if (error != std::errc{} || end != key.data() + key.size()) return std::nullopt;
  return InodeId(id);
}

Result<void> Namespace::withdraw_claim(InodeId inode, MountId mount, std::string_view key) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(auto record, tables.find_record(inode));
    if (!record || !record->has_home() || record->home().key() != key || record->claimed_key() != key ||
        MountId(record->home().mount()) != mount || MountId(record->claimed_mount()) != mount)
      return {};
    record->clear_claimed_key();
    record->clear_claimed_mount();
    tables.put_inode(*record);
    return {};
  });
}

Result<void> Namespace::rehome(InodeId owner, MountId mount, std::string_view key, std::string_view new_key,
                               std::string_view new_etag) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(const auto row, tables.find_owner(mount, key));
    if (!row || row->inode() != owner.value()) return {};
    TRY_ASSIGN(auto record, tables.find_record(owner));
    if (!record) return {};
    const bool is_home = record->has_home() && record->home().key() == key;
    if (is_home && new_key.empty() && needs_home(*record) && !is_further_name(*record)) {
      return fail(ErrorCode::kPrecondition, "the object under '" + std::string(key) + "' is the only copy of inode " +
                                                std::to_string(owner.value()));
    }
    tables.put_whiteout(mount, key, is_home ? record->home().etag() : "", owner, true);
    if (record->claimed_key() == key) record->clear_claimed_key();
    if (!new_key.empty()) {
      TRY_ASSIGN(const auto target, tables.find_owner(mount, new_key));
      tables.erase_owner(mount, new_key, target);
      tables.put_owner(mount, new_key, owner);
      keep_etag(*record, new_etag);
      record->mutable_home()->set_key(std::string(new_key));
      record->mutable_home()->set_etag(std::string(new_etag));
      record->mutable_home()->set_since_ns(tables.now_ns());
      if (record->claimed_key() == new_key) record->clear_claimed_key();
    } else if (is_home) {
      record->clear_home();
    }
    if (record->links() == 0) {
      tables.dequeue(*record);
    } else if (!record->transient()) {
      tables.enqueue(*record, format::ORDINARY, tables.now_ns());
    }
    tables.put_inode(*record);
    return {};
  });
}

Result<PersistOutcome> Namespace::commit_persisted(InodeId inode, const PersistedObject& object) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<PersistOutcome> {
    PersistOutcome outcome;
    TRY_ASSIGN(const auto owner, tables.find_owner(object.mount, object.key));
    TRY_ASSIGN(auto found, tables.find_record(inode));
    if (!found) {
      // Unlinked meanwhile: its whiteout learns what there is to erase.
      outcome.gone = true;
      if (owner && owner->inode() == 0 && owner->former() == inode.value()) {
        tables.erase_owner(object.mount, object.key, owner);
        tables.put_whiteout(object.mount, object.key, object.etag, inode, false);
      }
      return outcome;
    }
    Inode& record = *found;
    if (!owner || owner->inode() != inode.value()) {
      return fail(ErrorCode::kPrecondition, "object key '" + object.key + "' was given to another inode");
    }
    if (record.has_home() && record.home().key() != object.key) {
      const MountId mount(record.home().mount());
      TRY_ASSIGN(const auto previous, tables.find_owner(mount, record.home().key()));
      if (previous && previous->inode() == inode.value())
        tables.put_whiteout(mount, record.home().key(), record.home().etag(), inode, true);
    }
    if (record.persisted_generation() == object.generation) keep_etag(record, object.etag);
    auto& home = *record.mutable_home();
    home.set_mount(object.mount.value());
    home.set_key(object.key);
    home.set_etag(object.etag);
    home.set_size(object.size);
    home.set_since_ns(tables.now_ns());
    record.set_persisted_generation(object.generation);
    record.set_persisted_attributes_version(object.attributes_version);
    if (object.directory_mtime_ns) record.set_marker_mtime_ns(*object.directory_mtime_ns);
    if (record.claimed_key() == object.key) record.clear_claimed_key();
    if (!is_further_name(record)) {
      if (object.part_digests || record.digests_generation() != object.generation)
        tables.put_part_digests(record, object.generation, object.part_digests);
      if (object.sidecar) TRY(settle_sidecar(tables, record, object.mount, *object.sidecar));
    }

    if (!is_further_name(record)) outcome.local_file = LocalFileId(record.local_file());
    const auto place = tables.place_of(record);
    if (failed_with(place, ErrorCode::kNotFound)) {
      outcome.gone = true;
      tables.dequeue(record);
    } else {
      TRY(place);
      outcome.fully_persisted = fully_persisted(record) && place->key == object.key;
      if (outcome.fully_persisted) {
        tables.dequeue(record);
      } else {
        tables.enqueue(record, record.queued() == format::URGENT ? format::URGENT : format::ORDINARY,
                       record.queued() == format::NOT_QUEUED ? tables.now_ns() : record.queued_due_ns());
      }
    }
    outcome.evictable = content_persisted(record) && !is_further_name(record);
    tables.put_inode(record);
    if (outcome.evictable) {
      TRY_ASSIGN(outcome.queued_names, tables.requeue_further_names(record));
    }
    return outcome;
  });
}

Result<void> Namespace::defer(InodeId inode, int64_t due_ns, const format::Progress& progress) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(auto record, tables.find_record(inode));
    if (!record || record->queued() == format::NOT_QUEUED) return {};
    tables.enqueue(*record, record->queued(), due_ns);
    tables.put_inode(*record);
    tables.txn().put(format::progress_key(inode), format::encode(progress));
    return {};
  });
}

Result<void> Namespace::enqueue(InodeId inode, Urgency urgency) {
  const auto rules = this->rules();
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(auto found, tables.find_record(inode));
    if (!found) return fail(ErrorCode::kNotFound);
    Inode& record = *found;
    const auto place = tables.place_of(record);
    // What no path leads to, is persisted already, or not to be, has nothing to wait for.
    if (failed_with(place, ErrorCode::kNotFound)) return {};
    TRY(place);
    if (place->key.empty() || record.quarantined()) return {};
    if (record.queued() == format::NOT_QUEUED && fully_persisted(record) && record.home().key() == place->key) return {};
    TRY_ASSIGN(const WritePolicy policy, tables.policy_of(record, *rules));
    if (policy == WritePolicy::kTransient && !content_persisted(record) && !is_further_name(record)) return {};
    tables.enqueue(record, urgency == Urgency::kUrgent ? format::URGENT : format::ORDINARY, tables.now_ns());
    tables.put_inode(record);
    return {};
  });
}

Result<std::optional<format::Progress>> Namespace::progress(InodeId inode) {
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<std::optional<format::Progress>> {
    TRY_ASSIGN(const auto value, txn.get(format::progress_key(inode)));
    if (!value) return std::optional<format::Progress>{};
    TRY_ASSIGN(auto progress, format::decode<format::Progress>(*value));
    return std::optional(std::move(progress));
  });
}

Result<void> Namespace::put_progress(InodeId inode, const format::Progress& progress) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(const auto record, tables.find_record(inode));
    if (record && record->queued() != format::NOT_QUEUED)
      tables.txn().put(format::progress_key(inode), format::encode(progress));
    return {};
  });
}

Result<void> Namespace::record_conflict(InodeId inode, MountId mount, std::string_view conflict_name,
                                        std::string_view conflict_key, std::string_view etag, uint64_t size,
                                        int64_t mtime_ns) {
  TRY(check_name(conflict_name));
  TRY_ASSIGN(const InodeId id, new_inode_id());
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(const auto found, tables.find_record(inode));
    if (!found) return fail(ErrorCode::kNotFound);
    const Inode& record = *found;
    const InodeId parent(record.parent());
    ObjectTables objects(tables);
    if (record.shadow()) {
      TRY_ASSIGN(const auto existing, objects.find_shadow(mount, conflict_key));
      if (existing) return {};
    } else {
      TRY_ASSIGN(const auto existing, tables.find_dentry(parent, conflict_name));
      if (existing) return {};
    }
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, conflict_key));
    tables.erase_owner(mount, conflict_key, owner);
    Inode bucket;
    if (record.shadow()) {
      TRY_ASSIGN(bucket, tables.load_inode(parent));
    }
    Inode kept = record.shadow() ? objects.make_shadow(bucket, conflict_key, id,
                                                       {.caller = {.uid = record.uid(), .gid = record.gid()},
                                                        .file_permissions = record.permissions()})
                                 : tables.make_inode(id, format::REGULAR, parent, conflict_name, record.permissions(), record.uid(),
                                   record.gid());
    kept.set_mtime_ns(mtime_ns);
    tables.set_size(kept, size);
    kept.set_persisted_generation(kept.generation());
    kept.set_persisted_attributes_version(kept.attributes_version());
    kept.set_attributes_unknown(true);
    kept.mutable_home()->set_mount(mount.value());
    kept.mutable_home()->set_key(std::string(conflict_key));
    kept.mutable_home()->set_etag(std::string(etag));
    kept.mutable_home()->set_size(size);
    kept.mutable_home()->set_since_ns(tables.now_ns());
    tables.put_owner(mount, conflict_key, id);
    tables.put_inode(kept);
    return {};
  });
}

}  // namespace weir::meta
