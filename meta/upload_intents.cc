#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {

Result<void> Namespace::expect_upload(MountId mount, std::string_view key) {
  return run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<void> {
        const std::string row = format::expected_upload_key(mount, key);
        TRY_ASSIGN(const auto there, tables.txn().get(row));
        if (there && format::decode<format::ExpectedUpload>(*there)) return {};
        format::ExpectedUpload upload;
        upload.set_since_ns(tables.now_ns());
        tables.txn().put(row, format::encode(upload));
        return {};
      },
      kv::Durability::kSynced);
}

Result<std::vector<Namespace::ExpectedUpload>> Namespace::expected_uploads(const std::optional<ExpectedUpload>& after,
                                                                           size_t uploads_max) {
  const auto range = format::expected_upload_range();
  const std::string begin = after ? kv::key_after(format::expected_upload_key(after->mount, after->key)) : range.begin;
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<std::vector<ExpectedUpload>> {
    TRY_ASSIGN(const auto page,
               txn.get_range(begin, range.end, {.rows_max = uploads_max, .isolation = kv::Isolation::kSnapshot}));
    std::vector<ExpectedUpload> uploads;
    for (const auto& row : page.rows) {
      TRY_ASSIGN(auto entry, format::parse_expected_upload_key(row.key));
      TRY_ASSIGN(const auto record, format::decode<format::ExpectedUpload>(row.value));
      uploads.push_back({.mount = entry.mount, .key = std::move(entry.object_key), .since_ns = record.since_ns()});
    }
    return uploads;
  });
}

Result<void> Namespace::forget_expected_upload(const ExpectedUpload& upload) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    tables.txn().erase(format::expected_upload_key(upload.mount, upload.key));
    return {};
  });
}

Result<std::optional<InodeId>> Namespace::owner_of_key(MountId mount, std::string_view key) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::optional<InodeId>> {
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, key, kv::Isolation::kSnapshot));
    return owner ? std::optional(InodeId(owner->inode())) : std::nullopt;
  });
}

}  // namespace weir::meta
