#include "meta/check.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "format/keys.h"
#include "kv/run_txn.h"
#include "meta/tables.h"

namespace weir::meta {
namespace {

constexpr auto kSnapshot = kv::Isolation::kSnapshot;
constexpr int kDepthMax = 4'096;
const std::string kEndOfKeys = "\xff";

std::string text_of(InodeId inode) { return "inode " + std::to_string(inode.value()); }
std::string text_of(uint64_t inode) { return text_of(InodeId(inode)); }
std::string text_of(std::string_view name, InodeId directory) {
  return "'" + std::string(name) + "' in " + text_of(directory);
}

// The rows of one snapshot against each other.
class Looker {
 public:
  // kSerializable: what it reads takes part in the transaction's conflicts, but for the entries that sums are made of: what is
  // wrong with a sum is the same whoever comes and goes meanwhile.
  Looker(kv::Txn& txn, Check::Look& look, kv::Isolation isolation) : tables_(txn, 0), isolation_(isolation), look_(look) {}

  // Damaged records are findings; what cannot be read at all is an error.
  Result<void> row(const std::string& key, const std::string& value) {
    row_ = key;
    const auto known = handlers().find(key.front());
    if (known == handlers().end()) return {};
    const auto looked = (this->*known->second)(key, value);
    if (looked) return {};
    if (looked.error() != ErrorCode::kCorrupt && looked.error() != ErrorCode::kNotSupported) return looked;
    // A record of a later version is no rubbish, and a mount point is made by nobody else.
    const bool rubbish = looked.error() == ErrorCode::kCorrupt && key.front() != format::mount_range().begin[0];
    return report({.kind = "damaged_record", .expected = "a record that can be read", .found = looked.error().to_string()},
                  rubbish ? take_out(row_, "the record") : Remedy());
  }

 private:
  using Handler = Result<void> (Looker::*)(const std::string& key, const std::string& value);

  static const std::map<char, Handler>& handlers() {
    static const std::map<char, Handler> table = {
        {format::inode_range().begin[0], &Looker::inode_row},
        {format::dentry_range({}).begin[0], &Looker::dentry_row},
        {format::further_name_range({}).begin[0], &Looker::further_name_row},
        {format::link_group_key({}, "")[0], &Looker::link_group_row},
        {format::directory_mtime_key({})[0], &Looker::directory_mtime_row},
        {format::subdirectories_key({})[0], &Looker::subdirectories_row},
        {format::changed_directory_key({})[0], &Looker::directory_row},
        {format::xattr_range({}).begin[0], &Looker::xattr_row},
        {format::part_digests_range({}).begin[0], &Looker::part_digests_row},
        {format::object_facts_range().begin[0], &Looker::object_facts_row},
        {format::shadow_range().begin[0], &Looker::shadow_row},
        {format::object_parts_range({}).begin[0], &Looker::object_parts_row},
        {format::object_upload_range().begin[0], &Looker::object_upload_row},
        {format::object_upload_part_range().begin[0], &Looker::object_upload_part_row},
        {format::owner_range({}, "").begin[0], &Looker::owner_row},
        {format::claim_range({}, "").begin[0], &Looker::claim_row},
        {format::writing_range().begin[0], &Looker::writing_row},
        {format::orphan_range().begin[0], &Looker::orphan_row},
        {format::transient_range().begin[0], &Looker::transient_row},
        {format::queue_range(format::URGENT).begin[0], &Looker::queue_row},
        {format::progress_range().begin[0], &Looker::progress_row},
        {format::erase_range().begin[0], &Looker::erase_row},
        {format::tree_job_range().begin[0], &Looker::tree_job_row},
        {format::removal_range().begin[0], &Looker::removal_row},
        {format::mount_range().begin[0], &Looker::mount_row},
    };
    return table;
  }

  // Where a directory's children are: the path of the namespace, and the object keys.
  struct Place {
    std::string path;  // ends in '/'
    MountId mount{};
    std::string key;   // empty, or ends in '/'
    bool moving = false;    // a walk over a moved directory has still to come by
    bool detached = false;  // no path leads here
  };

  Result<bool> has(const std::string& key) {
    TRY_ASSIGN(const auto value, tables_.txn().get(key, isolation_));
    return value.has_value();
  }

  Result<Place> place_of(InodeId directory, int depth = 0) {
    if (directory == kRootInode) return Place{.path = "/"};
    if (const auto it = places_.find(directory); it != places_.end()) return it->second;
    Place place{.detached = true};
    TRY_ASSIGN(const auto inode, depth > kDepthMax ? Result<std::optional<Inode>>(std::nullopt)
                                                   : tables_.find_inode(directory, isolation_));
    if (inode && inode->links() != 0) {
      const InodeId parent(inode->parent());
      TRY_ASSIGN(place, place_of(parent, depth + 1));
      place.path += inode->name() + '/';
      if (parent == kRootInode) {
        place.mount = MountId(inode->lower().mount());
      } else {
        place.key += inode->name() + '/';
      }
      TRY_ASSIGN(const bool job, has(format::tree_job_key(directory)));
      place.moving |= job;
    }
    places_.emplace(directory, place);
    return place;
  }

  Result<std::string> path_of(const Inode& inode) {
    const InodeId id(inode.id());
    if (id == kRootInode) return "/";
    if (inode.links() == 0) return "";
    TRY_ASSIGN(const Place place, place_of(InodeId(inode.parent())));
    return place.detached ? "" : place.path + inode.name();
  }

