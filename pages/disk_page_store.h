// pages/disk_page_store.h -- the page store over folders of the local file system.
//
// Lock order: a shard of the index, then a page map; space_mutex_ and listener_mutex_ are leaves, accounting_mutex_ is
// taken before shards. A file's name changes (create, evict, promote, quarantine) under its shard's lock, so that an id
// evicted and fetched again at once never loses its new file to the old one's unlink. A removed file's name goes behind
// the call (see Reaper); making the id again waits for that.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "pages/file_index.h"
#include "pages/page_map.h"
#include "pages/page_store.h"
#include "pages/reaper.h"
#include "pages/store_dir.h"

namespace weir::pages {

class DiskPageStore;

class DiskLocalFile final : public LocalFile, public std::enable_shared_from_this<DiskLocalFile> {
 public:
  // `map` is null for a file that is whole and needs no checks.
  DiskLocalFile(DiskPageStore& store, LocalFileId id, const StoreDir& dir, io::File file, std::unique_ptr<PageMap> map)
      : store_(store), id_(id), dir_(dir), file_(std::move(file)), map_(std::move(map)) {}
  ~DiskLocalFile() override;

  LocalFileId id() const override { return id_; }
  const io::File& file() const override { return file_; }
  bool complete() const override { return map_ == nullptr || map_->complete(); }
  bool present(uint64_t offset, uint64_t size) const override { return map_ == nullptr || map_->present(offset, size); }
  ByteRange first_absent(uint64_t offset, uint64_t size) const override {
    return map_ == nullptr ? ByteRange{} : map_->first_absent(offset, size);
  }
  Result<io::FileStat> stat() const override;
  Result<void> set_mtime(int64_t mtime_ns) override;
  Result<void> fill(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> write(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> truncate(uint64_t size) override;
  Result<void> punch_hole(uint64_t offset, uint64_t size) override;
  ByteRange missing_for_write(uint64_t offset, uint64_t size) const override {
    return complete() ? ByteRange{} : map_->missing_for_write(offset, size);
  }
  Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) override;
  Result<void> verify() override;
  Result<void> sync() override;

 private:
  friend class DiskPageStore;

  Result<void> report(Result<void> checked);
  // After a change of a file that was not complete.
  Result<void> changed(Result<void> result);

  DiskPageStore& store_;
  const LocalFileId id_;
  const StoreDir& dir_;
  io::File file_;
  const std::unique_ptr<PageMap> map_;

  // Guarded by the shard's mutex.
  FileIndex::Node* node_ = nullptr;  // null once removed from the store
  uint64_t removed_bytes_ = 0;       // still allocated after the removal
  size_t open_index_ = 0;            // in Shard::open
};

class DiskPageStore final : public PageStore {
 public:
  static Result<std::unique_ptr<PageStore>> open(const PageStoreOptions& options);
  ~DiskPageStore() override;

  Result<std::shared_ptr<LocalFile>> create(LocalFileId id) override;
  Result<std::shared_ptr<LocalFile>> create_partial(LocalFileId id, uint64_t size_bytes) override;
  Result<std::shared_ptr<LocalFile>> open(LocalFileId id) override;
  void remove(LocalFileId id) override;
  Result<void> quarantine(LocalFileId id) override;
  Result<LocalFileStat> stat(LocalFileId id) override;
  void set_pin(LocalFileId id, Pin pin) override;
  Result<ContentStamp> stamp(const LocalFile& file) override;
  bool later_changes_show(const io::FileStat& stat) const override;
  Result<Scrubbed> scrub(LocalFileId id, const std::function<bool(uint64_t bytes)>& pace) override;
  Result<void> record_checksums(const LocalFile& file, const ContentStamp& stamp,
                                std::span<const uint32_t> page_crcs) override;
  Result<void> admit(uint64_t bytes, Duration slow_max) override;
  bool passthrough_writes_allowed() const override { return expected_pinned_bytes() <= soft_limit_bytes_; }
  Result<void> sync_all() override;
  uint64_t failed_syncs() const override { return failed_syncs_.load(); }
  void account(LocalFileId id) override;
  void recover(LocalFileId id, Pin pin) override;
  Result<uint64_t> finish_recovery() override;
  bool trusted() const override;
  std::vector<LocalFileId> files() override;
  PageStoreUsage usage() const override;
  uint64_t page_bytes() const override { return options_.page_bytes; }
  bool evict(LocalFileId id) override;
  void set_removal_barrier(std::function<Result<void>()> barrier) override;
  void set_eviction_listener(std::function<void(LocalFileId)> listener) override;

 private:
  friend class DiskLocalFile;
  using Shard = FileIndex::Shard;
  using Node = FileIndex::Node;

  // What is on a file's way out of the store: its blocks are freed when this goes, outside the lock.
  using Remains = io::File;

  struct Duplicate {
    LocalFileId id;
    Origin origin;
    uint8_t dir;
  };

