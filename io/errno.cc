#include "io/errno.h"

#include <unistd.h>

#include <cerrno>
#include <climits>
#include <string>
#include <system_error>

namespace weir::io {
namespace {

std::string path_of(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  char target[PATH_MAX];
  const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
  return size < 0 ? "descriptor " + std::to_string(fd) : std::string(target, static_cast<size_t>(size));
}

}  // namespace

ErrorCode code_of_errno(int err) {
  switch (err) {
    case ENOENT: return ErrorCode::kNotFound;
    case EEXIST: return ErrorCode::kExists;
    case ENOTDIR: return ErrorCode::kNotDirectory;
    case EISDIR: return ErrorCode::kIsDirectory;
    case ENOTEMPTY: return ErrorCode::kNotEmpty;
    case ENODATA: return ErrorCode::kNoAttribute;
    case EXDEV: return ErrorCode::kCrossDevice;
    case EMLINK: return ErrorCode::kTooManyLinks;
    case ENAMETOOLONG: return ErrorCode::kNameTooLong;
    case EFBIG:
    case E2BIG: return ErrorCode::kTooLarge;
    case ELOOP: return ErrorCode::kLoop;
    case EINVAL: return ErrorCode::kInvalid;
    case EOPNOTSUPP:
    case ENOSYS:
    case ENOTTY: return ErrorCode::kNotSupported;
    case EACCES:
    case EPERM: return ErrorCode::kPermission;
    case EROFS: return ErrorCode::kReadOnly;
    case ESTALE: return ErrorCode::kStale;
    case ERANGE: return ErrorCode::kRange;
    case EBUSY:
    case ETXTBSY:
    case EAGAIN: return ErrorCode::kBusy;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kNoSpace;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ECONNRESET:
    case EPIPE: return ErrorCode::kUnavailable;
    case EBADMSG: return ErrorCode::kCorrupt;
    case EBADF:
    case EFAULT: return ErrorCode::kInternal;
    default: return ErrorCode::kIo;
  }
}

Error from_errno(int err, std::string_view operation, std::string_view path) {
  std::string context{operation};
  context += ' ';
  context += path;
  context += ": ";
  context += std::generic_category().message(err);
  return Error(code_of_errno(err), std::move(context));
}

Error from_errno(int err, std::string_view operation, int fd) { return from_errno(err, operation, path_of(fd)); }

}  // namespace weir::io
