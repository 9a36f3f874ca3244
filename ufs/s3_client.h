// ufs/s3_client.h -- one signed S3 request, tried until it is answered for good or its deadline passes.
//
// Retries back off exponentially with full jitter, from 50 ms to 5 s, and at least as long as Retry-After says. When
// the next try would not begin before the deadline the last failure is returned at once.
// After a 403 the credentials are looked up again, and the request is repeated when they have changed.
// Threads: all methods may be called concurrently.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "net/http_client.h"
#include "net/s3_xml.h"
#include "ufs/credentials.h"

namespace weir::ufs {

enum class Addressing : uint8_t { kAuto, kPath, kVirtual };
// What protects a body on its way, besides the checksum that always goes along: its SHA-256 under the signature, or
// TLS.
enum class PayloadSigning : uint8_t {
  kAuto,    // signed on http, and on https until the store has shown that it verifies checksums
  kAlways,
  kNever,
};

struct S3Options {
  std::string endpoint;  // "https://host[:port][/base]"; empty: AWS in `region`
  std::string region = "us-east-1";
  std::string bucket;
  std::string prefix;  // before every key, as it is: "" or "dir/"
  Addressing addressing = Addressing::kAuto;  // auto: virtual-host for AWS, path otherwise
  PayloadSigning payload_signing = PayloadSigning::kAuto;
  std::shared_ptr<CredentialSource> credentials;
  net::HttpClientOptions http;
  const Clock* clock = &system_clock();  // for the date that is signed; deadlines are the machine's
};

struct S3Request {
  net::Method method = net::Method::kGet;
  std::optional<std::string> key;  // with the prefix; none: the bucket itself
  net::Query query;
  net::Headers headers;
  std::span<const std::byte> body;
  std::span<std::byte> sink;
  std::function<void(const net::HttpResponse& so_far)> on_sink;  // of each try; see net/http_client.h
  Duration stall_timeout{};  // zero: the client's; for calls on which the store works silently
  bool body_is_data = false;  // its hash may be left out of the signature: a checksum header goes along
};

struct S3Response {
  net::HttpResponse http;
  bool earlier_try_maybe_done = false;
};

struct S3Refusal {
  Error error;
  std::string s3_code;  // "" when there was no error document
  int status = 0;       // 0: no response
  net::Headers headers;
  bool maybe_done = false;  // this or an earlier try may have had its effect
};

class S3Client {
 public:
  // Errors: kInvalid, with the property that is wrong.
  static Result<std::unique_ptr<S3Client>> create(S3Options options);

  std::expected<S3Response, S3Refusal> call(const S3Request& request, Deadline deadline);

  // The value of x-amz-copy-source.
  std::string copy_source(std::string_view key) const;
  std::string uri() const { return "s3://" + options_.bucket + '/' + options_.prefix; }
  const S3Options& options() const { return options_; }

  // The store was seen to verify x-amz-checksum-*.
  void checksums_are_verified() { checksums_verified_ = true; }

  void stop() { http_.stop(); }
  net::HttpCounters counters() const { return http_.counters(); }

 private:
  struct Address {
    std::string scheme;
    std::string host;       // with port; and the bucket, when addressed so
    std::string base_path;  // "" or "/x"; and the bucket, when addressed so
  };
  S3Client(S3Options options, Address address);

  static Result<Address> address_of(const S3Options& options);
  S3Refusal refusal_of(const S3Request& request, const net::HttpResponse& response) const;
  std::string describe(const S3Request& request) const;

  const S3Options options_;
  const Address address_;
  net::HttpClient http_;
  std::atomic<bool> checksums_verified_ = false;
};

}  // namespace weir::ufs
