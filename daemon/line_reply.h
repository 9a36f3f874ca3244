// daemon/line_reply.h -- replies of one JSON object a line, for what takes long: progress now and then, and at the end how it went.
//
// Threads: one.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/result.h"
#include "net/http_server.h"

namespace weir::daemon {

class LineReply {
 public:
  using Sink = std::function<Result<void>(std::string_view line)>;  // with its end
  explicit LineReply(Sink sink) : sink_(std::move(sink)) {}

  // {"NAME": value}. The client's absence is its error, now and later.
  Result<void> put(std::string_view name, nlohmann::ordered_json value);
  // Puts what `value` returns under "progress", now and then. False once the client is gone.
  bool progress(const std::function<nlohmann::ordered_json()>& value);

 private:
  static constexpr Duration kInterval = std::chrono::milliseconds(200);
  const Sink sink_;
  Result<void> written_;
  TimePoint due_{};
};

// The reply that `run` writes; what it refers to must outlive the server.
net::ServerResponse line_reply(std::function<Result<void>(LineReply&)> run);

}  // namespace weir::daemon
