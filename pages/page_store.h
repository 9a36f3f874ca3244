// pages/page_store.h -- local copies of file versions on one node's NVMe.
//
// A local file is a plain sparse file, so that the kernel can read and write it directly (passthrough). It is either
// complete (created here, or all of its pages fetched) or partial (some pages of an object in the UFS are present). It is pinned while it
// holds bytes that are nowhere else; only complete or partial files that are clean can be evicted. Which files are pinned is the
// metadata's knowledge: the page store keeps it in memory only and is told at start (see recover()).
//
// Space is accounted by allocated blocks. pinned_bytes <= pinned ratio x capacity; capacity bounds everything.
//
// Threads: all methods may be called concurrently. Locks are leaves: no call goes up or out from under one.
// Crash: nothing here decides what is true; a local file unknown to the metadata is garbage and removed by recover().
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/ids.h"
#include "io/file.h"

namespace weir::pages {

struct PageStoreOptions {
  std::vector<std::string> dirs;      // one or more; a new file goes to the one with most free room
  std::string volume_id;              // a folder of another volume is refused
  uint64_t capacity_bytes = 0;        // 0: 80% of the devices
  double pinned_ratio = 0.3;          // of the capacity
  double soft_mark = 0.8;             // of the pinned limit: above it writers are slowed
  uint64_t page_bytes = 1 << 20;
};

enum class Pin : uint8_t { kPinned, kEvictable };

// Proof of what bytes a reader of the file saw: equal stamps before and after reading mean that nothing wrote in
// between, also not through passthrough or a shared mapping (see PageStore::stamp).
struct ContentStamp {
  int64_t ctime_ns = 0;
  int64_t mtime_ns = 0;
  uint64_t size_bytes = 0;

  bool operator==(const ContentStamp&) const = default;
};

// What the file system says of a local file.
struct LocalFileStat {
  uint64_t size_bytes = 0;
  uint64_t allocated_bytes = 0;
  int64_t mtime_ns = 0;
  int64_t ctime_ns = 0;
};

struct PageStoreUsage {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t pinned_bytes = 0;
  uint64_t pinned_limit_bytes = 0;
  uint64_t files = 0;
  uint64_t pinned_files = 0;
  uint64_t evicted_files = 0;      // since start
  uint64_t evicted_bytes = 0;
};

// A local file held open; the file is not evicted while a handle lives. Handles of one file share one descriptor
// (opened for reading and writing), so that every passthrough open of an inode agrees on its backing file.
class LocalFile {
 public:
  virtual ~LocalFile() = default;

  virtual LocalFileId id() const = 0;
  virtual const io::File& file() const = 0;  // for passthrough and for plain reads and writes

  // All bytes are here. A complete file never becomes partial.
  virtual bool complete() const = 0;
  // Whether [offset, offset + size) is present; bytes beyond the object's size count as present.
  virtual bool present(uint64_t offset, uint64_t size) const = 0;
  // The first maximal run of absent pages inside [offset, offset + size), as byte range cut to the object's size;
  // {0, 0} when all is present.
  struct ByteRange {
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  virtual ByteRange first_absent(uint64_t offset, uint64_t size) const = 0;

  // Stores bytes fetched from the UFS: whole pages (the last one may be short), with their CRC32C kept. Pages that are present
  // already are left alone.
  virtual Result<void> fill(uint64_t offset, std::span<const std::byte> bytes) = 0;

  // Reads present bytes; checks the CRC of pages not checked since an unclean stop, kCorrupt on a mismatch (the page
  // then counts as absent, so that it is fetched again).
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) = 0;
};

class PageStore {
 public:
  virtual ~PageStore() = default;

  // A new, empty, complete, pinned file. kNoSpace when the pinned limit or the capacity is reached and nothing
  // can be evicted.
  virtual Result<std::shared_ptr<LocalFile>> create(LocalFileId id) = 0;

  // A new partial, evictable file for an object of `size_bytes` with every page absent.
  virtual Result<std::shared_ptr<LocalFile>> create_partial(LocalFileId id, uint64_t size_bytes) = 0;

  // kNotFound when it was evicted, removed or dropped.
  virtual Result<std::shared_ptr<LocalFile>> open(LocalFileId id) = 0;

  // Frees the space at once; holders of a handle keep reading their descriptor. Succeeds when it is gone already.
  virtual void remove(LocalFileId id) = 0;

  virtual Result<LocalFileStat> stat(LocalFileId id) = 0;
  virtual void set_pin(LocalFileId id, Pin pin) = 0;

  // Flushes the file's data, so that the mapping is write-protected and later changes move the ctime, and returns the
  // stamp. Two equal stamps around a read prove that the bytes read are one state; where the kernel's ctime is
  // coarse, a file changed within the last tick is waited for (at most 20 ms).
  virtual Result<ContentStamp> stamp(const LocalFile& file) = 0;

  // Records the CRC32C of every page of a complete file, as computed by a reader that proved its bytes with `stamp`.
  virtual Result<void> record_checksums(const LocalFile& file, const ContentStamp& stamp,
                                        std::span<const uint32_t> page_crcs) = 0;

  // Room for writes through the daemon. Below the soft mark at once; above it waits up to `slow_max` in proportion to how
  // far; kNoSpace at the hard limit. Evicts clean files as needed.
  virtual Result<void> admit(uint64_t bytes, Duration slow_max) = 0;
  // False above the soft mark: then files are better opened for writing through the daemon, which admits each write.
  virtual bool passthrough_writes_allowed() const = 0;

  // Brings the accounting of a file that the kernel writes directly up to date.
  virtual void account(LocalFileId id) = 0;

  // Tells the store what the metadata knows: called once per living file before serving starts, then
  // finish_recovery() removes files that were not named (older than the call to open the store) and counts them.
  virtual void recover(LocalFileId id, Pin pin) = 0;
  virtual Result<uint64_t> finish_recovery() = 0;

  virtual PageStoreUsage usage() const = 0;

  // Drops a clean file's local copy if nobody has it open; false when it is pinned, open or absent.
  virtual bool evict(LocalFileId id) = 0;
  // Called after a file was evicted for space, outside all locks.
  virtual void set_eviction_listener(std::function<void(LocalFileId)> listener) = 0;
};

// Errors: kBusy (another process uses a folder), kInvalid (a folder of another volume, or of a later format),
// kReadOnly, kNoSpace, kIo, each naming the folder and the way out.
Result<std::unique_ptr<PageStore>> open_page_store(const PageStoreOptions& options);

}  // namespace weir::pages
