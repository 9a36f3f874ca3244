// kv/buffered_txn.h -- what every optimistic backend's transaction has in common: buffered writes over a snapshot, and
// the record of what was read. A backend adds the snapshot and the commit.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "kv/conflict_set.h"
#include "kv/key_ranges.h"
#include "kv/kv.h"
#include "kv/write_buffer.h"

namespace weir::kv {

// Walks the rows of one range of a snapshot in one direction.
class SnapshotCursor {
 public:
  virtual ~SnapshotCursor() = default;

  virtual bool valid() const = 0;
  // Valid until the cursor moves.
  virtual std::string_view key() const = 0;
  virtual std::string_view value() const = 0;
  virtual void next() = 0;
  // Forward: to the first row at or behind `key`. Reverse: to the last row before `key`. Never out of the range.
  virtual void skip_to(std::string_view key) = 0;
  // Why the cursor is no longer valid: success at the end of the range.
  virtual Result<void> status() const = 0;
};

class BufferedTxn : public Txn {
 public:
  Result<std::optional<std::string>> get(std::string_view key, Isolation isolation) final;
  Result<RangePage> get_range(std::string_view begin, std::string_view end, RangeOptions options) final;
  void put(std::string_view key, std::string_view value) final { writes_.put(key, value); }
  void erase(std::string_view key) final { writes_.erase(key); }
  void erase_range(std::string_view begin, std::string_view end) final { writes_.erase_range(begin, end); }
  void add(std::string_view key, int64_t delta) final;
  void max(std::string_view key, int64_t value) final;
  void add_read_conflict(std::string_view begin, std::string_view end) final;
  void add_write_conflict(std::string_view begin, std::string_view end) final;
  Result<void> commit(Durability durability) final;

  const WriteBuffer& writes() const { return writes_; }
  // Whether what this transaction read still stands. Errors: kConflict, kTooOld.
  Result<void> check(const ConflictSet& conflicts) const;
  // Makes later checks see what this transaction wrote.
  void record(ConflictSet& conflicts, Version version) const;

 protected:
  // Takes the snapshot; called once, before the first read. Holds every commit up to the version returned.
  virtual Version open_snapshot() = 0;
  virtual Result<std::optional<std::string>> read(std::string_view key) = 0;
  virtual std::unique_ptr<SnapshotCursor> scan(std::string_view begin, std::string_view end, Direction direction) = 0;
  // Commits this transaction, which has writes or write conflicts and is within the limits.
  virtual Result<void> apply(Durability durability) = 0;
  // Makes what a transaction without writes may have read survive power loss.
  virtual Result<void> sync_reads() = 0;

  // Set once something was read.
  const std::optional<Version>& read_version() const { return read_version_; }

 private:
  void need_snapshot();
  Result<RangePage> collect(std::string_view begin, std::string_view end, const RangeOptions& options);
  Result<void> check_limits() const;

  WriteBuffer writes_;
  KeyRanges reads_{writes_.memory()};
  KeyRanges write_conflicts_{writes_.memory()};
  std::optional<Version> read_version_;
};

}  // namespace weir::kv
