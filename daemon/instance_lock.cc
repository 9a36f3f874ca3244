#include "daemon/instance_lock.h"

#include <unistd.h>

#include "io/directory.h"

namespace weir::daemon {

Result<InstanceLock> InstanceLock::take(const std::string& volume_dir) {
  constexpr size_t kPidBytesMax = 64;
  TRY_ASSIGN(const io::Directory directory, io::Directory::make(volume_dir, 0700));
  TRY_ASSIGN(io::File file, directory.open_file("weir.lock", {.access = io::Access::kReadWrite,
                                                              .create = io::Create::kIfAbsent}));
  if (auto locked = file.try_lock(io::Lock::kExclusive); !locked) {
    if (locked.error() != ErrorCode::kBusy) return fail(std::move(locked).error());
    std::string pid = file.read_all(kPidBytesMax).value_or("unknown\n");
    if (pid.ends_with('\n')) pid.pop_back();
    return fail(ErrorCode::kBusy, volume_dir + " is in use by the daemon with pid " + pid +
                                      "; stop it first, or give this one another volume.dir");
  }
  TRY(file.truncate(0));
  TRY(file.write_at(0, std::to_string(::getpid()) + "\n"));
  return InstanceLock(std::move(file));
}

}  // namespace weir::daemon
