// daemon/upkeep_requests.h -- the control API's part for the upkeep of a volume.
//
//   GET /v1/scrub                  the last complete one, and whether one runs
//   POST /v1/scrub[?restart=true]  lines: progress, finding, then summary or error; it ends with its client
//
// Threads: all methods may be called concurrently.
#pragma once

#include "net/http_server.h"
#include "volume/volume.h"

namespace weir::daemon {

class UpkeepRequests {
 public:
  explicit UpkeepRequests(volume::Volume& volume) : volume_(volume) {}

  net::ServerResponse last_scrub(net::ServerRequest& request);
  net::ServerResponse scrub(net::ServerRequest& request);

 private:
  volume::Volume& volume_;
};

}  // namespace weir::daemon
