// What every Kv must do, run on every backend and on the fault decorator without faults.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "kv/kv.h"
#include "kv/mem_kv.h"
#include "kv/rocks_kv.h"
#include "kv/run_txn.h"
#include "testing/fault_kv.h"

namespace weir::kv {
namespace {

using Value = std::optional<std::string>;

// A store and what keeps it alive.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual Kv& kv() = 0;
};

class MemBackend final : public Backend {
 public:
  Kv& kv() override { return kv_; }

 private:
  MemKv kv_;
};

class TempDir {
 public:
  TempDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-kv-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_; }

 private:
  std::string path_;
};

std::unique_ptr<RocksKv> open_rocks(const std::string& dir) {
  auto kv = RocksKv::open({.dir = dir});
  EXPECT_TRUE(kv.has_value()) << kv.error().to_string();
  return *std::move(kv);
}

class RocksBackend final : public Backend {
 public:
  Kv& kv() override { return *kv_; }

 private:
  TempDir dir_;
  std::unique_ptr<RocksKv> kv_ = open_rocks(dir_.path());
};

class FaultBackend final : public Backend {
 public:
  Kv& kv() override { return kv_; }

 private:
  MemKv base_;
  testing::FaultKv kv_{base_};
};

struct BackendKind {
  const char* name;
  std::unique_ptr<Backend> (*make)();
};

class KvContract : public ::testing::TestWithParam<BackendKind> {
 protected:
  Kv& kv() { return backend_->kv(); }

  // Committed at once.
  void put(std::string_view key, std::string_view value) {
    const auto txn = kv().begin();
    txn->put(key, value);
    ASSERT_TRUE(txn->commit().has_value());
  }
  void erase(std::string_view key) {
    const auto txn = kv().begin();
    txn->erase(key);
    ASSERT_TRUE(txn->commit().has_value());
  }
  Value get(std::string_view key) { return kv().begin()->get(key).value(); }
  std::string keys(std::string_view begin = "", std::string_view end = "\xff") {
    return keys_of(*kv().begin(), begin, end);
  }

  static std::string keys_of(Txn& txn, std::string_view begin, std::string_view end, RangeOptions options = {}) {
    const auto page = txn.get_range(begin, end, options);
    if (!page.has_value()) return page.error().to_string();
    std::string keys;
    for (const KeyValue& row : page->rows) keys += (keys.empty() ? "" : " ") + row.key;
    if (page->more) keys += " ...";
    return keys;
  }

 private:
  std::unique_ptr<Backend> backend_ = GetParam().make();
};

INSTANTIATE_TEST_SUITE_P(
    , KvContract,
    ::testing::Values(
        BackendKind{"MemKv", []() -> std::unique_ptr<Backend> { return std::make_unique<MemBackend>(); }},
        BackendKind{"RocksKv", []() -> std::unique_ptr<Backend> { return std::make_unique<RocksBackend>(); }},
        BackendKind{"FaultKv", []() -> std::unique_ptr<Backend> { return std::make_unique<FaultBackend>(); }}),
    [](const auto& info) { return std::string(info.param.name); });

constexpr RangeOptions kReverse{.direction = Direction::kReverse};
constexpr RangeOptions limited(size_t rows, Direction direction = Direction::kForward) {
  return {.rows_max = rows, .direction = direction};
}

// ---- single keys and ranges ----

TEST_P(KvContract, a_committed_put_is_read_and_an_erased_key_is_absent) {
  EXPECT_EQ(get("a"), std::nullopt);
  put("a", "1");
  EXPECT_EQ(get("a"), "1");
  put("a", "");
  EXPECT_EQ(get("a"), "");
  erase("a");
  EXPECT_EQ(get("a"), std::nullopt);
}

TEST_P(KvContract, keys_and_values_hold_any_byte_and_compare_unsigned) {
  const std::string high("\xff\x80", 2), zero("\0", 1), low("a\0b", 3);
  put(high, zero);
  put(zero, high);
  put(low, low);
  EXPECT_EQ(get(zero), high);
  const auto page = kv().begin()->get_range("", std::string(3, '\xff'));
  ASSERT_EQ(page->rows.size(), 3u);
  EXPECT_EQ(page->rows[0].key, zero);
  EXPECT_EQ(page->rows[1], (KeyValue{low, low}));
  EXPECT_EQ(page->rows[2].key, high);
}

TEST_P(KvContract, an_uncommitted_write_is_invisible_and_lost_with_its_transaction) {
  {
    const auto txn = kv().begin();
    txn->put("a", "1");
    EXPECT_EQ(get("a"), std::nullopt);
  }
  EXPECT_EQ(get("a"), std::nullopt);
}

