#include "fuse/mount_point.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <thread>

#include "base/log.h"
#include "io/errno.h"
#include "io/file.h"

extern char** environ;

namespace weir::fuse {
namespace {

namespace fs = std::filesystem;

// Of proc(5) mountinfo: space, tab, newline and backslash are written as \ooo.
std::string unescape(std::string_view text) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '\\' && i + 3 < text.size() &&
        std::from_chars(&text[i + 1], &text[i + 4], value, 8).ptr == &text[i + 4]) {
      plain += static_cast<char>(value);
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

struct Mounted {
  std::string type;
  uint64_t device = 0;  // st_dev
};

// What is mounted on `path`, the topmost one.
std::optional<Mounted> mounted_on(const std::string& path) {
  std::ifstream table("/proc/self/mountinfo");
  std::optional<Mounted> topmost;
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string id, parent, root, target, field;
    unsigned major_number = 0, minor_number = 0;
    char colon = 0;
    fields >> id >> parent >> major_number >> colon >> minor_number >> root >> target;
    if (unescape(target) != path) continue;
    while (fields >> field && field != "-") {
    }
    if (fields >> field) topmost = Mounted{.type = field, .device = makedev(major_number, minor_number)};
  }
  return topmost;
}

Result<void> run_fusermount(const std::string& path, Unmount how) {
  const char* mode = how == Unmount::kDetach ? "-uzq" : "-uq";
  const char* const arguments[] = {"fusermount3", mode, "--", path.c_str(), nullptr};
  pid_t child = 0;
  const int err = ::posix_spawnp(&child, "fusermount3", nullptr, nullptr, const_cast<char**>(arguments), environ);
  if (err != 0) return fail(io::from_errno(err, "run fusermount3 -u", path));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (!mounted_on(path)) return {};
  return fail(ErrorCode::kBusy, "fusermount3 -u " + path + ": in use");
}

// Whether nothing serves the mount on `path` any more. The attributes of its root may still be in the kernel's cache, so
// the file system itself is asked. While a killed server's rings are taken down, requests come back cancelled.
bool is_dead_mount(const std::string& path) {
  const Deadline deadline = Deadline::after(std::chrono::seconds(5));
  for (;;) {
    struct statx ignored;
    if (::statx(AT_FDCWD, path.c_str(), AT_STATX_FORCE_SYNC, STATX_BASIC_STATS, &ignored) == 0) return false;
    if (errno == ENOTCONN) return true;
    if ((errno != ECANCELED && errno != ECONNABORTED) || deadline.expired()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

Result<void> remove_dead_mount(const std::string& path) {
  log_warn("fuse.dead_mount_removed", {{"mount_point", path}});
  return unmount_path(path, Unmount::kDetach);
}

}  // namespace

Result<std::string> prepare_mount_point(const std::string& path) {
  std::error_code ignored;
  // The directory itself is not touched before it is known what is mounted there: a dead mount answers nothing.
  const fs::path absolute = fs::absolute(path, ignored).lexically_normal();
  const fs::path leaf = absolute.has_filename() ? absolute : absolute.parent_path();
  std::string target = (fs::canonical(leaf.parent_path(), ignored) / leaf.filename()).string();
  if (ignored) target = leaf.string();

  if (const auto mounted = mounted_on(target); mounted && mounted->type == "fuse.weir" && is_dead_mount(target))
    TRY(remove_dead_mount(target));
  struct stat st {};
  if (::stat(target.c_str(), &st) != 0) {
    return fail(io::from_errno(errno, "mount point", target).wrap("it must be an existing, empty directory"));
  }
  if (!S_ISDIR(st.st_mode)) return fail(ErrorCode::kNotDirectory, "mount point " + target + " is not a directory");
  target = fs::canonical(target, ignored).string();
  if (const auto mounted = mounted_on(target); mounted && mounted->type.starts_with("fuse")) {
    return fail(ErrorCode::kBusy, "a file system (" + mounted->type + ") is mounted on " + target +
                                      "; way out: another mount point, or umount " + target);
  }
  if (!fs::is_empty(target, ignored)) {
    return fail(ErrorCode::kNotEmpty, "mount point " + target +
                                          " is not empty: its files would be hidden; way out: an empty directory");
  }
  return target;
}

Result<void> unmount_path(const std::string& path, Unmount how) {
  const int flags = UMOUNT_NOFOLLOW | (how == Unmount::kDetach ? MNT_DETACH : 0);
  if (::umount2(path.c_str(), flags) == 0) return {};
  switch (errno) {
    case EINVAL:  // not a mount point (any more)
    case ENOENT: return {};
    case EPERM: return run_fusermount(path, how);
    default: return fail(io::from_errno(errno, "umount", path));
  }
}

Result<uint64_t> device_mounted_on(const std::string& path) {
  const auto mounted = mounted_on(path);
  if (!mounted) return fail(ErrorCode::kNotFound, "nothing is mounted on " + path);
  return mounted->device;
}

void abort_connection(uint64_t device) {
  const std::string path = "/sys/fs/fuse/connections/" + std::to_string(minor(device)) + "/abort";
  const auto control = io::File::open(path, {.access = io::Access::kWrite});
  if (control) (void)control->write_at(0, std::string_view("1"));
}

void set_kernel_read_ahead(uint64_t device, uint64_t bytes) {
  const std::string path =
      "/sys/class/bdi/" + std::to_string(major(device)) + ':' + std::to_string(minor(device)) + "/read_ahead_kb";
  const auto control = io::File::open(path, {.access = io::Access::kWrite});
  if (control) (void)control->write_at(0, std::to_string(bytes >> 10));
}

bool has_sys_admin() {
  constexpr unsigned kSysAdmin = 21;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (!line.starts_with("CapEff:")) continue;
    return (std::stoull(line.substr(7), nullptr, 16) >> kSysAdmin & 1) != 0;
  }
  return false;
}

}  // namespace weir::fuse
