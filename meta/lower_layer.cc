#include "meta/lower_layer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/log.h"
#include "format/keys.h"
#include "meta/object_attributes.h"
#include "meta/object_facts_form.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

constexpr size_t kRefreshesMax = 1'024;     // waiting for a background thread
constexpr int kBackgroundThreads = 2;
constexpr size_t kHiddenMax = 100'000;      // remembered for messages; all are counted
constexpr Duration kBackgroundTimeout = std::chrono::minutes(10);
constexpr Duration kPauseAfterFailure = std::chrono::seconds(2);  // of one directory's refreshes

// An object or common prefix, relative to the listed prefix, in the order of dentry keys.
struct Listed {
  std::string cursor;  // "name" or "name/"
  LowerEntry entry;
};

// Why POSIX cannot show a component; empty when it can.
std::string_view unshowable(std::string_view name) {
  if (name.empty()) return "empty component ('//')";
  if (name == "." || name == "..") return "component '.' or '..'";
  if (name.size() > kNameBytesMax) return "component over 255 bytes";
  if (name.find('\0') != std::string_view::npos) return "NUL in the name";
  return {};
}

}  // namespace

class LowerLayer::Impl {
 public:
  Impl(Namespace& names, const ufs::MountTable& mounts, ChangeListener listener)
      : names_(names), mounts_(mounts), listener_(std::move(listener)) {
    for (auto& thread : threads_) thread = std::thread([this] { run_background(); });
  }

  ~Impl() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  Result<void> load_name(InodeId directory, std::string_view name, Deadline deadline) {
    TRY_ASSIGN(const Inode record, names_.load(directory));
    if (!record.has_lower() || record.lower().listed_ns() != 0) return {};
    Turn turn(*this, directory);
    TRY(turn.wait(deadline));
    TRY_ASSIGN(auto lower, unlisted_lower(directory));
    if (!lower) return {};
    TRY_ASSIGN(const auto store, store_of(*lower));
    lower->set_listed_ns(now_ns());
    TRY_ASSIGN(const auto page, store->list({.prefix = lower->prefix(), .delimiter = "/"}, deadline));
    if (page.token.empty()) return list_from(directory, *lower, *store, page, deadline);
    TRY(load_one(directory, *lower, *store, name, deadline));
    refresh_in_background(directory);
    return {};
  }

  Result<void> load_directory(InodeId directory, Deadline deadline) {
    TRY_ASSIGN(const Inode record, names_.load(directory));
    if (!record.has_lower() || record.lower().listed_ns() != 0) return {};
    Turn turn(*this, directory);
    TRY(turn.wait(deadline));
    TRY_ASSIGN(const auto lower, unlisted_lower(directory));
    if (!lower) return {};
    return list(directory, *lower, deadline);
  }

  Result<void> refresh(InodeId directory, Deadline deadline) {
    Turn turn(*this, directory);
    TRY(turn.wait(deadline));
    TRY_ASSIGN(const Inode record, names_.load(directory));
    if (!record.has_lower()) return {};
    return list(directory, record.lower(), deadline);
  }

  Result<bool> look_at_home(InodeId id, Accept accept, Deadline deadline) {
    TRY_ASSIGN(const Inode inode, names_.load(id));
    if (!inode.has_home()) return false;
    format::Lower place;
    place.set_mount(inode.home().mount());
    TRY_ASSIGN(const auto store, store_of(place));
    const auto head = store->head(inode.home().key(), deadline);
    if (failed_with(head, ErrorCode::kNotFound)) return false;
    TRY(head);
    const auto owner = owner_of(head->attributes);
    const bool own = owner && owner->volume_id == names_.volume_id() && owner->inode == id;
    if (head->info.etag == inode.home().etag() || (accept == Accept::kOwn && !own)) return false;
    auto changes = names_.take_home(id, inode.home().etag(), head->info.etag, head->info.size_bytes, unix_ns(head->info.last_modified));
    TRY(changes);
    if (changes->content_changed.empty()) return false;
    log_warn("lower.object_is_another", {{"inode", id}, {"object", store->uri() + inode.home().key()}, {"own", own}});
    TRY(apply(InodeId(inode.parent()), std::move(changes)));
    return true;
  }

