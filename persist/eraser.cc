#include "persist/eraser.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "base/failpoint.h"
#include "base/log.h"
#include "persist/backoff.h"
#include "persist/leftover.h"

namespace weir::persist {

void Eraser::stand_back(int64_t due_ns) {
  if (!options_.foreground_busy) return;
  const int64_t until_ns = due_ns + stand_back_max(options_).count();
  while (!deadlines_.stopping() && unix_ns(names_.clock().wall_now()) < until_ns && options_.foreground_busy()) {
    if (!loop_.sleep(kBusyPause)) return;
  }
}

Duration Eraser::pass() {
  const int64_t now_ns = unix_ns(names_.clock().wall_now());
  std::optional<meta::EraseItem> after;
  bool all_done = true;
  while (!deadlines_.stopping()) {
    const auto items = names_.erases(now_ns, options_.erase_batch, after);
    if (!items) {
      log_error("persist.whiteouts_unreadable", {{"error", items.error()}});
      return kFailedPause;
    }
    if (items->empty()) break;
    after = items->back();
    stand_back(items->front().due_ns);
    all_done &= erase(*items);
  }
  if (!all_done) return kFailedPause;
  const auto next = names_.erases(std::numeric_limits<int64_t>::max() - 1, 1);
  if (!next || next->empty()) return kIdleInterval;
  // Not zero: what came due since then waits for the gap.
  return Duration(std::clamp<int64_t>(next->front().due_ns - now_ns, 1, kIdleInterval.count()));
}

bool Eraser::erase(const Items& items) {
  // What made the objects superfluous must not be undone once they are gone.
  if (const auto synced = names_.kv().sync(); !synced) {
    log_error("persist.erasure_put_off", {{"error", synced.error()}});
    return false;
  }
  struct Batch {
    Items known;
    Items to_look_at;
  };
  std::map<MountId, Batch> batches;
  for (const meta::EraseItem& item : items) {
    Batch& batch = batches[item.mount];
    (item.verify || item.etag.empty() ? batch.to_look_at : batch.known).push_back(item);
  }
  bool all_done = true;
  for (const auto& [mount, batch] : batches) {
    const auto store = mounts_.find(mount).store;
    if (!store || !breaker_.allows(mount)) {
      all_done = false;
      continue;
    }
    all_done &= erase_known(*store, mount, batch.known);
    all_done &= erase_looked_at(*store, mount, batch.to_look_at);
  }
  return all_done;
}

bool Eraser::erase_known(ufs::UnderStore& store, MountId mount, const Items& items) {
  std::vector<KeyLocks::Held> held;
  std::vector<std::string> keys;
  Items locked;
  bool all_done = true;
  for (const meta::EraseItem& item : items) {
    auto lock = key_locks_.try_lock(mount, item.key);
    if (!lock) {
      all_done = false;  // an upload to that key runs
      continue;
    }
    const auto allowed = names_.erase_allowed(item);
    if (!allowed || !*allowed) continue;
    held.push_back(*std::move(lock));
    keys.push_back(item.key);
    locked.push_back(item);
  }
  if (keys.empty()) return all_done;

  const auto results = store.erase_batch(keys, deadlines_.reply());
  Items erased;
  for (size_t i = 0; i < locked.size(); ++i) {
    const Result<void> result = results ? (*results)[i] : Result<void>(fail(results.error()));
    all_done &= settle(mount, locked[i], result, &erased);
  }
  if (!failpoint("persist.objects_erased")) return false;
  const auto recorded = names_.erased(erased);
  if (!recorded) log_error("persist.erasure_not_recorded", {{"error", recorded.error()}});
  return all_done && recorded.has_value();
}

bool Eraser::erase_looked_at(ufs::UnderStore& store, MountId mount, const Items& items) {
  std::mutex mutex;
  bool all_done = true;
  {
    TaskGroup group(pool_, pool_.threads());
    for (const meta::EraseItem& item : items) {
      group.run([&] {
        if (deadlines_.stopping() || !breaker_.allows(mount)) {
          std::lock_guard lock(mutex);
          all_done = false;
          return;
        }
        bool done = false;
        if (const auto held = key_locks_.try_lock(mount, item.key)) {
          const auto allowed = names_.erase_allowed(item);
          if (allowed && !*allowed) return;
          done = allowed && erase_looked_at(store, item);
        }
        std::lock_guard lock(mutex);
        all_done &= done;
      });
    }
  }
  return all_done;
}

bool Eraser::erase_looked_at(ufs::UnderStore& store, const meta::EraseItem& item) {
  const auto looked = look_and_erase(store, item);
  if (looked && item.verify && !item.looked_at && options_.late_effect_max > Duration::zero()) {
    // The whiteout hides what the store may still be about to put there.
    const int64_t again_ns = unix_ns(names_.clock().wall_now()) + options_.late_effect_max.count();
    return names_.defer_erase(item, again_ns, meta::Namespace::Deferral::kLookAgain).has_value();
  }
  Items erased;
  return settle(item.mount, item, looked, &erased) && failpoint("persist.object_erased").has_value() &&
         names_.erased(erased).has_value();
}

Result<void> Eraser::look_and_erase(ufs::UnderStore& store, const meta::EraseItem& item) {
  const auto head = store.head(item.key, deadlines_.reply());
  if (failed_with(head, ErrorCode::kNotFound)) return {};
  if (!head) return fail(head.error());
  if (item.etag.empty() || head->info.etag != item.etag) {
    TRY_ASSIGN(const bool leftover, is_leftover(names_, item.mount, item.key, *head));
    if (!leftover) return {};
  }
  const auto erased = store.erase(item.key, head->info.etag, deadlines_.reply());
  if (failed_with(erased, ErrorCode::kPrecondition)) return {};
  return erased;
}

bool Eraser::settle(MountId mount, const meta::EraseItem& item, const Result<void>& result, Items* erased) {
  if (result || result.error() == ErrorCode::kNotFound) {
    ++counters_.erased_objects;
    erased->push_back(item);
    return true;
  }
  const Error& error = result.error();
  if (error == ErrorCode::kCancelled) return false;
  if (error == ErrorCode::kUnavailable || error == ErrorCode::kTimedOut) {
    ++counters_.errors_unavailable;
    breaker_.failed(mount, InodeId{}, error);
    return false;
  }
  if (error == ErrorCode::kDenied) {
    ++counters_.errors_denied;
    breaker_.denied(mount, error);
  } else {
    ++counters_.errors_other;
  }
  Duration pause;
  {
    std::lock_guard lock(random_mutex_);
    pause = backoff(item.attempts + 1, options_.retry_interval_min, options_.retry_interval_max, random_);
  }
  log_warn("persist.erase_put_off", {{"key", item.key}, {"attempts", item.attempts + 1}, {"error", error}});
  const auto deferred = names_.defer_erase(item, unix_ns(names_.clock().wall_now()) + pause.count(),
                                           meta::Namespace::Deferral::kFailed);
  if (!deferred) log_error("persist.erase_not_put_off", {{"key", item.key}, {"error", deferred.error()}});
  return true;
}

}  // namespace weir::persist
