// base/error.h -- what went wrong, on what, and what a retry means.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace weir {

// A code exists only where some caller acts on it. The table below says what a retry of the failed call means.
enum class ErrorCode : uint8_t {
  kNotFound,          // never: no such inode, key, object, property
  kExists,            // never
  kNotDirectory,      // never
  kIsDirectory,       // never
  kNotEmpty,          // never
  kNoAttribute,       // never: no such xattr
  kCrossDevice,       // never: rename or link across mount points
  kTooManyLinks,      // never
  kNameTooLong,       // never
  kTooLarge,          // never: over a documented size limit
  kLoop,              // never: a directory below itself, too many symlinks
  kInvalid,           // never: the argument or document is wrong; the message says where
  kNotSupported,      // never
  kPermission,        // never: the caller may not
  kReadOnly,          // never
  kStale,             // never: the handle's object is gone
  kRange,             // never: the caller's buffer is too small
  kBusy,              // the call, later: in use by another
  kNoSpace,           // the call, after space is freed
  kIo,                // never: a device or file system refused
  kCorrupt,           // never: bytes are not what their checksum says
  kConflict,          // the transaction: another one won
  kTooOld,            // the transaction: it ran for too long
  kMayHaveHappened,   // only after a re-read: the effect may be there
  kPrecondition,      // never: an If-Match / If-None-Match did not hold
  kUnavailable,       // the call, with back-off: refused, reset, 5xx, throttled
  kDenied,            // at long intervals: credentials or policy refuse (403, no such bucket)
  kTimedOut,          // the call: the deadline passed
  kCancelled,         // never: the owner is stopping
  kWouldWait,         // the call, on a thread that may wait: see base/no_wait.h
  kInternal,          // never: a broken invariant of ours
};

enum class Retry : uint8_t { kNever, kCall, kTransaction, kAfterReread };

Retry retry_of(ErrorCode code);
std::string_view name_of(ErrorCode code);

// Cheap to move. The context names the object, the limit and the way out; `cause` is the error below it.
class [[nodiscard]] Error {
 public:
  explicit Error(ErrorCode code) : code_(code) {}
  Error(ErrorCode code, std::string context);

  ErrorCode code() const { return code_; }
  const std::string& context() const;
  // "NOT_FOUND: what: cause", for logs and messages.
  std::string to_string() const;
  // This error as the cause of a new one with the same code.
  Error wrap(std::string context) &&;

  friend bool operator==(const Error& error, ErrorCode code) { return error.code_ == code; }

 private:
  struct Detail {
    std::string context;
    std::shared_ptr<const Detail> cause;
  };

  ErrorCode code_;
  std::shared_ptr<const Detail> detail_;
};

}  // namespace weir
