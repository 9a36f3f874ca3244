#include "meta/object_facts_form.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "meta/object_attributes.h"
#include "meta/object_namespace.h"
#include "net/encoding.h"

namespace weir::meta {
namespace {

using Facts = format::ObjectFacts;

// User metadata of these names is the inode's, or says what kind of file it is.
constexpr std::array<std::string_view, 4> kShownNames = {"mode", "uid", "gid", "mtime"};
constexpr std::array<std::string_view, 2> kOtherOwnNames = {"rdev", "--symlink-target"};
// Said by `mode` and the like, and by extended attributes, as the file has them now.
constexpr std::array<std::string_view, 5> kForeignNames = {"file-permissions", "file-owner", "file-group", "file-mtime",
                                                           "xattr"};
constexpr std::string_view kOwnPrefix = "weir-";
constexpr std::array<std::string_view, 2> kDefaultTypes = {"application/octet-stream", "binary/octet-stream"};
constexpr size_t kShortBytesMax = 64;  // of a storage class in weir-object

struct HeaderField {
  std::string_view name;
  std::string ufs::ObjectAttributes::*own;
  const std::string& (Facts::*get)() const;
  void (Facts::*set)(std::string&&);
};
constexpr HeaderField kHeaderFields[] = {
    {"content-type", &ufs::ObjectAttributes::content_type, &Facts::content_type, &Facts::set_content_type<std::string>},
    {"content-encoding", &ufs::ObjectAttributes::content_encoding, &Facts::content_encoding, &Facts::set_content_encoding<std::string>},
    {"content-disposition", &ufs::ObjectAttributes::content_disposition, &Facts::content_disposition, &Facts::set_content_disposition<std::string>},
    {"content-language", &ufs::ObjectAttributes::content_language, &Facts::content_language, &Facts::set_content_language<std::string>},
    {"cache-control", &ufs::ObjectAttributes::cache_control, &Facts::cache_control, &Facts::set_cache_control<std::string>},
    {"expires", &ufs::ObjectAttributes::expires, &Facts::expires, &Facts::set_expires<std::string>},
};

template <typename Names>
bool is_among(const Names& names, std::string_view name) {
  return std::ranges::find(names, name) != std::ranges::end(names);
}

bool is_plain_name(std::string_view name) {
  return !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
  });
}
bool is_plain_value(std::string_view value) {
  return std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7f; }) && !value.starts_with(' ') &&
         !value.ends_with(' ');
}

void append(std::string& text, std::string_view name, std::string_view value) {
  if (!text.empty()) text += '&';
  text += net::uri_encode(name) + '=' + net::uri_encode(value);
}

