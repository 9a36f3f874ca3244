// GetObject, HeadObject, PutObject, DeleteObject, DeleteObjects, CopyObject, RenameObject, GetObjectAttributes.
#include <algorithm>
#include <array>
#include <optional>

#include "base/no_wait.h"
#include "net/encoding.h"
#include "net/s3_xml.h"
#include "s3/operations.h"
#include "s3/xml.h"

namespace weir::s3 {
namespace {

constexpr std::string_view kDefaultContentType = "binary/octet-stream";

void add_unless_empty(net::Headers& headers, std::string_view name, std::string_view value) {
  if (!value.empty()) headers.push_back({std::string(name), std::string(value)});
}

// What 200, 206 and 304 say of an object.
void add_object(net::Headers& headers, const volume::Object& object) {
  headers.push_back({"ETag", in_quotes(object.etag)});
  headers.push_back({"Last-Modified", net::http_date(from_unix_ns(object.modified_ns))});
  add_state(headers, object.state);
}

// The headers kept with it, or those that the query says instead.
void add_kept(net::Headers& headers, const Request& request, const volume::ObjectHeaders& kept) {
  const auto add = [&](std::string_view name, std::string_view parameter, std::string_view value) {
    const std::string* given = request.parameter(parameter);
    add_unless_empty(headers, name, given == nullptr ? value : std::string_view(*given));
  };
  add("Content-Type", "response-content-type",
      kept.content_type.empty() ? kDefaultContentType : std::string_view(kept.content_type));
  add("Content-Encoding", "response-content-encoding", kept.content_encoding);
  add("Content-Disposition", "response-content-disposition", kept.content_disposition);
  add("Content-Language", "response-content-language", kept.content_language);
  add("Cache-Control", "response-cache-control", kept.cache_control);
  add("Expires", "response-expires", kept.expires);
  add_unless_empty(headers, "x-amz-website-redirect-location", kept.website_redirect);
  add_unless_empty(headers, "x-amz-storage-class", kept.storage_class);
  for (const auto& [name, value] : kept.user) headers.push_back({"x-amz-meta-" + name, value});
}

// Values of the query must not end a header and begin another.
Reply<void> check_overrides(const Request& request) {
  for (const net::QueryParameter& parameter : request.query) {
    const auto bad = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (parameter.name.starts_with("response-") && std::ranges::any_of(parameter.value, bad))
      return refuse(Refusal(Code::kInvalidArgument, "A header value has control characters").with("ArgumentName", parameter.name));
  }
  return {};
}

bool wants_checksum(const Request& request) { return net::same_name(request.header("x-amz-checksum-mode"), "enabled"); }

// Whether If-Range lets a Range be.
bool range_holds(const Request& request, const volume::Object& object) {
  const std::string_view condition = request.header("if-range");
  if (condition.empty()) return true;
  if (const auto date = net::parse_http_date(condition))
    return std::chrono::floor<std::chrono::seconds>(from_unix_ns(object.modified_ns)) == *date;
  return net::without_quotes(condition) == object.etag;
}

// What of the object is asked for, by Range or partNumber, in the headers and in `offset` and `size`.
Reply<void> choose_extent(const Request& request, volume::ObjectReader* reader, const volume::Object& object, Answer& answer) {
  answer.offset = 0;
  answer.size = object.size;
  bool part_of_it = false;
  std::optional<ObjectChecksum> checksum = object.checksum;
  if (request.parameter("partNumber") != nullptr) {
    if (!request.header("range").empty())
      return refuse(Code::kInvalidRequest, "Cannot specify both Range header and partNumber query parameter");
    TRY_ASSIGN(const uint32_t number, part_number(request));
    TRY_ASSIGN(const auto extent, reader->part(number));
    answer.offset = extent.offset;
    answer.size = extent.size;
    part_of_it = true;
    if (object.parts != 0) {
      answer.headers.push_back({"x-amz-mp-parts-count", std::to_string(object.parts)});
      TRY_ASSIGN(const auto parts, reader->parts(number - 1, 1));
      checksum = parts.empty() ? std::nullopt : parts.front().checksum;
    }
  } else if (const std::string_view range = request.header("range"); !range.empty() && range_holds(request, object)) {
    TRY_ASSIGN(const auto extent, parse_range(range, object.size));
    if (extent) {
      answer.offset = extent->offset;
      answer.size = extent->size;
      part_of_it = true;
      // What is known is the checksum of the whole.
      if (extent->size != object.size) checksum.reset();
    }
  }
  if (part_of_it && object.size != 0) {
    answer.status = 206;
    answer.headers.push_back({"Content-Range", "bytes " + std::to_string(answer.offset) + '-' +
                                                   std::to_string(answer.offset + answer.size - 1) + '/' +
                                                   std::to_string(object.size)});
  }
  if (wants_checksum(request)) add_checksum(answer.headers, checksum);
  return {};
}

Reply<Answer> not_modified_answer(const volume::Object& object) {
  Answer answer = empty_answer(304);
  add_object(answer.headers, object);
  return answer;
}

Reply<Answer> read_answer(const Call& call, volume::ObjectReader* reader, const volume::Object& object) {
  Answer answer;
  add_object(answer.headers, object);
  answer.headers.push_back({"Accept-Ranges", "bytes"});
  add_kept(answer.headers, call.request, object.headers);
  if (object.tags != 0) answer.headers.push_back({"x-amz-tagging-count", std::to_string(object.tags)});
  TRY(choose_extent(call.request, reader, object, answer));
  return answer;
}

Reply<void> prepare_read(const Call& call) {
  TRY(check_access(call, Access::kRead, call.request.bucket, call.request.key));
  TRY(check_version(call.request));
  return check_overrides(call.request);
}

class PutIntake final : public Intake {
 public:
  PutIntake(std::unique_ptr<volume::PutWriter> writer, volume::PutFacts facts, volume::ObjectConditions conditions,
            volume::ObjectDurability durability, ChecksumAlgorithm checksum, net::Headers headers)
      : writer_(std::move(writer)),
        facts_(std::move(facts)),
        conditions_(std::move(conditions)),
        durability_(durability),
        checksum_(checksum),
        headers_(std::move(headers)) {}

