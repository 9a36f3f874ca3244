// tests/model/persist_volume.h -- the layers up to persist/ as a volume puts them together, over a bucket in memory.
//
// restart() drops everything that a process holds and opens the rest again, as after SIGKILL.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kv/mem_kv.h"
#include "meta/lower_layer.h"
#include "meta/namespace.h"
#include "pages/page_store.h"
#include "persist/persister.h"
#include "testing/mem_ufs.h"
#include "ufs/mount_table.h"

namespace weir::persist {

class PersistVolume {
 public:
  static constexpr uint64_t kPartBytes = 4'096;
  static constexpr Duration kQuietWithin = std::chrono::seconds(60);

  // `store`: what the mount point is given instead of bucket(), for faults in between.
  PersistVolume();
  ~PersistVolume();

  void start();
  void stop();
  void restart();
  // Puts another store between the volume and its bucket; before start().
  void mount(std::shared_ptr<ufs::UnderStore> store) { store_ = std::move(store); }

  meta::Namespace& names() { return *names_; }
  pages::PageStore& pages() { return *pages_; }
  Persister& persister() { return *persister_; }
  testing::MemUfs& bucket() { return *bucket_; }
  std::shared_ptr<testing::MemUfs> shared_bucket() { return bucket_; }
  InodeId root() const { return root_; }
  MountId mount_id() const { return mount_; }
  PersistOptions& options() { return options_; }
  const std::vector<std::string>& conflicts() const { return conflicts_; }

  // As a volume does for an application; each commits and wakes the persister.
  InodeId create(InodeId parent, std::string_view name, std::string_view content,
                 meta::Urgency urgency = meta::Urgency::kOrdinary);
  void overwrite(InodeId inode, std::string_view content, meta::Urgency urgency = meta::Urgency::kOrdinary);
  InodeId make_directory(InodeId parent, std::string_view name);
  void rename(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name,
              meta::RenameMode mode = meta::RenameMode::kReplace);
  void link(InodeId inode, InodeId parent, std::string_view name);
  InodeId make_node(InodeId parent, std::string_view name, meta::FileType type, uint64_t rdev);
  void unlink(InodeId parent, std::string_view name);
  void remove_directory(InodeId parent, std::string_view name);
  // Takes the tree out of the namespace; step_removals() and quiesce() remove what it held.
  void remove_tree(InodeId parent, std::string_view name);
  void step_removals(size_t steps_max);
  bool removing();
  // Drops the local copy, if that is allowed now.
  void evict(InodeId inode);

  // Opens for write without writing; commit() and close() end it.
  std::shared_ptr<pages::LocalFile> open_for_write(InodeId inode);
  void commit(InodeId inode, const pages::LocalFile& file, meta::Urgency urgency = meta::Urgency::kOrdinary);
  void close(InodeId inode);

  // Waits until everything is persisted.
  void quiesce();

  std::optional<std::string> object(std::string_view key);
  std::optional<ufs::ObjectHead> head(std::string_view key);
  void put_object(std::string_view key, std::string_view content);  // as others do
  std::vector<std::string> keys();
  // What the inode's home holds, read as the volume reads it; nullopt when its content is not persisted.
  std::optional<std::string> read_home(InodeId inode);

  // What a quiet volume must look like: every object at its path, nothing else in the bucket, no whiteouts, no claims,
  // nothing queued. Reports as test failures.
  void expect_mirror();
  // What holds at any time: the metadata agrees with itself.
  void expect_sound();

 private:
  void expect_owners_at_home();
  meta::Xattrs xattrs_of(InodeId inode);
  void expect_mirrored(InodeId directory, const std::string& prefix, std::vector<std::string>& expected);

  std::string dir_;
  kv::MemKv kv_;
  std::shared_ptr<testing::MemUfs> bucket_;
  std::shared_ptr<ufs::UnderStore> store_;
  ufs::MountTable mounts_;
  PersistOptions options_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<meta::Namespace> names_;
  std::unique_ptr<meta::LowerLayer> lower_;
  std::unique_ptr<Persister> persister_;
  InodeId root_{};
  MountId mount_{};
  std::vector<std::string> conflicts_;
};

}  // namespace weir::persist
