#include "persist/queue.h"

#include <algorithm>
#include <limits>

#include "base/log.h"

namespace weir::persist {
namespace {

constexpr Duration kReadFailedPause = std::chrono::seconds(1);

TimePoint steady_now() { return system_clock().now(); }

}  // namespace

Queue::Queue(meta::Namespace& names, uint32_t large_max, Yielding yielding)
    : names_(names), large_max_(std::max(large_max, 1u)), yielding_(std::move(yielding)) {}

std::optional<Queue::Job> Queue::take() {
  std::unique_lock lock(mutex_);
  while (!closed_) {
    if (!held_ && !scanning_ && steady_now() >= next_scan()) scan(lock);
    if (closed_) break;
    if (auto job = held_ ? std::nullopt : pop()) {
      // The next in line takes the watch, or what else there is to take.
      const bool more = !window_[0].empty() || !window_[1].empty() || !parked_.empty();
      if (more || !watching_) alert();
      return job;
    }
    if (watching_) {
      idle_.wait(lock);
      continue;
    }
    watching_ = true;
    watch_end_ = watch_end();
    watch_.wait_until(lock, watch_end_);
    watching_ = false;
  }
  return std::nullopt;
}

void Queue::alert() {
  if (watching_) {
    watch_.notify_one();
  } else {
    idle_.notify_one();
  }
}

TimePoint Queue::watch_end() const {
  // A reading that another worker does ends with an alert.
  if (held_ || scanning_) return steady_now() + kIdleInterval;
  TimePoint until = next_scan();
  if (!delayed_.empty()) until = std::min(until, delayed_.begin()->first);
  if (!window_[index_of(format::ORDINARY)].empty()) until = std::min(until, steady_now() + kBusyInterval);
  return until;
}

bool Queue::try_take(InodeId inode) {
  std::lock_guard lock(mutex_);
  const auto [it, added] = tracked_.try_emplace(inode);
  if (!added && it->second.state == State::kTaken) return false;
  it->second.seen_again = !added;
  it->second.state = State::kTaken;
  ++taken_;
  return true;
}

void Queue::finish(const Job& job) {
  std::lock_guard lock(mutex_);
  forget(job);
  alert();
}

void Queue::again(const Job& job, Duration delay) {
  std::lock_guard lock(mutex_);
  if (delayed_.size() >= kDelayedMax) {
    passed_over_ = true;
    forget(job);
  } else {
    give_back(job);
    tracked_[job.inode].state = State::kDelayed;
    delayed_.emplace(steady_now() + delay, Job{job.inode, job.queue_class});
  }
  alert();
}

void Queue::pass_over(const Job& job) {
  std::lock_guard lock(mutex_);
  give_back(job);
  tracked_.erase(job.inode);
  passed_over_ = true;
  alert();
}

bool Queue::enter_large(Job& job) {
  std::lock_guard lock(mutex_);
  if (large_ < large_max_) {
    ++large_;
    job.large = true;
    return true;
  }
  give_back(job);
  if (parked_.size() >= kParkedMax) {
    tracked_.erase(job.inode);
    passed_over_ = true;
    parked_overflow_ = true;
  } else {
    tracked_[job.inode].state = State::kParked;
    if (job.queue_class == format::URGENT) {
      parked_.push_front(job);
    } else {
      parked_.push_back(job);
    }
  }
  return false;
}

void Queue::wake() {
  if (woken_.exchange(true)) return;
  std::lock_guard lock(mutex_);
  alert();
}

void Queue::wake_for_ordinary() {
  if (ordinary_queued_.exchange(true)) return;
  std::lock_guard lock(mutex_);
  due_scan_ = std::min(due_scan_, steady_now() + kQuietTime);
  if (due_scan_ < watch_end_ || !watching_) alert();
}

void Queue::expect(int64_t due_ns) {
  const Duration left(std::max<int64_t>(due_ns - unix_ns(names_.clock().wall_now()), 0));
  std::lock_guard lock(mutex_);
  due_scan_ = std::min(due_scan_, Deadline::after(left).time());
  alert();
}

void Queue::rescan() {
  std::lock_guard lock(mutex_);
  head_now_ = true;
  alert();
}

void Queue::hold() {
  std::lock_guard lock(mutex_);
  held_ = true;
}

void Queue::release() {
  std::lock_guard lock(mutex_);
  held_ = false;
  alert();
}

void Queue::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  watch_.notify_all();
  idle_.notify_all();
}

uint64_t Queue::in_flight() const {
  std::lock_guard lock(mutex_);
  return taken_;
}

std::optional<Queue::Job> Queue::hand_out(InodeId inode, State from) {
  const auto it = tracked_.find(inode);
  if (it == tracked_.end() || it->second.state != from) return std::nullopt;
  it->second.state = State::kTaken;
  it->second.seen_again = false;
  ++taken_;
  return Job{inode, it->second.queue_class};
}

std::optional<Queue::Job> Queue::pop_window(format::QueueClass queue_class) {
  auto& window = window_[index_of(queue_class)];
  while (!window.empty()) {
    const InodeId inode = window.front();
    window.pop_front();
    if (auto job = hand_out(inode, State::kWaiting)) return job;
  }
  return std::nullopt;
}

