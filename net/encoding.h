// net/encoding.h -- the text forms bytes take in HTTP: hex, base64 (RFC 4648), percent-encoding (RFC 3986), dates.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"

namespace weir::net {

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

std::string hex(std::span<const std::byte> bytes);  // lower case
std::optional<std::string> unhex(std::string_view text);
std::string base64(std::span<const std::byte> bytes);
std::optional<std::string> unbase64(std::string_view text);

// Percent-encoding as SigV4 wants it: all but A-Z a-z 0-9 - . _ ~ become %XX, upper case.
std::string uri_encode(std::string_view text);
std::string uri_encode_path(std::string_view path);  // keeps '/'
// Malformed escapes stay as they are.
std::string uri_decode(std::string_view text);
std::string form_decode(std::string_view text);  // as uri_decode, and '+' is a space

// Shortest forms only, no surrogates (RFC 3629).
bool is_utf8(std::string_view text);

// Dates as text. Parsing takes what is before 1900 or after 2200 for the first or the last day of those years.
// "Fri, 24 May 2013 00:00:00 GMT" (RFC 9110, the preferred form).
std::string http_date(WallTime time);
std::optional<WallTime> parse_http_date(std::string_view text);
// "2013-05-24T00:00:00.000Z"; parsing takes any number of fractional digits.
std::string iso_date(WallTime time);
std::optional<WallTime> parse_iso_date(std::string_view text);
// "20130524T000000Z"
std::string amz_date(WallTime time);
std::optional<WallTime> parse_amz_date(std::string_view text);

}  // namespace weir::net
