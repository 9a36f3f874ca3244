// cli/outcome.h -- what a command comes to.
#pragma once

#include <expected>
#include <string>

#include "base/result.h"

namespace weir::cli {

enum class ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2, kUnreachable = 3, kIncomplete = 4 };

struct Failure {
  ExitCode code = ExitCode::kFailed;
  std::string message;
};

template <typename T = void>
using Outcome = std::expected<T, Failure>;

inline std::unexpected<Failure> failed(std::string message) {
  return std::unexpected(Failure{ExitCode::kFailed, std::move(message)});
}
inline std::unexpected<Failure> failed(const Error& error) {
  return failed(error.to_string());
}

}  // namespace weir::cli
