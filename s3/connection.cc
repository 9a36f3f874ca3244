#include "s3/connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/beast/http.hpp>
#include <cstring>

#include "base/log.h"
#include "base/no_wait.h"
#include "net/encoding.h"
#include "s3/head.h"
#include "s3/pending.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using boost::system::error_code;
using State = Transport::State;
using More = Transport::More;
template <typename T>
using Task = asio::awaitable<T>;

constexpr size_t kReadBytes = 16 << 10;             // into input_, at a time
constexpr uint64_t kVerifiedBytes = 64 << 10;       // at the end of a content, not sent before all of it is known to be whole
constexpr uint64_t kSmallContentBytes = 64 << 10;   // copied behind the head, and sent with it
constexpr uint64_t kDiscardBytesMax = 256 << 10;    // of a body that nobody wanted; beyond, the connection is closed instead
constexpr uint64_t kLingerBytesMax = 16 << 20;
constexpr Duration kLingerTime = std::chrono::seconds(5);
constexpr Duration kBodyGrace = std::chrono::minutes(1);

std::span<std::byte> bytes_of(std::string& text, size_t from) {
  return std::as_writable_bytes(std::span(text.data() + from, text.size() - from));
}

std::string_view reason_of(int status) {
  const auto text = http::obsolete_reason(http::int_to_status(static_cast<unsigned>(status)));
  return {text.data(), text.size()};
}

int64_t count_of(TimePoint time) { return time.time_since_epoch().count(); }

// The text of the Date header, made once a second by each thread.
const std::string& date_now(const Clock& clock) {
  thread_local int64_t made_for = 0;
  thread_local std::string text;
  const WallTime now = clock.wall_now();
  const int64_t second = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch().count();
  if (second != made_for || text.empty()) {
    text = net::http_date(now);
    made_for = second;
  }
  return text;
}

}  // namespace

BlockPool::Block BlockPool::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      Block block = std::move(free_.back());
      free_.pop_back();
      return block;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(kBlockBytes);
}

void BlockPool::give_back(Block block) {
  const std::lock_guard lock(mutex_);
  if (free_.size() < kKeptMax) free_.push_back(std::move(block));
}

namespace {

// A block, taken when it is first needed.
class Lease {
 public:
  explicit Lease(BlockPool& pool) : pool_(pool) {}
  ~Lease() {
    if (block_) pool_.give_back(std::move(block_));
  }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  std::span<std::byte> bytes() {
    if (!block_) block_ = pool_.take();
    return {block_.get(), BlockPool::kBlockBytes};
  }

 private:
  BlockPool& pool_;
  BlockPool::Block block_;
};

}  // namespace

// One request and what becomes of it.
struct Connection::Exchange {
  Request request{};
  TimePoint start{};
  WallTime arrival{};
  Operation operation = Operation::kUnknown;
  Identity identity{};
  std::optional<Refusal> malformed{};   // the head itself
  bool keep_alive = false;
  bool expects_continue = false;        // and was not told yet
  bool body_open = false;               // there may be more of the body on the wire
  uint64_t body_left = 0;               // as far as known
  bool broken = false;                  // the client is gone: there is nobody to answer
  bool head_sent = false;               // of a long operation
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
};

Connection::Connection(Front& front, Socket socket, std::unique_ptr<Transport> transport, std::string client)
    : front_(front),
      socket_(std::move(socket)),
      transport_(std::move(transport)),
      client_(std::move(client)),
      deadline_(count_of(TimePoint::max())) {}

Connection::~Connection() = default;

void Connection::cut_off() {
  cut_off_ = true;
  // The descriptor stays open until the coroutine has seen it.
  ::shutdown(socket_.native_handle(), SHUT_RDWR);
}

Task<void> Connection::run() {
  const bool greeted = co_await handshake();
  bool again = greeted;
  while (again) again = co_await serve_one();
}

