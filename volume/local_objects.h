// volume/local_objects.h -- the objects of the volume of one node.
//
// A put fills a local file that the metadata does not know; its commit is one transaction that gives the file a name. Before that
// a crash leaves nothing but garbage for the page store to remove.
//
// Threads: as Objects. Locks: OpenInode::mutex of what is replaced, over the transaction.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "meta/lower_layer.h"
#include "meta/object_namespace.h"
#include "pages/page_store.h"
#include "persist/persister.h"
#include "volume/foreground.h"
#include "volume/mounts.h"
#include "volume/objects.h"
#include "volume/open_files.h"

namespace weir::volume {

class LocalObjects final : public Objects {
 public:
  struct Parts {
    meta::Namespace& names;
    meta::LowerLayer& lower;
    pages::PageStore& pages;
    OpenFiles& files;
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

 private:
  friend class LocalPutWriter;

  Deadline ufs_deadline() const { return Deadline::after(options_.ufs_timeout); }
  const std::string& volume_id() const { return parts_.names.volume_id(); }

  // What the key leads to, asking the lower layer as far as it must. kInvalid: no key.
  Result<meta::KeyFound> locate(const ObjectName& name, meta::WithFacts with_facts);
  // The same of an object, with what only its object in the store may know; kNotFound.
  Result<meta::KeyFound> locate_object(const ObjectName& name);
  Result<void> refresh_lower(InodeId directory);
  Object object_of(const std::string& key, const meta::Inode& inode, const format::ObjectFacts& facts);
  Result<bool> check_read_of(const meta::Inode& inode, const ObjectConditions& conditions) const;
  meta::ObjectGuard guard_of(const ObjectConditions& conditions) const;
  // kWouldWait on a thread that must not wait, if a write of the key is acknowledged only when it is persisted.
  Result<void> check_wait(const ObjectName& name, ObjectDurability durability) const;

  Result<std::shared_ptr<pages::LocalFile>> make_local_file();
  // Gives the local file the name; the content is as durable as is asked for when the object is.
  Result<Object> commit(const ObjectName& name, const std::shared_ptr<pages::LocalFile>& local, const PutFacts& facts,
                        const ObjectConditions& conditions, ObjectDurability durability);
  Result<meta::ObjectCommitted> commit_once(const ObjectName& name, const meta::ObjectPut& put,
                                            const meta::ObjectGuard& guard, kv::Durability durability);
  Result<void> erase_object(const ObjectName& name, const ObjectConditions& conditions, kv::Durability durability);
  void announce(const meta::ChangedNames& changed);

  const Parts parts_;
  const VolumeOptions& options_;
  meta::ObjectNamespace objects_;
};

}  // namespace weir::volume
