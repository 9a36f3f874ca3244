#include "volume/fetcher.h"

#include <algorithm>
#include <span>
#include <string>

#include "base/no_wait.h"

namespace weir::volume {
namespace {

// A home may be switched while we read; more often than this in one fetch, something else is wrong.
constexpr int kHomesMax = 4;
constexpr uint64_t kWholeFile = uint64_t{1} << 62;

}  // namespace

Fetcher::Fetcher(const ufs::MountTable& mounts, const FetcherOptions& options, FindHome find_home)
    : mounts_(mounts), options_(options), find_home_(std::move(find_home)) {
  for (size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { run(); });
}

Fetcher::~Fetcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    tasks_.clear();
  }
  work_.notify_all();
}

Result<void> Fetcher::fetch_one(Content& content, pages::LocalFile::ByteRange page, Deadline deadline) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(page.size);
  const std::span<std::byte> bytes(buffer.get(), page.size);
  for (int tries = 0; tries < kHomesMax; ++tries) {
    const format::Home home = content.home();
    const auto mounted = mounts_.find(MountId(home.mount()));
    if (!mounted.store) {
      return fail(ErrorCode::kUnavailable, "no under store is mounted for the home of inode " +
                                               std::to_string(content.inode().value()) + ", '" + home.key() + "'");
    }
    const auto got = mounted.store->get(home.key(), page.offset, bytes, home.etag(), deadline);
    if (got.has_value()) {
      if (*got != page.size) {
        return fail(ErrorCode::kCorrupt, "object '" + home.key() + "' in " + mounted.store->uri() + " ends before byte " +
                                             std::to_string(page.offset + page.size));
      }
      fetched_bytes_.fetch_add(page.size, std::memory_order_relaxed);
      return content.local().fill(page.offset, bytes);
    }
    if (got.error() != ErrorCode::kPrecondition && got.error() != ErrorCode::kNotFound) return fail(got.error());
    TRY_ASSIGN(format::Home moved, find_home_(content, home));
    content.set_home(std::move(moved));
  }
  return fail(ErrorCode::kStale, "the home of inode " + std::to_string(content.inode().value()) + " keeps changing");
}

Result<void> Fetcher::fetch_range(Content& content, uint64_t offset, uint64_t size, Duration timeout, Busy busy) {
  std::unique_lock lock(content.mutex_);
  Deadline deadline = Deadline::after(timeout);
  for (;;) {
    const auto absent = content.local().first_absent(offset, size);
    if (absent.size == 0) return {};
    const auto page = content.local().first_absent(absent.offset, 1);
    if (page.size == 0) continue;
    if (content.fetching_.contains(page.offset)) {
      if (busy == Busy::kSkip) return {};
      TRY(NoWait::check());
      if (content.fetched_.wait_until(lock, deadline.time()) == std::cv_status::timeout)
        return fail(ErrorCode::kTimedOut, "waiting for a page of inode " + std::to_string(content.inode().value()));
      continue;
    }
    TRY(NoWait::check());
    content.fetching_.insert(page.offset);
    lock.unlock();
    deadline = Deadline::after(timeout);
    auto fetched = fetch_one(content, page, deadline);
    lock.lock();
    content.fetching_.erase(page.offset);
    content.fetched_.notify_all();
    TRY(std::move(fetched));
  }
}

Result<void> Fetcher::fetch(Content& content, uint64_t offset, uint64_t size) {
  return fetch_range(content, offset, size, options_.timeout, Busy::kWait);
}

Result<void> Fetcher::fetch_all(const std::shared_ptr<Content>& content) {
  pages::LocalFile& local = content->local();
  for (;;) {
    uint64_t ahead_end = 0;
    for (;;) {
      const auto absent = local.first_absent(0, kWholeFile);
      if (absent.size == 0) break;
      const auto page = local.first_absent(absent.offset, 1);
      if (page.size == 0) continue;
      const uint64_t begin = std::max(ahead_end, page.offset + page.size);
      const uint64_t end = page.offset + page.size * (options_.read_ahead_pages + 1);
      if (end > begin) read_ahead(content, begin, end - begin);
      ahead_end = std::max(ahead_end, end);
      TRY(fetch(*content, page.offset, 1));
    }
    const auto verified = local.verify();
    if (verified.has_value()) return {};
    // A rotten page counts as absent now and is fetched again, if there is something to fetch it from.
    const bool can_refetch = verified.error() == ErrorCode::kCorrupt && content->home().mount() != 0 &&
                             local.first_absent(0, kWholeFile).size != 0;
    if (verified.error() != ErrorCode::kNotFound && !can_refetch) return verified;
  }
}

void Fetcher::read_ahead(const std::shared_ptr<Content>& content, uint64_t offset, uint64_t size) {
  const uint64_t end = offset + size;
  std::lock_guard lock(mutex_);
  while (offset < end && tasks_.size() < kReadAheadMax) {
    const auto absent = content->local().first_absent(offset, end - offset);
    if (absent.size == 0) break;
    const auto page = content->local().first_absent(absent.offset, 1);
    if (page.size == 0) continue;
    if (page.offset >= offset) {
      tasks_.push_back({content, page.offset});
      work_.notify_one();
    }
    offset = page.offset + page.size;
  }
}

void Fetcher::run() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      work_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    // An error is found again, and reported, by whoever needs the page.
    const Duration timeout = std::min<Duration>(options_.timeout, kReadAheadTimeout);
    (void)fetch_range(*task.content, task.offset, 1, timeout, Busy::kSkip);
  }
}

ReadAheadWindow::Range ReadAheadWindow::after_read(uint64_t offset, uint64_t size, uint32_t pages_max) {
  std::lock_guard lock(mutex_);
  const uint64_t end = offset + size;
  const bool sequential = offset + kDisorder >= next_ && offset <= next_ + kDisorder;
  if (!sequential) {
    window_ = 0;
    next_ = end;
    ahead_end_ = end;
    return {};
  }
  window_ = std::min<uint64_t>(std::max<uint64_t>(1, window_ * 2), pages_max);
  next_ = std::max(next_, end);
  const uint64_t begin = std::max(ahead_end_, next_);
  const uint64_t ahead_end = next_ + window_ * kUnit;
  if (ahead_end <= begin) return {};
  ahead_end_ = ahead_end;
  return {begin, ahead_end - begin};
}

}  // namespace weir::volume
