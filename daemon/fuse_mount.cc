#include "daemon/fuse_mount.h"

#include "base/log.h"

namespace weir::daemon {

bool FuseMount::alive() const { return server_ != nullptr && !server_->wait(Deadline::after(Duration::zero())); }

Result<void> FuseMount::mount(std::string mount_point) {
  std::lock_guard lock(mutex_);
  if (alive()) return fail(ErrorCode::kExists, "the volume is mounted at " + server_->mount_point());
  fuse::FuseOptions options = defaults_;
  if (!mount_point.empty()) options.mount_point = std::move(mount_point);
  if (options.mount_point.empty())
    return fail(ErrorCode::kInvalid, "no mount point was given, and property fuse.mount.point is not set");
  wanted_ = true;
  TRY_ASSIGN(std::shared_ptr<fuse::FuseServer> server, fuse::FuseServer::mount(volume_, options));
  server_ = std::move(server);
  return {};
}

Result<void> FuseMount::take_over(io::Descriptor connection) {
  std::lock_guard lock(mutex_);
  wanted_ = true;
  TRY_ASSIGN(std::shared_ptr<fuse::FuseServer> server,
             fuse::FuseServer::take_over(volume_, defaults_, std::move(connection)));
  server_ = std::move(server);
  return {};
}

Result<void> FuseMount::hand_over(Deadline deadline) {
  std::lock_guard lock(mutex_);
  return alive() ? server_->hand_over(deadline) : Result<void>();
}

Result<void> FuseMount::unmount(Deadline deadline) {
  std::lock_guard lock(mutex_);
  wanted_ = false;
  if (server_ == nullptr) return {};
  TRY(server_->unmount(deadline));
  return {};
}

std::optional<FuseMount::Status> FuseMount::status() const {
  std::lock_guard lock(mutex_);
  if (!alive()) return std::nullopt;
  return Status{server_->mount_point(), server_->features()};
}

bool FuseMount::healthy() const {
  std::unique_lock lock(mutex_, std::try_to_lock);
  return !lock.owns_lock() || !wanted_ || alive();
}

std::shared_ptr<const fuse::FuseServer> FuseMount::server() const {
  std::lock_guard lock(mutex_);
  return server_;
}

}  // namespace weir::daemon
