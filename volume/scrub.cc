#include "volume/scrub.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "base/log.h"
#include "format/keys.h"
#include "kv/run_txn.h"
#include "meta/types.h"

namespace weir::volume {
namespace {

constexpr std::string_view kProgressDocument = "scrub";       // of a run that was stopped; empty: none
constexpr std::string_view kLastDocument = "scrub_last";      // the last complete run
constexpr Duration kRatePauseStep = std::chrono::milliseconds(50);

constexpr uint64_t ScrubSummary::*kFields[] = {
    &ScrubSummary::files,         &ScrubSummary::bytes,             &ScrubSummary::verified_bytes,
    &ScrubSummary::skipped_files, &ScrubSummary::dropped_files,     &ScrubSummary::quarantined_files,
    &ScrubSummary::unreadable_files};

// The next inode, then the start, then kFields, as decimals. A text of another form counts as none.
std::string text_of(InodeId next, const ScrubSummary& summary) {
  std::string text = std::to_string(next.value()) + ' ' + std::to_string(summary.started_ns);
  for (const auto field : kFields) text += ' ' + std::to_string(summary.*field);
  return text;
}

std::optional<std::pair<InodeId, ScrubSummary>> parse(std::string_view text) {
  std::vector<uint64_t> numbers;
  for (const char* at = text.data(); at != text.data() + text.size();) {
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(at, text.data() + text.size(), number);
    if (error != std::errc{}) return std::nullopt;
    numbers.push_back(number);
    at = end != text.data() + text.size() && *end == ' ' ? end + 1 : end;
    if (at == end && at != text.data() + text.size()) return std::nullopt;
  }
  if (numbers.size() != 2 + std::size(kFields)) return std::nullopt;
  ScrubSummary summary;
  summary.started_ns = static_cast<int64_t>(numbers[1]);
  for (size_t i = 0; i < std::size(kFields); ++i) summary.*kFields[i] = numbers[2 + i];
  return std::pair(InodeId(numbers[0]), summary);
}

}  // namespace

std::string_view name_of(ScrubFinding::Verdict verdict) {
  switch (verdict) {
    case ScrubFinding::Verdict::kDropped: return "DROPPED";
    case ScrubFinding::Verdict::kQuarantined: return "QUARANTINED";
    case ScrubFinding::Verdict::kInUse: return "IN_USE";
    case ScrubFinding::Verdict::kUnreadable: return "UNREADABLE";
  }
  return "UNKNOWN";
}

struct Scrub::Run {
  const ScrubListener& listener;
  ScrubSummary summary;
  InodeId next{};
  Deadline saved = Deadline::after(kSavedEvery);

