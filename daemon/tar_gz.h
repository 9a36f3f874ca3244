// daemon/tar_gz.h -- writes a compressed tar archive of small texts.
//
// Format: POSIX ustar (IEEE Std 1003.1, pax), gzip (RFC 1952). Threads: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace weir::daemon {

class TarGz {
 public:
  using Sink = std::function<Result<void>(std::span<const std::byte>)>;
  // The sink's errors are those of all calls.
  TarGz(Sink sink, int64_t mtime_s);
  ~TarGz();
  TarGz(const TarGz&) = delete;

  // `name` has at most 100 bytes; `text` less than 8 GiB.
  Result<void> add(std::string_view name, std::string_view text);
  // The end of the archive. Nothing may be added after it.
  Result<void> finish();

 private:
  struct Deflate;
  enum class Last : uint8_t { kNo, kYes };
  Result<void> write(std::string_view bytes, Last last = Last::kNo);

  const Sink sink_;
  const int64_t mtime_s_;
  const std::unique_ptr<Deflate> deflate_;
};

}  // namespace weir::daemon
