#include "daemon/key_requests.h"

#include <nlohmann/json.hpp>

#include "base/log.h"
#include "daemon/api_reply.h"

namespace weir::daemon {
namespace {

using Json = nlohmann::ordered_json;

enum class WithSecret : uint8_t { kNo, kYes };

Json json_of(const s3::AccessKey& key, WithSecret with_secret) {
  Json json;
  json["access_key"] = key.id;
  if (with_secret == WithSecret::kYes) json["secret_key"] = key.secret;
  json["bucket"] = key.scope.bucket;
  json["prefix"] = key.scope.prefix;
  json["read_only"] = key.scope.rights == s3::Rights::kReadOnly;
  json["created_ns"] = key.created_ns;
  return json;
}

std::string value_of(const net::ServerRequest& request, std::string_view name) {
  const std::string* value = request.parameter(name);
  return value == nullptr ? std::string() : *value;
}

net::ServerResponse no_endpoint() {
  return error_reply(Error(ErrorCode::kNotSupported, "there is no S3 endpoint: property s3.enabled is false"));
}

}  // namespace

net::ServerResponse KeyRequests::list(net::ServerRequest& request) {
  const s3::AccessKeys* const keys = keys_;
  if (keys == nullptr) return no_endpoint();
  const auto with_secret = value_of(request, "secrets") == "true" ? WithSecret::kYes : WithSecret::kNo;
  Json json;
  json["keys"] = Json::array();
  for (const s3::AccessKey& key : keys->list()) json["keys"].push_back(json_of(key, with_secret));
  return json_reply(json);
}

net::ServerResponse KeyRequests::add(net::ServerRequest& request) {
  s3::AccessKeys* const keys = keys_;
  if (keys == nullptr) return no_endpoint();
  const auto added = keys->add({.id = value_of(request, "access_key"),
                                .secret = value_of(request, "secret_key"),
                                .scope = {.bucket = value_of(request, "bucket"),
                                          .prefix = value_of(request, "prefix"),
                                          .rights = value_of(request, "read_only") == "true" ? s3::Rights::kReadOnly
                                                                                             : s3::Rights::kReadWrite}});
  if (added) log_info("s3.key_added", {{"access_key", added->id}, {"bucket", added->scope.bucket}, {"prefix", added->scope.prefix}});
  return reply_to(added, [](const s3::AccessKey& key) { return json_of(key, WithSecret::kYes); });
}

net::ServerResponse KeyRequests::remove(net::ServerRequest& request) {
  s3::AccessKeys* const keys = keys_;
  if (keys == nullptr) return no_endpoint();
  const auto removed = keys->remove(value_of(request, "access_key"));
  if (removed) log_info("s3.key_removed", {{"access_key", value_of(request, "access_key")}});
  return reply_to(removed);
}

}  // namespace weir::daemon
