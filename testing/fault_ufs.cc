#include "testing/fault_ufs.h"

#include <algorithm>
#include <numeric>

namespace weir::testing {
using namespace weir::ufs;

namespace {

constexpr auto kPollStep = std::chrono::milliseconds(5);  // the clock may be a simulated one

constexpr std::array<std::string_view, kUfsCallKinds> kNames = {
    "probe",     "head",       "get",          "put",  "create_multipart", "upload_part", "upload_part_copy",
    "complete",  "abort",      "list_parts",   "list_uploads", "copy",     "erase",       "erase_batch",
    "list"};

}  // namespace

std::string_view name_of(UfsCall call) { return kNames[static_cast<size_t>(call)]; }

FaultUfs::FaultUfs(UnderStore& store, uint64_t seed, const Clock& clock)
    : store_(store), clock_(clock), random_(seed) {}

void FaultUfs::add(UfsFault fault) {
  std::scoped_lock lock(mutex_);
  armed_.push_back({std::move(fault)});
}

void FaultUfs::clear() {
  {
    std::scoped_lock lock(mutex_);
    armed_.clear();
    ++clears_;
  }
  changed_.notify_all();
}

void FaultUfs::stop() {
  {
    std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  store_.stop();
}

uint64_t FaultUfs::calls(UfsCall call) const {
  std::scoped_lock lock(mutex_);
  return calls_[static_cast<size_t>(call)];
}

uint64_t FaultUfs::calls() const {
  std::scoped_lock lock(mutex_);
  return std::accumulate(calls_.begin(), calls_.end(), uint64_t{0});
}

uint64_t FaultUfs::faults() const {
  std::scoped_lock lock(mutex_);
  return faults_;
}

uint64_t FaultUfs::bytes_put() const {
  std::scoped_lock lock(mutex_);
  return bytes_put_;
}

uint64_t FaultUfs::bytes_got() const {
  std::scoped_lock lock(mutex_);
  return bytes_got_;
}

void FaultUfs::reset_counters() {
  std::scoped_lock lock(mutex_);
  calls_ = {};
  faults_ = bytes_put_ = bytes_got_ = 0;
}

std::optional<FaultUfs::Hit> FaultUfs::pick(UfsCall call, std::string_view key) {
  std::scoped_lock lock(mutex_);
  ++calls_[static_cast<size_t>(call)];
  for (Armed& armed : armed_) {
    const UfsFault& fault = armed.fault;
    if (fault.call && *fault.call != call) continue;
    if (!key.contains(fault.key_part)) continue;
    if (fault.probability < 1 && random_.unit() >= fault.probability) continue;
    const uint64_t index = armed.matched++;
    if (index < fault.skip || index - fault.skip >= fault.times) continue;
    ++faults_;
    return Hit{fault, clears_};
  }
  return std::nullopt;
}

bool FaultUfs::wait_until(TimePoint time, uint64_t clears) {
  std::unique_lock lock(mutex_);
  while (clock_.now() < time) {
    if (stopped_ || clears_ != clears) return false;
    changed_.wait_for(lock, kPollStep);
  }
  return true;
}

Error FaultUfs::error_of(const UfsFault& fault, UfsCall call, std::string_view key) const {
  return Error(fault.error, "injected into " + std::string(name_of(call)) + " of " + std::string(key));
}

template <typename Make, typename Finish>
auto FaultUfs::apply(UfsCall call, std::string_view key, Deadline deadline, const Make& make, const Finish& finish)
    -> decltype(make()) {
  const std::optional<Hit> hit = pick(call, key);
  if (!hit) return finish(nullptr, make());
  const UfsFault& fault = hit->fault;
  switch (fault.kind) {
    case UfsFault::Kind::kFailBefore:
      return fail(error_of(fault, call, key));
    case UfsFault::Kind::kFailAfter: {
      auto result = finish(&fault, make());
      if (!result) return result;
      return fail(error_of(fault, call, key));
    }
    case UfsFault::Kind::kDelay:
      wait_until(std::min(clock_.now() + fault.delay, deadline.time()), hit->clears);
      break;
    case UfsFault::Kind::kBlackHole:
      if (!wait_until(deadline.time(), hit->clears)) return fail(ErrorCode::kUnavailable, "the black hole was closed");
      return fail(ErrorCode::kTimedOut,
                  std::string(name_of(call)) + " of " + std::string(key) + " fell into a black hole");
    case UfsFault::Kind::kShortRead:
    case UfsFault::Kind::kDamagedRead:
    case UfsFault::Kind::kBrokenRead:
      break;
  }
  return finish(&fault, make());
}

template <typename Make>
auto FaultUfs::apply(UfsCall call, std::string_view key, Deadline deadline, const Make& make) -> decltype(make()) {
  return apply(call, key, deadline, make, [](const UfsFault*, auto result) { return result; });
}

Result<Capabilities> FaultUfs::probe(Deadline deadline) {
  return apply(UfsCall::kProbe, "", deadline, [&] { return store_.probe(deadline); });
}

Result<ObjectHead> FaultUfs::head(std::string_view key, Deadline deadline) {
  return apply(UfsCall::kHead, key, deadline, [&] { return store_.head(key, deadline); });
}

Result<size_t> FaultUfs::get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                             const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info) {
  size_t arrived = 0;
  return read(key, offset, buffer, if_match, deadline, info, arrived);
}

Result<size_t> FaultUfs::get_streaming(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                                       const std::optional<Etag>& if_match, Deadline deadline, const Arrived& arrived) {
  size_t bytes = 0;
  auto result = read(key, offset, buffer, if_match, deadline, nullptr, bytes);
  for (size_t told = 0; told < bytes;) {
    told = std::min(told + kPieceBytes, bytes);
    arrived(told);
  }
  return result;
}

Result<size_t> FaultUfs::read(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                              const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info, size_t& arrived) {
  const auto read = [&] { return store_.get(key, offset, buffer, if_match, deadline, info); };
  return apply(UfsCall::kGet, key, deadline, read, [&](const UfsFault* fault, Result<size_t> bytes) -> Result<size_t> {
    std::scoped_lock lock(mutex_);
    if (fault != nullptr && bytes && *bytes > 0) {
      if (fault->kind == UfsFault::Kind::kShortRead) *bytes /= 2;
      if (fault->kind == UfsFault::Kind::kDamagedRead) buffer[random_.below(*bytes)] ^= std::byte{1};
    }
    bytes_got_ += bytes.value_or(0);
    arrived = bytes.value_or(0);
    if (fault == nullptr || fault->kind != UfsFault::Kind::kBrokenRead) return bytes;
    arrived /= 2;
    return fail(error_of(*fault, UfsCall::kGet, key));
  });
}

Result<Etag> FaultUfs::put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                           Deadline deadline) {
  return apply(UfsCall::kPut, key, deadline, [&] {
    auto etag = store_.put(key, body, options, deadline);
    std::scoped_lock lock(mutex_);
    if (etag) bytes_put_ += body.size();
    return etag;
  });
}

