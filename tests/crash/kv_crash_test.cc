// RocksKv against death and power loss: what was promised is there, and what is there is a prefix of the commit order.
//
// Every store is opened in a child process: RocksDB's background threads do not survive a fork, so that a process that
// has opened one cannot fork writers any more.
#include <gtest/gtest.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "base/random.h"
#include "kv/rocks_kv.h"

namespace weir::kv {
namespace {

namespace fs = std::filesystem;

class KvCrash : public ::testing::Test {
 protected:
  KvCrash() {
    std::string pattern = (fs::temp_directory_path() / "weir-kv-crash-XXXXXX").string();
    root_ = ::mkdtemp(pattern.data());
  }
  ~KvCrash() override { fs::remove_all(root_); }
  std::string dir(const std::string& name) const { return (root_ / name).string(); }

  static std::unique_ptr<RocksKv> open(const std::string& dir) {
    auto kv = RocksKv::open({.dir = dir});
    EXPECT_TRUE(kv.has_value()) << kv.error().to_string();
    return kv.has_value() ? *std::move(kv) : nullptr;
  }

  // Runs `body` in a process of its own; its failed expectations are this process's.
  template <typename Body>
  static void in_child(Body body) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      body();
      std::fflush(stdout);
      ::_exit(::testing::Test::HasFailure() ? 1 : 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "the child's output above says what failed";
  }

  static std::string row(uint64_t n) { return "row" + std::to_string(1'000'000 + n); }

  // Commit number n: a row of its own, and two rows that tell how far the order has come.
  static Result<void> commit(Kv& kv, uint64_t n, Durability durability) {
    const auto txn = kv.begin();
    txn->put(row(n), std::string(n % 700, 'v'));
    txn->put("last", encode_counter(static_cast<int64_t>(n)));
    txn->add("count", 1);
    return txn->commit(durability);
  }

  // Commits 1 to some n are there whole, nothing else is. Returns n.
  static uint64_t committed_prefix(Kv& kv) {
    const auto txn = kv.begin();
    const auto last = txn->get("last").value();
    const uint64_t n = last.has_value() ? static_cast<uint64_t>(decode_counter(*last).value()) : 0;
    EXPECT_EQ(txn->get("count").value().value_or(encode_counter(0)), encode_counter(static_cast<int64_t>(n)));
    const auto page = txn->get_range("row", "rox", {.rows_max = 1'000'000, .bytes_max = 1 << 30}).value();
    EXPECT_EQ(page.rows.size(), n);
    for (size_t i = 0; i < page.rows.size(); ++i) {
      EXPECT_EQ(page.rows[i].key, row(i + 1));
      EXPECT_EQ(page.rows[i].value.size(), (i + 1) % 700);
    }
    return n;
  }

 private:
  fs::path root_;
};

TEST_F(KvCrash, every_acknowledged_commit_survives_sigkill_at_any_instant) {
  const uint64_t seed = Random::from_entropy().next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  uint64_t acknowledged = 0;
  for (int round = 0; round < 8; ++round) {
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::close(pipe[0]);
      auto kv = RocksKv::open({.dir = dir("store"), .write_buffer_bytes = 256 << 10});
      if (!kv.has_value()) ::_exit(1);
      for (uint64_t n = acknowledged + 1;; ++n) {
        // The one commit that was in flight when the last child died may be there.
        if (round > 0 && n == acknowledged + 1 && (*kv)->begin()->get(row(n)).value().has_value()) continue;
        if (!commit(**kv, n, n % 50 == 0 ? Durability::kSynced : Durability::kWritten).has_value()) ::_exit(2);
        if (::write(pipe[1], &n, sizeof n) != sizeof n) ::_exit(3);
      }
    }
    ::close(pipe[1]);
    const uint64_t enough = acknowledged + 1 + random.below(2000);
    for (uint64_t n; acknowledged < enough && ::read(pipe[0], &n, sizeof n) == sizeof n;) acknowledged = n;
    ::kill(child, SIGKILL);
    for (uint64_t n; ::read(pipe[0], &n, sizeof n) == sizeof n;) acknowledged = n;
    ::close(pipe[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the writer gave up by itself: exit code " << WEXITSTATUS(status);
    in_child([&] {
      const auto kv = open(dir("store"));
      ASSERT_NE(kv, nullptr);
      const uint64_t there = committed_prefix(*kv);
      EXPECT_GE(there, acknowledged);
      EXPECT_LE(there, acknowledged + 1);
    });
  }
}

// The log file being written, and how long it is.
std::pair<fs::path, uint64_t> newest_log(const std::string& dir) {
  fs::path newest;
  for (const auto& entry : fs::directory_iterator(dir)) {
    if (entry.path().extension() == ".log" && entry.path().filename() > newest.filename()) newest = entry.path();
  }
  return {newest, fs::file_size(newest)};
}

// A power loss keeps what was flushed and any part of the rest: the log is cut, or bytes in its tail turn to rubbish.
TEST_F(KvCrash, a_power_loss_keeps_what_was_synced_and_a_prefix_of_the_rest) {
  in_child([&] {
    const uint64_t seed = Random::from_entropy().next();
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    constexpr uint64_t kSynced = 200, kWritten = 200;
    const auto kv = open(dir("store"));
    for (uint64_t n = 1; n <= kSynced; ++n) {
      ASSERT_TRUE(commit(*kv, n, n == kSynced ? Durability::kSynced : Durability::kWritten).has_value());
    }
    const auto [log, safe_bytes] = newest_log(dir("store"));
    for (uint64_t n = kSynced + 1; n <= kSynced + kWritten; ++n) {
      ASSERT_TRUE(commit(*kv, n, Durability::kWritten).has_value());
    }
    const auto [same_log, all_bytes] = newest_log(dir("store"));
    ASSERT_EQ(log, same_log);
    ASSERT_GT(all_bytes, safe_bytes);

    for (int round = 0; round < 20; ++round) {
      const std::string copy = dir("copy" + std::to_string(round));
      fs::copy(dir("store"), copy);
      const fs::path copied_log = fs::path(copy) / log.filename();
      const uint64_t at = safe_bytes + random.below(all_bytes - safe_bytes);
      if (round % 2 == 0) {
        fs::resize_file(copied_log, at);
      } else {
        FILE* file = std::fopen(copied_log.c_str(), "r+");
        ASSERT_NE(file, nullptr);
        std::fseek(file, static_cast<long>(at), SEEK_SET);
        std::fputs("rubbish from another file", file);
        std::fclose(file);
      }
      const auto after = open(copy);
      ASSERT_NE(after, nullptr);
      const uint64_t there = committed_prefix(*after);
      EXPECT_GE(there, kSynced);
      EXPECT_LE(there, kSynced + kWritten);
      // And it goes on from there.
      EXPECT_TRUE(commit(*after, there + 1, Durability::kSynced).has_value());
      EXPECT_EQ(committed_prefix(*after), there + 1);
    }
  });
}

}  // namespace
}  // namespace weir::kv
