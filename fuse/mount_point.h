// fuse/mount_point.h -- the directory that is mounted on, before and after.
#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace weir::fuse {

// Makes sure that `path` is an empty directory with nothing mounted on it; takes away the mount of a server that died.
// Returns the absolute path. Errors: kNotFound, kNotDirectory, kNotEmpty, kBusy, kPermission.
Result<std::string> prepare_mount_point(const std::string& path);

enum class Unmount : uint8_t { kIfUnused, kDetach };
// Errors: kBusy (open files, working directories), kPermission. Success also when nothing is mounted there.
Result<void> unmount_path(const std::string& path, Unmount how);

// st_dev of what is mounted on the absolute path. The file system itself is not asked: a server that waited for an answer of its own
// mount could not be killed, as the wait would hold the connection that it waits for.
Result<uint64_t> device_mounted_on(const std::string& path);

// Cuts the connection of the FUSE mount with this st_dev; every request in flight fails. No-op without the right to.
void abort_connection(uint64_t device);

// Lets the kernel read ahead up to so many bytes of files of the mount with this st_dev, where it offers less to FUSE by
// default. No-op without the right to.
void set_kernel_read_ahead(uint64_t device, uint64_t bytes);

// Whether this process has CAP_SYS_ADMIN, which passthrough asks for.
bool has_sys_admin();

}  // namespace weir::fuse
