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
constexpr uint64_t kUnit = ReadAheadWindow::kUnit;

}  // namespace

Fetcher::Fetcher(const ufs::MountTable& mounts, const FetcherOptions& options, FindHome find_home)
    : mounts_(mounts), options_(options), find_home_(std::move(find_home)) {
  for (uint32_t i = 0; i < std::max(1u, options_.read_ahead_requests); ++i) threads_.emplace_back([this] { run(); });
}

Fetcher::~Fetcher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    tasks_.clear();
  }
  work_.notify_all();
}

// The pages of a run that are still the claimant's.
class Fetcher::Claim {
 public:
  Claim(Content& content, ByteRange pages) : content_(content), pages_(pages) {}
  ~Claim() {
    if (pages_.size != 0) release(pages_.size);
  }
  Claim(const Claim&) = delete;

  // Gives the first `size` bytes free, for good or for others to fetch.
  void release(uint64_t size) {
    {
      const std::lock_guard lock(content_.mutex_);
      auto& fetching = content_.fetching_;
      fetching.erase(fetching.lower_bound(pages_.offset), fetching.lower_bound(pages_.offset + size));
    }
    content_.fetched_.notify_all();
    pages_.offset += size;
    pages_.size -= size;
  }

 private:
  Content& content_;
  ByteRange pages_;
};

std::span<std::byte> Fetcher::Buffer::take(uint64_t size) {
  if (capacity_ < size) {
    bytes_ = std::make_unique_for_overwrite<std::byte[]>(size);
    capacity_ = size;
  }
  return {bytes_.get(), size};
}

void Fetcher::Buffer::free() {
  bytes_.reset();
  capacity_ = 0;
}

Result<void> Fetcher::fetch_run(Content& content, const Run& run, std::span<std::byte> bytes, Deadline deadline) {
  const auto [offset, size] = run.bytes;
  Claim claim(content, run.bytes);
  uint64_t done = 0;  // bytes of the run that are in the local file
  Result<void> filled;
  const auto store_until = [&](uint64_t here) {
    const uint64_t whole = here == size ? here : here / run.page_bytes * run.page_bytes;
    if (!filled.has_value() || whole <= done) return;
    filled = content.local().fill(offset + done, bytes.subspan(done, whole - done));
    if (!filled.has_value()) return;
    fetched_bytes_.fetch_add(whole - done, std::memory_order_relaxed);
    claim.release(whole - done);
    done = whole;
  };
  for (int tries = 0; tries < kHomesMax; ++tries) {
    const format::Home home = content.home();
    const auto mounted = mounts_.find(MountId(home.mount()));
    if (!mounted.store) {
      return fail(ErrorCode::kUnavailable, "no under store is mounted for the home of inode " +
                                               std::to_string(content.inode().value()) + ", '" + home.key() + "'");
    }
    const uint64_t begin = done;
    const auto got = mounted.store->get_streaming(home.key(), offset + begin, bytes.subspan(begin), home.etag(), deadline,
                                                  [&](size_t here) { store_until(begin + here); });
    TRY(filled);
    if (got.has_value()) {
      if (*got != size - begin) {
        return fail(ErrorCode::kCorrupt, "object '" + home.key() + "' in " + mounted.store->uri() + " ends before byte " +
                                             std::to_string(offset + size));
      }
      store_until(size);
      return filled;
    }
    if (got.error() != ErrorCode::kPrecondition && got.error() != ErrorCode::kNotFound) return fail(got.error());
    TRY_ASSIGN(format::Home moved, find_home_(content, home));
    content.set_home(std::move(moved));
  }
  return fail(ErrorCode::kStale, "the home of inode " + std::to_string(content.inode().value()) + " keeps changing");
}

