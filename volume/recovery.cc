#include "volume/recovery.h"

#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "io/file.h"
#include "meta/object_namespace.h"
#include "volume/logged_bodies.h"
#include "volume/objects.h"

namespace weir::volume {
namespace {

constexpr std::string_view kBootDocument = "boot_id";

// Names this run of the machine; empty where the kernel does not tell.
std::string this_boot() {
  const auto file = io::File::open("/proc/sys/kernel/random/boot_id", {});
  if (!file.has_value()) return {};
  return file->read_all(64).value_or("");
}

// Whether the machine may have lost unsynced bytes since the volume was last opened.
Result<bool> machine_restarted(meta::Namespace& names) {
  const std::string boot = this_boot();
  TRY_ASSIGN(const auto last, names.document(kBootDocument));
  return last && *last != boot;
}

// Local files of objects that are being put in parts are kept. Parts that were neither synced nor flushed may be lost: those are
// not accepted any more.
Result<void> recover_uploads(meta::Namespace& names, pages::PageStore& pages, bool lossy) {
  meta::ObjectNamespace objects(names, Duration(-1));
  return objects.for_each_upload([&](MountId, const meta::ObjectNamespace::Upload& upload) -> Result<void> {
    const LocalFileId assembly(upload.record.assembly_file());
    if (assembly != LocalFileId(0)) pages.recover(assembly, pages::Pin::kPinned);
    TRY_ASSIGN(const auto parts, objects.upload_parts(upload, 0, kObjectPartsMax));
    for (const auto& part : parts) {
      const LocalFileId own(part.local_file());
      if (own != LocalFileId(0)) pages.recover(own, pages::Pin::kPinned);
      if (!lossy) continue;
      const bool durable = part.flush_epoch() <= names.flushed_epoch();
      const auto stat = pages.stat(own != LocalFileId(0) ? own : assembly);
      const uint64_t end = own != LocalFileId(0) ? part.size() : part.offset() + part.size();
      if (durable && stat && stat->size_bytes >= end) continue;
      log_error("volume.unsynced_part_lost", {{"key", upload.key}, {"upload", upload.upload_id}, {"part", part.number()}});
      TRY(objects.drop_part(upload, part.number()));
    }
    return {};
  });
}

// Gives local files back what a power loss took from them, where the metadata has it.
Result<std::vector<LoggedBodies::Standing>> recover_bodies(meta::Namespace& names, pages::PageStore& pages, bool may_have_lost) {
  meta::ObjectNamespace objects(names, Duration(-1));
  std::vector<LoggedBodies::Standing> standing;
  std::vector<LocalFileId> over;
  uint64_t restored = 0;
  TRY(objects.for_each_body([&](const meta::ObjectNamespace::Body& body) -> Result<void> {
    const uint64_t bytes = body.record.body().size();
    const auto stat = pages.stat(body.local_file);
    if (!body.inode || (meta::content_persisted(*body.inode) && (may_have_lost || !stat))) {
      over.push_back(body.local_file);
    } else if (!may_have_lost && stat && stat->size_bytes == bytes) {
      standing.push_back({body.local_file, bytes});
    } else {
      const auto local = restore_body(pages, body);
      if (!local) return fail(Error(local.error()).wrap("local file " + std::to_string(body.local_file.value()) + " could not be restored"));
      over.push_back(body.local_file);
      ++restored;
    }
    return {};
  }));
  if (restored != 0) TRY(pages.sync_all());
  // Durably, before anybody can change these files.
  if (!over.empty()) TRY(objects.erase_bodies(over, kv::Durability::kSynced));
  if (restored != 0) log_info("volume.bodies_restored", {{"files", restored}});
  return standing;
}

// Settles what a loss of power made of local files.
class AfterPowerLoss {
 public:
  AfterPowerLoss(meta::Namespace& names, pages::PageStore& pages, Recovered& recovered)
      : names_(names), pages_(pages), recovered_(recovered) {}

  // Of an inode that was open for write.
  Result<void> settle(const meta::WriteMarkState& mark) {
    const auto inode = names_.load(mark.inode);
    if (failed_with(inode, ErrorCode::kNotFound)) return names_.end_writes({{.inode = mark.inode}});
    TRY(inode);
    const bool committed = inode->generation() > mark.generation_before + 1;
    const bool persisted = inode->has_home() && inode->persisted_generation() == mark.generation_before;
    const bool emptied = mark.made || (mark.before.ctime_ns == 0 && mark.before.mtime_ns == 0 && mark.before.size == 0);
    if (durable(*inode) != 0) {
      TRY(cut(*inode, durable(*inode)));
    } else if (!committed && emptied) {
      TRY(empty(*inode));
    } else if (!committed && persisted) {
      TRY(revert(*inode));
    } else {
      TRY(settle_content(*inode));
    }
    return names_.end_writes({{.inode = mark.inode}});
  }

