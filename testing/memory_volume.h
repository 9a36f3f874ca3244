// testing/memory_volume.h -- a volume over a bucket in memory, with a page store in a folder that goes with it.
//
// crash() drops everything that a process holds; start() opens the rest again, as after SIGKILL. Calls that must work throw
// when they do not. Header only: whoever includes it links the volume.
// Threads: one thread at a time.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "kv/mem_kv.h"
#include "testing/fault_ufs.h"
#include "testing/mem_ufs.h"
#include "volume/volume.h"

namespace weir::testing {

template <typename T>
T must(Result<T> result) {
  if (!result.has_value()) throw std::runtime_error(result.error().to_string());
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Bytes that say where they are.
inline std::string pattern(size_t size, char seed = 'a') {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(seed + (i / 4'099 + i) % 23);
  return text;
}

class MemoryVolume {
 public:
  static constexpr meta::Caller kCaller{.uid = 1000, .gid = 1000};
  static constexpr Duration kPatience = std::chrono::seconds(60);

  MemoryVolume() {
    char path[] = "/tmp/weir-volume-XXXXXX";
    dir_ = ::mkdtemp(path);
    options.names.sync_interval = Duration(-1);
    options.persist.threads = 4;
    options.persist.retry_interval_min = std::chrono::milliseconds(10);
    options.persist.late_effect_max = Duration::zero();  // the bucket in memory finishes what it began
    options.open_store = [this](std::string_view, const auto&) -> Result<std::shared_ptr<ufs::UnderStore>> {
      return std::shared_ptr<ufs::UnderStore>(std::shared_ptr<void>(), &store);
    };
  }
  ~MemoryVolume() {
    crash();
    std::filesystem::remove_all(dir_);
  }
  MemoryVolume(const MemoryVolume&) = delete;

  void start() {
    pages_ = must(pages::open_page_store({.dirs = {dir_ + "/pages"}, .volume_id = "v", .capacity_bytes = 1 << 30}));
    volume_ = must(volume::Volume::open(kv, *pages_, system_clock(), options, "volume-1"));
    if (must(volume_->mount_points()).empty()) must(volume_->add_mount("/s3", "mem:///", {}));
    root_ = find(kRootInode, "s3");
  }
  void crash() {
    volume_.reset();
    pages_.reset();
  }

  volume::Volume& operator*() { return *volume_; }
  volume::Volume* operator->() { return volume_.get(); }
  pages::PageStore& pages() { return *pages_; }
  const std::string& dir() const { return dir_; }
  InodeId root() const { return root_; }  // /s3

  InodeId find(InodeId parent, std::string_view name) { return must(volume_->lookup(parent, name)).attributes.inode; }
  bool there(InodeId parent, std::string_view name) { return volume_->lookup(parent, name).has_value(); }
  InodeId make_directory(InodeId parent, std::string_view name) {
    return must(volume_->make_directory(parent, name, 0755, kCaller)).attributes.inode;
  }
  InodeId put(InodeId parent, std::string_view name, std::string_view content) {
    auto created = must(volume_->create(parent, name, 0644, kCaller, {.access = volume::Access::kWrite}));
    if (!content.empty()) must(created.file->write(0, bytes_of(content)));
    must(created.file->flush());
    created.file->close();
    return created.entry.attributes.inode;
  }
  static std::string read(volume::OpenFile& file) {
    std::string content(1 << 20, '\0');
    content.resize(must(file.read(0, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  std::vector<std::string> list(InodeId directory) {
    std::vector<std::string> names;
    for (const auto& plus : must(volume_->read_directory(directory, "", 1'000, volume::WithAttributes::kNo)).entries)
      names.push_back(plus.entry.name);
    return names;
  }

  void put_object(std::string_view key, std::string_view content, const ufs::ObjectAttributes& attributes = {}) {
    must(bucket.put(key, bytes_of(content), {.attributes = attributes}, later()));
  }
  std::vector<std::string> keys() {
    std::vector<std::string> keys;
    for (const auto& object : must(bucket.list({}, later())).objects) keys.push_back(object.key);
    return keys;
  }

  static Deadline later() { return Deadline::after(kPatience); }
  void drain() { must(volume_->persister().drain(later())); }
  // Whether the condition came to hold in time.
  static bool wait(const std::function<bool()>& holds) {
    for (const Deadline deadline = later(); !holds(); std::this_thread::sleep_for(std::chrono::milliseconds(10)))
      if (deadline.expired()) return false;
    return true;
  }

  // What fsck tells, one line each: empty for a sound volume.
  std::string fsck(volume::FsckOptions options = {.ufs = true, .foreign_objects = true}) {
    options.second_look_after = std::chrono::milliseconds(20);
    std::string told;
    must(volume_->fsck(options, {.discrepancy = [&](const meta::Discrepancy& wrong) {
                                   told += meta::to_string(wrong) + '\n';
                                 },
                                 .progress = {}}));
    return told;
  }

  kv::MemKv kv;
  MemUfs bucket;
  FaultUfs store{bucket, 1};  // what the volume sees of it
  volume::VolumeOptions options;

 private:
  std::string dir_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<volume::Volume> volume_;
  InodeId root_{};
};

}  // namespace weir::testing
