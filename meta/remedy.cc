#include "meta/remedy.h"

#include <optional>
#include <utility>

#include "format/keys.h"

namespace weir::meta {
namespace {

// Before it is changed.
Result<void> keep_row(Tables& tables, const std::string& key) {
  TRY_ASSIGN(const auto value, tables.txn().get(key));
  if (value) tables.txn().put(format::repaired_key(tables.now_ns(), key), *value);
  return {};
}

bool may_wait(const Inode& inode) { return !inode.transient() && !inode.quarantined() && inode.links() != 0; }

void wait_again(Tables& tables, Inode& record) {
  if (!is_further_name(record) && !may_wait(record)) return;
  tables.enqueue(record, record.queued() == format::URGENT ? format::URGENT : format::ORDINARY,
                 record.queued() != format::NOT_QUEUED ? record.queued_due_ns() : tables.now_ns());
}

}  // namespace

Remedy take_out(std::string key, std::string_view what) {
  return {.does = std::string(what) + " is taken out", .apply = [key](Tables& tables, const RemedySupplies&) -> Result<void> {
            TRY(keep_row(tables, key));
            tables.txn().erase(key);
            return {};
          }};
}

Remedy put_row(std::string key, std::string value, std::string_view what) {
  return {.does = std::string(what) + " is made",
          .apply = [key, value = std::move(value)](Tables& tables, const RemedySupplies&) -> Result<void> {
            TRY(keep_row(tables, key));
            tables.txn().put(key, value);
            return {};
          }};
}

Remedy add_to(std::string key, int64_t delta, std::string_view what) {
  return {.does = std::string(what) + " is set right",
          .apply = [key, delta](Tables& tables, const RemedySupplies&) -> Result<void> {
            tables.txn().add(key, delta);
            return {};
          }};
}

Remedy change_record(InodeId id, std::string_view what, std::function<Result<void>(Tables&, Inode&)> change) {
  return {.does = std::string(what),
          .apply = [id, change = std::move(change)](Tables& tables, const RemedySupplies&) -> Result<void> {
            TRY_ASSIGN(auto record, tables.find_record(id));
            if (!record) return fail(ErrorCode::kNotFound);
            TRY(keep_row(tables, format::inode_key(id)));
            TRY(change(tables, *record));
            tables.put_inode(*record);
            return {};
          }};
}

Remedy queue_again(InodeId id) {
  return change_record(id, "it waits to be persisted", [](Tables& tables, Inode& record) -> Result<void> {
    wait_again(tables, record);
    return {};
  });
}

Remedy put_name_back(const Inode& inode) {
  const InodeId id(is_further_name(inode) ? inode.link_of() : inode.id());
  return {.does = "the name is put back",
          .apply = [id, parent = InodeId(inode.parent()), name = inode.name(), type = inode.type()](
                       Tables& tables, const RemedySupplies&) -> Result<void> {
            tables.put_dentry(parent, name, {id, type});
            return {};
          }};
}

Remedy move_to_lost_found(InodeId id, MountId mount, std::string stray) {
  return {.does = "it is moved to lost+found as " + std::to_string(id.value()),
          .apply = [id, stray = std::move(stray)](Tables& tables, const RemedySupplies& supplies) -> Result<void> {
            TRY_ASSIGN(Inode inode, tables.load_inode(id));
            TRY(keep_row(tables, format::inode_key(id)));
            if (!stray.empty()) {
              TRY(keep_row(tables, stray));
              tables.txn().erase(stray);
            }
            // Sums of the directory that it says it is in are set right by themselves: it is no entry there.
            const std::string name = std::to_string(id.value());
            inode.set_parent(supplies.lost_found.value());
            inode.set_name(name);
            inode.set_shadow(false);
            tables.put_dentry(supplies.lost_found, name, {id, inode.type()});
            tables.count_entry(supplies.lost_found, inode, 1);
            wait_again(tables, inode);
            tables.put_inode(inode);
            if (is_directory(inode)) TRY(tables.put_tree_job(id, nullptr));
            return {};
          },
          .lost_found_of = mount};
}

Remedy accept_name(InodeId id, InodeId parent, std::string_view name) {
  return change_record(id, "the inode is where the name says",
                       [id, parent, name = std::string(name)](Tables& tables, Inode& inode) -> Result<void> {
                         inode.set_parent(parent.value());
                         inode.set_name(name);
                         wait_again(tables, inode);
                         if (is_directory(inode)) TRY(tables.put_tree_job(id, nullptr));
                         return {};
                       });
}

Remedy accept_further_name(InodeId id, InodeId parent, std::string_view name) {
  return {.does = "the name is one of the inode's",
          .apply = [id, parent, name = std::string(name)](Tables& tables, const RemedySupplies& supplies) -> Result<void> {
            TRY_ASSIGN(Inode inode, tables.load_inode(id));
            TRY(keep_row(tables, format::inode_key(id)));
            inode.set_links(inode.links() + 1);
            TRY_ASSIGN(Inode record, tables.add_further_name(inode, supplies.new_id, parent, name));
            wait_again(tables, record);
            tables.put_inode(record);
            tables.put_inode(inode);
            return {};
          }};
}

Remedy make_mount_directory(const format::Mount& mount) {
  return {.does = "the directory is made, and its store listed anew",
          .apply = [mount](Tables& tables, const RemedySupplies&) -> Result<void> {
            Inode directory = tables.make_inode(InodeId(mount.directory()), format::DIRECTORY, kRootInode, mount.name(), 0755,
                                                0, 0, Tables::Novelty::kThereBefore);
            directory.mutable_lower()->set_mount(mount.id());
            tables.put_inode(directory);
            return {};
          }};
}

Remedy own_key(InodeId id, MountId mount, std::string_view key) {
  return {.does = "the key is its own again",
          .apply = [id, mount, key = std::string(key)](Tables& tables, const RemedySupplies&) -> Result<void> {
            TRY_ASSIGN(const auto owner, tables.find_owner(mount, key));
            TRY(keep_row(tables, format::owner_key(mount, key)));
            tables.erase_owner(mount, key, owner);
            tables.put_owner(mount, key, id);
            return {};
          }};
}

}  // namespace weir::meta
