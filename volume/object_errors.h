// volume/object_errors.h -- how errors begin that is_no_upload() and complete_problem() know.
#pragma once

#include <string_view>

namespace weir::volume {

inline constexpr std::string_view kNoUpload = "no such upload";
inline constexpr std::string_view kInvalidPart = "part not found";
inline constexpr std::string_view kInvalidPartOrder = "parts not in ascending order";
inline constexpr std::string_view kEntityTooSmall = "part too small";

}  // namespace weir::volume
