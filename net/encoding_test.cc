#include "net/encoding.h"

#include <gtest/gtest.h>

#include <random>
#include <span>
#include <utility>
#include <vector>

#include "net/checksum.h"
#include "net/crc64_nvme.h"
#include "net/digest.h"
#include "net/http.h"
#include "net/s3_xml.h"
#include "net/token_bucket.h"

namespace weir::net {
namespace {

TEST(Encoding, base64_matches_rfc4648) {
  const std::pair<const char*, const char*> kVectors[] = {{"", ""},         {"f", "Zg=="},         {"fo", "Zm8="},
                                                          {"foo", "Zm9v"},  {"foob", "Zm9vYg=="},  {"fooba", "Zm9vYmE="},
                                                          {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, encoded] : kVectors) {
    EXPECT_EQ(base64(bytes_of(plain)), encoded);
    EXPECT_EQ(unbase64(encoded), plain);
  }
  EXPECT_FALSE(unbase64("Zg="));
  EXPECT_FALSE(unbase64("Z==="));
  EXPECT_FALSE(unbase64("Zg==Zg=="));
  EXPECT_FALSE(unbase64("Zg=a"));
}

TEST(Encoding, uri_encoding_keeps_only_the_unreserved) {
  EXPECT_EQ(uri_encode("aZ09-._~ +%/\xc3\xa9"), "aZ09-._~%20%2B%25%2F%C3%A9");
  EXPECT_EQ(uri_encode_path("/a b//c"), "/a%20b//c");
  EXPECT_EQ(uri_decode("a%20b+c%2"), "a b+c%2");
  EXPECT_EQ(form_decode("a%20b+c%2B%zz"), "a b c+%zz");
}

TEST(Encoding, dates_round_trip) {
  const WallTime t = *parse_http_date("Fri, 24 May 2013 10:20:30 GMT");
  EXPECT_EQ(unix_ns(t), 1'369'390'830'000'000'000);
  EXPECT_EQ(http_date(t), "Fri, 24 May 2013 10:20:30 GMT");
  EXPECT_EQ(amz_date(t), "20130524T102030Z");
  EXPECT_EQ(parse_amz_date("20130524T102030Z"), t);
  EXPECT_EQ(iso_date(t + std::chrono::milliseconds(7)), "2013-05-24T10:20:30.007Z");
  EXPECT_EQ(parse_iso_date("2013-05-24T10:20:30.007Z"), t + std::chrono::milliseconds(7));
  EXPECT_EQ(parse_iso_date("2013-05-24T10:20:30Z"), t);
  EXPECT_FALSE(parse_iso_date("2013-15-24T10:20:30Z"));
  EXPECT_FALSE(parse_http_date("Friday, 24-May-13 10:20:30 GMT"));
}

TEST(Encoding, dates_beyond_what_is_counted_stand_for_the_last_that_are) {
  EXPECT_GT(parse_iso_date("9999-12-31T23:59:59.999Z"), parse_iso_date("2199-01-01T00:00:00Z"));
  EXPECT_LT(parse_iso_date("0207-12-01T12:00:00.000Z"), parse_iso_date("1901-01-01T00:00:00Z"));
  EXPECT_EQ(parse_http_date("Fri, 31 Dec 9999 23:59:59 GMT"), parse_iso_date("9999-12-31T23:59:59Z"));
}

TEST(Checksum, crcs_have_their_published_check_values) {
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xcbf43926u);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc64_nvme(bytes_of("123456789")), 0xae8b14860a799888u);
  EXPECT_EQ(checksum_text(crc32c(bytes_of("123456789"))), "4waSgw==");
}

