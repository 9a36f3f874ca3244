// Vectors: Amazon S3 API reference, "Signature Calculations for the Authorization Header" and "Authenticating Requests:
// Using Query Parameters"; AWS General Reference, "Examples of how to derive a signing key".
#include "net/sigv4.h"

#include <gtest/gtest.h>

#include "net/encoding.h"

namespace weir::net {
namespace {

const Credentials kExample{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr std::string_view kHost = "examplebucket.s3.amazonaws.com";

WallTime example_time() { return *parse_amz_date("20130524T000000Z"); }

std::string signature_in(const Headers& headers) {
  const std::string_view value = header(headers, "authorization");
  return std::string(value.substr(value.rfind('=') + 1));
}

TEST(SigV4, signs_a_ranged_get_as_documented) {
  Headers headers{{"Host", std::string(kHost)}, {"Range", "bytes=0-9"}};
  sign_headers("GET", "/test.txt", {}, headers, kEmptyPayloadHash, kExample, "us-east-1", example_time());
  EXPECT_EQ(header(headers, "authorization"),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST(SigV4, signs_a_put_as_documented) {
  const std::string hash = hex(sha256(bytes_of("Welcome to Amazon S3.")));
  Headers headers{{"Host", std::string(kHost)},
                  {"Date", "Fri, 24 May 2013 00:00:00 GMT"},
                  {"x-amz-storage-class", "REDUCED_REDUNDANCY"}};
  sign_headers("PUT", uri_encode_path("/test$file.text"), {}, headers, hash, kExample, "us-east-1", example_time());
  EXPECT_EQ(signature_in(headers), "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd");
}

TEST(SigV4, signs_a_query_without_value_as_documented) {
  Headers headers{{"Host", std::string(kHost)}};
  sign_headers("GET", "/", {{"lifecycle", ""}}, headers, kEmptyPayloadHash, kExample, "us-east-1", example_time());
  EXPECT_EQ(signature_in(headers), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
}

TEST(SigV4, signs_a_listing_as_documented) {
  Headers headers{{"Host", std::string(kHost)}};
  sign_headers("GET", "/", {{"prefix", "J"}, {"max-keys", "2"}}, headers, kEmptyPayloadHash, kExample, "us-east-1",
               example_time());
  EXPECT_EQ(signature_in(headers), "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7");
}

TEST(SigV4, presigns_as_documented) {
  const Query query = presign("GET", kHost, "/test.txt", {}, kExample, "us-east-1", example_time(),
                              std::chrono::seconds(86'400));
  EXPECT_EQ(query_text(query),
            "X-Amz-Algorithm=AWS4-HMAC-SHA256"
            "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
            "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
            "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

TEST(SigV4, derives_the_documented_signing_key) {
  const Sha256 key = signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", {"20120215", "us-east-1", "iam"});
  EXPECT_EQ(hex(key), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
}

TEST(SigV4, canonical_request_is_as_documented) {
  const Headers headers{{"Host", std::string(kHost)},
                        {"x-amz-date", "20130524T000000Z"},
                        {"x-amz-content-sha256", std::string(kEmptyPayloadHash)},
                        {"Range", " bytes=0-9 "}};
  const std::string canonical = canonical_request({"GET", "/test.txt", {}, headers, kEmptyPayloadHash});
  EXPECT_EQ(hex(sha256(bytes_of(canonical))), "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
}

TEST(SigV4, session_token_is_signed) {
  Credentials temporary = kExample;
  temporary.session_token = "token";
  Headers headers{{"host", std::string(kHost)}};
  sign_headers("GET", "/", {}, headers, kEmptyPayloadHash, temporary, "us-east-1", example_time());
  EXPECT_EQ(header(headers, "x-amz-security-token"), "token");
  EXPECT_NE(header(headers, "authorization").find("x-amz-security-token"), std::string_view::npos);
}

TEST(SigV4, repeated_headers_are_joined_and_spaces_folded) {
  const Headers headers{{"X-A", "b"}, {"x-a", "c   d "}, {"host", "h"}};
  EXPECT_EQ(canonical_request({"GET", "", {}, headers, "p"}), "GET\n/\n\nhost:h\nx-a:b,c d\n\nhost;x-a\np");
}

}  // namespace
}  // namespace weir::net
