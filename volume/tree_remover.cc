#include "volume/tree_remover.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "base/log.h"

namespace weir::volume {
namespace {

constexpr size_t kJobs = 256;         // loaded at once
constexpr int kStepsInTurn = 32;      // of one job, before others have their turn

}  // namespace

TreeRemover::TreeRemover(meta::Namespace& names, OpenFiles& files, const ufs::MountTable& stores,
                         std::function<void()> whiteouts)
    : names_(names), files_(files), stores_(stores), whiteouts_(std::move(whiteouts)), thread_([this] { loop_.run(); }) {}

TreeRemover::~TreeRemover() { close(); }

void TreeRemover::close() {
  closed_ = true;
  loop_.close();
}

Duration TreeRemover::pass() {
  bool moved = false;
  bool stuck = false;
  InodeId after{};
  for (bool more = true; more && !closed_;) {
    const auto jobs = names_.removals(after, kJobs);
    if (!jobs) {
      log_error("volume.removals_unreadable", {{"error", jobs.error()}});
      return kFailedPause;
    }
    more = jobs->size() == kJobs;
    for (const format::TreeRemoval& removal : *jobs) {
      after = InodeId(removal.directory());
      for (int i = 0; i < kStepsInTurn && !closed_; ++i) {
        const auto progress = step(after);
        if (!progress)
          log_warn("volume.tree_removal_waits", {{"path", removal.path()}, {"inode", after}, {"error", progress.error()}});
        if (!progress || *progress == Progress::kStuck) {
          stuck = true;
          break;
        }
        moved = true;
        if (*progress == Progress::kOver) break;
      }
    }
  }
  if (moved) return Duration::zero();
  return stuck ? kFailedPause : kIdleInterval;
}

Result<TreeRemover::Progress> TreeRemover::step(InodeId job) {
  TRY(failpoint("volume.tree_removal_step"));
  TRY_ASSIGN(const auto work, names_.removal_work(job, kBatch));
  if (work.over) return Progress::kOver;
  if (work.purge) {
    TRY(purge(job, work));
  } else {
    TRY(remove(job, work));
  }
  return Progress::kMoved;
}

Result<void> TreeRemover::remove(InodeId job, const meta::Namespace::RemovalWork& work) {
  std::vector<OpenFiles::Removal> held;
  std::vector<std::optional<size_t>> held_at;  // of each entry that is no directory
  std::vector<meta::InUse> in_use;
  std::set<InodeId> inodes;
  for (const auto& entry : work.entries) {
    if (entry.type == format::DIRECTORY) {
      held_at.emplace_back();
      in_use.push_back(meta::InUse::kNo);
      continue;
    }
    // One with several names here is held once.
    if (!inodes.insert(entry.inode).second) break;
    // While several are held none is waited for: who holds that one may wait for one of these.
    auto removal = files_.try_begin_removal(entry.inode);
    if (!removal) {
      if (!in_use.empty()) break;
      TRY_ASSIGN(removal, files_.begin_removal(entry.inode));
    }
    in_use.push_back(removal->in_use());
    held_at.emplace_back(held.size());
    held.push_back(*std::move(removal));
  }
  TRY_ASSIGN(const auto removed, names_.remove_entries(job, work, in_use));
  size_t next = 0;
  for (const meta::Unlinked& unlinked : removed.unlinked) {
    ++removed_entries_;
    while (next < in_use.size() && work.entries[next].inode != unlinked.inode) ++next;
    if (next < in_use.size() && held_at[next]) files_.finish_removal(std::move(held[*held_at[next]]), unlinked);
  }
  if (!removed.unlinked.empty() || removed.over) whiteouts_();
  return {};
}

Result<void> TreeRemover::purge(InodeId job, const meta::Namespace::RemovalWork& work) {
  const format::Lower& lower = *work.purge;
  const auto store = stores_.find(MountId(lower.mount())).store;
  if (!store) return fail(ErrorCode::kUnavailable, "the under store is not mounted; see mount-table list");
  TRY_ASSIGN(const auto page, store->list({.prefix = lower.prefix(), .start_after = work.purged_to},
                                          Deadline::after(kListTimeout)));
  TRY(failpoint("volume.tree_removal_listed"));
  std::vector<meta::Namespace::ListedObject> objects;
  const auto white_out = [&](meta::Namespace::Listing listing) -> Result<void> {
    TRY(names_.whiteout_listed(job, lower, objects, listing));
    objects.clear();
    return {};
  };
  for (const ufs::ObjectInfo& object : page.objects) {
    objects.push_back({object.key, object.etag});
    if (objects.size() == meta::Namespace::kLowerBatchMax) TRY(white_out(meta::Namespace::Listing::kPart));
  }
  TRY(white_out(page.token.empty() ? meta::Namespace::Listing::kWhole : meta::Namespace::Listing::kPart));
  whiteouts_();
  return {};
}

}  // namespace weir::volume
