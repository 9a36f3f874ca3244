#include "tests/programs/mirror.h"

#include <dirent.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "net/digest.h"
#include "net/encoding.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDifferencesMax = 20;
constexpr auto kPollInterval = std::chrono::milliseconds(50);
constexpr std::string_view kSymlinkHeader = "weir symlink 1\n";

std::string digest_of(std::string_view bytes) { return net::hex(net::sha256(net::bytes_of(bytes))); }

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << "cannot open " << path << ": " << std::strerror(errno);
  std::stringstream bytes;
  bytes << file.rdbuf();
  return std::move(bytes).str();
}

std::string target_of(const fs::path& path) {
  std::string target(PATH_MAX, '\0');
  const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
  EXPECT_GE(length, 0) << "readlink " << path << ": " << std::strerror(errno);
  target.resize(std::max<ssize_t>(length, 0));
  return target;
}

std::map<std::string, std::string> read_xattrs(const fs::path& path) {
  std::string names(XATTR_LIST_MAX, '\0');
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0 && errno == ENOTSUP) return {};
  EXPECT_GE(length, 0) << "llistxattr " << path << ": " << std::strerror(errno);
  names.resize(std::max<ssize_t>(length, 0));
  std::map<std::string, std::string> xattrs;
  for (const char* name = names.data(); name < names.data() + names.size(); name += std::strlen(name) + 1) {
    if (std::string_view(name).starts_with("user.weir.")) continue;
    std::string value(XATTR_SIZE_MAX, '\0');
    const ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    EXPECT_GE(size, 0) << "lgetxattr " << path << " " << name << ": " << std::strerror(errno);
    value.resize(std::max<ssize_t>(size, 0));
    xattrs[name] = value;
  }
  return xattrs;
}

class TreeReader {
 public:
  explicit TreeReader(fs::path root) : root_(std::move(root)) {}

  Tree read() {
    add("");
    for (auto& [path, entry] : tree_) {
      if (entry.links > 1) entry.first_name = first_names_.at(inodes_.at(path));
    }
    return std::move(tree_);
  }

 private:
  void add(const std::string& relative) {
    const fs::path path = relative.empty() ? root_ : root_ / relative;
    struct stat st {};
    if (::lstat(path.c_str(), &st) != 0) {
      ADD_FAILURE() << "lstat " << path << ": " << std::strerror(errno);
      return;
    }
    TreeEntry entry;
    entry.mode = st.st_mode;
    entry.uid = st.st_uid;
    entry.gid = st.st_gid;
    entry.rdev = st.st_rdev;
    entry.mtime_ns = int64_t{st.st_mtim.tv_sec} * 1'000'000'000 + st.st_mtim.tv_nsec;
    entry.xattrs = read_xattrs(path);
    if (!S_ISDIR(st.st_mode)) {
      entry.links = st.st_nlink;
      entry.size = st.st_size;
      inodes_[relative] = st.st_ino;
      auto& first = first_names_.try_emplace(st.st_ino, relative).first->second;
      first = std::min(first, relative);
    }
    if (S_ISREG(st.st_mode)) entry.content = digest_of(read_file(path));
    if (S_ISLNK(st.st_mode)) entry.content = target_of(path);
    tree_.emplace(relative, std::move(entry));
    if (S_ISDIR(st.st_mode)) add_children(relative, path);
  }

  void add_children(const std::string& relative, const fs::path& path) {
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) {
      ADD_FAILURE() << "opendir " << path << ": " << std::strerror(errno);
      return;
    }
    std::vector<std::string> names;
    while (const dirent* child = ::readdir(directory)) {
      const std::string name = child->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(directory);
    for (const std::string& name : names) add(relative.empty() ? name : relative + "/" + name);
  }

  fs::path root_;
  Tree tree_;
  std::map<std::string, ino_t> inodes_;
  std::map<ino_t, std::string> first_names_;
};

class Report {
 public:
  void add(const std::string& path, const std::string& what) {
    if (++count_ <= kDifferencesMax) text_ += "  " + (path.empty() ? "(the root)" : path) + ": " + what + "\n";
  }
  std::string text() const {
    if (count_ <= kDifferencesMax) return text_;
    return text_ + "  ... and " + std::to_string(count_ - kDifferencesMax) + " more\n";
  }

 private:
  std::string text_;
  size_t count_ = 0;
};

std::string xattr_text(const std::map<std::string, std::string>& xattrs) {
  std::string text;
  for (const auto& [name, value] : xattrs) text += " " + name + "=" + net::hex(net::bytes_of(value)).substr(0, 40);
  return text.empty() ? " none" : text;
}

