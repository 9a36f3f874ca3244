#include "meta/path_rules.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

namespace weir::meta {
namespace {

constexpr std::string_view kApiVersion = "v1.0";
constexpr size_t kDocumentBytesMax = 64 << 10;  // fits one value of the metadata store
constexpr size_t kNestingMax = 8;
constexpr size_t kRulesMax = 1'000;
constexpr size_t kPatternBytesMax = 4'096;
constexpr uint32_t kWriteReplicasMax = 8;

// --- JSON with the place of every token

struct Node {
  enum class Type : uint8_t { kNull, kBoolean, kNumber, kString, kObject, kArray };

  struct Member;

  Type type = Type::kNull;
  size_t at = 0;              // byte offset of its first character
  std::string text;           // of a string
  double number = 0;
  std::vector<Member> members;
  std::vector<Node> elements;
};

struct Node::Member {
  std::string name;
  size_t at = 0;
  Node value;
};

std::unexpected<Error> invalid_at(std::string_view text, size_t at, std::string_view reason) {
  const std::string_view before = text.substr(0, std::min(at, text.size()));
  const size_t line = 1 + std::ranges::count(before, '\n');
  const size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0: the first line
  return fail(ErrorCode::kInvalid,
              "line " + std::to_string(line) + ", column " + std::to_string(column) + ": " + std::string(reason));
}

// Counts what the lexer has consumed.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, size_t* consumed) : at_(at), consumed_(consumed) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*consumed_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  size_t* consumed_;
};

// Builds the Node tree. A token starts at the first character behind the previous token that is neither space nor a
// separator.
class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(std::string_view text, const size_t* consumed) : text_(text), consumed_(consumed) {}

  Result<Node> take() {
    if (error_) return fail(*std::move(error_));
    return std::move(root_);
  }

  bool null() override { return add({.type = Node::Type::kNull}); }
  bool boolean(bool) override { return add({.type = Node::Type::kBoolean}); }
  bool number_integer(number_integer_t n) override { return add_number(static_cast<double>(n)); }
  bool number_unsigned(number_unsigned_t n) override { return add_number(static_cast<double>(n)); }
  bool number_float(number_float_t n, const string_t&) override { return add_number(n); }
  bool string(string_t& s) override { return add({.type = Node::Type::kString, .text = std::move(s)}); }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return open(Node::Type::kObject); }
  bool start_array(size_t) override { return open(Node::Type::kArray); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    const size_t at = next_token();
    Node& object = *open_.back();
    if (std::ranges::any_of(object.members, [&](const auto& member) { return member.name == name; }))
      return refuse(at, "duplicate member \"" + name + "\"");
    object.members.push_back({std::move(name), at, {}});
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& what) override {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error ...": the place is said once.
    std::string_view reason = what.what();
    if (const size_t colon = reason.find(": "); colon != std::string_view::npos) reason.remove_prefix(colon + 2);
    return refuse(position == 0 ? 0 : position - 1, reason);
  }

 private:
  size_t next_token() {
    size_t at = previous_end_;
    while (at < text_.size() && std::string_view(" \t\r\n,:").contains(text_[at])) ++at;
    previous_end_ = *consumed_;
    return at;
  }

  bool refuse(size_t at, std::string_view reason) {
    error_ = invalid_at(text_, at, reason).error();
    return false;
  }

  // The children's vector does not grow while a child is open, so the pointers in `open_` stay good.
  Node* place(Node node) {
    node.at = next_token();
    if (open_.empty()) return &(root_ = std::move(node));
    Node& parent = *open_.back();
    if (parent.type == Node::Type::kObject) return &(parent.members.back().value = std::move(node));
    return &parent.elements.emplace_back(std::move(node));
  }
  bool add(Node node) {
    place(std::move(node));
    return true;
  }
  bool add_number(double n) { return add({.type = Node::Type::kNumber, .number = n}); }
  bool open(Node::Type type) {
    Node* node = place({.type = type});
    if (open_.size() == kNestingMax) return refuse(node->at, "nested too deeply");
    open_.push_back(node);
    return true;
  }
  bool close() {
    next_token();
    open_.pop_back();
    return true;
  }

  const std::string_view text_;
  const size_t* const consumed_;
  size_t previous_end_ = 0;
  Node root_;
  std::vector<Node*> open_;
  std::optional<Error> error_;
};

Result<Node> parse_tree(std::string_view text) {
  size_t consumed = 0;
  TreeBuilder builder(text, &consumed);
  nlohmann::json::sax_parse(CountingIterator(text.data(), &consumed),
                            CountingIterator(text.data() + text.size(), &consumed), &builder);
  return builder.take();
}

// --- the document

constexpr std::array kPolicies = {WritePolicy::kWriteThrough, WritePolicy::kWriteBack, WritePolicy::kTransient,
                                  WritePolicy::kNoCache};

