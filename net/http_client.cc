#include "net/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace weir::net {
namespace {

constexpr long kSocketBufferBytes = 512 << 10;
constexpr size_t kPacedPieceBytes = 64 << 10;  // what one read from the body takes while a rate limit is on
constexpr Duration kTimerSlack = std::chrono::milliseconds(10);  // libcurl's timeouts may fire a little early
constexpr auto kPacingStepMax = std::chrono::milliseconds(100);

struct FreeHandle {
  void operator()(CURL* handle) const { curl_easy_cleanup(handle); }
};
using Handle = std::unique_ptr<CURL, FreeHandle>;

struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};
using HeaderList = std::unique_ptr<curl_slist, FreeList>;

void append(HeaderList& list, const std::string& line) {
  curl_slist* longer = curl_slist_append(list.get(), line.c_str());
  CHECK(longer != nullptr);
  list.release();
  list.reset(longer);
}

long milliseconds_of(Duration d) {
  return static_cast<long>(std::chrono::ceil<std::chrono::milliseconds>(d).count());
}

HttpErrorKind kind_of(CURLcode code) {
  switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return HttpErrorKind::kBadUrl;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return HttpErrorKind::kResolve;
    case CURLE_COULDNT_CONNECT:
      return HttpErrorKind::kConnect;
    case CURLE_SSL_CONNECT_ERROR:
      return HttpErrorKind::kTls;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
      return HttpErrorKind::kCertificate;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WRITE_ERROR:
      return HttpErrorKind::kBadResponse;
    default:
      return HttpErrorKind::kBroken;
  }
}

}  // namespace

struct HttpClient::Impl {
  explicit Impl(HttpClientOptions o) : options(std::move(o)) {
    static const CURLcode kInitialised = curl_global_init(CURL_GLOBAL_DEFAULT);
    CHECK(kInitialised == CURLE_OK);
    CHECK(options.connections_max > 0);
    share = curl_share_init();
    CHECK(share != nullptr);
    curl_share_setopt(share, CURLSHOPT_USERDATA, this);
    curl_share_setopt(share, CURLSHOPT_LOCKFUNC, +[](CURL*, curl_lock_data data, curl_lock_access, void* self) {
      static_cast<Impl*>(self)->share_mutexes[data].lock();
    });
    curl_share_setopt(share, CURLSHOPT_UNLOCKFUNC, +[](CURL*, curl_lock_data data, void* self) {
      static_cast<Impl*>(self)->share_mutexes[data].unlock();
    });
    curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
    curl_share_setopt(share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
  }

  ~Impl() {
    idle.clear();
    curl_share_cleanup(share);
  }

  // Null: the deadline passed or the client was stopped. The handle used last is the one whose connection lives.
  Handle borrow(Deadline deadline) {
    std::unique_lock lock(mutex);
    const auto ready = [&] { return stopped || !idle.empty() || handles < options.connections_max; };
    if (deadline.time() == TimePoint::max()) {
      returned.wait(lock, ready);
    } else if (!returned.wait_until(lock, deadline.time(), ready)) {
      return nullptr;
    }
    if (stopped) return nullptr;
    if (!idle.empty()) {
      Handle handle = std::move(idle.back());
      idle.pop_back();
      return handle;
    }
    Handle handle(curl_easy_init());
    CHECK(handle != nullptr);
    ++handles;
    return handle;
  }

  void give_back(Handle handle) {
    {
      std::scoped_lock lock(mutex);
      idle.push_back(std::move(handle));
    }
    returned.notify_one();
  }

  const HttpClientOptions options;
  CURLSH* share = nullptr;
  std::array<std::mutex, CURL_LOCK_DATA_LAST> share_mutexes;

  std::mutex mutex;  // a leaf
  std::condition_variable returned;  // a handle, or stopped
  std::condition_variable stopping;
  std::vector<Handle> idle;
  uint32_t handles = 0;
  std::atomic<bool> stopped = false;  // set under mutex

  std::atomic<uint64_t> exchanges = 0;
  std::atomic<uint64_t> failures = 0;
  std::atomic<uint64_t> connections_opened = 0;
  std::atomic<uint64_t> bytes_sent = 0;
  std::atomic<uint64_t> bytes_received = 0;
};

namespace {

// One exchange, as libcurl's callbacks see it.
struct Exchange {
  const HttpRequest& request;
  const Deadline deadline;
  const std::atomic<bool>& stopped;
  TokenBucket* upload_rate;
  CURL* handle;
  HttpResponse response{};
  size_t body_offset = 0;
  uint64_t body_bytes_sent = 0;
  int sendings = 0;
  bool too_long = false;

