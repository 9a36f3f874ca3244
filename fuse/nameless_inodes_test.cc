#include "fuse/nameless_inodes.h"

#include <gtest/gtest.h>

namespace weir::fuse {
namespace {

constexpr InodeId kFifo{7}, kDirectory{9};

meta::Attributes fifo() { return {.inode = kFifo, .type = format::FIFO, .permissions = 0644, .links = 2, .mtime_ns = 5}; }

TEST(NamelessInodes, special_files_are_known_until_every_lookup_is_given_back) {
  NamelessInodes inodes;
  EXPECT_FALSE(inodes.find(kFifo));
  inodes.looked_up(fifo());
  inodes.looked_up(fifo());
  inodes.looked_up(fifo());
  inodes.forgotten(InodeId(8), 3);
  inodes.forgotten(kFifo, 2);
  const auto found = inodes.find(kFifo);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->type, format::FIFO);
  EXPECT_EQ(found->links, 0u);
  EXPECT_EQ(found->mtime_ns, 5);
  inodes.forgotten(kFifo, 1);
  EXPECT_FALSE(inodes.find(kFifo));
}

TEST(NamelessInodes, what_was_only_looked_up_is_kept_of_special_files_alone) {
  NamelessInodes inodes;
  for (const meta::FileType type : {format::REGULAR, format::DIRECTORY, format::SYMLINK}) {
    inodes.looked_up({.inode = kFifo, .type = type});
    EXPECT_FALSE(inodes.find(kFifo));
  }
}

TEST(NamelessInodes, what_is_changed_stays_changed) {
  NamelessInodes inodes;
  EXPECT_FALSE(inodes.change(kFifo, {.permissions = 0600}, 9));
  inodes.looked_up(fifo());
  const auto changed = inodes.change(kFifo, {.permissions = 0600, .uid = 3}, 9);
  ASSERT_TRUE(changed);
  EXPECT_EQ(changed->permissions, 0600u);
  EXPECT_EQ(changed->ctime_ns, 9);
  EXPECT_EQ(inodes.find(kFifo)->uid, 3u);
  EXPECT_EQ(inodes.find(kFifo)->mtime_ns, 5);
}

TEST(NamelessInodes, directories_are_kept_as_last_seen_until_their_last_release) {
  NamelessInodes inodes;
  inodes.seen({.inode = kDirectory, .type = format::DIRECTORY});
  EXPECT_FALSE(inodes.find(kDirectory));
  EXPECT_FALSE(inodes.any_open());
  inodes.opened({.inode = kDirectory, .type = format::DIRECTORY, .permissions = 0755, .links = 2});
  inodes.opened({.inode = kDirectory, .type = format::DIRECTORY, .permissions = 0755, .links = 2});
  inodes.seen({.inode = kDirectory, .type = format::DIRECTORY, .permissions = 0700, .links = 2});
  inodes.forgotten(kDirectory, 1);  // lookups of an earlier life in the kernel's cache
  inodes.released(kDirectory);
  EXPECT_TRUE(inodes.any_open());
  const auto found = inodes.find(kDirectory);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->permissions, 0700u);
  EXPECT_EQ(found->links, 0u);
  inodes.released(kDirectory);
  EXPECT_FALSE(inodes.find(kDirectory));
  EXPECT_FALSE(inodes.any_open());
}

}  // namespace
}  // namespace weir::fuse
