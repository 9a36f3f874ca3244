#include "kv/row_cache.h"

#include <algorithm>
#include <utility>

namespace weir::kv {

std::optional<std::optional<std::string>> RowCache::find(std::string_view key, Version version) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  if (const auto it = shard.young.entries.find(key); it != shard.young.entries.end()) {
    if (it->second.version > version) return std::nullopt;
    return it->second.value;
  }
  const auto it = shard.old.entries.find(key);
  if (it == shard.old.entries.end() || it->second.version > version) return std::nullopt;
  std::optional<std::string> value = it->second.value;
  const Version since = it->second.version;
  drop(shard.old, key);
  insert(shard, key, value, since);
  return value;
}

void RowCache::remember(std::string_view key, const std::optional<std::string>& value, Version version) {
  if (value && value->size() > kValueBytesMax) return;
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  if (version < shard.floor || shard.young.entries.contains(key) || shard.old.entries.contains(key)) return;
  insert(shard, key, value, version);
}

void RowCache::put(std::string_view key, std::string_view value, Version version) {
  // Empty values mark membership in a set; nobody reads them one by one.
  if (value.empty() || value.size() > kValueBytesMax) return erase(key, version);
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  if (const auto it = shard.young.entries.find(key); it != shard.young.entries.end()) {
    Entry& entry = it->second;
    shard.young.bytes += value.size() - (entry.value ? entry.value->size() : 0);
    shard.young.newest = std::max(shard.young.newest, version);
    entry = {std::string(value), version};
    return;
  }
  drop(shard.old, key);
  insert(shard, key, std::string(value), version);
}

void RowCache::erase(std::string_view key, Version version) {
  Shard& shard = shard_of(key);
  const std::lock_guard lock(shard.mutex);
  drop(shard.old, key);
  drop(shard.young, key);
  shard.floor = std::max(shard.floor, version);
}

void RowCache::erase_all(Version version) {
  for (Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    shard.young = {};
    shard.old = {};
    shard.floor = std::max(shard.floor, version);
  }
}

void RowCache::insert(Shard& shard, std::string_view key, std::optional<std::string> value, Version version) {
  if (shard.young.bytes > generation_bytes_max_) {
    shard.floor = std::max(shard.floor, shard.old.newest);
    shard.old = std::exchange(shard.young, {});
  }
  shard.young.bytes += kEntryBytes + key.size() + (value ? value->size() : 0);
  shard.young.newest = std::max(shard.young.newest, version);
  shard.young.entries.emplace(std::string(key), Entry{std::move(value), version});
}

void RowCache::drop(Generation& generation, std::string_view key) {
  const auto it = generation.entries.find(key);
  if (it == generation.entries.end()) return;
  generation.bytes -= kEntryBytes + key.size() + (it->second.value ? it->second.value->size() : 0);
  generation.entries.erase(it);
}

}  // namespace weir::kv
