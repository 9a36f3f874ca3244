// fs ls, stat, cat, cp, mv, mkdir, rm, du, check-cached, persist.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "cli/context.h"
#include "cli/local_file.h"
#include "cli/output.h"
#include "net/encoding.h"

namespace weir::cli {
namespace {

using Json = nlohmann::ordered_json;
using net::Method;

struct Arguments {
  std::vector<std::string> paths;
  std::string from;
  std::string to;
  bool recursive = false;
  bool directory = false;
  bool hidden = false;
  bool parents = false;
  bool wait = false;
  bool summary = false;
  bool cached = false;
  uint64_t timeout_s = 0;
};

// A path or name exactly as its bytes are.
std::string bytes_of(const Json& item, const std::string& name) {
  if (const auto encoded = item.find(name + "_encoded"); encoded != item.end())
    return net::uri_decode(encoded->get<std::string>());
  return item.value(name, "");
}

bool is_directory(const Json& status) { return status.value("type", "") == "directory"; }

std::string child_path(const std::string& directory, const std::string& name) {
  return directory.ends_with('/') ? directory + name : directory + '/' + name;
}

Outcome<Json> status_of(DaemonClient& client, const std::string& path) {
  auto status = client.call(Method::kGet, "/v1/fs/status", {{"path", path}});
  if (status || status.error().code != ExitCode::kFailed) return status;
  const std::string& reason = status.error().message;
  return failed(path + ": " + (reason == "NOT_FOUND" ? "no such file or directory" : reason));
}

using Visit = std::function<Outcome<>(const Json&)>;

// The entries of one directory, page by page.
Outcome<> each_entry(DaemonClient& client, const std::string& path, const Visit& visit) {
  net::Query query = {{"path", path}};
  for (;;) {
    TRY_ASSIGN(const Json page, client.call(Method::kGet, "/v1/fs/list", query));
    for (const Json& entry : page["entries"]) TRY(visit(entry));
    if (!page.contains("next_encoded")) return {};
    query = {{"path", path}, {"after", net::uri_decode(page["next_encoded"].get<std::string>())}};
  }
}

// Everything below `path`, each directory before what is in it.
Outcome<> each_below(DaemonClient& client, const std::string& path, const Visit& visit) {
  std::vector<std::string> directories = {path};
  while (!directories.empty()) {
    const std::string directory = std::move(directories.back());
    directories.pop_back();
    TRY(each_entry(client, directory, [&](const Json& entry) -> Outcome<> {
      if (is_directory(entry)) directories.push_back(child_path(directory, bytes_of(entry, "name")));
      return visit(entry);
    }));
  }
  return {};
}

std::string line_of(const Json& status) {
  char text[160];
  std::snprintf(text, sizeof text, "%s  %-8s %-8s %12llu  %s  %-13s  ",
                mode_text(status.value("type", ""), status.value("permissions", 0u)).c_str(),
                user_text(status.value("uid", 0u)).c_str(), group_text(status.value("gid", 0u)).c_str(),
                static_cast<unsigned long long>(status.value("size", uint64_t{0})),
                time_text(status.value("mtime_ns", int64_t{0})).c_str(), status.value("state", "").c_str());
  std::string line = text + bytes_of(status, "path");
  if (status.contains("target")) line += " -> " + bytes_of(status, "target");
  return line + '\n';
}

// Prints lines as they come, or all of them as one JSON array at the end.
class Listing {
 public:
  explicit Listing(const Context& context) : json_(context.json) {}
  void add(const Json& status) {
    if (json_) {
      all_.push_back(status);
    } else {
      print(line_of(status));
    }
  }
  void finish() {
    if (json_) print_json(all_);
  }

