// volume/open_files.h -- open inodes and their content: which local file they use, when it may be written, what of it the
// namespace knows, and whether the page store may evict it.
//
// Writing is bracketed by a durable mark. begin makes it before the first byte can change; the end removes it once the
// last writer has closed and everything is committed. Between the two the local file is the truth about size and times, and after
// a crash recovery commits what it holds. The end is recorded behind close() (see write_ender.h); a writer that comes
// before that goes on under the same mark.
//
// An inode whose content is not complete here, or that the page store does not want written past it, is opened kPaged and
// begins with its first write: opening a large absent file, or touching its times, fetches nothing. Nor does a write, but the
// pages that it changes in part of a block. While pages are absent the home holds bytes of the content that are nowhere else
// (Inode.partial); before it is uploaded the file is made complete. An object that others replace before that takes those bytes
// with it: the file is quarantined then.
//
// A file is pinned after the namespace recorded that it may change or did, while a handle keeps it from being evicted; whoever
// unpins one holds a handle or the OpenInode's mutex and looks at the namespace after that. So the two cannot cross.
//
// Evicting costs no transaction: the id of the local file in the record is where to look, not a promise. A clean inode whose
// local file is gone gets a new, partial one when it is opened; ids are never reused.
//
// Threads: all methods may be called concurrently. Locks: as in open_table.h.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "io/file.h"
#include "meta/lower_layer.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "persist/persister.h"
#include "volume/fetcher.h"
#include "volume/logged_bodies.h"
#include "volume/open_table.h"
#include "volume/volume.h"
#include "volume/write_ender.h"

namespace weir::volume {

// How often a call starts over because the file became another version under it.
inline constexpr int kVersionsMax = 4;

class FileVersion;

struct OpenFilesOptions {
  Duration ufs_timeout = std::chrono::seconds(60);
  Duration admit_slow_max = std::chrono::milliseconds(100);
  uint32_t read_ahead_pages = 64;
  uint32_t read_ahead_requests = 8;
};

class OpenFiles {
 public:
  // The parts must outlive it.
  OpenFiles(meta::Namespace& names, meta::LowerLayer& lower, pages::PageStore& pages, const ufs::MountTable& mounts,
            persist::Persister& persister, LoggedBodies& bodies, const OpenFilesOptions& options);
  OpenFiles(const OpenFiles&) = delete;

  // kNotFound, kIsDirectory, kInvalid (not a regular file), kCorrupt (quarantined), kNoSpace.
  Result<std::unique_ptr<OpenFile>> open(InodeId inode, const OpenOptions& options);
  // One version of the inode's content, to be read whatever becomes of the inode. Errors as open().
  Result<std::unique_ptr<FileVersion>> open_version(InodeId inode);
  // The handle of a file that create_file() just made and marked. `endings` was taken before that.
  Result<std::unique_ptr<OpenFile>> open_created(const meta::Inode& inode, std::shared_ptr<pages::LocalFile> local,
                                                 const OpenOptions& options, uint64_t endings);
  // The handles that VolumeOptions::held names, in its order. What was written to marked inodes is committed, the marks stand.
  // Requires: recover() has run, and nothing else is open.
  Result<std::vector<Result<std::unique_ptr<OpenFile>>>> resume(std::span<const HeldFile> held);
  // PageStore::recover() for the inode's local file, while it may be opened and written.
  Result<void> recover_local_file(InodeId inode);
  // Changes when the end of any writing is recorded.
  uint64_t endings() const { return endings_.load(std::memory_order_acquire); }

  // The inode's attributes with what its local file knows of size and times while it is open for write. `inode` may have been
  // read before a commit; `endings` was taken before that.
  Result<meta::Attributes> attributes(const meta::Inode& inode, uint64_t endings);
  bool open_for_write(InodeId inode);
  // As a close of it would: the namespace is told what the local file holds.
  Result<void> commit_changes(InodeId inode);
  bool is_open(InodeId inode);
  // The local file holds what the namespace was not told yet.
  bool changed(InodeId inode);
  // Whether it is open for write with nothing in it that an upload could publish now: it holds what was not committed, or, not
  // changed since it was opened, what the home holds.
  bool nothing_to_publish(const meta::Inode& inode);
  Result<meta::Inode> set_attributes(InodeId inode, const meta::AttributeChange& change);
  Result<void> truncate(InodeId inode, uint64_t size);

  // Keeps an inode from being opened or closed while its last name may go.
  class Removal {
   public:
    meta::InUse in_use() const { return in_use_; }

   private:
    friend class OpenFiles;
    OpenRef open_;
    std::unique_lock<std::mutex> lock_;
    meta::InUse in_use_ = meta::InUse::kNo;
  };
  Result<Removal> begin_removal(InodeId inode);
  // Nothing when that would have to wait.
  std::optional<Removal> try_begin_removal(InodeId inode);
  // The inode got one more name, the first one perhaps: then what it holds is committed.
  void finish_link(Removal removal);
  // What became of it; frees the local file of an inode that is gone.
  void finish_removal(Removal removal, const meta::Unlinked& unlinked);

