#include "tests/crash/mount_load.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>

namespace weir::testing {
namespace {

constexpr int kListed = 300;
constexpr size_t kLineBytes = 12;
constexpr size_t kMappedBytes = 1 << 20;

[[noreturn]] void wrong(const std::string& what) { throw std::runtime_error(what); }

std::string line_of(int appender, int number) {
  char line[kLineBytes + 1];
  std::snprintf(line, sizeof line, "%d:%09d\n", appender, number);
  return line;
}

}  // namespace

// One call, and how long it took.
class MountLoad::Step {
 public:
  explicit Step(MountLoad& load) : load_(load) {}

  // A result below 0 is a failure.
  template <typename Call>
  auto operator()(const char* what, const Call& call) {
    const auto begin = std::chrono::steady_clock::now();
    errno = 0;
    const auto result = call();
    const int err = errno;
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
    for (int64_t longest = load_.longest_ms_; took.count() > longest;) {
      if (load_.longest_ms_.compare_exchange_weak(longest, took.count())) break;
    }
    ++load_.calls_;
    if (result < 0) wrong(std::string(what) + ": " + std::strerror(err));
    return result;
  }

 private:
  MountLoad& load_;
};

MountLoad::MountLoad(const std::filesystem::path& root) : root_(root) {
  // What is open from the beginning to the end is opened before the first round.
  std::vector<std::pair<std::string, Work>> works;
  works.emplace_back("maker 1", maker(1));
  works.emplace_back("maker 2", maker(2));
  works.emplace_back("renamer", renamer());
  works.emplace_back("appender 0", appender(0));
  works.emplace_back("appender 1", appender(1));
  works.emplace_back("writer", writer());
  works.emplace_back("reader of an unlinked file", reader_of_unlinked());
  works.emplace_back("lister", lister());
  for (auto& [name, work] : works) threads_.emplace_back([this, name, work = std::move(work)] { run(name, work); });
}

MountLoad::~MountLoad() {
  stopping_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void MountLoad::run(const std::string& name, Work work) {
  for (int round = 0; !stopping_; ++round) {
    try {
      work(round);
    } catch (const std::exception& e) {
      failed(name + ", round " + std::to_string(round) + ": " + e.what());
      return;
    }
  }
}

void MountLoad::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  check_appended();
}

MountLoad::Work MountLoad::maker(int number) {
  const std::string directory = root_ / ("made" + std::to_string(number));
  if (::mkdir(directory.c_str(), 0755) != 0) failed("mkdir " + directory);
  return [=, this](int round) {
    Step step(*this);
    const std::string path = directory + "/f" + std::to_string(round);
    const std::string content = path + std::string(static_cast<size_t>(round % 7) * 1000, 'x');
    const int fd = step("create", [&] { return ::open(path.c_str(), O_CREAT | O_EXCL | O_RDWR, 0644); });
    const auto written = step("write", [&] { return ::write(fd, content.data(), content.size()); });
    if (written != static_cast<ssize_t>(content.size())) wrong("short write");
    step("close", [&] { return ::close(fd); });
    const std::string moved = path + "m", linked = path + "l", symlink = path + "s", below = path + "d", fifo = path + "p";
    step("rename", [&] { return ::rename(path.c_str(), moved.c_str()); });
    step("link", [&] { return ::link(moved.c_str(), linked.c_str()); });
    step("symlink", [&] { return ::symlink("target", symlink.c_str()); });
    step("mkdir", [&] { return ::mkdir(below.c_str(), 0700); });
    step("mkfifo", [&] { return ::mkfifo(fifo.c_str(), 0600); });
    step("setxattr", [&] { return ::setxattr(moved.c_str(), "user.a", "b", 1, XATTR_CREATE); });
    step("removexattr", [&] { return ::removexattr(moved.c_str(), "user.a"); });
    struct stat st {};
    step("stat", [&] { return ::stat(linked.c_str(), &st); });
    if (st.st_nlink != 2 || st.st_size != written) wrong("stat: " + std::to_string(st.st_nlink) + " links");
    std::string there(content.size() + 1, '\0');
    const int again = step("open", [&] { return ::open(linked.c_str(), O_RDONLY); });
    there.resize(static_cast<size_t>(step("read", [&] { return ::read(again, there.data(), there.size()); })));
    step("close", [&] { return ::close(again); });
    if (there != content) wrong("read other bytes than were written");
    step("unlink", [&] { return ::unlink(moved.c_str()); });
    step("unlink", [&] { return ::unlink(symlink.c_str()); });
    step("unlink", [&] { return ::unlink(fifo.c_str()); });
    step("rmdir", [&] { return ::rmdir(below.c_str()); });
    if (round % 4 != 0) step("unlink", [&] { return ::unlink(linked.c_str()); });
  };
}

MountLoad::Work MountLoad::renamer() {
  const std::string a = root_ / "a", b = root_ / "b";
  for (const auto& [path, text] : {std::pair(a, "0"), std::pair(b, "1")}) {
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY, 0644);
    if (fd < 0 || ::write(fd, text, 1) != 1) failed("write " + path);
    ::close(fd);
  }
  return [=, this](int round) {
    Step step(*this);
    char text = ' ';
    const int fd = step("open", [&] { return ::open(a.c_str(), O_RDONLY); });
    step("read", [&] { return ::read(fd, &text, 1); });
    step("close", [&] { return ::close(fd); });
    if (text != '0' + round % 2) wrong("an exchange happened twice or not at all");
    step("exchange", [&] { return ::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE); });
  };
}

