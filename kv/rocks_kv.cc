#include "kv/rocks_kv.h"

#include <rocksdb/cache.h>
#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/perf_context.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/utilities/table_properties_collectors.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cinttypes>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <deque>
#include <list>
#include <map>
#include <mutex>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "io/directory.h"
#include "io/file.h"
#include "kv/block_stash.h"
#include "kv/buffered_txn.h"
#include "kv/empty_ranges.h"
#include "kv/group_sync.h"
#include "kv/row_cache.h"

namespace weir::kv {
namespace {

// One batch holds at most this much, but always at least one transaction.
constexpr size_t kBatchBytesMax = 16 << 20;
constexpr size_t kBatchTxnsMax = 1024;
// Counters whose latest value is remembered, so that adding to them reads nothing.
constexpr size_t kCountersMax = 4096;
// A range of up to this many rows is erased row by row: range tombstones slow down every later read near them.
constexpr size_t kErasedRowsMax = 64;
constexpr uint64_t kErasedScanMax = 1024;  // tombstones looked at on the way
// A scan that walked over so many erased rows before it found one remembers where it did.
constexpr uint64_t kErasedRowsSkipped = 8;
constexpr Duration kResumeInterval = std::chrono::seconds(1);
// More but smaller ones: writes go on while several wait to be moved to tables.
constexpr int kWriteBuffers = 4;
constexpr int kBloomBitsPerKey = 10;
constexpr int kCacheShardBits = 4;
constexpr int kOpenFilesMax = 512;

rocksdb::Slice slice(std::string_view bytes) { return {bytes.data(), bytes.size()}; }
std::string_view view(const rocksdb::Slice& bytes) { return {bytes.data(), bytes.size()}; }

ErrorCode code_of(const rocksdb::Status& status) {
  if (status.IsNoSpace()) return ErrorCode::kNoSpace;
  if (status.IsCorruption()) return ErrorCode::kCorrupt;
  return ErrorCode::kIo;
}

std::unexpected<Error> fail_with(const rocksdb::Status& status, std::string_view what) {
  return fail(code_of(status), std::string(what) + ": " + status.ToString());
}

std::unexpected<Error> fail_to_open(const rocksdb::Status& status, const std::string& dir) {
  // RocksDB keeps errno only as text.
  const std::string text = status.ToString();
  const auto says = [&](std::string_view words) { return text.find(words) != std::string::npos; };
  const std::string what = "metadata store in " + dir + ": ";
  if (says("LOCK: Resource temporarily unavailable") || says("lock hold by current process")) {
    return fail(ErrorCode::kBusy, what + "already open, by another daemon or in this one: stop that one, or give this "
                                         "one a folder of its own");
  }
  if (status.IsNoSpace()) return fail(ErrorCode::kNoSpace, what + "the disk is full; free some space: " + text);
  if (says("Read-only file system")) {
    return fail(ErrorCode::kReadOnly, what + "the file system is read-only; remount it or move the store: " + text);
  }
  if (says("Permission denied")) {
    return fail(ErrorCode::kPermission, what + "the daemon's user may not write there: " + text);
  }
  if (status.IsCorruption()) {
    return fail(ErrorCode::kCorrupt,
                what + "damaged; restore the folder, or rebuild the volume from its bucket: " + text);
  }
  return fail(ErrorCode::kIo, what + text);
}

// RocksDB's warnings, such as log records it drops while opening, become lines of our log.
class RocksLog final : public rocksdb::Logger {
 public:
  explicit RocksLog(std::string dir) : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), dir_(std::move(dir)) {}

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::INFO_LEVEL, format, arguments);
  }
  void Logv(const rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < GetInfoLogLevel() || level == rocksdb::InfoLogLevel::HEADER_LEVEL) return;
    std::array<char, 1024> line;  // longer ones are cut
    std::vsnprintf(line.data(), line.size(), format, arguments);
    std::string_view message = line.data();
    while (message.ends_with('\n')) message.remove_suffix(1);
    log_warn("kv.rocksdb", {{"dir", dir_}, {"message", message}});
  }
  void LogHeader(const char*, va_list) override {}

 private:
  const std::string dir_;
};

