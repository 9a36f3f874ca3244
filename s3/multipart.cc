// CreateMultipartUpload, UploadPart, UploadPartCopy, CompleteMultipartUpload, AbortMultipartUpload, ListParts, ListMultipartUploads.
#include <array>
#include <optional>

#include "base/check.h"
#include "net/encoding.h"
#include "net/s3_xml.h"
#include "s3/operations.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

constexpr uint32_t kEntriesMax = 1'000;
constexpr size_t kCopyBlockBytes = 1 << 20;

std::string_view value_of(const Request& request, std::string_view name) {
  const std::string* value = request.parameter(name);
  return value == nullptr ? std::string_view() : std::string_view(*value);
}

std::string_view upload_id(const Call& call) { return value_of(call.request, "uploadId"); }

Reply<void> check_write(const Call& call) { return check_access(call, Access::kWrite, call.request.bucket, call.request.key); }

Reply<ChecksumType> type_of(std::string_view name) {
  if (name == name_of(ChecksumType::kComposite)) return ChecksumType::kComposite;
  if (name == name_of(ChecksumType::kFullObject)) return ChecksumType::kFullObject;
  return refuse(Code::kInvalidRequest, "Value for x-amz-checksum-type header is invalid.");
}

bool can_be(ChecksumAlgorithm algorithm, ChecksumType type) {
  const bool crc = algorithm == ChecksumAlgorithm::kCrc32 || algorithm == ChecksumAlgorithm::kCrc32c;
  return crc || (algorithm == ChecksumAlgorithm::kCrc64Nvme) == (type == ChecksumType::kFullObject);
}

// The checksum of an upload: as asked for, else what S3 itself computes.
Reply<void> choose_checksum(const Call& call, volume::UploadOptions& options) {
  const std::string_view name = call.header("x-amz-checksum-algorithm");
  const auto algorithm = name.empty() ? std::optional(ChecksumAlgorithm::kCrc64Nvme) : find_algorithm(name);
  if (!algorithm) return refuse(Code::kInvalidRequest, "Checksum algorithm provided is unsupported: " + std::string(name));
  options.checksum_algorithm = algorithm;
  options.checksum_type = default_type(*algorithm);
  if (const std::string_view type = call.header("x-amz-checksum-type"); !type.empty()) {
    if (name.empty()) return refuse(Code::kInvalidRequest, "x-amz-checksum-type needs x-amz-checksum-algorithm");
    TRY_ASSIGN(options.checksum_type, type_of(type));
  }
  if (!can_be(*algorithm, options.checksum_type)) {
    return refuse(Code::kInvalidRequest, "The " + std::string(name_of(options.checksum_type)) + " checksum type cannot be used with the " +
                                             std::string(name_of(*algorithm)) + " checksum algorithm.");
  }
  return {};
}

class PartIntake final : public Intake {
 public:
  PartIntake(std::unique_ptr<volume::PartWriter> writer, ChecksumAlgorithm checksum, volume::ObjectDurability durability)
      : writer_(std::move(writer)), checksum_(checksum), durability_(durability) {}

  std::optional<ChecksumAlgorithm> kept_checksum() const override { return checksum_; }

  Reply<void> write(std::span<const std::byte> bytes) override {
    TRY(writer_->write(bytes));
    return {};
  }

  Reply<Answer> finish(const PayloadFacts& payload) override {
    TRY_ASSIGN(const volume::ObjectPart part, writer_->commit(payload.md5, payload.checksum, durability_));
    Answer answer;
    answer.headers.push_back({"ETag", in_quotes(part.etag)});
    if (part.checksum) answer.headers.push_back({std::string(header_of(part.checksum->algorithm)), part.checksum->value});
    return answer;
  }

 private:
  const std::unique_ptr<volume::PartWriter> writer_;
  const ChecksumAlgorithm checksum_;
  const volume::ObjectDurability durability_;
};

// Every upload that was made here names one.
ChecksumAlgorithm checksum_of(const volume::ObjectUpload& upload) {
  return upload.options.checksum_algorithm.value_or(ChecksumAlgorithm::kCrc64Nvme);
}