  // Of a local file that nobody was writing to.
  Result<void> settle_content(const meta::Inode& inode) {
    if (inode.quarantined()) return {};
    if (meta::content_persisted(inode)) return settle_copy(inode);
    const uint64_t size = durable(inode);
    const auto stat = pages_.stat(LocalFileId(inode.local_file()));
    if (stat.has_value() && size >= inode.size() && stat->size_bytes == inode.size()) return {};
    if (stat.has_value() && size != 0 && (size < inode.size() || stat->size_bytes > inode.size())) return cut(inode, size);
    if (inode.size() == 0) return empty(inode);
    if (inode.has_home() && size == 0) return revert(inode);
    return report(inode);
  }

 private:
  uint64_t durable(const meta::Inode& inode) const { return meta::durable_bytes(inode, names_.flushed_epoch()); }

  // The bytes of a copy are checked; of its size nothing else tells.
  Result<void> settle_copy(const meta::Inode& inode) {
    const LocalFileId local(inode.local_file());
    const auto stat = pages_.stat(local);
    if (stat.has_value() && stat->size_bytes != inode.size()) pages_.remove(local);
    return {};
  }

  Result<void> cut(const meta::Inode& inode, uint64_t size) {
    const LocalFileId id(inode.local_file());
    const auto local = pages_.open(id);
    if (failed_with(local, ErrorCode::kNotFound) || failed_with(local, ErrorCode::kCorrupt)) return report(inode);
    TRY(local);
    TRY_ASSIGN(const io::FileStat before, (*local)->stat());
    if (before.size_bytes > size) TRY((*local)->truncate(size));
    if (before.size_bytes > size) {
      ++recovered_.cut;
      log_warn("volume.unsynced_end_cut",
               {{"inode", inode.id()}, {"local_file", id}, {"size", before.size_bytes}, {"kept", size}});
    }
    return commit(inode, **local);
  }

  Result<void> empty(const meta::Inode& inode) {
    const LocalFileId id(inode.local_file());
    auto local = pages_.open(id);
    if (failed_with(local, ErrorCode::kNotFound)) local = pages_.create(id);
    if (failed_with(local, ErrorCode::kCorrupt)) return report(inode);
    TRY(local);
    TRY((*local)->truncate(0));
    return commit(inode, **local);
  }

  Result<void> commit(const meta::Inode& inode, pages::LocalFile& local) {
    TRY(local.sync());
    TRY_ASSIGN(const io::FileStat stat, local.stat());
    const bool partial = !local.complete();
    const meta::ContentCommit content{.size = stat.size_bytes,
                                      .mtime_ns = stat.mtime_ns,
                                      .ctime_ns = stat.ctime_ns,
                                      .allocated_bytes = partial ? std::nullopt : std::optional(stat.allocated_bytes),
                                      .partial = partial,
                                      .synced = true};
    TRY(names_.commit_content(InodeId(inode.id()), content, meta::Urgency::kOrdinary, kv::Durability::kSynced));
    return {};
  }

  Result<void> revert(const meta::Inode& inode) {
    const LocalFileId local(inode.local_file());
    TRY_ASSIGN(const auto home, names_.revert_to_home(InodeId(inode.id())));
    if (home == meta::Namespace::Home::kInDoubt) recovered_.in_doubt.emplace_back(inode.id());
    ++recovered_.reverted;
    log_warn("volume.unsynced_content_reverted",
             {{"inode", inode.id()}, {"local_file", local}, {"to", inode.home().key()}});
    pages_.remove(local);
    return {};
  }

  Result<void> report(const meta::Inode& inode) {
    const LocalFileId local(inode.local_file());
    TRY(names_.report_corruption(InodeId(inode.id()), local));
    ++recovered_.quarantined;
    log_error("volume.unsynced_content_lost", {{"inode", inode.id()}, {"local_file", local}});
    return {};
  }

