// s3/payload.h -- what a request promises of its body, and whether the body keeps it.
//
// A body that does not is refused before anything of it is committed: a wrong length, MD5, SHA-256, checksum or signature.
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "net/digest.h"
#include "s3/authorization.h"
#include "s3/checksums.h"
#include "s3/chunks.h"
#include "s3/refusal.h"
#include "s3/request.h"

namespace weir::s3 {

struct PayloadPromise {
  std::optional<uint64_t> wire_bytes;  // Content-Length; absent: HTTP chunks, or no body
  bool http_chunks = false;
  std::optional<ChunkDecoder::Dialect> aws_chunks;
  std::optional<uint64_t> content_bytes;  // as said; absent: not known before the end
  std::string sha256;                     // hex; empty: not said
  std::string md5;                        // hex; empty: not said
  std::optional<ChecksumAlgorithm> algorithm;
  std::string checksum;                   // empty with an algorithm: it comes in the trailer

  bool empty() const { return !http_chunks && wire_bytes.value_or(0) == 0; }
};
// Of what x-amz-checksum-* speaks: in a CompleteMultipartUpload of the object that the body only names the parts of.
enum class ChecksumOf : uint8_t { kBody, kObject };
// The headers must make sense together: kInvalidRequest, kInvalidDigest, kInvalidArgument, kNotImplemented.
Reply<PayloadPromise> payload_promise(const Request& request, ChecksumOf checksum_of = ChecksumOf::kBody);

// Content as it was received and found to be what was promised.
struct PayloadFacts {
  uint64_t bytes = 0;
  std::string md5;  // hex; only when it was asked for
  std::optional<ObjectChecksum> checksum;  // the one that is kept
};

class Payload {
 public:
  enum class WithMd5 : uint8_t { kNo, kYes };

  Payload(PayloadPromise promise, const Identity& identity, WithMd5 with_md5, std::optional<ChecksumAlgorithm> kept);

  // Takes bytes of the wire; see ChunkDecoder::decode().
  using Step = ChunkDecoder::Step;
  Reply<Step> take(std::span<std::byte> wire);
  // Everything is there: no further byte of the connection belongs to the body.
  bool complete() const;
  // How much of the wire take() wants at most; 0: not known.
  uint64_t wire_left() const;
  // Requires: complete(), or the client is gone.
  Reply<PayloadFacts> finish();

  const PayloadPromise& promise() const { return promise_; }

 private:
  const PayloadPromise promise_;
  std::optional<ChunkDecoder> http_;
  std::optional<ChunkDecoder> aws_;
  std::optional<net::Hasher<net::Md5>> md5_;
  std::optional<net::Hasher<net::Sha256>> sha256_;
  const std::optional<ChecksumAlgorithm> kept_;
  std::optional<ChecksumHasher> claimed_checksum_;
  std::optional<ChecksumHasher> kept_checksum_;  // only when it is another one
  uint64_t wire_bytes_ = 0;
  uint64_t content_bytes_ = 0;
};

}  // namespace weir::s3
