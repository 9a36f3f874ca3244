#include "s3/access_log.h"

#include <memory>

#include "base/log.h"
#include "io/directory.h"
#include "net/encoding.h"

namespace weir::s3 {
namespace {

std::string field(std::string_view text) { return text.empty() ? std::string("-") : net::uri_encode_path(text); }

}  // namespace

Result<std::unique_ptr<AccessLog>> AccessLog::open(std::string path, uint64_t file_bytes_max) {
  std::unique_ptr<AccessLog> log(new AccessLog(std::move(path), file_bytes_max));
  if (!log->path_.empty()) TRY(log->reopen());
  return log;
}

Result<void> AccessLog::reopen() {
  TRY_ASSIGN(file_, io::File::open(path_, {.access = io::Access::kWrite, .create = io::Create::kIfAbsent, .mode = 0640}));
  TRY_ASSIGN(const io::FileStat stat, file_.stat());
  file_bytes_ = stat.size_bytes;
  return {};
}

void AccessLog::add(const AccessLogEntry& entry) {
  if (path_.empty()) return;
  std::string line = net::iso_date(entry.time);
  for (const std::string_view text : {entry.client, entry.request_id, entry.key_id, entry.operation}) (line += ' ') += text.empty() ? "-" : text;
  (line += ' ') += field(entry.bucket);
  (line += ' ') += field(entry.key);
  (line += ' ') += std::to_string(entry.status);
  (line += ' ') += entry.code.empty() ? "-" : entry.code;
  for (const uint64_t number : {entry.bytes_in, entry.bytes_out}) (line += ' ') += std::to_string(number);
  (line += ' ') += std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(entry.took).count());
  line += '\n';
  const std::lock_guard lock(mutex_);
  // A disk that takes no lines costs lines, not memory.
  if (buffer_.size() + line.size() > kBufferBytesMax) (void)write_buffer();
  if (buffer_.size() + line.size() <= kBufferBytesMax) buffer_ += line;
}

void AccessLog::flush() {
  const std::lock_guard lock(mutex_);
  const auto written = write_buffer();
  if (!written && !failing_) log_error("s3.access_log_failed", {{"file", path_}, {"error", written.error()}});
  failing_ = !written.has_value();
}

Result<void> AccessLog::write_buffer() {
  if (buffer_.empty()) return {};
  if (!file_.valid()) TRY(reopen());
  if (file_bytes_ != 0 && file_bytes_ + buffer_.size() > file_bytes_max_) TRY(rotate());
  TRY(file_.write_at(file_bytes_, buffer_));
  file_bytes_ += buffer_.size();
  buffer_.clear();
  return {};
}

Result<void> AccessLog::rotate() {
  const size_t slash = path_.rfind('/');
  TRY_ASSIGN(const io::Directory directory, io::Directory::open(path_.substr(0, slash + 1)));
  const std::string name = path_.substr(slash + 1);
  for (int i = kOldFiles; i > 0; --i) {
    const std::string from = i == 1 ? name : name + '.' + std::to_string(i - 1);
    const auto moved = directory.rename(from.c_str(), directory, (name + '.' + std::to_string(i)).c_str(), io::Replace::kReplace);
    if (!moved && moved.error() != ErrorCode::kNotFound) return moved;
  }
  return reopen();
}

}  // namespace weir::s3
