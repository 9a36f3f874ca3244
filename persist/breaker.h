// persist/breaker.h -- which mount points are worth trying: one breaker for each.
//
// A failed call makes its mount suspect: nothing new is started there until a probe answered. An answer closes the breaker and
// blames the items that failed; no answer opens it, and the items keep their place. Open, it probes at growing intervals
// of at most kPauseMax, so that work goes on within seconds of the heal. Refusals (kDenied) are an item's own
// affair until kDeniedInRow came without a success between them; then the mount counts as refused, and is probed likewise.
//
// A probe that passes while items go on failing proves the probe wrong: after kFailuresInRow the mount pauses all the
// same, and the number of refusals in a row that it takes doubles.
//
// Threads: all methods may be called concurrently. Nothing is called out of it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/random.h"

namespace weir::persist {

class Breaker {
 public:
  static constexpr Duration kPauseMin = std::chrono::milliseconds(500);
  static constexpr Duration kPauseMax = std::chrono::milliseconds(1'500);
  static constexpr uint32_t kFailuresInRow = 32;
  static constexpr uint32_t kDeniedInRow = 4;
  static constexpr size_t kSuspectsMax = 64;  // items remembered for blame; later ones keep their place

  // One item that failed while its mount was thought to be well.
  struct Suspect {
    InodeId inode{};
    Error error;
  };

  Breaker(const Clock& clock, uint64_t seed) : clock_(clock), random_(seed) {}

  bool allows(MountId mount) const;
  bool any_paused() const;
  // Why nothing is started there for now.
  std::optional<Error> pause_reason(MountId mount) const;
  // The reason while the mount as a whole refuses us.
  std::optional<Error> refusal(MountId mount) const;

  void succeeded(MountId mount);
  // kUnavailable, kTimedOut.
  void failed(MountId mount, InodeId inode, const Error& error);
  void denied(MountId mount, const Error& error);

  // Probes are run by one thread, with the machine's clock. Waits until one is due, a mount was paused or resumed, or `until`, and
  // returns those due; nullopt after close().
  std::optional<std::vector<MountId>> wait_for_probes(TimePoint until);
  std::vector<MountId> probes_due() const;
  void close();
  struct Verdict {
    bool resumed = false;             // the mount is worth trying again
    std::vector<Suspect> to_blame;    // to be tried again on their own, later
  };
  Verdict probed(MountId mount, const std::optional<Error>& error);
  // Does not wait for the pause to end.
  void probe_now();

  static constexpr TimePoint kIdle = TimePoint::max();
  TimePoint next_probe() const;  // kIdle: none

 private:
  enum class State : uint8_t { kClosed, kSuspect, kOpen, kRefused };
  struct Health {
    State state = State::kClosed;
    TimePoint probe_at = kIdle;
    uint32_t pauses = 0;                   // since the last success
    uint32_t failures_in_row = 0;
    uint32_t denied_in_row = 0;
    uint32_t denied_limit = kDeniedInRow;
    std::optional<Error> reason;
    std::vector<Suspect> suspects;
  };

  void pause(Health& health, State state, const Error& error);
  void announce();

  std::vector<MountId> due() const;
  TimePoint next() const;

  const Clock& clock_;
  mutable std::mutex mutex_;  // a leaf; the private methods are called under it
  std::condition_variable changed_;
  uint64_t changes_ = 0;
  uint64_t changes_seen_ = 0;  // by the probing thread
  bool closed_ = false;
  Random random_;
  std::map<MountId, Health> mounts_;
};

}  // namespace weir::persist
