#include "cli/cli.h"

#include <cstdio>
#include <cstdlib>

#include "cli/context.h"

namespace weir::cli {

Outcome<DaemonClient> Context::client() const {
  if (!socket.empty()) return DaemonClient(socket);
  auto found = parts.control_socket(config);
  if (!found) {
    return failed("cannot tell where the daemon listens: " + found.error().to_string() +
                  "\nSay it with --socket PATH, --config FILE, or WEIR_SOCKET or WEIR_CONFIG in the environment.");
  }
  return DaemonClient(*std::move(found));
}

CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& help,
                      std::function<Outcome<>()> act) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->fallthrough();
  command->callback([&context, act = std::move(act)] { context.command = act; });
  return command;
}

int run(int argc, char** argv, const LocalParts& parts) {
  Context context{.parts = parts};
  CLI::App app("Weir: a write cache in front of object storage");
  app.require_subcommand(1);
  app.add_option("--socket", context.socket, "Control socket of the daemon")->envname("WEIR_SOCKET");
  app.add_option("-c,--config", context.config.file, "Configuration file of the daemon")->envname("WEIR_CONFIG");
  app.add_option("-D", context.config.definitions, "Property, as NAME=VALUE; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  app.add_flag("--json", context.json, "Write JSON");
  add_admin_commands(app, context);
  add_fs_commands(app, context);
  add_pathconfig_commands(app, context);
  add_persist_commands(app, context);
  add_s3_commands(app, context);
  add_upkeep_commands(app, context);
  // The library's one way to report is to throw.
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? static_cast<int>(ExitCode::kOk) : static_cast<int>(ExitCode::kUsage);
  }
  const Outcome<> outcome = context.command();
  if (std::fflush(stdout) != 0) {
    std::fprintf(stderr, "weir: cannot write the output\n");
    return static_cast<int>(ExitCode::kFailed);
  }
  if (outcome) return static_cast<int>(ExitCode::kOk);
  if (!outcome.error().message.empty()) std::fprintf(stderr, "weir: %s\n", outcome.error().message.c_str());
  return static_cast<int>(outcome.error().code);
}

}  // namespace weir::cli
