#include "persist/breaker.h"

#include <algorithm>
#include <utility>

namespace weir::persist {

bool Breaker::allows(MountId mount) const {
  std::lock_guard lock(mutex_);
  const auto it = mounts_.find(mount);
  return it == mounts_.end() || it->second.state == State::kClosed;
}

bool Breaker::any_paused() const {
  std::lock_guard lock(mutex_);
  return std::ranges::any_of(mounts_, [](const auto& entry) { return entry.second.state != State::kClosed; });
}

std::optional<Error> Breaker::pause_reason(MountId mount) const {
  std::lock_guard lock(mutex_);
  const auto it = mounts_.find(mount);
  if (it == mounts_.end() || it->second.state == State::kClosed || it->second.state == State::kSuspect) return std::nullopt;
  return it->second.reason;
}

std::optional<Error> Breaker::refusal(MountId mount) const {
  std::lock_guard lock(mutex_);
  const auto it = mounts_.find(mount);
  if (it == mounts_.end() || it->second.state != State::kRefused) return std::nullopt;
  return it->second.reason;
}

void Breaker::succeeded(MountId mount) {
  std::lock_guard lock(mutex_);
  const auto it = mounts_.find(mount);
  if (it == mounts_.end()) return;
  Health& health = it->second;
  health.failures_in_row = 0;
  health.denied_in_row = 0;
  health.denied_limit = kDeniedInRow;
  // A call that was under way when the mount was paused proves nothing about now; the probe decides.
  if (health.state == State::kClosed) health.pauses = 0;
}

void Breaker::failed(MountId mount, InodeId inode, const Error& error) {
  std::lock_guard lock(mutex_);
  Health& health = mounts_[mount];
  ++health.failures_in_row;
  if (health.state == State::kClosed) {
    health.state = State::kSuspect;
    health.probe_at = clock_.now();
    health.reason = error;
    announce();
  }
  if (health.state == State::kSuspect && health.suspects.size() < kSuspectsMax)
    health.suspects.push_back({inode, error});
}

void Breaker::denied(MountId mount, const Error& error) {
  std::lock_guard lock(mutex_);
  Health& health = mounts_[mount];
  if (++health.denied_in_row < health.denied_limit || health.state != State::kClosed) return;
  pause(health, State::kRefused, error);
}

std::optional<std::vector<MountId>> Breaker::wait_for_probes(TimePoint until) {
  std::unique_lock lock(mutex_);
  const auto woken = [this] { return closed_ || changes_ != changes_seen_; };
  changed_.wait_until(lock, std::min(until, next()), woken);
  if (closed_) return std::nullopt;
  changes_seen_ = changes_;
  return due();
}

void Breaker::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

std::vector<MountId> Breaker::probes_due() const {
  std::lock_guard lock(mutex_);
  return due();
}

TimePoint Breaker::next_probe() const {
  std::lock_guard lock(mutex_);
  return next();
}

std::vector<MountId> Breaker::due() const {
  const TimePoint now = clock_.now();
  std::vector<MountId> due;
  for (const auto& [mount, health] : mounts_) {
    if (health.state != State::kClosed && health.probe_at <= now) due.push_back(mount);
  }
  return due;
}

TimePoint Breaker::next() const {
  TimePoint next = kIdle;
  for (const auto& [mount, health] : mounts_) {
    if (health.state != State::kClosed) next = std::min(next, health.probe_at);
  }
  return next;
}

Breaker::Verdict Breaker::probed(MountId mount, const std::optional<Error>& error) {
  std::lock_guard lock(mutex_);
  Health& health = mounts_[mount];
  if (health.state == State::kClosed) return {};
  std::vector<Suspect> suspects = std::exchange(health.suspects, {});
  if (error) {
    pause(health, *error == ErrorCode::kDenied ? State::kRefused : State::kOpen, *error);
    return {};
  }
  if (health.state == State::kSuspect && health.failures_in_row >= kFailuresInRow) {
    const Error reason = *health.reason;
    pause(health, State::kOpen, reason);
    return {};
  }
  if (health.state == State::kRefused) {
    health.denied_in_row = 0;
    health.denied_limit = std::min(health.denied_limit * 2, 1u << 20);
  }
  health.state = State::kClosed;
  announce();
  health.probe_at = kIdle;
  health.reason.reset();
  return {.resumed = true, .to_blame = std::move(suspects)};
}

void Breaker::probe_now() {
  const TimePoint now = clock_.now();
  std::lock_guard lock(mutex_);
  for (auto& [mount, health] : mounts_) {
    if (health.state != State::kClosed) health.probe_at = now;
  }
  announce();
}

void Breaker::announce() {
  ++changes_;
  changed_.notify_all();
}

void Breaker::pause(Health& health, State state, const Error& error) {
  const Duration pause = std::min(kPauseMax, kPauseMin * (1u << std::min(health.pauses, 10u)));
  ++health.pauses;
  announce();
  health.state = state;
  health.reason = error;
  // Between half and all of it, so that daemons that share a store do not come back as one.
  health.probe_at = clock_.now() + pause / 2 + Duration(random_.below(static_cast<uint64_t>(pause.count() / 2) + 1));
}

}  // namespace weir::persist
