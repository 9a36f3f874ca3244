// The endpoint over objects in memory, as a client sees it.
#include "s3/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "net/checksum.h"
#include "s3/test_client.h"
#include "testing/mem_objects.h"
#include "testing/s3_endpoint.h"

namespace weir::s3 {
namespace {

using testing::element;
using testing::Endpoint;
using testing::md5_of;
using testing::MemObjects;
using testing::MemObjectsOptions;
using ::testing::HasSubstr;
using ::testing::Not;

std::string random_text(size_t size, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

TEST(Server, an_object_is_put_read_and_erased) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  const TestResponse put = client.put("/s3/a/b%20c", "content", {{"Content-Type", "text/plain"}, {"x-amz-meta-Colour", "blue"}});
  EXPECT_EQ(put.status, 200) << put.body;
  EXPECT_EQ(put.header("etag"), '"' + md5_of("content") + '"');
  EXPECT_EQ(put.header("x-amz-checksum-crc64nvme"), net::checksum_text(net::crc64_nvme(net::bytes_of("content"))));
  EXPECT_EQ(put.header("x-weir-state"), "NOT_PERSISTED");
  EXPECT_FALSE(put.header("x-amz-request-id").empty());

  const TestResponse got = client.get("/s3/a/b%20c");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, "content");
  EXPECT_EQ(got.header("etag"), put.header("etag"));
  EXPECT_EQ(got.header("content-type"), "text/plain");
  EXPECT_EQ(got.header("x-amz-meta-colour"), "blue");
  EXPECT_EQ(got.header("content-range"), "");
  EXPECT_EQ(got.header("x-amz-checksum-crc64nvme"), "");

  const TestResponse head = client.head("/s3/a/b%20c", {{"x-amz-checksum-mode", "ENABLED"}});
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.header("content-length"), "7");
  EXPECT_EQ(head.header("etag"), put.header("etag"));
  EXPECT_EQ(head.header("x-amz-checksum-type"), "FULL_OBJECT");

  EXPECT_EQ(client.erase("/s3/a/b%20c").status, 204);
  EXPECT_EQ(client.erase("/s3/a/b%20c").status, 204);
  const TestResponse gone = client.get("/s3/a/b%20c");
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(element(gone.body, "Code"), "NoSuchKey");
  EXPECT_EQ(element(gone.body, "RequestId"), gone.header("x-amz-request-id"));
  EXPECT_EQ(client.head("/s3/a/b%20c").status, 404);
}

TEST(Server, calls_that_would_wait_are_repeated_where_they_may) {
  Endpoint endpoint({.waits = true});
  TestClient client = endpoint.client();
  const std::string content = random_text(3'000'000);
  EXPECT_EQ(client.put("/s3/a", content).status, 200);
  EXPECT_TRUE(client.get("/s3/a").body == content);
  EXPECT_EQ(element(client.get("/s3?list-type=2").body, "KeyCount"), "1");
  EXPECT_EQ(client.erase("/s3/a").status, 204);
  EXPECT_GT(endpoint.server().statistics().moved(), 3u);
}

TEST(Server, large_bodies_travel_whole_with_and_without_a_local_file) {
  for (const bool local_files : {false, true}) {
    Endpoint endpoint({.local_files = local_files});
    TestClient client = endpoint.client();
    for (const size_t size : {size_t{0}, size_t{1}, size_t{65'536}, size_t{65'537}, size_t{262'144}, size_t{5'000'001}}) {
      const std::string content = random_text(size, size);
      ASSERT_EQ(client.put("/s3/large", content).status, 200);
      const TestResponse got = client.get("/s3/large");
      ASSERT_EQ(got.status, 200);
      EXPECT_TRUE(got.body == content) << size;
    }
    const std::string content = random_text(5'000'001, 5'000'001);
    const TestResponse range = client.get("/s3/large", {{"Range", "bytes=1000000-4000000"}});
    EXPECT_EQ(range.status, 206);
    EXPECT_EQ(range.header("content-range"), "bytes 1000000-4000000/5000001");
    EXPECT_TRUE(range.body == content.substr(1'000'000, 3'000'001));
    EXPECT_TRUE(client.get("/s3/large", {{"Range", "bytes=-10"}}).body == content.substr(content.size() - 10));
    const TestResponse beyond = client.get("/s3/large", {{"Range", "bytes=5000001-"}});
    EXPECT_EQ(beyond.status, 416);
    EXPECT_EQ(beyond.header("content-range"), "bytes */5000001");
    EXPECT_EQ(client.get("/s3/large", {{"Range", "bytes=5-1"}}).status, 200);
  }
}

TEST(Server, requests_sent_at_once_are_answered_in_order) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  std::string text;
  for (int i = 0; i < 20; ++i) {
    const std::string body = "body " + std::to_string(i);
    text += client.signed_head({.method = "PUT", .target = "/s3/" + std::to_string(i), .headers = {}, .body = body}) + body;
    text += client.signed_head({.target = "/s3/" + std::to_string(i)});
  }
  client.send(text);
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(client.read_response().status, 200);
    EXPECT_EQ(client.read_response().body, "body " + std::to_string(i));
  }
}

TEST(Server, a_head_in_pieces_of_one_byte_is_a_head) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  const std::string text = client.signed_head({.method = "PUT", .target = "/s3/a", .headers = {}, .body = "content"}) + "content";
  for (const char c : text) client.send({&c, 1});
  EXPECT_EQ(client.read_response().status, 200);
  EXPECT_EQ(client.get("/s3/a").body, "content");
}

TEST(Server, a_client_that_asks_is_told_to_go_on_and_only_when_its_body_is_wanted) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  client.send(client.signed_head({.method = "PUT", .target = "/s3/a", .headers = {{"Expect", "100-continue"}}, .body = "content"}));
  EXPECT_EQ(client.read_response().status, 100);
  client.send("content");
  EXPECT_EQ(client.read_response().status, 200);
  client.send(client.signed_head({.method = "PUT", .target = "/s3/a", .headers = {{"Expect", "100-continue"}}, .body = ""}));
  EXPECT_EQ(client.read_response().status, 100);
  EXPECT_EQ(client.read_response().status, 200);
  client.send(client.signed_head({.method = "PUT", .target = "/nowhere/a", .headers = {{"Expect", "100-continue"}}, .body = "content"}));
  const TestResponse refused = client.read_response();
  EXPECT_EQ(refused.status, 404);
  EXPECT_EQ(refused.header("connection"), "close");
  EXPECT_TRUE(client.closed());
}

