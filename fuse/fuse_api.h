// fuse/fuse_api.h -- libfuse's low-level interface, in one version for the whole folder.
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION FUSE_MAKE_VERSION(3, 18)
#endif
#include <fuse_lowlevel.h>

#include <span>

namespace weir::fuse {

// Has libfuse decode one request and call its handler.
inline void process(fuse_session* session, std::span<char> message) {
  fuse_buf buffer{};
  buffer.mem = message.data();
  buffer.size = message.size();
  fuse_session_process_buf(session, &buffer);
}

}  // namespace weir::fuse
