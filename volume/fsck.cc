#include "volume/fsck.h"

#include <algorithm>
#include <thread>

#include "format/keys.h"
#include "kv/run_txn.h"
#include "meta/object_attributes.h"
#include "meta/object_namespace.h"
#include "meta/tables.h"
#include "ufs/s3_names.h"
#include "volume/objects.h"

namespace weir::volume {
namespace {

constexpr size_t kRows = 500;               // in one look
constexpr size_t kSuspectsMax = 10'000;     // before the second look at them
constexpr Duration kPauseStep = std::chrono::milliseconds(50);

bool same(const std::optional<meta::Inode>& a, const std::optional<meta::Inode>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a || a->SerializeAsString() == b->SerializeAsString();
}

// What the metadata says of an object key at one instant.
struct Known {
  std::optional<format::Owner> owner;
  std::optional<meta::Inode> inode;  // the owner

  bool operator==(const Known& other) const {
    const std::string mine = owner ? owner->SerializeAsString() : "-";
    return mine == (other.owner ? other.owner->SerializeAsString() : "-") && same(inode, other.inode);
  }
};

Result<Known> known_of(kv::Kv& kv, MountId mount, std::string_view key) {
  return kv::read_txn(kv, [&](kv::Txn& txn) -> Result<Known> {
    Known known;
    TRY_ASSIGN(const auto value, txn.get(format::owner_key(mount, key), kv::Isolation::kSnapshot));
    if (!value) return known;
    TRY_ASSIGN(known.owner, format::decode<format::Owner>(*value));
    if (known.owner->inode() == 0) return known;
    TRY_ASSIGN(const auto inode, txn.get(format::inode_key(InodeId(known.owner->inode())), kv::Isolation::kSnapshot));
    if (inode) {
      TRY_ASSIGN(known.inode, format::decode<meta::Inode>(*inode));
    }
    return known;
  });
}

// What the inode has under the key: its home, or the sidecar with its extended attributes; null: nothing.
const format::Home* object_at(const meta::Inode& inode, MountId mount, std::string_view key) {
  for (const format::Home* object : {&inode.home(), &inode.sidecar()}) {
    if (!object->key().empty() && MountId(object->mount()) == mount && object->key() == key) return object;
  }
  return nullptr;
}

bool agrees(const format::Home& home, const ufs::ObjectInfo& object) {
  return home.etag() == object.etag && home.size() == object.size_bytes;
}

bool is_reserved(std::string_view key) {
  return key.starts_with(meta::kParkingPrefix) || key.starts_with(meta::kSidecarPrefix);
}

void count(const meta::Inode& inode, meta::UsageCounters& counted) {
  const bool queued = inode.queued() != format::NOT_QUEUED;
  if (queued) ++counted.dirty_files;
  if (meta::is_further_name(inode)) return;
  ++counted.inodes;
  if (inode.type() != format::REGULAR) return;
  counted.bytes += inode.size();
  if (queued) counted.dirty_bytes += inode.size();
}

std::string text_of(std::string_view etag, uint64_t size) {
  return std::to_string(size) + " bytes, etag " + std::string(etag);
}

bool showable(std::string_view key) {
  while (!key.empty()) {
    const size_t slash = key.find('/');
    if (!meta::check_name(key.substr(0, slash))) return false;
    if (slash == std::string_view::npos) break;
    key.remove_prefix(slash + 1);
  }
  return true;
}

// A sorted sequence that is read page by page.
template <typename Item>
class Pages {
 public:
  using Load = std::function<Result<std::vector<Item>>(bool* more)>;
  explicit Pages(Load load) : load_(std::move(load)) {}

  // Null at the end.
  Result<const Item*> front() {
    while (next_ == items_.size()) {
      if (!more_) return nullptr;
      TRY_ASSIGN(items_, load_(&more_));
      next_ = 0;
    }
    return &items_[next_];
  }
  void pop() { ++next_; }

