#include "net/http_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <boost/beast.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <unordered_set>
#include <vector>

#include "net/encoding.h"

namespace weir::net {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;
using AnySocket = asio::generic::stream_protocol::socket;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;

constexpr uint64_t kDrainBytesMax = 1 << 20;  // of a body the handler left; beyond, the connection is closed instead
constexpr int kBacklog = 128;

Error transfer_error(error_code code) {
  if (code == beast::error::timeout) return Error(ErrorCode::kTimedOut, "the client does not move");
  if (code == http::error::body_limit) return Error(ErrorCode::kTooLarge, "the request body is over the limit");
  return Error(ErrorCode::kUnavailable, "the connection broke: " + code.message());
}

Error listen_error(error_code code, const std::string& where) {
  const auto kind = code == asio::error::address_in_use      ? ErrorCode::kBusy
                    : code == asio::error::access_denied     ? ErrorCode::kPermission
                    : code == asio::error::invalid_argument ? ErrorCode::kInvalid
                                                             : ErrorCode::kIo;
  return Error(kind, "cannot listen on " + where + ": " + code.message());
}

std::optional<Method> method_of(http::verb verb) {
  switch (verb) {
    case http::verb::get: return Method::kGet;
    case http::verb::head: return Method::kHead;
    case http::verb::put: return Method::kPut;
    case http::verb::post: return Method::kPost;
    case http::verb::delete_: return Method::kDelete;
    default: return std::nullopt;
  }
}

Query parse_query(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const std::string_view pair = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), pair.size() + 1));
    if (pair.empty()) continue;
    const size_t equals = pair.find('=');
    query.push_back({form_decode(pair.substr(0, equals)),
                     equals == std::string_view::npos ? "" : form_decode(pair.substr(equals + 1))});
  }
  return query;
}

// Beast's string_view is Boost's.
template <typename View>
std::string_view view(const View& text) {
  return {text.data(), text.size()};
}

// The threads that handlers run on. Its queue is bounded by the connections: each has one request at most.
class HandlerPool {
 public:
  explicit HandlerPool(uint32_t threads) : pool_(threads) {}
  ~HandlerPool() { pool_.join(); }
  template <typename Job>
  void post(Job job) {
    asio::post(pool_, std::move(job));
  }
  void join() { pool_.join(); }

 private:
  asio::thread_pool pool_;
};

class Session;

// What sessions share. Sessions live in `live` until they close; io thread only, but for the counters.
struct Shared {
  HttpServerOptions options;
  Handler handler;
  HandlerPool pool;
  std::unordered_set<std::shared_ptr<Session>> live;
  bool stopping = false;
  std::function<void()> on_closed;  // a place is free

  Shared(const HttpServerOptions& options, Handler handler)
      : options(options), handler(std::move(handler)), pool(options.threads) {}
};

// One connection. Its stream is touched on the io thread only; a handler's thread posts an operation there and waits
// for it, while no other operation is under way.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(AnySocket socket, Shared& shared) : shared_(shared), stream_(std::move(socket)) {}

  void read_request() {
    idle_ = true;
    parser_.emplace();
    parser_->header_limit(shared_.options.header_bytes_max);
    parser_->body_limit(shared_.options.body_bytes_max);
    body_started_ = false;
    stream_.expires_after(shared_.options.idle_timeout);
    http::async_read_header(stream_, buffer_, *parser_,
                            [self = shared_from_this()](error_code code, size_t) { self->on_header(code); });
  }

  bool idle() const { return idle_; }

  void close() {
    stream_.close();
    if (shared_.live.erase(shared_from_this()) > 0) shared_.on_closed();
  }

 private:
  using Parser = http::request_parser<http::buffer_body>;

  class Body;
  class Writer;

  void on_header(error_code code) {
    if (code == http::error::end_of_stream || shared_.stopping) return close();
    const bool malformed = code.category() == http::make_error_code(http::error::bad_method).category();
    if (code && !malformed) return close();
    idle_ = false;
    shared_.pool.post([self = shared_from_this(), code] { self->handle(code); });
  }

  // --- below: on a thread of the pool

  template <typename Initiate>
  error_code await(Initiate initiate) {
    // Shared: the waiter may be gone before set_value() returns.
    const auto done = std::make_shared<std::promise<error_code>>();
    std::future<error_code> outcome = done->get_future();
    asio::post(stream_.get_executor(), [&, done] {
      stream_.expires_after(shared_.options.io_timeout);
      initiate([done](error_code code, size_t) { done->set_value(code); });
    });
    return outcome.get();
  }

  void handle(error_code header_error);
  ServerResponse call_handler(error_code header_error, RequestBody& body);
  error_code send(ServerResponse& response, bool keep_alive);
  error_code send_stream(ServerResponse& response, http::response<http::buffer_body>& message);
  bool drain();

  Shared& shared_;
  Stream stream_;
  beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  bool body_started_ = false;
  bool idle_ = true;
};

