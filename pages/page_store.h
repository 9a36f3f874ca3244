// pages/page_store.h -- local copies of file versions on one node's NVMe.
//
// A local file is a plain sparse file, so that the kernel can read and write it directly (passthrough). It is either
// whole (created here, or all of its pages fetched) or partial (some pages of an object in the UFS are present). It is
// pinned while it holds bytes that are nowhere else; only files that are not pinned and not open are evicted. Which
// files are pinned is the metadata's knowledge: the page store keeps it in memory only and is told at start (see
// recover()).
//
// Space is accounted by allocated blocks, as the file system reports them, until a file is removed. Files that are open and pinned are looked at
// every 50 ms, since the kernel writes them without telling. Capacity counts all files, the quarantine and removed
// files that are still open; the pinned limit is pinned_ratio x capacity. Both bound what the store admits;
// kernel-direct writes to files already open are seen only afterwards, so they can exceed the pinned limit (see
// passthrough_writes_allowed()).
//
// Threads: all methods may be called concurrently. Locks are leaves: no call goes up or out from under one. All handles
// must be gone before the store is destroyed.
// Crash: nothing here decides what is true; a local file unknown to the metadata is garbage and removed by recovery.
// Files that are not pinned are never synced one by one: after a stop that may have lost writes their pages are checked
// against their CRC32C before use, and a file without CRC32Cs is dropped, to be fetched again from its home. Writes are
// lost only with the machine: nothing is checked or dropped after SIGKILL during the same boot (pages/store_dir.h says
// why), nor after destroying the store, which is a clean stop and syncs the folders' file systems.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "io/file.h"

namespace weir::pages {

struct PageStoreOptions {
  std::vector<std::string> dirs;      // one or more; new files are spread in proportion to the devices' free room
  std::string volume_id;              // without newlines; a folder of another volume is refused
  uint64_t capacity_bytes = 0;        // 0: 80% of the devices
  double pinned_ratio = 0.3;          // of the capacity
  double soft_mark = 0.8;             // of the pinned limit: above it writers are slowed
  uint64_t page_bytes = 1 << 20;      // fetched files of another page size are dropped
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

// After a start, used_bytes and pinned_bytes grow to the truth within seconds: files are looked at in the background.
struct PageStoreUsage {
  uint64_t capacity_bytes = 0;
  uint64_t used_bytes = 0;
  uint64_t pinned_bytes = 0;
  uint64_t pinned_limit_bytes = 0;
  uint64_t quarantined_bytes = 0;
  uint64_t leaving_files = 0;      // removed, still to be freed
  uint64_t leaving_bytes = 0;      // of those; not in used_bytes
  uint64_t files = 0;
  uint64_t pinned_files = 0;
  uint64_t evicted_files = 0;      // since start
  uint64_t evicted_bytes = 0;      // since start
  uint64_t corrupt_pages = 0;      // since start
  uint64_t dirs_out_of_service = 0;
  uint64_t devices_free_bytes = 0; // of the disks below, as of the last second
};

// A local file held open; the file is not evicted while a handle lives. Handles of one file share one descriptor
// (opened for reading and writing), so that every passthrough open of an inode agrees on its backing file.
class LocalFile {
 public:
  virtual ~LocalFile() = default;

  virtual LocalFileId id() const = 0;
  virtual const io::File& file() const = 0;  // for passthrough and for plain reads and writes

  // All bytes are here and none waits for a check: file() may be handed to the kernel. Once true it stays true.
  virtual bool complete() const = 0;
  // Whether [offset, offset + size) is present, in present pages or written blocks; bytes beyond the object's size count
  // as present.
  virtual bool present(uint64_t offset, uint64_t size) const = 0;
  // The first maximal run of absent pages inside [offset, offset + size), as byte range widened to whole pages and
  // cut to the object's size; {0, 0} when all is present.
  struct ByteRange {
    uint64_t offset = 0;
    uint64_t size = 0;

    bool operator==(const ByteRange&) const = default;
  };
  virtual ByteRange first_absent(uint64_t offset, uint64_t size) const = 0;

