// tests/fronts/front_load.h -- threads that work on the same few names of one directory, each through the mount and through S3.
//
// Which calls a thread makes follows from the seed; how they meet does not.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/random.h"
#include "net/sigv4.h"
#include "s3/test_client.h"
#include "tests/fronts/history.h"

namespace weir::testing {

struct Fronts {
  std::filesystem::path mount;  // of the bucket
  uint16_t port = 0;
  net::Credentials key;
  std::string bucket;
};

class FrontLoad {
 public:
  // `folder` is made, and must not be there.
  FrontLoad(Fronts fronts, const std::string& folder, uint64_t seed);

  // What was wrong: a call that failed, or what no order of the calls explains; empty: nothing.
  std::string run(Duration how_long);
  size_t calls() const { return history_.calls(); }

 private:
  class Worker;

  static constexpr int kThreads = 4;
  static constexpr int kNames = 3;

  void failed(const std::string& line);

  const Fronts fronts_;
  const std::string folder_;
  const uint64_t seed_;
  History history_{kThreads, kNames};
  std::atomic<Content> last_content_ = kEmpty;
  // At most one writes in place at a time: of two, each could write over half of what the other did.
  std::mutex in_place_;
  std::atomic<uint64_t> in_place_steps_ = 0;  // odd: somebody does
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::string failures_;
};

}  // namespace weir::testing
