#include "daemon/tar_gz.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace weir::daemon {
namespace {

constexpr size_t kBlockBytes = 512;
constexpr size_t kNameBytesMax = 100;

// The header's fields, as in the standard; numbers are octal texts.
struct Header {
  char name[kNameBytesMax];
  char mode[8];
  char uid[8];
  char gid[8];
  char size[12];
  char mtime[12];
  char checksum[8];
  char type;
  char link[100];
  char magic[6];
  char version[2];
  char user[32];
  char group[32];
  char device_major[8];
  char device_minor[8];
  char prefix[155];
  char padding[12];
};
static_assert(sizeof(Header) == kBlockBytes);

template <size_t kSize>
void put_octal(char (&field)[kSize], uint64_t value) {
  std::snprintf(field, kSize, "%0*llo", static_cast<int>(kSize - 1), static_cast<unsigned long long>(value));
}

}  // namespace

struct TarGz::Deflate {
  Deflate() {
    constexpr int kGzip = 16;  // added to the window's bits: with a header of gzip
    CHECK(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, MAX_WBITS + kGzip, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  }
  ~Deflate() { deflateEnd(&stream); }

  z_stream stream{};
  std::array<std::byte, 64 << 10> buffer;
};

TarGz::TarGz(Sink sink, int64_t mtime_s)
    : sink_(std::move(sink)), mtime_s_(mtime_s), deflate_(std::make_unique<Deflate>()) {}
TarGz::~TarGz() = default;

Result<void> TarGz::write(std::string_view bytes, Last last) {
  z_stream& stream = deflate_->stream;
  do {
    // Its sizes have 32 bits.
    const std::string_view piece = bytes.substr(0, 1 << 30);
    bytes.remove_prefix(piece.size());
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(piece.data()));
    stream.avail_in = static_cast<uInt>(piece.size());
    do {
      stream.next_out = reinterpret_cast<Bytef*>(deflate_->buffer.data());
      stream.avail_out = static_cast<uInt>(deflate_->buffer.size());
      (void)deflate(&stream, last == Last::kYes && bytes.empty() ? Z_FINISH : Z_NO_FLUSH);
      const size_t made = deflate_->buffer.size() - stream.avail_out;
      if (made != 0) TRY(sink_(std::span(deflate_->buffer).first(made)));
    } while (stream.avail_out == 0);
  } while (!bytes.empty());
  return {};
}

Result<void> TarGz::add(std::string_view name, std::string_view text) {
  CHECK(name.size() <= kNameBytesMax);
  Header header{};
  std::ranges::copy(name, header.name);
  put_octal(header.mode, 0600);
  put_octal(header.uid, 0);
  put_octal(header.gid, 0);
  put_octal(header.size, text.size());
  put_octal(header.mtime, static_cast<uint64_t>(std::max<int64_t>(mtime_s_, 0)));
  header.type = '0';
  std::memcpy(header.magic, "ustar", sizeof header.magic);
  std::memset(header.version, '0', sizeof header.version);
  std::memset(header.checksum, ' ', sizeof header.checksum);
  uint64_t sum = 0;
  for (const unsigned char byte : std::string_view(reinterpret_cast<const char*>(&header), sizeof header)) sum += byte;
  std::snprintf(header.checksum, sizeof header.checksum, "%06llo", static_cast<unsigned long long>(sum));
  TRY(write({reinterpret_cast<const char*>(&header), sizeof header}));
  TRY(write(text));
  return write(std::string((kBlockBytes - text.size() % kBlockBytes) % kBlockBytes, '\0'));
}

Result<void> TarGz::finish() { return write(std::string(2 * kBlockBytes, '\0'), Last::kYes); }

}  // namespace weir::daemon
