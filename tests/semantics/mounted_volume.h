// tests/semantics/mounted_volume.h -- a whole volume in this process, mounted: RocksKv, a page store, a bucket that is a
// directory, the FUSE server.
//
// Everything lives in a fresh directory below the temporary directory and goes with the object; the mount is taken away
// by its own path, whatever the test did.
// Threads: one thread at a time.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "fuse/fuse_server.h"
#include "kv/rocks_kv.h"
#include "pages/page_store.h"
#include "volume/volume.h"

namespace weir::testing {

struct MountedVolumeOptions {
  fuse::Switch passthrough = fuse::Switch::kAuto;
  fuse::Switch io_uring = fuse::Switch::kAuto;
  std::string policy = "WRITE_BACK";
  std::string bucket_uri;  // empty: the directory bucket() of its home
  std::map<std::string, std::string> bucket_properties;
  bool intercept_silly_renames = false;
};

// A directory that goes with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class MountedVolume {
 public:
  // Why nothing can be mounted here, for GTEST_SKIP; nothing when it can.
  static std::optional<std::string> missing();

  // `bucket` exists and may hold objects; it is mounted at "/s3" of the namespace.
  static Result<std::unique_ptr<MountedVolume>> start(const std::filesystem::path& home,
                                                      const MountedVolumeOptions& options);
  ~MountedVolume();
  MountedVolume(const MountedVolume&) = delete;
  MountedVolume& operator=(const MountedVolume&) = delete;

  static std::filesystem::path bucket(const std::filesystem::path& home) { return home / "bucket"; }
  std::filesystem::path root() const { return home_ / "mnt" / "s3"; }  // in the mount
  volume::Volume& volume() { return *volume_; }
  fuse::FuseServer& server() { return *server_; }
  // What fsck tells of the volume and its bucket, one line each: empty for a sound one.
  std::string fsck();

 private:
  explicit MountedVolume(std::filesystem::path home) : home_(std::move(home)) {}

  std::filesystem::path home_;
  std::unique_ptr<kv::RocksKv> kv_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<volume::Volume> volume_;
  std::unique_ptr<fuse::FuseServer> server_;
};

}  // namespace weir::testing