  Result<void> report(Discrepancy discrepancy, Remedy remedy = {}) {
    discrepancy.remedy = remedy.does;
    look_.findings.push_back({row_, std::move(discrepancy), std::move(remedy)});
    return {};
  }
  Result<void> report(const Inode& inode, std::string_view kind, std::string expected, std::string found,
                      Remedy remedy = {}, std::string key = {}) {
    TRY_ASSIGN(std::string path, path_of(inode));
    return report({.kind = kind,
                   .path = std::move(path),
                   .inode = InodeId(inode.id()),
                   .key = std::move(key),
                   .expected = std::move(expected),
                   .found = std::move(found)},
                  std::move(remedy));
  }
  Remedy take_row_out() const { return take_out(row_, "the row"); }

  // Where what has no place is put: in the mount point that it has to do with.
  Result<MountId> mount_for(const Inode& inode) {
    for (const uint32_t mount : {inode.home().mount(), inode.claimed_mount(), inode.lower().mount(), inode.link_mount()})
      if (mount != 0) return MountId(mount);
    TRY_ASSIGN(const Place place, place_of(InodeId(inode.parent())));
    if (place.mount != MountId{}) return place.mount;
    const auto range = format::mount_range();
    TRY_ASSIGN(const auto page, tables_.txn().get_range(range.begin, range.end, {.rows_max = 1, .isolation = isolation_}));
    if (page.rows.empty()) return MountId{};
    TRY_ASSIGN(const auto mount, format::decode<format::Mount>(page.rows.front().value));
    return MountId(mount.id());
  }
  Result<Remedy> lost_and_found(const Inode& inode, const std::string& stray = {}) {
    TRY_ASSIGN(const MountId mount, mount_for(inode));
    if (mount == MountId{} || is_further_name(inode)) return Remedy();
    return move_to_lost_found(InodeId(inode.id()), mount, stray);
  }
  // Whether `directory` is one that a path leads to.
  Result<bool> takes_names(InodeId directory) {
    TRY_ASSIGN(const auto inode, tables_.find_inode(directory, isolation_));
    if (!inode || !is_directory(*inode)) return false;
    TRY_ASSIGN(const Place place, place_of(directory));
    return !place.detached;
  }
  // The name that the inode says it has leads nowhere, or elsewhere.
  Result<Remedy> for_missing_name(const Inode& inode, const std::optional<format::Dentry>& there) {
    TRY_ASSIGN(const bool room, takes_names(InodeId(inode.parent())));
    if (!there && room) return put_name_back(inode);
    return lost_and_found(inode);
  }

  // --- inodes

  Result<void> inode_row(const std::string&, const std::string& value) {
    TRY_ASSIGN(auto inode, format::decode<Inode>(value));
    const bool further = is_further_name(inode);
    if (further) {
      TRY_ASSIGN(const auto joined, tables_.find_record(InodeId(inode.id()), isolation_));
      if (joined) inode = *joined;
    }
    const InodeId id(inode.id());
    Check::SeenInode seen{.inode = inode};
    TRY_ASSIGN(seen.open_for_write, has(format::writing_key(further ? InodeId(inode.link_of()) : id)));
    seen.detached = inode.links() == 0;
    if (!seen.detached && id != kRootInode) {
      TRY_ASSIGN(const Place place, place_of(InodeId(inode.parent())));
      seen.detached = place.detached;
    }
    if (further) {
      TRY(check_further_name(seen));
    } else {
      TRY(check_name(inode));
      TRY(check_queue(seen));
      TRY(check_xattr_bytes(inode));
      TRY(check_object_facts(inode));
      if (is_directory(inode)) TRY(check_sums(inode));
    }
    TRY(check_keys(inode));
    TRY(check_place(seen));
    look_.inodes.push_back(std::move(seen));
    return {};
  }

  // The record of a further name, completed with what its inode has.
  Result<void> check_further_name(const Check::SeenInode& seen) {
    const Inode& record = seen.inode;
    const InodeId inode(record.link_of());
    const InodeId parent(record.parent());
    TRY_ASSIGN(const auto value, tables_.txn().get(format::further_name_key(inode, parent, record.name()), isolation_));
    format::FurtherName row;
    if (value) {
      TRY_ASSIGN(row, format::decode<format::FurtherName>(*value));
    }
    if (row.record() != record.id())
    {
      format::FurtherName wanted;
      wanted.set_record(record.id());
      TRY(report(record, "further_name_stray", "its inode knows the name " + text_of(record.name(), parent), "it does not",
                 value ? Remedy()
                       : put_row(format::further_name_key(inode, parent, record.name()), format::encode(wanted), "the row")));
    }
    TRY_ASSIGN(const auto dentry, find_dentry(parent, record.name(), record.type()));
    if (!dentry || InodeId(dentry->inode()) != inode) {
      TRY(report(record, "inode_without_name", "the name " + text_of(record.name(), parent) + " leads to " + text_of(inode),
                 dentry ? "it leads to " + text_of(dentry->inode()) : "no such name",
                 dentry ? Remedy() : put_name_back(record)));
    }
    if (record.queued() != format::NOT_QUEUED) return check_queue_entry(record);
    TRY_ASSIGN(const auto first, tables_.find_inode(inode, isolation_));
    // It waits for its inode's content before it waits for itself.
    if (!first || seen.detached || seen.open_for_write || first->queued() != format::NOT_QUEUED ||
        !fully_persisted(*first) || fully_persisted(record))
      return {};
    return report(record, "unpersisted_not_queued", "what is not persisted waits in the queue", "it does not wait",
                  queue_again(InodeId(record.id())));
  }

