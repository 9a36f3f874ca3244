#include "tests/crash/volatile_disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdarg>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <source_location>
#include <utility>
#include <vector>

#include "base/check.h"
#include "io/fault.h"

namespace weir::testing {
namespace {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kSectorBytes = 512;
constexpr const char* kBootIdPath = "/proc/sys/kernel/random/boot_id";

// The calls below the interposed ones.
namespace real {
int openat(int at, const char* path, int flags, mode_t mode) {
  return static_cast<int>(::syscall(SYS_openat, at, path, flags, mode));
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) {
  return ::syscall(SYS_pwrite64, fd, bytes, size, offset);
}
}  // namespace real

using Key = std::pair<uint64_t, uint64_t>;  // device, inode

struct Node {
  ~Node() {
    if (fd >= 0) ::close(fd);
  }
  Key key;
  bool directory = false;
  int fd = -1;  // of its own; keeps the inode number from being used again
  // Of a file: what the device surely has.
  uint64_t size = 0;
  int64_t mtime_ns = 0;
  // Pages that were changed since, as they were; absent: not a byte was allocated.
  std::map<uint64_t, std::optional<std::string>> before;
};

// Names that change as one.
struct NameChange {
  struct One {
    Node* directory;
    std::string name;
    Node* node;  // null: no such name any more
  };
  std::vector<One> all;
};

struct StatOf {
  bool ok = false;
  struct stat st {};
};

StatOf stat_of(int fd) {
  StatOf s;
  s.ok = ::fstat(fd, &s.st) == 0;
  return s;
}

int64_t mtime_of(const struct stat& st) { return st.st_mtim.tv_sec * 1'000'000'000 + st.st_mtim.tv_nsec; }

std::string path_of(int fd) {
  char target[PATH_MAX];
  const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target);
  return size < 0 ? std::string() : std::string(target, static_cast<size_t>(size));
}

std::optional<std::string> read_page(int fd, uint64_t page) {
  const off_t at = static_cast<off_t>(page * kPageBytes);
  const off_t data = ::lseek(fd, at, SEEK_DATA);
  if (data < 0 || data >= at + static_cast<off_t>(kPageBytes)) return std::nullopt;
  std::string bytes(kPageBytes, '\0');
  const ssize_t size = ::pread(fd, bytes.data(), bytes.size(), at);
  if (size <= 0) return std::nullopt;
  return bytes;
}

thread_local const std::source_location* sync_site = nullptr;  // of the io call under way
thread_local bool inside = false;                              // of our own calls

// Tells where a sync of io/ was asked for.
class SiteHook final : public io::FaultHook {
 public:
  int before(io::Attempt& attempt) override {
    sync_site = attempt.site;
    return 0;
  }
  void after(const io::Attempt&) override { sync_site = nullptr; }
};

}  // namespace

struct VolatileDisk::Impl {
  explicit Impl(std::string root) : root(std::move(root)) {}

  const std::string root;
  Node* root_node = nullptr;
  std::map<Key, std::unique_ptr<Node>> nodes;
  std::map<Node*, std::map<std::string, Node*>> names;  // that the device surely has
  std::list<NameChange> changes;                        // oldest first
  std::atomic<bool> killed{false};
  std::string ignored_site;
  std::set<std::string> sites;
  uint64_t syncs = 0;
  std::function<void()> before_change;

