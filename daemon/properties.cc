#include "daemon/properties.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "base/check.h"

namespace weir::daemon {
namespace {

using enum PropertyType;
constexpr auto kAtOnce = Applies::kAtOnce;
constexpr auto kAtStart = Applies::kAtStart;
constexpr auto kSecret = Secret::kYes;

// Read from existing property lists, so that they work as they are.
constexpr std::string_view kNoEffectKnownWriters =
    "Accepted, without effect: the daemon knows every writer of its volume, so none has to be guessed gone.";

constexpr std::array kTable = {
    // the daemon
    Property{"volume.dir", kPath, "/var/lib/weir",
             "Where the volume's metadata, its lock and its control socket are. One daemon at a time."},
    Property{"admin.port", kPort, "19999",
             "Loopback port of /healthz, /metrics and /v1/status, for reading only. 0: a free one, see `weir status`."},
    Property{"admin.socket", kPath, "",
             "The control socket, for root and the daemon's user. Default: weir.sock in volume.dir."},
    Property{"shutdown.grace.period", kDuration, "30s",
             "How long a stopping daemon may take. What waits to be persisted is durable and goes on at the next start."},
    Property{"log.level", kString, "info", "debug, info, warn or error.", kAtOnce},
    Property{"log.file", kPath, "", "Where log lines go; default: standard error. Reopened on SIGHUP."},
    Property{"log.file.size.max", kSize, "64MiB", "A larger log file is rotated; three old ones are kept."},

    // writing
    Property{"write.cache.enabled", kBool, "true", "false: every path is WRITE_THROUGH, whatever the rules say."},
    Property{"async.persist.deadline", kDuration, "60s",
             "No file waits longer for its upload while the under store is healthy."},
    Property{"async.persist.threads", kInteger, "0", "Uploads at once. 0: by cores."},
    Property{"async.persist.bandwidth", kSize, "0", "Bytes per second of all uploads together. 0: no limit."},
    Property{"async.persist.part.size", kSize, "16MiB", "Larger objects are uploaded in parts of this size; at least 5 MiB."},
    Property{"async.persist.parts.in.flight", kInteger, "4", "Parts of one object that are uploaded at once."},
    Property{"worker.write.cache.async.persist.retry.max.interval", kDuration, "1h",
             "Failed uploads are tried again for ever, at growing intervals up to this one."},
    Property{"write.cache.async.file.check.period", kDuration, "10min",
             "How often leftovers of writers and uploads that are gone are looked for."},
    Property{"write.cache.async.check.orphan.timeout", kDuration, "1h",
             "Multipart uploads and parked objects of the volume that nobody needs are removed from the under store once they are older."},
    Property{"worker.mark.writing.files.duration", kDuration, "10min", kNoEffectKnownWriters},

    // the page store
    Property{"worker.page.store.dirs", kList, "", "Folders for local copies, best on NVMe, one on each device. Required."},
    Property{"worker.page.store.size", kSize, "0", "Capacity of all folders together. 0: 80% of the devices."},
    Property{"worker.page.store.page.size", kSize, "1MiB", "Unit of reading from the under store."},
    Property{"worker.page.store.pinned.file.capacity.limit.ratio", kRatio, "0.3",
             "The part of the capacity that files may take which are not persisted. At the limit writes fail with ENOSPC."},
    Property{"page.store.flush.interval", kDuration, "5s",
             "What was written and not synced reaches the disk within this time, content and metadata. 0: when the kernel sees fit."},
    Property{"worker.page.store.soft.mark.ratio", kRatio, "0.8", "Above this part of the limit writers are slowed down."},
    Property{"page.store.scrub.bandwidth", kSize, "64MiB",
             "Bytes per second that `weir scrub` reads of the local files. 0: no limit."},
    Property{"page.store.scrub.period", kDuration, "-1",
             "How often all local files are read by themselves and compared with their checksums. -1: only by `weir scrub`."},

    // metadata
    Property{"metadata.sync.interval", kDuration, "10s",
             "Changes made in the bucket by others are seen after this time. -1: never, 0: at every access."},
    Property{"metadata.block.cache.size", kSize, "64MiB", "Memory for blocks of the metadata store."},
    Property{"metadata.write.buffer.size", kSize, "32MiB", "Memory for one write buffer of the metadata store; there are two."},

    // reading
    Property{"read.ahead.pages", kInteger, "64",
             "MiB fetched ahead of a sequential reader, at most; 0: nothing. What a link of much delay needs: its bytes per second "
             "times the time of a round trip."},
    Property{"read.ahead.requests", kInteger, "8",
             "Requests that fetch ahead at once, of all files together, 1 to 64. Each takes up to 8 MiB of memory."},
    Property{"ufs.timeout", kDuration, "60s", "Of one call to the under store that an application waits for."},

    // the mount
    Property{"fuse.mount.point", kPath, "", "An empty directory to mount the volume on. Default: not mounted."},
    Property{"fuse.passthrough", kSwitch, "auto",
             "The kernel reads and writes complete local files directly. Needs root and Linux 6.9."},
    Property{"fuse.io_uring", kSwitch, "auto",
             "Requests travel over io_uring. Needs Linux 6.14 and fuse's module parameter enable_uring."},
    Property{"fuse.keeper", kBool, "true",
             "The mount outlives the daemon: `weir serve` holds the kernel's connection and starts the daemon proper, again when it "
             "dies or is upgraded."},
    Property{"fuse.atime", kString, "relatime",
             "relatime: opening a file for reading and listing a directory move its access time if that is not after the last change, or "
             "a day old. noatime: reading moves none."},
    Property{"fuse.threads", kInteger, "64", "Threads for requests that do not travel over io_uring, at most."},
    Property{"fuse.silly.rename.interceptor.enabled", kBool, "false",
             "A file that is renamed to .fuse_hidden* while it is open, as layers above do with one they want gone, is kept "
             "off the under store and out of listings, and vanishes with its last close."},

    // the S3 endpoint
    Property{"s3.enabled", kBool, "true", "Serve the volume over the S3 API, too: every mount point is a bucket."},
    Property{"s3.port", kPort, "29998", "Port of the S3 API over plain HTTP. 0: a free one, see `weir status`."},
    Property{"s3.tls.port", kPort, "29996", "The same with TLS; listened on when there is a certificate."},
    Property{"s3.put.durability", kString, "sync",
             "When a PUT is acknowledged where the policy does not say: write, sync or persist. One request says its own with the header "
             "x-weir-durability."},
    Property{"s3.server.address", kString, "127.0.0.1", "Numeric address that is listened on; 0.0.0.0 or :: for all."},
    Property{"s3.server.tls.certificate", kPath, "", "PEM file with the certificate and its chain. Read again on SIGHUP."},
    Property{"s3.server.tls.key", kPath, "", "PEM file with the certificate's key."},
    Property{"s3.server.auth", kString, "keys",
             "keys: requests are signed with an access key, see `weir s3 key`. anonymous: those without a signature may do everything. "
             "any: no signature is looked at. The last two on a loopback address only."},
    Property{"s3.server.region", kString, "", "The region requests must be signed for, besides us-east-1 and auto. Default: any."},
    Property{"s3.server.domains", kString, "",
             "Domains, separated by commas, below which a host names the bucket: BUCKET.DOMAIN. Default: buckets are in paths only."},
    Property{"s3.server.threads", kInteger, "64", "Threads that serve the S3 API."},
    Property{"s3.server.connections.max", kInteger, "1024",
             "Connections to the S3 API. Further ones take the place of idle ones, or wait."},
    Property{"s3.server.idle.timeout", kDuration, "2min", "A connection that is not used for so long is closed."},
    Property{"s3.server.stall.timeout", kDuration, "30s", "A client that moves no byte of a body for so long is cut off."},
    Property{"s3.server.bucket.root", kString, "",
             "s3://BUCKET[/PREFIX] or file:///DIRECTORY below which CreateBucket makes buckets. Default: it is refused."},
    Property{"s3.server.uid", kInteger, "0", "Owner of files and directories that the S3 API makes."},
    Property{"s3.server.gid", kInteger, "0", "Their group."},
    Property{"s3.server.file.permissions", kString, "0644", "Permissions of files that the S3 API makes, octal."},
    Property{"s3.server.directory.permissions", kString, "0755", "Of directories."},
    Property{"s3.server.upload.abandoned.after", kDuration, "7d",
             "Multipart uploads that were neither completed nor aborted for so long are removed."},
    Property{"s3.server.access.log", kPath, "", "A file that gets one line for each S3 request. Default: none."},
    Property{"s3.server.access.log.size.max", kSize, "64MiB", "A larger one is rotated; three old ones are kept."},

    // defaults of every mount point; `weir mount-table add -o key=value` sets them for one
    Property{"s3.endpoint", kString, "", "http://HOST:PORT or https://HOST:PORT. Default: AWS, by region."},
    Property{"s3.region", kString, "us-east-1", "The region that requests are signed for."},
    Property{"s3.access.key", kString, "",
             "Default: AWS_ACCESS_KEY_ID, then the shared credentials file.", kAtStart, kSecret},
    Property{"s3.secret.key", kString, "", "The secret of s3.access.key.", kAtStart, kSecret},
    Property{"s3.session.token", kString, "", "Of temporary credentials.", kAtStart, kSecret},
    Property{"s3.addressing", kString, "auto", "path, virtual, or auto: virtual for AWS, else path."},
    Property{"s3.credentials.file", kPath, "", "Default: AWS_SHARED_CREDENTIALS_FILE, then ~/.aws/credentials."},
    Property{"s3.credentials.profile", kString, "", "Default: AWS_PROFILE, then `default`."},
    Property{"s3.ca.file", kPath, "", "A PEM file of certificates to trust; default: the system's."},
    Property{"s3.tls.verify", kBool, "true", "false: any certificate will do. For tests only."},
    Property{"s3.payload.signing", kString, "auto", "always, never, or auto: where there is no TLS."},
    Property{"s3.connections.max", kInteger, "32", "Connections to the endpoint of one mount point."},
    Property{"s3.connect.timeout", kDuration, "5s", "Of one attempt to connect."},
    Property{"s3.stall.timeout", kDuration, "30s", "A transfer that does not move for so long is tried again."},
};

struct Unit {
  std::string_view name;
  double factor;
};

constexpr double kKib = 1024;
constexpr std::array kSizeUnits = {
    Unit{"", 1},           Unit{"B", 1},
    Unit{"K", kKib},       Unit{"KB", kKib},       Unit{"KiB", kKib},
    Unit{"M", kKib * kKib}, Unit{"MB", kKib * kKib}, Unit{"MiB", kKib * kKib},
    Unit{"G", kKib * kKib * kKib}, Unit{"GB", kKib * kKib * kKib}, Unit{"GiB", kKib * kKib * kKib},
    Unit{"T", kKib * kKib * kKib * kKib}, Unit{"TB", kKib * kKib * kKib * kKib}, Unit{"TiB", kKib * kKib * kKib * kKib},
};
constexpr std::array kDurationUnits = {
    Unit{"ms", 1e6}, Unit{"", 1e6},    Unit{"us", 1e3}, Unit{"ns", 1},    Unit{"s", 1e9},   Unit{"sec", 1e9},
    Unit{"m", 60e9}, Unit{"min", 60e9}, Unit{"h", 3600e9}, Unit{"hour", 3600e9}, Unit{"d", 86400e9}, Unit{"day", 86400e9},
};

bool same_letters(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

// "1.5GiB" in units of factor 1; nullopt when it is no such text or more than an int64 holds.
std::optional<int64_t> parse_quantity(std::string_view text, std::span<const Unit> units) {
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || number < 0) return std::nullopt;
  std::string_view unit(end, text.data() + text.size());
  unit.remove_prefix(std::min(unit.find_first_not_of(' '), unit.size()));
  const auto found = std::ranges::find_if(units, [&](const Unit& u) { return same_letters(u.name, unit); });
  if (found == units.end()) return std::nullopt;
  const double amount = std::round(number * found->factor);
  if (amount >= static_cast<double>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(amount);
}

std::optional<int64_t> parse_size(std::string_view text) { return parse_quantity(text, kSizeUnits); }
std::optional<int64_t> parse_duration(std::string_view text) {
  if (text == "-1") return -1;
  return parse_quantity(text, kDurationUnits);
}

std::optional<uint64_t> parse_integer(std::string_view text) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<double> parse_ratio(std::string_view text) {
  double scale = 1;
  if (text.ends_with('%')) {
    text.remove_suffix(1);
    scale = 0.01;
  }
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  if (error != std::errc{} || end != text.data() + text.size() || text.empty()) return std::nullopt;
  number *= scale;
  if (!(number >= 0 && number <= 1)) return std::nullopt;
  return number;
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> items;
  while (!text.empty()) {
    std::string_view item = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    const size_t first = item.find_first_not_of(' ');
    if (first == std::string_view::npos) continue;
    items.emplace_back(item.substr(first, item.find_last_not_of(' ') - first + 1));
  }
  return items;
}

bool valid(PropertyType type, std::string_view text) {
  switch (type) {
    case kBool: return text == "true" || text == "false";
    case kInteger: return parse_integer(text).has_value();
    case kSize: return parse_size(text).has_value();
    case kDuration: return parse_duration(text).has_value();
    case kRatio: return parse_ratio(text).has_value();
    case kString: return true;
    case kPath: return text.empty() || text.starts_with('/');
    case kList: return std::ranges::all_of(split(text), [](const auto& item) { return item.starts_with('/'); });
    case kPort: return parse_integer(text).value_or(65'536) <= 65'535;
    case kSwitch: return text == "on" || text == "off" || text == "auto";
  }
  return false;
}

std::string_view form_of(PropertyType type) {
  switch (type) {
    case kBool: return "true or false";
    case kInteger: return "a whole number";
    case kSize: return "a size such as 4096, 64KiB or 1.5GiB";
    case kDuration: return "a duration such as 500ms, 10s, 10min or 1h, or -1 for never";
    case kRatio: return "a ratio such as 0.3 or 30%";
    case kString: return "a text";
    case kPath: return "an absolute path";
    case kList: return "absolute paths separated by commas";
    case kPort: return "a port from 0 to 65535";
    case kSwitch: return "on, off or auto";
  }
  return "";
}

// What only one property asks of its value; empty when it is met.
std::string_view special_fault(std::string_view name, std::string_view text) {
  if (name == "log.level" && text != "debug" && text != "info" && text != "warn" && text != "error")
    return "debug, info, warn or error";
  if (name == "s3.payload.signing" && text != "always" && text != "never" && text != "auto")
    return "always, never or auto";
  if (name == "s3.addressing" && text != "path" && text != "virtual" && text != "auto") return "path, virtual or auto";
  if (name == "fuse.atime" && text != "relatime" && text != "noatime") return "relatime or noatime";
  if (name == "s3.put.durability" && text != "write" && text != "sync" && text != "persist") return "write, sync or persist";
  if (name == "s3.server.auth" && text != "keys" && text != "anonymous" && text != "any") return "keys, anonymous or any";
  if (name.ends_with(".permissions") && (text.empty() || text.size() > 4 || text.find_first_not_of("01234567") != std::string_view::npos))
    return "permissions such as 0644";
  if (name == "async.persist.part.size" && parse_size(text).value_or(0) < 5 << 20) return "a size of at least 5MiB";
  if (name == "worker.page.store.page.size") {
    const int64_t size = parse_size(text).value_or(0);
    if (size < 64 << 10 || size > 64 << 20 || (size & (size - 1)) != 0) return "a power of two from 64KiB to 64MiB";
  }
  return {};
}

std::string_view without_old_prefix(std::string_view name) {
  constexpr std::string_view kOldPrefix = "alluxio.";
  if (name.starts_with(kOldPrefix)) name.remove_prefix(kOldPrefix.size());
  return name;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t above = row[j];
      row[j] = std::min({above + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string environment_name(std::string_view name) {
  std::string variable = "WEIR_";
  for (const char c : name)
    variable += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return variable;
}

}  // namespace

std::string_view name_of(PropertyType type) {
  switch (type) {
    case kBool: return "bool";
    case kInteger: return "integer";
    case kSize: return "size";
    case kDuration: return "duration";
    case kRatio: return "ratio";
    case kString: return "text";
    case kPath: return "path";
    case kList: return "paths";
    case kPort: return "port";
    case kSwitch: return "switch";
  }
  return "";
}

std::string_view name_of(Source source) {
  switch (source) {
    case Source::kDefault: return "default";
    case Source::kFile: return "file";
    case Source::kStored: return "stored";
    case Source::kEnvironment: return "environment";
    case Source::kCommandLine: return "command line";
  }
  return "";
}

std::span<const Property> property_table() { return kTable; }

bool is_of_mount_points(const Property& property) {
  constexpr std::array<std::string_view, 4> kOfEndpoint = {"s3.enabled", "s3.port", "s3.tls.port", "s3.put.durability"};
  return property.name.starts_with("s3.") && !property.name.starts_with("s3.server.") &&
         std::ranges::find(kOfEndpoint, property.name) == kOfEndpoint.end();
}

const Property* find_property(std::string_view name) {
  const auto found = std::ranges::find(kTable, without_old_prefix(name), &Property::name);
  return found == kTable.end() ? nullptr : &*found;
}

Result<const Property*> load_property(std::string_view name) {
  if (const Property* property = find_property(name)) return property;
  const auto nearest = std::ranges::min_element(
      kTable, {}, [&](const Property& p) { return edit_distance(without_old_prefix(name), p.name); });
  return fail(ErrorCode::kNotFound, "there is no property \"" + std::string(name) + "\"; did you mean \"" +
                                        std::string(nearest->name) + "\"? `weir conf list` shows all");
}

Result<void> check_value(const Property& property, std::string_view text) {
  std::string_view wanted;
  if (!valid(property.type, text)) wanted = form_of(property.type);
  if (wanted.empty()) wanted = special_fault(property.name, text);
  if (wanted.empty()) return {};
  return fail(ErrorCode::kInvalid, "property " + std::string(property.name) + ": \"" + std::string(text) + "\" is not " +
                                       std::string(wanted));
}

Properties::Properties() {
  for (const Property& property : kTable)
    values_.emplace(property.name, Value{&property, std::string(property.default_text), Source::kDefault});
}

Result<void> Properties::set(std::string_view name, std::string_view text, Source source) {
  TRY_ASSIGN(const Property* property, load_property(name));
  TRY(check_value(*property, text));
  Value& value = values_.find(property->name)->second;
  if (value.source > source) return {};
  value.text = text;
  value.source = source;
  return {};
}

Result<void> Properties::set_from_environment() {
  for (const Property& property : kTable) {
    const char* text = std::getenv(environment_name(property.name).c_str());
    if (text != nullptr) TRY(set(property.name, text, Source::kEnvironment));
  }
  return {};
}

const Properties::Value& Properties::value(std::string_view name) const {
  const auto found = values_.find(without_old_prefix(name));
  CHECK(found != values_.end());
  return found->second;
}

std::vector<Properties::Value> Properties::all() const {
  std::vector<Value> values;
  for (const Property& property : kTable) values.push_back(value(property.name));
  return values;
}

bool Properties::boolean(std::string_view name) const { return text(name) == "true"; }
uint64_t Properties::integer(std::string_view name) const { return parse_integer(text(name)).value_or(0); }
uint64_t Properties::size_bytes(std::string_view name) const {
  return static_cast<uint64_t>(parse_size(text(name)).value_or(0));
}
Duration Properties::duration(std::string_view name) const { return Duration(parse_duration(text(name)).value_or(0)); }
double Properties::ratio(std::string_view name) const { return parse_ratio(text(name)).value_or(0); }
const std::string& Properties::text(std::string_view name) const { return value(name).text; }
std::vector<std::string> Properties::list(std::string_view name) const { return split(text(name)); }

std::string configuration_document() {
  std::string text =
      "# Configuration\n\n"
      "Generated from the table in `daemon/properties.cc` by `weir conf docs`; a test compares the two.\n\n"
      "Properties come from the file given to `weir serve --config`, which is YAML, flat (`admin.port: 19999`) or nested;\n"
      "from `weir conf set`; from the environment (`WEIR_ADMIN_PORT`); and from `-D name=value`. Later ones win. A leading\n"
      "`alluxio.` is ignored. An unknown name or a value of the wrong type stops the start.\n\n"
      "| property | type | default | meaning |\n|---|---|---|---|\n";
  for (const Property& property : kTable) {
    text += "| `" + std::string(property.name) + "` | " + std::string(name_of(property.type)) + " | ";
    if (!property.default_text.empty()) text += "`" + std::string(property.default_text) + "`";
    text += " | " + std::string(property.doc);
    if (property.applies == kAtOnce) text += " Changes at once with `weir conf set`.";
    if (property.secret == kSecret) text += " Never shown.";
    text += " |\n";
  }
  text += "\nTypes:\n\n";
  for (const PropertyType type : {kBool, kInteger, kSize, kDuration, kRatio, kString, kPath, kList, kPort, kSwitch})
    text += "- " + std::string(name_of(type)) + ": " + std::string(form_of(type)) + "\n";
  return text;
}

}  // namespace weir::daemon
