// s3/chunks.h -- takes bodies out of their chunks: those of HTTP (RFC 9112, 7.1), and those of S3's streaming signatures.
//
// Works in place and keeps nothing of the body, so chunks of any size, cut anywhere, cost no memory. Trailers and chunk lines are
// bounded. Source of the signed form: Amazon S3 API reference, "Signature Calculations for the Authorization Header: Transferring
// Payload in Multiple Chunks", and the same "Including Trailing Headers".
// Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "net/digest.h"
#include "net/http.h"
#include "s3/authorization.h"
#include "s3/refusal.h"

namespace weir::s3 {

class ChunkDecoder {
 public:
  static constexpr size_t kLineBytesMax = 4'096;
  static constexpr size_t kTrailerBytesMax = 16'384;

  enum class Dialect : uint8_t {
    kHttp,             // extensions are passed over
    kAws,              // without signatures
    kAwsSigned,        // each chunk has one
    kAwsSignedTrailer, // and the trailer, too
  };

  // With kAwsSigned* and no `signing` the signatures must be there, but are not verified.
  ChunkDecoder(Dialect dialect, std::optional<ChunkSigning> signing);

  // Takes the next bytes of the wire and moves what is content to their start. What lies behind `consumed` (only when done()) is
  // left as it is. kIncompleteBody, kInvalidRequest, kSignatureDoesNotMatch: the body is not to be used.
  struct Step {
    size_t content = 0;
    size_t consumed = 0;
  };
  Reply<Step> decode(std::span<std::byte> wire);

  // The last chunk and the trailer are through.
  bool done() const { return state_ == State::kDone; }
  // No more bytes come: kIncompleteBody unless that is a good end.
  Reply<void> end();
  const net::Headers& trailers() const { return trailers_; }

 private:
  enum class State : uint8_t { kSizeLine, kData, kDataEnd, kTrailer, kDone };

  // True when the line is whole.
  Reply<bool> take_line(std::span<const std::byte> wire, size_t& at);
  Reply<void> on_size_line();
  Reply<void> on_trailer_line();
  Reply<void> on_chunk_end();
  Reply<void> verify_trailer(std::string_view signature);
  bool is_signed() const { return dialect_ == Dialect::kAwsSigned || dialect_ == Dialect::kAwsSignedTrailer; }

  const Dialect dialect_;
  const std::optional<ChunkSigning> signing_;
  State state_ = State::kSizeLine;
  std::string line_;
  uint64_t left_ = 0;          // of the chunk
  bool last_chunk_ = false;
  std::string chunk_signature_;
  std::string previous_signature_;
  net::Hasher<net::Sha256> chunk_hash_;
  net::Headers trailers_;
  std::string signed_trailer_; // canonical
  size_t trailer_bytes_ = 0;
};

}  // namespace weir::s3
