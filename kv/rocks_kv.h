// kv/rocks_kv.h -- the embedded Kv: one RocksDB, one process.
//
// Isolation: a transaction reads a RocksDB snapshot taken at its first read. Commits queue up; the first in line leads,
// checks each waiting transaction in order against the ConflictSet and against those before it in the batch, works out
// atomic operations against the latest state, and writes all of them as one WriteBatch. A version is published only
// when its batch is visible, so a snapshot labelled v holds every commit up to v. Point reads of rows that were read or
// written lately come from a RowCache; RocksDB's own path to a row costs about ten times as much.
//
// Durability: kWritten is in the write-ahead log, with the kernel (no buffering in this process). kSynced waits, after
// that, for a flush of the log shared with everybody else who waits; commits of kWritten never wait for a flush.
// The log is replayed up to its first damaged record (RocksDB's point-in-time recovery): after a power loss the store
// is a prefix of the commit order. Skipping a torn tail and going on with the next log file would leave a hole. What
// was dropped is a warning in the log. Logs that an earlier process left are flushed before they are read.
//
// Disk full or failing: the batch fails as a whole and reads go on. Later commits, at most one a second, try to
// resume, which succeeds once there is space; where RocksDB cannot leave its damaged log behind (nothing was in
// memory), and after a failing device, only opening again helps.
//
// A transaction whose snapshot outlives ConflictSet::kEntriesMax written keys gets kTooOld when it commits writes; no
// other age limit applies, so long read-only scans work.
//
// Threads: all methods may be called concurrently. Waits: a commit waits for the device and nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"
#include "kv/kv.h"

namespace weir::kv {

class RocksKv final : public Kv {
 public:
  struct Options {
    std::string dir;                         // made if absent; its parent must exist
    uint64_t block_cache_bytes = 64 << 20;   // data, index and filter blocks
    uint64_t write_buffer_bytes = 16 << 20;  // each of at most four
    uint64_t row_cache_bytes = 64 << 20;     // latest rows for point reads; see kv/row_cache.h
  };

  // Errors: kBusy (another process or another store of this one has the folder), kNoSpace, kReadOnly, kPermission,
  // kCorrupt, kIo. The message names the folder and the way out.
  static Result<std::unique_ptr<RocksKv>> open(const Options& options);
  // Requires that all transactions are gone. Syncs what was written.
  ~RocksKv() override;

  std::unique_ptr<Txn> begin() override;
  Result<void> sync() override;
  Usage usage() const override;

  // Device flushes made for kSynced and sync() so far.
  uint64_t flushes() const;

 private:
  class Store;
  explicit RocksKv(std::unique_ptr<Store> store);

  std::unique_ptr<Store> store_;
};

}  // namespace weir::kv
