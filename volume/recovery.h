// volume/recovery.h -- makes metadata and local files agree after a stop that was not clean.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "volume/logged_bodies.h"
#include "volume/volume.h"

namespace weir::volume {

struct Recovered {
  uint64_t marks = 0;         // inodes that were open for write
  uint64_t orphans = 0;       // unlinked while open
  uint64_t local_files = 0;
  uint64_t garbage = 0;       // local files that nothing led to
  uint64_t quarantined = 0;   // unpersisted content that did not survive
  std::vector<LoggedBodies::Standing> bodies;  // rows that stand, of files that hold what they say
  uint64_t cut = 0;           // of files that grew, the end did not
  uint64_t reverted = 0;      // to what was persisted of them
  std::vector<InodeId> in_doubt;  // of those: what is persisted of them the bucket knows better; to LowerLayer::look_at_home()
  bool local_files_left = false;  // to OpenFiles::recover_local_file() and PageStore::finish_recovery()
};

// kBehind: while the volume is served, where nothing can have been lost.
enum class LocalFiles : uint8_t { kBefore, kBehind };

// Commits what inodes open for write hold now, reclaims orphans, and tells the page store which local files live.
//
// After a stop that may have lost what was not synced, an unpersisted local file is believed as far as it was synced or flushed
// (meta::durable_bytes). Of what was not:
// - a file that grew is cut to what is durable;
// - one that was never durable goes back to what is persisted of it, if anything is, or is empty if nothing was committed but its
//   creation; else it is quarantined.
// Those that have a logged body get it back before that.
// Inodes that are `held` are open still: they are no orphans, and their writing is left to OpenFiles::resume().
// Requires: nobody else uses `names` or `pages`. Crash: may be run again at any time.
using HeldInodes = std::unordered_set<InodeId>;
HeldInodes inodes_of(std::span<const HeldFile> held);
Result<Recovered> recover(meta::Namespace& names, pages::PageStore& pages, const HeldInodes& held, LocalFiles local_files);

// Commits what the local file of a writing holds, if that differs from what was committed before.
struct MarkCommit {
  bool there = false;    // the local file; if not, the inode is quarantined unless its home has the content
  bool changed = false;  // since the opening
};
Result<MarkCommit> commit_mark(meta::Namespace& names, pages::PageStore& pages, const meta::WriteMarkState& mark);

// Commits and ends one writing whose handles are gone. False: its local file is gone too, and the inode is quarantined unless
// its home has the content.
Result<bool> recover_mark(meta::Namespace& names, pages::PageStore& pages, const meta::WriteMarkState& mark);

}  // namespace weir::volume
