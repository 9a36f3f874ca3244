#include "s3/server.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/random.h"
#include "s3/asio.h"
#include "s3/connection.h"

namespace weir::s3 {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using asio::ip::tcp;

constexpr int kBacklog = 1'024;
constexpr Duration kSweepInterval = std::chrono::milliseconds(500);
constexpr Duration kLastOperations = std::chrono::seconds(1);

Error listen_error(error_code code, const std::string& where) {
  const auto kind = code == asio::error::address_in_use    ? ErrorCode::kBusy
                    : code == asio::error::access_denied   ? ErrorCode::kPermission
                    : code == asio::error::address_family_not_supported || code.value() == EADDRNOTAVAIL ? ErrorCode::kInvalid
                                                           : ErrorCode::kIo;
  return Error(kind, "cannot listen on " + where + ": " + code.message());
}

std::string text_of(const tcp::endpoint& endpoint) {
  return endpoint.address().to_string() + ':' + std::to_string(endpoint.port());
}

Result<tcp::acceptor> listen_on(asio::io_context& io, const asio::ip::address& address, uint16_t port) {
  // Closed from another thread than the one that accepts.
  tcp::acceptor acceptor(asio::make_strand(io));
  const tcp::endpoint endpoint(address, port);
  error_code code;
  acceptor.open(endpoint.protocol(), code);
  if (!code) acceptor.set_option(asio::socket_base::reuse_address(true), code);
  if (!code) acceptor.bind(endpoint, code);
  if (!code) acceptor.listen(kBacklog, code);
  if (code) return fail(listen_error(code, text_of(endpoint)));
  return acceptor;
}

Result<void> check_auth(const ServerOptions& options, const asio::ip::address& address) {
  if (options.front.auth == AuthMode::kKeys || address.is_loopback()) return {};
  return fail(ErrorCode::kInvalid, "without access keys anybody who reaches " + options.address +
                                       " could read and change everything: listen on a loopback address, or ask for keys");
}

class TcpServer final : public Server {
 public:
  TcpServer(const ServerOptions& options, volume::Objects& objects, const AccessKeys& keys, const Clock& clock,
            std::unique_ptr<AccessLog> access_log)
      : options_(options),
        access_log_(std::move(access_log)),
        front_{.options = options_,
               .objects = objects,
               .clock = clock,
               .io = io_,
               .authorization = Authorization(keys, options.front.auth, options.front.region, clock),
               .statistics = statistics_,
               .access_log = *access_log_,
               .waiting = WaitingThreads(options.waiting_threads)} {
    front_.first_request = Random::from_entropy().next() >> 1;
  }
  ~TcpServer() override {
    while (!stop(Deadline::after(Duration::zero()))) {
    }
  }

  Result<void> listen() {
    error_code code;
    const asio::ip::address address = asio::ip::make_address(options_.address, code);
    if (code) return fail(ErrorCode::kInvalid, '"' + options_.address + "\" is no numeric address");
    TRY(check_auth(options_, address));
    if (!options_.tls_certificate.empty()) TRY(reload());
    TRY_ASSIGN(plain_, listen_on(io_, address, options_.port));
    if (tls_ != nullptr) {
      TRY_ASSIGN(encrypted_, listen_on(io_, address, options_.tls_port));
    }
    port_ = plain_->local_endpoint().port();
    if (encrypted_) tls_port_ = encrypted_->local_endpoint().port();
    return {};
  }

  void run() {
    asio::co_spawn(plain_->get_executor(), accept(*plain_, Secured::kNo), asio::detached);
    if (encrypted_) asio::co_spawn(encrypted_->get_executor(), accept(*encrypted_, Secured::kYes), asio::detached);
    asio::co_spawn(io_, sweep(), asio::detached);
    for (uint32_t i = 0; i < std::max(1u, options_.threads); ++i) threads_.emplace_back([this] { io_.run(); });
  }

  uint16_t port() const override { return port_; }
  uint16_t tls_port() const override { return tls_port_; }
  const Statistics& statistics() const override { return statistics_; }
  uint64_t connections() const override {
    const std::lock_guard lock(mutex_);
    return living_.size();
  }

  Result<void> reload() override {
    if (options_.tls_certificate.empty()) return {};
    TRY_ASSIGN(auto context, TlsContext::load(options_.tls_certificate, options_.tls_key));
    const std::lock_guard lock(mutex_);
    tls_ = std::move(context);
    return {};
  }

