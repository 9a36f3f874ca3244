#include "tests/model/file_operations.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <utility>

namespace weir::testing {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
// Operations set times before it, the clock only later ones.
constexpr int64_t kClockSinceNs = 1'600'000'000 * kSecondNs;
constexpr size_t kBlock = 4096;  // what O_DIRECT wants offsets, sizes and memory to be multiples of
constexpr uint64_t kMiB = 1 << 20;

const std::map<std::string, int>& open_flags() {
  static const std::map<std::string, int> flags = {
      {"rdonly", O_RDONLY}, {"wronly", O_WRONLY}, {"rdwr", O_RDWR},     {"creat", O_CREAT},      {"excl", O_EXCL},
      {"trunc", O_TRUNC},   {"append", O_APPEND}, {"direct", O_DIRECT}, {"nofollow", O_NOFOLLOW}};
  return flags;
}

const std::map<std::string, int>& allocation_modes() {
  static const std::map<std::string, int> modes = {{"extend", 0},
                                                   {"keep", FALLOC_FL_KEEP_SIZE},
                                                   {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
                                                   {"zero", FALLOC_FL_ZERO_RANGE},
                                                   {"zero-keep", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}};
  return modes;
}

std::string failed() { return strerrorname_np(errno); }
std::string ended(int64_t result) { return result < 0 ? failed() : "ok"; }
uint64_t number(const std::string& word) { return std::strtoull(word.c_str(), nullptr, 0); }

// Memory that suits O_DIRECT.
class Buffer {
 public:
  explicit Buffer(size_t size)
      : bytes_(static_cast<char*>(std::aligned_alloc(kBlock, (size + kBlock) / kBlock * kBlock))), size_(size) {}
  ~Buffer() { std::free(bytes_); }
  Buffer(const Buffer&) = delete;
  char* data() { return bytes_; }
  size_t size() const { return size_; }
  void fill(uint64_t seed) { fill_pattern(bytes_, size_, seed); }

  static void fill_pattern(char* bytes, size_t size, uint64_t seed) {
    for (size_t i = 0; i < size; ++i) {
      if (i % 8 == 0) seed = seed * 6364136223846793005u + 1442695040888963407u;
      bytes[i] = static_cast<char>(seed >> (8 + 6 * (i % 8)));
    }
  }

 private:
  char* bytes_;
  size_t size_;
};

// FNV-1a.
std::string digest(const char* bytes, size_t size) {
  uint64_t hash = 14695981039346656037u;
  for (size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<unsigned char>(bytes[i])) * 1099511628211u;
  char text[64];
  std::snprintf(text, sizeof(text), "%zu bytes %016llx", size, static_cast<unsigned long long>(hash));
  return text;
}

std::string read_all(int fd, uint64_t offset, size_t size, bool at_offset) {
  Buffer buffer(size);
  const ssize_t got = at_offset ? ::pread(fd, buffer.data(), size, static_cast<off_t>(offset))
                                : ::read(fd, buffer.data(), size);
  return got < 0 ? failed() : digest(buffer.data(), got);
}

std::string time_text(const timespec& time) {
  const int64_t ns = comparable_time_ns(int64_t{time.tv_sec} * kSecondNs + time.tv_nsec);
  return ns >= kClockSinceNs ? "now" : std::to_string(ns);
}

std::string attributes(const struct stat& st) {
  std::ostringstream text;
  text << std::oct << st.st_mode << std::dec << " uid " << st.st_uid << " gid " << st.st_gid;
  text << " links " << st.st_nlink;
  if (!S_ISDIR(st.st_mode)) text << " size " << st.st_size;
  if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) text << " device " << major(st.st_rdev) << ':' << minor(st.st_rdev);
  text << " mtime " << time_text(st.st_mtim);
  return text.str();
}

timespec parse_time(const std::string& word) {
  if (word == "now") return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if (word == "omit") return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  const int64_t ns = std::strtoll(word.c_str(), nullptr, 10);
  const int64_t seconds = ns / kSecondNs - (ns % kSecondNs < 0 ? 1 : 0);
  return {.tv_sec = seconds, .tv_nsec = ns - seconds * kSecondNs};
}

// It is not opened: a mount of a volume is `nodev`, and the reference has no driver for it.
bool is_device(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode));
}

