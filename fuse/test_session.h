// fuse/test_session.h -- a session of libfuse without a kernel: the test says what the kernel would.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>

#include "fuse/fuse_api.h"
#include "fuse/kernel_interface.h"

namespace weir::fuse {

// A greeted session over `device`, which it closes. Replies go through `writev`; both it and `table` get `user_data`.
inline fuse_session* make_test_session(const fuse_lowlevel_ops& table, void* user_data, int device,
                                       ssize_t (*writev)(int, iovec*, int, void*)) {
  const char* words[] = {"test"};
  fuse_args arguments = FUSE_ARGS_INIT(1, const_cast<char**>(words));
  fuse_session* const session = fuse_session_new(&arguments, &table, sizeof table, user_data);
  fuse_opt_free_args(&arguments);
  fuse_custom_io io{};
  io.read = [](int, void*, size_t, void*) -> ssize_t { return -1; };
  io.writev = writev;
  EXPECT_EQ(fuse_session_custom_io(session, &io, sizeof io, device), 0);
  struct {
    kernel::InHeader header;
    uint32_t major, minor, max_readahead, flags;
  } greeting{{sizeof greeting, kernel::kGreeting, 1, 0, 0, 0, 0, 0, 0}, 7, 31, 1 << 17, 0};
  process(session, std::span(reinterpret_cast<char*>(&greeting), sizeof greeting));
  return session;
}

}  // namespace weir::fuse
