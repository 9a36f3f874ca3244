#include "daemon/redactor.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <sstream>

#include "io/file.h"
#include "net/encoding.h"

namespace weir::daemon {
namespace {

constexpr std::string_view kMask = "******";
constexpr size_t kFileBytesMax = 16 << 20;
constexpr std::string_view kSecretNames[] = {"SECRET", "TOKEN", "PASSWORD", "ACCESS_KEY", "CREDENTIAL"};

bool names_a_secret(std::string_view text) {
  std::string name(text);
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return std::ranges::any_of(kSecretNames, [&](std::string_view part) { return name.find(part) != std::string::npos; });
}

}  // namespace

Redactor::Redactor(const Properties& properties) {
  for (const Properties::Value& value : properties.all()) {
    if (value.property->secret == Secret::kYes) add(value.text);
  }
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string_view entry(*variable);
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    // Where a file with secrets is, is none.
    if (names_a_secret(entry.substr(0, equals)) && !entry.substr(equals + 1).starts_with('/')) add(entry.substr(equals + 1));
  }
}

void Redactor::add(std::string_view secret) {
  if (secret.size() < kSecretBytesMin) return;
  secrets_.emplace(secret);
  secrets_.insert(net::uri_encode(secret));
  const std::string escaped =
      nlohmann::json(secret).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  secrets_.insert(escaped.substr(1, escaped.size() - 2));
}

void Redactor::add_file(const std::string& path) {
  const auto opened = io::File::open(path, {});
  if (!opened) return;
  const auto text = opened->read_all(kFileBytesMax);
  if (!text) return;
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_discarded()) {
    const auto flat = json.flatten();
    for (const auto& [pointer, value] : flat.items()) {
      if (value.is_string() && names_a_secret(pointer.substr(pointer.rfind('/') + 1))) add(value.get<std::string>());
    }
    return;
  }
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    const size_t equals = line.find('=');
    if (equals == std::string::npos || !names_a_secret(line.substr(0, equals))) continue;
    const size_t begin = line.find_first_not_of(" \t", equals + 1);
    const size_t end = line.find_last_not_of(" \t\r");
    if (begin != std::string::npos && begin <= end) add(std::string_view(line).substr(begin, end + 1 - begin));
  }
}

std::string Redactor::redact(std::string text) const {
  for (const std::string& secret : secrets_) {
    for (size_t at = 0; (at = text.find(secret, at)) != std::string::npos; at += kMask.size())
      text.replace(at, secret.size(), kMask);
  }
  return text;
}

}  // namespace weir::daemon
