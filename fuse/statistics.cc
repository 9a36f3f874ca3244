#include "fuse/statistics.h"

#include <algorithm>
#include <bit>

namespace weir::fuse {

std::string_view name_of(Operation operation) {
  static constexpr std::array<std::string_view, kOperations> kNames = {
      "lookup",         "get_attributes",   "set_attributes", "read_symlink", "make_node", "make_directory",
      "make_symlink",   "unlink",           "remove_directory", "rename",     "link",      "create",
      "open",           "read",             "write",          "flush",        "sync",      "release",
      "allocate",       "seek",             "open_directory", "read_directory", "sync_directory",
      "release_directory", "get_xattr",     "set_xattr",      "list_xattrs",  "remove_xattr", "stat_fs",
  };
  static_assert(!kNames.back().empty());
  return operation < Operation::kCount ? kNames[static_cast<size_t>(operation)] : "unknown";
}

void Statistics::record(Operation operation, Duration took, Outcome outcome) {
  const auto ns = static_cast<uint64_t>(std::max<int64_t>(took.count(), 0));
  Cell& cell = cells_[static_cast<size_t>(operation)];
  const size_t bucket = std::min<size_t>(std::bit_width(ns / 1000), kBuckets - 1);
  cell.buckets[bucket].fetch_add(1, std::memory_order_relaxed);
  cell.total_ns.fetch_add(ns, std::memory_order_relaxed);
  if (outcome == Outcome::kError) cell.errors.fetch_add(1, std::memory_order_relaxed);
}

Statistics::Counters Statistics::counters(Operation operation) const {
  const Cell& cell = cells_[static_cast<size_t>(operation)];
  Counters counters;
  counters.errors = cell.errors.load(std::memory_order_relaxed);
  counters.total_ns = cell.total_ns.load(std::memory_order_relaxed);
  for (size_t i = 0; i < kBuckets; ++i) {
    counters.buckets[i] = cell.buckets[i].load(std::memory_order_relaxed);
    counters.requests += counters.buckets[i];
  }
  return counters;
}

}  // namespace weir::fuse