  explicit DiskPageStore(const PageStoreOptions& options)
      : options_(options), reaper_([this](const Reaper::Item& item) { unlink(item); }) {}

  Result<void> open_dirs();
  void take_in(const StoreDir::Found& found, uint8_t dir);

  uint64_t used_bytes() const;
  // And what removed files still take.
  uint64_t occupied_bytes() const { return used_bytes() + reaper_.bytes(); }
  uint64_t expected_pinned_bytes() const { return index_.pinned_bytes() + admitted_bytes_.load(); }
  uint64_t next_salt() { return salt_.fetch_add(1, std::memory_order_relaxed); }
  StoreDir& dir_of(const Node& node) { return *dirs_[node.second.dir]; }

  Result<std::shared_ptr<LocalFile>> create_file(LocalFileId id, Origin origin, uint64_t size_bytes);
  Result<std::shared_ptr<LocalFile>> try_create(LocalFileId id, Origin origin, uint64_t size_bytes, uint8_t dir);
  Result<uint8_t> choose_dir(LocalFileId id) const;
  std::shared_ptr<DiskLocalFile> hand_out(Shard& shard, Node& node, io::File file, std::unique_ptr<PageMap> map);
  Result<std::unique_ptr<PageMap>> load_map(const Node& node, const io::File& file);

  // Makes the name of a file durable that was renamed.
  Result<void> sync_name(DiskLocalFile& file);

  // Called by a handle's destructor.
  void closed(DiskLocalFile& file);
  // The file, whose shard is locked, leaves the store.
  Remains drop(Shard& shard, Node& node);
  // The same, its space freed behind the call; false, and nothing happened: free it now.
  bool drop_behind(Shard& shard, Node& node);
  // So that nobody finds a device full for want of what is being freed on it.
  bool may_free_behind(const StoreDir& dir, uint64_t bytes) const;
  void unlink(const Reaper::Item& item);
  // Removals are numbered: what was superfluous before number `at` was taken may go once this has returned without an error.
  uint32_t removal_number() const { return removals_begun_.load(); }
  Result<void> settle_removals(uint32_t at);
  bool removals_settled(uint32_t at) const { return static_cast<int32_t>(removals_settled_.load() - at) > 0; }
  // Removed or quarantined files that are open keep their blocks: they stay counted till the last handle goes.
  void forget(Shard& shard, Node& node);
  // A fetched file that is written in place is no copy any more: it takes the name of a whole file, or, while pages are
  // absent, its checksums are void.
  void promote(Shard& shard, Node& node);

  Result<void> make_room(uint64_t bytes);
  // The device itself is full: gives back what it can of `bytes`; false when nothing could be evicted.
  bool evict_bytes(uint64_t bytes);
  // The bytes freed by evicting the least recently used file; nullopt when there is none.
  std::optional<uint64_t> evict_oldest();
  void tell_evicted(LocalFileId id, uint64_t bytes);

  void filled(DiskLocalFile& file, uint64_t bytes);
  void account_open_files();
  void wake_slowed_writers();

  void run_background(const std::stop_token& stop);
  void refresh_room();
  void keep_below_high_water();
  void account_recovered();

  const PageStoreOptions options_;
  std::vector<std::unique_ptr<StoreDir>> dirs_;
  std::vector<const StoreDir*> device_dirs_;  // one for each device
  bool fine_timestamps_ = false;
  uint64_t capacity_bytes_ = 0;
  uint64_t pinned_limit_bytes_ = 0;
  uint64_t soft_limit_bytes_ = 0;

  FileIndex index_;
  std::atomic<uint64_t> salt_{0};
  std::atomic<uint64_t> removed_open_bytes_{0};
  std::atomic<uint64_t> quarantined_bytes_{0};
  std::atomic<uint64_t> evicted_files_{0};
  std::atomic<uint64_t> evicted_bytes_{0};
  std::atomic<uint64_t> corrupt_pages_{0};
  std::atomic<uint64_t> failed_syncs_{0};

  // Admitted since open files were last looked at: those bytes may not be in pinned_bytes yet.
  std::atomic<uint64_t> admitted_bytes_{0};
  std::mutex accounting_mutex_;

  std::mutex space_mutex_;
  std::condition_variable_any space_changed_;
  std::atomic<uint32_t> slowed_writers_{0};

  std::mutex barrier_mutex_;                   // over the barrier, too: who waits for one is served by it
  std::function<Result<void>()> barrier_;
  std::atomic<uint32_t> removals_begun_{1};    // barriers
  std::atomic<uint32_t> removals_settled_{1};  // the last one that succeeded

  std::mutex listener_mutex_;
  std::shared_ptr<const std::function<void(LocalFileId)>> listener_;

  std::vector<Duplicate> duplicates_;        // until finish_recovery()
  std::mutex backlog_mutex_;
  std::vector<LocalFileId> backlog_;         // recovered files not yet accounted

  Reaper reaper_;
  std::jthread background_;                  // last: it uses all of the above
};

}  // namespace weir::pages
