// tests/cli/weir_binary.h -- the real binary, as a user runs it: commands, and a daemon with its folders.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"

namespace weir::testing {

struct Ended {
  int exit_code = -1;  // 128 + the signal when one ended it
  std::string out;
  std::string err;
};

using Environment = std::map<std::string, std::string>;

// Runs a shell script with bash and waits for it.
Ended run_script(const std::string& script, const Environment& environment = {});

const std::filesystem::path& weir_binary();

// Why nothing can be mounted here, for GTEST_SKIP; empty when it can.
std::string mount_obstacle();

// A daemon in folders of its own, all gone with the object.
class WeirDaemon {
 public:
  WeirDaemon();
  ~WeirDaemon();
  WeirDaemon(const WeirDaemon&) = delete;
  WeirDaemon& operator=(const WeirDaemon&) = delete;

  // Properties over those that name the folders; in force at the next start() or reload().
  void set(const std::string& name, const std::string& value) { properties_[name] = value; }

  // Starts the process and waits until it serves; false when it ended instead, see log().
  bool start();
  // What `serve` says when it refuses to start; it must.
  Ended start_refused(const std::string& arguments = "");
  void kill();
  // Writes the configuration file anew and sends SIGHUP.
  void reload();
  // SIGTERM; returns the exit code.
  int stop();
  // Waits for its end; returns the exit code, -1 when it does not come.
  int wait();
  bool running() const { return pid_ > 0; }

  // `weir ARGUMENTS`, with WEIR_CONFIG set.
  Ended weir(const std::string& arguments) const { return script("weir " + arguments); }
  // A script in which `weir` and `alluxio` are on the PATH and $MNT is the mount.
  Ended script(const std::string& text) const;

  // Polls until `fs ls` says PERSISTED for the path (or any state given).
  bool wait_state(const std::string& path, const std::string& state, Duration patience) const;

  // Until the script ends with 0.
  bool wait_until(const std::string& text, Duration patience) const;

  const std::filesystem::path& home() const { return home_; }
  std::filesystem::path mount_point() const { return home_ / "mnt"; }
  std::filesystem::path config() const { return home_ / "weir.yaml"; }
  std::string log() const;

 private:
  void write_config() const;
  void unmount_leftover() const;

  std::filesystem::path home_;
  std::map<std::string, std::string> properties_;
  pid_t pid_ = -1;
};

}  // namespace weir::testing
