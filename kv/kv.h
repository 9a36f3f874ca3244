// kv/kv.h -- an ordered, transactional, serialisable key-value store with FoundationDB's semantics and limits.
//
// Keys and values are byte strings; keys compare as unsigned bytes. A transaction reads one snapshot, buffers its
// writes, sees its own writes, and commits only if nothing it read (keys, and ranges including their gaps) was changed
// by a transaction that committed after its snapshot. Ranges are half-open: [begin, end).
//
// Source of the semantics: FoundationDB's developer guide (optimistic concurrency, conflict ranges, atomic operations,
// commit_unknown_result).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace weir::kv {

// Limits every backend may count on and MemKv enforces (kTooLarge, kTooOld).
inline constexpr size_t kKeyBytesMax = 10'000;
inline constexpr size_t kValueBytesMax = 100'000;
inline constexpr size_t kTxnBytesMax = 10'000'000;  // keys and values written, plus keys of conflict ranges
inline constexpr Duration kTxnLifetimeMax = std::chrono::seconds(5);

struct KeyValue {
  std::string key;
  std::string value;

  bool operator==(const KeyValue&) const = default;
};

enum class Isolation : uint8_t {
  kSerializable,  // the read takes part in conflict detection
  kSnapshot,      // it does not
};

enum class Direction : uint8_t { kForward, kReverse };

// What holds, when commit() returns, of all that the transaction wrote and read.
enum class Durability : uint8_t {
  kWritten,  // visible to every reader; survives death of this process
  kSynced,   // survives power loss as well
};

struct RangeOptions {
  size_t rows_max = 1'000;         // > 0
  size_t bytes_max = 1'000'000;    // stops after the row that reaches it
  Direction direction = Direction::kForward;
  Isolation isolation = Isolation::kSerializable;
};

struct RangePage {
  std::vector<KeyValue> rows;  // in the direction asked for
  bool more = false;           // rows were left behind the last one; if true, nothing keeps them there
};

// One attempt at one transaction. Threads: one at a time. Must not outlive its Kv.
//
// Reads see the snapshot taken at the first read, under this transaction's own writes. A serialisable range read that
// stops early conflicts only with what it has seen: up to and including the last row returned.
class Txn {
 public:
  virtual ~Txn() = default;

  // Errors: kTooOld, kCorrupt (see add), kIo, kUnavailable.
  virtual Result<std::optional<std::string>> get(std::string_view key,
                                                 Isolation isolation = Isolation::kSerializable) = 0;
  virtual Result<RangePage> get_range(std::string_view begin, std::string_view end, RangeOptions options = {}) = 0;

  // Writes are buffered; limits are checked by commit().
  virtual void put(std::string_view key, std::string_view value) = 0;
  virtual void erase(std::string_view key) = 0;
  virtual void erase_range(std::string_view begin, std::string_view end) = 0;

  // Atomic operations on a little-endian 64-bit integer, an absent key counting as zero. They conflict with readers
  // of the key, never with each other. A sum beyond 64 bits wraps; max compares signed. A value of another length gives
  // kCorrupt from commit() or a read of it.
  virtual void add(std::string_view key, int64_t delta) = 0;
  virtual void max(std::string_view key, int64_t value) = 0;

  // As if the range had been read, or written.
  virtual void add_read_conflict(std::string_view begin, std::string_view end) = 0;
  virtual void add_write_conflict(std::string_view begin, std::string_view end) = 0;

  // At most once; nothing else may be called after it. A transaction without writes and write conflicts always commits.
  // Errors, nothing happened: kConflict and kTooOld (a new attempt may win), kTooLarge, kCorrupt (see add), kNoSpace
  // (writes succeed again once there is space, at the latest when the store is opened again), kIo (no more writes until
  // the store is opened again).
  // Error, outcome unknown: kMayHaveHappened; with kSynced also "visible, but perhaps not durable".
  // Crash: all of the transaction is there or none of it; with kWritten a power loss may drop a suffix of the
  // commit order, never one from its middle.
  virtual Result<void> commit(Durability durability = Durability::kWritten) = 0;
};

// Threads: all methods may be called concurrently.
class Kv {
 public:
  virtual ~Kv() = default;

  virtual std::unique_ptr<Txn> begin() = 0;

  // Makes everything committed before the call survive power loss. Concurrent calls share device flushes.
  // Errors: kIo, kNoSpace; what is durable is then unknown.
  virtual Result<void> sync() = 0;

  // Bytes the store takes on its device, and in memory.
  struct Usage {
    uint64_t disk_bytes = 0;
    uint64_t memory_bytes = 0;
  };
  virtual Usage usage() const = 0;
};

// The 8-byte little-endian form of the atomic operations.
std::string encode_counter(int64_t value);
Result<int64_t> decode_counter(std::string_view bytes);  // kCorrupt unless 8 bytes long

// The first key behind all keys that start with `prefix` (which has a byte below 0xff).
std::string prefix_end(std::string_view prefix);
// The first key behind `key`.
std::string key_after(std::string_view key);

}  // namespace weir::kv
