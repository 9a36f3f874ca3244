#include "ufs/s3_names.h"

#include <algorithm>

#include "net/digest.h"
#include "net/encoding.h"
#include "ufs/under_store.h"

namespace weir::ufs::s3 {
namespace {

constexpr size_t kComponentBytesMax = 255;
// Of a component's encoded form, with a slash behind it.
constexpr size_t kEncodedBytesMax = kBytesPrefix.size() + 3 * kComponentBytesMax + 1;
constexpr size_t kDigestBytes = 16;

bool stays(char c) { return c >= 0x20 && c < 0x7f && c != '%'; }

std::string encode_component(std::string_view component) {
  if (net::is_utf8(component) && !component.starts_with(kBytesPrefix)) return std::string(component);
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string text(kBytesPrefix);
  for (const char c : component) {
    if (stays(c)) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text;
}

std::string decode_component(std::string_view component) {
  if (component.starts_with(kBytesPrefix)) {
    std::string bytes = net::uri_decode(component.substr(kBytesPrefix.size()));
    if (encode_component(bytes) == component) return bytes;
  }
  return std::string(component);
}

template <typename Component>
std::string by_component(std::string_view key, const Component& component) {
  std::string out;
  for (;;) {
    const size_t slash = key.find('/');
    out += component(key.substr(0, slash));
    if (slash == std::string_view::npos) return out;
    out += '/';
    key.remove_prefix(slash + 1);
  }
}

}  // namespace

std::string encode(std::string_view key) { return by_component(key, encode_component); }
std::string decode(std::string_view key) { return by_component(key, decode_component); }

Result<std::string> stored_key(std::string_view key, size_t prefix_bytes) {
  std::string encoded = encode(key);
  if (prefix_bytes + encoded.size() <= kKeyBytesMax) return encoded;
  const size_t name_end = key.ends_with('/') ? key.size() - 1 : key.size();
  const size_t slash = name_end == 0 ? std::string_view::npos : key.rfind('/', name_end - 1);
  const size_t name_begin = slash == std::string_view::npos ? 0 : slash + 1;
  std::string stored = long_prefix(key.substr(0, name_begin)) + encode(key.substr(name_begin));
  if (prefix_bytes + stored.size() <= kKeyBytesMax) return stored;
  return fail(ErrorCode::kInvalid, "an S3 key has at most " + std::to_string(kKeyBytesMax) +
                                       " bytes, and the last component alone is too long: " +
                                       net::uri_encode_path(key));
}

std::string long_prefix(std::string_view directory) {
  const net::Sha256 digest = net::sha256(net::bytes_of(directory));
  return std::string(kLongPrefix) + net::hex(std::span(digest).first(kDigestBytes)) + '/';
}

bool may_hold_long_keys(std::string_view directory, size_t prefix_bytes) {
  return prefix_bytes + encode(directory).size() + kEncodedBytesMax > kKeyBytesMax;
}

}  // namespace weir::ufs::s3
