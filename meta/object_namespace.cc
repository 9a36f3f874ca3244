#include "meta/object_namespace.h"

#include <algorithm>

#include "meta/object_attributes.h"
#include "meta/object_tables.h"
#include "meta/operation.h"
#include "net/digest.h"
#include "net/encoding.h"

namespace weir::meta {
namespace {

constexpr std::string_view kNoBucket = "no such bucket";
constexpr size_t kOpaqueEtagBytes = 16;
// Longer than any copy inside a store takes.
constexpr int64_t kParkedGraceNs = 3'600'000'000'000;

std::string md5_text(std::string_view body) { return net::hex(net::md5(net::bytes_of(body))); }

}  // namespace

bool is_no_bucket(const Error& error) {
  return error == ErrorCode::kNotFound && error.context().starts_with(kNoBucket);
}

bool is_no_upload(const Error& error) {
  return error == ErrorCode::kNotFound && error.context().starts_with(kNoUpload);
}

bool has_marker(const Inode& directory) {
  return directory.has_home() || directory.queued() != format::NOT_QUEUED || !directory.claimed_key().empty() ||
         directory.transient();
}

bool is_object(const Inode& inode) {
  if (is_directory(inode)) return has_marker(inode);
  if (inode.type() != format::REGULAR) return true;
  return inode.content_version() != 0 || inode.has_home() || inode.queued() != format::NOT_QUEUED || inode.transient();
}

std::string object_body(const Inode& inode) {
  return inode.type() == format::SYMLINK ? encode_symlink(inode.symlink_target()) : std::string();
}

uint64_t object_size(const Inode& inode) {
  return inode.type() == format::REGULAR ? inode.size() : object_body(inode).size();
}

std::string etag_of(const Inode& inode, std::string_view volume_id) {
  if (inode.type() != format::REGULAR) return md5_text(object_body(inode));
  if (!inode.object().etag().empty() && inode.object().content_version() == inode.content_version())
    return inode.object().etag();
  if (inode.content_version() == 0 && inode.has_home()) return inode.home().etag();
  const std::string what = std::string(volume_id) + "/" + std::to_string(inode.id()) + "/" +
                           std::to_string(inode.content_version());
  const net::Sha256 digest = net::sha256(net::bytes_of(what));
  return net::hex(std::span(digest).first(kOpaqueEtagBytes)) + "-0";
}

void keep_etag(Inode& inode, std::string_view new_home_etag) {
  if (inode.type() != format::REGULAR || inode.content_version() != 0 || !inode.has_home() ||
      inode.home().etag() == new_home_etag || !inode.object().etag().empty() || is_further_name(inode))
    return;
  inode.mutable_object()->set_etag(inode.home().etag());
}

int64_t object_modified_ns(const Inode& inode) {
  if (inode.content_version() != 0 || inode.type() != format::REGULAR) return inode.ctime_ns();
  return inode.object().modified_ns() != 0 ? inode.object().modified_ns() : inode.mtime_ns();
}

void keep_modified(Inode& inode) {
  if (inode.type() != format::REGULAR || inode.content_version() != 0 || inode.object().modified_ns() != 0) return;
  inode.mutable_object()->set_modified_ns(inode.mtime_ns());
}

Result<KeyFound> ObjectNamespace::find(std::string_view bucket, std::string_view key, WithFacts with_facts) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<KeyFound> {
    ObjectTables objects(tables);
    TRY_ASSIGN(const Inode top, objects.load_bucket(bucket));
    KeyFound found{.bucket = InodeId(top.id())};
    TRY_ASSIGN(auto resolved, objects.resolve(top, key));
    const auto& place = resolved.place;
    TRY_ASSIGN(const Inode innermost, place.directory == found.bucket ? Result<Inode>(top)
                                                                       : tables.load_inode(place.directory));
    if (!resolved.in_shadow && place.whole()) {
      found.directory = place.directory;
      found.name = resolved.path->names.back();
    }
    found.inode = std::move(resolved.inode);
    if (found.inode && with_facts == WithFacts::kYes) {
      TRY_ASSIGN(found.facts, objects.facts(*found.inode));
    }
    const bool never_listed = innermost.has_lower() && innermost.lower().listed_ns() == 0;
    if (never_listed && !found.inode) {
      if (resolved.path && !place.dentry) {
        found.ask_lower.emplace(place.directory, resolved.path->names[place.depth]);
      } else {
        found.needs_listing = place.directory;
      }
    }
    if (innermost.has_lower() && sync_interval_ >= Duration::zero() &&
        innermost.lower().listed_ns() + sync_interval_.count() <= tables.now_ns())
      found.refresh_due = place.directory;
    return found;
  });
}

