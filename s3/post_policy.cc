#include "s3/post_policy.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "net/encoding.h"
#include "s3/request.h"

namespace weir::s3 {
namespace {

using Json = nlohmann::json;

// Fields that no condition has to name.
constexpr std::array<std::string_view, 5> kFree = {"policy", "x-amz-signature", "awsaccesskeyid", "signature", "file"};

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
  return lower;
}

std::unexpected<Refusal> invalid(std::string what) {
  return refuse(Code::kInvalidPolicyDocument, "Invalid Policy: " + std::move(what));
}

std::unexpected<Refusal> not_allowed(std::string what) {
  return refuse(Code::kAccessDenied, "Invalid according to Policy: " + std::move(what));
}

const std::string* text_of(const Json& value) { return value.get_ptr<const std::string*>(); }

// As a number, or as a text of digits.
std::optional<uint64_t> number_of(const Json& value) {
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (const std::string* text = text_of(value)) return parse_number(*text);
  return std::nullopt;
}

}  // namespace

Reply<PostPolicy> PostPolicy::parse(std::string_view base64) {
  const auto text = net::unbase64(base64);
  if (!text) return invalid("it is not base64");
  const Json document = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object()) return invalid("it is no JSON object");
  PostPolicy policy;
  const auto expiration = document.find("expiration");
  const auto conditions = document.find("conditions");
  if (expiration == document.end() || text_of(*expiration) == nullptr) return invalid("it has no expiration");
  const auto time = net::parse_iso_date(*text_of(*expiration));
  if (!time) return invalid("its expiration is not of the form 2007-12-01T12:00:00.000Z");
  policy.expiration_ = *time;
  if (conditions == document.end() || !conditions->is_array()) return invalid("it has no list of conditions");
  for (const Json& condition : *conditions) {
    if (condition.is_object()) {
      for (const auto& [field, value] : condition.items()) {
        if (text_of(value) == nullptr) return invalid("the condition of '" + field + "' is no text");
        policy.conditions_.push_back({lower_case(field), *text_of(value)});
      }
      continue;
    }
    if (!condition.is_array() || condition.size() != 3 || text_of(condition[0]) == nullptr)
      return invalid("a condition is neither {field: value} nor [operator, field, value]");
    const std::string operation = lower_case(*text_of(condition[0]));
    if (operation == "content-length-range") {
      const auto min = number_of(condition[1]);
      const auto max = number_of(condition[2]);
      if (!min || !max) return invalid("content-length-range wants two numbers");
      policy.bytes_min_ = std::max(policy.bytes_min_, *min);
      policy.bytes_max_ = std::min(policy.bytes_max_, *max);
      continue;
    }
    const std::string* field = text_of(condition[1]);
    const std::string* value = text_of(condition[2]);
    if ((operation != "eq" && operation != "starts-with") || field == nullptr || !field->starts_with('$') || value == nullptr)
      return invalid("an operator is not eq, starts-with or content-length-range, or its field does not begin with $");
    policy.conditions_.push_back({lower_case(std::string_view(*field).substr(1)), *value, operation == "starts-with"});
  }
  return policy;
}

Reply<void> PostPolicy::check(const net::Headers& fields, std::string_view bucket, WallTime now) const {
  if (expiration_ < now) return not_allowed("Policy expired.");
  for (const Condition& condition : conditions_) {
    const std::string_view value = condition.field == "bucket" ? bucket : net::header(fields, condition.field);
    const bool holds = condition.prefix ? value.starts_with(condition.value) : value == condition.value;
    if (!holds) {
      return not_allowed("Policy Condition failed: [\"" + std::string(condition.prefix ? "starts-with" : "eq") + "\", \"$" + condition.field +
                         "\", \"" + condition.value + "\"]");
    }
  }
  for (const net::Header& field : fields) {
    const std::string name = lower_case(field.name);
    const auto about_it = [&](const Condition& condition) { return condition.field == name; };
    if (std::ranges::find(kFree, name) != kFree.end() || name.starts_with("x-ignore-") || std::ranges::any_of(conditions_, about_it)) continue;
    return not_allowed("Extra input fields: " + field.name);
  }
  return {};
}

}  // namespace weir::s3
