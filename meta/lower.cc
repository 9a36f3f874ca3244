#include "meta/namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// Of what the bucket shows without saying more.
constexpr uint32_t kFilePermissions = 0644;
constexpr uint32_t kDirectoryPermissions = 0755;
// For so long after an object is gone a store may go on showing the prefixes above it.
constexpr int64_t kGhostNs = 60'000'000'000;

void set_object(Tables& tables, format::Home& home, std::string_view etag, uint64_t size) {
  home.set_etag(std::string(etag));
  home.set_size(size);
  home.set_since_ns(tables.now_ns());
}

// Others put another object in the place of the home, or it came there by an upload that nobody knows of any more.
void take_content(Tables& tables, Inode& inode, std::string_view etag, uint64_t size, int64_t mtime_ns,
                  Namespace::LowerChanges& changes) {
  changes.content_changed.emplace_back(inode.id());
  if (inode.local_file() != 0) changes.stale_local_files.emplace_back(inode.local_file());
  inode.set_local_file(0);
  inode.set_generation(inode.generation() + 1);
  inode.set_persisted_generation(inode.generation());
  inode.set_attributes_unknown(true);
  inode.set_mtime_ns(mtime_ns);
  inode.set_ctime_ns(tables.now_ns());
  ObjectTables(tables).content_found(inode);
  tables.set_size(inode, size);
  set_object(tables, *inode.mutable_home(), etag, size);
  if (inode.links() > 1) {
    // Once the object says again that it has others beside it, they follow.
    inode.set_attributes_version(inode.attributes_version() + 1);
    tables.enqueue(inode, format::ORDINARY, tables.now_ns());
  }
  tables.put_inode(inode);
}

class Merge {
 public:
  Merge(Tables& tables, const Inode& directory, const format::Lower& lower, const RecentErasures& erasures,
        Namespace::LowerChanges& changes)
      : tables_(tables), directory_(directory), lower_(lower), erasures_(erasures), changes_(changes) {}

  // `next_id` is called for an inode that has to be made.
  template <typename NextId>
  Result<void> take(const LowerEntry& entry, NextId&& next_id) {
    if (entry.name.empty()) return adopt_marker(entry);
    const std::string key = lower_.prefix() + entry.name + (entry.directory ? "/" : "");
    TRY_ASSIGN(const auto dentry, tables_.find_dentry(InodeId(directory_.id()), entry.name));
    if (dentry) {
      const bool is_directory = dentry->type == format::DIRECTORY;
      if (is_directory && entry.directory) return attach_directory(dentry->inode);
      if (!is_directory && !entry.directory) return update_file(dentry->inode, entry, key);
      // An object `a` beside objects `a/...`: the directory is shown, more can be reached that way.
      if (is_directory) {
        changes_.shadowed.push_back(entry.name);
        return {};
      }
    }
    if (entry.directory && !entry.confirmed) {
      TRY_ASSIGN(const bool doubtful, is_doubtful(key, dentry.has_value()));
      if (doubtful) {
        changes_.doubtful.push_back(entry);
        return {};
      }
    }
    if (dentry) {
      TRY_ASSIGN(const bool made_way, remove_shadowed_file(entry.name, *dentry));
      if (!made_way) return {};
    }
    if (!entry.confirmed && erasures_.erased_since(mount(), key, lower_.listed_ns())) return {};
    return entry.directory ? make_directory(entry, key, next_id) : make_file(entry, key, next_id);
  }

 private:
  MountId mount() const { return MountId(lower_.mount()); }

  // Whether the directory `key` may be nothing but a prefix that a store has not stopped showing yet.
  Result<bool> is_doubtful(const std::string& key, bool is_file) {
    if (is_file) return true;
    const std::string file_key = key.substr(0, key.size() - 1);
    const int64_t since_ns = lower_.listed_ns() - kGhostNs;
    if (erasures_.erased_since(mount(), file_key, since_ns) || erasures_.erased_below_since(mount(), key, since_ns))
      return true;
    TRY_ASSIGN(const auto owner, tables_.find_owner(mount(), file_key));
    return owner.has_value();
  }

