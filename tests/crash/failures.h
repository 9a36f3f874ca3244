// tests/crash/failures.h -- what threads of a load found wrong.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <vector>

namespace weir::testing {

class Failures {
 public:
  // The first ones are kept.
  void add(const std::string& line) {
    const std::lock_guard lock(mutex_);
    if (lines_.size() < kMax) lines_.push_back(line);
  }
  // One line each; empty: nothing.
  std::string text() const {
    const std::lock_guard lock(mutex_);
    std::string all;
    for (const std::string& line : lines_) all += line + '\n';
    return all;
  }

 private:
  static constexpr size_t kMax = 20;

  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

}  // namespace weir::testing
