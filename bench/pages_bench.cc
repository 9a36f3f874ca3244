// bench/pages_bench.cc -- what the page store costs per file: create, write 4 KiB, close, open, stamp, remove.
//
//   pages_bench DIR [files] [threads]
//
// Prints, for each phase, microseconds per file by the clock, of processor time (which a busy machine distorts less)
// and files per second; first the same of bare system calls in the same folder.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "pages/page_store.h"

namespace weir {
namespace {

using pages::Pin;

constexpr uint64_t kFileBytes = 4096;

struct Shape {
  uint64_t files = 0;
  unsigned threads = 0;
};

double processor_seconds() {
  rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

void phase(const char* name, const Shape& shape, const std::function<void(uint64_t id)>& step) {
  const auto start = std::chrono::steady_clock::now();
  const double processor_start = processor_seconds();
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < shape.threads; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t id = 1 + t; id <= shape.files; id += shape.threads) step(id);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  const auto files = static_cast<double>(shape.files);
  const double processor = processor_seconds() - processor_start;
  std::printf("%-34s %8.2f us  %8.2f us cpu  %10.0f /s\n", name, taken.count() / files * 1e6, processor / files * 1e6,
              files / taken.count());
}

template <typename T>
T must(Result<T> result) {
  if (!result.has_value()) {
    std::fprintf(stderr, "%s\n", result.error().to_string().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

uint64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  uint64_t total = 0;
  uint64_t resident = 0;
  statm >> total >> resident;
  return resident * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

void measure_bare(const std::string& dir, const Shape& shape) {
  for (unsigned shard = 0; shard < 256; ++shard) std::filesystem::create_directories(dir + "/" + std::to_string(shard));
  const auto path = [&](uint64_t id) { return dir + "/" + std::to_string(id / 256 % 256) + "/" + std::to_string(id); };
  phase("bare: create, close", shape, [&](uint64_t id) {
    ::close(::open(path(id).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  });
  phase("bare: unlink", shape, [&](uint64_t id) { ::unlink(path(id).c_str()); });
}

void measure_store(const std::string& dir, const Shape& shape) {
  const pages::PageStoreOptions options{
      .dirs = {dir}, .volume_id = "bench", .capacity_bytes = uint64_t{1} << 50, .pinned_ratio = 1};
  const std::string bytes(kFileBytes, 'x');
  const std::vector<uint32_t> crcs(1);
  {
    const auto store = must(open_page_store(options));
    const auto create = [&](uint64_t id) { must(store->create(LocalFileId(id))); };
    const uint64_t before = resident_bytes();
    phase("create, close", shape, create);
    std::printf("%-34s %8.1f bytes per file\n", "memory", static_cast<double>(resident_bytes() - before) /
                                                              static_cast<double>(shape.files));
    phase("open, close", shape, [&](uint64_t id) { must(store->open(LocalFileId(id))); });
    phase("remove", shape, [&](uint64_t id) { store->remove(LocalFileId(id)); });
    phase("create, write 4 KiB, close", shape, [&](uint64_t id) {
      must(must(store->create(LocalFileId(shape.files + id)))->file().write_at(0, bytes));
    });
    phase("record_checksums, unpin", shape, [&](uint64_t id) {
      const LocalFileId file_id(shape.files + id);
      const auto file = must(store->open(file_id));
      const auto st = must(store->stat(file_id));
      must(store->record_checksums(*file, {.ctime_ns = st.ctime_ns, .mtime_ns = st.mtime_ns, .size_bytes = kFileBytes},
                                   crcs));
      store->set_pin(file_id, Pin::kEvictable);
    });
  }
  const auto start = std::chrono::steady_clock::now();
  const auto store = must(open_page_store(options));
  for (uint64_t id = 1; id <= shape.files; ++id) store->recover(LocalFileId(shape.files + id), Pin::kEvictable);
  must(store->finish_recovery());
  const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
  std::printf("%-34s %8.3f s\n", "restart and recovery", taken.count());
  phase("evict", shape, [&](uint64_t id) { store->evict(LocalFileId(shape.files + id)); });
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: pages_bench DIR [files] [threads]\n");
    return 2;
  }
  const std::string dir = std::string(argv[1]) + "/pages_bench";
  const weir::Shape shape{.files = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 50'000,
                          .threads = argc > 3 ? static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)) : 1};
  weir::measure_bare(dir + "/bare", shape);
  weir::measure_store(dir + "/store", shape);
  std::filesystem::remove_all(dir);
}
