// io/open_flags.h -- what file.cc and directory.cc share.
#pragma once

#include <sys/stat.h>

#include "base/result.h"
#include "io/descriptor.h"
#include "io/file.h"

namespace weir::io {

int open_flags(const OpenOptions& options);
Result<Descriptor> open_at(int directory_fd, const char* name, int flags, mode_t mode);
FileStat to_file_stat(const struct stat& st);

}  // namespace weir::io