Fetcher::Run Fetcher::claim_run(Content& content, uint64_t offset, uint64_t size) {
  const uint64_t end = offset + size;
  Run run;
  auto& [bytes, page_bytes] = run;
  while (offset < end) {
    const ByteRange absent = content.local().first_absent(offset, end - offset);
    if (absent.size == 0) break;
    const ByteRange page = content.local().first_absent(absent.offset, 1);
    if (page.size == 0) continue;  // filled meanwhile
    offset = page.offset + page.size;
    const bool claimed = content.fetching_.contains(page.offset);
    if (bytes.size == 0) {
      if (claimed) continue;
      run = {.bytes = page, .page_bytes = page.size};
    } else {
      if (claimed || page.offset != bytes.offset + bytes.size || bytes.size + page.size > kRunBytes) break;
      bytes.size += page.size;
    }
    content.fetching_.insert(page.offset);
  }
  return run;
}

Result<void> Fetcher::fetch_range(Content& content, uint64_t offset, uint64_t size, Duration timeout, Busy busy,
                                  Buffer& buffer) {
  std::unique_lock lock(content.mutex_);
  for (;;) {
    if (content.local().first_absent(offset, size).size == 0) return {};
    TRY(NoWait::check());
    const Run run = claim_run(content, offset, size);
    if (run.bytes.size != 0) {
      lock.unlock();
      TRY(fetch_run(content, run, buffer.take(run.bytes.size), Deadline::after(timeout)));
      lock.lock();
    } else if (busy == Busy::kSkip) {
      return {};
    } else if (content.fetched_.wait_until(lock, Deadline::after(timeout).time()) == std::cv_status::timeout) {
      return fail(ErrorCode::kTimedOut, "waiting for a page of inode " + std::to_string(content.inode().value()));
    }
  }
}

Result<void> Fetcher::fetch(Content& content, uint64_t offset, uint64_t size) {
  Buffer buffer;
  return fetch_range(content, offset, size, options_.timeout, Busy::kWait, buffer);
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
      read_ahead(content, ahead);
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

void Fetcher::read_ahead(const std::shared_ptr<Content>& content, const ReadAheadWindow::Range& range) {
  if (range.size == 0) return;
  uint64_t offset = range.offset;
  const uint64_t end = offset + range.size;
  // A range is about half of a window, which all requests together shall cover.
  const uint64_t share = range.size / std::max(1u, options_.read_ahead_requests / 2);
  const uint64_t run_bytes_max = std::clamp((share + kUnit - 1) / kUnit * kUnit, kUnit, kRunBytes);
  std::lock_guard lock(mutex_);
  while (offset < end && tasks_.size() < kReadAheadMax) {
    const uint64_t part = std::min(run_bytes_max, end - offset);
    ByteRange run = content->local().first_absent(offset, part);
    if (run.size == 0) {
      offset += part;
      continue;
    }
    const uint64_t run_end = run.offset + run.size;
    if (run.offset < offset) {
      // A page that starts before the range.
      const auto page = content->local().first_absent(run.offset, 1);
      run.offset += std::min(page.size, run.size);
    }
    if (run.offset < run_end) {
      tasks_.push_back({content, {run.offset, run_end - run.offset}, range.wanted});
      work_.notify_one();
    }
    offset = run_end;
  }
}

void Fetcher::run() {
  Buffer buffer;
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      if (tasks_.empty()) buffer.free();
      work_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (stopping_) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    if (task.wanted.expired()) continue;
    // An error is found again, and reported, by whoever needs the page.
    const uint64_t mib = (task.run.size >> 20) + 1;
    const Duration timeout = std::min<Duration>(options_.timeout, kReadAheadTimeout * static_cast<int64_t>(mib));
    (void)fetch_range(*task.content, task.run.offset, task.run.size, timeout, Busy::kSkip, buffer);
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
    sequence_.reset();
    return {};
  }
  next_ = std::max(next_, end);
  const uint64_t read = next_ - first_;
  const uint64_t least = first_ == 0 ? kFromStart * kUnit : kUnit;
  const uint64_t window = std::min(std::max(read > kProven ? read * kGrowth : 0, least), units_max * kUnit);
  const uint64_t begin = std::max(ahead_end_, next_);
  const uint64_t ahead_end = next_ + window;
  if (window == 0 || ahead_end < begin + window / 2) return {};
  ahead_end_ = ahead_end;
  if (!sequence_) sequence_ = std::make_shared<char>();
  return {begin, ahead_end - begin, sequence_};
}

}  // namespace weir::volume
