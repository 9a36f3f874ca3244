// testing/fault_ufs.h -- an under store that fails as told: before or after the effect, late, short, damaged, or never.
//
// Faults are tried in the order in which they were added; the first that matches a call is applied. A probability is
// drawn from the seed, so one thread's calls replay exactly.
// Threads: as UnderStore; faults may be added and cleared while calls run. mutex_ is a leaf: the store is called
// without.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/random.h"
#include "ufs/under_store.h"

namespace weir::testing {

enum class UfsCall : uint8_t {
  kProbe,
  kHead,
  kGet,
  kPut,
  kCreateMultipart,
  kUploadPart,
  kUploadPartCopy,
  kCompleteMultipart,
  kAbortMultipart,
  kListParts,
  kListUploads,
  kCopy,
  kErase,
  kEraseBatch,
  kList,
};
inline constexpr size_t kUfsCallKinds = static_cast<size_t>(UfsCall::kList) + 1;

struct UfsFault {
  enum class Kind : uint8_t {
    kFailBefore,  // nothing happens; `error` is returned
    kFailAfter,   // the effect is there; `error` is returned: a lost reply
    kDelay,       // `delay` passes first, then the call is made
    kShortRead,   // get() returns half of the bytes
    kDamagedRead, // one bit of what get() returns is wrong
    kBrokenRead,  // get() fails with `error`, get_streaming() after it told of half of the bytes
    kBlackHole,   // nothing happens until the deadline, or until clear(): kTimedOut
  };

  Kind kind = Kind::kFailBefore;
  ErrorCode error = ErrorCode::kUnavailable;
  std::optional<UfsCall> call;  // none: any
  std::string key_part;         // in the call's key (of a copy: its destination); empty: any
  uint64_t skip = 0;            // matching calls that are spared first
  uint64_t times = UINT64_MAX;  // matching calls that are hit then
  double probability = 1;
  Duration delay{};
};

class FaultUfs : public ufs::UnderStore {
 public:
  // `store` outlives this.
  FaultUfs(ufs::UnderStore& store, uint64_t seed, const Clock& clock = system_clock());

  void add(UfsFault fault);
  void clear();  // waiting calls go on

  uint64_t calls(UfsCall call) const;
  uint64_t calls() const;
  uint64_t faults() const;      // calls that were hit
  uint64_t bytes_put() const;   // of put() and upload_part()
  uint64_t bytes_got() const;
  void reset_counters();

  std::string uri() const override { return store_.uri(); }
  Result<ufs::Capabilities> probe(Deadline deadline) override;
  Result<ufs::ObjectHead> head(std::string_view key, Deadline deadline) override;
  Result<size_t> get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                     const std::optional<ufs::Etag>& if_match, Deadline deadline, ufs::ObjectInfo* info) override;
  // Tells of the bytes in pieces of kPieceBytes, after the call to the store.
  Result<size_t> get_streaming(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                               const std::optional<ufs::Etag>& if_match, Deadline deadline,
                               const Arrived& arrived) override;
  static constexpr size_t kPieceBytes = 100'000;
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
  void stop() override;

 private:
  struct Armed {
    UfsFault fault;
    uint64_t matched = 0;
  };

  struct Hit {
    UfsFault fault;
    uint64_t clears;  // as they were then
  };

  // Counts the call and picks its fault.
  std::optional<Hit> pick(UfsCall call, std::string_view key);
  // False: cleared since, or stopped, before the time was over.
  bool wait_until(TimePoint time, uint64_t clears);
  // get(); `arrived` becomes how many bytes of the buffer are the object's, whatever the call returns.
  Result<size_t> read(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                      const std::optional<ufs::Etag>& if_match, Deadline deadline, ufs::ObjectInfo* info, size_t& arrived);
  Error error_of(const UfsFault& fault, UfsCall call, std::string_view key) const;
  // `make` is the call itself; `finish` sees its result, and the fault if there is one.
  template <typename Make, typename Finish>
  auto apply(UfsCall call, std::string_view key, Deadline deadline, const Make& make, const Finish& finish)
      -> decltype(make());
  template <typename Make>
  auto apply(UfsCall call, std::string_view key, Deadline deadline, const Make& make) -> decltype(make());

  ufs::UnderStore& store_;
  const Clock& clock_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Random random_;
  std::vector<Armed> armed_;
  uint64_t clears_ = 0;
  bool stopped_ = false;
  std::array<uint64_t, kUfsCallKinds> calls_{};
  uint64_t faults_ = 0;
  uint64_t bytes_put_ = 0;
  uint64_t bytes_got_ = 0;
};

std::string_view name_of(UfsCall call);

}  // namespace weir::testing
