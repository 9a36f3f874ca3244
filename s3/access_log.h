// s3/access_log.h -- one line for each request, in a file of its own.
//
//   time client request-id key-id operation bucket key status error-code bytes-in bytes-out microseconds
//
// Names are percent-encoded, "-" stands for what there is not. Lines are written in batches; those of the last second before a
// crash may be missing.
// Threads: all methods may be called concurrently.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "io/file.h"

namespace weir::s3 {

struct AccessLogEntry {
  WallTime time{};
  std::string_view client;
  std::string_view request_id;
  std::string_view key_id;
  std::string_view operation;
  std::string_view bucket;
  std::string_view key;
  int status = 0;
  std::string_view code;  // of a refusal
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  Duration took{};
};

class AccessLog {
 public:
  // An empty path: no log.
  static Result<std::unique_ptr<AccessLog>> open(std::string path, uint64_t file_bytes_max);
  ~AccessLog() { flush(); }

  void add(const AccessLogEntry& entry);
  // Writes what was added.
  void flush();

 private:
  static constexpr size_t kBufferBytesMax = 1 << 20;
  static constexpr int kOldFiles = 3;

  AccessLog(std::string path, uint64_t file_bytes_max) : path_(std::move(path)), file_bytes_max_(file_bytes_max) {}
  Result<void> reopen();
  Result<void> write_buffer();
  Result<void> rotate();

  const std::string path_;
  const uint64_t file_bytes_max_;
  std::mutex mutex_;  // a leaf
  std::string buffer_;
  io::File file_;
  uint64_t file_bytes_ = 0;
  bool failing_ = false;
};

}  // namespace weir::s3
