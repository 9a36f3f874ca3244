#include "net/s3_xml.h"

#include <algorithm>
#include <cstdlib>
#include <pugixml.hpp>
#include <sstream>

#include "net/encoding.h"

namespace weir::net {
namespace {

// The root element when it has this name, whatever its namespace.
Result<pugi::xml_node> root(pugi::xml_document& document, std::string_view xml,
                            std::initializer_list<std::string_view> names) {
  const auto parsed = document.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_ws_pcdata_single);
  if (parsed) {
    for (const pugi::xml_node node : document.children()) {
      for (const std::string_view name : names) {
        if (node.name() == name) return node;
      }
    }
  }
  return fail(ErrorCode::kCorrupt, "the store's answer is not a " + std::string(*names.begin()) + " document");
}

std::string text(pugi::xml_node node, const char* name) { return node.child_value(name); }
std::string etag(pugi::xml_node node) { return std::string(without_quotes(node.child_value("ETag"))); }
uint64_t number(pugi::xml_node node, const char* name) { return std::strtoull(node.child_value(name), nullptr, 10); }
bool is_true(pugi::xml_node node, const char* name) { return std::string_view(node.child_value(name)) == "true"; }
WallTime date(pugi::xml_node node, const char* name) {
  return parse_iso_date(node.child_value(name)).value_or(WallTime{});
}

S3Error error_of(pugi::xml_node node) { return {text(node, "Code"), text(node, "Message"), text(node, "Region")}; }

std::string print(const pugi::xml_document& document) {
  std::ostringstream out;
  document.save(out, "", pugi::format_raw | pugi::format_no_declaration);
  return std::move(out).str();
}

void add(pugi::xml_node parent, const char* name, const std::string& value) {
  parent.append_child(name).append_child(pugi::node_pcdata).set_value(value.c_str());
}

}  // namespace

std::optional<S3Error> parse_s3_error(std::string_view xml) {
  pugi::xml_document document;
  const auto error = root(document, xml, {"Error"});
  if (!error) return std::nullopt;
  return error_of(*error);
}

Result<S3ListPage> parse_list_objects_v2(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node result, root(document, xml, {"ListBucketResult"}));
  const bool encoded = std::string_view(result.child_value("EncodingType")) == "url";
  const auto key_of = [&](const char* value) { return encoded ? form_decode(value) : std::string(value); };
  S3ListPage page;
  for (const pugi::xml_node node : result.children("Contents")) {
    page.objects.push_back(
        {key_of(node.child_value("Key")), number(node, "Size"), etag(node), date(node, "LastModified")});
  }
  for (const pugi::xml_node node : result.children("CommonPrefixes")) {
    page.prefixes.push_back(key_of(node.child_value("Prefix")));
  }
  if (is_true(result, "IsTruncated")) {
    page.next_token = text(result, "NextContinuationToken");
    if (page.next_token.empty()) {
      return fail(ErrorCode::kCorrupt, "the store's listing is truncated but has no continuation token");
    }
  }
  return page;
}

Result<S3PartPage> parse_list_parts(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node result, root(document, xml, {"ListPartsResult"}));
  S3PartPage page;
  for (const pugi::xml_node node : result.children("Part")) {
    page.parts.push_back({static_cast<uint32_t>(number(node, "PartNumber")), etag(node), number(node, "Size"),
                          text(node, "ChecksumCRC32C")});
  }
  if (is_true(result, "IsTruncated")) page.next_marker = text(result, "NextPartNumberMarker");
  return page;
}

Result<S3UploadPage> parse_list_uploads(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node result, root(document, xml, {"ListMultipartUploadsResult"}));
  const bool encoded = std::string_view(result.child_value("EncodingType")) == "url";
  const auto key_of = [&](const char* value) { return encoded ? form_decode(value) : std::string(value); };
  S3UploadPage page;
  for (const pugi::xml_node node : result.children("Upload")) {
    page.uploads.push_back({key_of(node.child_value("Key")), text(node, "UploadId"), date(node, "Initiated")});
  }
  page.truncated = is_true(result, "IsTruncated");
  page.next_key_marker = key_of(result.child_value("NextKeyMarker"));
  page.next_upload_id_marker = text(result, "NextUploadIdMarker");
  return page;
}

Result<std::string> parse_upload_id(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node result, root(document, xml, {"InitiateMultipartUploadResult"}));
  std::string id = text(result, "UploadId");
  if (id.empty()) return fail(ErrorCode::kCorrupt, "the store's answer has no UploadId");
  return id;
}

Result<S3Written> parse_written(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node result,
             root(document, xml, {"CompleteMultipartUploadResult", "CopyObjectResult", "CopyPartResult"}));
  S3Written written{etag(result), text(result, "ChecksumCRC32C")};
  if (written.etag.empty()) return fail(ErrorCode::kCorrupt, "the store's answer has no ETag");
  return written;
}

Result<std::vector<S3DeleteError>> parse_delete_result(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node result, root(document, xml, {"DeleteResult"}));
  std::vector<S3DeleteError> errors;
  for (const pugi::xml_node node : result.children("Error")) errors.push_back({text(node, "Key"), error_of(node)});
  return errors;
}

std::string complete_multipart_xml(const std::vector<S3Part>& parts) {
  pugi::xml_document document;
  pugi::xml_node upload = document.append_child("CompleteMultipartUpload");
  for (const S3Part& part : parts) {
    pugi::xml_node node = upload.append_child("Part");
    add(node, "PartNumber", std::to_string(part.number));
    add(node, "ETag", '"' + part.etag + '"');
    if (!part.crc32c.empty()) add(node, "ChecksumCRC32C", part.crc32c);
  }
  return print(document);
}

std::string delete_xml(const std::vector<std::string>& keys) {
  pugi::xml_document document;
  pugi::xml_node request = document.append_child("Delete");
  add(request, "Quiet", "true");
  for (const std::string& key : keys) add(request.append_child("Object"), "Key", key);
  return print(document);
}

bool xml_can_carry(std::string_view text) {
  for (const char* barred : {"\xef\xbf\xbe", "\xef\xbf\xbf"}) {  // U+FFFE, U+FFFF
    if (text.contains(barred)) return false;
  }
  const bool clean = std::ranges::none_of(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  return clean && is_utf8(text);
}

std::string_view without_quotes(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return etag;
}

}  // namespace weir::net
