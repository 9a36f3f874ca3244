// daemon/live_config.h -- the properties of a running daemon, and changing them.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "daemon/config.h"
#include "daemon/properties.h"

namespace weir::daemon {

class LiveConfig {
 public:
  LiveConfig(Properties properties, ConfigSources sources);

  Properties snapshot() const;

  // Stores the value for the next starts and, where the property allows it, puts it in force now.
  // Errors: kNotFound, kInvalid; kConflict when the command line or the environment fixes the property.
  Result<Applies> set(std::string_view name, std::string_view text);

  // Reads all sources again, puts in force what may change at once and reopens the log file. An error changes nothing.
  Result<void> reload();

  // Puts the log's properties in force.
  static void open_log_of(const Properties& properties);

 private:
  const ConfigSources sources_;
  mutable std::mutex mutex_;  // a leaf
  Properties properties_;
};

}  // namespace weir::daemon
