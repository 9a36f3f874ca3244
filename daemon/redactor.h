// daemon/redactor.h -- takes secrets out of texts that leave the machine.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "daemon/properties.h"

namespace weir::daemon {

class Redactor {
 public:
  // What is shorter would be found everywhere.
  static constexpr size_t kSecretBytesMin = 6;

  // Knows the secret properties, and the variables of the environment whose names say that they hold secrets.
  explicit Redactor(const Properties& properties);

  void add(std::string_view secret);
  // Of a file of JSON, or of lines `name = value`: the values whose names say that they are secrets. No such file: nothing.
  void add_file(const std::string& path);

  // With asterisks for every secret, also where it is percent-encoded or escaped for JSON.
  std::string redact(std::string text) const;

 private:
  struct LongerFirst {
    bool operator()(const std::string& a, const std::string& b) const {
      return a.size() != b.size() ? a.size() > b.size() : a < b;
    }
  };
  std::set<std::string, LongerFirst> secrets_;
};

}  // namespace weir::daemon
