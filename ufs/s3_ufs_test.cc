// S3Ufs against a server that answers as scripted: what a healthy store never does.
#include "ufs/s3_ufs.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "net/checksum.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "ufs/open_ufs.h"

namespace weir::ufs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }

// A port that accepts and, by itself, never answers.
class Listener {
 public:
  Listener() {
    socket_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(::bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(socket_, 16), 0);
    socklen_t size = sizeof address;
    EXPECT_EQ(::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
  }
  ~Listener() { ::close(socket_); }
  Listener(const Listener&) = delete;

  int socket() const { return socket_; }
  int port() const { return port_; }
  std::string endpoint() const { return "http://127.0.0.1:" + std::to_string(port_); }

 private:
  int socket_ = -1;
  int port_ = 0;
};

// Answers one connection at a time, each request with the next of the script.
class ScriptedServer {
 public:
  struct Reply {
    enum class Then { kKeep, kClose, kReset } then = Then::kKeep;
    std::string text;  // empty with kClose or kReset: no answer at all
  };

  ScriptedServer() : thread_([this] { serve(); }) {}

  ~ScriptedServer() {
    stopping_ = true;
    ::shutdown(listener_.socket(), SHUT_RDWR);
    ::shutdown(connection_, SHUT_RDWR);
    thread_.join();
  }

  int port() const { return listener_.port(); }
  std::string endpoint() const { return listener_.endpoint(); }

  void answer(Reply reply) {
    std::scoped_lock lock(mutex_);
    script_.push_back(std::move(reply));
  }
  void answer(int status, const std::string& headers, const std::string& body = "") {
    answer({.text = "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
                    "\r\n" + headers + "\r\n" + body});
  }
  void answer_error(int status, const std::string& code, const std::string& extra = "", const std::string& headers = "") {
    answer(status, headers, "<Error><Code>" + code + "</Code><Message>m</Message>" + extra + "</Error>");
  }
  void answer_head(int status, uint64_t size, const std::string& headers = "") {
    answer({.text = "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(size) + "\r\n" +
                    headers + "\r\n"});
  }

  std::vector<std::string> requests() {
    std::scoped_lock lock(mutex_);
    return requests_;
  }
  size_t unused() {
    std::scoped_lock lock(mutex_);
    return script_.size();
  }

 private:
  void serve() {
    while (!stopping_) {
      const int connection = ::accept4(listener_.socket(), nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) return;
      connection_ = connection;
      while (serve_one(connection)) {
      }
      connection_ = -1;
      ::close(connection);
    }
  }

