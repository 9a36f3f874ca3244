#include "persist/uploader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "base/failpoint.h"
#include "base/log.h"
#include "meta/object_attributes.h"
#include "net/checksum.h"
#include "net/digest.h"

namespace weir::persist {
namespace {

// A part's size is a multiple of this, so that pages never straddle parts.
constexpr uint64_t kPartGranuleBytes = 1 << 20;

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

struct Buffer {
  explicit Buffer(size_t size) : bytes(std::make_unique_for_overwrite<std::byte[]>(size)), span(bytes.get(), size) {}
  std::unique_ptr<std::byte[]> bytes;
  std::span<std::byte> span;
};

}  // namespace

uint64_t part_bytes_for(uint64_t file_bytes, uint64_t part_bytes) {
  const uint64_t least = (file_bytes + ufs::kPartsMax - 1) / ufs::kPartsMax;
  if (least <= part_bytes) return part_bytes;
  return (least + kPartGranuleBytes - 1) / kPartGranuleBytes * kPartGranuleBytes;
}

// What shows that the bytes read are the claimed generation's.
class Uploader::Proof {
 public:
  static Result<Proof> begin(meta::Namespace& names, pages::PageStore& pages, const meta::Claim& claim,
                             const pages::LocalFile& file) {
    Proof proof(names, pages, claim, file);
    if (claim.open_for_write) {
      TRY_ASSIGN(proof.stamp_, pages.stamp(file));
      if (proof.stamp_.ctime_ns != claim.inode.content_ctime_ns() || proof.stamp_.size_bytes != claim.inode.size())
        return fail(ErrorCode::kBusy, "the file is being written");
      return proof;
    }
    TRY_ASSIGN(const io::FileStat stat, file.file().stat());
    proof.stamp_ = {stat.ctime_ns, stat.mtime_ns, stat.size_bytes};
    if (stat.size_bytes != claim.inode.size()) {
      TRY(proof.check());
      return fail(ErrorCode::kCorrupt, "the local file has " + std::to_string(stat.size_bytes) + " bytes, " +
                                           std::to_string(claim.inode.size()) + " were committed");
    }
    return proof;
  }

  // kBusy: what was read since begin() may be no committed state.
  Result<void> check() const {
    TRY(check_generation());
    if (!claim_.open_for_write) return {};
    TRY_ASSIGN(const pages::ContentStamp stamp, pages_.stamp(file_));
    if (stamp != stamp_) return fail(ErrorCode::kBusy, "the file was written while it was read");
    return {};
  }

  // A cheap necessary condition, for giving up early.
  Result<void> check_generation() const {
    const auto inode = names_.load(InodeId(claim_.inode.id()));
    if (failed_with(inode, ErrorCode::kNotFound)) return fail(ErrorCode::kBusy, "the file was removed");
    if (!inode) return fail(ErrorCode::kIo, inode.error().to_string());
    if (inode->generation() != claim_.inode.generation()) return fail(ErrorCode::kBusy, "the file was written again");
    return {};
  }

  const pages::ContentStamp& stamp() const { return stamp_; }

 private:
  Proof(meta::Namespace& names, pages::PageStore& pages, const meta::Claim& claim, const pages::LocalFile& file)
      : names_(names), pages_(pages), claim_(claim), file_(file) {}

  meta::Namespace& names_;
  pages::PageStore& pages_;
  const meta::Claim& claim_;
  const pages::LocalFile& file_;
  pages::ContentStamp stamp_;
};

struct Uploader::Multipart {
  std::string id;
  uint64_t part_bytes = 0;
  uint64_t file_bytes = 0;
  bool in_whole_pages = true;       // each part
  std::vector<uint32_t> page_crcs;  // of the whole file if `in_whole_pages`
  std::string digests;              // of the parts, once they were read
  std::optional<meta::PartDigests> home_digests;
  std::atomic<bool> home_copies = true;  // the store copies parts of the home

  std::mutex mutex;                       // a leaf; below
  std::map<uint32_t, ufs::Part> parts;    // that are there
  std::optional<Error> error;             // the first one

  uint32_t count() const { return static_cast<uint32_t>((file_bytes + part_bytes - 1) / part_bytes); }
  uint64_t offset_of(uint32_t number) const { return uint64_t{number - 1} * part_bytes; }
  uint64_t size_of(uint32_t number) const { return std::min(part_bytes, file_bytes - offset_of(number)); }

