#include "meta/move_entry.h"

#include <utility>

namespace weir::meta {

bool wants_object(const Inode& record) {
  return record.has_home() || !record.claimed_key().empty() || record.queued() != format::NOT_QUEUED ||
         record.transient();
}

Result<bool> move_entry(Tables& tables, Inode inode, const Entry& from, const Entry& to, const PathRules& rules) {
  const InodeId id(inode.id());
  if (is_directory(inode) && from.parent != to.parent) {
    tables.count_subdirectory(from.parent, -1);
    tables.count_subdirectory(to.parent, 1);
  }
  inode.set_ctime_ns(tables.now_ns());
  tables.put_dentry(to.parent, to.name, {id, inode.type()});
  TRY_ASSIGN(Inode record, tables.load_name(inode, from.parent, from.name));
  // Written now: the walk to the new path must see these records.
  if (is_further_name(record)) tables.put_inode(inode);
  tables.move_name(record, to.parent, to.name);

  TRY_ASSIGN(const WritePolicy policy, tables.policy_of(record, rules));
  const auto queue_class = queue_class_for(policy);
  if (is_further_name(record)) {
    // Content that waits may wait for another reason now.
    const bool content_waits =
        (inode.queued() != format::NOT_QUEUED || inode.transient()) && !content_persisted(inode);
    if (content_waits) {
      tables.requeue(inode, policy, queue_class);
      tables.put_inode(inode);
    }
    if (wants_object(record)) tables.requeue(record, policy, queue_class);
    tables.put_inode(record);
    return persists_first(policy) && content_waits;
  }
  const bool waiting = wants_object(record);
  if (waiting) tables.requeue(record, policy, queue_class);
  if (is_directory(record)) {
    TRY_ASSIGN(const auto place, tables.place_of(record));
    TRY(tables.redirect_lower(record, place));
  }
  tables.put_inode(record);
  return persists_first(policy) && (waiting ? !content_persisted(record) : is_directory(record));
}

}  // namespace weir::meta