class Session::Body final : public RequestBody {
 public:
  explicit Body(Session& session) : session_(session) {}

  Result<size_t> read(std::span<std::byte> buffer) override {
    Parser& parser = *session_.parser_;
    if (parser.is_done() || buffer.empty()) return 0;
    TRY(announce_wish());
    auto& body = parser.get().body();
    body.data = buffer.data();
    body.size = buffer.size();
    // read_some may consume framing only; then it is asked again.
    while (body.size == buffer.size() && !parser.is_done()) {
      const error_code code = session_.await([&](auto done) {
        http::async_read_some(session_.stream_, session_.buffer_, parser, std::move(done));
      });
      if (code && code != http::error::need_buffer) return fail(transfer_error(code));
    }
    return buffer.size() - body.size;
  }

 private:
  // A client that sent "Expect: 100-continue" waits for leave before it sends the body.
  Result<void> announce_wish() {
    if (std::exchange(session_.body_started_, true)) return {};
    if (!beast::iequals(session_.parser_->get()[http::field::expect], "100-continue")) return {};
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const error_code code = session_.await([&](auto done) {
      asio::async_write(session_.stream_, asio::buffer(kContinue.data(), kContinue.size()), std::move(done));
    });
    if (code) return fail(transfer_error(code));
    return {};
  }

  Session& session_;
};

class Session::Writer final : public ResponseBody {
 public:
  using Serializer = http::response_serializer<http::buffer_body>;
  Writer(Session& session, http::response<http::buffer_body>& message, Serializer& serializer)
      : session_(session), message_(message), serializer_(serializer) {}

  Result<void> write(std::span<const std::byte> bytes) override {
    if (bytes.empty()) return {};
    written_ += bytes.size();
    message_.body().data = const_cast<std::byte*>(bytes.data());  // buffer_body serves readers and writers
    message_.body().size = bytes.size();
    message_.body().more = true;
    const error_code code = flush();
    if (code) return fail(transfer_error(code));
    return {};
  }

  error_code finish() {
    message_.body() = {nullptr, 0, false};
    return flush();
  }

  uint64_t written() const { return written_; }

 private:
  error_code flush() {
    const error_code code =
        session_.await([&](auto done) { http::async_write(session_.stream_, serializer_, std::move(done)); });
    return code == http::error::need_buffer ? error_code{} : code;
  }

  Session& session_;
  http::response<http::buffer_body>& message_;
  Serializer& serializer_;
  uint64_t written_ = 0;
};

ServerResponse Session::call_handler(error_code header_error, RequestBody& body) {
  if (header_error == http::error::header_limit) return {.status = 431, .body = "the request's header is too long\n"};
  if (header_error == http::error::body_limit) return {.status = 413, .body = "the request's body is too long\n"};
  if (header_error) return {.status = 400, .body = "not HTTP: " + header_error.message() + "\n"};
  const auto& message = parser_->get();
  const auto method = method_of(message.method());
  if (!method) return {.status = 405, .body = "no such method here\n"};
  const std::string_view target = view(message.target());
  const size_t mark = target.find('?');
  ServerRequest request{.method = *method,
                        .path = uri_decode(target.substr(0, mark)),
                        .query = mark == std::string_view::npos ? Query{} : parse_query(target.substr(mark + 1)),
                        .headers = {},
                        .body = body};
  for (const auto& field : message)
    request.headers.push_back({std::string(view(field.name_string())), std::string(view(field.value()))});
  return shared_.handler(request);
}

void Session::handle(error_code header_error) {
  Body body(*this);
  ServerResponse response = call_handler(header_error, body);
  // A client that waits for leave to send its body never sends it now; it must not be read as the next request.
  const bool keep_alive = !header_error && parser_->get().keep_alive() && drain();
  const bool sent = !send(response, keep_alive);
  asio::post(stream_.get_executor(), [self = shared_from_this(), again = sent && keep_alive] {
    if (again && !self->shared_.stopping) {
      self->read_request();
    } else {
      self->close();
    }
  });
}