Task<bool> Connection::handshake() {
  for (;;) {
    const State state = transport_->handshake().state;
    if (state == State::kMoved) co_return true;
    if (state == State::kEnd) co_return false;
    const bool ready = co_await wait(state, front_.options.head_timeout);
    if (!ready) co_return false;
  }
}

Task<bool> Connection::wait(State wanted, Duration patience) {
  if (cut_off_) co_return false;
  deadline_.store(count_of(front_.clock.now() + patience), std::memory_order_relaxed);
  error_code code;
  const auto what = wanted == State::kWantRead ? Socket::wait_read : Socket::wait_write;
  co_await socket_.async_wait(what, asio::redirect_error(asio::use_awaitable, code));
  deadline_.store(count_of(TimePoint::max()), std::memory_order_relaxed);
  co_return !code && !cut_off_;
}

Task<size_t> Connection::read_some(std::span<std::byte> buffer, Duration patience) {
  for (;;) {
    const Transport::Step step = transport_->read(buffer);
    if (step.state == State::kMoved) co_return step.bytes;
    if (step.state == State::kEnd) co_return 0;
    const bool ready = co_await wait(step.state, patience);
    if (!ready) co_return 0;
  }
}

Task<bool> Connection::write_all(std::span<const std::byte> bytes, More more) {
  while (!bytes.empty()) {
    const Transport::Step step = transport_->write(bytes, more);
    if (step.state == State::kMoved) {
      bytes = bytes.subspan(step.bytes);
      continue;
    }
    if (step.state == State::kEnd) co_return false;
    const bool ready = co_await wait(step.state, front_.options.stall_timeout);
    if (!ready) co_return false;
  }
  co_return true;
}

template <typename T>
Task<Reply<T>> Connection::perform(const std::function<Reply<T>()>& work) {
  {
    const NoWait no_wait;
    Reply<T> reply = work();
    if (reply || reply.error().code != Code::kWouldWait) co_return reply;
  }
  front_.statistics.record_moved();
  const auto pending = std::make_shared<Pending<Reply<T>>>(front_.io);
  front_.waiting.post([pending, &work] { pending->set(work()); });
  while (!pending->ready()) co_await pending->wait_for(Duration::max());
  co_return pending->take();
}

// --- a request

Task<bool> Connection::serve_one() {
  Exchange exchange;
  const bool whole = co_await read_head(exchange);
  if (!whole) co_return false;
  Reply<Answer> reply = refuse(Code::kInternalError);
  if (exchange.malformed) {
    reply = refuse(*exchange.malformed);
  } else {
    reply = co_await answer(exchange);
  }
  if (exchange.broken) {
    record(exchange, reply);
    co_return false;
  }
  if (front_.stopping) exchange.keep_alive = false;
  // A client that waits for leave to send its body never sends it now; it must not be read as the next request.
  if (exchange.expects_continue || (exchange.body_open && exchange.body_left > kDiscardBytesMax)) exchange.keep_alive = false;
  const bool sent = co_await send(exchange, reply);
  record(exchange, reply);
  if (!sent) co_return false;
  if (exchange.keep_alive && exchange.body_open) exchange.keep_alive = co_await discard_rest(exchange);
  if (!exchange.keep_alive) co_await linger();
  co_return exchange.keep_alive;
}

