// daemon/config.h -- where property values come from.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "daemon/properties.h"

namespace weir::daemon {

struct ConfigSources {
  std::string file;                      // YAML, flat or nested; empty: none
  std::vector<std::string> definitions;  // "name=value", of -D
};

// Reads all sources, that of `weir conf set` included. Errors: kNotFound (the file, a property), kInvalid; the message
// names the file and line or the property.
Result<Properties> load_config(const ConfigSources& sources);

// Adds the properties of a YAML text; `where` names it in messages.
Result<void> add_yaml(Properties& properties, std::string_view yaml, std::string_view where, Source source);

// Remembers a value for the next starts, in volume.dir. Crash: the old value or the new one.
Result<void> store_property(const Properties& properties, std::string_view name, std::string_view text);

// Where the daemon of this configuration listens.
std::string admin_socket(const Properties& properties);

}  // namespace weir::daemon
