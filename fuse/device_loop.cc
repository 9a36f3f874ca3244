#include "fuse/device_loop.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace weir::fuse {
namespace {

// Of the kernel's interface (include/uapi/linux/fuse.h), in which libfuse's headers take no part.
struct InHeader {
  uint32_t bytes;
  uint32_t opcode;
  uint64_t unique;
  uint64_t node;
  uint32_t uid, gid, pid;
  uint16_t extension_bytes;
  uint16_t padding;
};
struct OutHeader {
  uint32_t bytes;
  int32_t error;
  uint64_t unique;
};
constexpr uint32_t kGreeting = 26;     // FUSE_INIT
constexpr int32_t kNotifyResend = 7;   // FUSE_NOTIFY_RESEND
constexpr size_t kHeaderRoom = 4096;   // of a request, besides its data

constexpr int kWakeSignal = SIGUSR1;
constexpr Duration kWakePeriod = std::chrono::milliseconds(5);

// read(2) is to come back when its thread is signalled.
void let_signals_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigaction(kWakeSignal, &action, nullptr);
}

}  // namespace

DeviceLoop::DeviceLoop(fuse_session* session, int device, Ledger& ledger, WaitingThreads& waiting,
                       size_t threads_max, size_t request_bytes_max)
    : session_(session),
      device_(device),
      ledger_(ledger),
      waiting_(waiting),
      threads_max_(threads_max),
      buffer_bytes_(request_bytes_max + kHeaderRoom) {
  let_signals_interrupt();
}

class DeviceLoop::Registered {
 public:
  explicit Registered(DeviceLoop& loop) : loop_(loop) {
    const std::lock_guard lock(loop_.mutex_);
    place_ = loop_.readers_.emplace(loop_.readers_.end());
    place_->thread = ::pthread_self();
  }
  ~Registered() {
    const std::lock_guard lock(loop_.mutex_);
    loop_.readers_.erase(place_);
    loop_.changed_.notify_all();
  }
  Reader& reader() { return *place_; }

 private:
  DeviceLoop& loop_;
  std::list<Reader>::iterator place_;
};

std::optional<std::span<char>> DeviceLoop::read(Reader& reader, Buffer& buffer) {
  for (;;) {
    reader.reading.store(true);
    if (stopping_.load()) {
      reader.reading.store(false);
      break;
    }
    const ssize_t bytes = ::read(device_, buffer.get(), buffer_bytes_);
    reader.reading.store(false);
    if (bytes >= static_cast<ssize_t>(sizeof(InHeader))) return std::span(buffer.get(), static_cast<size_t>(bytes));
    // ENOENT: the caller was interrupted before the request was read.
    if (bytes < 0 && (errno == EINTR || errno == ENOENT || errno == EAGAIN)) continue;
    if (bytes >= 0 || errno != ENODEV) log_error("fuse.read_failed", {{"errno", bytes < 0 ? errno : 0}});
    break;
  }
  return std::nullopt;
}

void DeviceLoop::serve(std::span<char> message, LedgerIntent* slot) {
  InHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  LedgerConnection& connection = ledger_.connection();
  if (header.opcode == kGreeting && message.size() <= LedgerConnection::kGreetingBytesMax) {
    std::memcpy(connection.greeting, message.data(), message.size());
    connection.greeting_bytes.store(static_cast<uint32_t>(message.size()), std::memory_order_release);
  }
  const Origin origin(ledger_, slot, header.unique);
  fuse_buf buffer{};
  buffer.mem = message.data();
  buffer.size = message.size();
  fuse_session_process_buf(session_, &buffer);
}

// ---- taking over

void DeviceLoop::greet_again() {
  LedgerConnection& connection = ledger_.connection();
  const size_t bytes = connection.greeting_bytes.load(std::memory_order_acquire);
  if (bytes == 0) return;
  std::string message(connection.greeting, bytes);
  fuse_buf buffer{};
  buffer.mem = message.data();
  buffer.size = message.size();
  // The reply finds nobody who waits for it, unless the predecessor died before its own.
  fuse_session_process_buf(session_, &buffer);
}