  Result<void> check_queue_entry(const Inode& inode) {
    const std::string key = format::queue_key(inode.queued(), inode.queued_due_ns(), InodeId(inode.id()));
    TRY_ASSIGN(const bool entry, has(key));
    if (entry) return {};
    return report(inode, "queue_entry_missing", "its entry in the queue", "none: it would never be persisted",
                  put_row(key, "", "the entry"));
  }

  Result<uint64_t> count_names(InodeId inode) {
    uint64_t names = 1;
    auto range = format::further_name_range(inode);
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto page, tables_.txn().get_range(range.begin, range.end, {.isolation = isolation_}));
      names += page.rows.size();
      more = page.more;
      if (more) range.begin = kv::key_after(page.rows.back().key);
    }
    return names;
  }

  Result<void> check_name(const Inode& inode) {
    const InodeId id(inode.id());
    if (id == kRootInode) return {};
    TRY_ASSIGN(const bool orphan, has(format::orphan_key(id)));
    if (inode.links() == 0) {
      TRY_ASSIGN(const bool removal, has(format::removal_key(id)));
      if (orphan || removal) return {};
      TRY_ASSIGN(const auto named, find_dentry(InodeId(inode.parent()), inode.name(), inode.type()));
      return report(inode, "unlinked_inode_forgotten", "an orphan's row of what has no name", "none",
                    named && named->inode() == inode.id()
                        ? change_record(id, "it is no orphan",
                                        [](Tables&, Inode& record) -> Result<void> {
                                          record.set_links(1);
                                          return {};
                                        })
                        : put_row(format::orphan_key(id), "", "the row"));
    }
    if (orphan)
      TRY(report(inode, "orphan_with_name", "no orphan's row of what has a name", "one",
                 take_out(format::orphan_key(id), "the row")));
    TRY_ASSIGN(const uint64_t names, count_names(id));
    if (inode.links() != names)
      TRY(report(inode, "wrong_link_count", std::to_string(names), std::to_string(inode.links()),
                 change_record(id, "the count is set right", [names](Tables&, Inode& record) -> Result<void> {
                   record.set_links(static_cast<uint32_t>(names));
                   return {};
                 })));
    const InodeId parent(inode.parent());
    if (inode.shadow()) {
      TRY_ASSIGN(const Place place, place_of(parent));
      TRY_ASSIGN(const bool row, has(format::shadow_key(place.mount, inode.name())));
      if (row || place.detached) return {};
      format::Shadow shadow;
      shadow.set_inode(inode.id());
      return report(inode, "inode_without_name", "a row for its key", "none",
                    put_row(format::shadow_key(place.mount, inode.name()), format::encode(shadow), "the row"), inode.name());
    }
    TRY_ASSIGN(const auto dentry, find_dentry(parent, inode.name(), inode.type()));
    if (dentry && dentry->inode() == inode.id()) return {};
    TRY_ASSIGN(Remedy remedy, for_missing_name(inode, dentry));
    return report(inode, "inode_without_name", "the name " + text_of(inode.name(), parent),
                  dentry ? "it leads to " + text_of(dentry->inode()) : "no such name", std::move(remedy));
    return {};
  }

  Result<std::optional<format::Dentry>> find_dentry(InodeId parent, std::string_view name, FileType type) {
    const auto kind = type == format::DIRECTORY ? format::DentryKind::kDirectory : format::DentryKind::kLeaf;
    TRY_ASSIGN(const auto value, tables_.txn().get(format::dentry_key(parent, name, kind), isolation_));
    if (!value) return std::optional<format::Dentry>{};
    TRY_ASSIGN(auto dentry, format::decode<format::Dentry>(*value));
    return std::optional(std::move(dentry));
  }

  Result<void> check_queue(const Check::SeenInode& seen) {
    const Inode& inode = seen.inode;
    const InodeId id(inode.id());
    TRY_ASSIGN(const bool transient, has(format::transient_key(id)));
    if (transient != inode.transient()) {
      TRY(report(inode, transient ? "transient_row_stray" : "transient_row_missing",
                 inode.transient() ? "a row of a TRANSIENT file" : "no row of what is not TRANSIENT",
                 transient ? "one" : "none",
                 transient ? take_out(format::transient_key(id), "the row")
                           : put_row(format::transient_key(id), "", "the row")));
    }
    if (inode.queued() != format::NOT_QUEUED) return check_queue_entry(inode);
    const bool exempt = seen.detached || seen.open_for_write || inode.transient() || inode.quarantined() ||
                        id == kRootInode || InodeId(inode.parent()) == kRootInode;
    const bool persisted = (inode.type() != format::REGULAR || content_persisted(inode)) &&
                           inode.attributes_version() == inode.persisted_attributes_version();
    if (!exempt && !persisted)
      return report(inode, "unpersisted_not_queued", "what is not persisted waits in the queue", "it does not wait",
                    queue_again(id));
    return {};
  }

  // Its home and its claim are its own, as is the sidecar that all names of an inode share.
  Result<void> check_keys(const Inode& inode) {
    if (inode.has_sidecar() && !is_further_name(inode))
      TRY(check_key(inode, "sidecar", MountId(inode.sidecar().mount()), inode.sidecar().key()));
    if (inode.has_home()) TRY(check_key(inode, "home", MountId(inode.home().mount()), inode.home().key()));
    if (!inode.claimed_key().empty())
      TRY(check_key(inode, "claim", MountId(inode.claimed_mount()), inode.claimed_key()));
    return {};
  }

