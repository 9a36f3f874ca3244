#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>

#include "base/failpoint.h"
#include "base/no_wait.h"
#include "volume/local_objects.h"
#include "volume/object_checksum.h"
#include "volume/object_conditions.h"
#include "volume/object_facts.h"

namespace weir::volume {
namespace {

constexpr size_t kReadStepBytes = 4 << 20;
constexpr int kCopyTries = 4;
constexpr uint64_t kSlowestCopiedBytesPerMs = 8'192;  // inside the store

Error not_as_asked() { return Error(ErrorCode::kPrecondition, "the source is as the condition excludes"); }

}  // namespace

Result<Object> LocalObjects::copy(const ObjectName& source, const ObjectName& target, const CopyOptions& options) {
  if (source.bucket == target.bucket && source.key == target.key) return change_facts(source, options);
  TRY(check_wait(target, options.durability));
  TRY(locate(target, meta::WithFacts::kNo));
  for (int tries = 0; tries < kCopyTries; ++tries) {
    bool not_modified = false;
    TRY_ASSIGN(const auto reader, open(source, options.source_conditions, &not_modified));
    if (not_modified) return fail(not_as_asked());
    const Object& from = reader->object();
    PutFacts facts{.headers = options.headers.value_or(from.headers)};
    if (options.tags) {
      facts.tags = *options.tags;
    } else if (from.tags != 0) {
      TRY_ASSIGN(facts.tags, tags(source));
    }
    // Of content that was put in parts, or through the mount, nobody knows the MD5.
    if (!from.etag.contains('-')) facts.etag = from.etag;
    if (from.checksum && from.checksum->type == ChecksumType::kFullObject) facts.checksum = from.checksum;
    if (options.checksum && facts.checksum && facts.checksum->algorithm != *options.checksum) facts.checksum.reset();

    // Only reading all of it tells a checksum that is not known.
    if (facts.checksum || !options.checksum) {
      auto in_store = copy_in_store(*reader, target, facts, options);
      if (failed_with(in_store, ErrorCode::kStale)) continue;
      TRY(in_store);
      if (*in_store) return **std::move(in_store);
    }

    if (from.size > kCopiedAtOnceMax) TRY(NoWait::check());
    TRY_ASSIGN(NewFile file, make_local_file());
    const auto copied = copy_content(*reader, *file);
    if (failed_with(copied, ErrorCode::kStale)) continue;
    TRY(copied);
    const auto wanted = options.checksum ? options.checksum
                        : from.checksum  ? std::optional(from.checksum->algorithm)
                                         : std::nullopt;
    if (wanted && !facts.checksum) {
      TRY_ASSIGN(auto value, checksum_of(file->file(), from.size, *wanted));
      facts.checksum = ObjectChecksum{.algorithm = *wanted, .value = std::move(value)};
    }
    return commit(target, {.local = *file, .made = &file}, facts, options.conditions, options.durability, {});
  }
  return fail(ErrorCode::kConflict, "'" + source.key + "' changes faster than it can be copied");
}

Result<std::optional<Object>> LocalObjects::copy_in_store(const ObjectReader& reader, const ObjectName& target,
                                                          const PutFacts& facts, const CopyOptions& options) {
  constexpr std::nullopt_t kFetch = std::nullopt;
  const Object& from = reader.object();
  if (reader.local_file() != nullptr || from.size == 0) return kFetch;
  const auto policy = parts_.names.rules()->policy("/" + target.bucket + "/" + target.key);
  if (policy == meta::WritePolicy::kTransient) return kFetch;
  TRY_ASSIGN(const auto found, locate(target, meta::WithFacts::kNo));
  TRY_ASSIGN(const meta::Inode bucket, parts_.names.load(found.bucket));
  TRY_ASSIGN(const meta::Inode source, parts_.names.load(from.inode));
  const MountId mount(bucket.lower().mount());
  const bool whole_in_store = source.type() == format::REGULAR && meta::content_persisted(source) && !parts_.files.changed(from.inode) &&
                              MountId(source.home().mount()) == mount && source.home().size() == from.size;
  const auto store = parts_.stores.find(mount).store;
  if (!whole_in_store || !store) return kFetch;
  if (meta::etag_of(source, volume_id()) != from.etag) return fail(ErrorCode::kStale, "the source was replaced");
  TRY(NoWait::check());

  // A key of the copy's own: neither what becomes of the source, nor what is under the target's key, can touch it. The
  // persister brings it to its place, as after a rename.
  TRY_ASSIGN(const InodeId inode, parts_.names.new_inode_id());
  TRY(objects_.park(mount, inode));
  TRY(failpoint("objects.parking_reserved"));
  format::Home home;
  home.set_mount(mount.value());
  home.set_key(parts_.names.parking_key(inode));
  home.set_size(from.size);
  const auto copied = store->copy(source.home().key(), home.key(), {.source_if_match = source.home().etag()},
                                  Deadline::after(options_.ufs_timeout + std::chrono::milliseconds(from.size / kSlowestCopiedBytesPerMs)));
  const auto drop = [&] {
    (void)objects_.drop_parked(mount, inode);  // else it goes when its time is over
    parts_.persister.wake_for_erasures();
  };
  if (!copied) {
    drop();
    const ErrorCode code = copied.error().code();
    if (code == ErrorCode::kNotFound || code == ErrorCode::kPrecondition) {
      const auto now = parts_.names.load(from.inode);
      const bool moved = !now || now->home().key() != source.home().key() || now->home().etag() != source.home().etag();
      if (moved) return fail(ErrorCode::kStale, "the source was moved");
      return kFetch;  // others replaced it in the bucket: to be found out as by any reader
    }
    if (code == ErrorCode::kNotSupported) return kFetch;
    return fail(copied.error());
  }
  home.set_etag(*copied);
  TRY(failpoint("objects.parked"));
  meta::ObjectPut put = put_of(facts, options.durability);
  put.size = from.size;
  put.synced = true;  // nothing of it is only here
  put.parked.emplace(inode, std::move(home));
  auto object = commit_put(target, put, nullptr, options.conditions, options.durability);
  if (!object && object.error() != ErrorCode::kMayHaveHappened) drop();  // of one that was put it drops nothing
  TRY(object);
  return std::optional(*std::move(object));
}

Result<void> LocalObjects::copy_content(ObjectReader& reader, pages::LocalFile& to) {
  const uint64_t size = reader.object().size;
  if (const io::File* from = reader.local_file()) {
    TRY(reader.verify());
    TRY(copy_bytes(*from, 0, to.file(), 0, size));
    return reader.verify();
  }
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kReadStepBytes);
  for (uint64_t offset = 0; offset < size;) {
    const std::span<std::byte> into(buffer.get(), std::min<uint64_t>(kReadStepBytes, size - offset));
    TRY_ASSIGN(const size_t read, reader.read(offset, into));
    if (read == 0) return fail(ErrorCode::kStale, "it became shorter while it was copied");
    TRY(parts_.pages.admit(read, options_.admit_slow_max));
    TRY(to.write(offset, into.first(read)));
    offset += read;
  }
  return reader.verify();
}

