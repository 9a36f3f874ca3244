#include "meta/tables.h"

#include <algorithm>
#include <vector>

#include "meta/acl.h"
#include "meta/namespace.h"
#include "meta/object_tables.h"
#include "ufs/s3_names.h"

namespace weir::meta {
namespace {

// A path has at most this many components: longer ones are a cycle in damaged metadata.
constexpr int kPathDepthMax = 4'096;
constexpr size_t kPartDigestsOfChunk = 4'096;

format::DentryKind kind_of(FileType type) {
  return type == format::DIRECTORY ? format::DentryKind::kDirectory : format::DentryKind::kLeaf;
}

// The content waits once, with its inode.
uint64_t dirty_size(const Inode& inode) {
  return inode.type() == format::REGULAR && !is_further_name(inode) ? inode.size() : 0;
}

// What a further name's record has of its own.
void copy_own_part(const Inode& from, Inode& to) {
  to.set_id(from.id());
  to.set_link_of(from.link_of());
  to.set_parent(from.parent());
  to.set_name(from.name());
  to.clear_home();
  if (from.has_home()) *to.mutable_home() = from.home();
  to.set_persisted_generation(from.persisted_generation());
  to.set_persisted_attributes_version(from.persisted_attributes_version());
  to.set_queued(from.queued());
  to.set_queued_due_ns(from.queued_due_ns());
  to.set_dirty_since_ns(from.dirty_since_ns());
  to.set_claimed_key(from.claimed_key());
  to.set_claimed_mount(from.claimed_mount());
}

int strictness(WritePolicy policy) {
  switch (policy) {
    case WritePolicy::kTransient: return 0;
    case WritePolicy::kWriteBack: return 1;
    case WritePolicy::kNoCache: return 2;
    case WritePolicy::kWriteThrough: return 3;
  }
  return 3;
}

}  // namespace

Result<void> check_expected(std::optional<InodeId> expected, InodeId now) {
  if (!expected || *expected == now) return {};
  return fail(ErrorCode::kStale, "the name leads to another inode by now");
}

Result<void> check_name(std::string_view name) {
  if (name.size() > kNameBytesMax) return fail(ErrorCode::kNameTooLong);
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos)
    return fail(ErrorCode::kInvalid, "not a file name: '" + std::string(name) + "'");
  return {};
}

bool is_reserved_name(std::string_view name) {
  for (const std::string_view prefix : {kParkingPrefix, kSidecarPrefix, ufs::s3::kLongPrefix}) {
    if (name == prefix.substr(0, prefix.size() - 1)) return true;
  }
  return false;
}

Result<std::optional<Inode>> Tables::find_stored(InodeId id, kv::Isolation isolation) {
  TRY_ASSIGN(const auto value, txn_.get(format::inode_key(id), isolation));
  if (!value) return std::optional<Inode>{};
  TRY_ASSIGN(auto record, format::decode<Inode>(*value));
  return std::optional<Inode>(std::move(record));
}

Result<std::optional<Inode>> Tables::find_inode(InodeId inode, kv::Isolation isolation) {
  TRY_ASSIGN(auto record, find_stored(inode, isolation));
  if (record && is_further_name(*record)) return find_stored(InodeId(record->link_of()), isolation);
  return record;
}

Result<std::optional<Inode>> Tables::find_record(InodeId id, kv::Isolation isolation) {
  TRY_ASSIGN(auto record, find_stored(id, isolation));
  if (!record || !is_further_name(*record)) return record;
  TRY_ASSIGN(auto inode, find_stored(InodeId(record->link_of()), isolation));
  if (!inode)
    return fail(ErrorCode::kCorrupt, "a further name, record " + std::to_string(id.value()) + ", has no inode");
  copy_own_part(*record, *inode);
  return inode;
}

Result<Inode> Tables::load_inode(InodeId inode, kv::Isolation isolation) {
  TRY_ASSIGN(auto record, find_inode(inode, isolation));
  if (!record) return fail(ErrorCode::kNotFound);
  return *std::move(record);
}

Result<Inode> Tables::load_parent(InodeId directory) {
  if (directory == kRootInode)
    return fail(ErrorCode::kPermission, "the root directory holds mount points only; see mount-table add");
  TRY_ASSIGN(auto record, load_inode(directory));
  if (!is_directory(record)) return fail(ErrorCode::kNotDirectory);
  if (record.links() == 0) return fail(ErrorCode::kNotFound);
  return record;
}

