#include "daemon/admin_api.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <variant>

#include "base/log.h"
#include "daemon/api_reply.h"
#include "daemon/fsck_lines.h"
#include "daemon/line_reply.h"
#include "daemon/metrics.h"
#include "daemon/support_bundle.h"

namespace weir::daemon {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kDocumentBytesMax = 1 << 20;
constexpr size_t kQueueItemsMax = 10'000;

Error missing(std::string_view parameter) {
  return Error(ErrorCode::kInvalid, "parameter \"" + std::string(parameter) + "\" is missing");
}

Json json_of(const Properties::Value& value) {
  Json json;
  json["name"] = value.property->name;
  json["value"] = value.property->secret == Secret::kYes && !value.text.empty() ? "******" : value.text;
  json["default"] = value.property->default_text;
  json["source"] = name_of(value.source);
  json["type"] = name_of(value.property->type);
  json["description"] = value.property->doc;
  return json;
}

Json json_of(const meta::PathRule& rule) {
  Json json;
  if (!rule.path.empty()) json["path"] = rule.path;
  json["description"] = rule.description;
  json["policyMode"] = meta::name_of(rule.policy);
  json["properties"]["writeReplicas"] = rule.write_replicas;
  return json;
}

Json json_of(const persist::QueueItem& item) {
  Json json;
  add_bytes(json, "path", item.path);
  json["state"] = meta::name_of(item.state);
  json["phase"] = persist::name_of(item.phase);
  json["urgent"] = item.urgent;
  json["size"] = item.size_bytes;
  json["uploaded_bytes"] = item.uploaded_bytes;
  json["dirty_since_ns"] = item.dirty_since_ns;
  json["next_try_ns"] = item.next_try_ns;
  json["attempts"] = item.attempts;
  json["last_error"] = item.last_error;
  json["refused"] = item.refused;
  json["inode"] = item.inode.value();
  return json;
}

Json json_of(const persist::PersistStats& stats) {
  Json json;
  json["waiting_files"] = stats.waiting_files;
  json["waiting_bytes"] = stats.waiting_bytes;
  json["oldest_age_ns"] = stats.oldest_age_ns;
  json["in_flight"] = stats.in_flight;
  json["persisted_files"] = stats.persisted_files;
  json["persisted_bytes"] = stats.persisted_bytes;
  json["copied_files"] = stats.copied_files;
  json["erased_objects"] = stats.erased_objects;
  json["conflicts"] = stats.conflicts;
  json["errors_unavailable"] = stats.errors_unavailable;
  json["errors_denied"] = stats.errors_denied;
  json["errors_other"] = stats.errors_other;
  return json;
}

Json json_of(const volume::Volume::MountPoint& mount) {
  Json json;
  add_bytes(json, "path", mount.path);
  json["uri"] = mount.uri;
  json["reachable"] = mount.reachable;
  json["refused"] = mount.refused;
  json["error"] = mount.error;
  json["properties"] = mount.properties;
  json["conditional_put"] = mount.capabilities.conditional_put;
  return json;
}

Json json_of(const persist::LeftToDo& left) {
  return {{"files", left.files},
          {"bytes", left.bytes},
          {"erasures", left.erasures},
          {"moved_directories", left.moved_directories},
          {"removals", left.removals}};
}

Json json_of(const FuseMount::Status& status) {
  const auto feature = [](bool on, const std::string& reason) {
    Json json;
    json["on"] = on;
    if (!on) json["reason"] = reason;
    return json;
  };
  Json json;
  json["mount_point"] = status.mount_point;
  json["passthrough"] = feature(status.features.passthrough, status.features.passthrough_reason);
  json["io_uring"] = feature(status.features.io_uring, status.features.io_uring_reason);
  return json;
}

}  // namespace

std::string_view version() { return WEIR_VERSION; }

AdminApi::AdminApi(volume::Volume& volume, FuseMount& mount, LiveConfig& config, KeeperLink* keeper,
                   const Clock& clock, meta::Caller owner)
    : volume_(volume),
      mount_(mount),
      config_(config),
      keeper_(keeper),
      clock_(clock),
      started_(clock.now()),
      files_(volume, owner),
      upkeep_(volume) {}

