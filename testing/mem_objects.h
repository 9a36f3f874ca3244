// testing/mem_objects.h -- object semantics in memory, at least as strict as a volume's: for tests of the front.
//
// Every key is shown as it is, also those that a volume keeps in the shadow. Nothing survives the object. Header only: whoever
// includes it links the volume.
// Threads: as Objects.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/clock.h"
#include "base/no_wait.h"
#include "net/checksum.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "volume/object_conditions.h"
#include "volume/object_errors.h"
#include "volume/objects.h"

namespace weir::testing {

struct MemObjectsOptions {
  std::vector<std::string> buckets = {"s3"};
  bool bucket_root = false;      // create_bucket() works
  bool waits = false;            // every call has to wait for the under store
  bool local_files = false;      // readers have one
  uint64_t part_bytes_min = volume::kObjectPartBytesMin;
  uint64_t room_bytes = UINT64_MAX;  // of all objects together
  std::function<void()> long_call;   // what takes long in copy() and complete_upload(); empty: nothing
  const Clock* clock = &system_clock();
};

class MemObjects final : public volume::Objects {
 public:
  explicit MemObjects(MemObjectsOptions options = {}) : options_(std::move(options)) {
    for (const std::string& bucket : options_.buckets) buckets_[bucket].created_ns = now_ns();
  }

  Result<std::vector<Bucket>> buckets() override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    std::vector<Bucket> all;
    for (const auto& [name, bucket] : buckets_) all.push_back({name, bucket.created_ns});
    return all;
  }

