#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

Result<int64_t> mtime_of(Tables& tables, InodeId directory, kv::Isolation isolation) {
  TRY_ASSIGN(const auto value, tables.txn().get(format::directory_mtime_key(directory), isolation));
  return value ? kv::decode_counter(*value) : Result<int64_t>(0);
}

}  // namespace

Result<std::vector<Namespace::ChangedDirectory>> Namespace::changed_directories(InodeId after, size_t directories_max) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::vector<ChangedDirectory>> {
    const auto range = format::changed_directory_range();
    const std::string begin =
        after == InodeId{} ? range.begin : kv::key_after(format::changed_directory_key(after));
    TRY_ASSIGN(const auto page, tables.txn().get_range(begin, range.end, {.rows_max = directories_max,
                                                                          .isolation = kv::Isolation::kSnapshot}));
    std::vector<ChangedDirectory> changed;
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto key, format::parse_directory_key(row.key));
      const InodeId inode = key.directory;
      TRY_ASSIGN(const int64_t since, kv::decode_counter(row.value));
      TRY_ASSIGN(const int64_t mtime_ns, mtime_of(tables, inode, kv::Isolation::kSnapshot));
      changed.push_back({inode, format::decode_changed_since(since), mtime_ns});
    }
    return changed;
  });
}

Result<bool> Namespace::settle_directory_time(const ChangedDirectory& changed) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
    const std::string key = format::changed_directory_key(changed.inode);
    TRY_ASSIGN(const auto row, tables.txn().get(key));
    TRY_ASSIGN(const int64_t mtime_ns, mtime_of(tables, changed.inode, kv::Isolation::kSerializable));
    if (!row || mtime_ns != changed.mtime_ns) return false;
    TRY_ASSIGN(auto record, tables.find_inode(changed.inode));
    if (record && !record->has_home() && record->queued() != format::NOT_QUEUED) return false;  // it is to have one
    tables.txn().erase(key);
    if (!record || !record->has_home() || record->attributes_unknown() || mtime_ns <= record->marker_mtime_ns())
      return false;
    tables.attributes_changed(*record);
    tables.put_inode(*record);
    return true;
  });
}

}  // namespace weir::meta
