// io/errno.h -- the one table from errno to Error. What a front answers to its own caller is its own table.
#pragma once

#include <string_view>

#include "base/error.h"

namespace weir::io {

ErrorCode code_of_errno(int err);

// "pwrite /path: No space left on device".
Error from_errno(int err, std::string_view operation, std::string_view path);
// The same for an open descriptor: its path is asked of the kernel, so that no descriptor need carry one.
Error from_errno(int err, std::string_view operation, int fd);

}  // namespace weir::io
