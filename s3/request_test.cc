#include "s3/request.h"

#include <gtest/gtest.h>

#include "s3/access_log.h"
#include "s3/checksums.h"
#include "s3/xml.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace weir::s3 {
namespace {

std::string names_of(std::string_view target, std::string_view host = "s3.example") {
  const std::vector<std::string> domains = {"s3.example"};
  Request request;
  request.headers = {{"Host", std::string(host)}};
  const auto parsed = parse_target(target, domains, request);
  if (!parsed) return "[" + std::string(name_of(parsed.error().code)) + "]";
  std::string text = request.bucket + '|' + request.key;
  for (const auto& [name, value] : request.query) text += '|' + name + '=' + value;
  return text;
}

TEST(Request, targets_name_bucket_key_and_parameters) {
  EXPECT_EQ(names_of("/"), "|");
  EXPECT_EQ(names_of("/b"), "b|");
  EXPECT_EQ(names_of("/b/"), "b|");
  EXPECT_EQ(names_of("/b/a%2Fb/../c%20+"), "b|a/b/../c +");
  EXPECT_EQ(names_of("/b//a"), "b|/a");
  EXPECT_EQ(names_of("/b/k?uploads&prefix=a%26b+c&x="), "b|k|uploads=|prefix=a&b c|x=");
  EXPECT_EQ(names_of("http://host/b/k"), "b|k");
  EXPECT_EQ(names_of("/a/b", "bucket.s3.example:9000"), "bucket|a/b");
  EXPECT_EQ(names_of("/a/b", "a.dotted.Bucket.S3.Example"), "a.dotted.bucket|a/b");
  EXPECT_EQ(names_of("/a/b", "nots3.example"), "a|b");
  EXPECT_EQ(names_of("/", "bucket.s3.example"), "bucket|");
  EXPECT_EQ(names_of("*"), "[InvalidURI]");
  EXPECT_EQ(names_of("/b/%zz"), "[InvalidURI]");
  EXPECT_EQ(names_of("/b/%2"), "[InvalidURI]");
  EXPECT_EQ(names_of("/b?a=%"), "[InvalidURI]");
  EXPECT_EQ(names_of("//k"), "[InvalidBucketName]");
  std::string many = "/b?";
  for (int i = 0; i < 200; ++i) many += "a&";
  EXPECT_EQ(names_of(many), "[InvalidURI]");
}

std::string range_of(std::string_view text, uint64_t size) {
  const auto range = parse_range(text, size);
  if (!range) return "[" + std::string(name_of(range.error().code)) + "]";
  return *range ? std::to_string((*range)->offset) + '+' + std::to_string((*range)->size) : "all";
}

TEST(Request, ranges_are_cut_to_what_is_there_and_nonsense_is_ignored) {
  EXPECT_EQ(range_of("bytes=0-0", 10), "0+1");
  EXPECT_EQ(range_of("bytes=2-5", 10), "2+4");
  EXPECT_EQ(range_of("bytes=2-500", 10), "2+8");
  EXPECT_EQ(range_of("bytes=9-", 10), "9+1");
  EXPECT_EQ(range_of("bytes=-3", 10), "7+3");
  EXPECT_EQ(range_of("bytes=-30", 10), "0+10");
  EXPECT_EQ(range_of("bytes=0-18446744073709551615", 10), "0+10");
  EXPECT_EQ(range_of("bytes=10-", 10), "[InvalidRange]");
  EXPECT_EQ(range_of("bytes=-0", 10), "[InvalidRange]");
  EXPECT_EQ(range_of("bytes=0-", 0), "[InvalidRange]");
  for (const char* text : {"", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=1-2,4-5", "items=0-1", "bytes=a-b", "bytes=1-x", "bytes= 1-2"})
    EXPECT_EQ(range_of(text, 10), "all") << text;
}

TEST(Request, copy_sources_are_a_bucket_and_a_key) {
  const auto source_of = [](std::string_view text) {
    const auto source = parse_copy_source(text);
    return source ? source->bucket + '|' + source->key : "[" + std::string(name_of(source.error().code)) + "]";
  };
  EXPECT_EQ(source_of("/b/k"), "b|k");
  EXPECT_EQ(source_of("b/a/b%20c%2Bd"), "b|a/b c+d");
  EXPECT_EQ(source_of("b%2Fk"), "b|k");
  EXPECT_EQ(source_of("b/k?versionId=null"), "b|k");
  EXPECT_EQ(source_of("b/k?versionId=3"), "[NoSuchVersion]");
  EXPECT_EQ(source_of("b/k%3FversionId=3"), "b|k?versionId=3");
  for (const char* text : {"", "/", "b", "/b/", "b/", "b/%"}) EXPECT_EQ(source_of(text), "[InvalidArgument]") << text;
}

TEST(Xml, documents_are_read_whatever_their_namespace_and_nothing_else_is) {
  EXPECT_EQ(parse_delete("<?xml version=\"1.0\"?><s:Delete xmlns:s=\"x\"><Object><Key> a&amp;&#x41;</Key></Object></s:Delete>")->entries[0].key, " a&A");
  EXPECT_EQ(parse_delete("<Delete><Object><Key><![CDATA[<a>]]></Key></Object></Delete>")->entries[0].key, "<a>");
  for (const char* text : {"", "x", "<", "<Delete>", "<Delete/>", "<Delete><Object/></Delete>", "<Other/>", "<Delete><Object><Key>a</Object></Delete>"})
    EXPECT_FALSE(parse_delete(text).has_value()) << text;
  // Entities are not expanded.
  const auto bomb = parse_delete("<!DOCTYPE Delete [<!ENTITY e \"long\">]><Delete><Object><Key>&e;</Key></Object></Delete>");
  EXPECT_TRUE(!bomb || bomb->entries[0].key == "&e;");
  EXPECT_EQ(parse_complete("<CompleteMultipartUpload><Part><PartNumber>2</PartNumber><ETag>\"e\"</ETag><ChecksumCRC32>x</ChecksumCRC32>"
                           "</Part></CompleteMultipartUpload>", ChecksumAlgorithm::kCrc32)->front().checksum, "x");
  for (const char* number : {"0", "-1", "10001", "x", ""}) {
    EXPECT_FALSE(parse_complete("<CompleteMultipartUpload><Part><PartNumber>" + std::string(number) + "</PartNumber></Part></CompleteMultipartUpload>",
                                std::nullopt).has_value()) << number;
  }
  EXPECT_EQ(*parse_create_bucket(" \n"), "");
  EXPECT_EQ(*parse_create_bucket("<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>"), "x");
}

TEST(Xml, tags_are_limited) {
  const auto tags = [](int count, const std::string& key, const std::string& value) {
    std::string xml = "<Tagging><TagSet>";
    for (int i = 0; i < count; ++i) xml += "<Tag><Key>" + key + std::to_string(i) + "</Key><Value>" + value + "</Value></Tag>";
    return parse_tagging(xml + "</TagSet></Tagging>").has_value();
  };
  EXPECT_TRUE(tags(10, "k", "v"));
  EXPECT_FALSE(tags(11, "k", "v"));
  EXPECT_FALSE(tags(1, std::string(128, 'k'), "v"));
  EXPECT_TRUE(tags(1, std::string(127, 'k'), std::string(256, 'v')));
  EXPECT_FALSE(tags(1, "k", std::string(257, 'v')));
  EXPECT_FALSE(parse_tagging("<Tagging><TagSet><Tag><Key>a</Key></Tag><Tag><Key>a</Key></Tag></TagSet></Tagging>").has_value());
}

TEST(Checksums, of_parts_and_wholes_have_their_names_and_kinds) {
  EXPECT_EQ(find_algorithm("crc64nvme"), ChecksumAlgorithm::kCrc64Nvme);
  EXPECT_EQ(find_algorithm("md5"), std::nullopt);
  EXPECT_EQ(find_algorithm_of_header("X-Amz-Checksum-SHA1"), ChecksumAlgorithm::kSha1);
  EXPECT_EQ(default_type(ChecksumAlgorithm::kCrc64Nvme), ChecksumType::kFullObject);
  EXPECT_EQ(default_type(ChecksumAlgorithm::kCrc32), ChecksumType::kComposite);
  EXPECT_TRUE(is_checksum(ChecksumAlgorithm::kCrc32, "AAAAAA=="));
  EXPECT_FALSE(is_checksum(ChecksumAlgorithm::kCrc32, "AAAAAAAAAAA="));
}

TEST(AccessLog, has_one_line_for_each_request_and_is_rotated) {
  char path[] = "/tmp/weir-access-log-XXXXXX";
  const std::filesystem::path folder = ::mkdtemp(path);
  {
    const auto log = *AccessLog::open(folder / "log", 1'000);
    for (int i = 0; i < 40; ++i) {
      log->add({.client = "1.2.3.4:5", .request_id = "ID" + std::to_string(i), .key_id = "-", .operation = "GetObject", .bucket = "s3",
                .key = "a b\n", .status = 200, .bytes_out = 7});
      log->flush();
    }
  }
  std::string all;
  for (const char* name : {"log.3", "log.2", "log.1", "log"}) {
    std::ifstream file(folder / name);
    EXPECT_TRUE(file) << name;
    all += std::string(std::istreambuf_iterator<char>(file), {});
  }
  EXPECT_TRUE(all.contains(" 1.2.3.4:5 ID39 - GetObject s3 a%20b%0A 200 - 0 7 0\n"));
  EXPECT_EQ(std::ranges::count(all, '\n'), 40);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace weir::s3