  char* digest_of(uint32_t number) { return &digests[(number - 1) * meta::PartDigests::kDigestBytes]; }
  // Whether the home has the same bytes at the part's place.
  bool unchanged(uint32_t number) {
    if (!home_digests || home_digests->part_bytes != part_bytes || offset_of(number) >= home_digests->size_bytes ||
        std::min(part_bytes, home_digests->size_bytes - offset_of(number)) != size_of(number))
      return false;
    const size_t at = (number - 1) * meta::PartDigests::kDigestBytes;
    return std::memcmp(digest_of(number), &home_digests->digests[at], meta::PartDigests::kDigestBytes) == 0;
  }

  bool failed() {
    std::lock_guard lock(mutex);
    return error.has_value();
  }
  void fail_with(Error reason) {
    std::lock_guard lock(mutex);
    if (!error) error = std::move(reason);
  }
  bool has(uint32_t number) {
    std::lock_guard lock(mutex);
    return parts.contains(number);
  }
  void add(ufs::Part part) {
    std::lock_guard lock(mutex);
    const uint32_t number = part.number;
    parts[number] = std::move(part);
  }
};

Result<Uploader::Uploaded> Uploader::upload_record(const meta::Claim& claim,
                                                   const ufs::ObjectAttributes& attributes, ufs::UnderStore& store) {
  std::string body;
  if (claim.inode.type() == format::SYMLINK) body = meta::encode_symlink(claim.inode.symlink_target());
  const auto put = [&](const ufs::Conditions& conditions) {
    return store.put(claim.key, bytes_of(body), {attributes, conditions}, deadlines_.reply());
  };
  TRY_ASSIGN(auto published, publisher_.publish(claim, attributes, store, body.size(), put));
  return Uploaded{std::move(published), body.size(), std::nullopt};
}

Result<Uploader::Uploaded> Uploader::upload_file(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                                 ufs::UnderStore& store, Activity::Attempt& attempt) {
  const LocalFileId id(claim.inode.local_file());
  if (id == LocalFileId(0)) return fail(ErrorCode::kNotFound, "no local file");
  TRY_ASSIGN(const auto file, pages_.open(id));
  if (const auto verified = file->verify(); failed_with(verified, ErrorCode::kCorrupt)) {
    return fail(report_rot(claim, verified.error()));
  } else {
    TRY(verified);
  }
  if (!file->complete() && claim.inode.partial()) return fail(ErrorCode::kBusy, "pages of the file are absent");
  if (!file->complete()) return fail(ErrorCode::kNotFound, "the local file is not complete");
  const auto begun = Proof::begin(names_, pages_, claim, *file);
  if (failed_with(begun, ErrorCode::kCorrupt)) return fail(report_rot(claim, begun.error()));
  TRY(begun);
  const Proof& proof = *begun;
  attempt.phase = Phase::kUploading;
  attempt.uploaded_bytes = 0;
  if (proof.stamp().size_bytes <= options_.part_bytes)
    return upload_whole(claim, attributes, store, *file, proof, attempt);
  return upload_parts(claim, attributes, store, *file, proof, attempt);
}

Result<Uploader::Uploaded> Uploader::upload_whole(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                                  ufs::UnderStore& store, pages::LocalFile& file, const Proof& proof,
                                                  Activity::Attempt& attempt) {
  const uint64_t size = proof.stamp().size_bytes;
  const Buffer buffer(size);
  TRY(read_local(claim, file, 0, buffer.span));
  TRY(failpoint("persist.read"));
  TRY(proof.check());

  const auto put = [&](const ufs::Conditions& conditions) {
    return store.put(claim.key, buffer.span, {attributes, conditions}, deadlines_.transfer(size));
  };
  TRY_ASSIGN(auto published, publisher_.publish(claim, attributes, store, size, put));
  attempt.uploaded_bytes = size;

  std::vector<uint32_t> crcs;
  for (uint64_t offset = 0; offset < size; offset += pages_.page_bytes())
    crcs.push_back(net::crc32c(buffer.span.subspan(offset, std::min(pages_.page_bytes(), size - offset))));
  record_checksums(file, proof, crcs);
  return Uploaded{std::move(published), size, std::nullopt};
}

Result<Uploader::Uploaded> Uploader::upload_parts(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                                  ufs::UnderStore& store, pages::LocalFile& file, const Proof& proof,
                                                  Activity::Attempt& attempt) {
  Multipart upload;
  TRY(open_multipart(claim, attributes, store, proof, upload));
  const auto sent = send_missing_parts(claim, store, file, proof, upload, attempt);
  if (failed_with(sent, ErrorCode::kNotFound)) return fail(forget_upload(claim, upload.id));
  const auto proven = sent ? proof.check() : sent;
  if (failed_with(proven, ErrorCode::kBusy)) {
    // The content is history: so are its parts.
    (void)store.abort_multipart(claim.key, upload.id, deadlines_.reply());
    (void)names_.put_progress(InodeId(claim.inode.id()), {});
  }
  TRY(proven);
  TRY(failpoint("persist.parts_sent"));

  std::vector<ufs::Part> parts;
  for (auto& [number, part] : upload.parts) parts.push_back(part);
  const auto complete = [&](const ufs::Conditions& conditions) {
    return store.complete_multipart(claim.key, upload.id, parts, conditions, deadlines_.copy(upload.file_bytes));
  };
  auto published = publisher_.publish(claim, attributes, store, upload.file_bytes, complete);
  // Without its upload there is nothing to resume; with it, the next attempt only has to complete it.
  if (failed_with(published, ErrorCode::kNotFound)) return fail(forget_upload(claim, upload.id));
  if (!published) return fail(std::move(published).error());
  if (!published->written) (void)store.abort_multipart(claim.key, upload.id, deadlines_.reply());
  if (upload.in_whole_pages) record_checksums(file, proof, upload.page_crcs);
  return Uploaded{*std::move(published), upload.file_bytes,
                  meta::PartDigests{upload.part_bytes, upload.file_bytes, std::move(upload.digests)}};
}

Result<void> Uploader::open_multipart(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                      ufs::UnderStore& store, const Proof& proof, Multipart& upload) {
  const InodeId inode(claim.inode.id());
  const pages::ContentStamp& stamp = proof.stamp();
  upload.file_bytes = stamp.size_bytes;
  upload.part_bytes = part_bytes_for(stamp.size_bytes, options_.part_bytes);
  upload.page_crcs.resize((upload.file_bytes + pages_.page_bytes() - 1) / pages_.page_bytes());
  upload.in_whole_pages = upload.part_bytes % pages_.page_bytes() == 0;
  upload.digests.resize(upload.count() * meta::PartDigests::kDigestBytes);
  if (auto known = names_.part_digests(claim.inode)) {
    upload.home_digests = *std::move(known);
  } else {
    log_warn("persist.digests_unreadable", {{"path", claim.path}, {"error", known.error()}});
  }

  const auto recorded = names_.progress(inode);
  format::Progress progress = recorded && *recorded ? **recorded : format::Progress();
  if (!progress.upload_id().empty()) {
    const bool same = progress.upload_key() == claim.key && progress.upload_mount() == claim.mount.value() &&
                      progress.upload_generation() == claim.inode.generation() &&
                      progress.upload_attributes_version() == claim.inode.attributes_version() &&
                      progress.part_bytes() == upload.part_bytes && progress.stamp_ctime_ns() == stamp.ctime_ns &&
                      progress.stamp_mtime_ns() == stamp.mtime_ns && progress.stamp_size() == stamp.size_bytes;
    if (same) {
      auto parts = store.list_parts(claim.key, progress.upload_id(), deadlines_.reply());
      if (parts) {
        upload.id = progress.upload_id();
        for (ufs::Part& part : *parts) {
          if (part.number < 1 || part.number > upload.count() || part.size_bytes != upload.size_of(part.number))
            continue;
          upload.parts[part.number] = std::move(part);
        }
        return {};
      }
      if (parts.error() != ErrorCode::kNotFound) return fail(parts.error());
    } else {
      abandon(progress, store);
    }
  }

  TRY(names_.expect_upload(claim.mount, claim.key));
  TRY_ASSIGN(upload.id, store.create_multipart(claim.key, attributes, deadlines_.reply()));
  TRY(failpoint("persist.multipart_created"));
  progress.set_upload_mount(claim.mount.value());
  progress.set_upload_key(claim.key);
  progress.set_upload_id(upload.id);
  progress.set_upload_generation(claim.inode.generation());
  progress.set_upload_attributes_version(claim.inode.attributes_version());
  progress.set_part_bytes(upload.part_bytes);
  progress.set_stamp_ctime_ns(stamp.ctime_ns);
  progress.set_stamp_mtime_ns(stamp.mtime_ns);
  progress.set_stamp_size(stamp.size_bytes);
  TRY(names_.put_progress(inode, progress));
  return failpoint("persist.multipart_recorded");
}

Result<void> Uploader::send_missing_parts(const meta::Claim& claim, ufs::UnderStore& store, pages::LocalFile& file,
                                          const Proof& proof, Multipart& upload, Activity::Attempt& attempt) {
  // Every part is read, also one that is there: its digest and checksums are wanted.
  const auto bring = [&](uint32_t number) -> Result<void> {
    if (deadlines_.stopping()) return fail(ErrorCode::kCancelled);
    TRY(proof.check_generation());
    const uint64_t offset = upload.offset_of(number);
    const Buffer buffer(upload.size_of(number));
    TRY(read_local(claim, file, offset, buffer.span));
    for (uint64_t at = 0; upload.in_whole_pages && at < buffer.span.size(); at += pages_.page_bytes()) {
      const auto page = buffer.span.subspan(at, std::min(pages_.page_bytes(), buffer.span.size() - at));
      upload.page_crcs[(offset + at) / pages_.page_bytes()] = net::crc32c(page);
    }
    const net::Sha256 digest = net::sha256(buffer.span);
    std::memcpy(upload.digest_of(number), digest.data(), meta::PartDigests::kDigestBytes);

    if (!upload.has(number)) {
      std::optional<ufs::Part> part;
      if (upload.unchanged(number) && upload.home_copies) {
        TRY_ASSIGN(part, copy_part(claim, store, upload, number));
      }
      if (!part) {
        TRY_ASSIGN(part, store.upload_part(claim.key, upload.id, number, buffer.span,
                                           deadlines_.transfer(buffer.span.size())));
      }
      TRY(failpoint("persist.part_sent"));
      upload.add(*std::move(part));
    }
    attempt.uploaded_bytes += buffer.span.size();
    return {};
  };

  {
    TaskGroup group(pool_, options_.parts_in_flight);
    for (uint32_t number = 1; number <= upload.count() && !upload.failed(); ++number) {
      group.run([&, number] {
        if (upload.failed()) return;
        if (auto brought = bring(number); !brought) upload.fail_with(std::move(brought).error());
      });
    }
  }
  if (upload.error) return fail(*upload.error);
  return {};
}

Result<std::optional<ufs::Part>> Uploader::copy_part(const meta::Claim& claim, ufs::UnderStore& store,
                                                     Multipart& upload, uint32_t number) {
  const format::Home& home = claim.inode.home();
  const uint64_t size = upload.size_of(number);
  auto part = store.upload_part_copy(claim.key, upload.id, number, home.key(), home.etag(), upload.offset_of(number),
                                     size, deadlines_.copy(size));
  if (part) return std::optional(*std::move(part));
  switch (part.error().code()) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kTimedOut:
    case ErrorCode::kCancelled:
      return fail(std::move(part).error());
    default:
      // The store cannot, or the home is not what it was: whatever it is, the bytes at hand are right.
      if (upload.home_copies.exchange(false))
        log_info("persist.parts_not_copied", {{"path", claim.path}, {"error", part.error()}});
      return std::optional<ufs::Part>{};
  }
}

