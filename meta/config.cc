#include "meta/namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// Inodes forgotten, or looked at again, in one transaction.
constexpr size_t kBatch = 200;

constexpr uint32_t kMountPermissions = 0755;

}  // namespace

Result<std::vector<format::Mount>> Namespace::mounts() {
  const auto range = format::mount_range();
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<std::vector<format::Mount>> {
    TRY_ASSIGN(const auto page, txn.get_range(range.begin, range.end, {.rows_max = 10'000, .bytes_max = 10'000'000}));
    std::vector<format::Mount> mounts;
    for (const auto& row : page.rows) {
      TRY_ASSIGN(auto mount, format::decode<format::Mount>(row.value));
      mounts.push_back(std::move(mount));
    }
    return mounts;
  });
}

Result<format::Mount> Namespace::add_mount(std::string_view name, std::string_view uri,
                                           const std::vector<std::pair<std::string, std::string>>& properties) {
  TRY(check_name(name));
  TRY_ASSIGN(const InodeId id, new_inode_id());
  return run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<format::Mount> {
        TRY_ASSIGN(const auto existing, tables.find_dentry(kRootInode, name));
        if (existing) return fail(ErrorCode::kExists, "/" + std::string(name) + " is a mount point already");
        const std::string counter = format::id_counter_key("mount");
        TRY_ASSIGN(const auto last, tables.txn().get(counter));
        int64_t mount_id = 1;
        if (last) {
          TRY_ASSIGN(mount_id, kv::decode_counter(*last));
          ++mount_id;
        }
        tables.txn().put(counter, kv::encode_counter(mount_id));

        format::Mount mount;
        mount.set_id(static_cast<uint32_t>(mount_id));
        mount.set_name(std::string(name));
        mount.set_uri(std::string(uri));
        for (const auto& [key, value] : properties) (*mount.mutable_properties())[key] = value;
        mount.set_directory(id.value());
        tables.txn().put(format::mount_key(MountId(mount.id())), format::encode(mount));

        Inode directory = tables.make_inode(id, format::DIRECTORY, kRootInode, name, kMountPermissions,
                                            options_.root_uid, options_.root_gid);
        directory.mutable_lower()->set_mount(mount.id());
        tables.put_inode(directory);
        return mount;
      },
      kv::Durability::kSynced);
}

Result<void> Namespace::remove_mount(std::string_view name, const std::function<void(LocalFileId)>& forget) {
  TRY(check_name(name));
  TRY_ASSIGN(const auto mounts, this->mounts());
  const format::Mount* mount = nullptr;
  for (const auto& candidate : mounts) {
    if (candidate.name() == name) mount = &candidate;
  }
  if (mount == nullptr) return fail(ErrorCode::kNotFound, "/" + std::string(name) + " is not a mount point");
  const MountId mount_id(mount->id());
  const InodeId directory(mount->directory());

  // From here on nothing below has a path any more.
  TRY(run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<void> {
        const auto removals = format::removal_range();
        for (std::string begin = removals.begin; !begin.empty();) {
          TRY_ASSIGN(const auto page, tables.txn().get_range(begin, removals.end));
          for (const auto& row : page.rows) {
            TRY_ASSIGN(const auto removal, format::decode<format::TreeRemoval>(row.value));
            if (removal.mount() == mount_id.value())
              return fail(ErrorCode::kNotEmpty, removal.path() + " is being removed; see weir status");
          }
          begin = page.more ? kv::key_after(page.rows.back().key) : "";
        }
        TRY_ASSIGN(const bool waiting, something_waits(tables, mount_id));
        if (waiting) {
          return fail(ErrorCode::kNotEmpty, "files below /" + std::string(name) +
                                                " wait to be persisted, or their objects to be erased; see async-persist list");
        }
        TRY_ASSIGN(Inode record, tables.load_inode(directory));
        tables.erase_dentry(kRootInode, name, format::DIRECTORY);
        tables.count_subdirectory(kRootInode, -1);
        tables.touch_directory(kRootInode, tables.now_ns());
        tables.txn().erase(format::mount_key(mount_id));
        tables.txn().put(format::orphan_key(directory), "");
        record.set_links(0);
        tables.put_inode(record);
        return {};
      },
      kv::Durability::kSynced));
  return forget_mount(directory, mount_id, forget);
}

Result<bool> Namespace::something_waits(Tables& tables, MountId mount) {
  for (const auto queue_class : {format::URGENT, format::ORDINARY}) {
    auto range = format::queue_range(queue_class);
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto entry, format::parse_queue_key(row.key));
        TRY_ASSIGN(const auto inode, tables.find_record(entry.inode, kv::Isolation::kSnapshot));
        if (!inode) continue;
        const auto place = tables.place_of(*inode, kv::Isolation::kSnapshot);
        if (failed_with(place, ErrorCode::kNotFound)) continue;  // in a tree that is being removed
        TRY(place);
        if (place->mount == mount) return true;
      }
      more = page.more;
      if (more) range.begin = kv::key_after(page.rows.back().key);
    }
  }
  auto range = format::erase_range();
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto entry, format::parse_erase_key(row.key));
      if (entry.mount == mount) return true;
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return false;
}