  // The object `name/` of the directory itself.
  Result<void> adopt_marker(const LowerEntry& entry) {
    TRY_ASSIGN(const auto owner, tables_.find_owner(mount(), lower_.prefix()));
    TRY_ASSIGN(Inode inode, tables_.load_inode(InodeId(directory_.id())));
    if (owner || inode.has_home() || !inode.claimed_key().empty() || lower_.prefix().empty() ||
        erasures_.erased_since(mount(), lower_.prefix(), lower_.listed_ns()))
      return {};
    set_home(inode, entry, lower_.prefix());
    inode.set_attributes_unknown(true);
    inode.set_persisted_generation(inode.generation());
    inode.set_persisted_attributes_version(inode.attributes_version());
    tables_.put_owner(mount(), lower_.prefix(), InodeId(inode.id()));
    tables_.put_inode(inode);
    return {};
  }

  // Whether objects below `prefix` are ours: a renamed directory's children, or on their way out. Then nothing there
  // is a reason for a directory.
  Result<bool> holds_ours(const std::string& prefix) {
    TRY_ASSIGN(const auto claimed, tables_.txn().get(format::claim_key(mount(), prefix)));
    if (claimed) return true;
    const auto owned = format::owner_range(mount(), prefix);
    TRY_ASSIGN(const auto owners, tables_.txn().get_range(owned.begin, owned.end, {.rows_max = 1}));
    return !owners.rows.empty();
  }

  // False for a file that was written here: its name is taken.
  Result<bool> remove_shadowed_file(const std::string& name, const Tables::DentryRef& dentry) {
    TRY_ASSIGN(const bool ours, holds_ours(lower_.prefix() + name + '/'));
    if (ours || erasures_.erased_below_since(mount(), lower_.prefix() + name + '/', lower_.listed_ns())) return false;
    TRY_ASSIGN(const Inode inode, tables_.load_inode(dentry.inode));
    TRY_ASSIGN(Inode record, tables_.load_name(inode, InodeId(directory_.id()), name));
    const std::string key = lower_.prefix() + name;
    TRY_ASSIGN(const auto mark, tables_.txn().get(format::writing_key(dentry.inode)));
    if (mark || !fully_persisted(record) || record.home().key() != key || !record.claimed_key().empty()) return false;
    if (inode.links() > 1 && !is_further_name(record)) return false;  // others may be copied from its object
    TRY_ASSIGN(const auto owner, tables_.find_owner(mount(), key));
    tables_.erase_owner(mount(), key, owner);
    record.clear_home();
    tables_.put_inode(record);
    TRY_ASSIGN(const auto unlinked, tables_.remove_entry(InodeId(directory_.id()), name, dentry, false));
    changes_.shadowed.push_back(name);
    changes_.content_changed.push_back(dentry.inode);
    if (unlinked.local_file != LocalFileId(0)) changes_.stale_local_files.push_back(unlinked.local_file);
    return true;
  }

  // A directory made while its prefix was claimed gets its lower layer now.
  Result<void> attach_directory(InodeId id) {
    TRY_ASSIGN(Inode inode, tables_.load_inode(id));
    if (inode.has_lower()) return {};
    TRY_ASSIGN(const Inode parent, tables_.load_inode(InodeId(directory_.id())));
    TRY(tables_.attach_lower(inode, parent, 0));
    if (inode.has_lower()) tables_.put_inode(inode);
    return {};
  }

  Result<void> update_file(InodeId id, const LowerEntry& entry, const std::string& key) {
    TRY_ASSIGN(Inode inode, tables_.load_inode(id));
    TRY_ASSIGN(Inode record, tables_.load_name(inode, InodeId(directory_.id()), entry.name));
    // Unpersisted content meets the bucket's when it is uploaded.
    if (!record.has_home() || record.home().key() != key || record.home().etag() == entry.etag ||
        record.home().since_ns() >= lower_.listed_ns() || !record.claimed_key().empty() ||
        !inode.claimed_key().empty() || !content_persisted(record) || !content_persisted(inode))
      return {};
    TRY_ASSIGN(const auto mark, tables_.txn().get(format::writing_key(id)));
    if (mark) return {};
    if (is_further_name(record)) {
      TRY_ASSIGN(const bool exchanged, exchange_names(inode, record));
      if (!exchanged) return {};
    }
    take_content(tables_, inode, entry.etag, entry.size, entry.mtime_ns, changes_);
    return {};
  }

