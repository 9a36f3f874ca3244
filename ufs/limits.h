// ufs/limits.h -- what every under store checks of its arguments before anything is done. Errors: kInvalid, kTooLarge.
#pragma once

#include <string_view>
#include <vector>

#include "base/result.h"
#include "ufs/under_store.h"

namespace weir::ufs {

Result<void> check_key(std::string_view prefix, std::string_view key, size_t bytes_max = kKeyBytesMax);
Result<void> check_attributes(const ObjectAttributes& attributes);
Result<void> check_conditions(const Conditions& conditions);
Result<void> check_body(uint64_t size_bytes);
Result<void> check_part_number(uint32_t number);
// Not empty, in ascending order, and every part but the last of at least `part_bytes_min`.
Result<void> check_parts(const std::vector<Part>& parts, uint64_t part_bytes_min);

}  // namespace weir::ufs