Result<void> Uploader::read_local(const meta::Claim& claim, pages::LocalFile& file, uint64_t offset,
                                  std::span<std::byte> buffer) {
  const auto read = file.read(offset, buffer);
  if (failed_with(read, ErrorCode::kCorrupt)) return fail(report_rot(claim, read.error()));
  if (!read) return fail(read.error());
  if (*read != buffer.size()) return fail(ErrorCode::kBusy, "the local file became shorter while it was read");
  return {};
}

Error Uploader::report_rot(const meta::Claim& claim, const Error& error) {
  const auto reported = names_.report_corruption(InodeId(claim.inode.id()), LocalFileId(claim.inode.local_file()));
  log_error("persist.local_file_rotten",
            {{"path", claim.path}, {"local_file", claim.inode.local_file()}, {"error", error},
             {"quarantined", std::string_view(reported && reported->quarantined() ? "yes" : "no")}});
  return Error(ErrorCode::kIo, error.to_string());
}

Error Uploader::forget_upload(const meta::Claim& claim, const std::string& upload_id) {
  (void)names_.put_progress(InodeId(claim.inode.id()), {});
  return Error(ErrorCode::kBusy, "the multipart upload " + upload_id + " was ended by others");
}

void Uploader::abandon(const format::Progress& progress, ufs::UnderStore& store) {
  if (progress.upload_id().empty()) return;
  const auto aborted = store.abort_multipart(progress.upload_key(), progress.upload_id(), deadlines_.reply());
  if (!aborted) {
    log_warn("persist.upload_not_aborted",
             {{"store", store.uri()}, {"key", progress.upload_key()}, {"upload_id", progress.upload_id()},
              {"error", aborted.error()}});
  }
}

void Uploader::record_checksums(pages::LocalFile& file, const Proof& proof, std::span<const uint32_t> page_crcs) {
  if (page_crcs.empty()) return;
  const auto recorded = pages_.record_checksums(file, proof.stamp(), page_crcs);
  // The object is safe without them; the local copy is then fetched again when it cannot be trusted.
  if (!recorded) log_debug("persist.checksums_not_recorded", {{"local_file", file.id()}, {"error", recorded.error()}});
}

}  // namespace weir::persist
