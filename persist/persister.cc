#include "persist/persister.h"

#include <algorithm>
#include <condition_variable>
#include <future>
#include <limits>
#include <map>
#include <mutex>
#include <thread>

#include "base/log.h"
#include "persist/activity.h"
#include "persist/breaker.h"
#include "persist/directory_times.h"
#include "persist/call_deadlines.h"
#include "persist/counters.h"
#include "persist/eraser.h"
#include "persist/key_locks.h"
#include "persist/publisher.h"
#include "persist/queue.h"
#include "persist/reconcile.h"
#include "persist/sweeper.h"
#include "persist/task_pool.h"
#include "persist/tree_walker.h"
#include "persist/uploader.h"

namespace weir::persist {
namespace {

constexpr int64_t kEndOfTime = std::numeric_limits<int64_t>::max() - 1;
constexpr Duration kProbeTimeout = std::chrono::seconds(3);
// Where short probes fail again and again, one that waits so long tells a slow store from a dead one.
constexpr Duration kPatientProbeTimeout = std::chrono::seconds(30);
constexpr uint32_t kImpatientProbesMax = 4;
constexpr Duration kToldAgainAfter = std::chrono::minutes(1);
constexpr Duration kHealthInterval = std::chrono::seconds(1);  // mount points that come and go are noticed
constexpr Duration kDrainInterval = std::chrono::milliseconds(50);
constexpr Duration kWaitInterval = std::chrono::seconds(1);  // a waiter looks again, in case others changed the inode
constexpr size_t kRetryBatch = 256;
constexpr size_t kOldestLookedAt = 64;
// The store's own calls are ended this long before the stop's deadline.
constexpr Duration kStopReserve = std::chrono::milliseconds(1'500);

constexpr format::QueueClass kClasses[] = {format::URGENT, format::ORDINARY};

}  // namespace

std::string_view name_of(Phase phase) {
  switch (phase) {
    case Phase::kWaiting: return "WAITING";
    case Phase::kUploading: return "UPLOADING";
    case Phase::kCopying: return "COPYING";
    case Phase::kBackingOff: return "BACKING_OFF";
    case Phase::kStoreAway: return "STORE_AWAY";
  }
  return "UNKNOWN";
}

std::string to_string(const LeftToDo& left) {
  std::string text;
  const auto add = [&](std::string_view what) { text += (text.empty() ? "" : ", ") + std::string(what); };
  if (left.files != 0) add(std::to_string(left.files) + " files (" + std::to_string(left.bytes) + " bytes)");
  if (left.erasures) add("objects to erase");
  if (left.moved_directories) add("moved directories");
  if (left.removals) add("trees being removed");
  return text.empty() ? "nothing" : text;
}

class Persister::Impl {
 public:
  Impl(meta::Namespace& names, meta::LowerLayer& lower, pages::PageStore& pages, const ufs::MountTable& mounts,
       const PersistOptions& options, Events events)
      : names_(names),
        mounts_(mounts),
        options_(options),
        events_(std::move(events)),
        deadlines_(options.call_timeout),
        breaker_(system_clock(), Random::from_entropy().next()),
        queue_(names, options.threads / 2, {options.foreground_busy, stand_back_max(options)}),
        pool_(std::max(options.threads / 2, 1u)),
        publisher_(names, deadlines_, [this](InodeId inode, const std::string& kept_as) {
          ++counters_.conflicts;
          if (events_.conflict) events_.conflict(inode, kept_as);
        }),
        uploader_(names, pages, publisher_, pool_, deadlines_, {options.part_bytes, options.parts_in_flight}),
        eraser_(names, mounts, key_locks_, breaker_, pool_, deadlines_, counters_, options_),
        walker_(names, lower, deadlines_, [this] { queue_.wake(); }),
        sweeper_(names, mounts, key_locks_, breaker_, deadlines_, counters_, options_),
        directory_times_(names, deadlines_, options.deadline, [this] { queue_.wake_for_ordinary(); }),
        reconciler_({names, lower, pages, mounts, queue_, key_locks_, breaker_, publisher_, uploader_, activity_,
                     deadlines_, counters_, events_},
                    options_, [this] { eraser_.loop().wake(); }) {}

  ~Impl() { stop(Deadline::after(kStopReserve)); }

