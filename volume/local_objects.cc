#include "volume/local_objects.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/no_wait.h"
#include "volume/file_version.h"
#include "volume/object_conditions.h"
#include "volume/object_facts.h"
#include "volume/object_readers.h"
#include "volume/write_out.h"

namespace weir::volume {
namespace {

// How often a call starts over because others changed what the key leads to.
constexpr int kObjectTries = 16;
// A file that is being written is read at once up to this size.
constexpr uint64_t kSnapshotBytesMax = 1 << 20;

Error moving_target(const ObjectName& name) {
  return Error(ErrorCode::kConflict, "'" + name.key + "' changes faster than it can be written");
}

Error no_object(const ObjectName& name) { return Error(ErrorCode::kNotFound, "no object '" + name.key + "'"); }

Result<void> check_key(std::string_view key) {
  if (!key.empty() && key.size() <= kObjectKeyBytesMax && !key.contains('\0')) return {};
  return fail(ErrorCode::kInvalid, "a key has 1 to " + std::to_string(kObjectKeyBytesMax) + " bytes, and no NUL");
}

// Whether two looks at one inode saw the same content with the same facts.
bool same_object(const meta::Inode& a, const meta::Inode& b) {
  return a.generation() == b.generation() && a.content_version() == b.content_version() &&
         a.attributes_version() == b.attributes_version() && a.attributes_unknown() == b.attributes_unknown() &&
         a.home().etag() == b.home().etag();
}

}  // namespace

NewFile::NewFile(LocalObjects& objects, std::shared_ptr<pages::LocalFile> local)
    : objects_(&objects), local_(std::move(local)) {
  const std::lock_guard lock(objects.mutex_);
  objects.being_filled_.insert(local_->id());
}

NewFile::~NewFile() {
  if (!local_) return;
  if (!given_away_) objects_->parts_.pages.remove(local_->id());
  const std::lock_guard lock(objects_->mutex_);
  objects_->being_filled_.erase(local_->id());
}

class LocalPutWriter final : public PutWriter {
 public:
  LocalPutWriter(LocalObjects& objects, ObjectName name, NewFile file)
      : objects_(objects), name_(std::move(name)), file_(std::move(file)) {}

  Result<void> write(std::span<const std::byte> bytes) override {
    objects_.parts_.foreground.note_content(bytes.size());
    TRY(objects_.parts_.pages.admit(bytes.size(), objects_.options_.admit_slow_max));
    if (small_ && body_.size() + bytes.size() > LoggedBodies::kBodyBytesMax) {
      TRY(write_body());
      body_ = {};
      small_ = false;
    }
    if (small_) {
      body_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    } else {
      TRY(file_->write(size_, bytes));
      write_out_.filled(file_->file(), size_ + bytes.size());
    }
    size_ += bytes.size();
    return {};
  }

  Result<Object> commit(const PutFacts& facts, const ObjectConditions& conditions, ObjectDurability durability) override {
    if (committed_) return fail(ErrorCode::kInvalid, "the object was committed already");
    TRY(objects_.check_wait(name_, durability));
    auto row = small_ && durability == ObjectDurability::kSync ? objects_.parts_.bodies.begin(file_->id(), body_.size()) : std::nullopt;
    if (small_) TRY(write_body());
    auto committed = objects_.commit(name_, {.local = *file_, .made = &file_, .row = row ? &*row : nullptr, .body = body_}, facts,
                                     conditions, durability, {});
    committed_ = !failed_with(committed, ErrorCode::kWouldWait);
    return committed;
  }

 private:
  Result<void> write_body() { return file_->write(0, std::as_bytes(std::span(body_))); }

