// fuse/fuse_server.h -- a volume mounted through the kernel's FUSE: one server is one mount.
//
// Complete local files are handed to the kernel (passthrough), which then reads and writes them without us. Everything
// else comes as requests: over io_uring, one ring and one thread for each core, or from /dev/fuse with a pool of threads.
// A request that has to wait for an under store never holds up the requests behind it.
//
// Threads: all methods may be called concurrently; mount() and unmount() once each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "fuse/keeper.h"
#include "fuse/statistics.h"
#include "volume/volume.h"

namespace weir::fuse {

enum class Switch : uint8_t {
  kOff,
  kOn,    // mount() fails where it cannot be had
  kAuto,  // used where it can be had; the log says why not
};

struct FuseOptions {
  std::string mount_point;  // an empty directory
  Switch passthrough = Switch::kAuto;  // needs CAP_SYS_ADMIN and Linux 6.9
  Switch io_uring = Switch::kAuto;     // needs Linux 6.14 and /sys/module/fuse/parameters/enable_uring
  uint32_t threads = 64;               // at most, for requests from /dev/fuse and for those that wait
  uint32_t request_bytes_max = 1 << 20;  // of one read or write
  // For how long the kernel may answer that a name is absent.
  Duration absent_valid_for = std::chrono::seconds(1);
  Duration start_timeout = std::chrono::seconds(10);
  // Holds the connection and the ledger; null: the mount ends with the process. Requests come from /dev/fuse then: what is in
  // flight on a ring when its process dies is not sent again by the kernel.
  Keeper* keeper = nullptr;
};

struct Features {
  bool passthrough = false;
  std::string passthrough_reason;  // why not; empty when on
  bool io_uring = false;
  std::string io_uring_reason;
};

class FuseServer {
 public:
  // Mounts and serves. A dead mount that an earlier server left at the mount point is removed first. As root other users
  // see the mount; else fusermount3 mounts it, for this user alone. `volume` must outlive the server.
  // Errors: kNotFound, kNotDirectory, kNotEmpty, kBusy (something is mounted there), kPermission, kNotSupported (a feature
  // that was asked for, or no /dev/fuse), kTimedOut; each says what to do.
  static Result<std::unique_ptr<FuseServer>> mount(volume::Volume& volume, const FuseOptions& options);

  // Goes on with a mount that a predecessor served until it died, whatever it left undone: `device` is its connection, as its
  // keeper kept it. The volume was opened with held_files() of the keeper's ledger. Callers notice a pause.
  static Result<std::unique_ptr<FuseServer>> take_over(volume::Volume& volume, const FuseOptions& options,
                                                       io::Descriptor device);

  // Unmounts within 5 s if that was not done. A volume that is still changed from elsewhere may be telling the server so:
  // stop it first. Where a request still runs, the server is abandoned and the process must end without destroying the volume.
  ~FuseServer();
  FuseServer(const FuseServer&) = delete;
  FuseServer& operator=(const FuseServer&) = delete;

  Features features() const;
  const Statistics& statistics() const;
  const std::string& mount_point() const;

  // Returns when the mount is gone, whoever removed it (umount(8), an abort); kTimedOut otherwise.
  Result<void> wait(Deadline deadline);

  // Takes the mount away. While files are open it is tried until half of the time is gone; then the mount is detached and
  // its connection cut: what still uses it gets errors, also in mount namespaces that were copied from this one. After
  // success no request runs any more.
  // Errors: kTimedOut (a request still runs inside the volume; the process must end without destroying it).
  Result<void> unmount(Deadline deadline);

  // Takes no further request, so that a successor can take over. kTimedOut: some still run; whoever waits for them waits for
  // the successor. Either way the process is to end without destroying this object.
  Result<void> hand_over(Deadline deadline);

 private:
  struct Session;
  explicit FuseServer(std::unique_ptr<Session> session);

  std::unique_ptr<Session> session_;
};

}  // namespace weir::fuse