Task<bool> Connection::read_head(Exchange& exchange) {
  input_.erase(0, std::exchange(input_used_, 0));
  if (input_.empty()) {
    if (front_.stopping) co_return false;
    // A connection that waits for its next request keeps nothing.
    input_ = std::string();
    idle_since_.store(count_of(front_.clock.now()), std::memory_order_relaxed);
    idle_.store(true, std::memory_order_relaxed);
    const bool ready = co_await wait(State::kWantRead, front_.options.idle_timeout);
    idle_.store(false, std::memory_order_relaxed);
    if (!ready) co_return false;
  }
  const TimePoint begin = front_.clock.now();
  HeadParser parser;
  for (;;) {
    if (input_.size() > input_used_) {
      const auto taken = parser.feed(std::string_view(input_).substr(input_used_));
      if (taken) {
        input_used_ += *taken;
      } else {
        exchange.malformed = taken.error();
      }
      if (!taken || parser.done()) break;
    }
    const Duration left = front_.options.head_timeout - (front_.clock.now() - begin);
    if (left <= Duration::zero()) co_return false;
    const size_t old_size = input_.size();
    input_.resize(old_size + kReadBytes);
    const size_t bytes = co_await read_some(bytes_of(input_, old_size), left);
    input_.resize(old_size + bytes);
    if (bytes == 0) co_return false;
  }
  exchange.start = front_.clock.now();
  exchange.arrival = front_.clock.wall_now();
  const uint64_t number = front_.first_request + front_.last_request.fetch_add(1, std::memory_order_relaxed);
  char id[17];
  std::snprintf(id, sizeof id, "%016llX", static_cast<unsigned long long>(number));
  exchange.request.id = id;
  exchange.request.client = client_;
  if (exchange.malformed) co_return true;
  auto filled = parser.fill(exchange.request, front_.options.front.domains);
  if (!filled) exchange.malformed = std::move(filled).error();
  exchange.keep_alive = parser.keep_alive();
  exchange.expects_continue = net::same_name(exchange.request.header("expect"), "100-continue");
  exchange.body_left = parse_number(exchange.request.header("content-length")).value_or(0);
  exchange.body_open = exchange.body_left != 0 || !exchange.request.header("transfer-encoding").empty();
  if (!exchange.request.header("transfer-encoding").empty()) exchange.body_left = std::numeric_limits<uint64_t>::max();
  co_return true;
}

Task<Reply<Answer>> Connection::answer(Exchange& exchange) {
  const Request& request = exchange.request;
  const auto route = find_route(request);
  // A form is signed in its fields, which are in its body.
  if (!route || (*route)->operation != Operation::kPostObject) {
    auto identity = front_.authorization.identify(request);
    if (!identity) co_return refuse(std::move(identity).error());
    exchange.identity = *std::move(identity);
  }
  if (!route) co_return refuse(route.error());
  exchange.operation = (*route)->operation;
  if (request.key.size() > volume::kObjectKeyBytesMax) {
    co_return refuse(Refusal(Code::kKeyTooLong)
                         .with("Size", std::to_string(request.key.size()))
                         .with("MaxSizeAllowed", std::to_string(volume::kObjectKeyBytesMax)));
  }
  const bool of_object = exchange.operation == Operation::kCompleteMultipartUpload;
  auto promise = payload_promise(request, of_object ? ChecksumOf::kObject : ChecksumOf::kBody);
  if (!promise) co_return refuse(std::move(promise).error());
  Call call{.request = request,
            .identity = exchange.identity,
            .authorization = front_.authorization,
            .promise = *promise,
            .objects = front_.objects,
            .options = front_.options.front,
            .clock = front_.clock,
            .body = {}};
  Reply<Answer> reply = refuse(Code::kInternalError);
  if (const auto* taking = std::get_if<Route::Taking>(&(*route)->answer)) {
    reply = co_await answer_taking(exchange, *taking, call);
  } else {
    reply = co_await answer_plain(exchange, **route, call);
  }
  co_return reply;
}

Task<Reply<Answer>> Connection::answer_plain(Exchange& exchange, const Route& route, Call& call) {
  std::string document;
  if (route.body == Route::Body::kDocument) {
    auto read = co_await read_document(exchange, call);
    if (!read) co_return refuse(std::move(read).error());
    document = *std::move(read);
    call.body = document;
  }
  const Route::Plain plain = std::get<Route::Plain>(route.answer);
  Reply<Answer> reply = refuse(Code::kInternalError);
  if (route.takes == Route::Takes::kLong) {
    reply = co_await answer_long(exchange, plain, call);
  } else {
    const std::function<Reply<Answer>()> work = [plain, &call] { return plain(call); };
    reply = co_await perform(work);
  }
  co_return reply;
}