  // The further name becomes the first one, with the object that is under it.
  Result<bool> exchange_names(Inode& inode, Inode& record) {
    const format::Home first = inode.home();
    const format::Home further = record.home();
    TRY_ASSIGN(const auto first_owner, tables_.find_owner(MountId(first.mount()), first.key()));
    TRY_ASSIGN(const auto further_owner, tables_.find_owner(MountId(further.mount()), further.key()));
    if (!first_owner || first_owner->inode() != inode.id() || !further_owner || further_owner->inode() != record.id())
      return false;
    tables_.put_owner(MountId(first.mount()), first.key(), InodeId(record.id()));
    tables_.put_owner(MountId(further.mount()), further.key(), InodeId(inode.id()));
    *inode.mutable_home() = further;
    *record.mutable_home() = first;
    const InodeId parent(inode.parent());
    const std::string name = inode.name();
    tables_.set_first_name(inode, InodeId(record.parent()), record.name());
    tables_.move_name(record, parent, name);
    return true;
  }

  template <typename NextId>
  Result<void> make_file(const LowerEntry& entry, const std::string& key, NextId&& next_id) {
    // Another inode's object, or one to be erased.
    TRY_ASSIGN(const auto owner, tables_.find_owner(mount(), key));
    if (owner) return {};
    TRY_ASSIGN(Inode inode, make_inode(entry, format::REGULAR, kFilePermissions, next_id));
    tables_.set_size(inode, entry.size);
    set_home(inode, entry, key);
    inode.set_persisted_generation(inode.generation());
    tables_.put_owner(mount(), key, InodeId(inode.id()));
    tables_.put_inode(inode);
    return {};
  }

  template <typename NextId>
  Result<void> make_directory(const LowerEntry& entry, const std::string& key, NextId&& next_id) {
    TRY_ASSIGN(const bool ours, holds_ours(key));
    if (ours) return {};
    TRY_ASSIGN(Inode inode, make_inode(entry, format::DIRECTORY, kDirectoryPermissions, next_id));
    inode.mutable_lower()->set_mount(lower_.mount());
    inode.mutable_lower()->set_prefix(key);
    tables_.put_inode(inode);
    return {};
  }

  template <typename NextId>
  Result<Inode> make_inode(const LowerEntry& entry, FileType type, uint32_t permissions, NextId&& next_id) {
    TRY_ASSIGN(const InodeId id, next_id());
    // What the first listing shows was there before.
    const auto novelty =
        directory_.lower().listed_ns() == 0 ? Tables::Novelty::kThereBefore : Tables::Novelty::kNew;
    Inode inode = tables_.make_inode(id, type, InodeId(directory_.id()), entry.name, permissions, directory_.uid(),
                                     directory_.gid(), novelty);
    if (entry.mtime_ns != 0) inode.set_mtime_ns(entry.mtime_ns);
    inode.set_persisted_attributes_version(inode.attributes_version());
    inode.set_attributes_unknown(true);
    changes_.entries_changed.emplace_back(InodeId(directory_.id()), entry.name);
    return inode;
  }

  void set_home(Inode& inode, const LowerEntry& entry, const std::string& key) {
    auto& home = *inode.mutable_home();
    home.set_mount(lower_.mount());
    home.set_key(key);
    set_object(tables_, home, entry.etag, entry.size);
  }

  Tables& tables_;
  const Inode& directory_;
  const format::Lower& lower_;
  const RecentErasures& erasures_;
  Namespace::LowerChanges& changes_;
};

// kStale unless the directory still reads that prefix.
Result<Inode> load_merged(Tables& tables, InodeId directory, const format::Lower& lower) {
  TRY_ASSIGN(Inode record, tables.load_inode(directory));
  if (record.links() == 0 || !record.has_lower() || record.lower().mount() != lower.mount() ||
      record.lower().prefix() != lower.prefix())
    return fail(ErrorCode::kStale, "the directory reads another prefix by now");
  return record;
}

