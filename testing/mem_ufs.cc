#include "testing/mem_ufs.h"

#include <algorithm>
#include <cstring>

#include "net/checksum.h"
#include "ufs/limits.h"

namespace weir::testing {
using namespace weir::ufs;

namespace {

std::string to_string(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

std::string checksum_of(std::string_view bytes) {
  return net::checksum_text(net::crc32c(std::as_bytes(std::span(bytes.data(), bytes.size()))));
}

}  // namespace

MemUfs::MemUfs(MemUfsOptions options) : options_(std::move(options)) {}

MemUfs::MemUfs(const MemUfs& other) : options_(other.options_) {
  const std::lock_guard lock(other.mutex_);
  objects_ = other.objects_;
  uploads_ = other.uploads_;
  last_id_ = other.last_id_;
}

Result<void> MemUfs::admit(std::string_view key, Deadline deadline) const {
  TRY(check_key(options_.prefix, key));
  if (deadline.expired(*options_.clock)) return fail(ErrorCode::kTimedOut, uri() + ": the deadline has passed");
  return {};
}

Result<const MemUfs::Object*> MemUfs::load(std::string_view key) const {
  const auto found = objects_.find(key);
  if (found == objects_.end()) return fail(ErrorCode::kNotFound, uri() + ": no object " + std::string(key));
  return &found->second;
}

Result<MemUfs::Upload*> MemUfs::load_upload(std::string_view key, std::string_view upload_id) {
  const auto found = uploads_.find(upload_id);
  if (found == uploads_.end() || found->second.key != key) {
    return fail(ErrorCode::kNotFound, uri() + ": no upload " + std::string(upload_id) + " of " + std::string(key));
  }
  return &found->second;
}

Result<void> MemUfs::check(std::string_view key, const Conditions& conditions) const {
  TRY(check_conditions(conditions));
  const auto found = objects_.find(key);
  const bool there = found != objects_.end();
  if (conditions.if_none_match && there) {
    return fail(ErrorCode::kPrecondition, uri() + ": the object exists: " + std::string(key));
  }
  if (conditions.if_match && (!there || found->second.etag != *conditions.if_match)) {
    return fail(ErrorCode::kPrecondition, uri() + ": the object is not " + *conditions.if_match + " any more: " +
                                              std::string(key));
  }
  return {};
}

ObjectInfo MemUfs::info_of(std::string_view key, const Object& object) const {
  return {std::string(key), object.bytes.size(), object.etag, object.modified};
}

Etag MemUfs::new_etag() { return "mem-" + std::to_string(++last_id_); }

Result<Capabilities> MemUfs::probe(Deadline deadline) {
  TRY(admit("probe", deadline));
  return options_.capabilities;
}

Result<ObjectHead> MemUfs::head(std::string_view key, Deadline deadline) {
  TRY(admit(key, deadline));
  std::scoped_lock lock(mutex_);
  TRY_ASSIGN(const Object* object, load(key));
  return ObjectHead{info_of(key, *object), object->attributes};
}

Result<size_t> MemUfs::get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                           const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info) {
  TRY(admit(key, deadline));
  std::scoped_lock lock(mutex_);
  TRY_ASSIGN(const Object* object, load(key));
  TRY(check(key, {.if_match = if_match}));
  if (info != nullptr) *info = info_of(key, *object);
  if (offset >= object->bytes.size()) return 0;
  const size_t bytes = std::min<uint64_t>(buffer.size(), object->bytes.size() - offset);
  if (bytes > 0) std::memcpy(buffer.data(), object->bytes.data() + offset, bytes);
  return bytes;
}

Result<Etag> MemUfs::put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                         Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_attributes(options.attributes));
  TRY(check_body(body.size()));
  std::scoped_lock lock(mutex_);
  TRY(check(key, options.conditions));
  Object object{to_string(body), options.attributes, new_etag(), options_.clock->wall_now()};
  const Etag etag = object.etag;
  objects_.insert_or_assign(std::string(key), std::move(object));
  return etag;
}