TEST_P(KvContract, a_range_is_half_open_and_in_the_direction_asked_for) {
  for (const char* key : {"a", "b", "c", "d"}) put(key, key);
  EXPECT_EQ(keys("b", "d"), "b c");
  EXPECT_EQ(keys_of(*kv().begin(), "b", "d", kReverse), "c b");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", kReverse), "d c b a");
  EXPECT_EQ(keys("bb", "bc"), "");
  EXPECT_EQ(keys("d", "b"), "");
  EXPECT_EQ(keys("b", "b"), "");
}

TEST_P(KvContract, a_row_limit_stops_and_says_whether_rows_are_left) {
  for (const char* key : {"a", "b", "c"}) put(key, key);
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", limited(2)), "a b ...");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", limited(3)), "a b c");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", limited(2, Direction::kReverse)), "c b ...");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", limited(3, Direction::kReverse)), "c b a");
}

TEST_P(KvContract, a_byte_limit_stops_after_the_row_that_reaches_it) {
  for (const char* key : {"a", "b", "c"}) put(key, std::string(99, 'x'));
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", {.bytes_max = 101}), "a b ...");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", {.bytes_max = 100}), "a ...");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", {.bytes_max = 1}), "a ...");
  EXPECT_EQ(keys_of(*kv().begin(), "a", "z", {.bytes_max = 300}), "a b c");
}

TEST_P(KvContract, erase_range_erases_what_is_in_it_and_nothing_else) {
  for (const char* key : {"a", "b", "b1", "b2", "c"}) put(key, key);
  const auto txn = kv().begin();
  txn->erase_range("b", "c");
  ASSERT_TRUE(txn->commit().has_value());
  EXPECT_EQ(keys(), "a c");
}

TEST_P(KvContract, erase_range_of_many_rows_leaves_none_and_the_range_is_writable_again) {
  {
    const auto txn = kv().begin();
    for (int i = 0; i < 3000; ++i) txn->put("k" + std::to_string(i), "v");
    txn->put("l", "v");
    ASSERT_TRUE(txn->commit().has_value());
  }
  const auto txn = kv().begin();
  txn->erase_range("k", "l");
  txn->put("k7", "again");
  ASSERT_TRUE(txn->commit().has_value());
  EXPECT_EQ(keys(), "k7 l");
  EXPECT_EQ(get("k7"), "again");
  put("k8", "v");
  EXPECT_EQ(keys(), "k7 k8 l");
}

// Rows come anywhere, also before what the consumer has emptied.
TEST_P(KvContract, a_consumer_at_the_front_of_a_range_misses_no_row_that_others_put) {
  constexpr int kProducers = 3, kRows = 400;
  std::atomic<int> done{0};
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      Random random(static_cast<uint64_t>(p) + 1);
      for (int i = 0; i < kRows; ++i)
        put("q" + std::to_string(random.below(1'000)) + "-" + std::to_string(p) + "-" + std::to_string(i), "");
      ++done;
    });
  }
  size_t consumed = 0;
  for (bool last = false; !last;) {
    const bool all_put = done.load() == kProducers;
    const auto page = kv().begin()->get_range("q", "r", limited(16));
    ASSERT_TRUE(page.has_value());
    const auto txn = kv().begin();
    for (const KeyValue& row : page->rows) txn->erase(row.key);
    ASSERT_TRUE(txn->commit().has_value());
    consumed += page->rows.size();
    last = all_put && page->rows.empty();
  }
  for (auto& producer : producers) producer.join();
  EXPECT_EQ(consumed, size_t{kProducers} * kRows);
}

TEST_P(KvContract, reads_see_one_snapshot_taken_at_the_first_read) {
  put("a", "1");
  put("b", "1");
  const auto txn = kv().begin();
  put("a", "2");  // before the first read: seen
  EXPECT_EQ(txn->get("a").value(), "2");
  put("b", "2");
  erase("a");
  put("c", "2");
  EXPECT_EQ(txn->get("b").value(), "1");
  EXPECT_EQ(txn->get("a").value(), "2");
  EXPECT_EQ(keys_of(*txn, "", "z"), "a b");
  EXPECT_TRUE(txn->commit().has_value());
}

// ---- reading one's own writes ----

TEST_P(KvContract, a_transaction_reads_its_own_writes) {
  put("a", "1");
  put("b", "1");
  const auto txn = kv().begin();
  txn->put("a", "2");
  txn->erase("b");
  txn->put("c", "3");
  EXPECT_EQ(txn->get("a").value(), "2");
  EXPECT_EQ(txn->get("b").value(), std::nullopt);
  EXPECT_EQ(txn->get("c").value(), "3");
  txn->erase("a");
  txn->put("b", "4");
  EXPECT_EQ(txn->get("a").value(), std::nullopt);
  EXPECT_EQ(txn->get("b").value(), "4");
  ASSERT_TRUE(txn->commit().has_value());
  EXPECT_EQ(keys(), "b c");
}