std::vector<std::string_view> components_of(std::string_view path) {
  std::vector<std::string_view> components;
  path.remove_prefix(1);
  while (!path.empty()) {
    const size_t slash = path.find('/');
    components.push_back(path.substr(0, slash));
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  return components;
}

// Why `pattern` is none; empty when it is one.
std::string_view pattern_fault(std::string_view pattern) {
  if (pattern.empty()) return "the path is empty";
  if (!pattern.starts_with('/')) return "the path must be absolute: begin it with '/'";
  if (pattern.size() > kPatternBytesMax) return "the path is longer than 4096 bytes";
  if (pattern.contains('\0')) return "the path has a NUL byte";
  if (pattern == "/") return {};
  if (pattern.ends_with('/')) return "the path ends in '/': leave it out, or end in \"/**\" for all below";
  for (const std::string_view component : components_of(pattern)) {
    if (component.empty()) return "the path has an empty component (\"//\")";
    if (component == "." || component == "..") return "the path has a component \".\" or \"..\"";
    if (component != "**" && component.contains("**")) return "\"**\" must be a whole component";
  }
  return {};
}

class DocumentReader {
 public:
  explicit DocumentReader(std::string_view text) : text_(text) {}

  Result<void> read(const Node& root, PathRule& default_rule, std::vector<PathRule>& rules) {
    TRY(expect(root, Node::Type::kObject, "the document must be an object"));
    const Node* version = nullptr;
    const Node* default_node = nullptr;
    for (const Node::Member& member : root.members) {
      if (member.name == "apiVersion") {
        version = &member.value;
      } else if (member.name == "defaultRule") {
        default_node = &member.value;
      } else if (member.name == "pathRules") {
        TRY(read_rules(member.value, rules));
      } else {
        return unknown(member, "apiVersion, defaultRule and pathRules");
      }
    }
    if (version == nullptr) return invalid(root.at, "member \"apiVersion\" is missing");
    TRY(expect(*version, Node::Type::kString, "\"apiVersion\" must be a string"));
    if (version->text != kApiVersion)
      return invalid(version->at, "apiVersion \"" + version->text + "\" is not known; it must be \"v1.0\"");
    if (default_node == nullptr) return invalid(root.at, "member \"defaultRule\" is missing");
    return read_rule(*default_node, Place::kDefault, default_rule);
  }

 private:
  enum class Place : uint8_t { kDefault, kList };

  std::unexpected<Error> invalid(size_t at, std::string_view reason) const { return invalid_at(text_, at, reason); }
  std::unexpected<Error> unknown(const Node::Member& member, std::string_view known) const {
    return invalid(member.at, "unknown member \"" + member.name + "\"; there are " + std::string(known));
  }
  Result<void> expect(const Node& node, Node::Type type, std::string_view reason) const {
    if (node.type != type) return invalid(node.at, reason);
    return {};
  }

  Result<void> read_rules(const Node& node, std::vector<PathRule>& rules) const {
    TRY(expect(node, Node::Type::kArray, "\"pathRules\" must be an array"));
    if (node.elements.size() > kRulesMax)
      return invalid(node.at, "more than " + std::to_string(kRulesMax) + " rules");
    for (const Node& element : node.elements) {
      PathRule rule;
      TRY(read_rule(element, Place::kList, rule));
      if (std::ranges::find(rules, rule.path, &PathRule::path) != rules.end())
        return invalid(element.at, "a second rule for path \"" + rule.path + "\"");
      rules.push_back(std::move(rule));
    }
    return {};
  }

  Result<void> read_rule(const Node& node, Place place, PathRule& rule) const {
    TRY(expect(node, Node::Type::kObject, "a rule must be an object"));
    const Node* path = nullptr;
    const Node* policy = nullptr;
    for (const Node::Member& member : node.members) {
      if (place == Place::kList && (member.name == "path" || member.name == "alluxioPath")) {
        if (path != nullptr) return invalid(member.at, "\"path\" and \"alluxioPath\" are the same; give one");
        path = &member.value;
      } else if (member.name == "description") {
        TRY(expect(member.value, Node::Type::kString, "\"description\" must be a string"));
        rule.description = member.value.text;
      } else if (member.name == "policyMode") {
        policy = &member.value;
      } else if (member.name == "properties") {
        TRY(read_properties(member.value, rule));
      } else {
        return unknown(member, place == Place::kList ? "path, description, policyMode and properties"
                                                     : "description, policyMode and properties");
      }
    }
    if (place == Place::kList) {
      if (path == nullptr) return invalid(node.at, "member \"path\" is missing");
      TRY(expect(*path, Node::Type::kString, "\"path\" must be a string"));
      if (const auto fault = pattern_fault(path->text); !fault.empty()) return invalid(path->at, fault);
      rule.path = path->text;
    }
    if (policy == nullptr) return invalid(node.at, "member \"policyMode\" is missing");
    return read_policy(*policy, rule);
  }

  Result<void> read_policy(const Node& node, PathRule& rule) const {
    TRY(expect(node, Node::Type::kString, "\"policyMode\" must be a string"));
    const auto* policy = std::ranges::find(kPolicies, node.text, [](WritePolicy p) { return name_of(p); });
    if (policy == kPolicies.end()) {
      return invalid(node.at, "unknown policyMode \"" + node.text +
                                  "\"; there are WRITE_THROUGH, WRITE_BACK, TRANSIENT and NO_CACHE");
    }
    rule.policy = *policy;
    return {};
  }

  Result<void> read_properties(const Node& node, PathRule& rule) const {
    TRY(expect(node, Node::Type::kObject, "\"properties\" must be an object"));
    for (const Node::Member& member : node.members) {
      if (member.name != "writeReplicas") return unknown(member, "writeReplicas");
      TRY(expect(member.value, Node::Type::kNumber, "\"writeReplicas\" must be a number"));
      const double n = member.value.number;
      if (!(n >= 1 && n <= kWriteReplicasMax) || n != static_cast<uint32_t>(n))
        return invalid(member.value.at, "\"writeReplicas\" must be a whole number from 1 to " +
                                            std::to_string(kWriteReplicasMax));
      rule.write_replicas = static_cast<uint32_t>(n);
    }
    return {};
  }

  const std::string_view text_;
};

// --- matching

// Whether `items` match `pattern`, where a pattern item for which `any` holds stands for any run of items. Greedy, going
// back to the last `any` only: linear memory, at most |pattern| x |items| comparisons.
template <typename Item, typename Any, typename Equal>
bool wildcard_match(std::span<const Item> pattern, std::span<const Item> items, Any any, Equal equal) {
  size_t p = 0;
  size_t i = 0;
  size_t last_any = pattern.size();
  size_t resume = 0;
  while (i < items.size()) {
    if (p < pattern.size() && any(pattern[p])) {
      last_any = p++;
      resume = i;
    } else if (p < pattern.size() && equal(pattern[p], items[i])) {
      ++p;
      ++i;
    } else if (last_any < pattern.size()) {
      p = last_any + 1;
      i = ++resume;
    } else {
      return false;
    }
  }
  return std::all_of(pattern.begin() + p, pattern.end(), any);
}

bool component_matches(std::string_view pattern, std::string_view component) {
  return wildcard_match(
      std::span(pattern.data(), pattern.size()), std::span(component.data(), component.size()),
      [](char c) { return c == '*'; }, [](char a, char b) { return a == b; });
}

bool path_matches(std::string_view pattern, std::span<const std::string_view> path) {
  const std::vector<std::string_view> components = components_of(pattern);
  return wildcard_match(
      std::span<const std::string_view>(components), path, [](std::string_view c) { return c == "**"; },
      component_matches);
}

size_t literal_prefix_bytes(std::string_view pattern) { return std::min(pattern.find('*'), pattern.size()); }

nlohmann::ordered_json rule_json(const PathRule& rule) {
  nlohmann::ordered_json json;
  if (!rule.path.empty()) json["path"] = rule.path;
  json["description"] = rule.description;
  json["policyMode"] = name_of(rule.policy);
  json["properties"]["writeReplicas"] = rule.write_replicas;
  return json;
}

}  // namespace

