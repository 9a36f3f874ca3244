#include "fuse/operations.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/no_wait.h"
#include "fuse/directory_handle.h"
#include "fuse/errno_table.h"
#include "fuse/invalidator.h"
#include "meta/acl.h"

namespace weir::fuse {
namespace {

using volume::Entry;
using volume::IoPath;
using volume::OpenFile;

constexpr uint32_t kBlockBytes = 4096;
constexpr uint32_t kSetIdBits = S_ISUID | S_ISGID;

// One request, to be answered exactly once. Handlers return an error instead of replying with it.
class Request {
 public:
  explicit Request(fuse_req_t req) : req_(req) {}

  fuse_req_t raw() const { return req_; }
  meta::Caller caller() const {
    const fuse_ctx* context = fuse_req_ctx(req_);
    return {.uid = context->uid, .gid = context->gid, .umask = context->umask};
  }
  void done() const { error(0); }
  void error(int err) const { fuse_reply_err(req_, err); }
  void bytes(const void* data, size_t size) const { fuse_reply_buf(req_, static_cast<const char*>(data), size); }

 private:
  fuse_req_t req_;
};

Operations& operations_of(fuse_req_t req) { return *static_cast<Operations*>(fuse_req_userdata(req)); }
Result<OpenFile*> file_of(const OpenHandle& handle) {
  if (handle.file == nullptr) return fail(ErrorCode::kStale, "the file could not be opened again");
  return handle.file.get();
}

Result<OpenFile*> open_file(const Request& request, uint64_t fh) {
  return file_of(operations_of(request.raw()).handle(fh));
}

// The request that the calling thread serves was served before, by a process that died before it replied.
bool sent_again() {
  const Origin* const origin = Origin::current();
  return origin != nullptr && origin->sent_again();
}

// For replies that the kernel may have to ask for again.
uint64_t request_number() {
  const Origin* const origin = Origin::current();
  return origin == nullptr ? 0 : origin->unique();
}

bool is_error(Operation operation, ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound: return operation != Operation::kLookup;
    case ErrorCode::kStale: return operation != Operation::kGetAttributes;
    case ErrorCode::kNoAttribute:
    case ErrorCode::kRange: return false;
    default: return true;
  }
}

void record(Operations& ops, Operation operation, TimePoint start, const Result<void>& result) {
  const bool error = !result && is_error(operation, result.error().code());
  ops.statistics.record(operation, system_clock().now() - start,
                        error ? Statistics::Outcome::kError : Statistics::Outcome::kOk);
}

void log_failure(Operation operation, const Error& error) {
  if (errno_of(error.code()) == EIO) {
    log_warn("fuse.io_error", {{"operation", name_of(operation)}, {"error", error}});
  }
}

template <typename Handler>
void run(Operations& ops, const Request& request, Operation operation, TimePoint start, const Handler& handler) {
  const Result<void> result = handler(request);
  record(ops, operation, start, result);
  if (result) return;
  log_failure(operation, result.error());
  request.error(errno_of(result.error().code()));
}

bool on_ring_thread() { return Origin::current() != nullptr && Origin::current()->of_ring(); }

// Continues a request of a ring on a thread that may wait. What the handler points to lives until the reply.
template <typename Handler>
void move_to_waiting(fuse_req_t req, Operation operation, TimePoint start, const Handler& handler) {
  Operations& ops = operations_of(req);
  ops.statistics.record_moved();
  ops.waiting.post([&ops, req, unique = request_number(), operation, start, handler] {
    const Invalidator::Serving serving;
    LedgerIntent* const intent = ops.ledger.take_intent();
    {
      const Origin origin(ops.ledger, intent, unique);
      run(ops, Request(req), operation, start, handler);
    }
    ops.ledger.give_back(intent);
  });
}

// Serves a request that the volume can nearly always answer without waiting. `handler` is copied and may run twice: it
// has replied when it returns success, and only then.
template <typename Handler>
void serve(fuse_req_t req, Operation operation, const Handler& handler) {
  Operations& ops = operations_of(req);
  const TimePoint start = system_clock().now();
  const Invalidator::Serving serving;
  const Request request(req);
  if (!on_ring_thread()) return run(ops, request, operation, start, handler);
  const Result<void> result = [&] {
    const NoWait no_wait;
    return handler(request);
  }();
  if (failed_with(result, ErrorCode::kWouldWait)) return move_to_waiting(req, operation, start, handler);
  record(ops, operation, start, result);
  if (result) return;
  log_failure(operation, result.error());
  request.error(errno_of(result.error().code()));
}

// The inode that a request names was there when the kernel looked it up: its name leads elsewhere by now. ESTALE makes the
// kernel look again, where ENOENT would tell the caller that there is no such file.
template <typename T>
Result<T> looked_up(Result<T> result) {
  if (failed_with(result, ErrorCode::kNotFound)) return fail(ErrorCode::kStale, "the inode is gone");
  return result;
}

// Serves a request that waits for a disk or an under store as a rule.
template <typename Handler>
void serve_waiting(fuse_req_t req, Operation operation, const Handler& handler) {
  const TimePoint start = system_clock().now();
  if (on_ring_thread()) return move_to_waiting(req, operation, start, handler);
  const Invalidator::Serving serving;
  run(operations_of(req), Request(req), operation, start, handler);
}

// --- attributes

timespec to_timespec(int64_t ns) {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t seconds = ns / kSecond;
  int64_t rest = ns % kSecond;
  if (rest < 0) {
    rest += kSecond;
    --seconds;
  }
  return {.tv_sec = seconds, .tv_nsec = rest};
}

// Times beyond what 64 bits of nanoseconds hold (1677 to 2262) become the nearest that they do.
int64_t to_ns(const timespec& time) {
  constexpr int64_t kSecond = 1'000'000'000;
  constexpr int64_t kSecondsMax = std::numeric_limits<int64_t>::max() / kSecond - 1;
  return std::clamp<int64_t>(time.tv_sec, -kSecondsMax, kSecondsMax) * kSecond + time.tv_nsec;
}

mode_t type_bits(meta::FileType type) {
  switch (type) {
    case format::DIRECTORY: return S_IFDIR;
    case format::SYMLINK: return S_IFLNK;
    case format::FIFO: return S_IFIFO;
    case format::SOCKET: return S_IFSOCK;
    case format::CHAR_DEVICE: return S_IFCHR;
    case format::BLOCK_DEVICE: return S_IFBLK;
    default: return S_IFREG;
  }
}

// Of what mknod(2) makes besides regular files.
std::optional<meta::FileType> special_type(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFIFO: return format::FIFO;
    case S_IFSOCK: return format::SOCKET;
    case S_IFCHR: return format::CHAR_DEVICE;
    case S_IFBLK: return format::BLOCK_DEVICE;
    default: return std::nullopt;
  }
}

