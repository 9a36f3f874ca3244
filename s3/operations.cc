#include "s3/operations.h"

#include <algorithm>
#include <array>

namespace weir::s3 {
namespace {

using enum net::Method;
using On = Route::On;
using Body = Route::Body;
using Takes = Route::Takes;

// The first row that matches is the operation; rows that ask for more come first.
constexpr std::array kRoutes = {
    Route{Operation::kListBuckets, kGet, On::kService, "", "", &list_buckets},

    Route{Operation::kGetBucketLocation, kGet, On::kBucket, "location", "", &get_bucket_location},
    Route{Operation::kGetBucketVersioning, kGet, On::kBucket, "versioning", "", &get_bucket_configuration},
    Route{Operation::kGetBucketAcl, kGet, On::kBucket, "acl", "", &get_acl},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "policy", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "policyStatus", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "cors", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "lifecycle", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "tagging", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "encryption", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "object-lock", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "replication", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "website", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "logging", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "notification", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "accelerate", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "requestPayment", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "publicAccessBlock", "", &get_bucket_configuration},
    Route{Operation::kGetBucketConfiguration, kGet, On::kBucket, "ownershipControls", "", &get_bucket_configuration},
    Route{Operation::kListMultipartUploads, kGet, On::kBucket, "uploads", "", &list_multipart_uploads},
    Route{Operation::kListObjectVersions, kGet, On::kBucket, "versions", "", &list_object_versions},
    Route{Operation::kListObjectsV2, kGet, On::kBucket, "list-type", "", &list_objects_v2},
    Route{Operation::kListObjects, kGet, On::kBucket, "", "", &list_objects},
    Route{Operation::kHeadBucket, kHead, On::kBucket, "", "", &head_bucket},
    Route{Operation::kPutBucketAcl, kPut, On::kBucket, "acl", "", &put_acl, Body::kDocument},
    Route{Operation::kCreateBucket, kPut, On::kBucket, "", "", &create_bucket, Body::kDocument},
    Route{Operation::kDeleteBucket, kDelete, On::kBucket, "", "", &delete_bucket},
    Route{Operation::kDeleteObjects, kPost, On::kBucket, "delete", "", &delete_objects, Body::kDocument},
    Route{Operation::kPostObject, kPost, On::kBucket, "", "content-type: multipart/form-data", &post_object, Body::kContent},

