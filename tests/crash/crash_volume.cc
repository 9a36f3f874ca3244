#include "tests/crash/crash_volume.h"

#include <chrono>
#include <map>
#include <string_view>

#include "ufs/under_store.h"

namespace weir::testing {

namespace {

class LaterClock final : public Clock {
 public:
  TimePoint now() const override { return system_clock().now(); }
  WallTime wall_now() const override { return system_clock().wall_now() + std::chrono::minutes(10); }
};

const LaterClock later_clock;

}  // namespace

CrashVolume::CrashVolume(std::string dir, std::shared_ptr<MemUfs> bucket, Time time)
    : dir_(std::move(dir)),
      bucket_(std::move(bucket)),
      clock_(time == Time::kNow ? static_cast<const Clock&>(system_clock()) : later_clock) {
  options.names.sync_interval = Duration(-1);
  options.persist.threads = 2;
  options.persist.part_bytes = kPartBytes;
  options.persist.retry_interval_min = std::chrono::milliseconds(5);
  options.persist.late_effect_max = Duration::zero();  // the bucket in memory finishes what it began
  options.persist.retry_interval_max = std::chrono::milliseconds(50);
  options.persist.deadline = std::chrono::milliseconds(200);  // so that it hardly stands back
  options.open_store = [this](std::string_view, const std::map<std::string, std::string>&)
      -> Result<std::shared_ptr<ufs::UnderStore>> { return bucket_; };
}

CrashVolume::~CrashVolume() { drop(); }

void CrashVolume::open() {
  kv_ = must(kv::RocksKv::open({.dir = dir_ + "/kv",
                                .block_cache_bytes = 1 << 20,
                                .write_buffer_bytes = 256 << 10,
                                .row_cache_bytes = 1 << 20}));
  pages_ = must(pages::open_page_store(
      {.dirs = {dir_ + "/pages"}, .volume_id = "v", .capacity_bytes = 1 << 30, .page_bytes = kPageBytes}));
  volume_ = must(volume::Volume::open(*kv_, *pages_, clock_, options, "volume-1"));
  if (must(volume_->mount_points()).empty()) must(volume_->add_mount("/s3", "mem:///", {}));
  root_ = must(volume_->lookup(kRootInode, "s3")).attributes.inode;
}

void CrashVolume::drop() {
  volume_.reset();
  pages_.reset();
  kv_.reset();
}

void CrashVolume::stop() {
  if (volume_) volume_->stop(later());
  drop();
}

std::string CrashVolume::fsck() {
  std::string told;
  must(volume_->fsck({.ufs = true, .second_look_after = std::chrono::milliseconds(20)},
                     {.discrepancy =
                          [&](const meta::Discrepancy& wrong) {
                            // A copy whose making was cut short may stay behind.
                            const bool parked = wrong.kind == "object_stray" && wrong.key.starts_with(".weir-parked/");
                            if (wrong.kind != "file_quarantined" && !parked) told += meta::to_string(wrong) + '\n';
                          },
                      .progress = {}}));
  return told;
}

}  // namespace weir::testing
