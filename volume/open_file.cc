#include "volume/open_file.h"

#include <algorithm>

#include "base/failpoint.h"

namespace weir::volume {
namespace {

// Offsets are signed 64-bit numbers to the kernel.
constexpr uint64_t kFileBytesMax = (uint64_t{1} << 63) - 1;

Result<void> zero(pages::LocalFile& local, uint64_t offset, uint64_t size, io::File::Extend extend) {
  if (local.complete()) {
    auto zeroed = local.file().zero_range(offset, size, extend);
    if (!failed_with(zeroed, ErrorCode::kNotSupported)) return zeroed;
  }
  TRY(local.punch_hole(offset, size));
  return local.file().allocate(offset, size, extend);
}

// How many blocks reserving the range can take at most: those that the file has already are taken for the range's.
uint64_t bytes_to_reserve(const io::FileStat& stat, uint64_t offset, uint64_t size) {
  const uint64_t end = offset + size;
  const uint64_t has = std::min(stat.allocated_bytes, stat.size_bytes);
  return std::min(size, end - std::min(end, has));
}

}  // namespace

LocalOpenFile::LocalOpenFile(OpenFiles& files, OpenRef open, const OpenOptions& options,
                             std::shared_ptr<Content> local)
    : files_(files), open_(std::move(open)), options_(options), local_(std::move(local)) {}

Result<std::shared_ptr<Content>> LocalOpenFile::content() {
  if (local_) return local_;
  std::lock_guard lock(open_->mutex);
  return open_->content;
}

Result<std::shared_ptr<Content>> LocalOpenFile::writable_content() {
  if (!writes()) return fail(ErrorCode::kPermission, "the file is open for reading only");
  if (local_) return local_;
  return files_.make_writable(*open_);
}

Result<size_t> LocalOpenFile::read(uint64_t offset, std::span<std::byte> buffer) {
  if (buffer.empty()) return 0;
  TRY_ASSIGN(std::shared_ptr<Content> content, this->content());
  for (int version = 0; version < kVersionsMax; ++version) {
    auto read = files_.read_content(content, window_, offset, buffer);
    if (!failed_with(read, ErrorCode::kStale)) return read;
    TRY_ASSIGN(auto current, files_.current_content(*open_));
    if (current == content) return fail(files_.base_lost(*content, read.error()));
    content = std::move(current);
  }
  return fail(ErrorCode::kStale, "inode " + std::to_string(open_->id.value()) + " changes faster than it can be read");
}

Result<void> LocalOpenFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  TRY_ASSIGN(const auto content, writable_content());
  TRY(files_.pages_.admit(bytes.size(), files_.options_.admit_slow_max));
  return files_.change(*open_, content, offset, bytes.size(), [&] { return content->local().write(offset, bytes); });
}

Result<void> LocalOpenFile::append(std::span<const std::byte> bytes, const AppendPlace& about_to) {
  TRY_ASSIGN(const auto content, writable_content());
  TRY(files_.pages_.admit(bytes.size(), files_.options_.admit_slow_max));
  std::lock_guard lock(open_->mutex);  // between finding the end and writing there
  TRY_ASSIGN(const io::FileStat stat, content->file().stat());
  if (about_to) about_to(stat.size_bytes);
  // Nothing can be absent there.
  const bool complete = content->local().complete();
  TRY(content->local().write(stat.size_bytes, bytes));
  if (!complete) open_->commit_due = true;
  return {};
}

Result<void> LocalOpenFile::truncate(uint64_t size) {
  if (!writes()) return fail(ErrorCode::kPermission, "the file is open for reading only");
  if (size == 0) {
    std::unique_lock lock(open_->mutex);
    TRY(files_.await_ending(*open_, lock));
    if (open_->marked) {
      open_->commit_due = true;
      TRY(files_.about_to_cut(*open_, open_->content->local(), 0));
      return open_->content->local().truncate(0);
    }
    TRY_ASSIGN(const meta::Inode inode, files_.names_.load(open_->id));
    return files_.begin_truncated(*open_, inode);
  }
  TRY_ASSIGN(const auto content, writable_content());
  const bool complete = content->local().complete();
  {
    const std::lock_guard lock(open_->mutex);  // so that no flush comes between
    TRY(files_.about_to_cut(*open_, content->local(), size));
    if (complete) return content->local().truncate(size);
  }
  return files_.change(*open_, content, size, 0, [&] { return content->local().truncate(size); });
}

