// volume/local_objects.h -- the objects of the volume of one node.
//
// A put fills a local file that the metadata does not know; its commit is one transaction that gives the file a name. Before that
// a crash leaves nothing but garbage for the page store to remove.
//
// Parts of an upload lie at multiples of the first one's size in one assembly file, which becomes the object's when nothing speaks
// against it; a part that has no place there (its size was not told, or is another, or its place is taken) has a file of its own, and
// is copied where it belongs when the upload is completed. A place is never written again once its part was accepted.
//
// Threads: as Objects. Lock order: Upload::gate, OpenInode::mutex of what is replaced (over the transaction), then leaves.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "meta/lower_layer.h"
#include "meta/object_namespace.h"
#include "pages/page_store.h"
#include "persist/persister.h"
#include "ufs/mount_table.h"
#include "volume/foreground.h"
#include "volume/logged_bodies.h"
#include "volume/mounts.h"
#include "volume/objects.h"
#include "volume/open_files.h"

namespace weir::volume {

class LocalObjects;

// Of the metadata, when an object is acknowledged.
inline kv::Durability durability_of(ObjectDurability durability) {
  return durability == ObjectDurability::kWrite ? kv::Durability::kWritten : kv::Durability::kSynced;
}

// A local file that is being filled. It goes with its owner, unless the metadata knows of it by then, or may.
class NewFile {
 public:
  NewFile(LocalObjects& objects, std::shared_ptr<pages::LocalFile> local);
  ~NewFile();
  NewFile(NewFile&& other) noexcept = default;
  NewFile& operator=(NewFile&&) = delete;

  pages::LocalFile& operator*() const { return *local_; }
  pages::LocalFile* operator->() const { return local_.get(); }
  const std::shared_ptr<pages::LocalFile>& shared() const { return local_; }
  void give_away() { given_away_ = true; }

 private:
  LocalObjects* objects_;
  std::shared_ptr<pages::LocalFile> local_;  // null: moved from
  bool given_away_ = false;
};

class LocalObjects final : public Objects {
 public:
  struct Parts {
    meta::Namespace& names;
    meta::LowerLayer& lower;
    const ufs::MountTable& stores;
    pages::PageStore& pages;
    OpenFiles& files;
    LoggedBodies& bodies;
    persist::Persister& persister;
    Mounts& mounts;
    Foreground& foreground;
    const std::atomic<CacheListener*>& listener;
  };

  // `options` must outlive it, as the parts.
  LocalObjects(const Parts& parts, const VolumeOptions& options)
      : parts_(parts), options_(options), objects_(parts.names, options.names.sync_interval) {}

  Result<std::vector<Bucket>> buckets() override;
  Result<Bucket> find_bucket(std::string_view bucket) override;
  Result<Bucket> create_bucket(std::string_view bucket) override;
  Result<void> remove_bucket(std::string_view bucket) override;

  Result<std::unique_ptr<ObjectReader>> open(const ObjectName& name, const ObjectConditions& conditions,
                                             bool* not_modified) override;
  Result<Object> head(const ObjectName& name, const ObjectConditions& conditions, bool* not_modified) override;
  Result<std::unique_ptr<PutWriter>> put(const ObjectName& name) override;
  Result<Object> copy(const ObjectName& source, const ObjectName& target, const CopyOptions& options) override;
  Result<void> erase(const ObjectName& name, const ObjectConditions& conditions, ObjectDurability durability) override;
  std::vector<Result<void>> erase(std::string_view bucket, std::span<const std::string> keys,
                                  ObjectDurability durability) override;
  Result<void> rename(const ObjectName& source, std::string_view target_key, const ObjectConditions& source_conditions,
                      const ObjectConditions& target_conditions) override;
  Result<ObjectListing> list(const ListObjects& query) override;

  Result<ObjectTags> tags(const ObjectName& name) override;
  Result<void> set_tags(const ObjectName& name, const ObjectTags& tags) override;

  Result<std::string> create_upload(const ObjectName& name, const UploadOptions& options) override;
  Result<ObjectUpload> find_upload(const ObjectName& name, std::string_view upload_id) override;
  Result<std::unique_ptr<PartWriter>> put_part(const ObjectName& name, std::string_view upload_id, uint32_t number,
                                               std::optional<uint64_t> size) override;
  Result<Object> complete_upload(const ObjectName& name, std::string_view upload_id,
                                 const CompleteOptions& options) override;
  Result<void> abort_upload(const ObjectName& name, std::string_view upload_id) override;
  Result<std::vector<ObjectPart>> upload_parts(const ObjectName& name, std::string_view upload_id, uint32_t after,
                                               size_t parts_max) override;
  Result<std::vector<ObjectUpload>> uploads(std::string_view bucket, std::string_view prefix, std::string_view key_after,
                                            std::string_view id_after, size_t uploads_max) override;

  // Once, before anything else.
  Result<void> start();

  // Names that lead elsewhere now may make room for objects that no path led to: those get their names.
  void make_room(const meta::ChangedNames& changed) {
    if (has_shadows_.load(std::memory_order_relaxed)) fill_room(changed);
  }
  // The same of a name that nothing has. Whether something has it now.
  bool settle_name(InodeId directory, std::string_view name) {
    return has_shadows_.load(std::memory_order_relaxed) && fill_room({{directory, std::string(name)}});
  }
  void shadows_found() { has_shadows_.store(true, std::memory_order_relaxed); }

  // Forgets uploads that were begun longer ago than ObjectsOptions::upload_abandoned_after.
  void abort_abandoned_uploads();
  uint64_t abandoned_uploads() const { return abandoned_uploads_; }
  // Whether the local file is being filled, and the metadata does not know of it yet.
  bool is_being_filled(LocalFileId local_file) const;