std::vector<std::pair<std::string, std::string>> split(std::string_view text) {
  std::vector<std::pair<std::string, std::string>> pairs;
  while (!text.empty()) {
    const std::string_view entry = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    const size_t equals = entry.find('=');
    if (equals != std::string_view::npos)
      pairs.emplace_back(net::uri_decode(entry.substr(0, equals)), net::uri_decode(entry.substr(equals + 1)));
  }
  return pairs;
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void add_user(Facts& facts, std::string name, std::string value) {
  for (auto& header : *facts.mutable_user()) {
    if (header.name() == name) return header.set_value(std::move(value));
  }
  auto& header = *facts.add_user();
  header.set_name(std::move(name));
  header.set_value(std::move(value));
}

// What was put as user metadata and is not what the file has, because it is nothing that a file can have.
bool is_attribute(std::string_view name, const std::string& value) {
  ufs::ObjectHead head;
  head.attributes.user.emplace(name, value);
  const LowerAttributes said = from_object(head);
  if (name == "mode") return said.permissions.has_value();
  if (name == "uid") return said.uid.has_value();
  if (name == "gid") return said.gid.has_value();
  return said.mtime_ns.has_value();
}

std::string short_facts(const ufs::ObjectAttributes& object, const Inode& inode, const Facts& facts) {
  std::string text;
  const format::ObjectSummary& summary = inode.object();
  const bool holds = summary.content_version() == inode.content_version() && inode.type() == format::REGULAR;
  if (holds && !summary.etag().empty()) append(text, "etag", summary.etag());
  if (holds && facts.checksum_algorithm() != format::NO_CHECKSUM) {
    append(text, "checksum", format::ChecksumAlgorithm_Name(facts.checksum_algorithm()) +
                                 (facts.checksum_composite() ? ":composite:" : ":full:") + facts.checksum());
  }
  if (holds && summary.part_bytes() != 0)
    append(text, "parts", std::to_string(summary.parts()) + ":" + std::to_string(summary.part_bytes()));
  if (!text.empty()) {
    append(text, "size", std::to_string(inode.size()));
    append(text, "mtime", object.user.find("mtime")->second);
  }
  if (!facts.storage_class().empty() && facts.storage_class().size() <= kShortBytesMax)
    append(text, "class", facts.storage_class());
  if (is_among(kDefaultTypes, facts.content_type())) append(text, "type", facts.content_type());
  std::string shown;
  for (const auto& header : facts.user()) {
    if (!is_among(kShownNames, header.name()) || !is_attribute(header.name(), header.value())) continue;
    if (!shown.empty()) shown += ',';
    shown += header.name();
    if (header.value() != object.user.find(header.name())->second) append(text, "as." + header.name(), header.value());
  }
  if (!shown.empty() || text.empty()) append(text, "shown", shown);
  return text;
}

size_t bytes_with(const ufs::UserMetadata& metadata, std::string_view name, std::string_view value) {
  constexpr size_t kPrefixBytes = std::string_view("x-amz-meta-").size();
  size_t bytes = kPrefixBytes + name.size() + value.size();
  for (const auto& [other, other_value] : metadata) bytes += kPrefixBytes + other.size() + other_value.size();
  return bytes;
}

}  // namespace

void add_facts(ufs::ObjectAttributes& object, Xattrs& entries, size_t room, const Inode& inode, const Facts& facts) {
  std::string rest;
  for (const HeaderField& field : kHeaderFields) {
    const std::string& value = (facts.*field.get)();
    const bool says_its_type = field.name == "content-type" && inode.type() == format::SYMLINK;
    if (value.empty() || says_its_type) continue;
    if (is_plain_value(value)) {
      object.*field.own = value;
    } else {
      append(rest, "header." + std::string(field.name), value);
    }
  }
  if (!facts.website_redirect().empty()) append(rest, "header.website-redirect", facts.website_redirect());
  if (facts.storage_class().size() > kShortBytesMax) append(rest, "header.storage-class", facts.storage_class());
  object.user[std::string(kObjectMetadata)] = short_facts(object, inode, facts);
  for (const auto& header : facts.user()) {
    const bool own_name = is_among(kShownNames, header.name()) || is_among(kOtherOwnNames, header.name()) ||
                          is_among(kForeignNames, header.name()) || header.name().starts_with(kOwnPrefix);
    if (is_among(kShownNames, header.name()) && is_attribute(header.name(), header.value())) continue;
    if (!own_name && is_plain_name(header.name()) && is_plain_value(header.value()) &&
        bytes_with(object.user, header.name(), header.value()) <= room) {
      object.user[header.name()] = header.value();
    } else {
      append(rest, "user." + header.name(), header.value());
    }
  }
  for (const auto& tag : facts.tags()) append(rest, "tag." + tag.name(), tag.value());
  if (!rest.empty()) entries.insert_or_assign(std::string(kFactsEntry), std::move(rest));
}