  void refresh_in_background(InodeId directory) {
    std::lock_guard lock(mutex_);
    if (stopping_ || waiting_.size() >= kRefreshesMax) return;
    if (const auto it = paused_.find(directory); it != paused_.end()) {
      if (names_.clock().now() < it->second) return;
      paused_.erase(it);
    }
    if (!known_.insert(directory).second) return;
    waiting_.push_back(directory);
    changed_.notify_all();
  }

  Result<Inode> load_attributes(const Inode& inode, Deadline deadline) {
    if (!inode.attributes_unknown()) return inode;
    const InodeId id(inode.id());
    format::Lower place;
    if (inode.has_home()) {
      place.set_mount(inode.home().mount());
      place.set_prefix(inode.home().key());
    } else {
      place = inode.lower();
    }
    const auto store = store_of(place);
    // Out of reach: what the listing told has to do for now.
    if (!store.has_value()) return inode;
    auto head = (*store)->head(place.prefix(), deadline);
    if (!head.has_value()) {
      if (head.error().code() != ErrorCode::kNotFound) return inode;
      if (is_directory(inode)) return names_.set_lower_attributes(id, inode.home().etag(), {});
      if (inode.shadow()) {
        TRY(apply(InodeId(inode.parent()), names_.drop_hidden(id, inode.home().etag())));
        return names_.load(id);
      }
      TRY(apply(InodeId(inode.parent()),
                names_.drop_lower(InodeId(inode.parent()), inode.name(), inode.home().etag())));
      return names_.load(id);
    }
    if (is_directory(inode) && !inode.has_home() && head->info.size_bytes == 0) {
      place.set_listed_ns(now_ns());
      const LowerEntry marker{.name = "", .directory = true, .has_object = true, .etag = head->info.etag};
      TRY(apply(id, names_.merge_lower(id, place, {marker})));
    }
    LowerAttributes attributes = from_object(*head);
    if (attributes.type == format::SYMLINK && attributes.symlink_target.empty()) {
      std::vector<std::byte> body(std::min<uint64_t>(head->info.size_bytes, kSymlinkBodyBytesMax));
      const auto read = (*store)->get(place.prefix(), 0, body, head->info.etag, deadline);
      if (!read.has_value()) return inode;
      auto target = decode_symlink({reinterpret_cast<const char*>(body.data()), *read});
      if (target.has_value()) {
        attributes.symlink_target = *std::move(target);
      } else {
        attributes.type = format::REGULAR;
      }
    }
    if (!attributes.sidecar.key().empty()) {
      attributes.sidecar.set_mount(place.mount());
      const auto loaded = load_sidecar(**store, attributes, deadline);
      if (failed_with(loaded, ErrorCode::kNotFound) || failed_with(loaded, ErrorCode::kInvalid)) {
        log_warn("lower.extended_attributes_lost",
                 {{"object", (*store)->uri() + place.prefix()}, {"error", loaded.error()}});
        attributes.sidecar.clear_key();
      } else if (!loaded) {
        return inode;
      }
    }
    auto known = names_.set_lower_attributes(id, head->info.etag, attributes);
    if (known && InodeId(known->id()) != id) {
      Namespace::LowerChanges changes;
      changes.content_changed.emplace_back(known->id());  // one more name
      listener_(InodeId(inode.parent()), changes);
    }
    return known;
  }

  Result<void> refresh_shadow(const Inode& inode, Deadline deadline) {
    format::Lower place;
    place.set_mount(inode.home().mount());
    TRY_ASSIGN(const auto store, store_of(place));
    const int64_t from_ns = now_ns();
    const auto head = store->head(inode.home().key(), deadline);
    if (failed_with(head, ErrorCode::kNotFound))
      return apply(InodeId(inode.parent()), names_.drop_hidden(InodeId(inode.id()), inode.home().etag()));
    TRY(head);
    return apply(InodeId(inode.parent()),
                 names_.merge_hidden(MountId(place.mount()), from_ns, {hidden_object(head->info)}));
  }

  Result<std::vector<Hidden>> hidden(InodeId directory, Deadline deadline) {
    TRY(refresh(directory, deadline));
    std::lock_guard lock(mutex_);
    const auto it = hidden_.find(directory);
    return it == hidden_.end() ? std::vector<Hidden>{} : it->second;
  }

  uint64_t hidden_count() const { return hidden_count_.load(std::memory_order_relaxed); }