// What is written into one moves its mtime on some file systems.
bool is_fifo(int fd) {
  struct stat st {};
  return ::fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

// One with a named user and a mask, as the kernel takes it.
std::string acl_of(uint64_t seed) {
  struct Entry {
    uint16_t tag;
    uint16_t permissions;
    uint32_t id;
  };
  constexpr uint16_t kUserObject = 1, kUser = 2, kGroupObject = 4, kMask = 16, kOther = 32;
  constexpr uint32_t kNoId = UINT32_MAX;
  const auto bits = [&seed] {
    const auto permissions = static_cast<uint16_t>(seed % 8);
    seed /= 8;
    return permissions;
  };
  const Entry entries[] = {{kUserObject, bits(), kNoId}, {kUser, bits(), 1}, {kGroupObject, bits(), kNoId},
                           {kMask, bits(), kNoId},       {kOther, bits(), kNoId}};
  const uint32_t version = 2;
  std::string acl(reinterpret_cast<const char*>(&version), sizeof(version));
  return acl.append(reinterpret_cast<const char*>(entries), sizeof(entries));
}

template <typename Map>
std::string pick_name(Random& random, const Map& map) {
  return std::next(map.begin(), static_cast<ptrdiff_t>(random.below(map.size())))->first;
}

}  // namespace

int64_t comparable_time_ns(int64_t mtime_ns) { return mtime_ns >= kClockSinceNs ? kClockSinceNs : mtime_ns; }

std::string text_of(const Operation& operation) {
  std::string text;
  for (const std::string& word : operation) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string text_of(const std::vector<Operation>& operations) {
  std::string text;
  for (const Operation& operation : operations) text += text_of(operation) + "\n";
  return text;
}

std::vector<Operation> parse_operations(const std::string& text) {
  std::vector<Operation> operations;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line.starts_with('#')) continue;
    std::istringstream words(line);
    Operation operation;
    for (std::string word; words >> word;) operation.push_back(word);
    operations.push_back(std::move(operation));
  }
  return operations;
}

// --- making

uint64_t OperationGenerator::aligned(uint64_t value) const { return options_.direct ? value / kBlock * kBlock : value; }

std::string OperationGenerator::path() {
  static const std::array<std::string, 5> names = {"a", "b", "c", "d", "a-b"};
  std::string path = names[random_.below(names.size())];
  while (path.size() < 9 && random_.below(100) < 45) path += "/" + names[random_.below(names.size())];
  return path;
}

std::string OperationGenerator::slot() {
  for (int tries = 0; tries < 8; ++tries) {
    const uint64_t slot = random_.below(FileOperator::kSlots);
    if (opened_ & (1u << slot)) return std::to_string(slot);
  }
  return "0";
}