// The object's metadata names `sidecar`, or none.
Result<void> take_sidecar(Tables& tables, Inode& record, const format::Home& sidecar) {
  if (record.sidecar().key() == sidecar.key()) return {};
  if (record.has_sidecar()) {
    TRY(tables.release_sidecar(record, MountId(record.sidecar().mount()), record.sidecar().key(),
                               record.sidecar().etag()));
  }
  record.clear_sidecar();
  if (sidecar.key().empty()) return {};
  const MountId mount(sidecar.mount());
  TRY_ASSIGN(const auto owner, tables.find_owner(mount, sidecar.key()));
  if (!owner || owner->inode() == record.id()) {
    tables.put_owner(mount, sidecar.key(), InodeId(record.id()));
    *record.mutable_sidecar() = sidecar;
    return {};
  }
  // It is another's, who may give it up at any time: the object is to name one of its own.
  record.set_attributes_version(record.attributes_version() + 1);
  if (record.links() != 0 && !record.transient()) tables.enqueue(record, format::ORDINARY, tables.now_ns());
  return {};
}

}  // namespace

Result<Namespace::LowerChanges> Namespace::merge_lower(InodeId directory, const format::Lower& lower,
                                                       const std::vector<LowerEntry>& entries) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LowerChanges> {
    LowerChanges changes;
    TRY_ASSIGN(const Inode record, load_merged(tables, directory, lower));
    Merge merge(tables, record, lower, recent_erasures_, changes);
    for (const LowerEntry& entry : entries) TRY(merge.take(entry, [this] { return new_inode_id(); }));
    return changes;
  });
}

Result<Namespace::LowerChanges> Namespace::drop_lower(InodeId directory, std::string_view name,
                                                      std::string_view etag) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LowerChanges> {
    LowerChanges changes;
    TRY_ASSIGN(const auto dentry, tables.find_dentry(directory, name));
    if (!dentry || dentry->type == format::DIRECTORY) return changes;
    TRY_ASSIGN(const Inode inode, tables.load_inode(dentry->inode));
    TRY_ASSIGN(Inode record, tables.load_name(inode, directory, name));
    if (!fully_persisted(record) || record.home().etag() != etag || !record.claimed_key().empty()) return changes;
    TRY_ASSIGN(const auto mark, tables.txn().get(format::writing_key(dentry->inode)));
    if (mark) return changes;
    changes.content_changed.push_back(dentry->inode);
    changes.entries_changed.emplace_back(directory, name);
    const MountId mount(record.home().mount());
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, record.home().key()));
    if (owner && owner->inode() == record.id()) tables.erase_owner(mount, record.home().key(), owner);
    record.clear_home();
    // The content may be needed again, for the other names.
    if (inode.links() > 1 && !is_further_name(record)) tables.enqueue(record, format::ORDINARY, tables.now_ns());
    tables.put_inode(record);
    TRY_ASSIGN(const auto unlinked, tables.remove_entry(directory, name, *dentry, false));
    if (unlinked.local_file != LocalFileId(0)) changes.stale_local_files.push_back(unlinked.local_file);
    tables.touch_directory(directory, tables.now_ns());
    return changes;
  });
}

Result<Namespace::LowerChanges> Namespace::take_home(InodeId id, std::string_view known_etag, std::string_view etag, uint64_t size,
                                                     int64_t mtime_ns) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<LowerChanges> {
    LowerChanges changes;
    TRY_ASSIGN(auto inode, tables.find_inode(id));
    if (!inode || !content_persisted(*inode) || inode->home().etag() != known_etag || inode->claimed_key() == inode->home().key())
      return changes;
    TRY_ASSIGN(const auto mark, tables.txn().get(format::writing_key(id)));
    if (mark) return changes;
    take_content(tables, *inode, etag, size, mtime_ns, changes);
    return changes;
  });
}

Result<void> Namespace::set_listed(InodeId directory, const format::Lower& lower, int64_t listed_ns) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode record, load_merged(tables, directory, lower));
    record.mutable_lower()->set_listed_ns(listed_ns);
    tables.put_inode(record);
    return {};
  });
}