 private:
  // The right to list one directory.
  class Turn {
   public:
    Turn(Impl& impl, InodeId directory) : impl_(impl), directory_(directory) {}
    Turn(const Turn&) = delete;
    ~Turn() {
      if (!held_) return;
      {
        std::lock_guard lock(impl_.mutex_);
        impl_.listing_.erase(directory_);
      }
      impl_.changed_.notify_all();
    }

    Result<void> wait(Deadline deadline) {
      std::unique_lock lock(impl_.mutex_);
      const auto free = [&] { return impl_.stopping_ || !impl_.listing_.contains(directory_); };
      if (!impl_.changed_.wait_for(lock, std::min<Duration>(deadline.left(), kBackgroundTimeout), free))
        return fail(ErrorCode::kTimedOut, "another listing of the directory takes too long");
      if (impl_.stopping_) return fail(ErrorCode::kCancelled, "stopping");
      impl_.listing_.insert(directory_);
      held_ = true;
      return {};
    }

   private:
    Impl& impl_;
    const InodeId directory_;
    bool held_ = false;
  };

  int64_t now_ns() const { return unix_ns(names_.clock().wall_now()); }

  Result<std::shared_ptr<ufs::UnderStore>> store_of(const format::Lower& lower) const {
    auto mounted = mounts_.find(MountId(lower.mount()));
    if (mounted.store == nullptr)
      return fail(ErrorCode::kUnavailable, "the UFS of this mount point could not be reached; see mount-table list");
    return std::move(mounted.store);
  }

  Result<std::optional<format::Lower>> unlisted_lower(InodeId directory) {
    TRY_ASSIGN(const Inode record, names_.load(directory));
    if (!record.has_lower() || record.lower().listed_ns() != 0) return std::optional<format::Lower>{};
    return std::optional(record.lower());
  }

  // Reads the extended attributes that `attributes.sidecar` holds.
  static Result<void> load_sidecar(ufs::UnderStore& store, LowerAttributes& attributes, Deadline deadline) {
    format::Home& sidecar = attributes.sidecar;
    TRY_ASSIGN(const auto head, store.head(sidecar.key(), deadline));
    if (head.info.size_bytes > kSidecarBytesMax)
      return fail(ErrorCode::kInvalid, "'" + sidecar.key() + "' is too large to hold extended attributes");
    std::string body(head.info.size_bytes, '\0');
    TRY_ASSIGN(const size_t read, store.get(sidecar.key(), 0, std::as_writable_bytes(std::span(body)),
                                            head.info.etag, deadline));
    body.resize(read);
    TRY_ASSIGN(attributes.xattrs, decode_sidecar(body));
    take_facts_entry(attributes.xattrs, attributes.object);
    sidecar.set_etag(head.info.etag);
    sidecar.set_size(head.info.size_bytes);
    return {};
  }

  // Hands changes to the listener.
  Result<void> apply(InodeId directory, Result<Namespace::LowerChanges> changes) {
    TRY(changes);
    listener_(directory, *changes);
    return {};
  }

  // What a listing showed that no path can.
  struct Unshown {
    std::vector<Namespace::HiddenObject> objects;
    std::vector<std::string> prefixes;
  };
  static Namespace::HiddenObject hidden_object(const ufs::ObjectInfo& info) {
    return {.key = info.key, .etag = info.etag, .size = info.size_bytes, .mtime_ns = unix_ns(info.last_modified)};
  }

  Result<void> take_unshown(InodeId directory, const format::Lower& lower, ufs::UnderStore& store, Unshown unshown,
                            Deadline deadline) {
    const auto take = [&](const std::vector<Namespace::HiddenObject>& objects) -> Result<void> {
      for (size_t begin = 0; begin < objects.size(); begin += Namespace::kLowerBatchMax) {
        const size_t end = std::min(begin + Namespace::kLowerBatchMax, objects.size());
        TRY(apply(directory, names_.merge_hidden(MountId(lower.mount()), lower.listed_ns(),
                                                 {objects.begin() + static_cast<ptrdiff_t>(begin),
                                                  objects.begin() + static_cast<ptrdiff_t>(end)})));
      }
      return {};
    };
    TRY(take(unshown.objects));
    for (const std::string& prefix : unshown.prefixes) {
      std::string token;
      do {
        TRY_ASSIGN(const auto page, store.list({.prefix = prefix, .token = token}, deadline));
        std::vector<Namespace::HiddenObject> objects;
        for (const auto& object : page.objects) objects.push_back(hidden_object(object));
        TRY(take(objects));
        token = page.token;
      } while (!token.empty());
    }
    return {};
  }

