// Objects that others replace while the volume has something of its own to write onto them.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>

#include "testing/memory_volume.h"
#include "volume/volume.h"

namespace weir::volume {
namespace {

using testing::must;

class ChangedObjectTest : public ::testing::Test {
 protected:
  ChangedObjectTest() { volume_.start(); }

  InodeId put_persisted(std::string_view name, std::string_view content) {
    const InodeId inode = volume_.put(volume_.root(), name, content);
    volume_.drain();
    for (const LocalFileId id : volume_.pages().files()) volume_.pages().evict(id);
    return inode;
  }
  std::string content(InodeId inode) {
    const auto file = must(volume_->open_file(inode, {.access = Access::kRead}));
    std::string read = volume_.read(*file);
    file->close();
    return read;
  }

  testing::MemoryVolume volume_;
};

// Semantics 5.1, below the mount.
TEST_F(ChangedObjectTest, is_taken_in_although_attributes_wait_to_be_written_onto_it) {
  const InodeId inode = put_persisted("file", "ours");
  volume_.put_object("file", "by others");
  must(volume_->set_attributes(inode, {.permissions = 0600}, std::nullopt));
  volume_.drain();
  EXPECT_EQ(content(inode), "by others");
  EXPECT_EQ(volume_.fsck(), "");
}

}  // namespace
}  // namespace weir::volume
