#include <gtest/gtest.h>

#include "meta/namespace_fixture.h"

namespace weir::meta {
namespace {

class DirectoryTimes : public NamespaceTest {
 protected:
  void SetUp() override {
    NamespaceTest::SetUp();
    settle_all();
  }
  std::vector<Namespace::ChangedDirectory> changed() { return *names_->changed_directories(InodeId{}, 100); }
  std::vector<InodeId> changed_ids() {
    std::vector<InodeId> ids;
    for (const auto& directory : changed()) ids.push_back(directory.inode);
    return ids;
  }
  void settle_all() {
    for (const auto& directory : changed()) ASSERT_TRUE(names_->settle_directory_time(directory).has_value());
  }
  int64_t mtime(InodeId directory) { return names_->attributes(*names_->load(directory))->mtime_ns; }
  // As an uploader does: the object says the mtime of the claim.
  void persist_directory(InodeId directory) {
    const auto claim = names_->claim(directory);
    ASSERT_TRUE(names_->commit_persisted(directory, {.mount = claim->mount,
                                                     .key = claim->key,
                                                     .etag = "e",
                                                     .generation = claim->inode.generation(),
                                                     .attributes_version = claim->inode.attributes_version(),
                                                     .directory_mtime_ns = claim->inode.mtime_ns()})
                    .has_value());
  }
};

TEST_F(DirectoryTimes, a_directory_whose_entries_changed_is_queued_once) {
  const InodeId d = make_directory(root_, "d");
  persist_directory(d);
  settle_all();
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(names_->make_symlink(d, name, "x", kCaller).has_value());
  ASSERT_EQ(changed_ids(), std::vector<InodeId>{d});
  EXPECT_TRUE(*names_->settle_directory_time(changed().front()));
  EXPECT_TRUE(changed().empty());
  persist_directory(d);
  EXPECT_EQ(names_->load(d)->marker_mtime_ns(), mtime(d));
  EXPECT_TRUE(fully_persisted(*names_->load(d)));
}

TEST_F(DirectoryTimes, what_changed_since_it_was_looked_at_stays) {
  const InodeId d = make_directory(root_, "d");
  persist_directory(d);
  settle_all();
  ASSERT_TRUE(names_->make_symlink(d, "a", "x", kCaller).has_value());
  const auto seen = changed().front();
  EXPECT_EQ(seen.mtime_ns, mtime(d));
  ASSERT_TRUE(names_->make_symlink(d, "b", "x", kCaller).has_value());
  EXPECT_FALSE(*names_->settle_directory_time(seen));
  ASSERT_EQ(changed_ids(), std::vector<InodeId>{d});
  EXPECT_EQ(changed().front().since_ns, seen.since_ns);  // of the first change
}

TEST_F(DirectoryTimes, an_object_that_says_them_is_not_written_again) {
  const InodeId d = make_directory(root_, "d");
  ASSERT_TRUE(names_->make_symlink(d, "a", "x", kCaller).has_value());
  ASSERT_TRUE(names_->settle_directory_time(changed().back()).has_value());
  EXPECT_EQ(changed_ids(), (std::vector<InodeId>{root_, d})) << "it has still to get an object";
  persist_directory(d);
  const auto before = queue();
  settle_all();
  EXPECT_TRUE(changed().empty());
  EXPECT_EQ(queue(), before);
}

TEST_F(DirectoryTimes, a_directory_without_an_object_gets_none) {
  const auto before = queue();
  ASSERT_TRUE(names_->make_symlink(root_, "a", "x", kCaller).has_value());
  ASSERT_EQ(changed_ids(), std::vector<InodeId>{root_});
  EXPECT_FALSE(*names_->settle_directory_time(changed().front()));
  EXPECT_TRUE(changed().empty());
  EXPECT_EQ(queue().size(), before.size() + 1);  // the link alone
}

TEST_F(DirectoryTimes, a_removed_directory_leaves_no_row) {
  const InodeId d = make_directory(root_, "d");
  ASSERT_TRUE(names_->make_symlink(d, "a", "x", kCaller).has_value());
  ASSERT_TRUE(names_->unlink(d, "a", InUse::kNo).has_value());
  ASSERT_TRUE(names_->remove_directory(root_, "d", InUse::kNo).has_value());
  EXPECT_EQ(changed_ids(), std::vector<InodeId>{root_});
}

}  // namespace
}  // namespace weir::meta
