#include "daemon/live_config.h"

#include "base/log.h"

namespace weir::daemon {
namespace {

LogLevel log_level(const Properties& properties) {
  const std::string& level = properties.text("log.level");
  if (level == "debug") return LogLevel::kDebug;
  if (level == "warn") return LogLevel::kWarn;
  if (level == "error") return LogLevel::kError;
  return LogLevel::kInfo;
}

}  // namespace

LiveConfig::LiveConfig(Properties properties, ConfigSources sources)
    : sources_(std::move(sources)), properties_(std::move(properties)) {}

Properties LiveConfig::snapshot() const {
  std::lock_guard lock(mutex_);
  return properties_;
}

Result<Applies> LiveConfig::set(std::string_view name, std::string_view text) {
  TRY_ASSIGN(const Property* property, load_property(name));
  std::lock_guard lock(mutex_);
  const Source source = properties_.value(name).source;
  if (source > Source::kStored) {
    return fail(ErrorCode::kConflict, "property " + std::string(property->name) + " is fixed by the " +
                                          std::string(name_of(source)) + " of `weir serve`");
  }
  TRY(store_property(properties_, name, text));
  if (property->applies == Applies::kAtStart) return Applies::kAtStart;
  TRY(properties_.set(name, text, Source::kStored));
  set_log_level(log_level(properties_));
  return Applies::kAtOnce;
}

Result<void> LiveConfig::reload() {
  TRY_ASSIGN(const Properties fresh, load_config(sources_));
  std::lock_guard lock(mutex_);
  for (const Properties::Value& value : fresh.all()) {
    const Properties::Value& current = properties_.value(value.property->name);
    if (value.text == current.text) continue;
    if (value.property->applies == Applies::kAtOnce) {
      TRY(properties_.set(value.property->name, value.text, value.source));
    } else {
      log_warn("config.needs_restart", {{"property", value.property->name}});
    }
  }
  open_log_of(properties_);
  return {};
}

void LiveConfig::open_log_of(const Properties& properties) {
  open_log({.level = log_level(properties),
            .file = properties.text("log.file"),
            .file_bytes_max = properties.size_bytes("log.file.size.max")});
}

}  // namespace weir::daemon
