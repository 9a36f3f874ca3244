#include "volume/object_conditions.h"

#include <algorithm>
#include <vector>

namespace weir::volume {
namespace {

constexpr int64_t kNsPerSecond = 1'000'000'000;

bool names(const std::vector<std::string>& etags, std::string_view etag) {
  return std::ranges::any_of(etags, [&](const std::string& wanted) { return wanted == "*" || wanted == etag; });
}

bool modified_since(const ConditionTarget& object, int64_t since_s) { return object.modified_ns / kNsPerSecond > since_s; }

}  // namespace

Result<bool> check_read(const ObjectConditions& conditions, const ConditionTarget& object) {
  if (!conditions.if_match.empty()) {
    if (!names(conditions.if_match, object.etag))
      return fail(ErrorCode::kPrecondition, "If-Match: the etag is " + object.etag);
  } else if (conditions.if_unmodified_since_s && modified_since(object, *conditions.if_unmodified_since_s)) {
    return fail(ErrorCode::kPrecondition, "If-Unmodified-Since: it was modified later");
  }
  if (!conditions.if_none_match.empty()) return names(conditions.if_none_match, object.etag);
  return conditions.if_modified_since_s && !modified_since(object, *conditions.if_modified_since_s);
}

Result<void> check_write(const ObjectConditions& conditions, const std::optional<ConditionTarget>& object,
                         NameTaken taken) {
  if (!conditions.if_match.empty()) {
    if (!object) return fail(ErrorCode::kNotFound, "If-Match: there is no object");
    if (!names(conditions.if_match, object->etag))
      return fail(ErrorCode::kPrecondition, "If-Match: the etag is " + object->etag);
  }
  if (!conditions.if_none_match.empty()) {
    const bool any = std::ranges::find(conditions.if_none_match, "*") != conditions.if_none_match.end();
    if ((any && taken == NameTaken::kYes) || (object && names(conditions.if_none_match, object->etag)))
      return fail(ErrorCode::kPrecondition, "If-None-Match: there is an object");
  }
  if (object && conditions.if_unmodified_since_s && modified_since(*object, *conditions.if_unmodified_since_s))
    return fail(ErrorCode::kPrecondition, "If-Unmodified-Since: it was modified later");
  if (object && conditions.if_modified_since_s && !modified_since(*object, *conditions.if_modified_since_s))
    return fail(ErrorCode::kPrecondition, "If-Modified-Since: it was not modified since");
  return {};
}

}  // namespace weir::volume
