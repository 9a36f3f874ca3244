#include "ufs/s3_ufs.h"

#include <algorithm>
#include <mutex>
#include <thread>

#include "net/checksum.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "ufs/limits.h"
#include "ufs/s3_errors.h"
#include "ufs/s3_headers.h"
#include "ufs/s3_names.h"

namespace weir::ufs {
namespace {

using net::Method;

constexpr Duration kBucketSeenValid = std::chrono::seconds(30);
constexpr uint64_t kCopyPartBytes = 512ull << 20;
constexpr size_t kCopyThreads = 8;

// A call that may have had its effect fails so.
Error write_error(S3Refusal refusal) {
  // A refusal of the last try does not undo an earlier one, but what retries cannot change is told as it is.
  const bool settled = refusal.error != ErrorCode::kUnavailable && refusal.error != ErrorCode::kTimedOut &&
                       refusal.error != ErrorCode::kCancelled;
  if (!refusal.maybe_done || settled) return std::move(refusal.error);
  return Error(ErrorCode::kMayHaveHappened, "the outcome is unknown: " + refusal.error.to_string());
}

bool conditional(const Conditions& conditions) { return conditions.if_match || conditions.if_none_match; }

// What the store answers for a completed upload of these parts: MD5 of the parts' MD5s, and CRC32C of their CRC32Cs.
struct Composite {
  std::optional<std::string> etag;
  std::optional<std::string> checksum;
};

Composite composite_of(const std::vector<Part>& parts) {
  std::string md5s;
  std::string crcs;
  bool md5s_known = true;
  bool crcs_known = true;
  for (const Part& part : parts) {
    const auto md5 = s3::is_md5(part.etag) ? net::unhex(part.etag) : std::nullopt;
    const auto crc = part.checksum.empty() ? std::nullopt : net::unbase64(part.checksum);
    md5s_known = md5s_known && md5;
    crcs_known = crcs_known && crc;
    md5s += md5.value_or("");
    crcs += crc.value_or("");
  }
  const std::string suffix = '-' + std::to_string(parts.size());
  Composite composite;
  if (md5s_known) composite.etag = net::hex(net::md5(net::bytes_of(md5s))) + suffix;
  if (crcs_known) composite.checksum = net::checksum_text(net::crc32c(net::bytes_of(crcs))) + suffix;
  return composite;
}

}  // namespace

// A head, with what tells whose bytes these are.
struct S3Ufs::StoredObject {
  ObjectHead head;
  net::Headers headers;

  bool holds(std::span<const std::byte> body, const ObjectAttributes& attributes) const {
    if (head.info.size_bytes != body.size() || !says(head.attributes, attributes)) return false;
    if (s3::is_md5(head.info.etag) && !s3::hides_md5(headers)) return head.info.etag == net::hex(net::md5(body));
    return s3::whole_checksum(headers) == net::checksum_text(net::crc32c(body));
  }

