// volume/file_version.h -- reads one version of a file's content, whatever becomes of its names and of the inode.
//
// Changes that are made in place show, as they do to every reader of the file.
// Threads: one at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "volume/fetcher.h"
#include "volume/open_files.h"

namespace weir::volume {

class FileVersion {
 public:
  // `open` counts this handle already.
  FileVersion(OpenFiles& files, OpenRef open, meta::Inode inode, std::shared_ptr<Content> content)
      : files_(files), open_(std::move(open)), inode_(std::move(inode)), content_(std::move(content)) {}
  ~FileVersion() { files_.closed(std::move(open_)); }
  FileVersion(const FileVersion&) = delete;

  // As of the opening.
  const meta::Inode& inode() const { return inode_; }
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
};

}  // namespace weir::volume
