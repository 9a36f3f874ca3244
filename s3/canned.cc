// Answers that are the same for every bucket or object: there are no ACLs, policies, versions or locks to configure.
#include <algorithm>
#include <array>
#include <optional>

#include "s3/operations.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

struct Configuration {
  std::string_view parameter;
  std::optional<Code> refusal;
  std::string_view element;  // of the empty document otherwise
  std::string_view content = {};
};

constexpr std::array kBucketConfigurations = {
    Configuration{"versioning", std::nullopt, "VersioningConfiguration"},
    Configuration{"logging", std::nullopt, "BucketLoggingStatus"},
    Configuration{"notification", std::nullopt, "NotificationConfiguration"},
    Configuration{"accelerate", std::nullopt, "AccelerateConfiguration"},
    Configuration{"requestPayment", std::nullopt, "RequestPaymentConfiguration", "<Payer>BucketOwner</Payer>"},
    Configuration{"policy", Code::kNoSuchBucketPolicy, ""},
    Configuration{"policyStatus", Code::kNoSuchBucketPolicy, ""},
    Configuration{"cors", Code::kNoSuchCorsConfiguration, ""},
    Configuration{"lifecycle", Code::kNoSuchLifecycleConfiguration, ""},
    Configuration{"tagging", Code::kNoSuchTagSet, ""},
    Configuration{"encryption", Code::kEncryptionConfigurationNotFound, ""},
    Configuration{"object-lock", Code::kObjectLockConfigurationNotFound, ""},
    Configuration{"replication", Code::kReplicationConfigurationNotFound, ""},
    Configuration{"website", Code::kNoSuchWebsiteConfiguration, ""},
    Configuration{"publicAccessBlock", Code::kNoSuchPublicAccessBlock, ""},
    Configuration{"ownershipControls", Code::kOwnershipControlsNotFound, ""},
};

constexpr std::string_view kPrivateAcl =
    "<Owner><ID>weir</ID><DisplayName>weir</DisplayName></Owner><AccessControlList><Grant>"
    "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"><ID>weir</ID>"
    "<DisplayName>weir</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>";

std::string document(std::string_view element, std::string_view content) {
  const std::string name(element);
  return std::string(kXmlDeclaration) + '<' + name + " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">" + std::string(content) +
         "</" + name + '>';
}

// The bucket, or the object, must be there, and the caller may see it.
Reply<void> check_target(const Call& call, Access access) {
  if (call.request.key.empty()) {
    TRY(check_bucket_seen(call));
    TRY(call.objects.find_bucket(call.request.bucket));
    return {};
  }
  TRY(check_access(call, access, call.request.bucket, call.request.key));
  TRY(check_version(call.request));
  bool not_modified = false;
  TRY(call.objects.head(call.name(), {}, &not_modified));
  return {};
}

}  // namespace

Reply<Answer> get_acl(Call& call) {
  TRY(check_target(call, Access::kRead));
  return xml_answer(document("AccessControlPolicy", kPrivateAcl));
}

Reply<Answer> put_acl(Call& call) {
  TRY(check_target(call, Access::kWrite));
  TRY(refuse_unsupported(call.request));
  // Who may do what is said by access keys; a canned ACL is taken as a wish.
  if (!call.header("x-amz-acl").empty()) return empty_answer(200);
  return refuse(Code::kNotImplemented, "ACLs are not kept: access keys say who may do what");
}

Reply<Answer> get_bucket_configuration(Call& call) {
  TRY(check_target(call, Access::kRead));
  for (const Configuration& configuration : kBucketConfigurations) {
    if (call.request.parameter(configuration.parameter) == nullptr) continue;
    if (configuration.refusal) return refuse(Refusal(*configuration.refusal).with("BucketName", call.request.bucket));
    return xml_answer(document(configuration.element, configuration.content));
  }
  return refuse(Code::kNotImplemented);
}

Reply<Answer> get_object_configuration(Call& call) {
  TRY(check_target(call, Access::kRead));
  return refuse(Code::kNoSuchObjectLockConfiguration);
}

}  // namespace weir::s3