std::optional<Queue::Job> Queue::pop() {
  if (auto job = pop_window(format::URGENT)) return job;
  while (!delayed_.empty() && delayed_.begin()->first <= steady_now()) {
    const Job delayed = delayed_.begin()->second;
    delayed_.erase(delayed_.begin());
    if (auto job = hand_out(delayed.inode, State::kDelayed)) return job;
  }
  while (large_ < large_max_ && !parked_.empty()) {
    const Job parked = parked_.front();
    parked_.pop_front();
    if (parked_overflow_ && parked_.size() < kParkedMax / 2) {
      parked_overflow_ = false;
      head_now_ = true;
    }
    if (auto job = hand_out(parked.inode, State::kParked)) {
      ++large_;
      job->large = true;
      return job;
    }
  }
  return yields() ? std::nullopt : pop_window(format::ORDINARY);
}

bool Queue::yields() {
  const auto& window = window_[index_of(format::ORDINARY)];
  if (window.empty() || !yielding_.busy) return false;
  const auto first = tracked_.find(window.front());
  if (first == tracked_.end()) return false;
  const int64_t age_ns = unix_ns(names_.clock().wall_now()) - first->second.due_ns;
  return age_ns < yielding_.patience.count() && yielding_.busy();
}

void Queue::offer(const meta::QueuedInode& entry) {
  const auto [it, added] = tracked_.try_emplace(
      entry.inode, Tracked{.queue_class = entry.queue_class, .due_ns = entry.due_ns});
  Tracked& tracked = it->second;
  const bool promoted = entry.queue_class == format::URGENT && tracked.queue_class != format::URGENT;
  if (promoted) tracked.queue_class = format::URGENT;
  if (tracked.state == State::kTaken) tracked.seen_again = true;
  if (added || (promoted && tracked.state == State::kWaiting)) window_[index_of(entry.queue_class)].push_back(entry.inode);
}

void Queue::give_back(const Job& job) {
  --taken_;
  if (job.large) --large_;
}

void Queue::forget(const Job& job) {
  give_back(job);
  const auto it = tracked_.find(job.inode);
  if (!it->second.seen_again) {
    tracked_.erase(it);
    return;
  }
  it->second.seen_again = false;
  it->second.state = State::kWaiting;
  window_[index_of(it->second.queue_class)].push_back(job.inode);
}

TimePoint Queue::next_scan() const {
  TimePoint next = std::min(last_scan_ + kIdleInterval, due_scan_);
  if (woken_.load()) next = std::min(next, last_scan_ + kScanGap);
  if (head_now_ || (more_[0] && window_low(format::URGENT)) || (more_[1] && window_low(format::ORDINARY)))
    next = std::min(next, last_scan_);
  if (head_wanted_) next = std::min(next, last_head_ + (passed_over_ ? kHeadIntervalPassed : kHeadInterval));
  return next;
}

void Queue::scan(std::unique_lock<std::mutex>& lock) {
  const TimePoint now = steady_now();
  const int64_t now_ns = unix_ns(names_.clock().wall_now());
  scanning_ = true;
  if (woken_.exchange(false)) head_wanted_ = true;
  if (ordinary_queued_.exchange(false)) head_wanted_ = true;
  due_scan_ = TimePoint::max();
  const bool clock_went_back = now_ns < last_scan_wall_ns_;
  const Duration head_interval = passed_over_ ? kHeadIntervalPassed : kHeadInterval;
  const bool head = head_now_ || clock_went_back || now - last_head_ >= head_interval;
  if (head) {
    head_now_ = head_wanted_ = passed_over_ = false;
    last_head_ = now;
    cursor_ = {};
  }
  last_scan_wall_ns_ = now_ns;

  scan_class(format::URGENT, now_ns, lock);
  if (head || window_low(format::ORDINARY)) {
    scan_class(format::ORDINARY, now_ns, lock);
  } else {
    more_[index_of(format::ORDINARY)] = true;
  }
  last_scan_ = steady_now();
  scanning_ = false;
  if (watching_) alert();
}

void Queue::scan_class(format::QueueClass queue_class, int64_t now_ns, std::unique_lock<std::mutex>& lock) {
  const size_t index = index_of(queue_class);
  auto& window = window_[index];
  const int64_t limit_ns = queue_class == format::URGENT ? now_ns : now_ns - kQuietTime.count();
  Cursor after = cursor_[index];
  bool end = false;
  while (!end && window.size() < kWindowMax) {
    lock.unlock();
    const auto page = names_.queued(queue_class, limit_ns, after, kPageEntries);
    lock.lock();
    if (!page) {
      log_error("persist.queue_unreadable", {{"error", page.error()}});
      due_scan_ = std::min(due_scan_, steady_now() + kReadFailedPause);
      more_[index] = false;
      return;
    }
    for (const auto& entry : *page) {
      if (window.size() >= kWindowMax) break;
      offer(entry);
      after = entry;
    }
    end = page->size() < kPageEntries && window.size() < kWindowMax;
    if (!window_low(queue_class)) break;
  }
  more_[index] = !end;
  if (!end && !after) return;  // no room for anything

  // What commits later than it was dated appears at most a transaction's lifetime behind now.
  const meta::QueuedInode settled{.queue_class = queue_class, .due_ns = now_ns - kv::kTxnLifetimeMax.count()};
  cursor_[index] = after && after->due_ns < settled.due_ns ? *after : settled;

  if (!end) return;
  const meta::QueuedInode last_due{InodeId(std::numeric_limits<uint64_t>::max()), queue_class, limit_ns};
  lock.unlock();
  const auto next = names_.queued(queue_class, std::numeric_limits<int64_t>::max() - 1, last_due, 1);
  lock.lock();
  if (next && !next->empty()) {
    const Duration left(next->front().due_ns - limit_ns);
    due_scan_ = std::min(due_scan_, Deadline::after(std::max(left, kDueGap)).time());
  }
}

}  // namespace weir::persist
