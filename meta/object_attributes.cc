#include "meta/object_attributes.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <utility>

#include "meta/object_facts_form.h"
#include "net/digest.h"
#include "net/encoding.h"

namespace weir::meta {
namespace {

constexpr int64_t kSecondNs = 1'000'000'000;
constexpr int64_t kMillisecondNs = 1'000'000;
constexpr uint32_t kPermissionBits = 07777;

// Names of other dialects that say what ours say.
constexpr std::array<std::string_view, 5> kForeignAttributes = {"file-permissions", "file-owner", "file-group",
                                                                "file-mtime", "xattr"};
constexpr std::string_view kMetadataPrefix = "x-amz-meta-";
constexpr size_t kSidecarNameDigestBytes = 16;

uint32_t type_bits(FileType type) {
  switch (type) {
    case format::DIRECTORY: return S_IFDIR;
    case format::FIFO: return S_IFIFO;
    case format::SOCKET: return S_IFSOCK;
    case format::CHAR_DEVICE: return S_IFCHR;
    case format::BLOCK_DEVICE: return S_IFBLK;
    default: return S_IFREG;
  }
}

std::optional<FileType> special_type(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFIFO: return format::FIFO;
    case S_IFSOCK: return format::SOCKET;
    case S_IFCHR: return format::CHAR_DEVICE;
    case S_IFBLK: return format::BLOCK_DEVICE;
    case S_IFLNK: return format::SYMLINK;
    default: return std::nullopt;
  }
}

bool has_type(uint32_t mode) { return special_type(mode) || S_ISREG(mode) || S_ISDIR(mode); }

template <typename T>
std::optional<T> parse(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// One bounded digit run at the front of `text`, which it removes.
std::optional<int> take_digits(std::string_view* text, size_t digits) {
  if (text->size() < digits) return std::nullopt;
  const auto value = parse<unsigned>(text->substr(0, digits));
  text->remove_prefix(digits);
  if (!value) return std::nullopt;
  return static_cast<int>(*value);
}

bool take_char(std::string_view* text, char c) {
  if (!text->starts_with(c)) return false;
  text->remove_prefix(1);
  return true;
}

std::optional<int64_t> to_ns(int64_t seconds, int64_t ns) {
  int64_t total;
  if (__builtin_mul_overflow(seconds, kSecondNs, &total) || __builtin_add_overflow(total, ns, &total))
    return std::nullopt;
  return total;
}

// ".25" -> 250,000,000; digits beyond the ninth are dropped.
std::optional<int64_t> parse_fraction(std::string_view digits) {
  if (digits.empty()) return 0;
  int64_t ns = 0;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (digits[i] < '0' || digits[i] > '9') return std::nullopt;
    if (i < 9) ns = ns * 10 + (digits[i] - '0');
  }
  for (size_t i = digits.size(); i < 9; ++i) ns *= 10;
  return ns;
}

std::optional<int64_t> parse_decimal_seconds(std::string_view text) {
  const size_t dot = std::min(text.find('.'), text.size());
  const auto seconds = parse<int64_t>(text.substr(0, dot));
  const auto fraction = parse_fraction(text.substr(std::min(dot + 1, text.size())));
  if (!seconds || !fraction) return std::nullopt;
  return to_ns(*seconds, text.starts_with('-') ? -*fraction : *fraction);
}

// 2024-02-29T12:34:56.789Z, or with +hh:mm.
std::optional<int64_t> parse_rfc3339(std::string_view text) {
  const auto year = take_digits(&text, 4);
  if (!year || !take_char(&text, '-')) return std::nullopt;
  const auto month = take_digits(&text, 2);
  if (!month || !take_char(&text, '-')) return std::nullopt;
  const auto day = take_digits(&text, 2);
  if (!day || !take_char(&text, 'T')) return std::nullopt;
  const auto hour = take_digits(&text, 2);
  if (!hour || !take_char(&text, ':')) return std::nullopt;
  const auto minute = take_digits(&text, 2);
  if (!minute || !take_char(&text, ':')) return std::nullopt;
  const auto second = take_digits(&text, 2);
  if (!second) return std::nullopt;

  std::optional<int64_t> fraction = 0;
  if (take_char(&text, '.')) {
    const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    fraction = parse_fraction(text.substr(0, digits));
    text.remove_prefix(digits);
  }
  int offset_minutes = 0;
  if (!take_char(&text, 'Z')) {
    const bool west = text.starts_with('-');
    if (!take_char(&text, west ? '-' : '+')) return std::nullopt;
    const auto hours = take_digits(&text, 2);
    if (!hours || !take_char(&text, ':')) return std::nullopt;
    const auto minutes = take_digits(&text, 2);
    if (!minutes) return std::nullopt;
    offset_minutes = (*hours * 60 + *minutes) * (west ? -1 : 1);
  }
  const std::chrono::year_month_day date{std::chrono::year{*year}, std::chrono::month{static_cast<unsigned>(*month)},
                                         std::chrono::day{static_cast<unsigned>(*day)}};
  if (!text.empty() || !fraction || !date.ok() || *hour > 23 || *minute > 59 || *second > 60) return std::nullopt;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return to_ns(((days * 24 + *hour) * 60 + *minute - offset_minutes) * 60 + *second, *fraction);
}

std::optional<int64_t> parse_mtime(std::string_view text) {
  if (const auto ns = parse_decimal_seconds(text)) return ns;
  return parse_rfc3339(text);
}

// "1595002920000000000ns", "1595002920000ms"
std::optional<int64_t> parse_file_mtime(std::string_view text) {
  if (text.ends_with("ns")) return parse<int64_t>(text.substr(0, text.size() - 2));
  if (!text.ends_with("ms")) return std::nullopt;
  const auto ms = parse<int64_t>(text.substr(0, text.size() - 2));
  int64_t ns;
  if (!ms || __builtin_mul_overflow(*ms, kMillisecondNs, &ns)) return std::nullopt;
  return ns;
}

std::string format_mtime(int64_t ns) {
  // A negative time with a fraction carries its sign in front of both parts: -1.5 s is "-1.500000000".
  const bool negative = ns < 0;
  const uint64_t magnitude = negative ? ~static_cast<uint64_t>(ns) + 1 : static_cast<uint64_t>(ns);
  std::string fraction = std::to_string(magnitude % kSecondNs);
  fraction.insert(0, 9 - fraction.size(), '0');
  return (negative ? "-" : "") + std::to_string(magnitude / kSecondNs) + "." + fraction;
}

std::optional<std::string_view> find(const ufs::UserMetadata& metadata, std::string_view name) {
  const auto it = metadata.find(name);
  if (it == metadata.end()) return std::nullopt;
  return it->second;
}

template <typename T>
std::optional<T> parse_first(const ufs::UserMetadata& metadata, std::string_view name, std::string_view other_name) {
  if (const auto text = find(metadata, name)) {
    if (const auto value = parse<T>(*text)) return value;
  }
  if (const auto text = find(metadata, other_name)) return parse<T>(*text);
  return std::nullopt;
}

std::optional<uint32_t> parse_mode(const ufs::UserMetadata& metadata) {
  if (const auto text = find(metadata, "mode")) {
    // Decimal has type bits; what has none of the known ones when read so is octal.
    const auto decimal = text->size() > 1 && text->starts_with('0') ? std::nullopt : parse<uint32_t>(*text);
    if (decimal && (*decimal & ~uint32_t{S_IFMT | kPermissionBits}) == 0 && (has_type(*decimal) || *decimal == 0))
      return decimal;
    if (const auto octal = parse<uint32_t>(*text, 8)) return octal;
    return decimal;
  }
  if (const auto text = find(metadata, "file-permissions")) return parse<uint32_t>(*text, 8);
  return std::nullopt;
}

// As stores count.
size_t bytes_of(std::string_view name, std::string_view value) {
  return kMetadataPrefix.size() + name.size() + value.size();
}

size_t bytes_of(const ufs::UserMetadata& metadata) {
  size_t bytes = 0;
  for (const auto& [name, value] : metadata) bytes += bytes_of(name, value);
  return bytes;
}

bool fits(const ufs::UserMetadata& metadata, std::string_view name, std::string_view value) {
  return bytes_of(metadata) + bytes_of(name, value) <= ufs::kUserMetadataBytesMax;
}

std::string encode_xattrs(const Xattrs& xattrs) {
  std::string text;
  for (const auto& [name, value] : xattrs) {
    if (!text.empty()) text += '&';
    text += net::uri_encode(name) + '=' + net::base64(net::bytes_of(value));
  }
  return text;
}

// Adds one that a bucket tells of, if an inode can have it.
void take_xattr(Xattrs& xattrs, size_t& bytes, std::string name, const std::optional<std::string>& value) {
  if (!value || name.empty() || name.size() > kXattrNameBytesMax || name.contains('\0') ||
      value->size() > kXattrValueBytesMax || bytes + name.size() + 1 + value->size() > kXattrBytesMax)
    return;
  bytes += name.size() + 1 + value->size();
  xattrs.insert_or_assign(std::move(name), *value);
}

Xattrs decode_xattrs(std::string_view text) {
  Xattrs xattrs;
  size_t bytes = 0;
  while (!text.empty()) {
    const std::string_view entry = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) continue;
    take_xattr(xattrs, bytes, net::uri_decode(entry.substr(0, equals)), net::unbase64(entry.substr(equals + 1)));
  }
  return xattrs;
}