  bool holds(const Composite& composite) const {
    if (composite.etag && composite.etag == head.info.etag) return true;
    return composite.checksum && net::header(headers, s3::kChecksumHeader) == *composite.checksum;
  }
};

Result<std::unique_ptr<S3Ufs>> S3Ufs::create(S3Options options) {
  TRY_ASSIGN(auto client, S3Client::create(std::move(options)));
  return std::unique_ptr<S3Ufs>(new S3Ufs(std::move(client)));
}

std::string S3Ufs::full_key(std::string_view key) const {
  return prefix() + s3::stored_key(key, prefix().size()).value_or(std::string(key));
}

Result<void> S3Ufs::check(std::string_view key) const {
  TRY(check_key(prefix(), key, kLongKeyBytesMax));
  TRY(s3::stored_key(key, prefix().size()));
  return {};
}

Result<void> S3Ufs::confirm_bucket(Deadline deadline) {
  const int64_t seen = bucket_seen_ns_;
  if (seen != 0 && system_clock().now().time_since_epoch().count() - seen < kBucketSeenValid.count()) return {};
  auto answer = client_->call({.method = Method::kHead}, deadline);
  if (answer) {
    bucket_was_seen();
    return {};
  }
  if (answer.error().status == 404) {
    return fail(ErrorCode::kDenied, uri() + ": no such bucket; create it or correct its name");
  }
  // A policy may forbid asking for the bucket but not for its objects.
  if (answer.error().status == 403) return {};
  return fail(std::move(answer.error().error));
}

Result<S3Ufs::StoredObject> S3Ufs::load(std::string_view key, Deadline deadline) {
  TRY(check(key));
  auto answer = client_->call(
      {.method = Method::kHead, .key = full_key(key), .headers = {{"x-amz-checksum-mode", "ENABLED"}}}, deadline);
  if (!answer) {
    // The answer to a HEAD does not say what was not found.
    if (answer.error().error == ErrorCode::kNotFound && answer.error().s3_code.empty()) TRY(confirm_bucket(deadline));
    return fail(std::move(answer.error().error));
  }
  bucket_was_seen();
  net::Headers& headers = answer->http.headers;
  const auto size = s3::number(net::header(headers, "content-length"));
  if (!size) return fail(ErrorCode::kCorrupt, uri() + ": the answer to HEAD has no length: " + std::string(key));
  StoredObject object{{s3::info_of(key, headers, *size), {}}, {}};
  object.head.attributes = s3::attributes_of(headers);
  object.headers = std::move(headers);
  return object;
}

Result<ObjectHead> S3Ufs::head(std::string_view key, Deadline deadline) {
  TRY_ASSIGN(StoredObject object, load(key, deadline));
  return std::move(object.head);
}

Result<size_t> S3Ufs::get(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                          const std::optional<Etag>& if_match, Deadline deadline, ObjectInfo* info) {
  return get_range(key, offset, buffer, if_match, deadline, {}, info);
}

Result<size_t> S3Ufs::get_streaming(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                                    const std::optional<Etag>& if_match, Deadline deadline, const Arrived& arrived) {
  return get_range(key, offset, buffer, if_match, deadline, arrived, nullptr);
}

Result<size_t> S3Ufs::get_range(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                                const std::optional<Etag>& if_match, Deadline deadline, const Arrived& arrived,
                                ObjectInfo* info) {
  TRY(check(key));
  const auto at_end = [&]() -> Result<size_t> {
    TRY_ASSIGN(ObjectHead found, head(key, deadline));
    if (if_match && found.info.etag != *if_match) {
      return fail(ErrorCode::kPrecondition, uri() + ": the object is not " + *if_match + " any more: " +
                                                std::string(key));
    }
    if (info != nullptr) *info = std::move(found.info);
    return 0;
  };
  if (buffer.empty() || offset > UINT64_MAX - buffer.size()) return at_end();

  S3Request request{.method = Method::kGet, .key = full_key(key), .sink = buffer};
  request.headers = {{"range", "bytes=" + std::to_string(offset) + '-' + std::to_string(offset + buffer.size() - 1)},
                     {"x-amz-checksum-mode", "ENABLED"}};
  if (if_match) request.headers.push_back({"if-match", s3::in_quotes(*if_match)});
  size_t told = 0;
  if (arrived && if_match) {
    // After a try that broke off the next one brings the same bytes again. Of a whole object there may be a checksum to look at.
    request.on_sink = [&](const net::HttpResponse& so_far) {
      const auto range = s3::content_range(so_far.headers);
      const bool is_part = so_far.status == 206 && range && range->offset == offset &&
                           (offset != 0 || range->total > buffer.size());
      if (!is_part || so_far.sink_bytes <= told) return;
      told = so_far.sink_bytes;
      arrived(told);
    };
  }

  Error damage(ErrorCode::kCorrupt);
  for (int attempt = 0; attempt < 2; ++attempt) {
    auto answer = client_->call(request, deadline);
    if (!answer) {
      if (answer.error().status == 416) return at_end();
      return fail(std::move(answer.error().error));
    }
    bucket_was_seen();
    const net::HttpResponse& http = answer->http;
    // A store may answer a range that covers everything with 200.
    const auto range = http.status == 206 ? s3::content_range(http.headers) : s3::ContentRange{0, http.sink_bytes};
    const bool complete = range && range->offset == offset && range->total >= offset &&
                          http.sink_bytes == std::min<uint64_t>(buffer.size(), range->total - offset);
    bool intact = true;
    if (complete && offset == 0 && http.sink_bytes == range->total) {
      const auto bytes = buffer.first(http.sink_bytes);
      const std::string_view etag = net::without_quotes(net::header(http.headers, "etag"));
      if (const auto checksum = s3::whole_checksum(http.headers)) {
        intact = *checksum == net::checksum_text(net::crc32c(bytes));
      } else if (etag_is_md5_ && s3::is_md5(etag) && !s3::hides_md5(http.headers)) {
        intact = etag == net::hex(net::md5(bytes));
      }
    }
    if (complete && intact) {
      if (info != nullptr) *info = s3::info_of(key, http.headers, range->total);
      return http.sink_bytes;
    }
    damage = Error(ErrorCode::kCorrupt, uri() + std::string(key) + " at " + std::to_string(offset) +
                                            (complete ? ": the bytes do not match the object's checksum"
                                                      : ": the store sent another range than asked for"));
  }
  return fail(std::move(damage));
}

Result<void> S3Ufs::check_ahead(std::string_view key, const Conditions& conditions, Deadline deadline) {
  const auto found = head(key, deadline);
  if (!found && found.error() != ErrorCode::kNotFound) return fail(found.error());
  const bool holds = conditions.if_none_match ? !found.has_value()
                                              : found.has_value() && found->info.etag == *conditions.if_match;
  if (holds) return {};
  return fail(ErrorCode::kPrecondition, uri() + std::string(key) + ": the condition does not hold");
}

Result<Etag> S3Ufs::put(std::string_view key, std::span<const std::byte> body, const PutOptions& options,
                        Deadline deadline) {
  TRY(check(key));
  TRY(check_attributes(options.attributes));
  TRY(check_conditions(options.conditions));
  TRY(check_body(body.size()));
  if (conditional(options.conditions) && !conditional_put_) TRY(check_ahead(key, options.conditions, deadline));

  S3Request request{.method = Method::kPut, .key = full_key(key), .body = body, .body_is_data = true};
  s3::add_attributes(request.headers, options.attributes);
  request.headers.push_back({s3::kChecksumHeader, net::checksum_text(net::crc32c(body))});
  if (conditional_put_) s3::add_conditions(request.headers, options.conditions);
  auto answer = client_->call(request, deadline);
  if (answer) {
    bucket_was_seen();
    Etag etag(net::without_quotes(net::header(answer->http.headers, "etag")));
    if (!etag.empty()) return etag;
    TRY_ASSIGN(ObjectHead found, head(key, deadline));
    return std::move(found.info.etag);
  }
  S3Refusal& refusal = answer.error();
  const bool condition_failed =
      refusal.error == ErrorCode::kPrecondition ||
      (options.conditions.if_match && refusal.error == ErrorCode::kNotFound);  // no object: it does not match either
  if (!condition_failed) return fail(write_error(std::move(refusal)));
  if (refusal.maybe_done) {
    auto found = load(key, deadline);
    if (found && found->holds(body, options.attributes)) return std::move(found->head.info.etag);
    if (!found && found.error() != ErrorCode::kNotFound) return fail(write_error(std::move(refusal)));
  }
  return fail(ErrorCode::kPrecondition, refusal.error.context());
}

Result<std::string> S3Ufs::create_multipart(std::string_view key, const ObjectAttributes& attributes,
                                            Deadline deadline) {
  TRY(check(key));
  TRY(check_attributes(attributes));
  S3Request request{.method = Method::kPost, .key = full_key(key), .query = {{"uploads", ""}}};
  s3::add_attributes(request.headers, attributes);
  if (part_checksums_) request.headers.push_back({"x-amz-checksum-algorithm", "CRC32C"});
  auto answer = client_->call(request, deadline);
  if (!answer) return fail(std::move(answer.error().error));
  return net::parse_upload_id(answer->http.body);
}

Result<Part> S3Ufs::upload_part(std::string_view key, std::string_view upload_id, uint32_t part_number,
                                std::span<const std::byte> body, Deadline deadline) {
  TRY(check(key));
  TRY(check_part_number(part_number));
  TRY(check_body(body.size()));
  S3Request request{.method = Method::kPut,
                    .key = full_key(key),
                    .query = {{"partNumber", std::to_string(part_number)}, {"uploadId", std::string(upload_id)}},
                    .body = body};
  // Without a checksum of its own the part is protected by the SHA-256 under the signature.
  request.body_is_data = part_checksums_;
  if (part_checksums_) request.headers = {{s3::kChecksumHeader, net::checksum_text(net::crc32c(body))}};
  auto answer = client_->call(request, deadline);
  if (!answer) return fail(std::move(answer.error().error));
  const net::Headers& headers = answer->http.headers;
  return Part{part_number, std::string(net::without_quotes(net::header(headers, "etag"))), body.size(),
              std::string(net::header(headers, s3::kChecksumHeader))};
}

Result<Part> S3Ufs::upload_part_copy(std::string_view key, std::string_view upload_id, uint32_t part_number,
                                     std::string_view source, const std::optional<Etag>& source_if_match,
                                     uint64_t offset, uint64_t size, Deadline deadline) {
  TRY(check(key));
  TRY(check(source));
  TRY(check_part_number(part_number));
  TRY(check_body(size));
  if (size == 0) return fail(ErrorCode::kInvalid, uri() + ": a copied part must not be empty");
  S3Request request{.method = Method::kPut,
                    .key = full_key(key),
                    .query = {{"partNumber", std::to_string(part_number)}, {"uploadId", std::string(upload_id)}},
                    .stall_timeout = s3::kSilentWork};
  request.headers = {
      {"x-amz-copy-source", client_->copy_source(full_key(source))},
      {"x-amz-copy-source-range", "bytes=" + std::to_string(offset) + '-' + std::to_string(offset + size - 1)}};
  if (source_if_match) request.headers.push_back({"x-amz-copy-source-if-match", s3::in_quotes(*source_if_match)});
  auto answer = client_->call(request, deadline);
  if (!answer) {
    // InvalidRange, or 416: a range that is not inside the source.
    if (answer.error().status == 416) return fail(ErrorCode::kInvalid, answer.error().error.context());
    return fail(std::move(answer.error().error));
  }
  TRY_ASSIGN(net::S3Written written, net::parse_written(answer->http.body));
  return Part{part_number, std::move(written.etag), size, std::move(written.crc32c)};
}

Result<Etag> S3Ufs::complete_multipart(std::string_view key, std::string_view upload_id,
                                       const std::vector<Part>& parts, const Conditions& conditions,
                                       Deadline deadline) {
  TRY(check(key));
  TRY(check_conditions(conditions));
  TRY(check_parts(parts, 0));
  const Composite composite = composite_of(parts);
  if (conditional(conditions) && !conditional_put_) {
    if (auto held = check_ahead(key, conditions, deadline); !held) {
      if (held.error() != ErrorCode::kPrecondition) return fail(std::move(held).error());
      auto found = load(key, deadline);
      if (found && found->holds(composite)) return std::move(found->head.info.etag);
      return fail(std::move(held).error());
    }
  }
  std::vector<net::S3Part> listed;
  for (const Part& part : parts) listed.push_back({part.number, part.etag, part.size_bytes, part.checksum});
  const std::string body = net::complete_multipart_xml(listed);
  S3Request request{.method = Method::kPost,
                    .key = full_key(key),
                    .query = {{"uploadId", std::string(upload_id)}},
                    .headers = {{"content-type", "application/xml"}},
                    .body = net::bytes_of(body),
                    .stall_timeout = s3::kSilentWork};
  if (conditional_put_) s3::add_conditions(request.headers, conditions);
  auto answer = client_->call(request, deadline);
  if (answer) {
    bucket_was_seen();
    TRY_ASSIGN(net::S3Written written, net::parse_written(answer->http.body));
    return std::move(written.etag);
  }
  S3Refusal& refusal = answer.error();
  const bool upload_gone = refusal.error == ErrorCode::kNotFound && refusal.s3_code != "NoSuchKey";
  const bool condition_failed = refusal.error == ErrorCode::kPrecondition ||
                                (conditions.if_match && refusal.error == ErrorCode::kNotFound && !upload_gone);
  if (!upload_gone && !condition_failed) return fail(write_error(std::move(refusal)));
  // Completed before, by a try whose answer was lost or by an earlier call: then the object is there.
  auto found = load(key, deadline);
  if (found && found->holds(composite)) {
    if (condition_failed) (void)abort_multipart(key, upload_id, deadline);
    return std::move(found->head.info.etag);
  }
  if (!found && found.error() != ErrorCode::kNotFound) return fail(std::move(found).error());
  if (condition_failed) return fail(ErrorCode::kPrecondition, refusal.error.context());
  return fail(std::move(refusal.error));
}

Result<void> S3Ufs::abort_multipart(std::string_view key, std::string_view upload_id, Deadline deadline) {
  TRY(check(key));
  auto answer = client_->call(
      {.method = Method::kDelete, .key = full_key(key), .query = {{"uploadId", std::string(upload_id)}}}, deadline);
  if (answer || answer.error().error == ErrorCode::kNotFound) return {};
  return fail(std::move(answer.error().error));
}

Result<std::vector<Part>> S3Ufs::list_parts(std::string_view key, std::string_view upload_id, Deadline deadline) {
  TRY(check(key));
  std::vector<Part> parts;
  std::string marker;
  do {
    S3Request request{.method = Method::kGet, .key = full_key(key), .query = {{"uploadId", std::string(upload_id)}}};
    if (!marker.empty()) request.query.push_back({"part-number-marker", marker});
    auto answer = client_->call(request, deadline);
    if (!answer) return fail(std::move(answer.error().error));
    TRY_ASSIGN(net::S3PartPage page, net::parse_list_parts(answer->http.body));
    for (net::S3Part& part : page.parts) {
      parts.push_back({part.number, std::move(part.etag), part.size_bytes, std::move(part.crc32c)});
    }
    if (page.next_marker == marker && !marker.empty()) break;
    marker = std::move(page.next_marker);
  } while (!marker.empty() && parts.size() < kPartsMax);
  return parts;
}

Result<std::vector<UploadInfo>> S3Ufs::list_uploads(std::string_view below, Deadline deadline) {
  std::vector<UploadInfo> uploads;
  std::string key_marker;
  std::string upload_id_marker;
  while (true) {
    S3Request request{.method = Method::kGet,
                      .query = {{"uploads", ""}, {"prefix", full_key(below)}, {"encoding-type", "url"}}};
    if (!key_marker.empty()) request.query.push_back({"key-marker", key_marker});
    if (!upload_id_marker.empty()) request.query.push_back({"upload-id-marker", upload_id_marker});
    auto answer = client_->call(request, deadline);
    if (!answer) return fail(std::move(answer.error().error));
    TRY_ASSIGN(net::S3UploadPage page, net::parse_list_uploads(answer->http.body));
    for (net::S3Upload& upload : page.uploads) {
      std::string key = upload.key == full_key(below) ? std::string(below) : s3::decode(relative_key(upload.key));
      uploads.push_back({std::move(key), std::move(upload.upload_id), upload.started});
    }
    const bool moved = page.next_key_marker != key_marker || page.next_upload_id_marker != upload_id_marker;
    if (!page.truncated || !moved) return uploads;
    key_marker = std::move(page.next_key_marker);
    upload_id_marker = std::move(page.next_upload_id_marker);
  }
}

Result<Etag> S3Ufs::copy(std::string_view source, std::string_view destination, const CopyOptions& options,
                         Deadline deadline) {
  TRY(check(source));
  TRY(check(destination));
  TRY(check_conditions(options.conditions));
  if (options.attributes) TRY(check_attributes(*options.attributes));
  if (source == destination && !options.attributes) {
    return fail(ErrorCode::kInvalid, uri() + ": a copy of an object onto itself must change its attributes");
  }
  if (conditional(options.conditions) && !conditional_copy_) {
    TRY(check_ahead(destination, options.conditions, deadline));
  }

  S3Request request{.method = Method::kPut, .key = full_key(destination), .stall_timeout = s3::kSilentWork};
  request.headers = {{"x-amz-copy-source", client_->copy_source(full_key(source))},
                     {"x-amz-metadata-directive", options.attributes ? "REPLACE" : "COPY"}};
  if (options.attributes) s3::add_attributes(request.headers, *options.attributes);
  if (options.source_if_match) {
    request.headers.push_back({"x-amz-copy-source-if-match", s3::in_quotes(*options.source_if_match)});
  }
  if (conditional_copy_) s3::add_conditions(request.headers, options.conditions);
  auto answer = client_->call(request, deadline);
  if (answer) {
    bucket_was_seen();
    TRY_ASSIGN(net::S3Written written, net::parse_written(answer->http.body));
    return std::move(written.etag);
  }
  S3Refusal& refusal = answer.error();
  if (refusal.s3_code == "InvalidRequest" || refusal.s3_code == "EntityTooLarge") {
    const auto from = head(source, deadline);
    if (from && from->info.size_bytes > kPutBytesMax) return copy_in_parts(source, destination, options, deadline);
  }
  if (refusal.error == ErrorCode::kPrecondition && refusal.maybe_done) {
    const auto from = head(source, deadline);
    const auto to = head(destination, deadline);
    if (from && to && from->info.etag == to->info.etag && from->info.size_bytes == to->info.size_bytes) {
      return to->info.etag;
    }
    return fail(ErrorCode::kMayHaveHappened, refusal.error.context());
  }
  return fail(write_error(std::move(refusal)));
}

Result<Etag> S3Ufs::copy_in_parts(std::string_view source, std::string_view destination, const CopyOptions& options,
                                  Deadline deadline) {
  TRY_ASSIGN(const ObjectHead from, head(source, deadline));
  if (options.source_if_match && from.info.etag != *options.source_if_match) {
    return fail(ErrorCode::kPrecondition, uri() + ": the source is another object now: " + std::string(source));
  }
  TRY_ASSIGN(const std::string upload_id,
             create_multipart(destination, options.attributes.value_or(from.attributes), deadline));
  const uint64_t part_bytes = std::max(kCopyPartBytes, (from.info.size_bytes + kPartsMax - 1) / kPartsMax);
  const size_t part_count = (from.info.size_bytes + part_bytes - 1) / part_bytes;
  std::vector<Part> parts(part_count);
  std::atomic<size_t> next = 0;
  std::mutex mutex;
  std::optional<Error> failure;
  {
    std::vector<std::jthread> threads;
    for (size_t t = 0; t < std::min(kCopyThreads, part_count); ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < part_count; i = next++) {
          const uint64_t offset = i * part_bytes;
          auto part = upload_part_copy(destination, upload_id, static_cast<uint32_t>(i + 1), source, from.info.etag,
                                       offset, std::min(part_bytes, from.info.size_bytes - offset), deadline);
          if (part) {
            parts[i] = *std::move(part);
            continue;
          }
          next = part_count;
          std::scoped_lock lock(mutex);
          if (!failure) failure = std::move(part).error();
        }
      });
    }
  }
  if (!failure) {
    auto etag = complete_multipart(destination, upload_id, parts, options.conditions, deadline);
    if (etag || etag.error() == ErrorCode::kMayHaveHappened) return etag;
    failure = std::move(etag).error();
  }
  (void)abort_multipart(destination, upload_id, deadline);
  return fail(*std::move(failure));
}

