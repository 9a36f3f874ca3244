#include "base/failpoint.h"
#include "volume/local_volume.h"

namespace weir::volume {
namespace {

constexpr int kUnnamedTries = 3;

}  // namespace

Result<Volume::Created> LocalVolume::create(InodeId parent, std::string_view name, uint32_t permissions,
                                            const meta::Caller& caller, const OpenOptions& options) {
  TRY_ASSIGN(const auto existing, find(parent, name));
  if (existing) return fail(ErrorCode::kExists);
  TRY_ASSIGN(const LocalFileId id, names_->new_local_file_id());
  TRY_ASSIGN(auto local, pages_.create(id));
  TRY(failpoint("volume.create"));
  const uint64_t endings = files_->endings();
  auto made = names_->create_file(parent, name, permissions, caller, id);
  if (!made.has_value()) {
    // Kept when the outcome is unknown: then either the record leads to it, or recovery removes it.
    if (made.error() != ErrorCode::kMayHaveHappened) pages_.remove(id);
    return fail(std::move(made).error());
  }
  TRY_ASSIGN(auto file, files_->open_created(*made, std::move(local), options, endings));
  TRY_ASSIGN(const Entry entry, entry_of(*made, endings));
  return Created{entry, std::move(file)};
}

Result<Volume::Created> LocalVolume::create_unnamed(InodeId directory, uint32_t permissions,
                                                    const meta::Caller& caller, const OpenOptions& options) {
  foreground_.note();
  for (int tries = 0;; ++tries) {
    const uint64_t endings = files_->endings();
    TRY_ASSIGN(Created created, create_unnamed_once(directory, permissions, caller, options));
    // Nobody knows the file yet, but the scan for orphans may have taken it away before it was open, for good.
    if (endings == files_->endings() || tries == kUnnamedTries || names_->load(created.file->inode()).has_value())
      return created;
    created.file->close();
  }
}

Result<Volume::Created> LocalVolume::create_unnamed_once(InodeId directory, uint32_t permissions,
                                                         const meta::Caller& caller, const OpenOptions& options) {
  TRY_ASSIGN(const LocalFileId id, names_->new_local_file_id());
  TRY_ASSIGN(auto local, pages_.create(id));
  const uint64_t endings = files_->endings();
  auto made = names_->create_unnamed_file(directory, permissions, caller, id);
  if (!made.has_value()) {
    // Kept when the outcome is unknown: the next scan for orphans, or recovery, removes it.
    if (made.error() != ErrorCode::kMayHaveHappened) pages_.remove(id);
    return fail(std::move(made).error());
  }
  TRY_ASSIGN(auto file, files_->open_created(*made, std::move(local), options, endings));
  TRY_ASSIGN(const Entry entry, entry_of(*made, endings));
  return Created{entry, std::move(file)};
}

Result<std::unique_ptr<OpenFile>> LocalVolume::open_file(InodeId inode, const OpenOptions& options) {
  const uint64_t endings = files_->endings();
  TRY_ASSIGN(const auto record, load(inode));
  TRY_ASSIGN(auto file, files_->open(InodeId(record.id()), options));
  if (options.counts_as_reading) note_reading(record, endings);
  return file;
}

Result<void> LocalVolume::sync_directory(InodeId) { return names_->kv().sync(); }

Result<void> LocalVolume::sync_all() {
  return files_->sync_all();
}

}  // namespace weir::volume
