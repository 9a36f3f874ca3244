// fsck, scrub, support-bundle.
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <system_error>

#include "cli/context.h"
#include "cli/output.h"

namespace weir::cli {
namespace {

using Json = nlohmann::ordered_json;

struct FsckArguments {
  LocalParts::Check check;
  bool offline = false;
};

// A byte string of an answer, for people.
std::string shown(const Json& item, const char* name) { return item.value(name, ""); }

std::string line_of(const Json& discrepancy) {
  std::string line = shown(discrepancy, "kind") + ":";
  if (discrepancy.contains("path")) line += ' ' + shown(discrepancy, "path");
  if (discrepancy.contains("inode")) line += " (inode " + std::to_string(discrepancy.value("inode", uint64_t{0})) + ")";
  if (discrepancy.contains("key")) line += " object '" + shown(discrepancy, "key") + "'";
  line += ": expected " + shown(discrepancy, "expected") + ", found " + shown(discrepancy, "found");
  if (const std::string remedy = shown(discrepancy, "remedy"); !remedy.empty())
    line += (discrepancy.value("repaired", false) ? "; repaired: " : "; repair: ") + remedy;
  return line + '\n';
}

std::string line_of_summary(const Json& summary) {
  const auto count = [&](const char* name) { return std::to_string(summary.value(name, uint64_t{0})); };
  std::string line = (summary.value("discrepancies", uint64_t{0}) == 0 ? "clean: " : count("discrepancies") + " discrepancies: ") +
                     count("names") + " names, " + count("inodes") + " inodes, " + count("local_files") +
                     " local files, " + count("objects") + " objects; " + count("in_flight") + " in flight";
  if (summary.value("unlisted_objects", uint64_t{0}) != 0) line += ", " + count("unlisted_objects") + " objects not listed yet";
  if (summary.value("hidden_objects", uint64_t{0}) != 0) line += ", " + count("hidden_objects") + " hidden";
  if (summary.value("repaired", uint64_t{0}) != 0) line += "; " + count("repaired") + " repaired";
  return line + '\n';
}

// By the daemon, or in this process when nobody serves the volume.
Outcome<> check_lines(Context& context, const FsckArguments& arguments, const DaemonClient::Line& take) {
  const LocalParts::Check& check = arguments.check;
  if (arguments.offline) {
    const auto checked = context.parts.fsck(context.config, check, [&](std::string_view line) { take(Json::parse(line)); });
    if (!checked) return failed(checked.error());
    return {};
  }
  TRY_ASSIGN(DaemonClient client, context.client());
  net::Query query = {{"path", check.path}};
  if (check.ufs || check.foreign) query.push_back({"ufs", "true"});
  if (check.foreign) query.push_back({"foreign", "true"});
  if (check.dry_run) query.push_back({"dry_run", "true"});
  return client.lines("/v1/fs/check", query, take, check.repair && !check.dry_run ? net::Method::kPost : net::Method::kGet);
}

// What a request that answers by lines came to.
struct Report {
  Json found = Json::array();
  Json summary;
  Json error;

