// ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation.
#include "s3/operations.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

// A key for a part of the namespace makes and removes no buckets.
Reply<void> check_bucket_change(const Call& call) {
  const bool allowed = call.identity.key == nullptr || (call.identity.key->scope.bucket.empty() &&
                                                        call.identity.key->scope.rights == Rights::kReadWrite);
  if (allowed) return {};
  return refuse(Code::kAccessDenied, "Access Denied: the access key may not make or remove buckets");
}

}  // namespace

Reply<Answer> list_buckets(Call& call) {
  TRY_ASSIGN(const auto buckets, call.objects.buckets());
  XmlWriter xml("ListAllMyBucketsResult");
  xml.open("Owner");
  xml.text("ID", "weir");
  xml.text("DisplayName", "weir");
  xml.close("Owner");
  xml.open("Buckets");
  for (const auto& bucket : buckets) {
    if (call.identity.key != nullptr && !call.identity.key->scope.bucket.empty() && call.identity.key->scope.bucket != bucket.name) continue;
    xml.open("Bucket");
    xml.text("Name", bucket.name);
    xml.time("CreationDate", bucket.created_ns);
    xml.close("Bucket");
  }
  xml.close("Buckets");
  return xml_answer(std::move(xml).take());
}

Reply<Answer> create_bucket(Call& call) {
  TRY(check_bucket_change(call));
  TRY_ASSIGN(const std::string location, parse_create_bucket(call.body));
  (void)location;  // there is one place
  const auto made = call.objects.create_bucket(call.request.bucket);
  if (failed_with(made, ErrorCode::kInvalid)) return refuse(Code::kInvalidBucketName, made.error().context());
  TRY(made);
  Answer answer;
  answer.headers.push_back({"Location", "/" + call.request.bucket});
  return answer;
}

Reply<Answer> head_bucket(Call& call) {
  TRY(check_bucket_seen(call));
  TRY(call.objects.find_bucket(call.request.bucket));
  Answer answer;
  answer.headers.push_back({"x-amz-bucket-region", call.options.region.empty() ? "us-east-1" : call.options.region});
  return answer;
}

Reply<Answer> delete_bucket(Call& call) {
  TRY(check_bucket_change(call));
  TRY(call.objects.remove_bucket(call.request.bucket));
  return empty_answer(204);
}

Reply<Answer> get_bucket_location(Call& call) {
  TRY(check_bucket_seen(call));
  TRY(call.objects.find_bucket(call.request.bucket));
  // us-east-1 is said by an empty element.
  const std::string& region = call.options.region;
  if (region.empty() || region == "us-east-1")
    return xml_answer(std::string(kXmlDeclaration) + "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"/>");
  return xml_answer(std::string(kXmlDeclaration) + "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" + region +
                    "</LocationConstraint>");
}

}  // namespace weir::s3
