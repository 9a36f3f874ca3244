// fuse/keeper.h -- whoever holds the kernel's connection, so that it outlives the process that serves it.
#pragma once

#include <string>

#include "base/result.h"
#include "fuse/ledger.h"
#include "fuse/ring_memory.h"
#include "io/descriptor.h"

namespace weir::fuse {

class Keeper {
 public:
  virtual ~Keeper() = default;

  // Mounts on an empty directory and keeps the connection; returns a descriptor of it.
  virtual Result<io::Descriptor> connect(const std::string& mount_point) = 0;
  // The mount is gone, or is to go with the last descriptor.
  virtual void disconnect() = 0;
  // Rings of the connection, in which the kernel's requests outlive the server, too; those that there are, or new ones. Returns
  // a descriptor of their RingMemory.
  virtual Result<io::Descriptor> rings(const RingShape& shape) = 0;
  // Kept like the connection.
  virtual Ledger& ledger() = 0;
};

// Mounts on an empty directory and returns the connection, on which the kernel's greeting waits. As root other users see
// the mount; else fusermount3 mounts it, for this user alone. Errors: kPermission, kNotSupported (no /dev/fuse).
Result<io::Descriptor> open_connection(const std::string& mount_point);

}  // namespace weir::fuse
