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

// Works out what is to be done for one record, and claims the key that its object belongs under.
class Claiming {
 public:
  Claiming(Tables& tables, const PathRules& rules, int64_t whiteouts_hold_ns)
      : tables_(tables), rules_(rules), whiteouts_hold_ns_(whiteouts_hold_ns) {}

  // Nothing: there is nothing to be done for the record, which is off the queue.
  Result<std::optional<Claim>> take(InodeId inode) {
    TRY_ASSIGN(auto record, tables_.find_record(inode));
    if (!record) return std::optional<Claim>{};
    claim_.inode = *std::move(record);
    id_ = inode;
    for (const auto step : {&Claiming::find_place, &Claiming::find_source, &Claiming::wait_for_rules, &Claiming::read_state,
                            &Claiming::look_for_stand_in, &Claiming::look_at_owner, &Claiming::take_key}) {
      TRY_ASSIGN(const Next next, (this->*step)());
      if (next == Next::kNothing) return std::optional<Claim>{};
      if (next == Next::kDone) break;
    }
    return std::optional(std::move(claim_));
  }

 private:
  enum class Next : uint8_t { kGoOn, kDone, kNothing };

  Next nothing_to_do() {
    tables_.dequeue(record_);
    tables_.put_inode(record_);
    return Next::kNothing;
  }

  Result<Next> find_place() {
    auto place = tables_.place_of(record_);
    if (failed_with(place, ErrorCode::kNotFound) || (place && place->key.empty())) return nothing_to_do();
    TRY(place);
    claim_.path = std::move(place->path);
    TRY_ASSIGN(claim_.policy, tables_.policy_of(record_, rules_));
    claim_.mount = place->mount;
    claim_.key = std::move(place->key);
    return Next::kGoOn;
  }

  // The object of a further name is to say what the inode's says.
  Result<Next> find_source() {
    if (!is_further_name(record_)) return Next::kGoOn;
    TRY_ASSIGN(const Inode linked, tables_.load_inode(InodeId(record_.link_of())));
    if (!fully_persisted(linked)) {
      // Not persisted, whatever it was: so it is queued again when its inode's content is.
      record_.set_persisted_attributes_version(0);
      return nothing_to_do();
    }
    claim_.source = linked.home();
    return Next::kGoOn;
  }

  // What may stay here alone waits until the rules say otherwise.
  Result<Next> wait_for_rules() {
    if (claim_.source || claim_.policy != WritePolicy::kTransient || content_persisted(record_)) return Next::kGoOn;
    tables_.requeue(record_, claim_.policy, format::ORDINARY);
    tables_.put_inode(record_);
    return Next::kDone;
  }

  // What the object is to hold besides the content.
  Result<Next> read_state() {
    TRY_ASSIGN(const auto mark, tables_.txn().get(format::writing_key(id_), kv::Isolation::kSnapshot));
    claim_.open_for_write = mark.has_value();
    if (is_directory(record_)) {
      TRY_ASSIGN(const auto mtime, tables_.txn().get(format::directory_mtime_key(id_), kv::Isolation::kSnapshot));
      if (mtime) {
        TRY_ASSIGN(const int64_t mtime_ns, kv::decode_counter(*mtime));
        record_.set_mtime_ns(std::max(record_.mtime_ns(), mtime_ns));
      }
    }
    if (is_further_name(record_)) return Next::kGoOn;
    if (record_.xattr_bytes() != 0) {
      TRY_ASSIGN(claim_.xattrs, tables_.xattrs(id_, kv::Isolation::kSnapshot));
    }
    TRY_ASSIGN(claim_.facts, ObjectTables(tables_).facts(record_));
    return Next::kGoOn;
  }

  // An object that was put under a directory's key stands for it.
  Result<Next> look_for_stand_in() {
    if (!is_directory(record_)) return Next::kGoOn;
    TRY_ASSIGN(const auto shadow, tables_.txn().get(format::shadow_key(claim_.mount, claim_.key)));
    if (!shadow) return Next::kGoOn;
    record_.set_persisted_attributes_version(record_.attributes_version());
    return nothing_to_do();
  }

  Result<Next> look_at_owner() {
    TRY_ASSIGN(owner_, tables_.find_owner(claim_.mount, claim_.key));
    if (!owner_) return Next::kGoOn;
    if (owner_->inode() == id_.value()) {
      claim_.expect = at_home() && record_.claimed_key().empty() ? Claim::Expect::kEtag : Claim::Expect::kUnknown;
      if (at_home()) claim_.expect_etag = record_.home().etag();
      return Next::kGoOn;
    }
    if (owner_->inode() != 0) {
      TRY_ASSIGN(const auto other, tables_.find_record(InodeId(owner_->inode())));
      if (other) {
        claim_.blocked_by = InodeId(owner_->inode());
        return Next::kDone;
      }
    } else if (owner_->erase_due_ns() <= whiteouts_hold_ns_) {
      claim_.being_erased = true;
      return Next::kDone;
    }
    claim_.expect = Claim::Expect::kUnknown;
    claim_.expect_etag = owner_->etag();
    claim_.former = InodeId(owner_->former());
    return Next::kGoOn;
  }

  Result<Next> take_key() {
    TRY(give_up_previous_claim());
    if (at_home() && fully_persisted(record_)) {
      if (record_.claimed_key() != claim_.key) {
        record_.clear_claimed_key();
        tables_.put_inode(record_);
      }
      return Next::kDone;
    }
    if (!owner_ || owner_->inode() != id_.value()) {
      tables_.erase_owner(claim_.mount, claim_.key, owner_);
      tables_.put_owner(claim_.mount, claim_.key, id_);
    }
    record_.set_claimed_key(claim_.key);
    record_.set_claimed_mount(claim_.mount.value());
    tables_.put_inode(record_);
    return Next::kDone;
  }

  // The record was claiming another key, and is somewhere else by now.
  Result<void> give_up_previous_claim() {
    const std::string& key = record_.claimed_key();
    if (key.empty() || key == claim_.key || (record_.has_home() && record_.home().key() == key)) return {};
    const MountId mount(record_.claimed_mount());
    TRY_ASSIGN(const auto previous, tables_.find_owner(mount, key));
    if (previous && previous->inode() == id_.value()) tables_.put_whiteout(mount, key, "", id_, true);
    return {};
  }

  bool at_home() const { return record_.has_home() && record_.home().key() == claim_.key; }

  Tables& tables_;
  const PathRules& rules_;
  const int64_t whiteouts_hold_ns_;
  Claim claim_;
  Inode& record_ = claim_.inode;
  InodeId id_{};
  std::optional<format::Owner> owner_;  // of the key
};

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
  // A transaction that finds nothing to be done still takes the inode off the queue.
  TRY_ASSIGN(auto claim, run_operation(kv_, clock_, [&](Tables& tables) {
    return Claiming(tables, *rules, whiteouts_hold_ns).take(inode);
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