TEST_P(KvContract, a_range_shows_own_writes_in_both_directions) {
  for (const char* key : {"b", "d", "f", "h"}) put(key, "old");
  const auto txn = kv().begin();
  txn->put("a", "new");
  txn->put("d", "new");
  txn->put("e", "new");
  txn->erase("f");
  txn->put("i", "new");
  EXPECT_EQ(keys_of(*txn, "a", "z"), "a b d e h i");
  EXPECT_EQ(keys_of(*txn, "a", "z", kReverse), "i h e d b a");
  EXPECT_EQ(keys_of(*txn, "a", "z", limited(3)), "a b d ...");
  EXPECT_EQ(keys_of(*txn, "e", "i", limited(2)), "e h");
  EXPECT_EQ(keys_of(*txn, "b", "f", limited(2, Direction::kReverse)), "e d ...");
  EXPECT_EQ(txn->get_range("d", "e")->rows[0].value, "new");
}

TEST_P(KvContract, an_own_erased_range_hides_rows_in_both_directions_until_written_again) {
  for (const char* key : {"a", "b", "c", "d", "e", "f"}) put(key, "old");
  const auto txn = kv().begin();
  txn->put("bb", "gone too");
  txn->erase_range("b", "e");
  EXPECT_EQ(keys_of(*txn, "", "z"), "a e f");
  EXPECT_EQ(keys_of(*txn, "", "z", kReverse), "f e a");
  EXPECT_EQ(keys_of(*txn, "c", "d"), "");
  EXPECT_EQ(txn->get("b").value(), std::nullopt);
  EXPECT_EQ(txn->get("e").value(), "old");
  txn->put("c", "new");
  EXPECT_EQ(keys_of(*txn, "", "z"), "a c e f");
  EXPECT_EQ(keys_of(*txn, "", "z", kReverse), "f e c a");
  EXPECT_EQ(keys_of(*txn, "b", "d", kReverse), "c");
  txn->erase_range("a", "c");
  txn->erase_range("e", "z");
  EXPECT_EQ(keys_of(*txn, "", "z"), "c");
  ASSERT_TRUE(txn->commit().has_value());
  EXPECT_EQ(keys(), "c");
}

TEST_P(KvContract, own_atomic_operations_are_seen_on_top_of_snapshot_put_and_erased_key) {
  put("snapshot", encode_counter(10));
  put("erased", encode_counter(10));
  put("in-range", encode_counter(10));
  const auto txn = kv().begin();
  txn->add("snapshot", 5);
  txn->add("absent", 5);
  txn->put("put", encode_counter(20));
  txn->add("put", 5);
  txn->max("put", 7);
  txn->erase("erased");
  txn->add("erased", 5);
  txn->erase_range("in", "io");
  txn->add("in-range", 5);
  txn->add("mixed", -5);
  txn->max("mixed", 3);
  txn->add("mixed", 4);
  const std::map<std::string, int64_t> expected{{"absent", 5},  {"erased", 5}, {"in-range", 5},
                                                {"mixed", 7},   {"put", 25},   {"snapshot", 15}};
  for (const auto& [key, value] : expected) EXPECT_EQ(txn->get(key).value(), encode_counter(value)) << key;
  for (const auto direction : {Direction::kForward, Direction::kReverse}) {
    const auto page = txn->get_range("", "z", {.direction = direction});
    ASSERT_EQ(page->rows.size(), expected.size());
    for (const KeyValue& row : page->rows) EXPECT_EQ(row.value, encode_counter(expected.at(row.key))) << row.key;
  }
  ASSERT_TRUE(txn->commit().has_value());
  for (const auto& [key, value] : expected) EXPECT_EQ(get(key), encode_counter(value)) << key;
}

TEST_P(KvContract, a_put_after_an_atomic_operation_replaces_it) {
  const auto txn = kv().begin();
  txn->add("a", 5);
  txn->put("a", "text");
  txn->add("b", 5);
  txn->erase("b");
  ASSERT_TRUE(txn->commit().has_value());
  EXPECT_EQ(get("a"), "text");
  EXPECT_EQ(get("b"), std::nullopt);
}

// ---- atomic operations ----

TEST_P(KvContract, max_keeps_the_greater_and_compares_signed) {
  for (const int64_t value : {-3, 5, 2}) {
    const auto txn = kv().begin();
    txn->max("a", value);
    ASSERT_TRUE(txn->commit().has_value());
  }
  EXPECT_EQ(get("a"), encode_counter(5));
}

TEST_P(KvContract, an_atomic_operation_on_another_kind_of_value_is_corrupt_and_changes_nothing) {
  put("a", "text");
  {
    const auto txn = kv().begin();
    txn->put("b", "1");
    txn->add("a", 1);
    EXPECT_TRUE(failed_with(txn->get("a"), ErrorCode::kCorrupt));
    EXPECT_TRUE(failed_with(txn->get_range("a", "z"), ErrorCode::kCorrupt));
  }
  const auto txn = kv().begin();
  txn->put("b", "1");
  txn->add("a", 1);
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kCorrupt));
  EXPECT_EQ(get("a"), "text");
  EXPECT_EQ(get("b"), std::nullopt);
}

