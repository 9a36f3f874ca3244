// kv/conflict_set.h -- which keys were written by the latest commits: the judge of optimistic transactions.
//
// A transaction that read at version v may commit iff nothing it read was written by a version above v. The set answers
// that exactly for every v >= floor(); what lies below is forgotten, and such a transaction is too old.
//
// Keys written one by one and ranges written whole are kept apart: points in one ordered map, ranges as disjoint
// intervals in another that is empty most of the time. A range read looks at both, so it sees rows that appeared in a
// gap (phantoms) as well as rows that went.
//
// Threads: one at a time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/result.h"
#include "kv/key_ranges.h"

namespace weir::kv {

// A place in the commit order; 0 is the empty store.
using Version = uint64_t;

class ConflictSet {
 public:
  // Points plus intervals; reached only while a snapshot lives through that many writes. About 130 bytes each.
  static constexpr size_t kEntriesMax = 1 << 19;

  explicit ConflictSet(size_t entries_max = kEntriesMax) : entries_max_(entries_max) {}

  // `version` never falls from call to call.
  void record_key(std::string_view key, Version version);
  void record_range(std::string_view begin, std::string_view end, Version version);

  // Requires since >= floor().
  bool key_written_since(std::string_view key, Version since) const;
  bool range_written_since(std::string_view begin, std::string_view end, Version since) const;

  // Whether a transaction that read `reads` at `since` may commit. Errors: kConflict, kTooOld.
  Result<void> check(const KeyRanges& reads, Version since) const;

  Version floor() const { return floor_; }
  size_t size() const { return points_.size() + intervals_.size(); }

  // True when prune() is worth its price: amortised constant per recorded write.
  bool wants_pruning() const { return size() >= prune_at_; }
  // Forgets what no reader at `oldest` or above can ask for, and whatever else exceeds the bound, oldest first.
  void prune(Version oldest);

 private:
  struct Interval {
    std::string end;
    Version version;
  };

  void forget_through(Version version);

  static constexpr size_t kPruneMin = 1024;

  const size_t entries_max_;
  size_t prune_at_ = std::min(kPruneMin, entries_max_);
  Version floor_ = 0;
  Version newest_ = 0;
  std::map<std::string, Version, std::less<>> points_;
  std::map<std::string, Interval, std::less<>> intervals_;  // by begin; disjoint
};

}  // namespace weir::kv
