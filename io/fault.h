// io/fault.h -- the place where tests make files fail. Every operation of File and Directory asks the installed hook
// first; without one that is a single relaxed load.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <source_location>

namespace weir::io {

enum class Operation : uint8_t {
  kOpen,
  kCreate,  // an open that may create
  kRead,
  kWrite,
  kTruncate,
  kAllocate,
  kPunch,
  kSync,
  kSyncDirectory,
  kSyncFileSystem,
  kStat,
  kXattr,
  kRename,
  kUnlink,
  kMakeDirectory,
  kList,
};

// One call about to be made. `fd` is the file's, or for operations on names the directory's; `name` is null or the
// name below it.
struct Attempt {
  Operation operation;
  int fd = -1;
  const char* name = nullptr;
  uint64_t offset = 0;
  size_t size = 0;  // kRead, kWrite: may be reduced, which makes the call short
  const std::source_location* site = nullptr;  // of the syncs: who asked for it; as long as the attempt lives
};

// Threads: called concurrently.
class FaultHook {
 public:
  virtual ~FaultHook() = default;
  // 0, or the errno to fail with instead of making the call.
  virtual int before(Attempt& attempt) = 0;
  // The call was made and succeeded; for kOpen and kCreate `attempt.fd` is now the new file's descriptor.
  virtual void after(const Attempt& attempt) = 0;
};

// Null when nothing is injected. The hook must outlive every operation that may have seen it.
extern std::atomic<FaultHook*> fault_hook;

}  // namespace weir::io
