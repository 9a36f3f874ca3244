#include "testing/fault_kv.h"

#include <utility>

namespace weir::testing {

class FaultKv::FaultTxn final : public kv::Txn {
 public:
  FaultTxn(FaultKv& kv, std::unique_ptr<kv::Txn> base) : kv_(kv), base_(std::move(base)) {}

  Result<std::optional<std::string>> get(std::string_view key, kv::Isolation isolation) override {
    return base_->get(key, isolation);
  }
  Result<kv::RangePage> get_range(std::string_view begin, std::string_view end, kv::RangeOptions options) override {
    return base_->get_range(begin, end, options);
  }
  void put(std::string_view key, std::string_view value) override {
    writes_ = true;
    base_->put(key, value);
  }
  void erase(std::string_view key) override {
    writes_ = true;
    base_->erase(key);
  }
  void erase_range(std::string_view begin, std::string_view end) override {
    writes_ = true;
    base_->erase_range(begin, end);
  }
  void add(std::string_view key, int64_t delta) override {
    writes_ = true;
    base_->add(key, delta);
  }
  void max(std::string_view key, int64_t value) override {
    writes_ = true;
    base_->max(key, value);
  }
  void add_read_conflict(std::string_view begin, std::string_view end) override {
    base_->add_read_conflict(begin, end);
  }
  void add_write_conflict(std::string_view begin, std::string_view end) override {
    writes_ = true;
    base_->add_write_conflict(begin, end);
  }

  Result<void> commit(kv::Durability durability) override {
    if (!writes_) return base_->commit(durability);
    switch (kv_.next()) {
      case Fault::kNone:
        break;
      case Fault::kConflict:
        return fail(ErrorCode::kConflict, "injected");
      case Fault::kTooOld:
        return fail(ErrorCode::kTooOld, "injected");
      case Fault::kIo:
        return fail(ErrorCode::kIo, "injected");
      case Fault::kLostRequest:
        return fail(ErrorCode::kMayHaveHappened, "injected: request lost");
      case Fault::kLostReply: {
        auto committed = base_->commit(durability);
        if (!committed.has_value()) return committed;
        return fail(ErrorCode::kMayHaveHappened, "injected: reply lost");
      }
    }
    return base_->commit(durability);
  }

 private:
  FaultKv& kv_;
  const std::unique_ptr<kv::Txn> base_;
  bool writes_ = false;
};

void FaultKv::script(std::vector<Fault> faults) {
  const std::lock_guard lock(mutex_);
  script_.assign(faults.begin(), faults.end());
}

void FaultKv::set_rates(Rates rates) {
  const std::lock_guard lock(mutex_);
  rates_ = rates;
}

uint64_t FaultKv::injected() const {
  const std::lock_guard lock(mutex_);
  return injected_;
}

std::unique_ptr<kv::Txn> FaultKv::begin() { return std::make_unique<FaultTxn>(*this, base_.begin()); }

FaultKv::Fault FaultKv::next() {
  const std::lock_guard lock(mutex_);
  Fault fault = Fault::kNone;
  if (!script_.empty()) {
    fault = script_.front();
    script_.pop_front();
  } else {
    uint64_t draw = random_.below(1000);
    for (const auto& [rate, kind] : {std::pair{rates_.conflict, Fault::kConflict}, {rates_.too_old, Fault::kTooOld},
                                     {rates_.io, Fault::kIo}, {rates_.lost_request, Fault::kLostRequest},
                                     {rates_.lost_reply, Fault::kLostReply}}) {
      if (draw < rate) {
        fault = kind;
        break;
      }
      draw -= rate;
    }
  }
  if (fault != Fault::kNone) ++injected_;
  return fault;
}

}  // namespace weir::testing
