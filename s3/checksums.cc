#include "s3/checksums.h"

#include <algorithm>
#include <array>

#include "net/encoding.h"
#include "net/http.h"

namespace weir::s3 {
namespace {

struct Row {
  ChecksumAlgorithm algorithm;
  std::string_view name;
  std::string_view header;
  std::string_view element;
  size_t bytes;
};

constexpr std::array kTable = {
    Row{ChecksumAlgorithm::kCrc32, "CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4},
    Row{ChecksumAlgorithm::kCrc32c, "CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4},
    Row{ChecksumAlgorithm::kCrc64Nvme, "CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8},
    Row{ChecksumAlgorithm::kSha1, "SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20},
    Row{ChecksumAlgorithm::kSha256, "SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32},
};

const Row& row_of(ChecksumAlgorithm algorithm) { return kTable[static_cast<size_t>(algorithm)]; }

std::optional<ChecksumAlgorithm> find(std::string_view Row::*column, std::string_view text) {
  const auto found = std::ranges::find_if(kTable, [&](const Row& row) { return net::same_name(row.*column, text); });
  if (found == kTable.end()) return std::nullopt;
  return found->algorithm;
}

}  // namespace

std::string_view name_of(ChecksumAlgorithm algorithm) { return row_of(algorithm).name; }
std::string_view header_of(ChecksumAlgorithm algorithm) { return row_of(algorithm).header; }
std::string_view element_of(ChecksumAlgorithm algorithm) { return row_of(algorithm).element; }
std::string_view name_of(ChecksumType type) { return type == ChecksumType::kComposite ? "COMPOSITE" : "FULL_OBJECT"; }

std::optional<ChecksumAlgorithm> find_algorithm(std::string_view name) { return find(&Row::name, name); }
std::optional<ChecksumAlgorithm> find_algorithm_of_header(std::string_view header_name) { return find(&Row::header, header_name); }

ChecksumType default_type(ChecksumAlgorithm algorithm) {
  return algorithm == ChecksumAlgorithm::kCrc64Nvme ? ChecksumType::kFullObject : ChecksumType::kComposite;
}

bool is_checksum(ChecksumAlgorithm algorithm, std::string_view value) {
  const auto bytes = net::unbase64(value);
  return bytes && bytes->size() == row_of(algorithm).bytes;
}

}  // namespace weir::s3
