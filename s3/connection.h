// s3/connection.h -- one client: reads requests, has them answered, sends the answers.
//
// The coroutine run() is on one thread at a time. Whoever watches over connections uses the methods marked so, from any thread.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/waiting_threads.h"
#include "s3/access_log.h"
#include "s3/asio.h"
#include "s3/operations.h"
#include "s3/server.h"
#include "s3/transport.h"

namespace weir::s3 {

// Blocks for bodies under way, used again.
class BlockPool {
 public:
  static constexpr size_t kBlockBytes = 256 << 10;
  using Block = std::unique_ptr<std::byte[]>;

  Block take();
  void give_back(Block block);

 private:
  static constexpr size_t kKeptMax = 64;
  std::mutex mutex_;  // a leaf
  std::vector<Block> free_;
};

// What connections share.
struct Front {
  const ServerOptions& options;
  volume::Objects& objects;
  const Clock& clock;
  boost::asio::io_context& io;
  Authorization authorization;
  Statistics& statistics;
  AccessLog& access_log;
  WaitingThreads waiting;
  BlockPool blocks{};
  std::atomic<bool> stopping{false};
  std::atomic<uint64_t> last_request{0};
  uint64_t first_request = 0;  // random, so that ids of two runs differ
};

class Connection {
 public:
  using Socket = boost::asio::ip::tcp::socket;

  Connection(Front& front, Socket socket, std::unique_ptr<Transport> transport, std::string client);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Until the client is gone, or is cut off.
  boost::asio::awaitable<void> run();

  // --- any thread
  // Ends what it waits for on its socket; requests that are being worked on fail when they come to the socket.
  void cut_off();
  // It waits for its client, and should not any more.
  bool overdue(TimePoint now) const { return deadline_.load(std::memory_order_relaxed) < now.time_since_epoch().count(); }
  bool idle() const { return idle_.load(std::memory_order_relaxed); }
  int64_t idle_since() const { return idle_since_.load(std::memory_order_relaxed); }

 private:
  struct Exchange;
  template <typename T>
  using Task = boost::asio::awaitable<T>;

  Task<bool> handshake();
  Task<bool> serve_one();  // true: the connection can take another request
  Task<bool> read_head(Exchange& exchange);
  Task<Reply<Answer>> answer(Exchange& exchange);
  Task<Reply<Answer>> answer_plain(Exchange& exchange, const Route& route, Call& call);
  Task<Reply<Answer>> answer_taking(Exchange& exchange, Route::Taking begin, Call& call);
  Task<Reply<Answer>> answer_long(Exchange& exchange, Route::Plain plain, Call& call);
  Task<Reply<std::string>> read_document(Exchange& exchange, const Call& call);
  using Sink = std::function<Reply<void>(std::span<const std::byte>)>;
  Task<Reply<void>> read_payload(Exchange& exchange, Payload& payload, const Sink& sink);
  Task<Reply<void>> hand_over(const Sink& sink, std::span<const std::byte> content);

  Task<bool> send(Exchange& exchange, Reply<Answer>& reply);
  Task<bool> send_content(Exchange& exchange, Answer& answer, std::string& head);
  Task<bool> send_rest_of_long(Exchange& exchange, const Reply<Answer>& reply);
  Task<bool> discard_rest(const Exchange& exchange);
  Task<void> linger();
  std::string head_text(const Exchange& exchange, int status, const net::Headers& headers, std::optional<uint64_t> length) const;
  void record(const Exchange& exchange, const Reply<Answer>& reply);

  // 0: the client is gone, or too slow.
  Task<size_t> read_some(std::span<std::byte> buffer, Duration patience);
  Task<bool> write_all(std::span<const std::byte> bytes, Transport::More more);
  Task<bool> wait(Transport::State wanted, Duration patience);

  // Does `work` here, or, when that would have to wait for the under store, on a thread that may.
  template <typename T>
  Task<Reply<T>> perform(const std::function<Reply<T>()>& work);

  Front& front_;
  Socket socket_;
  const std::unique_ptr<Transport> transport_;
  const std::string client_;
  std::string input_;        // read and not used yet
  size_t input_used_ = 0;    // of it, at its start

  std::atomic<int64_t> deadline_;
  std::atomic<bool> idle_{false};
  std::atomic<int64_t> idle_since_{0};
  std::atomic<bool> cut_off_{false};
};

}  // namespace weir::s3
