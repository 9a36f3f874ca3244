// tests/fault/s3_proxy.h -- a network between the daemon and a real S3 server that fails as told.
//
// Passes one request over each connection and closes it, so that a fault hits the very next request. Faults hold until
// they are changed; requests that a black hole holds are cut off then.
// Threads: all methods may be called concurrently.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace weir::testing {

struct ProxyFault {
  enum class Kind : uint8_t {
    kNone,
    kReset,         // the connection is reset: as from a machine where nothing listens
    kBlackHole,     // nothing comes back
    kStatus,        // `status` and `code`, and nothing happens
    kLoseReply,     // the request takes effect, and the connection is reset instead of an answer
    kTruncate,      // the answer ends in the middle of its body
    kSlow,          // the request is held for `delay` first
  };
  Kind kind = Kind::kNone;
  int status = 503;
  std::string code = "SlowDown";
  Duration delay{};
  std::string method{};              // empty: every one
  uint64_t times = UINT64_MAX;       // so many requests; the others pass
};

class S3Proxy {
 public:
  // `port` of 127.0.0.1 is where the server listens.
  static Result<std::unique_ptr<S3Proxy>> start(uint16_t port);
  ~S3Proxy();
  S3Proxy(const S3Proxy&) = delete;

  std::string endpoint() const;  // "http://127.0.0.1:PORT"
  void set(ProxyFault fault);
  void heal() { set({}); }
  uint64_t hits() const { return hits_; }          // requests that a fault met, since the last set()
  uint64_t requests() const { return requests_; }  // since the start

 private:
  S3Proxy(int listener, uint16_t own_port, uint16_t server_port);
  void accept_all();
  void serve(int client);
  ProxyFault next_fault(const std::string& method, uint64_t* epoch);
  // Until set() is called; then false.
  void wait_for_change(uint64_t epoch);

  const int listener_;
  const uint16_t own_port_;
  const uint16_t server_port_;
  std::mutex mutex_;  // a leaf
  ProxyFault fault_;
  std::vector<std::thread> connections_;
  std::atomic<uint64_t> epoch_{0};
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> requests_{0};
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
};

}  // namespace weir::testing
