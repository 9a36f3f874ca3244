#include "io/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <memory>

#include "io/attempt.h"
#include "io/errno.h"
#include "io/open_flags.h"

namespace weir::io {
namespace {

constexpr int kDirectoryFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

Result<void> done(int result, std::string_view operation, std::string_view name) {
  if (result < 0) [[unlikely]] return std::unexpected(from_errno(errno, operation, name));
  return {};
}

Result<void> done(int result, std::string_view operation, int fd) {
  if (result < 0) [[unlikely]] return std::unexpected(from_errno(errno, operation, fd));
  return {};
}

FileType type_of(unsigned char d_type) {
  switch (d_type) {
    case DT_REG: return FileType::kRegular;
    case DT_DIR: return FileType::kDirectory;
    case DT_LNK: return FileType::kSymlink;
    default: return FileType::kOther;
  }
}

Result<void> make_path(int directory_fd, const std::string& path, mode_t mode) {
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    const std::string prefix = path.substr(0, end);
    const char* const name = prefix.c_str();
    const int result = make_attempt({.operation = Operation::kMakeDirectory, .fd = directory_fd, .name = name},
                                    [&](const Attempt&) { return ::mkdirat(directory_fd, name, mode); });
    if (result < 0 && errno != EEXIST) return std::unexpected(from_errno(errno, "mkdir", prefix));
    if (end == std::string::npos) return {};
  }
}

}  // namespace

Result<Directory> Directory::open(const char* path) {
  TRY_ASSIGN(Descriptor descriptor, open_at(AT_FDCWD, path, kDirectoryFlags, 0));
  return Directory(std::move(descriptor));
}

Result<Directory> Directory::make(const std::string& path, mode_t mode) {
  TRY(make_path(AT_FDCWD, path, mode));
  return open(path);
}

Result<File> Directory::open_file(const char* name, const OpenOptions& options) const {
  TRY_ASSIGN(Descriptor descriptor, open_at(fd(), name, open_flags(options), options.mode));
  return File(std::move(descriptor));
}

Result<Directory> Directory::open_directory(const char* name) const {
  TRY_ASSIGN(Descriptor descriptor, open_at(fd(), name, kDirectoryFlags, 0));
  return Directory(std::move(descriptor));
}

Result<void> Directory::make_directory(const char* name, mode_t mode) const {
  return done(make_attempt({.operation = Operation::kMakeDirectory, .fd = fd(), .name = name},
                           [&](const Attempt&) { return ::mkdirat(fd(), name, mode); }),
              "mkdir", name);
}

Result<void> Directory::make_directories(const std::string& name, mode_t mode) const {
  return make_path(fd(), name, mode);
}

