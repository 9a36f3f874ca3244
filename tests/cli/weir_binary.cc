#include "tests/cli/weir_binary.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

constexpr auto kPollInterval = std::chrono::milliseconds(20);
constexpr auto kStartPatience = std::chrono::seconds(60);
constexpr auto kStopPatience = std::chrono::seconds(60);

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

fs::path make_folder() {
  std::string path = fs::temp_directory_path() / "weir-cli-XXXXXX";
  return ::mkdtemp(path.data());
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

int exit_code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

// Runs `argv` with its output in files; returns the pid.
pid_t spawn(const std::vector<std::string>& command, const fs::path& out, const fs::path& err,
            const Environment& environment) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::dup2(::open("/dev/null", O_RDONLY), 0);
  ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
  ::dup2(out == err ? 1 : ::open(err.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), 2);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::execvp(argv[0], argv.data());
  ::_exit(127);
}

}  // namespace

const fs::path& weir_binary() {
  static const fs::path binary = WEIR_BINARY;
  return binary;
}

std::string mount_obstacle() {
  if (::access("/dev/fuse", R_OK | W_OK) != 0) return "no access to /dev/fuse";
  if (::geteuid() != 0) return "mounting needs root here";
  return {};
}

Ended run_script(const std::string& script, const Environment& environment) {
  const fs::path folder = make_folder();
  const pid_t child = spawn({"bash", "-c", script}, folder / "out", folder / "err", environment);
  int status = 0;
  ::waitpid(child, &status, 0);
  Ended ended{exit_code_of(status), read_file(folder / "out"), read_file(folder / "err")};
  fs::remove_all(folder);
  return ended;
}

WeirDaemon::WeirDaemon() : home_(make_folder()) {
  for (const char* folder : {"volume", "pages", "mnt", "bucket", "bin"}) fs::create_directory(home_ / folder);
  for (const char* name : {"weir", "alluxio"}) fs::create_symlink(weir_binary(), home_ / "bin" / name);
  set("volume.dir", home_ / "volume");
  set("worker.page.store.dirs", home_ / "pages");
  set("worker.page.store.size", "4GiB");
  set("admin.port", "0");
  set("s3.port", "0");
}

WeirDaemon::~WeirDaemon() {
  if (running()) kill();
  unmount_leftover();
  std::error_code ignored;
  fs::remove_all(home_, ignored);
}

void WeirDaemon::unmount_leftover() const {
  while (::umount2(mount_point().c_str(), MNT_DETACH) == 0) {
  }
}

void WeirDaemon::write_config() const {
  std::ofstream file(config());
  for (const auto& [name, value] : properties_) file << name << ": \"" << value << "\"\n";
}

bool WeirDaemon::start() {
  write_config();
  pid_ = spawn({weir_binary(), "serve", "--config", config()}, home_ / "log", home_ / "log", {});
  const Deadline deadline = Deadline::after(kStartPatience);
  while (!deadline.expired()) {
    const bool mounted = !properties_.contains("fuse.mount.point") || weir("status --json").out.contains("\"fuse\"");
    if (mounted && weir("status").exit_code == 0) return true;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return false;
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  return false;
}

Ended WeirDaemon::start_refused(const std::string& arguments) {
  write_config();
  // A daemon that starts all the same must not hold the test up.
  return script("timeout 60 weir serve --config " + quoted(config()) + " " + arguments);
}

void WeirDaemon::kill() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void WeirDaemon::reload() {
  write_config();
  ::kill(pid_, SIGHUP);
}

int WeirDaemon::stop() {
  ::kill(pid_, SIGTERM);
  return wait();
}

int WeirDaemon::wait() {
  const Deadline deadline = Deadline::after(kStopPatience);
  int status = 0;
  while (::waitpid(pid_, &status, WNOHANG) == 0) {
    if (deadline.expired()) {
      kill();
      return -1;
    }
    std::this_thread::sleep_for(kPollInterval);
  }
  pid_ = -1;
  return exit_code_of(status);
}

Ended WeirDaemon::script(const std::string& text) const {
  const char* path = std::getenv("PATH");
  return run_script(text, {{"PATH", (home_ / "bin").string() + ":" + (path == nullptr ? "" : path)},
                           {"WEIR_CONFIG", config()},
                           {"TMPDIR", home_},
                           {"MNT", mount_point()}});
}

bool WeirDaemon::wait_state(const std::string& path, const std::string& state, Duration patience) const {
  const Deadline deadline = Deadline::after(patience);
  while (!deadline.expired()) {
    if ((" " + weir("fs ls -d " + quoted(path)).out).contains(" " + state + " ")) return true;
    std::this_thread::sleep_for(kPollInterval);
  }
  return false;
}

bool WeirDaemon::wait_until(const std::string& text, Duration patience) const {
  const Deadline deadline = Deadline::after(patience);
  while (!deadline.expired()) {
    if (script(text).exit_code == 0) return true;
    std::this_thread::sleep_for(kPollInterval);
  }
  return false;
}

std::string WeirDaemon::log() const { return read_file(home_ / "log"); }

}  // namespace weir::testing
