#include "volume/content_repair.h"

#include <algorithm>
#include <utility>

#include "meta/object_attributes.h"
#include "volume/recovery.h"

namespace weir::volume {
namespace {

constexpr size_t kStrayNameBytesMax = 200;

// One component that says what the key was.
std::string stray_name(std::string_view key, std::string_view etag) {
  std::string name = "object-" + std::string(etag.substr(0, 8)) + "-";
  for (const char c : key.substr(key.size() - std::min(key.size(), kStrayNameBytesMax))) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-';
    name += plain ? c : '_';
  }
  return name;
}

}  // namespace

bool ContentRepair::whole_here(const meta::Inode& inode) {
  if (inode.local_file() == 0) return false;
  const auto file = pages_.open(LocalFileId(inode.local_file()));
  if (!file || !(*file)->complete()) return false;
  const auto stat = (*file)->stat();
  return stat && stat->size_bytes == inode.size();
}

Result<bool> ContentRepair::object_agrees(const meta::Inode& inode) {
  const auto store = stores_.find(MountId(inode.home().mount())).store;
  if (!store) return fail(ErrorCode::kUnavailable, "the under store is not mounted; see mount-table list");
  const auto head = store->head(inode.home().key(), Deadline::after(ufs_timeout_));
  if (failed_with(head, ErrorCode::kNotFound)) return false;
  TRY(head);
  return head->info.etag == inode.home().etag() && head->info.size_bytes == inode.size();
}

Result<ContentRepair::Way> ContentRepair::way_for(const meta::Discrepancy& wrong, const meta::Inode& inode) {
  const bool persisted = meta::content_persisted(inode);
  if (inode.quarantined()) return Way::kNone;
  if (wrong.kind == "file_missing") return persisted ? Way::kNone : Way::kQuarantine;
  if (wrong.kind == "file_of_wrong_size") {
    if (persisted) {
      TRY_ASSIGN(const bool there, object_agrees(inode));
      return there ? Way::kDropCopy : Way::kNone;
    }
    TRY_ASSIGN(const auto stat, pages_.stat(LocalFileId(inode.local_file())));
    return stat.size_bytes > inode.size() ? Way::kCommitCopy : Way::kQuarantine;
  }
  if (wrong.kind == "object_missing" || wrong.kind == "object_differs" || wrong.kind == "object_of_wrong_size")
    return inode.type() != format::REGULAR || whole_here(inode) ? Way::kUploadAgain : Way::kNone;
  return Way::kNone;
}

Result<std::string> ContentRepair::remedy(const meta::Discrepancy& wrong) {
  const auto inode = names_.load(wrong.inode);
  if (failed_with(inode, ErrorCode::kNotFound)) return std::string();
  TRY(inode);
  TRY_ASSIGN(const Way way, way_for(wrong, *inode));
  switch (way) {
    case Way::kNone: break;
    case Way::kQuarantine: return "the file is quarantined: bytes of it are nowhere";
    case Way::kDropCopy: return "the local copy is dropped: the object has the content";
    case Way::kCommitCopy: return "the file is what its local copy holds";
    case Way::kUploadAgain: return "the object is written again from here; what is there is kept beside it";
  }
  return std::string();
}

