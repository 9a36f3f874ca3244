// Forms: their bytes in any pieces, their policies, and the endpoint that takes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "net/encoding.h"
#include "net/sigv4.h"
#include "s3/form.h"
#include "s3/post_policy.h"
#include "s3/test_client.h"
#include "testing/s3_endpoint.h"

namespace weir::s3 {
namespace {

using testing::element;
using testing::Endpoint;
using testing::md5_of;
using ::testing::HasSubstr;

constexpr std::string_view kBoundary = "----WebKitFormBoundaryAaB03x";

std::string part(std::string_view name, std::string_view value, std::string_view more = "", std::string_view type = "") {
  std::string text = "--" + std::string(kBoundary) + "\r\nContent-Disposition: form-data; name=\"" + std::string(name) + '"' + std::string(more) + "\r\n";
  if (!type.empty()) text += "Content-Type: " + std::string(type) + "\r\n";
  return text + "\r\n" + std::string(value) + "\r\n";
}
std::string end() { return "--" + std::string(kBoundary) + "--\r\n"; }

struct Taken {
  std::vector<std::pair<std::string, std::string>> fields;
  std::string file_name;
  std::string content;
  bool ended = false;
};

Reply<Taken> take(std::string_view body, size_t piece) {
  FormReader reader(kBoundary);
  Taken taken;
  for (; !body.empty(); body.remove_prefix(std::min(piece, body.size()))) {
    std::string_view bytes = body.substr(0, piece);
    if (!reader.at_content()) {
      TRY_ASSIGN(const size_t used, reader.take_fields(bytes));
      bytes.remove_prefix(used);
      if (!reader.at_content()) continue;
    }
    taken.content += reader.content(bytes);
    reader.commit(bytes);
  }
  for (const net::Header& field : reader.fields()) taken.fields.emplace_back(field.name, field.value);
  taken.file_name = reader.file_name();
  taken.ended = reader.ended();
  return taken;
}

TEST(FormReader, fields_and_content_are_the_same_in_any_pieces) {
  const std::string content = "a\r\n--\r\n----WebKit\r\n--" + std::string(kBoundary).substr(0, 10) + "\r\r\n\r";
  for (const std::string& file : {content, std::string(), std::string("\r\n"), std::string(5'000, '\r')}) {
    const std::string body = part("key", "a/${filename}") + part("empty", "") + part("File", file, "; filename=\"C:\\dir\\x.txt\"", "text/x") +
                             part("behind", "ignored") + end();
    for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, size_t{64}, body.size()}) {
      const auto taken = take(body, piece);
      ASSERT_TRUE(taken.has_value()) << taken.error().message;
      EXPECT_EQ(taken->fields, (std::vector<std::pair<std::string, std::string>>{{"key", "a/${filename}"}, {"empty", ""}}));
      EXPECT_EQ(taken->file_name, "x.txt");
      EXPECT_EQ(taken->content, file) << piece;
      EXPECT_TRUE(taken->ended);
    }
  }
}

TEST(FormReader, what_is_no_form_is_refused) {
  const auto code = [](std::string_view body) {
    const auto taken = take(body, body.size());
    return taken ? Code::kInternalError : taken.error().code;
  };
  EXPECT_EQ(code("something else"), Code::kMalformedPostRequest);
  EXPECT_EQ(code(part("key", "a") + end()), Code::kMalformedPostRequest);
  EXPECT_EQ(code("--" + std::string(kBoundary) + "\r\nno colon\r\n\r\nx"), Code::kMalformedPostRequest);
  EXPECT_EQ(code(part("key", std::string(30'000, 'x'))), Code::kMaxPostPreDataLengthExceeded);
  EXPECT_EQ(code(part("key", "a") + "--" + std::string(kBoundary) + std::string(30'000, 'x')), Code::kMalformedPostRequest);
  EXPECT_FALSE(take(part("file", "half"), 1'000)->content.empty());
  EXPECT_FALSE(FormReader::boundary_of("multipart/form-data").has_value());
  EXPECT_EQ(FormReader::boundary_of("multipart/form-data; charset=x; boundary=\"a b\"").value_or(""), "a b");
}

const WallTime kNow = *net::parse_iso_date("2026-01-01T00:00:00.000Z");

Reply<void> check(std::string_view conditions, const net::Headers& fields, std::string_view expiration = "2026-01-01T00:01:00.000Z") {
  const std::string text = "{\"expiration\": \"" + std::string(expiration) + "\", \"conditions\": [" + std::string(conditions) + "]}";
  TRY_ASSIGN(const PostPolicy policy, PostPolicy::parse(net::base64(net::bytes_of(text))));
  return policy.check(fields, "s3", kNow);
}

TEST(PostPolicy, each_field_is_as_a_condition_says) {
  EXPECT_TRUE(check(R"({"bucket": "s3"}, ["starts-with", "$key", "user/"], {"Acl": "private"})",
                    {{"Key", "user/a"}, {"acl", "private"}, {"Policy", "x"}, {"X-Amz-Signature", "y"}, {"x-ignore-me", "z"}})
                  .has_value());
  EXPECT_TRUE(check(R"(["starts-with", "$key", ""])", {{"key", "anything"}}).has_value());
  const auto message = [](const Reply<void>& reply) { return reply ? std::string("allowed") : reply.error().message; };
  EXPECT_THAT(message(check(R"({"bucket": "other"})", {})), HasSubstr("$bucket"));
  EXPECT_THAT(message(check(R"(["eq", "$key", "a"])", {{"key", "b"}})), HasSubstr("$key"));
  EXPECT_THAT(message(check(R"(["starts-with", "$key", "user/"])", {{"key", "other/a"}})), HasSubstr("starts-with"));
  EXPECT_THAT(message(check(R"(["eq", "$key", "a"])", {{"key", "a"}, {"Content-Type", "text/x"}})), HasSubstr("Extra input fields: Content-Type"));
  EXPECT_THAT(message(check("", {}, "2025-12-31T23:59:59.000Z")), HasSubstr("expired"));
  EXPECT_THAT(message(check("", {}, "0207-12-01T12:00:00.000Z")), HasSubstr("expired"));
  EXPECT_TRUE(check("", {}, "9999-12-31T23:59:59.999Z").has_value());
}

TEST(PostPolicy, what_is_no_policy_is_refused) {
  for (const std::string_view text : {"", "[]", "{}", R"({"expiration": "soon", "conditions": []})", R"({"expiration": "2026-01-01T00:00:00.000Z"})",
                                      R"({"expiration": "2026-01-01T00:00:00.000Z", "conditions": [1]})",
                                      R"({"expiration": "2026-01-01T00:00:00.000Z", "conditions": [["eq", "key", "a"]]})",
                                      R"({"expiration": "2026-01-01T00:00:00.000Z", "conditions": [["matches", "$key", "a"]]})",
                                      R"({"expiration": "2026-01-01T00:00:00.000Z", "conditions": [["content-length-range", -1, "x"]]})"}) {
    const auto policy = PostPolicy::parse(net::base64(net::bytes_of(text)));
    ASSERT_FALSE(policy.has_value()) << text;
    EXPECT_EQ(policy.error().code, Code::kInvalidPolicyDocument) << text;
  }
  EXPECT_FALSE(PostPolicy::parse("%%%").has_value());
}

class PostObject : public ::testing::Test {
 protected:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  // A policy for keys below user/, of 1 to 1,000 bytes, with more conditions behind a comma.
  static std::string policy(std::string_view more = "") {
    const std::string text = "{\"expiration\": \"" + net::iso_date(system_clock().wall_now() + std::chrono::minutes(5)) +
                             R"(", "conditions": [{"bucket": "s3"}, ["starts-with", "$key", "user/"], ["content-length-range", 1, 1000],)"
                             R"( ["starts-with", "$x-amz-credential", ""], {"x-amz-algorithm": "AWS4-HMAC-SHA256"}, ["starts-with", "$x-amz-date", ""])" +
                             std::string(more) + "]}";
    return net::base64(net::bytes_of(text));
  }
  Fields signed_fields(const std::string& policy_text, Fields fields) const {
    const net::Credentials credentials = endpoint_.credentials();
    const std::string date = net::amz_date(system_clock().wall_now());
    const net::SigningScope scope{.date = date.substr(0, 8), .region = "us-east-1"};
    fields.insert(fields.end(), {{"x-amz-algorithm", "AWS4-HMAC-SHA256"},
                                 {"x-amz-credential", credentials.access_key + '/' + scope.text()},
                                 {"x-amz-date", date},
                                 {"policy", policy_text},
                                 {"x-amz-signature", net::signature(net::signing_key(credentials.secret_key, scope), policy_text)}});
    return fields;
  }
  TestResponse post(const Fields& fields, std::string_view content, std::string_view path = "/s3") {
    std::string body;
    for (const auto& [name, value] : fields) body += part(name, value);
    body += part("file", content, "; filename=\"photo.txt\"", "text/x") + end();
    TestClient client = endpoint_.client();
    client.send(TestClient::head("POST", path, {{"Host", client.host()}, {"Content-Type", "multipart/form-data; boundary=" + std::string(kBoundary)}}, body) + body);
    return client.read_response();
  }
  std::string code(const TestResponse& response) { return std::to_string(response.status) + ' ' + element(response.body, "Code"); }

  Endpoint endpoint_;
};

// Semantics 8.9, below the mount.
TEST_F(PostObject, a_form_whose_policy_lets_it_puts_an_object) {
  const TestResponse posted = post(signed_fields(policy(R"(, {"x-amz-meta-a": "b"}, ["starts-with", "$tagging", ""])"),
                                                 {{"key", "user/${filename}"}, {"x-amz-meta-a", "b"},
                                                  {"tagging", "<Tagging><TagSet><Tag><Key>t</Key><Value>1</Value></Tag></TagSet></Tagging>"}}),
                                   "content");
  EXPECT_EQ(posted.status, 204) << posted.body;
  EXPECT_EQ(posted.header("etag"), '"' + md5_of("content") + '"');
  TestClient client = endpoint_.client();
  const TestResponse got = client.get("/s3/user/photo.txt");
  EXPECT_EQ(got.body, "content");
  EXPECT_EQ(got.header("content-type"), "text/x");
  EXPECT_EQ(got.header("x-amz-meta-a"), "b");
  EXPECT_EQ(got.header("x-amz-tagging-count"), "1");
}

TEST_F(PostObject, the_answer_is_as_the_form_wants_it) {
  const auto with = [&](const std::string& name, const std::string& value) {
    return post(signed_fields(policy(", [\"starts-with\", \"$" + name + "\", \"\"]"), {{"key", "user/a"}, {name, value}}), "content");
  };
  const TestResponse created = with("success_action_status", "201");
  EXPECT_EQ(created.status, 201);
  EXPECT_EQ(element(created.body, "Key"), "user/a");
  EXPECT_EQ(with("success_action_status", "200").status, 200);
  const TestResponse redirected = with("success_action_redirect", "https://example.com/done?x=1");
  EXPECT_EQ(redirected.status, 303);
  EXPECT_THAT(std::string(redirected.header("location")), HasSubstr("https://example.com/done?x=1&bucket=s3&key=user%2Fa&etag=%22"));
  EXPECT_EQ(code(with("success_action_redirect", "javascript:alert(1)")), "400 InvalidArgument");
}

// Semantics 8.9, below the mount.
TEST_F(PostObject, a_form_that_its_policy_does_not_let_puts_nothing) {
  EXPECT_EQ(code(post({{"key", "user/a"}}, "content")), "403 AccessDenied");
  EXPECT_EQ(code(post(signed_fields(policy(), {{"key", "other/a"}}), "content")), "403 AccessDenied");
  EXPECT_EQ(code(post(signed_fields(policy(), {{"key", "user/a"}, {"acl", "private"}}), "content")), "403 AccessDenied");
  EXPECT_EQ(code(post(signed_fields(policy(), {{"key", "user/a"}}), "")), "400 EntityTooSmall");
  EXPECT_EQ(code(post(signed_fields(policy(), {{"key", "user/a"}}), std::string(1'001, 'x'))), "400 EntityTooLarge");
  EXPECT_EQ(code(post(signed_fields(policy(), {}), "content")), "400 InvalidArgument");
  Fields forged = signed_fields(policy(), {{"key", "user/a"}});
  forged.back().second.back() ^= 1;
  EXPECT_EQ(code(post(forged, "content")), "403 SignatureDoesNotMatch");
  Fields swapped = signed_fields(policy(), {{"key", "user/a"}});
  swapped[swapped.size() - 2].second = policy(R"(, ["starts-with", "$acl", ""])");
  EXPECT_EQ(code(post(swapped, "content")), "403 SignatureDoesNotMatch");
  Fields strange = signed_fields(policy(), {{"key", "user/a"}});
  strange[2].second = "NOBODY" + strange[2].second;
  EXPECT_EQ(code(post(strange, "content")), "403 InvalidAccessKeyId");
  EXPECT_EQ(endpoint_.client().head("/s3/user/a").status, 404);
  EXPECT_EQ(endpoint_.client().head("/s3/other/a").status, 404);
}

TEST_F(PostObject, the_scope_of_the_key_that_signed_holds) {
  // Without a form's signature, a form opens no other operation.
  EXPECT_EQ(code(post(signed_fields(policy(), {{"key", "user/a"}}), "content", "/s3?delete")), "403 AccessDenied");
  AccessKey narrow = endpoint_.keys().list().front();
  ASSERT_TRUE(endpoint_.keys().remove(narrow.id).has_value());
  narrow.scope = {.bucket = "s3", .prefix = "elsewhere/"};
  ASSERT_TRUE(endpoint_.keys().add(narrow).has_value());
  EXPECT_EQ(code(post(signed_fields(policy(), {{"key", "user/a"}}), "content")), "403 AccessDenied");
}

TEST_F(PostObject, a_form_that_ends_early_puts_nothing) {
  std::string body;
  for (const auto& [name, value] : signed_fields(policy(), {{"key", "user/a"}})) body += part(name, value);
  body += part("file", "content");
  TestClient client = endpoint_.client();
  client.send(TestClient::head("POST", "/s3", {{"Host", client.host()}, {"Content-Type", "multipart/form-data; boundary=" + std::string(kBoundary)}}, body) + body);
  EXPECT_EQ(code(client.read_response()), "400 MalformedPOSTRequest");
  EXPECT_EQ(client.head("/s3/user/a").status, 404);
}

}  // namespace
}  // namespace weir::s3