  Result<void> list(InodeId directory, format::Lower lower, Deadline deadline) {
    TRY_ASSIGN(const auto store, store_of(lower));
    lower.set_listed_ns(now_ns());
    TRY_ASSIGN(const auto page, store->list({.prefix = lower.prefix(), .delimiter = "/"}, deadline));
    return list_from(directory, lower, *store, page, deadline);
  }

  // Takes in the listing that begins with `page`. `lower.listed_ns` is when it began.
  Result<void> list_from(InodeId directory, const format::Lower& lower, ufs::UnderStore& store, ufs::ListPage page,
                         Deadline deadline) {
    std::vector<Hidden> hidden;
    std::string after;  // the listing is complete up to this cursor
    for (;;) {
      Unshown unshown;
      std::vector<Listed> listed = sort_out(lower, page, hidden, unshown);
      const bool last = page.token.empty();
      const std::string until = last ? std::string() : last_cursor(lower, page);
      TRY(merge(directory, lower, store, listed, hidden, unshown, deadline));
      TRY(take_unshown(directory, lower, store, std::move(unshown), deadline));
      TRY(drop_vanished(directory, lower, store, listed, after, until, deadline));
      if (last) break;
      after = until;
      TRY_ASSIGN(page, store.list({.prefix = lower.prefix(), .delimiter = "/", .token = page.token}, deadline));
    }
    remember_hidden(directory, std::move(hidden));
    return names_.set_listed(directory, lower, lower.listed_ns());
  }

  std::vector<Listed> sort_out(const format::Lower& lower, const ufs::ListPage& page, std::vector<Hidden>& hidden,
                               Unshown& unshown) {
    std::vector<Listed> listed;
    listed.reserve(page.objects.size() + page.prefixes.size());
    const size_t prefix_bytes = lower.prefix().size();
    for (const auto& object : page.objects) {
      const std::string name = object.key.substr(prefix_bytes);
      if (name.empty()) {
        if (object.size_bytes != 0) {
          hidden.push_back({object.key, "data under a trailing slash"});
          unshown.objects.push_back(hidden_object(object));
          continue;
        }
      } else if (const auto reason = unshowable(name); !reason.empty()) {
        hidden.push_back({object.key, std::string(reason)});
        unshown.objects.push_back(hidden_object(object));
        continue;
      }
      listed.push_back({name,
                        {.name = name,
                         .directory = name.empty(),
                         .has_object = true,
                         .etag = object.etag,
                         .size = object.size_bytes,
                         .mtime_ns = unix_ns(object.last_modified)}});
    }
    for (const auto& prefix : page.prefixes) {
      std::string cursor = prefix.substr(prefix_bytes);
      std::string name = cursor.substr(0, cursor.size() - 1);
      if (prefix_bytes == 0 && (cursor == kParkingPrefix || cursor == kSidecarPrefix)) continue;
      if (const auto reason = unshowable(name); !reason.empty()) {
        hidden.push_back({prefix, std::string(reason)});
        unshown.prefixes.push_back(prefix);
        continue;
      }
      listed.push_back({std::move(cursor), {.name = std::move(name), .directory = true}});
    }
    std::sort(listed.begin(), listed.end(), [](const Listed& a, const Listed& b) { return a.cursor < b.cursor; });
    return listed;
  }

  static std::string last_cursor(const format::Lower& lower, const ufs::ListPage& page) {
    std::string last = page.complete_until;
    if (!last.empty()) return last.substr(lower.prefix().size());
    if (!page.objects.empty()) last = page.objects.back().key;
    if (!page.prefixes.empty()) last = std::max(last, page.prefixes.back());
    return last.empty() ? last : last.substr(lower.prefix().size());
  }

