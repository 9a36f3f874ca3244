#include "fuse/device_loop.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "fuse/kernel_interface.h"

namespace weir::fuse {
namespace {

using kernel::InHeader;
using kernel::OutHeader;

constexpr size_t kHeaderRoom = 4096;   // of a request, besides its data

constexpr int kWakeSignal = SIGUSR1;
constexpr Duration kWakePeriod = std::chrono::milliseconds(5);

constexpr size_t kSeatsMin = 2;  // one request must not keep the next one waiting
constexpr size_t kSeatsMax = 4;

// A burst is read as a whole, and hardly anything is kept in the kernel meanwhile.
constexpr Duration kRestFromForgets = std::chrono::milliseconds(20);

bool is_forget(std::span<const char> message) {
  InHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  return header.opcode == kernel::kForget || header.opcode == kernel::kBatchForget;
}

// read(2) is to come back when its thread is signalled.
void let_signals_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  ::sigaction(kWakeSignal, &action, nullptr);
}

}  // namespace

DeviceLoop::DeviceLoop(fuse_session* session, int device, Ledger& ledger, WaitingThreads& waiting,
                       size_t threads_max, size_t request_bytes_max, Greeted greeted)
    : session_(session),
      device_(device),
      ledger_(ledger),
      waiting_(waiting),
      threads_max_(threads_max),
      buffer_bytes_(request_bytes_max + kHeaderRoom),
      seats_(std::clamp<size_t>(std::thread::hardware_concurrency(), kSeatsMin, kSeatsMax)),
      greeted_(std::move(greeted)) {
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
  if (header.opcode == kernel::kGreeting) {
    LedgerConnection& connection = ledger_.connection();
    if (message.size() <= LedgerConnection::kGreetingBytesMax) {
      std::memcpy(connection.greeting, message.data(), message.size());
      connection.greeting_bytes.store(static_cast<uint32_t>(message.size()), std::memory_order_release);
    }
    greet(message);
    return;
  }
  const Origin origin(ledger_, slot, header.unique);
  process(session_, message);
}

thread_local bool DeviceLoop::answers_greeting_ = false;

void DeviceLoop::greet(std::span<char> message) {
  answers_greeting_ = true;
  process(session_, message);
  answers_greeting_ = false;
  for (Left& left : greeted_()) serve_on_own_thread(std::move(left));
}

// ---- taking over

void DeviceLoop::greet_again() {
  LedgerConnection& connection = ledger_.connection();
  const size_t bytes = connection.greeting_bytes.load(std::memory_order_acquire);
  if (bytes == 0) return;
  std::string message(connection.greeting, bytes);
  // The reply finds nobody who waits for it, unless the predecessor died before its own.
  greet(message);
}

void DeviceLoop::ask_for_requests() {
  const OutHeader notice{.bytes = sizeof(OutHeader), .error = kernel::kNotifyResend, .unique = 0};
  if (::write(device_, &notice, sizeof notice) != sizeof notice) log_error("fuse.resend_failed", {{"errno", errno}});
}

void DeviceLoop::serve_on_own_thread(Left request) {
  {
    const std::lock_guard lock(mutex_);
    ++sent_again_;
  }
  waiting_.post([this, request = std::move(request)] {
    LedgerIntent* const slot = ledger_.take_intent();
    request(slot);
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
        serve_on_own_thread([this, copy = std::string(message->begin(), message->end())](LedgerIntent* slot) mutable {
          serve(copy, slot);
        });
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
      if (!take_seat()) break;
      message = rings_.load() ? read_through_forgets(reader, buffer, slot) : read(reader, buffer);
      leave_seat(message ? Leaves::kToServe : Leaves::kForGood);
    }
    if (!message) break;
    serve(*message, slot);
  }
  ledger_.give_back(slot);
}

std::optional<std::span<char>> DeviceLoop::read_through_forgets(Reader& reader, Buffer& buffer, LedgerIntent* slot) {
  for (;;) {
    const auto message = read(reader, buffer);
    if (!message || !is_forget(*message)) return message;
    serve(*message, slot);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kRestFromForgets, [this] { return stopping_.load(); });
  }
}

bool DeviceLoop::try_take_seat() {
  size_t taken = seats_taken_.load();
  while (taken < (rings_.load() ? 1 : seats_)) {
    if (seats_taken_.compare_exchange_weak(taken, taken + 1)) return true;
  }
  return false;
}

bool DeviceLoop::take_seat() {
  if (try_take_seat()) return true;
  // Whoever leaves the last seat looks for a spare thread under the same lock.
  std::unique_lock lock(mutex_);
  ++spare_;
  bool taken = false;
  seat_needed_.wait(lock, [&] { return stopping_.load() || (taken = try_take_seat()); });
  --spare_;
  return taken;
}

void DeviceLoop::leave_seat(Leaves leaves) {
  if (seats_taken_.fetch_sub(1) == 1) fill_seat(leaves);
}

void DeviceLoop::fill_seat(Leaves left) {
  const std::lock_guard lock(mutex_);
  if (stopping_.load()) return;
  if (spare_ != 0) {
    seat_needed_.notify_one();
    return;
  }
  if (left == Leaves::kForGood || threads_ + 1 >= threads_max_) return;
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
  seat_needed_.notify_all();
  changed_.notify_all();
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
