// bench/s3_load.cc -- closed-loop load on an S3 endpoint: each client sends its next request when the last one was answered.
//
//   s3_load HOST:PORT BUCKET OPERATION [--clients N] [--seconds N] [--bytes N] [--keys N] [--prefix TEXT] [--pid PID]...
//
// OPERATION: put (new keys below the prefix), get, head (of `keys` keys that put made), list (a page of 1,000 behind a random key), idle-put
// (every second client sends half of a body and then waits for the end). Credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
// Prints one JSON object: requests per second, MiB per second, latencies in ms, errors, CPU microseconds per request of the processes
// named by --pid, and the least client: what this program itself used. HTTP only; bodies are signed by a hash made once.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "net/sigv4.h"

namespace weir {
namespace {

using Steady = std::chrono::steady_clock;

struct Load {
  std::string address, host, port, bucket, operation;
  std::string prefix = "load/";
  uint32_t clients = 1;
  double seconds = 5;
  uint64_t bytes = 10 << 10;
  uint64_t keys = 1'000;
  std::vector<int> pids;
  net::Credentials credentials;
};

// What one client came to.
struct Tally {
  std::vector<float> latencies_ms;
  uint64_t errors = 0;
  uint64_t bytes = 0;
  std::string first_error;
};

class Connection {
 public:
  explicit Connection(const Load& load) : load_(load) {}
  ~Connection() { drop(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void drop() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    held_.clear();
  }

  // Sends head and body in one piece where they are small. Returns the status, or 0 when the connection broke; `*body_bytes` is
  // what was read and dropped.
  int exchange(const std::string& head, const std::string& body, bool no_body, uint64_t* body_bytes) {
    if (fd_ < 0 && !connect()) return 0;
    if (body.size() <= 64 << 10) {
      if (!send_all(head + body)) return 0;
    } else if (!send_all(head) || !send_all(body)) {
      return 0;
    }
    return receive(no_body, body_bytes);
  }

  bool send_part(const std::string& text) { return (fd_ >= 0 || connect()) && send_all(text); }

 private:
  bool connect() {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    addrinfo* found = nullptr;
    if (::getaddrinfo(load_.host.c_str(), load_.port.c_str(), &hints, &found) != 0) return false;
    fd_ = ::socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool connected = fd_ >= 0 && ::connect(fd_, found->ai_addr, found->ai_addrlen) == 0;
    ::freeaddrinfo(found);
    if (!connected) return drop(), false;
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return true;
  }

  bool send_all(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return drop(), false;
      text.remove_prefix(sent);
    }
    return true;
  }

  int receive(bool no_body, uint64_t* body_bytes) {
    size_t end;
    while ((end = held_.find("\r\n\r\n")) == std::string::npos) {
      if (!fill()) return drop(), 0;
    }
    const std::string head = held_.substr(0, end + 2);
    held_.erase(0, end + 4);
    const int status = std::atoi(head.c_str() + 9);
    uint64_t left = 0;
    std::string lower = head;
    std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
    const bool chunked = lower.find("transfer-encoding: chunked") != std::string::npos;
    if (const size_t at = lower.find("\r\ncontent-length:"); at != std::string::npos)
      left = std::strtoull(lower.c_str() + at + 17, nullptr, 10);
    const bool close = lower.find("connection: close") != std::string::npos;
    if (no_body || status == 204 || status == 304) left = 0;
    if (chunked && !no_body) {
      size_t last;
      while ((last = held_.find("0\r\n\r\n")) == std::string::npos) {
        if (!fill()) return drop(), 0;
      }
      *body_bytes = last;
      held_.erase(0, last + 5);
    } else {
      *body_bytes = left;
      const uint64_t at_hand = std::min<uint64_t>(left, held_.size());
      held_.erase(0, at_hand);
      left -= at_hand;
      static thread_local std::vector<char> sink(1 << 20);
      while (left > 0) {
        const ssize_t got = ::recv(fd_, sink.data(), std::min<uint64_t>(left, sink.size()), 0);
        if (got <= 0) return drop(), 0;
        left -= got;
      }
    }
    if (close) drop();
    return status;
  }

  bool fill() {
    char block[16 << 10];
    const ssize_t got = ::recv(fd_, block, sizeof block, 0);
    if (got <= 0) return false;
    held_.append(block, got);
    return true;
  }

