// fsbench DIR [--mib N] [--files N] [--directory-files N] [--steps 1]: one pass of file-system work below DIR; prints
// one JSON object of rates ("write_1m_mib_s": 812.4, ...). A phase that fails is an error string instead of a number.
//
// With --steps it prints {"ready": PHASE} before each phase and waits for a line of input, so that several of them,
// each on its own file system, can take turns; and {"phase": PHASE, "value": RATE, "units": WORK} behind each.
//
// The disk is synced and left alone for a moment before each phase, since writing back one phase's data slows the next;
// memory is touched first, since the first touch is slow on a fresh machine. Run it twice and keep later passes.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

constexpr size_t kMiB = 1 << 20;
constexpr size_t kBlock = 4096;
constexpr size_t kRandomWrites = 50'000;

void check(bool fine, const std::string& what) {
  if (!fine) throw std::runtime_error(what + ": " + std::strerror(errno));
}

class File {
 public:
  File(const std::string& path, int flags) : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
    check(fd_ >= 0, "open " + path);
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  void close() { check(::close(std::exchange(fd_, -1)) == 0, "close " + path_); }
  void write(const void* bytes, size_t size) {
    check(::write(fd_, bytes, size) == static_cast<ssize_t>(size), "write " + path_);
  }
  size_t read(void* bytes, size_t size) {
    const ssize_t got = ::read(fd_, bytes, size);
    check(got >= 0, "read " + path_);
    return static_cast<size_t>(got);
  }

 private:
  const std::string path_;
  int fd_;
};

class Bench {
 public:
  Bench(std::string root, size_t mib, size_t files, size_t directory_files, bool steps)
      : root_(std::move(root)),
        mib_(mib),
        files_(files),
        directory_files_(directory_files),
        steps_(steps),
        bytes_(kMiB) {
    for (size_t i = 0; i < bytes_.size(); ++i) bytes_[i] = static_cast<char>(i * 2654435761u >> 13);
  }

  void run() {
    touch_memory();
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_ + "/small");
    const auto files = static_cast<double>(files_);

