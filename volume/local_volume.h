// volume/local_volume.h -- the volume of one node: wires the namespace, the lower layer, the page store and the persister.
//
// names.cc: names and attributes; content.cc: creating, opening, syncing; xattrs.cc; status.cc, tree_usage.cc: what the command line asks;
// volume.cc: opening and stopping.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "net/token_bucket.h"
#include "volume/access_times.h"
#include "volume/due_scan.h"
#include "volume/foreground.h"
#include "volume/hidden_names.h"
#include "volume/local_objects.h"
#include "volume/logged_bodies.h"
#include "volume/mounts.h"
#include "volume/open_files.h"
#include "volume/ticker.h"
#include "volume/tree_remover.h"
#include "volume/volume.h"

namespace weir::volume {

class LocalVolume final : public Volume {
 public:
  LocalVolume(std::unique_ptr<meta::Namespace> names, pages::PageStore& pages, const VolumeOptions& options);
  // Without stop() before it, as a crash: what was not committed is found by the next start.
  ~LocalVolume() override;

  Result<void> start();
  void stop(Deadline deadline) override;

  void set_cache_listener(CacheListener* listener) override { listener_.store(listener); }
  const std::string& id() const override { return names_->volume_id(); }
  Result<std::unique_ptr<OpenFile>> take_held(size_t index) override { return std::move(held_.at(index)); }
  Result<InodeId> new_inode_id() override { return names_->new_inode_id(); }

  Result<Entry> lookup(InodeId parent, std::string_view name) override;
  Result<Entry> get_attributes(InodeId inode) override;
  Result<Entry> set_attributes(InodeId inode, const meta::AttributeChange& change,
                               std::optional<uint64_t> size) override;
  Result<Entry> make_directory(InodeId parent, std::string_view name, uint32_t permissions,
                               const meta::Caller& caller) override;
  Result<Entry> make_symlink(InodeId parent, std::string_view name, std::string_view target,
                             const meta::Caller& caller) override;
  Result<Entry> make_node(InodeId parent, std::string_view name, meta::FileType type, uint32_t permissions, uint64_t rdev,
                          const meta::Caller& caller) override;
  Result<Entry> link(InodeId inode, InodeId new_parent, std::string_view new_name) override;
  Result<std::string> read_symlink(InodeId inode) override;
  Result<void> unlink(InodeId parent, std::string_view name) override;
  Result<void> remove_directory(InodeId parent, std::string_view name) override;
  Result<void> remove_tree(InodeId parent, std::string_view name) override;
  Result<void> rename(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name,
                      meta::RenameMode mode) override;
  Result<DirectoryListing> read_directory(InodeId directory, std::string_view after, size_t entries_max,
                                          WithAttributes with_attributes) override;
  Result<InodeId> parent_of(InodeId directory) override;

  Result<std::string> get_xattr(InodeId inode, std::string_view name) override;
  Result<std::vector<std::string>> list_xattrs(InodeId inode) override;
  Result<void> set_xattr(InodeId inode, std::string_view name, std::string_view value,
                         meta::Namespace::XattrMode mode) override;
  Result<void> remove_xattr(InodeId inode, std::string_view name) override;

  Result<Capacity> capacity() override;

  Result<Created> create(InodeId parent, std::string_view name, uint32_t permissions, const meta::Caller& caller,
                         const OpenOptions& options) override;
  Result<Created> create_unnamed(InodeId directory, uint32_t permissions, const meta::Caller& caller,
                                 const OpenOptions& options) override;
  Result<std::unique_ptr<OpenFile>> open_file(InodeId inode, const OpenOptions& options) override;
  Result<void> sync_directory(InodeId directory) override;
  Result<void> sync_all() override;

  Result<FileStatus> status(std::string_view path) override;
  Result<InodeId> resolve(std::string_view path) override;
  Result<void> persist_now(std::string_view path) override;
  Result<std::vector<meta::LowerLayer::Hidden>> hidden(std::string_view path) override;
  Result<TreeUsage> tree_usage(std::string_view path, CachedBytes cached,
                               const std::function<bool(const TreeUsage&)>& progress) override;

  Result<MountPoint> add_mount(std::string_view path, std::string_view uri, const Properties& properties) override;
  Result<void> remove_mount(std::string_view path) override;
  Result<std::vector<MountPoint>> mount_points() override;
  Result<std::vector<std::string>> mount_secrets() override { return mounts_.secrets(); }

  std::shared_ptr<const meta::PathRules> rules() const override { return names_->rules(); }
  Result<std::string> rules_document() override;
  Result<void> set_rules_document(std::string_view json) override;

  Result<std::vector<TreeRemoval>> tree_removals(size_t trees_max) override;
  Objects& objects() override { return *objects_; }
  persist::Persister& persister() override { return *persister_; }
  VolumeStatistics statistics() override;
  Result<FsckSummary> fsck(const FsckOptions& options, const FsckListener& listener) override;
  Result<ScrubSummary> scrub(Scrub::From from, const ScrubListener& listener) override;
  Result<std::optional<ScrubSummary>> last_scrub() override { return scrub_->last(); }