  const Load& load_;
  int fd_ = -1;
  std::string held_;
};

std::string head_of(const Load& load, std::string_view method, const std::string& path, const net::Query& query,
                    std::optional<uint64_t> length, std::string_view payload_hash) {
  net::Headers headers{{"host", load.address}};
  net::sign_headers(method, path, query, headers, payload_hash, load.credentials, "us-east-1", system_clock().wall_now());
  std::string head = std::string(method) + ' ' + path + (query.empty() ? "" : '?' + net::query_text(query)) + " HTTP/1.1\r\n";
  for (const net::Header& header : headers) head += header.name + ": " + header.value + "\r\n";
  if (length) head += "content-length: " + std::to_string(*length) + "\r\n";
  return head + "\r\n";
}

std::string key_of(uint64_t number) {
  char text[32];
  std::snprintf(text, sizeof text, "%02llu/%08llu", static_cast<unsigned long long>(number % 100),
                static_cast<unsigned long long>(number));
  return text;
}

void run_client(const Load& load, uint32_t client, const std::string& body, const std::string& body_hash,
                std::atomic<uint64_t>& next_key, Steady::time_point end, Tally& tally) {
  Connection connection(load);
  std::mt19937_64 random(client + 1);
  const std::string base = '/' + load.bucket + '/';
  if (load.operation == "idle-put" && client % 2 == 0) {
    const std::string head = head_of(load, "PUT", base + load.prefix + "idle-" + std::to_string(client), {}, load.bytes, body_hash);
    if (!connection.send_part(head + body.substr(0, body.size() / 2))) ++tally.errors;
    std::this_thread::sleep_until(end);
    return;
  }
  while (Steady::now() < end) {
    const std::string key = load.prefix + key_of(load.operation == "put" ? next_key.fetch_add(1) : random() % load.keys);
    const Steady::time_point begin = Steady::now();
    uint64_t received = 0;
    int status;
    if (load.operation == "put") {
      status = connection.exchange(head_of(load, "PUT", base + key, {}, body.size(), body_hash), body, false, &received);
      received = body.size();
    } else if (load.operation == "list") {
      const net::Query query{{"list-type", "2"}, {"max-keys", "1000"}, {"start-after", key}, {"prefix", load.prefix}};
      status = connection.exchange(head_of(load, "GET", '/' + load.bucket, query, {}, net::kEmptyPayloadHash), {}, false, &received);
    } else {
      const bool head = load.operation == "head";
      status = connection.exchange(head_of(load, head ? "HEAD" : "GET", base + key, {}, {}, net::kEmptyPayloadHash), {}, head, &received);
      if (head) received = 0;
    }
    const float ms = std::chrono::duration<float, std::milli>(Steady::now() - begin).count();
    if (status == 200) {
      tally.latencies_ms.push_back(ms);
      tally.bytes += received;
    } else {
      if (tally.errors++ == 0) tally.first_error = status == 0 ? "connection lost" : "status " + std::to_string(status);
      if (status == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
}

double cpu_seconds(const std::vector<int>& pids) {
  double sum = 0;
  for (const int pid : pids) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const size_t at = text.rfind(')');
    if (at == std::string::npos) continue;
    unsigned long long user = 0, system = 0;
    std::sscanf(text.c_str() + at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system);
    sum += double(user + system) / ::sysconf(_SC_CLK_TCK);
  }
  return sum;
}

int run(const Load& load) {
  std::string body(load.bytes, '\0');
  std::mt19937_64 random(42);
  for (char& c : body) c = static_cast<char>(random());
  const std::string body_hash = net::hex(net::sha256(std::as_bytes(std::span(body))));
  // Keys of a run of put are 0, 1, 2, ...: what get and head then ask for.
  std::atomic<uint64_t> next_key = 0;
  std::vector<Tally> tallies(load.clients);
  const double server_before = cpu_seconds(load.pids), own_before = cpu_seconds({::getpid()});
  const Steady::time_point begin = Steady::now();
  const auto end = begin + std::chrono::duration_cast<Steady::duration>(std::chrono::duration<double>(load.seconds));
  std::vector<std::thread> threads;
  for (uint32_t client = 0; client < load.clients; ++client) {
    threads.emplace_back([&, client] { run_client(load, client, body, body_hash, next_key, end, tallies[client]); });
  }
  for (std::thread& thread : threads) thread.join();
  const double seconds = std::chrono::duration<double>(Steady::now() - begin).count();

  std::vector<float> all;
  uint64_t errors = 0, bytes = 0;
  std::string first_error;
  for (Tally& tally : tallies) {
    all.insert(all.end(), tally.latencies_ms.begin(), tally.latencies_ms.end());
    errors += tally.errors;
    bytes += tally.bytes;
    if (first_error.empty()) first_error = tally.first_error;
  }
  std::sort(all.begin(), all.end());
  const auto percentile = [&](double p) { return all.empty() ? 0.0 : double(all[std::min(all.size() - 1, size_t(p * all.size()))]); };
  const double requests = std::max<double>(all.size(), 1);
  const nlohmann::json result = {
      {"operation", load.operation}, {"clients", load.clients}, {"bytes", load.bytes},
      {"requests", all.size()}, {"errors", errors}, {"first_error", first_error},
      {"requests_per_s", all.size() / seconds}, {"mib_per_s", bytes / seconds / (1 << 20)},
      {"p50_ms", percentile(0.50)}, {"p99_ms", percentile(0.99)},
      {"server_cpu_us", (cpu_seconds(load.pids) - server_before) * 1e6 / requests},
      {"client_cpu_us", (cpu_seconds({::getpid()}) - own_before) * 1e6 / requests}};
  std::printf("%s\n", result.dump().c_str());
  return errors == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weir

int main(int argc, char** argv) {
  weir::Load load;
  CLI::App app("closed-loop load on an S3 endpoint");
  app.add_option("address", load.address, "HOST:PORT")->required();
  app.add_option("bucket", load.bucket)->required();
  app.add_option("operation", load.operation)->required()->check(CLI::IsMember({"put", "get", "head", "list", "idle-put"}));
  app.add_option("--clients", load.clients)->check(CLI::Range(1, 10'000));
  app.add_option("--seconds", load.seconds);
  app.add_option("--bytes", load.bytes);
  app.add_option("--keys", load.keys, "of get, head and list")->check(CLI::PositiveNumber);
  app.add_option("--prefix", load.prefix);
  app.add_option("--pid", load.pids, "of the server, for its CPU time");
  CLI11_PARSE(app, argc, argv);
  const size_t colon = load.address.rfind(':');
  if (colon == std::string::npos) return std::fprintf(stderr, "%s: HOST:PORT is wanted\n", load.address.c_str()), 2;
  load.host = load.address.substr(0, colon);
  load.port = load.address.substr(colon + 1);
  const char* key = std::getenv("AWS_ACCESS_KEY_ID");
  const char* secret = std::getenv("AWS_SECRET_ACCESS_KEY");
  if (key == nullptr || secret == nullptr) return std::fprintf(stderr, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY\n"), 2;
  load.credentials = {key, secret, ""};
  return weir::run(load);
}