net::Handler AdminApi::handler(Rights rights) {
  return [this, rights](net::ServerRequest& request) { return handle(request, rights); };
}

struct AdminApi::Route {
  net::Method method;
  std::string_view path;
  Rights needs;
  std::variant<net::ServerResponse (AdminApi::*)(net::ServerRequest&),
               net::ServerResponse (FileRequests::*)(net::ServerRequest&),
               net::ServerResponse (KeyRequests::*)(net::ServerRequest&),
               net::ServerResponse (UpkeepRequests::*)(net::ServerRequest&)>
      answer;
};

const AdminApi::Route AdminApi::kRoutes[] = {
    {net::Method::kGet, "/healthz", Rights::kRead, &AdminApi::health},
    {net::Method::kGet, "/metrics", Rights::kRead, &AdminApi::metrics},
    {net::Method::kGet, "/v1/status", Rights::kRead, &AdminApi::status},
    {net::Method::kGet, "/v1/fs/status", Rights::kFull, &FileRequests::status},
    {net::Method::kGet, "/v1/fs/list", Rights::kFull, &FileRequests::list},
    {net::Method::kGet, "/v1/fs/hidden", Rights::kFull, &FileRequests::hidden},
    {net::Method::kGet, "/v1/fs/content", Rights::kFull, &FileRequests::read},
    {net::Method::kPut, "/v1/fs/content", Rights::kFull, &FileRequests::write},
    {net::Method::kPost, "/v1/fs/copy", Rights::kFull, &FileRequests::copy},
    {net::Method::kPost, "/v1/fs/copy-attributes", Rights::kFull, &FileRequests::copy_attributes},
    {net::Method::kPost, "/v1/fs/directory", Rights::kFull, &FileRequests::make_directory},
    {net::Method::kDelete, "/v1/fs/entry", Rights::kFull, &FileRequests::remove},
    {net::Method::kPost, "/v1/fs/rename", Rights::kFull, &FileRequests::rename},
    {net::Method::kPost, "/v1/fs/persist", Rights::kFull, &FileRequests::persist},
    {net::Method::kPost, "/v1/fs/symlink", Rights::kFull, &FileRequests::make_symlink},
    {net::Method::kGet, "/v1/fs/usage", Rights::kFull, &FileRequests::usage},
    {net::Method::kGet, "/v1/fs/check", Rights::kFull, &FileRequests::check},
    {net::Method::kPost, "/v1/fs/check", Rights::kFull, &FileRequests::check},
    {net::Method::kGet, "/v1/conf", Rights::kFull, &AdminApi::show_config},
    {net::Method::kPut, "/v1/conf", Rights::kFull, &AdminApi::set_config},
    {net::Method::kGet, "/v1/pathconfig", Rights::kFull, &AdminApi::show_rules},
    {net::Method::kPut, "/v1/pathconfig", Rights::kFull, &AdminApi::set_rules},
    {net::Method::kGet, "/v1/pathconfig/test", Rights::kFull, &AdminApi::test_rules},
    {net::Method::kGet, "/v1/async-persist/list", Rights::kFull, &AdminApi::list_waiting},
    {net::Method::kGet, "/v1/async-persist/stat", Rights::kFull, &AdminApi::show_waiting},
    {net::Method::kPost, "/v1/async-persist/retry", Rights::kFull, &AdminApi::retry_waiting},
    {net::Method::kGet, "/v1/async-persist/drain", Rights::kFull, &AdminApi::drain},
    {net::Method::kGet, "/v1/mounts", Rights::kFull, &AdminApi::list_mounts},
    {net::Method::kPost, "/v1/mounts", Rights::kFull, &AdminApi::add_mount},
    {net::Method::kDelete, "/v1/mounts", Rights::kFull, &AdminApi::remove_mount},
    {net::Method::kGet, "/v1/s3/keys", Rights::kFull, &KeyRequests::list},
    {net::Method::kPost, "/v1/s3/keys", Rights::kFull, &KeyRequests::add},
    {net::Method::kDelete, "/v1/s3/keys", Rights::kFull, &KeyRequests::remove},
    {net::Method::kPost, "/v1/fuse/mount", Rights::kFull, &AdminApi::mount_fuse},
    {net::Method::kPost, "/v1/fuse/unmount", Rights::kFull, &AdminApi::unmount_fuse},
    {net::Method::kGet, "/v1/scrub", Rights::kFull, &UpkeepRequests::last_scrub},
    {net::Method::kPost, "/v1/scrub", Rights::kFull, &UpkeepRequests::scrub},
    {net::Method::kGet, "/v1/support-bundle", Rights::kFull, &AdminApi::support_bundle},
    {net::Method::kPost, "/v1/upgrade", Rights::kFull, &AdminApi::upgrade},
};

