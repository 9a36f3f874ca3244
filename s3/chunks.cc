#include "s3/chunks.h"

#include <algorithm>
#include <cstring>

#include "net/encoding.h"
#include "net/sigv4.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kSignatureExtension = "chunk-signature=";
constexpr std::string_view kTrailerSignature = "x-amz-trailer-signature";

std::unexpected<Refusal> malformed(std::string what) {
  return refuse(Code::kInvalidRequest, "The chunked body is malformed: " + std::move(what));
}

std::optional<uint64_t> parse_hex(std::string_view text) {
  if (text.empty() || text.size() > 15) return std::nullopt;
  uint64_t number = 0;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return std::nullopt;
    number = number << 4 | static_cast<uint64_t>(digit);
  }
  return number;
}

std::string_view trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

}  // namespace

ChunkDecoder::ChunkDecoder(Dialect dialect, std::optional<ChunkSigning> signing)
    : dialect_(dialect), signing_(std::move(signing)), previous_signature_(signing_ ? signing_->seed : std::string()) {}

Reply<ChunkDecoder::Step> ChunkDecoder::decode(std::span<std::byte> wire) {
  size_t at = 0;
  size_t content = 0;
  while (at < wire.size() && state_ != State::kDone) {
    if (state_ == State::kData) {
      const size_t piece = static_cast<size_t>(std::min<uint64_t>(left_, wire.size() - at));
      if (is_signed()) chunk_hash_.add(wire.subspan(at, piece));
      if (content != at) std::memmove(wire.data() + content, wire.data() + at, piece);
      content += piece;
      at += piece;
      left_ -= piece;
      if (left_ == 0) state_ = State::kDataEnd;
      continue;
    }
    TRY_ASSIGN(const bool whole, take_line(wire, at));
    if (!whole) break;
    if (state_ == State::kSizeLine) {
      TRY(on_size_line());
    } else if (state_ == State::kDataEnd) {
      if (!line_.empty()) return malformed("a chunk is longer than its size says");
      TRY(on_chunk_end());
      state_ = State::kSizeLine;
    } else {
      TRY(on_trailer_line());
    }
    line_.clear();
  }
  return Step{content, at};
}

Reply<bool> ChunkDecoder::take_line(std::span<const std::byte> wire, size_t& at) {
  const auto* start = reinterpret_cast<const char*>(wire.data()) + at;
  const size_t left = wire.size() - at;
  const void* const newline = std::memchr(start, '\n', left);
  const size_t size = newline == nullptr ? left : static_cast<size_t>(static_cast<const char*>(newline) - start);
  if (line_.size() + size > kLineBytesMax) return malformed("a line is over " + std::to_string(kLineBytesMax) + " bytes");
  line_.append(start, size);
  at += size;
  if (newline == nullptr) return false;
  ++at;
  if (line_.ends_with('\r')) {
    line_.pop_back();
  } else if (dialect_ == Dialect::kHttp) {
    return malformed("a line ends without CR");  // what proxies disagree on must not pass
  }
  return true;
}

Reply<void> ChunkDecoder::on_size_line() {
  const std::string_view line = line_;
  const size_t semicolon = line.find(';');
  const auto size = parse_hex(dialect_ == Dialect::kHttp ? trim(line.substr(0, semicolon)) : line.substr(0, semicolon));
  if (!size) return malformed("a chunk's size is no hexadecimal number");
  if (is_signed()) {
    const std::string_view extension = semicolon == std::string_view::npos ? std::string_view() : line.substr(semicolon + 1);
    if (!extension.starts_with(kSignatureExtension)) return malformed("a chunk has no chunk-signature");
    chunk_signature_ = extension.substr(kSignatureExtension.size());
  }
  left_ = *size;
  last_chunk_ = *size == 0;
  if (!last_chunk_) {
    state_ = State::kData;
    return {};
  }
  TRY(on_chunk_end());
  state_ = State::kTrailer;
  return {};
}

Reply<void> ChunkDecoder::on_chunk_end() {
  if (!is_signed()) return {};
  const std::string hash = net::hex(chunk_hash_.finish());
  if (!signing_) return {};
  const std::string text = "AWS4-HMAC-SHA256-PAYLOAD\n" + signing_->amz_date + '\n' + signing_->scope + '\n' + previous_signature_ +
                           '\n' + std::string(net::kEmptyPayloadHash) + '\n' + hash;
  if (!net::same_secret(net::signature(signing_->key, text), chunk_signature_))
    return refuse(Code::kSignatureDoesNotMatch, "The signature of a chunk does not match");
  previous_signature_ = chunk_signature_;
  return {};
}

Reply<void> ChunkDecoder::on_trailer_line() {
  trailer_bytes_ += line_.size();
  if (trailer_bytes_ > kTrailerBytesMax) return malformed("the trailer is over " + std::to_string(kTrailerBytesMax) + " bytes");
  if (line_.empty()) {
    // Some signers end the signed part of the trailer with an empty line of its own, before the signature.
    if (dialect_ == Dialect::kAwsSignedTrailer && net::find_header(trailers_, kTrailerSignature) == nullptr) {
      if (trailers_.empty()) return malformed("the trailer is missing");
      return {};
    }
    state_ = State::kDone;
    return {};
  }
  const size_t colon = line_.find(':');
  if (colon == std::string::npos || colon == 0) return malformed("a line of the trailer is no header");
  const std::string_view name = trim(std::string_view(line_).substr(0, colon));
  const std::string_view value = trim(std::string_view(line_).substr(colon + 1));
  if (dialect_ == Dialect::kAwsSignedTrailer) {
    if (net::same_name(name, kTrailerSignature)) {
      TRY(verify_trailer(value));
    } else {
      if (net::find_header(trailers_, kTrailerSignature) != nullptr) return malformed("the trailer goes on behind its signature");
      std::string lower(name);
      for (char& c : lower)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
      signed_trailer_ += lower + ':' + std::string(value) + '\n';
    }
  }
  trailers_.push_back({std::string(name), std::string(value)});
  return {};
}

Reply<void> ChunkDecoder::verify_trailer(std::string_view signature) {
  if (!signing_) return {};
  const std::string text = "AWS4-HMAC-SHA256-TRAILER\n" + signing_->amz_date + '\n' + signing_->scope + '\n' + previous_signature_ +
                           '\n' + net::hex(net::sha256(net::bytes_of(signed_trailer_)));
  if (!net::same_secret(net::signature(signing_->key, text), signature))
    return refuse(Code::kSignatureDoesNotMatch, "The signature of the trailer does not match");
  return {};
}

Reply<void> ChunkDecoder::end() {
  // The last chunk closes the body; some clients leave the empty line behind it out.
  const bool closed = state_ == State::kTrailer && line_.empty() && dialect_ != Dialect::kHttp &&
                      (dialect_ != Dialect::kAwsSignedTrailer || net::find_header(trailers_, kTrailerSignature) != nullptr);
  if (closed) state_ = State::kDone;
  if (!done()) return refuse(Code::kIncompleteBody, "The body ended before its last chunk");
  return {};
}

}  // namespace weir::s3
