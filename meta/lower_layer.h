// meta/lower_layer.h -- brings the bucket's listing into the namespace: the lower layer of the overlay.
//
// Threads: all methods may be called concurrently; one listing of a directory runs at a time, others wait for it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "meta/namespace.h"
#include "ufs/mount_table.h"

namespace weir::meta {

class LowerLayer {
 public:
  // Told what became stale, after it was committed and before anybody is answered from it.
  using ChangeListener = std::function<void(InodeId directory, const Namespace::LowerChanges&)>;

  LowerLayer(Namespace& names, const ufs::MountTable& mounts, ChangeListener listener);
  ~LowerLayer();  // waits for background listings
  LowerLayer(const LowerLayer&) = delete;

  // Materialises `name`, if the bucket has it below the directory. Lists the directory when that takes one request, else
  // asks for the name alone and lists the rest in the background.
  Result<void> load_name(InodeId directory, std::string_view name, Deadline deadline);
  // Lists the directory completely; returns at once when it was listed already.
  Result<void> load_directory(InodeId directory, Deadline deadline);
  // Lists it again behind the caller. Bounded: dropped when kRefreshesMax are waiting.
  void refresh_in_background(InodeId directory);
  // Lists it again now.
  Result<void> refresh(InodeId directory, Deadline deadline);
  // Looks at the object that is the home of the inode now. If it is another one than is known, whoever put it there or (kOwn) only if
  // this volume did, for this inode, it is the inode's content from then on; says whether it is so. Without an object: false.
  enum class Accept : uint8_t { kAny, kOwn };
  Result<bool> look_at_home(InodeId inode, Accept accept, Deadline deadline);
  // Looks again at the object in the bucket of one that no path shows.
  Result<void> refresh_shadow(const Inode& inode, Deadline deadline);
  // Reads the object's metadata of an inode whose attributes are unknown.
  Result<Inode> load_attributes(const Inode& inode, Deadline deadline);

  // Keys below the prefix that no POSIX path can show (`//`, `.`, `..`, components over 255 bytes, `a` beside
  // `a/b`, data under a trailing slash), as the last listing saw them. They are left alone in the bucket.
  struct Hidden {
    std::string key;
    std::string reason;
  };
  Result<std::vector<Hidden>> hidden(InodeId directory, Deadline deadline);
  uint64_t hidden_count() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace weir::meta
