#include <algorithm>
#include <memory>
#include <utility>

#include "base/no_wait.h"
#include "volume/local_objects.h"
#include "volume/object_checksum.h"
#include "volume/object_conditions.h"
#include "volume/object_facts.h"

namespace weir::volume {
namespace {

constexpr size_t kReadStepBytes = 4 << 20;
constexpr int kCopyTries = 4;

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
    if (from.size > kCopiedAtOnceMax) TRY(NoWait::check());
    TRY_ASSIGN(NewFile file, make_local_file());
    const auto copied = copy_content(*reader, *file);
    if (failed_with(copied, ErrorCode::kStale)) continue;
    TRY(copied);

    PutFacts facts{.headers = options.headers.value_or(from.headers)};
    if (options.tags) {
      facts.tags = *options.tags;
    } else if (from.tags != 0) {
      TRY_ASSIGN(facts.tags, tags(source));
    }
    // Of content that was put in parts, or through the mount, nobody knows the MD5.
    if (!from.etag.contains('-')) facts.etag = from.etag;
    if (from.checksum && from.checksum->type == ChecksumType::kFullObject) facts.checksum = from.checksum;
    const auto wanted = options.checksum          ? options.checksum
                        : from.checksum           ? std::optional(from.checksum->algorithm)
                                                  : std::nullopt;
    if (wanted && (!facts.checksum || facts.checksum->algorithm != *wanted)) {
      TRY_ASSIGN(auto value, checksum_of(file->file(), from.size, *wanted));
      facts.checksum = ObjectChecksum{.algorithm = *wanted, .value = std::move(value)};
    }
    return commit(target, {.local = *file, .made = &file}, facts, options.conditions, options.durability, {});
  }
  return fail(ErrorCode::kConflict, "'" + source.key + "' changes faster than it can be copied");
}

Result<void> LocalObjects::copy_content(ObjectReader& reader, pages::LocalFile& to) {
  const uint64_t size = reader.object().size;
  if (const io::File* from = reader.local_file()) {
    TRY_ASSIGN(const io::FileStat before, from->stat());
    if (before.size_bytes < size) return fail(ErrorCode::kStale, "it is being written");
    TRY(copy_bytes(*from, 0, to.file(), 0, size));
    TRY_ASSIGN(const io::FileStat after, from->stat());
    if (before.ctime_ns != after.ctime_ns || before.size_bytes != after.size_bytes)
      return fail(ErrorCode::kStale, "it was written while it was copied");
    return {};
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
  return {};
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