Task<Reply<Answer>> Connection::answer_long(Exchange& exchange, Route::Plain plain, Call& call) {
  const auto pending = std::make_shared<Pending<Reply<Answer>>>(front_.io);
  front_.waiting.post([pending, plain, &call] { pending->set(plain(call)); });
  bool client_there = true;
  co_await pending->wait_for(front_.options.answer_begins);
  while (!pending->ready()) {
    // Signs of life, which XML lets stand before the root element. The operation goes on for a client that is gone, too.
    std::string sign = "1\r\n \r\n";
    if (!exchange.head_sent) {
      const net::Headers headers{{"Content-Type", "application/xml"}, {"Transfer-Encoding", "chunked"}};
      const std::string declaration(kXmlDeclaration);
      char size[16];
      std::snprintf(size, sizeof size, "%zx\r\n", declaration.size());
      sign = head_text(exchange, 200, headers, std::nullopt) + size + declaration + "\r\n";
      exchange.head_sent = true;
    }
    if (client_there) client_there = co_await write_all(std::as_bytes(std::span(sign)), More::kNo);
    co_await pending->wait_for(front_.options.answer_begins);
  }
  exchange.broken = !client_there;
  co_return pending->take();
}

Task<Reply<Answer>> Connection::answer_taking(Exchange& exchange, Route::Taking begin, Call& call) {
  const PayloadPromise& promise = call.promise;
  if (!promise.wire_bytes && !promise.http_chunks) co_return refuse(Code::kMissingContentLength);
  if (promise.content_bytes.value_or(0) > kContentBytesMax) {
    co_return refuse(Refusal(Code::kEntityTooLarge)
                         .with("ProposedSize", std::to_string(*promise.content_bytes))
                         .with("MaxSizeAllowed", std::to_string(kContentBytesMax)));
  }
  const std::function<Reply<std::unique_ptr<Intake>>()> start = [begin, &call] { return begin(call); };
  auto begun = co_await perform(start);
  if (!begun) co_return refuse(std::move(begun).error());
  const std::unique_ptr<Intake> intake = *std::move(begun);
  Payload payload(promise, exchange.identity, Payload::WithMd5::kYes, intake->kept_checksum());
  const Sink sink = [&intake](std::span<const std::byte> content) { return intake->write(content); };
  auto read = co_await read_payload(exchange, payload, sink);
  if (!read) co_return refuse(std::move(read).error());
  const auto facts = payload.finish();
  if (!facts) co_return refuse(facts.error());
  const std::function<Reply<Answer>()> finish = [&intake, &facts] { return intake->finish(*facts); };
  Reply<Answer> reply = co_await perform(finish);
  co_return reply;
}

Task<Reply<std::string>> Connection::read_document(Exchange& exchange, const Call& call) {
  std::string document;
  Payload payload(call.promise, exchange.identity, Payload::WithMd5::kNo, std::nullopt);
  const Sink sink = [&document](std::span<const std::byte> content) -> Reply<void> {
    if (document.size() + content.size() > kDocumentBytesMax)
      return refuse(Code::kEntityTooLarge, "The document is over " + std::to_string(kDocumentBytesMax) + " bytes");
    document.append(reinterpret_cast<const char*>(content.data()), content.size());
    return {};
  };
  auto read = co_await read_payload(exchange, payload, sink);
  if (!read) co_return refuse(std::move(read).error());
  const auto facts = payload.finish();
  if (!facts) co_return refuse(facts.error());
  co_return document;
}

Task<Reply<void>> Connection::hand_over(const Sink& sink, std::span<const std::byte> content) {
  if (content.empty()) co_return Reply<void>();
  const std::function<Reply<void>()> work = [&sink, content] { return sink(content); };
  Reply<void> taken = co_await perform(work);
  co_return taken;
}