  void start() {
    for (uint32_t i = 0; i < std::max(options_.threads, 1u); ++i) {
      threads_.emplace_back([this] {
        while (auto job = queue_.take()) reconciler_.work(*job);
      });
    }
    threads_.emplace_back([this] { eraser_.loop().run(); });
    threads_.emplace_back([this] { walker_.loop().run(); });
    threads_.emplace_back([this] { sweeper_.loop().run(); });
    threads_.emplace_back([this] { directory_times_.loop().run(); });
    threads_.emplace_back([this] { watch_health(); });
  }

  void stop(Deadline deadline) {
    if (threads_.empty()) return;
    deadlines_.stop(deadline);
    queue_.close();
    eraser_.loop().close();
    walker_.loop().close();
    sweeper_.loop().close();
    directory_times_.loop().close();
    breaker_.close();
    activity_.close();
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    // Calls that began before the stop may have longer deadlines than it.
    std::thread cutter([this, deadline] {
      std::unique_lock lock(mutex_);
      const auto all_gone = [this] { return stopped_; };
      if (changed_.wait_until(lock, deadline.time() - kStopReserve, all_gone)) return;
      lock.unlock();
      for (const MountId mount : mounts_.mounts()) {
        if (const auto store = mounts_.find(mount).store) store->stop();
      }
    });
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    {
      std::lock_guard lock(mutex_);
      stopped_ = true;
    }
    changed_.notify_all();
    cutter.join();
  }

  void wake() {
    queue_.wake();
    eraser_.loop().wake();
    walker_.loop().wake();
  }

  void wake_for_erasures() { eraser_.loop().wake(); }

  void wake_for_files(meta::Urgency urgency) {
    if (urgency == meta::Urgency::kUrgent) {
      queue_.wake();
    } else {
      queue_.wake_for_ordinary();
    }
  }

  Result<void> wait_persisted(InodeId inode, Generation generation, Deadline deadline) {
    Activity::Waiter waiter(activity_, inode);
    for (;;) {
      const auto now = names_.load(inode);
      if (failed_with(now, ErrorCode::kNotFound)) return {};
      if (!now) return fail(now.error());
      // A loss of power must not make it forget where the content is.
      if (now->has_home() && Generation(now->persisted_generation()) >= generation) return names_.kv().sync();
      if (now->links() == 0) return {};  // unlinked: nothing will be persisted, and nobody can miss it
      if (now->transient()) return fail(ErrorCode::kInvalid, "a TRANSIENT file is never persisted");
      if (now->quarantined()) return fail(ErrorCode::kCorrupt, "the file is quarantined");
      // What was refused before the content at hand was committed is tried again first.
      const bool put_off = now->queued_due_ns() > unix_ns(names_.clock().wall_now());
      TRY(put_off ? refusal(*now) : mount_refusal(*now));
      if (activity_.closed()) return fail(ErrorCode::kCancelled, "persisting is being stopped");
      if (deadline.expired()) return fail(ErrorCode::kTimedOut, "not persisted yet; it stays queued");
      (void)waiter.wait(Deadline::at(std::min(deadline.time(), Deadline::after(kWaitInterval).time())));
    }
  }

  Result<void> refusal(InodeId inode) {
    const auto now = names_.load(inode);
    if (!now) return {};
    return refusal(*now);
  }

  Result<void> retry(std::optional<InodeId> inode) {
    breaker_.probe_now();
    if (inode) {
      TRY(names_.enqueue(*inode, meta::Urgency::kUrgent));
    } else {
      TRY(retry_all());
    }
    queue_.rescan();
    return {};
  }

  Result<std::vector<QueueItem>> list(size_t items_max) {
    std::vector<QueueItem> items;
    for (const auto queue_class : kClasses) {
      std::optional<meta::QueuedInode> after;
      while (items.size() < items_max) {
        const size_t page_max = std::min<size_t>(items_max - items.size(), kRetryBatch);
        TRY_ASSIGN(const auto page, names_.queued(queue_class, kEndOfTime, after, page_max));
        for (const auto& entry : page) {
          TRY_ASSIGN(auto found, item(entry.inode));
          if (found) items.push_back(*std::move(found));
        }
        if (page.size() < page_max) break;
        after = page.back();
      }
    }
    return items;
  }