Result<void> LocalOpenFile::allocate(Allocate what, uint64_t offset, uint64_t size) {
  if (size == 0) return fail(ErrorCode::kInvalid, "an empty range");
  if (offset + size < offset || offset + size > kFileBytesMax) return fail(ErrorCode::kTooLarge);
  TRY_ASSIGN(const auto content, writable_content());
  const io::File& file = content->file();
  if (what != Allocate::kPunchHole) {
    TRY_ASSIGN(const io::FileStat stat, file.stat());
    TRY(files_.pages_.admit(bytes_to_reserve(stat, offset, size), files_.options_.admit_slow_max));
  }
  const auto done = files_.change(*open_, content, offset, size, [&]() -> Result<void> {
    using Extend = io::File::Extend;
    switch (what) {
      case Allocate::kReserve: return file.allocate(offset, size, Extend::kGrow);
      case Allocate::kReserveKeepSize: return file.allocate(offset, size, Extend::kKeepSize);
      case Allocate::kZero: return zero(content->local(), offset, size, Extend::kGrow);
      case Allocate::kZeroKeepSize: return zero(content->local(), offset, size, Extend::kKeepSize);
      case Allocate::kPunchHole: return content->local().punch_hole(offset, size);
    }
    return fail(ErrorCode::kInternal);
  });
  files_.pages_.account(content->id());
  return done;
}

Result<std::optional<uint64_t>> LocalOpenFile::seek(Seek what, uint64_t offset) {
  TRY_ASSIGN(const auto content, this->content());
  const io::File& file = content->file();
  const pages::LocalFile& local = content->local();
  if (local.complete()) return what == Seek::kData ? file.seek_data(offset) : file.seek_hole(offset);
  if (what == Seek::kData) {
    TRY_ASSIGN(const io::FileStat stat, file.stat());
    if (offset >= stat.size_bytes) return std::nullopt;
    TRY_ASSIGN(std::optional<uint64_t> data, file.seek_data(offset));
    const auto absent = local.first_absent(offset, stat.size_bytes - offset);
    if (absent.size == 0) return data;
    const uint64_t first_absent = std::max(absent.offset, offset);
    return std::min(data.value_or(first_absent), first_absent);
  }
  for (;;) {
    TRY_ASSIGN(const std::optional<uint64_t> hole, file.seek_hole(offset));
    if (!hole) return hole;
    const auto absent = local.first_absent(*hole, 1);
    if (absent.size == 0) return hole;
    offset = absent.offset + absent.size;
    TRY_ASSIGN(const io::FileStat stat, file.stat());
    if (offset >= stat.size_bytes) return stat.size_bytes;
  }
}

Result<void> LocalOpenFile::flush() {
  if (!writes()) return {};
  bool committed = false;
  bool waits = false;
  {
    std::lock_guard lock(open_->mutex);
    TRY_ASSIGN(committed, files_.commit(*open_, meta::Urgency::kOrdinary, kv::Durability::kWritten));
    waits = open_->persist_due != Generation(0);
  }
  if (committed) files_.persister_.wake_for_files(waits ? meta::Urgency::kUrgent : meta::Urgency::kOrdinary);
  return files_.await_persisted(*open_);
}

Result<void> LocalOpenFile::sync() {
  TRY_ASSIGN(const auto content, this->content());
  TRY_ASSIGN(const io::FileStat before, content->local().stat());
  TRY(content->local().sync());
  TRY(failpoint("volume.synced"));
  bool committed = false;
  {
    std::lock_guard lock(open_->mutex);
    TRY_ASSIGN(committed, files_.commit(*open_, meta::Urgency::kUrgent, kv::Durability::kSynced, before));
  }
  if (!committed) {
    const auto inode = files_.names_.load(open_->id);
    if (failed_with(inode, ErrorCode::kNotFound)) return {};  // unlinked: nothing of it will be there after a crash
    TRY(inode);
    if (inode->queued() == format::ORDINARY) TRY(files_.names_.enqueue(open_->id, meta::Urgency::kUrgent));
    // It was committed before it was synced.
    if (inode->flush_epoch() != 0 && LocalFileId(inode->local_file()) == content->id()) {
      TRY(files_.names_.note_durable(open_->id, content->id(), before.size_bytes, kv::Durability::kWritten));
    }
    TRY(files_.names_.kv().sync());
  }
  files_.persister_.wake();
  return files_.persister_.refusal(open_->id);
}

void LocalOpenFile::close() {
  if (closed_) return;
  closed_ = true;
  files_.open_count_.fetch_sub(1, std::memory_order_relaxed);
  bool end = false;
  {
    std::lock_guard lock(open_->mutex);
    --open_->handles;
    if (local_) --open_->local_handles;
    if (writes()) --open_->writers;
    end = (open_->marked && open_->writers == 0) ||
          (open_->handles == 0 && (open_->unlinked || open_->drop_when_closed));
  }
  if (end) files_.ender_.enqueue(open_.share());
}

}  // namespace weir::volume
