#include "volume/local_objects.h"

namespace weir::volume {
namespace {

Error not_there(std::string_view what) { return Error(ErrorCode::kNotSupported, std::string(what) + " does not work yet"); }

}  // namespace

Result<std::string> LocalObjects::create_upload(const ObjectName&, const UploadOptions&) { return fail(not_there("putting objects in parts")); }
Result<ObjectUpload> LocalObjects::find_upload(const ObjectName&, std::string_view) { return fail(not_there("putting objects in parts")); }
Result<std::unique_ptr<PartWriter>> LocalObjects::put_part(const ObjectName&, std::string_view, uint32_t, std::optional<uint64_t>) {
  return fail(not_there("putting objects in parts"));
}
Result<Object> LocalObjects::complete_upload(const ObjectName&, std::string_view, const CompleteOptions&) {
  return fail(not_there("putting objects in parts"));
}
Result<void> LocalObjects::abort_upload(const ObjectName&, std::string_view) { return fail(not_there("putting objects in parts")); }
Result<std::vector<ObjectPart>> LocalObjects::upload_parts(const ObjectName&, std::string_view, uint32_t, size_t) {
  return fail(not_there("putting objects in parts"));
}
Result<std::vector<ObjectUpload>> LocalObjects::uploads(std::string_view, std::string_view, std::string_view, std::string_view, size_t) {
  return fail(not_there("putting objects in parts"));
}
Result<Object> LocalObjects::copy(const ObjectName&, const ObjectName&, const CopyOptions&) { return fail(not_there("copying objects")); }
Result<void> LocalObjects::rename(const ObjectName&, std::string_view, const ObjectConditions&, const ObjectConditions&) {
  return fail(not_there("renaming objects"));
}

}  // namespace weir::volume
