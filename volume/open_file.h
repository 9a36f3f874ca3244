// volume/open_file.h -- one handle of an open inode.
#pragma once

#include <memory>

#include "volume/fetcher.h"
#include "volume/open_files.h"

namespace weir::volume {

// Threads: all methods but close() may be called concurrently.
class LocalOpenFile final : public OpenFile {
 public:
  // `open` counts this handle already. `local` is its content for life on IoPath::kLocalFile; paged handles follow the inode's.
  LocalOpenFile(OpenFiles& files, OpenRef open, const OpenOptions& options, std::shared_ptr<Content> local);
  ~LocalOpenFile() override { close(); }

  InodeId inode() const override { return open_->id; }
  Access access() const override { return options_.access; }
  IoPath io_path() const override { return local_ ? IoPath::kLocalFile : IoPath::kPaged; }
  const io::File& local_file() const override { return local_->file(); }
  uint64_t local_file_key() const override { return local_->id().value(); }

  Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) override;
  Result<void> write(uint64_t offset, std::span<const std::byte> bytes) override;
  Result<void> append(std::span<const std::byte> bytes, const AppendPlace& about_to) override;
  Result<void> truncate(uint64_t size) override;
  Result<void> allocate(Allocate what, uint64_t offset, uint64_t size) override;
  Result<std::optional<uint64_t>> seek(Seek what, uint64_t offset) override;
  Result<void> flush() override;
  Result<void> sync() override;
  void close() override;

 private:
  bool writes() const { return options_.access != Access::kRead; }
  Result<std::shared_ptr<Content>> content();
  Result<std::shared_ptr<Content>> writable_content();

  OpenFiles& files_;
  OpenRef open_;
  const OpenOptions options_;
  const std::shared_ptr<Content> local_;
  ReadAheadWindow window_;
  bool closed_ = false;
};

}  // namespace weir::volume
