// testing/fault_kv.h -- a Kv that fails as a real one may: commits that conflict, that fail, or whose reply is lost.
//
// Faults come from a script, commit by commit, and after its end from a seeded generator. Only commits that write take
// one; reads and read-only transactions pass through.
// Threads: all methods may be called concurrently; with several threads the order of commits decides who is hit.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/random.h"
#include "kv/kv.h"

namespace weir::testing {

class FaultKv final : public kv::Kv {
 public:
  enum class Fault : uint8_t {
    kNone,
    kConflict,     // nothing happens
    kTooOld,       // nothing happens
    kIo,           // nothing happens
    kLostRequest,  // kMayHaveHappened; it did not
    kLostReply,    // kMayHaveHappened; it did
  };

  // Of a thousand commits.
  struct Rates {
    uint32_t conflict = 0;
    uint32_t too_old = 0;
    uint32_t io = 0;
    uint32_t lost_request = 0;
    uint32_t lost_reply = 0;
  };

  // `base` must outlive this.
  explicit FaultKv(kv::Kv& base) : FaultKv(base, 0, Rates{}) {}
  FaultKv(kv::Kv& base, uint64_t seed, Rates rates) : base_(base), random_(seed), rates_(rates) {}

  // The next commits take these, in order, before the rates apply again.
  void script(std::vector<Fault> faults);
  void set_rates(Rates rates);
  // Commits that took a fault so far.
  uint64_t injected() const;

  std::unique_ptr<kv::Txn> begin() override;
  Result<void> sync() override { return base_.sync(); }
  Usage usage() const override { return base_.usage(); }

 private:
  class FaultTxn;
  Fault next();

  kv::Kv& base_;
  mutable std::mutex mutex_;
  Random random_;
  Rates rates_;
  std::deque<Fault> script_;
  uint64_t injected_ = 0;
};

}  // namespace weir::testing
