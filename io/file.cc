#include "io/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "io/attempt.h"
#include "io/errno.h"
#include "io/open_flags.h"

namespace weir::io {

std::atomic<FaultHook*> fault_hook{nullptr};

namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;
constexpr size_t kCopyBufferBytes = 256 << 10;
constexpr const char* kAbsentXattr = "user.weir.absent";

int64_t to_ns(const timespec& t) { return t.tv_sec * kNsPerSecond + t.tv_nsec; }

timespec to_timespec(std::optional<int64_t> ns) {
  if (!ns) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  const int64_t rest = (*ns % kNsPerSecond + kNsPerSecond) % kNsPerSecond;
  return {.tv_sec = (*ns - rest) / kNsPerSecond, .tv_nsec = rest};
}

std::unexpected<Error> fail_with_errno(std::string_view operation, int fd) {
  return std::unexpected(from_errno(errno, operation, fd));
}

Result<void> done(int64_t result, std::string_view operation, int fd) {
  if (result < 0) [[unlikely]] return fail_with_errno(operation, fd);
  return {};
}

Result<std::optional<uint64_t>> seek(int fd, uint64_t offset, int whence) {
  const off_t found = make_attempt({.operation = Operation::kStat, .fd = fd, .offset = offset}, [&](const Attempt&) {
    return ::lseek(fd, static_cast<off_t>(offset), whence);
  });
  if (found >= 0) return static_cast<uint64_t>(found);
  if (errno == ENXIO) return std::nullopt;
  return fail_with_errno("lseek", fd);
}

Result<void> change_range(Operation operation, const char* name, int fd, int mode, uint64_t offset, uint64_t size) {
  const int result = make_attempt({.operation = operation, .fd = fd, .offset = offset, .size = size},
                                  [&](const Attempt&) {
                                    return ::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(size));
                                  });
  return done(result, name, fd);
}

int keep_size_flag(File::Extend extend) { return extend == File::Extend::kKeepSize ? FALLOC_FL_KEEP_SIZE : 0; }

}  // namespace

int open_flags(const OpenOptions& options) {
  int flags = O_CLOEXEC;
  switch (options.access) {
    case Access::kRead: flags |= O_RDONLY; break;
    case Access::kWrite: flags |= O_WRONLY; break;
    case Access::kReadWrite: flags |= O_RDWR; break;
  }
  switch (options.create) {
    case Create::kNever: break;
    case Create::kIfAbsent: flags |= O_CREAT; break;
    case Create::kExclusive: flags |= O_CREAT | O_EXCL; break;
  }
  if (options.truncate) flags |= O_TRUNC;
  if (options.append) flags |= O_APPEND;
  if (options.direct) flags |= O_DIRECT;
  if (!options.follow_symlink) flags |= O_NOFOLLOW;
  return flags;
}

Result<Descriptor> open_at(int directory_fd, const char* name, int flags, mode_t mode) {
  const Operation operation = (flags & O_CREAT) != 0 ? Operation::kCreate : Operation::kOpen;
  const int fd = make_attempt({.operation = operation, .fd = directory_fd, .name = name},
                              [&](const Attempt&) { return ::openat(directory_fd, name, flags, mode); });
  if (fd < 0) [[unlikely]] return std::unexpected(from_errno(errno, "open", name));
  return Descriptor(fd);
}

FileStat to_file_stat(const struct stat& st) {
  return {
      .device = st.st_dev,
      .inode = st.st_ino,
      .mode = st.st_mode,
      .links = static_cast<uint32_t>(st.st_nlink),
      .uid = st.st_uid,
      .gid = st.st_gid,
      .size_bytes = static_cast<uint64_t>(st.st_size),
      .allocated_bytes = static_cast<uint64_t>(st.st_blocks) * 512,  // st_blocks counts 512-byte units on Linux
      .atime_ns = to_ns(st.st_atim),
      .mtime_ns = to_ns(st.st_mtim),
      .ctime_ns = to_ns(st.st_ctim),
  };
}

FileType FileStat::type() const {
  switch (mode & S_IFMT) {
    case S_IFREG: return FileType::kRegular;
    case S_IFDIR: return FileType::kDirectory;
    case S_IFLNK: return FileType::kSymlink;
    default: return FileType::kOther;
  }
}

