// meta/path_rules.h -- which write policy holds for which path: the pathconfig document.
//
//   {"apiVersion": "v1.0",
//    "defaultRule": {"description": "...", "policyMode": "WRITE_THROUGH", "properties": {...}},
//    "pathRules": [{"path": "/s3/ckpt/**", "policyMode": "WRITE_BACK", "properties": {"writeReplicas": 1}}]}
//
// `alluxioPath` is read as `path`. In a pattern `**` matches any number of components, `*` any run of characters within one
// component; a pattern that ends in `/**` matches the directory itself, too. The rule with the longest literal prefix
// (the bytes before its first `*`) wins, then the earlier one.
//
// Threads: a PathRules is immutable.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "meta/types.h"

namespace weir::meta {

struct PathRule {
  std::string path;  // "" for the default rule
  std::string description;
  WritePolicy policy = WritePolicy::kWriteBack;
  uint32_t write_replicas = 1;

  bool operator==(const PathRule&) const = default;
};

class PathRules {
 public:
  // The rule of a volume without a document: WRITE_BACK everywhere.
  static PathRules built_in();

  // kInvalid with "line L, column C: reason" for anything that is not a whole, valid document: JSON syntax, unknown
  // members, unknown policies, relative or empty paths, duplicate paths, out-of-range properties.
  static Result<PathRules> parse(std::string_view json);

  // Canonical, indented, parse(to_json()) == *this.
  std::string to_json() const;

  // `path` is absolute in the namespace ("/s3/a/b"), without a trailing slash but for the root.
  const PathRule& match(std::string_view path) const;
  WritePolicy policy(std::string_view path) const { return match(path).policy; }

  // Set when every path has the same policy.
  std::optional<WritePolicy> uniform_policy() const;

  const PathRule& default_rule() const { return default_rule_; }
  const std::vector<PathRule>& rules() const { return rules_; }

  bool operator==(const PathRules&) const = default;

 private:
  PathRule default_rule_;
  std::vector<PathRule> rules_;  // document order
};

}  // namespace weir::meta
