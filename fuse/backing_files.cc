#include "fuse/backing_files.h"

#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "base/check.h"
#include "base/log.h"
#include "io/descriptor.h"
#include "io/errno.h"

namespace weir::fuse {
namespace {

struct BackingMap {
  int32_t fd;
  uint32_t flags;
  uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, uint32_t);

Result<int32_t> open_backing(int device_fd, int file_fd) {
  BackingMap map{.fd = file_fd, .flags = 0, .padding = 0};
  const int id = ::ioctl(device_fd, kBackingOpen, &map);
  if (id > 0) return id;
  return fail(io::from_errno(id == 0 ? EINVAL : errno, "FUSE_DEV_IOC_BACKING_OPEN", file_fd));
}

void close_backing(int device_fd, int32_t id) {
  auto backing_id = static_cast<uint32_t>(id);
  if (::ioctl(device_fd, kBackingClose, &backing_id) != 0) {
    // The connection is gone and has let go of all its files.
    log_debug("fuse.backing_close_failed", {{"backing_id", id}});
  }
}

}  // namespace

Result<void> BackingFiles::start(int device_fd) {
  const io::Descriptor probe(::memfd_create("weir-passthrough-probe", MFD_CLOEXEC));
  if (!probe.valid()) return fail(io::from_errno(errno, "memfd_create", "passthrough probe"));
  TRY_ASSIGN(const int32_t id, open_backing(device_fd, probe.get()));
  close_backing(device_fd, id);
  const std::lock_guard lock(mutex_);
  device_fd_ = device_fd;
  probe_id_ = id;
  return {};
}

void BackingFiles::stop() {
  const std::lock_guard lock(mutex_);
  device_fd_ = -1;
}

int32_t BackingFiles::acquire(uint64_t key, int file_fd) {
  const std::lock_guard lock(mutex_);
  Backing& backing = backings_[key];
  if (++backing.opens > 1 || device_fd_ < 0) return backing.id;
  if (auto id = open_backing(device_fd_, file_fd)) {
    backing.id = *id;
  } else {
    log_warn("fuse.passthrough_refused", {{"local_file", key}, {"error", id.error()}});
  }
  return backing.id;
}

void BackingFiles::restore(uint64_t key, int32_t id) {
  const std::lock_guard lock(mutex_);
  Backing& backing = backings_[key];
  ++backing.opens;
  if (id != 0) backing.id = id;
}

int32_t BackingFiles::id_of(uint64_t key) {
  const std::lock_guard lock(mutex_);
  const auto found = backings_.find(key);
  return found == backings_.end() ? 0 : found->second.id;
}

void BackingFiles::drop_unknown(int32_t from) {
  const std::lock_guard lock(mutex_);
  if (device_fd_ < 0) return;
  std::unordered_set<int32_t> known;
  for (const auto& [key, backing] : backings_) known.insert(backing.id);
  for (int32_t id = std::max(from, 1); id < probe_id_; ++id) {
    if (!known.contains(id)) close_backing(device_fd_, id);
  }
}

void BackingFiles::release(uint64_t key) {
  const std::lock_guard lock(mutex_);
  const auto found = backings_.find(key);
  CHECK(found != backings_.end());
  if (--found->second.opens > 0) return;
  if (found->second.id != 0 && device_fd_ >= 0) close_backing(device_fd_, found->second.id);
  backings_.erase(found);
}

}  // namespace weir::fuse
