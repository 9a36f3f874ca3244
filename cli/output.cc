#include "cli/output.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace weir::cli {

std::string size_text(uint64_t bytes) {
  constexpr std::array kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  if (bytes < 1'024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1'024 && unit + 1 < kUnits.size()) {
    value /= 1'024;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, kUnits[unit]);
  return text;
}

std::string time_text(int64_t unix_ns) {
  if (unix_ns <= 0) return "-";
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &local);
  return text;
}

std::string duration_text(int64_t ns) {
  const int64_t seconds = std::max<int64_t>(0, ns / 1'000'000'000);
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3'600) return std::to_string(seconds / 60) + "m " + std::to_string(seconds % 60) + "s";
  return std::to_string(seconds / 3'600) + "h " + std::to_string(seconds % 3'600 / 60) + "m";
}

std::string mode_text(std::string_view type, uint32_t permissions) {
  std::string text = type == "directory"          ? "d"
                     : type == "symlink"          ? "l"
                     : type == "fifo"             ? "p"
                     : type == "socket"           ? "s"
                     : type == "character device" ? "c"
                     : type == "block device"     ? "b"
                                                  : "-";
  for (int shift = 6; shift >= 0; shift -= 3) {
    text += permissions >> shift & 4 ? 'r' : '-';
    text += permissions >> shift & 2 ? 'w' : '-';
    text += permissions >> shift & 1 ? 'x' : '-';
  }
  const auto special = [&](uint32_t bit, size_t at, char on) {
    if (permissions & bit) text[at] = text[at] == 'x' ? on : static_cast<char>(on - 'a' + 'A');
  };
  special(04000, 3, 's');
  special(02000, 6, 's');
  special(01000, 9, 't');
  return text;
}

std::string user_text(uint32_t uid) {
  const passwd* entry = ::getpwuid(uid);
  return entry != nullptr ? entry->pw_name : std::to_string(uid);
}

std::string group_text(uint32_t gid) {
  const group* entry = ::getgrgid(gid);
  return entry != nullptr ? entry->gr_name : std::to_string(gid);
}

std::string table_text(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      line += row[i];
      if (i + 1 < row.size()) line.append(widths[i] - row[i].size() + 2, ' ');
    }
    text += line + '\n';
  }
  return text;
}

void print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void print_json(const nlohmann::ordered_json& json) {
  print(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n');
}

Progress::Progress() : visible_(::isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (width_ > 0) std::fprintf(stderr, "\r%*s\r", static_cast<int>(width_), "");
  width_ = 0;
}

void Progress::show(const std::string& text) {
  constexpr int64_t kIntervalMs = 100;
  const int64_t now_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                             std::chrono::steady_clock::now().time_since_epoch())
                             .count();
  if (!visible_ || now_ms - shown_ms_ < kIntervalMs) return;
  shown_ms_ = now_ms;
  width_ = std::max(width_, text.size());
  std::fprintf(stderr, "\r%-*s", static_cast<int>(width_), text.c_str());
}

}  // namespace weir::cli