struct stat to_stat(const meta::Attributes& attributes) {
  struct stat st {};
  st.st_ino = attributes.inode.value();
  st.st_mode = type_bits(attributes.type) | attributes.permissions;
  st.st_nlink = attributes.links;
  st.st_uid = attributes.uid;
  st.st_gid = attributes.gid;
  st.st_rdev = attributes.rdev;
  st.st_size = static_cast<off_t>(attributes.size);
  st.st_blksize = kBlockBytes;
  st.st_blocks = static_cast<blkcnt_t>((attributes.allocated_bytes + 511) / 512);
  st.st_atim = to_timespec(attributes.atime_ns);
  st.st_mtim = to_timespec(attributes.mtime_ns);
  st.st_ctim = to_timespec(attributes.ctime_ns);
  return st;
}

double to_seconds(Duration duration) { return std::chrono::duration<double>(duration).count(); }

fuse_entry_param to_entry(const Entry& entry) {
  fuse_entry_param param{};
  param.ino = entry.attributes.inode.value();
  param.attr = to_stat(entry.attributes);
  param.attr_timeout = param.entry_timeout = to_seconds(entry.valid_for);
  return param;
}

void reply_entry(const Request& request, const Entry& entry) {
  const fuse_entry_param param = to_entry(entry);
  NamelessInodes& nameless = operations_of(request.raw()).nameless;
  nameless.looked_up(entry.attributes);
  if (fuse_reply_entry(request.raw(), &param) != 0) nameless.forgotten(entry.attributes.inode, 1);
}

void reply_attributes(const Request& request, const Entry& entry) {
  if (entry.attributes.type == format::DIRECTORY) operations_of(request.raw()).nameless.seen(entry.attributes);
  const struct stat st = to_stat(entry.attributes);
  fuse_reply_attr(request.raw(), &st, to_seconds(entry.valid_for));
}

// The kernel leaves it to us (HANDLE_KILLPRIV_V2) to take the set-id bits away when somebody without CAP_FSETID writes.
// Set-group-ID without group execution means mandatory locking and stays.
Result<void> drop_set_id_bits(volume::Volume& volume, InodeId inode) {
  TRY_ASSIGN(const Entry entry, volume.get_attributes(inode));
  const uint32_t permissions = entry.attributes.permissions;
  uint32_t rest = permissions & ~uint32_t{S_ISUID};
  if (permissions & S_IXGRP) rest &= ~uint32_t{S_ISGID};
  if (rest == permissions) return {};
  TRY(volume.set_attributes(inode, {.permissions = rest}, std::nullopt));
  return {};
}

// --- what may be asked for again

// What makes something gets the inode's id first and notes it, so that the same request, sent again, finds what it made.
struct Making {
  meta::Caller caller;
  std::optional<Entry> made;  // before
};

Result<Making> begin_making(const Request& request) {
  Making making{.caller = request.caller(), .made = {}};
  Operations& ops = operations_of(request.raw());
  Origin* const origin = Origin::current();
  if (origin == nullptr || !ops.ledger.outlives_process()) return making;
  if (const auto* before = origin->before()) {
    making.caller.new_id = InodeId(before->inode);
    auto entry = ops.volume.get_attributes(making.caller.new_id);
    if (!failed_with(entry, ErrorCode::kNotFound)) {
      TRY(entry);
      making.made = *std::move(entry);
    }
  } else {
    TRY_ASSIGN(making.caller.new_id, ops.volume.new_inode_id());
  }
  origin->note(LedgerIntent::Kind::kMake, making.caller.new_id.value());
  return making;
}

// While the kernel asks for a change of a name nobody else changes it through the mount: what such a request finds done when it
// is sent again, it did.
Result<void> done_or(Result<void> result, ErrorCode sign) {
  if (sent_again() && failed_with(result, sign)) return {};
  return result;
}

Result<bool> leads_to(volume::Volume& volume, InodeId parent, const char* name, InodeId inode) {
  const auto entry = volume.lookup(parent, name);
  if (failed_with(entry, ErrorCode::kNotFound)) return false;
  TRY(entry);
  return entry->attributes.inode == inode;
}

// --- names

void lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  serve(req, Operation::kLookup, [=](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    const InodeId directory{parent};
    // "." and ".." are asked by name only of inodes that the kernel lost (NFS file handles).
    if (std::strcmp(name, ".") == 0) {
      TRY_ASSIGN(const Entry entry, ops.volume.get_attributes(directory));
      reply_entry(request, entry);
      return {};
    }
    if (std::strcmp(name, "..") == 0) {
      TRY_ASSIGN(const InodeId above, ops.volume.parent_of(directory));
      TRY_ASSIGN(const Entry entry, ops.volume.get_attributes(above));
      reply_entry(request, entry);
      return {};
    }
    const Result<Entry> entry = ops.volume.lookup(directory, name);
    if (failed_with(entry, ErrorCode::kNotFound) && ops.absent_valid_for > Duration::zero()) {
      fuse_entry_param absent{};
      absent.entry_timeout = to_seconds(ops.absent_valid_for);
      fuse_reply_entry(request.raw(), &absent);
      return {};
    }
    if (!entry) return fail(entry.error());
    reply_entry(request, *entry);
    return {};
  });
}

void forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups) {
  operations_of(req).nameless.forgotten(InodeId{ino}, lookups);
  fuse_reply_none(req);
}

void forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  NamelessInodes& nameless = operations_of(req).nameless;
  for (const fuse_forget_data& each : std::span(forgets, count)) nameless.forgotten(InodeId{each.ino}, each.nlookup);
  fuse_reply_none(req);
}

