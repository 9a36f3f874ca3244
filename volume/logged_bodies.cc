#include "volume/logged_bodies.h"

#include <string>
#include <utility>

#include "base/failpoint.h"
#include "base/log.h"

namespace weir::volume {
namespace {

// So few files are made durable one by one: syncing a whole file system writes what others have in memory, too.
constexpr size_t kFewFiles = 4;
constexpr Duration kRetryAfter = std::chrono::seconds(1);

Result<std::shared_ptr<pages::LocalFile>> open_or_create(pages::PageStore& pages, LocalFileId id) {
  auto opened = pages.open(id);
  if (failed_with(opened, ErrorCode::kNotFound)) return pages.create(id);
  return opened;
}

}  // namespace

Result<std::shared_ptr<pages::LocalFile>> restore_body(pages::PageStore& pages, const meta::ObjectNamespace::Body& body) {
  TRY_ASSIGN(auto local, open_or_create(pages, body.local_file));
  const std::string& bytes = body.record.body();
  TRY(local->file().write_at(0, bytes));
  // Not cut before it is written: somebody may be reading it.
  TRY(local->file().truncate(bytes.size()));
  pages.account(body.local_file);
  return local;
}

LoggedBodies::LoggedBodies(meta::Namespace& names, pages::PageStore& pages)
    : objects_(names, Duration(-1)), pages_(pages), thread_([this] { run(); }) {}

LoggedBodies::~LoggedBodies() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  work_.notify_all();
  thread_.join();
}

// --- entries

LoggedBodies::Entry::Entry(Entry&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), local_file_(other.local_file_) {}

LoggedBodies::Entry::~Entry() {
  if (owner_ != nullptr) owner_->forget(local_file_);
}

void LoggedBodies::Entry::committed() {
  LoggedBodies& owner = *std::exchange(owner_, nullptr);
  const std::lock_guard lock(owner.mutex_);
  const auto row = owner.rows_.find(local_file_);
  // Who found the object before its put returned may have released it already.
  if (row == owner.rows_.end()) return;
  row->second.committed = true;
  ++owner.standing_files_;
  owner.standing_bytes_ += row->second.bytes;
  if (owner.standing_files_ == 1) owner.due_ = system_clock().now() + kWaitMax;
  if (owner.standing_files_ == 1 || owner.standing_files_ == kGroupFiles || owner.standing_bytes_ >= kGroupBytes)
    owner.work_.notify_one();
}

std::optional<LoggedBodies::Entry> LoggedBodies::begin(LocalFileId local_file, uint64_t bytes) {
  const Waiting waiting{.bytes = bytes, .failed_syncs = pages_.failed_syncs()};
  const std::lock_guard lock(mutex_);
  if (stopping_ || waiting_bytes_ + bytes > kWaitingBytesMax || rows_.size() == kWaitingFilesMax) return std::nullopt;
  add(local_file, waiting);
  return Entry(*this, local_file);
}

void LoggedBodies::take_over(std::span<const Standing> rows) {
  const uint64_t failed_syncs = pages_.failed_syncs();
  for (const Standing& row : rows) {
    {
      const std::lock_guard lock(mutex_);
      add(row.local_file, {.bytes = row.bytes, .failed_syncs = failed_syncs});
    }
    Entry(*this, row.local_file).committed();
  }
}

void LoggedBodies::add(LocalFileId local_file, Waiting waiting) {
  waiting_bytes_ += waiting.bytes;
  rows_.insert_or_assign(local_file, waiting);
  waiting_.store(rows_.size(), std::memory_order_relaxed);
}

void LoggedBodies::forget(LocalFileId local_file) {
  const std::lock_guard lock(mutex_);
  const auto row = rows_.find(local_file);
  if (row == rows_.end()) return;
  waiting_bytes_ -= row->second.bytes;
  if (row->second.committed) {
    --standing_files_;
    standing_bytes_ -= row->second.bytes;
  }
  rows_.erase(row);
  waiting_.store(rows_.size(), std::memory_order_relaxed);
}

// --- making them durable