void Tables::put_inode(const Inode& inode) {
  const std::string key = format::inode_key(InodeId(inode.id()));
  if (!is_further_name(inode)) return txn_.put(key, format::encode(inode));
  Inode own;
  copy_own_part(inode, own);
  txn_.put(key, format::encode(own));
}

Result<void> Tables::erase_inode(const Inode& inode) {
  const InodeId id(inode.id());
  txn_.erase(format::inode_key(id));
  if (is_directory(inode)) {
    txn_.erase(format::directory_mtime_key(id));
    txn_.erase(format::subdirectories_key(id));
    txn_.erase(format::changed_directory_key(id));
    txn_.erase(format::directory_files_key(id));
    txn_.erase(format::directory_bytes_key(id));
  }
  if (inode.xattr_bytes() != 0) {
    const auto range = format::xattr_range(id);
    txn_.erase_range(range.begin, range.end);
  }
  if (inode.digests_generation() != 0) {
    const auto range = format::part_digests_range(id);
    txn_.erase_range(range.begin, range.end);
  }
  if (inode.object().has_facts()) txn_.erase(format::object_facts_key(id));
  if (inode.object().parts() != 0) {
    const auto range = format::object_parts_range(id);
    txn_.erase_range(range.begin, range.end);
  }
  count(kInodeCount, -1);
  if (inode.type() == format::REGULAR) count(kByteCount, -static_cast<int64_t>(inode.size()));
  if (inode.link_group().empty()) return {};
  const std::string group_key = format::link_group_key(MountId(inode.link_mount()), inode.link_group());
  TRY_ASSIGN(const auto value, txn_.get(group_key));
  if (!value) return {};
  TRY_ASSIGN(const auto group, format::decode<format::LinkGroup>(*value));
  if (group.inode() == inode.id()) txn_.erase(group_key);
  return {};
}

Result<void> Tables::check_free_name(const Inode& parent, std::string_view name) {
  if (InodeId(parent.parent()) != kRootInode) return {};
  if (!is_reserved_name(name)) return {};
  return fail(ErrorCode::kPermission, "'" + std::string(name) + "' is kept for objects of the volume's own");
}

Inode Tables::make_unnamed_inode(InodeId id, FileType type, uint32_t permissions, uint32_t uid, uint32_t gid) {
  Inode inode;
  inode.set_id(id.value());
  inode.set_type(type);
  inode.set_permissions(permissions & 07777);
  inode.set_uid(uid);
  inode.set_gid(gid);
  inode.set_atime_ns(now_ns_);
  inode.set_mtime_ns(now_ns_);
  inode.set_ctime_ns(now_ns_);
  inode.set_btime_ns(now_ns_);
  inode.set_generation(1);
  inode.set_attributes_version(1);
  count(kInodeCount, 1);
  return inode;
}

Inode Tables::make_inode(InodeId id, FileType type, InodeId parent, std::string_view name, uint32_t permissions,
                         uint32_t uid, uint32_t gid, Novelty novelty) {
  Inode inode = make_unnamed_inode(id, type, permissions, uid, gid);
  inode.set_links(1);
  inode.set_parent(parent.value());
  inode.set_name(std::string(name));
  put_dentry(parent, name, {id, type});
  count_entry(parent, inode, 1);
  if (novelty == Novelty::kNew) touch_directory(parent, now_ns_);
  if (type == format::DIRECTORY) count_subdirectory(parent, 1);
  return inode;
}

void Tables::attributes_changed(Inode& inode) {
  inode.set_attributes_version(inode.attributes_version() + 1);
  // A file still to be committed travels with its attributes of that time.
  const bool committed = inode.has_home() || inode.queued() != format::NOT_QUEUED || is_directory(inode);
  const bool has_place = inode.links() != 0 && InodeId(inode.parent()) != kRootInode;
  if (committed && has_place && !inode.transient()) enqueue(inode, format::ORDINARY, now_ns_);
}

void Tables::put_first_xattr(Inode& inode, std::string_view name, const std::string& value) {
  txn_.put(format::xattr_key(InodeId(inode.id()), name), value);
  inode.set_xattr_bytes(inode.xattr_bytes() + name.size() + 1 + value.size());
}

