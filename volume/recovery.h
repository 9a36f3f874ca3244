// volume/recovery.h -- makes metadata and local files agree after a stop that was not clean.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "meta/namespace.h"
#include "pages/page_store.h"

namespace weir::volume {

struct Recovered {
  uint64_t marks = 0;         // inodes that were open for write
  uint64_t orphans = 0;       // unlinked while open
  uint64_t local_files = 0;
  uint64_t garbage = 0;       // local files that nothing led to
  uint64_t quarantined = 0;   // unpersisted content that did not survive
};

// Commits what inodes open for write hold now, reclaims orphans, and tells the page store which local files live. After a
// restart of the machine, unpersisted local files of another size than was committed lost bytes that were never synced: they are
// quarantined.
// Requires: nobody else uses `names` or `pages`. Crash: may be run again at any time.
Result<Recovered> recover(meta::Namespace& names, pages::PageStore& pages);

// Commits and ends one writing whose handles are gone. False: its local file is gone too, and the inode is quarantined unless
// its home has the content.
Result<bool> recover_mark(meta::Namespace& names, pages::PageStore& pages, const meta::WriteMarkState& mark);

}  // namespace weir::volume
