// tests/crash/crash_volume.h -- a whole volume in this process: RocksDB and page store in one folder, over a bucket in memory.
//
// Threads: open, close and crash by one thread while no other uses the volume.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "kv/rocks_kv.h"
#include "pages/page_store.h"
#include "testing/mem_ufs.h"
#include "volume/volume.h"

namespace weir::testing {

class CrashVolume {
 public:
  static constexpr uint64_t kPageBytes = 16 << 10;
  static constexpr uint64_t kPartBytes = 32 << 10;
  static constexpr meta::Caller kCaller{.uid = 1000, .gid = 1000};

  // kLater: a while after whatever happened before, so that nothing waits for a time of grace to pass.
  enum class Time : uint8_t { kNow, kLater };
  // `bucket` is what its one mount point, /s3, leads to; empty ones are made.
  CrashVolume(std::string dir, std::shared_ptr<MemUfs> bucket, Time time = Time::kNow);
  ~CrashVolume();
  CrashVolume(const CrashVolume&) = delete;

  // Throws what failed.
  void open();
  // Everything that the process holds is gone. What destructors do then is up to VolatileDisk::kill().
  void drop();
  // As the daemon does.
  void stop();

  volume::Volume& operator*() { return *volume_; }
  volume::Volume* operator->() { return volume_.get(); }
  pages::PageStore& pages() { return *pages_; }
  kv::RocksKv& kv() { return *kv_; }
  MemUfs& bucket() { return *bucket_; }
  InodeId root() const { return root_; }  // /s3

  // What fsck tells, one line each: empty for a sound volume. Not of files that are quarantined: whether they may be the load knows. Nor of
  // objects that were on their way through .weir-parked/: they are copies, and nothing is lost with them.
  std::string fsck();

  volume::VolumeOptions options;

  static Deadline later() { return Deadline::after(std::chrono::seconds(60)); }
  static std::shared_ptr<MemUfs> make_bucket() {
    return std::make_shared<MemUfs>(MemUfsOptions{.part_bytes_min = 1});
  }

 private:
  const std::string dir_;
  const std::shared_ptr<MemUfs> bucket_;
  const Clock& clock_;
  std::unique_ptr<kv::RocksKv> kv_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<volume::Volume> volume_;
  InodeId root_{};
};

template <typename T>
T must(Result<T> result) {
  if (!result.has_value()) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace weir::testing