Result<void> Tables::inherit_acl(const Inode& directory, const Caller& caller, Inode& inode) {
  std::optional<std::string> value;
  if (directory.xattr_bytes() != 0) {
    TRY_ASSIGN(value, txn_.get(format::xattr_key(InodeId(directory.id()), kDefaultAcl)));
  }
  if (!value) {
    inode.set_permissions(inode.permissions() & ~(caller.umask & 0777));
    return {};
  }
  TRY_ASSIGN(Acl acl, Acl::decode(*value));
  inode.set_permissions(acl.restrict_to(inode.permissions()));
  if (!acl.minimal()) put_first_xattr(inode, kAccessAcl, acl.encode());
  if (is_directory(inode)) put_first_xattr(inode, kDefaultAcl, *value);
  return {};
}

Result<std::optional<Tables::DentryRef>> Tables::find_dentry(InodeId parent, std::string_view name) {
  for (const auto kind : {format::DentryKind::kLeaf, format::DentryKind::kDirectory}) {
    TRY_ASSIGN(const auto value, txn_.get(format::dentry_key(parent, name, kind)));
    if (!value) continue;
    TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(*value));
    return std::optional(DentryRef{InodeId(dentry.inode()), dentry.type()});
  }
  return std::optional<DentryRef>{};
}

Result<Tables::DentryRef> Tables::load_dentry(InodeId parent, std::string_view name) {
  TRY_ASSIGN(const auto dentry, find_dentry(parent, name));
  if (!dentry) return fail(ErrorCode::kNotFound);
  return *dentry;
}

void Tables::put_dentry(InodeId parent, std::string_view name, DentryRef dentry) {
  format::Dentry record;
  record.set_inode(dentry.inode.value());
  record.set_type(dentry.type);
  txn_.put(format::dentry_key(parent, name, kind_of(dentry.type)), format::encode(record));
  if (dentry.type != format::DIRECTORY) return;
  txn_.put(format::subdirectory_key(parent, name), kv::encode_counter(static_cast<int64_t>(dentry.inode.value())));
}

void Tables::erase_dentry(InodeId parent, std::string_view name, FileType type) {
  txn_.erase(format::dentry_key(parent, name, kind_of(type)));
  if (type == format::DIRECTORY) txn_.erase(format::subdirectory_key(parent, name));
}

Result<bool> Tables::directory_empty(InodeId directory) {
  const auto range = format::dentry_range(directory);
  TRY_ASSIGN(const auto page, txn_.get_range(range.begin, range.end, {.rows_max = 1}));
  return page.rows.empty();
}

void Tables::touch_directory(InodeId directory, int64_t mtime_ns) {
  txn_.max(format::directory_mtime_key(directory), mtime_ns);
  txn_.max(format::changed_directory_key(directory), format::encode_changed_since(now_ns_));
}

void Tables::count_subdirectory(InodeId directory, int64_t delta) {
  txn_.add(format::subdirectories_key(directory), delta);
}

void Tables::count_entry(InodeId directory, const Inode& inode, int64_t delta) {
  if (is_directory(inode)) return;
  txn_.add(format::directory_files_key(directory), delta);
  if (inode.type() == format::REGULAR && inode.size() != 0)
    txn_.add(format::directory_bytes_key(directory), delta * static_cast<int64_t>(inode.size()));
}

Result<Inode> Tables::load_name(const Inode& inode, InodeId parent, std::string_view name) {
  if (InodeId(inode.parent()) == parent && inode.name() == name) return inode;
  TRY_ASSIGN(const auto value, txn_.get(format::further_name_key(InodeId(inode.id()), parent, name)));
  if (value) {
    TRY_ASSIGN(const auto row, format::decode<format::FurtherName>(*value));
    TRY_ASSIGN(auto record, find_stored(InodeId(row.record()), kv::Isolation::kSerializable));
    if (record) {
      Inode joined = inode;
      copy_own_part(*record, joined);
      return joined;
    }
  }
  return fail(ErrorCode::kCorrupt, "inode " + std::to_string(inode.id()) + " does not know its name '" +
                                       std::string(name) + "'");
}

