// The binary `weir`: the command line, and the daemon it can become. The only place that knows both.
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "cli/cli.h"
#include "daemon/admin_api.h"
#include "daemon/offline_fsck.h"
#include "daemon/serve.h"
#include "daemon/support_bundle.h"

namespace {

weir::daemon::ConfigSources sources_of(const weir::cli::LocalParts::Config& config) {
  return {.file = config.file, .definitions = config.definitions};
}

int serve(const weir::cli::LocalParts::Config& config, weir::cli::LocalParts::Stay stay) {
  return weir::daemon::serve(
      {.sources = sources_of(config), .background = stay == weir::cli::LocalParts::Stay::kBackground});
}

weir::Result<std::string> control_socket(const weir::cli::LocalParts::Config& config) {
  TRY_ASSIGN(const weir::daemon::Properties properties, weir::daemon::load_config(sources_of(config)));
  return weir::daemon::admin_socket(properties);
}

weir::Result<void> fsck(const weir::cli::LocalParts::Config& config, const weir::cli::LocalParts::Check& check,
                        const std::function<void(std::string_view)>& line) {
  using weir::volume::FsckRepair;
  TRY_ASSIGN(const weir::daemon::Properties properties, weir::daemon::load_config(sources_of(config)));
  return weir::daemon::fsck_offline(properties,
                                    {.path = check.path,
                                     .ufs = check.ufs,
                                     .foreign_objects = check.foreign,
                                     .repair = check.dry_run  ? FsckRepair::kDryRun
                                               : check.repair ? FsckRepair::kYes
                                                              : FsckRepair::kNo},
                                    line);
}

weir::Result<std::string> support_bundle(const weir::cli::LocalParts::Config& config) {
  TRY_ASSIGN(const weir::daemon::Properties properties, weir::daemon::load_config(sources_of(config)));
  std::string archive;
  TRY(weir::daemon::write_support_bundle({.properties = properties}, [&](std::span<const std::byte> bytes) -> weir::Result<void> {
    archive.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }));
  return archive;
}

}  // namespace

int main(int argc, char** argv) {
  return weir::cli::run(argc, argv,
                        {.serve = serve,
                         .control_socket = control_socket,
                         .configuration_document = weir::daemon::configuration_document,
                         .fsck = fsck,
                         .support_bundle = support_bundle,
                         .version = std::string(weir::daemon::version())});
}
