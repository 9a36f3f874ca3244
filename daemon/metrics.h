// daemon/metrics.h -- what the daemon counts, in the text format of Prometheus (version 0.0.4).
#pragma once

#include <string>
#include <string_view>

#include "fuse/statistics.h"
#include "volume/volume.h"

namespace weir::daemon {

struct MetricsSources {
  volume::VolumeStatistics volume;
  const fuse::Statistics* fuse = nullptr;  // null: never mounted
  std::string_view version;
  double uptime_seconds = 0;
};

std::string metrics_text(const MetricsSources& sources);

}  // namespace weir::daemon
