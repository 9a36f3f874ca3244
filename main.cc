// The binary `weir`: the command line, and the daemon it can become. The only place that knows both.
#include "cli/cli.h"
#include "daemon/admin_api.h"
#include "daemon/serve.h"

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

}  // namespace

int main(int argc, char** argv) {
  return weir::cli::run(argc, argv,
                        {.serve = serve,
                         .control_socket = control_socket,
                         .configuration_document = weir::daemon::configuration_document,
                         .version = std::string(weir::daemon::version())});
}
