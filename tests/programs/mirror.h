// tests/programs/mirror.h -- a directory tree as values that can be compared, and whether a bucket mirrors it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "tests/cli/test_bucket.h"
#include "tests/cli/weir_binary.h"

namespace weir::testing {

struct TreeEntry {
  mode_t mode = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  dev_t rdev = 0;
  nlink_t links = 0;        // 0 for directories: file systems differ in what they count
  std::string first_name;   // of the names of one inode, the first in byte order
  uint64_t size = 0;        // 0 for directories, likewise
  int64_t mtime_ns = 0;
  std::string content;      // a regular file's SHA-256, a symlink's target
  std::map<std::string, std::string> xattrs;
};

// By path relative to the tree's root, which is "".
using Tree = std::map<std::string, TreeEntry>;

// Errors are failures of the running test, and leave the entry out.
Tree read_tree(const std::filesystem::path& root);

// One line for each path that differs and what of it, for at most 20 paths; empty when the trees are equal.
std::string differences(const Tree& expected, const Tree& actual);

// Waits until the daemon's queue is empty and the bucket holds, below `prefix`, the objects of the tree and no others,
// of the right sizes; then compares the bytes of every file. Returns what differs, empty when nothing does.
std::string mirror_differences(const WeirDaemon& daemon, TestBucket& bucket, const std::string& prefix,
                               const Tree& tree, Deadline deadline);

}  // namespace weir::testing
