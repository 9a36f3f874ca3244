#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {

bool Namespace::refresh_due(const Inode& directory, int64_t now_ns) const {
  return directory.has_lower() && options_.sync_interval >= Duration::zero() &&
         directory.lower().listed_ns() + options_.sync_interval.count() <= now_ns;
}

Result<Found> Namespace::find(InodeId parent, std::string_view name) {
  TRY(check_name(name));
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<Found> {
    Found found;
    TRY_ASSIGN(const auto dentry, tables.find_dentry(parent, name));
    if (dentry) {
      TRY_ASSIGN(found.inode, tables.find_inode(dentry->inode));
      if (!found.inode) return fail(ErrorCode::kCorrupt, "dentry '" + std::string(name) + "' leads to no inode");
    }
    TRY_ASSIGN(const Inode directory, tables.load_inode(parent));
    if (!is_directory(directory)) return fail(ErrorCode::kNotDirectory);
    found.ask_lower = !found.inode && directory.has_lower() && directory.lower().listed_ns() == 0;
    found.refresh_due = refresh_due(directory, tables.now_ns());
    return found;
  });
}

Result<Inode> Namespace::load(InodeId inode) {
  return read_operation(kv_, clock_, [&](Tables& tables) { return tables.load_inode(inode); });
}

Result<void> Namespace::visit(const std::vector<InodeId>& inodes,
                              const std::function<void(const std::optional<Inode>&)>& visitor) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    for (const InodeId inode : inodes) {
      const auto record = tables.find_inode(inode, kv::Isolation::kSnapshot);
      visitor(record ? *record : std::nullopt);
    }
    return {};
  });
}

Result<std::string> Namespace::path_of(InodeId inode) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::string> {
    TRY_ASSIGN(const auto record, tables.find_record(inode));
    if (!record) return fail(ErrorCode::kNotFound);
    TRY_ASSIGN(auto place, tables.place_of(*record));
    return std::move(place.path);
  });
}

Result<Inode> Namespace::resolve(std::string_view path) {
  if (!path.starts_with('/')) return fail(ErrorCode::kInvalid, "path must begin with '/': " + std::string(path));
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    InodeId id = kRootInode;
    for (size_t begin = 1; begin < path.size();) {
      const size_t end = std::min(path.find('/', begin), path.size());
      const std::string_view name = path.substr(begin, end - begin);
      if (!name.empty()) {
        TRY(check_name(name));
        TRY_ASSIGN(const auto dentry, tables.load_dentry(id, name));
        id = dentry.inode;
      }
      begin = end + 1;
    }
    return tables.load_inode(id);
  });
}

}  // namespace weir::meta
