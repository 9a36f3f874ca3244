#include "tests/semantics/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

namespace weir::testing {
namespace {

std::string failure(const char* call) { return std::string(" ") + call + " fails: " + std::strerror(errno); }

std::string digest(std::string_view bytes) {
  return std::to_string(bytes.size()) + "#" + std::to_string(std::hash<std::string_view>{}(bytes));
}

// Every call is relative to the directory: paths may be longer than one call takes.
class Reader {
 public:
  Reader(std::map<std::string, std::string>& tree, DirectoryTimes times) : tree_(tree), times_(times) {}

  void read(int directory, const std::string& path) {
    DIR* stream = ::fdopendir(::openat(directory, ".", O_RDONLY | O_DIRECTORY));
    if (stream == nullptr) {
      tree_[path] += failure("opendir");
      return;
    }
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(stream)) names.emplace_back(entry->d_name);
    ::closedir(stream);
    for (const std::string& name : names) {
      if (name != "." && name != "..") read_entry(directory, name, path.empty() ? name : path + "/" + name);
    }
  }

 private:
  void read_entry(int directory, const std::string& name, const std::string& path) {
    std::string& line = tree_[path];
    struct stat st {};
    if (::fstatat(directory, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      line += failure("stat");
      return;
    }
    char text[160];
    std::snprintf(text, sizeof text, "mode %o owner %u:%u", st.st_mode, st.st_uid, st.st_gid);
    line += text;
    if (!S_ISDIR(st.st_mode) || times_ == DirectoryTimes::kCompared)
      line += " mtime " + std::to_string(st.st_mtim.tv_sec) + "." + std::to_string(st.st_mtim.tv_nsec);
    if (S_ISLNK(st.st_mode)) {
      char target[4'097];
      const ssize_t size = ::readlinkat(directory, name.c_str(), target, sizeof target);
      line += size < 0 ? failure("readlink") : " -> " + std::string(target, static_cast<size_t>(size));
      return;
    }
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
      line += " rdev " + std::to_string(st.st_rdev);
      return;
    }
    const int fd = ::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
      line += failure("open");
      return;
    }
    line += xattrs_of(fd);
    if (S_ISREG(st.st_mode)) {
      line += " size " + std::to_string(st.st_size) + " content " + content_of(fd);
    } else {
      read(fd, path);
    }
    ::close(fd);
  }

  static std::string content_of(int fd) {
    std::string content;
    std::string buffer(1 << 20, '\0');
    for (;;) {
      const ssize_t size = ::read(fd, buffer.data(), buffer.size());
      if (size < 0) return failure("read");
      if (size == 0) return digest(content);
      content.append(buffer, 0, static_cast<size_t>(size));
    }
  }

  static std::string xattrs_of(int fd) {
    std::string names(64 << 10, '\0');
    const ssize_t listed = ::flistxattr(fd, names.data(), names.size());
    if (listed < 0) return failure("listxattr");
    std::map<std::string, std::string> xattrs;
    for (size_t at = 0; at < static_cast<size_t>(listed); at += std::strlen(&names[at]) + 1) {
      std::string value(64 << 10, '\0');
      const ssize_t size = ::fgetxattr(fd, &names[at], value.data(), value.size());
      xattrs[&names[at]] = size < 0 ? failure("getxattr") : digest(value.substr(0, static_cast<size_t>(size)));
    }
    std::string text;
    for (const auto& [name, value] : xattrs) text += " [" + name + "=" + value + "]";
    return text;
  }

  std::map<std::string, std::string>& tree_;
  const DirectoryTimes times_;
};

}  // namespace

std::map<std::string, std::string> tree_of(const std::filesystem::path& root, DirectoryTimes times) {
  std::map<std::string, std::string> tree;
  const int directory = ::open(root.c_str(), O_RDONLY | O_DIRECTORY);
  if (directory < 0) {
    tree[""] = failure("open");
    return tree;
  }
  Reader(tree, times).read(directory, "");
  ::close(directory);
  return tree;
}

}  // namespace weir::testing