Task<Reply<void>> Connection::read_payload(Exchange& exchange, Payload& payload, const Sink& sink) {
  const TimePoint begin = front_.clock.now();
  Lease lease(front_.blocks);
  // As S3 does also where the body is empty: botocore takes a final answer without it for one that ends the connection.
  if (exchange.expects_continue) {
    exchange.expects_continue = false;
    constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    const bool told = co_await write_all(std::as_bytes(std::span(kContinue)), More::kNo);
    if (!told) {
      exchange.broken = true;
      co_return refuse(Code::kIncompleteBody, "The client is gone");
    }
  }
  while (!payload.complete()) {
    std::span<std::byte> wire;
    const bool from_input = input_.size() > input_used_;
    if (from_input) {
      wire = bytes_of(input_, input_used_);
    } else {
      // Chunks end where they end: what lies behind them belongs into input_, which is short.
      const uint64_t left = payload.wire_left();
      const std::span<std::byte> block = lease.bytes();
      const size_t limit = left == 0 ? kReadBytes : static_cast<size_t>(std::min<uint64_t>(left, block.size()));
      size_t filled = co_await read_some(block.first(limit), front_.options.stall_timeout);
      if (filled == 0) {
        exchange.broken = true;
        co_return refuse(Code::kIncompleteBody, "The client is gone, or sent nothing for too long");
      }
      while (filled < limit && left != 0) {
        const Transport::Step more = transport_->read(block.subspan(filled, limit - filled));
        if (more.state != State::kMoved) break;
        filled += more.bytes;
      }
      wire = block.first(filled);
    }
    const auto step = payload.take(wire);
    if (!step) co_return refuse(step.error());
    exchange.bytes_in += step->consumed;
    if (from_input) {
      input_used_ += step->consumed;
    } else if (step->consumed < wire.size()) {
      input_.append(reinterpret_cast<const char*>(wire.data()) + step->consumed, wire.size() - step->consumed);
    }
    if (exchange.body_left != std::numeric_limits<uint64_t>::max()) exchange.body_left -= std::min<uint64_t>(step->consumed, exchange.body_left);
    if (payload.complete()) exchange.body_open = false;
    if (exchange.bytes_in > 2 * kContentBytesMax) co_return refuse(Code::kEntityTooLarge);
    auto taken = co_await hand_over(sink, wire.first(step->content));
    if (!taken) co_return refuse(std::move(taken).error());
    // Byte by byte for ever is no way to use a connection.
    const Duration took = front_.clock.now() - begin;
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(took).count();
    if (took > kBodyGrace && exchange.bytes_in / static_cast<uint64_t>(seconds) < front_.options.body_bytes_per_second_min)
      co_return refuse(Code::kRequestTimeout);
  }
  if (payload.promise().empty()) exchange.body_open = false;
  co_return Reply<void>();
}

// --- an answer

std::string Connection::head_text(const Exchange& exchange, int status, const net::Headers& headers,
                                  std::optional<uint64_t> length) const {
  std::string text;
  text.reserve(512);
  text += "HTTP/1.1 ";
  text += std::to_string(status);
  text += ' ';
  text += reason_of(status);
  text += "\r\nServer: Weir\r\nDate: ";
  text += date_now(front_.clock);
  text += "\r\nx-amz-request-id: ";
  text += exchange.request.id;
  text += "\r\nx-amz-id-2: weir/";
  text += exchange.request.id;
  text += "\r\n";
  for (const net::Header& header : headers) {
    text += header.name;
    text += ": ";
    text += header.value;
    text += "\r\n";
  }
  if (length) {
    text += "Content-Length: ";
    text += std::to_string(*length);
    text += "\r\n";
  }
  if (!exchange.keep_alive) text += "Connection: close\r\n";
  text += "\r\n";
  return text;
}