 private:
  friend class LocalPutWriter;
  friend class LocalPartWriter;
  friend class NewFile;

  // What the threads at work on one upload share.
  struct Upload {
    std::shared_mutex gate;          // shared: a part is being written or accepted; exclusive: the upload is being ended
    bool ended = false;              // under `gate`
    std::mutex mutex;                // leaf, but for the transaction that gives the upload its assembly file
    std::set<uint32_t> busy_places;  // in the assembly file
  };

  Deadline ufs_deadline() const { return Deadline::after(options_.ufs_timeout); }
  const std::string& volume_id() const { return parts_.names.volume_id(); }

  // What the key leads to, asking the lower layer as far as it must. kInvalid: no key.
  Result<meta::KeyFound> locate(const ObjectName& name, meta::WithFacts with_facts);
  // The same of an object, with what only its object in the store may know; kNotFound.
  Result<meta::KeyFound> locate_object(const ObjectName& name);
  Result<void> refresh_lower(InodeId directory);
  Object object_of(const std::string& key, const meta::Inode& inode, const format::ObjectFacts& facts);
  // A reader of a file that is open for writing; null: it was written meanwhile, once more from the start.
  Result<std::unique_ptr<ObjectReader>> open_written(Object object, std::unique_ptr<FileVersion> version);
  Result<bool> check_read_of(const meta::Inode& inode, const ObjectConditions& conditions) const;
  meta::ObjectGuard guard_of(const ObjectConditions& conditions) const;
  // kWouldWait on a thread that must not wait, if a write of the key is acknowledged only when it is persisted.
  Result<void> check_wait(const ObjectName& name, ObjectDurability durability) const;

  Result<NewFile> make_local_file();
  // A local file to be given a name; its content is as durable as is asked for when the object is.
  struct Filled {
    pages::LocalFile& local;
    NewFile* made = nullptr;              // the file's owner; null where the metadata knows of it already
    LoggedBodies::Entry* row = nullptr;   // the file is not to be synced: `body`, all of it, goes with the metadata
    std::string_view body{};
  };
  // What a put of these facts is besides its content.
  meta::ObjectPut put_of(const PutFacts& facts, ObjectDurability durability) const;
  // Puts the object, tells whoever has to know, and waits as long as its policy or `durability` asks for. `filled`: its local file,
  // null for one that has none.
  Result<Object> commit_put(const ObjectName& name, const meta::ObjectPut& put, const Filled* filled, const ObjectConditions& conditions,
                            ObjectDurability durability);
  Result<Object> commit(const ObjectName& name, const Filled& filled, const PutFacts& facts,
                        const ObjectConditions& conditions, ObjectDurability durability,
                        std::optional<meta::ObjectPut::Upload> upload);
  // What a write of the key takes the place of; `removal` is begun if that is a file.
  Result<meta::Incumbent> begin_removal(const meta::KeyFound& found, std::optional<OpenFiles::Removal>& removal);
  Result<meta::ObjectCommitted> commit_once(const ObjectName& name, const meta::ObjectPut& put,
                                            const meta::ObjectGuard& guard, kv::Durability durability);
  Result<void> erase_object(const ObjectName& name, const ObjectConditions& conditions, kv::Durability durability);
  // Tells who caches names. `named`: the inode that got one of them, whose name a rename through the mount may have changed since.
  void announce(const meta::ChangedNames& changed, std::optional<InodeId> named = std::nullopt);
  meta::ObjectPut defaults() const;
  bool fill_room(const meta::ChangedNames& changed);
  bool promote_below(std::string_view bucket, const std::string& prefix);
  bool promote(std::string_view bucket, std::string_view key);

  // --- object_copy.cc
  Result<Object> change_facts(const ObjectName& name, const CopyOptions& options);
  // A copy by the store of what is only there: nothing where that cannot be, kStale when the source changed meanwhile.
  Result<std::optional<Object>> copy_in_store(const ObjectReader& reader, const ObjectName& target, const PutFacts& facts,
                                              const CopyOptions& options);
  // The whole content, into `to`. kStale: it changed meanwhile.
  Result<void> copy_content(ObjectReader& reader, pages::LocalFile& to);

  // --- object_uploads.cc
  using Chosen = std::vector<format::ObjectPart>;
  std::shared_ptr<Upload> shared_upload(uint64_t id);
  Result<LocalFileId> assembly_of(const ObjectName& name, meta::ObjectNamespace::Upload& upload, uint64_t part_bytes);
  Result<Object> completed_before(const ObjectName& name, std::string_view upload_id);
  Result<Chosen> choose_parts(const std::vector<format::ObjectPart>& accepted, const CompleteOptions& options) const;
  // The local file that holds the chosen parts one behind the other.
  struct Assembled {
    std::shared_ptr<pages::LocalFile> local;
    std::optional<NewFile> made;
  };
  Result<Assembled> assemble(const meta::ObjectNamespace::Upload& upload, const Upload& shared,
                             const std::vector<format::ObjectPart>& accepted, const Chosen& chosen);

  // More than this is not copied or summed up on a thread that must not wait.
  static constexpr uint64_t kCopiedAtOnceMax = 8 << 20;
  Result<void> copy_bytes(const io::File& from, uint64_t from_offset, const io::File& to, uint64_t offset, uint64_t size);

  const Parts parts_;
  const VolumeOptions& options_;
  meta::ObjectNamespace objects_;

  std::atomic<bool> has_shadows_ = false;  // there are objects that no path leads to, or there were
  mutable std::mutex mutex_;  // leaf
  std::set<LocalFileId> being_filled_;
  std::map<uint64_t, std::weak_ptr<Upload>> uploads_;
  std::atomic<uint64_t> abandoned_uploads_ = 0;
};

}  // namespace weir::volume
