#include "daemon/volume_parts.h"

#include <unistd.h>

#include <algorithm>
#include <thread>

#include "daemon/s3_endpoint.h"

namespace weir::daemon {
namespace {

uint32_t upload_threads(const Properties& properties) {
  const uint32_t given = count_of(properties, "async.persist.threads");
  return given != 0 ? given : std::clamp(4 * std::thread::hardware_concurrency(), 16u, 64u);
}

}  // namespace

uint32_t count_of(const Properties& properties, std::string_view name) {
  return static_cast<uint32_t>(std::min<uint64_t>(properties.integer(name), UINT32_MAX));
}

kv::RocksKv::Options kv_options(const Properties& properties) {
  return {.dir = properties.text("volume.dir") + "/kv",
          .block_cache_bytes = properties.size_bytes("metadata.block.cache.size"),
          .write_buffer_bytes = properties.size_bytes("metadata.write.buffer.size")};
}

meta::NamespaceOptions namespace_options(const Properties& properties) {
  return {.sync_interval = properties.duration("metadata.sync.interval"), .root_uid = ::getuid(), .root_gid = ::getgid()};
}

volume::VolumeOptions volume_options(const Properties& properties) {
  volume::VolumeOptions options;
  options.names = namespace_options(properties);
  options.persist.threads = upload_threads(properties);
  options.persist.deadline = properties.duration("async.persist.deadline");
  options.persist.retry_interval_max = properties.duration("worker.write.cache.async.persist.retry.max.interval");
  options.persist.leftover_check_period = properties.duration("write.cache.async.file.check.period");
  options.persist.leftover_age = properties.duration("write.cache.async.check.orphan.timeout");
  options.persist.part_bytes = properties.size_bytes("async.persist.part.size");
  options.persist.parts_in_flight = std::max(1u, count_of(properties, "async.persist.parts.in.flight"));
  for (const Properties::Value& value : properties.all())
    if (is_of_mount_points(*value.property) && value.source != Source::kDefault)
      options.ufs_properties[std::string(value.property->name)] = value.text;
  options.upload_bytes_per_second = properties.size_bytes("async.persist.bandwidth");
  options.ufs_timeout = properties.duration("ufs.timeout");
  options.read_ahead_pages = count_of(properties, "read.ahead.pages");
  options.read_ahead_requests = std::clamp(count_of(properties, "read.ahead.requests"), 1u, 64u);
  options.orphan_check_period = properties.duration("write.cache.async.file.check.period");
  options.flush_interval = properties.duration("page.store.flush.interval");
  options.scrub_bytes_per_second = properties.size_bytes("page.store.scrub.bandwidth");
  options.scrub_period = properties.duration("page.store.scrub.period");
  options.intercept_silly_renames = properties.boolean("fuse.silly.rename.interceptor.enabled");
  options.access_times = properties.text("fuse.atime") == "noatime" ? volume::AccessTimePolicy::kNever
                                                                   : volume::AccessTimePolicy::kRelative;
  options.write_cache_enabled = properties.boolean("write.cache.enabled");
  options.objects = objects_options(properties);
  return options;
}

pages::PageStoreOptions page_store_options(const Properties& properties, const std::string& volume_id) {
  return {.dirs = properties.list("worker.page.store.dirs"),
          .volume_id = volume_id,
          .capacity_bytes = properties.size_bytes("worker.page.store.size"),
          .pinned_ratio = properties.ratio("worker.page.store.pinned.file.capacity.limit.ratio"),
          .soft_mark = properties.ratio("worker.page.store.soft.mark.ratio"),
          .page_bytes = properties.size_bytes("worker.page.store.page.size")};
}

}  // namespace weir::daemon