// "bytes=0-9", both ends given, all of it there.
Reply<ByteRange> copy_range(std::string_view text, uint64_t size) {
  if (text.empty()) return ByteRange{0, size};
  const auto range = parse_range(text, size);
  const size_t dash = text.find('-');
  const auto last = dash == std::string_view::npos ? std::nullopt : parse_number(text.substr(dash + 1));
  if (!range || !*range || !last || text.contains("=-")) {
    return refuse(Refusal(Code::kInvalidArgument, "The x-amz-copy-source-range value must be of the form bytes=first-last where first and "
                                                  "last are the zero-based offsets of the first and last bytes to copy")
                      .with("ArgumentName", "x-amz-copy-source-range"));
  }
  if (*last >= size) {
    return refuse(Refusal(Code::kInvalidArgument, "Range specified is not valid for source object of size: " + std::to_string(size))
                      .with("ArgumentName", "x-amz-copy-source-range"));
  }
  return **range;
}

// What the client says the whole's checksum is.
Reply<std::optional<ObjectChecksum>> whole_checksum(const Call& call, const volume::ObjectUpload& upload) {
  std::optional<ObjectChecksum> whole;
  for (const net::Header& header : call.request.headers) {
    const auto algorithm = find_algorithm_of_header(header.name);
    if (!algorithm) continue;
    if (whole) return refuse(Code::kInvalidRequest, "Expecting a single x-amz-checksum- header");
    whole = ObjectChecksum{.algorithm = *algorithm, .type = upload.options.checksum_type, .value = header.value};
  }
  if (const std::string_view type = call.header("x-amz-checksum-type"); !type.empty()) {
    TRY_ASSIGN(const ChecksumType given, type_of(type));
    if (given != upload.options.checksum_type) {
      return refuse(Code::kInvalidRequest, "The upload was created using the " + std::string(name_of(upload.options.checksum_type)) +
                                               " checksum type. The complete request must have the same.");
    }
  }
  return whole;
}

Refusal complete_refusal(const Error& error) {
  if (error == ErrorCode::kCorrupt)
    return Refusal(Code::kBadDigest, "The checksum you specified did not match the calculated checksum. " + error.context());
  if (error != ErrorCode::kInvalid) return Refusal(error);
  switch (volume::complete_problem(error)) {
    case volume::CompleteProblem::kInvalidPart: return Refusal(Code::kInvalidPart);
    case volume::CompleteProblem::kInvalidPartOrder: return Refusal(Code::kInvalidPartOrder);
    case volume::CompleteProblem::kEntityTooSmall: return Refusal(Code::kEntityTooSmall);
    case volume::CompleteProblem::kOther: break;
  }
  return Refusal(Code::kInvalidRequest, error.context());
}

void write_owners(XmlWriter& xml) {
  for (const std::string_view who : {"Initiator", "Owner"}) {
    xml.open(who);
    xml.text("ID", "weir");
    xml.text("DisplayName", "weir");
    xml.close(who);
  }
}

void write_checksum_kind(XmlWriter& xml, const volume::UploadOptions& options) {
  if (!options.checksum_algorithm) return;
  xml.text("ChecksumAlgorithm", name_of(*options.checksum_algorithm));
  xml.text("ChecksumType", name_of(options.checksum_type));
}

// One page of uploads, those with a common prefix folded.
struct UploadPage {
  std::vector<volume::ObjectUpload> uploads;
  std::vector<std::string> common_prefixes;
  bool more = false;
  std::string key_marker;
  std::string id_marker;
};

struct UploadQuery {
  std::string bucket;
  std::string prefix;
  std::string delimiter;
  std::string key_marker;
  std::string id_marker;
  uint32_t entries_max = 0;
};

