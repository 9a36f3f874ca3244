#include "fuse/errno_table.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace weir::fuse {
namespace {

TEST(ErrnoTable, has_an_errno_for_every_code) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInternal); ++code) {
    EXPECT_GT(errno_of(static_cast<ErrorCode>(code)), 0) << name_of(static_cast<ErrorCode>(code));
  }
}

TEST(ErrnoTable, never_answers_enosys) {
  // The kernel takes ENOSYS as "never ask again".
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInternal); ++code) {
    EXPECT_NE(ENOSYS, errno_of(static_cast<ErrorCode>(code)));
  }
}

TEST(ErrnoTable, is_an_io_error_when_the_under_store_refuses) {
  EXPECT_EQ(EIO, errno_of(ErrorCode::kDenied));
  EXPECT_EQ(EIO, errno_of(ErrorCode::kUnavailable));
  EXPECT_EQ(ENOSPC, errno_of(ErrorCode::kNoSpace));
}

}  // namespace
}  // namespace weir::fuse
