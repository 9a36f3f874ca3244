// daemon/instance_lock.h -- one daemon on one volume folder.
#pragma once

#include <string>

#include "base/result.h"
#include "io/file.h"

namespace weir::daemon {

// Held while it lives, and let go by the kernel when the process dies.
class InstanceLock {
 public:
  // Makes the folder if it is absent. Waits for a process that is just dying, and for all that it holds besides. kBusy when another
  // process has the folder; the message names its pid.
  static Result<InstanceLock> take(const std::string& volume_dir);

 private:
  explicit InstanceLock(io::File file) : file_(std::move(file)) {}
  io::File file_;
};

}  // namespace weir::daemon
