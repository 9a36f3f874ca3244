#include "volume/objects.h"

#include "meta/object_namespace.h"
#include "volume/object_errors.h"

namespace weir::volume {

bool is_no_bucket(const Error& error) { return meta::is_no_bucket(error); }

bool is_no_upload(const Error& error) { return error == ErrorCode::kNotFound && error.context().starts_with(kNoUpload); }

CompleteProblem complete_problem(const Error& error) {
  if (error.context().starts_with(kInvalidPart)) return CompleteProblem::kInvalidPart;
  if (error.context().starts_with(kInvalidPartOrder)) return CompleteProblem::kInvalidPartOrder;
  if (error.context().starts_with(kEntityTooSmall)) return CompleteProblem::kEntityTooSmall;
  return CompleteProblem::kOther;
}

}  // namespace weir::volume