Result<std::vector<format::ObjectPart>> ObjectNamespace::parts(const Inode& inode, uint32_t after, size_t parts_max) {
  return read_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<std::vector<format::ObjectPart>> {
    std::vector<format::ObjectPart> parts;
    const InodeId id(inode.id());
    TRY_ASSIGN(const auto now, tables.find_inode(id));
    if (!now || now->content_version() != inode.content_version())
      return fail(ErrorCode::kStale, "the object is another one by now");
    if (now->object().parts() == 0 || parts_max == 0) return parts;
    // The row that has the number itself, or the first one behind it.
    const auto all = format::object_parts_range(id);
    std::string begin = all.begin;
    TRY_ASSIGN(const auto first, tables.txn().get_range(all.begin, kv::key_after(format::object_parts_key(id, after)),
                                                        {.rows_max = 1, .direction = kv::Direction::kReverse}));
    if (!first.rows.empty()) begin = first.rows.front().key;
    for (bool more = true; more && parts.size() < parts_max;) {
      TRY_ASSIGN(const auto page, tables.txn().get_range(begin, all.end));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto some, format::decode<format::ObjectParts>(row.value));
        for (const auto& part : some.parts()) {
          if (part.number() > after && parts.size() < parts_max) parts.push_back(part);
        }
      }
      more = page.more;
      if (more) begin = kv::key_after(page.rows.back().key);
    }
    return parts;
  });
}

