#include "daemon/instance_lock.h"

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "io/directory.h"

namespace weir::daemon {

namespace {

constexpr size_t kPidBytesMax = 64;
// A process is seen neither killed nor without memory for a moment on its way.
constexpr Duration kSureAfter = std::chrono::milliseconds(200);
constexpr Duration kDeathMax = std::chrono::seconds(5);
constexpr Duration kPollPeriod = std::chrono::milliseconds(5);

std::string pid_in(const io::File& file) {
  std::string pid = file.read_all(kPidBytesMax).value_or("");
  if (pid.ends_with('\n')) pid.pop_back();
  return pid;
}

// The process was killed and has not let go of everything yet: its main thread ended before others, it has no memory any more, or
// SIGKILL waits for it.
bool is_dying(const std::string& pid) {
  constexpr unsigned long kKilled = 1ul << (SIGKILL - 1);
  std::ifstream status("/proc/" + pid + "/status");
  bool has_memory = false;
  bool killed = false;
  std::string state;
  long threads = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("State:")) state = line.substr(6);
    if (line.starts_with("Threads:")) threads = std::strtol(line.c_str() + 8, nullptr, 10);
    if (line.starts_with("VmSize:")) has_memory = true;
    if (line.starts_with("SigPnd:") || line.starts_with("ShdPnd:"))
      killed = killed || (std::strtoul(line.c_str() + 7, nullptr, 16) & kKilled) != 0;
  }
  if (state.empty() || state.find('X') != std::string::npos) return false;
  if (state.find('Z') != std::string::npos) return threads > 1;
  return killed || !has_memory;
}

}  // namespace

Result<InstanceLock> InstanceLock::take(const std::string& volume_dir) {
  TRY_ASSIGN(const io::Directory directory, io::Directory::make(volume_dir, 0700));
  TRY_ASSIGN(io::File file, directory.open_file("weir.lock", {.access = io::Access::kReadWrite,
                                                              .create = io::Create::kIfAbsent}));
  const Deadline patient = Deadline::after(kDeathMax);
  Deadline sure = Deadline::after(kSureAfter);
  for (;;) {
    const auto locked = file.try_lock(io::Lock::kExclusive);
    if (!locked && locked.error() != ErrorCode::kBusy) return fail(locked.error());
    const bool dying = is_dying(pid_in(file));
    if (locked && (!dying || patient.expired())) break;
    if (dying) sure = Deadline::after(kSureAfter);
    if (sure.expired() || patient.expired()) {
      return fail(ErrorCode::kBusy, volume_dir + " is in use by the daemon with pid " + pid_in(file) +
                                        "; stop it first, or give this one another volume.dir");
    }
    std::this_thread::sleep_for(kPollPeriod);
  }
  TRY(file.truncate(0));
  TRY(file.write_at(0, std::to_string(::getpid()) + "\n"));
  return InstanceLock(std::move(file));
}

}  // namespace weir::daemon