Result<void> S3Ufs::erase(std::string_view key, const std::optional<Etag>& if_match, Deadline deadline) {
  TRY(check(key));
  if (if_match) {
    const auto found = head(key, deadline);
    if (failed_with(found, ErrorCode::kNotFound)) return {};
    if (!found) return fail(found.error());
    if (found->info.etag != *if_match) {
      return fail(ErrorCode::kPrecondition, uri() + ": the object is not " + *if_match + " any more: " +
                                                std::string(key));
    }
  }
  S3Request request{.method = Method::kDelete, .key = full_key(key)};
  if (if_match) request.headers.push_back({"if-match", s3::in_quotes(*if_match)});
  auto answer = client_->call(request, deadline);
  if (!answer && if_match && answer.error().error == ErrorCode::kNotSupported) {
    request.headers.clear();
    answer = client_->call(request, deadline);
  }
  if (answer) return {};
  S3Refusal& refusal = answer.error();
  if (refusal.error == ErrorCode::kNotFound) return {};
  if (refusal.error == ErrorCode::kPrecondition && failed_with(head(key, deadline), ErrorCode::kNotFound)) return {};
  return fail(write_error(std::move(refusal)));
}

Result<std::vector<Result<void>>> S3Ufs::erase_batch(const std::vector<std::string>& keys, Deadline deadline) {
  if (keys.size() > kEraseBatchMax) return fail(ErrorCode::kInvalid, "more than 1000 keys in one batch");
  std::vector<Result<void>> results(keys.size());
  std::vector<std::string> batch;
  std::map<std::string, std::vector<size_t>, std::less<>> places;  // by full key
  for (size_t i = 0; i < keys.size(); ++i) {
    if (auto good = check(keys[i]); !good) {
      results[i] = std::move(good);
    } else if (std::string full = full_key(keys[i]); !net::xml_can_carry(full)) {
      results[i] = erase(keys[i], std::nullopt, deadline);
    } else {
      std::vector<size_t>& indices = places[full];
      if (indices.empty()) batch.push_back(std::move(full));
      indices.push_back(i);
    }
  }
  if (batch.empty()) return results;
  const std::string body = net::delete_xml(batch);
  auto answer = client_->call({.method = Method::kPost,
                               .query = {{"delete", ""}},
                               .headers = {{"content-type", "application/xml"},
                                           {"content-md5", net::base64(net::md5(net::bytes_of(body)))}},
                               .body = net::bytes_of(body),
                               .stall_timeout = s3::kSilentWork},
                              deadline);
  if (!answer) return fail(write_error(std::move(answer.error())));
  TRY_ASSIGN(const auto errors, net::parse_delete_result(answer->http.body));
  for (const net::S3DeleteError& told : errors) {
    const S3Verdict verdict = judge_response(400, told.error.code);
    const auto found = places.find(told.key);
    if (found == places.end() || verdict.code == ErrorCode::kNotFound) continue;
    for (const size_t i : found->second) {
      results[i] = fail(verdict.code, uri() + keys[i] + ": " + told.error.code + " (" + told.error.message + ") " +
                                          std::string(verdict.advice));
    }
  }
  return results;
}

