// fuse/errno_table.h -- what the kernel is answered: the one table from Error to errno.
#pragma once

#include "base/error.h"

namespace weir::fuse {

// Positive; every code has one.
int errno_of(ErrorCode code);

}  // namespace weir::fuse
