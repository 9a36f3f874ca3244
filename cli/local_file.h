// cli/local_file.h -- files of this machine that commands read and write.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/outcome.h"

namespace weir::cli {

// The whole file; "-" is standard input.
Outcome<std::string> read_local(const std::string& path, size_t bytes_max);

// A new file of this content in $TMPDIR, readable by this user alone; returns its path.
Outcome<std::string> write_temporary(std::string_view name, std::string_view suffix, std::string_view text);

struct LocalStat {
  uint64_t size = 0;
  uint32_t permissions = 0;
};

// A file being read from start to end; "-" is standard input.
class LocalSource {
 public:
  static Outcome<LocalSource> open(const std::string& path);
  LocalSource(LocalSource&& other) noexcept;
  ~LocalSource();

  const std::optional<LocalStat>& stat() const { return stat_; }  // nullopt: no regular file
  std::optional<size_t> read(std::span<std::byte> buffer);        // 0 at the end, nullopt on an error

 private:
  LocalSource(std::FILE* file, std::optional<LocalStat> stat) : file_(file), stat_(stat) {}
  std::FILE* file_;
  std::optional<LocalStat> stat_;
};

// A file being written. It takes its name when it is complete; "-" is standard output.
class LocalTarget {
 public:
  static Outcome<LocalTarget> create(const std::string& path);
  LocalTarget(LocalTarget&& other) noexcept;
  ~LocalTarget();  // removes what was not committed

  bool write(std::span<const std::byte> bytes);
  Outcome<> commit();

 private:
  LocalTarget(std::FILE* file, std::string path, std::string part) : file_(file), path_(path), part_(part) {}
  std::FILE* file_;
  std::string path_;
  std::string part_;  // empty: standard output
};

bool is_local_directory(const std::string& path);

}  // namespace weir::cli
