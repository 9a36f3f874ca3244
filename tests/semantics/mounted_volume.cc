#include "tests/semantics/mounted_volume.h"

#include <stdlib.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"

namespace weir::testing {

TemporaryDirectory::TemporaryDirectory() {
  std::string name = std::filesystem::temp_directory_path() / "weir-mount-XXXXXX";
  CHECK(::mkdtemp(name.data()) != nullptr);
  path_ = name;
  // Tests act as other users, too.
  std::filesystem::permissions(path_, std::filesystem::perms(0755));
}

TemporaryDirectory::~TemporaryDirectory() {
  // Never into a mount that would not go away.
  std::error_code ignored;
  if (std::filesystem::is_empty(path_ / "mnt", ignored) || !std::filesystem::exists(path_ / "mnt", ignored)) {
    std::filesystem::remove_all(path_, ignored);
  }
}

std::optional<std::string> MountedVolume::missing() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) return "no access to /dev/fuse";
  if (::geteuid() != 0 && std::system("command -v fusermount3 >/dev/null") != 0) return "not root, and no fusermount3";
  return std::nullopt;
}

Result<std::unique_ptr<MountedVolume>> MountedVolume::start(const std::filesystem::path& home,
                                                            const MountedVolumeOptions& options) {
  std::filesystem::create_directories(bucket(home));
  std::filesystem::create_directories(home / "mnt");
  std::filesystem::create_directories(home / "pages");
  std::unique_ptr<MountedVolume> mounted(new MountedVolume(home));
  TRY_ASSIGN(mounted->kv_, kv::RocksKv::open({.dir = home / "kv"}));
  pages::PageStoreOptions page_options;
  page_options.dirs = {home / "pages"};
  page_options.volume_id = "mount-test";
  page_options.capacity_bytes = uint64_t{1} << 30;
  TRY_ASSIGN(mounted->pages_, pages::open_page_store(page_options));
  volume::VolumeOptions volume_options;
  volume_options.intercept_silly_renames = options.intercept_silly_renames;
  volume_options.access_times = volume::AccessTimePolicy::kRelative;
  TRY_ASSIGN(mounted->volume_,
             volume::Volume::open(*mounted->kv_, *mounted->pages_, system_clock(), volume_options, "mount-test"));
  TRY(mounted->volume_->set_rules_document(R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": ")" +
                                           options.policy + R"("}, "pathRules": []})"));
  TRY_ASSIGN(const auto mounts, mounted->volume_->mount_points());
  const std::string uri = options.bucket_uri.empty() ? "file://" + bucket(home).string() : options.bucket_uri;
  if (mounts.empty()) TRY(mounted->volume_->add_mount("/s3", uri, options.bucket_properties));
  TRY_ASSIGN(mounted->server_, fuse::FuseServer::mount(*mounted->volume_, {.mount_point = home / "mnt",
                                                                           .passthrough = options.passthrough,
                                                                           .io_uring = options.io_uring}));
  return mounted;
}

std::string MountedVolume::fsck() {
  std::string told;
  const auto summary = volume_->fsck(
      {.ufs = true},
      {.discrepancy = [&](const meta::Discrepancy& wrong) {
         told += meta::to_string(wrong) + '\n';
       },
       .progress = {}});
  if (!summary.has_value()) told += "not completed: " + summary.error().to_string();
  return told;
}

MountedVolume::~MountedVolume() {
  const Deadline deadline = Deadline::after(std::chrono::seconds(20));
  if (server_) CHECK(server_->unmount(deadline).has_value());
  if (volume_) volume_->stop(deadline);
}

}  // namespace weir::testing
