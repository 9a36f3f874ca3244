#include "persist/sweeper.h"

#include <algorithm>
#include <optional>

#include "base/log.h"
#include "meta/types.h"
#include "persist/leftover.h"

namespace weir::persist {
namespace {

// The store's clock may be behind ours by so much.
constexpr Duration kStoreClockBehind = std::chrono::minutes(5);

}  // namespace

bool Sweeper::old_enough(int64_t since_ns) const {
  return since_ns + options_.leftover_age.count() <= unix_ns(names_.clock().wall_now());
}

std::shared_ptr<ufs::UnderStore> Sweeper::store_of(MountId mount) const {
  return breaker_.allows(mount) ? mounts_.find(mount).store : nullptr;
}

Duration Sweeper::pass() {
  if (!started_) {
    started_ = true;
    return options_.leftover_check_period;
  }
  bool all_done = true;
  const auto note = [&](const Result<void>& swept, MountId mount) {
    if (swept) return;
    all_done = false;
    if (swept.error() != ErrorCode::kCancelled)
      log_warn("persist.leftovers_not_swept", {{"mount", mount}, {"error", swept.error()}});
  };
  std::optional<meta::Namespace::ExpectedUpload> after;
  while (!deadlines_.stopping()) {
    const auto page = names_.expected_uploads(after, kPageUploads);
    if (!page) {
      note(fail(page.error()), MountId{});
      break;
    }
    if (page->empty()) break;
    after = page->back();
    for (const auto& expected : *page) {
      if (deadlines_.stopping()) break;
      if (old_enough(expected.since_ns)) note(sweep_uploads(expected), expected.mount);
    }
  }
  for (const MountId mount : mounts_.mounts()) {
    if (!deadlines_.stopping()) note(sweep_parked(mount), mount);
  }
  return all_done ? options_.leftover_check_period : std::min(options_.leftover_check_period, kFailedPause);
}

Result<void> Sweeper::sweep_uploads(const meta::Namespace::ExpectedUpload& expected) {
  if (std::ranges::count(mounts_.mounts(), expected.mount) == 0) {
    TRY_ASSIGN(const auto mounts, names_.mounts());
    const bool removed = std::ranges::find(mounts, expected.mount.value(), &format::Mount::id) == mounts.end();
    return removed ? names_.forget_expected_upload(expected) : Result<void>();
  }
  const auto store = store_of(expected.mount);
  if (!store) return {};
  // Whoever uploads there holds it from before the upload is begun until it is recorded.
  const auto held = key_locks_.try_lock(expected.mount, expected.key);
  if (!held) return {};
  std::string going_on;
  TRY_ASSIGN(const auto owner, names_.owner_of_key(expected.mount, expected.key));
  if (owner && *owner != InodeId{}) {
    TRY_ASSIGN(const auto progress, names_.progress(*owner));
    if (progress && progress->upload_key() == expected.key) going_on = progress->upload_id();
  }
  bool left = !going_on.empty();
  TRY_ASSIGN(const auto uploads, store->list_uploads(expected.key, deadlines_.reply()));
  for (const ufs::UploadInfo& upload : uploads) {
    const int64_t started_ns = unix_ns(upload.started);
    const bool ours = upload.key == expected.key && started_ns + kStoreClockBehind.count() >= expected.since_ns;
    if (!ours || upload.upload_id == going_on) continue;
    if (!old_enough(started_ns)) {
      left = true;
      continue;
    }
    TRY(store->abort_multipart(upload.key, upload.upload_id, deadlines_.reply()));
    ++counters_.aborted_uploads;
    log_info("persist.upload_aborted", {{"key", upload.key}, {"upload_id", upload.upload_id}});
  }
  return left ? Result<void>() : names_.forget_expected_upload(expected);
}

Result<void> Sweeper::sweep_parked(MountId mount) {
  const auto store = store_of(mount);
  if (!store) return {};
  ufs::ListRequest request{.prefix = std::string(meta::kParkingPrefix)};
  do {
    if (deadlines_.stopping()) return fail(ErrorCode::kCancelled);
    TRY_ASSIGN(const ufs::ListPage page, store->list(request, deadlines_.reply()));
    for (const ufs::ObjectInfo& object : page.objects) {
      if (names_.parked_inode(object.key) && old_enough(unix_ns(object.last_modified)))
        TRY(sweep_parked_object(mount, *store, object.key));
    }
    request.token = page.token;
  } while (!request.token.empty());
  return {};
}

Result<void> Sweeper::sweep_parked_object(MountId mount, ufs::UnderStore& store, const std::string& key) {
  const auto held = key_locks_.try_lock(mount, key);
  if (!held) return {};
  // What is owned is somebody's, or the eraser's.
  TRY_ASSIGN(const auto owner, names_.owner_of_key(mount, key));
  if (owner) return {};
  const auto head = store.head(key, deadlines_.reply());
  if (failed_with(head, ErrorCode::kNotFound)) return {};
  if (!head) return fail(head.error());
  TRY_ASSIGN(const bool leftover, is_leftover(names_, mount, key, *head));
  if (!leftover) return {};
  const auto erased = store.erase(key, head->info.etag, deadlines_.reply());
  if (failed_with(erased, ErrorCode::kPrecondition)) return {};
  TRY(erased);
  ++counters_.erased_leftovers;
  log_info("persist.leftover_erased", {{"key", key}});
  return {};
}

}  // namespace weir::persist
