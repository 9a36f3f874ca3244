// volume/scrub.h -- reads all local files at a bounded rate and compares them with their checksums.
//
// A clean file with rotten pages is dropped, to be fetched again when it is read; of one whose bytes are nowhere else the file is
// quarantined and told. Whole files that have no checksums yet and are at rest get them, so that the next scrub can tell.
// Files that are open for writing, and clean ones that are open, are left to the next scrub.
//
// How far it came is kept in the metadata every kSavedEvery: a scrub that was stopped goes on from there.
// Threads: one run at a time (kBusy); counters from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"
#include "net/token_bucket.h"
#include "pages/page_store.h"

namespace weir::volume {

struct ScrubSummary {
  int64_t started_ns = 0;
  uint64_t files = 0;             // read
  uint64_t bytes = 0;             // read
  uint64_t verified_bytes = 0;    // of those compared with a checksum
  uint64_t skipped_files = 0;     // in use
  uint64_t dropped_files = 0;     // rotten, and elsewhere
  uint64_t quarantined_files = 0; // rotten, and nowhere else
  uint64_t unreadable_files = 0;  // the disk gave an error, and the file could not be dropped
};

// A file that is not what it should be.
struct ScrubFinding {
  enum class Verdict : uint8_t { kDropped, kQuarantined, kInUse, kUnreadable };
  std::string path;
  InodeId inode{};
  LocalFileId local_file{};
  Verdict verdict = Verdict::kDropped;
  std::string reason;
};
std::string_view name_of(ScrubFinding::Verdict verdict);

struct ScrubListener {
  std::function<void(const ScrubFinding&)> finding;
  std::function<bool(const ScrubSummary&)> progress;  // called often; false: stop, with kCancelled. May be empty
};

class Scrub {
 public:
  static constexpr Duration kSavedEvery = std::chrono::seconds(5);

  enum class From : uint8_t { kLastStop, kStart };

  // `changed`: the inode's content is not what it was.
  Scrub(meta::Namespace& names, pages::PageStore& pages, uint64_t bytes_per_second, std::function<void(InodeId)> changed)
      : names_(names), pages_(pages), rate_(bytes_per_second), changed_(std::move(changed)) {}

  Result<ScrubSummary> run(From from, const ScrubListener& listener);
  // What the last complete run came to; nullopt: there was none.
  Result<std::optional<ScrubSummary>> last();
  void set_rate(uint64_t bytes_per_second) { rate_.set_rate(bytes_per_second); }

  struct Counters {
    std::atomic<bool> running{false};
    std::atomic<uint64_t> runs{0};  // completed since the start, as all below
    std::atomic<uint64_t> bytes{0};
    std::atomic<uint64_t> dropped_files{0};
    std::atomic<uint64_t> quarantined_files{0};
    std::atomic<uint64_t> unreadable_files{0};
  };
  const Counters& counters() const { return counters_; }

 private:
  struct Run;

  Result<void> scrub_all(Run& run);
  Result<void> scrub_inode(Run& run, const meta::Inode& inode);
  enum class Cause : uint8_t { kRotten, kUnreadable };
  Result<void> judge(Run& run, const meta::Inode& inode, Cause cause, const std::string& reason);
  void tell(Run& run, const meta::Inode& inode, ScrubFinding::Verdict verdict, const std::string& reason);
  Result<void> save(const Run& run);

  meta::Namespace& names_;
  pages::PageStore& pages_;
  net::TokenBucket rate_;
  const std::function<void(InodeId)> changed_;
  std::mutex running_;
  Counters counters_;
};

}  // namespace weir::volume
