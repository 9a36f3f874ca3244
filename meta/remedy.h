// meta/remedy.h -- what makes a row agree that does not: a change within the transaction that found it.
//
// Nothing is thrown away: a row that is taken out or written over is kept as it was in table `repaired`. A remedy is the least
// that makes one row agree; what then disagrees elsewhere has a remedy of its own, so that going through the whole again and
// again ends with what nobody but a person can decide.
//
// Threads: one at a time. Crash: all of a remedy is there or nothing of it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "meta/tables.h"
#include "meta/types.h"

namespace weir::meta {

struct RemedySupplies {
  InodeId lost_found{};  // the directory for what has no place; of the mount point that Remedy::lost_found_of names
  InodeId new_id{};      // not used yet
};

struct Remedy {
  std::string does;  // one phrase; empty: there is none
  std::function<Result<void>(Tables&, const RemedySupplies&)> apply;
  MountId lost_found_of{};  // not 0: needs such a directory

  explicit operator bool() const { return static_cast<bool>(apply); }
};

Remedy take_out(std::string key, std::string_view what);
Remedy put_row(std::string key, std::string value, std::string_view what);
Remedy add_to(std::string key, int64_t delta, std::string_view what);
// `change` sees the record, or that of a further name, as it is.
Remedy change_record(InodeId id, std::string_view what, std::function<Result<void>(Tables&, Inode&)> change);
Remedy queue_again(InodeId id);
// The name leads to the inode again, which says already that it is there. Requires: no such name.
Remedy put_name_back(const Inode& inode);
// An inode that no name leads to becomes NUMBER in lost+found. `stray` is the row of a name to be taken out with it; empty: none.
Remedy move_to_lost_found(InodeId id, MountId mount, std::string stray);
// The inode is where this name says; it has no other.
Remedy accept_name(InodeId id, InodeId parent, std::string_view name);
// The name is one of several of the inode's.
Remedy accept_further_name(InodeId id, InodeId parent, std::string_view name);
// The top directory of a mount point, with everything below it still to be listed. Requires: neither its name nor its inode.
Remedy make_mount_directory(const format::Mount& mount);
// The key is the record's again, and nobody erases the object.
Remedy own_key(InodeId id, MountId mount, std::string_view key);

}  // namespace weir::meta