  meta::Namespace& names_;
  pages::PageStore& pages_;
  Recovered& recovered_;
};

}  // namespace

HeldInodes inodes_of(std::span<const HeldFile> held) {
  HeldInodes inodes;
  for (const HeldFile& file : held) inodes.insert(file.inode);
  return inodes;
}

Result<MarkCommit> commit_mark(meta::Namespace& names, pages::PageStore& pages, const meta::WriteMarkState& mark) {
  const auto stat = pages.stat(mark.local_file);
  const auto inode = names.load(mark.inode);
  if (!inode.has_value() && inode.error() != ErrorCode::kNotFound) return fail(inode.error());
  bool changed = false;
  if (stat.has_value()) {
    changed = mark.made || stat->size_bytes != mark.before.size || stat->mtime_ns != mark.before.mtime_ns ||
              stat->ctime_ns != mark.before.ctime_ns;
    if (changed) {
      using Changed = meta::ContentCommit::Changed;
      const bool partial = inode.has_value() && inode->partial();
      // After a commit the times are the record's to say: they may have been set since.
      const bool committed_so = inode.has_value() && inode->content_ctime_ns() == stat->ctime_ns &&
                                inode->size() == stat->size_bytes;
      const bool surely = !committed_so && (mark.made || stat->size_bytes != mark.before.size ||
                                            stat->mtime_ns != mark.before.mtime_ns);
      const meta::ContentCommit content{.size = stat->size_bytes,
                                        .mtime_ns = stat->mtime_ns,
                                        .ctime_ns = stat->ctime_ns,
                                        .allocated_bytes = partial ? std::nullopt : std::optional(stat->allocated_bytes),
                                        .changed = surely ? Changed::kYes : Changed::kPerhaps,
                                        .partial = partial};
      const auto committed =
          names.commit_content(mark.inode, content, meta::Urgency::kOrdinary, kv::Durability::kWritten);
      if (!committed.has_value() && committed.error() != ErrorCode::kNotFound) return fail(committed.error());
    }
  } else if (stat.error() != ErrorCode::kNotFound) {
    return fail(stat.error());
  } else {
    const auto reported = names.report_corruption(mark.inode, mark.local_file);
    if (!reported.has_value() && reported.error() != ErrorCode::kNotFound) return fail(reported.error());
  }
  return MarkCommit{.there = stat.has_value(), .changed = changed};
}

Result<bool> recover_mark(meta::Namespace& names, pages::PageStore& pages, const meta::WriteMarkState& mark) {
  TRY_ASSIGN(const MarkCommit committed, commit_mark(names, pages, mark));
  TRY(names.end_writes({{.inode = mark.inode, .unchanged = !committed.changed}}));
  return committed.there;
}

Result<Recovered> recover(meta::Namespace& names, pages::PageStore& pages, const HeldInodes& held,
                          LocalFiles local_files) {
  Recovered recovered;
  TRY_ASSIGN(const bool restarted, machine_restarted(names));
  TRY_ASSIGN(recovered.bodies, recover_bodies(names, pages, restarted || !pages.trusted()));
  TRY_ASSIGN(const auto orphans, names.orphans());
  for (const InodeId inode : orphans) {
    if (held.contains(inode)) continue;
    TRY_ASSIGN(const LocalFileId local, names.reclaim(inode));
    if (local != LocalFileId(0)) pages.remove(local);
    ++recovered.orphans;
  }

  // Who copied to these is gone.
  TRY(meta::ObjectNamespace(names, Duration(-1)).drop_all_parked());
  const bool lossy = restarted && !pages.trusted();
  AfterPowerLoss after_power_loss(names, pages, recovered);
  TRY_ASSIGN(const auto marks, names.write_marks());
  for (const auto& mark : marks) {
    if (held.contains(mark.inode)) continue;
    if (lossy) {
      TRY(after_power_loss.settle(mark));
      ++recovered.marks;
      continue;
    }
    TRY_ASSIGN(const bool there, recover_mark(names, pages, mark));
    ++recovered.marks;
    if (there) continue;
    ++recovered.quarantined;
    log_error("volume.content_lost", {{"inode", mark.inode}, {"local_file", mark.local_file}});
  }

  if (local_files == LocalFiles::kBehind && !restarted && pages.trusted()) {
    recovered.local_files_left = true;
    TRY(recover_uploads(names, pages, lossy));
    TRY(names.put_document(kBootDocument, this_boot()));
    return recovered;
  }
  if (lossy) {
    Result<void> settled;
    TRY(names.for_each_local_file([&](const meta::Inode& inode) {
      settled = after_power_loss.settle_content(inode);
      return settled.has_value();
    }));
    TRY(settled);
  }
  TRY(names.for_each_local_file([&](const meta::Inode& inode) {
    ++recovered.local_files;
    pages.recover(LocalFileId(inode.local_file()),
                  meta::content_persisted(inode) ? pages::Pin::kEvictable : pages::Pin::kPinned);
    return true;
  }));
  TRY(recover_uploads(names, pages, lossy));
  TRY_ASSIGN(recovered.garbage, pages.finish_recovery());
  // Last, so that a start that was cut short looks again.
  TRY(names.put_document(kBootDocument, this_boot()));
  return recovered;
}

}  // namespace weir::volume
