// kv/row_cache.h -- the latest committed rows that were read or written lately, to answer point reads without the store.
//
// An entry holds what a key was at `version` and still is: whoever commits replaces or drops it before the new version is
// published. So a reader whose snapshot is exactly version v may use an entry of a version up to v, and may leave what it
// read in the store, provided that no entry of a later version was there and was dropped since (the shard's floor).
//
// Threads: all methods may be called concurrently, commits in their order. Locks: a shard's mutex is a leaf.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "kv/conflict_set.h"

namespace weir::kv {

class RowCache {
 public:
  // Larger values are not worth their place.
  static constexpr size_t kValueBytesMax = 1'024;

  explicit RowCache(size_t bytes_max) : generation_bytes_max_(bytes_max / kShards / 2) {}

  // The row as of `version`: absent from the cache, or (inner nullopt) known to be absent from the store.
  std::optional<std::optional<std::string>> find(std::string_view key, Version version);

  // What a snapshot of exactly `version` showed.
  void remember(std::string_view key, const std::optional<std::string>& value, Version version);

  // A commit, visible in the store but not published yet.
  void put(std::string_view key, std::string_view value, Version version);
  void erase(std::string_view key, Version version);
  void erase_all(Version version);

 private:
  static constexpr size_t kShards = 32;
  static constexpr size_t kEntryBytes = 96;  // what the containers take besides key and value

  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view key) const { return std::hash<std::string_view>()(key); }
  };
  struct Entry {
    std::optional<std::string> value;
    Version version = 0;
  };
  // What was not used since the generation before last is dropped.
  struct Generation {
    std::unordered_map<std::string, Entry, Hash, std::equal_to<>> entries;
    size_t bytes = 0;
    Version newest = 0;
  };
  struct alignas(64) Shard {
    std::mutex mutex;
    Generation young;
    Generation old;
    Version floor = 0;  // entries up to this version may have been dropped
  };

  Shard& shard_of(std::string_view key) { return shards_[Hash()(key) >> 7 & (kShards - 1)]; }
  void insert(Shard& shard, std::string_view key, std::optional<std::string> value, Version version);
  static void drop(Generation& generation, std::string_view key);

  const size_t generation_bytes_max_;
  std::array<Shard, kShards> shards_;
};

}  // namespace weir::kv
