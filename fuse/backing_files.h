// fuse/backing_files.h -- the local files that the kernel reads and writes for us (passthrough).
//
// Kernel rule: all opens of an inode that overlap must agree on passthrough and on the backing id, else open(2) fails with
// EIO. The kernel counts a file as open from the reply to OPEN until just before it sends RELEASE. Here it counts from
// before that reply until RELEASE came, so what we believe open includes what the kernel does, and a decision that
// stays until our count is zero is never contradicted by an older one. That includes the decision against passthrough.
// Source of the ioctls: Linux, include/uapi/linux/fuse.h.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/result.h"

namespace weir::fuse {

class BackingFiles {
 public:
  // Asks the kernel whether this process may hand out files; `device_fd` is the session's, valid until stop().
  // Errors: kPermission (no CAP_SYS_ADMIN), kNotSupported.
  Result<void> start(int device_fd);
  void stop();

  // Counts an open of local file `key`; returns its backing id, or 0: through the daemon.
  int32_t acquire(uint64_t key, int file_fd);
  // Counts an open of a predecessor, which had this id; 0: through the daemon.
  void restore(uint64_t key, int32_t id);
  // The id that opens of `key` have; 0: through the daemon, or there are none.
  int32_t id_of(uint64_t key);
  // Gives back ids that a predecessor was given and did not live to write down: those from `from` on that were not restored.
  void drop_unknown(int32_t from);
  // RELEASE of an open that was counted.
  void release(uint64_t key);

 private:
  struct Backing {
    int32_t id = 0;
    uint64_t opens = 0;
  };

  std::mutex mutex_;
  std::unordered_map<uint64_t, Backing> backings_;  // by local_file_key; bounded by the open files
  int device_fd_ = -1;                              // -1: off
  int32_t probe_id_ = 0;                            // what the kernel gave out when we started; it counts up
};

}  // namespace weir::fuse