  Result<std::optional<QueueItem>> item(InodeId id) {
    const auto inode = names_.load_record(id);
    if (failed_with(inode, ErrorCode::kNotFound)) return std::optional<QueueItem>{};
    if (!inode) return fail(inode.error());
    if (inode->queued() == format::NOT_QUEUED) return std::optional<QueueItem>{};
    QueueItem item{.inode = id,
                   .state = meta::state_of(*inode),
                   .urgent = inode->queued() == format::URGENT,
                   .size_bytes = inode->size(),
                   .dirty_since_ns = inode->dirty_since_ns(),
                   .next_try_ns = inode->queued_due_ns()};
    const auto path = names_.path_of(id);
    if (path) item.path = *path;
    TRY_ASSIGN(const auto progress, names_.progress(id));
    if (progress) {
      item.attempts = progress->attempts();
      item.last_error = progress->last_error();
    }
    if (const auto refused = refusal(*inode); !refused) {
      item.refused = true;
      item.last_error = refused.error().to_string();
    }
    if (const auto running = activity_.find(id)) {
      item.phase = running->phase;
      item.uploaded_bytes = running->uploaded_bytes;
    } else if (const auto away = store_error(*inode)) {
      item.phase = Phase::kStoreAway;
      if (!item.refused) item.last_error = away->to_string();
    } else if (item.next_try_ns > unix_ns(names_.clock().wall_now())) {
      item.phase = Phase::kBackingOff;
    }
    return std::optional(std::move(item));
  }

  PersistStats stats() {
    PersistStats stats;
    if (const auto usage = names_.usage()) {
      stats.waiting_files = usage->dirty_files;
      stats.waiting_bytes = usage->dirty_bytes;
    }
    stats.oldest_age_ns = oldest_age_ns();
    stats.in_flight = activity_.in_flight();
    stats.persisted_files = counters_.persisted_files;
    stats.persisted_bytes = counters_.persisted_bytes;
    stats.copied_files = counters_.copied_files;
    stats.erased_objects = counters_.erased_objects;
    stats.conflicts = counters_.conflicts;
    stats.aborted_uploads = counters_.aborted_uploads;
    stats.erased_leftovers = counters_.erased_leftovers;
    stats.errors_unavailable = counters_.errors_unavailable;
    stats.errors_denied = counters_.errors_denied;
    stats.errors_other = counters_.errors_other;
    stats.changed_while_uploading = counters_.changed_while_uploading;
    return stats;
  }

  Result<void> drain(Deadline deadline, const DrainProgress& progress) {
    TRY(directory_times_.settle_all());
    queue_.wake();
    for (;;) {
      TRY_ASSIGN(const LeftToDo left, left_to_do());
      if (progress && !progress(left)) return fail(ErrorCode::kCancelled, "stopped; left: " + to_string(left));
      if (left.nothing()) return {};
      std::unique_lock lock(mutex_);
      if (stopping_) return fail(ErrorCode::kCancelled, "persisting is being stopped; left: " + to_string(left));
      if (deadline.expired()) return fail(ErrorCode::kTimedOut, "not everything is persisted; left: " + to_string(left));
      changed_.wait_until(lock, std::min(deadline.time(), Deadline::after(kDrainInterval).time()));
    }
  }

  std::optional<Error> store_error(MountId mount) const { return breaker_.pause_reason(mount); }

 private:
  std::optional<Error> store_error(const meta::Inode& inode) {
    if (!breaker_.any_paused()) return std::nullopt;
    const auto mount = memo_.mount_of(inode);
    return mount ? breaker_.pause_reason(*mount) : std::nullopt;
  }

  Result<void> refusal(const meta::Inode& inode) {
    if (inode.queued() == format::NOT_QUEUED) return {};
    const auto progress = names_.progress(InodeId(inode.id()));
    if (progress && *progress && (*progress)->permanent()) return fail(ErrorCode::kDenied, (*progress)->last_error());
    return mount_refusal(inode);
  }

  Result<void> mount_refusal(const meta::Inode& inode) {
    if (!breaker_.any_paused()) return {};
    const auto mount = memo_.mount_of(inode);
    if (!mount) return {};
    if (auto reason = breaker_.refusal(*mount)) return fail(*std::move(reason));
    return {};
  }

  // Entries that wait for a later time, moved to now.
  Result<void> retry_all() {
    const int64_t now_ns = unix_ns(names_.clock().wall_now());
    for (const auto queue_class : kClasses) {
      std::optional<meta::QueuedInode> after = meta::QueuedInode{
          InodeId(std::numeric_limits<uint64_t>::max()), queue_class, now_ns};
      for (;;) {
        TRY_ASSIGN(const auto page, names_.queued(queue_class, kEndOfTime, after, kRetryBatch));
        for (const auto& entry : page) {
          const auto urgency =
              queue_class == format::URGENT ? meta::Urgency::kUrgent : meta::Urgency::kOrdinary;
          const auto enqueued = names_.enqueue(entry.inode, urgency);
          if (!enqueued && enqueued.error() != ErrorCode::kNotFound) return enqueued;
        }
        if (page.size() < kRetryBatch) break;
        after = page.back();
      }
    }
    return {};
  }

