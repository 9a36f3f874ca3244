#include "s3/xml.h"

#include <pugixml.hpp>

#include "net/encoding.h"
#include "net/s3_xml.h"
#include "s3/checksums.h"
#include "s3/request.h"

namespace weir::s3 {
namespace {

constexpr size_t kTagKeyCharactersMax = 128;
constexpr size_t kTagValueCharactersMax = 256;

// The length in bytes of the UTF-8 character at the start; 0 when there is none.
size_t character_size(std::string_view text) {
  for (size_t size = 1; size <= 4 && size <= text.size(); ++size)
    if (net::is_utf8(text.substr(0, size))) return size;
  return 0;
}

void append_escaped(std::string& out, std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c >= 0x80) {
      const size_t size = character_size(text.substr(i));
      out += size == 0 ? std::string_view("\xef\xbf\xbd") : text.substr(i, size);
      i += std::max<size_t>(size, 1);
      continue;
    }
    ++i;
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default:
        if (c < 0x20) {
          out += "&#x";
          out += "0123456789ABCDEF"[c >> 4];
          out += "0123456789ABCDEF"[c & 15];
          out += ';';
        } else {
          out += static_cast<char>(c);
        }
    }
  }
}

Reply<pugi::xml_node> root(pugi::xml_document& document, std::string_view xml, std::string_view name) {
  // No flag that expands anything but character references and the five entities of XML itself.
  const auto parsed = document.load_buffer(xml.data(), xml.size(), pugi::parse_cdata | pugi::parse_escapes | pugi::parse_eol);
  if (parsed) {
    const pugi::xml_node node = document.document_element();
    const std::string_view full = node.name();
    const size_t colon = full.find(':');
    if ((colon == std::string_view::npos ? full : full.substr(colon + 1)) == name) return node;
  }
  return refuse(Code::kMalformedXml, "The XML you provided is not a " + std::string(name) + " document");
}

size_t characters(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

}  // namespace

XmlWriter::XmlWriter(std::string_view root, std::string_view attributes) : root_(root), text_(kXmlDeclaration) {
  text_ += '<';
  text_ += root;
  text_ += attributes;
  text_ += '>';
}

void XmlWriter::open(std::string_view name) {
  text_ += '<';
  text_ += name;
  text_ += '>';
}

void XmlWriter::close(std::string_view name) {
  text_ += "</";
  text_ += name;
  text_ += '>';
}

void XmlWriter::text(std::string_view name, std::string_view value) {
  open(name);
  append_escaped(text_, value);
  close(name);
}

void XmlWriter::raw(std::string_view name, std::string_view value) {
  open(name);
  text_ += value;
  close(name);
}

void XmlWriter::time(std::string_view name, int64_t unix_ns) { raw(name, net::iso_date(from_unix_ns(unix_ns))); }

void XmlWriter::etag(std::string_view name, std::string_view etag) { text(name, '"' + std::string(etag) + '"'); }

std::string XmlWriter::take() && {
  close(root_);
  return std::move(text_);
}

std::string error_xml(const Refusal& refusal, std::string_view resource, std::string_view request_id) {
  XmlWriter xml("Error", "");
  xml.text("Code", name_of(refusal.code));
  xml.text("Message", refusal.message);
  for (const auto& [name, value] : refusal.details) xml.text(name, value);
  xml.text("Resource", resource);
  xml.text("RequestId", request_id);
  return std::move(xml).take();
}

Reply<DeleteRequest> parse_delete(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node node, root(document, xml, "Delete"));
  DeleteRequest request;
  request.quiet = std::string_view(node.child_value("Quiet")) == "true";
  for (const pugi::xml_node object : node.children("Object")) {
    if (!object.child("Key")) return refuse(Code::kMalformedXml, "An Object of the Delete document has no Key");
    if (request.entries.size() == volume::kObjectsErasedMax) {
      return refuse(Code::kMalformedXml,
                    "The Delete document has more than " + std::to_string(volume::kObjectsErasedMax) + " objects");
    }
    request.entries.push_back({.key = object.child_value("Key"),
                               .version_id = object.child_value("VersionId"),
                               .etag = std::string(net::without_quotes(object.child_value("ETag")))});
  }
  if (request.entries.empty()) return refuse(Code::kMalformedXml, "The Delete document has no Object");
  return request;
}