Result<std::string> MemUfs::create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                             Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_attributes(attributes));
  std::scoped_lock lock(mutex_);
  std::string upload_id = "upload-" + std::to_string(++last_id_);
  uploads_.emplace(upload_id, Upload{std::string(key), attributes, options_.clock->wall_now(), {}});
  return upload_id;
}

Result<Part> MemUfs::upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                                 std::span<const std::byte> body, Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_part_number(number));
  TRY(check_body(body.size()));
  std::scoped_lock lock(mutex_);
  TRY_ASSIGN(Upload * upload, load_upload(key, upload_id));
  StagedPart& part = upload->parts[number];
  part = {to_string(body), new_etag()};
  return Part{number, part.etag, body.size(), checksum_of(part.bytes)};
}

Result<Part> MemUfs::upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                      std::string_view source, const std::optional<Etag>& source_if_match,
                                      uint64_t offset, uint64_t size, Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_key(options_.prefix, source));
  TRY(check_part_number(number));
  TRY(check_body(size));
  if (!options_.capabilities.multipart_copy) {
    return fail(ErrorCode::kNotSupported, uri() + " cannot copy into a part");
  }
  std::scoped_lock lock(mutex_);
  TRY_ASSIGN(Upload * upload, load_upload(key, upload_id));
  TRY_ASSIGN(const Object* object, load(source));
  TRY(check(source, {.if_match = source_if_match}));
  if (size == 0 || offset > object->bytes.size() || size > object->bytes.size() - offset) {
    return fail(ErrorCode::kInvalid, uri() + ": the copied range is not inside " + std::string(source));
  }
  StagedPart& part = upload->parts[number];
  part = {object->bytes.substr(offset, size), new_etag()};
  return Part{number, part.etag, size, checksum_of(part.bytes)};
}

Result<Etag> MemUfs::complete_multipart(std::string_view key, std::string_view upload_id,
                                        const std::vector<Part>& parts, const Conditions& conditions,
                                        Deadline deadline) {
  TRY(admit(key, deadline));
  TRY(check_conditions(conditions));
  std::scoped_lock lock(mutex_);
  const auto found = objects_.find(key);
  if (found != objects_.end() && found->second.upload_id == upload_id) return found->second.etag;
  TRY_ASSIGN(Upload * upload, load_upload(key, upload_id));
  TRY(check_parts(parts, 0));
  Object object{"", upload->attributes, "", options_.clock->wall_now(), std::string(upload_id)};
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto staged = upload->parts.find(parts[i].number);
    if (staged == upload->parts.end() || staged->second.etag != parts[i].etag ||
        (!parts[i].checksum.empty() && parts[i].checksum != checksum_of(staged->second.bytes))) {
      return fail(ErrorCode::kInvalid, uri() + ": part " + std::to_string(parts[i].number) + " was not uploaded so");
    }
    if (i + 1 < parts.size() && staged->second.bytes.size() < options_.part_bytes_min) {
      return fail(ErrorCode::kInvalid, uri() + ": part " + std::to_string(parts[i].number) + " is too small");
    }
    object.bytes += staged->second.bytes;
  }
  TRY(check(key, conditions));
  object.etag = new_etag();
  const Etag etag = object.etag;
  objects_.insert_or_assign(std::string(key), std::move(object));
  uploads_.erase(uploads_.find(upload_id));
  return etag;
}

Result<void> MemUfs::abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) {
  TRY(admit(key, deadline));
  std::scoped_lock lock(mutex_);
  const auto found = uploads_.find(upload_id);
  if (found != uploads_.end() && found->second.key == key) uploads_.erase(found);
  return {};
}

Result<std::vector<Part>> MemUfs::list_parts(std::string_view key, std::string_view upload_id, Deadline deadline) {
  TRY(admit(key, deadline));
  std::scoped_lock lock(mutex_);
  TRY_ASSIGN(const Upload* upload, load_upload(key, upload_id));
  std::vector<Part> parts;
  for (const auto& [number, part] : upload->parts) {
    parts.push_back({number, part.etag, part.bytes.size(), checksum_of(part.bytes)});
  }
  return parts;
}