 private:
  const Load load_;
  std::vector<Item> items_;
  size_t next_ = 0;
  bool more_ = true;
};

}  // namespace

Fsck::Fsck(meta::Namespace& names, pages::PageStore& pages, const ufs::MountTable& stores, FsckOptions options,
           FsckListener listener)
    : names_(names),
      pages_(pages),
      stores_(stores),
      options_(std::move(options)),
      listener_(std::move(listener)),
      check_(names.kv()),
      repair_(names, pages, stores, options_.ufs_timeout) {}

Result<FsckSummary> Fsck::run() {
  TRY_ASSIGN(const meta::Inode top, names_.resolve(options_.path));
  if (InodeId(top.id()) == kRootInode) {
    TRY(check_everything());
  } else {
    TRY(check_tree(top));
  }
  TRY(settle());
  if (options_.ufs) {
    TRY(check_buckets(top));
    TRY(settle());
  }
  return summary_;
}

Result<FsckSummary> run_fsck(meta::Namespace& names, pages::PageStore& pages, const ufs::MountTable& stores,
                             const FsckOptions& options, const FsckListener& listener) {
  uint64_t repaired = 0;
  for (int run = 1;; ++run) {
    TRY_ASSIGN(FsckSummary summary, Fsck(names, pages, stores, options, listener).run());
    if (summary.repaired != 0 && run < kRepairRunsMax) {
      repaired += summary.repaired;
      continue;
    }
    summary.discrepancies -= summary.repaired;
    summary.repaired += repaired;
    return summary;
  }
}

// --- metadata and page store

Result<void> Fsck::check_everything() {
  files_ = pages_.files();
  std::ranges::sort(files_);
  named_.assign(files_.size(), false);
  TRY_ASSIGN(const meta::UsageCounters before, names_.usage());
  std::string cursor;
  for (bool more = true; more;) {
    auto look = check_.look_from(cursor, kRows);
    // Rows that take long to look at, such as a very large directory's, get a snapshot of their own.
    if (failed_with(look, ErrorCode::kTooOld)) look = check_.look_from(cursor, 1);
    TRY(look);
    TRY(take_in(*look));
    more = look->more;
    cursor = std::move(look->cursor);
  }
  TRY(settle());
  TRY(check_local_files());
  return check_counters(before);
}

Result<void> Fsck::check_tree(const meta::Inode& top) {
  struct Frame {
    InodeId directory{};
    std::string cursor;
  };
  const auto rows_of = [](InodeId parent, std::string_view name, meta::FileType type, InodeId inode) {
    const auto kind = type == format::DIRECTORY ? format::DentryKind::kDirectory : format::DentryKind::kLeaf;
    return std::pair(format::dentry_key(parent, name, kind), format::inode_key(inode));
  };
  std::vector<std::string> rows;
  const auto look = [&]() -> Result<void> {
    auto looked = check_.look_at(rows);
    if (failed_with(looked, ErrorCode::kTooOld)) {
      for (const std::string& row : rows) {
        TRY_ASSIGN(auto one, check_.look_at({&row, 1}));
        TRY(take_in(one));
      }
      return {};
    }
    TRY(looked);
    return take_in(*looked);
  };
  auto [dentry, inode] = rows_of(InodeId(top.parent()), top.name(), top.type(), InodeId(top.id()));
  rows = {std::move(dentry), std::move(inode)};
  TRY(look());
  std::vector<Frame> stack;
  if (meta::is_directory(top)) stack.push_back({InodeId(top.id()), ""});
  while (!stack.empty()) {
    const InodeId directory = stack.back().directory;
    const auto page = names_.read_directory(directory, stack.back().cursor, kRows);
    if (failed_with(page, ErrorCode::kNotFound)) {
      stack.pop_back();
      continue;
    }
    TRY(page);
    // Up to and with the first directory, which is gone through before the rest.
    rows.clear();
    std::optional<InodeId> below;
    for (const auto& entry : page->entries) {
      auto [name, target] = rows_of(directory, entry.name, entry.type, entry.inode);
      rows.push_back(std::move(name));
      rows.push_back(std::move(target));
      stack.back().cursor = entry.cursor;
      if (entry.type != format::DIRECTORY) continue;
      below = entry.inode;
      break;
    }
    TRY(look());
    if (below) {
      stack.push_back({*below, ""});
    } else if (!page->more) {
      stack.pop_back();
    }
  }
  return {};
}

Result<void> Fsck::take_in(meta::Check::Look& look) {
  TRY(go_on());
  summary_.names += look.names;
  for (const auto& finding : look.findings) suspect_row(finding.row, finding.discrepancy.kind);
  for (const auto& seen : look.inodes) {
    const meta::Inode& inode = seen.inode;
    count(inode, counted_);
    if (inode.queued() != format::NOT_QUEUED || seen.open_for_write) ++summary_.in_flight;
    if (meta::is_further_name(inode)) continue;
    ++summary_.inodes;
    if (inode.local_file() != 0) {
      ++summary_.local_files;
      const auto it = std::ranges::lower_bound(files_, LocalFileId(inode.local_file()));
      if (it != files_.end() && *it == LocalFileId(inode.local_file()))
        named_[static_cast<size_t>(it - files_.begin())] = true;
    }
    if (const auto wrong = judge_content(seen)) suspect_row(format::inode_key(InodeId(inode.id())), wrong->kind);
  }
  if (rows_.size() >= kSuspectsMax) TRY(settle());
  return {};
}

std::optional<meta::Discrepancy> Fsck::judge_content(const meta::Check::SeenInode& seen) {
  const meta::Inode& inode = seen.inode;
  if (inode.type() != format::REGULAR || seen.detached) return {};
  const InodeId id(inode.id());
  const bool persisted = meta::content_persisted(inode);
  const auto wrong = [&](std::string_view kind, std::string expected, std::string found) {
    return meta::Discrepancy{.kind = kind,
                             .path = names_.path_of(id).value_or(""),
                             .inode = id,
                             .expected = std::move(expected),
                             .found = std::move(found)};
  };
  if (inode.quarantined()) return wrong("file_quarantined", "its bytes", "they are lost or rotten; nothing is served");
  if (seen.open_for_write) return {};
  if (persisted && inode.home().size() != inode.size())
    return wrong("object_of_wrong_size", std::to_string(inode.size()) + " bytes", std::to_string(inode.home().size()));
  const std::string name = "local file " + std::to_string(inode.local_file());
  if (inode.local_file() == 0) {
    if (persisted) return {};
    return wrong("file_missing", "a local file with what is not persisted", "none");
  }
  const auto stat = pages_.stat(LocalFileId(inode.local_file()));
  if (failed_with(stat, ErrorCode::kNotFound)) {
    if (persisted) return {};  // evicted
    return wrong("file_missing", name + " with what is not persisted", "no such file");
  }
  if (!stat) return wrong("file_unreadable", name, stat.error().to_string());
  if (stat->size_bytes == inode.size()) return {};
  return wrong("file_of_wrong_size", name + " of " + std::to_string(inode.size()) + " bytes",
               std::to_string(stat->size_bytes) + " bytes");
}

Result<meta::UsageCounters> Fsck::count_inodes(const std::function<void(const meta::Inode&)>& visit) {
  meta::UsageCounters counted;
  auto range = format::inode_range();
  for (bool more = true; more;) {
    TRY(go_on());
    TRY_ASSIGN(const auto page, kv::read_txn(names_.kv(), [&](kv::Txn& txn) {
      return txn.get_range(range.begin, range.end, {.isolation = kv::Isolation::kSnapshot});
    }));
    for (const auto& row : page.rows) {
      const auto inode = format::decode<meta::Inode>(row.value);
      if (!inode) continue;  // found by its row
      count(*inode, counted);
      visit(*inode);
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
  return counted;
}

Result<void> Fsck::check_local_files() {
  std::set<LocalFileId> strays;
  for (size_t i = 0; i < files_.size(); ++i) {
    if (!named_[i]) strays.insert(files_[i]);
  }
  files_ = {};
  named_ = {};
  if (strays.empty()) return {};
  // One that was just made is not named yet, one that was just removed not any more.
  suspected_since_ = names_.clock().now();
  TRY(pause());
  TRY(count_inodes([&](const meta::Inode& inode) { strays.erase(LocalFileId(inode.local_file())); }));
  meta::ObjectNamespace objects(names_, Duration(-1));
  TRY(objects.for_each_upload([&](MountId, const meta::ObjectNamespace::Upload& upload) -> Result<void> {
    strays.erase(LocalFileId(upload.record.assembly_file()));
    TRY_ASSIGN(const auto parts, objects.upload_parts(upload, 0, kObjectPartsMax));
    for (const auto& part : parts) strays.erase(LocalFileId(part.local_file()));
    return {};
  }));
  for (const LocalFileId file : strays) {
    if (options_.is_being_filled && options_.is_being_filled(file)) continue;
    const auto stat = pages_.stat(file);
    if (failed_with(stat, ErrorCode::kNotFound)) continue;
    TRY(tell_and_repair({.kind = "file_stray",
                         .expected = "local file " + std::to_string(file.value()) + " belongs to an inode",
                         .found = stat ? "it belongs to none; " + std::to_string(stat->allocated_bytes) + " bytes"
                                       : stat.error().to_string()},
                        [&] { return repair_.remedy_for_stray(file); }, [&] { return repair_.adopt_stray(file); }));
  }
  return {};
}

Result<void> Fsck::check_counters(const meta::UsageCounters& before) {
  struct Pair {
    std::string_view name;
    uint64_t meta::UsageCounters::*counter;
  };
  constexpr Pair kCounters[] = {{"inodes", &meta::UsageCounters::inodes},
                                {"bytes", &meta::UsageCounters::bytes},
                                {"dirty_files", &meta::UsageCounters::dirty_files},
                                {"dirty_bytes", &meta::UsageCounters::dirty_bytes}};
  // Only what stood still while it was counted can be judged; what is wrong is off by the same amount both times.
  TRY_ASSIGN(meta::UsageCounters after, names_.usage());
  std::vector<std::pair<Pair, uint64_t>> suspects;
  for (const Pair& pair : kCounters) {
    if (before.*pair.counter == after.*pair.counter && after.*pair.counter != counted_.*pair.counter)
      suspects.emplace_back(pair, after.*pair.counter - counted_.*pair.counter);
  }
  if (suspects.empty()) return {};
  suspected_since_ = names_.clock().now();
  TRY(pause());
  TRY_ASSIGN(const meta::UsageCounters begin, names_.usage());
  TRY_ASSIGN(const meta::UsageCounters counted, count_inodes([](const meta::Inode&) {}));
  TRY_ASSIGN(after, names_.usage());
  for (const auto& [pair, off] : suspects) {
    const uint64_t stored = after.*pair.counter;
    if (begin.*pair.counter != stored || stored - counted.*pair.counter != off) continue;
    const auto set_right = [&, off = off, name = pair.name]() -> Result<bool> {
      TRY(kv::run_txn(names_.kv(), [&](kv::Txn& txn) -> Result<void> {
        txn.add(format::usage_key(name), -static_cast<int64_t>(off));
        return {};
      }));
      return true;
    };
    TRY(tell_and_repair({.kind = "wrong_counter",
                         .expected = std::string(pair.name) + " = " + std::to_string(counted.*pair.counter),
                         .found = std::to_string(stored)},
                        [] { return Result<std::string>("the counter is set right"); }, set_right));
  }
  return {};
}

// --- objects

Result<void> Fsck::check_buckets(const meta::Inode& top) {
  TRY_ASSIGN(const auto mounts, names_.mounts());
  std::string_view path = options_.path;
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  const std::string_view name = path.substr(0, path.find('/'));
  const std::string key(path.size() > name.size() ? path.substr(name.size() + 1) : "");
  const bool directory = meta::is_directory(top);
  for (const format::Mount& mount : mounts) {
    if (!name.empty() && mount.name() != name) continue;
    TRY(check_bucket(MountId(mount.id()), directory && !key.empty() ? key + '/' : key, directory));
  }
  return {};
}

Result<std::shared_ptr<ufs::UnderStore>> Fsck::store_of(MountId mount) const {
  auto store = stores_.find(mount).store;
  if (!store) return fail(ErrorCode::kUnavailable, "the under store is not mounted; see mount-table list");
  return store;
}

Result<void> Fsck::check_bucket(MountId mount, const std::string& prefix, bool whole_prefix) {
  struct OwnerRow {
    std::string key;
    format::Owner owner;
  };
  TRY_ASSIGN(const auto store, store_of(mount));
  ufs::ListRequest request{.prefix = prefix};
  Pages<ufs::ObjectInfo> objects([&](bool* more) -> Result<std::vector<ufs::ObjectInfo>> {
    TRY(go_on());
    TRY_ASSIGN(auto page, store->list(request, Deadline::after(options_.ufs_timeout)));
    request.token = page.token;
    *more = !page.token.empty();
    return std::move(page.objects);
  });
  auto range = format::owner_range(mount, prefix);
  Pages<OwnerRow> owners([&](bool* more) -> Result<std::vector<OwnerRow>> {
    TRY_ASSIGN(const auto page, kv::read_txn(names_.kv(), [&](kv::Txn& txn) {
      return txn.get_range(range.begin, range.end, {.isolation = kv::Isolation::kSnapshot});
    }));
    std::vector<OwnerRow> rows;
    for (const auto& row : page.rows) {
      const auto owner = format::decode<format::Owner>(row.value);
      if (owner) rows.push_back({std::string(format::owner_object_key(row.key)), *owner});
    }
    *more = page.more;
    if (page.more) range.begin = kv::key_after(page.rows.back().key);
    return rows;
  });
  for (;;) {
    TRY_ASSIGN(const auto* object, objects.front());
    TRY_ASSIGN(const auto* owner, owners.front());
    if (object == nullptr && owner == nullptr) return {};
    const bool has_object = object != nullptr && (owner == nullptr || object->key <= owner->key);
    const bool has_owner = owner != nullptr && (object == nullptr || owner->key <= object->key);
    const std::string key = has_object ? object->key : owner->key;
    if (has_object) ++summary_.objects;
    if (whole_prefix || key == prefix)
      TRY(compare(mount, key, has_object ? object : nullptr, has_owner ? &owner->owner : nullptr));
    if (has_object) objects.pop();
    if (has_owner) owners.pop();
    if (objects_.size() >= kSuspectsMax) TRY(settle());
  }
}

Result<void> Fsck::compare(MountId mount, const std::string& key, const ufs::ObjectInfo* object,
                           const format::Owner* owner) {
  const auto suspect = [&]() -> Result<void> {
    if (objects_.empty() && rows_.empty()) suspected_since_ = names_.clock().now();
    objects_.emplace(mount, key);
    return {};
  };
  if (owner == nullptr) {
    // Keys that the store holds in another form are looked at under their own names.
    if (key.starts_with(ufs::s3::kLongPrefix)) return {};
    if (is_reserved(key)) return suspect();
    TRY_ASSIGN(const Listed listed, this->listed(mount, key));
    if (listed == Listed::kYes) return suspect();
    if (listed == Listed::kMoving) {
      ++summary_.in_flight;
    } else {
      ++summary_.unlisted_objects;
    }
    return {};
  }
  if (owner->inode() == 0) {
    ++summary_.in_flight;
    return {};
  }
  TRY_ASSIGN(const Known known, known_of(names_.kv(), mount, key));
  const format::Home* home = known.inode ? object_at(*known.inode, mount, key) : nullptr;
  if (object != nullptr && home != nullptr && agrees(*home, *object)) return {};
  return suspect();
}

Result<void> Fsck::look_at_object(const ObjectId& id) {
  const auto& [mount, key] = id;
  TRY_ASSIGN(const auto store, store_of(mount));
  TRY_ASSIGN(const Known before, known_of(names_.kv(), mount, key));
  auto head = store->head(key, Deadline::after(options_.ufs_timeout));
  if (!head && head.error() != ErrorCode::kNotFound) return fail(std::move(head).error());
  TRY_ASSIGN(const Known known, known_of(names_.kv(), mount, key));
  if (!(known == before)) {
    ++summary_.in_flight;
    return {};
  }
  if (!known.owner) return head ? look_at_unowned(id, *head) : Result<void>();
  // What has no inode, or whose inode says otherwise, was told when the metadata was checked.
  const format::Home* home = known.inode ? object_at(*known.inode, mount, key) : nullptr;
  if (home == nullptr) return {};
  const meta::Inode& inode = *known.inode;
  if (inode.claimed_key() == key || inode.claimed_sidecar() == key || inode.queued() != format::NOT_QUEUED) {
    ++summary_.in_flight;
    return {};
  }
  meta::Discrepancy wrong{.kind = "object_missing",
                          .path = names_.path_of(InodeId(inode.id())).value_or(""),
                          .inode = InodeId(inode.id()),
                          .key = key,
                          .expected = text_of(home->etag(), home->size()),
                          .found = "no such object"};
  if (!head) return tell_of_content(wrong);
  if (agrees(*home, head->info)) return {};
  wrong.kind = "object_differs";
  wrong.found = text_of(head->info.etag, head->info.size_bytes);
  return tell_of_content(wrong);
}

Result<void> Fsck::look_at_unowned(const ObjectId& id, const ufs::ObjectHead& head) {
  const auto& [mount, key] = id;
  const auto token = meta::owner_of(head.attributes);
  const bool ours = (token && token->volume_id == names_.volume_id()) ||
                    key.starts_with(std::string(meta::kSidecarPrefix) + names_.volume_id() + "-");
  meta::Discrepancy wrong{.kind = "object_stray", .key = key, .expected = "no object of this volume that no name owns"};
  if (ours || key.starts_with(meta::kParkingPrefix)) {
    wrong.found = text_of(head.info.etag, head.info.size_bytes) +
                  (token ? ", written for inode " + std::to_string(token->inode.value()) : std::string());
    return tell_and_repair(std::move(wrong), [] { return Result<std::string>("it is moved to lost+found"); },
                           [&] { return repair_.move_stray_object(mount, key, head); });
  }
  if (is_reserved(key)) {  // another volume's, of a bucket that it wrote
    ++summary_.unlisted_objects;
    return {};
  }
  const bool data_in_marker = key.ends_with('/') && head.info.size_bytes != 0;
  if (!showable(key) || data_in_marker) {
    ++summary_.hidden_objects;
    return {};
  }
  const auto mounts = names_.mounts();
  TRY(mounts);
  for (const format::Mount& candidate : *mounts) {
    if (MountId(candidate.id()) != mount) continue;
    // Hidden behind a directory of the same name, or the marker of one that has another home.
    const std::string path = "/" + candidate.name() + "/" + (key.ends_with('/') ? key.substr(0, key.size() - 1) : key);
    const auto shown = names_.resolve(path);
    if (shown && meta::is_directory(*shown)) {
      ++summary_.hidden_objects;
      return {};
    }
  }
  if (!options_.foreign_objects) {
    ++summary_.unlisted_objects;
    return {};
  }
  wrong.kind = "object_without_name";
  wrong.expected = "every object has a name";
  wrong.found = text_of(head.info.etag, head.info.size_bytes);
  return tell(std::move(wrong));
}

Result<Fsck::Listed> Fsck::listed(MountId mount, std::string_view key) {
  if (key.ends_with('/')) key.remove_suffix(1);
  const size_t slash = key.rfind('/');
  const std::string prefix(slash == std::string_view::npos ? "" : key.substr(0, slash + 1));
  const ObjectId directory{mount, prefix};
  if (last_listed_.first == directory) return last_listed_.second;
  const auto walk = [&]() -> Result<Listed> {
    TRY_ASSIGN(const auto mounts, names_.mounts());
    InodeId inode{};
    for (const format::Mount& candidate : mounts) {
      if (MountId(candidate.id()) == mount) inode = InodeId(candidate.directory());
    }
    for (size_t begin = 0;;) {
      const auto record = names_.load(inode);
      if (failed_with(record, ErrorCode::kNotFound)) return Listed::kMoving;
      TRY(record);
      if (record->has_lower() && record->lower().prefix() != prefix.substr(0, begin)) return Listed::kMoving;
      if (record->has_lower() && record->lower().listed_ns() == 0) return Listed::kNo;
      if (begin == prefix.size()) return Listed::kYes;
      const size_t end = prefix.find('/', begin);
      const auto found = names_.find(inode, prefix.substr(begin, end - begin));
      if (failed_with(found, ErrorCode::kInvalid) || failed_with(found, ErrorCode::kNameTooLong)) return Listed::kYes;
      TRY(found);
      if (!found->inode || !meta::is_directory(*found->inode)) return Listed::kYes;
      inode = InodeId(found->inode->id());
      begin = end + 1;
    }
  };
  TRY_ASSIGN(const Listed answer, walk());
  last_listed_ = {directory, answer};
  return answer;
}

// --- suspects

void Fsck::suspect_row(const std::string& row, std::string_view kind) {
  if (rows_.empty() && objects_.empty()) suspected_since_ = names_.clock().now();
  rows_[row].emplace(kind);
}

Result<void> Fsck::settle() {
  if (rows_.empty() && objects_.empty()) return {};
  TRY(pause());
  const auto rows = std::exchange(rows_, {});
  const auto objects = std::exchange(objects_, {});
  for (const auto& [row, kinds] : rows) {
    TRY(go_on());
    TRY_ASSIGN(const auto look, check_.look_at({&row, 1}));
    for (const auto& finding : look.findings) {
      if (kinds.contains(finding.discrepancy.kind)) TRY(tell_of_row(row, finding.discrepancy));
    }
    for (const auto& seen : look.inodes) {
      const auto wrong = judge_content(seen);
      if (wrong && kinds.contains(wrong->kind)) TRY(tell_of_content(*wrong));
    }
  }
  for (const ObjectId& object : objects) {
    TRY(go_on());
    TRY(look_at_object(object));
  }
  return {};
}

Result<void> Fsck::pause() {
  const TimePoint until = suspected_since_ + options_.second_look_after;
  for (;;) {
    TRY(go_on());
    const Duration left = until - names_.clock().now();
    if (left <= Duration::zero()) return {};
    std::this_thread::sleep_for(std::min(left, kPauseStep));
  }
}

Result<void> Fsck::go_on() {
  if (listener_.progress && !listener_.progress(summary_)) return fail(ErrorCode::kCancelled, "stopped");
  return {};
}

Result<void> Fsck::tell(meta::Discrepancy discrepancy) {
  ++summary_.discrepancies;
  if (discrepancy.repaired) ++summary_.repaired;
  if (options_.repair == FsckRepair::kNo) discrepancy.remedy.clear();
  listener_.discrepancy(discrepancy);
  return {};
}

Result<void> Fsck::tell_and_repair(meta::Discrepancy discrepancy, const std::function<Result<std::string>()>& remedy,
                                   const std::function<Result<bool>()>& apply) {
  if (options_.repair == FsckRepair::kNo) return tell(std::move(discrepancy));
  // What stands in the way of one repair does not stand in the way of the others.
  const auto found = remedy();
  discrepancy.remedy = found ? *found : "";
  if (options_.repair == FsckRepair::kYes && !discrepancy.remedy.empty()) {
    const auto applied = apply();
    discrepancy.repaired = applied.value_or(false);
    if (!applied) discrepancy.remedy += ", which failed: " + applied.error().to_string();
  }
  return tell(std::move(discrepancy));
}

Result<void> Fsck::tell_of_row(const std::string& row, const meta::Discrepancy& discrepancy) {
  return tell_and_repair(discrepancy, [&] { return Result<std::string>(discrepancy.remedy); },
                         [&]() -> Result<bool> {
                           TRY_ASSIGN(const auto outcome, repair_.rows().repair(row, discrepancy.kind));
                           return outcome == meta::Repair::Outcome::kRepaired;
                         });
}

Result<void> Fsck::tell_of_content(const meta::Discrepancy& discrepancy) {
  return tell_and_repair(discrepancy, [&] { return repair_.remedy(discrepancy); },
                         [&] { return repair_.apply(discrepancy); });
}

}  // namespace weir::volume
