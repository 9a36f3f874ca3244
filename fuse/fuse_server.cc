#include "fuse/fuse_server.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "fuse/device_loop.h"
#include "fuse/fuse_api.h"
#include "fuse/invalidator.h"
#include "fuse/kernel_interface.h"
#include "fuse/mount_point.h"
#include "fuse/operations.h"
#include "fuse/ring_loop.h"
#include "fuse/ring_owner.h"
#include "io/errno.h"
#include "io/file.h"

namespace weir::fuse {
namespace {

// Requests in flight on each ring: as many may wait for an under store before the core's other requests queue behind
// them. Each has a buffer of request_bytes_max, which takes memory once it is used; together at most this much.
constexpr uint64_t kRingBytesMax = 512 << 20;
constexpr uint64_t kRingDepthMin = 8, kRingDepthMax = RingShape::kDepthMax;
constexpr uint64_t kRingPayloadMin = 128 << 10;  // attributes and listings need it
constexpr uint64_t kPageBytes = 4096;
constexpr uint16_t kBackgroundRequestsMax = 64;
constexpr int32_t kBackingIdsUnknownMax = 256;  // that a process may have been given and died before it wrote them down

std::string session_options() {
  std::string options = "fsname=weir,subtype=weir,default_permissions";
  if (::geteuid() == 0) options += ",allow_other";
  return options;
}

Result<fuse_session*> new_session(std::string options, const fuse_lowlevel_ops& operations, void* user_data) {
  const char* words[] = {"weir", "-o", options.c_str()};
  fuse_args arguments = FUSE_ARGS_INIT(3, const_cast<char**>(words));
  fuse_session* const session = fuse_session_new(&arguments, &operations, sizeof operations, user_data);
  fuse_opt_free_args(&arguments);
  if (session == nullptr) return fail(ErrorCode::kInternal, "libfuse refused the options " + options);
  return session;
}

RingShape ring_shape(const FuseOptions& options) {
  const uint64_t wanted = std::max<uint64_t>(options.request_bytes_max, kRingPayloadMin);
  const uint64_t payload_bytes = (wanted + kPageBytes - 1) / kPageBytes * kPageBytes;
  const uint64_t queues = number_of_queues();
  const uint64_t depth = std::clamp(kRingBytesMax / payload_bytes / queues, kRingDepthMin, kRingDepthMax);
  return {.queues = static_cast<uint32_t>(queues),
          .depth = static_cast<uint32_t>(depth),
          .payload_bytes = static_cast<uint32_t>(payload_bytes)};
}

void log_of_libfuse(fuse_log_level level, const char* format, va_list arguments) {
  char line[512];
  std::vsnprintf(line, sizeof line, format, arguments);
  std::string_view message(line);
  while (message.ends_with('\n')) message.remove_suffix(1);
  log(level <= FUSE_LOG_ERR ? LogLevel::kError : level <= FUSE_LOG_WARNING ? LogLevel::kWarn : LogLevel::kInfo,
      "fuse.libfuse", {{"message", message}});
}

// Empty when the kernel offers FUSE over io_uring.
std::string ring_obstacle() {
  constexpr const char* kSwitch = "/sys/module/fuse/parameters/enable_uring";
  const auto file = io::File::open(kSwitch, {});
  if (!file) return "the kernel has no FUSE over io_uring (Linux 6.14)";
  char value = 'N';
  const auto got = file->read_at(0, std::as_writable_bytes(std::span(&value, 1)));
  if (!got || value != 'Y') return std::string("off in the kernel; way out: echo 1 > ") + kSwitch;
  return io_uring_obstacle();
}

// libfuse's way to the kernel, for all but what a ring's request is answered with.
ssize_t read_device(int device, void* buffer, size_t bytes, void*) { return ::read(device, buffer, bytes); }

}  // namespace

Result<io::Descriptor> open_connection(const std::string& mount_point) {
  static constexpr fuse_lowlevel_ops kNone{};
  TRY_ASSIGN(fuse_session* const session, new_session(session_options(), kNone, nullptr));
  const bool mounted = fuse_session_mount(session, mount_point.c_str()) == 0;
  io::Descriptor connection(mounted ? ::fcntl(fuse_session_fd(session), F_DUPFD_CLOEXEC, 3) : -1);
  fuse_session_destroy(session);
  if (connection.valid()) return connection;
  return fail(::access("/dev/fuse", R_OK | W_OK) == 0 ? ErrorCode::kPermission : ErrorCode::kNotSupported,
              "cannot mount on " + mount_point +
                  ": needs /dev/fuse, and root or fusermount3; the line before says which step failed");
}

struct FuseServer::Session : KernelCaches {
  // `own_ledger` where no keeper has one.
  Session(volume::Volume& volume, const FuseOptions& options, std::string path, std::unique_ptr<Ledger> own_ledger)
      : volume(volume),
        options(options),
        mount_point(std::move(path)),
        own_ledger(std::move(own_ledger)),
        ledger(options.keeper != nullptr ? options.keeper->ledger() : *this->own_ledger),
        operations(volume, statistics, ledger, options.threads, options.absent_valid_for,
                   [this](fuse_conn_info& connection) { negotiate(connection); }) {}
  ~Session() override { disconnect(); }

