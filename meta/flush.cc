#include <algorithm>
#include <charconv>
#include <string>

#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

constexpr std::string_view kFlushedEpoch = "flushed_epoch";

}  // namespace

Result<void> Namespace::load_flushed_epoch() {
  TRY_ASSIGN(const auto text, document(kFlushedEpoch));
  if (!text) return {};
  uint64_t epoch = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), epoch);
  if (error != std::errc() || end != text->data() + text->size())
    return fail(ErrorCode::kCorrupt, "document " + std::string(kFlushedEpoch) + " is no number: " + *text);
  flushed_epoch_ = epoch;
  // What the last process committed in this epoch is as little flushed as what will be.
  flush_epoch_ = epoch + 1;
  epoch_in_use_ = epoch + 1;
  return {};
}

void Namespace::note_unsynced(uint64_t epoch) {
  uint64_t seen = epoch_in_use_.load();
  while (seen < epoch && !epoch_in_use_.compare_exchange_weak(seen, epoch)) {
  }
}

Result<void> Namespace::end_flush(uint64_t epoch) {
  TRY(put_document(kFlushedEpoch, std::to_string(epoch)));
  flushed_epoch_ = epoch;
  return {};
}

Result<void> Namespace::note_durable(InodeId inode, LocalFileId local_file, uint64_t size, kv::Durability durability) {
  return run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<void> {
        TRY_ASSIGN(auto record, tables.find_inode(inode));
        if (!record || LocalFileId(record->local_file()) != local_file) return {};
        if (size >= record->size()) record->clear_flush_epoch();
        record->set_durable_bytes(std::max(record->durable_bytes(), size));
        tables.put_inode(*record);
        return {};
      },
      durability);
}

Result<void> Namespace::limit_durable(InodeId inode, uint64_t size) {
  return run_operation(
      kv_, clock_,
      [&](Tables& tables) -> Result<void> {
        TRY_ASSIGN(auto record, tables.find_inode(inode));
        if (!record) return {};
        // What was flushed meanwhile no epoch says any more.
        record->set_durable_bytes(std::min(durable_bytes(*record, flushed_epoch()), size));
        if (record->flush_epoch() != 0) record->set_flush_epoch(flush_epoch());
        tables.put_inode(*record);
        return {};
      },
      kv::Durability::kSynced);
}

}  // namespace weir::meta
