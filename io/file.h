// io/file.h -- a regular file: an owned descriptor and the operations on it.
//
// Offsets and sizes are bytes; times are nanoseconds since the Unix epoch. Transfers run to the end: they are resumed
// after a signal or a short transfer. Success allocates nothing.
// Errors: the table in io/errno.h; messages name the operation and the path.
// Threads: all const methods may be called concurrently. Crash: nothing is durable before sync_data() or sync().
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/descriptor.h"

namespace weir::io {

enum class Access : uint8_t { kRead, kWrite, kReadWrite };
enum class Create : uint8_t { kNever, kIfAbsent, kExclusive };

struct OpenOptions {
  Access access = Access::kRead;
  Create create = Create::kNever;
  mode_t mode = 0600;  // of a created file, before the umask
  bool truncate = false;
  bool append = false;
  bool direct = false;          // O_DIRECT: offsets, sizes and buffers aligned to the device's block
  bool follow_symlink = false;  // in the last component; else kLoop
};

enum class FileType : uint8_t { kRegular, kDirectory, kSymlink, kOther };

struct FileStat {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint32_t mode = 0;  // type and permission bits, as st_mode
  uint32_t links = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;
  int64_t atime_ns = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;

  FileType type() const;
};

enum class Lock : uint8_t { kShared, kExclusive };

class File {
 public:
  File() = default;
  explicit File(Descriptor descriptor) : descriptor_(std::move(descriptor)) {}

  // Never inherited by a child process.
  static Result<File> open(const char* path, const OpenOptions& options);
  static Result<File> open(const std::string& path, const OpenOptions& options) { return open(path.c_str(), options); }
  // A nameless file in `directory` (O_TMPFILE): see link_to(). kNotSupported on file systems without.
  static Result<File> open_nameless(const char* directory, mode_t mode);

  bool valid() const { return descriptor_.valid(); }
  int fd() const { return descriptor_.get(); }
  void close() { descriptor_.close(); }
  // A second descriptor of the same open file.
  Result<File> duplicate() const;

  // Fewer bytes than asked for only at the end of the file.
  Result<size_t> read_at(uint64_t offset, std::span<std::byte> buffer) const;
  // The whole file from its start; kTooLarge beyond `bytes_max`.
  Result<std::string> read_all(size_t bytes_max) const;
  // All or an error; on an error any prefix may have been written.
  Result<void> write_at(uint64_t offset, std::span<const std::byte> bytes) const;
  Result<void> write_at(uint64_t offset, std::string_view bytes) const;

  // fdatasync: contents and size. `site`: for io/fault.h.
  Result<void> sync_data(std::source_location site = std::source_location::current()) const;
  // fsync: and all attributes.
  Result<void> sync(std::source_location site = std::source_location::current()) const;
  // Starts writing dirty pages of the range to the device without waiting; promises nothing.
  Result<void> start_write_out(uint64_t offset, uint64_t size) const;
  Result<void> truncate(uint64_t size) const;
  // Reserves blocks of the range; the size grows to cover it unless kKeepSize.
  enum class Extend : uint8_t { kGrow, kKeepSize };
  Result<void> allocate(uint64_t offset, uint64_t size, Extend extend) const;
  // The range reads as zeros and takes no blocks; the size stays.
  Result<void> punch_hole(uint64_t offset, uint64_t size) const;
  Result<void> zero_range(uint64_t offset, uint64_t size, Extend extend) const;

  Result<FileStat> stat() const;
  Result<void> set_mode(mode_t mode) const;
  // nullopt: leave as it is.
  Result<void> set_times(std::optional<int64_t> atime_ns, std::optional<int64_t> mtime_ns) const;
  // Returns after every write(2) that was running on this inode when the call began. Changes nothing, not even ctime.
  // Requires: open for writing. (Removing an absent attribute takes the inode's lock in the kernel.)
  void await_running_writes() const;

  // The first byte at or after `offset` that is data, or a hole; nullopt at the end of the file.
  Result<std::optional<uint64_t>> seek_data(uint64_t offset) const;
  Result<std::optional<uint64_t>> seek_hole(uint64_t offset) const;

  // Names with their namespace ("user.x"). kNoAttribute when absent.
  Result<std::string> get_xattr(const char* name) const;
  Result<void> set_xattr(const char* name, std::string_view value) const;
  Result<void> remove_xattr(const char* name) const;
  Result<std::vector<std::string>> list_xattrs() const;

  // Advisory, held by the open file until it is closed. kBusy when another holds it; never waits.
  Result<void> try_lock(Lock lock) const;
  Result<void> unlock() const;

  // Copies bytes inside the kernel where it can (shares blocks on file systems that do); returns the bytes copied,
  // fewer than `size` only at the end of `from`.
  Result<uint64_t> copy_range(const File& from, uint64_t from_offset, uint64_t offset, uint64_t size) const;
  // Makes this file a copy of `from` that shares its blocks (FICLONE). kNotSupported or kCrossDevice where the file
  // system cannot.
  Result<void> clone(const File& from) const;
  // Sends bytes of this file to a socket; returns the bytes sent, fewer when the socket would block (kBusy if none) or
  // at the end of the file.
  Result<uint64_t> send_to(int socket, uint64_t offset, uint64_t size) const;

  enum class Advice : uint8_t { kSequential, kRandom, kWillNeed, kDontNeed };
  void advise(Advice advice, uint64_t offset, uint64_t size) const;

 private:
  Descriptor descriptor_;
};

}  // namespace weir::io
