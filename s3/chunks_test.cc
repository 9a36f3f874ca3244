// Vectors: Amazon S3 API reference, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks (Chunked
// Upload)", and "... Including Trailing Headers".
#include "s3/chunks.h"

#include <gtest/gtest.h>

#include "net/encoding.h"
#include "net/sigv4.h"

namespace weir::s3 {
namespace {

using Dialect = ChunkDecoder::Dialect;

ChunkSigning example_signing(std::string seed) {
  const net::SigningScope scope{"20130524", "us-east-1"};
  return {.key = net::signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", scope),
          .amz_date = "20130524T000000Z",
          .scope = scope.text(),
          .seed = std::move(seed)};
}

constexpr std::string_view kSeed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
constexpr std::string_view kTrailerSeed = "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e";

std::string example_body() {
  return "10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648\r\n" + std::string(65'536, 'a') + "\r\n" +
         "400;chunk-signature=0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497\r\n" + std::string(1'024, 'a') + "\r\n" +
         "0;chunk-signature=b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9\r\n\r\n";
}

std::string example_trailer_body() {
  return "10000;chunk-signature=b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2\r\n" + std::string(65'536, 'a') + "\r\n" +
         "400;chunk-signature=1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7\r\n" + std::string(1'024, 'a') + "\r\n" +
         "0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\n" +
         "x-amz-checksum-crc32c:sOO8/Q==\r\n" +
         "x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n";
}

// What comes out, in pieces of a size; the refusal's code in brackets.
std::string decode(ChunkDecoder& decoder, std::string wire, size_t piece, std::string* rest = nullptr) {
  std::string content;
  for (size_t at = 0; at < wire.size();) {
    const auto bytes = std::as_writable_bytes(std::span(wire).subspan(at, std::min(piece, wire.size() - at)));
    const auto step = decoder.decode(bytes);
    if (!step) return "[" + std::string(name_of(step.error().code)) + "]";
    content += wire.substr(at, step->content);
    at += step->consumed;
    if (step->consumed < bytes.size()) {
      if (rest != nullptr) *rest = wire.substr(at);
      break;
    }
  }
  if (const auto ended = decoder.end(); !ended) return "[" + std::string(name_of(ended.error().code)) + "]";
  return content;
}

std::string decode(Dialect dialect, const std::string& wire, size_t piece = 1'000'000) {
  ChunkDecoder decoder(dialect, std::nullopt);
  return decode(decoder, wire, piece);
}

TEST(Chunks, the_published_signed_body_verifies_however_it_is_cut) {
  for (const size_t piece : {1, 7, 1'000, 65'623, 1'000'000}) {
    ChunkDecoder decoder(Dialect::kAwsSigned, example_signing(std::string(kSeed)));
    EXPECT_TRUE(decode(decoder, example_body(), piece) == std::string(66'560, 'a')) << piece;
  }
}

TEST(Chunks, the_published_signed_trailer_verifies) {
  for (const size_t piece : {1, 1'000'000}) {
    ChunkDecoder decoder(Dialect::kAwsSignedTrailer, example_signing(std::string(kTrailerSeed)));
    EXPECT_TRUE(decode(decoder, example_trailer_body(), piece) == std::string(66'560, 'a'));
    EXPECT_EQ(net::header(decoder.trailers(), "x-amz-checksum-crc32c"), "sOO8/Q==");
  }
}

TEST(Chunks, one_changed_byte_anywhere_fails) {
  const std::string body = example_trailer_body();
  for (const size_t at : {size_t{100}, size_t{40'000}, body.find("400;") + 20, body.find("400;") + 300, body.find("\r\n0;") + 25,
                          body.find("sOO8"), body.find("d81f82fc")}) {
    std::string changed = body;
    changed[at] = changed[at] == '0' ? '1' : '0';
    ChunkDecoder decoder(Dialect::kAwsSignedTrailer, example_signing(std::string(kTrailerSeed)));
    EXPECT_EQ(decode(decoder, changed, 1'000'000), "[SignatureDoesNotMatch]") << at;
  }
  ChunkDecoder other_seed(Dialect::kAwsSigned, example_signing(std::string(kTrailerSeed)));
  EXPECT_EQ(decode(other_seed, example_body(), 1'000'000), "[SignatureDoesNotMatch]");
}

TEST(Chunks, a_signed_body_without_its_end_is_none) {
  const std::string body = example_body();
  for (const size_t size : {size_t{0}, size_t{50}, size_t{30'000}, body.find("\r\n0;") + 2, body.size() - 30}) {
    ChunkDecoder decoder(Dialect::kAwsSigned, example_signing(std::string(kSeed)));
    EXPECT_EQ(decode(decoder, body.substr(0, size), 1'000'000), "[IncompleteBody]") << size;
  }
  ChunkDecoder without_last_line(Dialect::kAwsSigned, example_signing(std::string(kSeed)));
  EXPECT_TRUE(decode(without_last_line, body.substr(0, body.size() - 2), 1'000'000) == std::string(66'560, 'a'));
  const std::string trailer = example_trailer_body();
  ChunkDecoder without_signature(Dialect::kAwsSignedTrailer, example_signing(std::string(kTrailerSeed)));
  EXPECT_EQ(decode(without_signature, trailer.substr(0, trailer.find("x-amz-trailer-signature")), 1'000'000), "[IncompleteBody]");
}

TEST(Chunks, http_chunks_end_where_they_say_and_leave_what_follows) {
  ChunkDecoder decoder(Dialect::kHttp, std::nullopt);
  std::string rest;
  EXPECT_EQ(decode(decoder, "3;name=value\r\nabc\r\n00A \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1", 1'000, &rest), "abc0123456789");
  EXPECT_EQ(rest, "GET / HTTP/1.1");
  EXPECT_EQ(net::header(decoder.trailers(), "trailer"), "x");
}

TEST(Chunks, what_is_no_chunk_is_refused) {
  for (const char* wire : {"x\r\n", "-1\r\n", "\r\n", "3\r\nabcd\r\n", "fffffffffffffffff\r\n", "3 3\r\nabc\r\n", "0\r\nno header\r\n\r\n", "0\r\n: x\r\n\r\n"})
    EXPECT_EQ(decode(Dialect::kHttp, wire), "[InvalidRequest]") << wire;
  EXPECT_EQ(decode(Dialect::kHttp, "3\nabc\n0\n\n"), "[InvalidRequest]");
  EXPECT_EQ(decode(Dialect::kAws, "3\nabc\n0\n\n"), "abc");
  EXPECT_EQ(decode(Dialect::kHttp, std::string(10'000, '1')), "[InvalidRequest]");
  EXPECT_EQ(decode(Dialect::kAws, "0\r\n" + std::string(5'000, 'x') + ": y\r\n\r\n"), "[InvalidRequest]");
  std::string many = "0\r\n";
  for (int i = 0; i < 10'000; ++i) many += "a: b\r\n";
  EXPECT_EQ(decode(Dialect::kAws, many + "\r\n"), "[InvalidRequest]");
  EXPECT_EQ(decode(Dialect::kAwsSigned, "3\r\nabc\r\n0\r\n\r\n"), "[InvalidRequest]");
}

}  // namespace
}  // namespace weir::s3
