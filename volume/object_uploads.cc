#include <algorithm>
#include <iterator>
#include <utility>

#include "base/failpoint.h"
#include "base/log.h"
#include "base/no_wait.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "volume/local_objects.h"
#include "volume/object_checksum.h"
#include "volume/object_errors.h"
#include "volume/object_facts.h"
#include "volume/write_out.h"

namespace weir::volume {
namespace {

// Places beyond are not used: file systems end somewhere.
constexpr uint64_t kAssemblyBytesMax = uint64_t{1} << 43;
constexpr uint64_t kCopyStepBytes = 64 << 20;

Error no_upload(const ObjectName& name) {
  return Error(ErrorCode::kNotFound, std::string(kNoUpload) + " of '" + name.key + "'");
}

Error wrong_parts(std::string_view what, uint32_t number) {
  return Error(ErrorCode::kInvalid, std::string(what) + ": number " + std::to_string(number));
}

bool is_ended(const Result<meta::ObjectNamespace::Upload>& upload) { return !upload && is_no_upload(upload.error()); }

// MD5 of the parts' MD5s, with their count.
Result<std::string> etag_of_parts(const std::vector<format::ObjectPart>& parts) {
  net::Hasher<net::Md5> hasher;
  for (const auto& part : parts) {
    const auto digest = net::unhex(part.etag());
    if (!digest) return fail(wrong_parts(kInvalidPart, part.number()));
    hasher.add(net::bytes_of(*digest));
  }
  return net::hex(hasher.finish()) + "-" + std::to_string(parts.size());
}

ObjectUpload upload_of(const meta::ObjectNamespace::Upload& upload) {
  const format::ObjectFacts& facts = upload.record.facts();
  return {.key = upload.key,
          .upload_id = upload.upload_id,
          .started_ns = upload.record.started_ns(),
          .options = {.headers = headers_of(facts),
                      .tags = tags_of(facts),
                      .checksum_algorithm = algorithm_of(facts.checksum_algorithm()),
                      .checksum_type = facts.checksum_composite() ? ChecksumType::kComposite : ChecksumType::kFullObject}};
}

}  // namespace

// Writes to the part's place in the assembly file, or to a file of its own.
class LocalPartWriter final : public PartWriter {
 public:
  LocalPartWriter(LocalObjects& objects, ObjectName name, std::string upload_id, uint32_t number,
                  std::shared_ptr<LocalObjects::Upload> shared)
      : objects_(objects), name_(std::move(name)), upload_id_(std::move(upload_id)), number_(number), shared_(std::move(shared)) {}

  ~LocalPartWriter() override {
    if (!place_) return;
    const std::lock_guard lock(shared_->mutex);
    shared_->busy_places.erase(number_);
  }

  // Takes the place, which is the writer's for as long as it lives.
  void use_place(std::shared_ptr<pages::LocalFile> assembly, uint64_t offset, uint64_t size) {
    assembly_ = std::move(assembly);
    offset_ = offset;
    place_ = size;
    write_out_ = WriteOut(offset);
  }
  void use_file(NewFile file) { file_.emplace(std::move(file)); }

  Result<void> write(std::span<const std::byte> bytes) override {
    if (place_ && size_ + bytes.size() > *place_)
      return fail(ErrorCode::kInvalid, "the part is longer than was said: over " + std::to_string(*place_) + " bytes");
    objects_.parts_.foreground.note_content(bytes.size());
    TRY(objects_.parts_.pages.admit(bytes.size(), objects_.options_.admit_slow_max));
    if (place_) {
      // Whoever ends the upload keeps this file from being written from then on.
      const std::shared_lock gate(shared_->gate);
      if (shared_->ended) return fail(no_upload(name_));
      TRY(assembly_->write(offset_ + size_, bytes));
      write_out_.filled(assembly_->file(), offset_ + size_ + bytes.size());
    } else {
      TRY((*file_)->write(size_, bytes));
      write_out_.filled((*file_)->file(), size_ + bytes.size());
    }
    size_ += bytes.size();
    return {};
  }