  Result<Bucket> find_bucket(std::string_view bucket) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stock* stock, load_bucket(bucket));
    return Bucket{std::string(bucket), stock->created_ns};
  }

  Result<Bucket> create_bucket(std::string_view bucket) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    if (!options_.bucket_root) return fail(ErrorCode::kPermission, "there is no root for buckets");
    if (bucket.size() < 3 || bucket.contains('_')) return fail(ErrorCode::kInvalid, "no name of a bucket");
    if (buckets_.contains(bucket)) return fail(ErrorCode::kExists);
    const Bucket made{std::string(bucket), now_ns()};
    buckets_[made.name].created_ns = made.created_ns;
    return made;
  }

  Result<void> remove_bucket(std::string_view bucket) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stock* stock, load_bucket(bucket));
    if (!options_.bucket_root) return fail(ErrorCode::kPermission, "the bucket is a mount point");
    if (!stock->objects.empty()) return fail(ErrorCode::kNotEmpty);
    buckets_.erase(buckets_.find(bucket));
    return {};
  }

  Result<std::unique_ptr<volume::ObjectReader>> open(const volume::ObjectName& name, const volume::ObjectConditions& conditions,
                                                     bool* not_modified) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stored* stored, load(name));
    TRY_ASSIGN(*not_modified, volume::check_read(conditions, target_of(stored->object)));
    return std::make_unique<Reader>(*stored, options_);
  }

  Result<volume::Object> head(const volume::ObjectName& name, const volume::ObjectConditions& conditions, bool* not_modified) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stored* stored, load(name));
    TRY_ASSIGN(*not_modified, volume::check_read(conditions, target_of(stored->object)));
    return stored->object;
  }

  Result<std::unique_ptr<volume::PutWriter>> put(const volume::ObjectName& name) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY(check_key(name.key));
    TRY(load_bucket(name.bucket));
    return std::make_unique<Writer>(*this, name);
  }

  Result<volume::Object> copy(const volume::ObjectName& source, const volume::ObjectName& target,
                              const volume::CopyOptions& options) override {
    TRY(wait());
    if (options_.long_call) options_.long_call();
    const std::lock_guard lock(mutex_);
    TRY(check_key(target.key));
    TRY_ASSIGN(const Stored* from, load(source));
    TRY_ASSIGN(const bool not_modified, volume::check_read(options.source_conditions, target_of(from->object)));
    if (not_modified) return fail(ErrorCode::kPrecondition, "the source is not modified");
    Stored made = *from;
    const bool onto_itself = source.bucket == target.bucket && source.key == target.key;
    std::optional<volume::ChecksumAlgorithm> checksum = options.checksum;
    if (!onto_itself && made.object.parts != 0) {
      if (!checksum && made.object.checksum) checksum = made.object.checksum->algorithm;
      made.object.etag = net::hex(net::md5(net::bytes_of(*made.content)));
      made.object.parts = 0;
      made.part_list.clear();
      made.upload_id.clear();
    }
    if (options.headers) made.object.headers = *options.headers;
    if (options.tags) made.tags = *options.tags;
    if (checksum) made.object.checksum = volume::ObjectChecksum{.algorithm = *checksum, .value = checksum_of(*checksum, *made.content)};
    return place(target, std::move(made), options.conditions, onto_itself ? made.object.inode : InodeId(++last_id_));
  }

  Result<void> erase(const volume::ObjectName& name, const volume::ObjectConditions& conditions, volume::ObjectDurability) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY(check_key(name.key));
    TRY_ASSIGN(Stock* stock, load_bucket(name.bucket));
    const auto found = stock->objects.find(name.key);
    TRY(volume::check_write(conditions, target_at(*stock, name.key), taken(found != stock->objects.end())));
    if (found != stock->objects.end()) stock->objects.erase(found);
    return {};
  }

  std::vector<Result<void>> erase(std::string_view bucket, std::span<const std::string> keys,
                                  volume::ObjectDurability durability) override {
    std::vector<Result<void>> results;
    for (const std::string& key : keys) results.push_back(erase({std::string(bucket), key}, {}, durability));
    return results;
  }

  Result<void> rename(const volume::ObjectName& source, std::string_view target_key, const volume::ObjectConditions& source_conditions,
                      const volume::ObjectConditions& target_conditions) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY(check_key(target_key));
    TRY_ASSIGN(Stored* from, load(source));
    if (source.key.ends_with('/') || target_key.ends_with('/'))
      return fail(ErrorCode::kInvalid, "a key that ends in '/' cannot be renamed, nor given by a rename");
    TRY(volume::check_write(source_conditions, target_of(from->object), volume::NameTaken::kYes));
    Stored moved = *from;
    TRY(place({source.bucket, std::string(target_key)}, std::move(moved), target_conditions, moved.object.inode));
    if (source.key != target_key) buckets_.find(source.bucket)->second.objects.erase(source.key);
    return {};
  }

  Result<volume::ObjectListing> list(const volume::ListObjects& query) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stock* stock, load_bucket(query.bucket));
    volume::ObjectListing listing;
    if (query.entries_max == 0) return listing;
    for (const auto& [key, stored] : stock->objects) {
      if (!key.starts_with(query.prefix) || key <= query.after) continue;
      const size_t end = query.delimiter.empty() ? std::string::npos : key.find(query.delimiter, query.prefix.size());
      const std::string common = end == std::string::npos ? std::string() : key.substr(0, end + query.delimiter.size());
      if (!common.empty() && (query.after.starts_with(common) || (!listing.common_prefixes.empty() && listing.common_prefixes.back() == common)))
        continue;
      if (listing.objects.size() + listing.common_prefixes.size() == query.entries_max) {
        listing.more = true;
        return listing;
      }
      listing.next = common.empty() ? key : common;
      if (!common.empty()) {
        listing.common_prefixes.push_back(common);
        continue;
      }
      listing.objects.push_back({.key = key,
                                 .size = stored.object.size,
                                 .etag = stored.object.etag,
                                 .modified_ns = stored.object.modified_ns,
                                 .storage_class = stored.object.headers.storage_class});
      if (!stored.object.checksum) continue;
      listing.objects.back().checksum_algorithm = stored.object.checksum->algorithm;
      listing.objects.back().checksum_type = stored.object.checksum->type;
    }
    return listing;
  }

  Result<volume::ObjectTags> tags(const volume::ObjectName& name) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stored* stored, load(name));
    return stored->tags;
  }

  Result<void> set_tags(const volume::ObjectName& name, const volume::ObjectTags& tags) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(Stored* stored, load(name));
    stored->tags = tags;
    stored->object.tags = static_cast<uint32_t>(tags.size());
    return {};
  }

  Result<std::string> create_upload(const volume::ObjectName& name, const volume::UploadOptions& options) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY(check_key(name.key));
    TRY_ASSIGN(Stock* stock, load_bucket(name.bucket));
    const std::string id = "upload" + std::to_string(++last_id_);
    stock->uploads[{name.key, id}] = {.options = options, .started_ns = now_ns(), .parts = {}};
    return id;
  }

  Result<volume::ObjectUpload> find_upload(const volume::ObjectName& name, std::string_view upload_id) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Upload* upload, load_upload(name, upload_id));
    return volume::ObjectUpload{name.key, std::string(upload_id), upload->started_ns, upload->options};
  }

  Result<std::unique_ptr<volume::PartWriter>> put_part(const volume::ObjectName& name, std::string_view upload_id, uint32_t number,
                                                       std::optional<uint64_t>) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY(load_upload(name, upload_id));
    if (number == 0 || number > volume::kObjectPartsMax) return fail(ErrorCode::kInvalid, "no number of a part");
    return std::make_unique<PartOf>(*this, name, std::string(upload_id), number);
  }

  Result<volume::Object> complete_upload(const volume::ObjectName& name, std::string_view upload_id,
                                         const volume::CompleteOptions& options) override {
    TRY(wait());
    if (options_.long_call) options_.long_call();
    const std::lock_guard lock(mutex_);
    const auto upload = load_upload(name, upload_id);
    if (!upload) {
      const auto done = load(name);
      if (done && (*done)->upload_id == upload_id) return (*done)->object;
      return fail(upload.error());
    }
    Stored made;
    made.upload_id = upload_id;
    std::string content;
    std::string digests;
    if (options.parts.empty()) return fail(ErrorCode::kInvalid, "no parts");
    for (size_t i = 0; i < options.parts.size(); ++i) {
      const volume::CompletedPart& wanted = options.parts[i];
      if (i > 0 && wanted.number <= options.parts[i - 1].number) return fail(ErrorCode::kInvalid, std::string(volume::kInvalidPartOrder));
      const auto found = (*upload)->parts.find(wanted.number);
      if (found == (*upload)->parts.end() || found->second.part.etag != wanted.etag ||
          (wanted.checksum && (!found->second.part.checksum || found->second.part.checksum->value != *wanted.checksum)))
        return fail(ErrorCode::kInvalid, std::string(volume::kInvalidPart));
      if (i + 1 < options.parts.size() && found->second.part.size < options_.part_bytes_min)
        return fail(ErrorCode::kInvalid, std::string(volume::kEntityTooSmall));
      content += found->second.content;
      digests += net::unhex(found->second.part.etag).value_or("");
      made.part_list.push_back(found->second.part);
    }
    if (options.size && *options.size != content.size()) return fail(ErrorCode::kInvalid, "the size is another one");
    made.object.etag = net::hex(net::md5(net::bytes_of(digests))) + '-' + std::to_string(made.part_list.size());
    made.object.parts = static_cast<uint32_t>(made.part_list.size());
    made.object.size = content.size();
    made.object.headers = (*upload)->options.headers;
    if (const auto algorithm = (*upload)->options.checksum_algorithm) {
      made.object.checksum = whole_checksum(*algorithm, (*upload)->options.checksum_type, content, made.part_list);
    }
    if (options.checksum && options.checksum != made.object.checksum) {
      const std::string value = checksum_of(options.checksum->algorithm, content);
      if (options.checksum->type == volume::ChecksumType::kComposite || value != options.checksum->value)
        return fail(ErrorCode::kCorrupt, "the checksum is " + value);
    }
    made.tags = (*upload)->options.tags;
    made.content = std::make_shared<const std::string>(std::move(content));
    TRY_ASSIGN(const volume::Object object, place(name, std::move(made), options.conditions, InodeId(++last_id_)));
    buckets_.find(name.bucket)->second.uploads.erase({name.key, std::string(upload_id)});
    return object;
  }

  Result<void> abort_upload(const volume::ObjectName& name, std::string_view upload_id) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY(load_upload(name, upload_id));
    buckets_.find(name.bucket)->second.uploads.erase({name.key, std::string(upload_id)});
    return {};
  }

  Result<std::vector<volume::ObjectPart>> upload_parts(const volume::ObjectName& name, std::string_view upload_id, uint32_t after,
                                                       size_t parts_max) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Upload* upload, load_upload(name, upload_id));
    std::vector<volume::ObjectPart> parts;
    for (auto it = upload->parts.upper_bound(after); it != upload->parts.end() && parts.size() < parts_max; ++it)
      parts.push_back(it->second.part);
    return parts;
  }

  Result<std::vector<volume::ObjectUpload>> uploads(std::string_view bucket, std::string_view prefix, std::string_view key_after,
                                                    std::string_view id_after, size_t uploads_max) override {
    TRY(wait());
    const std::lock_guard lock(mutex_);
    TRY_ASSIGN(const Stock* stock, load_bucket(bucket));
    std::vector<volume::ObjectUpload> found;
    for (const auto& [name, upload] : stock->uploads) {
      const auto& [key, id] = name;
      if (!key.starts_with(prefix) || key < key_after) continue;
      if (!key_after.empty() && key == key_after && (id_after.empty() || id <= id_after)) continue;
      if (found.size() == uploads_max) break;
      found.push_back({key, id, upload.started_ns, upload.options});
    }
    return found;
  }

 private:
  struct Stored {
    volume::Object object;
    volume::ObjectTags tags;
    std::shared_ptr<const std::string> content;
    std::vector<volume::ObjectPart> part_list;
    std::string upload_id;  // that made it
  };
  struct StoredPart {
    volume::ObjectPart part;
    std::string content;
  };
  struct Upload {
    volume::UploadOptions options;
    int64_t started_ns = 0;
    std::map<uint32_t, StoredPart> parts;
  };
  struct Stock {
    int64_t created_ns = 0;
    std::map<std::string, Stored, std::less<>> objects;
    std::map<std::pair<std::string, std::string>, Upload> uploads;
  };

  class Reader final : public volume::ObjectReader {
   public:
    Reader(const Stored& stored, const MemObjectsOptions& options) : stored_(stored), waits_(options.waits) {
      if (!options.local_files) return;
      file_ = io::File(io::Descriptor(::memfd_create("object", MFD_CLOEXEC)));
      CHECK(file_.write_at(0, std::string_view(*stored.content)).has_value());
    }
    const volume::Object& object() const override { return stored_.object; }
    const io::File* local_file() const override { return file_.valid() ? &file_ : nullptr; }
    Result<size_t> read(uint64_t offset, std::span<std::byte> buffer) override {
      if (waits_) TRY(NoWait::check());
      if (offset >= stored_.content->size()) return size_t{0};
      const size_t bytes = std::min<size_t>(buffer.size(), stored_.content->size() - offset);
      std::memcpy(buffer.data(), stored_.content->data() + offset, bytes);
      return bytes;
    }
    Result<Extent> part(uint32_t number) override {
      if (stored_.part_list.empty() && number == 1) return Extent{0, stored_.content->size()};
      uint64_t offset = 0;
      // Numbered anew, from 1.
      for (size_t i = 0; i < stored_.part_list.size(); offset += stored_.part_list[i++].size)
        if (i + 1 == number) return Extent{offset, stored_.part_list[i].size};
      return fail(ErrorCode::kRange, "there is no such part");
    }
    Result<std::vector<volume::ObjectPart>> parts(uint32_t after, size_t parts_max) override {
      std::vector<volume::ObjectPart> found;
      for (uint32_t i = 0; i < stored_.part_list.size() && found.size() < parts_max; ++i) {
        if (i + 1 <= after) continue;
        found.push_back(stored_.part_list[i]);
        found.back().number = i + 1;
      }
      return found;
    }

   private:
    const Stored stored_;
    const bool waits_;
    io::File file_;
  };

  class Writer final : public volume::PutWriter {
   public:
    Writer(MemObjects& owner, volume::ObjectName name) : owner_(owner), name_(std::move(name)) {}
    Result<void> write(std::span<const std::byte> bytes) override { return owner_.append(content_, bytes); }
    Result<volume::Object> commit(const volume::PutFacts& facts, const volume::ObjectConditions& conditions,
                                  volume::ObjectDurability) override {
      TRY(owner_.wait());
      const std::lock_guard lock(owner_.mutex_);
      Stored made;
      made.object.etag = facts.etag;
      made.object.headers = facts.headers;
      made.object.checksum = facts.checksum;
      made.object.size = content_.size();
      made.tags = facts.tags;
      made.content = std::make_shared<const std::string>(content_);
      CHECK(facts.etag == net::hex(net::md5(net::bytes_of(content_))));
      return owner_.place(name_, std::move(made), conditions, InodeId(++owner_.last_id_));
    }

   private:
    MemObjects& owner_;
    const volume::ObjectName name_;
    std::string content_;
  };

  class PartOf final : public volume::PartWriter {
   public:
    PartOf(MemObjects& owner, volume::ObjectName name, std::string id, uint32_t number)
        : owner_(owner), name_(std::move(name)), id_(std::move(id)), number_(number) {}
    Result<void> write(std::span<const std::byte> bytes) override { return owner_.append(content_, bytes); }
    Result<volume::ObjectPart> commit(std::string_view etag, const std::optional<volume::ObjectChecksum>& checksum,
                                      volume::ObjectDurability) override {
      TRY(owner_.wait());
      const std::lock_guard lock(owner_.mutex_);
      TRY_ASSIGN(Upload* upload, owner_.load_upload(name_, id_));
      CHECK(etag == net::hex(net::md5(net::bytes_of(content_))));
      const volume::ObjectPart part{number_, content_.size(), std::string(etag), owner_.now_ns(), checksum};
      upload->parts[number_] = {part, content_};
      return part;
    }

   private:
    MemObjects& owner_;
    const volume::ObjectName name_;
    const std::string id_;
    const uint32_t number_;
    std::string content_;
  };

  int64_t now_ns() const { return unix_ns(options_.clock->wall_now()); }
  Result<void> wait() const { return options_.waits ? NoWait::check() : Result<void>(); }

  Result<void> append(std::string& content, std::span<const std::byte> bytes) const {
    TRY(wait());
    if (content.size() + bytes.size() > options_.room_bytes) return fail(ErrorCode::kNoSpace, "no room for what is not persisted");
    content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  }

  static Result<void> check_key(std::string_view key) {
    if (key.empty() || key.size() > volume::kObjectKeyBytesMax || key.contains('\0')) return fail(ErrorCode::kInvalid, "no key");
    return {};
  }

  static volume::ConditionTarget target_of(const volume::Object& object) { return {object.etag, object.modified_ns}; }
  static std::optional<volume::ConditionTarget> target_at(const Stock& stock, std::string_view key) {
    const auto found = stock.objects.find(key);
    if (found == stock.objects.end()) return std::nullopt;
    return target_of(found->second.object);
  }
  static volume::NameTaken taken(bool there) { return there ? volume::NameTaken::kYes : volume::NameTaken::kNo; }

  // The rest: under mutex_.
  Result<Stock*> load_bucket(std::string_view bucket) {
    const auto found = buckets_.find(bucket);
    if (found == buckets_.end()) return fail(ErrorCode::kNotFound, "no such bucket: " + std::string(bucket));
    return &found->second;
  }
  Result<Stored*> load(const volume::ObjectName& name) {
    TRY(check_key(name.key));
    TRY_ASSIGN(Stock* stock, load_bucket(name.bucket));
    const auto found = stock->objects.find(name.key);
    if (found == stock->objects.end()) return fail(ErrorCode::kNotFound, "there is no object " + name.key);
    return &found->second;
  }
  Result<Upload*> load_upload(const volume::ObjectName& name, std::string_view upload_id) {
    TRY_ASSIGN(Stock* stock, load_bucket(name.bucket));
    const auto found = stock->uploads.find({name.key, std::string(upload_id)});
    if (found == stock->uploads.end()) return fail(ErrorCode::kNotFound, std::string(volume::kNoUpload));
    return &found->second;
  }

  Result<volume::Object> place(const volume::ObjectName& name, Stored made, const volume::ObjectConditions& conditions, InodeId inode) {
    TRY_ASSIGN(Stock* stock, load_bucket(name.bucket));
    const auto before = target_at(*stock, name.key);
    TRY(volume::check_write(conditions, before, taken(before.has_value())));
    made.object.key = name.key;
    made.object.inode = inode;
    made.object.tags = static_cast<uint32_t>(made.tags.size());
    made.object.modified_ns = std::max(now_ns(), before ? before->modified_ns : 0);
    made.object.state = meta::FileState::kNotPersisted;
    return (stock->objects[name.key] = std::move(made)).object;
  }

  static std::string checksum_of(volume::ChecksumAlgorithm algorithm, std::string_view content) {
    const auto bytes = net::bytes_of(content);
    switch (algorithm) {
      case volume::ChecksumAlgorithm::kCrc32: return net::checksum_text(net::crc32(bytes));
      case volume::ChecksumAlgorithm::kCrc32c: return net::checksum_text(net::crc32c(bytes));
      case volume::ChecksumAlgorithm::kCrc64Nvme: return net::checksum_text(net::crc64_nvme(bytes));
      case volume::ChecksumAlgorithm::kSha1: return net::base64(net::sha1(bytes));
      case volume::ChecksumAlgorithm::kSha256: return net::base64(net::sha256(bytes));
    }
    return {};
  }
  static volume::ObjectChecksum whole_checksum(volume::ChecksumAlgorithm algorithm, volume::ChecksumType type, std::string_view content,
                                               const std::vector<volume::ObjectPart>& parts) {
    if (type == volume::ChecksumType::kFullObject) return {algorithm, type, checksum_of(algorithm, content)};
    std::string sums;
    for (const volume::ObjectPart& part : parts) sums += net::unbase64(part.checksum ? part.checksum->value : "").value_or("");
    return {algorithm, type, checksum_of(algorithm, sums) + '-' + std::to_string(parts.size())};
  }

  const MemObjectsOptions options_;
  std::mutex mutex_;  // a leaf
  std::map<std::string, Stock, std::less<>> buckets_;
  uint64_t last_id_ = 0;
};

}  // namespace weir::testing