    Route{Operation::kGetObjectAttributes, kGet, On::kObject, "attributes", "", &get_object_attributes},
    Route{Operation::kGetObjectTagging, kGet, On::kObject, "tagging", "", &get_object_tagging},
    Route{Operation::kGetObjectAcl, kGet, On::kObject, "acl", "", &get_acl},
    Route{Operation::kGetObjectConfiguration, kGet, On::kObject, "retention", "", &get_object_configuration},
    Route{Operation::kGetObjectConfiguration, kGet, On::kObject, "legal-hold", "", &get_object_configuration},
    Route{Operation::kListParts, kGet, On::kObject, "uploadId", "", &list_parts},
    Route{Operation::kGetObject, kGet, On::kObject, "", "", &get_object},
    Route{Operation::kHeadObject, kHead, On::kObject, "", "", &head_object},
    Route{Operation::kUploadPartCopy, kPut, On::kObject, "uploadId", "x-amz-copy-source", &upload_part_copy, Body::kNone, Takes::kLong},
    Route{Operation::kUploadPart, kPut, On::kObject, "uploadId", "", &upload_part, Body::kContent},
    Route{Operation::kPutObjectTagging, kPut, On::kObject, "tagging", "", &put_object_tagging, Body::kDocument},
    Route{Operation::kPutObjectAcl, kPut, On::kObject, "acl", "", &put_acl, Body::kDocument},
    Route{Operation::kRenameObject, kPut, On::kObject, "renameObject", "", &rename_object},
    Route{Operation::kCopyObject, kPut, On::kObject, "", "x-amz-copy-source", &copy_object, Body::kNone, Takes::kLong},
    Route{Operation::kPutObject, kPut, On::kObject, "", "", &put_object, Body::kContent},
    Route{Operation::kCreateMultipartUpload, kPost, On::kObject, "uploads", "", &create_multipart_upload},
    Route{Operation::kCompleteMultipartUpload, kPost, On::kObject, "uploadId", "", &complete_multipart_upload, Body::kDocument,
          Takes::kLong},
    Route{Operation::kAbortMultipartUpload, kDelete, On::kObject, "uploadId", "", &abort_multipart_upload},
    Route{Operation::kDeleteObjectTagging, kDelete, On::kObject, "tagging", "", &delete_object_tagging},
    Route{Operation::kDeleteObject, kDelete, On::kObject, "", "", &delete_object},
};

// Query parameters that make another operation of a request: one that no row names is not implemented.
constexpr std::array<std::string_view, 45> kSubresources = {
    "accelerate",   "acl",           "analytics",        "attributes",          "cors",          "delete",
    "encryption",   "intelligent-tiering", "inventory",  "legal-hold",          "lifecycle",     "location",
    "logging",      "metadataConfiguration", "metadataTable", "metrics",        "notification",  "object-lock",
    "ownershipControls", "policy",   "policyStatus",     "publicAccessBlock",   "renameObject",  "replication",
    "requestPayment", "restore",     "retention",        "select",              "session",       "tagging",
    "torrent",      "uploadId",      "uploads",          "versioning",          "versions",      "website",
    "append",       "position",      "replication-metrics", "encryption-context", "abac",        "annotation",
    "metadataJournalTable", "metadataInventoryTable", "object-lambda"};

// Parameters that change nothing about which operation it is, and may be empty.
constexpr std::array<std::string_view, 21> kPlainParameters = {
    "prefix",  "delimiter", "marker", "max-keys", "encoding-type", "start-after", "continuation-token",
    "fetch-owner", "key-marker", "version-id-marker", "upload-id-marker", "max-uploads", "list-type",
    "part-number-marker", "max-parts", "partNumber", "versionId", "x-id", "metadata", "max-buckets", "allow-unordered"};

bool is_in(const auto& names, std::string_view name) { return std::ranges::find(names, name) != names.end(); }

bool has_header(const Request& request, std::string_view wanted) {
  const size_t colon = wanted.find(": ");
  const std::string_view value = request.header(wanted.substr(0, colon));
  if (colon == std::string_view::npos) return !value.empty();
  const std::string_view beginning = wanted.substr(colon + 2);
  return net::same_name(value.substr(0, beginning.size()), beginning);
}

// One that no row of the table is about.
Reply<void> check_parameters(const Request& request, const Route& route) {
  for (const net::QueryParameter& parameter : request.query) {
    if (parameter.name == route.parameter) continue;
    const bool plain = is_in(kPlainParameters, parameter.name) || parameter.name.starts_with("response-") ||
                       parameter.name.starts_with("X-Amz-") || parameter.name.starts_with("x-amz-");
    if (is_in(kSubresources, parameter.name) || (parameter.value.empty() && !plain)) {
      return refuse(Refusal(Code::kNotImplemented, "The subresource \"" + parameter.name + "\" is not implemented for this request")
                        .with("ResourceType", parameter.name));
    }
  }
  return {};
}

}  // namespace

std::string_view name_of(Operation operation) {
  constexpr std::array<std::string_view, kOperations> kNames = {
#define X(name) #name,
      WEIR_S3_OPERATIONS(X)
#undef X
  };
  return kNames[static_cast<size_t>(operation)];
}

Reply<const Route*> find_route(const Request& request) {
  const On on = request.bucket.empty() ? On::kService : request.key.empty() ? On::kBucket : On::kObject;
  for (const Route& route : kRoutes) {
    if (route.method != request.method || route.on != on) continue;
    if (!route.parameter.empty() && request.parameter(route.parameter) == nullptr) continue;
    if (!route.header.empty() && !has_header(request, route.header)) continue;
    TRY(check_parameters(request, route));
    return &route;
  }
  if (std::ranges::any_of(request.query, [](const auto& parameter) { return is_in(kSubresources, parameter.name); }))
    return refuse(Code::kNotImplemented);
  return refuse(Code::kMethodNotAllowed);
}

}  // namespace weir::s3
