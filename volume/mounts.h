// volume/mounts.h -- the durable table of mount points, and the under stores behind it.
//
// What a store can do is found out when its mount point is added and kept with it, so that a start needs no answer from
// the network: stores are mounted at once, probed behind the caller, and again every kProbePeriod until they answer.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf; no call into a store under it.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "meta/namespace.h"
#include "net/token_bucket.h"
#include "ufs/mount_table.h"
#include "volume/ticker.h"
#include "volume/volume.h"

namespace weir::volume {

using Properties = std::map<std::string, std::string>;

class Mounts {
 public:
  Mounts(meta::Namespace& names, ufs::MountTable& stores, const VolumeOptions& options);

  // Mounts the table. A store that cannot even be made is logged and tried again; its mount point is there all the same.
  Result<void> open();

  Result<Volume::MountPoint> add(std::string_view path, std::string_view uri, const Properties& properties);
  // `forget` is called for the local files below it.
  Result<void> remove(std::string_view path, const std::function<void(LocalFileId)>& forget);
  Result<std::vector<Volume::MountPoint>> list();
  Result<std::vector<std::string>> secrets();

  static constexpr Duration kProbePeriod = std::chrono::seconds(5);
  static constexpr Duration kProbeTimeout = std::chrono::seconds(5);

 private:
  struct State {
    bool reachable = false;
    std::string error;
  };

  Result<std::shared_ptr<ufs::UnderStore>> make_store(std::string_view uri, const Properties& properties) const;
  void probe_unreachable();
  State state_of(MountId mount) const;
  void set_state(MountId mount, State state);

  meta::Namespace& names_;
  ufs::MountTable& stores_;
  const VolumeOptions& options_;
  const std::shared_ptr<net::TokenBucket> upload_rate_;
  mutable std::mutex mutex_;
  std::map<MountId, State> states_;
  std::optional<Ticker> prober_;
};

}  // namespace weir::volume