MountLoad::Work MountLoad::appender(int number) {
  const std::string path = root_ / "appended";
  return [=, this](int round) {
    Step step(*this);
    const std::string line = line_of(number, round);
    const int fd = step("open", [&] { return ::open(path.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644); });
    const auto written = step("append", [&] { return ::write(fd, line.data(), line.size()); });
    if (written != static_cast<ssize_t>(line.size())) wrong("short append");
    step("close", [&] { return ::close(fd); });
    lines_[number] = round + 1;
  };
}

// Every line once, in the order of its appender.
void MountLoad::check_appended() {
  FILE* const file = std::fopen((root_ / "appended").c_str(), "r");
  if (file == nullptr) return failed("open appended");
  int next[2] = {};
  char line[64];
  while (std::fgets(line, sizeof line, file) != nullptr) {
    const int number = line[0] == '1' ? 1 : 0;
    if (line_of(number, next[number]++) != line) {
      failed("appended out of order, twice or torn: " + std::string(line));
      break;
    }
  }
  std::fclose(file);
  for (const int number : {0, 1}) {
    if (next[number] != lines_[number]) failed("appender " + std::to_string(number) + " wrote " +
                                               std::to_string(lines_[number]) + " lines, there are " + std::to_string(next[number]));
  }
}

MountLoad::Work MountLoad::writer() {
  const std::string path = root_ / "written";
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR, 0644);
  if (fd < 0 || ::ftruncate(fd, kMappedBytes) != 0 || ::flock(fd, LOCK_EX) != 0) failed("open written");
  auto* const memory =
      static_cast<char*>(::mmap(nullptr, kMappedBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  if (memory == MAP_FAILED) failed("mmap written");
  auto kept = std::shared_ptr<void>(memory, [fd](void* mapping) {
    ::munmap(mapping, kMappedBytes);
    ::close(fd);
  });
  return [=, this](int round) {
    Step step(*this);
    const off_t place = (round % 1000) * 1000;
    step("pwrite", [&] { return ::pwrite(fd, &round, sizeof round, place); });
    int there = -1;
    step("pread", [&] { return ::pread(fd, &there, sizeof there, place); });
    if (there != round) wrong("read another number than was written");
    std::memcpy(static_cast<char*>(kept.get()) + place + 100, &round, sizeof round);
    if (round % 500 == 0) step("fsync", [&] { return ::fsync(fd); });
    const int other = step("open", [&] { return ::open(path.c_str(), O_RDONLY); });
    if (::flock(other, LOCK_EX | LOCK_NB) == 0) wrong("the lock was lost");
    step("close", [&] { return ::close(other); });
  };
}

MountLoad::Work MountLoad::reader_of_unlinked() {
  const std::string path = root_ / "unlinked";
  const std::string content(5000, 'u');
  const int fd = ::open(path.c_str(), O_CREAT | O_RDWR, 0644);
  if (fd < 0 || ::write(fd, content.data(), content.size()) != 5000 || ::unlink(path.c_str()) != 0) failed("unlinked");
  auto kept = std::shared_ptr<void>(nullptr, [fd](void*) { ::close(fd); });
  return [=, this](int) {
    (void)kept;
    Step step(*this);
    std::string there(content.size(), '\0');
    step("read unlinked", [&] { return ::pread(fd, there.data(), there.size(), 0); });
    if (there != content) wrong("the unlinked file has other bytes");
    struct stat st {};
    step("fstat unlinked", [&] { return ::fstat(fd, &st); });
    if (st.st_nlink != 0) wrong("the unlinked file has a name");
  };
}

MountLoad::Work MountLoad::lister() {
  const std::string directory = root_ / "listed";
  ::mkdir(directory.c_str(), 0755);
  for (int i = 0; i < kListed; ++i) {
    const int fd = ::open((directory + "/entry" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0644);
    if (fd < 0) failed("create in listed");
    ::close(fd);
  }
  return [=, this](int) {
    Step step(*this);
    DIR* opened = nullptr;
    step("opendir", [&] { return (opened = ::opendir(directory.c_str())) == nullptr ? -1 : 0; });
    int entries = 0;
    for (;;) {
      const dirent* entry = nullptr;
      step("readdir", [&] {
        entry = ::readdir(opened);
        return entry == nullptr && errno != 0 ? -1 : 0;
      });
      if (entry == nullptr) break;
      if (entry->d_name[0] != '.') ++entries;
    }
    ::closedir(opened);
    if (entries != kListed) wrong("listed " + std::to_string(entries) + " of " + std::to_string(kListed) + " entries");
  };
}

}  // namespace weir::testing