Task<bool> Connection::send(Exchange& exchange, Reply<Answer>& reply) {
  if (exchange.head_sent) {
    const bool ended = co_await send_rest_of_long(exchange, reply);
    co_return ended;
  }
  const bool head_only = exchange.request.method == net::Method::kHead;
  if (!reply) {
    const Refusal& refusal = reply.error();
    net::Headers headers = refusal.headers;
    const std::string body = error_xml(refusal, exchange.request.raw_path, exchange.request.id);
    if (!head_only) headers.push_back({"Content-Type", "application/xml"});
    if (refusal.code == Code::kSlowDown || refusal.code == Code::kServiceUnavailable) headers.push_back({"Retry-After", "1"});
    std::string text = head_text(exchange, status_of(refusal.code), headers, head_only ? 0 : body.size());
    if (!head_only) text += body;
    exchange.bytes_out = head_only ? 0 : body.size();
    const bool written = co_await write_all(std::as_bytes(std::span(text)), More::kNo);
    co_return written;
  }
  Answer& answer = *reply;
  const bool no_body = answer.status == 204 || answer.status == 304;
  const uint64_t length = answer.content_length.value_or(answer.content != nullptr ? answer.size : answer.body.size());
  std::string text = head_text(exchange, answer.status, answer.headers, no_body ? std::nullopt : std::optional(length));
  if (head_only || no_body) {
    const bool written = co_await write_all(std::as_bytes(std::span(text)), More::kNo);
    co_return written;
  }
  if (answer.content != nullptr && answer.size != 0) {
    const bool written = co_await send_content(exchange, answer, text);
    co_return written;
  }
  text += answer.body;
  exchange.bytes_out = answer.body.size();
  const bool written = co_await write_all(std::as_bytes(std::span(text)), More::kNo);
  co_return written;
}

Task<bool> Connection::send_content(Exchange& exchange, Answer& answer, std::string& head) {
  volume::ObjectReader& reader = *answer.content;
  const uint64_t end = answer.offset + answer.size;
  uint64_t at = answer.offset;
  const auto read = [&](std::span<std::byte> buffer) -> Reply<size_t> {
    TRY_ASSIGN(const size_t bytes, reader.read(at, buffer));
    if (bytes == 0) return refuse(Refusal(Error(ErrorCode::kIo, "the object ended early")));
    return bytes;
  };
  const auto failed = [&](const Refusal& refusal) {
    // The client sees a body that is shorter than promised: the only way to say no by now.
    log_warn("s3.content_failed", {{"request", exchange.request.id},
                                   {"bucket", exchange.request.bucket},
                                   {"key", exchange.request.key},
                                   {"error", refusal.cause.empty() ? refusal.message : refusal.cause}});
  };
  if (answer.size <= kSmallContentBytes) {
    size_t size = head.size();
    head.resize(size + answer.size);
    while (at < end) {
      const std::function<Reply<size_t>()> work = [&] { return read(bytes_of(head, size)); };
      const auto bytes = co_await perform(work);
      if (!bytes) {
        failed(bytes.error());
        co_return false;
      }
      at += *bytes;
      size += *bytes;
    }
    if (const auto whole = reader.verify(); !whole) {
      failed(Refusal(whole.error()));
      co_return false;
    }
    exchange.bytes_out = answer.size;
    const bool written = co_await write_all(std::as_bytes(std::span(head)), More::kNo);
    co_return written;
  }
  bool written = co_await write_all(std::as_bytes(std::span(head)), More::kYes);
  if (!written) co_return false;
  if (const io::File* file = reader.local_file(); file != nullptr && transport_->sends_files()) {
    // The last bytes go out when it is known that all is of one state, or not at all.
    const uint64_t sent_directly = end - std::min<uint64_t>(answer.size, kVerifiedBytes);
    while (at < sent_directly) {
      const auto step = transport_->send_file(*file, at, sent_directly - at);
      if (!step) {
        failed(Refusal(step.error()));
        co_return false;
      }
      if (step->state == State::kMoved) {
        at += step->bytes;
        exchange.bytes_out += step->bytes;
        continue;
      }
      if (step->state == State::kEnd) co_return false;
      const bool ready = co_await wait(step->state, front_.options.stall_timeout);
      if (!ready) co_return false;
    }
  }
  Lease lease(front_.blocks);
  while (at < end) {
    const std::span<std::byte> block = lease.bytes().first(static_cast<size_t>(std::min<uint64_t>(BlockPool::kBlockBytes, end - at)));
    const std::function<Reply<size_t>()> work = [&] { return read(block); };
    const auto bytes = co_await perform(work);
    if (!bytes) {
      failed(bytes.error());
      co_return false;
    }
    if (at + *bytes == end) {
      if (const auto whole = reader.verify(); !whole) {
        failed(Refusal(whole.error()));
        co_return false;
      }
    }
    written = co_await write_all(block.first(*bytes), More::kNo);
    if (!written) co_return false;
    at += *bytes;
    exchange.bytes_out += *bytes;
  }
  co_return true;
}