TEST_P(KvContract, adders_of_one_key_never_conflict_and_lose_nothing) {
  constexpr int kThreads = 4, kRounds = 500;
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const auto txn = kv().begin();
        txn->add("sum", 1);
        txn->max("max", t * kRounds + i);
        if (!txn->commit().has_value()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(get("sum"), encode_counter(kThreads * kRounds));
  EXPECT_EQ(get("max"), encode_counter(kThreads * kRounds - 1));
}

TEST_P(KvContract, readers_see_a_counter_as_the_last_commit_left_it_whatever_the_commits_were) {
  constexpr int kThreads = 3, kRounds = 150;
  std::atomic<int> failures = 0;
  std::atomic<bool> done = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const std::string own = "n" + std::to_string(t);
      for (int i = 0; i < kRounds; ++i) {
        const auto txn = kv().begin();
        // Commits of several threads share batches: each has a counter of its own and one that all add to.
        int64_t expected = 2 * i + 1;
        switch (i % 4) {
          case 0: txn->put(own, encode_counter(2 * i)); break;
          case 1:
            txn->erase(own);
            txn->add(own, 2 * i);
            break;
          case 2:
            txn->erase_range(own, key_after(own));
            txn->max(own, 2 * i);
            break;
          default: expected = 2 * (i - 1) + 2; break;
        }
        txn->add(own, 1);
        txn->add("sum", 1);
        if (!txn->commit().has_value() || get(own) != encode_counter(expected)) ++failures;
      }
    });
  }
  threads.emplace_back([&] {
    int64_t last = 0;
    while (!done) {
      const auto sum = get("sum");
      const int64_t now = sum ? decode_counter(*sum).value() : 0;
      if (now < last) ++failures;
      last = now;
    }
  });
  for (int t = 0; t < kThreads; ++t) threads[static_cast<size_t>(t)].join();
  done = true;
  threads.back().join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(get("sum"), encode_counter(kThreads * kRounds));
}

TEST_P(KvContract, adders_agree_with_concurrent_puts_and_erasures_of_the_counter) {
  constexpr int kThreads = 4, kRounds = 200;
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const auto txn = kv().begin();
        switch ((i + t) % 4) {
          case 0: txn->put("n", encode_counter(0)); break;
          case 1: txn->erase("n"); break;
          case 2: txn->erase_range("m", "o"); break;
          default: break;
        }
        txn->add("n", 1);
        if (!txn->commit().has_value()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  const int64_t n = decode_counter(get("n").value()).value();
  EXPECT_GE(n, 1);
  EXPECT_LE(n, kThreads * kRounds);
  // The store's idea of the latest state is the committed one.
  const auto txn = kv().begin();
  txn->add("n", 1);
  ASSERT_TRUE(txn->commit().has_value());
  EXPECT_EQ(get("n"), encode_counter(n + 1));
}

// ---- conflicts ----

TEST_P(KvContract, a_read_key_that_changed_conflicts_and_the_loser_leaves_nothing) {
  put("a", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("a").value(), "1");
  txn->put("b", "x");
  txn->add("n", 1);
  put("a", "2");
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
  EXPECT_EQ(get("b"), std::nullopt);
  EXPECT_EQ(get("n"), std::nullopt);
  EXPECT_EQ(get("a"), "2");
}

TEST_P(KvContract, a_read_of_an_absent_key_conflicts_with_its_creation) {
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("a").value(), std::nullopt);
  txn->put("b", "x");
  put("a", "1");
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, a_lost_update_conflicts) {
  put("a", encode_counter(1));
  const auto first = kv().begin(), second = kv().begin();
  for (Txn* txn : {first.get(), second.get()}) {
    const int64_t n = decode_counter(txn->get("a").value().value()).value();
    txn->put("a", encode_counter(n + 1));
  }
  EXPECT_TRUE(first->commit().has_value());
  EXPECT_TRUE(failed_with(second->commit(), ErrorCode::kConflict));
  EXPECT_EQ(get("a"), encode_counter(2));
}