// Lets a memtable insert start where the last key with the same first byte went: keys come in runs within each table.
// RocksDB keeps one hint a prefix for rows and range tombstones alike, though they lie in different lists. So hints are
// off while a batch with a tombstone is written, and while the log is replayed.
class TableHints final : public rocksdb::SliceTransform {
 public:
  const char* Name() const override { return "weir.TableHints"; }
  rocksdb::Slice Transform(const rocksdb::Slice& key) const override { return {key.data(), 1}; }
  bool InDomain(const rocksdb::Slice& key) const override { return enabled_.load() && !key.empty(); }

  void enable() { enabled_.store(true); }
  void disable() { enabled_.store(false); }

 private:
  std::atomic<bool> enabled_{false};
};

rocksdb::Options rocks_options(const RocksKv::Options& options, std::shared_ptr<const TableHints> hints) {
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(options.block_cache_bytes, kCacheShardBits);
  table.cache_index_and_filter_blocks = true;  // else they grow with the store, outside every budget
  table.cache_index_and_filter_blocks_with_high_priority = true;
  table.pin_l0_filter_and_index_blocks_in_cache = true;
  // A filter or index in one piece grows with its table. One that is larger than a shard of the cache never stays there: each row looked
  // up would read it whole.
  table.index_type = rocksdb::BlockBasedTableOptions::kTwoLevelIndexSearch;
  table.partition_filters = true;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(kBloomBitsPerKey));
  table.optimize_filters_for_memory = true;
  table.data_block_index_type = rocksdb::BlockBasedTableOptions::kDataBlockBinaryAndHash;
  table.format_version = 5;

  rocksdb::Options rocks;
  rocks.create_if_missing = true;
  rocks.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  rocks.wal_recovery_mode = rocksdb::WALRecoveryMode::kPointInTimeRecovery;
  rocks.write_buffer_size = options.write_buffer_bytes;
  rocks.max_write_buffer_number = kWriteBuffers;
  rocks.memtable_prefix_bloom_size_ratio = 0.02;
  rocks.memtable_whole_key_filtering = true;
  rocks.level_compaction_dynamic_level_bytes = true;
  const auto compressions = rocksdb::GetSupportedCompressions();
  const bool lz4 = std::find(compressions.begin(), compressions.end(), rocksdb::kLZ4Compression) != compressions.end();
  rocks.compression = lz4 ? rocksdb::kLZ4Compression : rocksdb::kNoCompression;
  // Queues erase at their front; without this a scan of one walks over all that was ever in it.
  rocks.table_properties_collector_factories.push_back(rocksdb::NewCompactOnDeletionCollectorFactory(128, 64));
  rocks.max_background_jobs = 2;
  rocks.max_open_files = kOpenFilesMax;
  rocks.bytes_per_sync = 1 << 20;
  // One leader writes at a time.
  rocks.memtable_insert_with_hint_prefix_extractor = std::move(hints);
  rocks.allow_concurrent_memtable_write = false;
  rocks.enable_write_thread_adaptive_yield = false;
  rocks.avoid_unnecessary_blocking_io = true;
  // What the log says after a crash goes on in memory: writing it out would hold up the start.
  rocks.avoid_flush_during_recovery = true;
  rocks.info_log = std::make_shared<RocksLog>(options.dir);
  rocks.stats_dump_period_sec = 0;
  rocks.stats_persist_period_sec = 0;
  return rocks;
}

// RocksDB snapshots, one for all transactions that begin to read at the same version.
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf.
class SnapshotPool {
 public:
  struct Entry {
    Version version;
    const rocksdb::Snapshot* snapshot;
    bool exact;  // it holds nothing beyond `version`
    size_t readers;
  };
  using Handle = std::list<Entry>::iterator;

  // `write_steps` is odd while a batch is being written and published.
  SnapshotPool(rocksdb::DB& db, const std::atomic<Version>& published, const std::atomic<uint64_t>& write_steps)
      : db_(db), published_(published), write_steps_(write_steps) {}
  ~SnapshotPool() {
    for (const Entry& entry : entries_) db_.ReleaseSnapshot(entry.snapshot);
  }
  SnapshotPool(const SnapshotPool&) = delete;
  SnapshotPool& operator=(const SnapshotPool&) = delete;

