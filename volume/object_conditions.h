// volume/object_conditions.h -- what If-Match and its like say of an object that is there, or of none.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "volume/objects.h"

namespace weir::volume {

// What a condition is held against.
struct ConditionTarget {
  std::string etag;
  int64_t modified_ns = 0;
};

// kPrecondition: a read must not be answered. True: the client has it already.
Result<bool> check_read(const ObjectConditions& conditions, const ConditionTarget& object);

// kPrecondition, or kNotFound for if_match without an object. A name that is there without being an object yet, such as a
// file that nobody has closed, fails if_none_match "*".
enum class NameTaken : uint8_t { kNo, kYes };
Result<void> check_write(const ObjectConditions& conditions, const std::optional<ConditionTarget>& object, NameTaken taken);

}  // namespace weir::volume
