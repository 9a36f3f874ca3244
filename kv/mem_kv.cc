#include "kv/mem_kv.h"

#include "kv/buffered_txn.h"

namespace weir::kv {

class MemKv::MemCursor final : public SnapshotCursor {
 public:
  MemCursor(MemKv& kv, Version at, std::string_view begin, std::string_view end, Direction direction)
      : kv_(kv), at_(at), begin_(begin), end_(end), direction_(direction) {
    const std::lock_guard lock(kv_.mutex_);
    if (direction_ == Direction::kForward) {
      settle_forward(kv_.rows_.lower_bound(begin_));
    } else {
      settle_reverse(kv_.rows_.lower_bound(end_));
    }
  }

  bool valid() const override { return row_.has_value(); }
  std::string_view key() const override { return row_->key; }
  std::string_view value() const override { return row_->value; }

  void next() override {
    const std::lock_guard lock(kv_.mutex_);
    if (direction_ == Direction::kForward) {
      settle_forward(kv_.rows_.upper_bound(row_->key));
    } else {
      settle_reverse(kv_.rows_.lower_bound(row_->key));
    }
  }

  void skip_to(std::string_view key) override {
    const std::lock_guard lock(kv_.mutex_);
    if (direction_ == Direction::kForward) {
      settle_forward(kv_.rows_.lower_bound(key));
    } else {
      settle_reverse(kv_.rows_.lower_bound(key));
    }
  }

  Result<void> status() const override { return {}; }

 private:
  void settle_forward(Rows::const_iterator it) {
    row_.reset();
    for (; it != kv_.rows_.end() && it->first < end_; ++it) {
      if (const std::string* value = visible(it->second, at_)) {
        row_.emplace(it->first, *value);
        return;
      }
    }
  }

  // The last visible row before `it`.
  void settle_reverse(Rows::const_iterator it) {
    row_.reset();
    while (it != kv_.rows_.begin()) {
      --it;
      if (it->first < begin_) return;
      if (const std::string* value = visible(it->second, at_)) {
        row_.emplace(it->first, *value);
        return;
      }
    }
  }

  MemKv& kv_;
  const Version at_;
  const std::string begin_;
  const std::string end_;
  const Direction direction_;
  std::optional<KeyValue> row_;
};

class MemKv::MemTxn final : public BufferedTxn {
 public:
  explicit MemTxn(MemKv& kv) : kv_(kv) {}

  ~MemTxn() override {
    if (!read_version().has_value()) return;
    const std::lock_guard lock(kv_.mutex_);
    kv_.readers_.erase(kv_.readers_.find(*read_version()));
  }

 protected:
  Version open_snapshot() override {
    deadline_ = Deadline::after(kTxnLifetimeMax, kv_.clock_);
    const std::lock_guard lock(kv_.mutex_);
    kv_.readers_.insert(kv_.version_);
    return kv_.version_;
  }

  Result<std::optional<std::string>> read(std::string_view key) override {
    TRY(check_age());
    const std::lock_guard lock(kv_.mutex_);
    const auto it = kv_.rows_.find(key);
    if (it == kv_.rows_.end()) return std::nullopt;
    const std::string* value = visible(it->second, *read_version());
    if (value == nullptr) return std::nullopt;
    return *value;
  }

  std::unique_ptr<SnapshotCursor> scan(std::string_view begin, std::string_view end, Direction direction) override {
    if (check_age().has_value()) return std::make_unique<MemCursor>(kv_, *read_version(), begin, end, direction);
    return std::make_unique<TooOldCursor>();
  }

  Result<void> apply(Durability) override {
    TRY(check_age());
    return kv_.commit(*this);
  }

  Result<void> sync_reads() override { return {}; }

 private:
  class TooOldCursor final : public SnapshotCursor {
   public:
    bool valid() const override { return false; }
    std::string_view key() const override { return {}; }
    std::string_view value() const override { return {}; }
    void next() override {}
    void skip_to(std::string_view) override {}
    Result<void> status() const override { return fail(ErrorCode::kTooOld); }
  };

  Result<void> check_age() const {
    if (deadline_.expired(kv_.clock_)) return fail(ErrorCode::kTooOld, "a transaction lives for at most 5 s");
    return {};
  }

  MemKv& kv_;
  Deadline deadline_ = Deadline::never();
};

std::unique_ptr<Txn> MemKv::begin() { return std::make_unique<MemTxn>(*this); }

Kv::Usage MemKv::usage() const {
  const std::lock_guard lock(mutex_);
  return {.disk_bytes = 0, .memory_bytes = bytes_};
}

const std::string* MemKv::visible(const std::vector<Revision>& revisions, Version at) {
  for (auto it = revisions.rbegin(); it != revisions.rend(); ++it) {
    if (it->version <= at) return it->value.has_value() ? &*it->value : nullptr;
  }
  return nullptr;
}

Result<void> MemKv::commit(const MemTxn& txn) {
  const std::lock_guard lock(mutex_);
  TRY(txn.check(conflicts_));

  // Everything that can fail comes before the first change.
  std::vector<std::pair<std::string_view, std::optional<std::string>>> sets;
  for (const auto& [key, write] : txn.writes().points()) {
    std::optional<std::string> below;
    if (write.needs_snapshot()) {
      const auto it = rows_.find(key);
      if (it != rows_.end()) below = it->second.back().value;
    }
    TRY_ASSIGN(auto value, write.resolve(below));
    sets.emplace_back(key, std::move(value));
  }

  const Version version = ++version_;
  for (const auto& [begin, end] : txn.writes().erased()) {
    const auto last = rows_.lower_bound(end);
    for (auto it = rows_.lower_bound(begin); it != last; ++it) set(it->first, std::nullopt, version);
  }
  for (auto& [key, value] : sets) set(key, std::move(value), version);
  txn.record(conflicts_, version);

  collect_garbage();
  if (conflicts_.wants_pruning()) conflicts_.prune(oldest_reader());
  return {};
}

void MemKv::set(std::string_view key, std::optional<std::string> value, Version version) {
  auto it = rows_.lower_bound(key);
  if (it == rows_.end() || it->first != key) {
    if (!value.has_value()) return;
    it = rows_.emplace_hint(it, key, std::vector<Revision>());
  }
  std::vector<Revision>& revisions = it->second;
  bytes_ += key.size() + (value.has_value() ? value->size() : 0);
  if (!revisions.empty() || !value.has_value()) garbage_.emplace_back(version, key);
  revisions.push_back({version, std::move(value)});
}

void MemKv::collect_garbage() {
  const Version oldest = oldest_reader();
  while (!garbage_.empty() && garbage_.front().first <= oldest) {
    const auto it = rows_.find(garbage_.front().second);
    if (it != rows_.end()) {
      std::vector<Revision>& revisions = it->second;
      // What `oldest` sees stays, unless it sees that the key is erased.
      size_t dead = 0;
      while (dead + 1 < revisions.size() && revisions[dead + 1].version <= oldest) ++dead;
      if (revisions[dead].version <= oldest && !revisions[dead].value.has_value()) ++dead;
      for (size_t i = 0; i < dead; ++i) {
        bytes_ -= it->first.size() + (revisions[i].value.has_value() ? revisions[i].value->size() : 0);
      }
      revisions.erase(revisions.begin(), revisions.begin() + static_cast<ptrdiff_t>(dead));
      if (revisions.empty()) rows_.erase(it);
    }
    garbage_.pop_front();
  }
}

}  // namespace weir::kv
