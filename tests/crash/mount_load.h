// tests/crash/mount_load.h -- programs at work on a mount that check every call: none may fail, and what they read must be
// what they wrote.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/crash/failures.h"

namespace weir::testing {

class MountLoad {
 public:
  // Works below `root`, an empty directory: makers and removers of every kind of name, renamers, appenders to one file, a writer by
  // write(2) and through a mapping, a reader of an unlinked file, a lister.
  explicit MountLoad(const std::filesystem::path& root);
  ~MountLoad();
  MountLoad(const MountLoad&) = delete;

  // Ends the work and looks at what is left.
  void stop();

  // What failed or was wrong, one line each, and not too many of them; empty: nothing.
  std::string failures() const { return failures_.text(); }
  uint64_t calls() const { return calls_; }
  // Of any call.
  std::chrono::milliseconds longest_pause() const { return std::chrono::milliseconds(longest_ms_.load()); }

 private:
  // One round of work, by its number; throws what failed.
  using Work = std::function<void(int round)>;
  class Step;

  void run(const std::string& name, Work work);
  void failed(const std::string& line) { failures_.add(line); }
  Work maker(int number);
  Work renamer();
  Work appender(int number);
  Work writer();
  Work reader_of_unlinked();
  Work lister();
  void check_appended();

  const std::filesystem::path root_;
  std::atomic<bool> stopping_{false};
  std::atomic<uint64_t> calls_{0};
  std::atomic<int64_t> longest_ms_{0};
  std::atomic<int> lines_[2] = {};
  Failures failures_;
  std::vector<std::thread> threads_;
};

}  // namespace weir::testing
