#include "net/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <thread>

#include "net/encoding.h"

namespace weir::net {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

// A client that says exactly what a test wants said.
class RawClient {
 public:
  explicit RawClient(uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  explicit RawClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connected_ = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { ::close(fd_); }

  bool connected() const { return connected_; }
  void send(std::string_view text) { (void)!::send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // Until the server closes.
  std::string read_to_end() {
    std::string all;
    char buffer[4'096];
    for (ssize_t n; (n = ::recv(fd_, buffer, sizeof buffer, 0)) > 0;) all.append(buffer, static_cast<size_t>(n));
    return all;
  }
  std::string read_until(std::string_view end) {
    std::string all;
    for (char c; !all.ends_with(end) && ::recv(fd_, &c, 1, 0) == 1;) all += c;
    return all;
  }

 private:
  int fd_;
  bool connected_ = false;
};

std::unique_ptr<HttpServer> serve(Handler handler, HttpServerOptions options = {}) {
  auto server = HttpServer::start(TcpAddress{}, options, std::move(handler));
  EXPECT_TRUE(server.has_value()) << server.error().to_string();
  return *std::move(server);
}

ServerResponse echo(ServerRequest& request) {
  auto body = request.body.read_all(1 << 20);
  if (!body) return {.status = 413, .body = body.error().to_string()};
  std::string text = std::string(name_of(request.method)) + ' ' + request.path;
  for (const auto& parameter : request.query) text += ' ' + parameter.name + '=' + parameter.value;
  return {.body = text + '\n' + *body};
}

std::string answer_to(const HttpServer& server, std::string_view text) {
  RawClient client(server.port());
  client.send(text);
  return client.read_to_end();
}

TEST(HttpServer, a_request_reaches_the_handler_decoded) {
  const auto server = serve(echo);
  const std::string answer = answer_to(
      *server, "PUT /a%20b/c?x=1%262&y=+&z HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(answer, EndsWith("\r\n\r\nPUT /a b/c x=1&2 y=  z=\nbody"));
}

TEST(HttpServer, a_chunked_body_is_put_together) {
  const auto server = serve(echo);
  EXPECT_THAT(answer_to(*server, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                                "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
              EndsWith("\nabcde"));
}

TEST(HttpServer, one_connection_carries_many_requests_also_when_bodies_are_not_read) {
  const auto server = serve([](ServerRequest& request) { return ServerResponse{.body = request.path + "."}; });
  RawClient client(server->port());
  for (const char* path : {"/1", "/2"}) {
    client.send("PUT " + std::string(path) + " HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nxyz");
    EXPECT_THAT(client.read_until(std::string(path) + "."), EndsWith(std::string(path) + "."));
  }
}

TEST(HttpServer, leave_to_send_is_given_when_the_body_is_wanted) {
  const auto server = serve(echo);
  RawClient client(server->port());
  client.send("PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), StartsWith("HTTP/1.1 100"));
  client.send("ok");
  EXPECT_THAT(client.read_to_end(), EndsWith("\nok"));
}

TEST(HttpServer, a_body_that_was_refused_is_not_the_next_request) {
  std::atomic<int> calls = 0;
  const auto server = serve([&](ServerRequest&) {
    ++calls;
    return ServerResponse{.status = 403};
  });
  const std::string answer = answer_to(*server,
                                      "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 99\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403"));
  EXPECT_THAT(answer, HasSubstr("Connection: close"));
  EXPECT_EQ(calls, 1);
}

TEST(HttpServer, bodies_and_headers_over_their_limits_are_refused) {
  const auto server = serve(echo, {.header_bytes_max = 512, .body_bytes_max = 10});
  EXPECT_THAT(answer_to(*server, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n01234567890"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(answer_to(*server, "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n"),
              StartsWith("HTTP/1.1 413"));
  EXPECT_THAT(answer_to(*server, "GET / HTTP/1.1\r\nX: " + std::string(600, 'x') + "\r\n\r\n"),
              StartsWith("HTTP/1.1 431"));
  EXPECT_THAT(answer_to(*server, "nonsense\r\n\r\n"), StartsWith("HTTP/1.1 400"));
  EXPECT_THAT(answer_to(*server, "BREW / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), StartsWith("HTTP/1.1 405"));
}

TEST(HttpServer, a_streamed_body_of_known_length_arrives_whole) {
  const std::string block(100'000, 'b');
  const auto server = serve([&](ServerRequest&) {
    ServerResponse response;
    response.stream_bytes = 3 * block.size();
    response.stream = [&](ResponseBody& body) -> Result<void> {
      for (int i = 0; i < 3; ++i) TRY(body.write(bytes_of(block)));
      return {};
    };
    return response;
  });
  const std::string answer = answer_to(*server, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 300000"));
  EXPECT_THAT(answer, EndsWith(block + block + block));
  EXPECT_THAT(answer_to(*server, "HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), EndsWith("\r\n\r\n"));
}

TEST(HttpServer, a_stream_that_fails_never_looks_whole) {
  const auto server = serve([](ServerRequest&) {
    ServerResponse response;
    response.stream = [](ResponseBody& body) -> Result<void> {
      TRY(body.write(bytes_of("part")));
      return fail(ErrorCode::kIo);
    };
    return response;
  });
  const std::string answer = answer_to(*server, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("part"));
  EXPECT_THAT(answer, ::testing::Not(EndsWith("0\r\n\r\n")));
}

TEST(HttpServer, connections_over_the_limit_wait_their_turn) {
  const auto server = serve(echo, {.connections_max = 1});
  auto first = std::make_unique<RawClient>(server->port());
  first->send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\n");
  EXPECT_THAT(first->read_until("GET /1\n"), HasSubstr("200"));
  RawClient second(server->port());
  second.send("GET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  first.reset();
  EXPECT_THAT(second.read_to_end(), HasSubstr("GET /2"));
}

TEST(HttpServer, a_silent_client_is_dropped) {
  std::promise<ErrorCode> seen;
  const auto server = serve(
      [&](ServerRequest& request) {
        seen.set_value(request.body.read_all(99).error().code());
        return ServerResponse{};
      },
      {.idle_timeout = std::chrono::milliseconds(20), .io_timeout = std::chrono::milliseconds(20)});
  RawClient idle(server->port());
  EXPECT_EQ(idle.read_to_end(), "");
  EXPECT_EQ(answer_to(*server, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab"), "");
  EXPECT_EQ(seen.get_future().get(), ErrorCode::kTimedOut);
}

TEST(HttpServer, stop_lets_a_running_request_end_and_closes_idle_connections) {
  std::promise<void> entered;
  std::promise<void> leave;
  auto server = serve([&](ServerRequest&) {
    entered.set_value();
    leave.get_future().wait();
    return ServerResponse{.body = "late"};
  });
  RawClient idle(server->port());
  RawClient busy(server->port());
  busy.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
  entered.get_future().wait();
  std::thread stopper([&] { server->stop(soon()); });
  EXPECT_EQ(idle.read_to_end(), "");
  leave.set_value();
  EXPECT_THAT(busy.read_to_end(), EndsWith("late"));
  stopper.join();
}

TEST(HttpServer, stop_cuts_off_what_does_not_end) {
  std::promise<void> entered;
  auto server = serve([&](ServerRequest& request) {
    entered.set_value();
    std::byte buffer[16];
    const auto got = request.body.read(buffer);  // never comes
    EXPECT_FALSE(got.has_value());
    return ServerResponse{};
  });
  RawClient client(server->port());
  client.send("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
  entered.get_future().wait();
  server->stop(Deadline::after(std::chrono::milliseconds(10)));
  EXPECT_EQ(client.read_to_end().find("200"), std::string::npos);
}

TEST(HttpServer, a_port_in_use_is_refused) {
  const auto server = serve(echo);
  const auto second = HttpServer::start(TcpAddress{.port = server->port()}, {}, echo);
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error().code(), ErrorCode::kBusy);
  EXPECT_THAT(second.error().to_string(), HasSubstr(std::to_string(server->port())));
  EXPECT_TRUE(failed_with(HttpServer::start(TcpAddress{.host = "nowhere"}, {}, echo), ErrorCode::kInvalid));
}

TEST(HttpServer, a_unix_socket_is_for_its_owner_and_replaces_a_dead_one) {
  const std::string path = ::testing::TempDir() + "weir-http-" + std::to_string(::getpid()) + ".sock";
  auto server = HttpServer::start(UnixAddress{path}, {}, echo);
  ASSERT_TRUE(server.has_value()) << server.error().to_string();
  struct stat st{};
  ASSERT_EQ(::stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  RawClient client(path);
  client.send("GET /u HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(client.read_to_end(), EndsWith("GET /u\n"));
  EXPECT_TRUE(failed_with(HttpServer::start(UnixAddress{path}, {}, echo), ErrorCode::kBusy));
  (*server)->stop(soon());
  EXPECT_NE(::stat(path.c_str(), &st), 0);

  // Left by a server that died.
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
  EXPECT_TRUE(HttpServer::start(UnixAddress{path}, {}, echo).has_value());
  EXPECT_TRUE(failed_with(HttpServer::start(UnixAddress{"/" + std::string(200, 'x')}, {}, echo), ErrorCode::kInvalid));
}

}  // namespace
}  // namespace weir::net