  Handle acquire() {
    const std::lock_guard lock(mutex_);
    const Version now = published_.load();
    if (!entries_.empty() && entries_.back().version == now) {
      ++entries_.back().readers;
      return std::prev(entries_.end());
    }
    if (!entries_.empty() && entries_.back().readers == 0) erase(std::prev(entries_.end()));
    // Taken after `now` was loaded: it may hold more than `now`, never less.
    const uint64_t steps = write_steps_.load();
    const rocksdb::Snapshot* snapshot = db_.GetSnapshot();
    const bool exact = steps % 2 == 0 && write_steps_.load() == steps && published_.load() == now;
    return entries_.insert(entries_.end(), {now, snapshot, exact, 1});
  }

  // The latest is kept for the next reader even when nobody uses it.
  void release(Handle handle) {
    const std::lock_guard lock(mutex_);
    if (--handle->readers == 0 && std::next(handle) != entries_.end()) erase(handle);
  }

  // No reader is, or will be, below this version.
  Version oldest() const {
    const std::lock_guard lock(mutex_);
    for (const Entry& entry : entries_) {
      if (entry.readers > 0) return entry.version;
    }
    return published_.load();
  }

 private:
  void erase(Handle handle) {
    db_.ReleaseSnapshot(handle->snapshot);
    entries_.erase(handle);
  }

  rocksdb::DB& db_;
  const std::atomic<Version>& published_;
  const std::atomic<uint64_t>& write_steps_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // versions ascend
};

class RocksCursor final : public SnapshotCursor {
 public:
  RocksCursor(rocksdb::DB& db, const rocksdb::Snapshot* snapshot, std::string_view begin, std::string_view end,
              Direction direction)
      : begin_(begin), end_(end), lower_(begin_), upper_(end_), direction_(direction) {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot;
    options.iterate_lower_bound = &lower_;
    options.iterate_upper_bound = &upper_;
    it_.reset(db.NewIterator(options));
    if (direction_ == Direction::kForward) {
      it_->Seek(lower_);
    } else {
      it_->SeekToLast();
    }
  }

  bool valid() const override { return it_->Valid(); }
  std::string_view key() const override { return view(it_->key()); }
  std::string_view value() const override { return view(it_->value()); }

  void next() override {
    if (direction_ == Direction::kForward) {
      it_->Next();
    } else {
      it_->Prev();
    }
  }

  void skip_to(std::string_view key) override {
    if (direction_ == Direction::kForward) {
      it_->Seek(slice(key));
      return;
    }
    it_->SeekForPrev(slice(key));
    if (it_->Valid() && view(it_->key()) == key) it_->Prev();
  }

  Result<void> status() const override {
    if (it_->status().ok()) return {};
    return fail_with(it_->status(), "read a range of the metadata store");
  }

 private:
  const std::string begin_;
  const std::string end_;
  const rocksdb::Slice lower_;
  const rocksdb::Slice upper_;
  const Direction direction_;
  std::unique_ptr<rocksdb::Iterator> it_;
};

}  // namespace

class RocksKv::Store {
 public:
  Store(std::unique_ptr<rocksdb::DB> db, std::shared_ptr<TableHints> hints, const Options& options)
      : dir_(options.dir),
        hints_(std::move(hints)),
        db_(std::move(db)),
        snapshots_(*db_, published_, write_steps_),
        rows_(options.row_cache_bytes),
        sync_([this] { return db_->GetLatestSequenceNumber(); }, [this] { return flush_log(); }) {}

  ~Store() {
    if (auto synced = sync(); !synced.has_value()) {
      log_warn("kv.close_without_sync", {{"dir", dir_}, {"error", synced.error()}});
    }
  }

  std::unique_ptr<Txn> begin();

  Result<void> commit(BufferedTxn& txn, Durability durability);
  Result<void> sync() { return sync_.sync_through(db_->GetLatestSequenceNumber()); }
  Usage usage() const;
  uint64_t flushes() const { return sync_.flushes(); }

 private:
  class RocksTxn;

  // One commit waiting in line; lives on its thread's stack.
  struct Waiting {
    explicit Waiting(BufferedTxn& txn) : txn(txn) {}
    BufferedTxn& txn;
    Result<void> result;
    bool done = false;
    bool leads = false;
    std::condition_variable turn;
  };