Result<bool> ContentRepair::apply(const meta::Discrepancy& wrong) {
  const auto inode = names_.load(wrong.inode);
  if (failed_with(inode, ErrorCode::kNotFound)) return false;
  TRY(inode);
  const InodeId id(inode->id());
  const LocalFileId local(inode->local_file());
  TRY_ASSIGN(const Way way, way_for(wrong, *inode));
  switch (way) {
    case Way::kNone: return false;
    case Way::kQuarantine: {
      TRY_ASSIGN(const meta::Inode now, names_.report_corruption(id, local));
      return now.quarantined();
    }
    case Way::kDropCopy: return pages_.evict(local);
    case Way::kCommitCopy: {
      TRY_ASSIGN(const auto stat, pages_.stat(local));
      TRY(names_.commit_content(id,
                                {.size = stat.size_bytes,
                                 .mtime_ns = stat.mtime_ns,
                                 .ctime_ns = stat.ctime_ns,
                                 .allocated_bytes = inode->partial() ? std::nullopt : std::optional(stat.allocated_bytes),
                                 .partial = inode->partial()},
                                meta::Urgency::kOrdinary, kv::Durability::kSynced));
      return true;
    }
    case Way::kUploadAgain: {
      if (inode->type() != format::REGULAR) return repair_.persist_again(id, inode->home().etag());
      // From here on it is not evicted; so what is whole stays whole.
      TRY_ASSIGN(const auto held, pages_.open(local));
      pages_.set_pin(local, pages::Pin::kPinned);
      if (!whole_here(*inode)) return false;
      return repair_.persist_again(id, inode->home().etag());
    }
  }
  return false;
}

Result<std::string> ContentRepair::remedy_for_stray(LocalFileId file) {
  const auto opened = pages_.open(file);
  if (!opened) return std::string();
  if (!(*opened)->complete()) return "it is moved to the quarantine of the page store: not all of it is here";
  TRY_ASSIGN(const auto mounts, names_.mounts());
  if (mounts.empty()) return std::string();
  return "it is put into lost+found of /" + mounts.front().name();
}

Result<bool> ContentRepair::adopt_stray(LocalFileId file) {
  const auto opened = pages_.open(file);
  if (failed_with(opened, ErrorCode::kNotFound)) return false;
  if (!opened) return fail(opened.error());
  if (!(*opened)->complete()) {
    TRY(pages_.quarantine(file));
    return true;
  }
  TRY_ASSIGN(const auto mounts, names_.mounts());
  if (mounts.empty()) return false;
  TRY_ASSIGN(const InodeId directory, repair_.lost_found_of(MountId(mounts.front().id())));
  pages_.set_pin(file, pages::Pin::kPinned);
  const auto made = names_.create_file(directory, "local-file-" + std::to_string(file.value()), 0600, {.uid = 0, .gid = 0}, file);
  if (failed_with(made, ErrorCode::kExists)) return false;
  TRY(made);
  // From here on the next start would commit it, too.
  TRY_ASSIGN(const bool there, recover_mark(names_, pages_, {.inode = InodeId(made->id()), .local_file = file, .made = true}));
  return there;
}

Result<bool> ContentRepair::move_stray_object(MountId mount, std::string_view key, const ufs::ObjectHead& head) {
  const auto store = stores_.find(mount).store;
  if (!store) return fail(ErrorCode::kUnavailable, "the under store is not mounted; see mount-table list");
  TRY_ASSIGN(const InodeId directory, repair_.lost_found_of(mount));
  TRY_ASSIGN(const auto inode, names_.load(directory));
  const std::string prefix = inode.has_lower() ? inode.lower().prefix() : std::string(meta::kLostFoundName) + '/';
  const std::string destination = prefix + stray_name(key, head.info.etag);
  ufs::ObjectAttributes attributes = head.attributes;
  attributes.user.erase(std::string(meta::kOwnerMetadata));  // it is nobody's
  const auto copied = store->copy(key, destination,
                                  {.source_if_match = head.info.etag,
                                   .conditions = {.if_none_match = true},
                                   .attributes = std::move(attributes)},
                                  Deadline::after(ufs_timeout_));
  if (failed_with(copied, ErrorCode::kPrecondition)) {
    // By a run that was cut short; or the stray is another one by now.
    const auto there = store->head(destination, Deadline::after(ufs_timeout_));
    if (!there || there->info.size_bytes != head.info.size_bytes) return false;
  } else {
    if (failed_with(copied, ErrorCode::kNotFound)) return false;
    TRY(copied);
  }
  const auto erased = store->erase(key, head.info.etag, Deadline::after(ufs_timeout_));
  if (failed_with(erased, ErrorCode::kPrecondition)) return false;
  TRY(erased);
  return true;
}

}  // namespace weir::volume
