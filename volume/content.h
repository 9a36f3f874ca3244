// volume/content.h -- one version of an inode's content: a local file, whole or being filled from the inode's home.
//
// Threads: all methods may be called concurrently.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "base/ids.h"
#include "format/records.pb.h"
#include "pages/page_store.h"

namespace weir::volume {

class Content {
 public:
  // `home` is where absent pages come from; of a file written here it names nothing.
  Content(InodeId inode, std::shared_ptr<pages::LocalFile> local, format::Home home)
      : inode_(inode), local_(std::move(local)), home_(std::move(home)) {}

  InodeId inode() const { return inode_; }
  // Ids are never reused, so this names the version as well.
  LocalFileId id() const { return local_->id(); }
  pages::LocalFile& local() const { return *local_; }
  const io::File& file() const { return local_->file(); }

  format::Home home() const {
    std::lock_guard lock(mutex_);
    return home_;
  }
  // The same bytes lie elsewhere now.
  void set_home(format::Home home) {
    std::lock_guard lock(mutex_);
    home_ = std::move(home);
  }

 private:
  friend class Fetcher;

  const InodeId inode_;
  const std::shared_ptr<pages::LocalFile> local_;
  mutable std::mutex mutex_;            // leaf
  std::condition_variable fetched_;     // a page left `fetching_`
  std::set<uint64_t> fetching_;         // offsets of pages on their way
  format::Home home_;
};

}  // namespace weir::volume