// Reads what the handler left of the body, so that the next request starts where it should. False: too much.
bool Session::drain() {
  if (parser_->is_done()) return true;
  if (!body_started_ && parser_->get().count(http::field::expect) > 0) return false;
  Body body(*this);
  std::byte waste[16 << 10];
  for (uint64_t drained = 0; drained < kDrainBytesMax;) {
    const auto bytes = body.read(waste);
    if (!bytes) return false;
    if (*bytes == 0) return true;
    drained += *bytes;
  }
  return false;
}

error_code Session::send(ServerResponse& response, bool keep_alive) {
  http::response<http::buffer_body> message;
  message.result(static_cast<unsigned>(response.status));
  message.keep_alive(keep_alive);
  for (const Header& header : response.headers) message.insert(header.name, header.value);
  if (response.stream) {
    if (response.stream_bytes) {
      message.content_length(*response.stream_bytes);
    } else {
      message.chunked(true);
    }
  } else {
    message.content_length(response.body.size());
  }
  return send_stream(response, message);
}

error_code Session::send_stream(ServerResponse& response, http::response<http::buffer_body>& message) {
  message.body() = {nullptr, 0, true};
  Writer::Serializer serializer(message);
  Writer writer(*this, message, serializer);
  const error_code code =
      await([&](auto done) { http::async_write_header(stream_, serializer, std::move(done)); });
  if (code) return code;
  if (parser_->get().method() == http::verb::head) return {};
  Result<void> produced = response.stream ? response.stream(writer) : writer.write(bytes_of(response.body));
  if (!produced || (response.stream && response.stream_bytes.value_or(writer.written()) != writer.written()))
    return asio::error::operation_aborted;
  return writer.finish();
}

}  // namespace

Result<std::string> RequestBody::read_all(size_t bytes_max) {
  constexpr size_t kStepBytes = 64 << 10;
  std::string all;
  for (;;) {
    const size_t size = all.size();
    all.resize(size + kStepBytes);
    TRY_ASSIGN(const size_t bytes, read(std::as_writable_bytes(std::span(all).subspan(size))));
    all.resize(size + bytes);
    if (bytes == 0) return all;
    if (all.size() > bytes_max)
      return fail(ErrorCode::kTooLarge, "the request body is over " + std::to_string(bytes_max) + " bytes");
  }
}

const std::string* ServerRequest::parameter(std::string_view name) const {
  const auto found = std::ranges::find(query, name, &QueryParameter::name);
  return found == query.end() ? nullptr : &found->value;
}

class HttpServer::Impl {
 public:
  Impl(const HttpServerOptions& options, Handler handler) : shared_(options, std::move(handler)), acceptor_(io_) {
    shared_.on_closed = [this] { on_closed(); };
  }

  Result<void> listen(const TcpAddress& address) {
    error_code code;
    const auto host = asio::ip::make_address(address.host, code);
    const std::string where = address.host + ":" + std::to_string(address.port);
    if (code) return fail(ErrorCode::kInvalid, where + " is not a numeric address and a port");
    const asio::ip::tcp::endpoint endpoint(host, address.port);
    TRY(bind(endpoint, where));
    acceptor_.listen(kBacklog, code);
    if (code) return fail(listen_error(code, where));
    asio::ip::tcp::endpoint bound;
    bound.resize(acceptor_.local_endpoint(code).size());
    std::memcpy(bound.data(), acceptor_.local_endpoint(code).data(), bound.size());
    port_ = bound.port();
    return {};
  }