  Result<ObjectPart> commit(std::string_view etag, const std::optional<ObjectChecksum>& checksum,
                            ObjectDurability durability) override {
    if (committed_) return fail(ErrorCode::kInvalid, "the part was committed already");
    committed_ = true;
    pages::LocalFile& local = place_ ? *assembly_ : **file_;
    if (durability != ObjectDurability::kWrite) TRY(local.sync());
    objects_.parts_.pages.account(local.id());
    TRY(failpoint("objects.part_synced"));
    format::ObjectPart part;
    part.set_number(number_);
    part.set_size(size_);
    part.set_etag(std::string(etag));
    if (durability == ObjectDurability::kWrite) {
      part.set_flush_epoch(objects_.parts_.names.flush_epoch());
      objects_.parts_.names.note_unsynced(part.flush_epoch());
    }
    if (place_) {
      part.set_offset(offset_);
    } else {
      part.set_local_file(local.id().value());
    }
    if (checksum) {
      part.set_checksum_algorithm(to_record(checksum->algorithm));
      part.set_checksum(checksum->value);
    }
    const std::shared_lock gate(shared_->gate);
    const auto committed =
        objects_.objects_.commit_part(name_.bucket, name_.key, upload_id_, part, durability_of(durability));
    if (file_ && (committed.has_value() || committed.error() == ErrorCode::kMayHaveHappened)) file_->give_away();
    TRY(committed);
    TRY(failpoint("objects.part_committed"));
    if (committed->replaced != LocalFileId(0)) objects_.parts_.pages.remove(committed->replaced);
    return part_of(committed->part);
  }

