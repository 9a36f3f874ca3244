// net/http.h -- what an HTTP/1.1 exchange is made of.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir::net {

enum class Method : uint8_t { kGet, kHead, kPut, kPost, kDelete };

constexpr std::string_view name_of(Method method) {
  switch (method) {
    case Method::kGet: return "GET";
    case Method::kHead: return "HEAD";
    case Method::kPut: return "PUT";
    case Method::kPost: return "POST";
    case Method::kDelete: return "DELETE";
  }
  return "";
}

// Header names compare without case; values are without surrounding space.
struct Header {
  std::string name;
  std::string value;
};
using Headers = std::vector<Header>;

bool same_name(std::string_view a, std::string_view b);
// Null when there is none; the first when there are several.
const std::string* find_header(const Headers& headers, std::string_view name);
// Empty when there is none.
std::string_view header(const Headers& headers, std::string_view name);

// Decoded.
struct QueryParameter {
  std::string name;
  std::string value;
};
using Query = std::vector<QueryParameter>;

// "a=1&b=%20": encoded, in the order given.
std::string query_text(const Query& query);

}  // namespace weir::net