Result<std::vector<Inode>> Tables::further_names(const Inode& inode) {
  std::vector<Inode> names;
  if (inode.links() <= 1 || is_directory(inode)) return names;
  auto range = format::further_name_range(InodeId(inode.id()));
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, txn_.get_range(range.begin, range.end));
    for (const auto& entry : page.rows) {
      TRY_ASSIGN(const auto row, format::decode<format::FurtherName>(entry.value));
      TRY_ASSIGN(const auto record, find_stored(InodeId(row.record()), kv::Isolation::kSerializable));
      if (!record) return fail(ErrorCode::kCorrupt, "a name of inode " + std::to_string(inode.id()) + " has no record");
      Inode& joined = names.emplace_back(inode);
      copy_own_part(*record, joined);
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return names;
}

Result<Inode> Tables::add_further_name(const Inode& inode, InodeId id, InodeId parent, std::string_view name) {
  if (inode.links() > kLinksMax)
    return fail(ErrorCode::kTooManyLinks, "a file has at most " + std::to_string(kLinksMax) + " names");
  Inode own;
  own.set_id(id.value());
  own.set_link_of(inode.id());
  Inode record = inode;
  copy_own_part(own, record);
  move_name(record, parent, name);
  return record;
}

void Tables::move_name(Inode& record, InodeId parent, std::string_view name) {
  if (is_further_name(record)) {
    const InodeId inode(record.link_of());
    if (!record.name().empty()) txn_.erase(format::further_name_key(inode, InodeId(record.parent()), record.name()));
    format::FurtherName row;
    row.set_record(record.id());
    txn_.put(format::further_name_key(inode, parent, name), format::encode(row));
    record.set_parent(parent.value());
    record.set_name(std::string(name));
  } else {
    set_first_name(record, parent, name);
  }
  put_inode(record);
}

void Tables::set_first_name(Inode& inode, InodeId parent, std::string_view name) {
  if (InodeId(inode.parent()) != parent) {
    if (inode.parent() != 0) count_entry(InodeId(inode.parent()), inode, -1);
    count_entry(parent, inode, 1);
  }
  inode.set_parent(parent.value());
  inode.set_name(std::string(name));
}

Result<bool> Tables::erase_further_name(Inode record) {
  dequeue(record);
  TRY_ASSIGN(const bool released, release_keys(record));
  txn_.erase(format::further_name_key(InodeId(record.link_of()), InodeId(record.parent()), record.name()));
  txn_.erase(format::inode_key(InodeId(record.id())));
  return released;
}

void Tables::join_group(Inode& inode, MountId mount, std::string_view group, const format::LinkGroup& row) {
  inode.set_link_group(std::string(group));
  inode.set_link_mount(mount.value());
  txn_.put(format::link_group_key(mount, group), format::encode(row));
}

Result<bool> Tables::requeue_further_names(const Inode& inode) {
  TRY_ASSIGN(auto names, further_names(inode));
  bool any = false;
  for (Inode& record : names) {
    if (fully_persisted(record) || record.queued() != format::NOT_QUEUED) continue;
    enqueue(record, format::ORDINARY, now_ns_);
    put_inode(record);
    any = true;
  }
  return any;
}

Result<WritePolicy> Tables::policy_of(const Inode& record, const PathRules& rules) {
  if (const auto uniform = rules.uniform_policy()) return *uniform;
  std::optional<WritePolicy> strictest;
  const auto consider = [&](const Inode& name) -> Result<void> {
    const auto place = place_of(name);
    if (failed_with(place, ErrorCode::kNotFound)) return {};  // in a tree that is being removed
    TRY(place);
    const WritePolicy wanted = rules.policy(place->path);
    if (!strictest || strictness(wanted) > strictness(*strictest)) strictest = wanted;
    return {};
  };
  // Without a path nothing is persisted, whatever is said here.
  const auto policy = [&] { return strictest.value_or(WritePolicy::kWriteBack); };
  TRY(consider(record));
  if (record.links() <= 1 || is_directory(record)) return policy();
  Inode inode = record;
  if (is_further_name(record)) {
    TRY_ASSIGN(inode, load_inode(InodeId(record.link_of())));
    TRY(consider(inode));
  }
  TRY_ASSIGN(const auto names, further_names(inode));
  for (const Inode& other : names) TRY(consider(other));
  return policy();
}

