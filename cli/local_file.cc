#include "cli/local_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

namespace weir::cli {

Outcome<LocalSource> LocalSource::open(const std::string& path) {
  std::FILE* file = path == "-" ? stdin : std::fopen(path.c_str(), "rbe");
  if (file == nullptr) return failed("cannot read " + path);
  std::optional<LocalStat> stat;
  struct stat st{};
  if (::fstat(::fileno(file), &st) == 0) {
    if (S_ISDIR(st.st_mode)) {
      std::fclose(file);
      return failed(path + " is a directory");
    }
    if (S_ISREG(st.st_mode) && file != stdin) {
      stat = {.size = static_cast<uint64_t>(st.st_size),
              .permissions = st.st_mode & 07777u};
    }
  }
  return LocalSource(file, stat);
}

LocalSource::LocalSource(LocalSource&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)), stat_(other.stat_) {}
LocalSource::~LocalSource() {
  if (file_ != nullptr && file_ != stdin) std::fclose(file_);
}

std::optional<size_t> LocalSource::read(std::span<std::byte> buffer) {
  const size_t bytes = std::fread(buffer.data(), 1, buffer.size(), file_);
  if (bytes == 0 && std::ferror(file_)) return std::nullopt;
  return bytes;
}

Outcome<std::string> read_local(const std::string& path, size_t bytes_max) {
  TRY_ASSIGN(LocalSource source, LocalSource::open(path));
  std::string text(bytes_max + 1, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const auto bytes = source.read(std::as_writable_bytes(std::span(text).subspan(size)));
    if (!bytes) return failed("cannot read " + path);
    if (*bytes == 0) break;
    size += *bytes;
  }
  if (size > bytes_max) return failed(path + " is over " + std::to_string(bytes_max) + " bytes");
  text.resize(size);
  return text;
}

Outcome<std::string> write_temporary(std::string_view name, std::string_view suffix, std::string_view text) {
  const char* directory = std::getenv("TMPDIR");
  std::string path = directory != nullptr && *directory != '\0' ? directory : "/tmp";
  path += '/' + std::string(name) + "-XXXXXX" + std::string(suffix);
  const int fd = ::mkstemps(path.data(), static_cast<int>(suffix.size()));
  std::FILE* file = fd < 0 ? nullptr : ::fdopen(fd, "w");
  if (file == nullptr) return failed("cannot make a temporary file " + path);
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  if (std::fclose(file) != 0 || !written) return failed("cannot write " + path);
  return path;
}

Outcome<LocalTarget> LocalTarget::create(const std::string& path) {
  if (path == "-") return LocalTarget(stdout, path, "");
  const std::string part = path + ".part-" + std::to_string(::getpid());
  std::FILE* file = std::fopen(part.c_str(), "wbxe");
  if (file == nullptr) return failed("cannot write " + part);
  return LocalTarget(file, path, part);
}

LocalTarget::LocalTarget(LocalTarget&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)), path_(std::move(other.path_)), part_(std::move(other.part_)) {}

LocalTarget::~LocalTarget() {
  if (file_ == nullptr || part_.empty()) return;
  std::fclose(file_);
  ::unlink(part_.c_str());
}

bool LocalTarget::write(std::span<const std::byte> bytes) {
  return std::fwrite(bytes.data(), 1, bytes.size(), file_) == bytes.size();
}

Outcome<> LocalTarget::commit() {
  if (part_.empty()) return std::fflush(file_) == 0 ? Outcome<>() : failed("cannot write the output");
  if (std::fclose(std::exchange(file_, nullptr)) != 0 || std::rename(part_.c_str(), path_.c_str()) != 0) {
    ::unlink(part_.c_str());
    return failed("cannot write " + path_);
  }
  return {};
}

bool is_local_directory(const std::string& path) {
  struct stat st{};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

}  // namespace weir::cli