void get_attributes(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  serve(req, Operation::kGetAttributes, [=](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    auto entry = ops.volume.get_attributes(InodeId{ino});
    if (failed_with(entry, ErrorCode::kNotFound)) {
      if (auto kept = ops.nameless.find(InodeId{ino})) entry = Entry{*std::move(kept), {}};
    }
    TRY(looked_up(entry));
    reply_attributes(request, *entry);
    return {};
  });
}

void set_attributes(fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int which, fuse_file_info*) {
  const int64_t now_ns = unix_ns(system_clock().wall_now());
  meta::AttributeChange change;
  if (which & FUSE_SET_ATTR_MODE) change.permissions = wanted->st_mode & 07777;
  if (which & FUSE_SET_ATTR_UID) change.uid = wanted->st_uid;
  if (which & FUSE_SET_ATTR_GID) change.gid = wanted->st_gid;
  if (which & FUSE_SET_ATTR_ATIME) change.atime_ns = to_ns(wanted->st_atim);
  if (which & FUSE_SET_ATTR_MTIME) change.mtime_ns = to_ns(wanted->st_mtim);
  if (which & FUSE_SET_ATTR_ATIME_NOW) change.atime_ns = now_ns;
  if (which & FUSE_SET_ATTR_MTIME_NOW) change.mtime_ns = now_ns;
  std::optional<uint64_t> size;
  if (which & FUSE_SET_ATTR_SIZE) size = static_cast<uint64_t>(wanted->st_size);
  // A change of owner takes the bits from everybody, and from files alone.
  const bool drops_bits = (which & FUSE_SET_ATTR_KILL_SUID) != 0;
  const bool new_owner = change.uid || change.gid;

  const auto handler = [=](const Request& request) -> Result<void> {
    volume::Volume& volume = operations_of(request.raw()).volume;
    meta::AttributeChange complete = change;
    if ((drops_bits || new_owner) && !change.permissions) {
      TRY_ASSIGN(const Entry before, looked_up(volume.get_attributes(InodeId{ino})));
      const uint32_t permissions = before.attributes.permissions;
      if (before.attributes.type != format::DIRECTORY && (permissions & kSetIdBits) != 0) {
        complete.permissions = permissions & ~uint32_t{S_ISUID} &
                               ~(permissions & S_IXGRP ? uint32_t{S_ISGID} : 0u);
      }
    }
    TRY_ASSIGN(const Entry entry, looked_up(volume.set_attributes(InodeId{ino}, complete, size)));
    reply_attributes(request, entry);
    return {};
  };
  serve(req, Operation::kSetAttributes, [=](const Request& request) -> Result<void> {
    const auto changed = handler(request);
    if (!failed_with(changed, ErrorCode::kStale)) return changed;
    const auto kept = operations_of(request.raw()).nameless.change(InodeId{ino}, change, now_ns);
    if (!kept) return changed;
    reply_attributes(request, Entry{*kept, {}});
    return {};
  });
}

void read_symlink(fuse_req_t req, fuse_ino_t ino) {
  serve(req, Operation::kReadSymlink, [=](const Request& request) -> Result<void> {
    TRY_ASSIGN(std::string target, looked_up(operations_of(request.raw()).volume.read_symlink(InodeId{ino})));
    if (target.size() >= PATH_MAX) target.resize(PATH_MAX - 1);
    fuse_reply_readlink(request.raw(), target.c_str());
    return {};
  });
}

void make_directory(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  serve(req, Operation::kMakeDirectory, [=](const Request& request) -> Result<void> {
    TRY_ASSIGN(Making making, begin_making(request));
    if (!making.made) {
      TRY_ASSIGN(making.made, operations_of(request.raw()).volume.make_directory(InodeId{parent}, name, mode & 07777,
                                                                                 making.caller));
    }
    reply_entry(request, *making.made);
    return {};
  });
}

void make_node(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  serve(req, Operation::kMakeNode, [=](const Request& request) -> Result<void> {
    volume::Volume& volume = operations_of(request.raw()).volume;
    TRY_ASSIGN(Making making, begin_making(request));
    if (!S_ISREG(mode)) {
      const auto type = special_type(mode);
      if (!type) return fail(ErrorCode::kInvalid);
      if (!making.made) {
        TRY_ASSIGN(making.made,
                   volume.make_node(InodeId{parent}, name, *type, mode & 07777, rdev, making.caller));
      }
      reply_entry(request, *making.made);
      return {};
    }
    const volume::OpenOptions for_write{.access = volume::Access::kWrite};
    std::unique_ptr<OpenFile> file;
    if (making.made) {
      TRY_ASSIGN(file, volume.open_file(making.caller.new_id, for_write));
    } else {
      TRY_ASSIGN(volume::Volume::Created created,
                 volume.create(InodeId{parent}, name, mode & 07777, making.caller, for_write));
      making.made = std::move(created.entry);
      file = std::move(created.file);
    }
    const Result<void> flushed = file->flush();
    file->close();
    TRY(flushed);
    reply_entry(request, *making.made);
    return {};
  });
}

void make_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  serve(req, Operation::kMakeSymlink, [=](const Request& request) -> Result<void> {
    TRY_ASSIGN(Making making, begin_making(request));
    if (!making.made) {
      TRY_ASSIGN(making.made, operations_of(request.raw()).volume.make_symlink(InodeId{parent}, name, target,
                                                                               making.caller));
    }
    reply_entry(request, *making.made);
    return {};
  });
}

// Of a directory that somebody has open, and that is about to lose its name.
void see_open_directory(Operations& ops, InodeId parent, const char* name) {
  if (!ops.nameless.any_open()) return;
  if (const auto entry = ops.volume.lookup(parent, name)) ops.nameless.seen(entry->attributes);
}

void unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  serve(req, Operation::kUnlink, [=](const Request& request) -> Result<void> {
    TRY(done_or(operations_of(request.raw()).volume.unlink(InodeId{parent}, name), ErrorCode::kNotFound));
    request.done();
    return {};
  });
}

void remove_directory(fuse_req_t req, fuse_ino_t parent, const char* name) {
  serve(req, Operation::kRemoveDirectory, [=](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    see_open_directory(ops, InodeId{parent}, name);
    TRY(done_or(ops.volume.remove_directory(InodeId{parent}, name), ErrorCode::kNotFound));
    request.done();
    return {};
  });
}

