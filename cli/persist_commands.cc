// async-persist list, stat, retry.
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/context.h"
#include "cli/output.h"

namespace weir::cli {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string path;
  uint64_t max = 1'000;
};

int64_t now_ns() { return unix_ns(system_clock().wall_now()); }

std::string age_text(const Json& item) {
  const int64_t since = item.value("dirty_since_ns", int64_t{0});
  return since == 0 ? "-" : duration_text(now_ns() - since);
}

std::string next_text(const Json& item) {
  const int64_t next = item.value("next_try_ns", int64_t{0});
  return next <= now_ns() ? "now" : "in " + duration_text(next - now_ns());
}

Outcome<> list(Context& context, uint64_t max) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json answer,
             client.call(net::Method::kGet, "/v1/async-persist/list", {{"max", std::to_string(max)}}));
  if (context.json) {
    print_json(answer);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"STATE", "PHASE", "SIZE", "AGE", "TRIES", "NEXT", "PATH", "LAST ERROR"}};
  for (const Json& item : answer["items"]) {
    rows.push_back({item.value("state", ""), item.value("phase", ""), size_text(item.value("size", uint64_t{0})),
                    age_text(item), std::to_string(item.value("attempts", 0)), next_text(item), item.value("path", ""),
                    item.value("last_error", "")});
  }
  print(table_text(rows));
  const uint64_t waiting = answer.value("waiting_files", uint64_t{0});
  const uint64_t shown = answer["items"].size();
  if (waiting > shown) print("... and " + std::to_string(waiting - shown) + " more\n");
  return {};
}

void print_item(const Json& item) {
  std::vector<std::vector<std::string>> rows = {
      {"path", item.value("path", "")}, {"state", item.value("state", "")}, {"phase", item.value("phase", "")}};
  if (item.contains("attempts")) {
    const uint64_t size = item.value("size", uint64_t{0});
    rows.push_back({"uploaded", size_text(item.value("uploaded_bytes", uint64_t{0})) + " of " + size_text(size)});
    rows.push_back({"waiting for", age_text(item)});
    rows.push_back({"tries", std::to_string(item.value("attempts", 0))});
    rows.push_back({"next try", next_text(item)});
    const std::string error = item.value("last_error", "");
    rows.push_back({"last error", error.empty() ? "none" : error});
    if (item.value("refused", false)) rows.push_back({"refused", "by the under store: somebody must mend the cause"});
  }
  print(table_text(rows));
}

void print_queue(const Json& stats) {
  print(table_text({
      {"waiting", std::to_string(stats.value("waiting_files", uint64_t{0})) + " files, " +
                      size_text(stats.value("waiting_bytes", uint64_t{0}))},
      {"oldest", duration_text(stats.value("oldest_age_ns", int64_t{0}))},
      {"in flight", std::to_string(stats.value("in_flight", uint64_t{0}))},
      {"persisted", std::to_string(stats.value("persisted_files", uint64_t{0})) + " files, " +
                        size_text(stats.value("persisted_bytes", uint64_t{0}))},
      {"moved by copy", std::to_string(stats.value("copied_files", uint64_t{0}))},
      {"erased", std::to_string(stats.value("erased_objects", uint64_t{0}))},
      {"conflicts", std::to_string(stats.value("conflicts", uint64_t{0}))},
      {"errors", std::to_string(stats.value("errors_unavailable", uint64_t{0})) + " unavailable, " +
                     std::to_string(stats.value("errors_denied", uint64_t{0})) + " denied, " +
                     std::to_string(stats.value("errors_other", uint64_t{0})) + " other"},
  }));
  for (const Json& store : stats["stores"])
    print(store.value("path", "") + " takes nothing now: " + store.value("error", "") + '\n');
}

net::Query path_query(const std::string& path) {
  return path.empty() ? net::Query{} : net::Query{{"path", path}};
}

Outcome<> stat(Context& context, const std::string& path) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json answer, client.call(net::Method::kGet, "/v1/async-persist/stat", path_query(path)));
  if (context.json) {
    print_json(answer);
  } else if (path.empty()) {
    print_queue(answer);
  } else {
    print_item(answer);
  }
  return {};
}

Outcome<> retry(Context& context, const std::string& path) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY_ASSIGN(const Json answer, client.call(net::Method::kPost, "/v1/async-persist/retry", path_query(path)));
  if (context.json) print_json(answer);
  return {};
}

}  // namespace

void add_persist_commands(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<Arguments>(context);
  CLI::App* group = app.add_subcommand("async-persist", "What waits to be persisted");
  group->require_subcommand(1)->fallthrough();
  CLI::App* list_command = add_command(*group, context, "list", "Show waiting files, the oldest first",
                                       [=, &context] { return list(context, arguments->max); });
  list_command->add_option("--max", arguments->max, "Show at most so many")->check(CLI::Range(1, 10'000));
  CLI::App* stat_command = add_command(*group, context, "stat", "Show one file's place, or the whole queue",
                                       [=, &context] { return stat(context, arguments->path); });
  stat_command->add_option("--path", arguments->path, "Path in the volume; default: the queue");
  CLI::App* retry_command = add_command(*group, context, "retry", "Try again now what backs off",
                                        [=, &context] { return retry(context, arguments->path); });
  retry_command->add_option("--path", arguments->path, "Path in the volume; default: everything");
}

}  // namespace weir::cli
