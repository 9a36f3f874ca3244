#include "base/log.h"

#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>

namespace weir {
namespace {

constexpr const char* kPattern = "%Y-%m-%dT%H:%M:%S.%e%z %^%l%$ %v";
constexpr size_t kOldFilesKept = 3;

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
}

std::shared_ptr<spdlog::logger> make_logger(spdlog::sink_ptr sink, LogLevel level) {
  auto logger = std::make_shared<spdlog::logger>("weir", std::move(sink));
  logger->set_pattern(kPattern);
  logger->set_level(to_spdlog(level));
  logger->flush_on(spdlog::level::debug);
  return logger;
}

std::atomic<std::shared_ptr<spdlog::logger>>& current() {
  static std::atomic<std::shared_ptr<spdlog::logger>> logger{
      make_logger(std::make_shared<spdlog::sinks::stderr_sink_mt>(), LogLevel::kInfo)};
  return logger;
}

void append_value(std::string& line, std::string_view value) {
  if (!value.empty() && value.find_first_of(" \t\n\r\"=\\") == std::string_view::npos) {
    line += value;
    return;
  }
  line += '"';
  for (const char c : value) {
    switch (c) {
      case '"': line += "\\\""; break;
      case '\\': line += "\\\\"; break;
      case '\n': line += "\\n"; break;
      case '\r': line += "\\r"; break;
      case '\t': line += "\\t"; break;
      default: line += c;
    }
  }
  line += '"';
}

}  // namespace

void open_log(const LogOptions& options) {
  spdlog::sink_ptr sink;
  if (options.file.empty()) {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  } else {
    sink = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(options.file, options.file_bytes_max,
                                                                  kOldFilesKept);
  }
  current().store(make_logger(std::move(sink), options.level));
}

void set_log_level(LogLevel level) { current().load()->set_level(to_spdlog(level)); }

bool log_enabled(LogLevel level) { return current().load()->should_log(to_spdlog(level)); }

void log(LogLevel level, std::string_view event, LogFields fields) {
  const auto logger = current().load();
  if (!logger->should_log(to_spdlog(level))) return;
  std::string line{event};
  for (const LogField& field : fields) {
    line += ' ';
    line += field.key;
    line += '=';
    append_value(line, field.text);
  }
  logger->log(to_spdlog(level), "{}", line);
}

}  // namespace weir
