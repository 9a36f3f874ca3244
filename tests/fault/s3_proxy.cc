#include "tests/fault/s3_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

namespace weir::testing {
namespace {

constexpr auto kStep = std::chrono::milliseconds(20);

sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void reset(int socket) {
  const linger hard{.l_onoff = 1, .l_linger = 0};
  ::setsockopt(socket, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  ::close(socket);
}

bool send_all(int socket, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

std::string lower(std::string_view text) {
  std::string small(text);
  std::ranges::transform(small, small.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return small;
}

struct Request {
  std::string method;
  std::string head;  // with its empty line
  std::string body;
};

}  // namespace

Result<std::unique_ptr<S3Proxy>> S3Proxy::start(uint16_t port) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  if (listener < 0 || ::bind(listener, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener, 128) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    if (listener >= 0) ::close(listener);
    return fail(ErrorCode::kUnavailable, "no port for the proxy");
  }
  return std::unique_ptr<S3Proxy>(new S3Proxy(listener, ntohs(address.sin_port), port));
}

S3Proxy::S3Proxy(int listener, uint16_t own_port, uint16_t server_port)
    : listener_(listener), own_port_(own_port), server_port_(server_port), acceptor_([this] { accept_all(); }) {}

S3Proxy::~S3Proxy() {
  stopping_ = true;
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  ::close(listener_);
}

std::string S3Proxy::endpoint() const { return "http://127.0.0.1:" + std::to_string(own_port_); }

void S3Proxy::set(ProxyFault fault) {
  std::lock_guard lock(mutex_);
  fault_ = std::move(fault);
  hits_ = 0;
  ++epoch_;
}

ProxyFault S3Proxy::next_fault(const std::string& method, uint64_t* epoch) {
  std::lock_guard lock(mutex_);
  *epoch = epoch_;
  if (fault_.kind == ProxyFault::Kind::kNone || fault_.times == 0) return {};
  if (!fault_.method.empty() && fault_.method != method) return {};
  --fault_.times;
  ++hits_;
  return fault_;
}

void S3Proxy::wait_for_change(uint64_t epoch) {
  while (!stopping_ && epoch_ == epoch) std::this_thread::sleep_for(kStep);
}

void S3Proxy::accept_all() {
  while (!stopping_) {
    pollfd waiting{.fd = listener_, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, static_cast<int>(kStep.count())) <= 0) continue;
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client >= 0) connections_.emplace_back([this, client] { serve(client); });
  }
}

void S3Proxy::serve(int client) {
  std::array<char, 1 << 16> buffer;
  // False when the peer is gone or the proxy stops.
  const auto receive = [&](int socket, std::string& to) {
    pollfd waiting{.fd = socket, .events = POLLIN, .revents = 0};
    while (::poll(&waiting, 1, static_cast<int>(kStep.count())) == 0) {
      if (stopping_) return false;
    }
    const ssize_t bytes = ::recv(socket, buffer.data(), buffer.size(), 0);
    if (bytes <= 0) return false;
    to.append(buffer.data(), static_cast<size_t>(bytes));
    return true;
  };
  const auto read_request = [&]() -> std::optional<Request> {
    Request request;
    size_t end = 0;
    while ((end = request.head.find("\r\n\r\n")) == std::string::npos)
      if (!receive(client, request.head)) return std::nullopt;
    request.body = request.head.substr(end + 4);
    request.head.resize(end + 4);
    request.method = request.head.substr(0, request.head.find(' '));
    // One request for each connection, and no questions before the body.
    std::string head;
    uint64_t length = 0;
    for (size_t begin = 0; begin < end + 2;) {
      const size_t stop = request.head.find("\r\n", begin) + 2;
      const std::string line = request.head.substr(begin, stop - begin);
      const std::string name = lower(line.substr(0, line.find(':')));
      if (name == "content-length") {
        const std::string_view value = std::string_view(line).substr(line.find_first_of("0123456789"));
        std::from_chars(value.data(), value.data() + value.size(), length);
      }
      if (name == "expect") {
        if (!send_all(client, "HTTP/1.1 100 Continue\r\n\r\n")) return std::nullopt;
      } else if (name != "connection") {
        head += line;
      }
      begin = stop;
    }
    request.head = head + "Connection: close\r\n\r\n";
    while (request.body.size() < length)
      if (!receive(client, request.body)) return std::nullopt;
    return request;
  };
  const auto forward = [&](const Request& request) -> std::optional<std::string> {
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(server_port_);
    std::string answer;
    bool sent = ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    sent = sent && send_all(server, request.head) && send_all(server, request.body);
    while (sent && receive(server, answer)) continue;
    ::close(server);
    return sent && !stopping_ ? std::optional(std::move(answer)) : std::nullopt;
  };

  const auto request = read_request();
  if (!request) return reset(client);
  ++requests_;
  uint64_t epoch = 0;
  const ProxyFault fault = next_fault(request->method, &epoch);
  using Kind = ProxyFault::Kind;
  if (fault.kind == Kind::kReset) return reset(client);
  if (fault.kind == Kind::kBlackHole) {
    wait_for_change(epoch);
    return reset(client);
  }
  if (fault.kind == Kind::kStatus) {
    const std::string body = request->method == "HEAD"
                                 ? std::string()
                                 : "<?xml version=\"1.0\"?><Error><Code>" + fault.code + "</Code><Message>told to</Message></Error>";
    send_all(client, "HTTP/1.1 " + std::to_string(fault.status) + " Told\r\nContent-Type: application/xml\r\nContent-Length: " +
                         std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n" + body);
    ::close(client);
    return;
  }
  if (fault.kind == Kind::kSlow) {
    for (const Deadline deadline = Deadline::after(fault.delay); !deadline.expired() && !stopping_;)
      std::this_thread::sleep_for(std::min<Duration>(kStep, deadline.left()));
  }
  auto answer = forward(*request);
  if (!answer || fault.kind == Kind::kLoseReply) return reset(client);
  if (fault.kind == Kind::kTruncate) {
    const size_t body = std::min(answer->find("\r\n\r\n"), answer->size() - 4) + 4;
    answer->resize(body + (answer->size() - body) / 2);
  }
  send_all(client, *answer);
  ::close(client);
}

}  // namespace weir::testing