  // Of the entries at the head of each class: entries stand in the order of their next try, and those that failed often have
  // waited long, so this is exact unless more than kOldestLookedAt fresh ones stand before the oldest.
  int64_t oldest_age_ns() {
    int64_t oldest_ns = std::numeric_limits<int64_t>::max();
    for (const auto queue_class : kClasses) {
      const auto entries = names_.queued(queue_class, kEndOfTime, std::nullopt, kOldestLookedAt);
      if (!entries) continue;
      for (const auto& entry : *entries) {
        const auto inode = names_.load_record(entry.inode);
        if (inode && inode->dirty_since_ns() != 0) oldest_ns = std::min(oldest_ns, inode->dirty_since_ns());
      }
    }
    const int64_t now_ns = unix_ns(names_.clock().wall_now());
    return oldest_ns >= now_ns ? 0 : now_ns - oldest_ns;
  }

  // Those that are only looked at again do not count.
  Result<bool> erases_left() {
    std::optional<meta::EraseItem> after;
    for (;;) {
      TRY_ASSIGN(const auto items, names_.erases(kEndOfTime, options_.erase_batch, after));
      if (items.empty()) return false;
      if (!std::ranges::all_of(items, &meta::EraseItem::looked_at)) return true;
      after = items.back();
    }
  }

  Result<LeftToDo> left_to_do() {
    LeftToDo left;
    bool queued = false;
    for (const auto queue_class : kClasses) {
      TRY_ASSIGN(const auto entries, names_.queued(queue_class, kEndOfTime, std::nullopt, 1));
      queued |= !entries.empty();
    }
    if (queued) {
      TRY_ASSIGN(const auto usage, names_.usage());
      left.files = std::max<uint64_t>(usage.dirty_files, 1);
      left.bytes = usage.dirty_bytes;
    }
    TRY_ASSIGN(const bool erases, erases_left());
    TRY_ASSIGN(const auto jobs, names_.tree_jobs(1));
    TRY_ASSIGN(const auto removals, names_.removals(InodeId{}, 1));
    left.erasures = erases;
    left.moved_directories = !jobs.empty();
    left.removals = !removals.empty();
    return left;
  }

  // Probes mount points that failed, and stops handing out work while none can take it.
  void watch_health() {
    bool held = false;
    while (const auto due = breaker_.wait_for_probes(Deadline::after(kHealthInterval).time())) {
      probe_all(*due);
      const auto mounts = mounts_.mounts();
      const bool none_left =
          !mounts.empty() && std::ranges::none_of(mounts, [this](MountId mount) { return breaker_.allows(mount); });
      if (none_left == held) continue;
      held = none_left;
      if (held) {
        queue_.hold();
      } else {
        queue_.release();
      }
    }
    // Stopping. A probe that takes its time asks a store that would hold up the end.
    for (auto& [mount, patient] : patient_probes_) {
      const auto store = mounts_.find(mount).store;
      if (patient.answer.valid() && store) store->stop();
    }
    patient_probes_.clear();
  }

  // At once: a store that does not answer holds up no other's probe.
  void probe_all(const std::vector<MountId>& due) {
    std::vector<std::future<std::optional<Error>>> answers;
    for (const MountId mount : due)
      answers.push_back(std::async(std::launch::async, [this, mount] { return ask(mount, kProbeTimeout); }));
    for (size_t i = 0; i < due.size(); ++i) {
      const std::optional<Error> error = answers[i].get();
      const bool patient = patient_answer(due[i], error);
      settle_probe(due[i], patient ? std::nullopt : error);
    }
  }

  std::optional<Error> ask(MountId mount, Duration timeout) {
    const auto store = mounts_.find(mount).store;
    if (!store) return Error(ErrorCode::kUnavailable, "mount point " + std::to_string(mount.value()) + " has no store");
    const auto answer = store->probe(Deadline::after(timeout));
    return answer ? std::nullopt : std::optional(answer.error());
  }