 private:
  LocalObjects& objects_;
  const ObjectName name_;
  const std::string upload_id_;
  const uint32_t number_;
  const std::shared_ptr<LocalObjects::Upload> shared_;
  std::shared_ptr<pages::LocalFile> assembly_;
  std::optional<uint64_t> place_;  // its bytes
  uint64_t offset_ = 0;
  std::optional<NewFile> file_;
  WriteOut write_out_;
  uint64_t size_ = 0;
  bool committed_ = false;
};

std::shared_ptr<LocalObjects::Upload> LocalObjects::shared_upload(uint64_t id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(uploads_, [](const auto& entry) { return entry.second.expired(); });
  std::weak_ptr<Upload>& known = uploads_[id];
  auto shared = known.lock();
  if (!shared) {
    shared = std::make_shared<Upload>();
    known = shared;
  }
  return shared;
}

Result<std::string> LocalObjects::create_upload(const ObjectName& name, const UploadOptions& options) {
  TRY(locate(name, meta::WithFacts::kNo));
  format::ObjectFacts facts = volume::to_record(options.headers, options.tags, {});
  if (options.checksum_algorithm) {
    facts.set_checksum_algorithm(volume::to_record(*options.checksum_algorithm));
    facts.set_checksum_composite(options.checksum_type == ChecksumType::kComposite);
  }
  TRY_ASSIGN(auto upload, objects_.create_upload(name.bucket, name.key, facts));
  return std::move(upload.upload_id);
}

Result<ObjectUpload> LocalObjects::find_upload(const ObjectName& name, std::string_view upload_id) {
  TRY_ASSIGN(const auto upload, objects_.find_upload(name.bucket, name.key, upload_id));
  return upload_of(upload);
}

Result<std::unique_ptr<PartWriter>> LocalObjects::put_part(const ObjectName& name, std::string_view upload_id,
                                                           uint32_t number, std::optional<uint64_t> size) {
  if (number == 0 || number > kObjectPartsMax) return fail(ErrorCode::kInvalid, "parts have numbers from 1 to 10,000");
  TRY_ASSIGN(auto upload, objects_.find_upload(name.bucket, name.key, upload_id));
  const auto shared = shared_upload(upload.record.id());
  auto writer = std::make_unique<LocalPartWriter>(*this, name, std::string(upload_id), number, shared);
  if (size && *size != 0) {
    const std::shared_lock gate(shared->gate);
    const std::lock_guard lock(shared->mutex);
    TRY_ASSIGN(const LocalFileId assembly, assembly_of(name, upload, *size));
    const uint64_t stride = upload.record.stride();
    const bool has_place = *size <= stride && number <= kAssemblyBytesMax / stride && !shared->busy_places.contains(number);
    // An accepted part's place is not written again: what is put again may fail.
    TRY_ASSIGN(const auto accepted, objects_.find_part(upload, number));
    if (has_place && !accepted) {
      TRY_ASSIGN(auto local, parts_.pages.open(assembly));
      shared->busy_places.insert(number);
      writer->use_place(std::move(local), (number - 1) * stride, *size);
      return writer;
    }
  }
  TRY_ASSIGN(auto file, make_local_file());
  writer->use_file(std::move(file));
  return writer;
}

Result<LocalFileId> LocalObjects::assembly_of(const ObjectName& name, meta::ObjectNamespace::Upload& upload,
                                              uint64_t part_bytes) {
  if (upload.record.assembly_file() == 0) {
    TRY_ASSIGN(auto file, make_local_file());
    auto set = objects_.set_assembly(name.bucket, name.key, upload.upload_id, file->id(), part_bytes);
    const bool taken = set ? LocalFileId(set->record.assembly_file()) == file->id()
                           : set.error() == ErrorCode::kMayHaveHappened;
    if (taken) file.give_away();
    TRY(set);
    upload = *std::move(set);
  }
  return LocalFileId(upload.record.assembly_file());
}

Result<Object> LocalObjects::completed_before(const ObjectName& name, std::string_view upload_id) {
  const auto found = locate_object(name);
  if (failed_with(found, ErrorCode::kNotFound)) return fail(is_no_bucket(found.error()) ? found.error() : no_upload(name));
  TRY(found);
  if (found->facts.upload_id() != upload_id || upload_id.empty()) return fail(no_upload(name));
  return object_of(name.key, *found->inode, found->facts);
}

Result<LocalObjects::Chosen> LocalObjects::choose_parts(const std::vector<format::ObjectPart>& accepted,
                                                        const CompleteOptions& options) const {
  if (options.parts.empty()) return fail(ErrorCode::kInvalid, "an object has at least one part");
  Chosen chosen;
  uint64_t size = 0;
  for (const CompletedPart& wanted : options.parts) {
    if (!chosen.empty() && wanted.number <= chosen.back().number())
      return fail(wrong_parts(kInvalidPartOrder, wanted.number));
    const auto part = std::ranges::lower_bound(accepted, wanted.number, {}, &format::ObjectPart::number);
    if (part == accepted.end() || part->number() != wanted.number || part->etag() != wanted.etag ||
        (wanted.checksum && *wanted.checksum != part->checksum()))
      return fail(wrong_parts(kInvalidPart, wanted.number));
    if (!chosen.empty() && chosen.back().size() < kObjectPartBytesMin)
      return fail(wrong_parts(kEntityTooSmall, chosen.back().number()));
    chosen.push_back(*part);
    size += part->size();
  }
  if (options.size && *options.size != size) {
    return fail(ErrorCode::kInvalid, "the parts come to " + std::to_string(size) + " bytes, not to " +
                                         std::to_string(*options.size));
  }
  return chosen;
}

Result<void> LocalObjects::copy_bytes(const io::File& from, uint64_t from_offset, const io::File& to, uint64_t offset,
                                      uint64_t size) {
  for (uint64_t done = 0; done < size;) {
    const uint64_t step = std::min(kCopyStepBytes, size - done);
    TRY(parts_.pages.admit(step, options_.admit_slow_max));
    TRY_ASSIGN(const uint64_t copied, to.copy_range(from, from_offset + done, offset + done, step));
    if (copied != step) return fail(ErrorCode::kIo, "a local file is shorter than it was");
    done += step;
  }
  return {};
}

Result<LocalObjects::Assembled> LocalObjects::assemble(const meta::ObjectNamespace::Upload& upload, const Upload& shared,
                                                       const std::vector<format::ObjectPart>& accepted,
                                                       const Chosen& chosen) {
  Assembled assembled;
  if (chosen.size() == 1 && chosen.front().local_file() != 0) {
    TRY_ASSIGN(assembled.local, parts_.pages.open(LocalFileId(chosen.front().local_file())));
    return assembled;
  }
  uint64_t size = 0;
  uint64_t copied_bytes = 0;
  // The assembly file becomes the object's if each part in it lies where it belongs, and if nothing in it is still wanted when
  // the object cannot be put after all.
  bool in_place = upload.record.assembly_file() != 0 && shared.busy_places.empty() && accepted.size() == chosen.size();
  for (const auto& part : chosen) {
    if (part.local_file() != 0) {
      copied_bytes += part.size();
    } else {
      in_place = in_place && part.offset() == size;
    }
    size += part.size();
  }
  if ((in_place ? copied_bytes : size) > kCopiedAtOnceMax) TRY(NoWait::check());
  std::shared_ptr<pages::LocalFile> assembly;
  if (upload.record.assembly_file() != 0) {
    TRY_ASSIGN(assembly, parts_.pages.open(LocalFileId(upload.record.assembly_file())));
  }
  if (in_place) {
    assembled.local = assembly;
  } else {
    TRY_ASSIGN(auto made, make_local_file());
    assembled.local = made.shared();
    assembled.made.emplace(std::move(made));
  }
  const io::File& to = assembled.local->file();
  uint64_t offset = 0;
  for (const auto& part : chosen) {
    if (part.local_file() != 0) {
      TRY_ASSIGN(const auto from, parts_.pages.open(LocalFileId(part.local_file())));
      TRY(copy_bytes(from->file(), 0, to, offset, part.size()));
    } else if (!in_place) {
      TRY(copy_bytes(assembly->file(), part.offset(), to, offset, part.size()));
    }
    offset += part.size();
    TRY(failpoint("objects.part_joined"));
  }
  TRY(to.truncate(size));
  return assembled;
}

Result<Object> LocalObjects::complete_upload(const ObjectName& name, std::string_view upload_id,
                                             const CompleteOptions& options) {
  TRY(check_wait(name, options.durability));
  auto upload = objects_.find_upload(name.bucket, name.key, upload_id);
  if (is_ended(upload)) return completed_before(name, upload_id);
  TRY(upload);
  const auto shared = shared_upload(upload->record.id());
  const std::unique_lock gate(shared->gate);
  upload = objects_.find_upload(name.bucket, name.key, upload_id);
  if (is_ended(upload)) return completed_before(name, upload_id);
  TRY(upload);
  TRY_ASSIGN(const auto accepted, objects_.upload_parts(*upload, 0, kObjectPartsMax));
  TRY_ASSIGN(Chosen chosen, choose_parts(accepted, options));

  const format::ObjectFacts& record = upload->record.facts();
  PutFacts facts{.headers = headers_of(record), .tags = tags_of(record)};
  TRY_ASSIGN(facts.etag, etag_of_parts(chosen));
  if (const auto algorithm = algorithm_of(record.checksum_algorithm())) {
    const auto type = record.checksum_composite() ? ChecksumType::kComposite : ChecksumType::kFullObject;
    std::vector<SummedPart> summed;
    for (const auto& part : chosen) {
      if (algorithm_of(part.checksum_algorithm()) == algorithm) summed.push_back({part.size(), part.checksum()});
    }
    if (summed.size() == chosen.size()) {
      if (auto value = combine_checksums(*algorithm, type, summed))
        facts.checksum = ObjectChecksum{.algorithm = *algorithm, .type = type, .value = *std::move(value)};
    }
  }
  TRY_ASSIGN(Assembled assembled, assemble(*upload, *shared, accepted, chosen));
  TRY(failpoint("objects.assembled"));
  uint64_t size = 0;
  for (const auto& part : chosen) size += part.size();
  if (options.checksum && options.checksum->type == ChecksumType::kFullObject &&
      (!facts.checksum || facts.checksum->algorithm != options.checksum->algorithm)) {
    if (size > kCopiedAtOnceMax) TRY(NoWait::check());
    TRY_ASSIGN(auto value, checksum_of(assembled.local->file(), size, options.checksum->algorithm));
    facts.checksum = ObjectChecksum{.algorithm = options.checksum->algorithm, .value = std::move(value)};
  }
  if (options.checksum && facts.checksum != options.checksum) {
    return fail(ErrorCode::kCorrupt, "the checksum of the whole is " +
                                         (facts.checksum ? facts.checksum->value : std::string("not known")));
  }

  std::vector<LocalFileId> files;
  if (upload->record.assembly_file() != 0) files.emplace_back(upload->record.assembly_file());
  for (const auto& part : accepted) {
    if (part.local_file() != 0) files.emplace_back(part.local_file());
  }
  meta::ObjectPut::Upload ending{.id = std::string(upload_id), .parts = std::move(chosen)};
  uint64_t offset = 0;
  for (auto& part : ending.parts) {
    part.set_offset(std::exchange(offset, offset + part.size()));
    part.clear_local_file();
    part.clear_flush_epoch();
  }
  NewFile* const made = assembled.made ? &*assembled.made : nullptr;
  auto object = commit(name, {.local = *assembled.local, .made = made}, facts, options.conditions, options.durability, std::move(ending));
  // The upload is over also when the object was put and could not be persisted.
  if (object || is_ended(objects_.find_upload(name.bucket, name.key, upload_id))) {
    shared->ended = true;
    for (const LocalFileId file : files) {
      if (file != assembled.local->id()) parts_.pages.remove(file);
    }
  }
  return object;
}

Result<void> LocalObjects::abort_upload(const ObjectName& name, std::string_view upload_id) {
  TRY_ASSIGN(const auto upload, objects_.find_upload(name.bucket, name.key, upload_id));
  const auto shared = shared_upload(upload.record.id());
  const std::unique_lock gate(shared->gate);
  TRY_ASSIGN(const auto files, objects_.abort_upload(name.bucket, name.key, upload_id));
  shared->ended = true;
  for (const LocalFileId file : files) parts_.pages.remove(file);
  return {};
}

Result<std::vector<ObjectPart>> LocalObjects::upload_parts(const ObjectName& name, std::string_view upload_id,
                                                           uint32_t after, size_t parts_max) {
  TRY_ASSIGN(const auto upload, objects_.find_upload(name.bucket, name.key, upload_id));
  TRY_ASSIGN(const auto records, objects_.upload_parts(upload, after, parts_max));
  std::vector<ObjectPart> parts;
  for (const auto& record : records) parts.push_back(part_of(record));
  return parts;
}

Result<std::vector<ObjectUpload>> LocalObjects::uploads(std::string_view bucket, std::string_view prefix,
                                                        std::string_view key_after, std::string_view id_after,
                                                        size_t uploads_max) {
  TRY_ASSIGN(const auto found, objects_.uploads(bucket, prefix, key_after, id_after, uploads_max));
  std::vector<ObjectUpload> uploads;
  for (const auto& upload : found) uploads.push_back(upload_of(upload));
  return uploads;
}

void LocalObjects::abort_abandoned_uploads() {
  const auto mounts = parts_.names.mounts();
  if (!mounts) return;
  const int64_t begun_before_ns = unix_ns(parts_.names.clock().wall_now()) - options_.objects.upload_abandoned_after.count();
  std::vector<std::pair<ObjectName, std::string>> abandoned;
  const auto looked = objects_.for_each_upload([&](MountId mount, const meta::ObjectNamespace::Upload& upload) -> Result<void> {
    const auto it = std::ranges::find(*mounts, mount.value(), &format::Mount::id);
    if (it != mounts->end() && upload.record.started_ns() < begun_before_ns)
      abandoned.emplace_back(ObjectName{it->name(), upload.key}, upload.upload_id);
    return {};
  });
  if (!looked) log_warn("objects.upload_scan_failed", {{"error", looked.error()}});
  for (const auto& [name, upload_id] : abandoned) {
    if (!abort_upload(name, upload_id)) continue;
    ++abandoned_uploads_;
    log_info("objects.upload_abandoned", {{"bucket", name.bucket}, {"key", name.key}, {"upload", upload_id}});
  }
}

}  // namespace weir::volume
