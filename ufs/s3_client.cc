#include "ufs/s3_client.h"

#include <algorithm>
#include <cctype>
#include <charconv>

#include "base/random.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "net/sigv4.h"
#include "ufs/s3_errors.h"

namespace weir::ufs {
namespace {

constexpr Duration kBackoffFirst = std::chrono::milliseconds(50);
constexpr Duration kBackoffMax = std::chrono::seconds(5);
constexpr Duration kRetryAfterMax = std::chrono::minutes(5);

Duration jittered(Duration limit) {
  thread_local Random random = Random::from_entropy();
  return Duration(static_cast<int64_t>(random.unit() * static_cast<double>(limit.count())));
}

Duration retry_after(const net::Headers& headers) {
  const std::string_view value = net::header(headers, "retry-after");
  int64_t seconds = 0;
  const auto [end, code] = std::from_chars(value.data(), value.data() + value.size(), seconds);
  if (code != std::errc{} || end != value.data() + value.size() || seconds < 0) return {};
  return std::min<Duration>(std::chrono::seconds(std::min<int64_t>(seconds, 3'600)), kRetryAfterMax);
}

// A host label, so that the bucket can be put before the endpoint's host and its certificate still matches.
bool is_host_label(std::string_view bucket) {
  return bucket.size() >= 3 && bucket.size() <= 63 && std::ranges::all_of(bucket, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
         });
}

}  // namespace

Result<S3Client::Address> S3Client::address_of(const S3Options& options) {
  const std::string endpoint =
      options.endpoint.empty() ? "https://s3." + options.region + ".amazonaws.com" : options.endpoint;
  const size_t scheme_end = endpoint.find("://");
  if (scheme_end == std::string::npos) {
    return fail(ErrorCode::kInvalid, "s3.endpoint has no scheme: " + endpoint + "; write https://" + endpoint +
                                         " or http://" + endpoint);
  }
  Address address{endpoint.substr(0, scheme_end), endpoint.substr(scheme_end + 3), ""};
  if (address.scheme != "http" && address.scheme != "https") {
    return fail(ErrorCode::kInvalid, "s3.endpoint must begin with http:// or https://: " + endpoint);
  }
  if (const size_t slash = address.host.find('/'); slash != std::string::npos) {
    address.base_path = address.host.substr(slash);
    address.host.resize(slash);
    while (address.base_path.ends_with('/')) address.base_path.pop_back();
  }
  if (address.host.empty() || address.host.find_first_of("?#@ ") != std::string::npos ||
      address.base_path.find_first_of("?# ") != std::string::npos) {
    return fail(ErrorCode::kInvalid, "s3.endpoint must be scheme, host and port only: " + endpoint);
  }
  // The Host header of a default port is without it, and it is signed.
  const std::string_view default_port = address.scheme == "http" ? ":80" : ":443";
  if (address.host.ends_with(default_port)) address.host.resize(address.host.size() - default_port.size());

  const bool virtual_host =
      options.addressing == Addressing::kVirtual ||
      (options.addressing == Addressing::kAuto && address.host.ends_with(".amazonaws.com") &&
       is_host_label(options.bucket));
  if (virtual_host) {
    address.host = options.bucket + '.' + address.host;
  } else {
    address.base_path += '/' + net::uri_encode(options.bucket);
  }
  return address;
}

Result<std::unique_ptr<S3Client>> S3Client::create(S3Options options) {
  const bool bucket_good = options.bucket.size() >= 3 && options.bucket.size() <= 255 &&
                           std::ranges::all_of(options.bucket, [](unsigned char c) {
                             return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
                           });
  if (!bucket_good) return fail(ErrorCode::kInvalid, "not a bucket name: \"" + options.bucket + '"');
  if (options.region.empty()) return fail(ErrorCode::kInvalid, "s3.region is empty");
  if (options.prefix.size() >= 512) return fail(ErrorCode::kInvalid, "the prefix below the bucket is over 511 bytes");
  if (options.http.connections_max == 0) return fail(ErrorCode::kInvalid, "s3.connections.max must be at least 1");
  if (options.credentials == nullptr) return fail(ErrorCode::kInvalid, "no source of credentials");
  TRY_ASSIGN(Address address, address_of(options));
  return std::unique_ptr<S3Client>(new S3Client(std::move(options), std::move(address)));
}

S3Client::S3Client(S3Options options, Address address)
    : options_(std::move(options)), address_(std::move(address)), http_(options_.http) {}

std::string S3Client::copy_source(std::string_view key) const {
  return '/' + net::uri_encode(options_.bucket) + '/' + net::uri_encode_path(key);
}

std::string S3Client::describe(const S3Request& request) const {
  std::string text(net::name_of(request.method));
  text += " s3://" + options_.bucket + '/' + request.key.value_or("");
  text += " at " + address_.scheme + "://" + address_.host;
  return text;
}

S3Refusal S3Client::refusal_of(const S3Request& request, const net::HttpResponse& response) const {
  net::S3Error told = net::parse_s3_error(response.body).value_or(net::S3Error{});
  // HEAD has no body; MinIO names the code in a header.
  if (told.code.empty()) told.code = net::header(response.headers, "x-minio-error-code");
  if (told.region.empty()) told.region = net::header(response.headers, "x-amz-bucket-region");
  S3Verdict verdict = judge_response(response.status, told.code);
  // "Not found" is said of objects and uploads by the store itself; anything else that answers 404 is not the store.
  if (verdict.code == ErrorCode::kNotFound && told.code.empty() &&
      (!request.key || request.method != net::Method::kHead)) {
    verdict = {ErrorCode::kDenied, Again::kNo, "no bucket there, or not an S3 endpoint: check s3.endpoint"};
  }
  std::string message = describe(request) + ": " + std::to_string(response.status);
  if (!told.code.empty()) message += ' ' + told.code;
  if (!told.message.empty()) message += " (" + told.message + ')';
  if (told.code == "RequestTimeTooSkewed") {
    if (const auto date = net::parse_http_date(net::header(response.headers, "date"))) {
      const auto ahead =
          std::chrono::duration_cast<std::chrono::seconds>(options_.clock->wall_now() - *date).count();
      message += "; this machine's clock is " + std::to_string(std::abs(ahead)) + " s " +
                 (ahead > 0 ? "ahead of" : "behind") + " the store's";
    }
  }
  if (verdict.code == ErrorCode::kDenied && !told.region.empty() && told.region != options_.region) {
    message += "; the bucket is in region " + told.region + ", s3.region is " + options_.region;
  }
  if (!verdict.advice.empty()) message += "; ";
  message += verdict.advice;
  return {Error(verdict.code, std::move(message)), std::move(told.code), response.status, response.headers};
}

std::expected<S3Response, S3Refusal> S3Client::call(const S3Request& request, Deadline deadline) {
  const std::string path =
      address_.base_path + (request.key ? '/' + net::uri_encode_path(*request.key) : std::string("/"));
  std::string url = address_.scheme + "://" + address_.host + path;
  if (!request.query.empty()) url += '?' + net::query_text(request.query);

  const bool sign_payload =
      !request.body_is_data || options_.payload_signing == PayloadSigning::kAlways ||
      (options_.payload_signing == PayloadSigning::kAuto && (address_.scheme == "http" || !checksums_verified_));
  const std::string payload_hash = request.body.empty() ? std::string(net::kEmptyPayloadHash)
                                   : sign_payload       ? net::hex(net::sha256(request.body))
                                                        : std::string(net::kUnsignedPayload);

  bool maybe_done = false;
  bool damaged = false;
  bool credentials_refreshed = false;
  Duration backoff = kBackoffFirst;
  std::optional<S3Refusal> last;
  while (true) {
    auto credentials = options_.credentials->current();
    if (!credentials) return std::unexpected(S3Refusal{std::move(credentials).error(), "", 0, {}, maybe_done});
    net::Headers headers = request.headers;
    headers.push_back({"host", address_.host});
    net::sign_headers(net::name_of(request.method), path, request.query, headers, payload_hash, *credentials,
                      options_.region, options_.clock->wall_now());
    auto response = http_.exchange(
        {request.method, url, std::move(headers), request.body, request.sink, request.on_sink, request.stall_timeout}, deadline);

    S3Refusal refusal{Error(ErrorCode::kInternal)};
    Again again = Again::kNo;
    if (response) {
      maybe_done |= response->resent;
      // CopyObject and CompleteMultipartUpload may fail after they have answered 200.
      const bool failed_late = request.sink.empty() && !response->body.empty() &&
                               net::parse_s3_error(response->body).has_value();
      if (response->status / 100 == 2 && !failed_late) return S3Response{std::move(*response), maybe_done};
      refusal = refusal_of(request, *response);
      again = judge_response(refusal.status, refusal.s3_code).again;
      if (refusal.error == ErrorCode::kDenied && !credentials_refreshed) {
        credentials_refreshed = true;
        options_.credentials->refresh();
        const auto renewed = options_.credentials->current();
        if (renewed && *renewed != *credentials) continue;
      }
    } else {
      const S3Verdict verdict = judge_failure(response.error());
      std::string message = describe(request) + ": " + response.error().message;
      if (!verdict.advice.empty()) message += "; ";
      message += verdict.advice;
      refusal.error = Error(verdict.code, std::move(message));
      again = verdict.again;
      maybe_done |= response.error().maybe_sent;
    }

    maybe_done |= again == Again::kMaybeDone;
    refusal.maybe_done = maybe_done;
    if (refusal.error == ErrorCode::kTimedOut && last) {  // what went wrong before tells more
      last->maybe_done = maybe_done;
      return std::unexpected(*std::move(last));
    }
    if (again == Again::kNo || (again == Again::kOnce && damaged)) return std::unexpected(std::move(refusal));
    damaged |= again == Again::kOnce;
    const Duration wait = std::max(jittered(backoff), retry_after(refusal.headers));
    if (wait >= deadline.left()) return std::unexpected(std::move(refusal));
    if (!http_.sleep(wait)) {
      refusal.error = Error(ErrorCode::kCancelled, describe(request) + ": stopped");
      return std::unexpected(std::move(refusal));
    }
    backoff = std::min(backoff * 2, kBackoffMax);
    last = std::move(refusal);
  }
}

}  // namespace weir::ufs