void Descriptor::close() {
  // Linux frees the number whatever close returns; repeating it after EINTR could close another thread's file.
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<File> File::open(const char* path, const OpenOptions& options) {
  TRY_ASSIGN(Descriptor descriptor, open_at(AT_FDCWD, path, open_flags(options), options.mode));
  return File(std::move(descriptor));
}

Result<File> File::open_nameless(const char* directory, mode_t mode) {
  TRY_ASSIGN(Descriptor descriptor, open_at(AT_FDCWD, directory, O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
  return File(std::move(descriptor));
}

Result<File> File::duplicate() const {
  const int copy = ::fcntl(fd(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return fail_with_errno("dup", fd());
  return File(Descriptor(copy));
}

Result<size_t> File::read_at(uint64_t offset, std::span<std::byte> buffer) const {
  size_t total = 0;
  while (total < buffer.size()) {
    const ssize_t count = make_attempt(
        {.operation = Operation::kRead, .fd = fd(), .offset = offset + total, .size = buffer.size() - total},
        [&](const Attempt& a) { return ::pread(fd(), buffer.data() + total, a.size, static_cast<off_t>(a.offset)); });
    if (count < 0) [[unlikely]] return fail_with_errno("read", fd());
    if (count == 0) break;
    total += static_cast<size_t>(count);
  }
  return total;
}

Result<std::string> File::read_all(size_t bytes_max) const {
  TRY_ASSIGN(const FileStat st, stat());
  if (st.size_bytes > bytes_max) {
    return fail(from_errno(EFBIG, "read", fd()).wrap("more than " + std::to_string(bytes_max) + " bytes"));
  }
  std::string text(st.size_bytes, '\0');
  TRY_ASSIGN(const size_t count, read_at(0, std::as_writable_bytes(std::span(text))));
  text.resize(count);
  return text;
}

Result<void> File::write_at(uint64_t offset, std::span<const std::byte> bytes) const {
  size_t total = 0;
  while (total < bytes.size()) {
    const ssize_t count = make_attempt(
        {.operation = Operation::kWrite, .fd = fd(), .offset = offset + total, .size = bytes.size() - total},
        [&](const Attempt& a) { return ::pwrite(fd(), bytes.data() + total, a.size, static_cast<off_t>(a.offset)); });
    if (count < 0) [[unlikely]] return fail_with_errno("write", fd());
    if (count == 0) [[unlikely]] return std::unexpected(from_errno(ENOSPC, "write", fd()));
    total += static_cast<size_t>(count);
  }
  return {};
}

Result<void> File::write_at(uint64_t offset, std::string_view bytes) const {
  return write_at(offset, std::as_bytes(std::span(bytes)));
}

Result<void> File::sync_data(std::source_location site) const {
  return done(make_attempt({.operation = Operation::kSync, .fd = fd(), .site = &site},
                           [&](const Attempt&) { return ::fdatasync(fd()); }),
              "fdatasync", fd());
}

Result<void> File::sync(std::source_location site) const {
  return done(make_attempt({.operation = Operation::kSync, .fd = fd(), .site = &site},
                           [&](const Attempt&) { return ::fsync(fd()); }),
              "fsync", fd());
}

Result<void> File::start_write_out(uint64_t offset, uint64_t size) const {
  return done(::sync_file_range(fd(), static_cast<off_t>(offset), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE),
              "sync_file_range", fd());
}

Result<void> File::truncate(uint64_t size) const {
  return done(make_attempt({.operation = Operation::kTruncate, .fd = fd(), .offset = size},
                           [&](const Attempt&) { return ::ftruncate(fd(), static_cast<off_t>(size)); }),
              "truncate", fd());
}

Result<void> File::allocate(uint64_t offset, uint64_t size, Extend extend) const {
  return change_range(Operation::kAllocate, "fallocate", fd(), keep_size_flag(extend), offset, size);
}

Result<void> File::punch_hole(uint64_t offset, uint64_t size) const {
  return change_range(Operation::kPunch, "punch hole", fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size);
}

Result<void> File::zero_range(uint64_t offset, uint64_t size, Extend extend) const {
  return change_range(Operation::kPunch, "zero range", fd(), FALLOC_FL_ZERO_RANGE | keep_size_flag(extend), offset,
                      size);
}

Result<FileStat> File::stat() const {
  struct stat st;
  const int result =
      make_attempt({.operation = Operation::kStat, .fd = fd()}, [&](const Attempt&) { return ::fstat(fd(), &st); });
  if (result < 0) return fail_with_errno("stat", fd());
  return to_file_stat(st);
}

Result<void> File::set_mode(mode_t mode) const { return done(::fchmod(fd(), mode), "chmod", fd()); }

Result<void> File::set_times(std::optional<int64_t> atime_ns, std::optional<int64_t> mtime_ns) const {
  const timespec times[2] = {to_timespec(atime_ns), to_timespec(mtime_ns)};
  return done(::futimens(fd(), times), "utimens", fd());
}

void File::await_running_writes() const { ::fremovexattr(fd(), kAbsentXattr); }

Result<std::optional<uint64_t>> File::seek_data(uint64_t offset) const { return seek(fd(), offset, SEEK_DATA); }

Result<std::optional<uint64_t>> File::seek_hole(uint64_t offset) const { return seek(fd(), offset, SEEK_HOLE); }

Result<std::string> File::get_xattr(const char* name) const {
  std::string value(256, '\0');
  for (;;) {
    const ssize_t size = make_attempt({.operation = Operation::kXattr, .fd = fd(), .name = name}, [&](const Attempt&) {
      return ::fgetxattr(fd(), name, value.data(), value.size());
    });
    if (size >= 0) {
      value.resize(static_cast<size_t>(size));
      return value;
    }
    if (errno != ERANGE || value.size() >= XATTR_SIZE_MAX) return fail_with_errno("getxattr", fd());
    value.resize(XATTR_SIZE_MAX);
  }
}

Result<void> File::set_xattr(const char* name, std::string_view value) const {
  return done(make_attempt({.operation = Operation::kXattr, .fd = fd(), .name = name},
                           [&](const Attempt&) { return ::fsetxattr(fd(), name, value.data(), value.size(), 0); }),
              "setxattr", fd());
}

Result<void> File::remove_xattr(const char* name) const {
  return done(make_attempt({.operation = Operation::kXattr, .fd = fd(), .name = name},
                           [&](const Attempt&) { return ::fremovexattr(fd(), name); }),
              "removexattr", fd());
}

Result<std::vector<std::string>> File::list_xattrs() const {
  std::string names(XATTR_LIST_MAX, '\0');
  const ssize_t size = make_attempt({.operation = Operation::kXattr, .fd = fd()}, [&](const Attempt&) {
    return ::flistxattr(fd(), names.data(), names.size());
  });
  if (size < 0) return fail_with_errno("listxattr", fd());
  std::vector<std::string> list;
  const char* const end = names.data() + size;
  for (const char* name = names.data(); name < end; name += list.back().size() + 1) list.emplace_back(name);
  return list;
}

Result<void> File::try_lock(Lock lock) const {
  return done(::flock(fd(), (lock == Lock::kShared ? LOCK_SH : LOCK_EX) | LOCK_NB), "lock", fd());
}

Result<void> File::unlock() const { return done(::flock(fd(), LOCK_UN), "unlock", fd()); }

Result<uint64_t> File::copy_range(const File& from, uint64_t from_offset, uint64_t offset, uint64_t size) const {
  uint64_t total = 0;
  while (total < size) {
    auto in = static_cast<off_t>(from_offset + total);
    auto out = static_cast<off_t>(offset + total);
    const ssize_t count =
        make_attempt({.operation = Operation::kWrite, .fd = fd(), .offset = offset + total, .size = size - total},
                     [&](const Attempt& a) { return ::copy_file_range(from.fd(), &in, fd(), &out, a.size, 0); });
    if (count == 0) return total;
    if (count > 0) {
      total += static_cast<uint64_t>(count);
      continue;
    }
    if (errno != EXDEV && errno != EINVAL && errno != EOPNOTSUPP && errno != ENOSYS) {
      return fail_with_errno("copy_file_range", fd());
    }
    std::vector<std::byte> buffer(std::min<uint64_t>(kCopyBufferBytes, size - total));
    while (total < size) {
      const std::span part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), size - total));
      TRY_ASSIGN(const size_t got, from.read_at(from_offset + total, part));
      TRY(write_at(offset + total, part.first(got)));
      total += got;
      if (got < part.size()) break;
    }
    return total;
  }
  return total;
}

Result<void> File::clone(const File& from) const { return done(::ioctl(fd(), FICLONE, from.fd()), "clone", fd()); }

Result<uint64_t> File::send_to(int socket, uint64_t offset, uint64_t size) const {
  uint64_t total = 0;
  while (total < size) {
    auto position = static_cast<off_t>(offset + total);
    const ssize_t count =
        make_attempt({.operation = Operation::kRead, .fd = fd(), .offset = offset + total, .size = size - total},
                     [&](const Attempt& a) { return ::sendfile(socket, fd(), &position, a.size); });
    if (count == 0) break;
    if (count < 0) {
      if (errno == EAGAIN && total > 0) break;
      return fail_with_errno("sendfile", fd());
    }
    total += static_cast<uint64_t>(count);
  }
  return total;
}

void File::advise(Advice advice, uint64_t offset, uint64_t size) const {
  constexpr std::array kAdvice = {POSIX_FADV_SEQUENTIAL, POSIX_FADV_RANDOM, POSIX_FADV_WILLNEED, POSIX_FADV_DONTNEED};
  ::posix_fadvise(fd(), static_cast<off_t>(offset), static_cast<off_t>(size), kAdvice[static_cast<size_t>(advice)]);
}

}  // namespace weir::io
