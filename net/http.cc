#include "net/http.h"

#include <algorithm>

#include "net/encoding.h"

namespace weir::net {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

}  // namespace

bool same_name(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

const std::string* find_header(const Headers& headers, std::string_view name) {
  const auto found = std::ranges::find_if(headers, [&](const Header& h) { return same_name(h.name, name); });
  return found == headers.end() ? nullptr : &found->value;
}

std::string_view header(const Headers& headers, std::string_view name) {
  const std::string* value = find_header(headers, name);
  return value == nullptr ? std::string_view{} : std::string_view(*value);
}

std::string query_text(const Query& query) {
  std::string text;
  for (const QueryParameter& parameter : query) {
    if (!text.empty()) text += '&';
    text += uri_encode(parameter.name) + '=' + uri_encode(parameter.value);
  }
  return text;
}

}  // namespace weir::net