// A token is "p" and the store's own, or "l" and the store's own for keys over the limit, which come last.
Result<ListPage> S3Ufs::list(const ListRequest& wanted, Deadline deadline) {
  const bool of_directory = wanted.delimiter == "/" && (wanted.prefix.empty() || wanted.prefix.ends_with('/'));
  const bool long_keys = of_directory && s3::may_hold_long_keys(wanted.prefix, prefix().size());
  const std::string stored = s3::encode(wanted.prefix);
  const bool plain_keys = prefix().size() + stored.size() <= kKeyBytesMax;
  std::string token = wanted.token.empty() ? "p" : wanted.token;
  if (token.starts_with('p') && plain_keys) {
    TRY_ASSIGN(ListPage page, list_stored(wanted, stored, wanted.prefix, token.substr(1), deadline));
    if (!page.token.empty()) {
      page.token.insert(0, 1, 'p');
    } else if (long_keys) {
      page.token = "l";
    }
    if (page.token != "l" || !page.objects.empty() || !page.prefixes.empty()) return page;
  }
  if (!long_keys) return ListPage{};
  token = token.starts_with('l') ? token.substr(1) : "";
  TRY_ASSIGN(ListPage page, list_stored(wanted, s3::long_prefix(wanted.prefix), wanted.prefix, token, deadline));
  if (!page.token.empty()) page.token.insert(0, 1, 'l');
  return page;
}

