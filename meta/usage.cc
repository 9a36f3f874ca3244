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

}  // namespace weir::meta
