// volume/fsck.h -- whether metadata, page store and under store agree.
//
// Works on a volume in use, with memory that does not grow with it (besides eight bytes for each local file). What is on its
// way (open, queued, to be erased, moving) is no discrepancy, and what looks like one is looked at again after a pause before
// it is told. Nothing is repaired unless asked for, and no listing is taken in. A repair may bring to light what was behind it: a run
// that repaired something is to be followed by another one.
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "meta/check.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "ufs/mount_table.h"
#include "volume/content_repair.h"

namespace weir::volume {

enum class FsckRepair : uint8_t {
  kNo,
  kDryRun,  // discrepancies carry what would be done
  kYes,
};

struct FsckOptions {
  std::string path = "/";     // "/": everything; else the names below it, their content and their objects
  bool ufs = false;           // compare with the objects in the under store, too
  // Objects that were put there by others and were not taken in yet are told as well, instead of counted.
  bool foreign_objects = false;
  FsckRepair repair = FsckRepair::kNo;
  Duration second_look_after = std::chrono::seconds(1);
  Duration ufs_timeout = std::chrono::seconds(60);  // of one call
  // Whether a local file is being filled that nothing names yet. May be empty.
  std::function<bool(LocalFileId)> is_being_filled;
};

struct FsckSummary {
  uint64_t inodes = 0;
  uint64_t names = 0;
  uint64_t local_files = 0;
  uint64_t objects = 0;
  uint64_t in_flight = 0;         // inodes and object keys that wait for something
  uint64_t unlisted_objects = 0;  // of others, in places that were not looked at yet
  uint64_t hidden_objects = 0;    // of others, that no path can show
  uint64_t discrepancies = 0;     // of one run with those that it repaired; of run_fsck() what is left
  uint64_t repaired = 0;
};

struct FsckListener {
  std::function<void(const meta::Discrepancy&)> discrepancy;
  std::function<bool(const FsckSummary&)> progress;  // called often; false: stop. May be empty
};

class Fsck {
 public:
  // The parts must outlive it.
  Fsck(meta::Namespace& names, pages::PageStore& pages, const ufs::MountTable& stores, FsckOptions options,
       FsckListener listener);

  // kNotFound: no such path. kCancelled: stopped by the listener. An under store's error means that it could not be compared.
  Result<FsckSummary> run();

 private:
  using ObjectId = std::pair<MountId, std::string>;

  Result<void> check_everything();
  Result<void> check_tree(const meta::Inode& top);
  Result<void> take_in(meta::Check::Look& look);
  std::optional<meta::Discrepancy> judge_content(const meta::Check::SeenInode& seen);
  Result<void> check_local_files();
  Result<void> check_counters(const meta::UsageCounters& before);
  Result<meta::UsageCounters> count_inodes(const std::function<void(const meta::Inode&)>& visit);

  Result<void> check_buckets(const meta::Inode& top);
  // Objects and owner rows under `prefix`; only the key itself unless it is a directory's.
  Result<void> check_bucket(MountId mount, const std::string& prefix, bool whole_prefix);
  Result<void> compare(MountId mount, const std::string& key, const ufs::ObjectInfo* object,
                       const format::Owner* owner);
  // Tells what is wrong.
  Result<void> look_at_object(const ObjectId& id);
  Result<void> look_at_unowned(const ObjectId& id, const ufs::ObjectHead& head);
  enum class Listed : uint8_t { kNo, kYes, kMoving };
  // Whether the listing of the directory in which the key would be shown was taken in.
  Result<Listed> listed(MountId mount, std::string_view key);
  Result<std::shared_ptr<ufs::UnderStore>> store_of(MountId mount) const;

  void suspect_row(const std::string& row, std::string_view kind);
  // Looks at the suspects again and tells those that still disagree.
  Result<void> settle();
  Result<void> pause();
  Result<void> go_on();
  Result<void> tell(meta::Discrepancy discrepancy);
  // The same of what `remedy` finds a way for and `apply` mends.
  Result<void> tell_and_repair(meta::Discrepancy discrepancy, const std::function<Result<std::string>()>& remedy,
                               const std::function<Result<bool>()>& apply);
  Result<void> tell_of_row(const std::string& row, const meta::Discrepancy& discrepancy);
  Result<void> tell_of_content(const meta::Discrepancy& discrepancy);

  meta::Namespace& names_;
  pages::PageStore& pages_;
  const ufs::MountTable& stores_;
  const FsckOptions options_;
  const FsckListener listener_;
  meta::Check check_;
  ContentRepair repair_;
  FsckSummary summary_;

  std::map<std::string, std::set<std::string, std::less<>>> rows_;  // suspected, with the kinds
  std::set<ObjectId> objects_;                                      // suspected
  TimePoint suspected_since_{};

  std::vector<LocalFileId> files_;  // of the page store, sorted
  std::vector<bool> named_;         // which of them an inode names
  meta::UsageCounters counted_;

  std::pair<ObjectId, Listed> last_listed_{{}, Listed::kNo};  // directory prefix, and the answer
};

// Runs fsck; with kYes again and again until a run repairs nothing more, at most kRepairRunsMax times. The summary is the last
// run's, with the sum of what was repaired.
inline constexpr int kRepairRunsMax = 10;
Result<FsckSummary> run_fsck(meta::Namespace& names, pages::PageStore& pages, const ufs::MountTable& stores,
                             const FsckOptions& options, const FsckListener& listener);

}  // namespace weir::volume
