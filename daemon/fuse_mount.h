// daemon/fuse_mount.h -- the volume's place in the file system: at most one mount, which may come and go.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "fuse/fuse_server.h"
#include "volume/volume.h"

namespace weir::daemon {

class FuseMount {
 public:
  FuseMount(volume::Volume& volume, fuse::FuseOptions defaults) : volume_(volume), defaults_(std::move(defaults)) {}

  // Empty: where the configuration says. kExists when the volume is mounted already, also elsewhere.
  Result<void> mount(std::string mount_point);
  // Goes on with the mount of a predecessor; see FuseServer::take_over().
  Result<void> take_over(io::Descriptor connection);
  // See FuseServer::hand_over(). Nothing to do when it is not mounted.
  Result<void> hand_over(Deadline deadline);
  // Nothing to do when it is not mounted. After kTimedOut requests still use the volume: the process must end without
  // destroying it.
  Result<void> unmount(Deadline deadline);

  struct Status {
    std::string mount_point;
    fuse::Features features;
  };
  // Nullopt when not mounted (any more).
  std::optional<Status> status() const;
  // False when a mount that was asked for is gone without unmount().
  bool healthy() const;

  // Of all mounts so far together they would be two sums; these are of the present or last one. Null before the first.
  std::shared_ptr<const fuse::FuseServer> server() const;

 private:
  bool alive() const;  // requires mutex_

  volume::Volume& volume_;
  const fuse::FuseOptions defaults_;
  mutable std::mutex mutex_;  // held over mounting and unmounting
  std::shared_ptr<fuse::FuseServer> server_;
  bool wanted_ = false;
};

}  // namespace weir::daemon