TEST(Server, a_refused_body_does_not_confuse_the_next_request) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  EXPECT_EQ(client.put("/nowhere/a", random_text(100'000)).status, 404);
  EXPECT_EQ(client.put("/s3/a", "content").status, 200);
  EXPECT_EQ(client.get("/s3/a").body, "content");
  // Too much to read for nothing.
  const TestResponse refused = client.put("/nowhere/a", random_text(1'000'000));
  EXPECT_EQ(refused.status, 404);
  EXPECT_EQ(refused.header("connection"), "close");
}

TEST(Server, a_body_that_ends_early_commits_nothing) {
  Endpoint endpoint;
  {
    TestClient client = endpoint.client();
    client.send(client.signed_head({.method = "PUT", .target = "/s3/a", .headers = {}, .body = "whole content"}) + "whole");
    ::shutdown(client.socket(), SHUT_WR);
    EXPECT_TRUE(client.closed());
  }
  TestClient client = endpoint.client();
  EXPECT_EQ(client.get("/s3/a").status, 404);
}

// Semantics 8.2, below the mount.
TEST(Server, what_is_wrong_with_a_body_is_told_and_nothing_is_committed) {
  struct Case {
    net::Headers headers;
    std::string payload_hash;
    std::string code;
  };
  const Case cases[] = {
      {{{"Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA=="}}, "", "BadDigest"},
      {{{"Content-MD5", "AAAA"}}, "", "InvalidDigest"},
      {{{"x-amz-checksum-crc32", "AAAAAA=="}}, "", "BadDigest"},
      {{{"x-amz-checksum-crc32", "AAAA"}}, "", "InvalidRequest"},
      {{{"x-amz-checksum-crc32", "AAAAAA=="}, {"x-amz-checksum-crc32c", "AAAAAA=="}}, "", "InvalidRequest"},
      {{{"x-amz-sdk-checksum-algorithm", "CRC32"}}, "", "InvalidRequest"},
      {{{"x-amz-sdk-checksum-algorithm", "CRC32"}, {"x-amz-checksum-crc32c", "AAAAAA=="}}, "", "InvalidRequest"},
      {{}, std::string(64, '0'), "XAmzContentSHA256Mismatch"},
      {{}, "nonsense", "InvalidArgument"},
      {{}, "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"},
      {{{"x-amz-storage-class", "FAST"}}, "", "InvalidStorageClass"},
      {{{"x-amz-tagging", "a=1&a=2"}}, "", "InvalidArgument"},
      {{{"x-amz-acl", "everybody"}}, "", "InvalidArgument"},
      {{{"x-amz-server-side-encryption", "aws:kms"}}, "", "NotImplemented"},
      {{{"x-amz-server-side-encryption-customer-algorithm", "AES256"}}, "", "NotImplemented"},
      {{{"If-None-Match", "\"abc\""}}, "", "NotImplemented"},
      {{{"x-weir-durability", "sometimes"}}, "", "InvalidArgument"},
      {{{"x-amz-meta-long", std::string(2'049, 'x')}}, "", "MetadataTooLarge"},
  };
  Endpoint endpoint;
  TestClient client = endpoint.client();
  for (const Case& c : cases) {
    const TestResponse response = client.exchange(
        {.method = "PUT", .target = "/s3/a", .headers = c.headers, .body = "content", .payload_hash = c.payload_hash});
    EXPECT_EQ(element(response.body, "Code"), c.code) << response.body;
    EXPECT_EQ(client.head("/s3/a").status, 404) << c.code;
  }
}

// Semantics 8.3, below the mount.
TEST(Server, checksums_of_all_kinds_are_verified_kept_and_told) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  const auto bytes = net::bytes_of("content");
  const std::pair<std::string, std::string> sums[] = {
      {"x-amz-checksum-crc32", net::checksum_text(net::crc32(bytes))},
      {"x-amz-checksum-crc32c", net::checksum_text(net::crc32c(bytes))},
      {"x-amz-checksum-crc64nvme", net::checksum_text(net::crc64_nvme(bytes))},
      {"x-amz-checksum-sha1", net::base64(net::sha1(bytes))},
      {"x-amz-checksum-sha256", net::base64(net::sha256(bytes))},
  };
  for (const auto& [name, value] : sums) {
    const TestResponse put = client.put("/s3/a", "content", {{name, value}});
    EXPECT_EQ(put.status, 200) << put.body;
    EXPECT_EQ(put.header(name), value);
    EXPECT_EQ(client.get("/s3/a", {{"x-amz-checksum-mode", "ENABLED"}}).header(name), value);
    EXPECT_EQ(client.get("/s3/a").header(name), "");
    EXPECT_EQ(client.get("/s3/a", {{"x-amz-checksum-mode", "ENABLED"}, {"Range", "bytes=0-1"}}).header(name), "");
  }
}

// --- authorization

TEST(Server, who_is_not_let_in_gets_the_reason_and_no_data) {
  Endpoint endpoint;
  EXPECT_EQ(endpoint.client().put("/s3/a", "secret").status, 200);
  const auto refusal = [&](const std::string& text) {
    TestClient client = endpoint.client();
    client.send(text);
    const TestResponse response = client.read_response();
    EXPECT_THAT(response.body, Not(HasSubstr("secret")));
    return std::to_string(response.status) + ' ' + element(response.body, "Code");
  };
  TestClient good = endpoint.client();
  const std::string host = good.host();
  EXPECT_EQ(refusal("GET /s3/a HTTP/1.1\r\nHost: " + host + "\r\n\r\n"), "403 AccessDenied");
  EXPECT_EQ(refusal("GET /s3/a HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: AWS id:signature\r\n\r\n"), "400 InvalidRequest");
  EXPECT_EQ(refusal("GET /s3/a HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: AWS4-ECDSA-P256-SHA256 Credential=x\r\n\r\n"), "501 NotImplemented");
  EXPECT_EQ(refusal("GET /s3/a HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: AWS4-HMAC-SHA256 nonsense\r\n\r\n"), "400 AuthorizationHeaderMalformed");
  const auto credentials = endpoint.credentials();
  EXPECT_EQ(refusal(TestClient(endpoint.server().port(), {"WEIRNOBODY", credentials.secret_key, ""}).signed_head({.target = "/s3/a"})),
            "403 InvalidAccessKeyId");
  EXPECT_EQ(refusal(TestClient(endpoint.server().port(), {credentials.access_key, "wrongsecret", ""}).signed_head({.target = "/s3/a"})),
            "403 SignatureDoesNotMatch");
  const WallTime now = system_clock().wall_now();
  EXPECT_EQ(refusal(good.signed_head({.target = "/s3/a"}, now - std::chrono::minutes(16))), "403 RequestTimeTooSkewed");
  EXPECT_EQ(refusal(good.signed_head({.target = "/s3/a"}, now + std::chrono::minutes(16))), "403 RequestTimeTooSkewed");
  std::string other_key = good.signed_head({.target = "/s3/b"});
  other_key.replace(other_key.find("/s3/b"), 5, "/s3/a");
  EXPECT_EQ(refusal(other_key), "403 SignatureDoesNotMatch");
  std::string unsigned_header = good.signed_head({.method = "PUT", .target = "/s3/b", .headers = {}, .body = ""});
  unsigned_header.insert(unsigned_header.size() - 2, "x-amz-copy-source: /s3/a\r\n");
  EXPECT_EQ(refusal(unsigned_header), "403 AccessDenied");
  EXPECT_EQ(good.get("/s3/a").body, "secret");
}

TEST(Server, a_presigned_url_opens_one_object_for_a_time) {
  Endpoint endpoint;
  EXPECT_EQ(endpoint.client().put("/s3/a", "content").status, 200);
  const WallTime now = system_clock().wall_now();
  const auto get = [&](std::string_view path, WallTime signed_at, std::chrono::seconds valid) {
    TestClient client = endpoint.client();
    const net::Query query = net::presign("GET", client.host(), path, {}, endpoint.credentials(), "us-east-1", signed_at, valid);
    client.send("GET /s3/a?" + net::query_text(query) + " HTTP/1.1\r\nHost: " + client.host() + "\r\n\r\n");
    const TestResponse response = client.read_response();
    return response.status == 200 ? response.body : element(response.body, "Code");
  };
  using std::chrono::seconds;
  EXPECT_EQ(get("/s3/a", now, seconds(60)), "content");
  EXPECT_EQ(get("/s3/a", now - std::chrono::hours(1), seconds(3'700)), "content");
  EXPECT_EQ(get("/s3/a", now - std::chrono::hours(1), seconds(3'500)), "AccessDenied");
  EXPECT_EQ(get("/s3/a", now + std::chrono::hours(1), seconds(60)), "AccessDenied");
  EXPECT_EQ(get("/s3/a", now, seconds(604'801)), "AuthorizationQueryParametersError");
  EXPECT_EQ(get("/s3/b", now, seconds(60)), "SignatureDoesNotMatch");
}

// Semantics 8.1, below the mount.
TEST(Server, keys_reach_as_far_as_their_scope) {
  Endpoint endpoint({.buckets = {"other", "s3"}});
  const auto client_of = [&](Scope scope) {
    const AccessKey key = *endpoint.keys().add({.scope = std::move(scope)});
    return TestClient(endpoint.server().port(), {key.id, key.secret, ""});
  };
  TestClient all = endpoint.client();
  EXPECT_EQ(all.put("/s3/docs/a", "docs").status, 200);
  EXPECT_EQ(all.put("/s3/private", "private").status, 200);
  TestClient reader = client_of({.bucket = "s3", .prefix = "docs/", .rights = Rights::kReadOnly});
  EXPECT_EQ(reader.get("/s3/docs/a").body, "docs");
  EXPECT_EQ(reader.get("/s3/private").status, 403);
  EXPECT_EQ(reader.put("/s3/docs/b", "x").status, 403);
  EXPECT_EQ(reader.erase("/s3/docs/a").status, 403);
  EXPECT_EQ(reader.get("/s3?list-type=2").status, 403);
  EXPECT_EQ(reader.get("/s3?list-type=2&prefix=docs/").status, 200);
  EXPECT_EQ(reader.get("/other?list-type=2&prefix=docs/").status, 403);
  EXPECT_EQ(reader.head("/s3").status, 200);
  EXPECT_EQ(reader.head("/other").status, 403);
  EXPECT_EQ(element(reader.get("/").body, "Name"), "s3");
  TestClient writer = client_of({.bucket = "s3", .prefix = "docs/"});
  EXPECT_EQ(writer.put("/s3/docs/b", "x").status, 200);
  EXPECT_EQ(writer.put("/s3/elsewhere", "x").status, 403);
  EXPECT_EQ(writer.put("/s3/docs/c", "", {{"x-amz-copy-source", "/s3/private"}}).status, 403);
  EXPECT_EQ(writer.put("/s3/docs/c", "", {{"x-amz-copy-source", "/s3/docs/a"}}).status, 200);
  const TestResponse deleted = writer.post("/s3?delete", "<Delete><Object><Key>docs/b</Key></Object><Object><Key>private</Key></Object></Delete>");
  EXPECT_EQ(element(deleted.body, "Deleted"), "<Key>docs/b</Key>");
  EXPECT_THAT(element(deleted.body, "Error"), HasSubstr("AccessDenied"));
  EXPECT_EQ(all.get("/s3/private").body, "private");
  EXPECT_EQ(writer.put("/bucket", "").status, 403);
}

TEST(Server, a_removed_key_opens_nothing_any_more) {
  Endpoint endpoint;
  const AccessKey key = *endpoint.keys().add({});
  TestClient client(endpoint.server().port(), {key.id, key.secret, ""});
  EXPECT_EQ(client.get("/").status, 200);
  ASSERT_TRUE(endpoint.keys().remove(key.id).has_value());
  EXPECT_EQ(element(client.get("/").body, "Code"), "InvalidAccessKeyId");
}

TEST(Server, without_keys_it_listens_on_loopback_alone) {
  for (const AuthMode mode : {AuthMode::kAnonymous, AuthMode::kAny}) {
    ServerOptions options;
    options.front.auth = mode;
    Endpoint endpoint({}, options);
    TestClient client = endpoint.client();
    client.send("PUT /s3/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_EQ(client.read_response().status, 200);
    client.send("GET /s3/a HTTP/1.1\r\nHost: x\r\nAuthorization: AWS4-HMAC-SHA256 Credential=a/20200101/r/s3/aws4_request, "
                "SignedHeaders=host, Signature=0\r\n\r\n");
    EXPECT_EQ(client.read_response().status, mode == AuthMode::kAny ? 200 : 403);
    options.address = "0.0.0.0";
    MemObjects objects;
    EXPECT_EQ(Server::start(options, objects, endpoint.keys(), system_clock()).error().code(), ErrorCode::kInvalid);
  }
}

// --- what is asked for

TEST(Server, unknown_subresources_and_methods_never_fall_through) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  EXPECT_EQ(client.put("/s3/a", "content").status, 200);
  for (const char* target : {"/s3/a?torrent", "/s3/a?restore", "/s3/a?unheard", "/s3?inventory&id=x", "/s3?metrics", "/s3/a?select&select-type=2"})
    EXPECT_EQ(client.get(target).status, 501) << target;
  EXPECT_EQ(client.post("/s3/a?restore", "").status, 501);
  EXPECT_EQ(client.put("/s3?lifecycle", "<x/>").status, 501);
  EXPECT_EQ(client.post("/s3/a", "").status, 405);
  EXPECT_EQ(client.erase("/").status, 405);
  EXPECT_EQ(client.get("/s3/a?x-id=GetObject").body, "content");
}

// Semantics 8.4, below the mount.
TEST(Server, canned_answers_are_those_of_a_plain_bucket) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  EXPECT_EQ(client.put("/s3/a", "content").status, 200);
  const auto code = [&](const std::string& target) { return element(client.get(target).body, "Code"); };
  EXPECT_EQ(code("/s3?policy"), "NoSuchBucketPolicy");
  EXPECT_EQ(code("/s3?cors"), "NoSuchCORSConfiguration");
  EXPECT_EQ(code("/s3?lifecycle"), "NoSuchLifecycleConfiguration");
  EXPECT_EQ(code("/s3?tagging"), "NoSuchTagSet");
  EXPECT_EQ(code("/s3?encryption"), "ServerSideEncryptionConfigurationNotFoundError");
  EXPECT_EQ(code("/s3?object-lock"), "ObjectLockConfigurationNotFoundError");
  EXPECT_EQ(code("/s3?replication"), "ReplicationConfigurationNotFoundError");
  EXPECT_EQ(code("/s3?website"), "NoSuchWebsiteConfiguration");
  EXPECT_EQ(code("/s3/a?retention"), "NoSuchObjectLockConfiguration");
  EXPECT_EQ(code("/nowhere?policy"), "NoSuchBucket");
  EXPECT_THAT(client.get("/s3?versioning").body, HasSubstr("VersioningConfiguration"));
  EXPECT_THAT(client.get("/s3?location").body, HasSubstr("LocationConstraint"));
  EXPECT_THAT(client.get("/s3?acl").body, HasSubstr("FULL_CONTROL"));
  EXPECT_THAT(client.get("/s3/a?acl").body, HasSubstr("FULL_CONTROL"));
  EXPECT_EQ(client.get("/s3/b?acl").status, 404);
}

TEST(Server, a_host_below_a_domain_names_the_bucket) {
  ServerOptions options;
  options.front.domains = {"weir.example"};
  options.front.auth = AuthMode::kAny;
  Endpoint endpoint({}, options);
  TestClient client = endpoint.client();
  client.send("PUT /a HTTP/1.1\r\nHost: s3.weir.example:29998\r\nContent-Length: 1\r\n\r\n1");
  EXPECT_EQ(client.read_response().status, 200);
  client.send("GET /s3/a HTTP/1.1\r\nHost: weir.example\r\n\r\n");
  EXPECT_EQ(client.read_response().body, "1");
}

TEST(Server, conditions_answer_304_and_412) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  const std::string etag(client.put("/s3/a", "content").header("etag"));
  EXPECT_EQ(client.get("/s3/a", {{"If-None-Match", etag}}).status, 304);
  EXPECT_EQ(client.get("/s3/a", {{"If-Match", "\"other\""}}).status, 412);
  EXPECT_EQ(client.get("/s3/a", {{"If-Match", etag}}).status, 200);
  EXPECT_EQ(client.put("/s3/a", "more", {{"If-None-Match", "*"}}).status, 412);
  EXPECT_EQ(client.put("/s3/a", "more", {{"If-Match", "\"other\""}}).status, 412);
  EXPECT_EQ(client.put("/s3/b", "more", {{"If-Match", etag}}).status, 404);
  EXPECT_EQ(client.put("/s3/b", "more", {{"If-None-Match", "*"}}).status, 200);
  EXPECT_EQ(client.put("/s3/a", "more", {{"If-Match", etag}}).status, 200);
  EXPECT_EQ(client.erase("/s3/a", {{"If-Match", etag}}).status, 412);
}

TEST(Server, keys_of_any_bytes_are_listed_page_by_page) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  for (const char* key : {"a-b", "a/x", "a0", "b%20c", "d%26%3Ce", "%C3%A4", "z%0A"}) EXPECT_EQ(client.put("/s3/" + std::string(key), "x").status, 200);
  std::string keys;
  std::string token;
  for (int pages = 0; pages < 20; ++pages) {
    const TestResponse page = client.get("/s3?list-type=2&max-keys=2&encoding-type=url" + (token.empty() ? "" : "&continuation-token=" + token));
    ASSERT_EQ(page.status, 200);
    for (size_t at = page.body.find("<Key>"); at != std::string::npos; at = page.body.find("<Key>", at + 1))
      keys += page.body.substr(at + 5, page.body.find("</Key>", at) - at - 5) + ' ';
    if (element(page.body, "IsTruncated") == "false") break;
    token = element(page.body, "NextContinuationToken");
  }
  EXPECT_EQ(keys, "a-b a/x a0 b%20c d%26%3Ce z%0A %C3%A4 ");
  EXPECT_THAT(client.get("/s3?prefix=d").body, HasSubstr("<Key>d&amp;&lt;e</Key>"));
  EXPECT_THAT(client.get("/s3?prefix=z").body, HasSubstr("<Key>z&#x0A;</Key>"));
  const std::string grouped = client.get("/s3?delimiter=/&prefix=a").body;
  EXPECT_EQ(element(grouped, "CommonPrefixes"), "<Prefix>a/</Prefix>");
  EXPECT_THAT(client.get("/s3?versions&max-keys=1").body, HasSubstr("<VersionId>null</VersionId>"));
  EXPECT_EQ(client.get("/s3?max-keys=-1").status, 400);
  EXPECT_EQ(client.get("/s3?max-keys=x").status, 400);
  EXPECT_EQ(client.get("/s3?list-type=2&continuation-token=x").status, 400);
  EXPECT_EQ(element(client.get("/s3?list-type=2&max-keys=0").body, "IsTruncated"), "false");
  EXPECT_EQ(client.get("/nowhere?list-type=2").status, 404);
}

TEST(Server, tags_are_kept) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  EXPECT_EQ(client.put("/s3/a", "content", {{"x-amz-tagging", "project=weir&empty"}}).status, 200);
  EXPECT_EQ(client.head("/s3/a").header("x-amz-tagging-count"), "2");
  EXPECT_THAT(client.get("/s3/a?tagging").body, HasSubstr("<Tag><Key>project</Key><Value>weir</Value></Tag>"));
  const std::string tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>&lt;v&gt;</Value></Tag></TagSet></Tagging>";
  EXPECT_EQ(client.put("/s3/a?tagging", tagging).status, 200);
  EXPECT_THAT(client.get("/s3/a?tagging").body, HasSubstr("<Value>&lt;v&gt;</Value>"));
  EXPECT_EQ(client.erase("/s3/a?tagging").status, 204);
  EXPECT_EQ(client.head("/s3/a").header("x-amz-tagging-count"), "");
  EXPECT_EQ(element(client.put("/s3/a?tagging", "<Tagging").body, "Code"), "MalformedXML");
}

TEST(Server, an_object_is_copied_with_its_facts_or_new_ones) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  const std::string etag(client.put("/s3/a%2Bb", "content", {{"x-amz-meta-k", "v"}}).header("etag"));
  const TestResponse copied = client.put("/s3/c", "", {{"x-amz-copy-source", "/s3/a%2Bb"}});
  EXPECT_EQ(copied.status, 200) << copied.body;
  EXPECT_THAT(copied.body, HasSubstr("<ETag>&quot;" + md5_of("content") + "&quot;</ETag>"));
  EXPECT_EQ(client.get("/s3/c").header("x-amz-meta-k"), "v");
  EXPECT_EQ(client.put("/s3/c", "", {{"x-amz-copy-source", "s3/a%2Bb"}, {"x-amz-metadata-directive", "REPLACE"}, {"x-amz-meta-n", "1"}}).status, 200);
  EXPECT_EQ(client.get("/s3/c").header("x-amz-meta-k"), "");
  EXPECT_EQ(client.get("/s3/c").header("x-amz-meta-n"), "1");
  EXPECT_EQ(element(client.put("/s3/c", "", {{"x-amz-copy-source", "/s3/c"}}).body, "Code"), "InvalidRequest");
  EXPECT_EQ(client.put("/s3/c", "", {{"x-amz-copy-source", "/s3/c"}, {"x-amz-metadata-directive", "REPLACE"}}).status, 200);
  EXPECT_EQ(client.put("/s3/d", "", {{"x-amz-copy-source", "/s3/c"}, {"x-amz-copy-source-if-match", "\"x\""}}).status, 412);
  EXPECT_EQ(client.put("/s3/d", "", {{"x-amz-copy-source", "/s3/c"}, {"x-amz-copy-source-if-none-match", etag}}).status, 412);
  EXPECT_EQ(client.put("/s3/d", "", {{"x-amz-copy-source", "/s3/missing"}}).status, 404);
  EXPECT_EQ(client.put("/s3/d", "", {{"x-amz-copy-source", "nonsense"}}).status, 400);
}

TEST(Server, many_are_erased_at_once_and_each_failure_is_told) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  for (const char* key : {"a", "b", "c"}) client.put("/s3/" + std::string(key), key);
  const TestResponse deleted = client.post("/s3?delete",
                                           "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a</Key></Object>"
                                           "<Object><Key>missing</Key></Object><Object><Key>b</Key><ETag>\"x\"</ETag></Object>"
                                           "<Object><Key>c</Key><VersionId>7</VersionId></Object></Delete>");
  EXPECT_EQ(deleted.status, 200);
  EXPECT_THAT(deleted.body, HasSubstr("<Deleted><Key>a</Key></Deleted><Deleted><Key>missing</Key></Deleted>"));
  EXPECT_THAT(deleted.body, HasSubstr("<Error><Key>b</Key><Code>PreconditionFailed</Code>"));
  EXPECT_THAT(deleted.body, HasSubstr("<Error><Key>c</Key><Code>NoSuchVersion</Code>"));
  EXPECT_EQ(client.get("/s3/a").status, 404);
  EXPECT_EQ(client.get("/s3/b").status, 200);
  EXPECT_THAT(client.post("/s3?delete", "<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>").body, Not(HasSubstr("Deleted")));
  std::string many = "<Delete>";
  for (int i = 0; i < 1'001; ++i) many += "<Object><Key>k</Key></Object>";
  EXPECT_EQ(element(client.post("/s3?delete", many + "</Delete>").body, "Code"), "MalformedXML");
  EXPECT_EQ(element(client.exchange({.method = "POST", .target = "/s3?delete", .headers = {},
                                     .body = "<Delete><Object><Key>c</Key></Object></Delete>", .payload_hash = "UNSIGNED-PAYLOAD"}).body, "Code"),
            "InvalidRequest");
}

TEST(Server, buckets_are_listed_made_and_removed) {
  Endpoint endpoint({.bucket_root = true});
  TestClient client = endpoint.client();
  EXPECT_EQ(client.put("/another", "").status, 200);
  EXPECT_EQ(element(client.put("/another", "").body, "Code"), "BucketAlreadyOwnedByYou");
  EXPECT_EQ(element(client.put("/x", "").body, "Code"), "InvalidBucketName");
  EXPECT_THAT(client.get("/").body, HasSubstr("<Name>another</Name>"));
  EXPECT_EQ(client.head("/another").status, 200);
  client.put("/another/a", "x");
  EXPECT_EQ(element(client.erase("/another").body, "Code"), "BucketNotEmpty");
  client.erase("/another/a");
  EXPECT_EQ(client.erase("/another").status, 204);
  EXPECT_EQ(client.head("/another").status, 404);
  EXPECT_EQ(client.put("/third", "<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>").status, 200);
}

TEST(Server, parts_become_an_object) {
  Endpoint endpoint({.part_bytes_min = 10});
  TestClient client = endpoint.client();
  const TestResponse created = client.post("/s3/big?uploads", "", {{"x-amz-meta-k", "v"}});
  ASSERT_EQ(created.status, 200);
  const std::string id = element(created.body, "UploadId");
  const auto part = [&](int number) { return "/s3/big?partNumber=" + std::to_string(number) + "&uploadId=" + id; };
  EXPECT_EQ(client.put(part(2), std::string(10, 'b')).header("etag"), '"' + md5_of(std::string(10, 'b')) + '"');
  EXPECT_EQ(client.put(part(1), std::string(12, 'x')).status, 200);
  const auto crc = net::checksum_text(net::crc32(net::bytes_of(std::string(11, 'a'))));
  EXPECT_EQ(client.put(part(1), std::string(11, 'a'), {{"x-amz-checksum-crc32", crc}}).status, 200);
  EXPECT_EQ(client.put(part(1), std::string(11, 'c'), {{"x-amz-checksum-crc32", crc}}).status, 400);
  EXPECT_EQ(client.put("/s3/source", "0123456789").status, 200);
  EXPECT_EQ(client.put(part(3), "", {{"x-amz-copy-source", "/s3/source"}, {"x-amz-copy-source-range", "bytes=2-4"}}).status, 200);
  EXPECT_EQ(client.put(part(3), "", {{"x-amz-copy-source", "/s3/source"}, {"x-amz-copy-source-range", "bytes=2-10"}}).status, 400);
  EXPECT_EQ(client.put(part(0), "x").status, 400);
  EXPECT_EQ(client.put(part(10'001), "x").status, 400);
  const std::string listed = client.get("/s3/big?uploadId=" + id + "&max-parts=2").body;
  EXPECT_EQ(element(listed, "IsTruncated"), "true");
  EXPECT_EQ(element(listed, "NextPartNumberMarker"), "2");
  EXPECT_THAT(client.get("/s3?uploads").body, HasSubstr("<UploadId>" + id + "</UploadId>"));

  const auto complete = [&](std::vector<std::pair<int, std::string>> parts) {
    std::string xml = "<CompleteMultipartUpload>";
    for (const auto& [number, content] : parts)
      xml += "<Part><PartNumber>" + std::to_string(number) + "</PartNumber><ETag>\"" + md5_of(content) + "\"</ETag></Part>";
    return xml + "</CompleteMultipartUpload>";
  };
  const std::string a(11, 'a'), b(10, 'b'), c = "234";
  const std::string target = "/s3/big?uploadId=" + id;
  EXPECT_EQ(element(client.post(target, complete({{1, b}, {2, b}})).body, "Code"), "InvalidPart");
  EXPECT_EQ(element(client.post(target, complete({{2, b}, {1, a}})).body, "Code"), "InvalidPartOrder");
  EXPECT_EQ(element(client.post(target, complete({{1, a}, {2, b}, {4, c}})).body, "Code"), "InvalidPart");
  EXPECT_EQ(element(client.post(target, "<CompleteMultipartUpload/>").body, "Code"), "MalformedXML");
  EXPECT_EQ(element(client.post(target, complete({{1, a}, {2, b}, {3, c}}), {{"x-amz-mp-object-size", "9"}}).body, "Code"), "InvalidRequest");
  const TestResponse completed = client.post(target, complete({{1, a}, {2, b}, {3, c}}));
  EXPECT_EQ(completed.status, 200) << completed.body;
  const std::string etag = md5_of(*net::unhex(md5_of(a)) + *net::unhex(md5_of(b)) + *net::unhex(md5_of(c))) + "-3";
  EXPECT_EQ(element(completed.body, "ETag"), "&quot;" + etag + "&quot;");
  EXPECT_EQ(element(completed.body, "ChecksumCRC64NVME"), net::checksum_text(net::crc64_nvme(net::bytes_of(a + b + c))));
  // A client that lost the answer asks again.
  EXPECT_EQ(element(client.post(target, complete({{1, a}, {2, b}, {3, c}})).body, "ETag"), "&quot;" + etag + "&quot;");
  EXPECT_EQ(client.get("/s3/big").body, a + b + c);
  EXPECT_EQ(client.get("/s3/big").header("x-amz-meta-k"), "v");
  const TestResponse second = client.get("/s3/big?partNumber=2");
  EXPECT_EQ(second.status, 206);
  EXPECT_EQ(second.body, b);
  EXPECT_EQ(second.header("x-amz-mp-parts-count"), "3");
  EXPECT_EQ(client.get("/s3/big?partNumber=4").status, 416);
  const std::string attributes = client.get("/s3/big?attributes", {{"x-amz-object-attributes", "ETag,Checksum,ObjectParts,ObjectSize"}}).body;
  EXPECT_EQ(element(attributes, "ETag"), etag);
  EXPECT_EQ(element(attributes, "TotalPartsCount"), "3");
  EXPECT_EQ(element(attributes, "ObjectSize"), "24");
  const std::string other = element(client.post("/s3/big?uploads", "").body, "UploadId");
  EXPECT_EQ(client.erase("/s3/big?uploadId=" + other).status, 204);
  EXPECT_EQ(element(client.erase("/s3/big?uploadId=" + other).body, "Code"), "NoSuchUpload");
  EXPECT_EQ(element(client.put("/s3/big?partNumber=1&uploadId=" + other, "x").body, "Code"), "NoSuchUpload");
}

// As MinIO's Go client says it, and with the count of parts behind it.
TEST(Server, the_checksum_of_a_completed_upload_is_that_of_the_object_not_of_the_document) {
  Endpoint endpoint({.part_bytes_min = 1});
  TestClient client = endpoint.client();
  const auto crc = [](std::string_view text) { return net::checksum_text(net::crc32c(net::bytes_of(text))); };
  const std::string composite = crc(*net::unbase64(crc("first")) + *net::unbase64(crc("second")));
  std::string xml = "<CompleteMultipartUpload>";
  for (const char* content : {"first", "second"}) {
    xml += std::string("<Part><PartNumber>") + (content[0] == 'f' ? '1' : '2') + "</PartNumber><ETag>" + md5_of(content) + "</ETag></Part>";
  }
  xml += "</CompleteMultipartUpload>";
  for (const auto& [given, expected] : {std::pair{composite, 200}, {composite + "-2", 200}, {crc("other"), 400}, {composite + "-3", 400}}) {
    const std::string id = element(
        client.post("/s3/big?uploads", "", {{"x-amz-checksum-algorithm", "CRC32C"}, {"x-amz-checksum-type", "COMPOSITE"}}).body, "UploadId");
    const std::string target = "/s3/big?uploadId=" + id;
    EXPECT_EQ(client.put(target + "&partNumber=1", "first", {{"x-amz-checksum-crc32c", crc("first")}}).status, 200);
    EXPECT_EQ(client.put(target + "&partNumber=2", "second", {{"x-amz-checksum-crc32c", crc("second")}}).status, 200);
    const TestResponse completed = client.post(target, xml, {{"x-amz-checksum-crc32c", given}});
    EXPECT_EQ(completed.status, expected) << given << completed.body;
    if (expected == 200) {
      EXPECT_EQ(element(completed.body, "ChecksumCRC32C"), composite + "-2");
    } else {
      EXPECT_EQ(element(completed.body, "Code"), "BadDigest");
    }
  }
}

TEST(Server, uploads_are_listed_with_prefixes_folded_page_by_page) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  for (const char* key : {"a", "b/1", "b/2", "b/2", "c"}) EXPECT_EQ(client.post("/s3/" + std::string(key) + "?uploads", "").status, 200);
  std::string seen;
  std::string marker;
  for (int pages = 0; pages < 10; ++pages) {
    const std::string body = client.get("/s3?uploads&delimiter=/&max-uploads=1" + marker).body;
    seen += element(body, "Upload").substr(0, 12) + element(body, "CommonPrefixes") + '|';
    if (element(body, "IsTruncated") == "false") break;
    marker = "&key-marker=" + net::uri_encode(element(body, "NextKeyMarker")) + "&upload-id-marker=" + element(body, "NextUploadIdMarker");
  }
  EXPECT_EQ(seen, "<Key>a</Key>(none)|(none)<Prefix>b/</Prefix>|<Key>c</Key>(none)|");
}

TEST(Server, no_room_is_slow_down) {
  Endpoint endpoint({.room_bytes = 10});
  TestClient client = endpoint.client();
  const TestResponse refused = client.put("/s3/a", "more than ten bytes");
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(element(refused.body, "Code"), "SlowDown");
  EXPECT_EQ(refused.header("retry-after"), "1");
}

// --- the wire

TEST(Server, chunked_bodies_of_every_kind_are_taken_out_of_their_chunks) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  const std::string crc = net::checksum_text(net::crc32(net::bytes_of("content")));
  const TestResponse trailer = client.exchange({.method = "PUT", .target = "/s3/a",
                                                .headers = {{"Content-Encoding", "gzip,aws-chunked"}, {"x-amz-decoded-content-length", "7"},
                                                            {"x-amz-trailer", "x-amz-checksum-crc32"}},
                                                .body = "3\r\ncon\r\n4\r\ntent\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n",
                                                .payload_hash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"});
  EXPECT_EQ(trailer.status, 200) << trailer.body;
  EXPECT_EQ(trailer.header("x-amz-checksum-crc32"), crc);
  EXPECT_EQ(client.get("/s3/a").body, "content");
  EXPECT_EQ(client.get("/s3/a").header("content-encoding"), "gzip");
  const TestResponse wrong = client.exchange({.method = "PUT", .target = "/s3/b",
                                              .headers = {{"x-amz-decoded-content-length", "7"}, {"x-amz-trailer", "x-amz-checksum-crc32"}},
                                              .body = "7\r\nCONTENT\r\n0\r\nx-amz-checksum-crc32:" + crc + "\r\n\r\n",
                                              .payload_hash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"});
  EXPECT_EQ(element(wrong.body, "Code"), "BadDigest");
  EXPECT_EQ(client.get("/s3/b").status, 404);
  // HTTP's own chunks, without any length, and with the next request right behind.
  client.send(client.signed_head({.method = "PUT", .target = "/s3/c", .headers = {{"Transfer-Encoding", "chunked"}}, .body = "",
                                  .payload_hash = "UNSIGNED-PAYLOAD"}) +
              "5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n" + client.signed_head({.target = "/s3/c"}));
  EXPECT_EQ(client.read_response().status, 200);
  EXPECT_EQ(client.read_response().body, "hello");
  // Both at once.
  client.send(client.signed_head({.method = "PUT", .target = "/s3/d", .headers = {{"Transfer-Encoding", "chunked"}, {"x-amz-decoded-content-length", "5"}},
                                  .body = "", .payload_hash = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}) +
              "a\r\n5\r\nhello\r\n\r\n3\r\n0\r\n\r\n2\r\n\r\n\r\n0\r\n\r\n");
  EXPECT_EQ(client.read_response().status, 200);
  EXPECT_EQ(client.get("/s3/d").body, "hello");
}

TEST(Server, what_is_not_http_gets_400_and_the_connection_ends) {
  Endpoint endpoint;
  const auto status = [&](const std::string& text) {
    TestClient client = endpoint.client();
    client.send(text);
    const TestResponse response = client.read_response();
    EXPECT_TRUE(client.closed());
    return response.status;
  };
  EXPECT_EQ(status("nonsense\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /s3/a HTTP/1.1\r\nbroken header\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /s3/a HTTP/1.1\r\nContent-Length: x\r\n\r\n"), 400);
  EXPECT_EQ(status("GET /s3/a HTTP/1.1\r\nX: " + std::string(40'000, 'x') + "\r\n\r\n"), 400);
  EXPECT_EQ(status("PUT /s3/a HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx"), 400);
}

TEST(Server, a_put_without_a_length_is_411) {
  Endpoint endpoint;
  TestClient client = endpoint.client();
  std::string text = client.signed_head({.method = "PUT", .target = "/s3/a", .headers = {}, .body = ""});
  text.replace(text.find("Content-Length: 0\r\n"), 19, "");
  client.send(text);
  EXPECT_EQ(client.read_response().status, 411);
}

// Semantics 8.7, below the mount.
TEST(Server, what_takes_long_begins_its_answer_and_says_in_the_end_how_it_ended) {
  std::mutex mutex;
  std::condition_variable changed;
  int let_go = 0;  // calls that may end
  ServerOptions options;
  options.answer_begins = std::chrono::milliseconds(5);
  Endpoint endpoint({.part_bytes_min = 1,
                     .long_call =
                         [&] {
                           std::unique_lock lock(mutex);
                           changed.wait_for(lock, std::chrono::seconds(60), [&] { return let_go > 0; });
                           --let_go;
                         }},
                    options);
  TestClient client = endpoint.client();
  // The operation goes on while its answer has begun.
  const auto exchange = [&](TestRequest request) {
    client.send(client.signed_head(request) + request.body);
    pollfd readable{.fd = client.socket(), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&readable, 1, 60'000), 1);
    char begin[12] = {};
    EXPECT_EQ(::recv(client.socket(), begin, sizeof begin, MSG_PEEK | MSG_WAITALL), 12);
    EXPECT_EQ(std::string_view(begin, sizeof begin), "HTTP/1.1 200");
    {
      const std::lock_guard lock(mutex);
      ++let_go;
    }
    changed.notify_all();
    return client.read_response();
  };
  EXPECT_EQ(client.put("/s3/source", "0123456789").status, 200);
  const TestResponse copied = exchange({.method = "PUT", .target = "/s3/copy", .headers = {{"x-amz-copy-source", "/s3/source"}}, .body = ""});
  EXPECT_EQ(copied.status, 200);
  EXPECT_EQ(element(copied.body, "ETag"), "&quot;" + md5_of("0123456789") + "&quot;") << copied.body;
  EXPECT_EQ(client.get("/s3/copy").body, "0123456789");
  const TestResponse missed = exchange({.method = "PUT", .target = "/s3/copy", .headers = {{"x-amz-copy-source", "/s3/nothing"}}, .body = ""});
  EXPECT_EQ(missed.status, 200);
  EXPECT_EQ(element(missed.body, "Code"), "NoSuchKey") << missed.body;

  const std::string id = element(client.post("/s3/big?uploads", "").body, "UploadId");
  EXPECT_EQ(client.put("/s3/big?partNumber=1&uploadId=" + id, "part").status, 200);
  const auto complete = [&](std::string_view content) {
    return TestRequest{.method = "POST", .target = "/s3/big?uploadId=" + id, .headers = {},
                       .body = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"" + md5_of(content) +
                               "\"</ETag></Part></CompleteMultipartUpload>"};
  };
  const TestResponse wrong = exchange(complete("another"));
  EXPECT_EQ(wrong.status, 200);
  EXPECT_EQ(element(wrong.body, "Code"), "InvalidPart") << wrong.body;
  const TestResponse completed = exchange(complete("part"));
  EXPECT_EQ(completed.status, 200);
  EXPECT_THAT(element(completed.body, "ETag"), HasSubstr("-1")) << completed.body;
  EXPECT_EQ(client.get("/s3/big").body, "part");
}

// Semantics 8.8, below the mount.
TEST(Server, clients_that_stop_in_the_middle_are_cut_off) {
  ServerOptions options;
  options.head_timeout = std::chrono::milliseconds(300);
  options.stall_timeout = std::chrono::milliseconds(300);
  options.idle_timeout = std::chrono::milliseconds(300);
  Endpoint endpoint({}, options);
  TestClient idle = endpoint.client();
  TestClient in_head = endpoint.client();
  in_head.send("GET / HT");
  TestClient in_body = endpoint.client();
  in_body.send(in_body.signed_head({.method = "PUT", .target = "/s3/a", .headers = {}, .body = "content"}) + "con");
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(in_head.closed());
  EXPECT_TRUE(in_body.closed());
}

TEST(Server, an_idle_connection_makes_room_for_a_new_one) {
  ServerOptions options;
  options.connections_max = 2;
  Endpoint endpoint({}, options);
  TestClient first = endpoint.client();
  EXPECT_EQ(first.get("/").status, 200);
  TestClient second = endpoint.client();
  EXPECT_EQ(second.get("/").status, 200);
  TestClient third = endpoint.client();
  EXPECT_EQ(third.get("/").status, 200);
  // The longest idle one, as a rule; the server may not have seen yet that it is.
  const int first_status = first.get("/").status;
  EXPECT_EQ(first_status + second.get("/").status, 200);
}

TEST(Server, many_clients_are_served_at_once) {
  Endpoint endpoint;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&endpoint, i] {
      TestClient client = endpoint.client();
      for (int round = 0; round < 30; ++round) {
        const std::string content = random_text(10'000 + 100 * round, i);
        const std::string target = "/s3/" + std::to_string(i) + '/' + std::to_string(round);
        ASSERT_EQ(client.put(target, content).status, 200);
        ASSERT_TRUE(client.get(target).body == content);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(endpoint.server().statistics().requests(Operation::kPutObject, 200), 480u);
  EXPECT_EQ(endpoint.server().statistics().latency(Operation::kGetObject).requests, 480u);
}

TEST(Server, stopping_waits_for_nobody_who_is_idle) {
  auto endpoint = std::make_unique<Endpoint>();
  TestClient client = endpoint->client();
  EXPECT_EQ(client.get("/").status, 200);
  EXPECT_TRUE(endpoint->server().stop(Deadline::after(std::chrono::hours(1))).has_value());
  EXPECT_TRUE(client.closed());
}

}  // namespace
}  // namespace weir::s3
