// daemon/s3_endpoint.h -- the S3 endpoint of a volume as the properties want it, and its access keys.
//
// Threads: start(), reload() and stop() by one thread; the others concurrently.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "daemon/properties.h"
#include "s3/access_keys.h"
#include "s3/server.h"
#include "volume/volume.h"

namespace weir::daemon {

volume::ObjectsOptions objects_options(const Properties& properties);

class S3Endpoint {
 public:
  // The first time, makes an access key; standard error shows its secret when that is a terminal. Errors: as s3::Server::start() and
  // s3::AccessKeys::open(), naming the property.
  static Result<std::unique_ptr<S3Endpoint>> start(const Properties& properties, volume::Volume& volume, const Clock& clock);

  s3::AccessKeys& keys() { return *keys_; }
  const s3::Server& server() const { return *server_; }
  // "http://127.0.0.1:29998"; the second is empty without TLS.
  std::string url() const;
  std::string tls_url() const;

  Result<void> reload() { return server_->reload(); }
  Result<void> stop(Deadline deadline) { return server_->stop(deadline); }

 private:
  S3Endpoint() = default;

  std::string host_;
  std::unique_ptr<s3::AccessKeys> keys_;
  std::unique_ptr<s3::Server> server_;
};

}  // namespace weir::daemon
