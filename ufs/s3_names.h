// ufs/s3_names.h -- which S3 key holds which key: S3 takes UTF-8 of up to 1,024 bytes, file systems more.
//
// A component that is not UTF-8 is kept as `.weir-bytes:` and itself, with %XX for every '%', control character and byte
// beyond ASCII; so is one that begins with `.weir-bytes:`, and nothing else. A key that is over the limit then is kept
// as `.weir-long/`, the first half of the SHA-256 of its directory in hex, '/', and its last component. So every key is
// found from the path alone, and listing a directory is listing its prefix and what lies below its digest. A directory
// is shown there only where it has an object of its own.
//
// Threads: pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace weir::ufs::s3 {

inline constexpr std::string_view kBytesPrefix = ".weir-bytes:";
inline constexpr std::string_view kLongPrefix = ".weir-long/";

// Component by component; distinct keys have distinct forms, and '/' stays where it is.
std::string encode(std::string_view key);
// Of a key that encode() made; other keys stay as they are.
std::string decode(std::string_view key);

// The key, below a prefix of `prefix_bytes`, that holds `key`. kInvalid: even the last component is too long.
Result<std::string> stored_key(std::string_view key, size_t prefix_bytes);
// Where keys over the limit that lie in `directory` ("" or ending in '/') are kept; ends in '/'.
std::string long_prefix(std::string_view directory);
// Whether there can be such keys.
bool may_hold_long_keys(std::string_view directory, size_t prefix_bytes);

}  // namespace weir::ufs::s3
