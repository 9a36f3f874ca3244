// kv/mem_kv.h -- a Kv in memory, for tests: every limit of the contract is enforced, the lifetime of a transaction too.
//
// Multi-version: each key keeps the revisions some living snapshot may still read. Nothing survives the object;
// kSynced and sync() promise nothing more than kWritten.
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "kv/conflict_set.h"
#include "kv/kv.h"

namespace weir::kv {

class MemKv final : public Kv {
 public:
  // `clock` decides when a transaction is too old; it must outlive the store.
  explicit MemKv(const Clock& clock = system_clock()) : clock_(clock) {}

  std::unique_ptr<Txn> begin() override;
  Result<void> sync() override { return {}; }
  Usage usage() const override;

 private:
  class MemTxn;
  class MemCursor;

  struct Revision {
    Version version;
    std::optional<std::string> value;  // nothing: erased
  };
  using Rows = std::map<std::string, std::vector<Revision>, std::less<>>;  // revisions oldest first

  static const std::string* visible(const std::vector<Revision>& revisions, Version at);
  Result<void> commit(const MemTxn& txn);
  void set(std::string_view key, std::optional<std::string> value, Version version);
  void collect_garbage();
  Version oldest_reader() const { return readers_.empty() ? version_ : *readers_.begin(); }

  const Clock& clock_;
  mutable std::mutex mutex_;
  Version version_ = 0;
  Rows rows_;
  std::multiset<Version> readers_;
  ConflictSet conflicts_;
  // Keys that hold a revision nobody can read once every reader is at `first` or above.
  std::deque<std::pair<Version, std::string>> garbage_;
  uint64_t bytes_ = 0;
};

}  // namespace weir::kv
