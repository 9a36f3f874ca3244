// cli/daemon_client.h -- requests to the control API of a daemon on this machine (libcurl over a unix socket).
//
// Bodies stream, so files of any size pass in bounded memory. Threads: one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "cli/outcome.h"
#include "net/http.h"

namespace weir::cli {

class DaemonClient {
 public:
  explicit DaemonClient(std::string socket);
  ~DaemonClient();
  DaemonClient(DaemonClient&&) noexcept;

  // Failures of all: kUnreachable when no daemon listens on the socket or this user may not use it, with the way out;
  // kFailed with the daemon's own words.
  Outcome<nlohmann::ordered_json> call(net::Method method, std::string_view path, const net::Query& query = {},
                                       std::string_view body = {});
  Outcome<std::string> call_text(net::Method method, std::string_view path, const net::Query& query = {},
                                 std::string_view body = {});

  // Called with each piece; false ends the transfer. A body that was cut short is a failure.
  using Sink = std::function<bool(std::span<const std::byte>)>;
  Outcome<> download(std::string_view path, const net::Query& query, const Sink& sink,
                     net::Method method = net::Method::kGet);

  // A reply of one JSON object a line; called with each.
  using Line = std::function<void(const nlohmann::ordered_json&)>;
  Outcome<> lines(std::string_view path, const net::Query& query, const Line& line, net::Method method = net::Method::kGet);

  // Fills the buffer and returns the bytes; 0 at the end, nullopt gives up.
  using Source = std::function<std::optional<size_t>(std::span<std::byte>)>;
  Outcome<> upload(std::string_view path, const net::Query& query, std::optional<uint64_t> bytes, const Source& source);

 private:
  struct Transfer;
  Outcome<> perform(Transfer& transfer, std::string_view path, const net::Query& query);

  std::string socket_;
  void* curl_;
};

}  // namespace weir::cli
