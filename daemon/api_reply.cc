#include "daemon/api_reply.h"

#include <nlohmann/json.hpp>

#include "net/encoding.h"

namespace weir::daemon {
namespace {

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kNotFound:
    case ErrorCode::kNoAttribute: return 404;
    case ErrorCode::kInvalid:
    case ErrorCode::kNameTooLong:
    case ErrorCode::kNotDirectory:
    case ErrorCode::kIsDirectory:
    case ErrorCode::kCrossDevice:
    case ErrorCode::kLoop:
    case ErrorCode::kRange: return 400;
    case ErrorCode::kPermission:
    case ErrorCode::kReadOnly:
    case ErrorCode::kDenied: return 403;
    case ErrorCode::kExists:
    case ErrorCode::kNotEmpty:
    case ErrorCode::kBusy:
    case ErrorCode::kConflict:
    case ErrorCode::kTooManyLinks:
    case ErrorCode::kStale:
    case ErrorCode::kPrecondition: return 409;
    case ErrorCode::kTooLarge: return 413;
    case ErrorCode::kNotSupported: return 501;
    case ErrorCode::kUnavailable:
    case ErrorCode::kCancelled: return 503;
    case ErrorCode::kTimedOut: return 504;
    case ErrorCode::kNoSpace: return 507;
    default: return 500;
  }
}

bool is_utf8(std::string_view bytes) {
  // The library's own judgement is the one that matters: it refuses to dump anything else.
  try {
    (void)nlohmann::json(bytes).dump();
    return true;
  } catch (const nlohmann::json::type_error&) {
    return false;
  }
}

}  // namespace

net::ServerResponse json_reply(const nlohmann::ordered_json& body, int status) {
  return {.status = status,
          .headers = {{"Content-Type", "application/json"}},
          .body = body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + '\n'};
}

nlohmann::ordered_json json_of(const Error& error) {
  nlohmann::ordered_json json;
  json["code"] = name_of(error.code());
  std::string message = error.to_string();
  // The code has a member of its own.
  const std::string prefix = std::string(name_of(error.code())) + ": ";
  if (message.starts_with(prefix)) message.erase(0, prefix.size());
  json["message"] = message;
  return json;
}

net::ServerResponse error_reply(const Error& error) {
  nlohmann::ordered_json body;
  body["error"] = json_of(error);
  return json_reply(body, status_of(error.code()));
}

net::ServerResponse reply_to(const Result<void>& result) {
  if (!result) return error_reply(result.error());
  return json_reply(nlohmann::ordered_json::object());
}

net::ServerResponse text_reply(std::string text, std::string_view content_type) {
  return {.headers = {{"Content-Type", std::string(content_type)}}, .body = std::move(text)};
}

void add_bytes(nlohmann::ordered_json& object, std::string_view name, std::string_view bytes) {
  object[std::string(name)] = bytes;
  if (!is_utf8(bytes)) object[std::string(name) + "_encoded"] = net::uri_encode(bytes);
}

}  // namespace weir::daemon
