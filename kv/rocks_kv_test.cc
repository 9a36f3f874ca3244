#include "kv/rocks_kv.h"

#include <gtest/gtest.h>
#include <rocksdb/perf_context.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/random.h"
#include "kv/run_txn.h"

namespace weir::kv {
namespace {

class RocksKvTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::remove_all(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static std::string key(uint64_t number) { return "k" + std::to_string(number * 0x9e3779b97f4a7c15); }

  const std::string dir_ = ::testing::TempDir() + "weir-rocks-" + std::to_string(::getpid());
};

// Tables of this many rows have filters that are larger than the whole cache.
TEST_F(RocksKvTest, looking_up_a_row_reads_little_however_large_the_tables_are) {
  constexpr uint64_t kRows = 400'000;
  constexpr uint64_t kRowsOfTxn = 2'000;
  auto kv = RocksKv::open({.dir = dir_, .block_cache_bytes = 128 << 10, .write_buffer_bytes = 2 << 20, .row_cache_bytes = 0});
  ASSERT_TRUE(kv.has_value()) << kv.error().to_string();
  for (uint64_t first = 0; first < kRows; first += kRowsOfTxn) {
    const auto written = run_txn(**kv, [&](Txn& txn) -> Result<void> {
      for (uint64_t i = first; i < first + kRowsOfTxn; ++i) txn.put(key(i), "value");
      return {};
    });
    ASSERT_TRUE(written.has_value()) << written.error().to_string();
  }
  constexpr uint64_t kLookups = 500;
  Random random(1);
  uint64_t& read = rocksdb::get_perf_context()->block_read_byte;
  const uint64_t before = read;
  for (uint64_t i = 0; i < kLookups; ++i) {
    const auto txn = (*kv)->begin();
    const auto value = txn->get(key(random.below(kRows)));
    ASSERT_TRUE(value.has_value() && *value) << i;
  }
  EXPECT_LT((read - before) / kLookups, 64u << 10) << "bytes of tables a lookup";
}

}  // namespace
}  // namespace weir::kv