net::ServerResponse AdminApi::handle(net::ServerRequest& request, Rights rights) {
  bool path_known = false;
  for (const Route& route : kRoutes) {
    if (route.path != request.path) continue;
    path_known = true;
    if (route.method != request.method) continue;
    if (route.needs == Rights::kFull && rights != Rights::kFull)
      return error_reply(Error(ErrorCode::kPermission, "only on the control socket"));
    if (const auto* own = std::get_if<0>(&route.answer)) return (this->**own)(request);
    if (const auto* of_files = std::get_if<1>(&route.answer)) return (files_.**of_files)(request);
    if (const auto* of_keys = std::get_if<2>(&route.answer)) return (keys_.**of_keys)(request);
    return (upkeep_.*std::get<3>(route.answer))(request);
  }
  return error_reply(path_known ? Error(ErrorCode::kNotSupported, "no such method for " + request.path)
                                : Error(ErrorCode::kNotFound, "there is nothing at " + request.path));
}

net::ServerResponse AdminApi::health(net::ServerRequest&) {
  if (mount_.healthy()) return text_reply("ok\n", "text/plain");
  return {.status = 503, .headers = {{"Content-Type", "text/plain"}}, .body = "the volume is not mounted\n"};
}

net::ServerResponse AdminApi::metrics(net::ServerRequest&) {
  const auto server = mount_.server();
  const S3Endpoint* const s3 = s3_;
  const std::chrono::duration<double> uptime = clock_.now() - started_;
  return text_reply(metrics_text({.volume = volume_.statistics(),
                                  .fuse = server == nullptr ? nullptr : &server->statistics(),
                                  .s3 = s3 == nullptr ? nullptr : &s3->server().statistics(),
                                  .s3_connections = s3 == nullptr ? 0 : s3->server().connections(),
                                  .mounts = volume_.mount_points().value_or(std::vector<volume::Volume::MountPoint>{}),
                                  .version = version(),
                                  .uptime_seconds = uptime.count()}),
                    "text/plain; version=0.0.4");
}

