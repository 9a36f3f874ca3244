#include "kv/buffered_txn.h"

#include "base/check.h"

namespace weir::kv {
namespace {

// The rows of a snapshot under a transaction's own writes, one after the other.
class MergedRows {
 public:
  MergedRows(std::unique_ptr<SnapshotCursor> base, const WriteBuffer& writes, std::string_view begin,
             std::string_view end, Direction direction)
      : base_(std::move(base)), writes_(writes), own_(writes.scan(begin, end, direction)), direction_(direction) {}

  // Nothing at the end of the range.
  Result<std::optional<KeyValue>> next() {
    for (;;) {
      if (!base_->valid()) {
        TRY(base_->status());
        if (!own_.valid()) return std::nullopt;
      }
      const int order = compare();
      if (order < 0) {
        if (const auto hole = writes_.erased_around(base_->key())) {
          base_->skip_to(direction_ == Direction::kForward ? hole->end : hole->begin);
          continue;
        }
        KeyValue row{std::string(base_->key()), std::string(base_->value())};
        base_->next();
        return row;
      }
      std::optional<std::string> below;
      if (order == 0) {
        if (own_.write().needs_snapshot()) below.emplace(base_->value());
        base_->next();
      }
      TRY_ASSIGN(auto value, own_.write().resolve(below));
      const std::string_view key = own_.key();
      own_.next();
      if (value.has_value()) return KeyValue{std::string(key), *std::move(value)};
    }
  }

 private:
  // Negative: the snapshot's row comes first; positive: the own one; zero: the own one replaces the snapshot's.
  int compare() const {
    if (!own_.valid()) return -1;
    if (!base_->valid()) return 1;
    const int order = base_->key().compare(own_.key());
    return direction_ == Direction::kForward ? order : -order;
  }

  const std::unique_ptr<SnapshotCursor> base_;
  const WriteBuffer& writes_;
  WriteBuffer::Cursor own_;
  const Direction direction_;
};

}  // namespace

Result<std::optional<std::string>> BufferedTxn::get(std::string_view key, Isolation isolation) {
  const WriteBuffer::Write* own = writes_.find(key);
  if (own == nullptr && writes_.erased_around(key)) return std::nullopt;
  // What is wholly this transaction's own depends on nobody else.
  if (own != nullptr && !own->needs_snapshot()) return own->resolve(std::nullopt);

  need_snapshot();
  if (isolation == Isolation::kSerializable) reads_.add_key(key);
  auto below = read(key);
  if (own == nullptr || !below.has_value()) return below;
  return own->resolve(*below);
}

Result<RangePage> BufferedTxn::get_range(std::string_view begin, std::string_view end, RangeOptions options) {
  CHECK(options.rows_max > 0);
  if (begin >= end) return RangePage{};
  need_snapshot();
  auto page = collect(begin, end, options);
  if (options.isolation == Isolation::kSerializable) {
    if (!page.has_value() || !page->more) {
      reads_.add_range(begin, end);
    } else if (options.direction == Direction::kForward) {
      reads_.add_range(begin, key_after(page->rows.back().key));
    } else {
      reads_.add_range(page->rows.back().key, end);
    }
  }
  return page;
}

Result<RangePage> BufferedTxn::collect(std::string_view begin, std::string_view end, const RangeOptions& options) {
  MergedRows rows(scan(begin, end, options.direction), writes_, begin, end, options.direction);
  RangePage page;
  size_t bytes = 0;
  for (;;) {
    TRY_ASSIGN(auto row, rows.next());
    if (!row.has_value()) return page;
    if (page.rows.size() >= options.rows_max || (bytes >= options.bytes_max && !page.rows.empty())) {
      page.more = true;
      return page;
    }
    bytes += row->key.size() + row->value.size();
    page.rows.push_back(*std::move(row));
  }
}

void BufferedTxn::add(std::string_view key, int64_t delta) {
  writes_.apply(key, {WriteBuffer::Atomic::Kind::kAdd, delta});
}

void BufferedTxn::max(std::string_view key, int64_t value) {
  writes_.apply(key, {WriteBuffer::Atomic::Kind::kMax, value});
}

void BufferedTxn::add_read_conflict(std::string_view begin, std::string_view end) {
  need_snapshot();
  reads_.add_range(begin, end);
}

void BufferedTxn::add_write_conflict(std::string_view begin, std::string_view end) {
  write_conflicts_.add_range(begin, end);
}

Result<void> BufferedTxn::commit(Durability durability) {
  if (writes_.empty() && write_conflicts_.empty()) {
    // A caller that finds its work done by an earlier attempt relies on it as if it had done it now.
    if (durability == Durability::kSynced && read_version_.has_value()) return sync_reads();
    return {};
  }
  TRY(check_limits());
  return apply(durability);
}

Result<void> BufferedTxn::check_limits() const {
  if (writes_.key_bytes_max() > kKeyBytesMax) {
    return fail(ErrorCode::kTooLarge, "a key of " + std::to_string(writes_.key_bytes_max()) + " bytes; the limit is " +
                                          std::to_string(kKeyBytesMax));
  }
  if (writes_.value_bytes_max() > kValueBytesMax) {
    return fail(ErrorCode::kTooLarge, "a value of " + std::to_string(writes_.value_bytes_max()) +
                                          " bytes; the limit is " + std::to_string(kValueBytesMax));
  }
  const size_t bytes = writes_.bytes() + reads_.bytes() + write_conflicts_.bytes();
  if (bytes > kTxnBytesMax) {
    return fail(ErrorCode::kTooLarge, "a transaction of " + std::to_string(bytes) + " bytes; the limit is " +
                                          std::to_string(kTxnBytesMax) + ": split the work into batches");
  }
  return {};
}

Result<void> BufferedTxn::check(const ConflictSet& conflicts) const {
  if (!read_version_.has_value()) return {};
  return conflicts.check(reads_, *read_version_);
}

void BufferedTxn::record(ConflictSet& conflicts, Version version) const {
  for (const auto& [key, write] : writes_.points()) conflicts.record_key(key, version);
  for (const auto& [begin, end] : writes_.erased()) conflicts.record_range(begin, end, version);
  for (size_t i = 0; i < write_conflicts_.size(); ++i) {
    conflicts.record_range(write_conflicts_[i].begin, write_conflicts_[i].end, version);
  }
}

void BufferedTxn::need_snapshot() {
  if (!read_version_.has_value()) read_version_ = open_snapshot();
}

}  // namespace weir::kv