std::string entry_differences(const TreeEntry& expected, const TreeEntry& actual) {
  std::ostringstream text;
  const auto compare = [&](const char* what, const auto& left, const auto& right) {
    if (left != right) text << " " << what << " " << left << " but is " << right << ",";
  };
  const auto octal = [](mode_t mode) { return fmt::format("{:o}", mode); };
  compare("mode", octal(expected.mode), octal(actual.mode));
  compare("uid", expected.uid, actual.uid);
  compare("gid", expected.gid, actual.gid);
  compare("rdev", expected.rdev, actual.rdev);
  compare("links", expected.links, actual.links);
  compare("first name", expected.first_name, actual.first_name);
  compare("size", expected.size, actual.size);
  compare("mtime", expected.mtime_ns, actual.mtime_ns);
  compare("content", expected.content, actual.content);
  if (expected.xattrs != actual.xattrs) {
    text << " xattrs" << xattr_text(expected.xattrs) << " but are" << xattr_text(actual.xattrs) << ",";
  }
  std::string line = text.str();
  if (!line.empty()) line = "expected" + line.substr(0, line.size() - 1);
  return line;
}

// The objects that mirror the tree, with their sizes.
std::map<std::string, uint64_t> objects_of(const Tree& tree, const std::string& prefix) {
  std::map<std::string, uint64_t> objects;
  for (const auto& [path, entry] : tree) {
    const std::string key = prefix + path;
    if (path.empty()) continue;
    switch (entry.mode & S_IFMT) {
      case S_IFDIR: objects[key + "/"] = 0; break;
      case S_IFREG: objects[key] = entry.size; break;
      case S_IFLNK: objects[key] = kSymlinkHeader.size() + entry.content.size(); break;
      default: objects[key] = 0;
    }
  }
  if (!prefix.empty()) objects[prefix] = 0;
  return objects;
}

std::map<std::string, uint64_t> objects_below(std::map<std::string, uint64_t> objects, const std::string& prefix) {
  std::erase_if(objects, [&](const auto& object) { return !object.first.starts_with(prefix); });
  return objects;
}

std::string object_differences(const std::map<std::string, uint64_t>& expected,
                               const std::map<std::string, uint64_t>& actual) {
  Report report;
  for (const auto& [key, size] : expected) {
    const auto found = actual.find(key);
    if (found == actual.end()) {
      report.add(key, "no such object in the bucket");
    } else if (found->second != size) {
      report.add(key, "object of " + std::to_string(found->second) + " bytes, expected " + std::to_string(size));
    }
  }
  for (const auto& [key, size] : actual) {
    if (!expected.contains(key)) report.add(key, "in the bucket, but not in the tree");
  }
  return report.text();
}

// Empty when nothing waits to be persisted; else what the queue says.
std::string queue_of(const WeirDaemon& daemon) {
  const Ended ended = daemon.weir("async-persist stat --json");
  const auto stats = nlohmann::json::parse(ended.out, nullptr, /*allow_exceptions=*/false);
  if (stats.is_discarded()) return "async-persist stat: " + ended.err;
  if (stats.value("waiting_files", 1) == 0 && stats.value("in_flight", 1) == 0) return {};
  return ended.out + daemon.weir("async-persist list --max 20").out;
}

}  // namespace

Tree read_tree(const fs::path& root) { return TreeReader(root).read(); }

std::string differences(const Tree& expected, const Tree& actual) {
  Report report;
  for (const auto& [path, entry] : expected) {
    const auto found = actual.find(path);
    const std::string line = found == actual.end() ? "missing" : entry_differences(entry, found->second);
    if (!line.empty()) report.add(path, line);
  }
  for (const auto& [path, entry] : actual) {
    if (!expected.contains(path)) report.add(path, "should not be there");
  }
  return report.text();
}

std::string mirror_differences(const WeirDaemon& daemon, TestBucket& bucket, const std::string& prefix,
                               const Tree& tree, Deadline deadline) {
  const auto expected = objects_of(tree, prefix);
  for (;;) {
    std::string differing = queue_of(daemon);
    if (differing.empty()) differing = object_differences(expected, objects_below(bucket.list(), prefix));
    if (differing.empty()) break;
    if (deadline.expired()) return differing;
    std::this_thread::sleep_for(kPollInterval);
  }
  Report report;
  for (const auto& [path, entry] : tree) {
    const std::string key = prefix + path;
    if (S_ISREG(entry.mode) && digest_of(bucket.get(key)) != entry.content) report.add(key, "object has other bytes");
    if (S_ISLNK(entry.mode) && bucket.get(key) != std::string(kSymlinkHeader) + entry.content) {
      report.add(key, "object has another target");
    }
  }
  return report.text();
}

}  // namespace weir::testing
