#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "meta/object_namespace.h"
#include "meta/object_tables.h"
#include "meta/operation.h"

namespace weir::meta {
namespace {

constexpr size_t kObjectRowsMax = 1'000;       // of one read
constexpr size_t kFirstRowsMax = 16;           // of a directory's first one, when one entry may be enough
constexpr size_t kReadGrowth = 8;
constexpr size_t kRowsOfPageMax = 100'000;     // dentries looked at for one page

// Goes through everything below a directory in the byte order of keys.
class KeyWalk {
 public:
  // `rows_max`: of the first read of a directory.
  KeyWalk(Tables& tables, const Inode& top, int64_t listed_since_ns, size_t rows_max,
          std::function<void(const Inode&)> entered)
      : tables_(tables),
        top_(top),
        listed_since_ns_(listed_since_ns),
        rows_max_(std::min(rows_max, kObjectRowsMax)),
        entered_(std::move(entered)) {}

  struct Step {
    std::string key;
    InodeId inode{};
    std::optional<Inode> directory;  // of a directory's key
  };

  enum class From : uint8_t { kAt, kBehind };
  // Goes on at, or behind, the first key that is not before `key`.
  Result<void> seek(std::string_view key, From from) {
    frames_.clear();
    marker_.reset();
    TRY(enter(top_, ""));
    while (!needs_listing_) {
      Frame& frame = frames_.back();
      const std::string_view rest = key.substr(frame.path.size());
      const size_t slash = rest.find('/');
      const auto range = format::dentry_range(frame.directory);
      if (slash == std::string_view::npos) {
        frame.begin = range.begin + std::string(rest);
        if (from == From::kBehind && !rest.empty()) frame.begin += '\0';
        return {};
      }
      const std::string name(rest.substr(0, slash + 1));
      TRY_ASSIGN(const auto value, tables_.txn().get(range.begin + name, kv::Isolation::kSnapshot));
      frame.begin = range.begin + name;
      if (!value) return {};
      frame.begin += '\0';
      TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(*value));
      TRY_ASSIGN(Inode child, tables_.load_inode(InodeId(dentry.inode()), kv::Isolation::kSnapshot));
      const std::string path = frame.path + name;
      TRY(enter(child, path));
      if (path == key && from == From::kAt) marker_ = Step{path, InodeId(child.id()), std::move(child)};
    }
    return {};
  }

  // nullopt: at the end, or needs_listing().
  Result<std::optional<Step>> next() {
    if (marker_) return std::exchange(marker_, std::nullopt);
    while (!needs_listing_ && !frames_.empty()) {
      Frame& frame = frames_.back();
      if (frame.at == frame.rows.size()) {
        if (!frame.more) {
          frames_.pop_back();
          continue;
        }
        TRY(read(frame));
        continue;
      }
      const kv::KeyValue& row = frame.rows[frame.at++];
      ++rows_seen_;
      TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
      Step step{frame.path + row.key.substr(kDentryPrefixBytes), InodeId(dentry.inode()), std::nullopt};
      if (dentry.type() == format::DIRECTORY) {
        TRY_ASSIGN(step.directory, tables_.load_inode(step.inode, kv::Isolation::kSnapshot));
        TRY(enter(*step.directory, step.key));
      }
      return std::optional(std::move(step));
    }
    return std::optional<Step>{};
  }

  // Goes on behind all keys that begin with `prefix`, one of which next() just gave.
  Result<void> pass(const std::string& prefix) {
    needs_listing_.reset();
    while (!frames_.empty() && frames_.back().path.starts_with(prefix)) frames_.pop_back();
    // A prefix that is a directory's key: its frame was all there was of it.
    if (frames_.empty() || prefix.find('/', frames_.back().path.size()) == prefix.size() - 1) return {};
    return seek_behind_all(prefix);
  }

  Result<void> seek_behind_all(const std::string& prefix) {
    if (prefix.find_first_not_of('\xff') != std::string::npos) return seek(kv::prefix_end(prefix), From::kAt);
    frames_.clear();
    marker_.reset();
    return {};
  }

  // A directory on the way whose lower layer has to be listed before next() can tell more.
  const std::optional<InodeId>& needs_listing() const { return needs_listing_; }
  size_t rows_seen() const { return rows_seen_; }

 private:
  static constexpr size_t kDentryPrefixBytes = 9;
  struct Frame {
    InodeId directory{};
    std::string path;        // of the object keys below: empty, or ending in '/'
    std::string begin;       // of the next read
    std::vector<kv::KeyValue> rows;
    size_t at = 0;
    size_t rows_max = 0;
    bool more = true;
  };

  Result<void> enter(const Inode& directory, std::string path) {
    const InodeId id(directory.id());
    Frame& frame = frames_.emplace_back();
    frame.directory = id;
    frame.path = std::move(path);
    frame.begin = format::dentry_range(id).begin;
    frame.rows_max = rows_max_;
    if (directory.has_lower() && (directory.lower().listed_ns() == 0 || directory.lower().listed_ns() < listed_since_ns_))
      needs_listing_ = id;
    if (entered_) entered_(directory);
    return {};
  }