  // False: the connection is over.
  bool serve_one(int connection) {
    std::string text;
    size_t end = std::string::npos;
    while ((end = text.find("\r\n\r\n")) == std::string::npos) {
      if (!receive(connection, text)) return false;
    }
    size_t length = 0;
    const size_t at = text.find("Content-Length: ");
    if (at != std::string::npos && at < end) length = std::stoul(text.substr(at + 16));
    while (text.size() < end + 4 + length) {
      if (!receive(connection, text)) return false;
    }
    Reply reply{Reply::Then::kClose, "HTTP/1.1 500 Unscripted\r\nContent-Length: 0\r\n\r\n"};
    {
      std::scoped_lock lock(mutex_);
      requests_.push_back(text);
      if (!script_.empty()) {
        reply = std::move(script_.front());
        script_.pop_front();
      }
    }
    (void)!::send(connection, reply.text.data(), reply.text.size(), MSG_NOSIGNAL);
    if (reply.then == Reply::Then::kReset) {
      const linger now{1, 0};
      ::setsockopt(connection, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    return reply.then == Reply::Then::kKeep;
  }

  static bool receive(int connection, std::string& text) {
    std::array<char, 16'384> buffer;
    const ssize_t got = ::recv(connection, buffer.data(), buffer.size(), 0);
    if (got > 0) text.append(buffer.data(), static_cast<size_t>(got));
    return got > 0;
  }

  Listener listener_;
  std::atomic<int> connection_ = -1;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::deque<Reply> script_;
  std::vector<std::string> requests_;
  std::thread thread_;
};

using Then = ScriptedServer::Reply::Then;

std::unique_ptr<UnderStore> open(const std::string& endpoint, UfsProperties more = {}) {
  more.emplace("s3.endpoint", endpoint);
  more.emplace("s3.access.key", "key");
  more.emplace("s3.secret.key", "secret");
  auto store = open_ufs("s3://bucket/p", {std::move(more)});
  EXPECT_TRUE(store) << store.error().to_string();
  return store ? *std::move(store) : nullptr;
}

class S3UfsTest : public ::testing::Test {
 protected:
  void TearDown() override { EXPECT_EQ(server_.unused(), 0u); }

  Result<std::string> get(size_t size = 100, Deadline deadline = soon()) {
    std::string buffer(size, '\0');
    const auto got = store_->get("k", 0, std::as_writable_bytes(std::span(buffer)), std::nullopt, deadline);
    if (!got) return fail(got.error());
    return buffer.substr(0, *got);
  }
  Result<Etag> put(const Conditions& conditions = {}, Deadline deadline = soon()) {
    return store_->put("k", net::bytes_of(kBody), {.conditions = conditions}, deadline);
  }

  static std::string md5_header(std::string_view body) {
    return "ETag: \"" + net::hex(net::md5(net::bytes_of(body))) + "\"\r\n";
  }

  static constexpr std::string_view kBody = "the body";
  ScriptedServer server_;
  std::unique_ptr<UnderStore> store_ = open(server_.endpoint());
};

TEST_F(S3UfsTest, throttled_requests_are_repeated) {
  server_.answer_error(503, "SlowDown");
  server_.answer_error(429, "TooManyRequests", "", "Retry-After: 0\r\n");
  server_.answer(200, md5_header(kBody));
  const auto etag = put();
  ASSERT_TRUE(etag) << etag.error().to_string();
  EXPECT_EQ(server_.requests().size(), 3u);
}

TEST_F(S3UfsTest, a_retry_after_beyond_the_deadline_ends_the_call_at_once) {
  server_.answer_error(503, "SlowDown", "", "Retry-After: 100\r\n");
  EXPECT_TRUE(failed_with(put(), ErrorCode::kUnavailable));
}

TEST_F(S3UfsTest, a_body_cut_short_is_read_again) {
  const std::string head = "HTTP/1.1 206 X\r\nContent-Length: 10\r\nContent-Range: bytes 0-9/10\r\nETag: \"e\"\r\n\r\n";
  server_.answer({Then::kClose, head + "01234"});
  server_.answer({Then::kKeep, head + "0123456789"});
  EXPECT_EQ(get(), "0123456789");
}

TEST_F(S3UfsTest, a_reset_connection_is_tried_again) {
  server_.answer({Then::kReset, ""});
  server_.answer(200, md5_header(kBody));
  EXPECT_TRUE(put());
}

TEST_F(S3UfsTest, bytes_that_do_not_match_their_checksum_are_read_again_then_corrupt) {
  const std::string good = "x-amz-checksum-crc32c: " + net::checksum_text(net::crc32c(net::bytes_of("0123"))) + "\r\n";
  const std::string range = "Content-Range: bytes 0-3/4\r\n";
  server_.answer(206, range + good, "01x3");
  server_.answer(206, range + good, "0123");
  EXPECT_EQ(get(), "0123");
  server_.answer(206, range + good, "01x3");
  server_.answer(206, range + good, "01x3");
  EXPECT_TRUE(failed_with(get(), ErrorCode::kCorrupt));
}

TEST_F(S3UfsTest, another_range_than_asked_for_is_corrupt) {
  for (int i = 0; i < 2; ++i) server_.answer(206, "Content-Range: bytes 5-8/100\r\n", "0123");
  EXPECT_TRUE(failed_with(get(4), ErrorCode::kCorrupt));
}

TEST_F(S3UfsTest, a_lost_reply_of_a_conditional_put_is_found_to_be_its_success) {
  server_.answer({Then::kClose, ""});
  server_.answer_error(412, "PreconditionFailed");
  server_.answer_head(200, kBody.size(), md5_header(kBody));
  const auto etag = put({.if_none_match = true});
  ASSERT_TRUE(etag) << etag.error().to_string();
  EXPECT_EQ(*etag, net::hex(net::md5(net::bytes_of(kBody))));
}

TEST_F(S3UfsTest, after_a_lost_reply_the_object_of_another_is_a_failed_precondition) {
  server_.answer({Then::kClose, ""});
  server_.answer_error(412, "PreconditionFailed");
  server_.answer_head(200, kBody.size(), md5_header("not ours"));
  EXPECT_TRUE(failed_with(put({.if_match = "old"}), ErrorCode::kPrecondition));
  // The same bytes with other metadata are another's, too.
  server_.answer({Then::kClose, ""});
  server_.answer_error(412, "PreconditionFailed");
  server_.answer_head(200, kBody.size(), md5_header(kBody) + "x-amz-meta-mode: 1\r\n");
  EXPECT_TRUE(failed_with(put({.if_match = "old"}), ErrorCode::kPrecondition));
}

TEST_F(S3UfsTest, an_encrypted_object_is_recognised_by_its_checksum) {
  server_.answer({Then::kClose, ""});
  server_.answer_error(412, "PreconditionFailed");
  server_.answer_head(200, kBody.size(),
                      "ETag: \"00000000000000000000000000000000\"\r\nx-amz-server-side-encryption: aws:kms\r\n"
                      "x-amz-checksum-crc32c: " +
                          net::checksum_text(net::crc32c(net::bytes_of(kBody))) + "\r\n");
  EXPECT_TRUE(put({.if_none_match = true}));
}

TEST_F(S3UfsTest, a_condition_that_failed_at_the_first_try_is_not_looked_into) {
  server_.answer_error(412, "PreconditionFailed");
  EXPECT_TRUE(failed_with(put({.if_none_match = true}), ErrorCode::kPrecondition));
  EXPECT_EQ(server_.requests().size(), 1u);
  server_.answer_error(404, "NoSuchKey");
  EXPECT_TRUE(failed_with(put({.if_match = "old"}), ErrorCode::kPrecondition));
}

TEST_F(S3UfsTest, an_outcome_unknown_at_the_deadline_is_said_so) {
  server_.answer({Then::kClose, ""});
  server_.answer_error(503, "SlowDown", "", "Retry-After: 100\r\n");
  EXPECT_TRUE(failed_with(put(), ErrorCode::kMayHaveHappened));
  server_.answer({Then::kClose, ""});
  server_.answer_error(503, "SlowDown", "", "Retry-After: 100\r\n");
  EXPECT_TRUE(failed_with(get(), ErrorCode::kUnavailable));
}

TEST_F(S3UfsTest, complete_may_fail_after_it_answered_200) {
  server_.answer_error(200, "InternalError");
  server_.answer(200, "", "<CompleteMultipartUploadResult><ETag>\"e-1\"</ETag></CompleteMultipartUploadResult>");
  EXPECT_EQ(store_->complete_multipart("k", "id", {{1, "p"}}, {}, soon()), "e-1");
}

TEST_F(S3UfsTest, a_completed_upload_is_recognised_after_a_lost_reply) {
  const std::string md5 = net::hex(net::md5(net::bytes_of(kBody)));
  const std::string etag = net::hex(net::md5(net::bytes_of(*net::unhex(md5)))) + "-1";
  server_.answer({Then::kClose, ""});
  server_.answer_error(404, "NoSuchUpload");
  server_.answer_head(200, kBody.size(), "ETag: \"" + etag + "\"\r\n");
  EXPECT_EQ(store_->complete_multipart("k", "id", {{1, md5}}, {}, soon()), etag);
  server_.answer_error(404, "NoSuchUpload");
  server_.answer_head(200, kBody.size(), "ETag: \"another-1\"\r\n");
  EXPECT_TRUE(failed_with(store_->complete_multipart("k", "id", {{1, md5}}, {}, soon()), ErrorCode::kNotFound));
}

TEST_F(S3UfsTest, not_found_is_believed_of_the_store_only) {
  server_.answer(404, "", "<html>no such page</html>");
  EXPECT_TRUE(failed_with(get(), ErrorCode::kDenied));
  server_.answer_error(404, "NoSuchBucket");
  EXPECT_TRUE(failed_with(get(), ErrorCode::kDenied));
  server_.answer_error(404, "NoSuchKey");
  EXPECT_TRUE(failed_with(get(), ErrorCode::kNotFound));
}

TEST_F(S3UfsTest, a_head_that_finds_nothing_makes_sure_of_the_bucket) {
  server_.answer_head(404, 0);
  server_.answer_head(404, 0);
  EXPECT_TRUE(failed_with(store_->head("k", soon()), ErrorCode::kDenied));
  server_.answer_head(404, 0);
  server_.answer_head(200, 0);
  EXPECT_TRUE(failed_with(store_->head("k", soon()), ErrorCode::kNotFound));
  server_.answer_head(404, 0);  // seen a moment ago
  EXPECT_TRUE(failed_with(store_->head("k", soon()), ErrorCode::kNotFound));
}

TEST_F(S3UfsTest, a_bucket_elsewhere_is_told_with_its_region) {
  server_.answer_error(301, "PermanentRedirect", "", "x-amz-bucket-region: eu-west-1\r\n");
  const auto moved = get();
  ASSERT_TRUE(failed_with(moved, ErrorCode::kDenied));
  EXPECT_THAT(moved.error().to_string(), HasSubstr("eu-west-1"));
  EXPECT_THAT(moved.error().to_string(), HasSubstr("s3.region"));
}

TEST_F(S3UfsTest, a_checksum_the_store_refuses_twice_is_corrupt) {
  server_.answer_error(400, "XAmzContentChecksumMismatch");
  server_.answer_error(400, "BadDigest");
  EXPECT_TRUE(failed_with(put(), ErrorCode::kCorrupt));
}

TEST_F(S3UfsTest, bodies_carry_a_checksum_and_conditions_travel) {
  server_.answer(200, md5_header(kBody));
  ASSERT_TRUE(put({.if_match = "old"}));
  const std::string request = server_.requests().at(0);
  EXPECT_THAT(request, ::testing::StartsWith("PUT /bucket/p/k HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("x-amz-checksum-crc32c: " + net::checksum_text(net::crc32c(net::bytes_of(kBody)))));
  EXPECT_THAT(request, HasSubstr("if-match: \"old\"\r\n"));
  EXPECT_THAT(request, HasSubstr("x-amz-content-sha256: " + net::hex(net::sha256(net::bytes_of(kBody)))));
  EXPECT_THAT(request, Not(HasSubstr("Expect:")));
}

TEST_F(S3UfsTest, one_connection_serves_many_requests) {
  for (int i = 0; i < 5; ++i) server_.answer(200, md5_header(kBody));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(put());
  EXPECT_EQ(static_cast<S3Ufs&>(*store_).counters().connections_opened, 1u);
}

TEST_F(S3UfsTest, virtual_host_addressing_puts_the_bucket_into_the_host) {
  auto store = open("http://localhost:" + std::to_string(server_.port()), {{"s3.addressing", "virtual"}});
  server_.answer_error(404, "NoSuchKey");
  std::array<std::byte, 1> buffer;
  EXPECT_TRUE(failed_with(store->get("k", 0, buffer, std::nullopt, soon()), ErrorCode::kNotFound));
  EXPECT_THAT(server_.requests().at(0), ::testing::StartsWith("GET /p/k HTTP/1.1\r\n"));
  EXPECT_THAT(server_.requests().at(0), HasSubstr("ost: bucket.localhost:"));
}

TEST_F(S3UfsTest, renewed_credentials_are_taken_up_after_a_403) {
  const auto file = std::filesystem::temp_directory_path() / ("weir-credentials-" + std::to_string(::getpid()));
  const auto write = [&](const std::string& key) {
    std::ofstream(file) << "# a comment\n[other]\naws_access_key_id = no\naws_secret_access_key = no\n[default]\n"
                        << "aws_access_key_id = " << key << "\naws_secret_access_key=s\naws_session_token = t=1\n";
  };
  write("first");
  auto opened = open_ufs("s3://bucket", {{{"s3.endpoint", server_.endpoint()},
                                          {"s3.credentials.file", file.string()},
                                          {"s3.credentials.profile", "default"}}});
  ASSERT_TRUE(opened) << opened.error().to_string();
  server_.answer_error(404, "NoSuchKey");
  std::array<std::byte, 1> buffer;
  (void)(*opened)->get("k", 0, buffer, std::nullopt, soon());
  write("second");
  server_.answer_error(403, "ExpiredToken");
  server_.answer_error(404, "NoSuchKey");
  EXPECT_TRUE(failed_with((*opened)->get("k", 0, buffer, std::nullopt, soon()), ErrorCode::kNotFound));
  // Unchanged, they are not tried a second time.
  server_.answer_error(403, "ExpiredToken");
  EXPECT_TRUE(failed_with((*opened)->get("k", 0, buffer, std::nullopt, soon()), ErrorCode::kDenied));
  ASSERT_EQ(server_.requests().size(), 4u);
  EXPECT_THAT(server_.requests()[1], HasSubstr("Credential=first/"));
  EXPECT_THAT(server_.requests()[2], HasSubstr("Credential=second/"));
  EXPECT_THAT(server_.requests()[2], HasSubstr("x-amz-security-token: t=1\r\n"));
  std::filesystem::remove(file);
}

TEST(S3UfsUnreachable, a_black_hole_takes_no_longer_than_the_deadline) {
  const Listener hole;
  const auto store = open(hole.endpoint());
  const auto moment = [] { return Deadline::after(std::chrono::milliseconds(300)); };
  EXPECT_TRUE(failed_with(store->head("k", moment()), ErrorCode::kTimedOut));
  EXPECT_TRUE(failed_with(store->probe(moment()), ErrorCode::kTimedOut));
  EXPECT_TRUE(failed_with(store->put("k", net::bytes_of("x"), {}, moment()), ErrorCode::kMayHaveHappened));
  EXPECT_TRUE(failed_with(store->list({}, moment()), ErrorCode::kTimedOut));
}

TEST(S3UfsUnreachable, a_stop_ends_waiting_calls) {
  const Listener hole;
  const auto store = open(hole.endpoint());
  std::jthread stopper([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    store->stop();
  });
  EXPECT_TRUE(failed_with(store->head("k", Deadline::never()), ErrorCode::kCancelled));
  EXPECT_TRUE(failed_with(store->head("k", Deadline::never()), ErrorCode::kCancelled));
}

TEST(S3UfsUnreachable, callers_beyond_the_connections_wait_until_their_deadline) {
  const Listener hole;
  const auto store = open(hole.endpoint(), {{"s3.connections.max", "1"}});
  std::jthread first([&] { (void)store->head("k", Deadline::after(std::chrono::milliseconds(500))); });
  EXPECT_TRUE(failed_with(store->head("k", Deadline::after(std::chrono::milliseconds(100))), ErrorCode::kTimedOut));
}

TEST(S3UfsUnreachable, a_refused_port_is_unavailable_and_named) {
  std::string endpoint;
  { endpoint = Listener().endpoint(); }
  const auto store = open(endpoint);
  const auto found = store->head("k", Deadline::after(std::chrono::milliseconds(200)));
  ASSERT_TRUE(failed_with(found, ErrorCode::kUnavailable));
  EXPECT_THAT(found.error().to_string(), HasSubstr(endpoint));
  EXPECT_THAT(found.error().to_string(), HasSubstr("s3.endpoint"));
  // Nothing can have happened.
  EXPECT_TRUE(failed_with(store->put("k", {}, {}, Deadline::after(std::chrono::milliseconds(200))),
                          ErrorCode::kUnavailable));
}

TEST(OpenUfs, bad_uris_and_properties_are_refused_by_name) {
  const auto message = [](std::string_view uri, UfsProperties properties) {
    const auto store = open_ufs(uri, {std::move(properties)});
    if (store) return std::string("opened");
    EXPECT_EQ(store.error(), ErrorCode::kInvalid) << store.error().to_string();
    return store.error().to_string();
  };
  EXPECT_THAT(message("s3://bucket", {{"s3.endpoint", "127.0.0.1:9000"}}), HasSubstr("http://127.0.0.1:9000"));
  EXPECT_THAT(message("s3://bucket", {{"s3.endpoint", "ftp://x"}}), HasSubstr("s3.endpoint"));
  EXPECT_THAT(message("s3://bucket", {{"s3.endpiont", "http://x"}}), HasSubstr("s3.endpiont"));
  EXPECT_THAT(message("s3://bucket", {{"s3.connections.max", "many"}}), HasSubstr("s3.connections.max"));
  EXPECT_THAT(message("s3://bucket", {{"s3.addressing", "host"}}), HasSubstr("path"));
  EXPECT_THAT(message("s3://bucket", {{"s3.stall.timeout", "0s"}}), HasSubstr("s3.stall.timeout"));
  EXPECT_THAT(message("s3://bucket", {{"s3.access.key", "k"}}), HasSubstr("s3.secret.key"));
  EXPECT_THAT(message("s3:///prefix", {}), HasSubstr("bucket name"));
  EXPECT_THAT(message("bucket", {}), HasSubstr("s3://bucket/prefix"));
  EXPECT_THAT(message("file://relative/x", {}), HasSubstr("file:///directory"));
  EXPECT_THAT(message("file:///tmp", {{"s3.region", "x"}}), HasSubstr("s3.region"));
  const auto absent = open_ufs("file:///no/such/directory", {});
  ASSERT_TRUE(failed_with(absent, ErrorCode::kDenied));
  EXPECT_THAT(absent.error().to_string(), HasSubstr("create it"));
}

TEST(Credentials, settings_win_over_the_environment_and_that_over_the_file) {
  std::map<std::string, std::string> variables;
  const Environment environment = [&](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  };
  const auto key = [&](const CredentialSettings& settings) {
    const auto source = find_credentials(settings, environment);
    if (!source) return source.error().to_string();
    const auto credentials = (*source)->current();
    return credentials ? credentials->access_key : credentials.error().to_string();
  };
  variables["AWS_SHARED_CREDENTIALS_FILE"] = "/no/such/file";
  EXPECT_THAT(key({}), HasSubstr("/no/such/file"));
  EXPECT_THAT(key({}), HasSubstr("AWS_ACCESS_KEY_ID"));
  variables["AWS_ACCESS_KEY_ID"] = "from environment";
  EXPECT_THAT(key({}), HasSubstr("together"));
  variables["AWS_SECRET_ACCESS_KEY"] = "s";
  EXPECT_EQ(key({}), "from environment");
  EXPECT_EQ(key({.access_key = "from settings", .secret_key = "s"}), "from settings");
}

}  // namespace
}  // namespace weir::ufs
