#include "volume/object_facts.h"

#include <array>
#include <utility>

#include "meta/object_attributes.h"

namespace weir::volume {
namespace {

constexpr std::array<std::string_view, 4> kAttributeNames = {"mode", "uid", "gid", "mtime"};
constexpr uint32_t kTrustedPermissions = 01777;

meta::LowerAttributes parse_user(const std::map<std::string, std::string>& user) {
  ufs::ObjectHead head;
  head.attributes.user.insert(user.begin(), user.end());
  return meta::from_object(head);
}

// Whether what `name` was put as still is so.
bool still_says(std::string_view name, const std::string& value, const meta::Inode& inode) {
  const meta::LowerAttributes put = parse_user({{std::string(name), value}});
  if (name == "mode") return put.permissions && (*put.permissions & kTrustedPermissions) == (inode.permissions() & kTrustedPermissions);
  if (name == "uid") return put.uid == inode.uid();
  if (name == "gid") return put.gid == inode.gid();
  return put.mtime_ns == inode.mtime_ns();
}

// Whether it sets the attribute at all.
bool parses(std::string_view name, const std::string& value) {
  const meta::LowerAttributes put = parse_user({{std::string(name), value}});
  return name == "mode" ? put.permissions.has_value()
         : name == "uid" ? put.uid.has_value()
         : name == "gid" ? put.gid.has_value()
                         : put.mtime_ns.has_value();
}

void show_attributes(std::map<std::string, std::string>& user, const meta::Inode& inode) {
  // Put by nobody, and not just found: made through the mount.
  const bool found = inode.type() == format::REGULAR && inode.content_version() == 0 && inode.has_home();
  const bool by_posix = inode.object().by_posix() || (!inode.has_object() && !found);
  std::optional<ufs::ObjectAttributes> now;
  for (const std::string_view name : kAttributeNames) {
    const auto it = user.find(std::string(name));
    if (it == user.end() ? !by_posix : !parses(name, it->second) || still_says(name, it->second, inode)) continue;
    if (!now) now = meta::to_object(inode, "", "");
    user[std::string(name)] = now->user.find(name)->second;
  }
}

void put_all(google::protobuf::RepeatedPtrField<format::NamedValue>& values,
             const std::map<std::string, std::string>& map) {
  values.Clear();
  for (const auto& [name, value] : map) {
    format::NamedValue& named = *values.Add();
    named.set_name(name);
    named.set_value(value);
  }
}

}  // namespace

ObjectHeaders headers_of(const format::ObjectFacts& record) {
  ObjectHeaders headers{.content_type = record.content_type(),
                        .content_encoding = record.content_encoding(),
                        .content_disposition = record.content_disposition(),
                        .content_language = record.content_language(),
                        .cache_control = record.cache_control(),
                        .expires = record.expires(),
                        .website_redirect = record.website_redirect(),
                        .storage_class = record.storage_class(),
                        .user = {}};
  for (const auto& header : record.user()) headers.user[header.name()] = header.value();
  return headers;
}

format::ChecksumAlgorithm to_record(ChecksumAlgorithm algorithm) {
  switch (algorithm) {
    case ChecksumAlgorithm::kCrc32: return format::CRC32;
    case ChecksumAlgorithm::kCrc32c: return format::CRC32C;
    case ChecksumAlgorithm::kCrc64Nvme: return format::CRC64NVME;
    case ChecksumAlgorithm::kSha1: return format::SHA1;
    case ChecksumAlgorithm::kSha256: return format::SHA256;
  }
  return format::NO_CHECKSUM;
}

ObjectPart part_of(const format::ObjectPart& record) {
  ObjectPart part{.number = record.number(), .size = record.size(), .etag = record.etag(), .modified_ns = record.modified_ns()};
  if (const auto algorithm = algorithm_of(record.checksum_algorithm()))
    part.checksum = ObjectChecksum{.algorithm = *algorithm, .value = record.checksum()};
  return part;
}

void set_headers(format::ObjectFacts& record, const ObjectHeaders& headers) {
  record.set_content_type(headers.content_type);
  record.set_content_encoding(headers.content_encoding);
  record.set_content_disposition(headers.content_disposition);
  record.set_content_language(headers.content_language);
  record.set_cache_control(headers.cache_control);
  record.set_expires(headers.expires);
  record.set_website_redirect(headers.website_redirect);
  record.set_storage_class(headers.storage_class);
  put_all(*record.mutable_user(), headers.user);
}

void set_tags(format::ObjectFacts& record, const ObjectTags& tags) { put_all(*record.mutable_tags(), tags); }

void set_checksum(format::ObjectFacts& record, const std::optional<ObjectChecksum>& checksum) {
  record.set_checksum_algorithm(checksum ? to_record(checksum->algorithm) : format::NO_CHECKSUM);
  record.set_checksum_composite(checksum && checksum->type == ChecksumType::kComposite);
  record.set_checksum(checksum ? checksum->value : "");
}

format::ObjectFacts to_record(const ObjectHeaders& headers, const ObjectTags& tags,
                              const std::optional<ObjectChecksum>& checksum) {
  format::ObjectFacts record;
  set_headers(record, headers);
  set_tags(record, tags);
  set_checksum(record, checksum);
  return record;
}

ObjectTags tags_of(const format::ObjectFacts& record) {
  ObjectTags tags;
  for (const auto& tag : record.tags()) tags[tag.name()] = tag.value();
  return tags;
}

std::optional<ChecksumAlgorithm> algorithm_of(format::ChecksumAlgorithm algorithm) {
  switch (algorithm) {
    case format::CRC32: return ChecksumAlgorithm::kCrc32;
    case format::CRC32C: return ChecksumAlgorithm::kCrc32c;
    case format::CRC64NVME: return ChecksumAlgorithm::kCrc64Nvme;
    case format::SHA1: return ChecksumAlgorithm::kSha1;
    case format::SHA256: return ChecksumAlgorithm::kSha256;
    default: return std::nullopt;
  }
}

std::optional<ObjectChecksum> checksum_of(const format::ObjectFacts& record) {
  const auto algorithm = algorithm_of(record.checksum_algorithm());
  if (!algorithm) return std::nullopt;
  return ObjectChecksum{.algorithm = *algorithm,
                        .type = record.checksum_composite() ? ChecksumType::kComposite : ChecksumType::kFullObject,
                        .value = record.checksum()};
}

meta::AttributeChange attributes_of(const ObjectHeaders& headers) {
  const meta::LowerAttributes said = parse_user(headers.user);
  meta::AttributeChange change{.uid = said.uid, .gid = said.gid, .mtime_ns = said.mtime_ns};
  if (said.permissions) change.permissions = *said.permissions & kTrustedPermissions;
  return change;
}

Object object_of(std::string key, const meta::Inode& inode, const format::ObjectFacts& facts, std::string_view volume_id) {
  Object object{.key = std::move(key),
                .inode = InodeId(inode.id()),
                .size = meta::object_size(inode),
                .etag = meta::etag_of(inode, volume_id),
                .modified_ns = meta::object_modified_ns(inode),
                .headers = headers_of(facts),
                .checksum = checksum_of(facts),
                .parts = inode.object().parts(),
                .tags = inode.object().tags()};
  if (object.headers.content_type.empty()) {
    if (inode.type() == format::SYMLINK) object.headers.content_type = meta::kSymlinkContentType;
    if (meta::is_directory(inode)) object.headers.content_type = meta::kDirectoryContentType;
  }
  show_attributes(object.headers.user, inode);
  return object;
}

}  // namespace weir::volume
