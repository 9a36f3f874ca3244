#include "s3/payload.h"

#include "net/encoding.h"
#include "net/sigv4.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kStreaming = "STREAMING-";

std::optional<ChunkDecoder::Dialect> dialect_of(std::string_view payload_hash) {
  if (payload_hash == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD") return ChunkDecoder::Dialect::kAwsSigned;
  if (payload_hash == "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER") return ChunkDecoder::Dialect::kAwsSignedTrailer;
  if (payload_hash == "STREAMING-UNSIGNED-PAYLOAD-TRAILER") return ChunkDecoder::Dialect::kAws;
  return std::nullopt;
}

// From x-amz-content-sha256.
Reply<void> take_payload_hash(std::string_view hash, PayloadPromise& promise) {
  if (hash.empty() || hash == net::kUnsignedPayload) return {};
  if (hash.starts_with(kStreaming)) {
    promise.aws_chunks = dialect_of(hash);
    if (promise.aws_chunks) return {};
    return refuse(Code::kNotImplemented, "x-amz-content-sha256: " + std::string(hash) + " is not supported");
  }
  const auto bytes = net::unhex(hash);
  if (!bytes || bytes->size() != sizeof(net::Sha256)) {
    return refuse(Code::kInvalidArgument,
                  "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
                  "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, STREAMING-UNSIGNED-PAYLOAD-TRAILER or a valid sha256 value");
  }
  promise.sha256 = net::hex(net::bytes_of(*bytes));
  return {};
}

Reply<void> take_length(const Request& request, PayloadPromise& promise) {
  if (const std::string_view coding = request.header("transfer-encoding"); !coding.empty()) {
    if (!net::same_name(coding, "chunked"))
      return refuse(Code::kNotImplemented, "Transfer-Encoding: " + std::string(coding) + " is not supported");
    promise.http_chunks = true;
  }
  if (const std::string* length = net::find_header(request.headers, "content-length")) {
    promise.wire_bytes = parse_number(*length);
    if (!promise.wire_bytes || promise.http_chunks) return refuse(Code::kInvalidArgument, "Content-Length is not valid");
  }
  if (promise.aws_chunks) {
    if (const std::string* length = net::find_header(request.headers, "x-amz-decoded-content-length")) {
      promise.content_bytes = parse_number(*length);
      if (!promise.content_bytes)
        return refuse(Code::kInvalidArgument, "x-amz-decoded-content-length is no number");
    }
  } else {
    promise.content_bytes = promise.wire_bytes;
  }
  return {};
}

Reply<void> take_checksum(const Request& request, PayloadPromise& promise) {
  const auto claim = [&](ChecksumAlgorithm algorithm) -> Reply<void> {
    if (promise.algorithm) return refuse(Code::kInvalidRequest, "Expecting a single x-amz-checksum- header");
    promise.algorithm = algorithm;
    return {};
  };
  for (const net::Header& header : request.headers) {
    const auto algorithm = find_algorithm_of_header(header.name);
    if (!algorithm) continue;
    TRY(claim(*algorithm));
    if (!is_checksum(*algorithm, header.value))
      return refuse(Code::kInvalidRequest, "Value for " + std::string(header_of(*algorithm)) + " header is invalid.");
    promise.checksum = header.value;
  }
  if (const std::string_view trailer = request.header("x-amz-trailer"); !trailer.empty()) {
    const auto algorithm = find_algorithm_of_header(trailer);
    if (!algorithm)
      return refuse(Code::kInvalidRequest, "The value specified in the x-amz-trailer header is not supported");
    if (promise.aws_chunks != ChunkDecoder::Dialect::kAws && promise.aws_chunks != ChunkDecoder::Dialect::kAwsSignedTrailer)
      return refuse(Code::kInvalidRequest, "x-amz-trailer needs an x-amz-content-sha256 that ends in -TRAILER");
    TRY(claim(*algorithm));
  }
  if (const std::string_view name = request.header("x-amz-sdk-checksum-algorithm"); !name.empty()) {
    const auto algorithm = find_algorithm(name);
    if (!algorithm) return refuse(Code::kInvalidRequest, "x-amz-sdk-checksum-algorithm: " + std::string(name) + " is not supported");
    if (!promise.algorithm) {
      return refuse(Code::kInvalidRequest,
                    "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.");
    }
    if (promise.algorithm != algorithm)
      return refuse(Code::kInvalidRequest, "Value for x-amz-sdk-checksum-algorithm header is invalid.");
  }
  return {};
}

std::unexpected<Refusal> bad_digest(std::string_view name) {
  return refuse(Code::kBadDigest, "The " + std::string(name) + " you specified did not match the calculated checksum.");
}

}  // namespace