Result<Tables::Place> Tables::place_of(const Inode& inode, kv::Isolation isolation) {
  if (InodeId(inode.id()) == kRootInode) return Place{"/", MountId(0), ""};
  if (inode.links() == 0) return fail(ErrorCode::kNotFound, "no name leads to it any more");
  std::vector<std::string> names{inode.name()};
  InodeId parent(inode.parent());
  uint32_t mount = parent == kRootInode ? inode.lower().mount() : 0;
  while (parent != kRootInode) {
    if (names.size() > kPathDepthMax) return fail(ErrorCode::kCorrupt, "directories form a cycle");
    TRY_ASSIGN(Inode record, load_inode(parent, isolation));
    if (record.links() == 0) return fail(ErrorCode::kNotFound, "no name leads to it any more");
    parent = InodeId(record.parent());
    if (parent == kRootInode) mount = record.lower().mount();
    names.push_back(std::move(*record.mutable_name()));
  }
  Place place;
  place.mount = MountId(mount);
  for (size_t i = names.size(); i-- > 0;) {
    place.path += '/';
    place.path += names[i];
  }
  if (names.size() > 1) {
    place.key = place.path.substr(names.back().size() + 2);
    if (is_directory(inode)) place.key += '/';
  }
  return place;
}

Result<bool> Tables::is_below(const Inode& inode, InodeId ancestor) {
  InodeId id(inode.id());
  InodeId parent(inode.parent());
  for (int depth = 0; id != kRootInode; ++depth) {
    if (id == ancestor) return true;
    if (depth > kPathDepthMax) return fail(ErrorCode::kCorrupt, "directories form a cycle");
    if (parent == kRootInode) return ancestor == kRootInode;
    TRY_ASSIGN(const Inode record, load_inode(parent));
    id = parent;
    parent = InodeId(record.parent());
  }
  return ancestor == kRootInode;
}

void Tables::enqueue(Inode& inode, format::QueueClass queue_class, int64_t due_ns) {
  const InodeId id(inode.id());
  if (inode.queued() != format::NOT_QUEUED) {
    if (inode.queued() == queue_class && inode.queued_due_ns() == due_ns) return;
    txn_.erase(format::queue_key(inode.queued(), inode.queued_due_ns(), id));
  } else {
    count(kDirtyFileCount, 1);
    count(kDirtyByteCount, static_cast<int64_t>(dirty_size(inode)));
  }
  txn_.put(format::queue_key(queue_class, due_ns, id), "");
  inode.set_queued(queue_class);
  inode.set_queued_due_ns(due_ns);
  if (inode.dirty_since_ns() == 0) inode.set_dirty_since_ns(now_ns_);
}

void Tables::dequeue(Inode& inode) {
  inode.set_dirty_since_ns(0);
  if (inode.queued() == format::NOT_QUEUED) return;
  const InodeId id(inode.id());
  txn_.erase(format::queue_key(inode.queued(), inode.queued_due_ns(), id));
  txn_.erase(format::progress_key(id));
  inode.set_queued(format::NOT_QUEUED);
  inode.set_queued_due_ns(0);
  count(kDirtyFileCount, -1);
  count(kDirtyByteCount, -static_cast<int64_t>(dirty_size(inode)));
}

void Tables::requeue(Inode& inode, WritePolicy policy, format::QueueClass queue_class) {
  if (is_further_name(inode)) return enqueue(inode, format::ORDINARY, now_ns_);  // policy is its inode's affair
  const bool unpersisted_file = inode.type() == format::REGULAR && !content_persisted(inode);
  if (policy == WritePolicy::kTransient && !content_persisted(inode)) {
    set_transient(inode, true);
    dequeue(inode);
    return;
  }
  set_transient(inode, false);
  if (inode.queued() == format::URGENT) queue_class = format::URGENT;
  // Order is by the oldest commit that still waits, so that a file rewritten again and again has its turn.
  const int64_t due_ns = unpersisted_file && inode.dirty_since_ns() != 0 ? inode.dirty_since_ns() : now_ns_;
  enqueue(inode, queue_class, std::min(due_ns, now_ns_));
}

void Tables::set_transient(Inode& inode, bool transient) {
  if (inode.transient() == transient) return;
  inode.set_transient(transient);
  const std::string key = format::transient_key(InodeId(inode.id()));
  if (transient) {
    txn_.put(key, "");
  } else {
    txn_.erase(key);
  }
}

void Tables::set_size(Inode& inode, uint64_t size) {
  inode.clear_allocated_bytes();
  const int64_t delta = static_cast<int64_t>(size) - static_cast<int64_t>(inode.size());
  if (delta == 0) return;
  inode.set_size(size);
  count(kByteCount, delta);
  if (inode.links() != 0 && !inode.shadow()) txn_.add(format::directory_bytes_key(InodeId(inode.parent())), delta);
  if (inode.queued() != format::NOT_QUEUED) count(kDirtyByteCount, delta);
}

