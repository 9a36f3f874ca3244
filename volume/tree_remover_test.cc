#include "volume/tree_remover.h"

#include <gtest/gtest.h>

#include <atomic>

#include "base/failpoint.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using testing::bytes_of;
using testing::MemoryVolume;
using testing::must;
using testing::UfsCall;
using testing::UfsFault;
using Keys = std::vector<std::string>;

// A volume, and its tree /s3/t of kDirectories times kFiles files.
class TreeRemoverTest : public ::testing::Test {
 protected:
  static constexpr int kDirectories = 5;
  static constexpr int kFiles = 60;

  void make_tree() {
    const InodeId top = volume_.make_directory(volume_.root(), "t");
    for (int d = 0; d < kDirectories; ++d) {
      const InodeId directory = volume_.make_directory(top, "d" + std::to_string(d));
      for (int f = 0; f < kFiles; ++f) volume_.put(directory, "f" + std::to_string(f), "f" + std::to_string(f));
    }
  }
  void remove_tree() { must(volume_->remove_tree(volume_.root(), "t")); }
  bool there() { return volume_.there(volume_.root(), "t"); }
  uint64_t under_way() { return volume_->statistics().trees_being_removed; }
  // Nothing is left of the tree, anywhere.
  void expect_gone() {
    EXPECT_TRUE(MemoryVolume::wait([&] { return volume_->statistics().usage.inodes == 2; }));
    volume_.drain();
    EXPECT_EQ(volume_.keys(), Keys{});
    EXPECT_TRUE(MemoryVolume::wait([&] { return volume_.pages().usage().files == 0; }));
    EXPECT_EQ(under_way(), 0u);
    EXPECT_EQ(volume_.fsck(), "");
  }

  MemoryVolume volume_;
};

TEST_F(TreeRemoverTest, a_persisted_tree_goes_with_its_objects_in_batches) {
  volume_.start();
  make_tree();
  volume_.drain();
  ASSERT_EQ(volume_.keys().size(), 1u + kDirectories * (1 + kFiles));
  volume_.store.reset_counters();
  remove_tree();
  EXPECT_FALSE(there());
  expect_gone();
  EXPECT_EQ(volume_.store.calls(UfsCall::kErase), 0u);
  EXPECT_LT(volume_.store.calls(UfsCall::kEraseBatch), 30u);
  EXPECT_EQ(volume_->statistics().tree_entries_removed, kDirectories * (1u + kFiles));
}

TEST_F(TreeRemoverTest, a_tree_that_was_not_persisted_costs_no_request) {
  volume_.start();
  volume_.store.add({.kind = UfsFault::Kind::kFailBefore, .call = UfsCall::kPut});
  make_tree();
  remove_tree();
  volume_.store.clear();
  expect_gone();
}

TEST_F(TreeRemoverTest, a_restart_in_the_middle_goes_on) {
  volume_.start();
  make_tree();
  volume_.drain();
  std::atomic<int> steps_left = 2;
  {
    ArmedFailpoint stop("volume.tree_removal_step", [&]() -> Result<void> {
      if (--steps_left < 0) return fail(ErrorCode::kUnavailable, "stopped by the test");
      return {};
    });
    remove_tree();
    for (int restart = 0; restart < 4; ++restart) {
      ASSERT_TRUE(MemoryVolume::wait([&] { return steps_left < 0; }));
      EXPECT_FALSE(there());
      EXPECT_EQ(under_way(), 1u);
      ASSERT_EQ(must(volume_->tree_removals(10)).size(), 1u);
      EXPECT_EQ(must(volume_->tree_removals(10))[0].path, "/s3/t");
      EXPECT_EQ(volume_.fsck(), "");
      volume_.crash();
      steps_left = 2;
      volume_.start();
    }
  }
  EXPECT_FALSE(there());
  expect_gone();
}

TEST_F(TreeRemoverTest, an_open_file_below_is_read_and_written_until_its_last_close) {
  volume_.start();
  make_tree();
  const InodeId directory = volume_.find(volume_.find(volume_.root(), "t"), "d3");
  const InodeId inode = volume_.find(directory, "f7");
  const auto file = must(volume_->open_file(inode, {.access = Access::kReadWrite}));
  volume_.drain();
  remove_tree();
  ASSERT_TRUE(MemoryVolume::wait([&] { return under_way() == 0; }));
  EXPECT_EQ(must(volume_->get_attributes(inode)).attributes.links, 0u);
  must(file->write(2, bytes_of("!")));
  must(file->flush());
  EXPECT_EQ(MemoryVolume::read(*file), "f7!");
  file->close();
  expect_gone();
}

TEST_F(TreeRemoverTest, objects_that_were_never_looked_at_go_too) {
  volume_.put_object("t/a", "x");
  volume_.put_object("t/b/c", "x");
  volume_.put_object("t/b/d/e", "x");
  volume_.start();
  remove_tree();
  EXPECT_FALSE(there());
  expect_gone();
}

TEST_F(TreeRemoverTest, while_the_store_is_away_everything_local_goes_and_the_objects_later) {
  volume_.put_object("t/far/away", "x");
  volume_.start();
  const InodeId top = volume_.find(volume_.root(), "t");
  volume_.find(top, "far");
  volume_.put(top, "near", "x");
  volume_.drain();
  volume_.store.add({.kind = UfsFault::Kind::kFailBefore});
  remove_tree();
  EXPECT_FALSE(there());
  EXPECT_TRUE(MemoryVolume::wait([&] { return volume_.pages().usage().files == 0; }));
  EXPECT_TRUE(MemoryVolume::wait([&] { return under_way() == 1; }));
  EXPECT_EQ(volume_.keys(), (Keys{"t/far/away", "t/near"}));
  volume_.store.clear();
  expect_gone();
}

TEST_F(TreeRemoverTest, a_new_tree_of_the_same_name_is_not_touched) {
  volume_.start();
  make_tree();
  volume_.drain();
  remove_tree();
  make_tree();
  volume_.drain();
  EXPECT_EQ(volume_.keys().size(), 1u + kDirectories * (1 + kFiles));
  EXPECT_TRUE(there());
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(TreeRemoverTest, a_file_with_another_name_elsewhere_stays_under_that_one) {
  volume_.start();
  const InodeId top = volume_.make_directory(volume_.root(), "t");
  const InodeId persisted = volume_.put(top, "persisted", "one");
  must(volume_->link(persisted, top, "second"));
  must(volume_->link(persisted, volume_.root(), "kept"));
  volume_.drain();
  const InodeId fresh = volume_.put(top, "fresh", "two");
  must(volume_->link(fresh, volume_.root(), "kept too"));
  remove_tree();
  ASSERT_TRUE(MemoryVolume::wait([&] { return under_way() == 0; }));
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (Keys{"kept", "kept too"}));
  for (const InodeId inode : {persisted, fresh}) EXPECT_EQ(must(volume_->get_attributes(inode)).attributes.links, 1u);
  EXPECT_EQ(MemoryVolume::read(*must(volume_->open_file(fresh, {}))), "two");
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(TreeRemoverTest, mount_points_and_files_are_refused) {
  volume_.start();
  volume_.put(volume_.root(), "f", "x");
  EXPECT_EQ(volume_->remove_tree(kRootInode, "s3").error().code(), ErrorCode::kBusy);
  EXPECT_EQ(volume_->remove_tree(volume_.root(), "f").error().code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(volume_->remove_tree(volume_.root(), "absent").error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace weir::volume
