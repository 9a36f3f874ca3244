// meta/operation.h -- the frame of one namespace operation: a transaction with the tables, run until it commits.
#pragma once

#include <type_traits>

#include "base/clock.h"
#include "kv/run_txn.h"
#include "meta/tables.h"

namespace weir::meta {

// Runs `body(tables)` as one transaction that changes something.
template <typename Body>
auto run_operation(kv::Kv& kv, const Clock& clock, Body&& body, kv::Durability durability = kv::Durability::kWritten)
    -> std::invoke_result_t<Body&, Tables&> {
  return kv::run_txn(
      kv,
      [&](kv::Txn& txn) {
        Tables tables(txn, unix_ns(clock.wall_now()));
        return body(tables);
      },
      {.durability = durability});
}

// Runs `body(tables)` on one snapshot.
template <typename Body>
auto read_operation(kv::Kv& kv, const Clock& clock, Body&& body) -> std::invoke_result_t<Body&, Tables&> {
  return kv::read_txn(kv, [&](kv::Txn& txn) {
    Tables tables(txn, unix_ns(clock.wall_now()));
    return body(tables);
  });
}

}  // namespace weir::meta