  // Only the leader calls these.
  void commit_group();
  Result<void> admit(Waiting& waiting);
  bool depends_on_batch(const WriteBuffer& writes) const;
  Result<void> add_to_batch(const WriteBuffer& writes);
  Result<int64_t> latest_counter(std::string_view key);
  Result<void> erase_range(std::string_view begin, std::string_view end);
  void write_batch();
  Result<void> write_or_resume();
  void update_rows(const Result<void>& written);

  // The leader and the flusher call these.
  Result<void> flush_log();
  Result<void> need_log();
  bool resume(const rocksdb::Status& error);
  void note_log_failure(const rocksdb::Status& status);
  uint64_t current_log() const;

  const std::string dir_;
  const std::shared_ptr<TableHints> hints_;
  const std::unique_ptr<rocksdb::DB> db_;
  std::atomic<Version> published_{0};
  std::atomic<uint64_t> write_steps_{0};
  SnapshotPool snapshots_;
  RowCache rows_;
  EmptyRanges empty_;

  // Order: queue_mutex_ is a leaf.
  std::mutex queue_mutex_;
  std::deque<Waiting*> queue_;  // bounded by the number of threads
  bool led_ = false;

  // The leader's own, handed over with the lead.
  std::vector<Waiting*> group_;
  rocksdb::WriteBatch batch_;
  std::vector<Waiting*> in_batch_;
  std::vector<std::string> erased_rows_;  // by ranges of the batch
  Version batch_base_ = 0;  // the newest version before the batch
  Version version_ = 0;     // the newest given out
  ConflictSet conflicts_;
  std::map<std::string, int64_t, std::less<>> counters_;  // as of the end of the batch

  static constexpr uint64_t kNoLog = 0;
  std::atomic<uint64_t> failed_log_{kNoLog};  // the number of a log that could not be written or flushed
  std::mutex resume_mutex_;                   // a leaf
  TimePoint last_resume_ = TimePoint::min();

  GroupSync sync_;
};

class RocksKv::Store::RocksTxn final : public BufferedTxn {
 public:
  explicit RocksTxn(Store& store) : store_(store) {}
  ~RocksTxn() override {
    if (read_version().has_value()) store_.snapshots_.release(snapshot_);
  }

  static void* operator new(size_t bytes) {
    CHECK(bytes == sizeof(RocksTxn));
    return BlockStash<sizeof(RocksTxn)>::take();
  }
  static void operator delete(void* block) { BlockStash<sizeof(RocksTxn)>::give_back(block); }

 protected:
  Version open_snapshot() override {
    snapshot_ = store_.snapshots_.acquire();
    return snapshot_->version;
  }

  Result<std::optional<std::string>> read(std::string_view key) override {
    if (snapshot_->exact) {
      if (auto row = store_.rows_.find(key, snapshot_->version)) return *std::move(row);
    }
    rocksdb::ReadOptions options;
    options.snapshot = snapshot_->snapshot;
    std::optional<std::string> value(std::in_place);
    const rocksdb::Status status = store_.db_->Get(options, slice(key), &*value);
    if (status.IsNotFound()) {
      value.reset();
    } else if (!status.ok()) {
      return fail_with(status, "read from the metadata store in " + store_.dir_);
    }
    if (snapshot_->exact) store_.rows_.remember(key, value, snapshot_->version);
    return value;
  }

  std::unique_ptr<SnapshotCursor> scan(std::string_view begin, std::string_view end, Direction direction) override {
    if (direction == Direction::kReverse || !snapshot_->exact)
      return std::make_unique<RocksCursor>(*store_.db_, snapshot_->snapshot, begin, end, direction);
    EmptyRanges::Scan scan(store_.empty_, begin, end, snapshot_->version);
    const uint64_t& erased_rows = rocksdb::get_perf_context()->internal_delete_skipped_count;
    const uint64_t before = erased_rows;
    auto cursor = std::make_unique<RocksCursor>(*store_.db_, snapshot_->snapshot, scan.begin(), end, direction);
    if (erased_rows - before >= kErasedRowsSkipped && cursor->status().has_value())
      scan.found_nothing_before(cursor->valid() ? cursor->key() : end);
    return cursor;
  }

  Result<void> apply(Durability durability) override { return store_.commit(*this, durability); }
  Result<void> sync_reads() override {
    return store_.sync_.sync_through(snapshot_->snapshot->GetSequenceNumber());
  }

 private:
  Store& store_;
  SnapshotPool::Handle snapshot_;
};

