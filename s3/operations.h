// s3/operations.h -- the whole API at a glance: which request is which operation, and what answers it.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>

#include "s3/call.h"

namespace weir::s3 {

#define WEIR_S3_OPERATIONS(X)                                                                                              \
  X(ListBuckets) X(CreateBucket) X(HeadBucket) X(DeleteBucket) X(GetBucketLocation) X(GetBucketVersioning)                 \
  X(ListObjects) X(ListObjectsV2) X(ListObjectVersions) X(ListMultipartUploads)                                            \
  X(GetObject) X(HeadObject) X(PutObject) X(PostObject) X(DeleteObject) X(DeleteObjects) X(CopyObject) X(RenameObject)                   \
  X(GetObjectAttributes) X(GetObjectTagging) X(PutObjectTagging) X(DeleteObjectTagging)                                    \
  X(CreateMultipartUpload) X(UploadPart) X(UploadPartCopy) X(CompleteMultipartUpload) X(AbortMultipartUpload) X(ListParts) \
  X(GetObjectAcl) X(PutObjectAcl) X(GetBucketAcl) X(PutBucketAcl) X(GetBucketConfiguration) X(GetObjectConfiguration)      \
  X(Unknown)

enum class Operation : uint8_t {
#define X(name) k##name,
  WEIR_S3_OPERATIONS(X)
#undef X
};
inline constexpr size_t kOperations = static_cast<size_t>(Operation::kUnknown) + 1;
std::string_view name_of(Operation operation);  // "GetObject"

struct Route {
  using Plain = Reply<Answer> (*)(Call& call);                     // needs no body, or has it in Call::body
  using Taking = Reply<std::unique_ptr<Intake>> (*)(Call& call);   // takes the body as it comes

  enum class On : uint8_t { kService, kBucket, kObject };
  enum class Body : uint8_t { kNone, kDocument, kContent };
  enum class Takes : uint8_t { kMoment, kLong };  // kLong: the answer begins before the operation ends

  Operation operation;
  net::Method method;
  On on;
  std::string_view parameter;  // that must be in the query; empty: none
  std::string_view header;     // that must be there; empty: none. "name: value": whose value begins so
  std::variant<Plain, Taking> answer;
  Body body = Body::kNone;
  Takes takes = Takes::kMoment;
};

inline constexpr size_t kDocumentBytesMax = 4 << 20;
inline constexpr uint64_t kContentBytesMax = 5ull << 30;  // of one PUT

// kNotImplemented for a subresource that is not in the table, kMethodNotAllowed.
Reply<const Route*> find_route(const Request& request);

// --- by family; each in a file of its own

// objects.cc
Reply<Answer> get_object(Call& call);
Reply<Answer> head_object(Call& call);
Reply<std::unique_ptr<Intake>> put_object(Call& call);
Reply<Answer> delete_object(Call& call);
Reply<Answer> delete_objects(Call& call);
Reply<Answer> copy_object(Call& call);
Reply<Answer> rename_object(Call& call);
Reply<Answer> get_object_attributes(Call& call);
// post_object.cc: a form
Reply<std::unique_ptr<Intake>> post_object(Call& call);
// listing.cc
Reply<Answer> list_objects(Call& call);
Reply<Answer> list_objects_v2(Call& call);
Reply<Answer> list_object_versions(Call& call);
// buckets.cc
Reply<Answer> list_buckets(Call& call);
Reply<Answer> create_bucket(Call& call);
Reply<Answer> head_bucket(Call& call);
Reply<Answer> delete_bucket(Call& call);
Reply<Answer> get_bucket_location(Call& call);
// tagging.cc
Reply<Answer> get_object_tagging(Call& call);
Reply<Answer> put_object_tagging(Call& call);
Reply<Answer> delete_object_tagging(Call& call);
// multipart.cc
Reply<Answer> create_multipart_upload(Call& call);
Reply<std::unique_ptr<Intake>> upload_part(Call& call);
Reply<Answer> upload_part_copy(Call& call);
Reply<Answer> complete_multipart_upload(Call& call);
Reply<Answer> abort_multipart_upload(Call& call);
Reply<Answer> list_parts(Call& call);
Reply<Answer> list_multipart_uploads(Call& call);
// canned.cc: what is the same for every bucket
Reply<Answer> get_acl(Call& call);
Reply<Answer> put_acl(Call& call);
Reply<Answer> get_bucket_configuration(Call& call);
Reply<Answer> get_object_configuration(Call& call);

}  // namespace weir::s3
