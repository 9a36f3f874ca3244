// volume/object_facts.h -- between the records of the metadata and what volume/objects.h tells of an object.
//
// User metadata called mode, uid, gid and mtime, as s3fs and rclone write it, sets the attributes of the file and shows them: as it
// was put as long as it says what the file says, else as the persisted object carries it. Objects that POSIX made show them all.
//
// Threads: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "meta/object_namespace.h"
#include "meta/types.h"
#include "volume/objects.h"

namespace weir::volume {

format::ObjectFacts to_record(const ObjectHeaders& headers, const ObjectTags& tags,
                              const std::optional<ObjectChecksum>& checksum);
void set_headers(format::ObjectFacts& record, const ObjectHeaders& headers);
void set_tags(format::ObjectFacts& record, const ObjectTags& tags);
void set_checksum(format::ObjectFacts& record, const std::optional<ObjectChecksum>& checksum);

ObjectTags tags_of(const format::ObjectFacts& record);
std::optional<ObjectChecksum> checksum_of(const format::ObjectFacts& record);
ObjectHeaders headers_of(const format::ObjectFacts& record);
std::optional<ChecksumAlgorithm> algorithm_of(format::ChecksumAlgorithm algorithm);
format::ChecksumAlgorithm to_record(ChecksumAlgorithm algorithm);
ObjectPart part_of(const format::ObjectPart& record);

// What user metadata says of the attributes. Never set-user-ID and set-group-ID: who may put is not who may make such files.
meta::AttributeChange attributes_of(const ObjectHeaders& headers);

// `state` is the caller's to set.
Object object_of(std::string key, const meta::Inode& inode, const format::ObjectFacts& facts, std::string_view volume_id);

}  // namespace weir::volume