std::unique_ptr<Txn> RocksKv::Store::begin() { return std::make_unique<RocksTxn>(*this); }

Result<void> RocksKv::Store::commit(BufferedTxn& txn, Durability durability) {
  Waiting self(txn);
  {
    std::unique_lock lock(queue_mutex_);
    queue_.push_back(&self);
    if (led_) self.turn.wait(lock, [&] { return self.done || self.leads; });
    if (!self.done) {
      led_ = true;
      size_t bytes = 0;
      while (!queue_.empty() && group_.size() < kBatchTxnsMax && bytes < kBatchBytesMax) {
        bytes += queue_.front()->txn.writes().bytes();
        group_.push_back(queue_.front());
        queue_.pop_front();
      }
      lock.unlock();
      commit_group();
      lock.lock();
      // A waiter is gone as soon as it sees `done`, which is not before this lock is released.
      for (Waiting* waiting : group_) {
        waiting->done = true;
        if (waiting != &self) waiting->turn.notify_one();
      }
      group_.clear();
      led_ = !queue_.empty();
      if (led_) {
        queue_.front()->leads = true;
        queue_.front()->turn.notify_one();
      }
    }
  }
  TRY(std::move(self.result));
  if (durability == Durability::kSynced) {
    if (auto synced = sync(); !synced.has_value()) {
      return fail(ErrorCode::kMayHaveHappened, "written, but perhaps not durable: " + synced.error().to_string());
    }
  }
  return {};
}

void RocksKv::Store::commit_group() {
  batch_base_ = version_;
  for (Waiting* waiting : group_) waiting->result = admit(*waiting);
  write_batch();
  if (conflicts_.wants_pruning()) conflicts_.prune(snapshots_.oldest());
}

// Checks one transaction and puts it into the batch, or leaves no trace of it.
Result<void> RocksKv::Store::admit(Waiting& waiting) {
  TRY(waiting.txn.check(conflicts_));
  const WriteBuffer& writes = waiting.txn.writes();
  if (!in_batch_.empty() && depends_on_batch(writes)) write_batch();
  batch_.SetSavePoint();
  if (auto added = add_to_batch(writes); !added.has_value()) {
    batch_.RollbackToSavePoint();
    counters_.clear();
    return added;
  }
  batch_.PopSavePoint();
  waiting.txn.record(conflicts_, ++version_);
  in_batch_.push_back(&waiting);
  return {};
}

// Whether working out `writes` needs rows that lie in the batch, where only counters can be looked up.
bool RocksKv::Store::depends_on_batch(const WriteBuffer& writes) const {
  for (const auto& [begin, end] : writes.erased()) {
    if (conflicts_.range_written_since(begin, end, batch_base_)) return true;
  }
  for (const auto& [key, write] : writes.points()) {
    if (!write.needs_snapshot() || counters_.contains(key)) continue;
    if (conflicts_.key_written_since(key, batch_base_)) return true;
  }
  return false;
}

Result<void> RocksKv::Store::add_to_batch(const WriteBuffer& writes) {
  for (const auto& [begin, end] : writes.erased()) TRY(erase_range(begin, end));
  for (const auto& [key, write] : writes.points()) {
    if (!write.atomics.empty()) {
      int64_t before = 0;  // or absent
      if (write.needs_snapshot()) {
        TRY_ASSIGN(before, latest_counter(key));
      }
      TRY_ASSIGN(const int64_t counter, write.resolve_counter(before));
      if (before == 0 || counter != before) batch_.Put(slice(key), encode_counter(counter));
      if (counters_.size() >= kCountersMax) counters_.clear();
      counters_.insert_or_assign(std::string(key), counter);
      continue;
    }
    if (!counters_.empty()) {
      if (const auto it = counters_.find(key); it != counters_.end()) counters_.erase(it);
    }
    if (write.base == WriteBuffer::Write::Base::kValue) {
      batch_.Put(slice(key), slice(write.value));
    } else {
      batch_.Delete(slice(key));
    }
  }
  return {};
}

Result<int64_t> RocksKv::Store::latest_counter(std::string_view key) {
  if (const auto it = counters_.find(key); it != counters_.end()) return it->second;
  rocksdb::PinnableSlice value;
  const rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), db_->DefaultColumnFamily(), slice(key), &value);
  if (status.IsNotFound()) return 0;
  if (!status.ok()) return fail_with(status, "read from the metadata store in " + dir_);
  return decode_counter(view(value));
}

