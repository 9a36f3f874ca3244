#include <algorithm>

#include "meta/namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
Result<WritePolicy> Namespace::policy_of(Tables& tables, const Inode& inode) const {
  return tables.policy_of(inode, *rules());
}

Result<WritePolicy> Namespace::policy(const Inode& inode) {
  return read_operation(kv_, clock_, [&](Tables& tables) { return tables.policy_of(inode, *rules()); });
}

Result<Inode> Namespace::begin_write(InodeId inode, LocalFileId local_file, const ContentCommit& now,
                                     LocalFileId replaces) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (record.type() == format::DIRECTORY) return fail(ErrorCode::kIsDirectory);
    if (record.type() != format::REGULAR) return fail(ErrorCode::kInvalid, "not a regular file");
    if (LocalFileId(record.local_file()) != replaces)
      return fail(ErrorCode::kStale, "the content is another one by now");
    format::WriteMark mark;
    mark.set_local_file(local_file.value());
    mark.set_generation_before(record.generation());
    mark.set_ctime_ns(now.ctime_ns);
    mark.set_mtime_ns(now.mtime_ns);
    mark.set_size(now.size);
    tables.txn().put(format::writing_key(inode), format::encode(mark));
    if (LocalFileId(record.local_file()) != local_file) {
      record.clear_durable_bytes();
      record.clear_flush_epoch();
    }
    record.set_generation(record.generation() + 1);
    record.set_local_file(local_file.value());
    record.set_partial(now.partial);
    tables.put_inode(record);
    return record;
  });
}

Result<Namespace::Committed> Namespace::commit_content(InodeId inode, const ContentCommit& content, Urgency urgency,
                                                       kv::Durability durability) {
  return run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<Committed> {
        TRY_ASSIGN(Inode record, tables.load_inode(inode));
        const uint64_t durable = std::min(durable_bytes(record, flushed_epoch()), content.size);
        record.set_durable_bytes(content.synced ? content.size : durable);
        record.set_flush_epoch(content.synced ? 0 : flush_epoch());
        if (!content.synced) note_unsynced(record.flush_epoch());
        tables.set_size(record, content.size);
        if (content.allocated_bytes && *content.allocated_bytes != block_bytes(content.size))
          record.set_allocated_bytes(*content.allocated_bytes);
        if (content.changed == ContentCommit::Changed::kYes) {
          record.set_mtime_ns(content.mtime_ns);
          record.set_ctime_ns(std::max(record.ctime_ns(), content.ctime_ns));
        }
        record.set_content_ctime_ns(content.ctime_ns);
        record.set_partial(content.partial);
        record.set_generation(record.generation() + 1);
        record.set_content_version(record.generation());
        TRY(ObjectTables(tables).content_written(record));
        record.set_attributes_version(record.attributes_version() + 1);
        WritePolicy policy = WritePolicy::kWriteBack;
        if (record.links() != 0 && !record.quarantined()) {
          TRY_ASSIGN(policy, policy_of(tables, record));
          tables.requeue(record, policy, queue_class_for(policy, urgency));
        }
        tables.put_inode(record);
        return Committed{std::move(record), policy};
      },
      durability);
}

Result<void> Namespace::end_writes(const std::vector<EndWrite>& ended) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    for (const EndWrite& end : ended) {
      const std::string mark_key = format::writing_key(end.inode);
      if (end.unchanged) {
        TRY_ASSIGN(const auto value, tables.txn().get(mark_key));
        TRY_ASSIGN(auto record, tables.find_inode(end.inode));
        if (value && record) {
          TRY_ASSIGN(const auto mark, format::decode<format::WriteMark>(*value));
          // The content is what was persisted before the opening. Generations are never used twice, so the persisted one moves.
          if (record->has_home() && record->persisted_generation() == mark.generation_before()) {
            if (record->digests_generation() == record->persisted_generation())
              record->set_digests_generation(record->generation());
            record->set_persisted_generation(record->generation());
            tables.put_inode(*record);
            TRY_ASSIGN(auto names, tables.further_names(*record));
            for (Inode& name : names) {
              if (name.persisted_generation() != mark.generation_before()) continue;
              name.set_persisted_generation(record->generation());
              tables.put_inode(name);
            }
            TRY(tables.requeue_further_names(*record));
          }
        }
      }
      tables.txn().erase(mark_key);
    }
    return {};
  });
}

