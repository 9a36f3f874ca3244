// meta/object_attributes.h -- an inode's attributes as object metadata, in the names and forms other tools use.
//
// Written (x-amz-meta-*):
//   mode        decimal st_mode with the type bits                     as s3fs, GeeseFS
//   uid, gid    decimal                                                as s3fs, GeeseFS, rclone
//   mtime       seconds.nanoseconds since the Unix epoch               as rclone; s3fs and GeeseFS read the seconds
//   rdev        decimal, of devices                                    as GeeseFS
//   weir-owner  "<volume id>/<inode>/<generation>": whose object this is, for an uploader that lost a reply
//   weir-links  "<volume id>/<inode>/<hash of the key>", of a file with several names: objects with the same volume and inode
//               are one file. A copy that others make lies under another key than the hash says and is a file of its own.
//   weir-xattrs extended attributes: NAME=VALUE, joined by '&'; NAME percent-encoded, VALUE in base64
//   weir-xattrs-in  where those have no room: the key of an object that holds them, its sidecar: "weir attributes 1", a
//               newline, then as in weir-xattrs. Its name says what it holds, so it never changes.
// A directory is an empty object `name/` of type application/x-directory. A symbolic link is an object of type
// application/vnd.weir.symlink whose body is encode_symlink(); its mode says "regular file", so that a tool that
// does not know the type shows a small text instead of a link to nowhere.
//
// Read besides: mode in octal, with or without a leading 0 (rclone), mtime in RFC 3339 (rclone), file-permissions,
// file-owner, file-group, file-mtime with its unit "ns" or "ms" (AWS DataSync, Storage Gateway), a link by the type bits
// of mode with the bare target as body (s3fs) or percent-encoded in --symlink-target (GeeseFS), xattr: URL-encoded JSON
// of base64 values (s3fs). What does not parse counts as absent.
//
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"
#include "meta/types.h"
#include "ufs/under_store.h"

namespace weir::meta {

inline constexpr std::string_view kOwnerMetadata = "weir-owner";
inline constexpr std::string_view kLinksMetadata = "weir-links";
inline constexpr std::string_view kSymlinkContentType = "application/vnd.weir.symlink";
inline constexpr std::string_view kDirectoryContentType = "application/x-directory";
inline constexpr std::string_view kSymlinkMagic = "weir symlink 1\n";
inline constexpr size_t kSymlinkBodyBytesMax = kSymlinkMagic.size() + kSymlinkBytesMax;
inline constexpr std::string_view kXattrsMetadata = "weir-xattrs";
inline constexpr std::string_view kSidecarMetadata = "weir-xattrs-in";
inline constexpr std::string_view kSidecarContentType = "application/vnd.weir.attributes";
inline constexpr std::string_view kSidecarMagic = "weir attributes 1\n";
inline constexpr size_t kSidecarBytesMax = kSidecarMagic.size() + 3 * kXattrBytesMax;

struct OwnerToken {
  std::string volume_id;
  InodeId inode{};
  Generation generation{};

  bool operator==(const OwnerToken&) const = default;
};

std::string format_owner(const OwnerToken& token);
std::optional<OwnerToken> owner_of(const ufs::ObjectAttributes& attributes);

// Of the object under `key`, without extended attributes. Requires: the inode's attributes are known.
ufs::ObjectAttributes to_object(const Inode& inode, std::string_view volume_id, std::string_view key);

// All that an inode's object says, and the object beside it that says the rest; that one is to be written first.
struct ObjectForm {
  ufs::ObjectAttributes attributes;
  std::string sidecar_key;   // empty: none
  std::string sidecar_body;
};

// Requires: the inode's attributes are known.
ObjectForm form_object(const Inode& inode, const Xattrs& xattrs, const format::ObjectFacts& facts,
                       std::string_view volume_id, std::string_view key);
// Of a copy: see to_copied_object(). Metadata of others has the room before extended attributes have. A further name's
// object says of extended attributes what the source says. Of an object whose facts are known nothing of the source's is kept.
ObjectForm form_copy(const ufs::ObjectAttributes& source, const Inode& inode, const Xattrs& xattrs,
                     const format::ObjectFacts& facts, std::string_view volume_id, std::string_view key);

// What a copy of `source` to `key` for this inode carries: the source's headers and user metadata, with the inode's
// attributes (its token alone while they are unknown) put over them. Metadata of others that is then beyond
// ufs::kUserMetadataBytesMax is left out from the last name on; what Weir writes always fits.
ufs::ObjectAttributes to_copied_object(const ufs::ObjectAttributes& source, const Inode& inode,
                                       std::string_view volume_id, std::string_view key);

// The target of a link whose target is in the body is left empty: see decode_symlink(). Of a sidecar only the key is
// set: see decode_sidecar().
LowerAttributes from_object(const ufs::ObjectHead& head);

// Attributes that no inode can have (too long, too many) are left out. kInvalid: not the body of a sidecar.
Result<Xattrs> decode_sidecar(std::string_view body);

// kSymlinkMagic, then the target.
std::string encode_symlink(std::string_view target);
// Also of a body that is the bare target. kInvalid: empty, with a NUL, or longer than kSymlinkBytesMax.
Result<std::string> decode_symlink(std::string_view body);

}  // namespace weir::meta
