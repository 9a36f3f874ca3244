// tests/crash/object_load.h -- clients of the S3 endpoint that know what must be there, whoever kills the daemon behind it.
//
// Each works on keys of its own: puts, reads and deletes. What was acknowledged is there from then on; what broke off is there whole or
// not at all.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/random.h"
#include "net/sigv4.h"
#include "tests/crash/failures.h"

namespace weir::testing {

class ObjectLoad {
 public:
  // Works below `folder` of the bucket, which the mount shows as `mount`/`folder`.
  ObjectLoad(uint16_t port, net::Credentials key, std::filesystem::path mount, std::string bucket, std::string folder, uint64_t seed);
  ~ObjectLoad();
  ObjectLoad(const ObjectLoad&) = delete;

  // Ends the work, and looks at everything through both fronts. The daemon must serve.
  void stop();

  // What was wrong, one line each, and not too many of them; empty: nothing.
  std::string failures() const { return failures_.text(); }
  uint64_t acknowledged() const { return acknowledged_; }
  uint64_t broken_off() const { return broken_off_; }

 private:
  using Versions = std::set<uint64_t>;  // that an object may have; 0: it is absent
  class Client;

  void run(int number, uint64_t seed);
  void failed(const std::string& line) { failures_.add(line); }

  const uint16_t port_;
  const net::Credentials key_;
  const std::filesystem::path mount_;
  const std::string bucket_;
  const std::string folder_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> acknowledged_{0};
  std::atomic<uint64_t> broken_off_{0};
  Failures failures_;
  std::mutex mutex_;
  std::map<std::string, Versions> left_;  // by object, once its client has ended
  std::vector<std::thread> threads_;
};

}  // namespace weir::testing