Result<std::vector<WriteMarkState>> Namespace::write_marks() {
  std::vector<WriteMarkState> marks;
  auto range = format::writing_range();
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, kv::read_txn(kv_, [&](kv::Txn& txn) { return txn.get_range(range.begin, range.end); }));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const InodeId id, format::parse_id_key(row.key));
      TRY_ASSIGN(const auto mark, format::decode<format::WriteMark>(row.value));
      marks.push_back({.inode = id,
                       .local_file = LocalFileId(mark.local_file()),
                       .made = mark.generation_before() == 0,
                       .generation_before = mark.generation_before(),
                       .before = {mark.size(), mark.mtime_ns(), mark.ctime_ns()}});
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return marks;
}

Result<void> Namespace::set_local_file(InodeId inode, LocalFileId local_file, std::string_view home_etag) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (!content_persisted(record) || record.home().etag() != home_etag)
      return fail(ErrorCode::kStale, "the content is another one by now");
    record.set_local_file(local_file.value());
    record.clear_durable_bytes();
    record.clear_flush_epoch();
    tables.put_inode(record);
    return {};
  });
}

Result<void> Namespace::set_complete(InodeId inode, LocalFileId local_file, int64_t content_ctime_ns) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (LocalFileId(record.local_file()) != local_file) return fail(ErrorCode::kStale, "the content is another one by now");
    record.set_partial(false);
    record.set_content_ctime_ns(content_ctime_ns);
    tables.put_inode(record);
    return {};
  });
}

Result<Inode> Namespace::report_corruption(InodeId inode, LocalFileId local_file) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Inode> {
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (LocalFileId(record.local_file()) != local_file) return record;
    if (content_persisted(record)) {
      record.set_local_file(0);
    } else {
      record.set_quarantined(true);
      tables.dequeue(record);
    }
    tables.put_inode(record);
    return record;
  });
}

Result<Namespace::Home> Namespace::revert_to_home(InodeId inode) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<Home> {
    Home home = Home::kKnown;
    TRY_ASSIGN(Inode record, tables.load_inode(inode));
    if (!record.has_home()) return fail(ErrorCode::kInvalid, "the content was never persisted");
    const uint64_t persisted = record.persisted_generation();
    if (!record.claimed_key().empty() && record.claimed_key() == record.home().key() &&
        record.claimed_mount() == record.home().mount()) {
      home = Home::kInDoubt;
      record.clear_claimed_key();
      record.clear_claimed_mount();
      record.mutable_home()->set_since_ns(0);
    }
    record.set_local_file(0);
    record.clear_durable_bytes();
    record.clear_flush_epoch();
    record.set_partial(false);
    if (record.digests_generation() != persisted) record.set_digests_generation(0);
    record.set_generation(record.generation() + 1);
    if (record.digests_generation() != 0) record.set_digests_generation(record.generation());
    record.set_persisted_generation(record.generation());
    ObjectTables(tables).content_found(record);
    tables.set_size(record, record.home().size());
    if (record.links() != 0) {
      TRY_ASSIGN(const WritePolicy policy, policy_of(tables, record));
      tables.requeue(record, policy, format::ORDINARY);
    }
    tables.put_inode(record);
    TRY_ASSIGN(auto names, tables.further_names(record));
    for (Inode& name : names) {
      if (name.persisted_generation() != persisted) continue;
      name.set_persisted_generation(record.generation());
      tables.put_inode(name);
    }
    TRY(tables.requeue_further_names(record));
    return home;
  });
}

Result<void> Namespace::for_each_local_file(const std::function<bool(const Inode&)>& visit) {
  auto range = format::inode_range();
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, kv::read_txn(kv_, [&](kv::Txn& txn) {
      return txn.get_range(range.begin, range.end, {.isolation = kv::Isolation::kSnapshot});
    }));
    for (const auto& row : page.rows) {
      TRY_ASSIGN(const auto inode, format::decode<Inode>(row.value));
      if (inode.local_file() != 0 && !visit(inode)) return {};
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return {};
}

}  // namespace weir::meta
