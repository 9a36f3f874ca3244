#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/keys.h"
#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// Inodes that were made one after the other lie beside each other: to read over a few that nobody asked for costs less than to
// look for each.
constexpr uint64_t kScannedGap = 8;
constexpr size_t kScannedLeast = 8;

// Fills in `found` those of `inodes` at `places`, which ascend by id. What cannot be read stays absent.
void scan_inodes(Tables& tables, const std::vector<InodeId>& inodes, std::span<const size_t> places,
                 std::vector<std::optional<Inode>>& found) {
  std::string begin = format::inode_key(inodes[places.front()]);
  const std::string end = kv::key_after(format::inode_key(inodes[places.back()]));
  auto place = places.begin();
  for (bool more = true; more;) {
    const auto page = tables.txn().get_range(begin, end, {.isolation = kv::Isolation::kSnapshot});
    if (!page) return;
    for (const kv::KeyValue& row : page->rows) {
      const auto id = format::parse_id_key(row.key);
      if (!id) continue;
      while (place != places.end() && inodes[*place] < *id) ++place;
      for (; place != places.end() && inodes[*place] == *id; ++place) {
        auto record = format::decode<Inode>(row.value);
        if (!record) continue;
        if (!is_further_name(*record)) {
          found[*place] = *std::move(record);
        } else if (auto inode = tables.find_inode(*id, kv::Isolation::kSnapshot)) {
          found[*place] = *std::move(inode);
        }
      }
    }
    more = page->more;
    if (more) begin = kv::key_after(page->rows.back().key);
  }
}

}  // namespace

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
    std::vector<size_t> order(inodes.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, {}, [&](size_t i) { return inodes[i]; });
    std::vector<std::optional<Inode>> found(inodes.size());
    for (size_t begin = 0; begin < order.size();) {
      size_t end = begin + 1;
      while (end < order.size() && inodes[order[end]].value() - inodes[order[end - 1]].value() <= kScannedGap) ++end;
      const std::span ids(order.begin() + static_cast<ptrdiff_t>(begin), end - begin);
      if (ids.size() >= kScannedLeast) {
        scan_inodes(tables, inodes, ids, found);
      } else {
        for (const size_t i : ids) {
          if (auto record = tables.find_inode(inodes[i], kv::Isolation::kSnapshot)) found[i] = *std::move(record);
        }
      }
      begin = end;
    }
    for (const auto& inode : found) visitor(inode);
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