  Result<void> read(Frame& frame) {
    TRY_ASSIGN(auto page, tables_.txn().get_range(frame.begin, format::dentry_range(frame.directory).end,
                                                  {.rows_max = frame.rows_max, .isolation = kv::Isolation::kSnapshot}));
    frame.rows = std::move(page.rows);
    frame.at = 0;
    frame.rows_max = std::min(frame.rows_max * kReadGrowth, kObjectRowsMax);
    frame.more = page.more;
    if (!frame.rows.empty()) frame.begin = kv::key_after(frame.rows.back().key);
    return {};
  }

  Tables& tables_;
  const Inode& top_;
  const int64_t listed_since_ns_;
  const size_t rows_max_;
  const std::function<void(const Inode&)> entered_;
  std::vector<Frame> frames_;
  std::optional<Step> marker_;
  std::optional<InodeId> needs_listing_;
  size_t rows_seen_ = 0;
};

// The keys of the shadow, in order.
class ShadowWalk {
 public:
  ShadowWalk(Tables& tables, MountId mount) : tables_(tables), mount_(mount) {}

  // The next key is the first one that is not before `key`.
  void seek(std::string_view key) {
    begin_ = format::shadow_key(mount_, key);
    rows_.clear();
    at_ = 0;
    more_ = true;
  }
  // nullptr at the end.
  Result<const kv::KeyValue*> front() {
    if (at_ == rows_.size()) {
      if (!more_) return nullptr;
      TRY_ASSIGN(auto page, tables_.txn().get_range(begin_, format::shadow_range(mount_).end,
                                                    {.rows_max = kShadowRowsMax, .isolation = kv::Isolation::kSnapshot}));
      rows_ = std::move(page.rows);
      at_ = 0;
      more_ = page.more;
      if (rows_.empty()) return nullptr;
      begin_ = kv::key_after(rows_.back().key);
    }
    return &rows_[at_];
  }
  void pop() { ++at_; }

 private:
  static constexpr size_t kShadowRowsMax = 100;
  Tables& tables_;
  const MountId mount_;
  std::string begin_;
  std::vector<kv::KeyValue> rows_;
  size_t at_ = 0;
  bool more_ = true;
};

// Names and shadow in one order. Of a directory's key the shadow counts, of others the name.
class ObjectWalk {
 public:
  ObjectWalk(KeyWalk& names, ShadowWalk& shadow) : names_(names), shadow_(shadow) {}

  Result<void> seek(std::string_view key, KeyWalk::From from) {
    read_ = false;
    last_name_.clear();
    shadow_.seek(from == KeyWalk::From::kBehind && !key.empty() ? std::string(key) + '\0' : std::string(key));
    return names_.seek(key, from);
  }
  Result<void> seek_behind_all(const std::string& prefix) {
    read_ = false;
    last_name_.clear();
    shadow_.seek(prefix.find_first_not_of('\xff') != std::string::npos ? kv::prefix_end(prefix) : prefix + std::string(8, '\xff'));
    return names_.seek_behind_all(prefix);
  }

  // nullopt: at the end, or the names need a listing before anything else can be told.
  Result<std::optional<KeyWalk::Step>> next() {
    if (!read_) {
      TRY_ASSIGN(ahead_, names_.next());
      read_ = true;
      last_name_ = ahead_ ? ahead_->key : std::string();
    }
    if (!ahead_ && names_.needs_listing()) return std::optional<KeyWalk::Step>{};
    TRY_ASSIGN(const kv::KeyValue* const row, shadow_.front());
    const std::string_view key = row == nullptr ? std::string_view() : format::shadow_object_key(row->key);
    const bool same = row != nullptr && ahead_ && key == ahead_->key;
    if (row != nullptr && (!ahead_ || key < ahead_->key || (same && key.ends_with('/')))) {
      TRY_ASSIGN(const auto shadow, format::decode<format::Shadow>(row->value));
      KeyWalk::Step step{std::string(key), InodeId(shadow.inode()), std::nullopt};
      shadow_.pop();
      if (same) read_ = false;
      return std::optional(std::move(step));
    }
    if (same) shadow_.pop();
    read_ = false;
    return std::exchange(ahead_, std::nullopt);
  }
  // Whether the directory that next() gave has to be listed before what is behind it can be told.
  bool needs_listing(const KeyWalk::Step& step) const { return step.directory && names_.needs_listing().has_value(); }

  // Goes on behind all keys that begin with `prefix`, one of which next() just gave.
  Result<void> pass(const std::string& prefix) {
    if (last_name_.starts_with(prefix)) {
      read_ = false;
      TRY(names_.pass(prefix));
    }
    for (;;) {
      TRY_ASSIGN(const kv::KeyValue* const row, shadow_.front());
      if (row == nullptr || !format::shadow_object_key(row->key).starts_with(prefix)) return {};
      shadow_.pop();
    }
  }