  std::optional<ChecksumAlgorithm> kept_checksum() const override { return checksum_; }

  Reply<void> write(std::span<const std::byte> bytes) override {
    TRY(writer_->write(bytes));
    return {};
  }

  Reply<Answer> finish(const PayloadFacts& payload) override {
    facts_.etag = payload.md5;
    facts_.checksum = payload.checksum;
    TRY_ASSIGN(const volume::Object object, writer_->commit(facts_, conditions_, durability_));
    Answer answer{.headers = headers_};
    answer.headers.push_back({"ETag", in_quotes(object.etag)});
    add_checksum(answer.headers, object.checksum);
    add_state(answer.headers, object.state);
    return answer;
  }

 private:
  const std::unique_ptr<volume::PutWriter> writer_;
  volume::PutFacts facts_;
  const volume::ObjectConditions conditions_;
  const volume::ObjectDurability durability_;
  const ChecksumAlgorithm checksum_;
  const net::Headers headers_;
};

// COPY or REPLACE.
Reply<bool> replaces(const Call& call, std::string_view header) {
  const std::string_view directive = call.header(header);
  if (directive.empty() || directive == "COPY") return false;
  if (directive == "REPLACE") return true;
  return refuse(Refusal(Code::kInvalidArgument, "Unknown directive: it must be COPY or REPLACE").with("ArgumentName", std::string(header)));
}

std::string written_xml(std::string_view root, const volume::Object& object) {
  XmlWriter xml(root);
  xml.time("LastModified", object.modified_ns);
  xml.etag("ETag", object.etag);
  if (object.checksum) {
    xml.text(element_of(object.checksum->algorithm), object.checksum->value);
    xml.text("ChecksumType", name_of(object.checksum->type));
  }
  return std::move(xml).take();
}

// The error of one key, and its place in the answer to a batch.
void add_delete_error(XmlWriter& xml, std::string_view key, const Refusal& refusal) {
  xml.open("Error");
  xml.text("Key", key);
  xml.text("Code", name_of(refusal.code));
  xml.text("Message", refusal.message);
  xml.close("Error");
}

}  // namespace

Reply<Answer> get_object(Call& call) {
  TRY(prepare_read(call));
  bool not_modified = false;
  TRY_ASSIGN(auto reader, call.objects.open(call.name(), read_conditions(call.request), &not_modified));
  if (not_modified) return not_modified_answer(reader->object());
  TRY_ASSIGN(Answer answer, read_answer(call, reader.get(), reader->object()));
  answer.content = std::move(reader);
  return answer;
}

Reply<Answer> head_object(Call& call) {
  TRY(prepare_read(call));
  bool not_modified = false;
  std::unique_ptr<volume::ObjectReader> reader;
  volume::Object object;
  // Only a part of an object needs more than its head.
  if (call.request.parameter("partNumber") != nullptr) {
    TRY_ASSIGN(reader, call.objects.open(call.name(), read_conditions(call.request), &not_modified));
    object = reader->object();
  } else {
    TRY_ASSIGN(object, call.objects.head(call.name(), read_conditions(call.request), &not_modified));
  }
  if (not_modified) return not_modified_answer(object);
  TRY_ASSIGN(Answer answer, read_answer(call, reader.get(), object));
  answer.content_length = answer.size;
  return answer;
}

Reply<std::unique_ptr<Intake>> put_object(Call& call) {
  TRY(check_access(call, Access::kWrite, call.request.bucket, call.request.key));
  TRY(refuse_unsupported(call.request));
  volume::PutFacts facts;
  TRY_ASSIGN(facts.headers, object_headers(call.request));
  TRY_ASSIGN(facts.tags, header_tags(call.request));
  TRY_ASSIGN(auto conditions, write_conditions(call.request));
  TRY_ASSIGN(const auto wanted, durability(call));
  TRY_ASSIGN(auto writer, call.objects.put(call.name()));
  net::Headers headers;
  add_encryption(call.request, headers);
  // S3 computes this one when the client gives none.
  const auto checksum = call.promise.algorithm.value_or(ChecksumAlgorithm::kCrc64Nvme);
  return std::make_unique<PutIntake>(std::move(writer), std::move(facts), std::move(conditions), wanted, checksum, std::move(headers));
}

Reply<Answer> delete_object(Call& call) {
  TRY(check_access(call, Access::kWrite, call.request.bucket, call.request.key));
  TRY(check_version(call.request));
  const volume::ObjectConditions conditions{.if_match = read_conditions(call.request).if_match};
  TRY_ASSIGN(const auto wanted, durability(call));
  TRY(call.objects.erase(call.name(), conditions, wanted));
  return empty_answer(204);
}

Reply<Answer> delete_objects(Call& call) {
  TRY_ASSIGN(const DeleteRequest request, parse_delete(call.body));
  if (call.promise.md5.empty() && !call.promise.algorithm && call.promise.sha256.empty()) {
    return refuse(Code::kInvalidRequest, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
  }
  TRY_ASSIGN(const auto wanted, durability(call));
  // A second call would find what the first one erased gone, and take it for a condition that failed.
  if (std::ranges::any_of(request.entries, [](const auto& entry) { return !entry.etag.empty(); })) TRY(NoWait::check());
  // Whether each was erased; those that need no condition are erased together.
  std::vector<Reply<void>> outcomes(request.entries.size());
  std::vector<std::string> keys;
  std::vector<size_t> places;
  for (size_t i = 0; i < request.entries.size(); ++i) {
    const DeleteRequest::Entry& entry = request.entries[i];
    if (auto allowed = check_access(call, Access::kWrite, call.request.bucket, entry.key); !allowed) {
      outcomes[i] = std::move(allowed);
    } else if (!entry.version_id.empty() && entry.version_id != "null") {
      outcomes[i] = refuse(Code::kNoSuchVersion);
    } else if (!entry.etag.empty()) {
      auto erased = call.objects.erase({call.request.bucket, entry.key}, {.if_match = {entry.etag}}, wanted);
      if (!erased) outcomes[i] = refuse(Refusal(erased.error()));
    } else {
      keys.push_back(entry.key);
      places.push_back(i);
    }
  }
  if (!keys.empty()) {
    const auto erased = call.objects.erase(call.request.bucket, keys, wanted);
    for (size_t i = 0; i < erased.size(); ++i)
      if (!erased[i]) outcomes[places[i]] = refuse(Refusal(erased[i].error()));
  }
  XmlWriter xml("DeleteResult");
  for (size_t i = 0; i < outcomes.size(); ++i) {
    if (!outcomes[i]) {
      if (outcomes[i].error().code == Code::kWouldWait || outcomes[i].error().code == Code::kNoSuchBucket)
        return refuse(outcomes[i].error());
      add_delete_error(xml, request.entries[i].key, outcomes[i].error());
    } else if (!request.quiet) {
      xml.open("Deleted");
      xml.text("Key", request.entries[i].key);
      if (!request.entries[i].version_id.empty()) xml.text("VersionId", request.entries[i].version_id);
      xml.close("Deleted");
    }
  }
  return xml_answer(std::move(xml).take());
}

Reply<Answer> copy_object(Call& call) {
  TRY_ASSIGN(const CopySource source, parse_copy_source(call.header("x-amz-copy-source")));
  TRY(check_access(call, Access::kRead, source.bucket, source.key));
  TRY(check_access(call, Access::kWrite, call.request.bucket, call.request.key));
  TRY(refuse_unsupported(call.request));
  volume::CopyOptions options;
  options.source_conditions = read_conditions(call.request, "x-amz-copy-source-");
  TRY_ASSIGN(options.conditions, write_conditions(call.request));
  TRY_ASSIGN(const bool new_headers, replaces(call, "x-amz-metadata-directive"));
  TRY_ASSIGN(const bool new_tags, replaces(call, "x-amz-tagging-directive"));
  TRY_ASSIGN(volume::ObjectHeaders headers, object_headers(call.request));
  const bool same_place = source.bucket == call.request.bucket && source.key == call.request.key;
  const bool changes = new_headers || new_tags || !headers.storage_class.empty() || !headers.website_redirect.empty() ||
                       !call.header("x-amz-checksum-algorithm").empty() || !call.header("x-amz-server-side-encryption").empty();
  if (same_place && !changes) {
    return refuse(Code::kInvalidRequest,
                  "This copy request is illegal because it is trying to copy an object to itself without changing the object's "
                  "metadata, storage class, website redirect location or encryption attributes.");
  }
  if (new_headers) options.headers = std::move(headers);
  if (new_tags) {
    TRY_ASSIGN(options.tags, header_tags(call.request));
  }
  if (const std::string_view name = call.header("x-amz-checksum-algorithm"); !name.empty()) {
    options.checksum = find_algorithm(name);
    if (!options.checksum) return refuse(Code::kInvalidRequest, "Checksum algorithm provided is unsupported: " + std::string(name));
  }
  TRY_ASSIGN(options.durability, durability(call));
  TRY_ASSIGN(const volume::Object object, call.objects.copy({source.bucket, source.key}, call.name(), options));
  Answer answer = xml_answer(written_xml("CopyObjectResult", object));
  add_encryption(call.request, answer.headers);
  add_state(answer.headers, object.state);
  return answer;
}

Reply<Answer> rename_object(Call& call) {
  std::string_view text = call.header("x-amz-rename-source");
  if (text.empty()) return refuse(Code::kInvalidRequest, "Missing required header for this request: x-amz-rename-source");
  // A key of the same bucket, or a path with it.
  if (text.starts_with('/')) text.remove_prefix(1);
  std::string source = net::uri_decode(text);
  if (source.starts_with(call.request.bucket + '/')) source.erase(0, call.request.bucket.size() + 1);
  TRY(check_access(call, Access::kWrite, call.request.bucket, source));
  TRY(check_access(call, Access::kWrite, call.request.bucket, call.request.key));
  TRY(call.objects.rename({call.request.bucket, source}, call.request.key, read_conditions(call.request, "x-amz-rename-source-"),
                          read_conditions(call.request)));
  return empty_answer(200);
}

Reply<Answer> get_object_attributes(Call& call) {
  TRY(prepare_read(call));
  std::string_view names = call.header("x-amz-object-attributes");
  if (names.empty()) return refuse(Code::kInvalidRequest, "Missing required header for this request: x-amz-object-attributes");
  const auto wants = [&](std::string_view name) {
    for (std::string_view rest = names; !rest.empty();) {
      const size_t comma = rest.find(',');
      std::string_view item = rest.substr(0, comma);
      while (item.starts_with(' ')) item.remove_prefix(1);
      while (item.ends_with(' ')) item.remove_suffix(1);
      if (item == name) return true;
      rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
    }
    return false;
  };
  const auto number_header = [&](std::string_view name, uint64_t otherwise) -> Reply<uint64_t> {
    const std::string_view text = call.header(name);
    if (text.empty()) return otherwise;
    const auto number = parse_number(text);
    if (!number || *number > INT32_MAX) return refuse(Code::kInvalidArgument, std::string(name) + " is no number");
    return *number;
  };
  TRY_ASSIGN(const uint64_t after, number_header("x-amz-part-number-marker", 0));
  TRY_ASSIGN(const uint64_t parts_asked, number_header("x-amz-max-parts", 1'000));
  const uint64_t parts_max = std::min<uint64_t>(parts_asked, 1'000);
  bool not_modified = false;
  TRY_ASSIGN(const auto reader, call.objects.open(call.name(), read_conditions(call.request), &not_modified));
  const volume::Object& object = reader->object();
  if (not_modified) return not_modified_answer(object);
  XmlWriter xml("GetObjectAttributesResponse");
  if (wants("ETag")) xml.text("ETag", object.etag);
  if (wants("Checksum") && object.checksum) {
    xml.open("Checksum");
    xml.text(element_of(object.checksum->algorithm), object.checksum->value);
    xml.text("ChecksumType", name_of(object.checksum->type));
    xml.close("Checksum");
  }
  if (wants("ObjectParts") && object.parts != 0) {
    TRY_ASSIGN(auto parts, reader->parts(static_cast<uint32_t>(after), parts_max + 1));
    const bool more = parts.size() > parts_max;
    if (more) parts.pop_back();
    xml.open("ObjectParts");
    xml.number("TotalPartsCount", object.parts);
    xml.number("PartNumberMarker", after);
    xml.number("NextPartNumberMarker", parts.empty() ? after : parts.back().number);
    xml.number("MaxParts", parts_max);
    xml.boolean("IsTruncated", more);
    for (const volume::ObjectPart& part : parts) {
      xml.open("Part");
      xml.number("PartNumber", part.number);
      xml.number("Size", part.size);
      if (part.checksum) xml.text(element_of(part.checksum->algorithm), part.checksum->value);
      xml.close("Part");
    }
    xml.close("ObjectParts");
  }
  if (wants("StorageClass")) xml.text("StorageClass", object.headers.storage_class.empty() ? "STANDARD" : object.headers.storage_class);
  if (wants("ObjectSize")) xml.number("ObjectSize", object.size);
  Answer answer = xml_answer(std::move(xml).take());
  answer.headers.push_back({"Last-Modified", net::http_date(from_unix_ns(object.modified_ns))});
  return answer;
}

}  // namespace weir::s3