  Result<void> merge(InodeId directory, const format::Lower& lower, ufs::UnderStore& store,
                     const std::vector<Listed>& listed, std::vector<Hidden>& hidden, Unshown& unshown,
                     Deadline deadline) {
    for (size_t begin = 0; begin < listed.size(); begin += Namespace::kLowerBatchMax) {
      const size_t end = std::min(begin + Namespace::kLowerBatchMax, listed.size());
      std::vector<LowerEntry> batch;
      batch.reserve(end - begin);
      for (size_t i = begin; i < end; ++i) batch.push_back(listed[i].entry);
      while (!batch.empty()) {
        auto changes = names_.merge_lower(directory, lower, batch);
        TRY(changes);
        for (const auto& name : changes->shadowed) {
          hidden.push_back({lower.prefix() + name, "a directory has the same name"});
          TRY(take_shadowed(lower, store, name, listed, unshown, deadline));
        }
        listener_(directory, *changes);
        TRY_ASSIGN(batch, confirm(lower, store, std::move(changes->doubtful), deadline));
      }
    }
    return {};
  }

  // An object that a directory of its name keeps from being shown.
  static Result<void> take_shadowed(const format::Lower& lower, ufs::UnderStore& store, const std::string& name,
                                    const std::vector<Listed>& listed, Unshown& unshown, Deadline deadline) {
    const auto it = std::ranges::lower_bound(listed, name, {}, &Listed::cursor);
    if (it != listed.end() && it->cursor == name) {
      const LowerEntry& entry = it->entry;
      unshown.objects.push_back({lower.prefix() + name, entry.etag, entry.size, entry.mtime_ns});
      return {};
    }
    const auto head = store.head(lower.prefix() + name, deadline);
    if (failed_with(head, ErrorCode::kNotFound)) return {};
    TRY(head);
    unshown.objects.push_back(hidden_object(head->info));
    return {};
  }

  // Those that there is something below.
  static Result<std::vector<LowerEntry>> confirm(const format::Lower& lower, ufs::UnderStore& store,
                                                 std::vector<LowerEntry> directories, Deadline deadline) {
    std::vector<LowerEntry> confirmed;
    for (LowerEntry& entry : directories) {
      TRY_ASSIGN(entry.confirmed, has_entries(store, lower.prefix() + entry.name + '/', deadline));
      if (entry.confirmed) confirmed.push_back(std::move(entry));
    }
    return confirmed;
  }

  static Result<bool> has_entries(ufs::UnderStore& store, const std::string& prefix, Deadline deadline) {
    TRY_ASSIGN(const auto page, store.list({.prefix = prefix, .delimiter = "/", .keys_max = 1}, deadline));
    return !page.objects.empty() || !page.prefixes.empty();
  }

  // Entries between the cursors whose objects the listing did not show.
  Result<void> drop_vanished(InodeId directory, const format::Lower& lower, ufs::UnderStore& store,
                             const std::vector<Listed>& listed, const std::string& after, const std::string& until,
                             Deadline deadline) {
    std::string cursor = after;
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto page, names_.read_directory(directory, cursor, 1'000));
      more = page.more;
      for (const auto& entry : page.entries) {
        if (!until.empty() && entry.cursor > until) return {};
        cursor = entry.cursor;
        if (entry.type == format::DIRECTORY) continue;
        const auto it = std::lower_bound(listed.begin(), listed.end(), entry.cursor,
                                         [](const Listed& l, const std::string& c) { return l.cursor < c; });
        if (it != listed.end() && it->cursor == entry.cursor) continue;
        const auto inode = names_.load_name(directory, entry.name);
        if (!inode.has_value() || !fully_persisted(*inode) || inode->home().key() != lower.prefix() + entry.name ||
            inode->home().since_ns() >= lower.listed_ns())
          continue;
        if (!failed_with(store.head(inode->home().key(), deadline), ErrorCode::kNotFound)) continue;
        TRY(apply(directory, names_.drop_lower(directory, entry.name, inode->home().etag())));
      }
    }
    return {};
  }