// {"NAME":"BASE64","NAME":"BASE64"}, URL-encoded.
Xattrs decode_s3fs_xattrs(std::string_view encoded) {
  const std::string text = net::uri_decode(encoded);
  Xattrs xattrs;
  size_t bytes = 0;
  std::vector<std::string> strings;
  for (size_t at = text.find('"'); at != std::string::npos;) {
    const size_t end = text.find('"', at + 1);
    if (end == std::string::npos) break;
    strings.push_back(text.substr(at + 1, end - at - 1));
    at = text.find('"', end + 1);
  }
  for (size_t i = 0; i + 1 < strings.size(); i += 2)
    take_xattr(xattrs, bytes, strings[i], net::unbase64(strings[i + 1]));
  return xattrs;
}

std::string sidecar_key(std::string_view volume_id, const Inode& inode, std::string_view body) {
  const net::Sha256 digest = net::sha256(net::bytes_of(body));
  return std::string(kSidecarPrefix) + std::string(volume_id) + "-" + std::to_string(inode.id()) + "-" +
         net::hex(std::span(digest).first(kSidecarNameDigestBytes));
}

void add_xattrs(ObjectForm& form, const Inode& inode, const Xattrs& xattrs, std::string_view volume_id) {
  if (xattrs.empty()) return;
  std::string text = encode_xattrs(xattrs);
  if (fits(form.attributes.user, kXattrsMetadata, text)) {
    form.attributes.user[std::string(kXattrsMetadata)] = std::move(text);
    return;
  }
  form.sidecar_body = std::string(kSidecarMagic) + text;
  form.sidecar_key = sidecar_key(volume_id, inode, form.sidecar_body);
  form.attributes.user[std::string(kSidecarMetadata)] = form.sidecar_key;
}

