// volume/file_version.h -- reads one version of a file's content, whatever becomes of its names and of the inode.
//
// Changes that are made in place show, as they do to every reader of the file; verify() tells of them.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "volume/fetcher.h"
#include "volume/open_files.h"

namespace weir::volume {

class FileVersion {
 public:
  // `open` counts this handle already.
  FileVersion(OpenFiles& files, OpenRef open, meta::Inode inode, std::shared_ptr<Content> content)
      : files_(files), open_(std::move(open)), inode_(std::move(inode)), content_(std::move(content)) {
    if (!content_->local().complete()) return;
    if (const auto stat = content_->file().stat()) before_ = {.mtime_ns = stat->mtime_ns, .size_bytes = stat->size_bytes};
  }
  ~FileVersion() { files_.closed(std::move(open_)); }
  FileVersion(const FileVersion&) = delete;

  // As of the opening.
  const meta::Inode& inode() const { return inode_; }
  // When it was opened its content was not what inode() speaks of: it was written, and that was not committed.
  bool was_changed() const { return was_changed_; }
  // Of a file that may be written through a mapping: from here on verify() sees that, too. kBusy: it keeps changing. Requires:
  // local_file() is not null.
  Result<void> stamp() {
    TRY_ASSIGN(const pages::ContentStamp stamp, files_.pages_.stamp(content_->local()));
    before_ = {.mtime_ns = stamp.mtime_ns, .size_bytes = stamp.size_bytes};
    return {};
  }
  // kStale: it was written since it was opened. What is only in part here is not looked at.
  Result<void> verify() const {
    if (!before_) return {};
    TRY_ASSIGN(const io::FileStat now, content_->file().stat());
    if (now.mtime_ns == before_->mtime_ns && now.size_bytes == before_->size_bytes) return {};
    return fail(ErrorCode::kStale, "the file was written while it was read");
  }
  // Null while some of it is only in the UFS.
  const io::File* local_file() const { return content_->local().complete() ? &content_->file() : nullptr; }
  // Short only at the end. kStale: the rest is nowhere any more, the object was replaced in the UFS.
  Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) {
    auto read = files_.read_content(content_, window_, offset, buffer);
    if (failed_with(read, ErrorCode::kStale)) return fail(files_.base_lost(*content_, read.error()));
    return read;
  }

 private:
  OpenFiles& files_;
  OpenRef open_;
  const meta::Inode inode_;
  const std::shared_ptr<Content> content_;
  ReadAheadWindow window_;
  // Not ctime: that moves with the local file's name, too.
  struct Before {
    int64_t mtime_ns = 0;
    uint64_t size_bytes = 0;
  };
  std::optional<Before> before_;
  bool was_changed_ = false;

  friend class OpenFiles;
};

}  // namespace weir::volume