 private:
  const bool json_;
  Json all_ = Json::array();
};

Outcome<> list_hidden(Context& context, DaemonClient& client, const std::string& path) {
  TRY_ASSIGN(const Json answer, client.call(Method::kGet, "/v1/fs/hidden", {{"path", path}}));
  if (context.json) {
    print_json(answer);
    return {};
  }
  for (const Json& object : answer["objects"])
    print(bytes_of(object, "key") + "  (" + object.value("reason", "") + ")\n");
  return {};
}

Outcome<> ls(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  Listing listing(context);
  const Visit add = [&](const Json& status) -> Outcome<> {
    listing.add(status);
    return {};
  };
  const std::vector<std::string> paths = arguments.paths.empty() ? std::vector<std::string>{"/"} : arguments.paths;
  for (const std::string& path : paths) {
    if (arguments.hidden) {
      TRY(list_hidden(context, client, path));
      continue;
    }
    TRY_ASSIGN(const Json status, status_of(client, path));
    if (!is_directory(status) || arguments.directory) {
      TRY(add(status));
    } else if (arguments.recursive) {
      TRY(each_below(client, path, add));
    } else {
      TRY(each_entry(client, path, add));
    }
  }
  if (!arguments.hidden) listing.finish();
  return {};
}

void print_stat(const Json& status) {
  const uint64_t size = status.value("size", uint64_t{0});
  std::vector<std::vector<std::string>> rows = {
      {"path", bytes_of(status, "path")},
      {"type", status.value("type", "")},
      {"state", status.value("state", "")},
      {"policy", status.value("policy", "")},
      {"size", std::to_string(size)},
      {"cached", std::to_string(status.value("cached_bytes", uint64_t{0}))},
      {"mode", mode_text(status.value("type", ""), status.value("permissions", 0u))},
      {"owner", user_text(status.value("uid", 0u)) + ":" + group_text(status.value("gid", 0u))},
      {"links", std::to_string(status.value("links", 0u))},
      {"inode", std::to_string(status.value("inode", uint64_t{0}))},
      {"modified", time_text(status.value("mtime_ns", int64_t{0}))},
      {"changed", time_text(status.value("ctime_ns", int64_t{0}))}};
  if (status.contains("device")) rows.push_back({"device", status.value("device", "")});
  if (status.contains("target")) rows.push_back({"target", bytes_of(status, "target")});
  rows.push_back({"object", status.contains("home") ? bytes_of(status, "home") : "none"});
  if (status.contains("etag")) rows.push_back({"etag", status.value("etag", "")});
  print(table_text(rows));
}

Outcome<> stat(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  for (const std::string& path : arguments.paths) {
    TRY_ASSIGN(const Json status, status_of(client, path));
    if (context.json) {
      print_json(status);
    } else {
      print_stat(status);
    }
  }
  return {};
}

Outcome<> download(DaemonClient& client, const std::string& from, const std::string& to) {
  Progress progress;
  TRY_ASSIGN(LocalTarget target, LocalTarget::create(to));
  uint64_t bytes = 0;
  TRY(client.download("/v1/fs/content", {{"path", from}}, [&](std::span<const std::byte> piece) {
    bytes += piece.size();
    if (to != "-") progress.show(from + ": " + size_text(bytes));
    return target.write(piece);
  }));
  return target.commit();
}

Outcome<> upload(DaemonClient& client, const std::string& from, const std::string& to) {
  Progress progress;
  TRY_ASSIGN(LocalSource source, LocalSource::open(from));
  net::Query query = {{"path", to}};
  std::optional<uint64_t> size;
  if (source.stat()) {
    char mode[8];
    std::snprintf(mode, sizeof mode, "%o", source.stat()->permissions);
    query.push_back({"mode", mode});
    size = source.stat()->size;
  }
  uint64_t bytes = 0;
  return client.upload("/v1/fs/content", query, size, [&](std::span<std::byte> buffer) {
    const auto piece = source.read(buffer);
    bytes += piece.value_or(0);
    progress.show(to + ": " + size_text(bytes) + (size ? " of " + size_text(*size) : ""));
    return piece;
  });
}

Outcome<> cat(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  for (const std::string& path : arguments.paths) TRY(download(client, path, "-"));
  return {};
}

// A path of this machine: file://..., relative, or - for standard input and output. Nullopt: of the volume.
std::optional<std::string> local_path(const std::string& path) {
  constexpr std::string_view kScheme = "file://";
  if (path.starts_with(kScheme)) return path.substr(kScheme.size());
  if (!path.starts_with('/')) return path;
  return std::nullopt;
}

std::string last_component(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What a recursive copy came to. One file that cannot be copied does not keep the others from it.
class CopyTally {
 public:
  void copied(const std::string& path) {
    ++copied_;
    progress_.show(std::to_string(copied_) + " copied: " + path);
  }
  void skipped(const std::string& path, const std::string& reason) {
    ++skipped_;
    progress_.clear();
    std::fprintf(stderr, "weir: %s: %s\n", path.c_str(), reason.c_str());
  }
  void take(const std::string& path, const Outcome<>& outcome) {
    if (outcome) {
      copied(path);
    } else {
      skipped(path, outcome.error().message);
    }
  }
  Outcome<> finish() const {
    if (skipped_ == 0) return {};
    return failed(std::to_string(skipped_) + " not copied, " + std::to_string(copied_) + " copied");
  }

 private:
  Progress progress_;
  uint64_t copied_ = 0;
  uint64_t skipped_ = 0;
};

std::string octal(uint32_t permissions) {
  char text[8];
  std::snprintf(text, sizeof text, "%o", permissions & 07777);
  return text;
}

// What is there already is what is wanted.
Outcome<> make_directory(DaemonClient& client, const std::string& path, uint32_t permissions) {
  const auto made = client.call(Method::kPost, "/v1/fs/directory", {{"path", path}, {"mode", octal(permissions)}});
  if (made) return {};
  const auto status = client.call(Method::kGet, "/v1/fs/status", {{"path", path}});
  if (status && is_directory(*status)) return {};
  return std::unexpected(made.error());
}

Outcome<> make_symlink(DaemonClient& client, const std::string& path, const std::string& target) {
  TRY(client.call(Method::kPost, "/v1/fs/symlink", {{"path", path}, {"target", target}}));
  return {};
}

// Where `from` goes: into `to` when that is a directory, else it becomes `to`.
Outcome<std::string> volume_target(DaemonClient& client, const std::string& from, const std::string& to) {
  const auto status = client.call(Method::kGet, "/v1/fs/status", {{"path", to}});
  if (!status && status.error().code == ExitCode::kUnreachable) return std::unexpected(status.error());
  if (!status) return to;
  if (!is_directory(*status)) return failed(to + " is there and is no directory");
  return child_path(to, last_component(from));
}

std::string without_slash(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  return path;
}

// An entry of a tree of the volume, and where its copy goes.
struct Copied {
  std::string path;
  std::string type;
  std::string target;
};

// Calls `copy` for everything below `from`, parents first; what fails is told, and the rest goes on.
Outcome<> copy_below(DaemonClient& client, const std::string& from, const std::string& to,
                     const std::function<Outcome<>(const Json& entry, const Copied& copied)>& copy) {
  CopyTally tally;
  TRY(each_below(client, from, [&](const Json& entry) -> Outcome<> {
    const std::string path = bytes_of(entry, "path");
    tally.take(path, copy(entry, {path, entry.value("type", ""), to + path.substr(from.size())}));
    return {};
  }));
  return tally.finish();
}

Outcome<> copy_tree(DaemonClient& client, const Json& top, const std::string& from, const std::string& given) {
  TRY_ASSIGN(const std::string to, volume_target(client, from, given));
  if (to == from || to.starts_with(from + '/')) return failed("cannot copy " + from + " into itself: " + to);
  TRY(make_directory(client, to, top.value("permissions", 0755u)));
  const auto copy_attributes = [&](const std::string& path, const std::string& target) -> Outcome<> {
    TRY(client.call(Method::kPost, "/v1/fs/copy-attributes", {{"path", path}, {"to", target}}));
    return {};
  };
  // A directory's times move with what is made in it, and its mode may keep others out: last, and the inner ones first.
  std::vector<std::pair<std::string, std::string>> directories{{from, to}};
  const auto copied_below = copy_below(client, from, to, [&](const Json& entry, const Copied& copied) -> Outcome<> {
    if (copied.type == "directory") {
      TRY(make_directory(client, copied.target, entry.value("permissions", 0755u)));
      directories.emplace_back(copied.path, copied.target);
      return {};
    }
    if (copied.type == "symlink") {
      TRY(make_symlink(client, copied.target, bytes_of(entry, "target")));
      return copy_attributes(copied.path, copied.target);
    }
    if (copied.type != "file") return failed("a " + copied.type + " is not copied");
    TRY(client.call(Method::kPost, "/v1/fs/copy",
                    {{"path", copied.path}, {"to", copied.target}, {"exact", "true"}, {"attributes", "true"}}));
    return {};
  });
  for (; !directories.empty(); directories.pop_back())
    TRY(copy_attributes(directories.back().first, directories.back().second));
  return copied_below;
}

Outcome<> upload_tree(DaemonClient& client, const std::string& from, const std::string& given) {
  namespace fs = std::filesystem;
  TRY_ASSIGN(const std::string to, volume_target(client, from, given));
  std::error_code error;
  const auto permissions = [&](const fs::path& path) {
    return static_cast<uint32_t>(fs::symlink_status(path, error).permissions());
  };
  TRY(make_directory(client, to, permissions(from)));
  CopyTally tally;
  for (fs::recursive_directory_iterator it(from, error), end; !error && it != end; it.increment(error)) {
    const std::string path = it->path().string();
    const std::string target = to + path.substr(from.size());
    const auto type = it->symlink_status(error).type();
    const auto copy = [&]() -> Outcome<> {
      if (type == fs::file_type::directory) return make_directory(client, target, permissions(path));
      if (type == fs::file_type::symlink)
        return make_symlink(client, target, fs::read_symlink(path, error).string());
      if (type != fs::file_type::regular) return failed("neither file, directory nor symlink: not copied");
      return upload(client, path, target);
    };
    tally.take(path, copy());
  }
  if (error) tally.skipped(from, error.message());
  return tally.finish();
}

Outcome<> download_tree(DaemonClient& client, const std::string& from, const std::string& given) {
  namespace fs = std::filesystem;
  const std::string to = is_local_directory(given) ? child_path(given, last_component(from)) : given;
  const auto make_local = [](const std::string& path) -> Outcome<> {
    std::error_code error;
    fs::create_directory(path, error);
    if (error || !is_local_directory(path)) return failed("cannot make directory " + path + ": " + error.message());
    return {};
  };
  TRY(make_local(to));
  return copy_below(client, from, to, [&](const Json& entry, const Copied& copied) -> Outcome<> {
    if (copied.type == "directory") return make_local(copied.target);
    if (copied.type == "symlink") {
      std::error_code error;
      fs::create_symlink(bytes_of(entry, "target"), copied.target, error);
      return error ? failed("cannot make symlink " + copied.target + ": " + error.message()) : Outcome<>();
    }
    if (copied.type != "file") return failed("a " + copied.type + " is not copied");
    return download(client, copied.path, copied.target);
  });
}

Outcome<> cp(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  const auto local_from = local_path(arguments.from);
  const auto local_to = local_path(arguments.to);
  if (local_from && local_to)
    return std::unexpected(Failure{ExitCode::kUsage, "both paths are of this machine; give one of the volume (/...)"});
  if (local_from) {
    if (is_local_directory(*local_from)) {
      if (!arguments.recursive) return failed(*local_from + " is a directory; give -r to copy it with all below");
      return upload_tree(client, without_slash(*local_from), without_slash(arguments.to));
    }
    const auto status = client.call(Method::kGet, "/v1/fs/status", {{"path", arguments.to}});
    if (!status && status.error().code == ExitCode::kUnreachable) return std::unexpected(status.error());
    const bool into = status && is_directory(*status) && *local_from != "-";
    return upload(client, *local_from, into ? child_path(arguments.to, last_component(*local_from)) : arguments.to);
  }
  TRY_ASSIGN(const Json source, status_of(client, arguments.from));
  if (is_directory(source)) {
    if (!arguments.recursive) return failed(arguments.from + " is a directory; give -r to copy it with all below");
    const std::string from = without_slash(arguments.from);
    if (local_to) return download_tree(client, from, without_slash(*local_to));
    return copy_tree(client, source, from, without_slash(arguments.to));
  }
  if (local_to) {
    const bool into = is_local_directory(*local_to);
    return download(client, arguments.from, into ? child_path(*local_to, last_component(arguments.from)) : *local_to);
  }
  TRY(client.call(Method::kPost, "/v1/fs/copy", {{"path", arguments.from}, {"to", arguments.to}}));
  return {};
}

Outcome<> mv(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  TRY(client.call(Method::kPost, "/v1/fs/rename", {{"path", arguments.from}, {"to", arguments.to}}));
  return {};
}

Outcome<> mkdir(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  for (const std::string& path : arguments.paths) {
    net::Query query = {{"path", path}};
    if (arguments.parents) query.push_back({"parents", "true"});
    TRY(client.call(Method::kPost, "/v1/fs/directory", query));
  }
  return {};
}

Outcome<> rm(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  for (const std::string& path : arguments.paths) {
    net::Query query = {{"path", path}};
    if (arguments.recursive) query.push_back({"recursive", "true"});
    TRY(client.call(Method::kDelete, "/v1/fs/entry", query));
  }
  return {};
}

// What a path with all below it comes to, as the daemon sums it up.
Outcome<Json> usage_of(DaemonClient& client, const std::string& path, bool cached) {
  Progress progress;
  Json usage;
  std::string reason = "the answer broke off";
  net::Query query = {{"path", path}};
  if (cached) query.push_back({"cached", "true"});
  TRY(client.lines("/v1/fs/usage", query, [&](const Json& line) {
    if (line.contains("progress")) {
      progress.show(path + ": " + std::to_string(line["progress"].value("files", uint64_t{0})) + " files");
    } else if (line.contains("usage")) {
      usage = line["usage"];
    } else if (line.contains("error")) {
      reason = line["error"].value("message", "");
    }
  }));
  if (usage.is_null()) return failed(path + ": " + reason);
  Json row = {{"path", path}};
  row.update(usage);
  return row;
}

Outcome<> du(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  Json all = Json::array();
  for (const std::string& path : arguments.paths) {
    TRY_ASSIGN(const Json status, status_of(client, path));
    if (is_directory(status) && !arguments.summary) {
      TRY(each_entry(client, path, [&](const Json& entry) -> Outcome<> {
        if (!is_directory(entry)) return {};
        TRY_ASSIGN(Json row, usage_of(client, bytes_of(entry, "path"), arguments.cached));
        all.push_back(std::move(row));
        return {};
      }));
    }
    TRY_ASSIGN(Json row, usage_of(client, path, arguments.cached));
    all.push_back(std::move(row));
  }
  if (context.json) {
    print_json(all);
    return {};
  }
  std::vector<std::vector<std::string>> rows = {{"FILES", "DIRECTORIES", "SIZE"}};
  if (arguments.cached) rows[0].push_back("CACHED");
  rows[0].push_back("PATH");
  for (const Json& usage : all) {
    const auto count = [&](const char* name) { return usage.value(name, uint64_t{0}); };
    rows.push_back({std::to_string(count("files")), std::to_string(count("directories")), size_text(count("bytes"))});
    if (arguments.cached) rows.back().push_back(size_text(count("cached_bytes")));
    rows.back().push_back(usage.value("path", ""));
  }
  print(table_text(rows));
  return {};
}

Outcome<> check_cached(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  Json all = Json::array();
  const Visit add = [&](const Json& status) -> Outcome<> {
    if (status.value("type", "") != "file") return {};
    const uint64_t size = status.value("size", uint64_t{0});
    const uint64_t cached = status.value("cached_bytes", uint64_t{0});
    const char* word = cached >= size ? "cached" : cached > 0 ? "partly cached" : "not cached";
    if (context.json) {
      Json item = {{"path", status["path"]}, {"size", size}, {"cached_bytes", cached}, {"cached", word}};
      all.push_back(std::move(item));
    } else {
      print(std::string(word) + "  " + bytes_of(status, "path") + "\n");
    }
    return {};
  };
  for (const std::string& path : arguments.paths) {
    TRY_ASSIGN(const Json status, status_of(client, path));
    if (is_directory(status)) {
      TRY(each_below(client, path, add));
    } else {
      TRY(add(status));
    }
  }
  if (context.json) print_json(all);
  return {};
}

// Until the file is persisted, gone, refused or the time is over.
Outcome<> wait_persisted(DaemonClient& client, const std::string& path, Deadline deadline, Progress& progress) {
  constexpr auto kInterval = std::chrono::milliseconds(100);
  for (;;) {
    TRY_ASSIGN(const Json item, client.call(Method::kGet, "/v1/async-persist/stat", {{"path", path}}));
    const std::string state = item.value("state", "");
    if (state == "PERSISTED") return {};
    if (state == "TRANSIENT") return failed(path + " is TRANSIENT: it is never persisted");
    if (state == "QUARANTINED") return failed(path + " is QUARANTINED: its bytes are lost or damaged");
    if (item.value("refused", false)) return failed(path + ": refused: " + item.value("last_error", ""));
    if (deadline.expired()) {
      const std::string error = item.value("last_error", "");
      return failed(path + " is not persisted yet; it stays in the queue" +
                    (error.empty() ? "" : ". Last error: " + error));
    }
    progress.show(path + ": " + size_text(item.value("uploaded_bytes", uint64_t{0})) + " of " +
                  size_text(item.value("size", uint64_t{0})));
    std::this_thread::sleep_for(kInterval);
  }
}

Outcome<> persist(Context& context, const Arguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  const Deadline deadline =
      arguments.timeout_s == 0 ? Deadline::never() : Deadline::after(std::chrono::seconds(arguments.timeout_s));
  std::vector<std::string> asked;
  const auto ask = [&](const std::string& path) -> Outcome<> {
    TRY(client.call(Method::kPost, "/v1/fs/persist", {{"path", path}}));
    asked.push_back(path);
    return {};
  };
  for (const std::string& path : arguments.paths) {
    TRY_ASSIGN(const Json status, status_of(client, path));
    if (is_directory(status)) {
      TRY(each_below(client, path, [&](const Json& below) -> Outcome<> {
        if (is_directory(below) || below.value("state", "") != "NOT_PERSISTED") return {};
        return ask(bytes_of(below, "path"));
      }));
    } else {
      TRY(ask(path));
    }
  }
  if (!arguments.wait) return {};
  Progress progress;
  for (const std::string& path : asked) TRY(wait_persisted(client, path, deadline, progress));
  if (context.json) print_json(Json{{"persisted", asked.size()}});
  return {};
}

}  // namespace

void add_fs_commands(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<Arguments>(context);
  CLI::App* group = app.add_subcommand("fs", "Files and directories of the volume");
  group->require_subcommand(1)->fallthrough();
  const auto add = [&](const char* name, const char* help, Outcome<> (*act)(Context&, const Arguments&)) {
    return add_command(*group, context, name, help, [=, &context] { return act(context, *arguments); });
  };
  const auto take_paths = [&](CLI::App* command) {
    command->add_option("paths", arguments->paths, "Paths in the volume")->required();
  };
  const auto take_two = [&](CLI::App* command, const char* kind) {
    command->add_option("from", arguments->from, kind)->required();
    command->add_option("to", arguments->to, kind)->required();
  };

  CLI::App* list = add("ls", "List files: mode, owner, size, time, state, path", ls);
  list->add_option("paths", arguments->paths, "Paths in the volume; default: /");
  list->add_flag("-R,--recursive", arguments->recursive, "And all below");
  list->add_flag("-d,--directory", arguments->directory, "Directories themselves, not what is in them");
  list->add_flag("--hidden", arguments->hidden, "Objects of the under store that no path can show");
  take_paths(add("stat", "Show all that is known of files", stat));
  take_paths(add("cat", "Write files to standard output", cat));
  CLI::App* copy = add("cp", "Copy a file, or a directory with all below it", cp);
  copy->add_flag("-r,-R,--recursive", arguments->recursive, "Directories with all below");
  take_two(copy, "/PATH in the volume; file://PATH, a relative path or - of this machine");
  take_two(add("mv", "Rename a file or directory", mv), "Path in the volume");
  CLI::App* make = add("mkdir", "Make directories", mkdir);
  make->add_flag("-p,--parents", arguments->parents, "And those above; no error for what is there");
  take_paths(make);
  CLI::App* remove = add("rm", "Remove files and empty directories", rm);
  remove->add_flag("-r,-R,--recursive", arguments->recursive, "Directories with all below, in one step; their space and objects follow behind");
  take_paths(remove);
  CLI::App* usage = add("du", "Sum up files and their sizes: of each directory, and of all below the path", du);
  usage->add_flag("-s,--summarize", arguments->summary, "The sum alone");
  usage->add_flag("--cached", arguments->cached, "And what of them is cached here");
  take_paths(usage);
  take_paths(add("check-cached", "Tell which files are cached here", check_cached));
  CLI::App* persist_command = add("persist", "Persist files now, before others", persist);
  persist_command->add_flag("-w,--wait", arguments->wait, "Return when they are persisted");
  persist_command->add_option("--timeout", arguments->timeout_s, "Wait at most so many seconds");
  take_paths(persist_command);
}

}  // namespace weir::cli
