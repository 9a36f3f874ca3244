// testing/mem_ufs.h -- an under store in memory, at least as strict as a real one.
//
// Etags are opaque and change with every write, even of the same bytes. A listing is one consistent state per page.
// Threads: as UnderStore. Nothing waits, so deadlines matter only when they have passed already (kTimedOut).
#pragma once

#include <map>
#include <mutex>

#include "ufs/under_store.h"

namespace weir::testing {

struct MemUfsOptions {
  ufs::Capabilities capabilities{.conditional_put = true, .conditional_copy = true, .multipart_copy = true};
  uint64_t part_bytes_min = ufs::kPartBytesMin;
  std::string prefix;  // counts towards the length of keys
  const Clock* clock = &system_clock();
};

class MemUfs final : public ufs::UnderStore {
 public:
  explicit MemUfs(MemUfsOptions options = {});
  // With what the other holds now.
  MemUfs(const MemUfs& other);

  std::string uri() const override { return "mem:///" + options_.prefix; }
  Result<ufs::Capabilities> probe(Deadline deadline) override;
  Result<ufs::ObjectHead> head(std::string_view key, Deadline deadline) override;
  Result<size_t> get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                     const std::optional<ufs::Etag>& if_match, Deadline deadline, ufs::ObjectInfo* info) override;
  Result<ufs::Etag> put(std::string_view key, std::span<const std::byte> body, const ufs::PutOptions& options,
                        Deadline deadline) override;
  Result<std::string> create_multipart(std::string_view key, const ufs::ObjectAttributes& attributes,
                                       Deadline deadline) override;
  Result<ufs::Part> upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                                std::span<const std::byte> body, Deadline deadline) override;
  Result<ufs::Part> upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                     std::string_view source, const std::optional<ufs::Etag>& source_if_match,
                                     uint64_t offset, uint64_t size, Deadline deadline) override;
  Result<ufs::Etag> complete_multipart(std::string_view key, std::string_view upload_id,
                                       const std::vector<ufs::Part>& parts, const ufs::Conditions& conditions,
                                       Deadline deadline) override;
  Result<void> abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) override;
  Result<std::vector<ufs::Part>> list_parts(std::string_view key, std::string_view upload_id,
                                            Deadline deadline) override;
  Result<std::vector<ufs::UploadInfo>> list_uploads(std::string_view prefix, Deadline deadline) override;
  Result<ufs::Etag> copy(std::string_view source, std::string_view destination, const ufs::CopyOptions& options,
                         Deadline deadline) override;
  Result<void> erase(std::string_view key, const std::optional<ufs::Etag>& if_match, Deadline deadline) override;
  Result<std::vector<Result<void>>> erase_batch(const std::vector<std::string>& keys, Deadline deadline) override;
  Result<ufs::ListPage> list(const ufs::ListRequest& request, Deadline deadline) override;

 private:
  struct Object {
    std::string bytes;
    ufs::ObjectAttributes attributes;
    ufs::Etag etag;
    WallTime modified;
    std::string upload_id;  // that made it, or empty
  };
  struct StagedPart {
    std::string bytes;
    ufs::Etag etag;
  };
  struct Upload {
    std::string key;
    ufs::ObjectAttributes attributes;
    WallTime started;
    std::map<uint32_t, StagedPart> parts;
  };

  Result<void> admit(std::string_view key, Deadline deadline) const;
  // The rest: under mutex_.
  Result<const Object*> load(std::string_view key) const;
  Result<Upload*> load_upload(std::string_view key, std::string_view upload_id);
  Result<void> check(std::string_view key, const ufs::Conditions& conditions) const;
  ufs::ObjectInfo info_of(std::string_view key, const Object& object) const;
  ufs::Etag new_etag();

  const MemUfsOptions options_;
  mutable std::mutex mutex_;  // a leaf
  std::map<std::string, Object, std::less<>> objects_;
  std::map<std::string, Upload, std::less<>> uploads_;
  uint64_t last_id_ = 0;
};

}  // namespace weir::testing
