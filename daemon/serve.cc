#include "daemon/serve.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <optional>
#include <thread>

#include "base/log.h"
#include "daemon/daemon.h"
#include "daemon/keeper.h"
#include "daemon/keeper_link.h"
#include "daemon/keeper_protocol.h"
#include "io/directory.h"

namespace weir::daemon {
namespace {

constexpr Duration kWatchdogSlack = std::chrono::seconds(2);

int refuse(const Error& error) {
  std::fprintf(stderr, "weir: %s\n", error.to_string().c_str());
  return 1;
}

// Ends the process when stopping takes longer than it may: what was acknowledged is durable, so nothing is lost.
class Watchdog {
 public:
  explicit Watchdog(Duration patience) : thread_([this, patience](std::stop_token stop) { watch(stop, patience); }) {}

 private:
  void watch(std::stop_token stop, Duration patience) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, stop, patience, [] { return false; }) || stop.stop_requested()) return;
    log_error("daemon.killed_itself", {{"reason", "not stopped within shutdown.grace.period"}});
    ::_exit(1);
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::jthread thread_;
};

// Tells the process that waits in the foreground how the start went.
class Background {
 public:
  // In the parent returns its exit code; in the child nothing.
  std::optional<int> enter() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return failed("cannot make a pipe");
    const pid_t child = ::fork();
    if (child < 0) return failed("cannot fork");
    if (child > 0) {
      ::close(ends[1]);
      char verdict = 1;
      const bool told = ::read(ends[0], &verdict, 1) == 1;
      if (told && verdict == 0) return 0;
      ::waitpid(child, nullptr, 0);
      return 1;
    }
    ::close(ends[0]);
    report_ = ends[1];
    ::setsid();
    return std::nullopt;
  }

  // Standard error stays until here: it carries the reason of a start that failed.
  static void leave_terminal() {
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {0, 1, 2}) ::dup2(null, fd);
    ::close(null);
  }

  void started() {
    if (report_ < 0) return;
    leave_terminal();
    const char verdict = 0;
    (void)!::write(report_, &verdict, 1);
    ::close(report_);
    report_ = -1;
  }

 private:
  static int failed(const char* what) {
    std::fprintf(stderr, "weir: %s\n", what);
    return 1;
  }

  int report_ = -1;
};

sigset_t daemon_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, kHandOverSignal}) sigaddset(&signals, signal);
  return signals;
}

[[noreturn]] void hand_over(Daemon& daemon) {
  constexpr Duration kPatience = std::chrono::seconds(2);
  log_info("daemon.handing_over");
  const Watchdog watchdog(kPatience + kWatchdogSlack);
  if (const auto left = daemon.hand_over(Deadline::after(kPatience)); !left)
    log_warn("daemon.handed_over_hard", {{"error", left.error()}});
  ::_exit(kExitHandOver);
}

int serve_until_signal(Daemon& daemon, KeeperLink* keeper, Duration grace, std::optional<Watchdog>& watchdog) {
  const sigset_t signals = daemon_signals();
  for (;;) {
    int signal = 0;
    if (::sigwait(&signals, &signal) != 0) continue;
    if (signal == SIGHUP) {
      if (auto reloaded = daemon.reload(); !reloaded) log_error("config.reload_failed", {{"error", reloaded.error()}});
      continue;
    }
    if (signal == kHandOverSignal) {
      if (keeper != nullptr) hand_over(daemon);
      continue;
    }
    if (keeper != nullptr) keeper->say_stopping();
    log_info("daemon.stopping", {{"signal", signal}});
    break;
  }
  watchdog.emplace(grace + kWatchdogSlack);
  auto stopped = daemon.stop(Deadline::after(grace));
  if (stopped) {
    log_info("daemon.stopped");
    return 0;
  }
  log_error("daemon.stopped_hard", {{"error", stopped.error()}});
  ::_exit(1);
}

}  // namespace

int serve(const ServeOptions& options) {
  auto keeper = KeeperLink::inherit();
  if (!keeper) return refuse(keeper.error());
  const bool kept = *keeper != nullptr;
  if (kept) ::prctl(PR_SET_NAME, "weir");
  auto properties = load_config(options.sources);
  if (!properties) return refuse(properties.error());
  // Before any thread is started, so that all of them leave these signals to sigwait().
  const sigset_t signals = daemon_signals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  Background background;
  if (options.background) {
    if (properties->text("log.file").empty()) {
      auto made = io::Directory::make(properties->text("volume.dir"), 0700);
      if (!made) return refuse(made.error());
      auto set = properties->set("log.file", properties->text("volume.dir") + "/weir.log", Source::kCommandLine);
      if (!set) return refuse(set.error());
    }
    if (!kept) {
      if (const auto code = background.enter()) return *code;
    }
  }
  if (!kept && properties->boolean("fuse.keeper")) return keep_daemon([&] { background.started(); });

  LiveConfig::open_log_of(*properties);
  auto daemon = Daemon::start(*properties, options.sources, keeper->get());
  if (!daemon) {
    if (!properties->text("log.file").empty()) log_error("daemon.refused", {{"error", daemon.error()}});
    return refuse(daemon.error());
  }
  log_info("daemon.started", {{"pid", ::getpid()},
                              {"volume_dir", properties->text("volume.dir")},
                              {"restarts", kept ? (*keeper)->restarts() : 0},
                              {"last_end", kept ? (*keeper)->last_end() : std::string()}});
  background.started();
  if (kept) (*keeper)->say_serving();
  if (kept && options.background) Background::leave_terminal();
  std::optional<Watchdog> watchdog;
  const int code = serve_until_signal(**daemon, keeper->get(), properties->duration("shutdown.grace.period"), watchdog);
  daemon->reset();  // while the watchdog looks on
  return code;
}

}  // namespace weir::daemon
