// daemon/admin_api.h -- the control API of a running daemon, and its public part.
//
//   on the control socket (root and the daemon's user) and on the loopback port:
//     GET  /healthz             200 while the volume is served as configured, else 503
//     GET  /metrics             Prometheus text
//     GET  /v1/status
//   on the control socket alone:
//     *    /v1/fs/...           daemon/file_requests.h
//     GET  /v1/conf[?name=]     values, secrets masked;  PUT /v1/conf?name=&value=
//     GET  /v1/pathconfig       the document in force;   PUT: replaces it
//     GET  /v1/pathconfig/test?path=
//     GET  /v1/async-persist/list[?max=], /v1/async-persist/stat[?path=]
//     POST /v1/async-persist/retry[?path=]
//     GET  /v1/async-persist/drain[?timeout_ms=]   lines: progress, then drained or not_drained with what is left and why
//     GET, POST ?path=&uri= {properties}, DELETE ?path=   /v1/mounts
//     *    /v1/scrub            daemon/upkeep_requests.h
//     *    /v1/s3/keys          daemon/key_requests.h
//     POST /v1/fuse/mount[?mount_point=], /v1/fuse/unmount
//     GET  /v1/support-bundle   daemon/support_bundle.h
//     POST /v1/upgrade?binary=  the answer comes first; then another process serves
//
// Errors: daemon/api_reply.h. Threads: handlers may be called concurrently.
#pragma once

#include <atomic>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "daemon/file_requests.h"
#include "daemon/fuse_mount.h"
#include "daemon/keeper_link.h"
#include "daemon/key_requests.h"
#include "daemon/live_config.h"
#include "daemon/s3_endpoint.h"
#include "daemon/upkeep_requests.h"
#include "net/http_server.h"
#include "volume/volume.h"

namespace weir::daemon {

std::string_view version();

class AdminApi {
 public:
  enum class Rights : uint8_t { kRead, kFull };

  // `keeper`: null where there is none.
  AdminApi(volume::Volume& volume, FuseMount& mount, LiveConfig& config, KeeperLink* keeper, const Clock& clock,
           meta::Caller owner);

  net::Handler handler(Rights rights);
  // Known once the servers listen.
  void set_admin_port(uint16_t port) { admin_port_ = port; }
  // Known once it serves; must outlive the servers that use this.
  void set_s3(S3Endpoint* s3) {
    s3_ = s3;
    keys_.set_keys(s3 == nullptr ? nullptr : &s3->keys());
  }

 private:
  struct Route;
  static const Route kRoutes[];

  net::ServerResponse handle(net::ServerRequest& request, Rights rights);

  net::ServerResponse health(net::ServerRequest& request);
  net::ServerResponse metrics(net::ServerRequest& request);
  net::ServerResponse status(net::ServerRequest& request);
  net::ServerResponse show_config(net::ServerRequest& request);
  net::ServerResponse set_config(net::ServerRequest& request);
  net::ServerResponse show_rules(net::ServerRequest& request);
  net::ServerResponse set_rules(net::ServerRequest& request);
  net::ServerResponse test_rules(net::ServerRequest& request);
  net::ServerResponse list_waiting(net::ServerRequest& request);
  net::ServerResponse show_waiting(net::ServerRequest& request);
  net::ServerResponse drain(net::ServerRequest& request);
  // The mount points whose stores take nothing now, and why.
  nlohmann::ordered_json stores_away();
  net::ServerResponse retry_waiting(net::ServerRequest& request);
  net::ServerResponse list_mounts(net::ServerRequest& request);
  net::ServerResponse add_mount(net::ServerRequest& request);
  net::ServerResponse remove_mount(net::ServerRequest& request);
  net::ServerResponse mount_fuse(net::ServerRequest& request);
  net::ServerResponse unmount_fuse(net::ServerRequest& request);
  net::ServerResponse upgrade(net::ServerRequest& request);
  net::ServerResponse support_bundle(net::ServerRequest& request);
  // A short fsck of the metadata and the local files, as text.
  std::string short_check();

  volume::Volume& volume_;
  FuseMount& mount_;
  LiveConfig& config_;
  KeeperLink* const keeper_;
  const Clock& clock_;
  const TimePoint started_;
  FileRequests files_;
  KeyRequests keys_;
  UpkeepRequests upkeep_;
  std::atomic<S3Endpoint*> s3_{nullptr};
  std::atomic<uint16_t> admin_port_{0};
};

}  // namespace weir::daemon
