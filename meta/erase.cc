#include "meta/namespace.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

// The whiteout of `item`, if it still stands as the item saw it.
Result<std::optional<format::Owner>> standing_whiteout(Tables& tables, const EraseItem& item) {
  TRY_ASSIGN(auto owner, tables.find_owner(item.mount, item.key));
  if (!owner || owner->inode() != 0 || owner->erase_due_ns() != item.due_ns || owner->etag() != item.etag ||
      InodeId(owner->former()) != item.former)
    return std::optional<format::Owner>{};
  return owner;
}

}  // namespace

Result<std::vector<EraseItem>> Namespace::erases(int64_t due_ns, size_t items_max,
                                                 const std::optional<EraseItem>& after) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<std::vector<EraseItem>> {
    const std::string end = format::erase_key(due_ns + 1, MountId(0), "");
    const std::string begin = after ? kv::key_after(format::erase_key(after->due_ns, after->mount, after->key))
                                    : format::erase_range().begin;
    if (begin >= end) return std::vector<EraseItem>{};
    TRY_ASSIGN(const auto page, tables.txn().get_range(begin, end,
                                                       {.rows_max = items_max, .isolation = kv::Isolation::kSnapshot}));
    std::vector<EraseItem> items;
    for (const auto& row : page.rows) {
      TRY_ASSIGN(auto entry, format::parse_erase_key(row.key));
      TRY_ASSIGN(const auto owner, tables.find_owner(entry.mount, entry.object_key, kv::Isolation::kSnapshot));
      if (!owner || owner->inode() != 0) continue;
      items.push_back({.mount = entry.mount,
                       .key = std::move(entry.object_key),
                       .etag = owner->etag(),
                       .former = InodeId(owner->former()),
                       .verify = owner->verify(),
                       .due_ns = entry.due_ns,
                       .attempts = owner->attempts(),
                       .looked_at = owner->looked_at()});
    }
    return items;
  });
}

Result<bool> Namespace::erase_allowed(const EraseItem& item) {
  return read_operation(kv_, clock_, [&](Tables& tables) -> Result<bool> {
    TRY_ASSIGN(const auto owner, standing_whiteout(tables, item));
    return owner.has_value();
  });
}

Result<void> Namespace::erased(const std::vector<EraseItem>& items) {
  const int64_t now_ns = unix_ns(clock_.wall_now());
  // Remembered before the whiteouts go: no listing may slip in between.
  for (const EraseItem& item : items) recent_erasures_.add(item.mount, item.key, now_ns);
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    if (!items.empty()) tables.txn().max(format::usage_key(kLastErasure), now_ns);
    for (const EraseItem& item : items) {
      TRY_ASSIGN(const auto owner, standing_whiteout(tables, item));
      if (owner) tables.erase_owner(item.mount, item.key, owner);
    }
    return {};
  });
}

Result<void> Namespace::defer_erase(const EraseItem& item, int64_t due_ns, Deferral why) {
  return run_operation(kv_, clock_, [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(auto owner, standing_whiteout(tables, item));
    if (!owner) return {};
    tables.txn().erase(format::erase_key(owner->erase_due_ns(), item.mount, item.key));
    owner->set_erase_due_ns(due_ns);
    if (why == Deferral::kFailed) {
      owner->set_attempts(owner->attempts() + 1);
    } else {
      owner->set_looked_at(true);
    }
    tables.txn().put(format::owner_key(item.mount, item.key), format::encode(*owner));
    tables.txn().put(format::erase_key(due_ns, item.mount, item.key), "");
    return {};
  });
}

void RecentErasures::add(MountId mount, const std::string& key, int64_t now_ns) {
  std::lock_guard lock(mutex_);
  std::pair<MountId, std::string> id{mount, key};
  keys_[id] = now_ns;
  order_.emplace_back(now_ns, std::move(id));
  while (order_.size() > kKeysMax) {
    const auto& [time_ns, oldest] = order_.front();
    forgotten_until_ns_ = std::max(forgotten_until_ns_, time_ns);
    if (const auto it = keys_.find(oldest); it != keys_.end() && it->second == time_ns) keys_.erase(it);
    order_.pop_front();
  }
}

bool RecentErasures::erased_since(MountId mount, const std::string& key, int64_t since_ns) const {
  std::lock_guard lock(mutex_);
  if (forgotten_until_ns_ >= since_ns) return true;
  const auto it = keys_.find({mount, key});
  return it != keys_.end() && it->second >= since_ns;
}

bool RecentErasures::erased_below_since(MountId mount, const std::string& prefix, int64_t since_ns) const {
  std::lock_guard lock(mutex_);
  if (forgotten_until_ns_ >= since_ns) return true;
  int looked_at = 0;
  for (auto it = keys_.lower_bound({mount, prefix}); it != keys_.end(); ++it) {
    const auto& [erased_mount, key] = it->first;
    if (erased_mount != mount || !key.starts_with(prefix)) return false;
    if (it->second >= since_ns || ++looked_at == kKeysLookedAtMax) return true;
  }
  return false;
}

}  // namespace weir::meta