  LocalObjects& objects_;
  const ObjectName name_;
  NewFile file_;
  bool small_ = true;
  std::string body_;  // all of it, while it is small
  WriteOut write_out_;
  uint64_t size_ = 0;
  bool committed_ = false;
};

// --- finding

Result<void> LocalObjects::refresh_lower(InodeId directory) {
  if (options_.names.sync_interval != Duration::zero()) {
    parts_.lower.refresh_in_background(directory);
    return {};
  }
  TRY(NoWait::check());
  // While it cannot be reached, what is known stands.
  (void)parts_.lower.refresh(directory, ufs_deadline());
  return {};
}

Result<meta::KeyFound> LocalObjects::locate(const ObjectName& name, meta::WithFacts with_facts) {
  TRY(check_key(name.key));
  parts_.foreground.note();
  std::optional<InodeId> refreshed;
  for (size_t tries = 0;; ++tries) {
    TRY_ASSIGN(auto found, objects_.find(name.bucket, name.key, with_facts));
    if (found.ask_lower) {
      TRY(NoWait::check());
      // Each directory on the way may have to be asked once.
      if (tries > name.key.size() + kObjectTries) return fail(moving_target(name));
      TRY(parts_.lower.load_name(found.ask_lower->first, found.ask_lower->second, ufs_deadline()));
      continue;
    }
    if (found.needs_listing) {
      TRY(NoWait::check());
      TRY(parts_.lower.load_directory(*found.needs_listing, ufs_deadline()));
      continue;
    }
    if (!found.refresh_due || refreshed == found.refresh_due) return found;
    TRY(refresh_lower(*found.refresh_due));
    if (options_.names.sync_interval != Duration::zero()) return found;
    refreshed = found.refresh_due;
  }
}

Result<meta::KeyFound> LocalObjects::locate_object(const ObjectName& name) {
  for (int tries = 0; tries < kObjectTries; ++tries) {
    TRY_ASSIGN(auto found, locate(name, meta::WithFacts::kYes));
    const bool object = found.inode && meta::is_object(*found.inode);
    // Whether a directory that a prefix told of is an object, its object must say.
    const bool unknown = found.inode && found.inode->attributes_unknown() && (object || meta::is_directory(*found.inode));
    if (!object && !unknown) return fail(no_object(name));
    if (!unknown) return found;
    TRY(NoWait::check());
    const auto known = parts_.lower.load_attributes(*found.inode, ufs_deadline());
    if (failed_with(known, ErrorCode::kNotFound)) continue;
    TRY(known);
    if (!known->attributes_unknown()) continue;
    if (!object) return fail(ErrorCode::kUnavailable, "the store does not say whether there is an object '" + name.key + "'");
    return found;  // out of reach: what the listing told has to do for now
  }
  return fail(moving_target(name));
}

Object LocalObjects::object_of(const std::string& key, const meta::Inode& inode, const format::ObjectFacts& facts) {
  Object object = volume::object_of(key, inode, facts, volume_id());
  object.state = meta::state_of(inode);
  if (object.state == meta::FileState::kPersisted && parts_.files.changed(object.inode))
    object.state = meta::FileState::kNotPersisted;
  return object;
}

Result<bool> LocalObjects::check_read_of(const meta::Inode& inode, const ObjectConditions& conditions) const {
  if (conditions.empty()) return false;
  return check_read(conditions, {meta::etag_of(inode, volume_id()), meta::object_modified_ns(inode)});
}

meta::ObjectGuard LocalObjects::guard_of(const ObjectConditions& conditions) const {
  return [this, &conditions](const std::optional<meta::Inode>& there) -> Result<void> {
    if (conditions.empty()) return {};
    std::optional<ConditionTarget> target;
    if (there && meta::is_object(*there))
      target = {meta::etag_of(*there, volume_id()), meta::object_modified_ns(*there)};
    const bool taken = there && (target || !meta::is_directory(*there));
    return check_write(conditions, target, taken ? NameTaken::kYes : NameTaken::kNo);
  };
}

Result<Object> LocalObjects::head(const ObjectName& name, const ObjectConditions& conditions, bool* not_modified) {
  TRY_ASSIGN(const auto found, locate_object(name));
  TRY_ASSIGN(*not_modified, check_read_of(*found.inode, conditions));
  return object_of(name.key, *found.inode, found.facts);
}

Result<std::unique_ptr<ObjectReader>> LocalObjects::open(const ObjectName& name, const ObjectConditions& conditions,
                                                         bool* not_modified) {
  for (int tries = 0; tries < kObjectTries; ++tries) {
    TRY_ASSIGN(auto found, locate_object(name));
    TRY(failpoint("objects.located"));
    const InodeId id(found.inode->id());
    if (found.inode->type() != format::REGULAR) {
      TRY_ASSIGN(*not_modified, check_read_of(*found.inode, conditions));
      return std::make_unique<BodyReader>(object_of(name.key, *found.inode, found.facts),
                                          meta::object_body(*found.inode));
    }
    auto version = parts_.files.open_version(id);
    if (failed_with(version, ErrorCode::kNotFound) || failed_with(version, ErrorCode::kStale)) continue;
    if (!version) return fail(std::move(version).error());
    // What was opened is what the key led to at one instant: an inode that changed since may have lost the key before.
    if (!same_object(*found.inode, (*version)->inode())) continue;
    TRY_ASSIGN(*not_modified, check_read_of(*found.inode, conditions));
    Object object = object_of(name.key, *found.inode, found.facts);
    if ((*version)->local_file() != nullptr && ((*version)->was_changed() || parts_.files.open_for_write(id))) {
      TRY_ASSIGN(auto reader, open_written(std::move(object), *std::move(version)));
      if (reader == nullptr) continue;
      return reader;
    }
    return std::make_unique<FileReader>(std::move(object), *std::move(version), objects_);
  }
  return fail(ErrorCode::kBusy, "'" + name.key + "' is written faster than it can be read; try again");
}

Result<std::unique_ptr<ObjectReader>> LocalObjects::open_written(Object object, std::unique_ptr<FileVersion> version) {
  TRY(version->stamp());
  if (parts_.files.changed(object.inode)) {
    // What is shown is what every reader of the file sees at this instant; it gets its own version, and with it its own etag.
    TRY(parts_.files.commit_changes(object.inode));
    return nullptr;
  }
  // What was committed since the version was opened is another one.
  const auto now = parts_.names.load(object.inode);
  if (!now || now->generation() != version->inode().generation() || now->content_version() != version->inode().content_version())
    return nullptr;
  if (object.size > kSnapshotBytesMax || object.parts != 0) return std::make_unique<FileReader>(std::move(object), std::move(version), objects_);
  std::string content(object.size, '\0');
  TRY_ASSIGN(const size_t read, version->read(0, std::as_writable_bytes(std::span(content))));
  if (read != content.size() || !version->verify()) return nullptr;
  return std::make_unique<BodyReader>(std::move(object), std::move(content));
}

// --- putting

Result<NewFile> LocalObjects::make_local_file() {
  TRY_ASSIGN(const LocalFileId id, parts_.names.new_local_file_id());
  auto local = parts_.pages.create(id);
  for (int tries = 0; failed_with(local, ErrorCode::kNoSpace) && tries < 2; ++tries) {
    // Room may come at any moment; the wait is admit()'s.
    (void)parts_.pages.admit(1, options_.admit_slow_max);
    local = parts_.pages.create(id);
  }
  TRY(local);
  return NewFile(*this, *std::move(local));
}

bool LocalObjects::is_being_filled(LocalFileId local_file) const {
  const std::lock_guard lock(mutex_);
  return being_filled_.contains(local_file);
}

Result<void> LocalObjects::check_wait(const ObjectName& name, ObjectDurability durability) const {
  if (!NoWait::active()) return {};
  const bool waits = durability == ObjectDurability::kPersist ||
                     meta::persists_first(parts_.names.rules()->policy("/" + name.bucket + "/" + name.key));
  return waits ? Result<void>(fail(ErrorCode::kWouldWait)) : Result<void>();
}

Result<std::unique_ptr<PutWriter>> LocalObjects::put(const ObjectName& name) {
  // Asks the store now whatever the commit will want to know.
  TRY(locate(name, meta::WithFacts::kNo));
  TRY_ASSIGN(auto file, make_local_file());
  return std::make_unique<LocalPutWriter>(*this, name, std::move(file));
}

Result<Object> LocalObjects::commit(const ObjectName& name, const Filled& filled, const PutFacts& facts,
                                    const ObjectConditions& conditions, ObjectDurability durability,
                                    std::optional<meta::ObjectPut::Upload> upload) {
  TRY(failpoint("objects.filled"));
  pages::LocalFile& local = filled.local;
  if (durability == ObjectDurability::kSync && filled.row == nullptr) TRY(local.sync());
  TRY_ASSIGN(const io::FileStat stat, local.file().stat());
  parts_.pages.account(local.id());
  TRY(failpoint("objects.synced"));
  meta::ObjectPut put = put_of(facts, durability);
  put.local_file = local.id();
  put.size = stat.size_bytes;
  put.content_ctime_ns = stat.ctime_ns;
  put.allocated_bytes = stat.allocated_bytes;
  put.synced = durability == ObjectDurability::kSync;
  put.upload = std::move(upload);
  if (filled.row != nullptr) put.logged_body = filled.body;
  if (put.upload) put.facts.set_upload_id(put.upload->id);
  return commit_put(name, put, &filled, conditions, durability);
}

meta::ObjectPut LocalObjects::put_of(const PutFacts& facts, ObjectDurability durability) const {
  meta::ObjectPut put = defaults();
  put.etag = facts.etag;
  put.facts = to_record(facts.headers, facts.tags, facts.checksum);
  put.attributes = attributes_of(facts.headers);
  if (durability == ObjectDurability::kPersist) put.urgency = meta::Urgency::kUrgent;
  return put;
}

Result<Object> LocalObjects::commit_put(const ObjectName& name, const meta::ObjectPut& put, const Filled* filled,
                                        const ObjectConditions& conditions, ObjectDurability durability) {
  const auto committed = commit_once(name, put, guard_of(conditions), durability_of(durability));
  // From here on the metadata knows of the file, or may: then the next start finds out.
  const bool known = committed ? committed->takes_local_file : committed.error() == ErrorCode::kMayHaveHappened;
  if (filled != nullptr && known) {
    if (filled->made != nullptr) filled->made->give_away();
    if (filled->row != nullptr) filled->row->committed();
  }
  TRY(committed);
  if (committed->inode.shadow()) shadows_found();
  TRY(failpoint("objects.committed"));
  announce(committed->changed, InodeId(committed->inode.id()));
  const bool waits = durability == ObjectDurability::kPersist || meta::persists_first(committed->policy);
  parts_.persister.wake_for_files(waits ? meta::Urgency::kUrgent : meta::Urgency::kOrdinary);
  if (waits && committed->policy != meta::WritePolicy::kTransient) {
    TRY(parts_.persister.wait_persisted(InodeId(committed->inode.id()), Generation(committed->inode.generation()),
                                        ufs_deadline()));
  }
  return object_of(name.key, committed->inode, put.facts);
}

Result<meta::Incumbent> LocalObjects::begin_removal(const meta::KeyFound& found,
                                                    std::optional<OpenFiles::Removal>& removal) {
  meta::Incumbent incumbent;
  if (!found.inode) return incumbent;
  incumbent.inode = InodeId(found.inode->id());
  if (meta::is_directory(*found.inode)) return incumbent;
  TRY_ASSIGN(removal, parts_.files.begin_removal(*incumbent.inode));
  incumbent.in_use = removal->in_use();
  return incumbent;
}

Result<meta::ObjectCommitted> LocalObjects::commit_once(const ObjectName& name, const meta::ObjectPut& put,
                                                        const meta::ObjectGuard& guard, kv::Durability durability) {
  for (int tries = 0; tries < kObjectTries; ++tries) {
    TRY_ASSIGN(const auto found, locate(name, meta::WithFacts::kNo));
    std::optional<OpenFiles::Removal> removal;
    TRY_ASSIGN(const meta::Incumbent incumbent, begin_removal(found, removal));
    auto committed = objects_.put(name.bucket, name.key, put, incumbent, guard, durability);
    if (failed_with(committed, ErrorCode::kStale)) continue;
    if (failed_with(committed, ErrorCode::kMayHaveHappened)) {
      // It did if the name leads to the file.
      const auto now = objects_.find(name.bucket, name.key, meta::WithFacts::kNo);
      const bool leads_here = now && now->inode &&
                              (put.parked ? InodeId(now->inode->id()) == put.parked->inode
                                          : LocalFileId(now->inode->local_file()) == put.local_file);
      if (!leads_here) return committed;
      if (durability == kv::Durability::kSynced) TRY(parts_.names.kv().sync());
      TRY_ASSIGN(const auto policy, parts_.names.policy(*now->inode));
      committed = meta::ObjectCommitted{.inode = *now->inode, .policy = policy, .changed = {{now->directory, now->name}}};
    }
    TRY(committed);
    if (removal && committed->replaced) parts_.files.finish_removal(*std::move(removal), *committed->replaced);
    return committed;
  }
  return fail(moving_target(name));
}

meta::ObjectPut LocalObjects::defaults() const {
  return {.caller = {.uid = options_.objects.uid, .gid = options_.objects.gid},
          .file_permissions = options_.objects.file_permissions,
          .directory_permissions = options_.objects.directory_permissions};
}

Result<void> LocalObjects::start() {
  TRY_ASSIGN(const bool any, objects_.has_shadows());
  if (!any) return {};
  shadows_found();
  TRY_ASSIGN(const auto known, buckets());
  for (const Bucket& bucket : known) promote_below(bucket.name, "");
  return {};
}

bool LocalObjects::fill_room(const meta::ChangedNames& changed) {
  bool promoted = false;
  for (const auto& [directory, name] : changed) {
    const auto path = parts_.names.path_of(directory);
    if (!path || *path == "/") continue;
    const size_t slash = path->find('/', 1);
    const std::string bucket = path->substr(1, slash == std::string::npos ? slash : slash - 1);
    const std::string key = (slash == std::string::npos ? "" : path->substr(slash + 1) + '/') + name;
    promoted |= promote(bucket, key);
    promoted |= promote_below(bucket, key + '/');
  }
  return promoted;
}

bool LocalObjects::promote_below(std::string_view bucket, const std::string& prefix) {
  bool promoted = false;
  std::string from = prefix;
  for (bool more = true; more;) {
    const auto page = objects_.shadows(bucket, from);
    if (!page) {
      log_warn("objects.shadow_unreadable", {{"bucket", bucket}, {"error", page.error()}});
      return promoted;
    }
    more = page->more;
    for (const std::string& key : page->keys) {
      if (!key.starts_with(prefix)) return promoted;
      promoted |= promote(bucket, key);
      from = key + '\0';
    }
  }
  return promoted;
}

bool LocalObjects::promote(std::string_view bucket, std::string_view key) {
  const auto changed = objects_.promote(bucket, key, defaults());
  if (!changed) {
    log_warn("objects.promotion_failed", {{"bucket", bucket}, {"key", key}, {"error", changed.error()}});
    return false;
  }
  announce(*changed);
  return !changed->empty();
}

void LocalObjects::announce(const meta::ChangedNames& changed, std::optional<InodeId> named) {
  CacheListener* const listener = parts_.listener.load();
  if (listener == nullptr) return;
  for (const auto& [directory, name] : changed) listener->entry_changed(directory, name);
  if (!named) return;
  // The kernel renames what it remembers. One that came before the notice gave the new name what the change had replaced; it
  // had ended when the notice was through.
  meta::ChangedNames told = changed;
  for (int tries = 0; tries < kObjectTries; ++tries) {
    const auto now = parts_.names.load_record(*named);
    if (!now || now->links() == 0 || now->shadow()) return;
    std::pair place{InodeId(now->parent()), now->name()};
    if (std::ranges::find(told, place) != told.end()) return;
    listener->entry_changed(place.first, place.second);
    told.assign(1, std::move(place));
  }
}

// --- erasing

Result<void> LocalObjects::erase_object(const ObjectName& name, const ObjectConditions& conditions,
                                        kv::Durability durability) {
  for (int tries = 0; tries < kObjectTries; ++tries) {
    TRY_ASSIGN(const auto found, locate(name, meta::WithFacts::kNo));
    std::optional<OpenFiles::Removal> removal;
    TRY_ASSIGN(const meta::Incumbent incumbent, begin_removal(found, removal));
    const auto erased = objects_.erase(name.bucket, name.key, incumbent, guard_of(conditions), durability);
    if (failed_with(erased, ErrorCode::kStale)) continue;
    // Erasing again what is gone is success.
    if (failed_with(erased, ErrorCode::kMayHaveHappened) && conditions.empty()) continue;
    TRY(erased);
    if (removal && erased->unlinked) {
      parts_.files.finish_removal(*std::move(removal), *erased->unlinked);
    } else if (erased->erases_object) {
      parts_.persister.wake_for_erasures();
    }
    removal.reset();
    announce(erased->changed);
    make_room(erased->changed);
    return {};
  }
  return fail(moving_target(name));
}

Result<void> LocalObjects::erase(const ObjectName& name, const ObjectConditions& conditions,
                                 ObjectDurability durability) {
  return erase_object(name, conditions, durability_of(durability));
}

std::vector<Result<void>> LocalObjects::erase(std::string_view bucket, std::span<const std::string> keys,
                                              ObjectDurability durability) {
  std::vector<Result<void>> results;
  results.reserve(keys.size());
  if (keys.size() > kObjectsErasedMax) {
    results.assign(keys.size(), fail(ErrorCode::kInvalid, "at most 1,000 objects are erased by one call"));
    return results;
  }
  for (const std::string& key : keys)
    results.push_back(erase_object({std::string(bucket), key}, {}, kv::Durability::kWritten));
  if (durability == ObjectDurability::kWrite) return results;
  if (const auto synced = parts_.names.kv().sync(); !synced) {
    for (auto& result : results) {
      if (result) result = synced;
    }
  }
  return results;
}

// --- renaming

Result<void> LocalObjects::rename(const ObjectName& source, std::string_view target_key, const ObjectConditions& source_conditions,
                                  const ObjectConditions& target_conditions) {
  const ObjectName target{source.bucket, std::string(target_key)};
  TRY(check_key(target_key));
  TRY(check_wait(target, ObjectDurability::kSync));
  for (int tries = 0; tries < kObjectTries; ++tries) {
    TRY_ASSIGN(const auto from, locate_object(source));
    TRY_ASSIGN(const auto found, locate(target, meta::WithFacts::kNo));
    std::optional<OpenFiles::Removal> removal;
    TRY_ASSIGN(const meta::Incumbent incumbent, begin_removal(found, removal));
    auto renamed = objects_.rename(source.bucket, source.key, target_key, incumbent,
                                   {.source = guard_of(source_conditions), .target = guard_of(target_conditions)}, defaults(),
                                   kv::Durability::kSynced);
    if (failed_with(renamed, ErrorCode::kStale)) continue;
    if (failed_with(renamed, ErrorCode::kMayHaveHappened)) {
      // It did if the new key leads to the file and the old one does not.
      const InodeId moved(from.inode->id());
      const auto now = objects_.find(target.bucket, target.key, meta::WithFacts::kNo);
      const auto before = objects_.find(source.bucket, source.key, meta::WithFacts::kNo);
      const auto leads = [&](const auto& key) { return key && key->inode && InodeId(key->inode->id()) == moved; };
      if (!leads(now) || !before || leads(before)) return fail(std::move(renamed).error());
      TRY(parts_.names.kv().sync());
      renamed = meta::ObjectRenamed{.moved = moved,
                                    .generation = Generation(now->inode->generation()),
                                    .in_shadow = now->inode->shadow(),
                                    .changed = {{now->directory, now->name}, {from.directory, from.name}}};
    }
    TRY(renamed);
    TRY(failpoint("objects.renamed"));
    if (removal && renamed->replaced) parts_.files.finish_removal(*std::move(removal), *renamed->replaced);
    removal.reset();
    if (renamed->in_shadow) shadows_found();
    announce(renamed->changed, renamed->moved);
    make_room(renamed->changed);
    parts_.persister.wake_for_files(renamed->policy_needs_persist ? meta::Urgency::kUrgent : meta::Urgency::kOrdinary);
    // What is written and not committed yet is persisted by its close.
    if (!renamed->policy_needs_persist || parts_.files.changed(renamed->moved)) return {};
    return parts_.persister.wait_persisted(renamed->moved, renamed->generation, ufs_deadline());
  }
  return fail(moving_target(target));
}

// --- listing

Result<ObjectListing> LocalObjects::list(const ListObjects& query) {
  parts_.foreground.note();
  ObjectListing listing;
  const bool always_fresh = options_.names.sync_interval == Duration::zero();
  meta::ObjectQuery wanted{.bucket = query.bucket,
                           .prefix = query.prefix,
                           .delimiter = query.delimiter,
                           .after = query.after,
                           .entries_max = query.entries_max,
                           .listed_since_ns = always_fresh ? unix_ns(parts_.names.clock().wall_now()) : 0};
  std::string after = query.after;
  for (;;) {
    wanted.after = after;
    TRY_ASSIGN(auto page, objects_.list(wanted));
    for (auto& entry : page.entries) {
      if (entry.common_prefix) {
        listing.common_prefixes.push_back(std::move(entry.key));
        continue;
      }
      listing.objects.push_back(
          {.key = std::move(entry.key),
           .size = entry.size,
           .etag = std::move(entry.etag),
           .modified_ns = entry.modified_ns,
           .storage_class = std::move(entry.storage_class),
           .checksum_algorithm = algorithm_of(entry.checksum_algorithm),
           .checksum_type = entry.checksum_composite ? ChecksumType::kComposite : ChecksumType::kFullObject});
    }
    if (!always_fresh) {
      for (const InodeId directory : page.refresh_due) parts_.lower.refresh_in_background(directory);
    }
    wanted.entries_max -= page.entries.size();
    after = std::move(page.next);
    listing.more = page.more;
    if (!page.needs_listing || wanted.entries_max == 0) break;
    TRY(NoWait::check());
    auto listed = parts_.lower.load_directory(*page.needs_listing, ufs_deadline());
    if (listed && always_fresh) {
      // What was listed at all stands while the store cannot be reached.
      if (!parts_.lower.refresh(*page.needs_listing, ufs_deadline())) wanted.listed_since_ns = 0;
    }
    if (!listed && listed.error() != ErrorCode::kNotFound && listed.error() != ErrorCode::kStale) return fail(listed.error());
  }
  if (listing.more) listing.next = std::move(after);
  return listing;
}

// --- tags

Result<ObjectTags> LocalObjects::tags(const ObjectName& name) {
  TRY_ASSIGN(const auto found, locate_object(name));
  return tags_of(found.facts);
}

Result<void> LocalObjects::set_tags(const ObjectName& name, const ObjectTags& tags) {
  if (tags.size() > kObjectTagsMax) return fail(ErrorCode::kInvalid, "an object has at most 10 tags");
  TRY(locate_object(name));
  TRY(objects_.change(
      name.bucket, name.key,
      [&](meta::Inode&, format::ObjectFacts& facts) -> Result<void> {
        volume::set_tags(facts, tags);
        return {};
      },
      kv::Durability::kSynced));
  parts_.persister.wake_for_files(meta::Urgency::kOrdinary);
  return {};
}

}  // namespace weir::volume
