// persist/key_locks.h -- at most one of our requests changes an object key at a time.
//
// Between an eraser and an uploader the owner table decides whose a key is; the lock makes sure that the request of the
// one is over before that of the other is sent. A holder never waits for a second key, so holders cannot deadlock.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace weir::persist {

class KeyLocks {
 public:
  class Held {
   public:
    Held(Held&& other) noexcept : locks_(other.locks_), name_(std::move(other.name_)) { other.locks_ = nullptr; }
    Held(const Held&) = delete;
    ~Held();

   private:
    friend class KeyLocks;
    Held(KeyLocks* locks, std::string name) : locks_(locks), name_(std::move(name)) {}

    KeyLocks* locks_;
    std::string name_;
  };

  // kTimedOut.
  Result<Held> lock(MountId mount, std::string_view key, Deadline deadline);
  std::optional<Held> try_lock(MountId mount, std::string_view key);

 private:
  static constexpr size_t kShards = 16;
  struct Shard {
    std::mutex mutex;  // a leaf
    std::condition_variable released;
    std::unordered_set<std::string> held;
  };

  Shard& shard_of(const std::string& name) { return shards_[std::hash<std::string>{}(name) % kShards]; }

  std::array<Shard, kShards> shards_;
};

}  // namespace weir::persist