 private:
  KeyWalk& names_;
  ShadowWalk& shadow_;
  std::optional<KeyWalk::Step> ahead_;  // of the names
  bool read_ = false;                   // `ahead_` is what the names give next
  std::string last_name_;               // that they gave
};

ObjectPage::Entry entry_of_object(std::string key, const Inode& inode, std::string_view volume_id) {
  const format::ObjectSummary& object = inode.object();
  const bool checksum_holds = object.content_version() == inode.content_version();
  return {.key = std::move(key),
          .size = object_size(inode),
          .etag = etag_of(inode, volume_id),
          .modified_ns = object_modified_ns(inode),
          .storage_class = object.storage_class(),
          .checksum_algorithm = checksum_holds ? object.checksum_algorithm() : format::NO_CHECKSUM,
          .checksum_composite = checksum_holds && object.checksum_composite()};
}

// Up to and with the delimiter behind `prefix`; empty: there is none.
std::string common_prefix_of(std::string_view key, const ObjectQuery& query) {
  if (query.delimiter.empty() || !key.starts_with(query.prefix)) return {};
  const size_t at = key.find(query.delimiter, query.prefix.size());
  return at == std::string_view::npos ? std::string() : std::string(key.substr(0, at + query.delimiter.size()));
}

}  // namespace

Result<ObjectPage> ObjectNamespace::list(const ObjectQuery& query) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<ObjectPage> {
    TRY_ASSIGN(const Inode top, ObjectTables(tables).load_bucket(query.bucket));
    ObjectPage page;
    if (query.entries_max == 0) return page;
    const size_t rows_max = query.delimiter.empty() ? query.entries_max + 1 : kFirstRowsMax;
    KeyWalk names(tables, top, query.listed_since_ns, rows_max, [&](const Inode& directory) {
      if (directory.has_lower() && directory.lower().listed_ns() != 0 && sync_interval_ >= Duration::zero() &&
          directory.lower().listed_ns() + sync_interval_.count() <= tables.now_ns() &&
          page.refresh_due.size() < ObjectPage::kRefreshesMax)
        page.refresh_due.emplace_back(directory.id());
    });
    ShadowWalk shadow(tables, MountId(top.lower().mount()));
    ObjectWalk walk(names, shadow);
    page.next = query.after;
    if (query.after < query.prefix) {
      TRY(walk.seek(query.prefix, KeyWalk::From::kAt));
    } else if (const std::string passed = common_prefix_of(query.after, query); !passed.empty()) {
      TRY(walk.seek_behind_all(passed));
    } else {
      TRY(walk.seek(query.after, KeyWalk::From::kBehind));
    }

    for (;;) {
      TRY_ASSIGN(auto step, walk.next());
      if (!step) {
        page.needs_listing = names.needs_listing();
        page.more = page.needs_listing.has_value();
        return page;
      }
      if (!step->key.starts_with(query.prefix)) return page;
      if (page.entries.size() == query.entries_max && walk.needs_listing(*step)) {
        page.more = true;
        return page;
      }
      const std::string common = common_prefix_of(step->key, query);
      if (!common.empty()) {
        bool visible = false;
        if (step->directory) {
          // A prefix that the bucket showed has something below it, whatever that is.
          visible = has_marker(*step->directory) || walk.needs_listing(*step);
        } else {
          TRY_ASSIGN(const auto inode, tables.find_inode(step->inode, kv::Isolation::kSnapshot));
          visible = inode && is_object(*inode);
        }
        if (!visible) continue;
        if (page.entries.size() == query.entries_max) {
          page.more = true;
          return page;
        }
        page.entries.push_back({.key = common, .common_prefix = true});
        page.next = common;
        TRY(walk.pass(common));
        continue;
      }
      if (walk.needs_listing(*step)) {
        // The listing tells of the directory's own object, too.
        page.needs_listing = names.needs_listing();
        page.more = true;
        return page;
      }
      std::optional<Inode> inode = std::move(step->directory);
      if (!inode) {
        TRY_ASSIGN(inode, tables.find_inode(step->inode, kv::Isolation::kSnapshot));
      }
      if (inode && is_object(*inode)) {
        if (page.entries.size() == query.entries_max) {
          page.more = true;
          return page;
        }
        page.entries.push_back(entry_of_object(step->key, *inode, names_.volume_id()));
        page.next = std::move(step->key);
      } else if (names.rows_seen() >= kRowsOfPageMax) {
        page.next = std::move(step->key);
        page.more = true;
        return page;
      } else if (page.entries.size() < query.entries_max) {
        page.next = std::move(step->key);
      }
    }
  });
}

}  // namespace weir::meta