Result<UploadPage> page_of_uploads(volume::Objects& objects, const UploadQuery& query) {
  UploadPage page{.key_marker = query.key_marker, .id_marker = query.id_marker};
  std::string key_after = query.key_marker;
  std::string id_after = query.id_marker;
  for (;;) {
    TRY_ASSIGN(const auto uploads, objects.uploads(query.bucket, query.prefix, key_after, id_after, kEntriesMax));
    for (const volume::ObjectUpload& upload : uploads) {
      std::string common;
      const size_t end = query.delimiter.empty() ? std::string::npos : upload.key.find(query.delimiter, query.prefix.size());
      if (end != std::string::npos) common = upload.key.substr(0, end + query.delimiter.size());
      const bool told = !common.empty() && ((!page.common_prefixes.empty() && page.common_prefixes.back() == common) ||
                                            (!query.key_marker.empty() && query.key_marker.starts_with(common)));
      if (!told) {
        if (page.uploads.size() + page.common_prefixes.size() == query.entries_max) {
          page.more = query.entries_max != 0;
          return page;
        }
        if (common.empty()) {
          page.uploads.push_back(upload);
        } else {
          page.common_prefixes.push_back(common);
        }
      }
      page.key_marker = upload.key;
      page.id_marker = upload.upload_id;
    }
    if (uploads.size() < kEntriesMax) return page;
    key_after = uploads.back().key;
    id_after = uploads.back().upload_id;
  }
}

}  // namespace

Reply<Answer> create_multipart_upload(Call& call) {
  TRY(check_write(call));
  TRY(refuse_unsupported(call.request));
  volume::UploadOptions options;
  TRY_ASSIGN(options.headers, object_headers(call.request));
  TRY_ASSIGN(options.tags, header_tags(call.request));
  TRY(choose_checksum(call, options));
  TRY_ASSIGN(const std::string id, call.objects.create_upload(call.name(), options));
  XmlWriter xml("InitiateMultipartUploadResult");
  xml.text("Bucket", call.request.bucket);
  xml.text("Key", call.request.key);
  xml.text("UploadId", id);
  Answer answer = xml_answer(std::move(xml).take());
  if (!call.header("x-amz-checksum-algorithm").empty()) {
    answer.headers.push_back({"x-amz-checksum-algorithm", std::string(name_of(*options.checksum_algorithm))});
    answer.headers.push_back({"x-amz-checksum-type", std::string(name_of(options.checksum_type))});
  }
  add_encryption(call.request, answer.headers);
  return answer;
}

Reply<std::unique_ptr<Intake>> upload_part(Call& call) {
  TRY(check_write(call));
  TRY(refuse_unsupported(call.request));
  TRY_ASSIGN(const uint32_t number, part_number(call.request));
  TRY_ASSIGN(const auto wanted, durability(call));
  TRY_ASSIGN(const volume::ObjectUpload upload, call.objects.find_upload(call.name(), upload_id(call)));
  TRY_ASSIGN(auto writer, call.objects.put_part(call.name(), upload_id(call), number, call.promise.content_bytes));
  return std::make_unique<PartIntake>(std::move(writer), checksum_of(upload), wanted);
}