PathRules PathRules::built_in() {
  PathRules rules;
  rules.default_rule_.description = "Built in";
  return rules;
}

Result<PathRules> PathRules::parse(std::string_view json) {
  if (json.size() > kDocumentBytesMax)
    return invalid_at(json, kDocumentBytesMax, "the document is longer than 65536 bytes");
  TRY_ASSIGN(const Node root, parse_tree(json));
  PathRules rules;
  TRY(DocumentReader(json).read(root, rules.default_rule_, rules.rules_));
  return rules;
}

std::string PathRules::to_json() const {
  nlohmann::ordered_json json;
  json["apiVersion"] = kApiVersion;
  json["defaultRule"] = rule_json(default_rule_);
  json["pathRules"] = nlohmann::ordered_json::array();
  for (const PathRule& rule : rules_) json["pathRules"].push_back(rule_json(rule));
  return json.dump(2) + '\n';
}

const PathRule& PathRules::match(std::string_view path) const {
  if (rules_.empty()) return default_rule_;
  const std::vector<std::string_view> components = components_of(path);
  const PathRule* best = nullptr;
  size_t best_prefix = 0;
  for (const PathRule& rule : rules_) {
    const size_t prefix = literal_prefix_bytes(rule.path);
    if (best != nullptr && prefix <= best_prefix) continue;
    if (!path_matches(rule.path, components)) continue;
    best = &rule;
    best_prefix = prefix;
  }
  return best != nullptr ? *best : default_rule_;
}

std::optional<WritePolicy> PathRules::uniform_policy() const {
  const bool default_applies = std::ranges::find(rules_, "/**", &PathRule::path) == rules_.end();
  std::optional<WritePolicy> policy;
  if (default_applies) policy = default_rule_.policy;
  for (const PathRule& rule : rules_) {
    if (policy.has_value() && *policy != rule.policy) return std::nullopt;
    policy = rule.policy;
  }
  return policy;
}

}  // namespace weir::meta