Task<bool> Connection::send_rest_of_long(Exchange& exchange, const Reply<Answer>& reply) {
  std::string_view body;
  std::string document;
  if (reply) {
    body = reply->body;
  } else {
    document = error_xml(reply.error(), exchange.request.raw_path, exchange.request.id);
    body = document;
  }
  // The declaration went out with the head.
  if (body.starts_with(kXmlDeclaration)) body.remove_prefix(kXmlDeclaration.size());
  char size[16];
  std::snprintf(size, sizeof size, "%zx\r\n", body.size());
  std::string text = size;
  text += body;
  text += "\r\n0\r\n\r\n";
  exchange.bytes_out = body.size();
  const bool written = co_await write_all(std::as_bytes(std::span(text)), More::kNo);
  co_return written;
}

// Reads what nobody wanted of the body, so that the next request starts where it should. False: there is no telling where.
Task<bool> Connection::discard_rest(const Exchange& exchange) {
  uint64_t left = exchange.body_left;
  const size_t there = static_cast<size_t>(std::min<uint64_t>(left, input_.size() - input_used_));
  input_used_ += there;
  left -= there;
  Lease lease(front_.blocks);
  while (left != 0) {
    const std::span<std::byte> block = lease.bytes();
    const size_t bytes = co_await read_some(block.first(static_cast<size_t>(std::min<uint64_t>(left, block.size()))), front_.options.stall_timeout);
    if (bytes == 0) co_return false;
    left -= bytes;
  }
  co_return true;
}

// Closing at once would make the client's kernel throw the answer away when the client is still sending.
Task<void> Connection::linger() {
  transport_->finish();
  const TimePoint end = front_.clock.now() + kLingerTime;
  Lease lease(front_.blocks);
  for (uint64_t read = 0; read < kLingerBytesMax;) {
    const Duration left = end - front_.clock.now();
    if (left <= Duration::zero()) co_return;
    const size_t bytes = co_await read_some(lease.bytes(), left);
    if (bytes == 0) co_return;
    read += bytes;
  }
}

void Connection::record(const Exchange& exchange, const Reply<Answer>& reply) {
  const Duration took = front_.clock.now() - exchange.start;
  const int status = reply ? reply->status : status_of(reply.error().code);
  front_.statistics.record(exchange.operation, status, took, exchange.bytes_in, exchange.bytes_out);
  front_.access_log.add({.time = exchange.arrival,
                         .client = client_,
                         .request_id = exchange.request.id,
                         .key_id = exchange.identity.key_id(),
                         .operation = name_of(exchange.operation),
                         .bucket = exchange.request.bucket,
                         .key = exchange.request.key,
                         .status = status,
                         .code = reply ? std::string_view() : name_of(reply.error().code),
                         .bytes_in = exchange.bytes_in,
                         .bytes_out = exchange.bytes_out,
                         .took = took});
  if (!reply && status_of(reply.error().code) >= 500 && reply.error().code != Code::kSlowDown && reply.error().code != Code::kNotImplemented) {
    log_warn("s3.failed", {{"request", exchange.request.id},
                           {"operation", name_of(exchange.operation)},
                           {"bucket", exchange.request.bucket},
                           {"key", exchange.request.key},
                           {"error", reply.error().cause.empty() ? reply.error().message : reply.error().cause}});
  }
}

}  // namespace weir::s3