TEST(Checksum, crcs_of_pieces_equal_the_crc_of_the_whole) {
  std::mt19937_64 random(7);
  std::string text(4'099, '\0');
  for (char& c : text) c = static_cast<char>(random());
  for (const size_t cut : {0, 1, 7, 8, 9, 4'000, 4'099}) {
    const auto head = bytes_of(text).first(cut);
    const auto tail = bytes_of(text).subspan(cut);
    EXPECT_EQ(crc32(tail, crc32(head)), crc32(bytes_of(text)));
    EXPECT_EQ(crc32c(tail, crc32c(head)), crc32c(bytes_of(text)));
    EXPECT_EQ(crc64_nvme(tail, crc64_nvme(head)), crc64_nvme(bytes_of(text)));
  }
}

TEST(Checksum, crc_of_the_whole_follows_from_those_of_its_pieces) {
  std::mt19937_64 random(8);
  std::string text(70'001, '\0');
  for (char& c : text) c = static_cast<char>(random());
  const auto whole = bytes_of(text);
  for (const size_t cut : {0, 1, 4'096, 65'535, 70'000, 70'001}) {
    const auto head = whole.first(cut);
    const auto tail = whole.subspan(cut);
    EXPECT_EQ(crc32_combine(crc32(head), crc32(tail), tail.size()), crc32(whole));
    EXPECT_EQ(crc32c_combine(crc32c(head), crc32c(tail), tail.size()), crc32c(whole));
    EXPECT_EQ(crc64_nvme_combine(crc64_nvme(head), crc64_nvme(tail), tail.size()), crc64_nvme(whole));
  }
}

// The published vectors are of 4,096 bytes: all zero, all one, ascending, descending (NVM Express, 64b CRC test cases).
TEST(Checksum, crc64_is_the_published_one_however_it_is_computed) {
  std::vector<std::byte> ascending(4'096);
  for (size_t i = 0; i < ascending.size(); ++i) ascending[i] = static_cast<std::byte>(i);
  const std::vector<std::byte> descending(ascending.rbegin(), ascending.rend());
  const std::pair<std::vector<std::byte>, uint64_t> kVectors[] = {
      {std::vector<std::byte>(4'096), 0x6482d367eb22b64e},
      {std::vector<std::byte>(4'096, std::byte{0xff}), 0xc0ddba7302eca3ac},
      {ascending, 0x3e729f5f6750449c},
      {descending, 0x9a2df64b8e9e517e}};
  for (const auto& [bytes, crc] : kVectors) {
    EXPECT_EQ(crc64_nvme(bytes), crc);
    EXPECT_EQ(crc64_nvme_by_tables(bytes, 0), crc);
    if (crc64_nvme_folds()) {
      EXPECT_EQ(crc64_nvme_by_folding(bytes, 0), crc);
    }
  }
}

TEST(Checksum, crc64_by_folding_is_that_by_tables_for_every_size_place_and_start) {
  if (!crc64_nvme_folds()) GTEST_SKIP() << "this processor has no carry-less multiplication";
  std::mt19937_64 random(9);
  std::vector<std::byte> bytes(1'100);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  for (size_t size = 0; size <= 1'024; ++size) {
    const auto piece = std::span(bytes).subspan(random() % 17, size);
    const uint64_t start = random();
    ASSERT_EQ(crc64_nvme_by_folding(piece, start), crc64_nvme_by_tables(piece, start)) << size;
  }
}

TEST(Checksum, text_is_parsed_back_and_nothing_else_is) {
  EXPECT_EQ(parse_checksum32("4waSgw=="), 0xe3069283u);
  EXPECT_EQ(parse_checksum64(checksum_text(uint64_t{0xae8b14860a799888})), 0xae8b14860a799888u);
  EXPECT_EQ(parse_checksum32(checksum_text(uint64_t{1})), std::nullopt);
  EXPECT_EQ(parse_checksum32("4waSg==="), std::nullopt);
  EXPECT_EQ(parse_checksum64(""), std::nullopt);
}

TEST(Digest, secrets_compare_whole) {
  EXPECT_TRUE(same_secret("abc", "abc"));
  EXPECT_FALSE(same_secret("abc", "abd"));
  EXPECT_FALSE(same_secret("abc", "abcd"));
}

TEST(Digest, hashers_agree_with_the_published_values_in_pieces_too) {
  EXPECT_EQ(hex(sha256(bytes_of("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(md5(bytes_of("abc"))), "900150983cd24fb0d6963f7d28e17f72");
  EXPECT_EQ(hex(sha1(bytes_of("abc"))), "a9993e364706816aba3e25717850c26c9cd0d89d");
  Hasher<Md5> hasher;
  for (int round = 0; round < 2; ++round) {
    hasher.add(bytes_of("a"));
    hasher.add(bytes_of("bc"));
    EXPECT_EQ(hasher.finish(), md5(bytes_of("abc")));
  }
}

class StillClock final : public Clock {
 public:
  TimePoint now() const override { return time; }
  WallTime wall_now() const override { return {}; }
  TimePoint time{std::chrono::hours(1)};
};

TEST(TokenBucket, long_run_rate_holds_for_any_sizes) {
  StillClock clock;
  const TimePoint start = clock.time;
  TokenBucket bucket(1'000'000, 10'000, clock);
  uint64_t taken = 0;
  for (uint64_t i = 0; taken < 5'000'000; ++i) {
    const uint64_t bytes = 1 + i * 7'919 % 50'000;
    clock.time += bucket.take(bytes);
    taken += bytes;
    const double seconds = std::chrono::duration<double>(clock.time - start).count();
    ASSERT_LE(static_cast<double>(taken), 1e6 * seconds + 10'001);
  }
  EXPECT_NEAR(std::chrono::duration<double>(clock.time - start).count(), static_cast<double>(taken) / 1e6, 0.02);
}

TEST(TokenBucket, without_a_rate_nothing_waits) {
  TokenBucket bucket(0);
  EXPECT_EQ(bucket.take(1ull << 40), Duration::zero());
}

TEST(S3Xml, listing_is_url_decoded) {
  const auto page = parse_list_objects_v2(
      "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>"
      "<NextContinuationToken>t+/=</NextContinuationToken>"
      "<Contents><Key>a+b%2Bc%01</Key><Size>5</Size><ETag>&quot;e&quot;</ETag>"
      "<LastModified>2013-05-24T10:20:30.000Z</LastModified></Contents>"
      "<CommonPrefixes><Prefix>d%2F</Prefix></CommonPrefixes></ListBucketResult>");
  ASSERT_TRUE(page);
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].key, "a b+c\x01");
  EXPECT_EQ(page->objects[0].size_bytes, 5u);
  EXPECT_EQ(page->objects[0].etag, "e");
  EXPECT_EQ(page->prefixes, std::vector<std::string>{"d/"});
  EXPECT_EQ(page->next_token, "t+/=");
}

TEST(S3Xml, another_document_is_corrupt) {
  EXPECT_TRUE(failed_with(parse_list_objects_v2("<html>portal</html>"), ErrorCode::kCorrupt));
  EXPECT_TRUE(failed_with(parse_written("<CopyObjectResult/>"), ErrorCode::kCorrupt));
  EXPECT_TRUE(failed_with(parse_upload_id(""), ErrorCode::kCorrupt));
  EXPECT_FALSE(parse_s3_error("<html/>"));
  EXPECT_EQ(parse_s3_error("<Error><Code>NoSuchKey</Code></Error>")->code, "NoSuchKey");
}

TEST(S3Xml, keys_are_escaped) {
  EXPECT_EQ(delete_xml({"a<&b"}), "<Delete><Quiet>true</Quiet><Object><Key>a&lt;&amp;b</Key></Object></Delete>");
}

TEST(S3Xml, only_clean_utf8_goes_into_xml) {
  EXPECT_TRUE(xml_can_carry("a b/\xc3\xa9\xf0\x9f\x98\x80"));
  for (const char* bad : {"\x01", "a\n", "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xef\xbf\xbe", "\xc3"}) {
    EXPECT_FALSE(xml_can_carry(bad)) << hex(bytes_of(bad));
  }
}

TEST(Http, header_names_compare_without_case) {
  const Headers headers{{"ETag", "x"}};
  EXPECT_EQ(header(headers, "etag"), "x");
  EXPECT_EQ(find_header(headers, "etags"), nullptr);
}

}  // namespace
}  // namespace weir::net
