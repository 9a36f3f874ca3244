#include "meta/object_namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

constexpr size_t kShadowRows = 200;
constexpr size_t kConflictEtagBytes = 8;

// The last name of the key, kept beside what took its place.
std::string kept_name(std::string_view name, std::string_view etag) {
  std::string suffix = ".conflict-";
  for (const char c : etag.substr(0, kConflictEtagBytes)) suffix += std::isalnum(static_cast<unsigned char>(c)) ? c : '_';
  return std::string(name.substr(0, kNameBytesMax - suffix.size())) + suffix;
}

}  // namespace

Result<std::optional<Inode>> ObjectTables::find_shadow(MountId mount, std::string_view key, kv::Isolation isolation) {
  TRY_ASSIGN(const auto value, tables_.txn().get(format::shadow_key(mount, key), isolation));
  if (!value) return std::optional<Inode>{};
  TRY_ASSIGN(const auto row, format::decode<format::Shadow>(*value));
  TRY_ASSIGN(auto inode, tables_.find_inode(InodeId(row.inode()), isolation));
  if (!inode) return fail(ErrorCode::kCorrupt, "the shadow '" + std::string(key) + "' leads to no inode");
  return inode;
}

void ObjectTables::put_shadow(const Inode& bucket, std::string_view key, Inode& inode) {
  inode.set_parent(bucket.id());
  inode.set_name(std::string(key));
  inode.set_shadow(true);
  format::Shadow row;
  row.set_inode(inode.id());
  tables_.txn().put(format::shadow_key(MountId(bucket.lower().mount()), key), format::encode(row));
}

Inode ObjectTables::make_shadow(const Inode& bucket, std::string_view key, InodeId id, const ObjectPut& put) {
  Inode inode = tables_.make_unnamed_inode(id, format::REGULAR, put.file_permissions, put.caller.uid, put.caller.gid);
  inode.set_links(1);
  put_shadow(bucket, key, inode);
  return inode;
}

Result<Unlinked> ObjectTables::remove_shadow(MountId mount, Inode inode, InUse in_use) {
  tables_.txn().erase(format::shadow_key(mount, inode.name()));
  return tables_.end_inode(std::move(inode), in_use == InUse::kYes);
}

Result<ObjectTables::Resolved> ObjectTables::resolve(const Inode& bucket, std::string_view key) {
  Resolved resolved;
  const MountId mount(bucket.lower().mount());
  auto path = KeyPath::parse(key);
  if (failed_with(path, ErrorCode::kInvalid)) {
    resolved.blocked = true;
    // What the listing of the innermost directory has found out would be here.
    TRY_ASSIGN(resolved.place, walk_showable(bucket, key));
  } else {
    TRY(path);
    resolved.path = *std::move(path);
    TRY_ASSIGN(resolved.place, walk(bucket, *resolved.path));
    const Place& place = resolved.place;
    const bool same_kind = place.dentry && place.whole() &&
                           (place.dentry->type == format::DIRECTORY) == resolved.path->directory;
    resolved.blocked = place.dentry && !same_kind;
    if (same_kind && !resolved.path->directory) {
      TRY_ASSIGN(resolved.inode, tables_.find_inode(place.dentry->inode));
      if (!resolved.inode) return fail(ErrorCode::kCorrupt, "'" + std::string(key) + "' leads to no inode");
      return resolved;
    }
  }
  TRY_ASSIGN(resolved.inode, find_shadow(mount, key));
  resolved.in_shadow = resolved.inode.has_value();
  if (!resolved.in_shadow && !resolved.blocked && resolved.place.dentry) {
    TRY_ASSIGN(resolved.inode, tables_.find_inode(resolved.place.dentry->inode));
  }
  return resolved;
}

Result<ObjectTables::Place> ObjectTables::walk_showable(const Inode& bucket, std::string_view key) {
  Place place{.directory = InodeId(bucket.id()), .names = SIZE_MAX};
  for (; !key.empty(); ++place.depth) {
    const size_t slash = key.find('/');
    const std::string_view name = key.substr(0, slash);
    if (slash == std::string_view::npos || !check_name(name)) break;
    TRY_ASSIGN(const auto value, tables_.txn().get(format::dentry_key(place.directory, name, format::DentryKind::kDirectory)));
    if (!value) break;
    TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(*value));
    place.directory = InodeId(dentry.inode());
    key.remove_prefix(slash + 1);
  }
  return place;
}

Result<ObjectNamespace::ShadowPage> ObjectNamespace::shadows(std::string_view bucket, std::string_view from) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<ShadowPage> {
    TRY_ASSIGN(const Inode top, ObjectTables(tables).load_bucket(bucket));
    const MountId mount(top.lower().mount());
    ShadowPage found;
    TRY_ASSIGN(const auto page,
               tables.txn().get_range(format::shadow_key(mount, from), format::shadow_range(mount).end,
                                      {.rows_max = kShadowRows, .isolation = kv::Isolation::kSnapshot}));
    for (const auto& row : page.rows) found.keys.emplace_back(format::shadow_object_key(row.key));
    found.more = page.more;
    return found;
  });
}

Result<bool> ObjectNamespace::has_shadows() {
  return kv::read_txn(names_.kv(), [&](kv::Txn& txn) -> Result<bool> {
    const auto range = format::shadow_range();
    TRY_ASSIGN(const auto page, txn.get_range(range.begin, range.end, {.rows_max = 1, .isolation = kv::Isolation::kSnapshot}));
    return !page.rows.empty();
  });
}

