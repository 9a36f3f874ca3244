// meta/object_facts_form.h -- what is known of an object besides its file, in the metadata of its object in the bucket.
//
// Headers are the object's own, and so is user metadata where it has room and stores take it as it is. weir-object says the rest
// that is short: NAME=VALUE joined by '&', percent-encoded; see docs/format.md. Tags and what has no place elsewhere are one entry
// among the extended attributes, kFactsEntry, in the same form.
//
// Threads: pure functions.
#pragma once

#include <cstddef>
#include <string_view>

#include "meta/namespace.h"
#include "meta/types.h"
#include "ufs/under_store.h"

namespace weir::meta {

inline constexpr std::string_view kObjectMetadata = "weir-object";
// No extended attribute has such a name.
inline constexpr std::string_view kFactsEntry = ":facts";

// Adds the facts to what an object says of its inode, within `room` bytes of user metadata, and what found none to `entries`.
// Requires: inode.object().facts_known().
void add_facts(ufs::ObjectAttributes& object, Xattrs& entries, size_t room, const Inode& inode,
               const format::ObjectFacts& facts);

// What an object says; without what is among its extended attributes.
LowerObject facts_of(const ufs::ObjectHead& head);
// Takes it out of them.
void take_facts_entry(Xattrs& xattrs, LowerObject& object);

}  // namespace weir::meta
