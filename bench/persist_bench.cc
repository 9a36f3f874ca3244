// bench/persist_bench.cc -- the rate of persisting against that of uploading the same bytes directly.
//
//   persist_bench URI DIR [files] [bytes] [threads] [property=value...] [--without-syncs]
//
// Uploads `files` objects of `bytes` with `threads` connections by plain calls of the under store, then commits as many files
// to a volume in DIR (a RocksKv and a page store), lets the persister upload them, and removes them. Prints the rates, the ratio of the
// first two, and what persisting and removing cost: CPU, and flushes of the metadata's log. --without-syncs: what they would be if the
// metadata were not synced ahead of the bucket and of the page store.
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "kv/rocks_kv.h"
#include "meta/lower_layer.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "persist/persister.h"
#include "persist/uploader.h"
#include "ufs/mount_table.h"
#include "ufs/open_ufs.h"

namespace weir {
namespace {

struct Shape {
  uint64_t files = 10'000;
  uint64_t bytes = 4'096;
  uint32_t threads = 16;
};

template <typename T>
T value_of(Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, result.error().to_string().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

double seconds_of(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// What a phase takes.
struct Cost {
  double seconds = 0;
  double cpu_seconds = 0;
  uint64_t flushes = 0;
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

Cost cost_of(const kv::RocksKv& kv, const std::function<void()>& work) {
  const double cpu_before = cpu_seconds();
  const uint64_t flushes_before = kv.flushes();
  const double seconds = seconds_of(work);
  return {.seconds = seconds, .cpu_seconds = cpu_seconds() - cpu_before, .flushes = kv.flushes() - flushes_before};
}

void print_cost(const char* phase, const Cost& cost, uint64_t files) {
  const auto count = static_cast<double>(files);
  std::printf("%-8s %9.0f files/s, a file: %.0f us of CPU, %.3f flushes\n", phase, count / cost.seconds, cost.cpu_seconds * 1e6 / count,
              static_cast<double>(cost.flushes) / count);
}

class KvWithoutSyncs final : public kv::Kv {
 public:
  explicit KvWithoutSyncs(kv::Kv& base) : base_(base) {}
  std::unique_ptr<kv::Txn> begin() override { return base_.begin(); }
  Result<void> sync() override { return {}; }
  Usage usage() const override { return base_.usage(); }

 private:
  kv::Kv& base_;
};

Deadline soon() { return Deadline::after(std::chrono::minutes(5)); }

void put_directly(ufs::UnderStore& store, const Shape& shape, const persist::PersistOptions& options) {
  const std::vector<std::byte> body(std::min(shape.bytes, options.part_bytes));
  const uint64_t parts = std::max<uint64_t>((shape.bytes + options.part_bytes - 1) / options.part_bytes, 1);
  const auto in_parallel = [](uint32_t threads, uint64_t count, const std::function<void(uint64_t)>& work) {
    std::atomic<uint64_t> next = 0;
    std::vector<std::thread> pool;
    for (uint32_t t = 0; t < threads; ++t) {
      pool.emplace_back([&] {
        for (uint64_t i; (i = next.fetch_add(1)) < count;) work(i);
      });
    }
    for (std::thread& thread : pool) thread.join();
  };
  if (parts == 1) {
    in_parallel(shape.threads, shape.files, [&](uint64_t i) {
      value_of(store.put("direct/" + std::to_string(i), body, {}, soon()), "put");
    });
    return;
  }
  for (uint64_t i = 0; i < shape.files; ++i) {
    const std::string key = "direct/" + std::to_string(i);
    const std::string id = value_of(store.create_multipart(key, {}, soon()), "create");
    std::vector<ufs::Part> sent(parts);
    in_parallel(options.parts_in_flight, parts, [&](uint64_t part) {
      const uint64_t size = std::min(options.part_bytes, shape.bytes - part * options.part_bytes);
      sent[part] = value_of(store.upload_part(key, id, static_cast<uint32_t>(part + 1),
                                              std::span(body).first(size), soon()), "part");
    });
    value_of(store.complete_multipart(key, id, sent, {}, soon()), "complete");
  }
}

void commit_files(meta::Namespace& names, pages::PageStore& pages, InodeId directory, const Shape& shape) {
  const std::string block(std::min<uint64_t>(shape.bytes, 1 << 20), 'x');
  for (uint64_t i = 0; i < shape.files; ++i) {
    const LocalFileId local = value_of(names.new_local_file_id(), "id");
    const auto file = value_of(pages.create(local), "create");
    const auto inode = value_of(names.create_file(directory, std::to_string(i), 0644, {}, local), "create");
    for (uint64_t at = 0; at < shape.bytes; at += block.size())
      value_of(file->file().write_at(at, std::string_view(block).substr(0, shape.bytes - at)), "write");
    const auto stat = value_of(file->file().stat(), "stat");
    const InodeId id(inode.id());
    value_of(names.commit_content(id, {stat.size_bytes, stat.mtime_ns, stat.ctime_ns}, meta::Urgency::kOrdinary,
                                  kv::Durability::kWritten), "commit");
    value_of(names.end_writes({{.inode = id}}), "end");
  }
}

void remove_files(meta::Namespace& names, pages::PageStore& pages, InodeId directory, const Shape& shape) {
  for (uint64_t i = 0; i < shape.files; ++i) {
    const auto unlinked = value_of(names.unlink(directory, std::to_string(i), meta::InUse::kNo), "unlink");
    pages.remove(unlinked.local_file);
  }
  while (pages.usage().leaving_files != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: persist_bench URI DIR [files] [bytes] [threads] [property=value...] [--without-syncs]\n");
    return 2;
  }
  Shape shape;
  ufs::UfsOptions ufs_options;
  bool without_syncs = false;
  for (int i = 3, number = 0; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--without-syncs") {
      without_syncs = true;
      continue;
    }
    if (const size_t equals = argument.find('='); equals != std::string::npos) {
      ufs_options.properties[argument.substr(0, equals)] = argument.substr(equals + 1);
      continue;
    }
    const uint64_t value = std::strtoull(argv[i], nullptr, 10);
    if (number == 0) shape.files = value;
    if (number == 1) shape.bytes = value;
    if (number == 2) shape.threads = static_cast<uint32_t>(value);
    ++number;
  }
  const std::filesystem::path dir = std::filesystem::path(argv[2]) / "persist-bench";
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir / "pages");

  const std::shared_ptr<ufs::UnderStore> store = value_of(ufs::open_ufs(argv[1], ufs_options), argv[1]);
  const ufs::Capabilities capabilities = value_of(store->probe(soon()), "probe");
  persist::PersistOptions options{.threads = shape.threads};
  const double direct = seconds_of([&] { put_directly(*store, shape, options); });

  const auto rocks = value_of(kv::RocksKv::open({.dir = dir / "kv"}), "kv");
  KvWithoutSyncs unsynced(*rocks);
  kv::Kv& kv = without_syncs ? static_cast<kv::Kv&>(unsynced) : *rocks;
  const auto pages = value_of(pages::open_page_store({.dirs = {dir / "pages"}, .volume_id = "bench"}), "pages");
  const auto names = value_of(meta::Namespace::open(kv, system_clock(), {}, "bench"), "namespace");
  const auto mount = value_of(names->add_mount("m", argv[1], {}), "mount");
  ufs::MountTable mounts;
  mounts.add(MountId(mount.id()), {store, capabilities});
  meta::LowerLayer lower(*names, mounts, [](InodeId, const auto&) {});
  persist::Persister persister(*names, lower, *pages, mounts, options, {});
  commit_files(*names, *pages, InodeId(mount.directory()), shape);
  const Cost persisted = cost_of(*rocks, [&] {
    persister.start();
    value_of(persister.drain(soon()), "drain");
  });
  persister.stop(soon());
  pages->set_removal_barrier([&] { return kv.sync(); });
  const Cost removed = cost_of(*rocks, [&] { remove_files(*names, *pages, InodeId(mount.directory()), shape); });

  const double mib = static_cast<double>(shape.files * shape.bytes) / (1 << 20);
  const auto files = static_cast<double>(shape.files);
  std::printf("direct   %9.0f files/s %9.1f MiB/s\n", files / direct, mib / direct);
  std::printf("persist  %9.0f files/s %9.1f MiB/s\n", files / persisted.seconds, mib / persisted.seconds);
  std::printf("ratio    %9.2f\n", direct / persisted.seconds);
  print_cost("persist", persisted, shape.files);
  print_cost("remove", removed, shape.files);
  std::filesystem::remove_all(dir);
  return 0;
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) { return weir::run(argc, argv); }