Result<void> RocksKv::Store::erase_range(std::string_view begin, std::string_view end) {
  counters_.erase(counters_.lower_bound(begin), counters_.lower_bound(end));
  const rocksdb::Slice lower = slice(begin);
  const rocksdb::Slice upper = slice(end);
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = &lower;
  options.iterate_upper_bound = &upper;
  options.max_skippable_internal_keys = kErasedScanMax;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options));
  std::vector<std::string> keys;
  for (it->Seek(lower); it->Valid() && keys.size() <= kErasedRowsMax; it->Next()) keys.emplace_back(view(it->key()));
  if (it->status().ok() && keys.size() <= kErasedRowsMax) {
    for (std::string& key : keys) {
      batch_.Delete(key);
      erased_rows_.push_back(std::move(key));
    }
    return {};
  }
  if (!it->status().ok() && !it->status().IsIncomplete()) {
    return fail_with(it->status(), "read from the metadata store in " + dir_);
  }
  batch_.DeleteRange(lower, upper);
  return {};
}

// Writes and publishes what is in the batch. On error none of it has happened.
void RocksKv::Store::write_batch() {
  if (in_batch_.empty()) return;
  write_steps_.fetch_add(1);
  auto written = batch_.Count() == 0 ? Result<void>() : write_or_resume();
  update_rows(written);
  if (!written.has_value()) {
    counters_.clear();
    for (Waiting* waiting : in_batch_) waiting->result = written;
  }
  // After an error, too: the versions are in the conflict set, and readers must get past them.
  published_.store(version_);
  write_steps_.fetch_add(1);
  batch_.Clear();
  in_batch_.clear();
  erased_rows_.clear();
  batch_base_ = version_;
}

// The caches follow the batch before its version is published.
void RocksKv::Store::update_rows(const Result<void>& written) {
  for (const Waiting* waiting : in_batch_) {
    for (const auto& [key, write] : waiting->txn.writes().points()) {
      if (write.base != WriteBuffer::Write::Base::kAbsent || !write.atomics.empty()) empty_.put(key, version_);
    }
  }
  if (!written.has_value() || batch_.HasDeleteRange()) return rows_.erase_all(version_);
  for (const std::string& key : erased_rows_) rows_.erase(key, version_);
  for (const Waiting* waiting : in_batch_) {
    for (const auto& [key, write] : waiting->txn.writes().points()) {
      if (!write.atomics.empty()) {
        // Of the end of the batch, as the version is.
        const auto counter = counters_.find(key);
        if (counter == counters_.end()) {
          rows_.erase(key, version_);
        } else {
          rows_.put(key, encode_counter(counter->second), version_);
        }
      } else if (write.base == WriteBuffer::Write::Base::kValue) {
        rows_.put(key, write.value, version_);
      } else {
        rows_.erase(key, version_);
      }
    }
  }
}

Result<void> RocksKv::Store::write_or_resume() {
  TRY(failpoint("kv.rocks.before_write"));
  batch_.HasDeleteRange() ? hints_->disable() : hints_->enable();
  TRY(need_log());
  rocksdb::Status status = db_->Write(rocksdb::WriteOptions(), &batch_);
  if (!status.ok()) {
    note_log_failure(status);
    if (resume(status) && need_log().has_value()) {
      status = db_->Write(rocksdb::WriteOptions(), &batch_);
      if (!status.ok()) note_log_failure(status);
    }
  }
  if (!status.ok()) return fail_with(status, "write to the metadata store in " + dir_);
  return failpoint("kv.rocks.after_write");
}

Result<void> RocksKv::Store::flush_log() {
  TRY(failpoint("kv.rocks.before_sync"));
  TRY(need_log());
  const rocksdb::Status status = db_->SyncWAL();
  if (status.ok()) return {};
  // The kernel may have dropped the pages it could not write, so that flushing again would prove nothing.
  failed_log_.store(current_log());
  return fail_with(status, "flush the log of the metadata store in " + dir_);
}

