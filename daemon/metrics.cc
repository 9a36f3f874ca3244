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

std::string operation_labels(fuse::Operation operation) {
  return "front=\"fuse\",operation=\"" + std::string(name_of(operation)) + '"';
}

template <typename Write>
void each_operation(const fuse::Statistics& statistics, Write write) {
  for (size_t i = 0; i < fuse::kOperations; ++i) {
    const auto operation = static_cast<fuse::Operation>(i);
    write(operation_labels(operation), statistics.counters(operation));
  }
}

void write_fuse(MetricsWriter& out, const fuse::Statistics& statistics) {
  using Counters = fuse::Statistics::Counters;
  out.family("weir_request_seconds", "histogram", "Time from a request's arrival to its reply, by front and operation.");
  each_operation(statistics, [&](const std::string& labels, const Counters& counters) {
    uint64_t below = 0;
    for (size_t b = 0; b + 1 < fuse::Statistics::kBuckets; ++b) {
      below += counters.buckets[b];
      const double limit = static_cast<double>(fuse::Statistics::bucket_limit_us(b)) / 1e6;
      out.sample(labels + ",le=\"" + text_of(limit) + '"', below, "_bucket");
    }
    out.sample(labels + ",le=\"+Inf\"", below + counters.buckets.back(), "_bucket");
    out.sample(labels, static_cast<double>(counters.total_ns) / 1e9, "_sum");
    out.sample(labels, below + counters.buckets.back(), "_count");
  });
  out.family("weir_request_errors_total", "counter", "Requests answered with an error, by front and operation.");
  each_operation(statistics,
                 [&](const std::string& labels, const Counters& counters) { out.sample(labels, counters.errors); });
  out.counter("weir_fuse_passthrough_opens_total", "Files opened for the kernel to read and write directly.",
              statistics.passthrough_opens());
  out.counter("weir_fuse_moved_requests_total", "Requests that got a thread of their own because they had to wait.",
              statistics.moved());
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
  out.family("weir_persist_errors_total", "counter", "Failed attempts to persist, by cause.");
  out.sample("cause=\"unavailable\"", stats.errors_unavailable);
  out.sample("cause=\"denied\"", stats.errors_denied);
  out.sample("cause=\"other\"", stats.errors_other);
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
  if (sources.fuse != nullptr) write_fuse(out, *sources.fuse);
  const volume::VolumeStatistics& volume = sources.volume;
  write_persist(out, volume.persist);
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
  out.gauge("weir_kv_disk_bytes", "Size of the metadata store.", volume.kv.disk_bytes);
  out.gauge("weir_kv_memory_bytes", "Memory that the metadata store takes.", volume.kv.memory_bytes);
  return out.take();
}

}  // namespace weir::daemon
