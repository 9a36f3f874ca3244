// daemon/api_reply.h -- how the control API answers: JSON, and one table from Error to HTTP status.
//
// JSON is UTF-8; names need not be. A byte string that is no UTF-8 is given twice: under its own name with the wrong bytes
// replaced, to be shown, and under NAME_encoded percent-encoded, to be used.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "base/result.h"
#include "net/http_server.h"

namespace weir::daemon {

net::ServerResponse json_reply(const nlohmann::ordered_json& body, int status = 200);
// {"error": {"code": "NOT_FOUND", "message": "..."}}
net::ServerResponse error_reply(const Error& error);
net::ServerResponse text_reply(std::string text, std::string_view content_type);

// {"code": "NOT_FOUND", "message": "..."}
nlohmann::ordered_json json_of(const Error& error);

void add_bytes(nlohmann::ordered_json& object, std::string_view name, std::string_view bytes);

// An empty object for success.
net::ServerResponse reply_to(const Result<void>& result);

template <typename T, typename Make>
net::ServerResponse reply_to(const Result<T>& result, Make make) {
  if (!result) return error_reply(result.error());
  return json_reply(make(*result));
}

}  // namespace weir::daemon
