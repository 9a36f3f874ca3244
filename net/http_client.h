// net/http_client.h -- HTTP/1.1 exchanges over a bounded pool of kept-alive connections (libcurl).
//
// An exchange blocks its thread; bodies travel from and into the caller's memory. There are no retries here but the
// one libcurl makes when a kept-alive connection turns out to be dead; `resent` tells of it, since the server may have
// acted on the first sending.
// Threads: all methods may be called concurrently; the destructor only when no call is running.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/clock.h"
#include "net/http.h"
#include "net/token_bucket.h"

namespace weir::net {

enum class TlsVerify : uint8_t { kOn, kOff };

struct HttpClientOptions {
  uint32_t connections_max = 32;  // callers beyond wait for one, until their deadline
  Duration connect_timeout = std::chrono::seconds(5);
  Duration stall_timeout = std::chrono::seconds(30);  // no byte in either direction for so long; whole seconds
  std::string tls_ca_file;                            // empty: the system's
  TlsVerify tls_verify = TlsVerify::kOn;
  std::shared_ptr<TokenBucket> upload_rate;  // null: no limit
};

struct HttpResponse;

struct HttpRequest {
  Method method = Method::kGet;
  std::string url;  // encoded; sent as it is
  Headers headers;
  std::span<const std::byte> body;  // not copied; must stay until the exchange is over
  std::span<std::byte> sink;        // takes the body of a 2xx response; a longer body is kBadResponse
  // Called on the thread of the exchange each time the sink got more: status, headers and sink_bytes as of then. Empty: never.
  std::function<void(const HttpResponse& so_far)> on_sink;
  Duration stall_timeout{};         // zero: the client's
};

struct HttpResponse {
  int status = 0;
  Headers headers;
  std::string body;        // when it did not go to the sink; at most kTextBodyBytesMax
  size_t sink_bytes = 0;
  bool resent = false;
};

inline constexpr size_t kTextBodyBytesMax = 16 << 20;

enum class HttpErrorKind : uint8_t {
  kBadUrl,
  kResolve,       // the host has no address
  kConnect,       // refused or unreachable
  kTls,           // the handshake broke
  kCertificate,   // the server's certificate or our CA file is not good
  kBroken,        // reset, or closed before a whole response
  kBadResponse,   // not HTTP, or too long
  kStalled,       // nothing moved for the stall timeout, or no connection within the connect timeout
  kTimedOut,      // the deadline
  kStopped,
};

struct HttpError {
  HttpErrorKind kind;
  std::string message;
  bool maybe_sent = false;  // some of the request may have reached the server
};

struct HttpCounters {
  uint64_t exchanges = 0;
  uint64_t failures = 0;  // without a response
  uint64_t connections_opened = 0;
  uint64_t bytes_sent = 0;      // bodies
  uint64_t bytes_received = 0;  // bodies
};

class HttpClient {
 public:
  explicit HttpClient(HttpClientOptions options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  std::expected<HttpResponse, HttpError> exchange(const HttpRequest& request, Deadline deadline);

  // Running exchanges end with kStopped within about a second, later ones at once.
  void stop();
  bool stopped() const;

  // Sleeps, but not beyond stop(). False when stopped.
  bool sleep(Duration duration);

  HttpCounters counters() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::net
