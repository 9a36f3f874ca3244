#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "format/keys.h"
#include "meta/move_entry.h"
#include "meta/object_namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// The inode's path is another one now. Whether it wants the inode persisted at once.
Result<bool> place_changed(Tables& tables, Inode& inode, const PathRules& rules) {
  inode.set_ctime_ns(tables.now_ns());
  // Written now: the walk to the new path must see this record.
  tables.put_inode(inode);
  TRY_ASSIGN(const WritePolicy policy, tables.policy_of(inode, rules));
  if (wants_object(inode)) tables.requeue(inode, policy, queue_class_for(policy));
  tables.put_inode(inode);
  return persists_first(policy) && wants_object(inode) && !content_persisted(inode);
}

}  // namespace

Result<ObjectRenamed> ObjectNamespace::rename(std::string_view bucket, std::string_view source, std::string_view target,
                                              const Incumbent& incumbent, const RenameGuards& guards,
                                              const ObjectPut& defaults, kv::Durability durability) {
  if (source.ends_with('/') || target.ends_with('/'))
    return fail(ErrorCode::kInvalid, "a key that ends in '/' cannot be renamed, nor given by a rename");
  const auto rules = names_.rules();
  const auto next_id = [this] { return names_.new_inode_id(); };
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<ObjectRenamed> {
        ObjectTables objects(tables);
        TRY_ASSIGN(const Inode top, objects.load_bucket(bucket));
        const MountId mount(top.lower().mount());
        TRY_ASSIGN(auto from, objects.resolve(top, source));
        if (!from.inode || !is_object(*from.inode)) return fail(ErrorCode::kNotFound, "no object '" + std::string(source) + "'");
        TRY_ASSIGN(auto to, objects.resolve(top, target));
        const InodeId there(to.inode ? to.inode->id() : 0);
        if (there != incumbent.inode.value_or(InodeId(0)))
          return fail(ErrorCode::kStale, "'" + std::string(target) + "' is another object by now");
        TRY(guards.source(from.inode));
        TRY(guards.target(to.inode));
        Inode& moved = *from.inode;
        ObjectRenamed renamed;
        renamed.moved = InodeId(moved.id());
        renamed.generation = Generation(moved.generation());
        if (there == renamed.moved) return renamed;

        if (to.in_shadow) {
          TRY_ASSIGN(renamed.replaced, objects.remove_shadow(mount, *to.inode, incumbent.in_use));
        } else if (to.inode) {
          TRY_ASSIGN(renamed.replaced, tables.remove_entry(to.place.directory, to.path->names.back(), *to.place.dentry,
                                                           incumbent.in_use == InUse::kYes));
        }
        if (renamed.replaced) {
          TRY(objects.spare_replaced(mount, target, kReplacedGraceNs));
          renamed.replaced->erases_object = false;
        }

        std::optional<Inode> new_parent;
        if (!to.blocked) {
          TRY_ASSIGN(new_parent, objects.make_parents(*to.path, to.place, defaults, next_id, renamed.changed));
          TRY(Tables::check_free_name(*new_parent, to.path->names.back()));
        }
        const InodeId old_directory = from.place.directory;
        if (!from.in_shadow) {
          // Replacing a further name of the same file may have changed the record.
          TRY_ASSIGN(moved, tables.load_inode(renamed.moved));
          tables.erase_dentry(old_directory, from.path->names.back(), moved.type());
          tables.touch_directory(old_directory, tables.now_ns());
          renamed.changed.emplace_back(old_directory, from.path->names.back());
        } else {
          tables.txn().erase(format::shadow_key(mount, source));
        }
        if (new_parent) {
          const Entry entry{InodeId(new_parent->id()), to.path->names.back()};
          if (from.in_shadow) {
            moved.set_shadow(false);
            moved.set_parent(entry.parent.value());
            moved.set_name(std::string(entry.name));
            tables.put_dentry(entry.parent, entry.name, {renamed.moved, moved.type()});
            tables.count_entry(entry.parent, moved, 1);
            TRY_ASSIGN(renamed.policy_needs_persist, place_changed(tables, moved, *rules));
          } else {
            TRY_ASSIGN(renamed.policy_needs_persist,
                       move_entry(tables, std::move(moved), {old_directory, from.path->names.back()}, entry, *rules));
          }
          tables.touch_directory(entry.parent, tables.now_ns());
          renamed.changed.emplace_back(entry.parent, entry.name);
        } else {
          if (!from.in_shadow) {
            if (moved.type() != format::REGULAR || moved.links() > 1) {
              return fail(ErrorCode::kNotSupported, "no path can show the key '" + std::string(target) +
                                                        "': a file with several names, or of another kind, cannot be renamed to it");
            }
            tables.count_entry(old_directory, moved, -1);
          }
          objects.put_shadow(top, target, moved);
          renamed.in_shadow = true;
          TRY_ASSIGN(renamed.policy_needs_persist, place_changed(tables, moved, *rules));
        }
        if (!from.in_shadow) TRY(objects.prune(old_directory, renamed.changed));
        return renamed;
      },
      durability);
}

}  // namespace weir::meta
