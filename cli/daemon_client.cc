#include "cli/daemon_client.h"

#include <curl/curl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

namespace weir::cli {
namespace {

constexpr long kConnectTimeoutMs = 5'000;
constexpr size_t kTextBytesMax = 256 << 20;

Failure unreachable(const std::string& socket) {
  const char* reason = ::access(socket.c_str(), F_OK) != 0   ? "there is no such socket"
                       : ::access(socket.c_str(), W_OK) != 0 ? "only root and the daemon's user may talk to it"
                                                             : "nothing listens there";
  return {ExitCode::kUnreachable,
          "cannot reach the daemon at " + socket + ": " + reason +
              "\nStart it (weir serve --config FILE), or say where it is: --socket PATH, --config FILE, or WEIR_SOCKET "
              "or WEIR_CONFIG in the environment."};
}

// The daemon's words, or what it sent instead.
Failure refusal(long status, const std::string& body) {
  const auto json = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("error") && json["error"].is_object()) {
    const auto& error = json["error"];
    const std::string message = error.value("message", "");
    return {ExitCode::kFailed, message.empty() ? error.value("code", "refused") : message};
  }
  return {ExitCode::kFailed, "the daemon answered " + std::to_string(status) + ": " + body};
}

}  // namespace

struct DaemonClient::Transfer {
  net::Method method = net::Method::kGet;
  const Sink* sink = nullptr;      // null: into `text`
  const Source* source = nullptr;  // null: `body`
  std::optional<uint64_t> source_bytes;
  std::string_view body;
  CURL* curl = nullptr;
  std::string text;
  long status = 0;
  bool gave_up = false;

  static size_t receive(char* data, size_t, size_t bytes, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    curl_easy_getinfo(transfer.curl, CURLINFO_RESPONSE_CODE, &transfer.status);
    if (transfer.sink != nullptr && transfer.status == 200) {
      if ((*transfer.sink)(std::as_bytes(std::span(data, bytes)))) return bytes;
      transfer.gave_up = true;
      return 0;
    }
    if (transfer.text.size() + bytes > kTextBytesMax) return 0;
    transfer.text.append(data, bytes);
    return bytes;
  }

  static size_t send(char* buffer, size_t, size_t size, void* self) {
    auto& transfer = *static_cast<Transfer*>(self);
    if (transfer.source == nullptr) {
      const size_t bytes = transfer.body.copy(buffer, size);
      transfer.body.remove_prefix(bytes);
      return bytes;
    }
    const auto bytes = (*transfer.source)(std::as_writable_bytes(std::span(buffer, size)));
    transfer.gave_up = !bytes.has_value();
    return bytes.value_or(CURL_READFUNC_ABORT);
  }
};

DaemonClient::DaemonClient(std::string socket) : socket_(std::move(socket)), curl_(curl_easy_init()) {}
DaemonClient::~DaemonClient() { curl_easy_cleanup(curl_); }
DaemonClient::DaemonClient(DaemonClient&& other) noexcept
    : socket_(std::move(other.socket_)), curl_(std::exchange(other.curl_, nullptr)) {}

Outcome<> DaemonClient::perform(Transfer& transfer, std::string_view path, const net::Query& query) {
  curl_easy_reset(curl_);
  transfer.curl = curl_;
  std::string url = "http://weir" + std::string(path);
  if (!query.empty()) url += '?' + net::query_text(query);
  char reason[CURL_ERROR_SIZE] = "";
  curl_easy_setopt(curl_, CURLOPT_UNIX_SOCKET_PATH, socket_.c_str());
  curl_easy_setopt(curl_, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl_, CURLOPT_PROXY, "");
  curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, reason);
  curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT_MS, kConnectTimeoutMs);
  curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &Transfer::receive);
  curl_easy_setopt(curl_, CURLOPT_WRITEDATA, &transfer);
  curl_slist* headers = nullptr;
  if (transfer.source != nullptr || !transfer.body.empty()) {
    curl_easy_setopt(curl_, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl_, CURLOPT_READFUNCTION, &Transfer::send);
    curl_easy_setopt(curl_, CURLOPT_READDATA, &transfer);
    const std::optional<uint64_t> bytes = transfer.source != nullptr ? transfer.source_bytes : transfer.body.size();
    if (bytes) curl_easy_setopt(curl_, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(*bytes));
    // A refusal comes before the bytes, not after them.
    headers = curl_slist_append(headers, transfer.source != nullptr ? "Expect: 100-continue" : "Expect:");
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
  }
  curl_easy_setopt(curl_, CURLOPT_CUSTOMREQUEST, std::string(net::name_of(transfer.method)).c_str());
  const CURLcode code = curl_easy_perform(curl_);
  curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &transfer.status);
  curl_slist_free_all(headers);
  if (code == CURLE_COULDNT_CONNECT) return std::unexpected(unreachable(socket_));
  if (transfer.gave_up) return failed("the transfer was given up");
  if (transfer.status >= 400) return std::unexpected(refusal(transfer.status, transfer.text));
  if (code != CURLE_OK) {
    return failed(std::string("the daemon's answer broke off: ") +
                  (reason[0] != '\0' ? reason : curl_easy_strerror(code)) + "; its log says more");
  }
  return {};
}

Outcome<std::string> DaemonClient::call_text(net::Method method, std::string_view path, const net::Query& query,
                                             std::string_view body) {
  Transfer transfer{.method = method, .body = body};
  TRY(perform(transfer, path, query));
  return std::move(transfer.text);
}

Outcome<nlohmann::ordered_json> DaemonClient::call(net::Method method, std::string_view path, const net::Query& query,
                                                   std::string_view body) {
  TRY_ASSIGN(const std::string text, call_text(method, path, query, body));
  auto json = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return failed("the daemon answered no JSON: " + text);
  return json;
}

Outcome<> DaemonClient::download(std::string_view path, const net::Query& query, const Sink& sink, net::Method method) {
  Transfer transfer{.method = method, .sink = &sink};
  return perform(transfer, path, query);
}

Outcome<> DaemonClient::lines(std::string_view path, const net::Query& query, const Line& line, net::Method method) {
  std::string waiting;
  return download(path, query, [&](std::span<const std::byte> piece) {
    waiting.append(reinterpret_cast<const char*>(piece.data()), piece.size());
    size_t begin = 0;
    for (size_t end = 0; (end = waiting.find('\n', begin)) != std::string::npos; begin = end + 1) {
      const auto json = nlohmann::ordered_json::parse(waiting.begin() + static_cast<ptrdiff_t>(begin),
                                                      waiting.begin() + static_cast<ptrdiff_t>(end), nullptr,
                                                      /*allow_exceptions=*/false);
      if (!json.is_object()) return false;
      line(json);
    }
    waiting.erase(0, begin);
    return true;
  }, method);
}

Outcome<> DaemonClient::upload(std::string_view path, const net::Query& query, std::optional<uint64_t> bytes,
                               const Source& source) {
  Transfer transfer{.method = net::Method::kPut, .source = &source, .source_bytes = bytes};
  return perform(transfer, path, query);
}

}  // namespace weir::cli
