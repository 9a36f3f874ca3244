// daemon/support_bundle.h -- what a maintainer asks for, in one archive without secrets.
//
// Format: a gzipped tar archive with the folder weir-support/ of texts; docs/operations.md, "Ask for help", lists them. Every text
// goes through a Redactor. Names of files, buckets and hosts are in it.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "daemon/properties.h"

namespace weir::daemon {

struct BundleSources {
  const Properties& properties;
  // Of the daemon that serves: name and text. None: nobody serves.
  std::vector<std::pair<std::string, std::string>> documents;
  std::vector<std::string> secrets;  // that properties and environment do not tell
};

// Reads nothing but the log, /proc, /sys and what the sources hold. Errors: the sink's.
Result<void> write_support_bundle(const BundleSources& sources, const std::function<Result<void>(std::span<const std::byte>)>& sink);

}  // namespace weir::daemon