namespace {

// An object that says that it is one of several names of a file: makes `inode`, which a listing made for it, a further
// name of the inode that the first of the group became, if they still are the same file. Returns what the name leads to.
Result<Inode> take_into_group(Tables& tables, Inode inode, const LowerAttributes& attributes,
                              std::string_view volume_id) {
  const MountId mount(inode.home().mount());
  const InodeId id(inode.id());
  if (inode.links() != 1 || !inode.link_group().empty()) return inode;
  TRY_ASSIGN(const auto value, tables.txn().get(format::link_group_key(mount, attributes.link_group)));
  format::LinkGroup row;
  std::optional<Inode> first;
  if (value) {
    TRY_ASSIGN(row, format::decode<format::LinkGroup>(*value));
    TRY_ASSIGN(first, tables.find_inode(InodeId(row.inode())));
  }
  if (!first || first->links() == 0 || first->link_group() != attributes.link_group) {
    row = {};
    row.set_inode(inode.id());
    row.set_volume_id(attributes.owner_volume_id);
    row.set_generation(attributes.owner_generation);
    row.set_inode_generation(inode.generation());
    row.set_inode_attributes_version(inode.attributes_version());
    tables.join_group(inode, mount, attributes.link_group, row);
    return inode;
  }

  const bool as_rebuilt = !row.volume_id().empty() && attributes.owner_volume_id == row.volume_id() &&
                          attributes.owner_generation == row.generation();
  const bool as_persisted = attributes.owner_volume_id == volume_id && first->has_home() &&
                            attributes.owner_generation == first->persisted_generation();
  if (!as_rebuilt && !as_persisted) return inode;
  TRY_ASSIGN(const auto mark, tables.txn().get(format::writing_key(id)));
  const bool untouched = !mark && inode.local_file() == 0 && content_persisted(inode) && inode.claimed_key().empty();
  if (!untouched || first->type() != inode.type() || first->links() >= kLinksMax) return inode;

  const format::Home home = inode.home();
  const std::string name = inode.name();
  const InodeId parent(inode.parent());
  const bool same_attributes = as_rebuilt && first->attributes_version() == row.inode_attributes_version() &&
                               first->permissions() == inode.permissions() && first->uid() == inode.uid() &&
                               first->gid() == inode.gid() && first->mtime_ns() == inode.mtime_ns();
  const bool moved = inode.queued() != format::NOT_QUEUED;
  tables.dequeue(inode);
  tables.count_entry(parent, inode, -1);
  TRY(tables.erase_inode(inode));
  first->set_links(first->links() + 1);
  TRY_ASSIGN(Inode record, tables.add_further_name(*first, id, parent, name));
  *record.mutable_home() = home;
  record.set_persisted_generation(as_rebuilt ? row.inode_generation() : attributes.owner_generation);
  record.set_persisted_attributes_version(same_attributes ? first->attributes_version() : 0);
  tables.put_dentry(parent, name, {InodeId(first->id()), first->type()});
  if (moved) tables.enqueue(record, format::ORDINARY, tables.now_ns());
  tables.put_inode(record);
  tables.put_inode(*first);
  if (content_persisted(*first)) TRY(tables.requeue_further_names(*first));
  return *std::move(first);
}

}  // namespace

Result<Inode> Namespace::set_lower_attributes(InodeId inode, std::string_view etag,
                                              const LowerAttributes& attributes) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (!record.attributes_unknown() || record.home().etag() != etag) return record;
    record.set_attributes_unknown(false);
    if (attributes.permissions) record.set_permissions(*attributes.permissions & 07777);
    if (attributes.uid) record.set_uid(*attributes.uid);
    if (attributes.gid) record.set_gid(*attributes.gid);
    if (attributes.mtime_ns) {
      if (*attributes.mtime_ns != record.mtime_ns()) keep_modified(record);
      record.set_mtime_ns(*attributes.mtime_ns);
      if (is_directory(record)) {
        tables.txn().put(format::directory_mtime_key(inode), kv::encode_counter(*attributes.mtime_ns));
        record.set_marker_mtime_ns(*attributes.mtime_ns);
      }
    }
    const bool special = is_special(attributes.type) && record.size() == 0;
    if ((attributes.type == format::SYMLINK || special) && record.type() == format::REGULAR && record.links() == 1) {
      tables.set_size(record, 0);
      record.set_type(attributes.type);
      record.set_symlink_target(attributes.symlink_target);
      if (is_device(attributes.type)) record.set_rdev(attributes.rdev.value_or(0));
      tables.put_dentry(InodeId(record.parent()), record.name(), {inode, record.type()});
    }
    if (!attributes.link_group.empty() && !is_directory(record)) {
      TRY_ASSIGN(record, take_into_group(tables, std::move(record), attributes, volume_id_));
      if (InodeId(record.id()) != inode) return record;
    }
    ObjectTables(tables).take_found(record, attributes.object);
    tables.replace_xattrs(record, attributes.xattrs);
    TRY(take_sidecar(tables, record, attributes.sidecar));
    tables.put_inode(record);
    return record;
  });
}

}  // namespace weir::meta
