// ufs/s3_ufs.h -- an UnderStore that is a bucket, or a prefix in one, of any store that speaks the S3 API.
//
// Bodies carry x-amz-checksum-crc32c, which AWS and MinIO verify before they answer; multipart uploads carry one for
// each part and all of them again when completed, or a signed SHA-256 of each part where the store cannot have both
// checksums and copied parts in one upload (MinIO). Reads are checked for length, and whole objects read in one call
// for the stored CRC32C, or the MD5 in the etag where probe() has seen that the store's etags are MD5s.
// Threads: as UnderStore. At most `http.connections_max` requests are on their way; the others wait.
#pragma once

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ufs/s3_client.h"
#include "ufs/under_store.h"

namespace weir::ufs {

class S3Ufs final : public UnderStore {
 public:
  // Sends nothing yet. Errors: kInvalid, with the property that is wrong.
  static Result<std::unique_ptr<S3Ufs>> create(S3Options options);

  std::string uri() const override { return client_->uri(); }
  Result<Capabilities> probe(Deadline deadline) override;
  Result<ObjectHead> head(std::string_view key, Deadline deadline) override;
  Result<size_t> get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                     const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info) override;
  Result<size_t> get_streaming(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                               const std::optional<Etag>& if_match, Deadline deadline, const Arrived& arrived) override;
  Result<Etag> put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                   Deadline deadline) override;
  Result<std::string> create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                       Deadline deadline) override;
  Result<Part> upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                           std::span<const std::byte> body, Deadline deadline) override;
  Result<Part> upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                std::string_view source, const std::optional<Etag>& source_if_match, uint64_t offset,
                                uint64_t size, Deadline deadline) override;
  Result<Etag> complete_multipart(std::string_view key, std::string_view upload_id, const std::vector<Part>& parts,
                                  const Conditions& conditions, Deadline deadline) override;
  Result<void> abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) override;
  Result<std::vector<Part>> list_parts(std::string_view key, std::string_view upload_id, Deadline deadline) override;
  Result<std::vector<UploadInfo>> list_uploads(std::string_view prefix, Deadline deadline) override;
  Result<Etag> copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                    Deadline deadline) override;
  Result<void> erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) override;
  Result<std::vector<Result<void>>> erase_batch(const std::vector<std::string>& keys, Deadline deadline) override;
  Result<ListPage> list(const ListRequest& request, Deadline deadline) override;
  void stop() override { client_->stop(); }

  net::HttpCounters counters() const { return client_->counters(); }

 private:
  struct StoredObject;

  explicit S3Ufs(std::unique_ptr<S3Client> client) : client_(std::move(client)) {}

  const std::string& prefix() const { return client_->options().prefix; }
  // Of a key that check() takes.
  std::string full_key(std::string_view key) const;
  Result<void> check(std::string_view key) const;
  // What is left behind the prefix, as the store writes it.
  std::string relative_key(std::string full) const { return full.substr(std::min(prefix().size(), full.size())); }
  // One page of what lies below the store's own prefix `stored`, called `shown` in its place.
  Result<ListPage> list_stored(const ListRequest& wanted, const std::string& stored, std::string_view shown,
                               std::string_view token, Deadline deadline);

  // get() and get_streaming(); `arrived` and `info` may be empty.
  Result<size_t> get_range(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                           const std::optional<Etag>& if_match, Deadline deadline, const Arrived& arrived, ObjectInfo* info);
  Result<StoredObject> load(std::string_view key, Deadline deadline);
  Result<void> confirm_bucket(Deadline deadline);
  void bucket_was_seen() { bucket_seen_ns_ = system_clock().now().time_since_epoch().count(); }
  // A head that stands in for a condition the store does not check.
  Result<void> check_ahead(std::string_view key, const Conditions& conditions, Deadline deadline);
  Result<Etag> copy_in_parts(std::string_view source, std::string_view destination, const CopyOptions& options,
                             Deadline deadline);

  class Probe;

  const std::unique_ptr<S3Client> client_;
  // What probe() found; before it, what AWS does.
  std::atomic<bool> conditional_put_ = true;
  std::atomic<bool> conditional_copy_ = false;
  std::atomic<bool> part_checksums_ = true;
  std::atomic<bool> etag_is_md5_ = false;
  std::atomic<int64_t> bucket_seen_ns_ = 0;  // monotonic; the bucket was there then
};

}  // namespace weir::ufs
