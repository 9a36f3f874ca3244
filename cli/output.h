// cli/output.h -- how the command line writes for people.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace weir::cli {

std::string size_text(uint64_t bytes);              // "1.5 GiB"
std::string time_text(int64_t unix_ns);             // local, "2026-03-01 12:00:00"
std::string duration_text(int64_t ns);              // "3m 20s"
std::string mode_text(std::string_view type, uint32_t permissions);  // "drwxr-xr-x"
std::string user_text(uint32_t uid);
std::string group_text(uint32_t gid);

// Columns as wide as their widest cell; the first row is the head.
std::string table_text(const std::vector<std::vector<std::string>>& rows);

void print(std::string_view text);
void print_json(const nlohmann::ordered_json& json);  // indented

// A line on the terminal that is written over as things go on; silent when standard error is no terminal.
class Progress {
 public:
  Progress();
  ~Progress();  // wipes the line
  Progress(const Progress&) = delete;
  void show(const std::string& text);
  void clear();  // before something else is printed

 private:
  const bool visible_;
  int64_t shown_ms_ = 0;
  size_t width_ = 0;
};

}  // namespace weir::cli
