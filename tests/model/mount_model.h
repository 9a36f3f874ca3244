// tests/model/mount_model.h -- the real daemon's mount beside a directory of the local file system: the same operations
// on both must give the same results and the same tree, and the bucket must follow.
//
// Besides the operations of file_operations.h, a history has these: "compare" the trees; "quiet" closes all
// descriptors and waits until the bucket mirrors the tree; "restart" closes all descriptors, kills the daemon and starts
// it again.
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "tests/cli/test_bucket.h"
#include "tests/cli/weir_binary.h"
#include "tests/model/file_operations.h"

namespace weir::testing {

struct MountMode {
  std::string name;
  std::string passthrough;  // on, off
  std::string io_uring;     // on, off
  std::string policy = "WRITE_BACK";
  Under under = Under::kDirectory;
  bool direct = false;      // descriptors have O_DIRECT
  bool kills = false;       // the daemon is killed between batches
};

inline void PrintTo(const MountMode& mode, std::ostream* out) { *out << mode.name; }

class MountModel {
 public:
  explicit MountModel(const MountMode& mode) : mode_(mode) {}

  // False after a failure of the running test.
  bool start();

  // Each returns what differed, with the shortest history found that shows it; empty when nothing did.
  std::string replay(const std::vector<Operation>& history);
  std::string run_random(uint64_t seed, Duration how_long);

  std::string log() const { return daemon_.log(); }

 private:
  // One folder of the mount and the reference's; disjoint from all others, so that each may have a thread.
  struct Pair {
    Pair(const std::filesystem::path& mounted, const std::filesystem::path& local, std::string prefix);
    std::string step(const Operation& operation);
    std::string compare() const;

    std::filesystem::path mounted_root;
    std::filesystem::path local_root;
    std::string prefix;
    FileOperator mounted;
    FileOperator local;
    std::vector<Operation> history;
  };

  std::unique_ptr<Pair> make_pair();
  std::string step(Pair& pair, const Operation& operation);
  std::string run_batch(std::vector<std::unique_ptr<Pair>>& pairs, std::vector<OperationGenerator>& generators,
                        Pair*& culprit);
  std::string between(std::vector<std::unique_ptr<Pair>>& pairs, const Operation& barrier, Pair*& culprit);
  std::string await_mirror(Pair& pair);
  void restart();
  std::string explain(const Pair& culprit, const std::string& difference);
  std::string try_history(const std::vector<Operation>& history);

  const MountMode mode_;
  WeirDaemon daemon_;
  std::unique_ptr<TestBucket> bucket_;
  int pairs_made_ = 0;
  Duration quiet_patience_;
};

}  // namespace weir::testing
