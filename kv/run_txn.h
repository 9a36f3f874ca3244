// kv/run_txn.h -- the retry loop around one transaction.
#pragma once

#include <concepts>
#include <functional>
#include <type_traits>

#include "base/clock.h"
#include "kv/kv.h"

namespace weir::kv {

struct RunOptions {
  Durability durability = Durability::kWritten;
  Deadline deadline = Deadline::after(std::chrono::seconds(10));
  // Whether running the body again is harmless when an earlier attempt's outcome is unknown. kNo hands
  // kMayHaveHappened to the caller.
  enum class Repeatable : uint8_t { kNo, kYes } repeatable = Repeatable::kNo;
};

namespace run_txn_detail {
// Sleeps before attempt number `attempt` (1 = the first retry): exponential with full jitter, 1 ms to 100 ms.
// kTimedOut once the deadline has passed.
Result<void> back_off(int attempt, const RunOptions& options, const Error& last);
bool should_retry(const Error& error, const RunOptions& options);
}  // namespace run_txn_detail

// Runs `body(txn)` and commits, again with a fresh transaction while the error's retry class is "the transaction" (or
// "after a re-read", if the body is repeatable) and the deadline has not passed. `body` returns Result<T>; its error
// aborts the transaction and is treated alike. `body` may run several times: effects outside the transaction belong
// behind it. Errors: the last attempt's; kTimedOut, naming the last attempt's, when the deadline passed.
template <typename Body>
auto run_txn(Kv& kv, Body&& body, const RunOptions& options = {}) -> std::invoke_result_t<Body&, Txn&> {
  for (int attempt = 1;; ++attempt) {
    const std::unique_ptr<Txn> txn = kv.begin();
    auto result = body(*txn);
    if (result.has_value()) {
      auto committed = txn->commit(options.durability);
      if (committed.has_value()) return result;
      if (!run_txn_detail::should_retry(committed.error(), options)) return fail(std::move(committed).error());
      TRY(run_txn_detail::back_off(attempt, options, committed.error()));
    } else {
      if (!run_txn_detail::should_retry(result.error(), options)) return result;
      TRY(run_txn_detail::back_off(attempt, options, result.error()));
    }
  }
}

// Runs `body(txn)` for reading only, on one snapshot; never commits, never conflicts.
template <typename Body>
auto read_txn(Kv& kv, Body&& body) -> std::invoke_result_t<Body&, Txn&> {
  const std::unique_ptr<Txn> txn = kv.begin();
  return body(*txn);
}

}  // namespace weir::kv
