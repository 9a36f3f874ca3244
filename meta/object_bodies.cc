#include <algorithm>
#include <string>

#include "format/keys.h"
#include "meta/object_namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

constexpr size_t kErasedAtOnceMax = 1'000;

Result<ObjectNamespace::Body> body_of(Tables& tables, LocalFileId local_file, std::string_view value) {
  ObjectNamespace::Body body{.local_file = local_file};
  TRY_ASSIGN(body.record, format::decode<format::LoggedBody>(value));
  TRY_ASSIGN(auto inode, tables.find_inode(InodeId(body.record.inode()), kv::Isolation::kSnapshot));
  if (inode && LocalFileId(inode->local_file()) == local_file && inode->content_version() == body.record.content_version())
    body.inode = std::move(inode);
  return body;
}

}  // namespace

Result<std::optional<ObjectNamespace::Body>> ObjectNamespace::find_body(LocalFileId local_file) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<std::optional<Body>> {
    TRY_ASSIGN(const auto value, tables.txn().get(format::logged_body_key(local_file)));
    if (!value) return std::nullopt;
    return body_of(tables, local_file, *value);
  });
}

Result<void> ObjectNamespace::for_each_body(const std::function<Result<void>(const Body& body)>& visit) {
  auto range = format::logged_body_range();
  for (bool more = true; more;) {
    std::vector<Body> bodies;
    TRY(read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<void> {
      TRY_ASSIGN(const auto page, tables.txn().get_range(range.begin, range.end, {.isolation = kv::Isolation::kSnapshot}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const InodeId id, format::parse_id_key(row.key));
        TRY_ASSIGN(bodies.emplace_back(), body_of(tables, LocalFileId(id.value()), row.value));
      }
      more = page.more;
      if (more) range.begin = kv::key_after(page.rows.back().key);
      return {};
    }));
    for (const Body& body : bodies) TRY(visit(body));
  }
  return {};
}

Result<void> ObjectNamespace::erase_bodies(std::span<const LocalFileId> local_files, kv::Durability durability) {
  while (!local_files.empty()) {
    const auto step = local_files.first(std::min(local_files.size(), kErasedAtOnceMax));
    local_files = local_files.subspan(step.size());
    TRY(run_operation(
        names_.kv(), names_.clock(),
        [&](Tables& tables) -> Result<void> {
          for (const LocalFileId id : step) tables.txn().erase(format::logged_body_key(id));
          return {};
        },
        local_files.empty() ? durability : kv::Durability::kWritten));
  }
  return {};
}

}  // namespace weir::meta
