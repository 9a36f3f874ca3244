#include "fuse/statistics.h"

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
  Cell& cell = cells_[static_cast<size_t>(operation)];
  cell.latency.record(took);
  if (outcome == Outcome::kError) cell.errors.fetch_add(1, std::memory_order_relaxed);
}

Statistics::Counters Statistics::counters(Operation operation) const {
  const Cell& cell = cells_[static_cast<size_t>(operation)];
  return {cell.latency.counters(), cell.errors.load(std::memory_order_relaxed)};
}

}  // namespace weir::fuse