Result<ListPage> S3Ufs::list_stored(const ListRequest& wanted, const std::string& stored, std::string_view shown,
                                    std::string_view token, Deadline deadline) {
  S3Request request{.method = Method::kGet,
                    .query = {{"list-type", "2"},
                              {"encoding-type", "url"},
                              {"prefix", prefix() + stored},
                              {"max-keys", std::to_string(std::clamp<uint32_t>(wanted.keys_max, 1, 1'000))}}};
  if (!wanted.delimiter.empty()) request.query.push_back({"delimiter", wanted.delimiter});
  if (!token.empty()) {
    request.query.push_back({"continuation-token", std::string(token)});
  } else if (!wanted.start_after.empty()) {
    request.query.push_back({"start-after", prefix() + s3::encode(wanted.start_after)});
  }
  auto answer = client_->call(request, deadline);
  if (!answer) return fail(std::move(answer.error().error));
  bucket_was_seen();
  TRY_ASSIGN(net::S3ListPage listed, net::parse_list_objects_v2(answer->http.body));

  ListPage page;
  page.token = std::move(listed.next_token);
  std::string last;
  bool changed = false;
  const auto key_of = [&](std::string full) {
    std::string key = relative_key(std::move(full));
    last = std::max(last, key);
    std::string decoded(shown);
    decoded += s3::decode(std::string_view(key).substr(std::min(stored.size(), key.size())));
    changed = changed || decoded != key;
    return decoded;
  };
  for (net::S3ListedObject& object : listed.objects) {
    std::string key = key_of(std::move(object.key));
    if (key.empty()) continue;  // the prefix's own directory object
    page.objects.push_back({std::move(key), object.size_bytes, std::move(object.etag), object.last_modified});
  }
  for (std::string& common : listed.prefixes) {
    std::string key = key_of(std::move(common));
    if (key != s3::kLongPrefix) page.prefixes.push_back(std::move(key));
  }
  if (changed) {
    std::ranges::sort(page.objects, {}, &ObjectInfo::key);
    std::ranges::sort(page.prefixes);
    if (stored == shown) page.complete_until = std::move(last);
  }
  return page;
}

}  // namespace weir::ufs
