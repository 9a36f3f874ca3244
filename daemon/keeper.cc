#include "daemon/keeper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "daemon/keeper_protocol.h"
#include "daemon/packets.h"
#include "fuse/keeper.h"
#include "fuse/mount_point.h"
#include "fuse/ring_owner.h"
#include "io/descriptor.h"

namespace weir::daemon {
namespace {

// A daemon that dies sooner is one of a row of short-lived ones.
constexpr Duration kShortLife = std::chrono::seconds(1);
constexpr int kShortLivesAtOnce = 8;  // started again without delay
constexpr int kShortLivesMax = 12;    // then the keeper gives up
constexpr Duration kDelayMin = std::chrono::milliseconds(100);
constexpr Duration kDelayMax = std::chrono::seconds(5);

std::vector<std::string> command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

void tell(const std::string& text) { std::fprintf(stderr, "weir: keeper: %s\n", text.c_str()); }

class KeeperProcess {
 public:
  explicit KeeperProcess(const std::function<void()>& started) : started_(started), command_line_(command_line()) {}

  int run();

 private:
  bool prepare();
  bool start_daemon();
  [[noreturn]] void become_daemon(int socket, pid_t keeper);
  void take_signals();
  void take_messages();
  void answer(Packet packet);
  // The exit code, when all is over.
  std::optional<int> daemon_ended(int status);
  std::optional<int> give_up(const std::string& why);
  int end(int code);

  const std::function<void()>& started_;
  const std::vector<std::string> command_line_;
  io::Descriptor signals_;
  io::Descriptor memory_;
  io::Descriptor connection_;
  std::unique_ptr<fuse::RingOwner> rings_;  // of the connection
  std::string mount_point_;
  io::Descriptor binary_;           // that serves, or served last
  io::Descriptor next_binary_;      // that is to serve next
  io::Descriptor socket_;
  pid_t daemon_ = -1;
  TimePoint daemon_started_{};
  bool serving_ = false;            // the present daemon
  bool ever_served_ = false;
  bool stopping_ = false;
  int short_lives_ = 0;
  uint64_t starts_ = 0;
  std::string last_end_;
};

bool KeeperProcess::prepare() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  signals_ = io::Descriptor(::signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK));
  memory_ = io::Descriptor(::memfd_create("weir-ledger", MFD_CLOEXEC));
  // The file that runs, also after another one has taken its name.
  binary_ = io::Descriptor(::open("/proc/self/exe", O_PATH | O_CLOEXEC));
  if (signals_.valid() && memory_.valid() && binary_.valid()) return true;
  std::perror("weir: keeper");
  return false;
}

void KeeperProcess::become_daemon(int socket, pid_t keeper) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != keeper) ::_exit(1);
  const int binary = next_binary_.valid() ? next_binary_.get() : binary_.get();
  for (const int fd : {socket, memory_.get(), connection_.get()}) {
    if (fd >= 0) ::fcntl(fd, F_SETFD, 0);
  }
  const std::string words = std::to_string(kKeeperProtocol) + ' ' + std::to_string(socket) + ' ' +
                            std::to_string(memory_.get()) + ' ' + std::to_string(connection_.get()) + ' ' +
                            std::to_string(starts_) + ' ' + last_end_;
  ::setenv(kKeeperVariable, words.c_str(), 1);
  std::vector<char*> arguments;
  for (const std::string& word : command_line_) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  ::syscall(SYS_execveat, binary, "", arguments.data(), environ, AT_EMPTY_PATH);
  std::perror("weir: keeper: cannot start the daemon");
  ::_exit(127);
}

bool KeeperProcess::start_daemon() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  socket_ = io::Descriptor(ends[0]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  const io::Descriptor its_end(ends[1]);
  const pid_t keeper = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) become_daemon(ends[1], keeper);
  if (child < 0) return false;
  daemon_ = child;
  daemon_started_ = system_clock().now();
  serving_ = false;
  ++starts_;
  return true;
}

int KeeperProcess::run() {
  if (!prepare()) return 1;
  if (!start_daemon()) return end(1);
  std::optional<TimePoint> start_at;  // of the next daemon, when there is none
  for (;;) {
    pollfd events[] = {{.fd = signals_.get(), .events = POLLIN, .revents = 0},
                       {.fd = socket_.get(), .events = POLLIN, .revents = 0}};
    int patience_ms = -1;
    if (start_at) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*start_at - system_clock().now());
      patience_ms = static_cast<int>(std::max<int64_t>(0, left.count()));
    }
    ::poll(events, std::size(events), patience_ms);
    take_signals();
    take_messages();
    int status = 0;
    if (daemon_ > 0 && ::waitpid(daemon_, &status, WNOHANG) == daemon_) {
      take_messages();  // its last words
      daemon_ = -1;
      socket_.close();
      if (const auto code = daemon_ended(status)) return end(*code);
      const int late = short_lives_ - kShortLivesAtOnce;
      const Duration delay = late <= 0 ? Duration::zero() : std::min<Duration>(kDelayMax, kDelayMin * (1 << late));
      start_at = system_clock().now() + delay;
    }
    if (daemon_ > 0) continue;
    if (stopping_) return end(0);
    if (start_at && system_clock().now() >= *start_at) {
      start_at.reset();
      if (!start_daemon()) {
        if (const auto code = give_up("cannot fork")) return end(*code);
      }
    }
  }
}