OwnerToken token_of(const Inode& inode, std::string_view volume_id) {
  return {.volume_id = std::string(volume_id),
          .inode = InodeId(inode.id()),
          .generation = Generation(inode.generation())};
}

// FNV-1a. Tells a key from others; nobody gains by forging it.
uint64_t hash_of(std::string_view key) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : key) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

std::string format_link_group(std::string_view group, std::string_view key) {
  std::array<char, 16> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), hash_of(key), 16).ptr;
  std::string text(group);
  text += '/';
  return text.append(digits.data(), end);
}

// Empty unless it was written for this key.
std::string parse_link_group(std::string_view text, std::string_view key) {
  const size_t slash = text.rfind('/');
  if (slash == std::string_view::npos || slash == 0) return {};
  if (parse<uint64_t>(text.substr(slash + 1), 16) != hash_of(key)) return {};
  return std::string(text.substr(0, slash));
}

void add_own(ufs::ObjectAttributes& object, const Inode& inode, std::string_view volume_id, std::string_view key) {
  object.user[std::string(kOwnerMetadata)] = format_owner(token_of(inode, volume_id));
  if (!inode.link_group().empty())
    object.user[std::string(kLinksMetadata)] = format_link_group(inode.link_group(), key);
}

}  // namespace

std::string format_owner(const OwnerToken& token) {
  return token.volume_id + "/" + std::to_string(token.inode.value()) + "/" +
         std::to_string(token.generation.value());
}