Result<std::optional<format::Owner>> Tables::find_owner(MountId mount, std::string_view key,
                                                        kv::Isolation isolation) {
  TRY_ASSIGN(const auto value, txn_.get(format::owner_key(mount, key), isolation));
  if (!value) return std::optional<format::Owner>{};
  TRY_ASSIGN(auto owner, format::decode<format::Owner>(*value));
  return std::optional<format::Owner>(std::move(owner));
}

void Tables::put_owner(MountId mount, std::string_view key, InodeId inode) {
  format::Owner owner;
  owner.set_inode(inode.value());
  txn_.put(format::owner_key(mount, key), format::encode(owner));
}

void Tables::erase_owner(MountId mount, std::string_view key, const std::optional<format::Owner>& before) {
  if (!before) return;
  if (before->inode() == 0) txn_.erase(format::erase_key(before->erase_due_ns(), mount, key));
  txn_.erase(format::owner_key(mount, key));
}

void Tables::put_whiteout(MountId mount, std::string_view key, std::string_view etag, InodeId former, bool verify) {
  format::Owner owner;
  owner.set_etag(std::string(etag));
  owner.set_former(former.value());
  owner.set_erase_due_ns(now_ns_);
  owner.set_verify(verify);
  txn_.put(format::owner_key(mount, key), format::encode(owner));
  txn_.put(format::erase_key(now_ns_, mount, key), "");
}

Result<std::optional<PartDigests>> Tables::part_digests(const Inode& inode) {
  if (!inode.has_home() || inode.digests_generation() == 0 ||
      inode.digests_generation() != inode.persisted_generation())
    return std::optional<PartDigests>{};
  PartDigests digests;
  auto range = format::part_digests_range(InodeId(inode.id()));
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, txn_.get_range(range.begin, range.end));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto chunk, format::decode<format::PartDigests>(row.value));
      digests.part_bytes = chunk.part_bytes();
      digests.size_bytes = chunk.size();
      digests.digests += chunk.digests();
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  const bool whole = digests.part_bytes != 0 && digests.size_bytes == inode.home().size() &&
                     digests.digests.size() == (digests.size_bytes + digests.part_bytes - 1) / digests.part_bytes *
                                                   PartDigests::kDigestBytes;
  if (!whole) return fail(ErrorCode::kCorrupt, "the digests of inode " + std::to_string(inode.id()) + " are damaged");
  return std::optional(std::move(digests));
}

void Tables::put_part_digests(Inode& inode, uint64_t generation, const std::optional<PartDigests>& digests) {
  const InodeId id(inode.id());
  if (inode.digests_generation() != 0) {
    const auto range = format::part_digests_range(id);
    txn_.erase_range(range.begin, range.end);
  }
  inode.set_digests_generation(digests ? generation : 0);
  if (!digests) return;
  constexpr size_t kChunkBytes = kPartDigestsOfChunk * PartDigests::kDigestBytes;
  for (size_t at = 0; at < digests->digests.size(); at += kChunkBytes) {
    format::PartDigests chunk;
    chunk.set_part_bytes(digests->part_bytes);
    chunk.set_size(digests->size_bytes);
    chunk.set_digests(digests->digests.substr(at, kChunkBytes));
    txn_.put(format::part_digests_key(id, static_cast<uint32_t>(at / kChunkBytes)), format::encode(chunk));
  }
}

Result<Xattrs> Tables::xattrs(InodeId inode, kv::Isolation isolation) {
  Xattrs xattrs;
  auto range = format::xattr_range(inode);
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, txn_.get_range(range.begin, range.end, {.isolation = isolation}));
    for (const auto& row : page.rows) xattrs.emplace(format::xattr_name(row.key), row.value);
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return xattrs;
}

void Tables::replace_xattrs(Inode& inode, const Xattrs& xattrs) {
  const InodeId id(inode.id());
  if (inode.xattr_bytes() != 0) {
    const auto range = format::xattr_range(id);
    txn_.erase_range(range.begin, range.end);
  }
  uint64_t bytes = 0;
  for (const auto& [name, value] : xattrs) {
    txn_.put(format::xattr_key(id, name), value);
    bytes += name.size() + 1 + value.size();
  }
  inode.set_xattr_bytes(bytes);
}

