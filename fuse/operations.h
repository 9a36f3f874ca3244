// fuse/operations.h -- the kernel's requests: decode, call the volume, reply.
//
// A node id is an inode number, never reused, so its generation is 0; the volume keeps nothing for a node that the kernel
// knows, so FORGET has nothing to do.
//
// Threads: handlers run concurrently, on libfuse's threads or, when they have to wait, on WaitingThreads.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_set>

#include "base/clock.h"
#include "base/waiting_threads.h"
#include "fuse/backing_files.h"
#include "fuse/fuse_api.h"
#include "fuse/ring_gate.h"
#include "fuse/statistics.h"
#include "volume/volume.h"

namespace weir::fuse {

struct OpenHandle {
  std::unique_ptr<volume::OpenFile> file;
  bool backing_counted = false;
  bool writes_pass_by = false;  // writable, through the kernel
  bool set_id_bits = false;     // when it was opened
};

class Operations {
 public:
  // What the session settled on; called by libfuse once, before any other request.
  using Init = std::function<void(fuse_conn_info&)>;

  Operations(volume::Volume& volume, Statistics& statistics, size_t waiting_threads_max, Duration absent_valid_for,
             Init init)
      : volume(volume),
        statistics(statistics),
        absent_valid_for(absent_valid_for),
        init(std::move(init)),
        waiting(waiting_threads_max) {}

  // For fuse_session_new(), with this object as the session's user data.
  static const fuse_lowlevel_ops& table();

  // Open files by the handle that the kernel names them by.
  OpenHandle& remember(std::unique_ptr<OpenHandle> handle);
  void close(OpenHandle& handle);
  // Closes what the kernel did not, because its connection was cut. Requires: no request runs any more.
  void close_left_open();

  // Session for notices of handlers; set before the loop starts.
  fuse_session* session = nullptr;
  volume::Volume& volume;
  Statistics& statistics;
  const Duration absent_valid_for;
  const Init init;
  BackingFiles backing;
  WaitingThreads waiting;
  std::atomic<bool> ring_used{false};

 private:
  void dispose(OpenHandle* handle);

  std::mutex handles_mutex_;  // a leaf
  std::unordered_set<OpenHandle*> handles_;  // bounded by the open files
};

}  // namespace weir::fuse