Result<void> Namespace::forget_mount(InodeId directory, MountId mount,
                                     const std::function<void(LocalFileId)>& forget) {
  std::vector<InodeId> directories{directory};
  while (!directories.empty()) {
    const InodeId current = directories.back();
    std::vector<InodeId> below;
    std::vector<LocalFileId> local_files;
    TRY_ASSIGN(const bool emptied, run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
      below.clear();
      local_files.clear();
      const auto range = format::dentry_range(current);
      TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end, {.rows_max = kBatch}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
        const InodeId id(dentry.inode());
        if (dentry.type() == format::DIRECTORY) {
          TRY_ASSIGN(const bool empty, tables.directory_empty(id));
          if (!empty) {
            below.push_back(id);
            continue;
          }
        }
        TRY_ASSIGN(auto found, tables.find_inode(id));
        if (!found) {
          // Another name of an inode that went with its first one.
          tables.erase_dentry(current, format::dentry_name(row.key), dentry.type());
          continue;
        }
        Inode& inode = *found;
        TRY_ASSIGN(const auto names, tables.further_names(inode));
        for (const Inode& name : names) TRY(tables.erase_further_name(name));
        if (inode.local_file() != 0) local_files.emplace_back(inode.local_file());
        tables.dequeue(inode);
        tables.set_transient(inode, false);
        tables.txn().erase(format::writing_key(id));
        TRY(tables.erase_tree_job(id));
        TRY(tables.erase_inode(inode));
        tables.erase_dentry(current, format::dentry_name(row.key), dentry.type());
      }
      return page.rows.empty();
    }));
    for (const LocalFileId file : local_files) forget(file);
    if (emptied) {
      directories.pop_back();
    } else {
      directories.insert(directories.end(), below.begin(), below.end());
    }
  }
  // Objects that no path leads to.
  for (bool more = true; more;) {
    std::vector<LocalFileId> local_files;
    TRY_ASSIGN(more, run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
      local_files.clear();
      const auto range = format::shadow_range(mount);
      TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end, {.rows_max = kBatch}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto shadow, format::decode<format::Shadow>(row.value));
        TRY_ASSIGN(auto inode, tables.find_inode(InodeId(shadow.inode())));
        tables.txn().erase(row.key);
        if (!inode) continue;
        if (inode->local_file() != 0) local_files.emplace_back(inode->local_file());
        tables.dequeue(*inode);
        tables.set_transient(*inode, false);
        TRY(tables.erase_inode(*inode));
      }
      return page.more;
    }));
    for (const LocalFileId file : local_files) forget(file);
  }
  // Objects that were being put in parts.
  for (bool more = true; more;) {
    std::vector<LocalFileId> local_files;
    TRY_ASSIGN(more, run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
      local_files.clear();
      const auto range = format::object_upload_range(mount);
      TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end, {.rows_max = 1}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto entry, format::parse_object_upload_key(row.key));
        TRY_ASSIGN(const auto upload, format::decode<format::ObjectUpload>(row.value));
        TRY_ASSIGN(local_files, ObjectTables(tables).erase_upload(mount, entry.object_key, entry.upload_id, upload));
      }
      return page.more;
    }));
    for (const LocalFileId file : local_files) forget(file);
  }
  // Owners, with the entries of those that were to be erased.
  for (bool more = true; more;) {
    TRY_ASSIGN(more, run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
      const auto range = format::owner_range(mount, "");
      TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end, {.rows_max = kBatch}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto owner, format::decode<format::Owner>(row.value));
        tables.erase_owner(mount, format::owner_object_key(row.key), owner);
      }
      return page.more;
    }));
  }
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    const auto claims = format::claim_range(mount, "");
    tables.txn().erase_range(claims.begin, claims.end);
    tables.txn().erase(format::orphan_key(directory));
    TRY_ASSIGN(const auto record, tables.find_inode(directory));
    if (record) TRY(tables.erase_inode(*record));
    return {};
  });
}

Result<std::optional<std::string>> Namespace::document(std::string_view name) {
  return kv::read_txn(kv_, [&](kv::Txn& txn) { return txn.get(format::config_key(name)); });
}

Result<void> Namespace::put_document(std::string_view name, std::string_view text) {
  if (text.size() >= kv::kValueBytesMax)
    return fail(ErrorCode::kTooLarge, "the document is over 100,000 bytes");
  return run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<void> {
        tables.txn().put(format::config_key(name), text);
        return {};
      },
      kv::Durability::kSynced);
}

void Namespace::set_rules(std::shared_ptr<const PathRules> rules) { rules_.store(std::move(rules)); }

Result<void> Namespace::requeue_transient(const std::function<bool()>& stopping) {
  const auto rules = this->rules();
  auto range = format::transient_range();
  for (bool more = true; more && !stopping();) {
    TRY_ASSIGN(const auto page, kv::read_txn(kv_, [&](kv::Txn& txn) {
      return txn.get_range(range.begin, range.end, {.rows_max = kBatch, .isolation = kv::Isolation::kSnapshot});
    }));
    TRY(run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const InodeId id, format::parse_id_key(row.key));
        TRY_ASSIGN(auto inode, tables.find_inode(id));
        if (!inode || !inode->transient()) continue;
        TRY_ASSIGN(const WritePolicy policy, tables.policy_of(*inode, *rules));
        if (policy == WritePolicy::kTransient) continue;
        tables.requeue(*inode, policy, format::ORDINARY);
        tables.put_inode(*inode);
      }
      return {};
    }));
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return {};
}

}  // namespace weir::meta
