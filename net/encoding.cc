#include "net/encoding.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>

namespace weir::net {
namespace {

constexpr std::string_view kHexLower = "0123456789abcdef";
constexpr std::string_view kHexUpper = "0123456789ABCDEF";
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::array<std::string_view, 12> kMonths = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
constexpr std::array<std::string_view, 7> kWeekdays = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool unreserved(unsigned char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

std::string percent_encode(std::string_view text, char kept) {
  std::string out;
  out.reserve(text.size() + text.size() / 4);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (unreserved(byte) || (kept != '\0' && c == kept)) {
      out += c;
    } else {
      out += '%';
      out += kHexUpper[byte >> 4];
      out += kHexUpper[byte & 15];
    }
  }
  return out;
}

std::string percent_decode(std::string_view text, char space) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += (space != '\0' && text[i] == space) ? ' ' : text[i];
    }
  }
  return out;
}

struct CivilTime {
  std::chrono::year_month_day date;
  std::chrono::weekday weekday;
  int hour, minute, second, millisecond;
};

CivilTime civil(WallTime time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(time - day).count();
  return {std::chrono::year_month_day(day), std::chrono::weekday(day), static_cast<int>(ms / 3'600'000),
          static_cast<int>(ms / 60'000 % 60), static_cast<int>(ms / 1'000 % 60), static_cast<int>(ms % 1'000)};
}

std::optional<int> number(std::string_view text, size_t at, size_t digits) {
  if (at + digits > text.size()) return std::nullopt;
  int value = 0;
  const auto [end, code] = std::from_chars(text.data() + at, text.data() + at + digits, value);
  if (code != std::errc{} || end != text.data() + at + digits || value < 0) return std::nullopt;
  return value;
}

// What a WallTime holds, and its distance from today.
constexpr std::chrono::year_month_day kDateMin = std::chrono::year(1900) / 1 / 1;
constexpr std::chrono::year_month_day kDateMax = std::chrono::year(2200) / 12 / 31;

std::optional<WallTime> wall_time(std::optional<int> year, std::optional<int> month, std::optional<int> day,
                                  std::optional<int> hour, std::optional<int> minute, std::optional<int> second) {
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date = std::chrono::year(*year) / *month / *day;
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  return WallTime(std::chrono::sys_days(std::clamp(date, kDateMin, kDateMax))) + std::chrono::hours(*hour) +
         std::chrono::minutes(*minute) + std::chrono::seconds(*second);
}

template <typename... Args>
std::string print(const char* format, Args... args) {
  std::array<char, 96> text;
  const int size = std::snprintf(text.data(), text.size(), format, args...);
  return std::string(text.data(), static_cast<size_t>(size));
}

}  // namespace

std::string hex(std::span<const std::byte> bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    out += kHexLower[std::to_integer<unsigned>(b) >> 4];
    out += kHexLower[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

std::optional<std::string> unhex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (size_t i = 0; i < text.size(); i += 2) {
    const int high = hex_digit(text[i]);
    const int low = hex_digit(text[i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high * 16 + low);
  }
  return out;
}

std::string base64(std::span<const std::byte> bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k) group = group << 8 | (k < count ? std::to_integer<uint32_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k) out += k <= count ? kBase64[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::optional<std::string> unbase64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string out;
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    size_t count = 0;
    for (size_t k = 0; k < 4; ++k) {
      const char c = text[i + k];
      const bool padding = c == '=' && k >= 2 && i + 4 == text.size();
      const size_t digit = kBase64.find(c);
      if (padding ? false : (digit == std::string_view::npos || count < k)) return std::nullopt;
      group = group << 6 | static_cast<uint32_t>(padding ? 0 : digit);
      if (!padding) ++count;
    }
    for (size_t k = 0; k + 1 < count; ++k) out += static_cast<char>(group >> (16 - 8 * k));
  }
  return out;
}

std::string uri_encode(std::string_view text) { return percent_encode(text, '\0'); }
std::string uri_encode_path(std::string_view path) { return percent_encode(path, '/'); }
std::string uri_decode(std::string_view text) { return percent_decode(text, '\0'); }
std::string form_decode(std::string_view text) { return percent_decode(text, '+'); }

bool is_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length == 0 || i + length > text.size()) return false;
    uint32_t point = length == 1 ? lead : lead & (0x7fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto next = static_cast<unsigned char>(text[i + k]);
      if ((next & 0xc0) != 0x80) return false;
      point = point << 6 | (next & 0x3f);
    }
    const bool overlong = (length == 3 && point < 0x800) || (length == 4 && point < 0x10000);
    const bool surrogate = point >= 0xd800 && point <= 0xdfff;
    if (overlong || surrogate || point > 0x10ffff) return false;
    i += length;
  }
  return true;
}

std::string http_date(WallTime time) {
  const CivilTime t = civil(time);
  return print("%s, %02u %s %04d %02d:%02d:%02d GMT", kWeekdays[t.weekday.c_encoding()].data(),
               static_cast<unsigned>(t.date.day()), kMonths[static_cast<unsigned>(t.date.month()) - 1].data(),
               static_cast<int>(t.date.year()), t.hour, t.minute, t.second);
}

std::optional<WallTime> parse_http_date(std::string_view text) {
  if (text.size() != 29 || !text.ends_with(" GMT")) return std::nullopt;
  std::optional<int> month;
  for (size_t i = 0; i < kMonths.size(); ++i) {
    if (text.substr(8, 3) == kMonths[i]) month = static_cast<int>(i) + 1;
  }
  return wall_time(number(text, 12, 4), month, number(text, 5, 2), number(text, 17, 2), number(text, 20, 2),
                   number(text, 23, 2));
}

std::string iso_date(WallTime time) {
  const CivilTime t = civil(time);
  return print("%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(t.date.year()),
               static_cast<unsigned>(t.date.month()), static_cast<unsigned>(t.date.day()), t.hour, t.minute, t.second,
               t.millisecond);
}

std::optional<WallTime> parse_iso_date(std::string_view text) {
  if (text.size() < 20 || text.back() != 'Z') return std::nullopt;
  auto time = wall_time(number(text, 0, 4), number(text, 5, 2), number(text, 8, 2), number(text, 11, 2),
                        number(text, 14, 2), number(text, 17, 2));
  if (!time || text.size() == 20) return time;
  int64_t unit_ns = 1'000'000'000;
  for (size_t i = 20; i + 1 < text.size() && unit_ns > 1; ++i) {
    const auto digit = number(text, i, 1);
    if (!digit) return std::nullopt;
    unit_ns /= 10;
    *time += Duration(*digit * unit_ns);
  }
  return time;
}

std::string amz_date(WallTime time) {
  const CivilTime t = civil(time);
  return print("%04d%02u%02uT%02d%02d%02dZ", static_cast<int>(t.date.year()), static_cast<unsigned>(t.date.month()),
               static_cast<unsigned>(t.date.day()), t.hour, t.minute, t.second);
}

std::optional<WallTime> parse_amz_date(std::string_view text) {
  if (text.size() != 16 || text[8] != 'T' || text[15] != 'Z') return std::nullopt;
  return wall_time(number(text, 0, 4), number(text, 4, 2), number(text, 6, 2), number(text, 9, 2),
                   number(text, 11, 2), number(text, 13, 2));
}

}  // namespace weir::net