  size_t read_body(std::span<char> buffer) {
    size_t bytes = std::min(buffer.size(), request.body.size() - body_offset);
    if (upload_rate != nullptr && upload_rate->rate() != 0) {
      bytes = std::min(bytes, kPacedPieceBytes);
      for (Duration wait = upload_rate->take(bytes); wait > Duration::zero();) {
        if (stopped || deadline.expired()) return CURL_READFUNC_ABORT;
        const Duration step = std::min<Duration>(wait, kPacingStepMax);
        std::this_thread::sleep_for(step);
        wait -= step;
      }
    }
    if (bytes > 0) std::memcpy(buffer.data(), request.body.data() + body_offset, bytes);
    body_offset += bytes;
    body_bytes_sent += bytes;
    return bytes;
  }

  size_t write_body(std::span<const char> bytes) {
    long status = 0;
    curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
    if (!request.sink.empty() && status / 100 == 2) {
      if (bytes.size() > request.sink.size() - response.sink_bytes) {
        too_long = true;
        return 0;
      }
      std::memcpy(request.sink.data() + response.sink_bytes, bytes.data(), bytes.size());
      response.sink_bytes += bytes.size();
      if (request.on_sink) {
        response.status = static_cast<int>(status);
        request.on_sink(response);
      }
    } else {
      if (bytes.size() > kTextBodyBytesMax - response.body.size()) {
        too_long = true;
        return 0;
      }
      response.body.append(bytes.data(), bytes.size());
    }
    return bytes.size();
  }

  void add_header(std::string_view line) {
    if (line.starts_with("HTTP/")) {  // a final response after an interim one
      response.headers.clear();
      return;
    }
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r' || line.back() == ' ')) line.remove_suffix(1);
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return;
    std::string_view value = line.substr(colon + 1);
    while (!value.empty() && (value.front() == ' ' || value.front() == '\t')) value.remove_prefix(1);
    response.headers.push_back({std::string(line.substr(0, colon)), std::string(value)});
  }
};

void prepare(Exchange& exchange, CURLSH* share, const HttpClientOptions& options, const HeaderList& headers,
             char* message) {
  CURL* h = exchange.handle;
  const HttpRequest& request = exchange.request;
  curl_easy_reset(h);  // keeps the connection
  curl_easy_setopt(h, CURLOPT_SHARE, share);
  curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(h, CURLOPT_ERRORBUFFER, message);
  curl_easy_setopt(h, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
  curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(h, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(h, CURLOPT_TCP_NODELAY, 1L);
  curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
  curl_easy_setopt(h, CURLOPT_MAXCONNECTS, 1L);
  curl_easy_setopt(h, CURLOPT_BUFFERSIZE, kSocketBufferBytes);
  curl_easy_setopt(h, CURLOPT_UPLOAD_BUFFERSIZE, kSocketBufferBytes);
  if (options.tls_verify == TlsVerify::kOff) {
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
  }
  if (!options.tls_ca_file.empty()) curl_easy_setopt(h, CURLOPT_CAINFO, options.tls_ca_file.c_str());

  const Duration left = exchange.deadline.left();
  if (exchange.deadline.time() != TimePoint::max()) {
    curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, std::max(1L, milliseconds_of(left)));
  }
  curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                   std::max(1L, milliseconds_of(std::min(left, options.connect_timeout))));
  const Duration stall = request.stall_timeout > Duration::zero() ? request.stall_timeout : options.stall_timeout;
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(h, CURLOPT_LOW_SPEED_TIME, std::max(1L, milliseconds_of(stall) / 1'000));

  switch (request.method) {
    case Method::kGet:
      break;
    case Method::kHead:
      curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
      break;
    case Method::kDelete:
      curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, "DELETE");
      break;
    case Method::kPost:
      curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, "POST");
      [[fallthrough]];
    case Method::kPut:
      curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
      curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
      break;
  }

  curl_easy_setopt(h, CURLOPT_READDATA, &exchange);
  curl_easy_setopt(h, CURLOPT_READFUNCTION, +[](char* to, size_t size, size_t count, void* self) -> size_t {
    return static_cast<Exchange*>(self)->read_body({to, size * count});
  });
  curl_easy_setopt(h, CURLOPT_SEEKDATA, &exchange);
  curl_easy_setopt(h, CURLOPT_SEEKFUNCTION, +[](void* self, curl_off_t offset, int origin) -> int {
    if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
    static_cast<Exchange*>(self)->body_offset = static_cast<size_t>(offset);
    return CURL_SEEKFUNC_OK;
  });
  curl_easy_setopt(h, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, +[](char* from, size_t size, size_t count, void* self) -> size_t {
    return static_cast<Exchange*>(self)->write_body({from, size * count});
  });
  curl_easy_setopt(h, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, +[](char* from, size_t size, size_t count, void* self) -> size_t {
    static_cast<Exchange*>(self)->add_header({from, size * count});
    return size * count;
  });
  // Called when a connection is there and the request goes out, again when it is sent once more.
  curl_easy_setopt(h, CURLOPT_PREREQDATA, &exchange);
  curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, +[](void* self, char*, char*, int, int) -> int {
    ++static_cast<Exchange*>(self)->sendings;
    return CURL_PREREQFUNC_OK;
  });
  curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(h, CURLOPT_XFERINFODATA, &exchange);
  curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION,
                   +[](void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) -> int {
                     return static_cast<Exchange*>(self)->stopped ? 1 : 0;
                   });
}

}  // namespace