TEST_P(KvContract, write_skew_conflicts) {
  put("a", "on");
  put("b", "on");
  const auto first = kv().begin(), second = kv().begin();
  for (Txn* txn : {first.get(), second.get()}) {
    EXPECT_EQ(txn->get("a").value(), "on");
    EXPECT_EQ(txn->get("b").value(), "on");
  }
  first->put("a", "off");
  second->put("b", "off");
  EXPECT_TRUE(first->commit().has_value());
  EXPECT_TRUE(failed_with(second->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, a_phantom_in_a_gap_conflicts) {
  put("a", "1");
  put("c", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(keys_of(*txn, "a", "d"), "a c");
  txn->put("x", "x");
  put("b", "1");
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, a_row_erased_or_a_range_erased_in_a_range_read_conflicts) {
  for (const bool whole : {false, true}) {
    put("b", "1");
    const auto txn = kv().begin();
    EXPECT_EQ(keys_of(*txn, "a", "d"), "b");
    txn->put("x", "x");
    const auto other = kv().begin();
    whole ? other->erase_range("aa", "bb") : other->erase("b");
    ASSERT_TRUE(other->commit().has_value());
    EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
  }
}

TEST_P(KvContract, an_erased_range_conflicts_with_a_read_of_a_key_in_it_even_if_absent) {
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("b").value(), std::nullopt);
  txn->put("x", "x");
  const auto other = kv().begin();
  other->erase_range("a", "c");
  ASSERT_TRUE(other->commit().has_value());
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, writes_beside_a_range_read_do_not_conflict) {
  put("b", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(keys_of(*txn, "b", "d"), "b");
  txn->put("x", "x");
  put("a", "1");
  put("d", "1");
  const auto other = kv().begin();
  other->erase_range("d", "e");
  ASSERT_TRUE(other->commit().has_value());
  EXPECT_TRUE(txn->commit().has_value());
}

TEST_P(KvContract, a_limited_range_read_conflicts_only_up_to_its_last_row) {
  for (const char* key : {"a", "b", "c", "d"}) put(key, "1");
  struct Case {
    Direction direction;
    const char* written;
    bool conflicts;
  };
  for (const Case& c : {Case{Direction::kForward, "aa", true}, Case{Direction::kForward, "b", true},
                        Case{Direction::kForward, "bb", false}, Case{Direction::kReverse, "cc", true},
                        Case{Direction::kReverse, "c", true}, Case{Direction::kReverse, "bb", false}}) {
    const auto txn = kv().begin();
    EXPECT_EQ(txn->get_range("a", "z", limited(2, c.direction))->rows.size(), 2u);
    txn->put("zz", "x");
    put(c.written, "2");
    EXPECT_EQ(failed_with(txn->commit(), ErrorCode::kConflict), c.conflicts) << c.written;
    for (const char* key : {"aa", "bb", "cc"}) erase(key);
  }
}

TEST_P(KvContract, snapshot_reads_do_not_conflict) {
  put("a", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("a", Isolation::kSnapshot).value(), "1");
  EXPECT_EQ(keys_of(*txn, "a", "c", {.isolation = Isolation::kSnapshot}), "a");
  txn->put("x", "x");
  put("a", "2");
  put("b", "2");
  EXPECT_EQ(txn->get("a", Isolation::kSnapshot).value(), "1");
  EXPECT_TRUE(txn->commit().has_value());
}

TEST_P(KvContract, blind_writes_do_not_conflict) {
  const auto first = kv().begin(), second = kv().begin();
  EXPECT_EQ(first->get("z").value(), std::nullopt);
  first->put("a", "1");
  second->put("a", "2");
  EXPECT_TRUE(second->commit().has_value());
  EXPECT_TRUE(first->commit().has_value());
  EXPECT_EQ(get("a"), "1");
}

TEST_P(KvContract, reading_only_what_one_wrote_oneself_does_not_conflict) {
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("z").value(), std::nullopt);  // fixes the snapshot
  txn->put("a", "1");
  EXPECT_EQ(txn->get("a").value(), "1");
  put("a", "2");
  EXPECT_TRUE(txn->commit().has_value());
}

TEST_P(KvContract, an_atomic_operation_conflicts_with_readers_of_its_key) {
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("n").value(), std::nullopt);
  txn->put("x", "x");
  const auto adder = kv().begin();
  adder->add("n", 1);
  ASSERT_TRUE(adder->commit().has_value());
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, reading_an_own_pending_atomic_operation_reads_the_key) {
  const auto txn = kv().begin();
  txn->add("n", 1);
  EXPECT_EQ(txn->get("n").value(), encode_counter(1));
  put("n", encode_counter(5));
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, an_explicit_read_conflict_counts_as_a_read) {
  const auto txn = kv().begin();
  txn->add_read_conflict("a", "c");
  txn->put("x", "x");
  put("b", "1");
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
}

TEST_P(KvContract, an_explicit_write_conflict_counts_as_a_write_and_writes_nothing) {
  put("b", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("b").value(), "1");
  txn->put("x", "x");
  const auto other = kv().begin();
  other->add_write_conflict("a", "c");
  ASSERT_TRUE(other->commit().has_value());
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
  EXPECT_EQ(get("b"), "1");
  // Those who begin now are not disturbed by it.
  const auto later = kv().begin();
  EXPECT_EQ(later->get("b").value(), "1");
  later->put("x", "x");
  EXPECT_TRUE(later->commit().has_value());
}

TEST_P(KvContract, a_read_only_transaction_commits_whatever_changed) {
  put("a", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("a").value(), "1");
  put("a", "2");
  EXPECT_TRUE(txn->commit(Durability::kSynced).has_value());
}

TEST_P(KvContract, a_change_is_found_after_thousands_of_other_commits) {
  put("a", "1");
  const auto txn = kv().begin();
  EXPECT_EQ(txn->get("a").value(), "1");
  txn->put("x", "x");
  const auto bystander = kv().begin();
  EXPECT_EQ(bystander->get("b").value(), std::nullopt);
  bystander->put("y", "y");
  put("a", "2");
  for (int i = 0; i < 5000; ++i) put("other" + std::to_string(i), "v");
  EXPECT_TRUE(failed_with(txn->commit(), ErrorCode::kConflict));
  EXPECT_TRUE(bystander->commit().has_value());
}

// ---- limits ----

TEST_P(KvContract, sizes_over_the_limits_are_refused_and_change_nothing) {
  const auto commit = [&](auto&& fill) {
    const auto txn = kv().begin();
    txn->put("a", "1");
    fill(*txn);
    return txn->commit();
  };
  const std::string long_key(kKeyBytesMax + 1, 'k'), long_value(kValueBytesMax + 1, 'v');
  EXPECT_TRUE(failed_with(commit([&](Txn& txn) { txn.put(long_key, ""); }), ErrorCode::kTooLarge));
  EXPECT_TRUE(failed_with(commit([&](Txn& txn) { txn.add(long_key, 1); }), ErrorCode::kTooLarge));
  EXPECT_TRUE(failed_with(commit([&](Txn& txn) { txn.erase_range("b", long_key); }), ErrorCode::kTooLarge));
  EXPECT_TRUE(failed_with(commit([&](Txn& txn) { txn.put("b", long_value); }), ErrorCode::kTooLarge));
  EXPECT_TRUE(failed_with(commit([&](Txn& txn) {
                            for (int i = 0; i < 101; ++i) txn.put("b" + std::to_string(i), long_value.substr(1));
                          }),
                          ErrorCode::kTooLarge));
  EXPECT_EQ(get("a"), std::nullopt);
  EXPECT_TRUE(commit([&](Txn& txn) { txn.put(long_key.substr(1), long_value.substr(1)); }).has_value());
}

TEST_P(KvContract, overwriting_within_a_transaction_counts_once) {
  const auto txn = kv().begin();
  for (int i = 0; i < 200; ++i) txn->put("a", std::string(kValueBytesMax, 'v'));
  EXPECT_TRUE(txn->commit().has_value());
}

// ---- durability and retry ----

TEST_P(KvContract, synced_commits_and_sync_succeed) {
  const auto txn = kv().begin();
  txn->put("a", "1");
  EXPECT_TRUE(txn->commit(Durability::kSynced).has_value());
  EXPECT_TRUE(kv().sync().has_value());
  EXPECT_EQ(get("a"), "1");
}

TEST_P(KvContract, run_txn_retries_conflicts_until_every_increment_is_in) {
  constexpr int kThreads = 4, kRounds = 50;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < kRounds; ++i) {
        const auto result = run_txn(kv(), [](Txn& txn) -> Result<void> {
          TRY_ASSIGN(const auto value, txn.get("n"));
          int64_t n = 0;
          if (value.has_value()) {
            TRY_ASSIGN(n, decode_counter(*value));
          }
          txn.put("n", encode_counter(n + 1));
          return {};
        });
        EXPECT_TRUE(result.has_value());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(get("n"), encode_counter(kThreads * kRounds));
}

// ---- serialisability at random ----

// Random transactions of several threads over few keys. Each draws a ticket from a counter it reads and increments, so
// the tickets are the commit order; replaying the transactions alone, in that order, must reproduce every read, and the
// final state.
struct Step {
  enum class Kind : uint8_t { kGet, kRange, kRangeReverse, kPut, kErase, kEraseRange, kAdd, kMax, kCount };
  Kind kind;
  std::string begin, end;
  int64_t number;
  size_t rows_max;
};

std::string run_step(Txn& txn, const Step& step, bool& failed) {
  switch (step.kind) {
    case Step::Kind::kGet: {
      const auto value = txn.get(step.begin);
      failed |= !value.has_value();
      return value.has_value() ? value->value_or("(absent)") : "";
    }
    case Step::Kind::kRange:
    case Step::Kind::kRangeReverse: {
      const auto direction = step.kind == Step::Kind::kRange ? Direction::kForward : Direction::kReverse;
      const auto page = txn.get_range(step.begin, step.end, limited(step.rows_max, direction));
      failed |= !page.has_value();
      std::string seen;
      if (!page.has_value()) return seen;
      for (const KeyValue& row : page->rows) seen += row.key + "=" + row.value + ";";
      return seen;
    }
    case Step::Kind::kPut: txn.put(step.begin, encode_counter(step.number)); return "";
    case Step::Kind::kErase: txn.erase(step.begin); return "";
    case Step::Kind::kEraseRange: txn.erase_range(step.begin, step.end); return "";
    case Step::Kind::kAdd: txn.add(step.begin, step.number); return "";
    case Step::Kind::kMax: txn.max(step.begin, step.number); return "";
    case Step::Kind::kCount: break;
  }
  return "";
}

Step random_step(Random& random) {
  const auto key = [&] { return std::string("k") + static_cast<char>('a' + random.below(8)); };
  Step step{static_cast<Step::Kind>(random.below(static_cast<uint64_t>(Step::Kind::kCount))), key(), key(),
            static_cast<int64_t>(random.below(1000)) - 500, 1 + random.below(4)};
  return step;
}

TEST_P(KvContract, committed_transactions_are_equal_to_some_serial_order) {
  const uint64_t seed = Random::from_entropy().next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  struct Committed {
    std::vector<Step> steps;
    std::vector<std::string> seen;
  };
  constexpr int kThreads = 4, kCommits = 400;
  std::vector<std::vector<std::pair<int64_t, Committed>>> by_thread(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(seed + static_cast<uint64_t>(t));
      while (by_thread[t].size() < kCommits / kThreads) {
        const auto txn = kv().begin();
        Committed committed;
        bool failed = false;
        // Drawn last, the ticket comes from a snapshot that other reads have fixed long before.
        const bool ticket_first = random.one_in(2);
        int64_t ticket = 0;
        const auto draw = [&] {
          const auto value = txn->get("ticket");
          ticket = value.value().has_value() ? decode_counter(**value).value() : 0;
          txn->put("ticket", encode_counter(ticket + 1));
        };
        if (ticket_first) draw();
        for (uint64_t i = 1 + random.below(5); i > 0; --i) {
          committed.steps.push_back(random_step(random));
          committed.seen.push_back(run_step(*txn, committed.steps.back(), failed));
          if (random.one_in(3)) std::this_thread::yield();
        }
        if (!ticket_first) draw();
        if (!failed && txn->commit().has_value()) by_thread[t].emplace_back(ticket, std::move(committed));
      }
    });
  }
  for (auto& thread : threads) thread.join();

  std::map<int64_t, Committed> history;
  for (auto& commits : by_thread) {
    for (auto& [ticket, committed] : commits) {
      ASSERT_TRUE(history.emplace(ticket, std::move(committed)).second) << "ticket " << ticket << " drawn twice";
    }
  }
  MemKv replay;
  for (const auto& [ticket, committed] : history) {
    const auto txn = replay.begin();
    for (size_t i = 0; i < committed.steps.size(); ++i) {
      bool failed = false;
      ASSERT_EQ(run_step(*txn, committed.steps[i], failed), committed.seen[i]) << "ticket " << ticket << " step " << i;
      ASSERT_FALSE(failed);
    }
    ASSERT_TRUE(txn->commit().has_value());
  }
  EXPECT_EQ(kv().begin()->get_range("k", "l")->rows, replay.begin()->get_range("k", "l")->rows);
}

