// serve, upgrade, mount, umount, mount-table, conf, status, version.
#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <thread>

#include "base/clock.h"
#include "cli/context.h"
#include "cli/output.h"

namespace weir::cli {
namespace {

using Json = nlohmann::ordered_json;

struct ServeArguments {
  bool background = false;
};

void add_serve(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<ServeArguments>(context);
  const auto act = [=, &context]() -> Outcome<> {
    using Stay = LocalParts::Stay;
    const int code =
        context.parts.serve(context.config, arguments->background ? Stay::kBackground : Stay::kForeground);
    if (code == 0) return {};
    return std::unexpected(Failure{static_cast<ExitCode>(code), ""});
  };
  CLI::App* command = add_command(app, context, "serve", "Serve the volume until SIGTERM or SIGINT", act);
  command->add_flag("-d,--daemonize", arguments->background, "Go to the background once the volume is served");
}

struct MountArguments {
  std::string mount_point;
};

void add_mount(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<MountArguments>(context);
  const auto act = [=, &context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    net::Query query;
    if (!arguments->mount_point.empty()) query.push_back({"mount_point", arguments->mount_point});
    TRY_ASSIGN(const Json answer, client.call(net::Method::kPost, "/v1/fuse/mount", query));
    if (context.json) {
      print_json(answer);
    } else {
      print("mounted at " + answer.value("mount_point", arguments->mount_point) + "\n");
    }
    return {};
  };
  CLI::App* mount = add_command(app, context, "mount", "Mount the volume of the running daemon", act);
  mount->add_option("mount_point", arguments->mount_point, "An empty directory; default: property fuse.mount.point");

}

struct UnmountArguments {
  bool drain = false;
  uint64_t timeout_s = 0;
};

std::string text_of_left(const Json& left) {
  std::string text = std::to_string(left.value("files", uint64_t{0})) + " files, " + size_text(left.value("bytes", uint64_t{0}));
  if (left.value("erasures", false)) text += ", objects to erase";
  if (left.value("moved_directories", false)) text += ", objects of moved directories";
  if (left.value("removals", false)) text += ", trees being removed";
  return text;
}

// What is left, and why.
std::string report_of(const Json& answer) {
  std::string text = "not everything is in the under store: " + text_of_left(answer["left"]) +
                     ". It is durable here, and the daemon goes on with it";
  for (const Json& store : answer["stores"])
    text += "\n  " + store.value("path", "") + " (" + store.value("uri", "") + "): " + store.value("error", "");
  for (const Json& item : answer["items"]) {
    const std::string error = item.value("last_error", "");
    text += "\n  " + item.value("path", "") + ": " + item.value("phase", "") + (error.empty() ? "" : ": " + error);
  }
  const uint64_t told = answer["items"].size();
  if (const uint64_t files = answer["left"].value("files", uint64_t{0}); files > told)
    text += "\n  ... and " + std::to_string(files - told) + " more, see `weir async-persist list`";
  return text;
}

Outcome<> drain(Context& context, uint64_t timeout_s) {
  TRY_ASSIGN(DaemonClient client, context.client());
  net::Query query;
  if (timeout_s != 0) query.push_back({"timeout_ms", std::to_string(timeout_s * 1'000)});
  Json answer;
  {
    Progress progress;
    TRY(client.lines("/v1/async-persist/drain", query, [&](const Json& line) {
      if (const auto left = line.find("progress"); left != line.end()) {
        progress.show("left: " + text_of_left(*left));
      } else {
        answer = line;
      }
    }));
  }
  if (context.json) print_json(answer);
  if (answer.contains("drained")) return {};
  if (answer.contains("not_drained")) return std::unexpected(Failure{ExitCode::kIncomplete, report_of(answer["not_drained"])});
  return std::unexpected(Failure{ExitCode::kIncomplete, "the answer broke off; see the daemon's log"});
}

void add_unmount(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<UnmountArguments>(context);
  const auto act = [=, &context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer, client.call(net::Method::kPost, "/v1/fuse/unmount"));
    if (arguments->drain) return drain(context, arguments->timeout_s);
    if (context.json) print_json(answer);
    return {};
  };
  CLI::App* command = add_command(app, context, "umount", "Unmount the volume; its daemon goes on persisting", act);
  CLI::Option* drain = command->add_flag(
      "--drain", arguments->drain,
      "Then wait until everything is in the under store. Exit code 4: it is not, and what is left and why is said");
  command->add_option("--timeout", arguments->timeout_s, "Wait at most so many seconds; default: for ever")
      ->needs(drain)
      ->check(CLI::Range(1, 1'000'000'000));
}

struct UpgradeArguments {
  std::string binary;
};

// The status, or nothing while nobody serves.
std::optional<Json> try_status(Context& context) {
  auto client = context.client();
  if (!client) return std::nullopt;
  auto status = client->call(net::Method::kGet, "/v1/status");
  if (!status) return std::nullopt;
  return *std::move(status);
}

Outcome<> upgrade(Context& context, std::string binary) {
  constexpr Duration kPatience = std::chrono::seconds(120);
  constexpr Duration kPollPeriod = std::chrono::milliseconds(20);
  std::error_code error;
  if (binary.empty()) binary = "/proc/self/exe";
  binary = std::filesystem::canonical(binary, error).string();
  if (error) return failed("cannot find the binary: " + error.message());
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json before, client.call(net::Method::kGet, "/v1/status"));
  TRY(client.call(net::Method::kPost, "/v1/upgrade", {{"binary", binary}}));
  for (const Deadline deadline = Deadline::after(kPatience); !deadline.expired();) {
    std::this_thread::sleep_for(kPollPeriod);
    const std::optional<Json> now = try_status(context);
    if (!now || now->value("pid", 0) == before.value("pid", 0)) continue;
    const std::string last_end = now->contains("keeper") ? (*now)["keeper"].value("last_end", "") : "";
    if (last_end.starts_with("the new binary did not serve")) return failed("the one before serves again: " + last_end);
    if (context.json) {
      print_json(*now);
    } else {
      print("version " + now->value("version", "") + " serves, pid " + std::to_string(now->value("pid", 0)) + "; before: " +
            before.value("version", "") + ", pid " + std::to_string(before.value("pid", 0)) + "\n");
    }
    return {};
  }
  return failed("the new daemon does not answer; see its log and `weir status`");
}

void add_upgrade(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<UpgradeArguments>(context);
  CLI::App* command = add_command(app, context, "upgrade", "Let another binary serve; the mount stays, programs notice a pause",
                                  [=, &context] { return upgrade(context, arguments->binary); });
  command->add_option("--binary", arguments->binary, "The binary; default: this one");
}

struct MountTableArguments {
  std::string path;
  std::string uri;
  std::vector<std::string> properties;
};

void add_mount_table(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<MountTableArguments>(context);
  CLI::App* table = app.add_subcommand("mount-table", "The under stores of the volume");
  table->require_subcommand(1)->fallthrough();

  const auto add_mount_point = [=, &context]() -> Outcome<> {
    Json properties = Json::object();
    for (const std::string& property : arguments->properties) {
      const size_t equals = property.find('=');
      if (equals == std::string::npos)
        return std::unexpected(Failure{ExitCode::kUsage, "-o " + property + ": write -o NAME=VALUE"});
      properties[property.substr(0, equals)] = property.substr(equals + 1);
    }
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer,
               client.call(net::Method::kPost, "/v1/mounts", {{"path", arguments->path}, {"uri", arguments->uri}},
                           properties.dump()));
    if (context.json) {
      print_json(answer);
    } else {
      print(arguments->path + " is " + answer.value("uri", arguments->uri) + "\n");
    }
    return {};
  };
  CLI::App* add =
      add_command(*table, context, "add", "Put an under store at a top-level directory", add_mount_point);
  add->add_option("path", arguments->path, "/NAME")->required();
  add->add_option("uri", arguments->uri, "s3://BUCKET[/PREFIX] or file:///DIRECTORY")->required();
  add->add_option("-o,--option", arguments->properties, "Property of this mount point; may be repeated")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);

  add_command(*table, context, "list", "Show the mount points", [&context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer, client.call(net::Method::kGet, "/v1/mounts"));
    if (context.json) {
      print_json(answer);
      return {};
    }
    std::vector<std::vector<std::string>> rows = {{"PATH", "UNDER STORE", "STATE"}};
    for (const Json& mount : answer["mounts"]) {
      const std::string error = mount.value("error", "");
      rows.push_back({mount.value("path", ""), mount.value("uri", ""),
                      mount.value("reachable", false) ? "reachable" : error.empty() ? "not tried yet" : error});
    }
    print(table_text(rows));
    return {};
  });

  const auto remove_mount_point = [=, &context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer, client.call(net::Method::kDelete, "/v1/mounts", {{"path", arguments->path}}));
    if (context.json) print_json(answer);
    return {};
  };
  CLI::App* remove =
      add_command(*table, context, "remove", "Take a mount point away; its objects stay", remove_mount_point);
  remove->add_option("path", arguments->path, "/NAME")->required();
}

struct ConfArguments {
  std::string name;
  std::string value;
};

void add_conf(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<ConfArguments>(context);
  CLI::App* conf = app.add_subcommand("conf", "The properties of the running daemon");
  conf->require_subcommand(1)->fallthrough();

  const auto show = [=, &context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer, client.call(net::Method::kGet, "/v1/conf", {{"name", arguments->name}}));
    if (context.json) {
      print_json(answer);
    } else {
      print(answer.value("value", "") + "\n");
    }
    return {};
  };
  CLI::App* get = add_command(*conf, context, "get", "Show one property's value", show);
  get->add_option("name", arguments->name, "The property")->required();