// Whether the exchange happened before: both names are there either way. Else it is noted which of them led where.
Result<bool> exchanged_before(volume::Volume& volume, InodeId parent, const char* name, InodeId new_parent,
                              const char* new_name) {
  Origin* const origin = Origin::current();
  if (origin == nullptr) return false;
  if (const auto* before = origin->before()) {
    TRY_ASSIGN(const bool happened, leads_to(volume, new_parent, new_name, InodeId(before->inode)));
    if (happened) return true;
  }
  TRY_ASSIGN(const Entry moved, volume.lookup(parent, name));
  origin->note(LedgerIntent::Kind::kExchange, moved.attributes.inode.value());
  return false;
}

void rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) {
  serve(req, Operation::kRename, [=](const Request& request) -> Result<void> {
    meta::RenameMode mode = meta::RenameMode::kReplace;
    switch (flags) {
      case 0: break;
      case RENAME_NOREPLACE: mode = meta::RenameMode::kNoReplace; break;
      case RENAME_EXCHANGE: mode = meta::RenameMode::kExchange; break;
      default: return fail(ErrorCode::kInvalid);
    }
    volume::Volume& volume = operations_of(request.raw()).volume;
    if (mode == meta::RenameMode::kExchange) {
      TRY_ASSIGN(const bool done, exchanged_before(volume, InodeId{parent}, name, InodeId{new_parent}, new_name));
      if (done) {
        request.done();
        return {};
      }
    }
    if (mode == meta::RenameMode::kReplace) see_open_directory(operations_of(request.raw()), InodeId{new_parent}, new_name);
    const Result<void> renamed = volume.rename(InodeId{parent}, name, InodeId{new_parent}, new_name, mode);
    // rename(2) into the own subtree is EINVAL.
    if (failed_with(renamed, ErrorCode::kLoop)) return fail(ErrorCode::kInvalid);
    const bool target_is_there = renamed || !sent_again() || volume.lookup(InodeId{new_parent}, new_name).has_value();
    TRY(target_is_there ? done_or(renamed, ErrorCode::kNotFound) : renamed);
    request.done();
    return {};
  });
}

void link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char* new_name) {
  serve(req, Operation::kLink, [=](const Request& request) -> Result<void> {
    volume::Volume& volume = operations_of(request.raw()).volume;
    Result<Entry> entry = volume.link(InodeId{ino}, InodeId{new_parent}, new_name);
    if (sent_again() && failed_with(entry, ErrorCode::kExists)) {
      TRY_ASSIGN(const bool happened, leads_to(volume, InodeId{new_parent}, new_name, InodeId{ino}));
      if (happened) entry = volume.get_attributes(InodeId{ino});
    }
    TRY(entry);
    reply_entry(request, *entry);
    return {};
  });
}

// --- content

volume::OpenOptions to_open_options(int flags) {
  volume::OpenOptions options;
  switch (flags & O_ACCMODE) {
    case O_WRONLY: options.access = volume::Access::kWrite; break;
    case O_RDWR: options.access = volume::Access::kReadWrite; break;
    default: options.access = volume::Access::kRead;
  }
  options.truncate = (flags & O_TRUNC) != 0;
  options.counts_as_reading = options.access != volume::Access::kWrite && (flags & O_NOATIME) == 0;
  return options;
}

// Decides how the kernel uses the file. Its page cache is not kept from one open to the next: through passthrough it
// cannot see what was written meanwhile.
Result<OpenHandle*> make_handle(Operations& ops, std::unique_ptr<OpenFile> file, uint32_t permissions) {
  const bool writable = file->access() != volume::Access::kRead;
  const bool local = file->io_path() == IoPath::kLocalFile;
  TRY_ASSIGN(OpenHandle* const handle, ops.remember(std::move(file), request_number()));
  LedgerFile& entry = *handle->entry;
  entry.set_id_bits = writable && (permissions & kSetIdBits) != 0;
  if (local) {
    entry.backing_id = ops.backing.acquire(entry.local_file, handle->file->local_file().fd());
    entry.backing_counted = true;
  }
  if (entry.backing_id != 0) {
    ops.ledger.connection().backing_id_seen.store(entry.backing_id, std::memory_order_relaxed);
    ops.statistics.record_passthrough_open();
    entry.writes_pass_by = writable;
  }
  return handle;
}

// What the kernel is told of a handle.
void describe(const LedgerFile& entry, fuse_file_info& info) {
  info.fh = entry.handle.load(std::memory_order_relaxed);
  info.backing_id = entry.backing_id;
  // Writes that may have to clear set-id bits come through us; the file's mode in the kernel stays passthrough.
  info.direct_io = entry.backing_id != 0 && entry.set_id_bits;
  info.noflush = static_cast<volume::Access>(entry.access) == volume::Access::kRead;
}

// `send` replies with the handle; returns what fuse_reply_*() does.
template <typename Send>
void reply_handle(const Request& request, OpenHandle& handle, const fuse_file_info& info, const Send& send) {
  fuse_file_info out = info;
  describe(*handle.entry, out);
  const int sent = send(request.raw(), out);
  // Not sent: the caller was interrupted, and no RELEASE will come.
  if (sent != 0) return operations_of(request.raw()).close(handle);
}

Result<void> reply_created(const Request& request, const Entry& created, OpenHandle& handle,
                           const fuse_file_info& info) {
  const fuse_entry_param entry = to_entry(created);
  reply_handle(request, handle, info,
               [&](fuse_req_t req, const fuse_file_info& out) { return fuse_reply_create(req, &entry, &out); });
  return {};
}

// `make` creates the file under the id that the caller is given.
template <typename Make>
Result<void> create_file(const Request& request, const fuse_file_info& info, const Make& make) {
  Operations& ops = operations_of(request.raw());
  if (OpenHandle* const handle = ops.opened_before(request_number())) {
    TRY_ASSIGN(const Entry entry, ops.volume.get_attributes(InodeId(handle->entry->inode)));
    return reply_created(request, entry, *handle, info);
  }
  TRY_ASSIGN(Making making, begin_making(request));
  volume::OpenOptions options = to_open_options(info.flags);
  std::unique_ptr<OpenFile> file;
  if (making.made) {
    options.truncate = false;
    TRY_ASSIGN(file, ops.volume.open_file(making.caller.new_id, options));
  } else {
    TRY_ASSIGN(volume::Volume::Created created, make(ops.volume, making.caller, options));
    making.made = std::move(created.entry);
    file = std::move(created.file);
  }
  // A new file has no content whose privileges could be abused: set-id bits of its mode are the creator's wish.
  TRY_ASSIGN(OpenHandle* const handle, make_handle(ops, std::move(file), 0));
  return reply_created(request, *making.made, *handle, info);
}

