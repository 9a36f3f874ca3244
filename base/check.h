// base/check.h -- CHECK stays on in release builds. For our own invariants only: bytes from disk, KV, network, kernel
// or user never reach a CHECK, they give an Error.
#pragma once

#include <string_view>

namespace weir {

[[noreturn]] void check_failed(std::string_view condition, const char* file, int line);

}  // namespace weir

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) [[unlikely]]                                   \
      ::weir::check_failed(#condition, __FILE__, __LINE__);          \
  } while (false)
