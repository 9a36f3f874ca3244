// volume/hidden_names.h -- names that layers above give to files which they want gone once nobody has them open
// (`.fuse_hidden*`, "silly renames"): such a file is unlinked, and the name leads to it while it is open.
//
// Threads: all methods may be called concurrently. Locks: mutex_ is a leaf.
// Crash: they are forgotten, and what is unlinked goes at the next start.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/ids.h"

namespace weir::volume {

class HiddenNames {
 public:
  static constexpr std::string_view kPrefix = ".fuse_hidden";

  // `is_open`: whether a handle still holds the inode. Called under no lock of this class; it takes OpenInode::mutex.
  explicit HiddenNames(std::function<bool(InodeId)> is_open) : is_open_(std::move(is_open)) {}

  void add(InodeId directory, std::string_view name, InodeId inode) {
    drop_closed();
    std::lock_guard lock(mutex_);
    names_[{directory, std::string(name)}] = inode;
  }

  std::optional<InodeId> find(InodeId directory, std::string_view name) {
    const Name key{directory, std::string(name)};
    std::optional<InodeId> inode;
    {
      std::lock_guard lock(mutex_);
      if (const auto it = names_.find(key); it != names_.end()) inode = it->second;
    }
    if (!inode || is_open_(*inode)) return inode;
    erase(directory, name);
    return std::nullopt;
  }

  bool erase(InodeId directory, std::string_view name) {
    std::lock_guard lock(mutex_);
    return names_.erase({directory, std::string(name)}) != 0;
  }

  // Whether the name led somewhere, and does so under its new name now.
  bool rename(InodeId directory, std::string_view name, InodeId new_directory, std::string_view new_name) {
    std::lock_guard lock(mutex_);
    const auto it = names_.find({directory, std::string(name)});
    if (it == names_.end()) return false;
    const InodeId inode = it->second;
    names_.erase(it);
    names_[{new_directory, std::string(new_name)}] = inode;
    return true;
  }

 private:
  using Name = std::pair<InodeId, std::string>;

  // Bounds what is kept of names that nobody asks for again: at most twice as many as files are open.
  void drop_closed() {
    std::map<Name, InodeId> all;
    {
      std::lock_guard lock(mutex_);
      if (names_.size() < sweep_at_) return;
      all = names_;
    }
    std::erase_if(all, [&](const auto& entry) { return is_open_(entry.second); });
    std::lock_guard lock(mutex_);
    for (const auto& [name, inode] : all) {
      const auto it = names_.find(name);
      if (it != names_.end() && it->second == inode) names_.erase(it);
    }
    sweep_at_ = std::max(kSweepMin, 2 * names_.size());
  }

  static constexpr size_t kSweepMin = 64;
  const std::function<bool(InodeId)> is_open_;
  std::mutex mutex_;
  std::map<Name, InodeId> names_;
  size_t sweep_at_ = kSweepMin;
};

}  // namespace weir::volume