  // Stores bytes fetched from the UFS: whole pages (the last one may be short), with their CRC32C kept. What is present
  // already or was written here is left alone, and so is what lies beyond a truncation; the file's mtime stays while it is
  // pinned. Errors: kInvalid (not whole pages), kNoSpace, kIo: some pages may have been stored.
  virtual Result<void> fill(uint64_t offset, std::span<const std::byte> bytes) = 0;

  // Of the data file. Fetched pages move its mtime only between the two calls that this waits for.
  virtual Result<io::FileStat> stat() const = 0;
  virtual Result<void> set_mtime(int64_t mtime_ns) = 0;

  // Changes of a file that need not be complete, all or an error; of one that is, the same as those of file(). Requires:
  // pinned. Blocks of kBlockBytes that are overwritten whole need not be present: they are remembered as written, until
  // a fill() makes their page present around them. kNotFound: a page that is to be changed in part of a block is absent
  // there (see missing_for_write()); nothing was changed.
  virtual Result<void> write(uint64_t offset, std::span<const std::byte> bytes) = 0;
  // Absent bytes that are cut off are zeros if the file grows again; nothing has to be present.
  virtual Result<void> truncate(uint64_t size) = 0;
  // Zeros up to the end of the file; whole pages take no blocks afterwards.
  virtual Result<void> punch_hole(uint64_t offset, uint64_t size) = 0;
  // The page that a change of the range misses, as byte range; {0, 0} when it misses none.
  virtual ByteRange missing_for_write(uint64_t offset, uint64_t size) const = 0;
  static constexpr uint64_t kBlockBytes = 4096;

  // Reads present bytes, fewer than asked for only at the end of the file. Checks pages that wait for it: kCorrupt on a
  // mismatch (the page then counts as absent, so that it is fetched again). kNotFound: a page is absent.
  virtual Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) = 0;

  // Checks every present page that waits for it; errors as read(). A file with all pages present is then complete().
  virtual Result<void> verify() = 0;

  // The bytes survive power loss, and so does the file's name in the store, and for a partial file which pages are
  // present. (The name: the supported file systems commit it with the file's first fsync.) Errors: kIo, kNoSpace.
  virtual Result<void> sync() = 0;
};

class PageStore {
 public:
  virtual ~PageStore() = default;

  // A new, empty, complete, pinned file. kNoSpace when the pinned limit or the capacity is reached and nothing
  // can be evicted. kExists.
  virtual Result<std::shared_ptr<LocalFile>> create(LocalFileId id) = 0;

  // A new partial, evictable file for an object of `size_bytes` with every page absent. kNoSpace, kExists.
  virtual Result<std::shared_ptr<LocalFile>> create_partial(LocalFileId id, uint64_t size_bytes) = 0;

  // kNotFound when it was evicted, removed or dropped.
  virtual Result<std::shared_ptr<LocalFile>> open(LocalFileId id) = 0;

  // The file is gone at once, and its space counts as free; holders of a handle keep reading their descriptor. Its blocks
  // are freed behind the call, as long as the device has several times as much room as is still to be freed on it; what
  // needs the space waits for them before anything is evicted or refused. Succeeds when it is gone already.
  virtual void remove(LocalFileId id) = 0;

  // Takes the file out of the store and keeps its bytes under quarantine/ in its folder, for a human. kNotFound, kIo.
  virtual Result<void> quarantine(LocalFileId id) = 0;

  virtual Result<LocalFileStat> stat(LocalFileId id) = 0;

  // Pin a fetched file before it is written in place, and verify() it before that: from then on its pages have no
  // CRC32C to be checked against.
  virtual void set_pin(LocalFileId id, Pin pin) = 0;

  // Flushes the file's data, so that the mapping is write-protected and later changes move the ctime, and returns the
  // stamp. Two equal stamps around a read prove that the bytes read are one state; where the kernel's ctime is
  // coarse, a file changed within the last tick is waited for (at most 20 ms at a time). kBusy: the file kept changing
  // while the stamp was taken; the call, later.
  // Not seen: a page fault or an asynchronous O_DIRECT write that began before the first stamp and still runs; so a
  // file read while it is open for writing must be read again after its last writer has closed it.
  // tmpfs does not write-protect mappings: there, stores through a mapping are not seen at all.
  virtual Result<ContentStamp> stamp(const LocalFile& file) = 0;
  // A change of the local file after `stat` was taken moves its ctime: always where the kernel's timestamps are fine, elsewhere
  // when a tick had passed since the last one.
  virtual bool later_changes_show(const io::FileStat& stat) const = 0;

