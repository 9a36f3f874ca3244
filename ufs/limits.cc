#include "ufs/limits.h"

#include <algorithm>

namespace weir::ufs {

Result<void> check_key(std::string_view prefix, std::string_view key, size_t bytes_max) {
  if (key.empty()) return fail(ErrorCode::kInvalid, "an object key must not be empty");
  if (key.contains('\0')) return fail(ErrorCode::kInvalid, "an object key must not contain a NUL byte");
  if (prefix.size() + key.size() > bytes_max) {
    return fail(ErrorCode::kInvalid, "the key has " + std::to_string(prefix.size() + key.size()) +
                                         " bytes with its prefix; this store takes at most " +
                                         std::to_string(bytes_max) + ": " + std::string(key));
  }
  return {};
}

bool says(const ObjectAttributes& found, const ObjectAttributes& written) {
  if (!written.content_type.empty() && found.content_type != written.content_type) return false;
  for (const auto& [name, header] : kObjectHeaders) {
    if (found.*header != written.*header) return false;
  }
  return found.user == written.user;
}

Result<void> check_attributes(const ObjectAttributes& attributes) {
  const auto printable = [](char c) { return c >= 0x20 && c < 0x7f; };
  if (!std::ranges::all_of(attributes.content_type, printable)) {
    return fail(ErrorCode::kInvalid, "a content type must be printable ASCII");
  }
  for (const auto& [name, header] : kObjectHeaders) {
    const std::string& value = attributes.*header;
    if (!std::ranges::all_of(value, printable) || value.starts_with(' ') || value.ends_with(' '))
      return fail(ErrorCode::kInvalid, "a header must be printable ASCII: " + std::string(name));
  }
  size_t bytes = 0;
  for (const auto& [name, value] : attributes.user) {
    bytes += std::string_view("x-amz-meta-").size() + name.size() + value.size();
    const bool name_good = !name.empty() && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    });
    const bool value_good = std::ranges::all_of(value, printable) && !value.starts_with(' ') && !value.ends_with(' ');
    if (!name_good || !value_good) {
      return fail(ErrorCode::kInvalid, "user metadata must be lower-case names and printable ASCII values: " + name);
    }
  }
  if (bytes > kUserMetadataBytesMax) {
    return fail(ErrorCode::kTooLarge, "user metadata of " + std::to_string(bytes) + " bytes; the limit is " +
                                          std::to_string(kUserMetadataBytesMax));
  }
  return {};
}

Result<void> check_conditions(const Conditions& conditions) {
  if (conditions.if_match && conditions.if_none_match) {
    return fail(ErrorCode::kInvalid, "if_match and if_none_match exclude each other");
  }
  return {};
}

Result<void> check_body(uint64_t size_bytes) {
  if (size_bytes <= kPutBytesMax) return {};
  return fail(ErrorCode::kTooLarge, "a body of " + std::to_string(size_bytes) +
                                        " bytes in one request; over 5 GiB goes in parts");
}

Result<void> check_part_number(uint32_t number) {
  if (number >= 1 && number <= kPartsMax) return {};
  return fail(ErrorCode::kInvalid, "part number " + std::to_string(number) + " is not in 1..10000");
}

Result<void> check_parts(const std::vector<Part>& parts, uint64_t part_bytes_min) {
  if (parts.empty()) return fail(ErrorCode::kInvalid, "a multipart upload needs at least one part");
  for (size_t i = 0; i < parts.size(); ++i) {
    TRY(check_part_number(parts[i].number));
    if (i > 0 && parts[i].number <= parts[i - 1].number) {
      return fail(ErrorCode::kInvalid, "the parts are not in ascending order of number");
    }
    if (i + 1 < parts.size() && parts[i].size_bytes < part_bytes_min) {
      return fail(ErrorCode::kInvalid, "part " + std::to_string(parts[i].number) + " has " +
                                           std::to_string(parts[i].size_bytes) + " bytes; all but the last need " +
                                           std::to_string(part_bytes_min));
    }
  }
  return {};
}

}  // namespace weir::ufs
