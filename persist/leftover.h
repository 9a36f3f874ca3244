// persist/leftover.h -- whether an object under a key that is ours, or whited out, was put there by us.
#pragma once

#include <string_view>

#include "base/ids.h"
#include "base/result.h"
#include "meta/namespace.h"
#include "ufs/under_store.h"

namespace weir::persist {

// An object with a token of this volume, or parked by it, is a leftover (of an upload whose outcome was lost, of a key that
// changed hands) unless the inode it names calls it home.
Result<bool> is_leftover(meta::Namespace& names, MountId mount, std::string_view key, const ufs::ObjectHead& head);

}  // namespace weir::persist
