// s3/head.h -- the head of an HTTP/1.1 request as it comes in pieces: request line and header section.
//
// Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "s3/refusal.h"
#include "s3/request.h"

namespace weir::s3 {

class HeadParser {
 public:
  static constexpr size_t kBytesMax = 32 << 10;

  HeadParser();
  ~HeadParser();
  HeadParser(const HeadParser&) = delete;
  HeadParser& operator=(const HeadParser&) = delete;

  // Takes what it can of the bytes not taken before, and says how much; the rest is to be given again, with more behind it.
  // kRequestHeaderTooLarge, kInvalidRequest: no request begins here, and where the next one does cannot be told.
  Reply<size_t> feed(std::string_view bytes);
  bool done() const;

  // --- Requires: done()
  bool keep_alive() const;
  // Method, headers and what the request line names. kMethodNotAllowed, kInvalidUri, ...: the head is whole, but not to be served.
  Reply<void> fill(Request& request, std::span<const std::string> domains) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace weir::s3