 private:
  Deadline ufs_deadline() const { return Deadline::after(options_.ufs_timeout); }

  // `endings`: of files_, before the inode was read.
  Result<Entry> entry_of(const meta::Inode& inode, uint64_t endings);
  Duration valid_for() const;
  // The inode is being read.
  void note_reading(const meta::Inode& inode, uint64_t endings);
  // What is left at the deadline is not recorded.
  void record_accesses(Deadline deadline);
  // Uploads shall stand back: applications are busy, and there is room for what waits.
  bool foreground_busy();
  // The inode with its attributes, which only the object may know.
  Result<meta::Inode> load(InodeId inode);
  Result<meta::Inode> with_attributes(meta::Inode inode);
  // kUnavailable while only an object out of reach knows the extended attributes.
  Result<meta::Inode> load_xattrs(InodeId inode);
  // Asks the lower layer for a name that the namespace cannot answer for. nullopt: there is no such name.
  Result<std::optional<meta::Inode>> find(InodeId parent, std::string_view name);
  // Changes in the bucket are to be seen at every access.
  bool asks_lower_always() const { return options_.names.sync_interval == Duration::zero(); }
  // By what the namespace knows. False: it knows no such name. kStale: the name leads elsewhere by now, as of rename_known().
  Result<bool> unlink_known(InodeId parent, std::string_view name);
  // nullopt, and nothing changed, if the names are perhaps unknown and the lower layer has to say first whether the source is
  // there, whether the target is, or whether the directory that the target names is empty.
  enum class Names : uint8_t { kKnown, kPerhapsUnknown };
  Result<std::optional<meta::Renamed>> rename_known(InodeId parent, std::string_view name, InodeId new_parent,
                                                    std::string_view new_name, meta::RenameMode mode, Names names);
  // Lists a directory that was never listed; a listing that is due for a refresh is refreshed behind the caller.
  Result<void> list_lower(const meta::Inode& directory);
  Result<void> refresh_lower(InodeId directory);
  Result<Created> create_unnamed_once(InodeId directory, uint32_t permissions, const meta::Caller& caller,
                                      const OpenOptions& options);
  struct Resolved {
    InodeId inode{};
    InodeId parent{};
    std::string name;  // empty: the root directory
  };
  Result<Resolved> resolve_name(std::string_view path);
  // What speaks of the object under that name.
  Result<meta::Inode> record_of(const Resolved& resolved);
  // Returns when everything at and below the inode is persisted.
  Result<void> await_persisted(InodeId inode, Deadline deadline);

  Result<void> load_rules();
  void recover_local_files();
  void end_recovery();
  void end_background();  // all threads but the uploads'
  // Files that the rules no longer keep from the bucket get into the queue, when that is due; what fails is tried again with
  // the next scan.
  void requeue_transient();
  void look_at_homes(const std::vector<InodeId>& in_doubt);
  // When its period is over, or one that was stopped has to go on.
  void scrub_when_due();
  bool flush_to_disk();
  void lower_changed(const meta::Namespace::LowerChanges& changes);
  Result<std::string> uri_of(const format::Home& home) const;
  meta::FileState state_of(const meta::Inode& inode);
  bool may_be_hidden(std::string_view name) const;
  // A silly rename: unlinks the file, if it is open, and lets the new name lead to it meanwhile. False: an ordinary rename.
  Result<bool> hide(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name);

  const VolumeOptions options_;
  const std::unique_ptr<meta::Namespace> names_;
  pages::PageStore& pages_;
  ufs::MountTable stores_;
  std::atomic<CacheListener*> listener_ = nullptr;
  HiddenNames hidden_names_;
  Foreground foreground_;
  AccessTimes access_times_;
  Mounts mounts_;
  std::unique_ptr<meta::LowerLayer> lower_;
  std::unique_ptr<persist::Persister> persister_;
  std::optional<LoggedBodies> bodies_;
  std::unique_ptr<OpenFiles> files_;
  std::optional<LocalObjects> objects_;
  std::vector<Result<std::unique_ptr<OpenFile>>> held_;  // until they are taken
  std::atomic<bool> stopping_ = false;
  bool stopped_ = false;                      // and all was flushed
  DueScan transient_scan_{std::chrono::seconds(15), system_clock()};  // an operation with all its attempts is over
  std::optional<Ticker> leftovers_;
  std::optional<Ticker> access_recorder_;
  std::optional<Scrub> scrub_;
  std::optional<Ticker> scrubber_;            // before scrub_ goes
  std::optional<Ticker> flusher_;
  std::thread recovery_;                      // of local files, behind the start
  std::atomic<bool> recovered_ = true;        // that is done, or was given up
  uint64_t recovered_orphans_ = 0;            // by the start, as the next
  uint64_t recovered_marks_ = 0;
  std::atomic<uint64_t> garbage_files_ = 0;
  std::optional<TreeRemover> remover_;
};

}  // namespace weir::volume
