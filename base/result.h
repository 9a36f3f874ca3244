// base/result.h -- Result<T>: a value or an Error. The success path allocates nothing.
#pragma once

#include <expected>
#include <utility>

#include "base/error.h"

namespace weir {

template <typename T = void>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(ErrorCode code) { return std::unexpected(Error(code)); }
inline std::unexpected<Error> fail(ErrorCode code, std::string context) {
  return std::unexpected(Error(code, std::move(context)));
}
inline std::unexpected<Error> fail(Error error) { return std::unexpected(std::move(error)); }

template <typename T>
bool failed_with(const Result<T>& result, ErrorCode code) {
  return !result.has_value() && result.error().code() == code;
}

}  // namespace weir

#define WEIR_CONCAT_INNER(a, b) a##b
#define WEIR_CONCAT(a, b) WEIR_CONCAT_INNER(a, b)

// TRY(expr): returns the error of a Result<...> from the enclosing function, drops its value.
#define TRY(...)                                                                        \
  do {                                                                                  \
    if (auto try_result_ = (__VA_ARGS__); !try_result_.has_value()) [[unlikely]]        \
      return std::unexpected(std::move(try_result_).error());                           \
  } while (false)

// TRY_ASSIGN(auto x, expr): x is the value, or the enclosing function returns the error.
#define TRY_ASSIGN(target, ...) TRY_ASSIGN_NAMED(WEIR_CONCAT(try_result_, __LINE__), target, __VA_ARGS__)
#define TRY_ASSIGN_NAMED(name, target, ...)                            \
  auto name = (__VA_ARGS__);                                           \
  if (!name.has_value()) [[unlikely]]                                  \
    return std::unexpected(std::move(name).error());                   \
  target = *std::move(name)
