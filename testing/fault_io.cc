#include "testing/fault_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/check.h"

namespace weir::testing {
namespace {

// System calls of its own: it must not see itself.
std::string path_of(int fd) {
  char target[PATH_MAX];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), target, sizeof target);
  return size < 0 ? std::string() : std::string(target, static_cast<size_t>(size));
}

std::string path_of(const io::Attempt& attempt) {
  if (attempt.name == nullptr || attempt.operation == io::Operation::kXattr) return path_of(attempt.fd);
  if (attempt.name[0] == '/' || attempt.fd == AT_FDCWD) return attempt.name;
  return path_of(attempt.fd) + "/" + attempt.name;
}

std::string read_range(int fd, uint64_t offset, uint64_t size) {
  std::string bytes(size, '\0');
  const ssize_t count = ::pread(fd, bytes.data(), size, static_cast<off_t>(offset));
  bytes.resize(count < 0 ? 0 : static_cast<size_t>(count));
  return bytes;
}

}  // namespace

FaultIo::FaultIo(std::string only_below) : only_below_(std::move(only_below)) {
  io::FaultHook* expected = nullptr;
  CHECK(io::fault_hook.compare_exchange_strong(expected, this));
}

FaultIo::~FaultIo() { io::fault_hook.store(nullptr); }

void FaultIo::fail(io::Operation operation, int err, uint64_t times, uint64_t skip) {
  const std::lock_guard lock(mutex_);
  failures_[operation] = {.err = err, .times = times, .skip = skip};
}

void FaultIo::shorten(size_t bytes_max) {
  const std::lock_guard lock(mutex_);
  short_bytes_ = bytes_max;
}

void FaultIo::fill_up_after(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  room_bytes_ = bytes;
}

void FaultIo::heal() {
  const std::lock_guard lock(mutex_);
  failures_.clear();
  short_bytes_.reset();
  room_bytes_.reset();
}

uint64_t FaultIo::count(io::Operation operation) const {
  const std::lock_guard lock(mutex_);
  const auto it = counts_.find(operation);
  return it == counts_.end() ? 0 : it->second;
}

bool FaultIo::concerns(const io::Attempt& attempt) const {
  return only_below_.empty() || path_of(attempt).starts_with(only_below_);
}

int FaultIo::before(io::Attempt& attempt) {
  if (!concerns(attempt)) return 0;
  const std::lock_guard lock(mutex_);
  ++counts_[attempt.operation];
  if (const auto it = failures_.find(attempt.operation); it != failures_.end()) {
    Failure& failure = it->second;
    if (failure.skip > 0) {
      --failure.skip;
    } else if (failure.times > 0) {
      --failure.times;
      return failure.err;
    }
  }
  const bool writes = attempt.operation == io::Operation::kWrite;
  if (writes || attempt.operation == io::Operation::kRead) {
    if (short_bytes_.has_value()) attempt.size = std::min(attempt.size, *short_bytes_);
  }
  if (room_bytes_.has_value()) {
    if (attempt.operation == io::Operation::kCreate && *room_bytes_ == 0) return ENOSPC;
    if (writes) {
      if (*room_bytes_ == 0) return ENOSPC;
      attempt.size = std::min<uint64_t>(attempt.size, *room_bytes_);
      *room_bytes_ -= attempt.size;
    }
  }
  if (tracking_) remember(attempt);
  return 0;
}

FaultIo::Tracked* FaultIo::track(int fd) {
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) return nullptr;
  const auto [it, inserted] = tracked_.try_emplace(FileKey{st.st_dev, st.st_ino});
  if (inserted) {
    // A descriptor that can read and write, whatever the caller's can.
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    it->second.file = io::File(io::Descriptor(::open(link.c_str(), O_RDWR | O_CLOEXEC)));
    it->second.size_bytes = static_cast<uint64_t>(st.st_size);
  }
  return &it->second;
}

void FaultIo::remember(const io::Attempt& attempt) {
  using io::Operation;
  switch (attempt.operation) {
    case Operation::kWrite:
    case Operation::kPunch:
      if (Tracked* const tracked = track(attempt.fd); tracked != nullptr) {
        const int fd = tracked->file.fd();
        tracked->undos.push_back({.offset = attempt.offset, .bytes = read_range(fd, attempt.offset, attempt.size)});
      }
      break;
    case Operation::kTruncate:
      if (Tracked* const tracked = track(attempt.fd); tracked != nullptr) {
        struct stat st;
        if (::fstat(attempt.fd, &st) != 0) break;
        const auto size = static_cast<uint64_t>(st.st_size);
        if (size <= attempt.offset) break;
        tracked->undos.push_back(
            {.offset = attempt.offset, .bytes = read_range(tracked->file.fd(), attempt.offset, size - attempt.offset)});
      }
      break;
    default:
      break;
  }
}

void FaultIo::after(const io::Attempt& attempt) {
  using io::Operation;
  const std::lock_guard lock(mutex_);
  if (!tracking_) return;
  if (attempt.operation == Operation::kCreate) {
    const std::string path = path_of(attempt.fd);
    if (!only_below_.empty() && !path.starts_with(only_below_)) return;
    struct stat st;
    // A file that is not tracked yet and is empty was made just now (or is as good as that).
    if (::fstat(attempt.fd, &st) != 0 || st.st_size != 0 || tracked_.contains({st.st_dev, st.st_ino})) return;
    if (Tracked* const tracked = track(attempt.fd); tracked != nullptr) tracked->created_path = path;
  } else if (attempt.operation == Operation::kSync) {
    struct stat st;
    if (::fstat(attempt.fd, &st) == 0) tracked_.erase({st.st_dev, st.st_ino});
  } else if (attempt.operation == Operation::kSyncDirectory) {
    const std::string directory = path_of(attempt.fd) + "/";
    for (auto& [key, tracked] : tracked_) {
      const std::string& path = tracked.created_path;
      if (path.starts_with(directory) && path.find('/', directory.size()) == std::string::npos) {
        tracked.created_path.clear();
      }
    }
  } else if (attempt.operation == Operation::kSyncFileSystem) {
    struct stat st;
    if (::fstat(attempt.fd, &st) == 0) std::erase_if(tracked_, [&](const auto& t) { return t.first.first == st.st_dev; });
  }
}

void FaultIo::track_unsynced() {
  const std::lock_guard lock(mutex_);
  tracking_ = true;
}

void FaultIo::drop_unsynced() {
  const std::lock_guard lock(mutex_);
  for (auto& [key, tracked] : tracked_) {
    const int fd = tracked.file.fd();
    if (!tracked.created_path.empty()) {
      const std::string path = path_of(fd);  // it may have been renamed since
      ::unlink(path.c_str());
    }
    for (auto undo = tracked.undos.rbegin(); undo != tracked.undos.rend(); ++undo) {
      CHECK(::pwrite(fd, undo->bytes.data(), undo->bytes.size(), static_cast<off_t>(undo->offset)) ==
            static_cast<ssize_t>(undo->bytes.size()));
    }
    CHECK(::ftruncate(fd, static_cast<off_t>(tracked.size_bytes)) == 0);
  }
  tracked_.clear();
}

}  // namespace weir::testing
