// tests/model/file_operations.h -- file system calls as text: made at random, carried out on any directory, their
// results as text that can be compared.
//
// One operation is one line: a name and its arguments, separated by blanks. Paths are relative to the directory.
// Descriptors are kept in slots 0 to kSlots - 1 and stay open across operations.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"

namespace weir::testing {

using Operation = std::vector<std::string>;

std::string text_of(const Operation& operation);
std::string text_of(const std::vector<Operation>& operations);
// Empty lines and lines that begin with '#' are left out.
std::vector<Operation> parse_operations(const std::string& text);

struct GeneratorOptions {
  bool direct = false;  // descriptors for content have O_DIRECT, and offsets and sizes suit it
};

class OperationGenerator {
 public:
  OperationGenerator(uint64_t seed, const GeneratorOptions& options) : random_(seed), options_(options) {}

  Operation next();

 private:
  std::string path();
  std::string slot();
  std::string offset();
  std::string length();
  std::string mode();
  std::string time();
  std::string xattr_name();
  Operation open();
  Operation on_content();
  Operation on_attributes();
  Operation on_names();
  Operation on_links();
  uint64_t aligned(uint64_t value) const;

  Random random_;
  GeneratorOptions options_;
  unsigned opened_ = 0;  // bit by slot: was opened once
};

// Carries operations out in one directory. Threads: one thread at a time.
class FileOperator {
 public:
  static constexpr int kSlots = 4;

  explicit FileOperator(std::filesystem::path root);
  ~FileOperator();
  FileOperator(const FileOperator&) = delete;

  // What the call returned, with everything that must be the same on every file system; the name of an errno for a
  // failure. Times of the test's own run are "now".
  std::string execute(const Operation& operation);
  void close_all();

 private:
  std::string at(const std::string& path) const { return root_ / path; }

  std::string open(const Operation& op);
  std::string close(const Operation& op);
  std::string pwrite(const Operation& op);
  std::string write(const Operation& op);
  std::string pread(const Operation& op);
  std::string read(const Operation& op);
  std::string seek(const Operation& op);
  std::string ftruncate(const Operation& op);
  std::string truncate(const Operation& op);
  std::string fallocate(const Operation& op);
  std::string fsync(const Operation& op);
  std::string fstat(const Operation& op);
  std::string map_write(const Operation& op);
  std::string map_read(const Operation& op);
  std::string copy_range(const Operation& op);
  std::string put(const Operation& op);
  std::string cat(const Operation& op);
  std::string stat(const Operation& op);
  std::string list(const Operation& op);
  std::string rename(const Operation& op);
  std::string link(const Operation& op);
  std::string unlink(const Operation& op);
  std::string mkdir(const Operation& op);
  std::string rmdir(const Operation& op);
  std::string symlink(const Operation& op);
  std::string readlink(const Operation& op);
  std::string mkfifo(const Operation& op);
  std::string mknod(const Operation& op);
  std::string chmod(const Operation& op);
  std::string chown(const Operation& op);
  std::string utimens(const Operation& op);
  std::string setxattr(const Operation& op);
  std::string getxattr(const Operation& op);
  std::string removexattr(const Operation& op);
  std::string setacl(const Operation& op);
  std::string tmpfile(const Operation& op);
  std::string linkat(const Operation& op);

  int& slot_of(const Operation& op) { return slots_.at(std::stoul(op.at(1))); }

  std::filesystem::path root_;
  std::array<int, kSlots> slots_;
};

// `mtime_ns`, or a fixed later one for every time that only the clock can have set: operations set others.
int64_t comparable_time_ns(int64_t mtime_ns);

}  // namespace weir::testing
