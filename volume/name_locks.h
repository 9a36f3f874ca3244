// volume/name_locks.h -- keeps a name leading to one inode while an operation looks at that inode and changes the name.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/ids.h"

namespace weir::volume {

// Threads: concurrent. Lock order: before every OpenInode::mutex.
class NameLocks {
 public:
  class Held {
   public:
    Held(std::mutex& first, std::mutex* second) : first_(first) {
      if (second != nullptr) second_ = std::unique_lock(*second);
    }

   private:
    std::unique_lock<std::mutex> first_;
    std::unique_lock<std::mutex> second_;
  };

  Held lock(InodeId parent, std::string_view name) { return Held(stripes_[stripe_of(parent, name)], nullptr); }

  Held lock(InodeId parent, std::string_view name, InodeId other_parent, std::string_view other_name) {
    size_t first = stripe_of(parent, name);
    size_t second = stripe_of(other_parent, other_name);
    if (first > second) std::swap(first, second);
    return Held(stripes_[first], first == second ? nullptr : &stripes_[second]);
  }

 private:
  static constexpr size_t kStripes = 256;

  static size_t stripe_of(InodeId parent, std::string_view name) {
    return (std::hash<std::string_view>()(name) ^ (parent.value() * 0x9e3779b97f4a7c15)) % kStripes;
  }

  std::array<std::mutex, kStripes> stripes_;
};

}  // namespace weir::volume
