#include "base/no_wait.h"
#include "meta/move_entry.h"
#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
Result<Renamed> Namespace::rename(InodeId parent, std::string_view name, InodeId new_parent,
                                  std::string_view new_name, RenameMode mode, InUse replaced_in_use,
                                  std::optional<InodeId> expected) {
  TRY(check_name(name));
  TRY(check_name(new_name));
  const auto rules = this->rules();
  const Entry source{parent, name};
  const Entry target{new_parent, new_name};
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Renamed> {
    TRY_ASSIGN(const Inode source_directory, tables.load_parent(parent));
    Inode target_directory = source_directory;
    if (parent != new_parent) {
      TRY_ASSIGN(target_directory, tables.load_parent(new_parent));
    }
    TRY_ASSIGN(const auto moved, tables.load_dentry(parent, name));
    TRY_ASSIGN(const auto replaced, tables.find_dentry(new_parent, new_name));
    TRY(check_expected(expected, replaced ? replaced->inode : InodeId(0)));

    TRY(Tables::check_free_name(target_directory, new_name));
    Renamed renamed;
    renamed.moved = moved.inode;
    renamed.moved_is_directory = moved.type == format::DIRECTORY;
    if (mode == RenameMode::kNoReplace && replaced) return fail(ErrorCode::kExists);
    if (mode == RenameMode::kExchange && !replaced) return fail(ErrorCode::kNotFound);
    if (replaced && replaced->inode == moved.inode) return renamed;

    if (parent != new_parent) {
      TRY_ASSIGN(const auto source_place, tables.place_of(source_directory));
      TRY_ASSIGN(const auto target_place, tables.place_of(target_directory));
      if (source_place.mount != target_place.mount) return fail(ErrorCode::kCrossDevice);
      if (moved.type == format::DIRECTORY) {
        TRY_ASSIGN(const bool below, tables.is_below(target_directory, moved.inode));
        if (below) return fail(ErrorCode::kLoop, "a directory cannot move into itself");
      }
      if (mode == RenameMode::kExchange && replaced->type == format::DIRECTORY) {
        TRY_ASSIGN(const bool below, tables.is_below(source_directory, replaced->inode));
        if (below) return fail(ErrorCode::kLoop, "a directory cannot move into itself");
      }
    }

    TRY_ASSIGN(Inode moved_inode, tables.load_inode(moved.inode));
    tables.touch_directory(parent, tables.now_ns());
    tables.touch_directory(new_parent, tables.now_ns());
    if (mode == RenameMode::kExchange) {
      TRY_ASSIGN(Inode exchanged, tables.load_inode(replaced->inode));
      tables.erase_dentry(new_parent, new_name, replaced->type);
      tables.erase_dentry(parent, name, moved.type);
      TRY_ASSIGN(const bool first, move_entry(tables, std::move(moved_inode), source, target, *rules));
      TRY_ASSIGN(const bool second, move_entry(tables, std::move(exchanged), target, source, *rules));
      renamed.exchanged = replaced->inode;
      renamed.policy_needs_persist = first || second;
      if (renamed.policy_needs_persist) TRY(NoWait::check());
      return renamed;
    }
    if (replaced) {
      if (moved.type == format::DIRECTORY && replaced->type != format::DIRECTORY)
        return fail(ErrorCode::kNotDirectory);
      if (moved.type != format::DIRECTORY && replaced->type == format::DIRECTORY)
        return fail(ErrorCode::kIsDirectory);
      TRY_ASSIGN(renamed.replaced,
                 tables.remove_entry(new_parent, new_name, *replaced, replaced_in_use == InUse::kYes));
    }
    tables.erase_dentry(parent, name, moved.type);
    TRY_ASSIGN(renamed.policy_needs_persist, move_entry(tables, std::move(moved_inode), source, target, *rules));
    if (renamed.policy_needs_persist) TRY(NoWait::check());
    return renamed;
  });
}

}  // namespace weir::meta