Result<ObjectCommitted> ObjectNamespace::put(std::string_view bucket, std::string_view key, const ObjectPut& put,
                                             const Incumbent& incumbent, const ObjectGuard& guard,
                                             kv::Durability durability) {
  InodeId id;
  if (put.parked) {
    id = put.parked->inode;
  } else {
    TRY_ASSIGN(id, names_.new_inode_id());
  }
  const auto rules = names_.rules();
  const auto next_id = [this] { return names_.new_inode_id(); };
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<ObjectCommitted> {
        ObjectTables objects(tables);
        TRY_ASSIGN(const Inode top, objects.load_bucket(bucket));
        TRY_ASSIGN(auto resolved, objects.resolve(top, key));
        ObjectCommitted committed;
        committed.takes_local_file = !put.parked;
        const MountId mount(top.lower().mount());
        if (put.upload) {
          TRY_ASSIGN(const auto upload, objects.load_upload(mount, key, put.upload->id));
          TRY(objects.erase_upload(mount, key, put.upload->id, upload));
        }
        std::optional<Inode>& there = resolved.inode;
        const InodeId there_id(there ? there->id() : 0);
        if (there_id != incumbent.inode.value_or(InodeId(0)))
          return fail(ErrorCode::kStale, "'" + std::string(key) + "' is another object by now");
        TRY(guard(there));

        const bool directory = resolved.path && resolved.path->directory && put.size == 0 && !resolved.blocked;
        const bool shadow = resolved.blocked || (resolved.path->directory && put.size != 0);
        Inode inode;
        if (resolved.in_shadow) {
          TRY_ASSIGN(committed.replaced, objects.remove_shadow(mount, *there, incumbent.in_use));
        } else if (there && shadow) {
          // What is put under the directory's key takes the place of the directory's own object.
          TRY(objects.erase_marker(*there));
        } else if (there && !directory) {
          TRY_ASSIGN(committed.replaced,
                     tables.remove_entry(resolved.place.directory, resolved.path->names.back(), *resolved.place.dentry,
                                         incumbent.in_use == InUse::kYes));
        }
        if (committed.replaced) {
          TRY(objects.spare_replaced(mount, key, kReplacedGraceNs));
          committed.replaced->erases_object = false;
        }
        if (directory) {
          committed.takes_local_file = false;
          if (there && !resolved.in_shadow) {
            inode = *there;
            inode.set_ctime_ns(std::max(inode.ctime_ns(), tables.now_ns()));
            inode.set_attributes_version(inode.attributes_version() + 1);
          } else if (resolved.place.dentry) {
            TRY_ASSIGN(inode, tables.load_inode(resolved.place.dentry->inode));
            inode.set_attributes_version(inode.attributes_version() + 1);
          } else {
            TRY_ASSIGN(const Inode parent, objects.make_parents(*resolved.path, resolved.place, put, next_id, committed.changed));
            TRY_ASSIGN(inode, objects.make_directory(parent, resolved.path->names.back(), put, id));
            committed.changed.emplace_back(InodeId(parent.id()), resolved.path->names.back());
          }
        } else {
          if (shadow) {
            inode = objects.make_shadow(top, key, id, put);
          } else {
            const std::string& name = resolved.path->names.back();
            TRY_ASSIGN(const Inode parent, objects.make_parents(*resolved.path, resolved.place, put, next_id, committed.changed));
            TRY(Tables::check_free_name(parent, name));
            inode = tables.make_inode(id, format::REGULAR, InodeId(parent.id()), name, put.file_permissions,
                                      put.caller.uid, group_of_child(parent, put.caller));
            if (there && there->type() == format::REGULAR) {
              inode.set_permissions(there->permissions());
              inode.set_uid(there->uid());
              inode.set_gid(there->gid());
            } else {
              TRY(tables.inherit_acl(parent, put.caller, inode));
            }
            committed.changed.emplace_back(InodeId(parent.id()), name);
          }
          inode.set_local_file(put.local_file.value());
          inode.set_durable_bytes(put.synced ? put.size : 0);
          inode.set_flush_epoch(put.synced ? 0 : names_.flush_epoch());
          if (!put.synced) names_.note_unsynced(inode.flush_epoch());
          tables.set_size(inode, put.size);
          if (put.allocated_bytes != block_bytes(put.size)) inode.set_allocated_bytes(put.allocated_bytes);
          inode.set_content_ctime_ns(put.content_ctime_ns);
          inode.set_content_version(inode.generation());
          if (put.logged_body) {
            format::LoggedBody body;
            body.set_inode(inode.id());
            body.set_content_version(inode.content_version());
            body.set_body(std::string(*put.logged_body));
            tables.txn().put(format::logged_body_key(put.local_file), format::encode(body));
          }
          if (there) inode.set_ctime_ns(std::max(inode.ctime_ns(), object_modified_ns(*there)));
          if (put.parked) TRY(objects.take_parked(inode, put.parked->home));
        }
        if (put.attributes.permissions) inode.set_permissions(*put.attributes.permissions & 07777);
        if (put.attributes.uid) inode.set_uid(*put.attributes.uid);
        if (put.attributes.gid) inode.set_gid(*put.attributes.gid);
        if (put.attributes.mtime_ns) inode.set_mtime_ns(*put.attributes.mtime_ns);
        inode.set_attributes_unknown(false);
        if (!directory) inode.mutable_object()->set_etag(put.etag);
        inode.mutable_object()->set_content_version(inode.content_version());
        objects.put_facts(inode, put.facts);
        if (put.upload) objects.put_parts(inode, put.upload->parts);
        // Written now: the walk to the path must see this record.
        tables.put_inode(inode);
        TRY_ASSIGN(committed.policy, tables.policy_of(inode, *rules));
        tables.requeue(inode, committed.policy, queue_class_for(committed.policy, put.urgency));
        tables.put_inode(inode);
        committed.inode = std::move(inode);
        return committed;
      },
      durability);
}

Result<void> ObjectNamespace::park(MountId mount, InodeId inode) {
  const std::string key = names_.parking_key(inode);
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<void> {
    tables.put_whiteout(mount, key, "", inode, true);
    return ObjectTables(tables).spare_replaced(mount, key, kParkedGraceNs);
  });
}

