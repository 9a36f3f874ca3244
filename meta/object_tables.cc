#include "meta/object_tables.h"

#include <algorithm>

namespace weir::meta {
namespace {

constexpr size_t kPartsOfRow = 400;

Result<std::optional<Tables::DentryRef>> find_child(Tables& tables, InodeId directory, std::string_view name,
                                                    format::DentryKind kind) {
  TRY_ASSIGN(const auto value, tables.txn().get(format::dentry_key(directory, name, kind)));
  if (!value) return std::optional<Tables::DentryRef>{};
  TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(*value));
  return std::optional(Tables::DentryRef{InodeId(dentry.inode()), dentry.type()});
}

}  // namespace

Result<KeyPath> KeyPath::parse(std::string_view key) {
  KeyPath path;
  for (std::string_view rest = key;;) {
    const size_t slash = rest.find('/');
    const std::string_view name = rest.substr(0, slash);
    if (!check_name(name)) return fail(ErrorCode::kInvalid, "no path can show the key '" + std::string(key) + "'");
    path.names.emplace_back(name);
    if (slash == std::string_view::npos) break;
    rest.remove_prefix(slash + 1);
    if (rest.empty()) {
      path.directory = true;
      break;
    }
  }
  if (is_reserved_name(path.names.front()))
    return fail(ErrorCode::kPermission, "'" + path.names.front() + "' is kept for objects of the volume's own");
  return path;
}

Result<Inode> ObjectTables::load_bucket(std::string_view bucket) {
  std::optional<Tables::DentryRef> dentry;
  if (check_name(bucket)) {
    TRY_ASSIGN(dentry, find_child(tables_, kRootInode, bucket, format::DentryKind::kDirectory));
  }
  if (!dentry) return fail(ErrorCode::kNotFound, "no such bucket: '" + std::string(bucket) + "'");
  return tables_.load_inode(dentry->inode);
}

Result<ObjectTables::Place> ObjectTables::walk(const Inode& bucket, const KeyPath& path) {
  using format::DentryKind;
  Place place{.directory = InodeId(bucket.id()), .names = path.names.size()};
  for (;; ++place.depth) {
    const std::string& name = path.names[place.depth];
    const bool leaf_first = place.whole() && !path.directory;
    TRY_ASSIGN(place.dentry, find_child(tables_, place.directory, name, leaf_first ? DentryKind::kLeaf : DentryKind::kDirectory));
    if (!place.dentry) {
      TRY_ASSIGN(place.dentry, find_child(tables_, place.directory, name, leaf_first ? DentryKind::kDirectory : DentryKind::kLeaf));
    }
    if (!place.dentry || place.whole() || place.dentry->type != format::DIRECTORY) return place;
    place.directory = place.dentry->inode;
  }
}

Result<Inode> ObjectTables::make_parents(const KeyPath& path, Place& place, const ObjectPut& put, const NextId& next_id,
                                         ChangedNames& changed) {
  TRY_ASSIGN(Inode parent, tables_.load_parent(place.directory));
  for (; !place.whole(); ++place.depth) {
    const std::string& name = path.names[place.depth];
    TRY_ASSIGN(const InodeId id, next_id());
    TRY_ASSIGN(Inode directory, make_directory(parent, name, put, id));
    changed.emplace_back(place.directory, name);
    place.directory = id;
    place.dentry.reset();
    parent = std::move(directory);
  }
  return parent;
}

Result<Inode> ObjectTables::make_directory(const Inode& parent, std::string_view name, const ObjectPut& put, InodeId id) {
  TRY(Tables::check_free_name(parent, name));
  const uint32_t set_group = parent.permissions() & 02000;
  Inode directory =
      tables_.make_inode(id, format::DIRECTORY, InodeId(parent.id()), name, put.directory_permissions | set_group,
                         put.caller.uid, group_of_child(parent, put.caller));
  TRY(tables_.inherit_acl(parent, put.caller, directory));
  TRY(tables_.attach_lower(directory, parent, tables_.now_ns()));
  directory.set_persisted_attributes_version(directory.attributes_version());
  if (directory.xattr_bytes() != 0) tables_.attributes_changed(directory);
  tables_.put_inode(directory);
  return directory;
}

