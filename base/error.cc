#include "base/error.h"

namespace weir {

Retry retry_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kBusy:
    case ErrorCode::kNoSpace:
    case ErrorCode::kUnavailable:
    case ErrorCode::kDenied:
    case ErrorCode::kTimedOut:
    case ErrorCode::kWouldWait:
      return Retry::kCall;
    case ErrorCode::kConflict:
    case ErrorCode::kTooOld:
      return Retry::kTransaction;
    case ErrorCode::kMayHaveHappened:
      return Retry::kAfterReread;
    default:
      return Retry::kNever;
  }
}

std::string_view name_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return "NOT_FOUND";
    case ErrorCode::kExists: return "EXISTS";
    case ErrorCode::kNotDirectory: return "NOT_A_DIRECTORY";
    case ErrorCode::kIsDirectory: return "IS_A_DIRECTORY";
    case ErrorCode::kNotEmpty: return "NOT_EMPTY";
    case ErrorCode::kNoAttribute: return "NO_ATTRIBUTE";
    case ErrorCode::kCrossDevice: return "CROSS_DEVICE";
    case ErrorCode::kTooManyLinks: return "TOO_MANY_LINKS";
    case ErrorCode::kNameTooLong: return "NAME_TOO_LONG";
    case ErrorCode::kTooLarge: return "TOO_LARGE";
    case ErrorCode::kLoop: return "LOOP";
    case ErrorCode::kInvalid: return "INVALID";
    case ErrorCode::kNotSupported: return "NOT_SUPPORTED";
    case ErrorCode::kPermission: return "PERMISSION";
    case ErrorCode::kReadOnly: return "READ_ONLY";
    case ErrorCode::kStale: return "STALE";
    case ErrorCode::kRange: return "RANGE";
    case ErrorCode::kBusy: return "BUSY";
    case ErrorCode::kNoSpace: return "NO_SPACE";
    case ErrorCode::kIo: return "IO";
    case ErrorCode::kCorrupt: return "CORRUPT";
    case ErrorCode::kConflict: return "CONFLICT";
    case ErrorCode::kTooOld: return "TOO_OLD";
    case ErrorCode::kMayHaveHappened: return "MAY_HAVE_HAPPENED";
    case ErrorCode::kPrecondition: return "PRECONDITION";
    case ErrorCode::kUnavailable: return "UNAVAILABLE";
    case ErrorCode::kDenied: return "DENIED";
    case ErrorCode::kTimedOut: return "TIMED_OUT";
    case ErrorCode::kCancelled: return "CANCELLED";
    case ErrorCode::kWouldWait: return "WOULD_WAIT";
    case ErrorCode::kInternal: return "INTERNAL";
  }
  return "UNKNOWN";
}

Error::Error(ErrorCode code, std::string context)
    : code_(code), detail_(std::make_shared<Detail>(Detail{std::move(context), nullptr})) {}

const std::string& Error::context() const {
  static const std::string kNone;
  return detail_ ? detail_->context : kNone;
}

std::string Error::to_string() const {
  std::string text{name_of(code_)};
  for (const Detail* detail = detail_.get(); detail != nullptr; detail = detail->cause.get()) {
    text += ": ";
    text += detail->context;
  }
  return text;
}

Error Error::wrap(std::string context) && {
  Error outer(code_);
  outer.detail_ = std::make_shared<Detail>(Detail{std::move(context), std::move(detail_)});
  return outer;
}

}  // namespace weir
