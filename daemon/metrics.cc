#include "daemon/metrics.h"

#include <charconv>
#include <concepts>

namespace weir::daemon {
namespace {

std::string text_of(std::integral auto value) { return std::to_string(value); }
std::string text_of(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return std::string(buffer, end);
}

class MetricsWriter {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    text_ += "# HELP " + std::string(name) + ' ' + std::string(help) + "\n# TYPE " + std::string(name) + ' ' +
             std::string(type) + '\n';
  }
  // `labels` as between the braces; empty: none.
  void sample(std::string_view labels, auto value, std::string_view suffix = {}) {
    text_ += name_;
    text_ += suffix;
    if (!labels.empty()) text_ += '{' + std::string(labels) + '}';
    text_ += ' ' + text_of(value) + '\n';
  }
  void gauge(std::string_view name, std::string_view help, auto value) {
    family(name, "gauge", help);
    sample({}, value);
  }
  void counter(std::string_view name, std::string_view help, auto value) {
    family(name, "counter", help);
    sample({}, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  std::string name_;
};

std::string operation_labels(std::string_view front, std::string_view operation) {
  return "front=\"" + std::string(front) + "\",operation=\"" + std::string(operation) + '"';
}

template <typename Write>
void each_operation(const fuse::Statistics& statistics, Write write) {
  for (size_t i = 0; i < fuse::kOperations; ++i) {
    const auto operation = static_cast<fuse::Operation>(i);
    write(operation_labels("fuse", name_of(operation)), statistics.counters(operation));
  }
}

template <typename Write>
void each_operation(const s3::Statistics& statistics, Write write) {
  for (size_t i = 0; i < s3::kOperations; ++i) {
    const auto operation = static_cast<s3::Operation>(i);
    write(operation_labels("s3", name_of(operation)), operation, statistics.latency(operation));
  }
}

void write_latency(MetricsWriter& out, const std::string& labels, const LatencyCounters& counters) {
  uint64_t below = 0;
  for (size_t b = 0; b + 1 < LatencyCounters::kBuckets; ++b) {
    below += counters.buckets[b];
    const double limit = static_cast<double>(LatencyCounters::bucket_limit_us(b)) / 1e6;
    out.sample(labels + ",le=\"" + text_of(limit) + '"', below, "_bucket");
  }
  out.sample(labels + ",le=\"+Inf\"", below + counters.buckets.back(), "_bucket");
  out.sample(labels, static_cast<double>(counters.total_ns) / 1e9, "_sum");
  out.sample(labels, below + counters.buckets.back(), "_count");
}

// Both fronts. Operations of S3 that never came are left out: they are many.
void write_latencies(MetricsWriter& out, const fuse::Statistics* fuse, const s3::Statistics* s3) {
  if (fuse == nullptr && s3 == nullptr) return;
  out.family("weir_request_seconds", "histogram", "Time from a request's arrival to its reply, by front and operation.");
  if (fuse != nullptr) each_operation(*fuse, [&](const std::string& labels, const auto& counters) { write_latency(out, labels, counters); });
  if (s3 == nullptr) return;
  each_operation(*s3, [&](const std::string& labels, s3::Operation, const LatencyCounters& counters) {
    if (counters.requests != 0) write_latency(out, labels, counters);
  });
}

void write_fuse(MetricsWriter& out, const fuse::Statistics& statistics) {
  using Counters = fuse::Statistics::Counters;
  out.family("weir_request_errors_total", "counter", "Requests answered with an error, by front and operation.");
  each_operation(statistics,
                 [&](const std::string& labels, const Counters& counters) { out.sample(labels, counters.errors); });
  out.counter("weir_fuse_passthrough_opens_total", "Files opened for the kernel to read and write directly.",
              statistics.passthrough_opens());
  out.counter("weir_fuse_moved_requests_total", "Requests that got a thread of their own because they had to wait.",
              statistics.moved());
}

void write_s3(MetricsWriter& out, const s3::Statistics& statistics, uint64_t connections) {
  out.family("weir_s3_requests_total", "counter", "S3 requests, by operation and HTTP status.");
  each_operation(statistics, [&](const std::string& labels, s3::Operation operation, const LatencyCounters& counters) {
    if (counters.requests == 0) return;
    for (int status = s3::Statistics::kStatusMin; status <= s3::Statistics::kStatusMax; ++status) {
      if (const uint64_t requests = statistics.requests(operation, status); requests != 0)
        out.sample(labels + ",status=\"" + std::to_string(status) + '"', requests);
    }
  });
  out.counter("weir_s3_received_bytes_total", "Bytes of request bodies.", statistics.bytes_in());
  out.counter("weir_s3_sent_bytes_total", "Bytes of response bodies.", statistics.bytes_out());
  out.counter("weir_s3_moved_requests_total", "Calls that moved to a thread that may wait for an under store.", statistics.moved());
  out.gauge("weir_s3_connections", "Open connections to the S3 endpoint.", connections);
}

void write_persist(MetricsWriter& out, const persist::PersistStats& stats) {
  out.gauge("weir_dirty_files", "Files and directories that wait to be persisted.", stats.waiting_files);
  out.gauge("weir_dirty_bytes", "Bytes of the files that wait to be persisted.", stats.waiting_bytes);
  out.gauge("weir_dirty_oldest_age_seconds", "Age of the oldest change that is not persisted.",
            static_cast<double>(stats.oldest_age_ns) / 1e9);
  out.gauge("weir_persist_in_flight", "Files being persisted now.", stats.in_flight);
  out.counter("weir_persist_files_total", "Files persisted by upload.", stats.persisted_files);
  out.counter("weir_persist_bytes_total", "Bytes uploaded and confirmed.", stats.persisted_bytes);
  out.counter("weir_persist_copies_total", "Objects moved by a copy inside the under store.", stats.copied_files);
  out.counter("weir_persist_erased_objects_total", "Objects erased from the under store.", stats.erased_objects);
  out.counter("weir_persist_conflicts_total", "Objects of others that were kept under another name.", stats.conflicts);
  out.counter("weir_persist_changed_while_uploading_total", "Uploads not published because the file changed.",
              stats.changed_while_uploading);
  out.counter("weir_persist_aborted_uploads_total", "Multipart uploads of the volume that nobody would have completed.",
              stats.aborted_uploads);
  out.counter("weir_persist_erased_leftovers_total", "Objects of the volume that nobody owned.", stats.erased_leftovers);
  out.family("weir_persist_errors_total", "counter", "Failed attempts to persist, by cause.");
  out.sample("cause=\"unavailable\"", stats.errors_unavailable);
  out.sample("cause=\"denied\"", stats.errors_denied);
  out.sample("cause=\"other\"", stats.errors_other);
}

// Quoted, as Prometheus wants label values.
std::string label_text(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    if (c == '\n') {
      quoted += "\\n";
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

void write_stores(MetricsWriter& out, const std::vector<volume::Volume::MountPoint>& mounts) {
  if (mounts.empty()) return;
  out.family("weir_under_store_available", "gauge", "1 while the under store of a mount point answers.");
  for (const auto& mount : mounts) out.sample("mount=" + label_text(mount.path), mount.reachable ? 1 : 0);
  out.family("weir_under_store_refused", "gauge", "1 while it refuses the volume: credentials, policy, or no bucket.");
  for (const auto& mount : mounts) out.sample("mount=" + label_text(mount.path), mount.refused ? 1 : 0);
}

void write_pages(MetricsWriter& out, const pages::PageStoreUsage& usage) {
  out.gauge("weir_page_store_capacity_bytes", "What local copies may take.", usage.capacity_bytes);
  out.gauge("weir_page_store_used_bytes", "What local copies take, by allocated blocks.", usage.used_bytes);
  out.gauge("weir_page_store_pinned_bytes", "What files take that are nowhere else.", usage.pinned_bytes);
  out.gauge("weir_page_store_pinned_limit_bytes", "What such files may take.", usage.pinned_limit_bytes);
  out.gauge("weir_page_store_files", "Local files.", usage.files);
  out.gauge("weir_page_store_pinned_files", "Local files that are nowhere else.", usage.pinned_files);
  out.counter("weir_page_store_evicted_files_total", "Clean local files dropped for space.", usage.evicted_files);
  out.counter("weir_page_store_evicted_bytes_total", "Space that this freed.", usage.evicted_bytes);
}

}  // namespace

std::string metrics_text(const MetricsSources& sources) {
  MetricsWriter out;
  out.family("weir_build_info", "gauge", "Always 1.");
  out.sample("version=\"" + std::string(sources.version) + '"', 1);
  out.gauge("weir_uptime_seconds", "Since the daemon's start.", sources.uptime_seconds);
  write_latencies(out, sources.fuse, sources.s3);
  if (sources.fuse != nullptr) write_fuse(out, *sources.fuse);
  if (sources.s3 != nullptr) write_s3(out, *sources.s3, sources.s3_connections);
  const volume::VolumeStatistics& volume = sources.volume;
  write_persist(out, volume.persist);
  write_stores(out, sources.mounts);
  write_pages(out, volume.pages);
  out.counter("weir_cache_hit_bytes_total", "Bytes read through the daemon that were present locally.",
              volume.cache_hit_bytes);
  out.counter("weir_cache_miss_bytes_total", "Bytes fetched from an under store.", volume.cache_miss_bytes);
  out.gauge("weir_volume_inodes", "Files, directories and symlinks known.", volume.usage.inodes);
  out.gauge("weir_volume_bytes", "Sizes of all files known.", volume.usage.bytes);
  out.gauge("weir_trees_being_removed", "Removed directory trees that still hold something.", volume.trees_being_removed);
  out.counter("weir_tree_entries_removed_total", "Entries of removed trees that are gone for good.",
              volume.tree_entries_removed);
  out.gauge("weir_open_files", "Files held open.", volume.open_files);
  out.gauge("weir_hidden_objects", "Objects that no path can show; see `weir fs ls --hidden`.", volume.hidden_objects);
  out.family("weir_leftovers_total", "counter", "What ended writers and starts left behind, and was cleaned up.");
  out.sample("kind=\"orphan\"", volume.leftovers.orphans);
  out.sample("kind=\"writer\"", volume.leftovers.writers);
  out.sample("kind=\"local_file\"", volume.leftovers.local_files);
  out.sample("kind=\"upload\"", volume.leftovers.uploads);
  out.gauge("weir_scrub_running", "1 while the local files are scrubbed.", volume.scrub.running ? 1 : 0);
  out.counter("weir_scrub_runs_total", "Scrubs that were completed.", volume.scrub.runs);
  out.counter("weir_scrub_bytes_total", "Bytes of local files read to be scrubbed.", volume.scrub.bytes);
  out.family("weir_scrub_bad_files_total", "counter", "Local files that scrubs found rotten or unreadable, by what was done.");
  out.sample("verdict=\"dropped\"", volume.scrub.dropped_files);
  out.sample("verdict=\"quarantined\"", volume.scrub.quarantined_files);
  out.sample("verdict=\"unreadable\"", volume.scrub.unreadable_files);
  out.gauge("weir_kv_disk_bytes", "Size of the metadata store.", volume.kv.disk_bytes);
  out.gauge("weir_kv_memory_bytes", "Memory that the metadata store takes.", volume.kv.memory_bytes);
  return out.take();
}

}  // namespace weir::daemon
