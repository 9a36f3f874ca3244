// s3/server.h -- the S3 endpoint: HTTP/1.1 with and without TLS, over volume::Objects.
//
// A connection is a coroutine: it costs a few kilobytes while it waits for its client, and takes a block of memory only while a
// body travels. Operations run where the connection is; those that would wait for the under store move to threads that may.
// Slow and idle clients are cut off; header sections, documents, connections and times are bounded.
// Threads: start() and stop() by one thread; the others concurrently.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "s3/access_keys.h"
#include "s3/call.h"
#include "s3/statistics.h"
#include "volume/objects.h"

namespace weir::s3 {

struct ServerOptions {
  std::string address = "127.0.0.1";  // numeric
  uint16_t port = 0;                  // 0: a free one
  uint16_t tls_port = 0;              // 0: a free one
  std::string tls_certificate;        // PEM; empty: no TLS
  std::string tls_key;
  uint32_t threads = 64;
  uint32_t waiting_threads = 256;
  uint32_t connections_max = 1'024;   // further ones take the place of idle ones, or wait in the kernel's backlog
  Duration idle_timeout = std::chrono::seconds(120);   // between requests
  Duration head_timeout = std::chrono::seconds(30);    // from a request's first byte to the end of its header section
  Duration stall_timeout = std::chrono::seconds(30);   // in a body, with no byte moving
  Duration answer_begins = std::chrono::seconds(10);   // of a long operation that has not ended; then a sign of life as often
  uint64_t body_bytes_per_second_min = 1'024;          // of a request, after the first minute
  std::string access_log;             // a file; empty: none
  uint64_t access_log_bytes_max = 64 << 20;
  FrontOptions front;
};

class Server {
 public:
  // The parts must outlive the server.
  // Errors: kInvalid (no such address, bad certificate, anonymous on an address that others reach), kBusy (the port is taken), kPermission,
  // kIo.
  static Result<std::unique_ptr<Server>> start(const ServerOptions& options, volume::Objects& objects, const AccessKeys& keys,
                                               const Clock& clock);
  virtual ~Server() = default;  // waits for operations that still run

  virtual uint16_t port() const = 0;
  virtual uint16_t tls_port() const = 0;  // 0: no TLS
  virtual uint64_t connections() const = 0;
  virtual const Statistics& statistics() const = 0;

  // Reads certificate and key again, for connections from now on. Errors: as start(); those in force stay.
  virtual Result<void> reload() = 0;

  // Accepts no more, closes idle connections, lets running requests end until the deadline, then cuts them off. kTimedOut:
  // operations still run inside the volume a second later; it may be called again.
  virtual Result<void> stop(Deadline deadline) = 0;
};

}  // namespace weir::s3
