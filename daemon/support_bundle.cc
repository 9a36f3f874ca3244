#include "daemon/support_bundle.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/clock.h"
#include "daemon/admin_api.h"
#include "daemon/redactor.h"
#include "daemon/tar_gz.h"
#include "io/directory.h"
#include "io/file.h"

namespace weir::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kLogBytesMax = 4 << 20;   // of the end of each file
constexpr size_t kFactBytesMax = 1 << 20;  // of one file below /proc or /sys

constexpr const char* kFacts[] = {"/etc/os-release",
                                  "/proc/version",
                                  "/proc/uptime",
                                  "/proc/loadavg",
                                  "/proc/meminfo",
                                  "/proc/filesystems",
                                  "/proc/self/status",
                                  "/proc/self/limits",
                                  "/proc/self/io",
                                  "/proc/sys/fs/file-nr",
                                  "/proc/sys/fs/fuse/max_pages_limit",
                                  "/sys/module/fuse/parameters/enable_uring",
                                  "/sys/module/fuse/parameters/max_user_bgreq"};

std::string text_of_file(const char* path) {
  const auto file = io::File::open(path, {});
  if (!file) return "absent\n";
  return file->read_all(kFactBytesMax).value_or("cannot be read\n");
}

std::string tail_of(const std::string& path) {
  const auto file = io::File::open(path, {});
  if (!file) return "";
  const auto stat = file->stat();
  if (!stat) return "";
  std::string text(std::min<uint64_t>(stat->size_bytes, kLogBytesMax), '\0');
  const auto read = file->read_at(stat->size_bytes - text.size(), std::as_writable_bytes(std::span(text)));
  text.resize(read.value_or(0));
  return text;
}

std::string config_text(const Properties& properties) {
  Json json = Json::array();
  for (const Properties::Value& value : properties.all()) {
    const bool hidden = value.property->secret == Secret::kYes && !value.text.empty();
    json.push_back({{"name", value.property->name}, {"value", hidden ? "******" : value.text}, {"source", name_of(value.source)}});
  }
  return json.dump(2) + '\n';
}

// The file systems below the volume's folders, and every mount that FUSE serves.
std::string mounts_text(const Properties& properties) {
  std::vector<std::string> folders = properties.list("worker.page.store.dirs");
  folders.push_back(properties.text("volume.dir"));
  std::string text;
  std::string line;
  for (const char c : text_of_file("/proc/self/mounts")) {
    line += c;
    if (c != '\n') continue;
    const size_t begin = line.find(' ') + 1;
    std::string place = line.substr(begin, line.find(' ', begin) - begin);
    if (!place.ends_with('/')) place += '/';
    const bool below = std::ranges::any_of(folders, [&](const std::string& folder) { return (folder + '/').starts_with(place); });
    if (below || line.find(" fuse") != std::string::npos) text += line;
    line.clear();
  }
  for (const std::string& folder : folders) {
    const auto directory = io::Directory::open(folder);
    const auto space = directory ? directory->space() : fail(directory.error());
    text += folder + ": " + (space ? std::to_string(space->free_bytes) + " of " + std::to_string(space->total_bytes) + " bytes free, " +
                                         std::to_string(space->free_inodes) + " of " + std::to_string(space->total_inodes) + " inodes free"
                                   : space.error().to_string()) + '\n';
  }
  return text;
}

std::string system_text(const Properties& properties) {
  std::string text = "weir " + std::string(version()) + '\n';
  utsname names{};
  if (::uname(&names) == 0)
    text += std::string(names.sysname) + ' ' + names.release + ' ' + names.version + ' ' + names.machine + '\n';
  text += "processors: " + std::to_string(::sysconf(_SC_NPROCESSORS_ONLN)) + ", uid: " + std::to_string(::getuid()) + '\n';
  text += "\n--- mounts\n" + mounts_text(properties);
  for (const char* path : kFacts) text += std::string("\n--- ") + path + '\n' + text_of_file(path);
  return text;
}

}  // namespace

Result<void> write_support_bundle(const BundleSources& sources,
                                  const std::function<Result<void>(std::span<const std::byte>)>& sink) {
  const Properties& properties = sources.properties;
  Redactor redactor(properties);
  redactor.add_file(properties.text("volume.dir") + "/s3.keys");
  redactor.add_file(properties.text("s3.credentials.file"));
  for (const std::string& secret : sources.secrets) redactor.add(secret);

  TarGz archive(sink, unix_ns(system_clock().wall_now()) / 1'000'000'000);
  const auto add = [&](const std::string& name, std::string text) {
    return archive.add("weir-support/" + name, redactor.redact(std::move(text)));
  };
  TRY(add("system.txt", system_text(properties)));
  TRY(add("config.json", config_text(properties)));
  for (const auto& [name, text] : sources.documents) TRY(add(name, text));
  if (sources.documents.empty()) TRY(add("daemon.txt", "no daemon answered\n"));
  if (const std::string& log = properties.text("log.file"); !log.empty()) {
    // As base/log.h rotates: weir.log, weir.1.log, ...
    const size_t dot = log.rfind('.');
    const bool extended = dot != std::string::npos && dot > log.rfind('/') + 1;
    const std::string before = extended ? log.substr(0, dot) + ".1" + log.substr(dot) : log + ".1";
    if (std::string text = tail_of(before); !text.empty()) TRY(add("log.1.txt", std::move(text)));
    TRY(add("log.txt", tail_of(log)));
  } else {
    TRY(add("log.txt", "The log goes to standard error (property log.file): ask the service manager for it.\n"));
  }
  return archive.finish();
}

}  // namespace weir::daemon