net::ServerResponse AdminApi::status(net::ServerRequest&) {
  const volume::VolumeStatistics statistics = volume_.statistics();
  const Properties properties = config_.snapshot();
  Json json;
  json["version"] = version();
  json["pid"] = ::getpid();
  json["uptime_seconds"] = std::chrono::duration_cast<std::chrono::seconds>(clock_.now() - started_).count();
  json["volume_id"] = volume_.id();
  json["volume_dir"] = properties.text("volume.dir");
  json["admin_port"] = admin_port_.load();
  if (keeper_ != nullptr) {
    json["keeper"] = {{"pid", ::getppid()}, {"restarts", keeper_->restarts()}, {"last_end", keeper_->last_end()}};
  }
  if (const auto mounted = mount_.status()) json["fuse"] = json_of(*mounted);
  if (const S3Endpoint* const s3 = s3_) {
    json["s3"] = {{"url", s3->url()}, {"connections", s3->server().connections()}};
    if (const std::string tls = s3->tls_url(); !tls.empty()) json["s3"]["tls_url"] = tls;
  }
  json["mounts"] = Json::array();
  if (const auto mounts = volume_.mount_points())
    for (const auto& mount : *mounts) json["mounts"].push_back(json_of(mount));
  json["persist"] = json_of(statistics.persist);
  const pages::PageStoreUsage& pages = statistics.pages;
  json["page_store"] = {{"capacity_bytes", pages.capacity_bytes},
                        {"used_bytes", pages.used_bytes},
                        {"pinned_bytes", pages.pinned_bytes},
                        {"pinned_limit_bytes", pages.pinned_limit_bytes},
                        {"files", pages.files}};
  json["removals"] = {{"under_way", statistics.trees_being_removed},
                      {"removed_entries", statistics.tree_entries_removed},
                      {"trees", Json::array()}};
  constexpr size_t kTreesShown = 20;
  if (const auto trees = volume_.tree_removals(kTreesShown)) {
    for (const auto& tree : *trees) {
      Json item;
      add_bytes(item, "path", tree.path);
      item["since_ns"] = tree.since_ns;
      item["removed"] = tree.removed;
      json["removals"]["trees"].push_back(std::move(item));
    }
  }
  json["inodes"] = statistics.usage.inodes;
  json["bytes"] = statistics.usage.bytes;
  json["open_files"] = statistics.open_files;
  json["hidden_objects"] = statistics.hidden_objects;
  return json_reply(json);
}

net::ServerResponse AdminApi::show_config(net::ServerRequest& request) {
  const Properties properties = config_.snapshot();
  if (const std::string* name = request.parameter("name")) {
    const auto property = load_property(*name);
    if (!property) return error_reply(property.error());
    return json_reply(json_of(properties.value(*name)));
  }
  Json json;
  json["properties"] = Json::array();
  for (const Properties::Value& value : properties.all()) json["properties"].push_back(json_of(value));
  return json_reply(json);
}

net::ServerResponse AdminApi::set_config(net::ServerRequest& request) {
  const std::string* name = request.parameter("name");
  const std::string* value = request.parameter("value");
  if (name == nullptr || value == nullptr) return error_reply(missing(name == nullptr ? "name" : "value"));
  const auto applies = config_.set(*name, *value);
  if (applies) log_info("config.set", {{"property", *name}});
  return reply_to(applies, [](Applies applies) {
    return Json{{"applies", applies == Applies::kAtOnce ? "at once" : "at the next start"}};
  });
}

net::ServerResponse AdminApi::show_rules(net::ServerRequest&) {
  const auto document = volume_.rules_document();
  if (!document) return error_reply(document.error());
  return text_reply(document->empty() ? volume_.rules()->to_json() : *document, "application/json");
}

net::ServerResponse AdminApi::set_rules(net::ServerRequest& request) {
  const auto set = [&]() -> Result<void> {
    TRY_ASSIGN(const std::string document, request.body.read_all(kDocumentBytesMax));
    return volume_.set_rules_document(document);
  };
  const auto result = set();
  if (result) log_info("pathconfig.updated", {{"rules", volume_.rules()->rules().size()}});
  return reply_to(result);
}

net::ServerResponse AdminApi::test_rules(net::ServerRequest& request) {
  const std::string* path = request.parameter("path");
  if (path == nullptr || !path->starts_with('/')) return error_reply(missing("path"));
  std::string plain = *path;
  while (plain.size() > 1 && plain.ends_with('/')) plain.pop_back();
  const auto rules = volume_.rules();
  Json json;
  add_bytes(json, "path", plain);
  json["rule"] = json_of(rules->match(plain));
  return json_reply(json);
}

net::ServerResponse AdminApi::list_waiting(net::ServerRequest& request) {
  size_t max = kQueueItemsMax;
  if (const std::string* text = request.parameter("max")) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), max);
    if (error != std::errc{} || end != text->data() + text->size())
      return error_reply(Error(ErrorCode::kInvalid, "parameter \"max\" is no number"));
  }
  return reply_to(volume_.persister().list(std::min(max, kQueueItemsMax)), [&](const auto& items) {
    Json json;
    json["items"] = Json::array();
    for (const persist::QueueItem& item : items) json["items"].push_back(json_of(item));
    json["waiting_files"] = volume_.persister().stats().waiting_files;
    return json;
  });
}

