#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {

Result<DirectoryPage> Namespace::read_directory(InodeId directory, std::string_view after, size_t entries_max) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<DirectoryPage> {
    const auto range = format::dentry_range(directory);
    std::string begin = range.begin;
    if (!after.empty()) {
      begin += after;
      begin += '\0';
    }
    TRY_ASSIGN(auto rows, tables.txn().get_range(begin, range.end,
                                                 {.rows_max = entries_max, .isolation = kv::Isolation::kSnapshot}));
    DirectoryPage page;
    page.more = rows.more;
    page.entries.reserve(rows.rows.size());
    for (const auto& row : rows.rows) {
      TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
      page.entries.push_back({std::string(format::dentry_name(row.key)), InodeId(dentry.inode()), dentry.type(),
                              row.key.substr(range.begin.size())});
    }
    if (page.entries.empty() && after.empty()) {
      TRY_ASSIGN(const Inode record, tables.load_inode(directory));
      if (!is_directory(record)) return fail(ErrorCode::kNotDirectory);
    }
    return page;
  });
}

}  // namespace weir::meta
