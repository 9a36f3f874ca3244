// volume/object_checksum.h -- the checksums of objects: of bytes, and of parts that were summed up one by one.
//
// Threads: functions are pure; a hasher belongs to one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "io/file.h"
#include "net/digest.h"
#include "volume/objects.h"

namespace weir::volume {

class ChecksumHasher {
 public:
  explicit ChecksumHasher(ChecksumAlgorithm algorithm);
  void add(std::span<const std::byte> bytes);
  std::string finish();  // as in the header

 private:
  const ChecksumAlgorithm algorithm_;
  uint32_t crc32_ = 0;
  uint64_t crc64_ = 0;
  std::variant<std::monostate, net::Hasher<net::Sha1>, net::Hasher<net::Sha256>> digest_;
};

Result<std::string> checksum_of(const io::File& file, uint64_t size, ChecksumAlgorithm algorithm);

struct SummedPart {
  uint64_t size = 0;
  std::string checksum;  // as in the header
};
// Of the whole: of the parts' checksums, with "-N", or of all bytes, which only CRCs can tell. nullopt: it cannot be told.
std::optional<std::string> combine_checksums(ChecksumAlgorithm algorithm, ChecksumType type,
                                             const std::vector<SummedPart>& parts);

}  // namespace weir::volume