void create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* info_in) {
  serve(req, Operation::kCreate, [=, info = *info_in](const Request& request) {
    return create_file(request, info,
                       [=](volume::Volume& volume, const meta::Caller& caller,
                           const volume::OpenOptions& options) -> Result<volume::Volume::Created> {
                         auto created = volume.create(InodeId{parent}, name, mode & 07777, caller, options);
                         // Another front made it since the kernel looked, which looks once more when it is told so, and opens it.
                         if (failed_with(created, ErrorCode::kExists) && (info.flags & O_EXCL) == 0) return fail(ErrorCode::kStale);
                         return created;
                       });
  });
}

void create_unnamed(fuse_req_t req, fuse_ino_t parent, mode_t mode, fuse_file_info* info_in) {
  serve(req, Operation::kCreate, [=, info = *info_in](const Request& request) {
    return create_file(request, info,
                       [=](volume::Volume& volume, const meta::Caller& caller, const volume::OpenOptions& options) {
                         return volume.create_unnamed(InodeId{parent}, mode & 07777, caller, options);
                       });
  });
}

void open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info_in) {
  serve(req, Operation::kOpen, [=, info = *info_in](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    OpenHandle* handle = ops.opened_before(request_number());
    if (handle == nullptr) {
      const volume::OpenOptions options = to_open_options(info.flags);
      TRY_ASSIGN(std::unique_ptr<OpenFile> file, looked_up(ops.volume.open_file(InodeId{ino}, options)));
      uint32_t permissions = 0;
      if (options.access != volume::Access::kRead) {
        const Result<Entry> entry = ops.volume.get_attributes(InodeId{ino});
        if (entry) permissions = entry->attributes.permissions;
      }
      TRY_ASSIGN(handle, make_handle(ops, std::move(file), permissions));
    }
    if (info.kill_suidgid && handle->entry->set_id_bits) (void)drop_set_id_bits(ops.volume, InodeId{ino});
    reply_handle(request, *handle, info,
                 [](fuse_req_t req, const fuse_file_info& out) { return fuse_reply_open(req, &out); });
    return {};
  });
}

void read(fuse_req_t req, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  serve_waiting(req, Operation::kRead, [=, fh = info->fh](const Request& request) -> Result<void> {
    static thread_local std::vector<char> buffer;
    if (buffer.size() < size) buffer.resize(size);
    TRY_ASSIGN(OpenFile* const file, open_file(request, fh));
    TRY_ASSIGN(const size_t got,
               file->read(static_cast<uint64_t>(offset), std::as_writable_bytes(std::span(buffer.data(), size))));
    request.bytes(buffer.data(), got);
    return {};
  });
}

// The bytes lie where the request noted that it would append them. What landed of them only in part was taken back.
Result<bool> appended_before(OpenFile& file, std::span<const std::byte> bytes) {
  const auto* before = Origin::current() == nullptr ? nullptr : Origin::current()->before();
  if (before == nullptr) return false;
  std::vector<std::byte> there(bytes.size());
  TRY_ASSIGN(const size_t got, file.read(before->offset, there));
  return got == bytes.size() && std::ranges::equal(there, bytes);
}

Result<void> append(OpenFile& file, std::span<const std::byte> bytes, InodeId inode) {
  TRY_ASSIGN(const bool done, appended_before(file, bytes));
  if (done) return {};
  Origin* const origin = Origin::current();
  if (origin == nullptr) return file.append(bytes);
  return file.append(bytes, [&](uint64_t offset) {
    origin->note(LedgerIntent::Kind::kAppend, inode.value(), offset, bytes.size());
  });
}

void write(fuse_req_t req, fuse_ino_t ino, const char* bytes, size_t size, off_t offset, fuse_file_info* info) {
  serve_waiting(req, Operation::kWrite,
                [=, fh = info->fh, drops_bits = info->kill_suidgid != 0,
                 // Pages of a mapping, written back through whichever descriptor, have their place.
                 appends = (info->flags & O_APPEND) != 0 && !info->writepage](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    const OpenHandle& handle = ops.handle(fh);
    TRY_ASSIGN(OpenFile* const file, file_of(handle));
    if (drops_bits && handle.entry->set_id_bits) TRY(drop_set_id_bits(ops.volume, InodeId{ino}));
    const auto data = std::as_bytes(std::span(bytes, size));
    TRY(appends ? append(*file, data, InodeId{ino}) : file->write(static_cast<uint64_t>(offset), data));
    fuse_reply_write(request.raw(), size);
    return {};
  });
}

void flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  serve(req, Operation::kFlush, [=, fh = info->fh](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    const OpenHandle& handle = ops.handle(fh);
    TRY_ASSIGN(OpenFile* const file, file_of(handle));
    TRY(file->flush());
    // Writes through a mapping change the times behind the kernel's copy of them. Dropping attributes alone takes no lock.
    if (handle.entry->writes_pass_by) fuse_lowlevel_notify_inval_inode(ops.session, ino, -1, 0);
    request.done();
    return {};
  });
}

void sync(fuse_req_t req, fuse_ino_t, int, fuse_file_info* info) {
  serve_waiting(req, Operation::kSync, [fh = info->fh](const Request& request) -> Result<void> {
    TRY_ASSIGN(OpenFile* const file, open_file(request, fh));
    TRY(file->sync());
    request.done();
    return {};
  });
}

void release(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
  serve(req, Operation::kRelease, [fh = info->fh](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    if (const LedgerFile* entry = ops.ledger.find_file(fh)) ops.close(*static_cast<OpenHandle*>(entry->here));
    request.done();
    return {};
  });
}

void allocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, fuse_file_info* info) {
  serve_waiting(req, Operation::kAllocate, [=, fh = info->fh](const Request& request) -> Result<void> {
    using volume::Allocate;
    Allocate what{};
    switch (mode) {
      case 0: what = Allocate::kReserve; break;
      case FALLOC_FL_KEEP_SIZE: what = Allocate::kReserveKeepSize; break;
      case FALLOC_FL_ZERO_RANGE: what = Allocate::kZero; break;
      case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE: what = Allocate::kZeroKeepSize; break;
      case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE: what = Allocate::kPunchHole; break;
      default: return fail(ErrorCode::kNotSupported);
    }
    const OpenHandle& handle = operations_of(request.raw()).handle(fh);
    TRY_ASSIGN(OpenFile* const file, file_of(handle));
    // The kernel does not say whether the caller has CAP_FSETID; root has it as a rule, nobody else.
    if (handle.entry->set_id_bits && request.caller().uid != 0) {
      TRY(drop_set_id_bits(operations_of(request.raw()).volume, InodeId{ino}));
    }
    TRY(file->allocate(what, static_cast<uint64_t>(offset), static_cast<uint64_t>(length)));
    request.done();
    return {};
  });
}

void seek(fuse_req_t req, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) {
  serve(req, Operation::kSeek, [=, fh = info->fh](const Request& request) -> Result<void> {
    const auto what = whence == SEEK_DATA ? volume::Seek::kData : volume::Seek::kHole;
    TRY_ASSIGN(OpenFile* const file, open_file(request, fh));
    TRY_ASSIGN(const auto found, file->seek(what, static_cast<uint64_t>(offset)));
    if (!found) {
      request.error(ENXIO);
      return {};
    }
    fuse_reply_lseek(request.raw(), static_cast<off_t>(*found));
    return {};
  });
}

// --- directories

DirectoryHandle& handle_of(const LedgerDirectory& directory) { return *static_cast<DirectoryHandle*>(directory.here); }

void close_directory(Operations& ops, LedgerDirectory& directory) {
  const std::unique_ptr<DirectoryHandle> handle(&handle_of(directory));
  ops.nameless.released(InodeId(directory.inode));
  ops.ledger.remove(directory);
}

void open_directory(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info_in) {
  serve(req, Operation::kOpenDirectory, [ino, info = *info_in](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    LedgerDirectory* directory = ops.directory_opened_before(request_number());
    if (directory == nullptr) {
      TRY_ASSIGN(const Entry entry, looked_up(ops.volume.get_attributes(InodeId{ino})));
      TRY_ASSIGN(directory, ops.ledger.add_directory(request_number(), ino));
      directory->here = new DirectoryHandle;
      ops.nameless.opened(entry.attributes);
    }
    fuse_file_info out = info;
    out.fh = directory->handle.load(std::memory_order_relaxed);
    if (fuse_reply_open(request.raw(), &out) != 0) close_directory(ops, *directory);
    return {};
  });
}

// The kernel's offsets: 1 is behind ".", 2 behind "..", and the handle's count on from there.
constexpr uint64_t kDots = 2;

class DirectoryReply {
 public:
  DirectoryReply(size_t size, volume::WithAttributes with_attributes)
      : with_attributes_(with_attributes), buffer_(size) {}

  DirectoryHandle::Take add(fuse_req_t req, const char* name, const fuse_entry_param& entry, uint64_t next) {
    char* at = buffer_.data() + used_;
    const size_t room = buffer_.size() - used_;
    const auto offset = static_cast<off_t>(next);
    const size_t needed = with_attributes_ == volume::WithAttributes::kYes
                              ? fuse_add_direntry_plus(req, at, room, name, &entry, offset)
                              : fuse_add_direntry(req, at, room, name, &entry.attr, offset);
    if (needed > room) return DirectoryHandle::Take::kNoRoom;
    used_ += needed;
    return DirectoryHandle::Take::kTaken;
  }

  // How many entries with names of usual length fit.
  size_t entries_max() const {
    constexpr size_t kPlain = 40, kPlus = 176;
    const size_t each = with_attributes_ == volume::WithAttributes::kYes ? kPlus : kPlain;
    return std::max<size_t>(1, (buffer_.size() - used_) / each);
  }
  const char* data() const { return buffer_.data(); }
  size_t size() const { return used_; }

 private:
  const volume::WithAttributes with_attributes_;
  std::vector<char> buffer_;
  size_t used_ = 0;
};

// Node id 0 tells the kernel that an entry comes without attributes.
fuse_entry_param bare_entry(InodeId inode, mode_t type) {
  fuse_entry_param entry{};
  entry.attr.st_ino = inode.value();
  entry.attr.st_mode = type;
  return entry;
}

Result<void> read_entries(const Request& request, InodeId directory, size_t size, uint64_t offset, uint64_t fh,
                          volume::WithAttributes with_attributes) {
  volume::Volume& volume = operations_of(request.raw()).volume;
  DirectoryReply reply(size, with_attributes);
  if (offset == 0) {
    reply.add(request.raw(), ".", bare_entry(directory, S_IFDIR), 1);
    offset = 1;
  }
  if (offset == 1) {
    TRY_ASSIGN(const InodeId above, volume.parent_of(directory));
    if (reply.add(request.raw(), "..", bare_entry(above, S_IFDIR), kDots) == DirectoryHandle::Take::kTaken) {
      offset = kDots;
    }
  }
  if (offset >= kDots) {
    LedgerDirectory& entry_of_directory = operations_of(request.raw()).ledger.directory(fh);
    uint64_t end = 0;
    std::string end_cursor;
    NamelessInodes& nameless = operations_of(request.raw()).nameless;
    TRY(handle_of(entry_of_directory).read(
        offset - kDots, reply.entries_max(),
        [&](std::string_view after, size_t entries_max) {
          return volume.read_directory(directory, after, entries_max, with_attributes);
        },
        [&](const volume::DirectoryEntryPlus& found, uint64_t next) {
          if (found.plus) nameless.looked_up(found.plus->attributes);
          const fuse_entry_param entry = found.plus ? to_entry(*found.plus)
                                                    : bare_entry(found.entry.inode, type_bits(found.entry.type));
          const auto taken = reply.add(request.raw(), found.entry.name.c_str(), entry, next + kDots);
          if (taken == DirectoryHandle::Take::kTaken) {
            end = next;
            end_cursor = found.entry.cursor;
          } else if (found.plus) {
            nameless.forgotten(found.plus->attributes.inode, 1);
          }
          return taken;
        }));
    entry_of_directory.mark(end, end_cursor);
  }
  request.bytes(reply.data(), reply.size());
  return {};
}