  // `taken_over`: the connection of a predecessor; else one is made.
  Result<void> start(io::Descriptor taken_over);
  Result<void> connect(io::Descriptor taken_over);
  Result<void> settle_passthrough();
  Result<void> settle_ring();
  Result<void> end(Deadline deadline);
  Result<void> take_mount_away(Deadline deadline);
  void cut_connection();
  std::string passthrough_obstacle(fuse_conn_info& connection) const;
  void negotiate(fuse_conn_info& connection);
  Result<void> hand_over(Deadline deadline);
  void serve();
  std::vector<DeviceLoop::Left> take_greeting();
  std::vector<DeviceLoop::Left> start_rings();
  ssize_t reply(int device, std::span<iovec> parts);
  void disconnect();

  void drop_content(InodeId inode) override { fuse_lowlevel_notify_inval_inode(fuse, inode.value(), 0, 0); }
  void drop_entry(InodeId directory, std::string_view name) override {
    const std::string terminated(name);
    fuse_lowlevel_notify_inval_entry(fuse, directory.value(), terminated.c_str(), terminated.size());
  }
  void expire_all_entries() override { fuse_lowlevel_notify_increment_epoch(fuse); }

  volume::Volume& volume;
  const FuseOptions options;
  const std::string mount_point;
  Statistics statistics;
  const std::unique_ptr<Ledger> own_ledger;
  Ledger& ledger;
  Operations operations;
  std::unique_ptr<Invalidator> invalidator;
  fuse_session* fuse = nullptr;
  std::unique_ptr<RingOwner> own_rings;      // where no keeper has them
  std::unique_ptr<RingLoop> ring_loop;       // null: no rings
  std::unique_ptr<DeviceLoop> device_loop;
  DeviceLoop::Begin begin = DeviceLoop::Begin::kAnew;
  bool has_handles = false;  // those in the ledger are ours
  uint64_t device = 0;  // st_dev of the mount

