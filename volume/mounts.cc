#include "volume/mounts.h"

#include <utility>

#include "base/log.h"
#include "ufs/open_ufs.h"

namespace weir::volume {
namespace {

// Kept among a mount point's properties, not shown.
constexpr std::string_view kCapability = "capability.";

Properties with_capabilities(Properties properties, const ufs::Capabilities& capabilities) {
  const auto put = [&](const char* name, bool value) {
    properties[std::string(kCapability) + name] = value ? "true" : "false";
  };
  put("conditional.put", capabilities.conditional_put);
  put("conditional.copy", capabilities.conditional_copy);
  put("multipart.copy", capabilities.multipart_copy);
  return properties;
}

ufs::Capabilities capabilities_of(const format::Mount& mount) {
  const auto has = [&](const char* name) {
    const auto it = mount.properties().find(std::string(kCapability) + name);
    return it != mount.properties().end() && it->second == "true";
  };
  return {.conditional_put = has("conditional.put"),
          .conditional_copy = has("conditional.copy"),
          .multipart_copy = has("multipart.copy")};
}

Properties properties_of(const format::Mount& mount) {
  Properties properties;
  for (const auto& [name, value] : mount.properties()) {
    if (!name.starts_with(kCapability)) properties[name] = value;
  }
  return properties;
}

bool is_secret(std::string_view name) {
  return name.ends_with("secret.key") || name.ends_with("token") || name.ends_with("password");
}

Properties masked(Properties properties) {
  for (auto& [name, value] : properties) {
    if (is_secret(name)) value = "********";
  }
  return properties;
}

// "/s3" -> "s3"
Result<std::string_view> name_of_mount(std::string_view path) {
  const std::string_view name = path.starts_with('/') ? path.substr(1) : path;
  if (name.empty() || name.find('/') != std::string_view::npos)
    return fail(ErrorCode::kInvalid, "a mount point is a top-level directory such as /s3, not '" + std::string(path) + "'");
  return name;
}

}  // namespace

Mounts::Mounts(meta::Namespace& names, ufs::MountTable& stores, const VolumeOptions& options)
    : names_(names),
      stores_(stores),
      options_(options),
      upload_rate_(std::make_shared<net::TokenBucket>(options.upload_bytes_per_second)) {}

Result<std::shared_ptr<ufs::UnderStore>> Mounts::make_store(std::string_view uri, const Properties& properties) const {
  if (options_.open_store) return options_.open_store(uri, properties);
  ufs::UfsOptions options;
  options.upload_rate = upload_rate_;
  if (uri.starts_with("s3:")) options.properties.insert(options_.ufs_properties.begin(), options_.ufs_properties.end());
  for (const auto& [name, value] : properties) options.properties[name] = value;
  TRY_ASSIGN(auto store, ufs::open_ufs(uri, options));
  return std::shared_ptr<ufs::UnderStore>(std::move(store));
}

Result<void> Mounts::open() {
  TRY_ASSIGN(const auto mounts, names_.mounts());
  for (const format::Mount& mount : mounts) {
    const MountId id(mount.id());
    auto store = make_store(mount.uri(), properties_of(mount));
    if (store.has_value()) {
      stores_.add(id, {*std::move(store), capabilities_of(mount)});
      set_state(id, {.reachable = false, .error = "not reached yet"});
    } else {
      log_error("volume.mount_failed", {{"path", "/" + mount.name()}, {"uri", mount.uri()}, {"error", store.error()}});
      set_state(id, {.reachable = false, .error = store.error().to_string()});
    }
  }
  prober_.emplace(kProbePeriod, [this] { probe_unreachable(); });
  return {};
}

void Mounts::probe_unreachable() {
  const auto mounts = names_.mounts();
  if (!mounts.has_value()) return;
  for (const format::Mount& mount : *mounts) {
    const MountId id(mount.id());
    if (state_of(id).reachable) continue;
    std::shared_ptr<ufs::UnderStore> store = stores_.find(id).store;
    if (!store) {
      auto made = make_store(mount.uri(), properties_of(mount));
      if (!made.has_value()) continue;
      store = *std::move(made);
    }
    const auto capabilities = store->probe(Deadline::after(std::min(options_.ufs_timeout, kProbeTimeout)));
    if (capabilities.has_value()) {
      stores_.add(id, {store, *capabilities});
      log_info("volume.mount_reached", {{"path", "/" + mount.name()}, {"uri", mount.uri()}});
      set_state(id, {.reachable = true, .error = {}});
    } else {
      std::string error = capabilities.error().to_string();
      if (state_of(id).error != error)
        log_error("volume.mount_unreachable", {{"path", "/" + mount.name()}, {"uri", mount.uri()}, {"error", error}});
      set_state(id, {.reachable = false, .error = std::move(error)});
    }
  }
}

Mounts::State Mounts::state_of(MountId mount) const {
  std::lock_guard lock(mutex_);
  const auto it = states_.find(mount);
  return it == states_.end() ? State{} : it->second;
}

void Mounts::set_state(MountId mount, State state) {
  std::lock_guard lock(mutex_);
  states_[mount] = std::move(state);
}

Result<Volume::MountPoint> Mounts::add(std::string_view path, std::string_view uri, const Properties& properties) {
  TRY_ASSIGN(const std::string_view name, name_of_mount(path));
  for (const auto& [property, value] : properties) {
    if (property.starts_with(kCapability)) return fail(ErrorCode::kInvalid, "unknown property '" + property + "'");
  }
  TRY_ASSIGN(auto store, make_store(uri, properties));
  TRY_ASSIGN(const ufs::Capabilities capabilities, store->probe(Deadline::after(options_.ufs_timeout)));
  const Properties kept = with_capabilities(properties, capabilities);
  TRY_ASSIGN(const format::Mount mount, names_.add_mount(name, uri, {kept.begin(), kept.end()}));
  const MountId id(mount.id());
  stores_.add(id, {std::move(store), capabilities});
  set_state(id, {.reachable = true, .error = {}});
  log_info("volume.mount_added", {{"path", path}, {"uri", uri}, {"conditional_put", capabilities.conditional_put}});
  return Volume::MountPoint{.id = id,
                            .path = "/" + std::string(name),
                            .uri = std::string(uri),
                            .properties = masked(properties),
                            .reachable = true,
                            .error = {},
                            .capabilities = capabilities};
}

Result<void> Mounts::remove(std::string_view path, const std::function<void(LocalFileId)>& forget) {
  TRY_ASSIGN(const std::string_view name, name_of_mount(path));
  TRY_ASSIGN(const auto mounts, names_.mounts());
  for (const format::Mount& mount : mounts) {
    if (mount.name() != name) continue;
    TRY(names_.remove_mount(name, forget));
    stores_.remove(MountId(mount.id()));
    std::lock_guard lock(mutex_);
    states_.erase(MountId(mount.id()));
    return {};
  }
  return fail(ErrorCode::kNotFound, "no mount point " + std::string(path));
}

Result<std::vector<std::string>> Mounts::secrets() {
  TRY_ASSIGN(const auto mounts, names_.mounts());
  std::vector<std::string> secrets;
  for (const format::Mount& mount : mounts) {
    for (const auto& [name, value] : mount.properties()) {
      if (is_secret(name) || name.ends_with("access.key")) secrets.push_back(value);
    }
  }
  return secrets;
}

Result<std::vector<Volume::MountPoint>> Mounts::list() {
  TRY_ASSIGN(const auto mounts, names_.mounts());
  std::vector<Volume::MountPoint> points;
  for (const format::Mount& mount : mounts) {
    const MountId id(mount.id());
    State state = state_of(id);
    points.push_back({.id = id,
                      .path = "/" + mount.name(),
                      .uri = mount.uri(),
                      .properties = masked(properties_of(mount)),
                      .reachable = state.reachable,
                      .error = std::move(state.error),
                      .capabilities = stores_.find(id).store ? stores_.find(id).capabilities : capabilities_of(mount)});
  }
  return points;
}

}  // namespace weir::volume
