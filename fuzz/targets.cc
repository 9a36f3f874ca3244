#include "fuzz/targets.h"

#include <stdlib.h>

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"
#include "net/encoding.h"
#include "s3/authorization.h"
#include "s3/chunks.h"
#include "s3/form.h"
#include "s3/head.h"
#include "s3/operations.h"
#include "s3/payload.h"
#include "s3/post_policy.h"
#include "s3/xml.h"

namespace weir::fuzz {
namespace {

// A directory for one key; it is small and left to the temporary directory.
s3::Authorization& authorization() {
  static const auto keys = [] {
    std::string path = "/tmp/weir-fuzz-XXXXXX";
    CHECK(::mkdtemp(path.data()) != nullptr);
    auto made = s3::AccessKeys::open(*io::Directory::open(path), "keys", system_clock());
    CHECK(made.has_value());
    CHECK((*made)->add({.id = "AKIAIOSFODNN7EXAMPLE", .secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}).has_value());
    (void)io::Directory::open(path)->unlink("keys");
    (void)io::Directory::open("/tmp")->remove_directory(path.substr(5).c_str());
    return *std::move(made);
  }();
  static s3::Authorization made(*keys, s3::AuthMode::kKeys, "", system_clock());
  return made;
}

// All that is said of a request before anything is done.
void look_at(const s3::Request& request) {
  CHECK(!authorization().identify(request).has_value());
  (void)s3::find_route(request);
  (void)s3::payload_promise(request);
  (void)s3::object_headers(request);
  (void)s3::header_tags(request);
  (void)s3::write_conditions(request);
  (void)s3::read_conditions(request);
  (void)s3::refuse_unsupported(request);
  (void)s3::part_number(request);
  (void)s3::check_version(request);
}

// The first byte says how the rest is cut.
void head(std::string_view input) {
  if (input.empty()) return;
  const size_t piece = 1 + static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  const std::vector<std::string> domains = {"example.com"};
  s3::HeadParser parser;
  std::string bytes;
  for (size_t at = 0; at < input.size() && !parser.done(); at += piece) {
    bytes += input.substr(at, piece);
    const auto taken = parser.feed(bytes);
    if (!taken) return;
    CHECK(*taken <= bytes.size());
    bytes.erase(0, *taken);
    CHECK(parser.done() || bytes.size() <= s3::HeadParser::kBytesMax);
  }
  if (!parser.done()) return;
  s3::Request request;
  if (parser.fill(request, domains)) look_at(request);
  (void)parser.keep_alive();
}

// A header a line; a line without a colon is the target.
void authorization_target(std::string_view input) {
  s3::Request request;
  std::string target = "/bucket/key";
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(input.size(), line.size() + 1));
    const size_t colon = line.find(": ");
    if (colon == std::string_view::npos) {
      target = line;
    } else {
      request.headers.push_back({std::string(line.substr(0, colon)), std::string(line.substr(colon + 2))});
    }
  }
  if (s3::parse_target(target, {}, request)) look_at(request);
}

void query(std::string_view input) {
  const auto parsed = s3::parse_query(input, s3::kQueryParametersMax);
  CHECK(!parsed || parsed->size() <= s3::kQueryParametersMax);
  if (const auto source = s3::parse_copy_source(input)) CHECK(!source->bucket.empty() && !source->key.empty());
  constexpr uint64_t kSize = 1'000;
  if (const auto range = s3::parse_range(input, kSize); range && *range)
    CHECK((*range)->size > 0 && (*range)->offset < kSize && (*range)->size <= kSize - (*range)->offset);
  (void)s3::parse_range(input, 0);
}

void xml(std::string_view input) {
  if (const auto request = s3::parse_delete(input)) CHECK(!request->entries.empty() && request->entries.size() <= volume::kObjectsErasedMax);
  (void)s3::parse_complete(input, s3::ChecksumAlgorithm::kSha256);
  if (const auto tags = s3::parse_tagging(input)) {
    // What is written is read back.
    const auto again = s3::parse_tagging(s3::tagging_xml(*tags));
    CHECK(!again || *again == *tags);
  }
  (void)s3::parse_create_bucket(input);
}

// The first byte says which dialect it is, the second how the rest is cut.
void chunks(std::string_view input) {
  if (input.size() < 2) return;
  using Dialect = s3::ChunkDecoder::Dialect;
  const auto dialect = static_cast<Dialect>(static_cast<unsigned char>(input[0]) % 4);
  const size_t piece = 1 + static_cast<unsigned char>(input[1]);
  std::string wire(input.substr(2));
  s3::ChunkDecoder decoder(dialect, std::nullopt);
  for (size_t at = 0; at < wire.size() && !decoder.done();) {
    const auto bytes = std::as_writable_bytes(std::span(wire).subspan(at, std::min(piece, wire.size() - at)));
    const auto step = decoder.decode(bytes);
    if (!step) return;
    CHECK(step->content <= step->consumed && step->consumed <= bytes.size());
    CHECK(decoder.done() || step->consumed == bytes.size());
    at += step->consumed;
  }
  (void)decoder.end();
}

