#include "daemon/line_reply.h"

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <utility>

namespace weir::daemon {

using Json = nlohmann::ordered_json;

Result<void> LineReply::put(std::string_view name, Json value) {
  Json line;
  line[std::string(name)] = std::move(value);
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
  if (written_) written_ = sink_(text);
  return written_;
}

bool LineReply::progress(const std::function<Json()>& value) {
  const TimePoint now = system_clock().now();
  if (now >= due_) {
    (void)put("progress", value());
    due_ = now + kInterval;
  }
  return written_.has_value();
}

net::ServerResponse line_reply(std::function<Result<void>(LineReply&)> run) {
  net::ServerResponse response{.headers = {{"Content-Type", "application/jsonl"}}};
  response.stream = [run = std::move(run)](net::ResponseBody& body) {
    LineReply lines([&](std::string_view line) { return body.write(std::as_bytes(std::span(line))); });
    return run(lines);
  };
  return response;
}

}  // namespace weir::daemon