Result<ChangedNames> ObjectNamespace::promote(std::string_view bucket, std::string_view key,
                                                const ObjectPut& defaults) {
  const auto next_id = [this] { return names_.new_inode_id(); };
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<ChangedNames> {
    ObjectTables objects(tables);
    ChangedNames changed;
    TRY_ASSIGN(const Inode top, objects.load_bucket(bucket));
    const MountId mount(top.lower().mount());
    auto path = KeyPath::parse(key);
    if (!path || path->directory) return changed;
    TRY_ASSIGN(auto found, objects.find_shadow(mount, key));
    if (!found) return changed;
    TRY_ASSIGN(auto place, objects.walk(top, *path));
    std::string name = path->names.back();
    const bool taken = place.dentry && place.whole() && place.dentry->type != format::DIRECTORY;
    if (place.dentry && !taken) return changed;  // still in its way
    if (!place.dentry) {
      // What nobody has listed may have the name.
      TRY_ASSIGN(const Inode innermost, tables.load_inode(place.directory));
      if (innermost.has_lower() && innermost.lower().listed_ns() == 0) return changed;
    }
    if (taken) {
      // Two would have one key: the object that was put is kept beside the file that took its name.
      name = kept_name(name, etag_of(*found, names_.volume_id()));
      TRY_ASSIGN(const auto kept, tables.find_dentry(place.directory, name));
      if (kept) return changed;
    }
    TRY_ASSIGN(const Inode parent, objects.make_parents(*path, place, defaults, next_id, changed));
    Inode& inode = *found;
    tables.txn().erase(format::shadow_key(mount, key));
    inode.set_shadow(false);
    inode.set_parent(parent.id());
    inode.set_name(name);
    tables.put_dentry(InodeId(parent.id()), name, {InodeId(inode.id()), inode.type()});
    tables.count_entry(InodeId(parent.id()), inode, 1);
    tables.touch_directory(InodeId(parent.id()), tables.now_ns());
    tables.put_inode(inode);
    if (taken) {
      TRY_ASSIGN(const WritePolicy policy, tables.policy_of(inode, *names_.rules()));
      tables.requeue(inode, policy, format::ORDINARY);
      tables.put_inode(inode);
    }
    changed.emplace_back(InodeId(parent.id()), std::move(name));
    return changed;
  });
}

Result<Namespace::LowerChanges> Namespace::merge_hidden(MountId mount, int64_t listed_from_ns,
                                                        const std::vector<HiddenObject>& objects) {
  const auto next_id = [this] { return new_inode_id(); };
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LowerChanges> {
    LowerChanges changes;
    ObjectTables object_tables(tables);
    TRY_ASSIGN(const auto value, tables.txn().get(format::mount_key(mount)));
    if (!value) return changes;
    TRY_ASSIGN(const auto record, format::decode<format::Mount>(*value));
    TRY_ASSIGN(const Inode top, tables.load_inode(InodeId(record.directory())));
    const auto set_home = [&](Inode& inode, const HiddenObject& object) {
      auto& home = *inode.mutable_home();
      home.set_mount(mount.value());
      home.set_key(object.key);
      home.set_etag(object.etag);
      home.set_size(object.size);
      home.set_since_ns(tables.now_ns());
      tables.set_size(inode, object.size);
      inode.set_persisted_generation(inode.generation());
      inode.set_persisted_attributes_version(inode.attributes_version());
      inode.set_attributes_unknown(true);
      inode.set_mtime_ns(object.mtime_ns);
    };
    for (const HiddenObject& object : objects) {
      TRY_ASSIGN(auto shadow, object_tables.find_shadow(mount, object.key));
      if (shadow) {
        const bool clean = fully_persisted(*shadow) && shadow->claimed_key().empty();
        if (!clean || shadow->home().etag() == object.etag || shadow->home().since_ns() >= listed_from_ns) continue;
        changes.content_changed.emplace_back(shadow->id());
        if (shadow->local_file() != 0) changes.stale_local_files.emplace_back(shadow->local_file());
        shadow->set_local_file(0);
        shadow->set_generation(shadow->generation() + 1);
        object_tables.content_found(*shadow);
        set_home(*shadow, object);
        tables.put_inode(*shadow);
        continue;
      }
      // Another inode's object, or one to be erased.
      TRY_ASSIGN(const auto owner, tables.find_owner(mount, object.key));
      if (owner || recent_erasures_.erased_since(mount, object.key, listed_from_ns)) continue;
      TRY_ASSIGN(const InodeId id, next_id());
      Inode inode = object_tables.make_shadow(top, object.key, id,
                                              {.caller = {.uid = top.uid(), .gid = top.gid()}});
      set_home(inode, object);
      tables.put_owner(mount, object.key, id);
      tables.put_inode(inode);
      changes.shadows_found = true;
    }
    return changes;
  });
}

Result<Namespace::LowerChanges> Namespace::drop_hidden(InodeId inode, std::string_view etag) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LowerChanges> {
    LowerChanges changes;
    TRY_ASSIGN(auto record, tables.find_inode(inode));
    if (!record || !record->shadow() || !fully_persisted(*record) || record->home().etag() != etag ||
        !record->claimed_key().empty())
      return changes;
    const MountId mount(record->home().mount());
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, record->home().key()));
    if (owner && owner->inode() == record->id()) tables.erase_owner(mount, record->home().key(), owner);
    record->clear_home();
    TRY_ASSIGN(const auto unlinked, ObjectTables(tables).remove_shadow(mount, *std::move(record), InUse::kNo));
    changes.content_changed.push_back(inode);
    if (unlinked.local_file != LocalFileId(0)) changes.stale_local_files.push_back(unlinked.local_file);
    return changes;
  });
}

}  // namespace weir::meta
