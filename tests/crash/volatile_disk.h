// tests/crash/volatile_disk.h -- a folder on a disk that loses with the power what was not synced.
//
// The program that links this has its own open, pwrite, fsync, rename, ... in front of the C library's, so that every call of
// the process that changes a file below the folder is seen, whichever library makes it. Real files are changed as usual;
// beside them is kept what the device surely has:
// - of a file: contents and size as of its last fsync or fdatasync, its mtime as of its last fsync (or of an fdatasync that
//   moved the size). sync_file_range promises nothing.
// - of names: what fsync of their directory made durable. The first sync of a file that has no durable name makes its names
//   durable, too, as the journalling file systems do; that of another file does not.
// - syncfs makes everything durable.
// From that lose_power() makes images: folders as a device may hold them, while the process goes on.
// Not seen: stores through a mapping, io_uring, files without a name until they get one.
//
// Threads: all methods may be called concurrently; calls below a VolatileDisk run one at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "base/random.h"

namespace weir::testing {

// What becomes of what was not synced.
enum class Loss : uint8_t {
  kNothing,   // all of it is there: only the process has died
  kAll,
  kLatest,    // names: the latest changes are lost; pages: each is kept, lost or torn
  kSome,      // names: any, but none without those that it builds on; pages as above
};

class VolatileDisk {
 public:
  // `root`: a folder of its own. What is there counts as synced.
  explicit VolatileDisk(std::string root);
  ~VolatileDisk();
  VolatileDisk(const VolatileDisk&) = delete;
  VolatileDisk& operator=(const VolatileDisk&) = delete;

  const std::string& root() const;

  // Makes `image`, which is not there yet, a copy of what the device holds after a loss of power now. `meanwhile` is called
  // while nothing can change below the root.
  void lose_power(const std::string& image, Loss loss, Random& random, const std::function<void()>& meanwhile = {});

  // From now on every call that would change something below the root fails with EIO: what is left of a process whose
  // death this stands for cannot do any more harm.
  void kill();
  // Ends that, for the process that comes after; what was not synced still is not.
  void revive();

  // Syncs of a kind that do nothing and report success, as if the call were not there. `site` is what sync_site() was told,
  // or a RocksDB file's kind ("rocksdb log", "rocksdb table", "rocksdb manifest", "rocksdb directory"); empty: none.
  void ignore_syncs(std::string_view site);
  // Of all syncs seen so far.
  std::set<std::string> sync_sites() const;
  // Syncs of all kinds so far.
  uint64_t syncs() const;

  // Called, outside all locks, on the thread that is about to make a change below the root, before it is made.
  void set_before_change(std::function<void()> hook);

  struct Impl;  // for the interposed calls

 private:
  std::unique_ptr<Impl> impl_;
};

// Which run of the machine the process is told that it is in (/proc/sys/kernel/random/boot_id); empty: the real one.
void set_boot_id(std::string boot_id);

}  // namespace weir::testing
