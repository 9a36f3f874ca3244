// volume/content_repair.h -- repairs what fsck finds wrong between metadata, local files and objects.
//
// Bytes are never deleted that are not elsewhere: what nobody owns goes to lost+found of its mount point, what is not whole is
// quarantined, and an object is replaced only as persisting does it, which keeps what others put there.
//
// Threads: one at a time. Crash: each repair is done or found again; a move to lost+found that was cut short leaves a copy.
#pragma once

#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"
#include "meta/check.h"
#include "meta/namespace.h"
#include "meta/repair.h"
#include "pages/page_store.h"
#include "ufs/mount_table.h"

namespace weir::volume {

class ContentRepair {
 public:
  ContentRepair(meta::Namespace& names, pages::PageStore& pages, const ufs::MountTable& stores, Duration ufs_timeout)
      : names_(names), pages_(pages), stores_(stores), ufs_timeout_(ufs_timeout), repair_(names) {}

  // What apply() would do, in one phrase; empty: only a person can decide. Changes nothing.
  Result<std::string> remedy(const meta::Discrepancy& wrong);
  // False: it agrees by now, is in use, or there is no remedy.
  Result<bool> apply(const meta::Discrepancy& wrong);

  Result<std::string> remedy_for_stray(LocalFileId file);
  Result<bool> adopt_stray(LocalFileId file);
  Result<bool> move_stray_object(MountId mount, std::string_view key, const ufs::ObjectHead& head);

  // The discrepancies of rows.
  meta::Repair& rows() { return repair_; }

 private:
  enum class Way : uint8_t {
    kNone,
    kQuarantine,    // bytes are missing that are nowhere else
    kDropCopy,      // the object has the content
    kCommitCopy,    // the local copy has more than was committed
    kUploadAgain,   // the local copy has the content, the object does not
  };
  Result<Way> way_for(const meta::Discrepancy& wrong, const meta::Inode& inode);
  // Holds all the content, as committed.
  bool whole_here(const meta::Inode& inode);
  Result<bool> object_agrees(const meta::Inode& inode);

  meta::Namespace& names_;
  pages::PageStore& pages_;
  const ufs::MountTable& stores_;
  const Duration ufs_timeout_;
  meta::Repair repair_;
};

}  // namespace weir::volume
