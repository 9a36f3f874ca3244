// meta/move_entry.h -- a name that moves, within one transaction: what every kind of rename ends with.
//
// Threads: as kv::Txn, one at a time.
#pragma once

#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "meta/path_rules.h"
#include "meta/tables.h"
#include "meta/types.h"

namespace weir::meta {

// A directory and a name in it.
struct Entry {
  InodeId parent{};
  std::string_view name;
};

// Whether the record has an object, or is to get one: what its path and its policy mean for the queue changes with them.
bool wants_object(const Inode& record);

// Makes `inode`, or the name of it that is at `from`, the entry at `to`; the dentries it replaces are gone already.
// Says whether its new path wants it persisted at once.
Result<bool> move_entry(Tables& tables, Inode inode, const Entry& from, const Entry& to, const PathRules& rules);

}  // namespace weir::meta
