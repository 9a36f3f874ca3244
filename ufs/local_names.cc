#include "ufs/local_names.h"

#include "net/encoding.h"

namespace weir::ufs::local {
namespace {

constexpr size_t kComponentBytesMax = 255;
constexpr size_t kPieceBytes = 200;

bool stays(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

}  // namespace

bool is_path(std::string_view key) {
  if (key.ends_with('/')) key.remove_suffix(1);
  for (std::string_view rest = key;;) {
    const size_t slash = rest.find('/');
    const std::string_view component = rest.substr(0, slash);
    if (component.empty() || component == "." || component == ".." || component.size() > kComponentBytesMax ||
        component.contains('\0') || (rest.data() == key.data() && component == kHidden)) {
      return false;
    }
    if (slash == std::string_view::npos) return true;
    rest.remove_prefix(slash + 1);
  }
}

std::string escape(std::string_view key) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string text;
  for (const char c : key) {
    if (stays(c)) {
      text += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      text += {'%', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  std::string name;
  for (size_t at = 0; at < text.size(); at += kPieceBytes) {
    if (at > 0) name += "~/";
    name += std::string_view(text).substr(at, kPieceBytes);
  }
  return name;
}

std::optional<std::string> unescape(std::string_view name) {
  std::string text;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name.substr(i, 2) == "~/") {
      ++i;
    } else {
      text += name[i];
    }
  }
  std::string key = net::uri_decode(text);
  if (escape(key) != name) return std::nullopt;
  return key;
}

}  // namespace weir::ufs::local
