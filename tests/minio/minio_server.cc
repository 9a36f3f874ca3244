#include "tests/minio/minio_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

namespace weir::testing {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

// Another process can take a port between its choice and MinIO's bind.
constexpr int kPortAttempts = 5;
constexpr auto kPollInterval = milliseconds(20);
constexpr const char* kRequestSecondsMax = "20";
constexpr auto kStopGrace = std::chrono::seconds(5);
constexpr size_t kOutputTailBytes = 2000;

fs::path binary() {
  if (const char* named = std::getenv("WEIR_MINIO"); named && *named) return named;
  return WEIR_DEPS_DIR "/bin/minio";
}

// A port nobody listens on now, or 0.
uint16_t free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  uint16_t port = 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0) {
    port = ntohs(address.sin_port);
  }
  close(fd);
  return port;
}

// Starts a program with its output in `output`; the kernel kills it when the calling thread ends. -1 when it cannot.
pid_t spawn(const std::vector<std::string>& arguments, const std::vector<std::string>& environment,
            const fs::path& output) {
  std::vector<char*> argv, envp;
  for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  for (const auto& variable : environment) envp.push_back(const_cast<char*>(variable.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child != 0) return child;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  const int fd = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  execvpe(argv[0], argv.data(), envp.data());
  _exit(127);
}

// True when the program succeeded.
bool run(const std::vector<std::string>& arguments, const fs::path& output) {
  const pid_t pid = spawn(arguments, {}, output);
  int status = -1;
  return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

bool reaped(pid_t pid) { return waitpid(pid, nullptr, WNOHANG) != 0; }

std::string read_all(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return std::move(text).str();
}

}  // namespace

std::optional<std::string> MinioServer::missing() {
  if (access(binary().c_str(), X_OK) == 0) return std::nullopt;
  return "no MinIO at " + binary().string() + ": run scripts/setup --with-minio, or set WEIR_MINIO to a binary";
}

Result<std::unique_ptr<MinioServer>> MinioServer::start(Transport transport, Deadline deadline) {
  std::unique_ptr<MinioServer> server(new MinioServer);
  std::string home = (fs::temp_directory_path() / "weir-minio-XXXXXX").string();
  if (mkdtemp(home.data()) == nullptr) return fail(ErrorCode::kIo, "cannot make the directory " + home);
  server->home_ = home;
  if (transport == Transport::kHttps) TRY(server->make_certificate());
  for (int attempt = 1;; ++attempt) {
    TRY(server->launch(binary()));
    const auto ready = server->wait_until_ready(deadline);
    if (ready) return server;
    server->stop();
    if (attempt == kPortAttempts || !failed_with(ready, ErrorCode::kUnavailable)) return fail(ready.error());
  }
}

MinioServer::~MinioServer() {
  stop();
  std::error_code ignored;
  fs::remove_all(home_, ignored);
}

// In the places where MinIO looks for them.
Result<void> MinioServer::make_certificate() {
  const fs::path folder = home_ / "certs";
  fs::create_directory(folder);
  ca_file_ = folder / "public.crt";
  if (run({"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
           "1", "-subj", "/CN=weir-test", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout",
           (folder / "private.key").string(), "-out", ca_file_.string()},
          home_ / "output")) {
    return {};
  }
  return fail(ErrorCode::kUnavailable, "openssl cannot make a certificate: " + last_output());
}

Result<void> MinioServer::launch(const fs::path& binary) {
  const std::string address = "127.0.0.1:" + std::to_string(free_port());
  endpoint_ = (ca_file_.empty() ? "http://" : "https://") + address;
  // MinIO reads its environment and $HOME/.minio: both are ours alone, so that the tester's settings do not matter.
  pid_ = spawn({binary.string(), "server", (home_ / "data").string(), "--address", address, "--certs-dir",
                (home_ / "certs").string(), "--quiet"},
               {"HOME=" + home_.string(), "MINIO_ROOT_USER=" + access_key_, "MINIO_ROOT_PASSWORD=" + secret_key_,
                "MINIO_REGION=" + region_, "MINIO_BROWSER=off", "MINIO_UPDATE=off"},
               home_ / "output");
  if (pid_ < 0) return fail(ErrorCode::kIo, "cannot fork");
  return {};
}

Result<void> MinioServer::wait_until_ready(Deadline deadline) {
  for (; !deadline.expired(); std::this_thread::sleep_for(kPollInterval)) {
    if (reaped(pid_)) {
      pid_ = -1;
      return fail(ErrorCode::kUnavailable, "MinIO ended at its start: " + last_output());
    }
    if (curl({endpoint_ + "/minio/health/cluster"})) return {};
  }
  return fail(ErrorCode::kTimedOut, "MinIO is not ready: " + last_output());
}

void MinioServer::stop() {
  if (pid_ < 0) return;
  kill(pid_, SIGTERM);
  const Deadline grace = Deadline::after(kStopGrace);
  while (!reaped(pid_)) {
    if (grace.expired()) kill(pid_, SIGKILL);
    std::this_thread::sleep_for(kPollInterval);
  }
  pid_ = -1;
}

std::string MinioServer::last_output() const {
  const std::string output = read_all(home_ / "output");
  return output.size() <= kOutputTailBytes ? output : output.substr(output.size() - kOutputTailBytes);
}

// Without the tester's settings and proxies; the answer goes to home_/answer. True when the server accepted the request.
bool MinioServer::curl(std::vector<std::string> arguments) const {
  arguments.insert(arguments.begin(), {"curl", "-q", "-sS", "--fail-with-body", "--max-time", kRequestSecondsMax});
  if (!ca_file_.empty()) arguments.insert(arguments.end(), {"--cacert", ca_file_.string()});
  return run(arguments, home_ / "answer");
}

bool MinioServer::ask_for_bucket(const std::string& name, std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"--aws-sigv4", "aws:amz:" + region_ + ":s3", "--user", access_key_ + ":" + secret_key_,
                                     endpoint_ + "/" + name});
  return curl(std::move(arguments));
}

Result<void> MinioServer::create_bucket(const std::string& name) const {
  if (ask_for_bucket(name, {"-X", "PUT"})) return {};
  return fail(ErrorCode::kUnavailable, "cannot create bucket " + name + ": " + read_all(home_ / "answer"));
}

Result<void> MinioServer::erase_bucket(const std::string& name) const {
  if (ask_for_bucket(name, {"-X", "DELETE", "-H", "x-minio-force-delete: true"})) return {};
  return fail(ErrorCode::kUnavailable, "cannot erase bucket " + name + ": " + read_all(home_ / "answer"));
}

}  // namespace weir::testing