void DeviceLoop::ask_for_requests() {
  const OutHeader notice{.bytes = sizeof(OutHeader), .error = kNotifyResend, .unique = 0};
  if (::write(device_, &notice, sizeof notice) != sizeof notice) log_error("fuse.resend_failed", {{"errno", errno}});
}

void DeviceLoop::serve_on_own_thread(std::span<char> message) {
  {
    const std::lock_guard lock(mutex_);
    ++sent_again_;
  }
  waiting_.post([this, copy = std::string(message.begin(), message.end())]() mutable {
    LedgerIntent* const slot = ledger_.take_intent();
    serve(copy, slot);
    ledger_.give_back(slot);
    const std::lock_guard lock(mutex_);
    --sent_again_;
    if (sent_again_ == 0 && all_read_) ledger_.forget_inherited();
    changed_.notify_all();
  });
}

std::optional<std::span<char>> DeviceLoop::read_what_is_sent_again(Reader& reader, Buffer& buffer) {
  uint64_t count = 0;
  for (;;) {
    const auto message = read(reader, buffer);
    if (message) {
      InHeader header;
      std::memcpy(&header, message->data(), sizeof header);
      if ((header.unique & Origin::kSentAgain) != 0) {
        serve_on_own_thread(*message);
        ++count;
        continue;
      }
    }
    log_info("fuse.taken_over", {{"requests_sent_again", count}});
    const std::lock_guard lock(mutex_);
    all_read_ = true;
    if (sent_again_ == 0) ledger_.forget_inherited();
    return message;
  }
}

// ---- serving

void DeviceLoop::run(Begin begin) {
  {
    Registered registered(*this);
    auto buffer = std::make_unique_for_overwrite<char[]>(buffer_bytes_);
    std::optional<std::span<char>> first;
    if (begin == Begin::kTakeOver) {
      greet_again();
      ask_for_requests();
      first = read_what_is_sent_again(registered.reader(), buffer);
    }
    if (begin == Begin::kAnew || first) work(registered.reader(), first, std::move(buffer));
  }
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return threads_ == 0 && sent_again_ == 0; });
}

void DeviceLoop::work(Reader& reader, std::optional<std::span<char>> first, Buffer buffer) {
  LedgerIntent* const slot = ledger_.take_intent();
  if (slot == nullptr) return;
  for (std::optional<std::span<char>> message = first;; message.reset()) {
    if (!message) {
      idle_.fetch_add(1, std::memory_order_relaxed);
      message = read(reader, buffer);
      if (idle_.fetch_sub(1, std::memory_order_relaxed) == 1 && message) start_thread();
    }
    if (!message) break;
    serve(*message, slot);
  }
  ledger_.give_back(slot);
}

void DeviceLoop::start_thread() {
  const std::lock_guard lock(mutex_);
  if (threads_ + 1 >= threads_max_ || stopping_.load()) return;
  try {
    std::thread([this] {
      {
        Registered registered(*this);
        work(registered.reader(), std::nullopt, std::make_unique_for_overwrite<char[]>(buffer_bytes_));
      }
      const std::lock_guard lock(mutex_);
      --threads_;
      changed_.notify_all();
    }).detach();
    ++threads_;
  } catch (const std::system_error& refused) {
    log_warn("fuse.no_thread", {{"threads", threads_}, {"error", refused.what()}});
  }
}

// A signal that comes just before read(2) is lost, so that it is sent until the thread is out.
void DeviceLoop::stop() {
  stopping_.store(true);
  std::unique_lock lock(mutex_);
  for (bool reading = true; reading;) {
    reading = false;
    for (const Reader& reader : readers_) {
      if (!reader.reading.load()) continue;
      reading = true;
      ::pthread_kill(reader.thread, kWakeSignal);
    }
    if (reading) changed_.wait_for(lock, kWakePeriod);
  }
}

}  // namespace weir::fuse
