#include "meta/tables.h"

#include <algorithm>
#include <vector>

namespace weir::meta {
namespace {

// A path has at most this many components: longer ones are a cycle in damaged metadata.
constexpr int kPathDepthMax = 4'096;

format::DentryKind kind_of(FileType type) {
  return type == format::DIRECTORY ? format::DentryKind::kDirectory : format::DentryKind::kLeaf;
}

uint64_t dirty_size(const Inode& inode) { return inode.type() == format::REGULAR ? inode.size() : 0; }

}  // namespace

Result<void> check_name(std::string_view name) {
  if (name.size() > kNameBytesMax) return fail(ErrorCode::kNameTooLong);
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos)
    return fail(ErrorCode::kInvalid, "not a file name: '" + std::string(name) + "'");
  return {};
}

Result<std::optional<Inode>> Tables::find_inode(InodeId inode, kv::Isolation isolation) {
  TRY_ASSIGN(const auto value, txn_.get(format::inode_key(inode), isolation));
  if (!value) return std::optional<Inode>{};
  TRY_ASSIGN(auto record, format::decode<Inode>(*value));
  return std::optional<Inode>(std::move(record));
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
  txn_.put(format::inode_key(InodeId(inode.id())), format::encode(inode));
}

void Tables::erase_inode(const Inode& inode) {
  const InodeId id(inode.id());
  txn_.erase(format::inode_key(id));
  if (is_directory(inode)) {
    txn_.erase(format::directory_mtime_key(id));
    txn_.erase(format::subdirectories_key(id));
  }
  if (inode.xattr_bytes() != 0) {
    const auto range = format::xattr_range(id);
    txn_.erase_range(range.begin, range.end);
  }
  count(kInodeCount, -1);
  if (inode.type() == format::REGULAR) count(kByteCount, -static_cast<int64_t>(inode.size()));
}

Inode Tables::make_inode(InodeId id, FileType type, InodeId parent, std::string_view name, uint32_t permissions,
                         uint32_t uid, uint32_t gid) {
  Inode inode;
  inode.set_id(id.value());
  inode.set_type(type);
  inode.set_permissions(permissions & 07777);
  inode.set_uid(uid);
  inode.set_gid(gid);
  inode.set_links(1);
  inode.set_atime_ns(now_ns_);
  inode.set_mtime_ns(now_ns_);
  inode.set_ctime_ns(now_ns_);
  inode.set_btime_ns(now_ns_);
  inode.set_parent(parent.value());
  inode.set_name(std::string(name));
  inode.set_generation(1);
  inode.set_attributes_version(1);
  put_dentry(parent, name, {id, type});
  touch_directory(parent, now_ns_);
  if (type == format::DIRECTORY) count_subdirectory(parent, 1);
  count(kInodeCount, 1);
  return inode;
}

void Tables::attributes_changed(Inode& inode) {
  inode.set_attributes_version(inode.attributes_version() + 1);
  // A file still to be committed travels with its attributes of that time.
  const bool committed = inode.has_home() || inode.queued() != format::NOT_QUEUED || is_directory(inode);
  const bool has_place = inode.links() != 0 && InodeId(inode.parent()) != kRootInode;
  if (committed && has_place && !inode.transient()) enqueue(inode, format::ORDINARY, now_ns_);
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
}

void Tables::erase_dentry(InodeId parent, std::string_view name, FileType type) {
  txn_.erase(format::dentry_key(parent, name, kind_of(type)));
}

Result<bool> Tables::directory_empty(InodeId directory) {
  const auto range = format::dentry_range(directory);
  TRY_ASSIGN(const auto page, txn_.get_range(range.begin, range.end, {.rows_max = 1}));
  return page.rows.empty();
}

void Tables::touch_directory(InodeId directory, int64_t mtime_ns) {
  txn_.max(format::directory_mtime_key(directory), mtime_ns);
}

void Tables::count_subdirectory(InodeId directory, int64_t delta) {
  txn_.add(format::subdirectories_key(directory), delta);
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

Result<void> Tables::erase_tree_job(InodeId directory) {
  const std::string key = format::tree_job_key(directory);
  TRY_ASSIGN(const auto value, txn_.get(key));
  if (!value) return {};
  TRY_ASSIGN(const auto job, format::decode<format::TreeJob>(*value));
  for (const auto& claim : job.claims()) txn_.erase(format::claim_key(MountId(claim.mount()), claim.prefix()));
  txn_.erase(key);
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
  dequeue(inode);
  set_transient(inode, false);
  Unlinked unlinked{.inode = id, .type = dentry.type};
  if (in_use) {
    inode.set_links(0);
    inode.set_ctime_ns(now_ns_);
    txn_.put(format::orphan_key(id), "");
    put_inode(inode);
    return unlinked;
  }
  TRY_ASSIGN(unlinked.erases_object, release_keys(inode));
  unlinked.local_file = LocalFileId(inode.local_file());
  txn_.erase(format::writing_key(id));
  erase_inode(inode);
  return unlinked;
}

void Tables::count(std::string_view counter, int64_t delta) {
  if (delta != 0) txn_.add(format::usage_key(counter), delta);
}

}  // namespace weir::meta
