#include "kv/run_txn.h"

#include <algorithm>
#include <string>
#include <thread>

#include "base/random.h"

namespace weir::kv::run_txn_detail {
namespace {

constexpr Duration kDelayMin = std::chrono::milliseconds(1);
constexpr Duration kDelayMax = std::chrono::milliseconds(100);

}  // namespace

Result<void> back_off(int attempt, const RunOptions& options, const Error& last) {
  thread_local Random random = Random::from_entropy();
  const Duration left = options.deadline.left();
  if (left == Duration::zero()) {
    return fail(ErrorCode::kTimedOut, "transaction gave up at its deadline after " + std::to_string(attempt) +
                                          " attempts: " + last.to_string());
  }
  const Duration ceiling = std::min(kDelayMax, kDelayMin * (1 << std::min(attempt - 1, 10)));
  const Duration delay(random.below(static_cast<uint64_t>(ceiling.count())));
  std::this_thread::sleep_for(std::min(delay, left));
  return {};
}

bool should_retry(const Error& error, const RunOptions& options) {
  switch (retry_of(error.code())) {
    case Retry::kTransaction:
      return true;
    case Retry::kAfterReread:
      return options.repeatable == RunOptions::Repeatable::kYes;
    case Retry::kCall:
    case Retry::kNever:
      return false;
  }
  return false;
}

}  // namespace weir::kv::run_txn_detail