  // The home holds the inode's content; `drop` the local copy.
  enum class LocalCopy : uint8_t { kKeep, kDrop };
  void persisted(InodeId inode, LocalCopy copy);

  // The content of an inode whose home does not hold it is complete on this node. kStale: it is quarantined, see above.
  Result<void> complete(InodeId inode);

  // Commits what is open for write and ends what is closed.
  void commit_all();
  Result<void> sync_all();
  // What was written and committed so far survives a loss of power; commits nothing, so that nothing is persisted that is still
  // being written.
  Result<void> flush_to_disk();
  // Orphans and marks that no handle stands for: what failed transactions left behind.
  void collect_leftovers();

  // By collect_leftovers().
  uint64_t orphans_reclaimed() const { return orphans_reclaimed_; }
  uint64_t writers_recovered() const { return writers_recovered_; }
  uint64_t open_count() const { return open_count_.load(std::memory_order_relaxed); }
  uint64_t hit_bytes() const { return hit_bytes_.load(std::memory_order_relaxed); }
  uint64_t fetched_bytes() const { return fetcher_.fetched_bytes(); }

 private:
  friend class LocalOpenFile;
  friend class FileVersion;
  using Lock = std::unique_lock<std::mutex>;

  // --- with the OpenInode's mutex held
  Result<void> await_ending(OpenInode& open, Lock& lock);
  // The content that is on this node, whole or in part; null: nothing is.
  Result<std::shared_ptr<Content>> find_content(OpenInode& open, const meta::Inode& inode);
  Result<std::shared_ptr<Content>> load_content(OpenInode& open, const meta::Inode& inode);
  // kStale from either: the bucket had a later version; load the inode again.
  Result<void> begin(OpenInode& open);  // no present page of open.content waits for its check
  Result<void> begin_truncated(OpenInode& open, const meta::Inode& inode);
  static bool differs(const OpenInode& open, const io::FileStat& stat);
  // Tells the namespace what the local file holds; false when it knows already. `synced`: the local file as it was before it was
  // synced.
  Result<bool> commit(OpenInode& open, meta::Urgency urgency, kv::Durability durability,
                      const std::optional<io::FileStat>& synced = std::nullopt);
  // Before the local file is cut in place.
  Result<void> about_to_cut(OpenInode& open, const pages::LocalFile& local, uint64_t size);
  bool may_use_local(const OpenInode& open, bool writes) const;
  std::shared_ptr<Content> take_local(OpenInode& open);
  void release_objects(OpenInode& open);  // of one that lost its last name
  void settle(OpenInode& open);  // the pin
  void reclaim(OpenInode& open);

  // Goes on under a mark of the last process.
  Result<void> resume_writing(OpenInode& open, const meta::WriteMarkState& mark);
  // Of a handle whose local file is another one than the inode's by now, or gone (null).
  Result<std::shared_ptr<Content>> resume_content(OpenInode& open, LocalFileId local_file);

  // --- without
  Result<std::unique_ptr<OpenFile>> resume_handle(const HeldFile& held);
  Result<std::unique_ptr<OpenFile>> open_once(InodeId inode, const OpenOptions& options);
  Result<std::shared_ptr<Content>> make_writable(OpenInode& open);
  // Fetches what is absent, with read-ahead. kStale: the content is nowhere any more; the inode may have another one.
  Result<size_t> read_content(const std::shared_ptr<Content>& content, ReadAheadWindow& window, uint64_t offset,
                              std::span<std::byte> buffer);
  void closed(OpenRef open);
  Result<std::shared_ptr<Content>> current_content(OpenInode& open);
  Result<format::Home> find_home(const Content& content, const format::Home& tried);
  // Applies `change` to [offset, offset + size) of the content; fetches what it misses.
  Result<void> change(OpenInode& open, const std::shared_ptr<Content>& content, uint64_t offset, uint64_t size,
                      const std::function<Result<void>()>& change);
  // Of content whose absent pages are not where they should be: kStale, and quarantine if it was not persisted.
  Error base_lost(const Content& content, const Error& error);
  // Makes rotten pages of the content fetchable; kCorrupt and quarantine when there is nowhere to fetch them from.
  Result<void> repair(Content& content);
  // Returns when what was committed under WRITE_THROUGH or NO_CACHE is persisted.
  Result<void> await_persisted(OpenInode& open);
  std::vector<OpenRef> end_writes(std::vector<OpenRef> closed);
  std::unique_ptr<OpenFile> make_handle(OpenRef open, const OpenOptions& options, std::shared_ptr<Content> local);

  meta::Namespace& names_;
  meta::LowerLayer& lower_;
  pages::PageStore& pages_;
  persist::Persister& persister_;
  LoggedBodies& bodies_;
  const OpenFilesOptions options_;
  std::atomic<uint64_t> endings_ = 0;
  std::atomic<uint64_t> open_count_ = 0;
  std::atomic<uint64_t> orphans_reclaimed_ = 0;
  std::atomic<uint64_t> writers_recovered_ = 0;
  std::atomic<uint64_t> hit_bytes_ = 0;
  OpenTable table_;
  Fetcher fetcher_;
  WriteEnder ender_;
};

}  // namespace weir::volume