void Directory::spread_subdirectories() const {
  int flags = 0;
  if (::ioctl(fd(), FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_TOPDIR_FL;
  static_cast<void>(::ioctl(fd(), FS_IOC_SETFLAGS, &flags));
}

Result<void> Directory::unlink(const char* name) const {
  return done(make_attempt({.operation = Operation::kUnlink, .fd = fd(), .name = name},
                           [&](const Attempt&) { return ::unlinkat(fd(), name, 0); }),
              "unlink", name);
}

Result<void> Directory::remove_directory(const char* name) const {
  return done(make_attempt({.operation = Operation::kUnlink, .fd = fd(), .name = name},
                           [&](const Attempt&) { return ::unlinkat(fd(), name, AT_REMOVEDIR); }),
              "rmdir", name);
}

Result<void> Directory::rename(const char* from, const Directory& to_directory, const char* to, Replace replace) const {
  const unsigned flags = replace == Replace::kNoReplace  ? RENAME_NOREPLACE
                         : replace == Replace::kExchange ? RENAME_EXCHANGE
                                                         : 0;
  return done(make_attempt({.operation = Operation::kRename, .fd = fd(), .name = from},
                           [&](const Attempt&) { return ::renameat2(fd(), from, to_directory.fd(), to, flags); }),
              "rename", from);
}

Result<void> Directory::link(const char* from, const Directory& to_directory, const char* to) const {
  return done(::linkat(fd(), from, to_directory.fd(), to, 0), "link", to);
}

Result<void> Directory::link_file(const File& file, const char* name) const {
  const std::string source = "/proc/self/fd/" + std::to_string(file.fd());
  return done(::linkat(AT_FDCWD, source.c_str(), fd(), name, AT_SYMLINK_FOLLOW), "link", name);
}

Result<void> Directory::make_symlink(const std::string& target, const char* name) const {
  return done(::symlinkat(target.c_str(), fd(), name), "symlink", name);
}

Result<std::string> Directory::read_symlink(const char* name) const {
  char target[PATH_MAX];
  const ssize_t size = ::readlinkat(fd(), name, target, sizeof target);
  if (size < 0) return std::unexpected(from_errno(errno, "readlink", name));
  return std::string(target, static_cast<size_t>(size));
}

Result<FileStat> Directory::stat(const char* name) const {
  struct stat st;
  if (make_attempt({.operation = Operation::kStat, .fd = fd(), .name = name},
                   [&](const Attempt&) { return ::fstatat(fd(), name, &st, AT_SYMLINK_NOFOLLOW); }) < 0) {
    return std::unexpected(from_errno(errno, "stat", name));
  }
  return to_file_stat(st);
}

Result<bool> Directory::exists(const char* name) const {
  const Result<FileStat> st = stat(name);
  if (st.has_value()) return true;
  if (failed_with(st, ErrorCode::kNotFound)) return false;
  return std::unexpected(st.error());
}

Result<void> Directory::list(const std::function<Result<Visit>(const DirectoryEntry&)>& visitor) const {
  // A descriptor of its own: the position of a shared one would be shared by concurrent walks.
  TRY_ASSIGN(Descriptor descriptor, open_at(fd(), ".", kDirectoryFlags, 0));
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(descriptor.get()), ::closedir);
  if (stream == nullptr) return std::unexpected(from_errno(errno, "opendir", fd()));
  descriptor.release();  // the stream owns it now
  for (;;) {
    errno = 0;
    const dirent* const entry = ::readdir(stream.get());
    if (entry == nullptr) {
      if (errno != 0) return std::unexpected(from_errno(errno, "readdir", fd()));
      return {};
    }
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    FileType type = type_of(entry->d_type);
    if (entry->d_type == DT_UNKNOWN) {
      const Result<FileStat> st = stat(entry->d_name);
      if (failed_with(st, ErrorCode::kNotFound)) continue;
      if (!st.has_value()) return std::unexpected(st.error());
      type = st->type();
    }
    TRY_ASSIGN(const Visit visit, visitor({.name = name, .inode = entry->d_ino, .type = type}));
    if (visit == Visit::kStop) return {};
  }
}

Result<void> Directory::sync(std::source_location site) const {
  return done(make_attempt({.operation = Operation::kSyncDirectory, .fd = fd(), .site = &site},
                           [&](const Attempt&) { return ::fsync(fd()); }),
              "fsync", fd());
}

Result<void> Directory::sync_file_system(std::source_location site) const {
  return done(make_attempt({.operation = Operation::kSyncFileSystem, .fd = fd(), .site = &site},
                           [&](const Attempt&) { return ::syncfs(fd()); }),
              "syncfs", fd());
}

Result<DeviceSpace> Directory::space() const {
  struct statvfs vfs;
  const int result =
      make_attempt({.operation = Operation::kStat, .fd = fd()}, [&](const Attempt&) { return ::fstatvfs(fd(), &vfs); });
  if (result < 0) {
    return std::unexpected(from_errno(errno, "statvfs", fd()));
  }
  return DeviceSpace{
      .total_bytes = vfs.f_blocks * vfs.f_frsize,
      .free_bytes = vfs.f_bavail * vfs.f_frsize,
      .total_inodes = vfs.f_files,
      .free_inodes = vfs.f_favail,
  };
}

Result<int64_t> Directory::file_system_type() const {
  struct statfs fs;
  if (::fstatfs(fd(), &fs) < 0) return std::unexpected(from_errno(errno, "statfs", fd()));
  return static_cast<int64_t>(fs.f_type);
}

}  // namespace weir::io
