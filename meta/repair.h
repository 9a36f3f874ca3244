// meta/repair.h -- applies remedies (meta/remedy.h) to a volume in use.
//
// Threads: one at a time. Crash: what is repaired is repaired; the next run finds the rest.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"

namespace weir::meta {

inline constexpr std::string_view kLostFoundName = "lost+found";

class Repair {
 public:
  explicit Repair(Namespace& names) : names_(names) {}

  enum class Outcome : uint8_t {
    kAgrees,    // by now there is nothing to repair
    kRepaired,
    kUndecided, // there is no remedy
  };
  // The discrepancy of this kind in the row of this key.
  Result<Outcome> repair(const std::string& row, std::string_view kind);

  // The directory of a mount point for what has no place; made when there is none. kNotFound: no such mount point.
  Result<InodeId> lost_found_of(MountId mount);

  // The content in the home's object of this etag is not what it should be, and all of it is local and will stay: it is persisted
  // again, whatever is there now being kept. False: the inode is another one by now.
  Result<bool> persist_again(InodeId inode, std::string_view home_etag);

 private:
  Namespace& names_;
  std::map<MountId, InodeId> lost_found_;
};

}  // namespace weir::meta