// Bank transfers without a common key, so that most commits run side by side and share batches: every snapshot of all
// accounts must hold the same total.
TEST_P(KvContract, every_snapshot_of_concurrent_transfers_holds_the_same_total) {
  const uint64_t seed = Random::from_entropy().next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr int kAccounts = 6, kThreads = 4, kRounds = 300;
  constexpr int64_t kEach = 100;
  const auto account = [](uint64_t i) { return "acct" + std::to_string(i); };
  for (uint64_t i = 0; i < kAccounts; ++i) put(account(i), encode_counter(kEach));
  const auto total = [](Txn& txn) {
    int64_t sum = 0;
    const auto page = txn.get_range("acct", "accu");
    for (const KeyValue& row : page->rows) sum += decode_counter(row.value).value();
    return sum;
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Random random(seed + static_cast<uint64_t>(t));
      for (int i = 0; i < kRounds; ++i) {
        const std::string from = account(random.below(kAccounts)), to = account(random.below(kAccounts));
        if (from == to) continue;
        const auto txn = kv().begin();
        const int64_t amount = static_cast<int64_t>(random.below(10));
        if (random.one_in(2)) {
          txn->add(from, -amount);
          txn->add(to, amount);
        } else {
          const int64_t a = decode_counter(txn->get(from).value().value()).value();
          const int64_t b = decode_counter(txn->get(to).value().value()).value();
          txn->put(from, encode_counter(a - amount));
          txn->put(to, encode_counter(b + amount));
        }
        (void)txn->commit();
        if (random.one_in(4)) {
          EXPECT_EQ(total(*kv().begin()), kAccounts * kEach);
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(total(*kv().begin()), kAccounts * kEach);
}

// ---- MemKv: the lifetime ----

class ManualClock final : public Clock {
 public:
  TimePoint now() const override { return now_; }
  WallTime wall_now() const override { return WallTime(now_.time_since_epoch()); }
  void pass(Duration d) { now_ += d; }

 private:
  TimePoint now_{};
};

TEST(MemKv, a_transaction_older_than_the_lifetime_neither_reads_nor_commits) {
  ManualClock clock;
  MemKv kv(clock);
  const auto young = kv.begin();
  const auto old = kv.begin();
  ASSERT_TRUE(old->get("a").has_value());
  clock.pass(kTxnLifetimeMax - Duration(1));
  EXPECT_TRUE(old->get("a").has_value());
  ASSERT_TRUE(young->get("a").has_value());
  clock.pass(Duration(1));
  EXPECT_TRUE(failed_with(old->get("a"), ErrorCode::kTooOld));
  EXPECT_TRUE(failed_with(old->get_range("a", "b"), ErrorCode::kTooOld));
  old->put("a", "1");
  EXPECT_TRUE(failed_with(old->commit(), ErrorCode::kTooOld));
  young->put("a", "2");
  EXPECT_TRUE(young->commit().has_value());
}

TEST(MemKv, memory_is_given_back_once_no_snapshot_needs_it) {
  MemKv kv;
  for (int i = 0; i < 100; ++i) {
    const auto txn = kv.begin();
    txn->put("a", std::string(100, 'x'));
    txn->put("b" + std::to_string(i), "x");
    ASSERT_TRUE(txn->commit().has_value());
    const auto undo = kv.begin();
    undo->erase_range("b", "c");
    ASSERT_TRUE(undo->commit().has_value());
  }
  EXPECT_EQ(kv.usage().memory_bytes, 101u);
}

// ---- RocksKv: what lasts ----

TEST(RocksKv, committed_data_is_there_after_opening_again) {
  const TempDir dir;
  {
    const auto kv = open_rocks(dir.path());
    const auto txn = kv->begin();
    txn->put("a", "1");
    txn->add("n", 3);
    ASSERT_TRUE(txn->commit().has_value());
  }
  const auto kv = open_rocks(dir.path());
  EXPECT_EQ(kv->begin()->get("a").value(), "1");
  const auto txn = kv->begin();
  txn->add("n", 4);
  ASSERT_TRUE(txn->commit(Durability::kSynced).has_value());
  EXPECT_EQ(kv->begin()->get("n").value(), encode_counter(7));
}

TEST(RocksKv, large_erased_ranges_mix_with_rows_of_the_same_table_and_are_replayed) {
  const TempDir dir;
  std::map<std::string, std::string> model;
  const uint64_t seed = Random::from_entropy().next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const auto key = [](uint64_t i) { return "k" + std::to_string(100'000 + i); };
  for (int open = 0; open < 3; ++open) {
    const auto kv = open_rocks(dir.path());
    for (int round = 0; round < 30; ++round) {
      const auto txn = kv->begin();
      if (round % 3 == 2) {
        const uint64_t begin = random.below(2000), end = begin + random.below(1500);
        txn->erase_range(key(begin), key(end));
        model.erase(model.lower_bound(key(begin)), model.lower_bound(key(end)));
      }
      for (uint64_t i = random.below(200); i > 0; --i) {
        const std::string k = key(random.below(3000)), v = std::to_string(random.next());
        txn->put(k, v);
        model[k] = v;
      }
      ASSERT_TRUE(txn->commit().has_value());
    }
    const auto page = kv->begin()->get_range("k", "l", {.rows_max = 10'000});
    std::map<std::string, std::string> rows;
    for (const KeyValue& row : page->rows) rows.emplace(row.key, row.value);
    EXPECT_EQ(rows, model);
  }
}

TEST(RocksKv, a_second_opener_is_refused_with_the_folder_named) {
  const TempDir dir;
  const auto kv = open_rocks(dir.path());
  const auto second = RocksKv::open({.dir = dir.path()});
  ASSERT_TRUE(failed_with(second, ErrorCode::kBusy));
  EXPECT_NE(second.error().to_string().find(dir.path()), std::string::npos);
}

TEST(RocksKv, synced_commits_share_flushes) {
  const TempDir dir;
  const auto kv = open_rocks(dir.path());
  constexpr int kThreads = 16, kRounds = 40;
  std::vector<std::thread> threads;
  std::atomic<int> failures = 0;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kRounds; ++i) {
        const auto txn = kv->begin();
        txn->put("k" + std::to_string(t), std::to_string(i));
        if (!txn->commit(Durability::kSynced).has_value()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_LT(kv->flushes(), kThreads * kRounds / 2);
}

}  // namespace
}  // namespace weir::kv
