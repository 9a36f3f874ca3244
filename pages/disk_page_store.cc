#include "pages/disk_page_store.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "base/random.h"

namespace weir::pages {
namespace {

constexpr Duration kPollPeriod = std::chrono::milliseconds(50);
constexpr int kPollShare = 10;  // of the time at most one part in so many is spent looking at open files
constexpr Duration kRoomPeriod = std::chrono::seconds(1);
constexpr Duration kTimestampTick = std::chrono::milliseconds(20);  // two jiffies at the slowest HZ, 100
constexpr int kStampTriesMax = 5;

constexpr double kDefaultCapacityRatio = 0.8;
constexpr double kHighWater = 0.95;  // of the capacity: above it files are evicted in the background
constexpr double kLowWater = 0.90;   // down to here
constexpr uint64_t kDeviceReserveBytes = 64 << 20;  // or 1% of a smaller device: free space that eviction defends
constexpr int kReserveEvictionsMax = 256;           // between two looks at the device
constexpr uint64_t kEvictStepBytes = 16 << 20;      // given back when a device turns out to be full
constexpr int kFullDeviceTriesMax = 4;
constexpr uint64_t kSlowUnlinkBytes = 4 << 20;  // freeing more blocks than this is not done under a lock
constexpr uint64_t kFreeBehindShare = 4;        // of a device's free room at most one part in so many is still to be freed
constexpr size_t kBacklogStep = 4096;
constexpr uint64_t kBlockBytes = 4096;
constexpr size_t kDirsMax = 256;

uint64_t share(uint64_t bytes, double ratio) { return static_cast<uint64_t>(static_cast<double>(bytes) * ratio); }

uint64_t round_up_to_blocks(uint64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

LocalFileStat to_local_stat(const io::FileStat& st) {
  return {.size_bytes = st.size_bytes,
          .allocated_bytes = st.allocated_bytes,
          .mtime_ns = st.mtime_ns,
          .ctime_ns = st.ctime_ns};
}

ContentStamp to_stamp(const io::FileStat& st) {
  return {.ctime_ns = st.ctime_ns, .mtime_ns = st.mtime_ns, .size_bytes = st.size_bytes};
}

void log_failure(const char* event, LocalFileId id, const Result<void>& result) {
  if (!result.has_value()) log_error(event, {{"file", id}, {"error", result.error()}});
}

bool blames_the_device(const Error& error) {
  return error.code() == ErrorCode::kIo || error.code() == ErrorCode::kReadOnly;
}

// Since its last change.
Duration age_of(const io::FileStat& stat) { return Duration(unix_ns(system_clock().wall_now()) - stat.ctime_ns); }

}  // namespace

// ---- handles

DiskLocalFile::~DiskLocalFile() { store_.closed(*this); }

Result<void> DiskLocalFile::fill(uint64_t offset, std::span<const std::byte> bytes) {
  if (map_ == nullptr) return {};
  TRY(store_.make_room(bytes.size()));
  auto written = map_->fill(file_, offset, bytes);
  for (int tries = 0; failed_with(written, ErrorCode::kNoSpace) && tries < kFullDeviceTriesMax; ++tries) {
    if (!store_.evict_bytes(std::max<uint64_t>(bytes.size(), kEvictStepBytes))) break;
    written = map_->fill(file_, offset, bytes);
  }
  if (!written.has_value()) return std::unexpected(std::move(written).error());
  store_.filled(*this, *written);
  return {};
}

Result<io::FileStat> DiskLocalFile::stat() const { return complete() ? file_.stat() : map_->stat(file_); }

Result<void> DiskLocalFile::set_mtime(int64_t mtime_ns) {
  return complete() ? file_.set_times(std::nullopt, mtime_ns) : map_->set_mtime(file_, mtime_ns);
}

Result<void> DiskLocalFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  if (complete()) return file_.write_at(offset, bytes);
  return changed(map_->write(file_, offset, bytes));
}

Result<void> DiskLocalFile::truncate(uint64_t size) {
  if (complete()) return file_.truncate(size);
  return changed(map_->truncate(file_, size));
}

Result<void> DiskLocalFile::punch_hole(uint64_t offset, uint64_t size) {
  if (complete()) return file_.punch_hole(offset, size);
  return changed(map_->punch_hole(file_, offset, size));
}

Result<void> DiskLocalFile::changed(Result<void> result) {
  if (complete()) store_.filled(*this, 0);
  return result;
}

Result<size_t> DiskLocalFile::read(uint64_t offset, std::span<std::byte> buffer) {
  if (map_ != nullptr) TRY(report(map_->check(file_, offset, buffer.size())));
  return file_.read_at(offset, buffer);
}

Result<void> DiskLocalFile::verify() {
  if (map_ == nullptr) return {};
  return report(map_->check_present(file_));
}

Result<void> DiskLocalFile::report(Result<void> checked) {
  if (failed_with(checked, ErrorCode::kCorrupt)) {
    ++store_.corrupt_pages_;
    log_error("pages.corrupt_page", {{"file", id_}, {"folder", dir_.path()}, {"error", checked.error()}});
  }
  return checked;
}

Result<void> DiskLocalFile::sync() {
  TRY(file_.sync_data());
  TRY(store_.sync_name(*this));
  if (complete()) return {};
  return map_->sync();
}

// ---- opening and closing the store

Result<std::unique_ptr<PageStore>> open_page_store(const PageStoreOptions& options) {
  return DiskPageStore::open(options);
}

Result<std::unique_ptr<PageStore>> DiskPageStore::open(const PageStoreOptions& options) {
  if (options.dirs.empty() || options.dirs.size() > kDirsMax) {
    return fail(ErrorCode::kInvalid, "a page store needs 1 to " + std::to_string(kDirsMax) + " folders");
  }
  if (options.page_bytes < kBlockBytes || options.page_bytes % kBlockBytes != 0) {
    return fail(ErrorCode::kInvalid, "page size " + std::to_string(options.page_bytes) + " is not a multiple of " +
                                         std::to_string(kBlockBytes));
  }
  std::unique_ptr<DiskPageStore> store(new DiskPageStore(options));
  TRY(store->open_dirs());
  store->salt_ = Random::from_entropy().next();
  store->background_ = std::jthread([raw = store.get()](const std::stop_token& stop) { raw->run_background(stop); });
  return store;
}

Result<void> DiskPageStore::open_dirs() {
  std::set<uint64_t> devices;
  uint64_t devices_bytes = 0;
  fine_timestamps_ = true;
  for (const std::string& path : options_.dirs) {
    TRY_ASSIGN(auto dir, StoreDir::open(path, options_.volume_id));
    TRY_ASSIGN(const uint64_t device, dir->device());
    TRY_ASSIGN(const io::DeviceSpace space, dir->space());
    const bool another_device = devices.insert(device).second;
    if (another_device) devices_bytes += space.total_bytes;
    TRY_ASSIGN(const uint64_t quarantined, dir->quarantined_bytes());
    quarantined_bytes_ += quarantined;
    dir->set_room_bytes(space.free_bytes);
    fine_timestamps_ = fine_timestamps_ && dir->fine_timestamps();
    const auto index = static_cast<uint8_t>(dirs_.size());
    dir->set_room_bytes(space.free_bytes);
    if (another_device) device_dirs_.push_back(dir.get());
    dirs_.push_back(std::move(dir));
    TRY(dirs_.back()->scan([&](const StoreDir::Found& found) { take_in(found, index); }));
  }
  capacity_bytes_ =
      options_.capacity_bytes != 0 ? options_.capacity_bytes : share(devices_bytes, kDefaultCapacityRatio);
  pinned_limit_bytes_ = share(capacity_bytes_, std::clamp(options_.pinned_ratio, 0.0, 1.0));
  soft_limit_bytes_ = share(pinned_limit_bytes_, std::clamp(options_.soft_mark, 0.0, 1.0));
  return {};
}

void DiskPageStore::take_in(const StoreDir::Found& found, uint8_t dir) {
  // Until the metadata has spoken every file is held for needed.
  const FileIndex::Entry entry{
      .dir = dir, .origin = found.origin, .pin = Pin::kPinned, .has_map = found.has_map};
  Shard& shard = index_.shard_of(found.id);
  const std::lock_guard lock(shard.mutex);
  if (index_.insert(shard, found.id, entry) != nullptr) return;
  // A power loss can undo the unlink of an evicted file that was fetched again since: the younger one counts.
  Node& first = *index_.find(shard, found.id);
  const auto first_stat = dir_of(first).stat(found.id, first.second.origin);
  const auto second_stat = dirs_[dir]->stat(found.id, found.origin);
  Duplicate older{.id = found.id, .origin = found.origin, .dir = dir};
  if (first_stat.has_value() && second_stat.has_value() && second_stat->mtime_ns > first_stat->mtime_ns) {
    older.origin = std::exchange(first.second.origin, found.origin);
    older.dir = std::exchange(first.second.dir, dir);
    first.second.has_map = found.has_map;
  }
  duplicates_.push_back(older);
}

DiskPageStore::~DiskPageStore() {
  background_ = {};  // stops and joins
  for (Shard& shard : index_.shards()) CHECK(shard.open.empty());
  reaper_.stop();
  for (const auto& dir : dirs_) {
    if (const auto stopped = dir->stop(); !stopped.has_value()) {
      log_warn("pages.no_clean_stop", {{"folder", dir->path()}, {"error", stopped.error()}});
    }
  }
}

// ---- making files

Result<uint8_t> DiskPageStore::choose_dir(LocalFileId id) const {
  const auto weight = [](const StoreDir& dir) { return dir.in_service() ? dir.room_bytes() / kBlockBytes + 1 : 0; };
  uint64_t total = 0;
  for (const auto& dir : dirs_) total += weight(*dir);
  if (total == 0) return fail(ErrorCode::kIo, "every folder of the page store is out of service; see the log");
  uint64_t point = static_cast<uint64_t>(static_cast<__uint128_t>(id.value() * 0x9e37'79b9'7f4a'7c15) * total >> 64);
  uint8_t chosen = 0;
  while (point >= weight(*dirs_[chosen])) point -= weight(*dirs_[chosen++]);
  return chosen;
}

Result<std::shared_ptr<LocalFile>> DiskPageStore::create(LocalFileId id) {
  if (expected_pinned_bytes() >= pinned_limit_bytes_) {
    account_open_files();
    if (expected_pinned_bytes() >= pinned_limit_bytes_) {
      return fail(ErrorCode::kNoSpace, "the page store holds " + std::to_string(index_.pinned_bytes()) +
                                           " bytes not yet persisted, the limit is " +
                                           std::to_string(pinned_limit_bytes_) + "; wait for uploads or raise it");
    }
  }
  return create_file(id, Origin::kLocal, 0);
}

Result<std::shared_ptr<LocalFile>> DiskPageStore::create_partial(LocalFileId id, uint64_t size_bytes) {
  return create_file(id, Origin::kFetched, size_bytes);
}

Result<std::shared_ptr<LocalFile>> DiskPageStore::create_file(LocalFileId id, Origin origin, uint64_t size_bytes) {
  if (occupied_bytes() >= capacity_bytes_) TRY(make_room(1));
  for (int full_tries = 0;;) {
    TRY_ASSIGN(const uint8_t dir, choose_dir(id));
    auto file = try_create(id, origin, size_bytes, dir);
    if (file.has_value()) return file;
    if (blames_the_device(file.error())) {
      dirs_[dir]->take_out_of_service(file.error());  // and another is tried; there are finitely many
    } else if (file.error().code() != ErrorCode::kNoSpace || ++full_tries > kFullDeviceTriesMax ||
               !evict_bytes(kEvictStepBytes)) {
      return file;
    }
  }
}

Result<std::shared_ptr<LocalFile>> DiskPageStore::try_create(LocalFileId id, Origin origin, uint64_t size_bytes,
                                                             uint8_t dir_index) {
  const StoreDir& dir = *dirs_[dir_index];
  Shard& shard = index_.shard_of(id);
  const std::lock_guard lock(shard.mutex);
  if (index_.find(shard, id) != nullptr) {
    return fail(ErrorCode::kExists, "local file " + std::to_string(id.value()) + " exists");
  }
  reaper_.finish(id);
  TRY_ASSIGN(io::File file, dir.create(id, origin));
  std::unique_ptr<PageMap> map;
  if (origin == Origin::kFetched) {
    auto made = [&]() -> Result<std::unique_ptr<PageMap>> {
      TRY(file.truncate(size_bytes));
      TRY_ASSIGN(io::File sidecar, dir.create_map(id));
      return PageMap::create(std::move(sidecar), options_.page_bytes, size_bytes, dir.epoch(), next_salt());
    }();
    if (!made.has_value()) {
      log_failure("pages.remove_failed", id, dir.remove(id, origin));
      log_failure("pages.remove_failed", id, dir.remove_map(id));
      return std::unexpected(std::move(made).error());
    }
    map = *std::move(made);
  }
  const FileIndex::Entry entry{.dir = dir_index,
                               .origin = origin,
                               .pin = origin == Origin::kLocal ? Pin::kPinned : Pin::kEvictable,
                               .has_map = origin == Origin::kFetched,
                               .named = true,
                               .accounted = true};
  return hand_out(shard, *index_.insert(shard, id, entry), std::move(file), std::move(map));
}

std::shared_ptr<DiskLocalFile> DiskPageStore::hand_out(Shard& shard, Node& node, io::File file,
                                                       std::unique_ptr<PageMap> map) {
  auto handle = std::make_shared<DiskLocalFile>(*this, node.first, dir_of(node), std::move(file), std::move(map));
  handle->node_ = &node;
  handle->open_index_ = shard.open.size();
  shard.open.push_back(handle.get());
  index_.set_open(shard, node, handle.get());
  return handle;
}

// ---- opening and closing files

Result<std::unique_ptr<PageMap>> DiskPageStore::load_map(const Node& node, const io::File& file) {
  const auto& [id, entry] = node;
  if (!entry.has_map) {
    if (entry.origin == Origin::kLocal) return nullptr;
    return fail(ErrorCode::kCorrupt, "local file " + std::to_string(id.value()) + " has lost its page map");
  }
  const StoreDir& dir = *dirs_[entry.dir];
  TRY_ASSIGN(io::File sidecar, dir.open_map(id));
  TRY_ASSIGN(const io::FileStat st, file.stat());
  // A pinned file may have been written in place since its checksums were made, and its times lost with the power:
  // its bytes, which are nowhere else, stand for themselves.
  auto map = PageMap::load(std::move(sidecar), file,
                           {.page_bytes = options_.page_bytes,
                            .epoch = dir.epoch(),
                            .size_bytes = st.size_bytes,
                            .mtime_ns = st.mtime_ns,
                            .checksums = entry.pin == Pin::kPinned ? PageMap::Checksums::kIgnored
                                                                   : PageMap::Checksums::kRequired});
  if (failed_with(map, ErrorCode::kCorrupt) && entry.origin == Origin::kLocal && entry.pin == Pin::kPinned) {
    return nullptr;
  }
  return map;
}

Result<std::shared_ptr<LocalFile>> DiskPageStore::open(LocalFileId id) {
  Shard& shard = index_.shard_of(id);
  const auto absent = [&] { return fail(ErrorCode::kNotFound, "no local file " + std::to_string(id.value())); };
  Remains remains;
  bool unusable_pinned = false;
  {
    const std::lock_guard lock(shard.mutex);
    Node* const node = index_.find(shard, id);
    if (node == nullptr || node->second.distrusted) return absent();
    if (DiskLocalFile* const open = node->second.open; open != nullptr) {
      if (auto handle = std::static_pointer_cast<DiskLocalFile>(open->weak_from_this().lock())) return handle;
      open->node_ = nullptr;  // its last handle is going; this open takes the file over
      index_.set_open(shard, *node, nullptr);
    }
    auto file = dir_of(*node).open_file(id, node->second.origin);
    if (failed_with(file, ErrorCode::kNotFound)) {
      remains = drop(shard, *node);
      return absent();
    }
    if (!file.has_value()) return std::unexpected(std::move(file).error());
    auto map = load_map(*node, *file);
    if (map.has_value()) return hand_out(shard, *node, *std::move(file), *std::move(map));
    if (map.error().code() != ErrorCode::kCorrupt && map.error().code() != ErrorCode::kNotFound) {
      return std::unexpected(std::move(map).error());
    }
    log_error("pages.bad_page_map", {{"file", id}, {"error", map.error()}});
    unusable_pinned = node->second.pin == Pin::kPinned;
    if (!unusable_pinned) remains = drop(shard, *node);
  }
  if (!unusable_pinned) return absent();
  TRY(quarantine(id));
  return fail(ErrorCode::kCorrupt, "local file " + std::to_string(id.value()) +
                                       " was not persisted and its page map is damaged; its bytes are in quarantine");
}

void DiskPageStore::closed(DiskLocalFile& file) {
  const auto st = file.file_.stat();
  Shard& shard = index_.shard_of(file.id_);
  {
    const std::lock_guard lock(shard.mutex);
    shard.open.back()->open_index_ = file.open_index_;
    shard.open[file.open_index_] = shard.open.back();
    shard.open.pop_back();
    removed_open_bytes_ -= file.removed_bytes_;
    if (file.node_ != nullptr) {
      if (st.has_value()) index_.set_allocated(*file.node_, st->allocated_bytes);
      index_.set_open(shard, *file.node_, nullptr);
    }
  }
  // Closing it frees what it held.
  if (file.removed_bytes_ != 0 && may_free_behind(file.dir_, file.removed_bytes_)) {
    Reaper::Item item{.bytes = file.removed_bytes_, .remains = std::move(file.file_)};
    reaper_.put(item);
  }
}

Result<LocalFileStat> DiskPageStore::stat(LocalFileId id) {
  Shard& shard = index_.shard_of(id);
  const std::lock_guard lock(shard.mutex);
  Node* const node = index_.find(shard, id);
  if (node == nullptr) return fail(ErrorCode::kNotFound, "no local file " + std::to_string(id.value()));
  const DiskLocalFile* const open = node->second.open;
  TRY_ASSIGN(const io::FileStat st, open != nullptr ? open->file_.stat() : dir_of(*node).stat(id, node->second.origin));
  index_.set_allocated(*node, st.allocated_bytes);
  return to_local_stat(st);
}

Result<void> DiskPageStore::sync_name(DiskLocalFile& file) {
  Shard& shard = index_.shard_of(file.id_);
  {
    const std::lock_guard lock(shard.mutex);
    if (file.node_ == nullptr || !file.node_->second.renamed) return {};
  }
  TRY(file.dir_.sync_names(file.id_));
  const std::lock_guard lock(shard.mutex);
  if (file.node_ != nullptr) file.node_->second.renamed = false;
  return {};
}

// ---- leaving the store

void DiskPageStore::set_removal_barrier(std::function<Result<void>()> barrier) {
  const std::lock_guard lock(barrier_mutex_);
  barrier_ = std::move(barrier);
}

Result<void> DiskPageStore::settle_removals(uint32_t at) {
  if (removals_settled(at)) return {};
  const std::lock_guard lock(barrier_mutex_);
  if (removals_settled(at)) return {};
  const uint32_t number = removals_begun_.fetch_add(1) + 1;
  if (barrier_) TRY(barrier_());
  removals_settled_ = number;
  return {};
}

DiskPageStore::Remains DiskPageStore::drop(Shard& shard, Node& node) {
  const LocalFileId id = node.first;
  const FileIndex::Entry& entry = node.second;
  const StoreDir& dir = dir_of(node);
  Remains remains;
  if (entry.open == nullptr && (!entry.accounted || entry.allocated_bytes > kSlowUnlinkBytes)) {
    if (auto file = dir.open_file(id, entry.origin); file.has_value()) remains = *std::move(file);
  }
  log_failure("pages.remove_failed", id, dir.remove(id, entry.origin));
  if (entry.has_map) log_failure("pages.remove_failed", id, dir.remove_map(id));
  if (entry.open != nullptr) {
    entry.open->removed_bytes_ = entry.allocated_bytes;
    removed_open_bytes_ += entry.allocated_bytes;
  }
  forget(shard, node);
  return remains;
}

void DiskPageStore::forget(Shard& shard, Node& node) {
  if (node.second.open != nullptr) node.second.open->node_ = nullptr;
  index_.erase(shard, node);
}

bool DiskPageStore::may_free_behind(const StoreDir& dir, uint64_t bytes) const {
  return reaper_.bytes() + bytes <= dir.room_bytes() / kFreeBehindShare;
}

bool DiskPageStore::drop_behind(Shard& shard, Node& node) {
  const FileIndex::Entry& entry = node.second;
  // The name of an open file goes without its blocks.
  const uint64_t bytes = entry.open != nullptr ? 0 : entry.allocated_bytes;
  if (!may_free_behind(dir_of(node), bytes)) return false;
  Reaper::Item item{.id = node.first,
                    .origin = entry.origin,
                    .dir = entry.dir,
                    .has_map = entry.has_map,
                    .number = removal_number(),
                    .bytes = bytes,
                    .remains = {}};
  if (!reaper_.put(item)) return false;
  if (entry.open != nullptr) {
    entry.open->removed_bytes_ = entry.allocated_bytes;
    removed_open_bytes_ += entry.allocated_bytes;
  }
  forget(shard, node);
  return true;
}

void DiskPageStore::unlink(const Reaper::Item& item) {
  const StoreDir& dir = *dirs_[item.dir];
  if (const auto settled = settle_removals(item.number); !settled.has_value()) {
    // The next start finds it.
    if (settled.error().code() != ErrorCode::kCancelled) log_failure("pages.remove_failed", item.id, settled);
    return;
  }
  log_failure("pages.remove_failed", item.id, dir.remove(item.id, item.origin));
  if (item.has_map) log_failure("pages.remove_failed", item.id, dir.remove_map(item.id));
}

void DiskPageStore::remove(LocalFileId id) {
  Remains remains;
  Shard& shard = index_.shard_of(id);
  {
    const std::lock_guard lock(shard.mutex);
    Node* const node = index_.find(shard, id);
    if (node == nullptr || drop_behind(shard, *node)) return wake_slowed_writers();
  }
  const auto settled = settle_removals(removal_number());
  if (!settled.has_value()) return log_failure("pages.remove_failed", id, settled);
  {
    const std::lock_guard lock(shard.mutex);
    if (Node* const node = index_.find(shard, id); node != nullptr) remains = drop(shard, *node);
  }
  wake_slowed_writers();
}

Result<void> DiskPageStore::quarantine(LocalFileId id) {
  Shard& shard = index_.shard_of(id);
  {
    const std::lock_guard lock(shard.mutex);
    Node* const node = index_.find(shard, id);
    if (node == nullptr) return fail(ErrorCode::kNotFound, "no local file " + std::to_string(id.value()));
    const auto st = dir_of(*node).stat(id, node->second.origin);
    if (st.has_value()) index_.set_allocated(*node, st->allocated_bytes);
    TRY(dir_of(*node).quarantine(id, node->second.origin));
    quarantined_bytes_ += node->second.allocated_bytes;
    forget(shard, *node);
  }
  log_error("pages.quarantined", {{"file", id}});
  wake_slowed_writers();
  return {};
}

bool DiskPageStore::evict(LocalFileId id) {
  Remains remains;
  Shard& shard = index_.shard_of(id);
  for (;;) {
    uint32_t unpinned_at = 0;
    {
      const std::lock_guard lock(shard.mutex);
      Node* const node = index_.find(shard, id);
      if (node == nullptr || node->second.pin == Pin::kPinned || node->second.open != nullptr) return false;
      unpinned_at = node->second.unpinned_at;
      if (removals_settled(unpinned_at)) {
        remains = drop(shard, *node);
        return true;
      }
    }
    if (!settle_removals(unpinned_at).has_value()) return false;
  }
}

std::optional<uint64_t> DiskPageStore::evict_oldest() {
  for (;;) {
    Shard* const shard = index_.shard_to_evict();
    if (shard == nullptr) return std::nullopt;
    Remains remains;
    LocalFileId id;
    uint64_t bytes = 0;
    uint32_t unsettled = 0;
    {
      const std::lock_guard lock(shard->mutex);
      Node* const node = shard->oldest;
      if (node == nullptr) continue;  // another thread was faster
      if (!removals_settled(node->second.unpinned_at)) unsettled = node->second.unpinned_at;
    }
    if (unsettled != 0) {
      if (!settle_removals(unsettled).has_value()) return std::nullopt;
      continue;
    }
    {
      const std::lock_guard lock(shard->mutex);
      Node* const node = shard->oldest;
      if (node == nullptr || !removals_settled(node->second.unpinned_at)) continue;
      id = node->first;
      if (!node->second.accounted) {
        const auto st = dir_of(*node).stat(id, node->second.origin);
        if (st.has_value()) index_.set_allocated(*node, st->allocated_bytes);
      }
      bytes = node->second.allocated_bytes;
      remains = drop(*shard, *node);
    }
    tell_evicted(id, bytes);
    return bytes;
  }
}

void DiskPageStore::tell_evicted(LocalFileId id, uint64_t bytes) {
  ++evicted_files_;
  evicted_bytes_ += bytes;
  std::shared_ptr<const std::function<void(LocalFileId)>> listener;
  {
    const std::lock_guard lock(listener_mutex_);
    listener = listener_;
  }
  if (listener != nullptr) (*listener)(id);
}

void DiskPageStore::set_eviction_listener(std::function<void(LocalFileId)> listener) {
  auto shared = listener ? std::make_shared<const std::function<void(LocalFileId)>>(std::move(listener)) : nullptr;
  const std::lock_guard lock(listener_mutex_);
  listener_ = std::move(shared);
}

// ---- pins

void DiskPageStore::set_pin(LocalFileId id, Pin pin) {
  Shard& shard = index_.shard_of(id);
  {
    const std::lock_guard lock(shard.mutex);
    Node* const node = index_.find(shard, id);
    if (node == nullptr) return;
    index_.set_pin(shard, *node, pin);
    if (pin == Pin::kEvictable) node->second.unpinned_at = removal_number();
    if (pin == Pin::kPinned) promote(shard, *node);
  }
  if (pin == Pin::kEvictable) wake_slowed_writers();
}

void DiskPageStore::promote(Shard&, Node& node) {
  const LocalFileId id = node.first;
  FileIndex::Entry& entry = node.second;
  if (!entry.has_map) return;
  const StoreDir& dir = dir_of(node);
  PageMap* map = entry.open != nullptr ? entry.open->map_.get() : nullptr;
  std::unique_ptr<PageMap> loaded;
  if (entry.open == nullptr) {
    const auto file = dir.open_file(id, entry.origin);
    auto result = file.has_value() ? load_map(node, *file) : fail(file.error());
    if (!result.has_value()) return;  // the next open says what is wrong with it
    loaded = *std::move(result);
    map = loaded.get();
  }
  if (map != nullptr) {
    log_failure("pages.void_checksums_failed", id, map->void_checksums());
    if (!map->all_present()) return;
  }
  if (entry.origin == Origin::kFetched) {
    const auto renamed = dir.change_origin(id, entry.origin);
    log_failure("pages.promote_failed", id, renamed);
    if (!renamed.has_value()) return;  // it stays a fetched file whose map says that all is present
    entry.origin = Origin::kLocal;
    entry.renamed = true;
  }
  log_failure("pages.remove_failed", id, dir.remove_map(id));
  entry.has_map = false;
}

// ---- content

bool DiskPageStore::later_changes_show(const io::FileStat& stat) const {
  if (fine_timestamps_) return true;
  // Within one tick of a coarse clock two changes can get the same ctime.
  const Duration age = age_of(stat);
  return age >= kTimestampTick || age <= -kTimestampTick;
}

Result<ContentStamp> DiskPageStore::stamp(const LocalFile& local) {
  const io::File& file = local.file();
  for (int tries = 0; tries < kStampTriesMax; ++tries) {
    // A store that faults its page in after the first stat moves the ctime, unless the page is writable already: so
    // the pages are cleaned, hence write-protected, between two stats that must agree. A write(2) moves the ctime
    // before it copies: so those that did before the first stat must have ended.
    TRY_ASSIGN(const io::FileStat before, file.stat());
    TRY(file.sync_data());
    file.await_running_writes();
    TRY_ASSIGN(const io::FileStat after, file.stat());
    if (to_stamp(before) != to_stamp(after)) continue;
    if (later_changes_show(after)) return to_stamp(after);
    std::this_thread::sleep_for(std::clamp(kTimestampTick - age_of(after), Duration::zero(), kTimestampTick));
  }
  return fail(ErrorCode::kBusy, "local file " + std::to_string(local.id().value()) + " keeps changing");
}

Result<void> DiskPageStore::record_checksums(const LocalFile& file, const ContentStamp& stamp,
                                             std::span<const uint32_t> page_crcs) {
  const LocalFileId id = file.id();
  Shard& shard = index_.shard_of(id);
  const std::lock_guard lock(shard.mutex);
  Node* const node = index_.find(shard, id);
  if (node == nullptr) return {};
  // A fetched file has its checksums from filling; that it is still a copy means that it was not written since.
  if (node->second.origin == Origin::kFetched) return {};
  const StoreDir& dir = dir_of(*node);
  if (stamp.size_bytes <= options_.page_bytes && page_crcs.size() <= 1) {
    // What the file had when it was larger describes it no more.
    if (node->second.has_map) TRY(dir.remove_map(id));
    node->second.has_map = false;
    return {};
  }
  TRY_ASSIGN(const io::File sidecar, dir.create_map(id));
  node->second.has_map = true;
  return PageMap::write_checksums(sidecar, options_.page_bytes, stamp, page_crcs, dir.epoch(), next_salt());
}

void DiskPageStore::filled(DiskLocalFile& file, uint64_t bytes) {
  Shard& shard = index_.shard_of(file.id_);
  const std::lock_guard lock(shard.mutex);
  if (file.node_ == nullptr) return;
  const FileIndex::Entry& entry = file.node_->second;
  index_.set_allocated(*file.node_, entry.allocated_bytes + round_up_to_blocks(bytes));
  if (entry.pin == Pin::kPinned && file.map_->all_present()) promote(shard, *file.node_);
}

// ---- space

uint64_t DiskPageStore::used_bytes() const {
  return index_.used_bytes() + removed_open_bytes_.load(std::memory_order_relaxed) +
         quarantined_bytes_.load(std::memory_order_relaxed);
}

PageStoreUsage DiskPageStore::usage() const {
  uint64_t devices_free_bytes = 0;
  for (const StoreDir* const dir : device_dirs_) devices_free_bytes += dir->room_bytes();
  return {
      .capacity_bytes = capacity_bytes_,
      .used_bytes = used_bytes(),
      .pinned_bytes = index_.pinned_bytes(),
      .pinned_limit_bytes = pinned_limit_bytes_,
      .quarantined_bytes = quarantined_bytes_,
      .leaving_files = reaper_.files(),
      .leaving_bytes = reaper_.bytes(),
      .files = index_.files(),
      .pinned_files = index_.pinned_files(),
      .evicted_files = evicted_files_,
      .evicted_bytes = evicted_bytes_,
      .corrupt_pages = corrupt_pages_,
      .dirs_out_of_service = static_cast<uint64_t>(
          std::ranges::count_if(dirs_, [](const auto& dir) { return !dir->in_service(); })),
      .devices_free_bytes = devices_free_bytes,
  };
}

Result<void> DiskPageStore::make_room(uint64_t bytes) {
  // What cannot be made to fit must not cost the files that would be evicted in vain.
  bool possible = index_.pinned_bytes() + bytes <= capacity_bytes_;
  while (possible && occupied_bytes() + bytes > capacity_bytes_) possible = reaper_.help() || evict_oldest().has_value();
  if (possible) return {};
  return fail(ErrorCode::kNoSpace, "the page store is full: " + std::to_string(used_bytes()) + " of " +
                                       std::to_string(capacity_bytes_) +
                                       " bytes used and nothing left to evict; wait for uploads or give it more room");
}

bool DiskPageStore::evict_bytes(uint64_t bytes) {
  uint64_t freed = 0;
  bool any = false;
  while (reaper_.help()) any = true;
  if (any) return true;
  while (freed < bytes) {
    const auto evicted = evict_oldest();
    if (!evicted.has_value()) break;
    freed += *evicted;
    any = true;
  }
  return any;
}

Result<void> DiskPageStore::admit(uint64_t bytes, Duration slow_max) {
  if (expected_pinned_bytes() + bytes > pinned_limit_bytes_) {
    account_open_files();
    if (expected_pinned_bytes() + bytes > pinned_limit_bytes_) {
      return fail(ErrorCode::kNoSpace, "the page store holds " + std::to_string(index_.pinned_bytes()) +
                                           " bytes not yet persisted, the limit is " +
                                           std::to_string(pinned_limit_bytes_) + "; wait for uploads or raise it");
    }
  }
  TRY(make_room(bytes));
  const uint64_t pinned = expected_pinned_bytes() + bytes;
  admitted_bytes_ += bytes;
  if (pinned <= soft_limit_bytes_) return {};
  const double excess = static_cast<double>(pinned - soft_limit_bytes_) /
                        static_cast<double>(std::max<uint64_t>(pinned_limit_bytes_ - soft_limit_bytes_, 1));
  const auto pause = std::chrono::duration_cast<Duration>(slow_max * std::min(excess, 1.0));
  ++slowed_writers_;
  {
    std::unique_lock lock(space_mutex_);
    space_changed_.wait_for(lock, pause, [&] { return expected_pinned_bytes() <= soft_limit_bytes_; });
  }
  --slowed_writers_;
  return {};
}

void DiskPageStore::wake_slowed_writers() {
  if (slowed_writers_.load() == 0) return;
  { const std::lock_guard lock(space_mutex_); }  // a writer is before its check or in its wait, not between
  space_changed_.notify_all();
}

Result<void> DiskPageStore::sync_all() {
  // A folder that takes no new files may still hold bytes that are nowhere else.
  for (const auto& dir : dirs_) {
    if (auto synced = dir->sync_file_system(); !synced.has_value()) {
      ++failed_syncs_;
      return synced;
    }
  }
  return {};
}

void DiskPageStore::account(LocalFileId id) { static_cast<void>(stat(id)); }

void DiskPageStore::account_open_files() {
  const std::lock_guard accounting(accounting_mutex_);
  const uint64_t admitted = admitted_bytes_.load();
  for (Shard& shard : index_.shards()) {
    const std::lock_guard lock(shard.mutex);
    for (const DiskLocalFile* const file : shard.open) {
      if (file->node_ == nullptr || file->node_->second.pin != Pin::kPinned) continue;
      const auto st = file->file_.stat();
      if (st.has_value()) index_.set_allocated(*file->node_, st->allocated_bytes);
    }
  }
  admitted_bytes_ -= admitted;
}

std::vector<LocalFileId> DiskPageStore::files() {
  std::vector<LocalFileId> ids;
  ids.reserve(index_.files());
  for (Shard& shard : index_.shards()) {
    const std::lock_guard lock(shard.mutex);
    for (const auto& [id, entry] : shard.files) ids.push_back(id);
  }
  return ids;
}

// ---- recovery

void DiskPageStore::recover(LocalFileId id, Pin pin) {
  {
    Shard& shard = index_.shard_of(id);
    const std::lock_guard lock(shard.mutex);
    Node* const node = index_.find(shard, id);
    if (node == nullptr) return;
    FileIndex::Entry& entry = node->second;
    if (pin == Pin::kEvictable && !entry.named && entry.origin == Origin::kLocal && !entry.has_map &&
        !dir_of(*node).trusted()) {
      entry.distrusted = true;
      return;
    }
    entry.named = true;
    index_.set_pin(shard, *node, pin);
  }
  const std::lock_guard lock(backlog_mutex_);
  backlog_.push_back(id);
}

bool DiskPageStore::trusted() const {
  return std::ranges::all_of(dirs_, [](const auto& dir) { return dir->trusted(); });
}

Result<uint64_t> DiskPageStore::finish_recovery() {
  uint64_t removed = 0;
  uint64_t distrusted = 0;
  for (Shard& shard : index_.shards()) {
    const std::lock_guard lock(shard.mutex);
    for (auto it = shard.files.begin(); it != shard.files.end();) {
      Node& node = *it++;
      if (node.second.named || node.second.open != nullptr) continue;
      ++(node.second.distrusted ? distrusted : removed);
      drop(shard, node);
    }
  }
  for (const Duplicate& duplicate : std::exchange(duplicates_, {})) {
    TRY(dirs_[duplicate.dir]->remove(duplicate.id, duplicate.origin));
    ++removed;
  }
  if (removed != 0) log_info("pages.garbage_removed", {{"files", removed}});
  if (distrusted != 0) log_warn("pages.distrusted_removed", {{"files", distrusted}});
  for (const auto& dir : dirs_) dir->establish_trust();
  return removed;
}

void DiskPageStore::account_recovered() {
  std::vector<LocalFileId> step;
  {
    const std::lock_guard lock(backlog_mutex_);
    const size_t count = std::min(kBacklogStep, backlog_.size());
    step.assign(backlog_.end() - static_cast<ptrdiff_t>(count), backlog_.end());
    backlog_.resize(backlog_.size() - count);
    if (backlog_.empty()) backlog_.shrink_to_fit();
  }
  for (const LocalFileId id : step) account(id);
}

// ---- background

void DiskPageStore::run_background(const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any stopped;
  TimePoint room_due = system_clock().now();
  TimePoint poll_due = room_due;
  while (!stop.stop_requested()) {
    const TimePoint now = system_clock().now();
    if (now >= poll_due) {
      account_open_files();
      wake_slowed_writers();
      const Duration taken = system_clock().now() - now;
      poll_due = now + std::max<Duration>(kPollPeriod, taken * kPollShare);
    }
    if (now >= room_due) {
      refresh_room();
      room_due = now + kRoomPeriod;
    }
    keep_below_high_water();
    account_recovered();
    bool backlog = false;
    {
      const std::lock_guard lock(backlog_mutex_);
      backlog = !backlog_.empty();
    }
    if (backlog) continue;
    std::unique_lock lock(mutex);
    stopped.wait_until(lock, stop, std::min(poll_due, room_due), [] { return false; });
  }
}

void DiskPageStore::refresh_room() {
  for (const auto& dir : dirs_) {
    for (int evictions = 0;; ++evictions) {
      const auto space = dir->space();
      if (!space.has_value()) {
        dir->take_out_of_service(space.error());
        break;
      }
      dir->set_room_bytes(space->free_bytes);
      const uint64_t reserve = std::min(kDeviceReserveBytes, space->total_bytes / 100);
      if (space->free_bytes >= reserve || evictions == kReserveEvictionsMax) break;
      if (!reaper_.help() && !evict_oldest().has_value()) break;
    }
  }
}

void DiskPageStore::keep_below_high_water() {
  if (used_bytes() <= share(capacity_bytes_, kHighWater)) return;
  while (used_bytes() > share(capacity_bytes_, kLowWater) && evict_oldest().has_value()) {
  }
}

}  // namespace weir::pages