LowerObject facts_of(const ufs::ObjectHead& head) {
  LowerObject object;
  const ufs::UserMetadata& metadata = head.attributes.user;
  const auto put = metadata.find(kObjectMetadata);
  const bool by_weir = metadata.contains(kOwnerMetadata);
  object.put = put != metadata.end();
  object.by_posix = by_weir && !object.put;
  for (const HeaderField& field : kHeaderFields) {
    const std::string& value = head.attributes.*field.own;
    const bool derived = field.name == "content-type" && (is_among(kDefaultTypes, value) || value == kSymlinkContentType ||
                                                          value == kDirectoryContentType);
    if (!value.empty() && !derived) (object.facts.*field.set)(std::string(value));
  }
  std::string shown;
  std::map<std::string, std::string> as;
  if (object.put) {
    std::string size, mtime, etag, checksum, parts;
    for (auto& [name, value] : split(put->second)) {
      if (name == "etag") etag = std::move(value);
      else if (name == "checksum") checksum = std::move(value);
      else if (name == "parts") parts = std::move(value);
      else if (name == "size") size = std::move(value);
      else if (name == "mtime") mtime = std::move(value);
      else if (name == "class") object.facts.set_storage_class(std::move(value));
      else if (name == "type") object.facts.set_content_type(std::move(value));
      else if (name == "shown") shown = "," + value + ",";
      else if (name.starts_with("as.")) as[name.substr(3)] = std::move(value);
    }
    // Tools that write an object anew often keep its metadata, but not its size and mtime.
    const auto mtime_now = metadata.find("mtime");
    if (parse_number<uint64_t>(size) == head.info.size_bytes && mtime_now != metadata.end() && mtime_now->second == mtime) {
      object.etag = std::move(etag);
      const size_t first = checksum.find(':'), second = checksum.find(':', first + 1);
      format::ChecksumAlgorithm algorithm{};
      if (first != std::string::npos && second != std::string::npos &&
          format::ChecksumAlgorithm_Parse(checksum.substr(0, first), &algorithm)) {
        object.facts.set_checksum_algorithm(algorithm);
        object.facts.set_checksum_composite(checksum.substr(first, second - first) == ":composite");
        object.facts.set_checksum(checksum.substr(second + 1));
      }
      if (const size_t colon = parts.find(':'); colon != std::string::npos) {
        const auto count = parse_number<uint32_t>(std::string_view(parts).substr(0, colon));
        const auto bytes = parse_number<uint64_t>(std::string_view(parts).substr(colon + 1));
        const bool fits = count && bytes && *bytes != 0 && *count <= kPartsOfObjectMax &&
                          (head.info.size_bytes + *bytes - 1) / *bytes == *count;
        if (fits) {
          object.parts = *count;
          object.part_bytes = *bytes;
        }
      }
    }
  }
  for (const auto& [name, value] : metadata) {
    if (name.starts_with(kOwnPrefix) || is_among(kOtherOwnNames, name)) continue;
    const bool hidden = is_among(kShownNames, name) && by_weir && !shown.contains("," + name + ",");
    if (!hidden) add_user(object.facts, name, as.contains(name) ? as[name] : value);
  }
  return object;
}

void take_facts_entry(Xattrs& xattrs, LowerObject& object) {
  const auto it = xattrs.find(kFactsEntry);
  if (it == xattrs.end()) return;
  Facts& facts = object.facts;
  for (auto& [key, value] : split(it->second)) {
    const size_t dot = key.find('.');
    if (dot == std::string::npos) continue;
    const std::string_view kind = std::string_view(key).substr(0, dot);
    std::string name = key.substr(dot + 1);
    if (kind == "user") {
      add_user(facts, std::move(name), std::move(value));
    } else if (kind == "tag") {
      auto& tag = *facts.add_tags();
      tag.set_name(std::move(name));
      tag.set_value(std::move(value));
    } else if (kind == "header" && name == "website-redirect") {
      facts.set_website_redirect(std::move(value));
    } else if (kind == "header" && name == "storage-class") {
      facts.set_storage_class(std::move(value));
    } else if (kind == "header") {
      for (const HeaderField& field : kHeaderFields) {
        if (field.name == name) (facts.*field.set)(std::string(value));
      }
    }
  }
  xattrs.erase(it);
}

}  // namespace weir::meta
