#include "volume/object_checksum.h"

#include <algorithm>
#include <memory>

#include "net/checksum.h"
#include "net/encoding.h"

namespace weir::volume {
namespace {

constexpr size_t kChecksumBufferBytes = 1 << 20;

template <typename Crc, typename Parse, typename Combine>
std::optional<std::string> combine_crcs(const std::vector<SummedPart>& parts, Parse parse, Combine combine) {
  Crc whole = 0;
  for (const SummedPart& part : parts) {
    const std::optional<Crc> crc = parse(part.checksum);
    if (!crc) return std::nullopt;
    whole = combine(whole, *crc, part.size);
  }
  return net::checksum_text(whole);
}

}  // namespace

ChecksumHasher::ChecksumHasher(ChecksumAlgorithm algorithm) : algorithm_(algorithm) {
  if (algorithm == ChecksumAlgorithm::kSha1) digest_.emplace<net::Hasher<net::Sha1>>();
  if (algorithm == ChecksumAlgorithm::kSha256) digest_.emplace<net::Hasher<net::Sha256>>();
}

void ChecksumHasher::add(std::span<const std::byte> bytes) {
  switch (algorithm_) {
    case ChecksumAlgorithm::kCrc32: crc32_ = net::crc32(bytes, crc32_); break;
    case ChecksumAlgorithm::kCrc32c: crc32_ = net::crc32c(bytes, crc32_); break;
    case ChecksumAlgorithm::kCrc64Nvme: crc64_ = net::crc64_nvme(bytes, crc64_); break;
    case ChecksumAlgorithm::kSha1: std::get<net::Hasher<net::Sha1>>(digest_).add(bytes); break;
    case ChecksumAlgorithm::kSha256: std::get<net::Hasher<net::Sha256>>(digest_).add(bytes); break;
  }
}

std::string ChecksumHasher::finish() {
  switch (algorithm_) {
    case ChecksumAlgorithm::kCrc64Nvme: return net::checksum_text(crc64_);
    case ChecksumAlgorithm::kSha1: return net::base64(std::get<net::Hasher<net::Sha1>>(digest_).finish());
    case ChecksumAlgorithm::kSha256: return net::base64(std::get<net::Hasher<net::Sha256>>(digest_).finish());
    default: return net::checksum_text(crc32_);
  }
}

Result<std::string> checksum_of(const io::File& file, uint64_t size, ChecksumAlgorithm algorithm) {
  ChecksumHasher hasher(algorithm);
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kChecksumBufferBytes);
  for (uint64_t offset = 0; offset < size;) {
    const std::span<std::byte> into(buffer.get(), std::min<uint64_t>(kChecksumBufferBytes, size - offset));
    TRY_ASSIGN(const size_t read, file.read_at(offset, into));
    if (read == 0) return fail(ErrorCode::kIo, "the local file is shorter than it was");
    hasher.add(into.first(read));
    offset += read;
  }
  return hasher.finish();
}

std::optional<std::string> combine_checksums(ChecksumAlgorithm algorithm, ChecksumType type,
                                             const std::vector<SummedPart>& parts) {
  if (type == ChecksumType::kComposite) {
    ChecksumHasher hasher(algorithm);
    for (const SummedPart& part : parts) {
      const auto bytes = net::unbase64(part.checksum);
      if (!bytes) return std::nullopt;
      hasher.add(net::bytes_of(*bytes));
    }
    return hasher.finish() + "-" + std::to_string(parts.size());
  }
  switch (algorithm) {
    case ChecksumAlgorithm::kCrc32: return combine_crcs<uint32_t>(parts, net::parse_checksum32, net::crc32_combine);
    case ChecksumAlgorithm::kCrc32c: return combine_crcs<uint32_t>(parts, net::parse_checksum32, net::crc32c_combine);
    case ChecksumAlgorithm::kCrc64Nvme:
      return combine_crcs<uint64_t>(parts, net::parse_checksum64, net::crc64_nvme_combine);
    default: return std::nullopt;
  }
}

}  // namespace weir::volume
