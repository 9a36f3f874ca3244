// volume_bench DIR [files] -- what the requests that the kernel makes of a mount cost the daemon, without the mount.
//
// Makes a volume in DIR (RocksKv, page store, a directory as its under store), does what a program's calls come down to for a
// front, one after the other, and prints the CPU time of the calling thread, and of the whole process, for each. Under
// `valgrind --tool=callgrind` it counts instructions, which no other work on the machine changes.
#include <sys/resource.h>
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "kv/rocks_kv.h"
#include "pages/page_store.h"
#include "volume/volume.h"

namespace weir::volume {
namespace {

constexpr meta::Caller kCaller{};
constexpr char kRules[] =
    R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_BACK"}, "pathRules": []})";

template <typename T>
T value_of(Result<T> result, const char* what) {
  if (!result) {
    std::fprintf(stderr, "%s: %s\n", what, result.error().to_string().c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

double thread_us() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

double process_us() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

class Bench {
 public:
  Bench(const std::string& dir, uint64_t files) : files_(files) {
    std::filesystem::create_directories(dir + "/ufs");
    kv_ = value_of(kv::RocksKv::open({.dir = dir + "/kv"}), "metadata store");
    pages_ = value_of(pages::open_page_store({.dirs = {dir + "/pages"}, .volume_id = "bench"}), "page store");
    VolumeOptions options;
    options.names.sync_interval = Duration(-1);
    volume_ = value_of(Volume::open(*kv_, *pages_, system_clock(), options, "bench"), "volume");
    value_of(volume_->set_rules_document(kRules), "rules");
    value_of(volume_->add_mount("/s3", "file://" + dir + "/ufs", {}), "mount point");
    InodeId parent = value_of(volume_->lookup(kRootInode, "s3"), "mount point").attributes.inode;
    for (const char* name : {"a", "b", "c"})
      parent = value_of(volume_->make_directory(parent, name, 0755, kCaller), name).attributes.inode;
    directory_ = parent;
  }
  ~Bench() { volume_->stop(Deadline::after(std::chrono::seconds(5))); }

  void run() {
    // Each is what the kernel asks for: attributes of a directory that changed are asked again with the next call in it.
    measure("create + write + close", [&](uint64_t i) {
      absent(name(i));
      const auto created = value_of(
          volume_->create(directory_, name(i), 0644, kCaller, {.access = Access::kWrite}), "create");
      (void)volume_->get_xattr(created.entry.attributes.inode, "security.capability");
      value_of(created.file->local_file().write_at(0, std::as_bytes(std::span(content_))), "write");
      value_of(created.file->flush(), "flush");
      created.file->close();
      changed_directory();
    });
    settle();
    measure("look up", [&](uint64_t i) { value_of(volume_->lookup(directory_, name(i * 7919 % files_)), "lookup"); });
    measure("look up what is absent", [&](uint64_t i) { absent("absent" + std::to_string(i)); });
    measure("attributes", [&](uint64_t) { changed_directory(); });
    measure_list();
    measure("rename", [&](uint64_t i) {
      absent(name(i) + "x");
      value_of(volume_->rename(directory_, name(i), directory_, name(i) + "x", meta::RenameMode::kReplace), "rename");
      changed_directory();
    });
    settle();
    measure("rename over another", [&](uint64_t i) {
      value_of(volume_->rename(directory_, name(i) + "x", directory_, name(i + 1) + "x", meta::RenameMode::kReplace),
               "rename");
      changed_directory();
    }, 0, 2);
    settle();
    measure("unlink", [&](uint64_t i) {
      value_of(volume_->unlink(directory_, name(i) + "x"), "unlink");
      changed_directory();
    }, 1, 2);
    measure("make a directory", [&](uint64_t i) {
      absent(name(i));
      value_of(volume_->make_directory(directory_, name(i), 0755, kCaller), "make_directory");
      changed_directory();
    });
    measure("remove a directory", [&](uint64_t i) {
      value_of(volume_->remove_directory(directory_, name(i)), "remove_directory");
      changed_directory();
    });
  }

 private:
  static std::string name(uint64_t i) { return "file-" + std::to_string(i); }

  void absent(const std::string& name) {
    if (volume_->lookup(directory_, name)) std::exit(2);
  }
  void changed_directory() { value_of(volume_->get_attributes(directory_), "attributes"); }

  void settle() {
    value_of(volume_->persister().drain(Deadline::after(std::chrono::minutes(5))), "drain");
  }

  void report(const char* what, uint64_t count, double thread, double process) {
    const auto each = static_cast<double>(count);
    std::printf("%-28s %8.2f us of the thread, %8.2f of the process\n", what, thread / each, process / each);
    std::fflush(stdout);
  }

  // Every `step`th file from `first` on.
  void measure(const char* what, const std::function<void(uint64_t)>& act, uint64_t first = 0, uint64_t step = 1) {
    const double thread = thread_us(), process = process_us();
    uint64_t count = 0;
    for (uint64_t i = first; i < files_; i += step, ++count) act(i);
    report(what, count, thread_us() - thread, process_us() - process);
  }

  void measure_list() {
    const double thread = thread_us(), process = process_us();
    std::string after;
    for (bool more = true; more;) {
      const auto page = value_of(volume_->read_directory(directory_, after, 700, WithAttributes::kYes), "list");
      more = page.more;
      after = page.entries.back().entry.cursor;
    }
    report("list with attributes", files_, thread_us() - thread, process_us() - process);
  }

  const uint64_t files_;
  const std::string content_ = std::string(4096, 'x');
  std::unique_ptr<kv::RocksKv> kv_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<Volume> volume_;
  InodeId directory_{};
};

}  // namespace
}  // namespace weir::volume

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: volume_bench DIR [files]\n");
    return 2;
  }
  weir::volume::Bench(argv[1], argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 10'000).run();
}
