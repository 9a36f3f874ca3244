#include "persist/key_locks.h"

namespace weir::persist {
namespace {

std::string name_of(MountId mount, std::string_view key) {
  std::string name = std::to_string(mount.value());
  name += '/';
  name += key;
  return name;
}

}  // namespace

KeyLocks::Held::~Held() {
  if (locks_ == nullptr) return;
  Shard& shard = locks_->shard_of(name_);
  {
    std::lock_guard lock(shard.mutex);
    shard.held.erase(name_);
  }
  shard.released.notify_all();
}

Result<KeyLocks::Held> KeyLocks::lock(MountId mount, std::string_view key, Deadline deadline) {
  std::string name = name_of(mount, key);
  Shard& shard = shard_of(name);
  std::unique_lock lock(shard.mutex);
  while (!shard.held.insert(name).second) {
    if (shard.released.wait_until(lock, deadline.time()) == std::cv_status::timeout && shard.held.contains(name))
      return fail(ErrorCode::kTimedOut, "object key '" + std::string(key) + "' is in use by another request");
  }
  return Held(this, std::move(name));
}

std::optional<KeyLocks::Held> KeyLocks::try_lock(MountId mount, std::string_view key) {
  std::string name = name_of(mount, key);
  Shard& shard = shard_of(name);
  std::lock_guard lock(shard.mutex);
  if (!shard.held.insert(name).second) return std::nullopt;
  return Held(this, std::move(name));
}

}  // namespace weir::persist