Reply<Answer> upload_part_copy(Call& call) {
  TRY_ASSIGN(const CopySource source, parse_copy_source(call.header("x-amz-copy-source")));
  TRY(check_access(call, Access::kRead, source.bucket, source.key));
  TRY(check_write(call));
  TRY(refuse_unsupported(call.request));
  TRY_ASSIGN(const uint32_t number, part_number(call.request));
  TRY_ASSIGN(const auto wanted, durability(call));
  TRY_ASSIGN(const volume::ObjectUpload upload, call.objects.find_upload(call.name(), upload_id(call)));
  bool not_modified = false;
  TRY_ASSIGN(const auto reader, call.objects.open({source.bucket, source.key}, read_conditions(call.request, "x-amz-copy-source-"), &not_modified));
  if (not_modified) return refuse(Code::kPreconditionFailed);
  TRY_ASSIGN(const ByteRange range, copy_range(call.header("x-amz-copy-source-range"), reader->object().size));
  if (range.size > kContentBytesMax) return refuse(Code::kInvalidRequest, "The specified copy source is larger than the maximum allowable size: 5 GiB");
  TRY_ASSIGN(const auto writer, call.objects.put_part(call.name(), upload_id(call), number, range.size));
  net::Hasher<net::Md5> md5;
  ChecksumHasher checksum(checksum_of(upload));
  std::vector<std::byte> block(static_cast<size_t>(std::min<uint64_t>(range.size, kCopyBlockBytes)));
  for (uint64_t done = 0; done < range.size;) {
    const auto wanted_bytes = std::span(block).first(static_cast<size_t>(std::min<uint64_t>(block.size(), range.size - done)));
    TRY_ASSIGN(const size_t bytes, reader->read(range.offset + done, wanted_bytes));
    if (bytes == 0) return refuse(Code::kInternalError, "The source of the copy ended early");
    const auto read = wanted_bytes.first(bytes);
    md5.add(read);
    checksum.add(read);
    TRY(writer->write(read));
    done += bytes;
  }
  if (!reader->verify()) return refuse(Code::kConditionalRequestConflict, "The source of the copy was written meanwhile; try again");
  const ObjectChecksum sum{.algorithm = checksum_of(upload), .value = checksum.finish()};
  TRY_ASSIGN(const volume::ObjectPart part, writer->commit(net::hex(md5.finish()), sum, wanted));
  XmlWriter xml("CopyPartResult");
  xml.time("LastModified", part.modified_ns);
  xml.etag("ETag", part.etag);
  if (part.checksum) xml.text(element_of(part.checksum->algorithm), part.checksum->value);
  return xml_answer(std::move(xml).take());
}

Reply<Answer> complete_multipart_upload(Call& call) {
  TRY(check_write(call));
  volume::CompleteOptions options;
  TRY_ASSIGN(options.conditions, write_conditions(call.request));
  TRY_ASSIGN(options.durability, durability(call));
  if (const std::string_view size = call.header("x-amz-mp-object-size"); !size.empty()) {
    options.size = parse_number(size);
    if (!options.size) return refuse(Code::kInvalidRequest, "Value for x-amz-mp-object-size header is invalid.");
  }
  // An upload that is complete already is no more; repeating the call gets the first one's answer.
  std::optional<ChecksumAlgorithm> algorithm;
  if (const auto upload = call.objects.find_upload(call.name(), upload_id(call))) {
    algorithm = checksum_of(*upload);
    TRY_ASSIGN(options.checksum, whole_checksum(call, *upload));
  } else if (!volume::is_no_upload(upload.error())) {
    return refuse(Refusal(upload.error()));
  }
  TRY_ASSIGN(options.parts, parse_complete(call.body, algorithm));
  // Clients say a composite one with the count of its parts, or without.
  if (options.checksum && options.checksum->type == ChecksumType::kComposite && !options.checksum->value.contains('-'))
    options.checksum->value += '-' + std::to_string(options.parts.size());
  const auto object = call.objects.complete_upload(call.name(), upload_id(call), options);
  if (!object) return refuse(complete_refusal(object.error()));
  XmlWriter xml("CompleteMultipartUploadResult");
  xml.text("Location", "http://" + std::string(call.header("host")) + call.request.raw_path);
  xml.text("Bucket", call.request.bucket);
  xml.text("Key", call.request.key);
  xml.etag("ETag", object->etag);
  if (object->checksum) {
    xml.text(element_of(object->checksum->algorithm), object->checksum->value);
    xml.text("ChecksumType", name_of(object->checksum->type));
  }
  Answer answer = xml_answer(std::move(xml).take());
  add_state(answer.headers, object->state);
  return answer;
}

Reply<Answer> abort_multipart_upload(Call& call) {
  TRY(check_write(call));
  TRY(call.objects.abort_upload(call.name(), upload_id(call)));
  return empty_answer(204);
}