// A log that failed must be neither written nor flushed again; RocksDB takes that for a bug of its own and aborts.
// Resuming moves what is in memory to a table and then begins another log, unless nothing was in memory.
Result<void> RocksKv::Store::need_log() {
  uint64_t failed = failed_log_.load();
  if (failed == kNoLog) return {};
  if (current_log() == failed) resume(rocksdb::Status::NoSpace());
  if (current_log() == failed) {
    return fail(ErrorCode::kNoSpace, "the log of the metadata store in " + dir_ +
                                         " could not be written; free some space; if this stays, restart the daemon");
  }
  failed_log_.compare_exchange_strong(failed, kNoLog);
  return {};
}

// Tells a log that failed from a write that was refused before it came to the log.
void RocksKv::Store::note_log_failure(const rocksdb::Status& status) {
  const uint64_t number = current_log();
  std::array<char, 32> name;
  std::snprintf(name.data(), name.size(), "%06" PRIu64 ".log", number);
  if (status.ToString().find(name.data()) != std::string::npos) failed_log_.store(number);
}

uint64_t RocksKv::Store::current_log() const {
  std::unique_ptr<rocksdb::LogFile> log;
  return db_->GetCurrentWalFile(&log).ok() ? log->LogNumber() : failed_log_.load();
}

bool RocksKv::Store::resume(const rocksdb::Status& error) {
  const std::lock_guard lock(resume_mutex_);
  const TimePoint now = system_clock().now();
  if (last_resume_ != TimePoint::min() && now - last_resume_ < kResumeInterval) return false;
  last_resume_ = now;
  log_warn("kv.resume", {{"dir", dir_}, {"error", error.ToString()}});
  return db_->Resume().ok();
}

Kv::Usage RocksKv::Store::usage() const {
  Usage usage;
  std::vector<rocksdb::Env::FileAttributes> files;
  if (db_->GetEnv()->GetChildrenFileAttributes(dir_, &files).ok()) {
    for (const auto& file : files) usage.disk_bytes += file.size_bytes;
  }
  for (const auto& property : {rocksdb::DB::Properties::kCurSizeAllMemTables, rocksdb::DB::Properties::kBlockCacheUsage,
                               rocksdb::DB::Properties::kEstimateTableReadersMem}) {
    uint64_t bytes = 0;
    if (db_->GetIntProperty(property, &bytes)) usage.memory_bytes += bytes;
  }
  return usage;
}

namespace {

// RocksDB goes on with logs that it did not write itself and never flushes them: what an earlier process left with the kernel
// would be lost with the power, and with it, since the store is a prefix of the commit order, all that is synced from now on.
Result<void> sync_logs(const std::string& dir) {
  TRY_ASSIGN(const io::Directory directory, io::Directory::open(dir));
  return directory.list([&](const io::DirectoryEntry& entry) -> Result<io::Visit> {
    if (!entry.name.ends_with(".log")) return io::Visit::kContinue;
    TRY_ASSIGN(const io::File log, directory.open_file(std::string(entry.name).c_str(), {}));
    TRY(log.sync_data());
    return io::Visit::kContinue;
  });
}

}  // namespace

Result<std::unique_ptr<RocksKv>> RocksKv::open(const Options& options) {
  rocksdb::Status status = rocksdb::Env::Default()->CreateDirIfMissing(options.dir);
  if (!status.ok()) return fail_to_open(status, options.dir);
  if (auto synced = sync_logs(options.dir); !synced.has_value()) {
    return fail(std::move(synced).error().wrap("metadata store in " + options.dir + ": flush the logs of the last start"));
  }
  rocksdb::DB* db = nullptr;
  auto hints = std::make_shared<TableHints>();
  status = rocksdb::DB::Open(rocks_options(options, hints), options.dir, &db);
  if (!status.ok()) return fail_to_open(status, options.dir);
  auto store = std::make_unique<Store>(std::unique_ptr<rocksdb::DB>(db), std::move(hints), options);
  return std::unique_ptr<RocksKv>(new RocksKv(std::move(store)));
}

RocksKv::RocksKv(std::unique_ptr<Store> store) : store_(std::move(store)) {}
RocksKv::~RocksKv() = default;
std::unique_ptr<Txn> RocksKv::begin() { return store_->begin(); }
Result<void> RocksKv::sync() { return store_->sync(); }
Kv::Usage RocksKv::usage() const { return store_->usage(); }
uint64_t RocksKv::flushes() const { return store_->flushes(); }

}  // namespace weir::kv