HttpClient::HttpClient(HttpClientOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
HttpClient::~HttpClient() = default;

std::expected<HttpResponse, HttpError> HttpClient::exchange(const HttpRequest& request, Deadline deadline) {
  ++impl_->exchanges;
  Handle handle = deadline.expired() ? nullptr : impl_->borrow(deadline);
  if (handle == nullptr) {
    ++impl_->failures;
    if (impl_->stopped) return std::unexpected(HttpError{HttpErrorKind::kStopped, "stopped"});
    return std::unexpected(HttpError{HttpErrorKind::kTimedOut, "the deadline passed before one of the " +
                                                                   std::to_string(impl_->options.connections_max) +
                                                                   " connections was free"});
  }

  HeaderList headers;
  for (const Header& h : request.headers) append(headers, h.value.empty() ? h.name + ';' : h.name + ": " + h.value);
  append(headers, "Expect:");  // no round trip before the body
  append(headers, "Accept:");
  std::array<char, CURL_ERROR_SIZE> message{};
  Exchange exchange{request, deadline, impl_->stopped, impl_->options.upload_rate.get(), handle.get()};
  prepare(exchange, impl_->share, impl_->options, headers, message.data());

  const CURLcode code = curl_easy_perform(handle.get());

  long status = 0;
  long connects = 0;
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(handle.get(), CURLINFO_NUM_CONNECTS, &connects);
  impl_->give_back(std::move(handle));
  impl_->connections_opened += static_cast<uint64_t>(connects);
  impl_->bytes_sent += exchange.body_bytes_sent;
  impl_->bytes_received += exchange.response.sink_bytes + exchange.response.body.size();

  if (code == CURLE_OK) {
    exchange.response.status = static_cast<int>(status);
    exchange.response.resent = exchange.sendings > 1;
    return std::move(exchange.response);
  }
  ++impl_->failures;
  HttpError error{kind_of(code), message[0] != '\0' ? message.data() : curl_easy_strerror(code),
                  exchange.sendings > 0};
  if (impl_->stopped) {
    error.kind = HttpErrorKind::kStopped;
  } else if (deadline.left() <= (code == CURLE_OPERATION_TIMEDOUT ? kTimerSlack : Duration::zero())) {
    error.kind = HttpErrorKind::kTimedOut;
  } else if (code == CURLE_OPERATION_TIMEDOUT) {
    error.kind = HttpErrorKind::kStalled;
  } else if (exchange.too_long) {
    error.kind = HttpErrorKind::kBadResponse;
    error.message = "the response body is longer than asked for";
  }
  return std::unexpected(std::move(error));
}

void HttpClient::stop() {
  {
    std::scoped_lock lock(impl_->mutex);
    impl_->stopped = true;
  }
  impl_->returned.notify_all();
  impl_->stopping.notify_all();
}

bool HttpClient::stopped() const { return impl_->stopped; }

bool HttpClient::sleep(Duration duration) {
  std::unique_lock lock(impl_->mutex);
  return !impl_->stopping.wait_for(lock, duration, [&] { return impl_->stopped.load(); });
}

HttpCounters HttpClient::counters() const {
  return {impl_->exchanges, impl_->failures, impl_->connections_opened, impl_->bytes_sent, impl_->bytes_received};
}

}  // namespace weir::net
