#include "s3/md5_queue.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <iterator>
#include <utility>

namespace weir::s3 {

std::shared_ptr<Pending<Md5Queue::Done>> Md5Queue::add(net::Md5Stream& stream, std::span<const std::byte> bytes) {
  auto done = std::make_shared<Pending<Done>>(io_);
  bool schedules = false;
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back({{&stream, bytes}, done});
    schedules = !std::exchange(scheduled_, true);
  }
  // Twice to the end of the line: other connections that are ready bring theirs meanwhile.
  if (schedules) boost::asio::post(io_, [this] { boost::asio::post(io_, [this] { run(); }); });
  return done;
}

void Md5Queue::run() {
  std::vector<Job> jobs;
  {
    const std::lock_guard lock(mutex_);
    scheduled_ = false;
    jobs.swap(jobs_);
  }
  for (auto from = jobs.begin(); from != jobs.end();) {
    const auto to = from + std::min<ptrdiff_t>(net::Md5Stream::kTogetherMax, jobs.end() - from);
    std::vector<net::Md5Stream::Piece> pieces;
    std::transform(from, to, std::back_inserter(pieces), [](const Job& job) { return job.piece; });
    net::Md5Stream::add_together(pieces);
    for (; from != to; ++from) from->done->set({});
  }
}

}  // namespace weir::s3
