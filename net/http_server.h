// net/http_server.h -- an HTTP/1.1 server on one TCP or unix-domain address, with blocking handlers (Boost.Beast).
//
// One thread moves bytes; handlers run on a pool of `threads`. A connection has one request at a time. Bodies stream in
// both directions, so memory is bounded by connections and buffers, not by bodies.
// Threads: the handler is called concurrently; start() and stop() by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>

#include "base/clock.h"
#include "base/result.h"
#include "net/http.h"

namespace weir::net {

struct TcpAddress {
  std::string host = "127.0.0.1";  // numeric
  uint16_t port = 0;               // 0: a free one, see HttpServer::port()
};

// The socket file is made with mode 0600: its owner and root may connect. A file left by a dead server is replaced.
struct UnixAddress {
  std::string path;
};

using ServerAddress = std::variant<TcpAddress, UnixAddress>;

struct HttpServerOptions {
  uint32_t connections_max = 64;  // further ones wait in the kernel's backlog
  uint32_t threads = 4;
  uint32_t header_bytes_max = 16 << 10;
  uint64_t body_bytes_max = 1 << 20;                  // of a request
  Duration idle_timeout = std::chrono::seconds(60);   // between requests
  Duration io_timeout = std::chrono::seconds(30);     // of one read or write in a request
};

class RequestBody {
 public:
  virtual ~RequestBody() = default;
  // At least one byte, or 0 at the end. kTooLarge beyond body_bytes_max, kUnavailable when the client is gone,
  // kTimedOut when it sends nothing; after the last two no response reaches it.
  virtual Result<size_t> read(std::span<std::byte> buffer) = 0;
  // The rest of it; kTooLarge beyond `bytes_max`.
  Result<std::string> read_all(size_t bytes_max);
};

struct ServerRequest {
  Method method = Method::kGet;
  std::string path;  // decoded, without the query
  Query query;
  Headers headers;
  RequestBody& body;

  // The value of a query parameter; nullptr when absent.
  const std::string* parameter(std::string_view name) const;
};

class ResponseBody {
 public:
  virtual ~ResponseBody() = default;
  // All of it, or the client is gone (kUnavailable, kTimedOut).
  virtual Result<void> write(std::span<const std::byte> bytes) = 0;
};

struct ServerResponse {
  int status = 200;
  Headers headers;
  std::string body;  // unless `stream` is set

  // Produces the body. An error, or another length than `stream_bytes`, cuts the connection, so that the client never
  // takes a part for the whole.
  std::function<Result<void>(ResponseBody&)> stream;
  std::optional<uint64_t> stream_bytes;  // absent: chunked
};

using Handler = std::function<ServerResponse(ServerRequest&)>;

class HttpServer {
 public:
  // Errors: kBusy (the address is in use), kPermission, kInvalid (no such address, path too long), kIo.
  static Result<std::unique_ptr<HttpServer>> start(const ServerAddress& address, const HttpServerOptions& options,
                                                   Handler handler);
  ~HttpServer();  // stop() without patience
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The TCP port listened on; 0 for a unix address.
  uint16_t port() const;

  // Accepts no more, closes idle connections, lets running requests end until the deadline, then cuts them off. Returns
  // when no handler runs any more: a handler must have deadlines of its own.
  void stop(Deadline deadline);

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::net
