// fuse/device_loop.h -- requests from /dev/fuse, read by threads that come as they are needed; also those that the kernel sends
// again, because the process that had them died.
//
// A connection that a predecessor served is taken over in three steps. The kernel's greeting, which it says once, is
// repeated from the ledger. Then the kernel is asked to send again what it has no reply to. One thread alone reads until a request
// comes that is new: by then all that are sent again were read, and each is served by a thread of its own.
//
// Threads: run() once; stop() from any other thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>

#include <pthread.h>

#include "fuse/fuse_api.h"
#include "fuse/ledger.h"
#include "base/waiting_threads.h"

namespace weir::fuse {

class DeviceLoop {
 public:
  // `device` is the session's. Requests of up to `request_bytes_max` of data.
  // flight any more.
  DeviceLoop(fuse_session* session, int device, Ledger& ledger, WaitingThreads& waiting, size_t threads_max,
             size_t request_bytes_max);

  enum class Begin : uint8_t { kAnew, kTakeOver };
  // Returns when the connection has ended or after stop(), and no request runs any more.
  void run(Begin begin);

  // Reads no further request; returns when no thread is about to. What was read is served.
  void stop();

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
  void serve_on_own_thread(std::span<char> message);
  void greet_again();
  void ask_for_requests();
  // Returns the first request that is new.
  std::optional<std::span<char>> read_what_is_sent_again(Reader& reader, Buffer& buffer);
  void work(Reader& reader, std::optional<std::span<char>> first, Buffer buffer);
  void start_thread();

  fuse_session* const session_;
  const int device_;
  Ledger& ledger_;
  WaitingThreads& waiting_;
  const size_t threads_max_;
  const size_t buffer_bytes_;
  std::atomic<bool> stopping_{false};
  std::atomic<size_t> idle_{0};

  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Reader> readers_;
  size_t threads_ = 0;     // besides the one that called run()
  size_t sent_again_ = 0;  // requests being served
  bool all_read_ = false;  // of those
};

}  // namespace weir::fuse
