#include "fuse/special_files.h"

#include <gtest/gtest.h>

namespace weir::fuse {
namespace {

constexpr InodeId kFifo{7};

meta::Attributes fifo() { return {.inode = kFifo, .type = format::FIFO, .permissions = 0644, .links = 2, .mtime_ns = 5}; }

TEST(SpecialFiles, are_known_until_every_lookup_is_given_back) {
  SpecialFiles files;
  EXPECT_FALSE(files.find(kFifo));
  files.looked_up(fifo());
  files.looked_up(fifo());
  files.looked_up(fifo());
  files.forgotten(InodeId(8), 3);
  files.forgotten(kFifo, 2);
  const auto found = files.find(kFifo);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->type, format::FIFO);
  EXPECT_EQ(found->links, 0u);
  EXPECT_EQ(found->mtime_ns, 5);
  files.forgotten(kFifo, 1);
  EXPECT_FALSE(files.find(kFifo));
}

TEST(SpecialFiles, other_files_are_none_of_them) {
  SpecialFiles files;
  for (const meta::FileType type : {format::REGULAR, format::DIRECTORY, format::SYMLINK}) {
    files.looked_up({.inode = kFifo, .type = type});
    EXPECT_FALSE(files.find(kFifo));
  }
}

TEST(SpecialFiles, what_is_changed_stays_changed) {
  SpecialFiles files;
  EXPECT_FALSE(files.change(kFifo, {.permissions = 0600}, 9));
  files.looked_up(fifo());
  const auto changed = files.change(kFifo, {.permissions = 0600, .uid = 3}, 9);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->permissions, 0600u);
  EXPECT_EQ(changed->ctime_ns, 9);
  EXPECT_EQ(files.find(kFifo)->uid, 3u);
  EXPECT_EQ(files.find(kFifo)->mtime_ns, 5);
}

}  // namespace
}  // namespace weir::fuse
