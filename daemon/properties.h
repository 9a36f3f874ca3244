// daemon/properties.h -- every property: its name, type, default and meaning, in one table.
//
// A leading "alluxio." of a name is ignored. Values come from four places, later ones win: the table's default, the
// configuration file, what `weir conf set` stored, the environment (write.cache.enabled is WEIR_WRITE_CACHE_ENABLED), -D.
// Threads: a Properties may be read concurrently.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace weir::daemon {

enum class PropertyType : uint8_t {
  kBool,      // true, false
  kInteger,   // a whole number, not negative
  kSize,      // bytes: 4096, 64KiB, 1.5GiB; KB, MB, ... are the same powers of 1024
  kDuration,  // 500ms, 10s, 10min, 1h, 2d; -1: never
  kRatio,     // 0.3, 30%
  kString,
  kPath,      // absolute
  kList,      // paths, separated by commas
  kPort,      // 0 to 65535
  kSwitch,    // on, off, auto
};
std::string_view name_of(PropertyType type);

enum class Applies : uint8_t { kAtOnce, kAtStart };
enum class Secret : uint8_t { kNo, kYes };

struct Property {
  std::string_view name;
  PropertyType type;
  std::string_view default_text;  // empty: none
  std::string_view doc;
  Applies applies = Applies::kAtStart;
  Secret secret = Secret::kNo;
};

std::span<const Property> property_table();

// Whether it is a default of every mount point, which `mount-table add -o` may set for one.
bool is_of_mount_points(const Property& property);

// Null when there is none of this name.
const Property* find_property(std::string_view name);
// kNotFound naming the property and the nearest name that exists.
Result<const Property*> load_property(std::string_view name);

// kInvalid naming the property, its type and what such a value looks like.
Result<void> check_value(const Property& property, std::string_view text);

enum class Source : uint8_t { kDefault, kFile, kStored, kEnvironment, kCommandLine };
std::string_view name_of(Source source);

class Properties {
 public:
  struct Value {
    const Property* property = nullptr;
    std::string text;
    Source source = Source::kDefault;
  };

  // All defaults.
  Properties();

  // kNotFound for an unknown name, kInvalid for an ill-typed value. A value of an earlier source does not replace one
  // of a later source.
  Result<void> set(std::string_view name, std::string_view text, Source source);
  // Every variable that names a property: WEIR_ and its name in capitals, '_' for '.'.
  Result<void> set_from_environment();

  // Requires: the property exists.
  const Value& value(std::string_view name) const;
  // In the order of the table.
  std::vector<Value> all() const;

  // The property must exist and be of the type; the text is valid by construction.
  bool boolean(std::string_view name) const;
  uint64_t integer(std::string_view name) const;
  uint64_t size_bytes(std::string_view name) const;
  Duration duration(std::string_view name) const;
  double ratio(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  std::vector<std::string> list(std::string_view name) const;

 private:
  std::map<std::string, Value, std::less<>> values_;
};

// docs/configuration.md.
std::string configuration_document();

}  // namespace weir::daemon