  Result<void> listen(const UnixAddress& address) {
    if (address.path.size() >= sizeof(sockaddr_un::sun_path)) {
      return fail(ErrorCode::kInvalid, "the socket path " + address.path + " is over " +
                                           std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes");
    }
    const asio::local::stream_protocol::endpoint endpoint(address.path);
    error_code code;
    asio::local::stream_protocol::socket living(io_);
    living.connect(endpoint, code);
    if (!code) return fail(ErrorCode::kBusy, "a server listens on " + address.path + " already");
    ::unlink(address.path.c_str());
    TRY(bind(endpoint, address.path));
    unix_path_ = address.path;
    // Nobody can connect before listen(), so the mode holds from the first connection on.
    if (::chmod(address.path.c_str(), S_IRUSR | S_IWUSR) != 0)
      return fail(ErrorCode::kIo, "cannot set the mode of " + address.path);
    acceptor_.listen(kBacklog, code);
    if (code) return fail(listen_error(code, address.path));
    return {};
  }

  void run() {
    accept();
    thread_ = std::thread([this] { io_.run(); });
  }

  uint16_t port() const { return port_; }

  void stop(Deadline deadline) {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] {
      shared_.stopping = true;
      error_code ignored;
      acceptor_.close(ignored);
      close_sessions([](const Session& session) { return session.idle(); });
      announce_if_empty();
    });
    {
      std::unique_lock lock(mutex_);
      empty_changed_.wait_for(lock, std::min<Duration>(deadline.left(), std::chrono::hours(1)), [&] { return empty_; });
    }
    asio::post(io_, [this] { close_sessions([](const Session&) { return true; }); });
    shared_.pool.join();
    work_.reset();
    asio::post(io_, [this] { close_sessions([](const Session&) { return true; }); });
    thread_.join();
    if (!unix_path_.empty()) ::unlink(unix_path_.c_str());
  }

 private:
  using Acceptor = asio::basic_socket_acceptor<asio::generic::stream_protocol>;

  template <typename Endpoint>
  Result<void> bind(const Endpoint& endpoint, const std::string& where) {
    error_code code;
    acceptor_.open(asio::generic::stream_protocol(endpoint.protocol().family(), 0), code);
    if (!code && endpoint.protocol().family() != AF_UNIX)
      acceptor_.set_option(asio::socket_base::reuse_address(true), code);
    if (!code) acceptor_.bind(asio::generic::stream_protocol::endpoint(endpoint), code);
    if (code) return fail(listen_error(code, where));
    return {};
  }

  void accept() {
    accepting_ = true;
    acceptor_.async_accept([this](error_code code, AnySocket socket) {
      accepting_ = false;
      if (shared_.stopping || code == asio::error::operation_aborted) return;
      if (code) return accept_later();
      // Header and body are written separately; the second must not wait for the first's acknowledgement.
      if (port_ != 0) socket.set_option(asio::ip::tcp::no_delay(true), code);
      auto session = std::make_shared<Session>(std::move(socket), shared_);
      shared_.live.insert(session);
      session->read_request();
      accept_if_room();
    });
  }

  // Out of descriptors, mostly: trying at once would spin.
  void accept_later() {
    retry_.expires_after(std::chrono::milliseconds(100));
    retry_.async_wait([this](error_code code) {
      if (!code) accept_if_room();
    });
  }

  void accept_if_room() {
    if (!shared_.stopping && !accepting_ && shared_.live.size() < shared_.options.connections_max) accept();
  }

  void on_closed() {
    accept_if_room();
    announce_if_empty();
  }

  void announce_if_empty() {
    if (!shared_.stopping || !shared_.live.empty()) return;
    std::lock_guard lock(mutex_);
    empty_ = true;
    empty_changed_.notify_all();
  }

  template <typename Condition>
  void close_sessions(Condition condition) {
    std::vector<std::shared_ptr<Session>> chosen;
    for (const auto& session : shared_.live)
      if (condition(*session)) chosen.push_back(session);
    for (const auto& session : chosen) session->close();
    retry_.cancel();
  }

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_ = asio::make_work_guard(io_);
  Shared shared_;
  Acceptor acceptor_;
  asio::steady_timer retry_{io_};
  bool accepting_ = false;
  uint16_t port_ = 0;
  std::string unix_path_;
  std::thread thread_;

  std::mutex mutex_;  // a leaf
  std::condition_variable empty_changed_;
  bool empty_ = false;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { stop(Deadline::after(Duration::zero())); }

Result<std::unique_ptr<HttpServer>> HttpServer::start(const ServerAddress& address, const HttpServerOptions& options,
                                                      Handler handler) {
  auto impl = std::make_unique<Impl>(options, std::move(handler));
  TRY(std::visit([&](const auto& a) { return impl->listen(a); }, address));
  impl->run();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

uint16_t HttpServer::port() const { return impl_->port(); }
void HttpServer::stop(Deadline deadline) { impl_->stop(deadline); }

}  // namespace weir::net
