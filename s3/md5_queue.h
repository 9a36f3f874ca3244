// s3/md5_queue.h -- the MD5 of bodies that come at the same time, several at once.
//
// Threads: any.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "net/md5.h"
#include "s3/asio.h"
#include "s3/pending.h"

namespace weir::s3 {

class Md5Queue {
 public:
  // What is shorter is not worth the way.
  static constexpr size_t kBytesMin = 16 << 10;

  explicit Md5Queue(boost::asio::io_context& io) : io_(io) {}

  // Adds the bytes to the stream behind the caller, on a thread of `io`. Both stay as they are until it is done.
  struct Done {};
  std::shared_ptr<Pending<Done>> add(net::Md5Stream& stream, std::span<const std::byte> bytes);

 private:
  struct Job {
    net::Md5Stream::Piece piece;
    std::shared_ptr<Pending<Done>> done;
  };

  void run();

  boost::asio::io_context& io_;
  std::mutex mutex_;  // a leaf
  std::vector<Job> jobs_;
  bool scheduled_ = false;  // run() is to come
};

}  // namespace weir::s3