Result<Object> LocalObjects::change_facts(const ObjectName& name, const CopyOptions& options) {
  TRY_ASSIGN(const auto before, locate_object(name));
  std::optional<ObjectChecksum> checksum;
  const auto known = checksum_of(before.facts);
  if (options.checksum && (!known || known->algorithm != *options.checksum)) {
    bool not_modified = false;
    TRY_ASSIGN(const auto reader, open(name, {}, &not_modified));
    if (reader->object().size > kCopiedAtOnceMax || reader->local_file() == nullptr) TRY(NoWait::check());
    ChecksumHasher hasher(*options.checksum);
    const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kReadStepBytes);
    for (uint64_t offset = 0;;) {
      TRY_ASSIGN(const size_t read, reader->read(offset, {buffer.get(), kReadStepBytes}));
      if (read == 0) break;
      hasher.add({buffer.get(), read});
      offset += read;
    }
    checksum = ObjectChecksum{.algorithm = *options.checksum, .value = hasher.finish()};
  }
  format::ObjectFacts facts_now;
  TRY_ASSIGN(const meta::Inode changed, objects_.change(
      name.bucket, name.key,
      [&](meta::Inode& inode, format::ObjectFacts& facts) -> Result<void> {
        const ConditionTarget target{meta::etag_of(inode, volume_id()), meta::object_modified_ns(inode)};
        TRY_ASSIGN(const bool excluded, check_read(options.source_conditions, target));
        if (excluded) return fail(not_as_asked());
        TRY(check_write(options.conditions, target, NameTaken::kYes));
        // Of other content the checksum says nothing.
        if (checksum && inode.content_version() == before.inode->content_version() &&
            inode.generation() == before.inode->generation())
          set_checksum(facts, checksum);
        if (options.headers) {
          set_headers(facts, *options.headers);
          const meta::AttributeChange attributes = attributes_of(*options.headers);
          if (attributes.permissions) inode.set_permissions(*attributes.permissions);
          if (attributes.uid) inode.set_uid(*attributes.uid);
          if (attributes.gid) inode.set_gid(*attributes.gid);
          if (attributes.mtime_ns) inode.set_mtime_ns(*attributes.mtime_ns);
        }
        if (options.tags) volume::set_tags(facts, *options.tags);
        const int64_t now_ns = std::max(unix_ns(parts_.names.clock().wall_now()), meta::object_modified_ns(inode));
        inode.set_ctime_ns(std::max(inode.ctime_ns(), now_ns));
        inode.mutable_object()->set_modified_ns(now_ns);
        facts_now = facts;
        return {};
      },
      durability_of(options.durability)));
  if (CacheListener* const listener = parts_.listener.load()) listener->content_changed(InodeId(changed.id()));
  parts_.persister.wake_for_files(meta::Urgency::kOrdinary);
  return object_of(name.key, changed, facts_now);
}

}  // namespace weir::volume
