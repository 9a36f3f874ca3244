// What a namespace operation costs over the embedded store: the volume's own share of a create, a lookup, a rename.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>

#include "base/check.h"
#include "kv/rocks_kv.h"
#include "meta/namespace.h"

namespace weir::meta {
namespace {

constexpr Caller kCaller{};

struct Store {
  Store() {
    char name[] = "/tmp/meta_bench.XXXXXX";
    CHECK(::mkdtemp(name) != nullptr);
    dir = name;
    kv::RocksKv::Options options;
    options.dir = dir + "/kv";
    kv = *kv::RocksKv::open(options);
    names = *Namespace::open(*kv, system_clock(), {.sync_interval = Duration(-1)}, "bench");
    const auto mount = names->add_mount("s3", "mem:///", {});
    format::Lower lower;
    lower.set_mount(mount->id());
    CHECK(names->set_listed(InodeId(mount->directory()), lower, 1).has_value());
    InodeId parent(mount->directory());
    for (const char* component : {"a", "b", "c"})
      parent = InodeId(names->make_directory(parent, component, 0755, kCaller)->id());
    directory = parent;
  }
  ~Store() {
    names.reset();
    kv.reset();
    std::filesystem::remove_all(dir);
  }

  InodeId create(uint64_t n) {
    const auto inode = names->create_file(directory, "f" + std::to_string(n), 0644, kCaller, LocalFileId(n + 1));
    CHECK(inode.has_value());
    return InodeId(inode->id());
  }

  std::string dir;
  std::unique_ptr<kv::RocksKv> kv;
  std::unique_ptr<Namespace> names;
  InodeId directory{};
};

void BM_create_commit_end(benchmark::State& state) {
  Store store;
  uint64_t n = 0;
  for (auto _ : state) {
    const InodeId inode = store.create(n++);
    CHECK(store.names
              ->commit_content(inode, {.size = 4096, .mtime_ns = 1, .ctime_ns = 1}, Urgency::kOrdinary,
                               kv::Durability::kWritten)
              .has_value());
    CHECK(store.names->end_writes({{.inode = inode}}).has_value());
  }
}
BENCHMARK(BM_create_commit_end);

void BM_find(benchmark::State& state) {
  Store store;
  constexpr uint64_t kFiles = 100'000;
  for (uint64_t n = 0; n < kFiles; ++n) store.create(n);
  uint64_t n = 0;
  for (auto _ : state) {
    const auto found = store.names->find(store.directory, "f" + std::to_string(n++ * 7919 % kFiles));
    CHECK(found.has_value() && found->inode.has_value());
  }
}
BENCHMARK(BM_find);

void BM_load(benchmark::State& state) {
  Store store;
  constexpr uint64_t kFiles = 100'000;
  std::vector<InodeId> ids;
  for (uint64_t n = 0; n < kFiles; ++n) ids.push_back(store.create(n));
  uint64_t n = 0;
  for (auto _ : state) CHECK(store.names->load(ids[n++ * 7919 % kFiles]).has_value());
}
BENCHMARK(BM_load);

void BM_rename(benchmark::State& state) {
  Store store;
  store.create(0);
  uint64_t n = 0;
  for (auto _ : state) {
    const std::string from = "f" + std::to_string(n);
    const std::string to = "f" + std::to_string(++n);
    CHECK(store.names->rename(store.directory, from, store.directory, to, RenameMode::kReplace, InUse::kNo).has_value());
  }
}
BENCHMARK(BM_rename);

}  // namespace
}  // namespace weir::meta

BENCHMARK_MAIN();