void read_directory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info) {
  serve(req, Operation::kReadDirectory, [=, fh = info->fh](const Request& request) {
    return read_entries(request, InodeId{ino}, size, static_cast<uint64_t>(offset), fh, volume::WithAttributes::kNo);
  });
}

void read_directory_plus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info* info) {
  serve(req, Operation::kReadDirectory, [=, fh = info->fh](const Request& request) {
    return read_entries(request, InodeId{ino}, size, static_cast<uint64_t>(offset), fh,
                        volume::WithAttributes::kYes);
  });
}

void sync_directory(fuse_req_t req, fuse_ino_t ino, int, fuse_file_info*) {
  serve_waiting(req, Operation::kSyncDirectory, [=](const Request& request) -> Result<void> {
    TRY(operations_of(request.raw()).volume.sync_directory(InodeId{ino}));
    request.done();
    return {};
  });
}

void release_directory(fuse_req_t req, fuse_ino_t, fuse_file_info* info) {
  serve(req, Operation::kReleaseDirectory, [fh = info->fh](const Request& request) -> Result<void> {
    Operations& ops = operations_of(request.raw());
    if (LedgerDirectory* const directory = ops.ledger.find_directory(fh)) close_directory(ops, *directory);
    request.done();
    return {};
  });
}

// --- the rest

void stat_fs(fuse_req_t req, fuse_ino_t) {
  serve(req, Operation::kStatFs, [](const Request& request) -> Result<void> {
    TRY_ASSIGN(const volume::Volume::Capacity capacity, operations_of(request.raw()).volume.capacity());
    struct statvfs st {};
    st.f_bsize = st.f_frsize = kBlockBytes;
    st.f_blocks = capacity.total_bytes / kBlockBytes;
    st.f_bfree = st.f_bavail = capacity.free_bytes / kBlockBytes;
    // Inodes have no limit of their own; df(1) wants a number.
    st.f_ffree = st.f_favail = uint64_t{1} << 32;
    st.f_files = capacity.inodes + st.f_ffree;
    st.f_namemax = meta::kNameBytesMax;
    fuse_reply_statfs(request.raw(), &st);
    return {};
  });
}

constexpr std::string_view kTrusted = "trusted.";

// The kernel knows who may use which namespace.
bool xattr_supported(std::string_view name) {
  return name.starts_with("user.") || name.starts_with(kTrusted) || name.starts_with("security.") ||
         meta::is_acl(name);
}

// Whether the caller may give a file of the group the set-group-ID bit.
bool in_group(const Request& request, uint32_t gid) {
  const meta::Caller caller = request.caller();
  if (caller.uid == 0 || caller.gid == gid) return true;
  gid_t groups[128];
  const int count = fuse_req_getgroups(request.raw(), std::size(groups), groups);
  const std::span known(groups, static_cast<size_t>(std::clamp<int>(count, 0, std::size(groups))));
  return std::ranges::find(known, gid) != known.end();
}

Result<void> reply_sized(const Request& request, std::string_view value, size_t room) {
  if (room == 0) {
    fuse_reply_xattr(request.raw(), value.size());
    return {};
  }
  if (value.size() > room) return fail(ErrorCode::kRange);
  request.bytes(value.data(), value.size());
  return {};
}

void get_xattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  serve(req, Operation::kGetXattr, [=](const Request& request) -> Result<void> {
    if (!xattr_supported(name)) return fail(ErrorCode::kNotSupported);
    TRY_ASSIGN(const std::string value,
               looked_up(operations_of(request.raw()).volume.get_xattr(InodeId{ino}, name)));
    return reply_sized(request, value, size);
  });
}

void list_xattrs(fuse_req_t req, fuse_ino_t ino, size_t size) {
  serve(req, Operation::kListXattrs, [=](const Request& request) -> Result<void> {
    TRY_ASSIGN(const std::vector<std::string> names,
               looked_up(operations_of(request.raw()).volume.list_xattrs(InodeId{ino})));
    std::string list;
    for (const std::string& name : names) {
      if (name.starts_with(kTrusted) && request.caller().uid != 0) continue;
      list.append(name).push_back('\0');
    }
    return reply_sized(request, list, size);
  });
}

void set_xattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size, int flags) {
  serve(req, Operation::kSetXattr, [=](const Request& request) -> Result<void> {
    if (!xattr_supported(name)) return fail(ErrorCode::kNotSupported);
    using Mode = meta::Namespace::XattrMode;
    constexpr int kCreate = 1, kReplace = 2;  // XATTR_CREATE, XATTR_REPLACE of setxattr(2)
    const Mode mode = flags & kCreate ? Mode::kCreate : flags & kReplace ? Mode::kReplace : Mode::kSet;
    if (std::string_view(name) == meta::kAccessAcl) {
      volume::Volume& volume = operations_of(request.raw()).volume;
      TRY_ASSIGN(const Entry entry, looked_up(volume.get_attributes(InodeId{ino})));
      const uint32_t permissions = entry.attributes.permissions;
      if ((permissions & S_ISGID) != 0 && !in_group(request, entry.attributes.gid)) {
        TRY(volume.set_attributes(InodeId{ino}, {.permissions = permissions & ~uint32_t{S_ISGID}}, std::nullopt));
      }
    }
    volume::Volume& volume = operations_of(request.raw()).volume;
    const auto set = looked_up(volume.set_xattr(InodeId{ino}, name, {value, size}, mode));
    if (sent_again() && failed_with(set, ErrorCode::kExists)) {
      TRY_ASSIGN(const std::string there, looked_up(volume.get_xattr(InodeId{ino}, name)));
      if (there != std::string_view(value, size)) return set;
    } else {
      TRY(set);
    }
    request.done();
    return {};
  });
}