  Result<void> stop(Deadline deadline) override {
    if (threads_.empty()) return {};
    const Deadline last = Deadline::after(deadline.left(front_.clock) + kLastOperations, front_.clock);
    front_.stopping = true;
    for (auto* acceptor : {&plain_, &encrypted_}) {
      if (!*acceptor) continue;
      asio::post((*acceptor)->get_executor(), [acceptor] {
        error_code ignored;
        (*acceptor)->close(ignored);
      });
    }
    {
      std::unique_lock lock(mutex_);
      while (!living_.empty()) {
        const bool patient = !deadline.expired(front_.clock);
        for (const auto& [connection, owner] : living_)
          if (!patient || connection->idle()) connection->cut_off();
        if (last.expired(front_.clock)) {
          return fail(ErrorCode::kTimedOut, std::to_string(living_.size()) + " S3 requests still run");
        }
        // One may become idle behind our back.
        gone_.wait_for(lock, std::chrono::milliseconds(20));
      }
    }
    front_.waiting.stop();
    io_.stop();
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    access_log_->flush();
    return {};
  }

 private:
  enum class Secured : uint8_t { kNo, kYes };

  asio::awaitable<void> accept(tcp::acceptor& acceptor, Secured secured) {
    asio::steady_timer pause(acceptor.get_executor());
    while (!front_.stopping) {
      error_code code;
      tcp::socket socket(io_);
      tcp::endpoint peer;
      co_await acceptor.async_accept(socket, peer, asio::redirect_error(asio::use_awaitable, code));
      if (code == asio::error::operation_aborted || front_.stopping) co_return;
      if (code) {
        // Out of descriptors, mostly: trying at once would spin.
        pause.expires_after(std::chrono::milliseconds(100));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, code));
        continue;
      }
      while (!make_room() && !front_.stopping) {
        pause.expires_after(std::chrono::milliseconds(20));
        co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, code));
      }
      begin(std::move(socket), text_of(peer), secured);
    }
  }

  // The longest idle connection makes room for a new one.
  bool make_room() {
    const std::lock_guard lock(mutex_);
    if (living_.size() < options_.connections_max) return true;
    Connection* oldest = nullptr;
    for (const auto& [connection, owner] : living_) {
      if (connection->idle() && (oldest == nullptr || connection->idle_since() < oldest->idle_since())) oldest = connection;
    }
    if (oldest != nullptr) oldest->cut_off();
    return false;
  }

  void begin(tcp::socket socket, std::string client, Secured secured) {
    error_code ignored;
    socket.native_non_blocking(true, ignored);
    // Head and body may be written separately; the second must not wait for the first's acknowledgement.
    socket.set_option(tcp::no_delay(true), ignored);
    const int descriptor = socket.native_handle();
    std::shared_ptr<Connection> connection;
    {
      const std::lock_guard lock(mutex_);
      auto transport = secured == Secured::kYes ? tls_->accept(descriptor) : plain_transport(descriptor);
      connection = std::make_shared<Connection>(front_, std::move(socket), std::move(transport), std::move(client));
      living_.emplace(connection.get(), connection);
    }
    asio::co_spawn(io_, connection->run(), [this, connection](std::exception_ptr error) {
      if (error) log_error("s3.connection_failed", {{"reason", "out of memory"}});
      const std::lock_guard lock(mutex_);
      living_.erase(connection.get());
      if (living_.empty()) gone_.notify_all();
    });
  }

  // Cuts off who is too slow.
  asio::awaitable<void> sweep() {
    asio::steady_timer timer(io_);
    while (!front_.stopping) {
      timer.expires_after(kSweepInterval);
      error_code code;
      co_await timer.async_wait(asio::redirect_error(asio::use_awaitable, code));
      {
        const TimePoint now = front_.clock.now();
        const std::lock_guard lock(mutex_);
        for (const auto& [connection, owner] : living_)
          if (connection->overdue(now)) connection->cut_off();
      }
      access_log_->flush();
    }
  }

  const ServerOptions options_;
  const std::unique_ptr<AccessLog> access_log_;
  Statistics statistics_;
  // Declared before all that lives on it.
  asio::io_context io_;
  Front front_;
  std::optional<tcp::acceptor> plain_;
  std::optional<tcp::acceptor> encrypted_;
  uint16_t port_ = 0;
  uint16_t tls_port_ = 0;
  std::vector<std::thread> threads_;

  mutable std::mutex mutex_;  // a leaf
  std::condition_variable gone_;
  std::shared_ptr<TlsContext> tls_;
  std::unordered_map<Connection*, std::shared_ptr<Connection>> living_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(const ServerOptions& options, volume::Objects& objects, const AccessKeys& keys,
                                              const Clock& clock) {
  TRY_ASSIGN(auto access_log, AccessLog::open(options.access_log, options.access_log_bytes_max));
  auto server = std::make_unique<TcpServer>(options, objects, keys, clock, std::move(access_log));
  TRY(server->listen());
  server->run();
  return server;
}

}  // namespace weir::s3
