// cli/context.h -- what every command is given: how to reach the daemon, and how to speak to the user.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/daemon_client.h"
#include "cli/outcome.h"

namespace weir::cli {

struct Context {
  const LocalParts& parts;
  std::string socket{};
  LocalParts::Config config{};
  bool json = false;                     // --json: one JSON document on standard output
  std::function<Outcome<>()> command{};  // the one that was chosen
  std::vector<std::shared_ptr<void>> kept{};  // arguments of all commands

  // The client of the daemon that --socket, WEIR_SOCKET or the configuration names.
  Outcome<DaemonClient> client() const;
};

// Where a command's arguments are parsed to; lives as long as the context.
template <typename Arguments>
Arguments* arguments_of(Context& context) {
  auto arguments = std::make_shared<Arguments>();
  context.kept.push_back(arguments);
  return arguments.get();
}

// Adds a subcommand; `act` runs when it is the one given.
CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name, const std::string& help,
                      std::function<Outcome<>()> act);

// Each adds its commands.
void add_fs_commands(CLI::App& app, Context& context);
void add_persist_commands(CLI::App& app, Context& context);
void add_pathconfig_commands(CLI::App& app, Context& context);
void add_s3_commands(CLI::App& app, Context& context);
void add_admin_commands(CLI::App& app, Context& context);  // serve, upgrade, mount, umount, mount-table, conf, status, version
void add_upkeep_commands(CLI::App& app, Context& context);  // fsck, scrub, support-bundle

}  // namespace weir::cli