Reply<Answer> list_parts(Call& call) {
  TRY(check_access(call, Access::kRead, call.request.bucket, call.request.key));
  TRY_ASSIGN(const uint32_t after, number_parameter(call.request, "part-number-marker", 0, INT32_MAX));
  TRY_ASSIGN(const uint32_t parts_max, number_parameter(call.request, "max-parts", kEntriesMax, kEntriesMax));
  TRY_ASSIGN(const volume::ObjectUpload upload, call.objects.find_upload(call.name(), upload_id(call)));
  TRY_ASSIGN(auto parts, call.objects.upload_parts(call.name(), upload_id(call), after, parts_max + 1));
  const bool more = parts_max != 0 && parts.size() > parts_max;
  if (parts.size() > parts_max) parts.resize(parts_max);
  XmlWriter xml("ListPartsResult");
  xml.text("Bucket", call.request.bucket);
  xml.text("Key", call.request.key);
  xml.text("UploadId", upload_id(call));
  xml.number("PartNumberMarker", after);
  if (more) xml.number("NextPartNumberMarker", parts.back().number);
  xml.number("MaxParts", parts_max);
  xml.boolean("IsTruncated", more);
  for (const volume::ObjectPart& part : parts) {
    xml.open("Part");
    xml.number("PartNumber", part.number);
    xml.time("LastModified", part.modified_ns);
    xml.etag("ETag", part.etag);
    xml.number("Size", part.size);
    if (part.checksum) xml.text(element_of(part.checksum->algorithm), part.checksum->value);
    xml.close("Part");
  }
  write_owners(xml);
  const std::string& storage_class = upload.options.headers.storage_class;
  xml.text("StorageClass", storage_class.empty() ? "STANDARD" : storage_class);
  write_checksum_kind(xml, upload.options);
  return xml_answer(std::move(xml).take());
}

Reply<Answer> list_multipart_uploads(Call& call) {
  UploadQuery query{.bucket = call.request.bucket,
                    .prefix = std::string(value_of(call.request, "prefix")),
                    .delimiter = std::string(value_of(call.request, "delimiter")),
                    .key_marker = std::string(value_of(call.request, "key-marker"))};
  if (!query.key_marker.empty()) query.id_marker = value_of(call.request, "upload-id-marker");
  TRY(check_list(call, query.prefix));
  TRY_ASSIGN(query.entries_max, number_parameter(call.request, "max-uploads", kEntriesMax, kEntriesMax));
  const bool url_encoded = net::same_name(value_of(call.request, "encoding-type"), "url");
  const auto text = [&](std::string_view value) { return url_encoded ? net::uri_encode_path(value) : std::string(value); };
  TRY_ASSIGN(const UploadPage page, page_of_uploads(call.objects, query));
  XmlWriter xml("ListMultipartUploadsResult");
  xml.text("Bucket", call.request.bucket);
  xml.text("KeyMarker", text(query.key_marker));
  xml.text("UploadIdMarker", query.id_marker);
  xml.text("NextKeyMarker", page.more ? text(page.key_marker) : "");
  xml.text("NextUploadIdMarker", page.more ? page.id_marker : "");
  xml.text("Prefix", text(query.prefix));
  if (!query.delimiter.empty()) xml.text("Delimiter", text(query.delimiter));
  if (url_encoded) xml.text("EncodingType", "url");
  xml.number("MaxUploads", query.entries_max);
  xml.boolean("IsTruncated", page.more);
  for (const volume::ObjectUpload& upload : page.uploads) {
    xml.open("Upload");
    xml.text("Key", text(upload.key));
    xml.text("UploadId", upload.upload_id);
    write_owners(xml);
    const std::string& storage_class = upload.options.headers.storage_class;
    xml.text("StorageClass", storage_class.empty() ? "STANDARD" : storage_class);
    xml.time("Initiated", upload.started_ns);
    write_checksum_kind(xml, upload.options);
    xml.close("Upload");
  }
  for (const std::string& prefix : page.common_prefixes) {
    xml.open("CommonPrefixes");
    xml.text("Prefix", text(prefix));
    xml.close("CommonPrefixes");
  }
  return xml_answer(std::move(xml).take());
}

}  // namespace weir::s3