net::ServerResponse AdminApi::show_waiting(net::ServerRequest& request) {
  const std::string* path = request.parameter("path");
  if (path == nullptr) {
    Json json = json_of(volume_.persister().stats());
    json["stores"] = stores_away();
    return json_reply(json);
  }
  const auto status = volume_.status(*path);
  if (!status) return error_reply(status.error());
  return reply_to(volume_.persister().item(status->attributes.inode), [&](const auto& item) {
    if (item.has_value()) return json_of(*item);
    Json json;
    add_bytes(json, "path", status->path);
    json["state"] = meta::name_of(status->state);
    json["phase"] = "NONE";
    return json;
  });
}

Json AdminApi::stores_away() {
  Json stores = Json::array();
  const auto mounts = volume_.mount_points();
  if (!mounts) return stores;
  for (const auto& mount : *mounts) {
    if (!mount.error.empty()) stores.push_back(json_of(mount));
  }
  return stores;
}

net::ServerResponse AdminApi::drain(net::ServerRequest& request) {
  constexpr size_t kItemsTold = 20;
  int64_t timeout_ms = -1;
  if (const std::string* text = request.parameter("timeout_ms")) {
    const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), timeout_ms);
    if (error != std::errc{} || end != text->data() + text->size() || timeout_ms < 0)
      return error_reply(Error(ErrorCode::kInvalid, "parameter \"timeout_ms\" is no number"));
  }
  return line_reply([this, timeout_ms](LineReply& lines) -> Result<void> {
    const Deadline deadline = timeout_ms < 0 ? Deadline::never() : Deadline::after(std::chrono::milliseconds(timeout_ms));
    persist::LeftToDo left;
    const auto drained = volume_.persister().drain(deadline, [&](const persist::LeftToDo& now) {
      left = now;
      return lines.progress([&] { return json_of(now); });
    });
    if (drained) return lines.put("drained", Json::object());
    Json why{{"error", json_of(drained.error())}, {"left", json_of(left)}, {"stores", stores_away()}, {"items", Json::array()}};
    if (const auto items = volume_.persister().list(kItemsTold))
      for (const persist::QueueItem& item : *items) why["items"].push_back(json_of(item));
    return lines.put("not_drained", std::move(why));
  });
}

net::ServerResponse AdminApi::retry_waiting(net::ServerRequest& request) {
  const auto retry = [&]() -> Result<void> {
    std::optional<InodeId> inode;
    if (const std::string* path = request.parameter("path")) {
      TRY_ASSIGN(inode, volume_.resolve(*path));
    }
    return volume_.persister().retry(inode);
  };
  return reply_to(retry());
}

net::ServerResponse AdminApi::list_mounts(net::ServerRequest&) {
  return reply_to(volume_.mount_points(), [](const auto& mounts) {
    Json json;
    json["mounts"] = Json::array();
    for (const auto& mount : mounts) json["mounts"].push_back(json_of(mount));
    return json;
  });
}

net::ServerResponse AdminApi::add_mount(net::ServerRequest& request) {
  const std::string* path = request.parameter("path");
  const std::string* uri = request.parameter("uri");
  if (path == nullptr || uri == nullptr) return error_reply(missing(path == nullptr ? "path" : "uri"));
  const auto body = request.body.read_all(kDocumentBytesMax);
  if (!body) return error_reply(body.error());
  std::map<std::string, std::string> properties;
  const auto given = Json::parse(body->empty() ? "{}" : *body, nullptr, /*allow_exceptions=*/false);
  const bool texts = given.is_object() && std::ranges::all_of(given, [](const Json& v) { return v.is_string(); });
  if (!texts) return error_reply(Error(ErrorCode::kInvalid, "the body must be an object of texts"));
  for (const auto& [name, value] : given.items()) properties[name] = value.get<std::string>();
  const auto added = volume_.add_mount(*path, *uri, properties);
  return reply_to(added, [](const auto& mount) { return json_of(mount); });
}