    phase("write_1m_mib_s", static_cast<double>(mib_), [&] { write("/big", kMiB, mib_); });
    phase("reread_1m_mib_s", static_cast<double>(mib_), [&] { read_big(); });
    const size_t blocks = mib_ * kMiB / kBlock / 4;
    phase("write_4k_ops_s", static_cast<double>(blocks), [&] { write("/blocks", kBlock, blocks); });
    phase("random_write_4k_s", kRandomWrites, [&] { write_at_random("/big", mib_ * kMiB / kBlock); });
    phase("create_4k_1_thread_s", files, [&] { create("/small/a", 0, files_); });
    std::filesystem::create_directories(root_ + "/parallel");
    phase("create_4k_8_threads_s", files, [&] {
      parallel(8, [&](size_t t) { create("/parallel/" + std::to_string(t) + "-", 0, files_ / 8); });
    });
    const auto stat_all = [&] { each("/small/a", [](const std::string& path) { stat(path); }); };
    phase(
        "stat_cached_s", files * 10,
        [&] {
          for (int pass = 0; pass < 10; ++pass) stat_all();
        },
        stat_all);
    if (drop_kernel_caches()) {
      phase("stat_uncached_s", files, stat_all);
    }
    phase("list_s", files, [&] { list("/small", files_); });
    phase("rename_files_s", files, [&] {
      each("/small/a", [this](const std::string& path) {
        check(::rename(path.c_str(), (path + "x").c_str()) == 0, "rename " + path);
      });
    });
    if (directory_files_ > 0) {
      std::filesystem::create_directories(root_ + "/large");
      parallel(8, [&](size_t t) { create("/large/" + std::to_string(t) + "-", 0, directory_files_ / 8); });
      const size_t large = directory_files_ / 8 * 8;
      if (drop_kernel_caches()) {
        phase("list_large_uncached_s", static_cast<double>(large), [&] { list("/large", large); });
      }
      phase("rename_directory_ms", 0, [&] {
        check(::rename((root_ + "/large").c_str(), (root_ + "/renamed").c_str()) == 0, "rename directory");
      });
      phase("remove_tree_s", static_cast<double>(large), [&] { remove_directory("/renamed"); });
    }
    phase("unlink_s", files, [&] {
      for (size_t i = 0; i < files_; ++i) {
        const std::string path = root_ + "/small/a" + std::to_string(i) + "x";
        check(::unlink(path.c_str()) == 0, "unlink " + path);
      }
    });
    std::filesystem::remove_all(root_);
  }

  void print() const {
    if (steps_) return;
    const char* separator = "{";
    for (const auto& [name, value] : results_) {
      std::printf("%s\"%s\": %s", separator, name.c_str(), value.c_str());
      separator = ", ";
    }
    std::printf("}\n");
  }

 private:
  static void stat(const std::string& path) {
    struct stat st {};
    check(::lstat(path.c_str(), &st) == 0, "stat " + path);
  }

  void touch_memory() {
    std::vector<char> memory(std::min<size_t>(mib_, 4096) * kMiB);
    for (size_t i = 0; i < memory.size(); i += kBlock) memory[i] = 1;
  }

  // `work` is a count for a rate in 1/s; 0: the time in ms. `prepare` runs right before the clock starts.
  void phase(const std::string& name, double work, const std::function<void()>& body,
             const std::function<void()>& prepare = [] {}) {
    if (steps_) {
      std::printf("{\"ready\": \"%s\"}\n", name.c_str());
      std::fflush(stdout);
      int next = 0;
      while ((next = std::getchar()) != '\n') check(next != EOF, "no word to go on");
    }
    ::sync();
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    char value[256];
    try {
      prepare();
      const auto start = std::chrono::steady_clock::now();
      body();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      std::snprintf(value, sizeof value, "%.2f", work > 0 ? work / took.count() : took.count() * 1e3);
    } catch (const std::exception& failure) {
      std::snprintf(value, sizeof value, "\"%.200s\"", failure.what());
    }
    if (steps_) {
      std::printf("{\"phase\": \"%s\", \"value\": %s, \"units\": %.0f}\n", name.c_str(), value, std::max(work, 1.0));
      std::fflush(stdout);  // who measures from outside counts from here
    } else {
      results_.emplace_back(name, value);
    }
  }

  void write(const std::string& name, size_t block, size_t count) {
    File file(root_ + name, O_CREAT | O_TRUNC | O_WRONLY);
    for (size_t i = 0; i < count; ++i) file.write(bytes_.data(), block);
    file.close();
  }

  void write_at_random(const std::string& name, size_t blocks) {
    const int fd = ::open((root_ + name).c_str(), O_WRONLY | O_CLOEXEC);
    check(fd >= 0, "open " + name);
    uint64_t state = 88172645463325252;  // xorshift: the same places on every file system
    for (size_t i = 0; i < kRandomWrites; ++i) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      const auto offset = static_cast<off_t>(state % blocks * kBlock);
      check(::pwrite(fd, bytes_.data(), kBlock, offset) == static_cast<ssize_t>(kBlock), "pwrite " + name);
    }
    check(::close(fd) == 0, "close " + name);
  }

  // As rm -rf does it: names by readdir, no stat where the type is known.
  void remove_directory(const std::string& name) {
    DIR* directory = ::opendir((root_ + name).c_str());
    check(directory != nullptr, "opendir");
    while (const dirent* entry = ::readdir(directory)) {
      if (entry->d_type == DT_DIR) continue;
      check(::unlinkat(::dirfd(directory), entry->d_name, 0) == 0, "unlink " + std::string(entry->d_name));
    }
    ::closedir(directory);
    check(::rmdir((root_ + name).c_str()) == 0, "rmdir " + name);
  }

  void read_big() {
    File file(root_ + "/big", O_RDONLY);
    std::vector<char> buffer(kMiB);
    size_t total = 0;
    while (const size_t got = file.read(buffer.data(), buffer.size())) total += got;
    errno = EIO;
    check(total == mib_ * kMiB, "short re-read");
  }

  void create(const std::string& prefix, size_t from, size_t count) {
    for (size_t i = from; i < from + count; ++i) {
      File file(root_ + prefix + std::to_string(i), O_CREAT | O_EXCL | O_WRONLY);
      file.write(bytes_.data(), kBlock);
      file.close();
    }
  }

  void each(const std::string& prefix, const std::function<void(const std::string&)>& act) {
    for (size_t i = 0; i < files_; ++i) act(root_ + prefix + std::to_string(i));
  }

  void list(const std::string& name, size_t entries) {
    DIR* directory = ::opendir((root_ + name).c_str());
    check(directory != nullptr, "opendir");
    size_t count = 0;
    while (const dirent* entry = ::readdir(directory)) {
      struct stat st {};
      if (::fstatat(::dirfd(directory), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) ++count;
    }
    ::closedir(directory);
    errno = EIO;
    check(count == entries + 2, "listing has " + std::to_string(count) + " entries");
  }

  static void parallel(size_t threads, const std::function<void(size_t)>& body) {
    std::vector<std::thread> running;
    std::vector<std::string> failures(threads);
    for (size_t t = 0; t < threads; ++t) {
      running.emplace_back([&, t] {
        try {
          body(t);
        } catch (const std::exception& failure) {
          failures[t] = failure.what();
        }
      });
    }
    for (std::thread& thread : running) thread.join();
    for (const std::string& failure : failures) {
      if (!failure.empty()) throw std::runtime_error(failure);
    }
  }

  // Names and inodes alone, not pages; needs root.
  static bool drop_kernel_caches() {
    ::sync();
    const int fd = ::open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (fd < 0) return false;
    const bool dropped = ::write(fd, "2", 1) == 1;
    ::close(fd);
    return dropped;
  }

  const std::string root_;
  const size_t mib_, files_, directory_files_;
  const bool steps_;
  std::vector<char> bytes_;
  std::vector<std::pair<std::string, std::string>> results_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc % 2 != 0 || argv[1][0] == '-') {
    std::fprintf(stderr,
                 "usage: fsbench DIR [--mib N] [--files N] [--directory-files N] [--steps 1]\n"
                 "  --steps  wait for a line of input before each phase\n");
    return 2;
  }
  size_t mib = 1024, files = 10'000, directory_files = 100'000;
  bool steps = false;
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string option = argv[i];
    const size_t value = std::strtoull(argv[i + 1], nullptr, 10);
    if (option == "--mib") {
      mib = value;
    } else if (option == "--files") {
      files = value;
    } else if (option == "--directory-files") {
      directory_files = value;
    } else if (option == "--steps") {
      steps = value != 0;
    } else {
      std::fprintf(stderr, "fsbench: unknown option %s\n", option.c_str());
      return 2;
    }
  }
  try {
    Bench bench(std::string(argv[1]) + "/fsbench", mib, files, directory_files, steps);
    bench.run();
    bench.print();
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "fsbench: %s\n", failure.what());
    return 1;
  }
}
