#include "daemon/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <thread>

#include "base/log.h"
#include "base/random.h"
#include "daemon/admin_api.h"
#include "daemon/fuse_mount.h"
#include "daemon/instance_lock.h"
#include "daemon/keeper_link.h"
#include "daemon/s3_endpoint.h"
#include "daemon/volume_parts.h"
#include "fuse/operations.h"
#include "kv/rocks_kv.h"
#include "meta/namespace.h"
#include "net/http_server.h"
#include "pages/page_store.h"
#include "volume/volume.h"

namespace weir::daemon {
namespace {

constexpr uint64_t kControlBodyBytesMax = uint64_t{1} << 50;  // `fs cp` of any file; it streams

std::string new_volume_id() {
  Random random = Random::from_entropy();
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(random.next()),
                static_cast<unsigned long long>(random.next()));
  return text;
}

fuse::Switch switch_of(const std::string& text) {
  return text == "on" ? fuse::Switch::kOn : text == "off" ? fuse::Switch::kOff : fuse::Switch::kAuto;
}

fuse::FuseOptions fuse_options(const Properties& properties, KeeperLink* keeper) {
  fuse::FuseOptions options;
  options.keeper = keeper;
  options.mount_point = properties.text("fuse.mount.point");
  options.passthrough = switch_of(properties.text("fuse.passthrough"));
  options.io_uring = switch_of(properties.text("fuse.io_uring"));
  options.threads = std::max(1u, count_of(properties, "fuse.threads"));
  return options;
}

// The parts are declared in the order in which they are made: each is used by those below it alone.
class LocalDaemon final : public Daemon {
 public:
  LocalDaemon(const Properties& properties, const ConfigSources& sources, KeeperLink* keeper)
      : properties_(properties), config_(properties, sources), keeper_(keeper) {}

  Result<void> open();
  Result<void> reload() override;
  Result<void> stop(Deadline deadline) override;
  Result<void> hand_over(Deadline deadline) override;

 private:
  Result<void> open_volume();
  Result<void> listen();
  Result<void> serve_s3();

  const Properties properties_;
  LiveConfig config_;
  KeeperLink* const keeper_;
  std::optional<InstanceLock> lock_;
  std::unique_ptr<kv::RocksKv> kv_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<volume::Volume> volume_;
  std::optional<FuseMount> mount_;
  std::optional<AdminApi> api_;
  std::unique_ptr<net::HttpServer> control_;
  std::unique_ptr<net::HttpServer> admin_;
  std::unique_ptr<S3Endpoint> s3_;
};

Result<void> LocalDaemon::open() {
  if (properties_.list("worker.page.store.dirs").empty()) {
    return fail(ErrorCode::kInvalid,
                "property worker.page.store.dirs is not set: give a folder on a fast local disk for the cached files");
  }
  TRY_ASSIGN(lock_, InstanceLock::take(properties_.text("volume.dir")));
  TRY(open_volume());
  mount_.emplace(*volume_, fuse_options(properties_, keeper_));
  api_.emplace(*volume_, *mount_, config_, keeper_, system_clock(), meta::Caller{.uid = ::getuid(), .gid = ::getgid()});
  const bool takes_over = keeper_ != nullptr && keeper_->has_connection();
  // Applications wait for it.
  if (takes_over) TRY(mount_->take_over(keeper_->take_connection()));
  auto opened = listen();
  // A mount that was not there when a predecessor ended had been taken away.
  const bool first = keeper_ == nullptr || keeper_->restarts() == 0;
  if (opened && first && !properties_.text("fuse.mount.point").empty()) opened = mount_->mount("");
  if (opened && properties_.boolean("s3.enabled")) opened = serve_s3();
  if (opened) return {};
  (void)stop(Deadline::after(properties_.duration("shutdown.grace.period")));
  return opened;
}

Result<void> LocalDaemon::open_volume() {
  TRY_ASSIGN(kv_, kv::RocksKv::open(kv_options(properties_)));
  std::string volume_id;
  {
    // The page store must know whose it is before the volume that uses it is opened.
    TRY_ASSIGN(const auto names,
               meta::Namespace::open(*kv_, system_clock(), namespace_options(properties_), new_volume_id()));
    volume_id = names->volume_id();
  }
  TRY_ASSIGN(pages_, pages::open_page_store(page_store_options(properties_, volume_id)));
  volume::VolumeOptions options = volume_options(properties_);
  if (keeper_ != nullptr && keeper_->has_connection()) {
    options.held = fuse::held_files(keeper_->ledger());
    options.callers_wait = true;
  } else if (keeper_ != nullptr) {
    keeper_->ledger().disconnect();  // the mount is gone with all that was open on it
  }
  TRY_ASSIGN(volume_, volume::Volume::open(*kv_, *pages_, system_clock(), options, volume_id));
  return {};
}

Result<void> LocalDaemon::listen() {
  TRY_ASSIGN(control_, net::HttpServer::start(net::UnixAddress{admin_socket(properties_)},
                                              {.threads = 8, .body_bytes_max = kControlBodyBytesMax},
                                              api_->handler(AdminApi::Rights::kFull)));
  const auto port = static_cast<uint16_t>(properties_.integer("admin.port"));
  auto admin = net::HttpServer::start(net::TcpAddress{.port = port}, {}, api_->handler(AdminApi::Rights::kRead));
  if (!admin) return fail(std::move(admin).error().wrap("property admin.port; choose another one, 0 takes a free one"));
  admin_ = *std::move(admin);
  api_->set_admin_port(admin_->port());
  log_info("daemon.listening", {{"socket", admin_socket(properties_)}, {"admin_port", admin_->port()}});
  return {};
}

Result<void> LocalDaemon::serve_s3() {
  TRY_ASSIGN(s3_, S3Endpoint::start(properties_, *volume_, system_clock()));
  api_->set_s3(s3_.get());
  return {};
}

Result<void> LocalDaemon::reload() {
  auto reloaded = config_.reload();
  if (!reloaded) return fail(std::move(reloaded).error().wrap("the configuration stays as it was"));
  if (s3_ != nullptr) TRY(s3_->reload());
  return {};
}

Result<void> LocalDaemon::hand_over(Deadline deadline) {
  constexpr Duration kLastReplies = std::chrono::seconds(1);
  // The successor listens where this one does. Operations that still run end with this process.
  if (s3_ != nullptr) (void)s3_->stop(Deadline::after(deadline.left() / 4));
  control_->stop(Deadline::after(kLastReplies));
  admin_->stop(Deadline::after(kLastReplies));
  auto left = mount_->hand_over(deadline);
  TRY(kv_->sync());
  return left;
}

Result<void> LocalDaemon::stop(Deadline deadline) {
  // Uploads under way may end, and leave time for the rest.
  Result<void> ended;
  if (s3_ != nullptr) ended = s3_->stop(Deadline::after(deadline.left() / 2));
  Result<void> unmounted = mount_->unmount(deadline);
  if (unmounted && !ended) unmounted = std::move(ended);
  if (control_ != nullptr) control_->stop(deadline);
  if (admin_ != nullptr) admin_->stop(deadline);
  if (!unmounted) {
    // The volume must stay for the requests inside it; what they did is committed.
    (void)kv_->sync();
    return unmounted;
  }
  volume_->stop(deadline);
  return kv_->sync();
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(const Properties& properties, const ConfigSources& sources,
                                              KeeperLink* keeper) {
  auto daemon = std::make_unique<LocalDaemon>(properties, sources, keeper);
  TRY(daemon->open());
  return daemon;
}

}  // namespace weir::daemon
