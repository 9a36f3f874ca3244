// What transactions cost on RocksKv. The store lies under $TMPDIR (default /tmp): put it on the disk to be measured.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "base/check.h"
#include "base/random.h"
#include "kv/rocks_kv.h"

namespace weir::kv {
namespace {

constexpr uint64_t kRows = 200'000;  // inodes there before

std::string big_endian(uint64_t n) {
  std::string bytes(8, '\0');
  for (int i = 7; i >= 0; --i, n >>= 8) bytes[i] = static_cast<char>(n);
  return bytes;
}
std::string inode_key(uint64_t inode) { return "i" + big_endian(inode); }
std::string dentry_key(uint64_t parent, uint64_t file) {
  return "d" + big_endian(parent) + "checkpoint-" + std::to_string(file);
}

// A store with kRows rows of 120 bytes, as large as a small file's records.
class Store {
 public:
  Store() {
    std::string pattern = (std::filesystem::temp_directory_path() / "weir-kv-bench-XXXXXX").string();
    dir_ = ::mkdtemp(pattern.data());
    auto kv = RocksKv::open({.dir = dir_});
    CHECK(kv.has_value());
    kv_ = *std::move(kv);
    for (uint64_t i = 0; i < kRows;) {
      const auto txn = kv_->begin();
      for (const uint64_t end = std::min(i + 1000, kRows); i < end; ++i) txn->put(inode_key(i), std::string(120, 'v'));
      CHECK(txn->commit().has_value());
    }
  }
  ~Store() {
    kv_.reset();
    std::filesystem::remove_all(dir_);
  }
  RocksKv& kv() { return *kv_; }

 private:
  std::string dir_;
  std::unique_ptr<RocksKv> kv_;
};

// Made for each benchmark run by its first thread; the others see it after the start barrier.
std::unique_ptr<Store> store;
void set_up(const benchmark::State&) { store = std::make_unique<Store>(); }
void tear_down(const benchmark::State&) { store.reset(); }

// The shape of a create in a thread's own directory: look up the directory and the name, write dentry, inode and queue
// entry, add to a counter shared by all.
void create_like_txn(RocksKv& kv, uint64_t directory, uint64_t file, uint64_t& conflicts, Durability durability) {
  static const std::string record(120, 'n');
  const auto txn = kv.begin();
  const std::string dentry = dentry_key(directory, file);
  const uint64_t inode = kRows + directory * 100'000'000 + file;
  benchmark::DoNotOptimize(txn->get(inode_key(directory)));
  benchmark::DoNotOptimize(txn->get(dentry));
  txn->put(dentry, record);
  txn->put(inode_key(inode), record);
  txn->put("q" + big_endian(file) + big_endian(inode), "");
  txn->add("entries", 1);
  if (!txn->commit(durability).has_value()) ++conflicts;
}

void BM_create_like(benchmark::State& state, Durability durability) {
  const auto directory = static_cast<uint64_t>(state.thread_index()) + 1;
  uint64_t file = 0;
  uint64_t conflicts = 0;
  const uint64_t flushes_before = store->kv().flushes();
  for (auto _ : state) create_like_txn(store->kv(), directory, file++, conflicts, durability);
  state.SetItemsProcessed(state.iterations());
  state.counters["conflicts"] = benchmark::Counter(static_cast<double>(conflicts));
  if (state.thread_index() == 0) {
    state.counters["flushes"] = static_cast<double>(store->kv().flushes() - flushes_before);
  }
}

void BM_point_get(benchmark::State& state) {
  Random random(static_cast<uint64_t>(state.thread_index()) + 1);
  for (auto _ : state) {
    const auto txn = store->kv().begin();
    benchmark::DoNotOptimize(txn->get(inode_key(random.below(kRows))));
  }
  state.SetItemsProcessed(state.iterations());
}

void BM_list_100(benchmark::State& state) {
  Random random(1);
  for (auto _ : state) {
    const auto txn = store->kv().begin();
    benchmark::DoNotOptimize(txn->get_range(inode_key(random.below(kRows)), "j", {.rows_max = 100}));
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK_CAPTURE(BM_create_like, written, Durability::kWritten)
    ->Setup(set_up)->Teardown(tear_down)->Threads(1)->Threads(8)->UseRealTime();
BENCHMARK_CAPTURE(BM_create_like, synced, Durability::kSynced)
    ->Setup(set_up)->Teardown(tear_down)->Threads(16)->UseRealTime();
BENCHMARK(BM_point_get)->Setup(set_up)->Teardown(tear_down)->Threads(1)->Threads(4)->UseRealTime();
BENCHMARK(BM_list_100)->Setup(set_up)->Teardown(tear_down);

}  // namespace
}  // namespace weir::kv

BENCHMARK_MAIN();
