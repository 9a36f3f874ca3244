#include "meta/object_namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

constexpr size_t kUploadRows = 1'000;

// Sorts by start.
std::string upload_id_of(const format::ObjectUpload& upload) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (const uint64_t number : {static_cast<uint64_t>(upload.started_ns()), upload.id()}) {
    for (int shift = 60; shift >= 0; shift -= 4) text += kDigits[number >> shift & 0xf];
  }
  return text;
}

Result<MountId> mount_of_bucket(Tables& tables, std::string_view bucket) {
  TRY_ASSIGN(const Inode top, ObjectTables(tables).load_bucket(bucket));
  return MountId(top.lower().mount());
}

}  // namespace

Result<ObjectNamespace::Upload> ObjectNamespace::create_upload(std::string_view bucket, std::string_view key,
                                                               const format::ObjectFacts& facts) {
  TRY_ASSIGN(const InodeId id, names_.new_inode_id());
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<Upload> {
    TRY_ASSIGN(const MountId mount, mount_of_bucket(tables, bucket));
    Upload upload{.key = std::string(key)};
    upload.record.set_id(id.value());
    upload.record.set_started_ns(tables.now_ns());
    *upload.record.mutable_facts() = facts;
    upload.upload_id = upload_id_of(upload.record);
    tables.txn().put(format::object_upload_key(mount, key, upload.upload_id), format::encode(upload.record));
    return upload;
  }, kv::Durability::kSynced);
}

Result<ObjectNamespace::Upload> ObjectNamespace::find_upload(std::string_view bucket, std::string_view key,
                                                             std::string_view upload_id) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<Upload> {
    TRY_ASSIGN(const MountId mount, mount_of_bucket(tables, bucket));
    TRY_ASSIGN(auto record, ObjectTables(tables).load_upload(mount, key, upload_id));
    return Upload{std::string(key), std::string(upload_id), std::move(record)};
  });
}

Result<std::vector<ObjectNamespace::Upload>> ObjectNamespace::uploads(std::string_view bucket, std::string_view prefix,
                                                                      std::string_view key_after,
                                                                      std::string_view id_after, size_t uploads_max) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<std::vector<Upload>> {
    TRY_ASSIGN(const MountId mount, mount_of_bucket(tables, bucket));
    std::vector<Upload> uploads;
    const auto all = format::object_upload_range(mount);
    std::string begin = all.begin + std::string(prefix);
    if (!key_after.empty()) {
      // Without an id: behind all uploads of that key.
      const std::string after = id_after.empty() ? all.begin + std::string(key_after) + '\1'
                                                 : kv::key_after(format::object_upload_key(mount, key_after, id_after));
      begin = std::max(begin, after);
    }
    for (bool more = true; more && uploads.size() < uploads_max;) {
      TRY_ASSIGN(const auto page, tables.txn().get_range(begin, all.end, {.rows_max = std::min(uploads_max, kUploadRows)}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(auto entry, format::parse_object_upload_key(row.key));
        if (!entry.object_key.starts_with(prefix) || uploads.size() == uploads_max) return uploads;
        TRY_ASSIGN(auto record, format::decode<format::ObjectUpload>(row.value));
        uploads.push_back({std::move(entry.object_key), std::move(entry.upload_id), std::move(record)});
      }
      more = page.more;
      if (more) begin = kv::key_after(page.rows.back().key);
    }
    return uploads;
  });
}

Result<ObjectNamespace::Upload> ObjectNamespace::set_assembly(std::string_view bucket, std::string_view key,
                                                              std::string_view upload_id, LocalFileId local_file,
                                                              uint64_t stride) {
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<Upload> {
    TRY_ASSIGN(const MountId mount, mount_of_bucket(tables, bucket));
    TRY_ASSIGN(auto record, ObjectTables(tables).load_upload(mount, key, upload_id));
    if (record.assembly_file() == 0) {
      record.set_assembly_file(local_file.value());
      record.set_stride(stride);
      tables.txn().put(format::object_upload_key(mount, key, upload_id), format::encode(record));
    }
    return Upload{std::string(key), std::string(upload_id), std::move(record)};
  });
}