  mutable std::mutex mutex;
  std::condition_variable changed;
  bool greeted = false;  // the kernel took in what was negotiated, and the rings are there
  bool ended = false;
  Features features;
  std::thread loop;
};

// Empty: passthrough was agreed upon, or is to be.
std::string FuseServer::Session::passthrough_obstacle(fuse_conn_info& connection) const {
  // What was agreed upon with the kernel holds for as long as its connection.
  if (begin == DeviceLoop::Begin::kTakeOver && ledger.connection().passthrough == 0) return "off since the mount was made";
  if (begin == DeviceLoop::Begin::kAnew && options.passthrough == Switch::kOff) return "off by configuration";
  if (!has_sys_admin()) return "needs CAP_SYS_ADMIN";
  if (!fuse_set_feature_flag(&connection, FUSE_CAP_PASSTHROUGH)) return "the kernel has none (Linux 6.9)";
  return {};
}

void FuseServer::Session::negotiate(fuse_conn_info& connection) {
  const auto want = [&](uint64_t capability) { return fuse_set_feature_flag(&connection, capability); };
  // Names: lookups and listings of one directory run in parallel; attributes come with listings when they were used before;
  // a symlink's target never changes; inode numbers serve as NFS file handles.
  want(FUSE_CAP_PARALLEL_DIROPS);
  want(FUSE_CAP_READDIRPLUS);
  want(FUSE_CAP_READDIRPLUS_AUTO);
  want(FUSE_CAP_CACHE_SYMLINKS);
  want(FUSE_CAP_EXPORT_SUPPORT);
  // Permissions: the kernel enforces ACLs; a directory's default ACL replaces the umask, so that has to come to us.
  want(FUSE_CAP_POSIX_ACL);
  want(FUSE_CAP_DONT_MASK);
  // Content: O_TRUNC comes with the open, so that nothing is fetched; set-id bits are ours to clear, else the kernel asks
  // for an xattr before every write; changes from elsewhere are announced, so that a new mtime, which the own
  // writes cause, drops no pages; a shared mapping of a file under direct I/O works.
  want(FUSE_CAP_ASYNC_READ);
  want(FUSE_CAP_ATOMIC_O_TRUNC);
  want(FUSE_CAP_HANDLE_KILLPRIV_V2);
  fuse_unset_feature_flag(&connection, FUSE_CAP_AUTO_INVAL_DATA);
  want(FUSE_CAP_DIRECT_IO_ALLOW_MMAP);
  // The kernel refuses passthrough together with its write-back cache; passthrough is worth more.
  fuse_unset_feature_flag(&connection, FUSE_CAP_WRITEBACK_CACHE);
  // Data goes through memory: pages are checked and filled there.
  fuse_unset_feature_flag(&connection, FUSE_CAP_SPLICE_READ);
  connection.no_interrupt = 1;  // waits have deadlines of their own
  connection.max_write = options.request_bytes_max;
  connection.max_background = kBackgroundRequestsMax;
  connection.time_gran = 1;

  const std::lock_guard lock(mutex);
  features.passthrough_reason = passthrough_obstacle(connection);
  features.passthrough = features.passthrough_reason.empty();
  // Local files may lie on a stacked file system (overlayfs); then nothing can be stacked on the mount.
  if (features.passthrough) connection.max_backing_stack_depth = FUSE_BACKING_STACKED_OVER;
  ledger.connection().passthrough = features.passthrough;
  if (features.io_uring && !want(FUSE_CAP_OVER_IO_URING)) {
    features.io_uring = false;
    features.io_uring_reason = "the kernel did not offer it";
  }
  ledger.connection().io_uring = features.io_uring;
}

// Makes the libfuse session of the connection.
Result<void> FuseServer::Session::connect(io::Descriptor taken_over) {
  TRY_ASSIGN(fuse, new_session(session_options(), Operations::table(), &operations));
  io::Descriptor connection = std::move(taken_over);
  if (!connection.valid()) {
    ledger.connect(mount_point);
    has_handles = true;
    TRY_ASSIGN(connection, options.keeper != nullptr ? options.keeper->connect(mount_point)
                                                     : open_connection(mount_point));
  }
  const int fd = connection.get();
  fuse_custom_io io{};
  io.read = read_device;
  io.writev = [](int device, iovec* parts, int count, void* user_data) {
    return static_cast<Operations*>(user_data)->send(device, std::span(parts, static_cast<size_t>(count)));
  };
  if (fuse_session_custom_io(fuse, &io, sizeof io, fd) != 0)
    return fail(ErrorCode::kInternal, "libfuse refused the connection");
  (void)connection.release();  // the session's now
  operations.session = fuse;
  operations.send = [this](int device, std::span<iovec> parts) { return reply(device, parts); };
  device_loop = std::make_unique<DeviceLoop>(fuse, fd, ledger, operations.waiting, options.threads,
                                             options.request_bytes_max, [this] { return take_greeting(); });
  return {};
}

Result<void> FuseServer::Session::start(io::Descriptor taken_over) {
  if (taken_over.valid()) begin = DeviceLoop::Begin::kTakeOver;
  static std::once_flag log_redirected;
  std::call_once(log_redirected, [] { fuse_set_log_func(log_of_libfuse); });

  // What was agreed upon with the kernel holds for as long as its connection.
  const bool agreed = begin == DeviceLoop::Begin::kTakeOver && ledger.connection().greeting_bytes.load() != 0;
  features.io_uring_reason = agreed ? (ledger.connection().io_uring.load() != 0 ? "" : "off since the mount was made")
                             : options.io_uring == Switch::kOff ? "off by configuration"
                                                                : ring_obstacle();
  features.io_uring = features.io_uring_reason.empty();

  TRY(connect(std::move(taken_over)));
  if (begin == DeviceLoop::Begin::kTakeOver) {
    // Before the first request names a handle.
    if (ledger.connection().passthrough != 0) {
      if (const auto started = operations.backing.start(fuse_session_fd(fuse)); !started)
        log_warn("fuse.passthrough_lost", {{"error", started.error()}});
    }
    operations.take_over();
    has_handles = true;
    operations.backing.drop_unknown(ledger.connection().backing_id_seen.load() - kBackingIdsUnknownMax);
  }
  invalidator = std::make_unique<Invalidator>(*this);
  loop = std::thread([this] { serve(); });
  {
    std::unique_lock lock(mutex);
    const TimePoint until = Deadline::after(options.start_timeout).time();
    if (!changed.wait_until(lock, until, [this] { return greeted || ended; })) {
      return fail(ErrorCode::kTimedOut, "the kernel did not start the mount on " + mount_point);
    }
    if (!greeted) return fail(ErrorCode::kIo, "the kernel ended the mount on " + mount_point + " at once");
  }
  TRY_ASSIGN(device, device_mounted_on(mount_point));
  // What does not pass through is served in requests of this size at most; fewer and larger ones cost less.
  set_kernel_read_ahead(device, options.request_bytes_max);
  TRY(settle_passthrough());
  TRY(settle_ring());
  volume.set_cache_listener(invalidator.get());
  // Of what changed at the end of the predecessor and at our start the kernel knows nothing.
  if (begin == DeviceLoop::Begin::kTakeOver) expire_all_entries();
  log_info("fuse.mounted", {{"mount_point", mount_point},
                            {"passthrough", features.passthrough ? "on" : features.passthrough_reason},
                            {"io_uring", features.io_uring ? "on" : features.io_uring_reason},
                            {"writeback_cache", "off, excluded by passthrough"}});
  return {};
}

Result<void> FuseServer::Session::settle_passthrough() {
  const std::lock_guard lock(mutex);
  if (features.passthrough && begin == DeviceLoop::Begin::kAnew) {
    if (const auto started = operations.backing.start(fuse_session_fd(fuse)); !started) {
      features.passthrough = false;
      features.passthrough_reason = started.error().to_string();
    }
  }
  if (features.passthrough || options.passthrough != Switch::kOn) return {};
  return fail(ErrorCode::kNotSupported, "fuse.passthrough=on: " + features.passthrough_reason);
}

Result<void> FuseServer::Session::settle_ring() {
  const std::lock_guard lock(mutex);
  if (features.io_uring || options.io_uring != Switch::kOn) return {};
  return fail(ErrorCode::kNotSupported, "fuse.io_uring=on: " + features.io_uring_reason);
}

void FuseServer::Session::serve() {
  device_loop->run(begin);
  if (ring_loop) ring_loop->stop();
  const std::lock_guard lock(mutex);
  ended = true;
  changed.notify_all();
}

std::vector<DeviceLoop::Left> FuseServer::Session::take_greeting() {
  auto left = start_rings();
  const std::lock_guard lock(mutex);
  greeted = true;
  changed.notify_all();
  return left;
}

// The greeting was answered: the kernel sends nothing else until the rings that were announced are there.
std::vector<DeviceLoop::Left> FuseServer::Session::start_rings() {
  {
    const std::lock_guard lock(mutex);
    if (!features.io_uring) return {};
  }
  const auto open = [this]() -> Result<std::unique_ptr<RingMemory>> {
    if (options.keeper != nullptr) {
      TRY_ASSIGN(io::Descriptor memory, options.keeper->rings(ring_shape(options)));
      return RingMemory::open(std::move(memory));
    }
    TRY_ASSIGN(own_rings, RingOwner::start(fuse_session_fd(fuse), ring_shape(options)));
    return RingMemory::open(io::Descriptor(::fcntl(own_rings->memory().get(), F_DUPFD_CLOEXEC, 3)));
  };
  auto memory = open();
  if (!memory) {
    ledger.connection().io_uring = 0;
    const std::lock_guard lock(mutex);
    features.io_uring = false;
    features.io_uring_reason = memory.error().to_string();
    return {};
  }
  ring_loop = std::make_unique<RingLoop>(fuse, *std::move(memory), ledger);
  std::vector<DeviceLoop::Left> left;
  if (begin == DeviceLoop::Begin::kTakeOver) left = ring_loop->left_by_predecessor();
  ring_loop->start();
  device_loop->leave_requests_to_rings();
  return left;
}

// In the place of writev(2).
ssize_t FuseServer::Session::reply(int device, std::span<iovec> parts) {
  if (ring_loop && ring_loop->reply(parts)) {
    ssize_t bytes = 0;
    for (const iovec& part : parts) bytes += static_cast<ssize_t>(part.iov_len);
    return bytes;
  }
  if (DeviceLoop::answers_greeting() && ledger.connection().io_uring.load() != 0 && parts.size() == 2 &&
      parts[1].iov_len >= kernel::kAnswerFlags2At + sizeof(uint32_t)) {
    char* const flags2 = static_cast<char*>(parts[1].iov_base) + kernel::kAnswerFlags2At;
    uint32_t flags = 0;
    std::memcpy(&flags, flags2, sizeof flags);
    flags |= kernel::kFlags2OverIoUring;
    std::memcpy(flags2, &flags, sizeof flags);
  }
  return ::writev(device, parts.data(), static_cast<int>(parts.size()));
}

Result<void> FuseServer::Session::take_mount_away(Deadline deadline) {
  const Deadline patient = Deadline::after(deadline.left() / 2);
  for (;;) {
    {
      // Gone already: what is mounted on the path now is not ours.
      const std::lock_guard lock(mutex);
      if (ended) return {};
    }
    const Result<void> unmounted = unmount_path(mount_point, Unmount::kIfUnused);
    if (unmounted) return {};
    if (!failed_with(unmounted, ErrorCode::kBusy) || patient.expired()) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  log_warn("fuse.unmount_forced", {{"mount_point", mount_point}, {"reason", "files on it are still open"}});
  const Result<void> detached = unmount_path(mount_point, Unmount::kDetach);
  if (!detached) log_error("fuse.unmount_failed", {{"mount_point", mount_point}, {"error", detached.error()}});
  cut_connection();
  return {};
}

void FuseServer::Session::cut_connection() {
  if (device != 0) abort_connection(device);
  fuse_session_exit(fuse);
  device_loop->stop();
}

Result<void> FuseServer::Session::hand_over(Deadline deadline) {
  volume.set_cache_listener(nullptr);
  if (options.keeper == nullptr) return fail(ErrorCode::kNotSupported, "the mount does not outlive the daemon (fuse.keeper)");
  device_loop->stop();
  std::unique_lock lock(mutex);
  if (changed.wait_until(lock, deadline.time(), [this] { return ended; })) return {};
  return fail(ErrorCode::kTimedOut, "requests of the mount on " + mount_point + " still run");
}

Result<void> FuseServer::Session::end(Deadline deadline) {
  volume.set_cache_listener(nullptr);
  if (loop.joinable()) {
    TRY(take_mount_away(deadline));
    std::unique_lock lock(mutex);
    const auto has_ended = [this] { return ended; };
    if (!changed.wait_until(lock, Deadline::after(deadline.left() / 2).time(), has_ended)) {
      // Unmounted here, but a mount namespace that was copied from ours holds it all the same.
      lock.unlock();
      cut_connection();
      lock.lock();
    }
    if (!changed.wait_until(lock, deadline.time(), has_ended)) {
      return fail(ErrorCode::kTimedOut, "requests of the mount on " + mount_point + " still run");
    }
    lock.unlock();
    loop.join();
  }
  if (invalidator) invalidator->stop();
  operations.waiting.stop();
  operations.backing.stop();
  if (has_handles) operations.close_left_open();
  disconnect();
  return {};
}

// Closes the device: the kernel fails whatever it still has to ask. Requires: no request runs any more.
void FuseServer::Session::disconnect() {
  if (fuse == nullptr) return;
  ring_loop.reset();
  own_rings.reset();
  fuse_session_destroy(std::exchange(fuse, nullptr));
  if (!has_handles) return;  // a takeover that failed: another one is tried
  ledger.disconnect();
  if (options.keeper != nullptr) options.keeper->disconnect();
}

FuseServer::FuseServer(std::unique_ptr<Session> session) : session_(std::move(session)) {}

Result<std::unique_ptr<FuseServer>> FuseServer::mount(volume::Volume& volume, const FuseOptions& options) {
  TRY_ASSIGN(std::string path, prepare_mount_point(options.mount_point));
  std::unique_ptr<Ledger> own_ledger;
  if (options.keeper == nullptr) {
    TRY_ASSIGN(own_ledger, Ledger::make());
  }
  std::unique_ptr<FuseServer> server(
      new FuseServer(std::make_unique<Session>(volume, options, std::move(path), std::move(own_ledger))));
  TRY(server->session_->start({}));
  return server;
}

Result<std::unique_ptr<FuseServer>> FuseServer::take_over(volume::Volume& volume, const FuseOptions& options,
                                                          io::Descriptor device) {
  std::string path = options.keeper->ledger().connection().mount_point;
  std::unique_ptr<FuseServer> server(
      new FuseServer(std::make_unique<Session>(volume, options, std::move(path), nullptr)));
  TRY(server->session_->start(std::move(device)));
  return server;
}

FuseServer::~FuseServer() {
  if (const auto ended = session_->end(Deadline::after(std::chrono::seconds(5))); !ended) {
    // Its threads still use it.
    log_error("fuse.abandoned", {{"mount_point", session_->mount_point}, {"error", ended.error()}});
    session_->loop.detach();
    (void)session_.release();
  }
}

Features FuseServer::features() const {
  const std::lock_guard lock(session_->mutex);
  return session_->features;
}

const Statistics& FuseServer::statistics() const { return session_->statistics; }
const std::string& FuseServer::mount_point() const { return session_->mount_point; }

Result<void> FuseServer::wait(Deadline deadline) {
  std::unique_lock lock(session_->mutex);
  if (session_->changed.wait_until(lock, deadline.time(), [this] { return session_->ended; })) return {};
  return fail(ErrorCode::kTimedOut);
}

Result<void> FuseServer::unmount(Deadline deadline) { return session_->end(deadline); }
Result<void> FuseServer::hand_over(Deadline deadline) { return session_->hand_over(deadline); }

}  // namespace weir::fuse