Result<void> Tables::release_sidecar(const Inode& inode, MountId mount, std::string_view key, std::string_view etag) {
  if (key.empty()) return {};
  TRY_ASSIGN(const auto owner, find_owner(mount, key));
  if (owner && owner->inode() == inode.id()) put_whiteout(mount, key, etag, InodeId(inode.id()), true);
  return {};
}

Result<void> Tables::release_sidecars(const Inode& inode) {
  const format::Home& sidecar = inode.sidecar();
  TRY(release_sidecar(inode, MountId(sidecar.mount()), sidecar.key(), sidecar.etag()));
  if (inode.claimed_sidecar() == sidecar.key()) return {};
  const MountId mount(inode.has_home() ? inode.home().mount() : inode.claimed_mount());
  return release_sidecar(inode, mount, inode.claimed_sidecar(), "");
}

Result<bool> Tables::release_keys(const Inode& inode) {
  const InodeId id(inode.id());
  bool released = false;
  const bool claim_elsewhere = !inode.claimed_key().empty() &&
                               (!inode.has_home() || inode.home().key() != inode.claimed_key());
  if (inode.has_home()) {
    const MountId mount(inode.home().mount());
    TRY_ASSIGN(const auto owner, find_owner(mount, inode.home().key()));
    if (owner && owner->inode() == id.value()) {
      // With a claim on the home's own key an upload may have replaced the object.
      const bool in_doubt = inode.claimed_key() == inode.home().key();
      put_whiteout(mount, inode.home().key(), inode.home().etag(), id, in_doubt);
      released = true;
    }
  }
  if (claim_elsewhere) {
    const MountId mount(inode.claimed_mount());
    TRY_ASSIGN(const auto owner, find_owner(mount, inode.claimed_key()));
    if (owner && owner->inode() == id.value()) {
      put_whiteout(mount, inode.claimed_key(), "", id, true);
      released = true;
    }
  }
  return released;
}

Result<void> Tables::attach_lower(Inode& directory, const Inode& parent, int64_t listed_ns) {
  directory.clear_lower();
  if (!parent.has_lower()) return {};
  const std::string prefix = parent.lower().prefix() + directory.name() + '/';
  const MountId mount(parent.lower().mount());
  TRY_ASSIGN(const auto claimed, txn_.get(format::claim_key(mount, prefix)));
  if (claimed) return {};
  directory.mutable_lower()->set_mount(mount.value());
  directory.mutable_lower()->set_prefix(prefix);
  directory.mutable_lower()->set_listed_ns(listed_ns);
  return {};
}

Result<void> Tables::redirect_lower(const Inode& directory, const Place& place) {
  const InodeId id(directory.id());
  if (!directory.has_lower() || directory.lower().prefix() == place.key) return put_tree_job(id, nullptr);
  txn_.put(format::claim_key(place.mount, directory.lower().prefix()), "");
  return put_tree_job(id, &directory.lower());
}

Result<void> Tables::put_tree_job(InodeId directory, const format::Lower* claim) {
  const std::string key = format::tree_job_key(directory);
  format::TreeJob job;
  TRY_ASSIGN(const auto value, txn_.get(key));
  if (value) {
    TRY_ASSIGN(job, format::decode<format::TreeJob>(*value));
  }
  job.set_directory(directory.value());
  job.clear_stack();
  job.add_stack()->set_directory(directory.value());
  if (claim != nullptr) *job.add_claims() = *claim;
  txn_.put(key, format::encode(job));
  return {};
}

Result<std::vector<format::Lower>> Tables::take_tree_job(InodeId directory) {
  const std::string key = format::tree_job_key(directory);
  TRY_ASSIGN(const auto value, txn_.get(key));
  if (!value) return std::vector<format::Lower>{};
  TRY_ASSIGN(const auto job, format::decode<format::TreeJob>(*value));
  txn_.erase(key);
  return std::vector<format::Lower>(job.claims().begin(), job.claims().end());
}

Result<void> Tables::erase_tree_job(InodeId directory) {
  TRY_ASSIGN(const auto claims, take_tree_job(directory));
  for (const auto& claim : claims) txn_.erase(format::claim_key(MountId(claim.mount()), claim.prefix()));
  return {};
}