  void take_end(const Json& line) {
    if (line.contains("summary")) summary = line["summary"];
    if (line.contains("error")) error = line["error"];
  }
};

Outcome<> print_report(Context& context, const char* found_name, const Report& report, std::string (*line_of)(const Json&)) {
  const bool complete = !report.summary.is_null();
  if (context.json) {
    Json answer = {{found_name, report.found}};
    if (complete) answer["summary"] = report.summary;
    if (!report.error.is_null()) answer["error"] = report.error;
    print_json(answer);
  } else if (complete) {
    print(line_of(report.summary));
  }
  if (complete) return {};
  const std::string reason = report.error.is_null() ? "the answer broke off" : report.error.value("message", "");
  return std::unexpected(Failure{ExitCode::kIncomplete, "not completed: " + reason});
}

Outcome<> fsck(Context& context, const FsckArguments& arguments) {
  Report report;
  {
    Progress progress;
    const auto take = [&](const Json& line) {
      if (const auto it = line.find("progress"); it != line.end()) {
        progress.show(std::to_string(it->value("names", uint64_t{0})) + " names, " +
                      std::to_string(it->value("objects", uint64_t{0})) + " objects, " +
                      std::to_string(it->value("discrepancies", uint64_t{0})) + " discrepancies");
      } else if (const auto found = line.find("discrepancy"); found != line.end()) {
        if (context.json) {
          report.found.push_back(*found);
        } else {
          progress.clear();
          print(line_of(*found));
        }
      } else {
        report.take_end(line);
      }
    };
    TRY(check_lines(context, arguments, take));
  }
  TRY(print_report(context, "discrepancies", report, line_of_summary));
  if (report.summary.value("discrepancies", uint64_t{0}) != 0) return std::unexpected(Failure{ExitCode::kFailed, ""});
  return {};
}

void add_fsck(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<FsckArguments>(context);
  const auto act = [=, &context]() -> Outcome<> {
    LocalParts::Check& check = arguments->check;
    check.ufs |= check.foreign;
    return fsck(context, *arguments);
  };
  CLI::App* command = add_command(app, context, "fsck",
                                  "Check that metadata, local files and objects agree. "
                                  "Exit code 0: clean, or all repaired, 1: discrepancies, 4: not completed",
                                  act);
  command->add_option("path", arguments->check.path, "This and all below; default: the whole volume");
  command->add_flag("--ufs", arguments->check.ufs, "Compare with the objects in the under store, too");
  command->add_flag("--foreign", arguments->check.foreign,
                    "As --ufs; objects of others that are not shown yet are discrepancies, too");
  CLI::Option* repair = command->add_flag(
      "--repair", arguments->check.repair, "Repair what can be repaired without losing bytes; what has no place goes to lost+found");
  command->add_flag("--dry-run", arguments->check.dry_run, "Say what --repair would do, and do nothing")->needs(repair);
  command->add_flag("--offline", arguments->offline, "In this process, of a volume that nobody serves");
}

struct ScrubArguments {
  bool restart = false;
};

std::string line_of_scrub(const Json& summary) {
  const auto count = [&](const char* name) { return std::to_string(summary.value(name, uint64_t{0})); };
  const auto size = [&](const char* name) { return size_text(summary.value(name, uint64_t{0})); };
  return count("files") + " files, " + size("bytes") + " read, " + size("verified_bytes") + " verified; " + count("dropped_files") +
         " dropped to be fetched again, " + count("quarantined_files") + " quarantined, " + count("unreadable_files") +
         " unreadable, " + count("skipped_files") + " in use\n";
}

Outcome<> scrub(Context& context, const ScrubArguments& arguments) {
  TRY_ASSIGN(DaemonClient client, context.client());
  Report report;
  {
    Progress progress;
    const auto take = [&](const Json& line) {
      if (const auto now = line.find("progress"); now != line.end()) {
        progress.show(size_text(now->value("bytes", uint64_t{0})) + " of " + size_text(now->value("of_bytes", uint64_t{0})));
      } else if (const auto found = line.find("finding"); found != line.end()) {
        report.found.push_back(*found);
        if (context.json) return;
        progress.clear();
        print(shown(*found, "verdict") + ": " + shown(*found, "path") + ": " + shown(*found, "reason") + '\n');
      } else {
        report.take_end(line);
      }
    };
    const net::Query query = arguments.restart ? net::Query{{"restart", "true"}} : net::Query{};
    TRY(client.lines("/v1/scrub", query, take, net::Method::kPost));
  }
  TRY(print_report(context, "findings", report, line_of_scrub));
  const uint64_t lost =
      report.summary.value("quarantined_files", uint64_t{0}) + report.summary.value("unreadable_files", uint64_t{0});
  if (lost != 0) return std::unexpected(Failure{ExitCode::kFailed, ""});
  return {};
}

void add_scrub(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<ScrubArguments>(context);
  CLI::App* command = add_command(app, context, "scrub",
                                  "Read all local files and compare them with their checksums; goes on where the last one was "
                                  "stopped. Exit code 0: nothing is lost, 1: bytes are, 4: not completed",
                                  [=, &context] { return scrub(context, *arguments); });
  command->add_flag("--restart", arguments->restart, "From the first file on");
}

struct BundleArguments {
  std::string file;
};

std::string bundle_name() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char name[64];
  std::strftime(name, sizeof name, "weir-support-%Y%m%dT%H%M%SZ.tar.gz", &parts);
  return name;
}

Outcome<> support_bundle(Context& context, const BundleArguments& arguments) {
  const std::string file = arguments.file.empty() ? bundle_name() : arguments.file;
  std::string archive;
  const auto from_daemon = [&]() -> Outcome<> {
    TRY_ASSIGN(DaemonClient client, context.client());
    TRY_ASSIGN(archive, client.call_text(net::Method::kGet, "/v1/support-bundle"));
    return {};
  };
  const auto served = from_daemon();
  if (!served) {
    auto alone = context.parts.support_bundle(context.config);
    if (!alone) return failed(alone.error());
    archive = *std::move(alone);
  }
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  std::error_code error;
  std::filesystem::permissions(file, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write, error);
  out.write(archive.data(), static_cast<std::streamsize>(archive.size()));
  out.close();
  if (!out) return failed("cannot write " + file);
  if (context.json) {
    print_json(Json{{"file", file}, {"bytes", archive.size()}, {"daemon", served.has_value()}});
  } else {
    print(file + ": " + size_text(archive.size()) +
          (served ? "\n" : ", without what a daemon would tell: " + served.error().message + '\n'));
  }
  return {};
}

void add_support_bundle(CLI::App& app, Context& context) {
  auto* arguments = arguments_of<BundleArguments>(context);
  CLI::App* command = add_command(app, context, "support-bundle",
                                  "Write one archive of what a maintainer asks for: configuration, state, log, machine. No secrets; "
                                  "names of files, buckets and hosts are in it",
                                  [=, &context] { return support_bundle(context, *arguments); });
  command->add_option("-o,--output", arguments->file, "The file; default: weir-support-TIME.tar.gz here");
}

}  // namespace

void add_upkeep_commands(CLI::App& app, Context& context) {
  add_fsck(app, context);
  add_scrub(app, context);
  add_support_bundle(app, context);
}

}  // namespace weir::cli