std::optional<OwnerToken> owner_of(const ufs::ObjectAttributes& attributes) {
  const auto text = find(attributes.user, kOwnerMetadata);
  if (!text) return std::nullopt;
  const size_t second = text->rfind('/');
  if (second == std::string_view::npos || second == 0) return std::nullopt;
  const size_t first = text->rfind('/', second - 1);
  if (first == std::string_view::npos) return std::nullopt;
  const auto inode = parse<uint64_t>(text->substr(first + 1, second - first - 1));
  const auto generation = parse<uint64_t>(text->substr(second + 1));
  if (!inode || !generation) return std::nullopt;
  return OwnerToken{.volume_id = std::string(text->substr(0, first)),
                    .inode = InodeId(*inode),
                    .generation = Generation(*generation)};
}

ufs::ObjectAttributes to_object(const Inode& inode, std::string_view volume_id, std::string_view key) {
  ufs::ObjectAttributes object;
  if (inode.type() == format::DIRECTORY) object.content_type = kDirectoryContentType;
  if (inode.type() == format::SYMLINK) object.content_type = kSymlinkContentType;
  object.user["mode"] = std::to_string(type_bits(inode.type()) | (inode.permissions() & kPermissionBits));
  object.user["uid"] = std::to_string(inode.uid());
  object.user["gid"] = std::to_string(inode.gid());
  object.user["mtime"] = format_mtime(inode.mtime_ns());
  if (is_device(inode.type()))
    object.user["rdev"] = std::to_string(inode.rdev());
  add_own(object, inode, volume_id, key);
  return object;
}

ufs::ObjectAttributes to_copied_object(const ufs::ObjectAttributes& source, const Inode& inode,
                                       std::string_view volume_id, std::string_view key) {
  ufs::ObjectAttributes own;
  if (inode.attributes_unknown()) {
    add_own(own, inode, volume_id, key);
  } else {
    own = to_object(inode, volume_id, key);
  }
  // What says where extended attributes are is not left out for want of room.
  for (const std::string_view name : {kXattrsMetadata, kSidecarMetadata, kObjectMetadata}) {
    if (const auto value = find(source.user, name)) own.user[std::string(name)] = *value;
  }
  if (own.content_type.empty()) own.content_type = source.content_type;
  for (const auto& [name, header] : ufs::kObjectHeaders) own.*header = source.*header;
  for (const auto& [name, value] : source.user) {
    const bool superseded = !inode.attributes_unknown() &&
                            std::ranges::find(kForeignAttributes, name) != kForeignAttributes.end();
    if (superseded || name == kLinksMetadata || own.user.contains(name)) continue;
    if (!fits(own.user, name, value)) break;
    own.user[name] = value;
  }
  return own;
}

ObjectForm form_object(const Inode& inode, const Xattrs& xattrs, const format::ObjectFacts& facts,
                       std::string_view volume_id, std::string_view key) {
  ObjectForm form{.attributes = to_object(inode, volume_id, key)};
  if (!inode.object().facts_known()) {
    add_xattrs(form, inode, xattrs, volume_id);
    return form;
  }
  // Room for the longest that add_xattrs() may have to say is kept free.
  const size_t kept = bytes_of(kSidecarMetadata, sidecar_key(volume_id, inode, ""));
  Xattrs entries = xattrs;
  add_facts(form.attributes, entries, ufs::kUserMetadataBytesMax - kept, inode, facts);
  add_xattrs(form, inode, entries, volume_id);
  return form;
}