  // Records the CRC32C of every page of a complete file, as computed by a reader that proved its bytes with `stamp`.
  // They count for as long as size and mtime are the stamp's. A file of at most one page gets none: to fetch it again
  // after a power loss is cheaper than a sidecar for each. kInvalid: not as many CRCs as pages.
  virtual Result<void> record_checksums(const LocalFile& file, const ContentStamp& stamp,
                                        std::span<const uint32_t> page_crcs) = 0;

  // Room for writes through the daemon. Below the soft mark at once; above it waits up to `slow_max` in proportion to
  // how far, or until the pinned bytes are below the mark again; kNoSpace at the hard limit. Evicts clean files as
  // needed.
  virtual Result<void> admit(uint64_t bytes, Duration slow_max) = 0;
  // False above the soft mark: then files are better opened for writing through the daemon, which admits each write.
  virtual bool passthrough_writes_allowed() const = 0;

  // Reads what is present of the file, and compares its pages with the CRC32Cs that are recorded for them and still count. Does
  // not count as use. `pace` is called before so many bytes are read; false: stop. kNotFound; kIo: the disk cannot read it;
  // kCancelled. A file that is changed meanwhile gives no rotten pages.
  struct Scrubbed {
    uint64_t bytes = 0;
    uint64_t verified_bytes = 0;
    uint64_t rotten_pages = 0;
    std::vector<uint32_t> page_crcs;  // of a whole file without recorded ones, as read
  };
  virtual Result<Scrubbed> scrub(LocalFileId id, const std::function<bool(uint64_t bytes)>& pace) = 0;

  // Everything written so far, to whatever file, survives power loss.
  virtual Result<void> sync_all() = 0;
  // How often that failed, for whichever caller. What was written before a failure may be lost although a later call succeeds: the
  // kernel tells of what it could not write once.
  virtual uint64_t failed_syncs() const = 0;

  // Brings the accounting of a file that the kernel writes directly up to date.
  virtual void account(LocalFileId id) = 0;

  // Tells the store what the metadata knows: called once per living file before serving starts, then
  // finish_recovery() removes files that were not named (older than the call to open the store) and counts them. Until
  // then nothing is evicted that was there before. recover() looks at no file; it is a memory operation.
  // After a stop that may have lost writes an evictable whole file without checksums is not there any more: open()
  // gives kNotFound, and finish_recovery() frees its space. A pinned one is believed, since it is all there is.
  virtual void recover(LocalFileId id, Pin pin) = 0;
  virtual Result<uint64_t> finish_recovery() = 0;
  // Nothing that was written before the start can have been lost: then recover() does nothing but set pins, and may come
  // after the serving has begun. A file that it was not called for counts as pinned.
  virtual bool trusted() const = 0;

  // The ids of all files, in no order; those that come and go meanwhile may be among them or not.
  virtual std::vector<LocalFileId> files() = 0;

  virtual PageStoreUsage usage() const = 0;
  // The page size in force.
  virtual uint64_t page_bytes() const = 0;

  // Drops an evictable file's local copy if nobody has it open; false when it is pinned, open or absent.
  virtual bool evict(LocalFileId id) = 0;
  // Makes durable, before it returns, whatever the metadata says by now. Called before the name of a file goes that was removed or
  // evicted: else a loss of power could undo what made it superfluous, and not its removal. On an error the file stays, as garbage
  // for the next start, or evictable. Outside all locks. Empty, as at first: nothing has to be done.
  virtual void set_removal_barrier(std::function<Result<void>()> barrier) = 0;
  // Called after a file was evicted for space, outside all locks.
  virtual void set_eviction_listener(std::function<void(LocalFileId)> listener) = 0;
};

// Errors: kBusy (another process uses a folder), kInvalid (a folder of another volume, or of a later format),
// kReadOnly, kNoSpace, kIo, each naming the folder and the way out.
Result<std::unique_ptr<PageStore>> open_page_store(const PageStoreOptions& options);

}  // namespace weir::pages