Result<std::vector<UploadInfo>> MemUfs::list_uploads(std::string_view prefix, Deadline deadline) {
  TRY(admit("uploads", deadline));
  std::scoped_lock lock(mutex_);
  std::vector<UploadInfo> uploads;
  for (const auto& [id, upload] : uploads_) {
    if (upload.key.starts_with(prefix)) uploads.push_back({upload.key, id, upload.started});
  }
  std::ranges::sort(uploads, {}, [](const UploadInfo& u) { return std::tie(u.key, u.upload_id); });
  return uploads;
}

Result<Etag> MemUfs::copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                          Deadline deadline) {
  TRY(admit(source, deadline));
  TRY(check_key(options_.prefix, destination));
  if (options.attributes) TRY(check_attributes(*options.attributes));
  std::scoped_lock lock(mutex_);
  TRY_ASSIGN(const Object* from, load(source));
  TRY(check(source, {.if_match = options.source_if_match}));
  TRY(check(destination, options.conditions));
  if (source == destination && !options.attributes) {
    return fail(ErrorCode::kInvalid, uri() + ": a copy of an object onto itself must change its attributes");
  }
  Object object{from->bytes, options.attributes.value_or(from->attributes), new_etag(), options_.clock->wall_now()};
  const Etag etag = object.etag;
  objects_.insert_or_assign(std::string(destination), std::move(object));
  return etag;
}

Result<void> MemUfs::erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) {
  TRY(admit(key, deadline));
  std::scoped_lock lock(mutex_);
  const auto found = objects_.find(key);
  if (found == objects_.end()) return {};
  TRY(check(key, {.if_match = if_match}));
  objects_.erase(found);
  return {};
}

Result<std::vector<Result<void>>> MemUfs::erase_batch(const std::vector<std::string>& keys, Deadline deadline) {
  if (keys.size() > kEraseBatchMax) return fail(ErrorCode::kInvalid, "more than 1000 keys in one batch");
  std::vector<Result<void>> results;
  for (const std::string& key : keys) results.push_back(erase(key, std::nullopt, deadline));
  return results;
}

Result<ListPage> MemUfs::list(const ListRequest& request, Deadline deadline) {
  TRY(admit("list", deadline));
  std::scoped_lock lock(mutex_);
  const uint32_t keys_max = std::clamp<uint32_t>(request.keys_max, 1, 1'000);
  ListPage page;
  // A token is "k" + the last key, or "p" + the last common prefix, of the page before.
  std::string skipped_prefix;
  auto at = objects_.lower_bound(request.prefix);
  const auto skip_to = [&](std::string_view key) {
    if (key >= request.prefix) at = objects_.upper_bound(key);
  };
  if (!request.token.empty()) {
    if (request.token[0] == 'p') skipped_prefix = request.token.substr(1);
    skip_to(std::string_view(request.token).substr(1));
  } else if (!request.start_after.empty()) {
    skip_to(request.start_after);
  }
  std::string last;
  for (; at != objects_.end() && at->first.starts_with(request.prefix); ++at) {
    const std::string& key = at->first;
    if (!skipped_prefix.empty() && key.starts_with(skipped_prefix)) continue;
    const size_t end =
        request.delimiter.empty() ? std::string::npos : key.find(request.delimiter, request.prefix.size());
    if (page.objects.size() + page.prefixes.size() == keys_max) {
      page.token = last;
      break;
    }
    if (end != std::string::npos) {
      skipped_prefix = key.substr(0, end + request.delimiter.size());
      // A start inside a common prefix shows the prefix only when keys below it remain, as S3 does.
      page.prefixes.push_back(skipped_prefix);
      last = "p" + skipped_prefix;
    } else {
      page.objects.push_back(info_of(key, at->second));
      last = "k" + key;
    }
  }
  return page;
}

}  // namespace weir::testing