Result<void> LoggedBodies::release(pages::LocalFile& file) {
  // Whoever was led here by the metadata sees what was added before the row was committed.
  if (waiting() == 0) return {};
  const std::lock_guard settling(settling_);
  uint64_t failed_syncs = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto row = rows_.find(file.id());
    if (row == rows_.end()) return {};
    failed_syncs = row->second.failed_syncs;
  }
  return settle_one(file.id(), failed_syncs);
}

Result<void> LoggedBodies::settle_one(LocalFileId local_file, uint64_t failed_syncs) {
  const auto local = pages_.open(local_file);
  const bool absent = failed_with(local, ErrorCode::kNotFound);
  if (!absent) TRY(local);
  if (!absent && pages_.failed_syncs() == failed_syncs) {
    TRY((*local)->sync());
  } else {
    // It was evicted or removed, or the kernel may have dropped what it could not write.
    TRY_ASSIGN(const auto body, objects_.find_body(local_file));
    if (body && body->inode && !(absent && meta::content_persisted(*body->inode))) {
      TRY_ASSIGN(const auto restored, restore_body(pages_, *body));
      TRY(restored->sync());
    }
  }
  TRY(failpoint("logged_bodies.synced"));
  TRY(objects_.erase_bodies({&local_file, 1}, kv::Durability::kSynced));
  forget(local_file);
  return {};
}

Result<void> LoggedBodies::settle(const Group& group) {
  bool together = group.size() > kFewFiles;
  if (together) {
    const auto synced = pages_.sync_all();
    const uint64_t failed_syncs = pages_.failed_syncs();
    for (const auto& [id, before] : group) together = together && before == failed_syncs;
    if (!synced) {
      log_error("volume.bodies_not_synced", {{"files", group.size()}, {"error", synced.error()}});
      together = false;
    }
  }
  if (!together) {
    for (const auto& [id, failed_syncs] : group) {
      const std::lock_guard settling(settling_);
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) return fail(ErrorCode::kCancelled);
        if (!rows_.contains(id)) continue;
      }
      TRY(settle_one(id, failed_syncs));
    }
    return {};
  }
  TRY(failpoint("logged_bodies.synced"));
  std::vector<LocalFileId> ids;
  ids.reserve(group.size());
  for (const auto& [id, failed_syncs] : group) ids.push_back(id);
  TRY(objects_.erase_bodies(ids, kv::Durability::kSynced));
  for (const LocalFileId id : ids) forget(id);
  return {};
}

Result<void> LoggedBodies::settle_all(Deadline deadline) {
  std::unique_lock lock(mutex_);
  const uint64_t number = ++asked_;
  work_.notify_one();
  if (!done_.wait_until(lock, deadline.time(), [&] { return answered_ >= number; }))
    return fail(ErrorCode::kTimedOut, std::to_string(standing_files_) + " files of small objects are not durable yet");
  return outcome_;
}

LoggedBodies::Group LoggedBodies::committed_now() const {
  Group group;
  group.reserve(standing_files_);
  for (const auto& [id, waiting] : rows_) {
    if (waiting.committed) group.emplace_back(id, waiting.failed_syncs);
  }
  return group;
}

void LoggedBodies::run() {
  std::unique_lock lock(mutex_);
  bool failed = false;
  for (;;) {
    const auto asked = [this] { return stopping_ || asked_ != answered_; };
    work_.wait(lock, [&] { return asked() || standing_files_ != 0; });
    work_.wait_until(lock, due_, [&] {
      return asked() || (!failed && (standing_files_ >= kGroupFiles || standing_bytes_ >= kGroupBytes));
    });
    if (stopping_) break;
    const uint64_t number = asked_;
    const Group group = committed_now();
    lock.unlock();
    auto outcome = settle(group);
    if (!outcome && outcome.error() != ErrorCode::kCancelled)
      log_error("volume.bodies_not_settled", {{"files", group.size()}, {"error", outcome.error()}});
    lock.lock();
    failed = !outcome.has_value();
    due_ = system_clock().now() + (failed ? kRetryAfter : kWaitMax);
    outcome_ = std::move(outcome);
    answered_ = number;
    done_.notify_all();
  }
  done_.notify_all();
}

}  // namespace weir::volume