  Result<void> check_key(const Inode& inode, std::string_view what, MountId mount, const std::string& key) {
    TRY_ASSIGN(const auto owner, tables_.find_owner(mount, key, isolation_));
    if (owner && owner->inode() == inode.id()) return {};
    bool contested = false;
    if (owner && owner->inode() != 0) {
      TRY_ASSIGN(const auto other, tables_.find_record(InodeId(owner->inode()), isolation_));
      contested = other && has_object_at(*other, mount, key);
    }
    return report(inode, "object_key_not_owned", "the key of its " + std::string(what) + " is its own",
                  !owner               ? "nobody's"
                  : owner->inode() == 0 ? "to be erased"
                                        : "of " + text_of(owner->inode()),
                  contested ? Remedy() : own_key(InodeId(inode.id()), mount, key), key);
  }

  static bool has_object_at(const Inode& inode, MountId mount, const std::string& key) {
    const bool home = inode.has_home() && inode.home().key() == key && MountId(inode.home().mount()) == mount;
    const bool claimed = inode.claimed_key() == key && MountId(inode.claimed_mount()) == mount;
    const bool sidecar = inode.sidecar().key() == key || inode.claimed_sidecar() == key;
    return home || claimed || sidecar;
  }

  // At rest the object lies under the path.
  Result<void> check_place(const Check::SeenInode& seen) {
    const Inode& inode = seen.inode;
    if (seen.detached || InodeId(inode.id()) == kRootInode || InodeId(inode.parent()) == kRootInode ||
        inode.queued() != format::NOT_QUEUED || inode.quarantined() || !fully_persisted(inode))
      return {};
    TRY_ASSIGN(Place place, place_of(InodeId(inode.parent())));
    if (is_directory(inode)) {
      TRY_ASSIGN(const bool job, has(format::tree_job_key(InodeId(inode.id()))));
      place.moving |= job;
    }
    if (place.moving) return {};
    const std::string key = place.key + inode.name() + (is_directory(inode) ? "/" : "");
    if (inode.home().key() == key && MountId(inode.home().mount()) == place.mount) return {};
    return report(inode, "object_misplaced", "under '" + key + "'", "under '" + inode.home().key() + "'",
                  queue_again(InodeId(inode.id())), inode.home().key());
  }