Result<std::optional<format::ObjectPart>> ObjectNamespace::find_part(const Upload& upload, uint32_t number) {
  return kv::read_txn(names_.kv(), [&](kv::Txn& txn) -> Result<std::optional<format::ObjectPart>> {
    TRY_ASSIGN(const auto value, txn.get(format::object_upload_part_key(upload.record.id(), number)));
    if (!value) return std::optional<format::ObjectPart>{};
    TRY_ASSIGN(auto part, format::decode<format::ObjectPart>(*value));
    return std::optional(std::move(part));
  });
}

Result<std::vector<format::ObjectPart>> ObjectNamespace::upload_parts(const Upload& upload, uint32_t after,
                                                                      size_t parts_max) {
  return kv::read_txn(names_.kv(), [&](kv::Txn& txn) -> Result<std::vector<format::ObjectPart>> {
    std::vector<format::ObjectPart> parts;
    const auto range = format::object_upload_part_range(upload.record.id());
    std::string begin = kv::key_after(format::object_upload_part_key(upload.record.id(), after));
    for (bool more = true; more && parts.size() < parts_max;) {
      TRY_ASSIGN(const auto page, txn.get_range(begin, range.end,
                                                {.rows_max = std::min(parts_max - parts.size(), kUploadRows)}));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(auto part, format::decode<format::ObjectPart>(row.value));
        parts.push_back(std::move(part));
      }
      more = page.more;
      if (more) begin = kv::key_after(page.rows.back().key);
    }
    return parts;
  });
}

Result<ObjectNamespace::PartCommitted> ObjectNamespace::commit_part(std::string_view bucket, std::string_view key,
                                                                    std::string_view upload_id,
                                                                    const format::ObjectPart& part,
                                                                    kv::Durability durability) {
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<PartCommitted> {
        TRY_ASSIGN(const MountId mount, mount_of_bucket(tables, bucket));
        TRY_ASSIGN(const auto upload, ObjectTables(tables).load_upload(mount, key, upload_id));
        const std::string row_key = format::object_upload_part_key(upload.id(), part.number());
        PartCommitted committed{.part = part};
        committed.part.set_modified_ns(tables.now_ns());
        TRY_ASSIGN(const auto value, tables.txn().get(row_key));
        if (value) {
          TRY_ASSIGN(const auto earlier, format::decode<format::ObjectPart>(*value));
          committed.replaced = LocalFileId(earlier.local_file());
        }
        tables.txn().put(row_key, format::encode(committed.part));
        return committed;
      },
      durability);
}

Result<std::vector<LocalFileId>> ObjectNamespace::abort_upload(std::string_view bucket, std::string_view key,
                                                               std::string_view upload_id) {
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<std::vector<LocalFileId>> {
    ObjectTables objects(tables);
    TRY_ASSIGN(const MountId mount, mount_of_bucket(tables, bucket));
    TRY_ASSIGN(const auto upload, objects.load_upload(mount, key, upload_id));
    return objects.erase_upload(mount, key, upload_id, upload);
  }, kv::Durability::kSynced);
}

Result<void> ObjectNamespace::for_each_upload(const std::function<Result<void>(MountId, const Upload&)>& visit) {
  auto range = format::object_upload_range();
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, kv::read_txn(names_.kv(), [&](kv::Txn& txn) {
      return txn.get_range(range.begin, range.end, {.isolation = kv::Isolation::kSnapshot});
    }));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(auto entry, format::parse_object_upload_key(row.key));
      TRY_ASSIGN(auto record, format::decode<format::ObjectUpload>(row.value));
      TRY(visit(entry.mount, {std::move(entry.object_key), std::move(entry.upload_id), std::move(record)}));
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return {};
}

Result<void> ObjectNamespace::drop_part(const Upload& upload, uint32_t number) {
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<void> {
    tables.txn().erase(format::object_upload_part_key(upload.record.id(), number));
    return {};
  });
}

}  // namespace weir::meta