Result<void> ObjectNamespace::drop_parked(MountId mount, InodeId inode) {
  const std::string key = names_.parking_key(inode);
  return run_operation(names_.kv(), names_.clock(), [&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(const auto owner, tables.find_owner(mount, key));
    if (!owner || owner->inode() != 0) return {};
    return ObjectTables(tables).spare_replaced(mount, key, 0);
  });
}

Result<void> ObjectNamespace::drop_all_parked() {
  TRY_ASSIGN(const auto mounts, names_.mounts());
  for (const format::Mount& record : mounts) {
    const MountId mount(record.id());
    auto range = format::owner_range(mount, kParkingPrefix);
    for (bool more = true; more;) {
      TRY_ASSIGN(const auto page, kv::read_txn(names_.kv(), [&](kv::Txn& txn) { return txn.get_range(range.begin, range.end); }));
      for (const auto& row : page.rows) {
        TRY_ASSIGN(const auto owner, format::decode<format::Owner>(row.value));
        const auto inode = names_.parked_inode(format::owner_object_key(row.key));
        if (owner.inode() == 0 && inode) TRY(drop_parked(mount, *inode));
      }
      more = page.more;
      if (more) range.begin = kv::key_after(page.rows.back().key);
    }
  }
  return {};
}

Result<Inode> ObjectNamespace::change(std::string_view bucket, std::string_view key, const ChangeFacts& change,
                                      kv::Durability durability) {
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<Inode> {
        ObjectTables objects(tables);
        TRY_ASSIGN(const Inode top, objects.load_bucket(bucket));
        TRY_ASSIGN(auto resolved, objects.resolve(top, key));
        if (!resolved.inode || !is_object(*resolved.inode))
          return fail(ErrorCode::kNotFound, "no object '" + std::string(key) + "'");
        Inode& inode = *resolved.inode;
        TRY_ASSIGN(auto facts, objects.facts(inode));
        TRY(change(inode, facts));
        objects.put_facts(inode, facts);
        tables.attributes_changed(inode);
        tables.put_inode(inode);
        return inode;
      },
      durability);
}

Result<ObjectErased> ObjectNamespace::erase(std::string_view bucket, std::string_view key, const Incumbent& incumbent,
                                            const ObjectGuard& guard, kv::Durability durability) {
  return run_operation(
      names_.kv(), names_.clock(),
      [&](Tables& tables) -> Result<ObjectErased> {
        ObjectTables objects(tables);
        TRY_ASSIGN(const Inode top, objects.load_bucket(bucket));
        TRY_ASSIGN(auto resolved, objects.resolve(top, key));
        ObjectErased erased;
        std::optional<Inode>& there = resolved.inode;
        const InodeId there_id(there ? there->id() : 0);
        if (there_id != incumbent.inode.value_or(InodeId(0)))
          return fail(ErrorCode::kStale, "'" + std::string(key) + "' is another object by now");
        TRY(guard(there));
        if (!there || !is_object(*there)) return erased;
        if (resolved.in_shadow) {
          TRY_ASSIGN(erased.unlinked, objects.remove_shadow(MountId(top.lower().mount()), *there, incumbent.in_use));
          erased.erases_object = erased.unlinked->erases_object;
          return erased;
        }
        InodeId emptied = resolved.place.directory;
        if (resolved.path->directory) {
          TRY_ASSIGN(erased.erases_object, objects.erase_marker(*there));
          erased.unlinked = Unlinked{.inode = there_id, .type = format::DIRECTORY};
          emptied = there_id;
        } else {
          const std::string& name = resolved.path->names.back();
          TRY_ASSIGN(erased.unlinked, tables.remove_entry(emptied, name, *resolved.place.dentry,
                                                          incumbent.in_use == InUse::kYes));
          tables.touch_directory(emptied, tables.now_ns());
          erased.changed.emplace_back(emptied, name);
          erased.erases_object = erased.unlinked->erases_object;
        }
        TRY(objects.prune(emptied, erased.changed));
        return erased;
      },
      durability);
}

}  // namespace weir::meta
