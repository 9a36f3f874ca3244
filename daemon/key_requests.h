// daemon/key_requests.h -- the access keys of the S3 endpoint, for the control API.
//
//   GET    /v1/s3/keys[?secrets=true]
//   POST   /v1/s3/keys[?access_key=&secret_key=&bucket=&prefix=&read_only=true]   answers with the secret
//   DELETE /v1/s3/keys?access_key=
//
// Threads: all methods may be called concurrently.
#pragma once

#include <atomic>

#include "net/http_server.h"
#include "s3/access_keys.h"

namespace weir::daemon {

class KeyRequests {
 public:
  // Null: there is no endpoint, and requests say so.
  void set_keys(s3::AccessKeys* keys) { keys_ = keys; }

  net::ServerResponse list(net::ServerRequest& request);
  net::ServerResponse add(net::ServerRequest& request);
  net::ServerResponse remove(net::ServerRequest& request);

 private:
  std::atomic<s3::AccessKeys*> keys_{nullptr};
};

}  // namespace weir::daemon
