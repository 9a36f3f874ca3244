// GetObjectTagging, PutObjectTagging, DeleteObjectTagging.
#include "s3/operations.h"
#include "s3/xml.h"

namespace weir::s3 {

Reply<Answer> get_object_tagging(Call& call) {
  TRY(check_access(call, Access::kRead, call.request.bucket, call.request.key));
  TRY(check_version(call.request));
  TRY_ASSIGN(const volume::ObjectTags tags, call.objects.tags(call.name()));
  return xml_answer(tagging_xml(tags));
}

Reply<Answer> put_object_tagging(Call& call) {
  TRY(check_access(call, Access::kWrite, call.request.bucket, call.request.key));
  TRY(check_version(call.request));
  TRY_ASSIGN(const volume::ObjectTags tags, parse_tagging(call.body));
  TRY(call.objects.set_tags(call.name(), tags));
  return empty_answer(200);
}

Reply<Answer> delete_object_tagging(Call& call) {
  TRY(check_access(call, Access::kWrite, call.request.bucket, call.request.key));
  TRY(check_version(call.request));
  TRY(call.objects.set_tags(call.name(), {}));
  return empty_answer(204);
}

}  // namespace weir::s3
