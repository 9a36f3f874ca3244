#include "meta/types.h"

namespace weir::meta {

std::string_view name_of(FileState state) {
  switch (state) {
    case FileState::kNotPersisted: return "NOT_PERSISTED";
    case FileState::kPersisted: return "PERSISTED";
    case FileState::kTransient: return "TRANSIENT";
    case FileState::kQuarantined: return "QUARANTINED";
  }
  return "UNKNOWN";
}

std::string_view name_of(WritePolicy policy) {
  switch (policy) {
    case WritePolicy::kWriteThrough: return "WRITE_THROUGH";
    case WritePolicy::kWriteBack: return "WRITE_BACK";
    case WritePolicy::kTransient: return "TRANSIENT";
    case WritePolicy::kNoCache: return "NO_CACHE";
  }
  return "UNKNOWN";
}

FileState state_of(const Inode& inode) {
  if (inode.quarantined()) return FileState::kQuarantined;
  if (inode.transient()) return FileState::kTransient;
  // A directory that only listings know has no object, and needs none.
  if (fully_persisted(inode) || (is_directory(inode) && inode.queued() == format::NOT_QUEUED))
    return FileState::kPersisted;
  return FileState::kNotPersisted;
}

}  // namespace weir::meta
