#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/log.h"
#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {

Result<Namespace::DirectorySum> Namespace::sum_directory(InodeId directory, std::string_view after, size_t entries_max) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<DirectorySum> {
    DirectorySum sum;
    const auto range = format::dentry_range(directory);
    const std::string begin = after.empty() ? range.begin : kv::key_after(range.begin + std::string(after));
    TRY_ASSIGN(const auto page, tables.txn().get_range(begin, range.end,
                                                       {.rows_max = entries_max, .isolation = kv::Isolation::kSnapshot}));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
      sum.cursor = row.key.substr(range.begin.size());
      const InodeId id(dentry.inode());
      if (dentry.type() == format::DIRECTORY) {
        sum.directories.push_back(id);
        continue;
      }
      TRY_ASSIGN(const auto inode, tables.find_inode(id, kv::Isolation::kSnapshot));
      // What has several names counts where its first one is.
      if (!inode || InodeId(inode->parent()) != directory || inode->name() != format::dentry_name(row.key)) continue;
      ++sum.files;
      if (inode->type() != format::REGULAR) continue;
      sum.bytes += inode->size();
      if (inode->local_file() != 0) sum.local_files.emplace_back(inode->local_file());
    }
    sum.more = page.more;
    return sum;
  });
}

Result<Namespace::DirectorySum> Namespace::kept_sum(InodeId directory, std::string_view after, size_t directories_max) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<DirectorySum> {
    kv::Txn& txn = tables.txn();
    DirectorySum sum;
    const auto read = [&](const std::string& key, uint64_t* counter) -> Result<void> {
      TRY_ASSIGN(const auto value, txn.get(key, kv::Isolation::kSnapshot));
      if (!value) return {};
      TRY_ASSIGN(const int64_t count, kv::decode_counter(*value));
      *counter = static_cast<uint64_t>(std::max<int64_t>(count, 0));
      return {};
    };
    if (after.empty()) {
      TRY(read(format::directory_files_key(directory), &sum.files));
      TRY(read(format::directory_bytes_key(directory), &sum.bytes));
    }
    const auto range = format::subdirectory_range(directory);
    const std::string begin = after.empty() ? range.begin : kv::key_after(range.begin + std::string(after));
    TRY_ASSIGN(const auto page,
               txn.get_range(begin, range.end, {.rows_max = directories_max, .isolation = kv::Isolation::kSnapshot}));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const int64_t id, kv::decode_counter(row.value));
      sum.directories.emplace_back(static_cast<uint64_t>(id));
      sum.cursor = row.key.substr(range.begin.size());
    }
    sum.more = page.more;
    return sum;
  });
}

namespace {

// Rows written in one transaction.
constexpr size_t kRowsAtOnce = 1'000;

// Calls `visit(key, value)` for all rows of the range, from a sequence of snapshots.
template <typename Visit>
Result<void> for_each_row(kv::Kv& kv, format::KeyRange range, Visit&& visit) {
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, kv::read_txn(kv, [&](kv::Txn& txn) {
      return txn.get_range(range.begin, range.end, {.isolation = kv::Isolation::kSnapshot});
    }));
    for (const auto& row : page.rows) TRY(visit(row.key, row.value));
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return {};
}

}  // namespace

Result<void> Namespace::make_directory_sums(kv::Kv& kv) {
  log_info("meta.directory_sums_begun", {});
  struct Sum {
    int64_t files = 0;
    int64_t bytes = 0;
  };
  std::map<InodeId, Sum> sums;
  std::vector<std::pair<std::string, std::string>> rows;
  const auto write_rows = [&]() -> Result<void> {
    TRY(kv::run_txn(kv, [&](kv::Txn& txn) -> Result<void> {
      for (const auto& [key, value] : rows) txn.put(key, value);
      return {};
    }));
    rows.clear();
    return {};
  };
  const auto add_row = [&](std::string key, int64_t value) -> Result<void> {
    rows.emplace_back(std::move(key), kv::encode_counter(value));
    return rows.size() < kRowsAtOnce ? Result<void>() : write_rows();
  };
  TRY(for_each_row(kv, format::inode_range(), [&](const std::string&, const std::string& value) -> Result<void> {
    TRY_ASSIGN(const auto inode, format::decode<Inode>(value));
    if (is_further_name(inode) || inode.links() == 0 || inode.shadow() || InodeId(inode.id()) == kRootInode) return {};
    const InodeId parent(inode.parent());
    if (is_directory(inode))
      return add_row(format::subdirectory_key(parent, inode.name()), static_cast<int64_t>(inode.id()));
    ++sums[parent].files;
    if (inode.type() == format::REGULAR) sums[parent].bytes += static_cast<int64_t>(inode.size());
    return {};
  }));
  for (const auto& [directory, sum] : sums) {
    TRY(add_row(format::directory_files_key(directory), sum.files));
    if (sum.bytes != 0) TRY(add_row(format::directory_bytes_key(directory), sum.bytes));
  }
  TRY(write_rows());
  return kv::run_txn(
      kv,
      [&](kv::Txn& txn) -> Result<void> {
        TRY_ASSIGN(const auto value, txn.get(format::superblock_key()));
        if (!value) return fail(ErrorCode::kCorrupt, "the superblock is gone");
        TRY_ASSIGN(auto superblock, format::decode<format::Superblock>(*value));
        superblock.set_directory_sums(true);
        txn.put(format::superblock_key(), format::encode(superblock));
        return {};
      },
      {.durability = kv::Durability::kSynced});
}

}  // namespace weir::meta
