#include "volume/fetcher.h"

#include <algorithm>
#include <span>
#include <string>
#include <utility>

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

Result<void> Fetcher::fetch_run(Content& content, ByteRange run, Deadline deadline) {
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(run.size);
  const std::span<std::byte> bytes(buffer.get(), run.size);
  for (int tries = 0; tries < kHomesMax; ++tries) {
    const format::Home home = content.home();
    const auto mounted = mounts_.find(MountId(home.mount()));
    if (!mounted.store) {
      return fail(ErrorCode::kUnavailable, "no under store is mounted for the home of inode " +
                                               std::to_string(content.inode().value()) + ", '" + home.key() + "'");
    }
    const auto got = mounted.store->get(home.key(), run.offset, bytes, home.etag(), deadline);
    if (got.has_value()) {
      if (*got != run.size) {
        return fail(ErrorCode::kCorrupt, "object '" + home.key() + "' in " + mounted.store->uri() + " ends before byte " +
                                             std::to_string(run.offset + run.size));
      }
      fetched_bytes_.fetch_add(run.size, std::memory_order_relaxed);
      return content.local().fill(run.offset, bytes);
    }
    if (got.error() != ErrorCode::kPrecondition && got.error() != ErrorCode::kNotFound) return fail(got.error());
    TRY_ASSIGN(format::Home moved, find_home_(content, home));
    content.set_home(std::move(moved));
  }
  return fail(ErrorCode::kStale, "the home of inode " + std::to_string(content.inode().value()) + " keeps changing");
}

Fetcher::ByteRange Fetcher::claim_run(Content& content, uint64_t offset, uint64_t size) {
  const uint64_t end = offset + size;
  ByteRange run;
  while (offset < end) {
    const ByteRange absent = content.local().first_absent(offset, end - offset);
    if (absent.size == 0) break;
    const ByteRange page = content.local().first_absent(absent.offset, 1);
    if (page.size == 0) continue;  // filled meanwhile
    offset = page.offset + page.size;
    const bool claimed = content.fetching_.contains(page.offset);
    if (run.size == 0) {
      if (claimed) continue;
      run = page;
    } else {
      if (claimed || page.offset != run.offset + run.size || run.size + page.size > kRunBytes) break;
      run.size += page.size;
    }
    content.fetching_.insert(page.offset);
  }
  return run;
}

void Fetcher::release_run(Content& content, ByteRange run) {
  auto& fetching = content.fetching_;
  fetching.erase(fetching.lower_bound(run.offset), fetching.lower_bound(run.offset + run.size));
  content.fetched_.notify_all();
}

Result<void> Fetcher::fetch_range(Content& content, uint64_t offset, uint64_t size, Duration timeout, Busy busy) {
  std::unique_lock lock(content.mutex_);
  Deadline deadline = Deadline::after(timeout);
  for (;;) {
    if (content.local().first_absent(offset, size).size == 0) return {};
    TRY(NoWait::check());
    const ByteRange run = claim_run(content, offset, size);
    if (run.size != 0) {
      lock.unlock();
      deadline = Deadline::after(timeout);
      auto fetched = fetch_run(content, run, deadline);
      lock.lock();
      release_run(content, run);
      TRY(std::move(fetched));
    } else if (busy == Busy::kSkip) {
      return {};
    } else if (content.fetched_.wait_until(lock, deadline.time()) == std::cv_status::timeout) {
      return fail(ErrorCode::kTimedOut, "waiting for a page of inode " + std::to_string(content.inode().value()));
    }
  }
}

Result<void> Fetcher::fetch(Content& content, uint64_t offset, uint64_t size) {
  return fetch_range(content, offset, size, options_.timeout, Busy::kWait);
}

Result<void> Fetcher::fetch_all(const std::shared_ptr<Content>& content) {
  pages::LocalFile& local = content->local();
  for (;;) {
    ReadAheadWindow window;
    for (;;) {
      const auto absent = local.first_absent(0, kWholeFile);
      if (absent.size == 0) break;
      const auto page = local.first_absent(absent.offset, 1);
      if (page.size == 0) continue;
      const auto ahead = window.after_read(page.offset, page.size, options_.read_ahead_pages);
      if (ahead.size != 0) read_ahead(content, ahead.offset, ahead.size);
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
    ByteRange run = content->local().first_absent(offset, std::min(kRunBytes, end - offset));
    if (run.size == 0) {
      offset += std::min(kRunBytes, end - offset);
      continue;
    }
    const uint64_t run_end = run.offset + run.size;
    if (run.offset < offset) {
      // A page that starts before the range.
      const auto page = content->local().first_absent(run.offset, 1);
      run.offset += std::min(page.size, run.size);
    }
    if (run.offset < run_end) {
      tasks_.push_back({content, {run.offset, run_end - run.offset}});
      work_.notify_one();
    }
    offset = run_end;
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
    const uint64_t mib = (task.run.size >> 20) + 1;
    const Duration timeout = std::min<Duration>(options_.timeout, kReadAheadTimeout * static_cast<int64_t>(mib));
    (void)fetch_range(*task.content, task.run.offset, task.run.size, timeout, Busy::kSkip);
  }
}

ReadAheadWindow::Range ReadAheadWindow::after_read(uint64_t offset, uint64_t size, uint32_t units_max) {
  std::lock_guard lock(mutex_);
  const uint64_t end = offset + size;
  const bool sequential = std::exchange(begun_, true) && offset + kDisorder >= next_ && offset <= next_ + kDisorder;
  if (!sequential) {
    first_ = offset;
    next_ = end;
    ahead_end_ = end;
    return {};
  }
  next_ = std::max(next_, end);
  const uint64_t window = std::min(std::max((next_ - first_) * kGrowth, kUnit), units_max * kUnit);
  const uint64_t begin = std::max(ahead_end_, next_);
  const uint64_t ahead_end = next_ + window;
  if (ahead_end < begin + window / 2) return {};
  ahead_end_ = std::max(ahead_end_, ahead_end);
  return {begin, ahead_end - begin};
}

}  // namespace weir::volume
