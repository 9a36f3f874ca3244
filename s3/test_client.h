// s3/test_client.h -- a client of the endpoint for tests: sends any bytes, and reads answers one by one.
//
// Threads: one thread at a time.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <string>
#include <string_view>

#include "net/encoding.h"
#include "net/http.h"
#include "net/sigv4.h"

namespace weir::s3 {

struct TestResponse {
  int status = 0;  // 0: the connection ended
  net::Headers headers;
  std::string body;
  std::string_view header(std::string_view name) const { return net::header(headers, name); }
};

struct TestRequest {
  std::string method = "GET";
  std::string target = "/";  // encoded, with the query
  net::Headers headers;
  std::string body;
  std::string payload_hash = {};  // empty: that of the body
};

class TestClient {
 public:
  TestClient(uint16_t port, net::Credentials credentials) : credentials_(std::move(credentials)), host_("127.0.0.1:" + std::to_string(port)) {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    // Where nobody listens it is as if the connection had ended.
    (void)::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    const timeval patience{.tv_sec = 20};
    ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  }
  ~TestClient() { ::close(socket_); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  int socket() const { return socket_; }
  const std::string& host() const { return host_; }

  void send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }

  // The request's text, signed.
  std::string signed_head(TestRequest request, WallTime now = system_clock().wall_now()) const {
    const std::string hash = request.payload_hash.empty() ? net::hex(net::sha256(net::bytes_of(request.body))) : request.payload_hash;
    const size_t mark = request.target.find('?');
    net::Query query;
    for (std::string_view rest = mark == std::string::npos ? std::string_view() : std::string_view(request.target).substr(mark + 1); !rest.empty();) {
      const std::string_view pair = rest.substr(0, rest.find('&'));
      rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
      const size_t equals = pair.find('=');
      query.push_back({net::uri_decode(pair.substr(0, equals)),
                       equals == std::string_view::npos ? "" : net::uri_decode(pair.substr(equals + 1))});
    }
    net::Headers headers{{"host", host_}};
    headers.insert(headers.end(), request.headers.begin(), request.headers.end());
    net::sign_headers(request.method, request.target.substr(0, mark), query, headers, hash, credentials_, "us-east-1", now);
    return head(request.method, request.target, headers, request.body);
  }

  // Without Content-Length when the headers say it.
  static std::string head(std::string_view method, std::string_view target, net::Headers headers, std::string_view body) {
    const bool framed = net::find_header(headers, "content-length") != nullptr || net::find_header(headers, "transfer-encoding") != nullptr;
    if (!framed && (!body.empty() || method == "PUT" || method == "POST")) headers.push_back({"Content-Length", std::to_string(body.size())});
    std::string text = std::string(method) + ' ' + std::string(target) + " HTTP/1.1\r\n";
    for (const auto& [name, value] : headers) text += name + ": " + value + "\r\n";
    return text + "\r\n";
  }

  TestResponse exchange(TestRequest request) {
    const std::string text = signed_head(request) + request.body;
    send(text);
    return read_response(request.method == "HEAD");
  }
  TestResponse get(std::string target, net::Headers headers = {}) { return exchange({.target = std::move(target), .headers = std::move(headers)}); }
  TestResponse put(std::string target, std::string body, net::Headers headers = {}) {
    return exchange({.method = "PUT", .target = std::move(target), .headers = std::move(headers), .body = std::move(body)});
  }
  TestResponse post(std::string target, std::string body, net::Headers headers = {}) {
    return exchange({.method = "POST", .target = std::move(target), .headers = std::move(headers), .body = std::move(body)});
  }
  TestResponse erase(std::string target, net::Headers headers = {}) {
    return exchange({.method = "DELETE", .target = std::move(target), .headers = std::move(headers)});
  }
  TestResponse head(std::string target, net::Headers headers = {}) {
    return exchange({.method = "HEAD", .target = std::move(target), .headers = std::move(headers)});
  }

  // The next answer, past any "100 Continue" when `body_less` is not 1xx. Status 0 when the connection ends before.
  TestResponse read_response(bool head_only = false) {
    TestResponse response;
    size_t end;
    while ((end = input_.find("\r\n\r\n")) == std::string::npos)
      if (!fill()) return response;
    std::string_view text = std::string_view(input_).substr(0, end);
    std::from_chars(text.data() + 9, text.data() + std::min<size_t>(text.size(), 12), response.status);
    for (size_t at = text.find("\r\n"); at != std::string_view::npos;) {
      const std::string_view line = text.substr(at + 2, text.find("\r\n", at + 2) - at - 2);
      const size_t colon = line.find(": ");
      if (colon != std::string_view::npos) response.headers.push_back({std::string(line.substr(0, colon)), std::string(line.substr(colon + 2))});
      at = text.find("\r\n", at + 2);
    }
    input_.erase(0, end + 4);
    if (head_only || response.status < 200 || response.status == 204 || response.status == 304) return response;
    if (response.header("transfer-encoding") == "chunked") {
      for (;;) {
        while ((end = input_.find("\r\n")) == std::string::npos)
          if (!fill()) return TestResponse{};
        size_t size = 0;
        std::from_chars(input_.data(), input_.data() + end, size, 16);
        while (input_.size() < end + 2 + size + 2)
          if (!fill()) return TestResponse{};
        response.body += input_.substr(end + 2, size);
        input_.erase(0, end + 2 + size + 2);
        if (size == 0) return response;
      }
    }
    size_t length = 0;
    const std::string_view said = response.header("content-length");
    std::from_chars(said.data(), said.data() + said.size(), length);
    while (input_.size() < length)
      if (!fill()) return TestResponse{.status = -1, .headers = response.headers, .body = input_};
    response.body = input_.substr(0, length);
    input_.erase(0, length);
    return response;
  }

  // Whether the server has closed the connection, once everything it sent was read.
  bool closed() {
    while (fill()) {
    }
    return true;
  }

 private:
  bool fill() {
    char buffer[65'536];
    const ssize_t bytes = ::recv(socket_, buffer, sizeof buffer, 0);
    if (bytes <= 0) return false;
    input_.append(buffer, static_cast<size_t>(bytes));
    return true;
  }

  const net::Credentials credentials_;
  const std::string host_;
  int socket_ = -1;
  std::string input_;
};

}  // namespace weir::s3