  // --- all of the rest with Interposed::mutex held
  Node* find(Key key) {
    const auto it = nodes.find(key);
    return it == nodes.end() ? nullptr : it->second.get();
  }
  Node* adopt(int fd, const struct stat& st) {
    auto node = std::make_unique<Node>();
    node->key = {st.st_dev, st.st_ino};
    node->directory = S_ISDIR(st.st_mode);
    const int flags = node->directory ? O_RDONLY | O_DIRECTORY : O_RDWR;
    node->fd = real::openat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(fd)).c_str(), flags | O_CLOEXEC, 0);
    CHECK(node->fd >= 0);
    node->mtime_ns = mtime_of(st);
    Node* const raw = node.get();
    nodes[raw->key] = std::move(node);
    return raw;
  }
  // What is there at the beginning counts as synced.
  void take_in(Node* directory) {
    DIR* const listing = ::fdopendir(real::openat(directory->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    CHECK(listing != nullptr);
    while (const dirent* const entry = ::readdir(listing)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      const int fd = real::openat(directory->fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
      if (fd < 0) continue;
      const StatOf s = stat_of(fd);
      Node* node = find({s.st.st_dev, s.st.st_ino});
      if (node == nullptr) node = adopt(fd, s.st);
      ::close(fd);
      node->size = static_cast<uint64_t>(s.st.st_size);
      names[directory][name] = node;
      if (node->directory) take_in(node);
    }
    ::closedir(listing);
  }

  void save_pages(Node& node, uint64_t offset, uint64_t size) {
    if (size == 0) return;
    for (uint64_t page = offset / kPageBytes; page <= (offset + size - 1) / kPageBytes; ++page) {
      const auto [it, inserted] = node.before.try_emplace(page);
      if (inserted && page * kPageBytes < node.size) it->second = read_page(node.fd, page);
    }
  }
  void about_to_truncate(Node& node, uint64_t size) {
    const uint64_t now = static_cast<uint64_t>(stat_of(node.fd).st.st_size);
    // The page that the end lies in is zeroed behind it.
    if (size < now) save_pages(node, size, std::min(now, std::max(node.size, size + 1)) - size);
  }

  // The changes that `wanted` says, and those that they build on, in order.
  std::vector<std::list<NameChange>::iterator> closure(const std::function<bool(const NameChange&)>& wanted) {
    std::vector<std::list<NameChange>::iterator> chosen;
    std::set<std::pair<Node*, std::string>> named;
    std::set<Node*> touched;
    for (auto it = changes.end(); it != changes.begin();) {
      --it;
      bool take = wanted(*it);
      for (const auto& one : it->all) {
        take = take || named.contains({one.directory, one.name}) || (one.node != nullptr && touched.contains(one.node));
      }
      if (!take) continue;
      chosen.push_back(it);
      for (const auto& one : it->all) {
        named.insert({one.directory, one.name});
        touched.insert(one.directory);
        if (one.node != nullptr) touched.insert(one.node);
      }
    }
    std::ranges::reverse(chosen);
    return chosen;
  }
  static void apply(const NameChange& change, std::map<Node*, std::map<std::string, Node*>>& names) {
    for (const auto& one : change.all) {
      if (one.node == nullptr) {
        names[one.directory].erase(one.name);
      } else {
        names[one.directory][one.name] = one.node;
      }
    }
  }
  void make_names_durable(const std::function<bool(const NameChange&)>& wanted) {
    for (const auto it : closure(wanted)) {
      apply(*it, names);
      changes.erase(it);
    }
  }
  bool has_durable_name(const Node* node) const {
    return std::ranges::any_of(names, [&](const auto& entry) {
      return std::ranges::any_of(entry.second, [&](const auto& name) { return name.second == node; });
    });
  }
  void forget_gone() {
    std::set<Node*> alive{root_node};
    for (const auto& [directory, entries] : names) {
      for (const auto& [name, node] : entries) alive.insert(node);
    }
    for (const auto& change : changes) {
      for (const auto& one : change.all) {
        alive.insert(one.directory);
        if (one.node != nullptr) alive.insert(one.node);
      }
    }
    for (auto it = nodes.begin(); it != nodes.end();) {
      if (alive.contains(it->second.get()) || stat_of(it->second->fd).st.st_nlink != 0) {
        ++it;
      } else {
        names.erase(it->second.get());
        it = nodes.erase(it);
      }
    }
  }

  enum class Sync : uint8_t { kData, kAll, kFileSystem };
  void sync(Node* node, Sync what) {
    ++syncs;
    const std::string site = site_of(node->fd);
    sites.insert(site);
    if (!ignored_site.empty() && site == ignored_site) return;
    if (what == Sync::kFileSystem) {
      make_names_durable([](const NameChange&) { return true; });
      for (auto& [key, each] : nodes) sync_contents(*each, Sync::kAll);
      forget_gone();
      return;
    }
    if (node->directory) {
      make_names_durable([&](const NameChange& change) {
        return std::ranges::any_of(change.all, [&](const auto& one) { return one.directory == node; });
      });
      if (nodes.size() > 2000) forget_gone();
      return;
    }
    sync_contents(*node, what);
    if (!has_durable_name(node)) {
      make_names_durable([&](const NameChange& change) {
        return std::ranges::any_of(change.all, [&](const auto& one) { return one.node == node; });
      });
    }
  }
  static void sync_contents(Node& node, Sync what) {
    if (node.directory) return;
    const StatOf s = stat_of(node.fd);
    node.before.clear();
    if (what == Sync::kAll || node.size != static_cast<uint64_t>(s.st.st_size)) node.mtime_ns = mtime_of(s.st);
    node.size = static_cast<uint64_t>(s.st.st_size);
  }
  static std::string site_of(int fd) {
    if (sync_site != nullptr) {
      const std::string_view file = sync_site->file_name();
      const size_t slash = file.find_last_of('/');
      const size_t folder = slash == std::string_view::npos ? slash : file.find_last_of('/', slash - 1);
      return std::string(folder == std::string_view::npos ? file : file.substr(folder + 1)) + " " + sync_site->function_name();
    }
    const std::string path = path_of(fd);
    if (path.ends_with(".log")) return "rocksdb log";
    if (path.ends_with(".sst")) return "rocksdb table";
    if (path.find("/MANIFEST-") != std::string::npos) return "rocksdb manifest";
    if (S_ISDIR(stat_of(fd).st.st_mode)) return "rocksdb directory";
    return "rocksdb other";
  }

  void copy_file(const Node& node, int to, Loss loss, Random& random) const {
    const StatOf s = stat_of(node.fd);
    const auto size_now = static_cast<uint64_t>(s.st.st_size);
    // What is there, holes staying holes.
    for (off_t at = 0;;) {
      at = ::lseek(node.fd, at, SEEK_DATA);
      if (at < 0) break;
      off_t end = ::lseek(node.fd, at, SEEK_HOLE);
      if (end < 0) end = s.st.st_size;
      std::string bytes(static_cast<size_t>(end - at), '\0');
      const ssize_t count = ::pread(node.fd, bytes.data(), bytes.size(), at);
      if (count > 0) CHECK(real::pwrite(to, bytes.data(), static_cast<size_t>(count), at) == count);
      at = end;
    }
    CHECK(::syscall(SYS_ftruncate, to, size_now) == 0);
    if (loss != Loss::kNothing) {
      uint64_t size = loss == Loss::kAll || random.one_in(2) ? node.size : size_now;
      if (loss != Loss::kAll && random.one_in(8)) size = std::min(size, size_now) + random.below(1 + std::max(node.size, size_now) - std::min(node.size, size_now));
      const uint64_t odds = 1 + random.below(4);  // some files fare better than others
      for (const auto& [page, before] : node.before) {
        const off_t at = static_cast<off_t>(page * kPageBytes);
        if (page * kPageBytes >= std::max(size, node.size)) continue;
        const bool keep = loss != Loss::kAll && !random.one_in(odds + 1);
        if (keep) continue;
        std::string bytes = before.value_or(std::string(kPageBytes, '\0'));
        const bool tear = loss != Loss::kAll && random.one_in(3);
        const bool was_hole = !before.has_value();
        if (tear) {
          std::string now(kPageBytes, '\0');
          static_cast<void>(::pread(node.fd, now.data(), now.size(), at));
          const uint64_t from = kSectorBytes * random.below(kPageBytes / kSectorBytes + 1);
          const uint64_t upto = from + kSectorBytes * random.below((kPageBytes - from) / kSectorBytes + 1);
          bytes.replace(from, upto - from, now, from, upto - from);
        } else if (was_hole && random.one_in(2)) {
          CHECK(::syscall(SYS_fallocate, to, 0x01 | 0x02, at, kPageBytes) == 0);  // keep the size, punch a hole
          continue;
        }
        CHECK(real::pwrite(to, bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size()));
      }
      CHECK(::syscall(SYS_ftruncate, to, size) == 0);
    }
    const bool new_mtime = loss == Loss::kNothing || (loss != Loss::kAll && random.one_in(2));
    const int64_t mtime_ns = new_mtime ? mtime_of(s.st) : node.mtime_ns;
    const timespec times[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT},
                               {.tv_sec = mtime_ns / 1'000'000'000, .tv_nsec = mtime_ns % 1'000'000'000}};
    CHECK(::syscall(SYS_utimensat, to, nullptr, times, 0) == 0);
  }

  void copy_directory(Node* directory, int to, Loss loss, Random& random,
                      const std::map<Node*, std::map<std::string, Node*>>& chosen) const {
    const auto entries = chosen.find(directory);
    if (entries == chosen.end()) return;
    for (const auto& [name, node] : entries->second) {
      if (node->directory) {
        CHECK(::syscall(SYS_mkdirat, to, name.c_str(), 0700) == 0);
        const int below = real::openat(to, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        copy_directory(node, below, loss, random, chosen);
        ::close(below);
      } else {
        const int file = real::openat(to, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        CHECK(file >= 0);
        copy_file(*node, file, loss, random);
        ::close(file);
      }
    }
  }

  void make_image(const std::string& image, Loss loss, Random& random) {
    auto chosen = names;
    const uint64_t odds = 1 + random.below(4);
    size_t left = loss == Loss::kLatest && !changes.empty() ? random.below(changes.size() + 1) : changes.size();
    std::set<const NameChange*> kept;
    for (const auto& change : changes) {
      const bool keep = loss == Loss::kNothing || (loss == Loss::kLatest && left > 0) ||
                        (loss == Loss::kSome && !random.one_in(odds + 1));
      if (left > 0) --left;
      if (keep) kept.insert(&change);
    }
    for (const auto it : closure([&](const NameChange& change) { return kept.contains(&change); })) apply(*it, chosen);
    CHECK(::syscall(SYS_mkdirat, AT_FDCWD, image.c_str(), 0700) == 0);
    const int to = real::openat(AT_FDCWD, image.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    CHECK(to >= 0);
    copy_directory(root_node, to, loss, random, chosen);
    ::close(to);
  }
};

// Lives for ever: calls of other threads may come at any time.
struct Interposed {
  std::recursive_mutex mutex;
  std::atomic<size_t> count{0};
  std::vector<VolatileDisk::Impl*> disks;
  std::string boot_id;
  SiteHook hook;

  static Interposed& get() {
    static Interposed* const one = new Interposed;
    return *one;
  }

  // With the mutex held.
  VolatileDisk::Impl* disk_of(const StatOf& s) {
    if (!s.ok) return nullptr;
    for (VolatileDisk::Impl* disk : disks) {
      if (disk->find({s.st.st_dev, s.st.st_ino}) != nullptr) return disk;
    }
    return nullptr;
  }
  VolatileDisk::Impl* disk_of(int fd) { return disk_of(stat_of(fd)); }

  // Runs the hook of the disk that the change concerns, without the mutex.
  void announce(int fd) {
    std::function<void()> hook;
    {
      const std::lock_guard lock(mutex);
      if (VolatileDisk::Impl* const disk = disk_of(fd)) hook = disk->before_change;
    }
    if (!hook) return;
    inside = true;
    hook();
    inside = false;
  }
};

namespace {

bool watching() { return !inside && Interposed::get().count.load(std::memory_order_acquire) != 0; }

int refuse() {
  errno = EIO;
  return -1;
}

// A call that changes the contents of an open file.
template <typename Prepare, typename Call>
auto change_file(int fd, const Prepare& prepare, const Call& call) -> decltype(call()) {
  if (!watching()) return call();
  Interposed& interposed = Interposed::get();
  const StatOf s = stat_of(fd);
  if (!s.ok || !S_ISREG(s.st.st_mode)) return call();
  interposed.announce(fd);
  const std::lock_guard lock(interposed.mutex);
  VolatileDisk::Impl* const disk = interposed.disk_of(s);
  if (disk == nullptr) return call();
  if (disk->killed) return refuse();
  prepare(*disk, *disk->find({s.st.st_dev, s.st.st_ino}));
  return call();
}

// A name below a directory: the directory opened, and the last component.
struct Place {
  Place(int at, const char* path) {
    const std::string whole = path;
    const size_t slash = whole.find_last_of('/');
    name = slash == std::string::npos ? whole : whole.substr(slash + 1);
    const std::string parent = slash == std::string::npos ? "." : slash == 0 ? "/" : whole.substr(0, slash);
    fd = real::openat(at, parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  }
  ~Place() {
    if (fd >= 0) ::close(fd);
  }
  Place(const Place&) = delete;

  StatOf look() const {
    StatOf s;
    s.ok = fd >= 0 && ::fstatat(fd, name.c_str(), &s.st, AT_SYMLINK_NOFOLLOW) == 0;
    return s;
  }
  Node* node(VolatileDisk::Impl& disk) const {
    const StatOf s = look();
    return s.ok ? disk.find({s.st.st_dev, s.st.st_ino}) : nullptr;
  }
  int fd = -1;
  std::string name;
};

Node* directory_of(VolatileDisk::Impl& disk, const Place& place) {
  const StatOf s = stat_of(place.fd);
  return s.ok ? disk.find({s.st.st_dev, s.st.st_ino}) : nullptr;
}

// Below a disk's folder `on_disk` makes the call, under the lock; elsewhere it is made as it is.
template <typename Call, typename OnDisk>
int call_at(const Place& place, const Call& call, const OnDisk& on_disk) {
  if (place.fd < 0) return call();
  Interposed& interposed = Interposed::get();
  interposed.announce(place.fd);
  const std::lock_guard lock(interposed.mutex);
  VolatileDisk::Impl* const disk = interposed.disk_of(place.fd);
  if (disk == nullptr) return call();
  if (disk->killed) return refuse();
  return on_disk(*disk);
}

int open_call(int at, const char* path, int flags, mode_t mode) {
  const auto call = [&] { return real::openat(at, path, flags, mode); };
  if (!watching()) return call();
  Interposed& interposed = Interposed::get();
  if (std::strcmp(path, kBootIdPath) == 0) {
    const std::lock_guard lock(interposed.mutex);
    if (interposed.boot_id.empty()) return call();
    const int fd = static_cast<int>(::syscall(SYS_memfd_create, "boot_id", 1u /* MFD_CLOEXEC */));
    const std::string text = interposed.boot_id + "\n";
    CHECK(fd >= 0 && real::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    return fd;
  }
  if ((flags & (O_CREAT | O_TRUNC)) == 0 || (flags & O_TMPFILE) == O_TMPFILE) return call();
  const Place place(at, path);
  return call_at(place, call, [&](VolatileDisk::Impl& disk) {
    Node* const directory = directory_of(disk, place);
    Node* const before = place.node(disk);
    if (before != nullptr && (flags & O_TRUNC) != 0) disk.about_to_truncate(*before, 0);
    const int fd = call();
    if (fd >= 0 && before == nullptr) {
      const StatOf s = stat_of(fd);
      disk.changes.push_back({{{directory, place.name, disk.adopt(fd, s.st)}}});
    }
    return fd;
  });
}

int mkdir_call(int at, const char* path, mode_t mode) {
  const auto call = [&] { return static_cast<int>(::syscall(SYS_mkdirat, at, path, mode)); };
  if (!watching()) return call();
  const Place place(at, path);
  return call_at(place, call, [&](VolatileDisk::Impl& disk) {
    const int result = call();
    if (result == 0) {
      const int fd = real::openat(place.fd, place.name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
      disk.changes.push_back({{{directory_of(disk, place), place.name, disk.adopt(fd, stat_of(fd).st)}}});
      ::close(fd);
    }
    return result;
  });
}

int unlink_call(int at, const char* path, int flags) {
  const auto call = [&] { return static_cast<int>(::syscall(SYS_unlinkat, at, path, flags)); };
  if (!watching()) return call();
  const Place place(at, path);
  return call_at(place, call, [&](VolatileDisk::Impl& disk) {
    const int result = call();
    if (result == 0) disk.changes.push_back({{{directory_of(disk, place), place.name, nullptr}}});
    return result;
  });
}

int rename_call(int from_at, const char* from, int to_at, const char* to, unsigned flags) {
  const auto call = [&] { return static_cast<int>(::syscall(SYS_renameat2, from_at, from, to_at, to, flags)); };
  if (!watching()) return call();
  const Place source(from_at, from), target(to_at, to);
  if (target.fd < 0) return call();
  return call_at(source, call, [&](VolatileDisk::Impl& disk) {
    Node* const moved = source.node(disk);
    Node* const replaced = target.node(disk);
    const int result = call();
    if (result == 0 && moved != replaced) {
      const bool exchange = (flags & 2) != 0;
      disk.changes.push_back({{{directory_of(disk, source), source.name, exchange ? replaced : nullptr},
                               {directory_of(disk, target), target.name, moved}}});
    }
    return result;
  });
}

int link_call(int from_at, const char* from, int to_at, const char* to, int flags) {
  const auto call = [&] { return static_cast<int>(::syscall(SYS_linkat, from_at, from, to_at, to, flags)); };
  if (!watching()) return call();
  const Place target(to_at, to);
  return call_at(target, call, [&](VolatileDisk::Impl& disk) {
    const int result = call();
    if (result == 0) {
      Node* node = target.node(disk);
      if (node == nullptr) {
        // It was made without a name: nothing of it is durable.
        const int fd = real::openat(target.fd, target.name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
        const StatOf s = stat_of(fd);
        node = disk.adopt(fd, s.st);
        ::close(fd);
        disk.save_pages(*node, 0, static_cast<uint64_t>(s.st.st_size));
      }
      disk.changes.push_back({{{directory_of(disk, target), target.name, node}}});
    }
    return result;
  });
}

template <typename Call>
int sync_node(int fd, int what, const Call& call) {
  if (!watching()) return call();
  Interposed& interposed = Interposed::get();
  const StatOf s = stat_of(fd);
  if (!s.ok) return call();
  interposed.announce(fd);
  const std::lock_guard lock(interposed.mutex);
  VolatileDisk::Impl* const disk = interposed.disk_of(s);
  if (disk == nullptr) return call();
  if (disk->killed) return refuse();
  using Sync = VolatileDisk::Impl::Sync;
  disk->sync(disk->find({s.st.st_dev, s.st.st_ino}), static_cast<Sync>(what));
  return 0;  // the folder goes with the test: no device has to do with it
}

}  // namespace

VolatileDisk::VolatileDisk(std::string root) : impl_(std::make_unique<Impl>(std::move(root))) {
  Interposed& interposed = Interposed::get();
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  const std::lock_guard lock(interposed.mutex);
  const int fd = real::openat(AT_FDCWD, impl_->root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
  CHECK(fd >= 0);
  impl_->root_node = impl_->adopt(fd, stat_of(fd).st);
  ::close(fd);
  impl_->take_in(impl_->root_node);
  interposed.disks.push_back(impl_.get());
  if (interposed.count.fetch_add(1) == 0) {
    io::FaultHook* none = nullptr;
    io::fault_hook.compare_exchange_strong(none, &interposed.hook);
  }
}

VolatileDisk::~VolatileDisk() {
  Interposed& interposed = Interposed::get();
  const std::lock_guard lock(interposed.mutex);
  std::erase(interposed.disks, impl_.get());
  if (interposed.count.fetch_sub(1) == 1) {
    io::FaultHook* ours = &interposed.hook;
    io::fault_hook.compare_exchange_strong(ours, nullptr);
  }
}

const std::string& VolatileDisk::root() const { return impl_->root; }

void VolatileDisk::lose_power(const std::string& image, Loss loss, Random& random,
                              const std::function<void()>& meanwhile) {
  const std::lock_guard lock(Interposed::get().mutex);
  impl_->make_image(image, loss, random);
  if (meanwhile) meanwhile();
}

void VolatileDisk::kill() {
  const std::lock_guard lock(Interposed::get().mutex);
  impl_->killed = true;
}

void VolatileDisk::revive() { impl_->killed = false; }

void VolatileDisk::ignore_syncs(std::string_view site) {
  const std::lock_guard lock(Interposed::get().mutex);
  impl_->ignored_site = site;
}

std::set<std::string> VolatileDisk::sync_sites() const {
  const std::lock_guard lock(Interposed::get().mutex);
  return impl_->sites;
}

uint64_t VolatileDisk::syncs() const {
  const std::lock_guard lock(Interposed::get().mutex);
  return impl_->syncs;
}

void VolatileDisk::set_before_change(std::function<void()> hook) {
  const std::lock_guard lock(Interposed::get().mutex);
  impl_->before_change = std::move(hook);
}

void set_boot_id(std::string boot_id) {
  const std::lock_guard lock(Interposed::get().mutex);
  Interposed::get().boot_id = std::move(boot_id);
}

}  // namespace weir::testing

// ---- in front of the C library's

namespace {

using weir::testing::change_file;
using weir::testing::Node;
using Disk = weir::testing::VolatileDisk::Impl;

mode_t mode_argument(int flags, va_list arguments) {
  return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

uint64_t place_of(int fd) {
  if ((::fcntl(fd, F_GETFL) & O_APPEND) != 0) return static_cast<uint64_t>(weir::testing::stat_of(fd).st.st_size);
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  return at < 0 ? 0 : static_cast<uint64_t>(at);
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return weir::testing::open_call(AT_FDCWD, path, flags, mode);
}
int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return weir::testing::open_call(AT_FDCWD, path, flags, mode);
}
int openat(int at, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return weir::testing::open_call(at, path, flags, mode);
}
int openat64(int at, const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_argument(flags, arguments);
  va_end(arguments);
  return weir::testing::open_call(at, path, flags, mode);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  return change_file(
      fd, [&](Disk& disk, Node& node) { disk.save_pages(node, place_of(fd), size); },
      [&] { return ::syscall(SYS_write, fd, bytes, size); });
}
ssize_t pwrite64(int fd, const void* bytes, size_t size, off_t offset) {
  return change_file(
      fd, [&](Disk& disk, Node& node) { disk.save_pages(node, static_cast<uint64_t>(offset), size); },
      [&] { return ::syscall(SYS_pwrite64, fd, bytes, size, offset); });
}
ssize_t pwrite(int fd, const void* bytes, size_t size, off_t offset) { return pwrite64(fd, bytes, size, offset); }

int ftruncate64(int fd, off_t size) noexcept {
  return static_cast<int>(change_file(
      fd, [&](Disk& disk, Node& node) { disk.about_to_truncate(node, static_cast<uint64_t>(size)); },
      [&] { return ::syscall(SYS_ftruncate, fd, size); }));
}
int ftruncate(int fd, off_t size) noexcept { return ftruncate64(fd, size); }

int fallocate64(int fd, int mode, off_t offset, off_t size) {
  return static_cast<int>(change_file(
      fd,
      [&](Disk& disk, Node& node) {
        const bool reserves = (mode & ~1) == 0;
        if (!reserves) disk.save_pages(node, static_cast<uint64_t>(offset), static_cast<uint64_t>(size));
      },
      [&] { return ::syscall(SYS_fallocate, fd, mode, offset, size); }));
}
int fallocate(int fd, int mode, off_t offset, off_t size) { return fallocate64(fd, mode, offset, size); }

ssize_t copy_file_range(int from, off_t* from_offset, int fd, off_t* offset, size_t size, unsigned flags) {
  return change_file(
      fd,
      [&](Disk& disk, Node& node) {
        disk.save_pages(node, offset != nullptr ? static_cast<uint64_t>(*offset) : place_of(fd), size);
      },
      [&] { return ::syscall(SYS_copy_file_range, from, from_offset, fd, offset, size, flags); });
}

int fsync(int fd) {
  return weir::testing::sync_node(fd, 1, [&] { return static_cast<int>(::syscall(SYS_fsync, fd)); });
}
int fdatasync(int fd) {
  return weir::testing::sync_node(fd, 0, [&] { return static_cast<int>(::syscall(SYS_fdatasync, fd)); });
}
int syncfs(int fd) noexcept {
  return weir::testing::sync_node(fd, 2, [&] { return static_cast<int>(::syscall(SYS_syncfs, fd)); });
}

int mkdir(const char* path, mode_t mode) noexcept { return weir::testing::mkdir_call(AT_FDCWD, path, mode); }
int mkdirat(int at, const char* path, mode_t mode) noexcept { return weir::testing::mkdir_call(at, path, mode); }
int unlink(const char* path) noexcept { return weir::testing::unlink_call(AT_FDCWD, path, 0); }
int unlinkat(int at, const char* path, int flags) noexcept { return weir::testing::unlink_call(at, path, flags); }
int rmdir(const char* path) noexcept { return weir::testing::unlink_call(AT_FDCWD, path, AT_REMOVEDIR); }
int rename(const char* from, const char* to) noexcept {
  return weir::testing::rename_call(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int from_at, const char* from, int to_at, const char* to) noexcept {
  return weir::testing::rename_call(from_at, from, to_at, to, 0);
}
int renameat2(int from_at, const char* from, int to_at, const char* to, unsigned flags) noexcept {
  return weir::testing::rename_call(from_at, from, to_at, to, flags);
}
int link(const char* from, const char* to) noexcept {
  return weir::testing::link_call(AT_FDCWD, from, AT_FDCWD, to, 0);
}
int linkat(int from_at, const char* from, int to_at, const char* to, int flags) noexcept {
  return weir::testing::link_call(from_at, from, to_at, to, flags);
}

}  // extern "C"