net::ServerResponse AdminApi::remove_mount(net::ServerRequest& request) {
  const std::string* path = request.parameter("path");
  if (path == nullptr) return error_reply(missing("path"));
  const auto removed = volume_.remove_mount(*path);
  return reply_to(removed);
}

net::ServerResponse AdminApi::mount_fuse(net::ServerRequest& request) {
  const std::string* mount_point = request.parameter("mount_point");
  const auto mounted = mount_.mount(mount_point == nullptr ? std::string() : *mount_point);
  if (!mounted) return error_reply(mounted.error());
  const auto status = mount_.status();
  return json_reply(status ? json_of(*status) : Json::object());
}

net::ServerResponse AdminApi::unmount_fuse(net::ServerRequest&) {
  const Duration patience = config_.snapshot().duration("shutdown.grace.period");
  const auto unmounted = mount_.unmount(Deadline::after(patience));
  return reply_to(unmounted);
}

std::string AdminApi::short_check() {
  constexpr Duration kPatience = std::chrono::seconds(30);
  constexpr size_t kDiscrepanciesMax = 1'000;
  const Deadline deadline = Deadline::after(kPatience);
  std::string text;
  size_t told = 0;
  LineReply lines([&](std::string_view line) -> Result<void> {
    if (line.starts_with("{\"progress\"") || ++told > kDiscrepanciesMax) return {};
    text += line;
    return {};
  });
  (void)report_fsck(lines, [&](const volume::FsckListener& listener) {
    return volume_.fsck({}, {.discrepancy = listener.discrepancy,
                             .progress = [&](const volume::FsckSummary&) { return !deadline.expired(); }});
  });
  return text;
}

net::ServerResponse AdminApi::support_bundle(net::ServerRequest& request) {
  const auto make = [&]() -> Result<std::vector<std::byte>> {
    const Properties properties = config_.snapshot();
    BundleSources sources{.properties = properties};
    const auto add = [&](const char* name, const net::ServerResponse& reply) { sources.documents.emplace_back(name, reply.body); };
    net::ServerRequest plain{.method = net::Method::kGet, .path = request.path, .query = {}, .headers = {}, .body = request.body};
    add("status.json", status(plain));
    add("metrics.txt", metrics(plain));
    add("mounts.json", list_mounts(plain));
    add("pathconfig.json", show_rules(plain));
    add("async-persist-stat.json", show_waiting(plain));
    plain.query = {{"max", "1000"}};
    add("async-persist-list.json", list_waiting(plain));
    sources.documents.emplace_back("fsck.jsonl", short_check());
    TRY_ASSIGN(sources.secrets, volume_.mount_secrets());
    std::vector<std::byte> archive;
    TRY(write_support_bundle(sources, [&](std::span<const std::byte> bytes) -> Result<void> {
      archive.insert(archive.end(), bytes.begin(), bytes.end());
      return {};
    }));
    return archive;
  };
  const auto archive = make();
  if (!archive) return error_reply(archive.error());
  return {.headers = {{"Content-Type", "application/gzip"}},
          .body = std::string(reinterpret_cast<const char*>(archive->data()), archive->size())};
}

net::ServerResponse AdminApi::upgrade(net::ServerRequest& request) {
  const std::string* binary = request.parameter("binary");
  if (binary == nullptr) return error_reply(missing("binary"));
  if (keeper_ == nullptr) {
    return error_reply(Error(ErrorCode::kNotSupported,
                             "this daemon has no keeper (fuse.keeper); way out: stop it and start the new binary"));
  }
  if (const auto prepared = keeper_->prepare_upgrade(*binary); !prepared) return error_reply(prepared.error());
  ::kill(::getpid(), kHandOverSignal);
  return reply_to(Result<void>());
}

}  // namespace weir::daemon
