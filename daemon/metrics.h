// daemon/metrics.h -- what the daemon counts, in the text format of Prometheus (version 0.0.4).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fuse/statistics.h"
#include "s3/statistics.h"
#include "volume/volume.h"

namespace weir::daemon {

struct MetricsSources {
  volume::VolumeStatistics volume;
  const fuse::Statistics* fuse = nullptr;  // null: never mounted
  const s3::Statistics* s3 = nullptr;      // null: no endpoint
  uint64_t s3_connections = 0;
  std::vector<volume::Volume::MountPoint> mounts;
  std::string_view version;
  double uptime_seconds = 0;
};

std::string metrics_text(const MetricsSources& sources);

}  // namespace weir::daemon