  // Keeps a patient probe going beside the short ones while those time out. Whether it was answered.
  bool patient_answer(MountId mount, const std::optional<Error>& error) {
    PatientProbe& patient = patient_probes_[mount];
    bool answered = false;
    if (patient.answer.valid() && patient.answer.wait_for(Duration::zero()) == std::future_status::ready)
      answered = !patient.answer.get();
    if (!error) {
      patient.timeouts = 0;
    } else if (*error == ErrorCode::kTimedOut || *error == ErrorCode::kUnavailable) {
      if (++patient.timeouts >= kImpatientProbesMax && !patient.answer.valid() && !answered)
        patient.answer = std::async(std::launch::async, [this, mount] { return ask(mount, kPatientProbeTimeout); });
    }
    return answered;
  }

  // Once for each reason, and again now and then.
  void tell_unavailable(MountId mount, const Error& error) {
    Told& told = told_[mount];
    std::string text = error.to_string();
    if (told.text == text && !told.again.expired()) return;
    told = {.text = std::move(text), .again = Deadline::after(kToldAgainAfter)};
    log_warn("persist.store_unavailable", {{"mount", mount}, {"error", error}});
  }

  void settle_probe(MountId mount, const std::optional<Error>& error) {
    const bool refused = breaker_.refusal(mount).has_value();
    const auto verdict = breaker_.probed(mount, error);
    for (const auto& suspect : verdict.to_blame) {
      if (suspect.inode != InodeId{}) reconciler_.put_off(suspect.inode, suspect.error);
    }
    if (error) tell_unavailable(mount, *error);
    if (!verdict.resumed) return;
    told_.erase(mount);
    log_info("persist.store_available", {{"mount", mount}});
    // What was refused before the store as a whole counted as refusing waits for a time of its own.
    if (refused) {
      if (const auto retried = retry_all(); !retried) log_warn("persist.not_retried", {{"error", retried.error()}});
    }
    queue_.rescan();
    eraser_.loop().wake();
    walker_.loop().wake();
  }

  meta::Namespace& names_;
  const ufs::MountTable& mounts_;
  const PersistOptions options_;
  const Events events_;

  Counters counters_;
  CallDeadlines deadlines_;
  Activity activity_;
  KeyLocks key_locks_;
  Breaker breaker_;
  MountMemo memo_{names_};
  Queue queue_;
  TaskPool pool_;
  Publisher publisher_;
  Uploader uploader_;
  Eraser eraser_;
  TreeWalker walker_;
  Sweeper sweeper_;
  DirectoryTimes directory_times_;
  Reconciler reconciler_;

  struct PatientProbe {
    uint32_t timeouts = 0;                     // of short probes, in a row
    std::future<std::optional<Error>> answer;  // valid: one is under way
  };
  struct Told {
    std::string text;
    Deadline again = Deadline::never();
  };
  // Of the thread that watches the stores.
  std::map<MountId, PatientProbe> patient_probes_;
  std::map<MountId, Told> told_;

  std::mutex mutex_;  // a leaf
  std::condition_variable changed_;
  bool stopping_ = false;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

Persister::Persister(meta::Namespace& names, meta::LowerLayer& lower, pages::PageStore& pages,
                     const ufs::MountTable& mounts, const PersistOptions& options, Events events)
    : impl_(std::make_unique<Impl>(names, lower, pages, mounts, options, std::move(events))) {}
Persister::~Persister() = default;

void Persister::start() { impl_->start(); }
void Persister::stop(Deadline deadline) { impl_->stop(deadline); }
void Persister::wake() { impl_->wake(); }
void Persister::wake_for_files(meta::Urgency urgency) { impl_->wake_for_files(urgency); }
void Persister::wake_for_erasures() { impl_->wake_for_erasures(); }
Result<void> Persister::wait_persisted(InodeId inode, Generation generation, Deadline deadline) {
  return impl_->wait_persisted(inode, generation, deadline);
}
Result<void> Persister::refusal(InodeId inode) const { return impl_->refusal(inode); }
Result<void> Persister::retry(std::optional<InodeId> inode) { return impl_->retry(inode); }
Result<std::vector<QueueItem>> Persister::list(size_t items_max) { return impl_->list(items_max); }
Result<std::optional<QueueItem>> Persister::item(InodeId inode) { return impl_->item(inode); }
PersistStats Persister::stats() const { return impl_->stats(); }
Result<void> Persister::drain(Deadline deadline, const DrainProgress& progress) { return impl_->drain(deadline, progress); }
std::optional<Error> Persister::store_error(MountId mount) const { return impl_->store_error(mount); }

}  // namespace weir::persist
