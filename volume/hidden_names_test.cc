#include "volume/hidden_names.h"

#include <gtest/gtest.h>

#include <set>

#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using meta::RenameMode;
using testing::bytes_of;
using testing::MemoryVolume;
using testing::must;
using Names = std::vector<std::string>;

TEST(HiddenNames, names_of_what_is_closed_are_forgotten) {
  std::set<InodeId> open;
  HiddenNames names([&](InodeId inode) { return open.contains(inode); });
  open.insert(InodeId(7));
  names.add(InodeId(2), "a", InodeId(7));
  EXPECT_EQ(names.find(InodeId(2), "a"), InodeId(7));
  EXPECT_EQ(names.find(InodeId(3), "a"), std::nullopt);
  for (uint64_t i = 100; i < 1'000; ++i) names.add(InodeId(2), std::to_string(i), InodeId(i));
  EXPECT_EQ(names.find(InodeId(2), "a"), InodeId(7));
  open.clear();
  EXPECT_EQ(names.find(InodeId(2), "a"), std::nullopt);
}

class SillyRename : public ::testing::Test {
 protected:
  SillyRename() {
    volume_.options.intercept_silly_renames = true;
    volume_.start();
    inode_ = volume_.put(volume_.root(), "a", "text");
    volume_.drain();
  }
  std::unique_ptr<OpenFile> open() { return must(volume_->open_file(inode_, {.access = Access::kReadWrite})); }
  Result<void> rename(std::string_view from, std::string_view to, RenameMode mode = RenameMode::kReplace) {
    return volume_->rename(volume_.root(), from, volume_.root(), to, mode);
  }

  MemoryVolume volume_;
  InodeId inode_{};
};

TEST_F(SillyRename, an_open_file_is_reached_by_its_hidden_name_and_vanishes_with_its_last_close) {
  auto file = open();
  must(rename("a", ".fuse_hidden01"));
  EXPECT_EQ(volume_.find(volume_.root(), ".fuse_hidden01"), inode_);
  EXPECT_FALSE(volume_.there(volume_.root(), "a"));
  EXPECT_EQ(volume_.list(volume_.root()), Names{});
  must(file->write(4, bytes_of(" more")));
  must(file->flush());
  const auto second = must(volume_->open_file(volume_.find(volume_.root(), ".fuse_hidden01"), {}));
  EXPECT_EQ(MemoryVolume::read(*second), "text more");
  file->close();
  EXPECT_TRUE(volume_.there(volume_.root(), ".fuse_hidden01"));
  second->close();
  EXPECT_FALSE(volume_.there(volume_.root(), ".fuse_hidden01"));
  EXPECT_TRUE(MemoryVolume::wait([&] { return !volume_->get_attributes(inode_).has_value(); }));
  volume_.drain();
  EXPECT_EQ(volume_.keys(), Names{});
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(SillyRename, a_hidden_name_can_be_unlinked_and_renamed_to_another_one) {
  const auto file = open();
  must(rename("a", ".fuse_hidden01"));
  must(rename(".fuse_hidden01", ".fuse_hidden02"));
  EXPECT_FALSE(volume_.there(volume_.root(), ".fuse_hidden01"));
  EXPECT_TRUE(volume_.there(volume_.root(), ".fuse_hidden02"));
  must(volume_->unlink(volume_.root(), ".fuse_hidden02"));
  EXPECT_FALSE(volume_.there(volume_.root(), ".fuse_hidden02"));
  EXPECT_EQ(MemoryVolume::read(*file), "text");
  file->close();
}

TEST_F(SillyRename, a_name_can_be_made_anew_while_the_old_file_is_hidden) {
  const auto file = open();
  must(rename("a", ".fuse_hidden01"));
  const InodeId second = volume_.put(volume_.root(), "a", "second");
  EXPECT_NE(second, inode_);
  file->close();
  EXPECT_TRUE(MemoryVolume::wait([&] { return !volume_->get_attributes(inode_).has_value(); }));
  EXPECT_EQ(volume_.find(volume_.root(), "a"), second);
  volume_.drain();
  EXPECT_EQ(volume_.keys(), Names{"a"});
}

TEST_F(SillyRename, a_hidden_file_is_gone_after_a_crash) {
  auto file = open();
  must(rename("a", ".fuse_hidden01"));
  file.reset();
  volume_.crash();
  volume_.start();
  EXPECT_FALSE(volume_.there(volume_.root(), ".fuse_hidden01"));
  volume_.drain();
  EXPECT_EQ(volume_.keys(), Names{});
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(SillyRename, what_is_not_open_is_renamed_as_any_other) {
  must(rename("a", ".fuse_hidden01"));
  EXPECT_EQ(volume_.list(volume_.root()), Names{".fuse_hidden01"});
  volume_.drain();
  EXPECT_EQ(volume_.keys(), Names{".fuse_hidden01"});
}

TEST_F(SillyRename, without_the_property_it_is_a_rename_as_any_other) {
  volume_.crash();
  volume_.options.intercept_silly_renames = false;
  volume_.start();
  const auto file = open();
  must(rename("a", ".fuse_hidden01"));
  EXPECT_EQ(volume_.list(volume_.root()), Names{".fuse_hidden01"});
}

}  // namespace
}  // namespace weir::volume
