// io/attempt.h -- one system call under the fault hook.
#pragma once

#include <cerrno>

#include "io/fault.h"

namespace weir::io {

// Makes `call` (which returns a negative number and sets errno on failure) unless the hook fails it, and again after a
// signal. `call` sees the attempt, whose size the hook may have reduced.
template <typename Call>
auto make_attempt(Attempt attempt, Call call) -> decltype(call(attempt)) {
  FaultHook* const hook = fault_hook.load(std::memory_order_acquire);
  if (hook != nullptr) [[unlikely]] {
    if (const int err = hook->before(attempt); err != 0) {
      errno = err;
      return -1;
    }
  }
  decltype(call(attempt)) result;
  do {
    result = call(attempt);
  } while (result < 0 && errno == EINTR);
  if (hook != nullptr && result >= 0) [[unlikely]] {
    const int kept = errno;
    if (attempt.operation == Operation::kOpen || attempt.operation == Operation::kCreate) {
      attempt.fd = static_cast<int>(result);
    }
    hook->after(attempt);
    errno = kept;
  }
  return result;
}

}  // namespace weir::io