std::string OperationGenerator::offset() {
  uint64_t offset = 0;
  switch (random_.below(6)) {
    case 0: break;
    case 1: offset = random_.below(100); break;
    case 2: offset = kBlock * random_.below(64); break;
    case 3: offset = kMiB - 3 + random_.below(6); break;  // the page of the page store
    default: offset = random_.below(300'000);
  }
  return std::to_string(aligned(offset));
}

std::string OperationGenerator::length() {
  uint64_t length = 0;
  switch (random_.below(5)) {
    case 0: length = 1 + random_.below(20); break;
    case 1: length = kBlock; break;
    case 2: length = 100'000 + random_.below(60'000); break;
    default: length = 1 + random_.below(10'000);
  }
  return std::to_string(options_.direct ? std::max<uint64_t>(aligned(length), kBlock) : length);
}

std::string OperationGenerator::mode() {
  static const std::array<std::string, 9> modes = {"0644",  "0600",  "0755",  "0400", "04755",
                                                   "02755", "02644", "01777", "0"};
  return modes[random_.below(modes.size())];
}

std::string OperationGenerator::time() {
  switch (random_.below(6)) {
    case 0: return "now";
    case 1: return "omit";
    case 2: return "0";
    case 3: return std::to_string(static_cast<int64_t>(random_.below(1'000'000)) * kSecondNs);
    default: return std::to_string(static_cast<int64_t>(random_.below(1'500'000'000)) * kSecondNs +
                                   static_cast<int64_t>(random_.below(kSecondNs)));
  }
}

std::string OperationGenerator::xattr_name() {
  static const std::array<std::string, 4> names = {"user.a", "user.b", "user.Upper-Case_1", "trusted.a"};
  return names[random_.below(names.size())];
}

Operation OperationGenerator::open() {
  const uint64_t slot = random_.below(FileOperator::kSlots);
  opened_ |= 1u << slot;
  static const std::array<std::string, 3> accesses = {"rdonly", "wronly", "rdwr"};
  std::string flags = accesses[random_.below(10) < 6 ? 2 : random_.below(3)];
  if (random_.below(3) != 0) flags += ",creat";
  if (random_.one_in(8)) flags += ",excl";
  if (random_.one_in(6)) flags += ",trunc";
  if (random_.one_in(12)) flags += ",nofollow";
  if (options_.direct) {
    flags += ",direct";
  } else if (random_.one_in(6)) {
    flags += ",append";
  }
  return {"open", std::to_string(slot), path(), flags, mode()};
}

Operation OperationGenerator::on_content() {
  const std::string seed = std::to_string(random_.below(1'000'000));
  switch (random_.below(options_.direct ? 14 : 19)) {
    case 0:
    case 1:
    case 2: return {"pwrite", slot(), offset(), length(), seed};
    case 3:
    case 4:
    case 5: return {"pread", slot(), offset(), length()};
    case 6: return {"fstat", slot()};
    case 7: return {"close", slot()};
    case 8: return {"ftruncate", slot(), offset()};
    case 9: return {"fsync", slot()};
    case 10: return {"truncate", path(), offset()};
    case 11: return {"cat", path()};
    case 12: return {"copy_range", slot(), slot(), offset(), offset(), length()};
    case 13: return {"fallocate", slot(), pick_name(random_, allocation_modes()), offset(), length()};
    case 14: return {"write", slot(), length(), seed};
    case 15: return {"read", slot(), length()};
    case 16: return {"seek", slot(), offset()};
    case 17: return {"map_write", slot(), offset(), length(), seed};
    default: return {"map_read", slot(), offset(), length()};
  }
}

Operation OperationGenerator::on_attributes() {
  const std::string seed = std::to_string(random_.below(1'000'000));
  switch (random_.below(11)) {
    case 10: return {"setacl", path(), random_.one_in(2) ? "access" : "default", seed};
    case 0:
    case 1: return {"chmod", path(), mode()};
    case 2: return {"chown", path(), std::to_string(random_.below(3)), std::to_string(random_.below(3))};
    case 3:
    case 4: return {"utimens", path(), time(), time()};
    case 5: {
      static const std::array<std::string, 3> flags = {"any", "create", "replace"};
      const std::string length = std::to_string(random_.one_in(6) ? 0 : random_.below(300));
      return {"setxattr", path(), xattr_name(), length, seed, flags[random_.below(flags.size())]};
    }
    case 6: return {"getxattr", path(), xattr_name()};
    case 7: return {"removexattr", path(), xattr_name()};
    default: return {"stat", path()};
  }
}

Operation OperationGenerator::on_links() {
  switch (random_.below(7)) {
    case 0: return {"mkfifo", path(), mode()};
    case 6: {
      static const std::array<std::string, 3> types = {"char", "block", "socket"};
      return {"mknod", path(), mode(), types[random_.below(types.size())], std::to_string(random_.below(1'000'000))};
    }
    case 1: {
      const uint64_t slot = random_.below(FileOperator::kSlots);
      opened_ |= 1u << slot;
      return {"tmpfile", std::to_string(slot), random_.one_in(3) ? path() : ".", mode()};
    }
    case 2: return {"linkat", slot(), path()};
    default: return {"link", path(), path()};
  }
}

Operation OperationGenerator::on_names() {
  switch (random_.below(18)) {
    case 0:
    case 1: return {"mkdir", path(), mode()};
    case 2: return {"rmdir", path()};
    case 3:
    case 4: return {"unlink", path()};
    case 5:
    case 6:
    case 7: {
      static const std::array<std::string, 4> flags = {"replace", "noreplace", "exchange", "both"};
      return {"rename", path(), path(), flags[random_.below(6) % flags.size()]};
    }
    case 8: return {"symlink", path(), path()};
    case 9: return {"readlink", path()};
    case 10:
    case 11: return {"put", path(), length(), std::to_string(random_.below(1'000'000))};
    case 12:
    case 13:
    case 14:
    case 15: return on_links();
    default: return {"list", random_.one_in(4) ? "." : path()};
  }
}

Operation OperationGenerator::next() {
  const uint64_t kind = random_.below(100);
  if (opened_ == 0 || kind < 12) return open();
  if (kind < 50) return on_content();
  if (kind < 68) return on_attributes();
  return on_names();
}

// --- carrying out

FileOperator::FileOperator(std::filesystem::path root) : root_(std::move(root)) { slots_.fill(-1); }

FileOperator::~FileOperator() { close_all(); }

void FileOperator::close_all() {
  for (int& fd : slots_) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
}

std::string FileOperator::execute(const Operation& operation) {
  using Method = std::string (FileOperator::*)(const Operation&);
  static const std::map<std::string, Method> methods = {
      {"open", &FileOperator::open},
      {"close", &FileOperator::close},
      {"pwrite", &FileOperator::pwrite},
      {"write", &FileOperator::write},
      {"pread", &FileOperator::pread},
      {"read", &FileOperator::read},
      {"seek", &FileOperator::seek},
      {"ftruncate", &FileOperator::ftruncate},
      {"truncate", &FileOperator::truncate},
      {"fallocate", &FileOperator::fallocate},
      {"fsync", &FileOperator::fsync},
      {"fstat", &FileOperator::fstat},
      {"map_write", &FileOperator::map_write},
      {"map_read", &FileOperator::map_read},
      {"copy_range", &FileOperator::copy_range},
      {"put", &FileOperator::put},
      {"cat", &FileOperator::cat},
      {"stat", &FileOperator::stat},
      {"list", &FileOperator::list},
      {"rename", &FileOperator::rename},
      {"link", &FileOperator::link},
      {"unlink", &FileOperator::unlink},
      {"mkdir", &FileOperator::mkdir},
      {"rmdir", &FileOperator::rmdir},
      {"symlink", &FileOperator::symlink},
      {"readlink", &FileOperator::readlink},
      {"mkfifo", &FileOperator::mkfifo},
      {"mknod", &FileOperator::mknod},
      {"chmod", &FileOperator::chmod},
      {"chown", &FileOperator::chown},
      {"utimens", &FileOperator::utimens},
      {"setxattr", &FileOperator::setxattr},
      {"getxattr", &FileOperator::getxattr},
      {"removexattr", &FileOperator::removexattr},
      {"setacl", &FileOperator::setacl},
      {"tmpfile", &FileOperator::tmpfile},
      {"linkat", &FileOperator::linkat},
  };
  const auto found = methods.find(operation.at(0));
  if (found == methods.end()) return "no such operation";
  return (this->*found->second)(operation);
}

std::string FileOperator::open(const Operation& op) {
  int& slot = slot_of(op);
  if (slot >= 0) ::close(slot);
  int flags = O_CLOEXEC | O_NONBLOCK;  // of a fifo: at once
  std::istringstream names(op.at(3));
  for (std::string name; std::getline(names, name, ',');) flags |= open_flags().at(name);
  slot = -1;
  if (is_device(at(op.at(2)))) return "a device";
  slot = ::open(at(op.at(2)).c_str(), flags, static_cast<mode_t>(number(op.at(4))));
  if (slot < 0) return failed();
  struct stat st {};
  const std::string result = ::fstat(slot, &st) == 0 ? attributes(st) : failed();
  // Its end as an inode is another than a file's: nobody tells the daemon who has it open.
  if (is_fifo(slot)) ::close(std::exchange(slot, -1));
  return result;
}

std::string FileOperator::close(const Operation& op) {
  int& slot = slot_of(op);
  const std::string result = ended(::close(slot));
  slot = -1;
  return result;
}

std::string FileOperator::pwrite(const Operation& op) {
  Buffer buffer(number(op.at(3)));
  buffer.fill(number(op.at(4)));
  const ssize_t wrote = ::pwrite(slot_of(op), buffer.data(), buffer.size(), static_cast<off_t>(number(op.at(2))));
  return wrote < 0 ? failed() : std::to_string(wrote);
}

std::string FileOperator::write(const Operation& op) {
  Buffer buffer(number(op.at(2)));
  buffer.fill(number(op.at(3)));
  const ssize_t wrote = ::write(slot_of(op), buffer.data(), buffer.size());
  if (wrote < 0) return failed();
  return std::to_string(wrote) + " to " + std::to_string(::lseek(slot_of(op), 0, SEEK_CUR));
}

std::string FileOperator::pread(const Operation& op) {
  return read_all(slot_of(op), number(op.at(2)), number(op.at(3)), true);
}

std::string FileOperator::read(const Operation& op) { return read_all(slot_of(op), 0, number(op.at(2)), false); }

std::string FileOperator::seek(const Operation& op) {
  const off_t position = ::lseek(slot_of(op), static_cast<off_t>(number(op.at(2))), SEEK_SET);
  return position < 0 ? failed() : std::to_string(position);
}

std::string FileOperator::ftruncate(const Operation& op) {
  return ended(::ftruncate(slot_of(op), static_cast<off_t>(number(op.at(2)))));
}

std::string FileOperator::truncate(const Operation& op) {
  return ended(::truncate(at(op.at(1)).c_str(), static_cast<off_t>(number(op.at(2)))));
}

std::string FileOperator::fallocate(const Operation& op) {
  return ended(::fallocate(slot_of(op), allocation_modes().at(op.at(2)), static_cast<off_t>(number(op.at(3))),
                           static_cast<off_t>(number(op.at(4)))));
}

std::string FileOperator::fsync(const Operation& op) { return ended(::fsync(slot_of(op))); }

std::string FileOperator::fstat(const Operation& op) {
  struct stat st {};
  return ::fstat(slot_of(op), &st) == 0 ? attributes(st) : failed();
}

// A mapping ends where the file ends: what lies behind has no defined content.
std::string FileOperator::map_write(const Operation& op) {
  struct stat st {};
  if (::fstat(slot_of(op), &st) != 0) return failed();
  const uint64_t from = number(op.at(2));
  const uint64_t to = std::min<uint64_t>(from + number(op.at(3)), st.st_size);
  if (!S_ISREG(st.st_mode) || from >= to) return "nothing to map";
  void* bytes = ::mmap(nullptr, to, PROT_READ | PROT_WRITE, MAP_SHARED, slot_of(op), 0);
  if (bytes == MAP_FAILED) return failed();
  Buffer::fill_pattern(static_cast<char*>(bytes) + from, to - from, number(op.at(4)));
  const std::string synced = ended(::msync(bytes, to, MS_SYNC));
  ::munmap(bytes, to);
  return synced;
}

std::string FileOperator::map_read(const Operation& op) {
  struct stat st {};
  if (::fstat(slot_of(op), &st) != 0) return failed();
  const uint64_t from = number(op.at(2));
  const uint64_t to = std::min<uint64_t>(from + number(op.at(3)), st.st_size);
  if (!S_ISREG(st.st_mode) || from >= to) return "nothing to map";
  void* bytes = ::mmap(nullptr, to, PROT_READ, MAP_SHARED, slot_of(op), 0);
  if (bytes == MAP_FAILED) return failed();
  const std::string content = digest(static_cast<char*>(bytes) + from, to - from);
  ::munmap(bytes, to);
  return content;
}

std::string FileOperator::copy_range(const Operation& op) {
  off64_t from = static_cast<off64_t>(number(op.at(3)));
  off64_t to = static_cast<off64_t>(number(op.at(4)));
  const ssize_t copied = ::copy_file_range(slot_of(op), &from, slots_.at(number(op.at(2))), &to, number(op.at(5)), 0);
  return copied < 0 ? failed() : std::to_string(copied);
}

std::string FileOperator::put(const Operation& op) {
  if (is_device(at(op.at(1)))) return "a device";
  const int fd = ::open(at(op.at(1)).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_CLOEXEC, 0644);
  if (fd < 0) return failed();
  if (is_fifo(fd)) {
    ::close(fd);
    return "a fifo";
  }
  Buffer buffer(number(op.at(2)));
  buffer.fill(number(op.at(3)));
  std::string result = std::to_string(::write(fd, buffer.data(), buffer.size()));
  result += " closed " + ended(::close(fd));
  return result + " " + stat(op);
}

std::string FileOperator::cat(const Operation& op) {
  if (is_device(at(op.at(1)))) return "a device";
  const int fd = ::open(at(op.at(1)).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return failed();
  struct stat st {};
  ::fstat(fd, &st);
  const std::string result =
      S_ISREG(st.st_mode) ? read_all(fd, 0, static_cast<size_t>(st.st_size) + 1, true) : std::string("no file");
  ::close(fd);
  return result;
}

std::string FileOperator::stat(const Operation& op) {
  struct stat st {};
  return ::lstat(at(op.at(1)).c_str(), &st) == 0 ? attributes(st) : failed();
}

std::string FileOperator::list(const Operation& op) {
  DIR* directory = ::opendir(at(op.at(1)).c_str());
  if (directory == nullptr) return failed();
  std::multiset<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    names.insert(std::string(entry->d_name) + ":" + std::to_string(entry->d_type));
  }
  ::closedir(directory);
  std::string text;
  for (const std::string& name : names) text += " " + name;
  return text;
}

std::string FileOperator::rename(const Operation& op) {
  static const std::map<std::string, unsigned> flags = {{"replace", 0},
                                                        {"noreplace", RENAME_NOREPLACE},
                                                        {"exchange", RENAME_EXCHANGE},
                                                        {"both", RENAME_NOREPLACE | RENAME_EXCHANGE}};
  return ended(::renameat2(AT_FDCWD, at(op.at(1)).c_str(), AT_FDCWD, at(op.at(2)).c_str(), flags.at(op.at(3))));
}

std::string FileOperator::link(const Operation& op) {
  return ended(::link(at(op.at(1)).c_str(), at(op.at(2)).c_str()));
}

std::string FileOperator::unlink(const Operation& op) { return ended(::unlink(at(op.at(1)).c_str())); }

std::string FileOperator::mkdir(const Operation& op) {
  return ended(::mkdir(at(op.at(1)).c_str(), static_cast<mode_t>(number(op.at(2)))));
}

std::string FileOperator::rmdir(const Operation& op) { return ended(::rmdir(at(op.at(1)).c_str())); }

std::string FileOperator::symlink(const Operation& op) {
  return ended(::symlink(op.at(1).c_str(), at(op.at(2)).c_str()));
}

std::string FileOperator::readlink(const Operation& op) {
  char target[4096];
  const ssize_t length = ::readlink(at(op.at(1)).c_str(), target, sizeof(target));
  return length < 0 ? failed() : std::string(target, length);
}

std::string FileOperator::mkfifo(const Operation& op) {
  return ended(::mkfifo(at(op.at(1)).c_str(), static_cast<mode_t>(number(op.at(2)))));
}

std::string FileOperator::mknod(const Operation& op) {
  static const std::map<std::string, mode_t> types = {{"char", S_IFCHR}, {"block", S_IFBLK}, {"socket", S_IFSOCK}};
  const uint64_t device = number(op.at(4));
  return ended(::mknod(at(op.at(1)).c_str(), types.at(op.at(3)) | static_cast<mode_t>(number(op.at(2))),
                       makedev(device % 4'096, device / 4'096)));
}

std::string FileOperator::chmod(const Operation& op) {
  return ended(::chmod(at(op.at(1)).c_str(), static_cast<mode_t>(number(op.at(2)))));
}

std::string FileOperator::chown(const Operation& op) {
  const auto uid = static_cast<uid_t>(number(op.at(2)));
  const auto gid = static_cast<gid_t>(number(op.at(3)));
  return ended(::lchown(at(op.at(1)).c_str(), uid, gid));
}

std::string FileOperator::utimens(const Operation& op) {
  const timespec times[2] = {parse_time(op.at(2)), parse_time(op.at(3))};
  const std::string path = at(op.at(1));
  if (::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0) return failed();
  struct stat st {};
  if (::lstat(path.c_str(), &st) != 0) return failed();
  // What reading does to it is another matter; what was set must be seen.
  const std::string atime = op.at(2) == "omit" ? "" : " atime " + time_text(st.st_atim);
  return "mtime " + time_text(st.st_mtim) + atime;
}

std::string FileOperator::setxattr(const Operation& op) {
  static const std::map<std::string, int> flags = {{"any", 0}, {"create", XATTR_CREATE}, {"replace", XATTR_REPLACE}};
  Buffer value(number(op.at(3)));
  value.fill(number(op.at(4)));
  return ended(::lsetxattr(at(op.at(1)).c_str(), op.at(2).c_str(), value.data(), value.size(), flags.at(op.at(5))));
}

std::string FileOperator::getxattr(const Operation& op) {
  Buffer value(XATTR_SIZE_MAX);
  const ssize_t size = ::lgetxattr(at(op.at(1)).c_str(), op.at(2).c_str(), value.data(), value.size());
  return size < 0 ? failed() : digest(value.data(), size);
}

std::string FileOperator::setacl(const Operation& op) {
  const std::string acl = acl_of(number(op.at(3)));
  return ended(::lsetxattr(at(op.at(1)).c_str(), ("system.posix_acl_" + op.at(2)).c_str(), acl.data(), acl.size(), 0)) +
         " " + stat(op);
}

std::string FileOperator::tmpfile(const Operation& op) {
  int& slot = slot_of(op);
  if (slot >= 0) ::close(slot);
  slot = ::open(at(op.at(2)).c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, static_cast<mode_t>(number(op.at(3))));
  if (slot < 0) return failed();
  struct stat st {};
  return ::fstat(slot, &st) == 0 ? attributes(st) : failed();
}

std::string FileOperator::linkat(const Operation& op) {
  const std::string opened = "/proc/self/fd/" + std::to_string(slot_of(op));
  return ended(::linkat(AT_FDCWD, opened.c_str(), AT_FDCWD, at(op.at(2)).c_str(), AT_SYMLINK_FOLLOW));
}

std::string FileOperator::removexattr(const Operation& op) {
  return ended(::lremovexattr(at(op.at(1)).c_str(), op.at(2).c_str()));
}

}  // namespace weir::testing