Result<Unlinked> Tables::remove_entry(InodeId parent, std::string_view name, DentryRef dentry, bool in_use) {
  const InodeId id = dentry.inode;
  TRY_ASSIGN(Inode inode, load_inode(id));
  if (dentry.type == format::DIRECTORY) {
    TRY_ASSIGN(const bool empty, directory_empty(id));
    if (!empty) return fail(ErrorCode::kNotEmpty);
    count_subdirectory(parent, -1);
    TRY(erase_tree_job(id));
  }
  erase_dentry(parent, name, dentry.type);
  if (dentry.type != format::DIRECTORY && inode.links() > 1) return remove_one_name(std::move(inode), parent, name);
  count_entry(parent, inode, -1);
  return end_inode(std::move(inode), in_use);
}

Result<Unlinked> Tables::end_inode(Inode inode, bool in_use) {
  const InodeId id(inode.id());
  dequeue(inode);
  set_transient(inode, false);
  Unlinked unlinked{.inode = id, .type = inode.type()};
  if (in_use) {
    inode.set_links(0);
    inode.set_ctime_ns(now_ns_);
    txn_.put(format::orphan_key(id), "");
    put_inode(inode);
    unlinked.keeps_objects = holds_objects(inode);
    return unlinked;
  }
  TRY_ASSIGN(unlinked.erases_object, release_keys(inode));
  TRY(release_sidecars(inode));
  unlinked.local_file = LocalFileId(inode.local_file());
  txn_.erase(format::writing_key(id));
  TRY(erase_inode(inode));
  return unlinked;
}

Result<Unlinked> Tables::remove_one_name(Inode inode, InodeId parent, std::string_view name) {
  Unlinked unlinked{.inode = InodeId(inode.id()), .type = inode.type(), .last_name = false};
  TRY_ASSIGN(Inode record, load_name(inode, parent, name));
  if (is_further_name(record)) {
    TRY_ASSIGN(unlinked.erases_object, erase_further_name(std::move(record)));
  } else {
    TRY_ASSIGN(unlinked.erases_object, promote_further_name(inode));
  }
  inode.set_links(inode.links() - 1);
  inode.set_ctime_ns(now_ns_);
  put_inode(inode);
  return unlinked;
}

Result<bool> Tables::promote_further_name(Inode& inode) {
  const InodeId id(inode.id());
  TRY_ASSIGN(auto names, further_names(inode));
  if (names.empty()) return fail(ErrorCode::kCorrupt, "inode " + std::to_string(inode.id()) + " lacks a name");
  // The object under a further name serves as well, unless a write to it may be under way.
  for (Inode& record : names) {
    if (!content_persisted(record) || !record.claimed_key().empty()) continue;
    const MountId mount(record.home().mount());
    TRY_ASSIGN(const auto owner, find_owner(mount, record.home().key()));
    if (!owner || owner->inode() != record.id()) continue;
    TRY_ASSIGN(const bool released, release_keys(inode));
    const bool waits = record.queued() != format::NOT_QUEUED || inode.queued() != format::NOT_QUEUED;
    dequeue(record);
    inode.clear_claimed_key();
    inode.clear_claimed_mount();
    keep_etag(inode, record.home().etag());
    *inode.mutable_home() = record.home();
    inode.set_persisted_generation(record.persisted_generation());
    inode.set_persisted_attributes_version(record.persisted_attributes_version());
    set_first_name(inode, InodeId(record.parent()), record.name());
    put_owner(mount, record.home().key(), id);
    txn_.erase(format::further_name_key(id, InodeId(record.parent()), record.name()));
    txn_.erase(format::inode_key(InodeId(record.id())));
    if (waits || !fully_persisted(inode))
      enqueue(inode, inode.queued() == format::URGENT ? format::URGENT : format::ORDINARY, now_ns_);
    return released;
  }
  // Else its content goes on living where it lives, and its object follows, as after a rename over the further name.
  // Queued even if it was not: the first name may have been below a directory that is going, where nothing is persisted.
  Inode& record = names.front();
  set_first_name(inode, InodeId(record.parent()), record.name());
  TRY_ASSIGN(const bool released, erase_further_name(std::move(record)));
  if (!inode.transient() && !inode.quarantined())
    enqueue(inode, inode.queued() == format::URGENT ? format::URGENT : format::ORDINARY, now_ns_);
  return released;
}

void Tables::count(std::string_view counter, int64_t delta) {
  if (delta != 0) txn_.add(format::usage_key(counter), delta);
}

}  // namespace weir::meta
