// cli/cli.h -- the command line. It talks to a running daemon through the control API and knows nothing else of it.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no daemon reached. Also runs under the name `alluxio`.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weir::cli {

// What `weir` does in its own process; given by main, which knows the daemon.
struct LocalParts {
  struct Config {
    std::string file;                      // empty: none
    std::vector<std::string> definitions;  // "name=value"
  };
  enum class Stay : uint8_t { kForeground, kBackground };

  std::function<int(const Config&, Stay)> serve;                     // returns the exit code
  std::function<Result<std::string>(const Config&)> control_socket;  // of the daemon with this configuration
  std::function<std::string()> configuration_document;
  // fsck of a volume that nobody serves; `line` gets each line of the control API's answer.
  struct Check {
    std::string path = "/";
    bool ufs = false;
    bool foreign = false;
    bool repair = false;
    bool dry_run = false;
  };
  std::function<Result<void>(const Config&, const Check&, const std::function<void(std::string_view line)>& line)> fsck;
  // The archive of `support-bundle` where no daemon answers.
  std::function<Result<std::string>(const Config&)> support_bundle;
  std::string version;
};

int run(int argc, char** argv, const LocalParts& parts);

}  // namespace weir::cli