// The first byte says how the rest is cut; what is kept of a form says what its policy is.
void form(std::string_view input) {
  if (input.empty()) return;
  const size_t piece = 1 + static_cast<unsigned char>(input.front());
  input.remove_prefix(1);
  const auto boundary = s3::FormReader::boundary_of(input.substr(0, input.find('\n')));
  s3::FormReader reader(boundary ? *boundary : "x");
  size_t content = 0;
  for (std::string_view rest = input.substr(std::min(input.size(), input.find('\n') + 1)); !rest.empty();) {
    std::string_view bytes = rest.substr(0, piece);
    rest.remove_prefix(bytes.size());
    if (!reader.at_content()) {
      const auto taken = reader.take_fields(bytes);
      if (!taken) break;
      CHECK(*taken <= bytes.size());
      bytes.remove_prefix(*taken);
      if (!reader.at_content()) continue;
    }
    content += reader.content(bytes).size();
    reader.commit(bytes);
  }
  CHECK(content <= input.size());
  (void)s3::PostPolicy::parse(input);
  const auto policy = s3::PostPolicy::parse(net::base64(net::bytes_of(input)));
  if (policy) (void)policy->check(reader.fields(), "bucket", from_unix_ns(0));
}

const std::string kSigned =
    "Host: example.com\nx-amz-date: 20130524T000000Z\nx-amz-content-sha256: UNSIGNED-PAYLOAD\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
    "SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=00\n";

const std::vector<Target> kTargets = {
    {"head", head,
     {"\x10GET /bucket/key?versionId=null HTTP/1.1\r\nHost: bucket.example.com:80\r\nRange: bytes=0-9\r\n\r\n",
      "\xffPUT /bucket/key HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nx-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n"
      "x-amz-trailer: x-amz-checksum-crc32\r\nx-amz-decoded-content-length: 5\r\nContent-MD5: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
      "\x03POST /bucket?delete HTTP/1.0\r\nContent-Length: 5\r\nx-amz-meta-a: b\r\nx-amz-tagging: a=b&c=d\r\nIf-None-Match: *\r\n\r\n"}},
    {"authorization", authorization_target,
     {kSigned, kSigned + "x-amz-copy-source: /a/b\n/bucket?X-Amz-Signature=0",
      "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
      "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=604800&X-Amz-SignedHeaders=host&X-Amz-Signature=00\nHost: h"}},
    {"query", query, {"prefix=a%2Fb&delimiter=/&list-type=2", "bytes=10-20", "bytes=-5", "bytes=999-", "/bucket/key%20a?versionId=null"}},
    {"xml", xml,
     {"<Delete><Quiet>true</Quiet><Object><Key>a&amp;b</Key><VersionId>null</VersionId><ETag>\"x\"</ETag></Object></Delete>",
      "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"x\"</ETag><ChecksumSHA256>y</ChecksumSHA256></Part></CompleteMultipartUpload>",
      "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
      "<CreateBucketConfiguration><LocationConstraint>x</LocationConstraint></CreateBucketConfiguration>"}},
    {"form", form,
     {"\x08multipart/form-data; boundary=x\n--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\n--x\r\n"
      "Content-Disposition: form-data; name=\"file\"; filename=\"a\\b\"\r\nContent-Type: text/x\r\n\r\ncontent\r\n--x--\r\n",
      R"( {"expiration": "2007-12-01T12:00:00.000Z", "conditions": [{"acl": "private"}, ["starts-with", "$key", "a/"], ["content-length-range", 1, "9"]]})"}},
    {"chunks", chunks,
     {std::string("\0\x05", 2) + "5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
      "\x01\x02" "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n",
      "\x02\x40" "5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\n\r\n",
      "\x03\x10" "5;chunk-signature=00\r\nhello\r\n0;chunk-signature=00\r\na:b\n\r\nx-amz-trailer-signature:00\r\n\r\n"}},
};

}  // namespace

const std::vector<Target>& targets() { return kTargets; }

const Target* find_target(std::string_view name) {
  const auto found = std::ranges::find(kTargets, name, &Target::name);
  return found == kTargets.end() ? nullptr : &*found;
}

}  // namespace weir::fuzz
