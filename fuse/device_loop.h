// fuse/device_loop.h -- requests from /dev/fuse, read by threads that come as they are needed; also those that the kernel sends
// again, because the process that had them died.
//
// The kernel wakes the thread that has waited longest, whose caches are the coldest. So only as many threads wait in read(2) as
// there are seats, one for each CPU and a few at most; the others are spare until all seats are empty.
//
// Where rings carry the requests, only what the kernel forgets comes here, and nobody waits for it: one thread reads it, many at a
// time, and rests in between, so that the kernel has nobody to wake.
//
// A connection that a predecessor served is taken over in three steps. The kernel's greeting, which it says once, is
// repeated from the ledger, and what else the predecessor left is served. Then the kernel is asked to send again what it has
// no reply to. One thread alone reads until a request comes that is new: by then all that are sent again were read, and each
// is served by a thread of its own.
//
// Threads: run() once; stop() from any other thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include <pthread.h>

#include "fuse/fuse_api.h"
#include "fuse/ledger.h"
#include "base/waiting_threads.h"

namespace weir::fuse {

class DeviceLoop {
 public:
  // A request of a predecessor that the kernel does not send again.
  using Left = std::function<void(LedgerIntent*)>;
  // Called once, when the greeting was answered; returns what is left to serve on threads that may wait.
  using Greeted = std::function<std::vector<Left>()>;

  // `device` is the session's. Requests of up to `request_bytes_max` of data.
  DeviceLoop(fuse_session* session, int device, Ledger& ledger, WaitingThreads& waiting, size_t threads_max,
             size_t request_bytes_max, Greeted greeted);

  enum class Begin : uint8_t { kAnew, kTakeOver };
  // Returns when the connection has ended or after stop(), and no request runs any more.
  void run(Begin begin);

  // From now on rings carry the requests.
  void leave_requests_to_rings() { rings_.store(true); }

  // Reads no further request; returns when no thread is about to. What was read is served.
  void stop();

  // The calling thread answers the greeting.
  static bool answers_greeting() { return answers_greeting_; }

 private:
  using Buffer = std::unique_ptr<char[]>;
  struct Reader {
    pthread_t thread{};
    std::atomic<bool> reading{false};
  };
  // Of the calling thread, while it lives.
  class Registered;
  // Nothing: the connection has ended, or the loop is to.
  std::optional<std::span<char>> read(Reader& reader, Buffer& buffer);
  void serve(std::span<char> message, LedgerIntent* slot);
  void serve_on_own_thread(Left request);
  void greet(std::span<char> message);
  void greet_again();
  void ask_for_requests();
  // Returns the first request that is new.
  std::optional<std::span<char>> read_what_is_sent_again(Reader& reader, Buffer& buffer);
  void work(Reader& reader, std::optional<std::span<char>> first, Buffer buffer);
  // Waits for a seat; false: the loop is to end.
  bool take_seat();
  bool try_take_seat();
  // Until something came that is not to be forgotten, or the loop is to end.
  std::optional<std::span<char>> read_through_forgets(Reader& reader, Buffer& buffer, LedgerIntent* slot);
  enum class Leaves : uint8_t { kToServe, kForGood };
  void leave_seat(Leaves leaves);
  // All seats are empty: a thread that is spare takes one, or else a new one if the one that left will come back.
  void fill_seat(Leaves left);

  fuse_session* const session_;
  const int device_;
  Ledger& ledger_;
  WaitingThreads& waiting_;
  const size_t threads_max_;
  const size_t buffer_bytes_;
  const size_t seats_;
  const Greeted greeted_;
  static thread_local bool answers_greeting_;
  std::atomic<size_t> seats_taken_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> rings_{false};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Reader> readers_;
  std::condition_variable seat_needed_;
  size_t spare_ = 0;       // threads that wait for a seat
  size_t threads_ = 0;     // besides the one that called run()
  size_t sent_again_ = 0;  // requests being served
  bool all_read_ = false;  // of those
};

}  // namespace weir::fuse
