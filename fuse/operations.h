// fuse/operations.h -- the kernel's requests: decode, call the volume, reply.
//
// A node id is an inode number, never reused, so its generation is 0; the volume keeps nothing for a node that the kernel
// knows, so FORGET matters to NamelessInodes alone.
//
// Threads: handlers run concurrently, on the threads of DeviceLoop and RingLoop or, when those must not wait, on WaitingThreads.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/waiting_threads.h"
#include "fuse/backing_files.h"
#include "fuse/fuse_api.h"
#include "fuse/ledger.h"
#include "fuse/nameless_inodes.h"
#include "fuse/statistics.h"
#include "volume/volume.h"

namespace weir::fuse {

struct OpenHandle {
  std::unique_ptr<volume::OpenFile> file;  // null: lost with the process that opened it
  LedgerFile* entry = nullptr;
};

class Operations {
 public:
  // What the session settled on; called by libfuse once, before any other request.
  using Init = std::function<void(fuse_conn_info&)>;

  Operations(volume::Volume& volume, Statistics& statistics, Ledger& ledger, size_t waiting_threads_max,
             Duration absent_valid_for, Init init)
      : volume(volume),
        statistics(statistics),
        ledger(ledger),
        absent_valid_for(absent_valid_for),
        init(std::move(init)),
        waiting(waiting_threads_max) {}

  // For fuse_session_new(), with this object as the session's user data.
  static const fuse_lowlevel_ops& table();

  // Goes on with the handles of a predecessor: those that VolumeOptions::held named by held_files(ledger). Requires: backing has
  // started, and no request came yet.
  void take_over();
  // The handle that the request got when it came first; null: none.
  OpenHandle* opened_before(uint64_t unique) const;
  LedgerDirectory* directory_opened_before(uint64_t unique) const;

  // An open file by the handle that the kernel names it by.
  OpenHandle& handle(uint64_t fh) { return *static_cast<OpenHandle*>(ledger.file(fh).here); }
  Result<OpenHandle*> remember(std::unique_ptr<volume::OpenFile> file, uint64_t opening);
  void close(OpenHandle& handle);
  // Closes what the kernel did not, because its connection was cut. Requires: no request runs any more.
  void close_left_open();

  // Session for notices of handlers, and the way of what libfuse sends to the kernel, like writev(2); set before the loop starts.
  fuse_session* session = nullptr;
  std::function<ssize_t(int device, std::span<iovec> parts)> send;
  volume::Volume& volume;
  Statistics& statistics;
  Ledger& ledger;
  const Duration absent_valid_for;
  const Init init;
  BackingFiles backing;
  NamelessInodes nameless;
  WaitingThreads waiting;

 private:
  void undo_torn_appends();

  // Of requests whose replies were on their way when the predecessor died; unchanged after take_over().
  std::unordered_map<uint64_t, OpenHandle*> opened_before_;
  std::unordered_map<uint64_t, LedgerDirectory*> directories_before_;
};

// What a predecessor had open, in the order of Ledger::files().
std::vector<volume::HeldFile> held_files(Ledger& ledger);

}  // namespace weir::fuse