  Result<uint64_t> sum_xattrs(InodeId inode) {
    uint64_t bytes = 0;
    auto range = format::xattr_range(inode);
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto page, tables_.txn().get_range(range.begin, range.end, {.isolation = isolation_}));
      for (const auto& row : page.rows) bytes += format::xattr_name(row.key).size() + 1 + row.value.size();
      more = page.more;
      if (more) range.begin = kv::key_after(page.rows.back().key);
    }
    return bytes;
  }
  static Remedy set_xattr_bytes(const Inode& inode, uint64_t bytes) {
    return change_record(InodeId(inode.id()), "the sum is set right", [bytes](Tables&, Inode& record) -> Result<void> {
      record.set_xattr_bytes(bytes);
      return {};
    });
  }

  Result<void> check_xattr_bytes(const Inode& inode) {
    if (inode.xattr_bytes() == 0) return {};
    TRY_ASSIGN(const uint64_t bytes, sum_xattrs(InodeId(inode.id())));
    if (bytes == inode.xattr_bytes()) return {};
    return report(inode, "wrong_attribute_bytes", std::to_string(bytes), std::to_string(inode.xattr_bytes()),
                  set_xattr_bytes(inode, bytes));
  }

  Result<void> check_object_facts(const Inode& inode) {
    if (!inode.object().has_facts()) return {};
    TRY_ASSIGN(const bool facts, has(format::object_facts_key(InodeId(inode.id()))));
    if (facts) return {};
    return report(inode, "object_facts_missing", "a row with what is known of the object", "none",
                  change_record(InodeId(inode.id()), "what its object in the bucket says is read anew",
                                [](Tables&, Inode& record) -> Result<void> {
                                  record.mutable_object()->set_has_facts(false);
                                  if (fully_persisted(record)) record.mutable_object()->set_facts_known(false);
                                  return {};
                                }));
  }

  struct Sums {
    int64_t subdirectories = 0;
    int64_t files = 0;
    int64_t bytes = 0;
  };

  Result<int64_t> counter(const std::string& key) {
    TRY_ASSIGN(const auto value, tables_.txn().get(key, kSnapshot));
    return value ? kv::decode_counter(*value) : Result<int64_t>(0);
  }

  Result<void> add_entry(InodeId directory, const kv::KeyValue& row, Sums& sums) {
    if (row.key.ends_with('/')) {
      ++sums.subdirectories;
      return {};
    }
    TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(row.value));
    TRY_ASSIGN(const auto inode, tables_.find_inode(InodeId(dentry.inode()), kSnapshot));
    if (!inode || InodeId(inode->parent()) != directory || inode->name() != format::dentry_name(row.key)) return {};
    ++sums.files;
    if (inode->type() == format::REGULAR) sums.bytes += static_cast<int64_t>(inode->size());
    return {};
  }

  // What is kept of a directory's entries.
  Result<void> check_sums(const Inode& inode) {
    const InodeId id(inode.id());
    Sums kept;
    TRY_ASSIGN(kept.subdirectories, counter(format::subdirectories_key(id)));
    TRY_ASSIGN(kept.files, counter(format::directory_files_key(id)));
    TRY_ASSIGN(kept.bytes, counter(format::directory_bytes_key(id)));
    Sums present;
    auto range = format::dentry_range(id);
    for (bool more = true; more;) {
      const auto page = tables_.txn().get_range(range.begin, range.end, {.isolation = kSnapshot});
      if (failed_with(page, ErrorCode::kTooOld)) return {};  // too many entries to be counted at one instant
      TRY(page);
      for (const auto& row : page->rows) {
        const auto added = add_entry(id, row, present);
        if (failed_with(added, ErrorCode::kTooOld)) return {};
        if (failed_with(added, ErrorCode::kCorrupt)) return {};  // found by its own row
        TRY(added);
      }
      more = page->more;
      if (more) range.begin = kv::key_after(page->rows.back().key);
    }
    if (present.subdirectories != kept.subdirectories)
      TRY(report(inode, "wrong_subdirectory_count", std::to_string(present.subdirectories),
                 std::to_string(kept.subdirectories),
                 add_to(format::subdirectories_key(id), present.subdirectories - kept.subdirectories, "the count")));
    if (present.files != kept.files)
      TRY(report(inode, "wrong_file_count", std::to_string(present.files), std::to_string(kept.files),
                 add_to(format::directory_files_key(id), present.files - kept.files, "the count")));
    if (present.bytes != kept.bytes)
      TRY(report(inode, "wrong_byte_sum", std::to_string(present.bytes), std::to_string(kept.bytes),
                 add_to(format::directory_bytes_key(id), present.bytes - kept.bytes, "the sum")));
    return {};
  }

  // --- names

  Result<void> dentry_row(const std::string& key, const std::string& value) {
    ++look_.names;
    TRY_ASSIGN(const auto dentry, format::decode<format::Dentry>(value));
    TRY_ASSIGN(const InodeId parent, format::parse_id_key(std::string_view(key).substr(0, 9)));
    const std::string name(format::dentry_name(key));
    const InodeId id(dentry.inode());
    TRY_ASSIGN(const Place place, place_of(parent));
    Discrepancy wrong{.path = place.detached ? "" : place.path + name, .inode = id};
    TRY_ASSIGN(const auto directory, tables_.find_inode(parent, isolation_));
    if (!directory || !is_directory(*directory)) {
      wrong.kind = "name_without_directory";
      wrong.expected = "the name " + text_of(name, parent) + " is in a directory";
      wrong.found = directory ? "its parent is no directory" : "its parent does not exist";
      TRY_ASSIGN(const auto lost, tables_.find_inode(id, isolation_));
      Remedy remedy = take_out(key, "the name");
      if (lost && InodeId(lost->parent()) == parent && lost->name() == name) {
        TRY_ASSIGN(remedy, lost_and_found(*lost, key));
      }
      return report(std::move(wrong), std::move(remedy));
    }
    TRY_ASSIGN(const auto inode, tables_.find_inode(id, isolation_));
    if (!inode) {
      wrong.kind = "name_without_inode";
      wrong.expected = "the name " + text_of(name, parent) + " leads to " + text_of(id);
      wrong.found = "no such inode";
      return report(std::move(wrong), take_out(key, "the name"));
    }
    if (inode->type() != dentry.type() || (dentry.type() == format::DIRECTORY) != key.ends_with('/')) {
      wrong.kind = "name_of_wrong_type";
      wrong.expected = "type " + std::to_string(inode->type()) + ", as " + text_of(id);
      wrong.found = "type " + std::to_string(dentry.type()) + (key.ends_with('/') ? ", sorted as a directory" : "");
      const auto kind = is_directory(*inode) ? format::DentryKind::kDirectory : format::DentryKind::kLeaf;
      const std::string right_key = format::dentry_key(parent, name, kind);
      format::Dentry right;
      right.set_inode(inode->id());
      right.set_type(inode->type());
      // Under the key of the right kind it is written over; under the other one its place may be taken.
      return report(std::move(wrong), right_key == key ? put_row(key, format::encode(right), "the name, with its type,")
                                                       : take_out(key, "the name"));
    }
    if (dentry.type() == format::DIRECTORY) {
      TRY_ASSIGN(const bool known, has(format::subdirectory_key(parent, name)));
      if (!known) {
        wrong.kind = "directory_row_missing";
        wrong.expected = "a row of " + text_of(name, parent) + " among the directories";
        wrong.found = "none: sums pass it over";
        TRY(report(wrong, put_row(format::subdirectory_key(parent, name), kv::encode_counter(static_cast<int64_t>(id.value())),
                                  "the row")));
      }
    }
    TRY_ASSIGN(const bool further, has(format::further_name_key(id, parent, name)));
    if (!further && (InodeId(inode->parent()) != parent || inode->name() != name)) {
      wrong.kind = "name_unknown_to_inode";
      wrong.expected = text_of(id) + " is " + text_of(name, parent);
      wrong.found = "it says " + text_of(inode->name(), InodeId(inode->parent()));
      TRY_ASSIGN(const auto own, find_dentry(InodeId(inode->parent()), inode->name(), inode->type()));
      const bool elsewhere = inode->shadow() || (own && own->inode() == inode->id());
      // There may be a record of the name that its row does not lead to any more: that comes first, or the count of links.
      TRY_ASSIGN(const uint64_t names, count_names(id));
      return report(std::move(wrong), !elsewhere             ? accept_name(id, parent, name)
                                      : inode->links() > names ? Remedy()
                                      : is_directory(*inode) ? take_out(key, "the name")
                                                             : accept_further_name(id, parent, name));
    }
    return {};
  }

  Result<void> further_name_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto row, format::decode<format::FurtherName>(value));
    TRY_ASSIGN(const InodeId id, format::parse_id_key(std::string_view(key).substr(0, 9)));
    const InodeId record_id(row.record());
    TRY_ASSIGN(const auto record, tables_.find_record(record_id, isolation_));
    if (record && InodeId(record->link_of()) == id &&
        format::further_name_key(id, InodeId(record->parent()), record->name()) == key)
      return {};
    return report({.kind = "further_name_stray",
                   .inode = id,
                   .expected = "a further name has a record",
                   .found = record ? "record " + std::to_string(record_id.value()) + " is of another name" : "none"},
                  take_row_out());
  }

  Result<void> link_group_row(const std::string&, const std::string& value) {
    TRY_ASSIGN(const auto group, format::decode<format::LinkGroup>(value));
    TRY(inode_of(InodeId(group.inode()), "link_group_stray", "a group of names"));
    return {};
  }

  // --- rows that stand for an inode

  // The inode of a row that must not be without one.
  Result<std::optional<Inode>> inode_of(InodeId id, std::string_view kind, const char* row) {
    TRY_ASSIGN(auto inode, tables_.find_record(id, isolation_));
    if (!inode)
      TRY(report({.kind = kind, .inode = id, .expected = std::string(row) + " has an inode", .found = "none"}, take_row_out()));
    return inode;
  }
  Result<std::optional<Inode>> inode_of(const std::string& key, std::string_view kind, const char* row) {
    TRY_ASSIGN(const InodeId id, format::parse_id_key(key));
    return inode_of(id, kind, row);
  }

  Result<void> directory_mtime_row(const std::string& key, const std::string&) {
    TRY(inode_of(key, "directory_row_stray", "a directory's time of change"));
    return {};
  }
  Result<void> subdirectories_row(const std::string& key, const std::string&) {
    TRY(inode_of(key, "directory_row_stray", "a directory's count of directories"));
    return {};
  }
  Result<void> directory_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto row, format::parse_directory_key(key));
    const char* what = row.row == format::DirectoryRow::kChanged        ? "a directory whose entries changed"
                       : row.row == format::DirectoryRow::kSubdirectory ? "a directory with directories"
                                                                        : "a directory's sum over its entries";
    TRY_ASSIGN(const auto inode, inode_of(row.directory, "directory_row_stray", what));
    if (!inode || row.row != format::DirectoryRow::kSubdirectory) return {};
    TRY_ASSIGN(const int64_t id, kv::decode_counter(value));
    TRY_ASSIGN(const auto dentry, find_dentry(row.directory, row.name, format::DIRECTORY));
    if (dentry && dentry->inode() == static_cast<uint64_t>(id)) return {};
    return report(*inode, "directory_row_stray", text_of(row.name, row.directory) + " is " + text_of(InodeId(id)),
                  dentry ? "it is " + text_of(dentry->inode()) : "no such name", take_row_out());
  }
  Result<void> writing_row(const std::string& key, const std::string& value) {
    TRY(format::decode<format::WriteMark>(value));
    TRY(inode_of(key, "write_mark_stray", "a write mark"));
    return {};
  }
  Result<void> xattr_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const InodeId id, format::parse_id_key(std::string_view(key).substr(0, 9)));
    TRY_ASSIGN(const auto inode, inode_of(id, "attribute_stray", "an extended attribute"));
    if (inode && inode->xattr_bytes() == 0) {
      TRY_ASSIGN(const uint64_t bytes, sum_xattrs(id));
      return report(*inode, "wrong_attribute_bytes",
                    std::to_string(format::xattr_name(key).size() + 1 + value.size()) + " or more", "0",
                    set_xattr_bytes(*inode, bytes));
    }
    return {};
  }
  Result<void> part_digests_row(const std::string& key, const std::string&) {
    TRY_ASSIGN(const InodeId id, format::parse_id_key(std::string_view(key).substr(0, 9)));
    TRY(inode_of(id, "part_digests_stray", "digests of parts"));
    return {};
  }
  Result<void> object_facts_row(const std::string& key, const std::string& value) {
    TRY(format::decode<format::ObjectFacts>(value));
    TRY_ASSIGN(const auto inode, inode_of(key, "object_facts_stray", "what is known of an object"));
    if (inode && !inode->object().has_facts())
      return report(*inode, "object_facts_stray", "an object that nothing more is known of has no row", "one",
                    take_row_out());
    return {};
  }
  Result<void> shadow_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto row, format::decode<format::Shadow>(value));
    TRY_ASSIGN(const auto inode, inode_of(InodeId(row.inode()), "shadow_stray", "a key that no path shows"));
    if (!inode || (inode->shadow() && inode->name() == format::shadow_object_key(key))) return {};
    return report(*inode, "shadow_stray", "it is an object under that key", "it is under '" + inode->name() + "'",
                  take_row_out(), std::string(format::shadow_object_key(key)));
  }
  Result<void> object_parts_row(const std::string& key, const std::string& value) {
    TRY(format::decode<format::ObjectParts>(value));
    TRY_ASSIGN(const InodeId id, format::parse_id_key(std::string_view(key).substr(0, 9)));
    TRY_ASSIGN(const auto inode, inode_of(id, "object_facts_stray", "parts of an object"));
    if (inode && inode->object().parts() == 0)
      return report(*inode, "object_facts_stray", "an object that was not put in parts has none", "a row", take_row_out());
    return {};
  }

  // --- uploads

  Result<void> object_upload_row(const std::string& key, const std::string& value) {
    TRY(format::decode<format::ObjectUpload>(value));
    TRY_ASSIGN(const auto entry, format::parse_object_upload_key(key));
    TRY_ASSIGN(const bool mounted, has(format::mount_key(entry.mount)));
    if (mounted) return {};
    return report({.kind = "upload_stray", .key = entry.object_key, .expected = "a mount point", .found = "none"},
                  take_row_out());
  }

  // Which upload a part is of is not in its row, so all are asked.
  Result<void> object_upload_part_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto part, format::decode<format::ObjectPart>(value));
    if (!uploads_) {
      uploads_.emplace();
      auto range = format::object_upload_range();
      for (bool more = true; more;) {
        TRY_ASSIGN(const auto page, tables_.txn().get_range(range.begin, range.end, {.isolation = isolation_}));
        for (const auto& row : page.rows) {
          const auto upload = format::decode<format::ObjectUpload>(row.value);
          if (upload) uploads_->insert(upload->id());
        }
        more = page.more;
        if (more) range.begin = kv::key_after(page.rows.back().key);
      }
    }
    TRY_ASSIGN(const InodeId upload, format::parse_id_key(std::string_view(key).substr(0, 9)));
    if (uploads_->contains(upload.value())) return {};
    return report({.kind = "upload_part_stray",
                   .expected = "part " + std::to_string(part.number()) + " is of an upload",
                   .found = "no such upload"},
                  take_row_out());
  }

  Result<void> orphan_row(const std::string& key, const std::string&) {
    TRY(inode_of(key, "orphan_stray", "an orphan's row"));
    return {};
  }
  Result<void> transient_row(const std::string& key, const std::string&) {
    TRY(inode_of(key, "transient_row_stray", "a TRANSIENT file's row"));
    return {};
  }
  Result<void> progress_row(const std::string& key, const std::string& value) {
    TRY(format::decode<format::Progress>(value));
    TRY_ASSIGN(const auto inode, inode_of(key, "progress_stray", "the progress of persisting"));
    if (inode && inode->queued() == format::NOT_QUEUED)
      return report(*inode, "progress_stray", "the progress of what waits in the queue", "it does not wait", take_row_out());
    return {};
  }
  Result<void> queue_row(const std::string& key, const std::string&) {
    TRY_ASSIGN(const auto entry, format::parse_queue_key(key));
    TRY_ASSIGN(const auto inode, inode_of(entry.inode, "queue_entry_stray", "an entry of the queue"));
    if (!inode || (inode->queued() == entry.queue_class && inode->queued_due_ns() == entry.due_ns)) return {};
    return report(*inode, "queue_entry_stray",
                  "one entry, class " + std::to_string(inode->queued()) + ", due " + std::to_string(inode->queued_due_ns()),
                  "class " + std::to_string(entry.queue_class) + ", due " + std::to_string(entry.due_ns), take_row_out());
  }

  // --- objects

  Result<void> owner_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto owner, format::decode<format::Owner>(value));
    TRY_ASSIGN(const MountId mount, mount_of(key));
    const std::string object(format::owner_object_key(key));
    if (owner.inode() == 0) {
      const std::string entry_key = format::erase_key(owner.erase_due_ns(), mount, object);
      TRY_ASSIGN(const bool entry, has(entry_key));
      if (entry) return {};
      return report({.kind = "erasure_missing",
                     .key = object,
                     .expected = "what is to be erased has an entry for it",
                     .found = "none: it would never be erased"},
                    put_row(entry_key, "", "the entry"));
    }
    const InodeId id(owner.inode());
    TRY_ASSIGN(const auto inode, tables_.find_record(id, isolation_));
    if (!inode) {
      TRY_ASSIGN(const bool mounted, has(format::mount_key(mount)));
      if (!mounted) return {};  // rows of a mount point that is being removed go last
      return report({.kind = "owner_stray", .inode = id, .key = object, .expected = text_of(id), .found = "no such inode"},
                    take_row_out());
    }
    if (has_object_at(*inode, mount, object)) return {};
    return report(*inode, "owner_stray", "the owner of a key has its object there, or is about to",
                  "its home is " + (inode->has_home() ? "'" + inode->home().key() + "'" : std::string("nowhere")),
                  take_row_out(), object);
  }

  Result<MountId> mount_of(std::string_view key) {
    if (key.size() < 5) return fail(ErrorCode::kCorrupt, "key of the wrong form");
    uint32_t id = 0;
    for (const char c : key.substr(1, 4)) id = id << 8 | static_cast<uint8_t>(c);
    return MountId(id);
  }

  Result<void> erase_row(const std::string& key, const std::string&) {
    TRY_ASSIGN(const auto entry, format::parse_erase_key(key));
    TRY_ASSIGN(const auto owner, tables_.find_owner(entry.mount, entry.object_key, isolation_));
    if (owner && owner->inode() == 0 && owner->erase_due_ns() == entry.due_ns) return {};
    return report({.kind = "erasure_stray",
                   .key = entry.object_key,
                   .expected = "a key that is to be erased",
                   .found = !owner               ? "nobody's"
                            : owner->inode() == 0 ? "to be erased at another time"
                                                  : "of " + text_of(owner->inode())},
                  take_row_out());
  }

  // --- moved directories

  Result<void> tree_job_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto job, format::decode<format::TreeJob>(value));
    TRY_ASSIGN(const auto inode, inode_of(key, "tree_job_stray", "a walk over a moved directory"));
    if (inode) TRY(check_claims(*inode, job));
    return {};
  }

  template <typename Job>
  Result<void> check_claims(const Inode& inode, const Job& job) {
    for (const auto& claim : job.claims()) {
      const std::string key = format::claim_key(MountId(claim.mount()), claim.prefix());
      TRY_ASSIGN(const bool claimed, has(key));
      if (claimed) continue;
      TRY(report(inode, "prefix_claim_missing", "a claim on the prefix that it still reads", "none",
                 put_row(key, "", "the claim"), claim.prefix()));
    }
    return {};
  }

  Result<void> removal_row(const std::string& key, const std::string& value) {
    TRY_ASSIGN(const auto removal, format::decode<format::TreeRemoval>(value));
    TRY_ASSIGN(const auto inode, inode_of(key, "removal_stray", "a tree being removed"));
    if (inode && inode->links() != 0)
      return report(*inode, "removal_stray", "a tree being removed has no name", "it has one", take_row_out());
    if (inode) TRY(check_claims(*inode, removal));
    return {};
  }

  // Notes the prefixes that the jobs of a table claim.
  template <typename Job>
  Result<void> gather_claims(format::KeyRange range) {
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto page, tables_.txn().get_range(range.begin, range.end, {.isolation = isolation_}));
      for (const auto& row : page.rows) {
        const auto job = format::decode<Job>(row.value);
        if (!job) continue;  // found damaged by its own row
        for (const auto& claim : job->claims())
          claims_->push_back(format::claim_key(MountId(claim.mount()), claim.prefix()));
      }
      more = page.more;
      if (more) range.begin = kv::key_after(page.rows.back().key);
    }
    return {};
  }

  // Who claims a prefix is not in its row, so all jobs are asked.
  Result<void> claim_row(const std::string& key, const std::string&) {
    if (!claims_) {
      claims_.emplace();
      TRY(gather_claims<format::TreeJob>(format::tree_job_range()));
      TRY(gather_claims<format::TreeRemoval>(format::removal_range()));
      std::ranges::sort(*claims_);
    }
    if (std::ranges::binary_search(*claims_, key)) return {};
    TRY_ASSIGN(const MountId mount, mount_of(key));
    TRY_ASSIGN(const bool mounted, has(format::mount_key(mount)));
    if (!mounted) return {};
    return report({.kind = "prefix_claim_stray",
                   .key = key.substr(5),
                   .expected = "a moved directory that still reads the prefix",
                   .found = "none: what is there would stay hidden"},
                  take_row_out());
  }

  Result<void> mount_row(const std::string&, const std::string& value) {
    TRY_ASSIGN(const auto mount, format::decode<format::Mount>(value));
    TRY_ASSIGN(const auto dentry, find_dentry(kRootInode, mount.name(), format::DIRECTORY));
    if (dentry && dentry->inode() == mount.directory()) return {};
    TRY_ASSIGN(const auto directory, tables_.find_inode(InodeId(mount.directory()), isolation_));
    Remedy remedy;
    if (!dentry && directory && is_directory(*directory) && InodeId(directory->parent()) == kRootInode &&
        directory->name() == mount.name()) {
      remedy = put_name_back(*directory);
    } else if (!dentry && !directory && mount.directory() != 0) {
      remedy = make_mount_directory(mount);
    }
    return report({.kind = "mount_point_without_directory",
                   .path = "/" + mount.name(),
                   .inode = InodeId(mount.directory()),
                   .expected = "/" + mount.name() + " is " + text_of(mount.directory()),
                   .found = dentry ? text_of(dentry->inode()) : "no such name"},
                  std::move(remedy));
  }

  Tables tables_;
  const kv::Isolation isolation_;
  Check::Look& look_;
  std::string row_;
  std::map<InodeId, Place> places_;
  std::optional<std::set<uint64_t>> uploads_;       // ids of all
  std::optional<std::vector<std::string>> claims_;  // keys of all claims that jobs hold, sorted
};

}  // namespace