  const auto change = [=, &context]() -> Outcome<> {
    std::string name = arguments->name;
    std::string value = arguments->value;
    if (const size_t equals = name.find('='); equals != std::string::npos && value.empty()) {
      value = name.substr(equals + 1);
      name.resize(equals);
    }
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer, client.call(net::Method::kPut, "/v1/conf", {{"name", name}, {"value", value}}));
    if (context.json) {
      print_json(answer);
    } else {
      print(name + " = " + value + ", in force " + answer.value("applies", "") + "\n");
    }
    return {};
  };
  CLI::App* set = add_command(*conf, context, "set", "Change a property: now if it can, and for later starts", change);
  set->add_option("name", arguments->name, "The property, or NAME=VALUE")->required();
  set->add_option("value", arguments->value, "Its value");

  add_command(*conf, context, "list", "Show all properties", [&context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json answer, client.call(net::Method::kGet, "/v1/conf"));
    if (context.json) {
      print_json(answer);
      return {};
    }
    std::vector<std::vector<std::string>> rows = {{"PROPERTY", "VALUE", "FROM"}};
    for (const Json& property : answer["properties"])
      rows.push_back({property.value("name", ""), property.value("value", ""), property.value("source", "")});
    print(table_text(rows));
    return {};
  });

  add_command(*conf, context, "docs", "Write docs/configuration.md to standard output", [&context]() -> Outcome<> {
    print(context.parts.configuration_document());
    return {};
  });
}