void KeeperProcess::take_signals() {
  signalfd_siginfo info{};
  while (::read(signals_.get(), &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    if (info.ssi_signo != SIGHUP) stopping_ = true;
    if (daemon_ > 0) ::kill(daemon_, static_cast<int>(info.ssi_signo));
  }
}

void KeeperProcess::take_messages() {
  while (socket_.valid()) {
    auto packet = receive_packet(socket_.get());
    if (!packet) {
      // A closed socket would be polled for ever; the end of the daemon is told by a signal.
      if (packet.error() != ErrorCode::kWouldWait) socket_.close();
      return;
    }
    answer(*std::move(packet));
  }
}

void KeeperProcess::answer(Packet packet) {
  using Kind = KeeperMessage::Kind;
  KeeperMessage done = message_of(Kind::kDone, {});
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    done = message_of(Kind::kDone, why);
    done.code = static_cast<int32_t>(code);
  };
  switch (packet.message.kind) {
    case Kind::kConnect: {
      auto connection = fuse::open_connection(packet.message.text);
      if (connection) {
        connection_ = *std::move(connection);
        mount_point_ = packet.message.text;
      } else {
        refuse(connection.error().code(), connection.error().context());
      }
      (void)send_packet(socket_.get(), done, connection ? connection_.get() : -1);
      return;
    }
    case Kind::kRings: {
      if (!rings_) {
        fuse::RingShape shape;
        std::istringstream(packet.message.text) >> shape.queues >> shape.depth >> shape.payload_bytes;
        if (auto rings = fuse::RingOwner::start(connection_.get(), shape); rings) {
          rings_ = *std::move(rings);
        } else {
          refuse(rings.error().code(), rings.error().context());
        }
      }
      (void)send_packet(socket_.get(), done, rings_ ? rings_->memory().get() : -1);
      return;
    }
    case Kind::kUpgrade: {
      io::Descriptor binary(::open(packet.message.text, O_PATH | O_CLOEXEC));
      if (!binary.valid()) {
        refuse(ErrorCode::kNotFound, std::string("cannot open ") + packet.message.text);
      } else if (::access(packet.message.text, X_OK) != 0) {
        refuse(ErrorCode::kPermission, std::string("cannot execute ") + packet.message.text);
      } else {
        next_binary_ = std::move(binary);
      }
      (void)send_packet(socket_.get(), done, -1);
      return;
    }
    case Kind::kDisconnect:
      rings_.reset();
      connection_.close();
      mount_point_.clear();
      return;
    case Kind::kServing:
      serving_ = true;
      if (next_binary_.valid()) binary_ = std::move(next_binary_);
      if (!std::exchange(ever_served_, true)) started_();
      return;
    case Kind::kStopping: stopping_ = true; return;
    case Kind::kDone: return;
  }
}

std::optional<int> KeeperProcess::daemon_ended(int status) {
  const bool exited = WIFEXITED(status);
  const int code = exited ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  if (exited && code == kExitHandOver && !stopping_) {
    last_end_ = "it handed over";
    return std::nullopt;
  }
  if (stopping_ || (exited && code == 0)) return code;
  last_end_ = exited ? "it exited with code " + std::to_string(code) : "signal " + std::to_string(WTERMSIG(status));
  if (!serving_ && next_binary_.valid() && ever_served_) {
    tell("the new binary does not serve (" + last_end_ + "); going back to the one before");
    last_end_ = "the new binary did not serve: " + last_end_;
    next_binary_.close();
    return std::nullopt;
  }
  if (!ever_served_) return code;
  const bool short_lived = !serving_ || system_clock().now() - daemon_started_ < kShortLife;
  short_lives_ = short_lived ? short_lives_ + 1 : 0;
  tell("the daemon died (" + last_end_ + ")");
  if (short_lives_ > kShortLivesMax) return give_up("it died " + std::to_string(short_lives_) + " times in a row");
  return std::nullopt;
}

std::optional<int> KeeperProcess::give_up(const std::string& why) {
  tell("the daemon is not started any more: " + why + "; its log says more. Everything written is kept for the next start");
  return 1;
}

// Without its connection a mount would answer with errors for ever.
int KeeperProcess::end(int code) {
  pollfd alive{.fd = connection_.get(), .events = 0, .revents = 0};
  const bool mounted = connection_.valid() && ::poll(&alive, 1, 0) == 0;
  if (mounted) {
    if (const auto gone = fuse::unmount_path(mount_point_, fuse::Unmount::kDetach); !gone)
      tell("cannot take the mount away: " + gone.error().to_string());
  }
  rings_.reset();
  return code;
}

}  // namespace

int keep_daemon(const std::function<void()>& started) { return KeeperProcess(started).run(); }

}  // namespace weir::daemon
