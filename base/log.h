// base/log.h -- structured log lines: an event name, then key=value pairs; values with spaces are quoted.
//
//   log_info("persist.uploaded", {{"path", path}, {"bytes", size}, {"ms", elapsed_ms}});
//
// Threads: all functions may be called concurrently.
#pragma once

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/strong.h"

namespace weir {

enum class LogLevel : uint8_t { kDebug, kInfo, kWarn, kError };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  std::string file;               // empty: stderr
  uint64_t file_bytes_max = 64 << 20;  // rotated beyond; 3 old files are kept
};

// One key=value pair.
struct LogField {
  LogField(std::string_view key, std::string_view value) : key(key), text(value) {}
  LogField(std::string_view key, const char* value) : key(key), text(value) {}
  LogField(std::string_view key, const std::string& value) : key(key), text(value) {}
  LogField(std::string_view key, const Error& error) : key(key), text(error.to_string()) {}
  LogField(std::string_view key, std::integral auto value) : key(key), text(std::to_string(value)) {}
  LogField(std::string_view key, double value) : key(key), text(std::to_string(value)) {}
  template <typename Tag, typename T>
  LogField(std::string_view key, Strong<Tag, T> id) : key(key), text(std::to_string(id.value())) {}

  std::string_view key;
  std::string text;
};

using LogFields = std::initializer_list<LogField>;

// Replaces the process-wide sink; before the first call lines go to stderr at kInfo.
void open_log(const LogOptions& options);
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);
void log(LogLevel level, std::string_view event, LogFields fields);

inline void log_debug(std::string_view event, LogFields fields = {}) { log(LogLevel::kDebug, event, fields); }
inline void log_info(std::string_view event, LogFields fields = {}) { log(LogLevel::kInfo, event, fields); }
inline void log_warn(std::string_view event, LogFields fields = {}) { log(LogLevel::kWarn, event, fields); }
inline void log_error(std::string_view event, LogFields fields = {}) { log(LogLevel::kError, event, fields); }

}  // namespace weir