Reply<PayloadPromise> payload_promise(const Request& request, ChecksumOf checksum_of) {
  PayloadPromise promise;
  TRY(take_payload_hash(request.header("x-amz-content-sha256"), promise));
  TRY(take_length(request, promise));
  if (const std::string* md5 = net::find_header(request.headers, "content-md5")) {
    const auto bytes = net::unbase64(*md5);
    if (!bytes || bytes->size() != sizeof(net::Md5)) return refuse(Code::kInvalidDigest);
    promise.md5 = net::hex(net::bytes_of(*bytes));
  }
  if (checksum_of == ChecksumOf::kBody) TRY(take_checksum(request, promise));
  return promise;
}

Payload::Payload(PayloadPromise promise, const Identity& identity, WithMd5 with_md5, std::optional<ChecksumAlgorithm> kept)
    : promise_(std::move(promise)), kept_(kept) {
  if (promise_.http_chunks) http_.emplace(ChunkDecoder::Dialect::kHttp, std::nullopt);
  if (promise_.aws_chunks) aws_.emplace(*promise_.aws_chunks, identity.chunks);
  if (with_md5 == WithMd5::kYes || !promise_.md5.empty()) md5_.emplace();
  if (!promise_.sha256.empty()) sha256_.emplace();
  if (promise_.algorithm) claimed_checksum_.emplace(*promise_.algorithm);
  if (kept_ && kept_ != promise_.algorithm) kept_checksum_.emplace(*kept_);
}

uint64_t Payload::wire_left() const { return promise_.wire_bytes ? *promise_.wire_bytes - wire_bytes_ : 0; }

bool Payload::complete() const {
  if (http_) return http_->done();
  return wire_bytes_ == promise_.wire_bytes.value_or(0);
}

Reply<Payload::Step> Payload::take(std::span<std::byte> wire) {
  Step step;
  if (http_) {
    TRY_ASSIGN(step, http_->decode(wire));
  } else {
    step.consumed = static_cast<size_t>(std::min<uint64_t>(wire.size(), wire_left()));
    step.content = step.consumed;
  }
  wire_bytes_ += step.consumed;
  if (aws_) {
    TRY_ASSIGN(const Step inner, aws_->decode(wire.first(step.content)));
    if (inner.consumed != step.content) return refuse(Code::kInvalidRequest, "The body goes on behind its last chunk");
    step.content = inner.content;
  }
  const auto content = wire.first(step.content);
  content_bytes_ += content.size();
  if (promise_.content_bytes && content_bytes_ > *promise_.content_bytes)
    return refuse(Code::kIncompleteBody, "The body is longer than x-amz-decoded-content-length says");
  if (md5_) md5_->add(content);
  if (sha256_) sha256_->add(content);
  if (claimed_checksum_) claimed_checksum_->add(content);
  if (kept_checksum_) kept_checksum_->add(content);
  return step;
}

Reply<PayloadFacts> Payload::finish() {
  if (!complete()) return refuse(Code::kIncompleteBody);
  if (aws_) TRY(aws_->end());
  if (promise_.content_bytes && content_bytes_ != *promise_.content_bytes)
    return refuse(Code::kIncompleteBody, "The body is shorter than promised");
  PayloadFacts facts{.bytes = content_bytes_};
  if (md5_) facts.md5 = net::hex(md5_->finish());
  if (!promise_.md5.empty() && facts.md5 != promise_.md5)
    return refuse(Code::kBadDigest, "The Content-MD5 you specified did not match what we received.");
  if (sha256_ && net::hex(sha256_->finish()) != promise_.sha256) return refuse(Code::kXAmzContentSha256Mismatch);
  if (claimed_checksum_) {
    const ChecksumAlgorithm algorithm = *promise_.algorithm;
    std::string_view claimed = promise_.checksum;
    if (claimed.empty() && aws_) claimed = net::header(aws_->trailers(), header_of(algorithm));
    if (!is_checksum(algorithm, claimed))
      return refuse(Code::kInvalidRequest, "Value for " + std::string(header_of(algorithm)) + " trailing header is invalid.");
    const std::string computed = claimed_checksum_->finish();
    if (claimed != computed) return bad_digest(name_of(algorithm));
    if (kept_ == algorithm) facts.checksum = ObjectChecksum{.algorithm = algorithm, .value = computed};
  }
  if (kept_checksum_) facts.checksum = ObjectChecksum{.algorithm = *kept_, .value = kept_checksum_->finish()};
  return facts;
}

}  // namespace weir::s3