Result<bool> ObjectTables::erase_marker(Inode& directory) {
  TRY_ASSIGN(const bool released, tables_.release_keys(directory));
  TRY(tables_.release_sidecars(directory));
  tables_.dequeue(directory);
  tables_.set_transient(directory, false);
  directory.clear_home();
  directory.clear_sidecar();
  directory.clear_claimed_key();
  directory.clear_claimed_mount();
  directory.clear_claimed_sidecar();
  directory.clear_marker_mtime_ns();
  directory.set_attributes_unknown(false);
  directory.set_persisted_attributes_version(directory.attributes_version());
  put_facts(directory, {});
  directory.clear_object();
  tables_.put_inode(directory);
  return released;
}

Result<void> ObjectTables::prune(InodeId id, ChangedNames& changed) {
  for (;;) {
    TRY_ASSIGN(const Inode directory, tables_.load_inode(id));
    const InodeId parent(directory.parent());
    if (id == kRootInode || parent == kRootInode || directory.links() == 0 || has_marker(directory)) return {};
    // What nobody has listed yet may hold something.
    if (directory.has_lower() && directory.lower().listed_ns() == 0) return {};
    TRY_ASSIGN(const bool empty, tables_.directory_empty(id));
    if (!empty) return {};
    TRY(tables_.remove_entry(parent, directory.name(), {id, format::DIRECTORY}, false));
    tables_.touch_directory(parent, tables_.now_ns());
    changed.emplace_back(parent, directory.name());
    id = parent;
  }
}

Result<format::ObjectFacts> ObjectTables::facts(const Inode& inode) {
  if (!inode.object().has_facts()) return format::ObjectFacts();
  TRY_ASSIGN(const auto value, tables_.txn().get(format::object_facts_key(InodeId(inode.id()))));
  if (!value) return fail(ErrorCode::kCorrupt, "the facts of inode " + std::to_string(inode.id()) + " are missing");
  return format::decode<format::ObjectFacts>(*value);
}

void ObjectTables::put_facts(Inode& inode, const format::ObjectFacts& facts) {
  const std::string key = format::object_facts_key(InodeId(inode.id()));
  const bool any = facts.ByteSizeLong() != 0;
  if (any) {
    tables_.txn().put(key, format::encode(facts));
  } else if (inode.object().has_facts()) {
    tables_.txn().erase(key);
  }
  if (!any && !inode.has_object()) return;
  format::ObjectSummary& summary = *inode.mutable_object();
  summary.set_has_facts(any);
  summary.set_facts_known(true);
  summary.set_tags(static_cast<uint32_t>(facts.tags_size()));
  summary.set_checksum_algorithm(facts.checksum_algorithm());
  summary.set_checksum_composite(facts.checksum_composite());
  summary.set_storage_class(facts.storage_class());
}

void ObjectTables::put_parts(Inode& inode, const std::vector<format::ObjectPart>& parts) {
  const InodeId id(inode.id());
  for (size_t begin = 0; begin < parts.size(); begin += kPartsOfRow) {
    format::ObjectParts row;
    for (size_t i = begin; i < std::min(begin + kPartsOfRow, parts.size()); ++i) *row.add_parts() = parts[i];
    tables_.txn().put(format::object_parts_key(id, parts[begin].number()), format::encode(row));
  }
  format::ObjectSummary& summary = *inode.mutable_object();
  summary.set_parts(static_cast<uint32_t>(parts.size()));
  summary.clear_part_bytes();
  if (parts.empty()) return;
  const uint64_t part_bytes = parts.front().size();
  for (size_t i = 0; i < parts.size(); ++i) {
    const bool last = i + 1 == parts.size();
    if (parts[i].number() != i + 1 || parts[i].size() > part_bytes || (!last && parts[i].size() < part_bytes)) return;
  }
  summary.set_part_bytes(part_bytes);
}

Result<format::ObjectUpload> ObjectTables::load_upload(MountId mount, std::string_view key, std::string_view upload_id) {
  std::optional<std::string> value;
  if (!upload_id.empty() && !upload_id.contains('\0')) {
    TRY_ASSIGN(value, tables_.txn().get(format::object_upload_key(mount, key, upload_id)));
  }
  if (!value) return fail(ErrorCode::kNotFound, std::string(kNoUpload) + " of '" + std::string(key) + "'");
  return format::decode<format::ObjectUpload>(*value);
}