void remove_xattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  serve(req, Operation::kRemoveXattr, [=](const Request& request) -> Result<void> {
    if (!xattr_supported(name)) return fail(ErrorCode::kNotSupported);
    TRY(done_or(looked_up(operations_of(request.raw()).volume.remove_xattr(InodeId{ino}, name)), ErrorCode::kNoAttribute));
    request.done();
    return {};
  });
}

void init(void* userdata, fuse_conn_info* connection) { static_cast<Operations*>(userdata)->init(*connection); }

}  // namespace

Result<OpenHandle*> Operations::remember(std::unique_ptr<OpenFile> file, uint64_t opening) {
  const uint64_t local_file = file->io_path() == IoPath::kLocalFile ? file->local_file_key() : 0;
  TRY_ASSIGN(LedgerFile* const entry, ledger.add_file(opening, file->inode().value(), local_file,
                                                      static_cast<uint8_t>(file->access())));
  auto* const handle = new OpenHandle{.file = std::move(file), .entry = entry};
  entry->here = handle;
  return handle;
}

void Operations::close(OpenHandle& handle) {
  const std::unique_ptr<OpenHandle> owned(&handle);
  const bool counted = owned->entry->backing_counted;
  const uint64_t local_file = owned->entry->local_file;
  // First, so that no successor believes in a backing id that the kernel was told to forget.
  ledger.remove(*owned->entry);
  if (counted) backing.release(local_file);
  if (owned->file) owned->file->close();
}

void Operations::close_left_open() {
  for (LedgerFile* entry : ledger.files()) close(*static_cast<OpenHandle*>(entry->here));
  for (LedgerDirectory* directory : ledger.directories()) close_directory(*this, *directory);
}

// --- after a predecessor

std::vector<volume::HeldFile> held_files(Ledger& ledger) {
  std::vector<volume::HeldFile> held;
  for (const LedgerFile* entry : ledger.files()) {
    held.push_back({.inode = InodeId(entry->inode),
                    .access = static_cast<volume::Access>(entry->access),
                    .local_file = LocalFileId(entry->local_file)});
  }
  return held;
}

void Operations::take_over() {
  size_t index = 0;
  for (LedgerFile* entry : ledger.files()) {
    auto file = volume.take_held(index++);
    auto* const handle = new OpenHandle{.file = file ? *std::move(file) : nullptr, .entry = entry};
    entry->here = handle;
    if (entry->local_file != 0) {
      backing.restore(entry->local_file, entry->backing_id);
      entry->backing_counted = true;
    }
    if (entry->opening != 0) opened_before_[entry->opening] = handle;
  }
  // One that was being opened may not have got as far as the id that the inode's other handles have.
  for (const auto& [unique, handle] : opened_before_) handle->entry->backing_id = backing.id_of(handle->entry->local_file);
  for (LedgerDirectory* directory : ledger.directories()) {
    std::vector<std::pair<uint64_t, std::string>> places;
    for (const LedgerDirectory::Mark& mark : directory->marks) {
      const uint64_t offset = mark.offset.load(std::memory_order_acquire);
      if (offset != 0) places.emplace_back(offset, std::string(mark.cursor, mark.cursor_bytes));
    }
    directory->here = new DirectoryHandle(std::move(places));
    if (const auto entry = volume.get_attributes(InodeId(directory->inode))) nameless.opened(entry->attributes);
    if (directory->opening != 0) directories_before_[directory->opening] = directory;
  }
  undo_torn_appends();
}

// An append that was cut short by the death of its process is sent again, and appends behind what others appended then.
void Operations::undo_torn_appends() {
  for (const auto& [unique, intent] : ledger.all_inherited()) {
    if (intent.kind != LedgerIntent::Kind::kAppend) continue;
    for (LedgerFile* entry : ledger.files()) {
      const OpenHandle& handle = *static_cast<OpenHandle*>(entry->here);
      if (entry->inode != intent.inode || !handle.file || handle.file->access() == volume::Access::kRead) continue;
      const auto attributes = volume.get_attributes(InodeId(intent.inode));
      if (!attributes || attributes->attributes.size <= intent.offset) break;
      if (attributes->attributes.size >= intent.offset + intent.size) break;
      if (const auto cut = handle.file->truncate(intent.offset); !cut) {
        log_error("fuse.torn_append", {{"inode", intent.inode}, {"offset", intent.offset}, {"error", cut.error()}});
      }
      break;
    }
  }
}

OpenHandle* Operations::opened_before(uint64_t unique) const {
  if (!sent_again()) return nullptr;
  const auto found = opened_before_.find(unique);
  return found == opened_before_.end() ? nullptr : found->second;
}

LedgerDirectory* Operations::directory_opened_before(uint64_t unique) const {
  if (!sent_again()) return nullptr;
  const auto found = directories_before_.find(unique);
  return found == directories_before_.end() ? nullptr : found->second;
}

// Left to the kernel: flock and POSIX locks (one node), access (default_permissions), copy_file_range (it copies itself).
const fuse_lowlevel_ops& Operations::table() {
  static const fuse_lowlevel_ops kTable = [] {
    fuse_lowlevel_ops ops{};
    ops.init = fuse::init;
    ops.lookup = lookup;
    ops.forget = forget;
    ops.forget_multi = forget_multi;
    ops.getattr = get_attributes;
    ops.setattr = set_attributes;
    ops.readlink = read_symlink;
    ops.mknod = make_node;
    ops.mkdir = make_directory;
    ops.unlink = unlink;
    ops.rmdir = remove_directory;
    ops.symlink = make_symlink;
    ops.rename = rename;
    ops.link = link;
    ops.create = create;
    ops.tmpfile = create_unnamed;
    ops.open = open;
    ops.read = read;
    ops.write = write;
    ops.flush = flush;
    ops.fsync = sync;
    ops.release = release;
    ops.fallocate = allocate;
    ops.lseek = seek;
    ops.opendir = open_directory;
    ops.readdir = read_directory;
    ops.readdirplus = read_directory_plus;
    ops.fsyncdir = sync_directory;
    ops.releasedir = release_directory;
    ops.statfs = stat_fs;
    ops.getxattr = get_xattr;
    ops.listxattr = list_xattrs;
    ops.setxattr = set_xattr;
    ops.removexattr = remove_xattr;
    return ops;
  }();
  return kTable;
}

}  // namespace weir::fuse