Result<std::string> FaultUfs::create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                               Deadline deadline) {
  return apply(UfsCall::kCreateMultipart, key, deadline,
               [&] { return store_.create_multipart(key, attributes, deadline); });
}

Result<Part> FaultUfs::upload_part(std::string_view key, std::string_view upload_id, uint32_t number,
                                   std::span<const std::byte> body, Deadline deadline) {
  return apply(UfsCall::kUploadPart, key, deadline, [&] {
    auto part = store_.upload_part(key, upload_id, number, body, deadline);
    std::scoped_lock lock(mutex_);
    if (part) bytes_put_ += body.size();
    return part;
  });
}

Result<Part> FaultUfs::upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t number,
                                        std::string_view source, const std::optional<Etag>& source_if_match,
                                        uint64_t offset, uint64_t size, Deadline deadline) {
  return apply(UfsCall::kUploadPartCopy, key, deadline, [&] {
    return store_.upload_part_copy(key, upload_id, number, source, source_if_match, offset, size, deadline);
  });
}

Result<Etag> FaultUfs::complete_multipart(std::string_view key, std::string_view upload_id,
                                          const std::vector<Part>& parts, const Conditions& conditions,
                                          Deadline deadline) {
  return apply(UfsCall::kCompleteMultipart, key, deadline,
               [&] { return store_.complete_multipart(key, upload_id, parts, conditions, deadline); });
}

Result<void> FaultUfs::abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) {
  return apply(UfsCall::kAbortMultipart, key, deadline,
               [&] { return store_.abort_multipart(key, upload_id, deadline); });
}

Result<std::vector<Part>> FaultUfs::list_parts(std::string_view key, std::string_view upload_id, Deadline deadline) {
  return apply(UfsCall::kListParts, key, deadline, [&] { return store_.list_parts(key, upload_id, deadline); });
}

Result<std::vector<UploadInfo>> FaultUfs::list_uploads(std::string_view prefix, Deadline deadline) {
  return apply(UfsCall::kListUploads, prefix, deadline, [&] { return store_.list_uploads(prefix, deadline); });
}

Result<Etag> FaultUfs::copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                            Deadline deadline) {
  return apply(UfsCall::kCopy, destination, deadline,
               [&] { return store_.copy(source, destination, options, deadline); });
}

Result<void> FaultUfs::erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) {
  return apply(UfsCall::kErase, key, deadline, [&] { return store_.erase(key, if_match, deadline); });
}

Result<std::vector<Result<void>>> FaultUfs::erase_batch(const std::vector<std::string>& keys, Deadline deadline) {
  const std::string_view first = keys.empty() ? std::string_view{} : std::string_view(keys.front());
  return apply(UfsCall::kEraseBatch, first, deadline, [&] { return store_.erase_batch(keys, deadline); });
}

Result<ListPage> FaultUfs::list(const ListRequest& request, Deadline deadline) {
  return apply(UfsCall::kList, request.prefix, deadline, [&] { return store_.list(request, deadline); });
}

}  // namespace weir::testing
