// base/ids.h -- identities that several layers share.
#pragma once

#include <cstdint>

#include "base/strong.h"

namespace weir {

// Stable for life and never reused; also the FUSE node id. 1 is the root directory of the namespace.
using InodeId = Strong<struct InodeIdTag, uint64_t>;
inline constexpr InodeId kRootInode{1};

// Counts the openings for write of one inode's content: content is the same while the generation is.
using Generation = Strong<struct GenerationTag, uint64_t>;

// A local file on one node's page store. Never reused within a volume; 0 is none.
using LocalFileId = Strong<struct LocalFileIdTag, uint64_t>;

// A top-level directory of the namespace backed by one UFS prefix.
using MountId = Strong<struct MountIdTag, uint32_t>;

}  // namespace weir