Result<std::vector<LocalFileId>> ObjectTables::erase_upload(MountId mount, std::string_view key, std::string_view upload_id,
                                                            const format::ObjectUpload& upload) {
  std::vector<LocalFileId> local_files;
  if (upload.assembly_file() != 0) local_files.emplace_back(upload.assembly_file());
  auto range = format::object_upload_part_range(upload.id());
  const std::string begin = range.begin;
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, tables_.txn().get_range(range.begin, range.end));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto part, format::decode<format::ObjectPart>(row.value));
      if (part.local_file() != 0) local_files.emplace_back(part.local_file());
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  tables_.txn().erase_range(begin, range.end);
  tables_.txn().erase(format::object_upload_key(mount, key, upload_id));
  return local_files;
}

Result<void> ObjectTables::content_written(Inode& inode) {
  if (!inode.has_object()) return {};
  format::ObjectSummary& summary = *inode.mutable_object();
  summary.clear_etag();
  if (summary.parts() != 0) {
    const auto range = format::object_parts_range(InodeId(inode.id()));
    tables_.txn().erase_range(range.begin, range.end);
  }
  summary.clear_parts();
  summary.clear_part_bytes();
  summary.clear_modified_ns();
  summary.set_content_version(inode.content_version());
  if (!summary.has_facts()) return {};
  TRY_ASSIGN(auto facts, this->facts(inode));
  facts.clear_checksum_algorithm();
  facts.clear_checksum_composite();
  facts.clear_checksum();
  facts.clear_upload_id();
  put_facts(inode, facts);
  return {};
}

void ObjectTables::take_found(Inode& inode, const LowerObject& found) {
  const bool any = found.facts.ByteSizeLong() != 0;
  if (any || found.put) {
    inode.mutable_object();
    put_facts(inode, found.facts);
  }
  if (found.by_posix) inode.mutable_object()->set_by_posix(true);
  // An etag that was told already stands.
  if (inode.type() != format::REGULAR || inode.content_version() != 0 || !inode.object().etag().empty()) return;
  if (!found.etag.empty()) inode.mutable_object()->set_etag(found.etag);
  if (found.parts == 0) return;
  std::vector<format::ObjectPart> parts(found.parts);
  for (uint32_t i = 0; i < found.parts; ++i) {
    parts[i].set_number(i + 1);
    parts[i].set_offset(i * found.part_bytes);
    parts[i].set_size(std::min(found.part_bytes, inode.size() - parts[i].offset()));
  }
  put_parts(inode, parts);
}

void ObjectTables::content_found(Inode& inode) {
  inode.set_content_version(0);
  if (!inode.has_object()) return;
  put_facts(inode, {});
  if (inode.object().parts() != 0) {
    const auto range = format::object_parts_range(InodeId(inode.id()));
    tables_.txn().erase_range(range.begin, range.end);
  }
  inode.clear_object();
}

Result<void> ObjectTables::take_parked(Inode& inode, const format::Home& home) {
  const MountId mount(home.mount());
  TRY_ASSIGN(const auto owner, tables_.find_owner(mount, home.key()));
  if (!owner || owner->inode() != 0 || owner->former() != inode.id())
    return fail(ErrorCode::kStale, "'" + home.key() + "' is not kept for inode " + std::to_string(inode.id()) + " any more");
  tables_.erase_owner(mount, home.key(), owner);
  tables_.put_owner(mount, home.key(), InodeId(inode.id()));
  *inode.mutable_home() = home;
  inode.mutable_home()->set_since_ns(tables_.now_ns());
  inode.set_persisted_generation(inode.generation());
  // What its object says is the source's.
  inode.set_persisted_attributes_version(0);
  return {};
}

Result<void> ObjectTables::spare_replaced(MountId mount, std::string_view key, int64_t grace_ns) {
  TRY_ASSIGN(auto owner, tables_.find_owner(mount, key));
  if (!owner || owner->inode() != 0) return {};
  tables_.txn().erase(format::erase_key(owner->erase_due_ns(), mount, key));
  owner->set_erase_due_ns(tables_.now_ns() + grace_ns);
  tables_.txn().put(format::owner_key(mount, key), format::encode(*owner));
  tables_.txn().put(format::erase_key(owner->erase_due_ns(), mount, key), "");
  return {};
}

}  // namespace weir::meta