ObjectForm form_copy(const ufs::ObjectAttributes& source, const Inode& inode, const Xattrs& xattrs,
                     const format::ObjectFacts& facts, std::string_view volume_id, std::string_view key) {
  if (inode.attributes_unknown() || is_further_name(inode))
    return {.attributes = to_copied_object(source, inode, volume_id, key)};
  if (inode.object().facts_known()) return form_object(inode, xattrs, facts, volume_id, key);
  ufs::ObjectAttributes others = source;
  others.user.erase(std::string(kXattrsMetadata));
  // Room for the longest that add_xattrs() may have to say is kept free.
  others.user[std::string(kSidecarMetadata)] = xattrs.empty() ? "" : sidecar_key(volume_id, inode, "");
  ObjectForm form{.attributes = to_copied_object(others, inode, volume_id, key)};
  form.attributes.user.erase(std::string(kSidecarMetadata));
  add_xattrs(form, inode, xattrs, volume_id);
  return form;
}

LowerAttributes from_object(const ufs::ObjectHead& head) {
  const ufs::UserMetadata& metadata = head.attributes.user;
  LowerAttributes attributes;
  attributes.uid = parse_first<uint32_t>(metadata, "uid", "file-owner");
  attributes.gid = parse_first<uint32_t>(metadata, "gid", "file-group");
  if (const auto text = find(metadata, "mtime")) attributes.mtime_ns = parse_mtime(*text);
  if (!attributes.mtime_ns) {
    if (const auto text = find(metadata, "file-mtime")) attributes.mtime_ns = parse_file_mtime(*text);
  }
  if (const auto text = find(metadata, "rdev")) attributes.rdev = parse<uint64_t>(*text);
  if (const auto text = find(metadata, kLinksMetadata))
    attributes.link_group = parse_link_group(*text, head.info.key);
  if (auto token = owner_of(head.attributes)) {
    attributes.owner_volume_id = std::move(token->volume_id);
    attributes.owner_generation = token->generation.value();
  }
  if (const auto key = find(metadata, kSidecarMetadata); key && key->starts_with(kSidecarPrefix)) {
    attributes.sidecar.set_key(std::string(*key));
  } else if (const auto xattrs = find(metadata, kXattrsMetadata)) {
    attributes.xattrs = decode_xattrs(*xattrs);
  } else if (const auto foreign = find(metadata, "xattr")) {
    attributes.xattrs = decode_s3fs_xattrs(*foreign);
  }
  attributes.object = facts_of(head);
  take_facts_entry(attributes.xattrs, attributes.object);
  const std::optional<uint32_t> mode = parse_mode(metadata);
  if (mode) attributes.permissions = *mode & kPermissionBits;

  if (head.info.key.ends_with('/')) {
    attributes.type = format::DIRECTORY;
  } else if (const auto target = find(metadata, "--symlink-target")) {
    attributes.type = format::SYMLINK;
    attributes.symlink_target = net::uri_decode(*target);
  } else if (head.attributes.content_type == kSymlinkContentType) {
    attributes.type = format::SYMLINK;
  } else if (const auto type = mode ? special_type(*mode) : std::nullopt) {
    attributes.type = *type;
  }
  return attributes;
}

Result<Xattrs> decode_sidecar(std::string_view body) {
  if (!body.starts_with(kSidecarMagic))
    return fail(ErrorCode::kInvalid, "the object holds no extended attributes: it does not begin with '" +
                                         std::string(kSidecarMagic.substr(0, kSidecarMagic.size() - 1)) + "'");
  return decode_xattrs(body.substr(kSidecarMagic.size()));
}

std::string encode_symlink(std::string_view target) {
  std::string body(kSymlinkMagic);
  body += target;
  return body;
}

Result<std::string> decode_symlink(std::string_view body) {
  if (body.starts_with(kSymlinkMagic)) body.remove_prefix(kSymlinkMagic.size());
  if (body.empty() || body.size() > kSymlinkBytesMax || body.find('\0') != std::string_view::npos)
    return fail(ErrorCode::kInvalid, "object is no symbolic link: its target is empty, over " +
                                         std::to_string(kSymlinkBytesMax) + " bytes, or has a NUL");
  return std::string(body);
}

}  // namespace weir::meta
