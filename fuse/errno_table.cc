#include "fuse/errno_table.h"

#include <cerrno>

namespace weir::fuse {

int errno_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return ENOENT;
    case ErrorCode::kExists: return EEXIST;
    case ErrorCode::kNotDirectory: return ENOTDIR;
    case ErrorCode::kIsDirectory: return EISDIR;
    case ErrorCode::kNotEmpty: return ENOTEMPTY;
    case ErrorCode::kNoAttribute: return ENODATA;
    case ErrorCode::kCrossDevice: return EXDEV;
    case ErrorCode::kTooManyLinks: return EMLINK;
    case ErrorCode::kNameTooLong: return ENAMETOOLONG;
    case ErrorCode::kTooLarge: return EFBIG;
    // rename(2) and symlinks disagree on ELOOP; operations.cc answers EINVAL for a rename below itself.
    case ErrorCode::kLoop: return ELOOP;
    case ErrorCode::kInvalid: return EINVAL;
    case ErrorCode::kNotSupported: return EOPNOTSUPP;
    case ErrorCode::kPermission: return EPERM;
    case ErrorCode::kReadOnly: return EROFS;
    case ErrorCode::kStale: return ESTALE;
    case ErrorCode::kRange: return ERANGE;
    case ErrorCode::kBusy: return EBUSY;
    case ErrorCode::kNoSpace: return ENOSPC;
    // What went wrong below a file is an I/O error to who uses it; the log and `async-persist stat` know more.
    case ErrorCode::kIo:
    case ErrorCode::kCorrupt:
    case ErrorCode::kPrecondition:
    case ErrorCode::kUnavailable:
    case ErrorCode::kDenied:
    case ErrorCode::kTimedOut:
    case ErrorCode::kMayHaveHappened:
    case ErrorCode::kCancelled:
    case ErrorCode::kInternal: return EIO;
    // Only after the retries below gave up.
    case ErrorCode::kConflict:
    case ErrorCode::kTooOld:
    case ErrorCode::kWouldWait: return EAGAIN;
  }
  return EIO;
}

}  // namespace weir::fuse