std::string to_string(const Discrepancy& discrepancy) {
  std::string text(discrepancy.kind);
  if (!discrepancy.path.empty()) text += ' ' + discrepancy.path;
  if (discrepancy.inode != InodeId{}) text += " (inode " + std::to_string(discrepancy.inode.value()) + ')';
  if (!discrepancy.key.empty()) text += " object '" + discrepancy.key + '\'';
  text += ": expected " + discrepancy.expected + ", found " + discrepancy.found;
  return discrepancy.repaired ? text + "; repaired: " + discrepancy.remedy : text;
}

Result<Check::Look> Check::look_from(std::string_view cursor, size_t rows_max) {
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<Look> {
    Look look;
    Looker looker(txn, look, kSnapshot);
    TRY_ASSIGN(const auto page,
               txn.get_range(cursor, kEndOfKeys, {.rows_max = rows_max, .isolation = kv::Isolation::kSnapshot}));
    for (const auto& row : page.rows) TRY(looker.row(row.key, row.value));
    look.more = page.more;
    if (!page.rows.empty()) look.cursor = kv::key_after(page.rows.back().key);
    return look;
  });
}

Result<Check::Look> Check::look_at(kv::Txn& txn, const std::string& row) {
  Look look;
  Looker looker(txn, look, kv::Isolation::kSerializable);
  TRY_ASSIGN(const auto value, txn.get(row));
  if (value) TRY(looker.row(row, *value));
  return look;
}

Result<Check::Look> Check::look_at(std::span<const std::string> rows) {
  return kv::read_txn(kv_, [&](kv::Txn& txn) -> Result<Look> {
    Look look;
    Looker looker(txn, look, kSnapshot);
    for (const std::string& key : rows) {
      TRY_ASSIGN(const auto value, txn.get(key, kv::Isolation::kSnapshot));
      if (value) TRY(looker.row(key, *value));
    }
    return look;
  });
}

}  // namespace weir::meta