  // Asks for a file and for a directory of that name.
  Result<void> load_one(InodeId directory, const format::Lower& lower, ufs::UnderStore& store, std::string_view name,
                        Deadline deadline) {
    const std::string key = lower.prefix() + std::string(name);
    std::vector<LowerEntry> found;
    if (auto head = store.head(key, deadline); head.has_value()) {
      found.push_back({.name = std::string(name),
                       .has_object = true,
                       .etag = head->info.etag,
                       .size = head->info.size_bytes,
                       .mtime_ns = unix_ns(head->info.last_modified)});
    } else if (head.error().code() != ErrorCode::kNotFound) {
      return fail(std::move(head).error());
    }
    TRY_ASSIGN(const bool below, has_entries(store, key + '/', deadline));
    if (below) found.push_back({.name = std::string(name), .directory = true, .confirmed = true});
    auto changes = names_.merge_lower(directory, lower, found);
    TRY(changes);
    Unshown unshown;
    for (const auto& shadowed : changes->shadowed) TRY(take_shadowed(lower, store, shadowed, {}, unshown, deadline));
    TRY(apply(directory, std::move(changes)));
    return take_unshown(directory, lower, store, std::move(unshown), deadline);
  }

  void remember_hidden(InodeId directory, std::vector<Hidden> hidden) {
    std::lock_guard lock(mutex_);
    const auto it = hidden_.find(directory);
    const size_t before = it == hidden_.end() ? 0 : it->second.size();
    if (hidden.empty()) {
      if (it != hidden_.end()) hidden_.erase(it);
    } else {
      const size_t room = kHiddenMax - std::min<size_t>(kHiddenMax, hidden_count_ - before);
      if (hidden.size() > room) hidden.resize(room);
      hidden_count_ += hidden.size();
      hidden_[directory] = std::move(hidden);
    }
    hidden_count_ -= before;
  }

  void run_background() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
      if (stopping_) return;
      const InodeId directory = waiting_.front();
      waiting_.pop_front();
      lock.unlock();
      const auto result = refresh(directory, Deadline::after(kBackgroundTimeout));
      if (!result.has_value() && result.error().code() != ErrorCode::kNotFound &&
          result.error().code() != ErrorCode::kStale && result.error().code() != ErrorCode::kCancelled)
        log_warn("lower.refresh_failed", {{"directory", directory}, {"error", result.error()}});
      lock.lock();
      known_.erase(directory);
      if (!result.has_value()) paused_[directory] = names_.clock().now() + kPauseAfterFailure;
      if (paused_.size() > kRefreshesMax) paused_.clear();
    }
  }

  Namespace& names_;
  const ufs::MountTable& mounts_;
  const ChangeListener listener_;

  std::mutex mutex_;  // no call into the namespace, a UFS or the listener under it
  std::condition_variable changed_;
  bool stopping_ = false;
  std::set<InodeId> listing_;                     // being listed
  std::deque<InodeId> waiting_;                   // for a background thread
  std::set<InodeId> known_;                       // waiting or in a background thread
  std::map<InodeId, TimePoint> paused_;           // failed lately
  std::map<InodeId, std::vector<Hidden>> hidden_;
  std::atomic<uint64_t> hidden_count_{0};
  std::array<std::thread, kBackgroundThreads> threads_;
};

LowerLayer::LowerLayer(Namespace& names, const ufs::MountTable& mounts, ChangeListener listener)
    : impl_(std::make_unique<Impl>(names, mounts, std::move(listener))) {}
LowerLayer::~LowerLayer() = default;

Result<void> LowerLayer::load_name(InodeId directory, std::string_view name, Deadline deadline) {
  return impl_->load_name(directory, name, deadline);
}
Result<void> LowerLayer::load_directory(InodeId directory, Deadline deadline) {
  return impl_->load_directory(directory, deadline);
}
void LowerLayer::refresh_in_background(InodeId directory) { impl_->refresh_in_background(directory); }
Result<void> LowerLayer::refresh(InodeId directory, Deadline deadline) { return impl_->refresh(directory, deadline); }
Result<bool> LowerLayer::look_at_home(InodeId inode, Accept accept, Deadline deadline) {
  return impl_->look_at_home(inode, accept, deadline);
}
Result<void> LowerLayer::refresh_shadow(const Inode& inode, Deadline deadline) {
  return impl_->refresh_shadow(inode, deadline);
}
Result<Inode> LowerLayer::load_attributes(const Inode& inode, Deadline deadline) {
  return impl_->load_attributes(inode, deadline);
}
Result<std::vector<LowerLayer::Hidden>> LowerLayer::hidden(InodeId directory, Deadline deadline) {
  return impl_->hidden(directory, deadline);
}
uint64_t LowerLayer::hidden_count() const { return impl_->hidden_count(); }

}  // namespace weir::meta
