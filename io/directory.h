// io/directory.h -- a directory: an owned descriptor, and operations on names below it.
//
// Names are relative to the directory, zero-terminated, and may have several components.
// Errors, units, threads as in io/file.h. Crash: a changed name is durable after sync() of its directory.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <source_location>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/file.h"

namespace weir::io {

struct DirectoryEntry {
  std::string_view name;  // valid during the visit; "." and ".." are left out
  uint64_t inode = 0;
  FileType type = FileType::kOther;
};

enum class Visit : uint8_t { kContinue, kStop };

enum class Replace : uint8_t { kReplace, kNoReplace, kExchange };

struct DeviceSpace {
  uint64_t total_bytes = 0;
  uint64_t free_bytes = 0;  // to this process
  uint64_t total_inodes = 0;
  uint64_t free_inodes = 0;
};

class Directory {
 public:
  Directory() = default;

  static Result<Directory> open(const char* path);
  static Result<Directory> open(const std::string& path) { return open(path.c_str()); }
  // Makes the directory and those above it as needed.
  static Result<Directory> make(const std::string& path, mode_t mode);

  bool valid() const { return descriptor_.valid(); }
  int fd() const { return descriptor_.get(); }

  Result<File> open_file(const char* name, const OpenOptions& options) const;
  Result<Directory> open_directory(const char* name) const;

  Result<void> make_directory(const char* name, mode_t mode) const;  // kExists
  Result<void> make_directories(const std::string& name, mode_t mode) const;
  // A hint that directories made below this one have nothing to do with each other, so that the file system spreads
  // them and their files over the device: ext4's flag T, see chattr(1). Elsewhere it does nothing.
  void spread_subdirectories() const;
  Result<void> unlink(const char* name) const;
  Result<void> remove_directory(const char* name) const;
  Result<void> rename(const char* from, const Directory& to_directory, const char* to, Replace replace) const;
  Result<void> link(const char* from, const Directory& to_directory, const char* to) const;
  // Gives `file` a name (also one from File::open_nameless). kExists.
  Result<void> link_file(const File& file, const char* name) const;
  Result<void> make_symlink(const std::string& target, const char* name) const;
  Result<std::string> read_symlink(const char* name) const;

  // Of the name itself, not of what a symlink points to.
  Result<FileStat> stat(const char* name) const;
  Result<bool> exists(const char* name) const;

  // Visits all entries in the file system's order, streaming; an error of the visitor ends the walk and is returned.
  Result<void> list(const std::function<Result<Visit>(const DirectoryEntry&)>& visitor) const;

  // `site`: for io/fault.h.
  Result<void> sync(std::source_location site = std::source_location::current()) const;
  // Everything on the whole file system is written out.
  Result<void> sync_file_system(std::source_location site = std::source_location::current()) const;
  Result<DeviceSpace> space() const;
  // The magic number of statfs(2), as in linux/magic.h.
  Result<int64_t> file_system_type() const;

 private:
  explicit Directory(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  Descriptor descriptor_;
};

}  // namespace weir::io