Reply<std::vector<volume::CompletedPart>> parse_complete(std::string_view xml, std::optional<ChecksumAlgorithm> algorithm) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node node, root(document, xml, "CompleteMultipartUpload"));
  std::vector<volume::CompletedPart> parts;
  for (const pugi::xml_node item : node.children("Part")) {
    const auto number = parse_number(item.child_value("PartNumber"));
    if (!number || *number == 0 || *number > volume::kObjectPartsMax) {
      return refuse(Refusal(Code::kInvalidArgument, "PartNumber must be an integer between 1 and 10000, inclusive")
                        .with("ArgumentName", "partNumber")
                        .with("ArgumentValue", item.child_value("PartNumber")));
    }
    if (parts.size() == volume::kObjectPartsMax) return refuse(Code::kTooManyParts);
    volume::CompletedPart part{.number = static_cast<uint32_t>(*number),
                               .etag = std::string(net::without_quotes(item.child_value("ETag")))};
    const pugi::xml_node value = algorithm ? item.child(std::string(element_of(*algorithm)).c_str()) : pugi::xml_node();
    if (value) part.checksum = value.child_value();
    parts.push_back(std::move(part));
  }
  if (parts.empty()) return refuse(Code::kMalformedXml, "The CompleteMultipartUpload document has no Part");
  return parts;
}

Reply<void> check_tags(const volume::ObjectTags& tags) {
  if (tags.size() > volume::kObjectTagsMax)
    return refuse(Code::kInvalidTag, "Object tags cannot be greater than " + std::to_string(volume::kObjectTagsMax));
  for (const auto& [key, value] : tags) {
    if (key.empty() || characters(key) > kTagKeyCharactersMax) return refuse(Code::kInvalidTag, "The TagKey you have provided is invalid");
    if (characters(value) > kTagValueCharactersMax) return refuse(Code::kInvalidTag, "The TagValue you have provided is invalid");
    if (!net::is_utf8(key) || !net::is_utf8(value)) return refuse(Code::kInvalidTag, "Tags are UTF-8");
  }
  return {};
}

Reply<volume::ObjectTags> parse_tagging(std::string_view xml) {
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node node, root(document, xml, "Tagging"));
  if (!node.child("TagSet")) return refuse(Code::kMalformedXml, "The Tagging document has no TagSet");
  volume::ObjectTags tags;
  for (const pugi::xml_node tag : node.child("TagSet").children("Tag")) {
    if (!tags.emplace(tag.child_value("Key"), tag.child_value("Value")).second)
      return refuse(Code::kInvalidTag, "Cannot provide multiple Tags with the same key");
    if (tags.size() > volume::kObjectTagsMax) break;
  }
  TRY(check_tags(tags));
  return tags;
}

std::string tagging_xml(const volume::ObjectTags& tags) {
  XmlWriter xml("Tagging");
  xml.open("TagSet");
  for (const auto& [key, value] : tags) {
    xml.open("Tag");
    xml.text("Key", key);
    xml.text("Value", value);
    xml.close("Tag");
  }
  xml.close("TagSet");
  return std::move(xml).take();
}

Reply<std::string> parse_create_bucket(std::string_view xml) {
  if (xml.find_first_not_of(" \t\r\n") == std::string_view::npos) return std::string();
  pugi::xml_document document;
  TRY_ASSIGN(const pugi::xml_node node, root(document, xml, "CreateBucketConfiguration"));
  return std::string(node.child_value("LocationConstraint"));
}

}  // namespace weir::s3
