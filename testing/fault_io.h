// testing/fault_io.h -- makes files fail, be short, run out of space, and forget what was not synced.
//
// Installs itself as the hook of io/fault.h while it lives; one at a time. Only operations through io::File and
// io::Directory are seen. With `only_below` set, only descriptors and names whose path begins with it are.
// Threads: all methods may be called concurrently.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "io/fault.h"
#include "io/file.h"

namespace weir::testing {

class FaultIo final : public io::FaultHook {
 public:
  explicit FaultIo(std::string only_below = {});
  ~FaultIo() override;
  FaultIo(const FaultIo&) = delete;
  FaultIo& operator=(const FaultIo&) = delete;

  // The next `times` operations of the kind, after `skip` more of it, fail with this errno.
  void fail(io::Operation operation, int err, uint64_t times = UINT64_MAX, uint64_t skip = 0);
  // Reads and writes transfer at most so many bytes at once.
  void shorten(size_t bytes_max);
  // Writes succeed for so many more bytes, the last of them short, then fail with ENOSPC.
  void fill_up_after(uint64_t bytes);
  void heal();  // none of the above any more

  // From now on remembers what a power loss would undo: contents and sizes not synced since, and new files that were
  // never synced (their file or their directory). Renames and unlinks are taken as durable at once.
  void track_unsynced();
  // The power loss: undoes it, also behind descriptors that are still open.
  void drop_unsynced();

  uint64_t count(io::Operation operation) const;

  int before(io::Attempt& attempt) override;
  void after(const io::Attempt& attempt) override;

 private:
  struct Failure {
    int err = 0;
    uint64_t times = 0;
    uint64_t skip = 0;
  };
  using FileKey = std::pair<uint64_t, uint64_t>;  // device, inode
  struct Undo {
    uint64_t offset = 0;
    std::string bytes;  // overwritten or cut off
  };
  struct Tracked {
    io::File file;
    uint64_t size_bytes = 0;  // when last synced
    std::vector<Undo> undos;  // oldest first
    std::string created_path;  // empty once its name is durable
  };

  bool concerns(const io::Attempt& attempt) const;
  void remember(const io::Attempt& attempt);
  Tracked* track(int fd);

  const std::string only_below_;
  mutable std::mutex mutex_;
  std::map<io::Operation, Failure> failures_;
  std::map<io::Operation, uint64_t> counts_;
  std::optional<size_t> short_bytes_;
  std::optional<uint64_t> room_bytes_;
  bool tracking_ = false;
  std::map<FileKey, Tracked> tracked_;
};

}  // namespace weir::testing
