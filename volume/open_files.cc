#include "volume/open_files.h"

#include <utility>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/no_wait.h"
#include "volume/file_version.h"
#include "volume/open_file.h"
#include "volume/recovery.h"

namespace weir::volume {
namespace {

constexpr Duration kEndingTimeout = std::chrono::seconds(30);

OpenInode::Known known_of(const io::FileStat& stat) { return {stat.size_bytes, stat.mtime_ns, stat.ctime_ns}; }

meta::ContentCommit commit_of(const io::FileStat& stat) {
  return {.size = stat.size_bytes,
          .mtime_ns = stat.mtime_ns,
          .ctime_ns = stat.ctime_ns,
          .allocated_bytes = stat.allocated_bytes};
}

FetcherOptions fetcher_options(const OpenFilesOptions& options) {
  return {.timeout = options.ufs_timeout,
          .read_ahead_pages = options.read_ahead_pages,
          .read_ahead_requests = options.read_ahead_requests};
}

}  // namespace

OpenFiles::OpenFiles(meta::Namespace& names, meta::LowerLayer& lower, pages::PageStore& pages,
                     const ufs::MountTable& mounts, persist::Persister& persister, LoggedBodies& bodies,
                     const OpenFilesOptions& options)
    : names_(names),
      lower_(lower),
      pages_(pages),
      persister_(persister),
      bodies_(bodies),
      options_(options),
      fetcher_(mounts, fetcher_options(options),
               [this](const Content& content, const format::Home& tried) { return find_home(content, tried); }),
      ender_([this](std::vector<OpenRef> closed) { return end_writes(std::move(closed)); }) {}

// --- opening

Result<std::unique_ptr<OpenFile>> OpenFiles::open(InodeId inode, const OpenOptions& options) {
  if (options.truncate && options.access == Access::kRead) TRY(truncate(inode, 0));
  auto opened = open_once(inode, options);
  for (int tries = 1; tries < kVersionsMax && failed_with(opened, ErrorCode::kStale); ++tries)
    opened = open_once(inode, options);
  return opened;
}

Result<std::unique_ptr<OpenFile>> OpenFiles::open_once(InodeId inode, const OpenOptions& options) {
  OpenRef open = table_.acquire(inode);
  const bool writes = options.access != Access::kRead;
  std::shared_ptr<Content> local_content;  // null: paged
  {
    Lock lock(open->mutex);
    if (writes) TRY(await_ending(*open, lock));
    TRY_ASSIGN(const meta::Inode record, names_.load(inode));
    if (InodeId(record.id()) != inode) return fail(ErrorCode::kStale, "it became a further name of another inode");
    if (meta::is_directory(record)) return fail(ErrorCode::kIsDirectory);
    if (record.type() != format::REGULAR) return fail(ErrorCode::kInvalid, "not a regular file");
    if (record.quarantined())
      return fail(ErrorCode::kCorrupt, "inode " + std::to_string(inode.value()) + " is quarantined");
    if (writes && options.truncate) {
      TRY(begin_truncated(*open, record));
    } else {
      TRY(load_content(*open, record));
    }
    if (may_use_local(*open, writes)) {
      if (writes) TRY(begin(*open));
      local_content = take_local(*open);
    }
    ++open->handles;
    if (writes) ++open->writers;
  }
  return make_handle(std::move(open), options, std::move(local_content));
}

Result<std::unique_ptr<OpenFile>> OpenFiles::open_created(const meta::Inode& inode,
                                                          std::shared_ptr<pages::LocalFile> local,
                                                          const OpenOptions& options, uint64_t endings) {
  OpenRef open = table_.acquire(InodeId(inode.id()));
  const bool writes = options.access != Access::kRead;
  std::shared_ptr<Content> local_content;  // null: paged
  {
    Lock lock(open->mutex);
    TRY(await_ending(*open, lock));
    if (!open->content) open->content = std::make_shared<Content>(open->id, std::move(local), format::Home());
    // Whoever found the new name may have opened, written, closed or removed it already.
    bool gone = false;
    bool mark_stands = endings == this->endings();
    if (!mark_stands) {
      const auto now = names_.load(open->id);
      gone = failed_with(now, ErrorCode::kNotFound);
      if (!gone) {
        TRY(now);
        mark_stands = now->generation() == inode.generation();
      }
    }
    if (!open->marked && mark_stands) {
      open->marked = true;
      open->committed = false;
      open->commit_due = true;
      open->known = {};
      open->generation = std::max(open->generation, inode.generation());
    }
    if (gone || inode.links() == 0) open->unlinked = true;
    if (writes && !open->marked && !gone) TRY(begin(*open));
    if (may_use_local(*open, writes)) local_content = take_local(*open);
    ++open->handles;
    if (writes) ++open->writers;
  }
  return make_handle(std::move(open), options, std::move(local_content));
}

Result<std::unique_ptr<FileVersion>> OpenFiles::open_version(InodeId inode) {
  OpenRef open = table_.acquire(inode);
  const Lock lock(open->mutex);
  TRY_ASSIGN(meta::Inode record, names_.load(inode));
  if (InodeId(record.id()) != inode) return fail(ErrorCode::kStale, "it became a further name of another inode");
  if (record.type() != format::REGULAR) return fail(ErrorCode::kInvalid, "not a regular file");
  if (record.quarantined())
    return fail(ErrorCode::kCorrupt, "inode " + std::to_string(inode.value()) + " is quarantined");
  TRY_ASSIGN(auto content, load_content(*open, record));
  ++open->handles;
  ++open->version_handles;
  open_count_.fetch_add(1, std::memory_order_relaxed);
  const OpenInode& now = *open;
  auto version = std::make_unique<FileVersion>(*this, open.share(), std::move(record), std::move(content));
  if (now.marked) {
    const auto stat = now.content->local().stat();
    version->was_changed_ = !stat.has_value() || now.commit_due || differs(now, *stat);
  }
  return version;
}

bool OpenFiles::may_use_local(const OpenInode& open, bool writes) const {
  if (!open.content->local().complete()) return false;
  // The kernel wants all opens of an inode to agree: on the way, and on the file behind it.
  const uint32_t others = open.handles - open.version_handles;
  if (others != 0) return open.local_handles == others && open.local_content == open.content->id();
  return !writes || pages_.passthrough_writes_allowed();
}

std::shared_ptr<Content> OpenFiles::take_local(OpenInode& open) {
  open.local_content = open.content->id();
  ++open.local_handles;
  return open.content;
}

std::unique_ptr<OpenFile> OpenFiles::make_handle(OpenRef open, const OpenOptions& options,
                                                 std::shared_ptr<Content> local) {
  open_count_.fetch_add(1, std::memory_order_relaxed);
  return std::make_unique<LocalOpenFile>(*this, std::move(open), options, std::move(local));
}

// --- what was open before the start

Result<std::vector<Result<std::unique_ptr<OpenFile>>>> OpenFiles::resume(std::span<const HeldFile> held) {
  std::vector<Result<std::unique_ptr<OpenFile>>> handles;
  if (held.empty()) return handles;
  const HeldInodes inodes = inodes_of(held);
  TRY_ASSIGN(const auto marks, names_.write_marks());
  std::vector<OpenRef> marked;  // keeps what is resumed in the table
  for (const meta::WriteMarkState& mark : marks) {
    if (!inodes.contains(mark.inode)) continue;
    OpenRef open = table_.acquire(mark.inode);
    {
      Lock lock(open->mutex);
      TRY(resume_writing(*open, mark));
    }
    marked.push_back(std::move(open));
  }
  handles.reserve(held.size());
  for (const HeldFile& file : held) {
    handles.push_back(resume_handle(file));
    if (!handles.back().has_value())
      log_error("volume.held_file_lost", {{"inode", file.inode}, {"error", handles.back().error()}});
  }
  // A mark that no handle of a writer stands for is at its end.
  for (OpenRef& open : marked) {
    bool end = false;
    {
      Lock lock(open->mutex);
      end = open->marked && open->writers == 0;
    }
    if (end) ender_.enqueue(std::move(open));
  }
  return handles;
}

Result<void> OpenFiles::resume_writing(OpenInode& open, const meta::WriteMarkState& mark) {
  TRY_ASSIGN(const MarkCommit committed, commit_mark(names_, pages_, mark));
  if (!committed.there) return {};
  TRY_ASSIGN(const meta::Inode inode, names_.load(open.id));
  TRY_ASSIGN(auto local, pages_.open(mark.local_file));
  TRY_ASSIGN(const io::FileStat stat, local->stat());
  const format::Home home = meta::needs_home(inode) ? inode.home() : format::Home();
  open.content = std::make_shared<Content>(open.id, std::move(local), home);
  open.marked = true;
  open.committed = committed.changed;
  open.generation = inode.generation();
  open.filled = !open.content->local().complete();
  open.commit_due = !pages_.later_changes_show(stat);
  open.unlinked = inode.links() == 0;
  // The kernel may be writing all the time: what differs from what was committed is committed by the close.
  const bool as_committed = inode.content_ctime_ns() == stat.ctime_ns && inode.size() == stat.size_bytes;
  open.known = as_committed         ? known_of(stat)
               : committed.changed ? OpenInode::Known{}
                                   : OpenInode::Known{mark.before.size, mark.before.mtime_ns, mark.before.ctime_ns};
  if (open.unlinked || meta::content_persisted(inode)) return {};
  TRY_ASSIGN(const meta::WritePolicy policy, names_.policy(inode));
  if (meta::persists_first(policy) && committed.changed) open.persist_due = Generation(inode.generation());
  return {};
}

Result<std::shared_ptr<Content>> OpenFiles::resume_content(OpenInode& open, LocalFileId local_file) {
  if (open.content && open.content->id() == local_file) return open.content;
  auto local = pages_.open(local_file);
  if (failed_with(local, ErrorCode::kNotFound)) return nullptr;
  TRY(local);
  if (!(*local)->complete()) return nullptr;
  return std::make_shared<Content>(open.id, *std::move(local), format::Home());
}

Result<std::unique_ptr<OpenFile>> OpenFiles::resume_handle(const HeldFile& held) {
  OpenRef open = table_.acquire(held.inode);
  const bool writes = held.access != Access::kRead;
  std::shared_ptr<Content> local_content;  // null: paged
  {
    Lock lock(open->mutex);
    TRY_ASSIGN(const meta::Inode record, names_.load(held.inode));
    if (record.quarantined())
      return fail(ErrorCode::kCorrupt, "inode " + std::to_string(held.inode.value()) + " is quarantined");
    TRY(load_content(*open, record));
    open->unlinked = record.links() == 0;
    if (held.local_file != LocalFileId(0)) {
      TRY_ASSIGN(local_content, resume_content(*open, held.local_file));
      // Begun by its opening; where the mark is missing all the same, it begins anew.
      if (local_content && writes && !open->marked && !open->unlinked) TRY(begin(*open));
    }
    if (local_content) {
      open->local_content = local_content->id();
      ++open->local_handles;
    }
    ++open->handles;
    if (writes) ++open->writers;
  }
  return make_handle(std::move(open), {.access = held.access}, std::move(local_content));
}

Result<void> OpenFiles::recover_local_file(InodeId inode) {
  const OpenRef open = table_.acquire(inode);
  Lock lock(open->mutex);
  const auto record = names_.load(inode);
  if (failed_with(record, ErrorCode::kNotFound)) return {};
  TRY(record);
  if (record->local_file() == 0) return {};
  const bool clean = meta::content_persisted(*record) && !open->marked;
  pages_.recover(LocalFileId(record->local_file()), clean ? pages::Pin::kEvictable : pages::Pin::kPinned);
  return {};
}

// --- content

Result<std::shared_ptr<Content>> OpenFiles::find_content(OpenInode& open, const meta::Inode& inode) {
  const LocalFileId id(inode.local_file());
  if (open.content && (open.marked || open.content->id() == id)) return open.content;
  if (id == LocalFileId(0)) return nullptr;
  auto local = pages_.open(id);
  if (failed_with(local, ErrorCode::kNotFound)) return nullptr;
  TRY(local);
  const format::Home home = meta::needs_home(inode) ? inode.home() : format::Home();
  open.content = std::make_shared<Content>(open.id, *std::move(local), home);
  return open.content;
}

Result<std::shared_ptr<Content>> OpenFiles::load_content(OpenInode& open, const meta::Inode& inode) {
  TRY_ASSIGN(auto found, find_content(open, inode));
  if (found) return found;
  if (!meta::content_persisted(inode)) {
    TRY(names_.report_corruption(open.id, LocalFileId(inode.local_file())));
    log_error("volume.content_lost", {{"inode", open.id}, {"local_file", inode.local_file()}});
    return fail(ErrorCode::kCorrupt, "the local file of inode " + std::to_string(open.id.value()) +
                                         " is gone, and no object holds its content");
  }
  TRY_ASSIGN(const LocalFileId id, names_.new_local_file_id());
  TRY_ASSIGN(auto local, pages_.create_partial(id, inode.home().size()));
  if (auto set = names_.set_local_file(open.id, id, inode.home().etag()); !set.has_value()) {
    // If it happened all the same, the record leads to a file that is gone, as after an eviction.
    pages_.remove(id);
    return fail(std::move(set).error());
  }
  open.content = std::make_shared<Content>(open.id, std::move(local), inode.home());
  return open.content;
}

Result<std::shared_ptr<Content>> OpenFiles::current_content(OpenInode& open) {
  Lock lock(open.mutex);
  if (open.marked) return open.content;
  const auto inode = names_.load(open.id);
  if (failed_with(inode, ErrorCode::kNotFound))
    return fail(ErrorCode::kStale, "inode " + std::to_string(open.id.value()) + " was removed in the bucket");
  TRY(inode);
  return load_content(open, *inode);
}

Result<std::shared_ptr<Content>> OpenFiles::make_writable(OpenInode& open) {
  for (int tries = 0; tries < kVersionsMax; ++tries) {
    std::shared_ptr<Content> content;
    {
      Lock lock(open.mutex);
      TRY(await_ending(open, lock));
      if (open.marked) return open.content;
      TRY_ASSIGN(const meta::Inode inode, names_.load(open.id));
      TRY_ASSIGN(content, load_content(open, inode));
    }
    // From its first change on a file is not checked any more.
    if (const auto verified = content->local().verify(); failed_with(verified, ErrorCode::kCorrupt)) {
      TRY(repair(*content));
      continue;
    } else {
      TRY(verified);
    }
    Lock lock(open.mutex);
    TRY(await_ending(open, lock));
    if (open.marked) return open.content;
    if (open.content != content) continue;
    const auto begun = begin(open);
    if (begun.has_value()) return content;
    if (begun.error() != ErrorCode::kStale) return fail(begun.error());
  }
  return fail(ErrorCode::kStale, "inode " + std::to_string(open.id.value()) + " changes faster than it can be written");
}

Result<void> OpenFiles::change(OpenInode& open, const std::shared_ptr<Content>& content, uint64_t offset,
                               uint64_t size, const std::function<Result<void>()>& change) {
  pages::LocalFile& local = content->local();
  if (local.complete()) return change();
  auto changed = change();
  while (failed_with(changed, ErrorCode::kNotFound)) {
    const auto missing = local.missing_for_write(offset, size);
    if (missing.size != 0) {
      const auto fetched = fetcher_.fetch(*content, missing.offset, missing.size);
      if (failed_with(fetched, ErrorCode::kStale)) return fail(base_lost(*content, fetched.error()));
      TRY(fetched);
    }
    changed = change();
  }
  // Filling moves ctime as well: here is who knows.
  const Lock lock(open.mutex);
  open.commit_due = true;
  return changed;
}

Error OpenFiles::base_lost(const Content& content, const Error& error) {
  const auto inode = names_.load(content.inode());
  if (!inode.has_value() || LocalFileId(inode->local_file()) != content.id() || !inode->partial() ||
      meta::content_persisted(*inode)) {
    return error;
  }
  log_error("volume.base_lost", {{"inode", content.inode()}, {"local_file", content.id()}, {"error", error}});
  if (const auto reported = names_.report_corruption(content.inode(), content.id()); !reported.has_value())
    return reported.error();
  return Error(ErrorCode::kCorrupt, "the object that inode " + std::to_string(content.inode().value()) +
                                        " was changed on top of is not there any more; the file is quarantined");
}

Result<void> OpenFiles::complete(InodeId inode) {
  const OpenRef open = table_.acquire(inode);
  for (int tries = 0; tries < kVersionsMax; ++tries) {
    std::shared_ptr<Content> content;
    {
      Lock lock(open->mutex);
      TRY(await_ending(*open, lock));
      TRY_ASSIGN(const meta::Inode record, names_.load(inode));
      if (meta::content_persisted(record) || !record.partial()) return {};
      TRY_ASSIGN(content, load_content(*open, record));
      if (content->local().complete()) {
        TRY_ASSIGN(const io::FileStat stat, content->local().stat());
        // What was written since is committed in its time.
        if (open->marked && (open->commit_due || differs(*open, stat)))
          return fail(ErrorCode::kBusy, "the file is being written");
        TRY(names_.set_complete(inode, content->id(), stat.ctime_ns));
        open->known.ctime_ns = stat.ctime_ns;
        return {};
      }
    }
    const auto fetched = fetcher_.fetch_all(content);
    if (failed_with(fetched, ErrorCode::kCorrupt)) {
      TRY(repair(*content));
    } else if (failed_with(fetched, ErrorCode::kStale)) {
      return fail(base_lost(*content, fetched.error()));
    } else {
      TRY(fetched);
    }
  }
  return fail(ErrorCode::kBusy, "inode " + std::to_string(inode.value()) + " changes faster than it can be fetched");
}

Result<format::Home> OpenFiles::find_home(const Content& content, const format::Home& tried) {
  const auto moved = [&](const meta::Inode& inode) {
    return inode.home().mount() != tried.mount() || inode.home().key() != tried.key() ||
           inode.home().etag() != tried.etag();
  };
  const std::string what = "inode " + std::to_string(content.inode().value());
  auto loaded = names_.load(content.inode());
  if (failed_with(loaded, ErrorCode::kNotFound)) return fail(ErrorCode::kStale, what + " was removed in the bucket");
  TRY_ASSIGN(meta::Inode inode, std::move(loaded));
  if (LocalFileId(inode.local_file()) != content.id()) return fail(ErrorCode::kStale, what + " is another version now");
  if (!moved(inode)) {
    // The bucket knows better than the namespace: somebody changed or removed the object there.
    const Deadline deadline = Deadline::after(options_.ufs_timeout);
    TRY(inode.shadow() ? lower_.refresh_shadow(inode, deadline) : lower_.refresh(InodeId(inode.parent()), deadline));
    loaded = names_.load(content.inode());
    if (!loaded.has_value() && loaded.error() != ErrorCode::kNotFound) return fail(loaded.error());
    if (loaded.has_value()) inode = *std::move(loaded);
    if (!loaded.has_value() || LocalFileId(inode.local_file()) != content.id() || !moved(inode)) {
      return fail(ErrorCode::kStale, what + " was changed or removed in the bucket: '" + tried.key() + "'");
    }
  }
  if (!meta::needs_home(inode)) return fail(ErrorCode::kStale, what + " was written meanwhile");
  return inode.home();
}

Result<void> OpenFiles::repair(Content& content) {
  TRY_ASSIGN(const meta::Inode inode, names_.load(content.inode()));
  if (LocalFileId(inode.local_file()) == content.id() && meta::needs_home(inode)) {
    log_warn("volume.page_corrupt", {{"inode", content.inode()}, {"local_file", content.id()}, {"refetch", "yes"}});
    content.set_home(inode.home());
    return {};
  }
  log_error("volume.quarantined", {{"inode", content.inode()}, {"local_file", content.id()}});
  TRY(names_.report_corruption(content.inode(), content.id()));
  TRY(pages_.quarantine(content.id()));
  return fail(ErrorCode::kCorrupt, "inode " + std::to_string(content.inode().value()) +
                                       " has rotten pages and no object holds its content; it is quarantined");
}

// --- reading

Result<size_t> OpenFiles::read_content(const std::shared_ptr<Content>& content, ReadAheadWindow& window,
                                       uint64_t offset, std::span<std::byte> buffer) {
  pages::LocalFile& local = content->local();
  for (int tries = 0; tries < kVersionsMax; ++tries) {
    bool hit = true;
    if (!local.complete()) {
      hit = local.present(offset, buffer.size());
      const auto ahead = window.after_read(offset, buffer.size(), fetcher_.read_ahead_pages());
      fetcher_.read_ahead(content, ahead);
      if (!hit) TRY(fetcher_.fetch(*content, offset, buffer.size()));
    }
    if (hit) hit_bytes_.fetch_add(buffer.size(), std::memory_order_relaxed);
    auto read = local.read(offset, buffer);
    if (failed_with(read, ErrorCode::kCorrupt)) {
      TRY(repair(*content));
    } else if (!failed_with(read, ErrorCode::kNotFound)) {
      return read;
    }
  }
  return fail(ErrorCode::kStale, "inode " + std::to_string(content->inode().value()) + " changes faster than it can be read");
}

void OpenFiles::closed(OpenRef open) {
  open_count_.fetch_sub(1, std::memory_order_relaxed);
  bool end = false;
  {
    const Lock lock(open->mutex);
    --open->handles;
    --open->version_handles;
    end = open->handles == 0 && (open->unlinked || open->drop_when_closed);
  }
  if (end) ender_.enqueue(std::move(open));
}

// --- writing

Result<void> OpenFiles::await_ending(OpenInode& open, Lock& lock) {
  const Deadline deadline = Deadline::after(kEndingTimeout);
  if (!open.ended.wait_until(lock, deadline.time(), [&] { return !open.ending; }))
    return fail(ErrorCode::kTimedOut, "the metadata store does not record the end of the last writing");
  return {};
}

Result<void> OpenFiles::begin(OpenInode& open) {
  TRY_ASSIGN(const io::FileStat stat, open.content->local().stat());
  // A write within the tick of the last change could not be told from none by the file's stat.
  if (open.marked) {
    if (open.writers == 0 && !pages_.later_changes_show(stat)) open.commit_due = true;
    return {};
  }
  TRY(bodies_.release(open.content->local()));
  meta::ContentCommit before = commit_of(stat);
  before.partial = !open.content->local().complete();
  if (!pages_.later_changes_show(stat)) before.ctime_ns = 0;  // recovery shall find it changed, too
  TRY_ASSIGN(const meta::Inode begun, names_.begin_write(open.id, open.content->id(), before, open.content->id()));
  open.generation = begun.generation();
  pages_.set_pin(open.content->id(), pages::Pin::kPinned);
  open.marked = true;
  open.committed = false;
  open.commit_due = before.ctime_ns == 0 && !before.partial;
  open.filled = before.partial;
  // Pinning a fetched file renames it, which moves its ctime.
  const auto pinned = open.content->local().stat();
  open.known = known_of(pinned.has_value() ? *pinned : stat);
  return {};
}

Result<void> OpenFiles::begin_truncated(OpenInode& open, const meta::Inode& inode) {
  TRY_ASSIGN(const auto content, find_content(open, inode));
  // In place only for those who have the file open: what it held stays until the new content is as durable as that.
  if (content && open.handles != 0 && (open.marked || content->local().complete())) {
    TRY(begin(open));
    TRY(about_to_cut(open, content->local(), 0));
    TRY(content->local().truncate(0));
    open.commit_due = true;
    return {};
  }
  TRY_ASSIGN(const LocalFileId id, names_.new_local_file_id());
  TRY_ASSIGN(auto local, pages_.create(id));
  // Against this recovery finds the file changed, though nothing was written: it has lost what it held.
  const meta::ContentCommit before;
  const auto begun = names_.begin_write(open.id, id, before, LocalFileId(inode.local_file()));
  if (!begun.has_value()) {
    // Kept when the outcome is unknown: recovery removes what the record does not lead to.
    if (begun.error() != ErrorCode::kMayHaveHappened) pages_.remove(id);
    return fail(begun.error());
  }
  open.generation = begun->generation();
  if (inode.local_file() != 0) pages_.remove(LocalFileId(inode.local_file()));
  open.content = std::make_shared<Content>(open.id, std::move(local), format::Home());
  open.marked = true;
  open.committed = false;
  open.commit_due = true;
  open.filled = false;
  open.known = {};
  return {};
}

bool OpenFiles::differs(const OpenInode& open, const io::FileStat& stat) {
  OpenInode::Known now = known_of(stat);
  if (open.filled) now.ctime_ns = open.known.ctime_ns;
  return now != open.known;
}

Result<void> OpenFiles::about_to_cut(OpenInode& open, const pages::LocalFile& local, uint64_t size) {
  TRY_ASSIGN(const io::FileStat stat, local.stat());
  if (size >= stat.size_bytes) return {};
  open.cut_to = std::min(open.cut_to, size);
  const auto record = names_.load(open.id);
  if (failed_with(record, ErrorCode::kNotFound)) return {};
  TRY(record);
  if (LocalFileId(record->local_file()) != local.id() || meta::durable_bytes(*record, names_.flush_epoch()) <= size) return {};
  return names_.limit_durable(open.id, size);
}

Result<bool> OpenFiles::commit(OpenInode& open, meta::Urgency urgency, kv::Durability durability,
                               const std::optional<io::FileStat>& synced) {
  if (!open.marked || open.unlinked) return false;
  const bool partial = !open.content->local().complete();
  TRY_ASSIGN(const io::FileStat stat, open.content->local().stat());
  meta::ContentCommit content = commit_of(stat);
  content.partial = partial;
  content.synced = synced && known_of(*synced) == known_of(stat);
  if (partial) content.allocated_bytes.reset();
  if (!differs(open, stat)) {
    if (!open.commit_due) return false;
    content.changed = meta::ContentCommit::Changed::kPerhaps;
  }
  TRY(failpoint("volume.commit"));
  auto committed = names_.commit_content(open.id, content, urgency, durability);
  if (failed_with(committed, ErrorCode::kNotFound)) {
    open.unlinked = true;
    return false;
  }
  TRY(committed);
  pages_.set_pin(open.content->id(), pages::Pin::kPinned);
  open.known = known_of(stat);
  open.filled = partial;
  open.commit_due = false;
  open.committed = true;
  open.generation = committed->inode.generation();
  open.persist_due = Generation(meta::persists_first(committed->policy) ? committed->inode.generation() : 0);
  pages_.account(open.content->id());
  return true;
}

Result<void> OpenFiles::await_persisted(OpenInode& open) {
  Generation due{};
  {
    Lock lock(open.mutex);
    due = open.persist_due;
  }
  if (due == Generation(0)) return {};
  TRY(NoWait::check());
  TRY(failpoint("volume.await_persisted"));
  TRY(persister_.wait_persisted(open.id, due, Deadline::after(options_.ufs_timeout)));
  Lock lock(open.mutex);
  if (open.persist_due == due) open.persist_due = Generation(0);
  return {};
}

std::vector<OpenRef> OpenFiles::end_writes(std::vector<OpenRef> closed) {
  std::vector<OpenRef> again;
  std::vector<OpenRef> ending;
  std::vector<meta::Namespace::EndWrite> ended;
  bool committed = false;
  for (OpenRef& open : closed) {
    Lock lock(open->mutex);
    if (open->unlinked) {
      if (open->handles == 0) reclaim(*open);
      continue;
    }
    if (open->drop_when_closed && open->handles == 0 && !open->marked) settle(*open);
    if (!open->marked || open->ending || open->writers != 0) continue;
    // Written through a mapping, or not flushed: the last close(2) was not the last change.
    if (const auto late = commit(*open, meta::Urgency::kOrdinary, kv::Durability::kWritten); !late.has_value()) {
      log_error("volume.commit_failed", {{"inode", open->id}, {"error", late.error()}});
      again.push_back(std::move(open));
      continue;
    } else if (*late) {
      committed = true;
    }
    if (open->unlinked) {
      if (open->handles == 0) reclaim(*open);
      continue;
    }
    // Names of it that waited for the content are queued again.
    if (!open->committed) committed = true;
    open->ending = true;
    ended.push_back({.inode = open->id, .unchanged = !open->committed});
    ending.push_back(open.share());
  }
  if (ended.empty()) {
    if (committed) persister_.wake_for_files(meta::Urgency::kOrdinary);
    return again;
  }

  const auto recorded = names_.end_writes(ended);
  if (committed) persister_.wake_for_files(meta::Urgency::kOrdinary);
  if (!recorded.has_value())
    log_error("volume.end_writes_failed", {{"inodes", ended.size()}, {"error", recorded.error()}});
  endings_.fetch_add(1, std::memory_order_acq_rel);
  for (OpenRef& open : ending) {
    Lock lock(open->mutex);
    open->ending = false;
    if (recorded.has_value()) {
      open->marked = false;
      settle(*open);
    }
    open->ended.notify_all();
    lock.unlock();
    if (!recorded.has_value()) again.push_back(std::move(open));
  }
  return again;
}

void OpenFiles::settle(OpenInode& open) {
  const auto inode = names_.load(open.id);
  if (!inode.has_value() || inode->local_file() == 0 || !meta::content_persisted(*inode)) return;
  const LocalFileId id(inode->local_file());
  pages_.set_pin(id, pages::Pin::kEvictable);
  if (open.drop_when_closed && open.handles == 0) {
    open.drop_when_closed = false;
    open.content.reset();
    (void)pages_.evict(id);  // whatever still uses it, space will take it later
  }
}

void OpenFiles::reclaim(OpenInode& open) {
  const auto local = names_.reclaim(open.id);
  if (!local.has_value()) {
    log_error("volume.reclaim_failed", {{"inode", open.id}, {"error", local.error()}});
    return;  // the orphan scan tries again
  }
  open.marked = false;
  open.content.reset();
  if (*local != LocalFileId(0)) pages_.remove(*local);
  persister_.wake_for_erasures();
}

void OpenFiles::persisted(InodeId inode, LocalCopy copy) {
  const OpenRef open = table_.acquire(inode);
  Lock lock(open->mutex);
  if (copy == LocalCopy::kDrop) open->drop_when_closed = true;
  // While it may be written it stays pinned; the end of the writing settles it.
  if (open->marked) {
    pages_.set_pin(open->content->id(), pages::Pin::kPinned);
  } else {
    settle(*open);
  }
}

// --- attributes

Result<meta::Attributes> OpenFiles::attributes(const meta::Inode& inode, uint64_t endings) {
  if (inode.type() != format::REGULAR) return names_.attributes(inode);
  const OpenRef open = table_.find(InodeId(inode.id()));
  // Whatever was written and closed before is in a record that was read after that.
  const auto current = [&](bool outdated) -> Result<meta::Attributes> {
    if (!outdated) return names_.attributes(inode);
    const auto now = names_.load(InodeId(inode.id()));
    if (failed_with(now, ErrorCode::kNotFound)) return names_.attributes(inode);  // removed during the call
    TRY(now);
    return names_.attributes(*now);
  };
  if (!open) return current(endings != this->endings());
  Lock lock(open->mutex);
  TRY_ASSIGN(auto attributes, current(inode.generation() < open->generation || endings != this->endings()));
  if (!open->marked) return attributes;
  TRY_ASSIGN(const io::FileStat stat, open->content->local().stat());
  // What is not on this node counts as if it were.
  attributes.allocated_bytes =
      open->content->local().complete() ? stat.allocated_bytes : meta::block_bytes(stat.size_bytes);
  if (!differs(*open, stat)) return attributes;
  attributes.size = stat.size_bytes;
  attributes.mtime_ns = stat.mtime_ns;
  attributes.ctime_ns = std::max(attributes.ctime_ns, stat.ctime_ns);
  return attributes;
}

bool OpenFiles::open_for_write(InodeId inode) {
  const OpenRef open = table_.find(inode);
  if (!open) return false;
  Lock lock(open->mutex);
  return open->marked && open->writers != 0;
}

Result<void> OpenFiles::commit_changes(InodeId inode) {
  const OpenRef open = table_.find(inode);
  if (!open) return {};
  bool committed = false;
  {
    const Lock lock(open->mutex);
    TRY_ASSIGN(committed, commit(*open, meta::Urgency::kOrdinary, kv::Durability::kWritten));
  }
  if (committed) persister_.wake_for_files(meta::Urgency::kOrdinary);
  return {};
}

bool OpenFiles::is_open(InodeId inode) {
  const OpenRef open = table_.find(inode);
  if (!open) return false;
  Lock lock(open->mutex);
  return open->handles != 0;
}

bool OpenFiles::changed(InodeId inode) {
  const OpenRef open = table_.find(inode);
  if (!open) return false;
  Lock lock(open->mutex);
  if (!open->marked) return false;
  const auto stat = open->content->local().stat();
  return !stat.has_value() || open->commit_due || differs(*open, *stat);
}

bool OpenFiles::nothing_to_publish(const meta::Inode& inode) {
  const OpenRef open = table_.find(InodeId(inode.id()));
  if (!open) return false;
  Lock lock(open->mutex);
  if (!open->marked) return false;
  const auto stat = open->content->file().stat();
  if (!stat.has_value() || open->commit_due || differs(*open, *stat)) return true;
  // The generation of the opening, and no other, came since the home was written.
  return !open->committed && inode.has_home() && inode.persisted_generation() + 1 == inode.generation();
}

Result<meta::Inode> OpenFiles::set_attributes(InodeId inode, const meta::AttributeChange& change) {
  const OpenRef open = change.mtime_ns ? table_.find(inode) : OpenRef();
  if (!open) return names_.set_attributes(inode, change);
  Lock lock(open->mutex);
  if (open->marked) {
    // Content not committed yet brings the local file's time with it.
    TRY_ASSIGN(const io::FileStat stat, open->content->local().stat());
    if (differs(*open, stat)) TRY(open->content->local().set_mtime(*change.mtime_ns));
  }
  return names_.set_attributes(inode, change);
}

Result<void> OpenFiles::truncate(InodeId inode, uint64_t size) {
  TRY_ASSIGN(const auto file, open(inode, {.access = Access::kWrite, .truncate = size == 0}));
  if (size != 0) TRY(file->truncate(size));
  const OpenRef handle = table_.acquire(inode);
  {
    Lock lock(handle->mutex);
    if (handle->writers > 1) return {};  // the others commit with their own close
  }
  return file->flush();
}

// --- the end of an inode

Result<OpenFiles::Removal> OpenFiles::begin_removal(InodeId inode) {
  Removal removal;
  removal.open_ = table_.acquire(inode);
  removal.lock_ = Lock(removal.open_->mutex);
  TRY(await_ending(*removal.open_, removal.lock_));
  removal.in_use_ = removal.open_->handles != 0 ? meta::InUse::kYes : meta::InUse::kNo;
  return removal;
}

std::optional<OpenFiles::Removal> OpenFiles::try_begin_removal(InodeId inode) {
  Removal removal;
  removal.open_ = table_.acquire(inode);
  removal.lock_ = Lock(removal.open_->mutex, std::try_to_lock);
  if (!removal.lock_ || removal.open_->ending) return std::nullopt;
  removal.in_use_ = removal.open_->handles != 0 ? meta::InUse::kYes : meta::InUse::kNo;
  return removal;
}

void OpenFiles::finish_removal(Removal removal, const meta::Unlinked& unlinked) {
  if (unlinked.inode == removal.open_->id && unlinked.last_name) {
    if (removal.in_use_ == meta::InUse::kYes) {
      removal.open_->unlinked = true;
      if (unlinked.keeps_objects) release_objects(*removal.open_);
    } else {
      removal.open_->marked = false;
    }
  }
  if (unlinked.local_file != LocalFileId(0)) pages_.remove(unlinked.local_file);
  if (!unlinked.last_name) {
    persister_.wake();
  } else if (unlinked.erases_object) {
    persister_.wake_for_erasures();
  }
}

void OpenFiles::release_objects(OpenInode& open) {
  const bool complete = open.content && open.content->local().complete();
  const LocalFileId local = complete ? open.content->id() : LocalFileId(0);
  const auto released = names_.release_objects(open.id, local);
  if (!released.has_value()) {
    log_warn("volume.objects_kept_until_close", {{"inode", open.id}, {"error", released.error()}});
    return;
  }
  if (complete) pages_.set_pin(local, pages::Pin::kPinned);
  if (*released) persister_.wake();
}

void OpenFiles::finish_link(Removal removal) {
  OpenInode& open = *removal.open_;
  if (!open.unlinked) return;
  open.unlinked = false;
  open.commit_due = true;
  // What fails here is done by the close, or by recovery.
  if (const auto done = commit(open, meta::Urgency::kOrdinary, kv::Durability::kWritten); !done.has_value())
    log_error("volume.commit_failed", {{"inode", open.id}, {"error", done.error()}});
}

void OpenFiles::collect_leftovers() {
  const auto orphans = names_.orphans();
  if (!orphans.has_value()) {
    log_warn("volume.orphan_scan_failed", {{"error", orphans.error()}});
    return;
  }
  for (const InodeId inode : *orphans) {
    const OpenRef open = table_.acquire(inode);
    Lock lock(open->mutex);
    if (open->handles != 0) continue;
    // An orphan that is just being created without a name: open_created() sees the change.
    endings_.fetch_add(1, std::memory_order_acq_rel);
    reclaim(*open);
    ++orphans_reclaimed_;
  }
  const auto marks = names_.write_marks();
  if (!marks.has_value()) {
    log_warn("volume.mark_scan_failed", {{"error", marks.error()}});
    return;
  }
  for (const meta::WriteMarkState& mark : *marks) {
    const OpenRef open = table_.acquire(mark.inode);
    Lock lock(open->mutex);
    if (open->marked || open->ending || open->handles != 0) continue;
    // The mark of a file that is just being created: open_created() sees the change.
    endings_.fetch_add(1, std::memory_order_acq_rel);
    if (const auto ended = recover_mark(names_, pages_, mark); !ended.has_value())
      log_warn("volume.mark_scan_failed", {{"inode", mark.inode}, {"error", ended.error()}});
    ++writers_recovered_;
    settle(*open);
  }
}

// --- all

void OpenFiles::commit_all() {
  ender_.drain();
  for (const OpenRef& open : table_.all()) {
    Lock lock(open->mutex);
    if (const auto done = commit(*open, meta::Urgency::kOrdinary, kv::Durability::kWritten); !done.has_value())
      log_error("volume.commit_failed", {{"inode", open->id}, {"error", done.error()}});
  }
}

Result<void> OpenFiles::sync_all() {
  for (const OpenRef& open : table_.all()) {
    Lock lock(open->mutex);
    if (!open->marked) continue;
    TRY(commit(*open, meta::Urgency::kOrdinary, kv::Durability::kWritten));
  }
  persister_.wake();
  return flush_to_disk();
}

Result<void> OpenFiles::flush_to_disk() {
  struct Writing {
    OpenRef open;
    LocalFileId local_file{};
    OpenInode::Known known;
  };
  std::vector<Writing> writing;
  for (OpenRef& open : table_.all()) {
    Lock lock(open->mutex);
    // What is absent from a partial file is the home's; it is durable by its own sync alone.
    if (!open->marked || open->unlinked || !open->content || !open->content->local().complete()) continue;
    TRY_ASSIGN(const io::FileStat stat, open->content->local().stat());
    if (known_of(stat) == open->flushed) continue;
    open->cut_to = UINT64_MAX;
    const LocalFileId local_file = open->content->id();
    lock.unlock();
    writing.push_back({std::move(open), local_file, known_of(stat)});
  }
  if (writing.empty() && !names_.flush_due()) return names_.kv().sync();
  const uint64_t epoch = names_.begin_flush();
  TRY(pages_.sync_all());
  TRY(failpoint("volume.flushed"));
  for (Writing& each : writing) {
    Lock lock(each.open->mutex);
    if (!each.open->marked || each.open->content->id() != each.local_file) continue;
    const uint64_t size = std::min(each.known.size, each.open->cut_to);
    TRY(names_.note_durable(each.open->id, each.local_file, size, kv::Durability::kWritten));
    each.open->flushed = each.known;
  }
  return names_.end_flush(epoch);
}

}  // namespace weir::volume