std::string feature_text(const Json& feature) {
  return feature.value("on", false) ? "on" : "off (" + feature.value("reason", "") + ")";
}

void print_status(const Json& status) {
  const Json& persist = status["persist"];
  const Json& pages = status["page_store"];
  std::vector<std::vector<std::string>> rows;
  const auto row = [&](std::string name, std::string value) { rows.push_back({std::move(name), std::move(value)}); };
  row("version", status.value("version", ""));
  row("pid", std::to_string(status.value("pid", 0)));
  if (status.contains("keeper")) {
    const Json& keeper = status["keeper"];
    const uint64_t restarts = keeper.value("restarts", uint64_t{0});
    row("keeper", "pid " + std::to_string(keeper.value("pid", 0)) +
                      (restarts == 0 ? "" : "; daemons before: " + std::to_string(restarts) + ", the last: " +
                                                keeper.value("last_end", "")));
  }
  row("up", duration_text(status.value("uptime_seconds", int64_t{0}) * 1'000'000'000));
  row("volume", status.value("volume_id", "") + " in " + status.value("volume_dir", ""));
  row("admin", "http://127.0.0.1:" + std::to_string(status.value("admin_port", 0)));
  if (status.contains("s3")) {
    const std::string tls = status["s3"].value("tls_url", "");
    row("S3", status["s3"].value("url", "") + (tls.empty() ? "" : ", " + tls) + "; " +
                  std::to_string(status["s3"].value("connections", uint64_t{0})) + " connections");
  }
  if (status.contains("fuse")) {
    row("mount", status["fuse"].value("mount_point", ""));
    row("passthrough", feature_text(status["fuse"]["passthrough"]));
    row("io_uring", feature_text(status["fuse"]["io_uring"]));
  } else {
    row("mount", "none");
  }
  for (const Json& mount : status["mounts"]) {
    const std::string error = mount.value("error", "");
    row(mount.value("path", ""), mount.value("uri", "") + (error.empty() ? "" : ": " + error));
  }
  row("files", std::to_string(status.value("inodes", uint64_t{0})) + ", " +
                   size_text(status.value("bytes", uint64_t{0})));
  row("waiting", std::to_string(persist.value("waiting_files", uint64_t{0})) + " files, " +
                     size_text(persist.value("waiting_bytes", uint64_t{0})) + ", the oldest for " +
                     duration_text(persist.value("oldest_age_ns", int64_t{0})));
  row("persisted", std::to_string(persist.value("persisted_files", uint64_t{0})) + " files, " +
                       size_text(persist.value("persisted_bytes", uint64_t{0})) + " since the start");
  if (const Json& removals = status["removals"]; removals.value("under_way", uint64_t{0}) != 0) {
    row("removing", std::to_string(removals.value("under_way", uint64_t{0})) + " trees, " +
                        std::to_string(removals.value("removed_entries", uint64_t{0})) + " entries removed since the start");
    for (const Json& tree : removals["trees"])
      row("", tree.value("path", "") + ": " + std::to_string(tree.value("removed", uint64_t{0})) + " removed");
  }
  row("page store", size_text(pages.value("used_bytes", uint64_t{0})) + " of " +
                        size_text(pages.value("capacity_bytes", uint64_t{0})) + "; not persisted " +
                        size_text(pages.value("pinned_bytes", uint64_t{0})) + " of " +
                        size_text(pages.value("pinned_limit_bytes", uint64_t{0})));
  print(table_text(rows));
}

}  // namespace

void add_admin_commands(CLI::App& app, Context& context) {
  add_serve(app, context);
  add_mount(app, context);
  add_unmount(app, context);
  add_upgrade(app, context);
  add_mount_table(app, context);
  add_conf(app, context);
  add_command(app, context, "status", "Show what the daemon is and does", [&context]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(const Json status, client.call(net::Method::kGet, "/v1/status"));
    if (context.json) {
      print_json(status);
    } else {
      print_status(status);
    }
    return {};
  });
  add_command(app, context, "version", "Show the version of this program", [&context]() -> Outcome<> {
    if (context.json) {
      print_json(Json{{"version", context.parts.version}});
    } else {
      print("weir " + context.parts.version + "\n");
    }
    return {};
  });
}

}  // namespace weir::cli
