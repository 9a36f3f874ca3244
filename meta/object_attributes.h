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
// A directory is an empty object `name/` of type application/x-directory. A symbolic link is an object of type
// application/vnd.weir.symlink whose body is encode_symlink(); its mode says "regular file", so that a tool that
// does not know the type shows a small text instead of a link to nowhere.
//
// Read besides: mode in octal with a leading 0 (rclone), mtime in RFC 3339 (rclone), file-permissions, file-owner,
// file-group, file-mtime with its unit "ns" or "ms" (AWS DataSync, Storage Gateway), a link by the type bits of mode with
// the bare target as body (s3fs) or in --symlink-target (GeeseFS). What does not parse counts as absent.
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

struct OwnerToken {
  std::string volume_id;
  InodeId inode{};
  Generation generation{};

  bool operator==(const OwnerToken&) const = default;
};

std::string format_owner(const OwnerToken& token);
std::optional<OwnerToken> owner_of(const ufs::ObjectAttributes& attributes);

// Of the object under `key`. Requires: the inode's attributes are known.
ufs::ObjectAttributes to_object(const Inode& inode, std::string_view volume_id, std::string_view key);

// What a copy of `source` to `key` for this inode carries: the source's content type and user metadata, with the inode's attributes
// (its token alone while they are unknown) put over them. Metadata of others that is then beyond
// ufs::kUserMetadataBytesMax is left out from the last name on; what Weir writes always fits.
ufs::ObjectAttributes to_copied_object(const ufs::ObjectAttributes& source, const Inode& inode,
                                       std::string_view volume_id, std::string_view key);

// The target of a link whose target is in the body is left empty: see decode_symlink().
LowerAttributes from_object(const ufs::ObjectHead& head);

// kSymlinkMagic, then the target.
std::string encode_symlink(std::string_view target);
// Also of a body that is the bare target. kInvalid: empty, with a NUL, or longer than kSymlinkBytesMax.
Result<std::string> decode_symlink(std::string_view body);

}  // namespace weir::meta