  bool go_on() const { return !listener.progress || listener.progress(summary); }
};

Result<std::optional<ScrubSummary>> Scrub::last() {
  TRY_ASSIGN(const auto text, names_.document(kLastDocument));
  const auto parsed = parse(text.value_or(""));
  return parsed ? std::optional(parsed->second) : std::nullopt;
}

Result<ScrubSummary> Scrub::run(From from, const ScrubListener& listener) {
  const std::unique_lock running(running_, std::try_to_lock);
  if (!running.owns_lock()) return fail(ErrorCode::kBusy, "the volume is being scrubbed already");
  counters_.running = true;
  Run run{.listener = listener};
  run.summary.started_ns = unix_ns(names_.clock().wall_now());
  const auto scrub = [&]() -> Result<void> {
    if (from == From::kLastStop) {
      TRY_ASSIGN(const auto text, names_.document(kProgressDocument));
      if (const auto parsed = parse(text.value_or(""))) std::tie(run.next, run.summary) = *parsed;
    }
    TRY(scrub_all(run));
    TRY(names_.put_document(kLastDocument, text_of(InodeId{}, run.summary)));
    return names_.put_document(kProgressDocument, "");
  };
  const auto scrubbed = scrub();
  if (!scrubbed) (void)save(run);
  counters_.running = false;
  TRY(scrubbed);
  ++counters_.runs;
  return run.summary;
}

Result<void> Scrub::save(const Run& run) { return names_.put_document(kProgressDocument, text_of(run.next, run.summary)); }

Result<void> Scrub::scrub_all(Run& run) {
  const auto range = format::inode_range();
  std::string begin = std::max(range.begin, format::inode_key(run.next));
  for (bool more = true; more;) {
    TRY_ASSIGN(const auto page, kv::read_txn(names_.kv(), [&](kv::Txn& txn) {
      return txn.get_range(begin, range.end, {.isolation = kv::Isolation::kSnapshot});
    }));
    for (const auto& row : page.rows) {
      const auto inode = format::decode<meta::Inode>(row.value);
      if (!inode || inode->local_file() == 0 || meta::is_further_name(*inode)) continue;
      run.next = InodeId(inode->id());
      if (!run.go_on()) return fail(ErrorCode::kCancelled, "stopped");
      TRY(scrub_inode(run, *inode));
      run.next = InodeId(inode->id() + 1);
      if (!run.saved.expired()) continue;
      TRY(save(run));
      run.saved = Deadline::after(kSavedEvery);
    }
    more = page.more;
    if (more) begin = kv::key_after(page.rows.back().key);
  }
  return {};
}

Result<void> Scrub::scrub_inode(Run& run, const meta::Inode& inode) {
  if (inode.type() != format::REGULAR || inode.quarantined()) return {};
  const InodeId id(inode.id());
  const LocalFileId local(inode.local_file());
  TRY_ASSIGN(const auto written, kv::read_txn(names_.kv(), [&](kv::Txn& txn) { return txn.get(format::writing_key(id)); }));
  if (written) {
    ++run.summary.skipped_files;
    return {};
  }
  // What no object holds is open while it is read, so that its new checksums are of one state of it.
  std::shared_ptr<pages::LocalFile> held;
  std::optional<pages::ContentStamp> stamp;
  if (!meta::content_persisted(inode)) {
    auto opened = pages_.open(local);
    if (failed_with(opened, ErrorCode::kNotFound)) return {};  // fsck's affair
    if (!opened) return judge(run, inode, Cause::kUnreadable, opened.error().to_string());
    held = *std::move(opened);
    if (held->complete()) {
      if (const auto now = pages_.stamp(*held)) stamp = *now;
    }
  }
  bool stopped = false;
  const auto pace = [&](uint64_t bytes) {
    const Deadline until = Deadline::after(rate_.take(bytes));
    do {
      stopped = !run.go_on();
      if (stopped) return false;
      std::this_thread::sleep_for(std::min<Duration>(until.left(), kRatePauseStep));
    } while (!until.expired());
    run.summary.bytes += bytes;
    counters_.bytes += bytes;
    return true;
  };
  const auto scrubbed = pages_.scrub(local, pace);
  if (stopped) return fail(ErrorCode::kCancelled, "stopped");
  if (failed_with(scrubbed, ErrorCode::kNotFound)) return {};  // evicted, or replaced
  ++run.summary.files;
  if (!scrubbed) return judge(run, inode, Cause::kUnreadable, scrubbed.error().to_string());
  run.summary.verified_bytes += scrubbed->verified_bytes;
  if (scrubbed->rotten_pages != 0)
    return judge(run, inode, Cause::kRotten, std::to_string(scrubbed->rotten_pages) + " pages do not have their checksums");
  if (!stamp || scrubbed->page_crcs.empty()) return {};
  const auto after = pages_.stamp(*held);
  if (after && *after == *stamp) {
    if (const auto recorded = pages_.record_checksums(*held, *stamp, scrubbed->page_crcs); !recorded)
      log_warn("scrub.checksums_not_recorded", {{"local_file", local}, {"error", recorded.error()}});
  }
  return {};
}

Result<void> Scrub::judge(Run& run, const meta::Inode& inode, Cause cause, const std::string& reason) {
  const InodeId id(inode.id());
  const LocalFileId local(inode.local_file());
  const auto now = names_.load(id);
  if (failed_with(now, ErrorCode::kNotFound)) return {};
  TRY(now);
  if (LocalFileId(now->local_file()) != local) return {};
  using Verdict = ScrubFinding::Verdict;
  if (meta::content_persisted(*now)) {
    const bool dropped = pages_.evict(local);
    if (dropped) changed_(id);
    tell(run, *now, dropped ? Verdict::kDropped : Verdict::kInUse, reason);
    return {};
  }
  // A disk that cannot be read now may be read again; bytes that are wrong stay wrong.
  if (cause == Cause::kUnreadable) {
    tell(run, *now, Verdict::kUnreadable, reason);
    return {};
  }
  TRY_ASSIGN(const meta::Inode reported, names_.report_corruption(id, local));
  if (!reported.quarantined()) return {};
  TRY(pages_.quarantine(local));
  changed_(id);
  tell(run, *now, Verdict::kQuarantined, reason);
  return {};
}

void Scrub::tell(Run& run, const meta::Inode& inode, ScrubFinding::Verdict verdict, const std::string& reason) {
  using Verdict = ScrubFinding::Verdict;
  const ScrubFinding finding{.path = names_.path_of(InodeId(inode.id())).value_or(""),
                             .inode = InodeId(inode.id()),
                             .local_file = LocalFileId(inode.local_file()),
                             .verdict = verdict,
                             .reason = reason};
  switch (verdict) {
    case Verdict::kDropped: ++run.summary.dropped_files, ++counters_.dropped_files; break;
    case Verdict::kQuarantined: ++run.summary.quarantined_files, ++counters_.quarantined_files; break;
    case Verdict::kInUse: ++run.summary.skipped_files; break;
    case Verdict::kUnreadable: ++run.summary.unreadable_files, ++counters_.unreadable_files; break;
  }
  log_error("scrub.bad_file", {{"path", finding.path}, {"local_file", finding.local_file},
                               {"verdict", name_of(verdict)}, {"reason", reason}});
  if (run.listener.finding) run.listener.finding(finding);
}

}  // namespace weir::volume
