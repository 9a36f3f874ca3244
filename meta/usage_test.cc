#include <gtest/gtest.h>

#include "meta/namespace_fixture.h"

namespace weir::meta {
namespace {

// Every test of this folder ends with a check of all sums that are kept.
class KeptSums : public NamespaceTest {
 protected:
  Namespace::DirectorySum kept(InodeId directory) { return *names_->kept_sum(directory, "", 100); }
};

TEST_F(KeptSums, of_a_directory_follow_its_entries) {
  const InodeId d = make_directory(root_, "d");
  const InodeId e = make_directory(d, "e");
  make_file(d, "a", 10);
  make_file(d, "b", 20);
  ASSERT_TRUE(names_->make_symlink(d, "l", "x", kCaller).has_value());
  EXPECT_EQ(kept(d).files, 3u);
  EXPECT_EQ(kept(d).bytes, 30u);
  EXPECT_EQ(kept(d).directories, std::vector<InodeId>{e});
  ASSERT_TRUE(names_->rename(d, "a", e, "a", RenameMode::kReplace, InUse::kNo).has_value());
  ASSERT_TRUE(names_->unlink(d, "l", InUse::kNo).has_value());
  EXPECT_EQ(kept(d).files, 1u);
  EXPECT_EQ(kept(d).bytes, 20u);
  EXPECT_EQ(kept(e).bytes, 10u);
  ASSERT_TRUE(names_->rename(d, "b", e, "a", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(kept(d).files, 0u);
  EXPECT_EQ(kept(e).files, 1u);
  EXPECT_EQ(kept(e).bytes, 20u);
}

TEST_F(KeptSums, count_an_open_file_until_its_last_name_goes) {
  const InodeId f = make_file(root_, "f", 5);
  ASSERT_TRUE(begin_write(f).has_value());
  ASSERT_TRUE(names_->commit_content(f, {.size = 9, .mtime_ns = 6, .ctime_ns = 8}, Urgency::kOrdinary, kWritten).has_value());
  EXPECT_EQ(kept(root_).bytes, 9u);
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kYes).has_value());
  EXPECT_EQ(kept(root_).files, 0u);
  EXPECT_EQ(kept(root_).bytes, 0u);
  ASSERT_TRUE(names_->commit_content(f, {.size = 30, .mtime_ns = 7, .ctime_ns = 9}, Urgency::kOrdinary, kWritten).has_value());
  EXPECT_EQ(kept(root_).bytes, 0u);
  ASSERT_TRUE(names_->reclaim(f).has_value());
}

TEST_F(KeptSums, count_what_has_several_names_under_the_first_one) {
  const InodeId d = make_directory(root_, "d");
  const InodeId f = make_file(root_, "f", 5);
  ASSERT_TRUE(names_->link(f, d, "g").has_value());
  EXPECT_EQ(kept(root_).bytes, 5u);
  EXPECT_EQ(kept(d).files, 0u);
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kNo).has_value());
  EXPECT_EQ(kept(root_).files, 0u);
  EXPECT_EQ(kept(d).bytes, 5u);
}

TEST_F(KeptSums, count_a_file_without_a_name_once_it_has_one) {
  const auto local = names_->new_local_file_id();
  const auto f = names_->create_unnamed_file(root_, 0644, kCaller, *local);
  const InodeId id(f->id());
  ASSERT_TRUE(names_->commit_content(id, {.size = 7, .mtime_ns = 6, .ctime_ns = 8}, Urgency::kOrdinary, kWritten).has_value());
  EXPECT_EQ(kept(root_).files, 0u);
  ASSERT_TRUE(names_->link(id, root_, "f").has_value());
  EXPECT_EQ(kept(root_).files, 1u);
  EXPECT_EQ(kept(root_).bytes, 7u);
}

TEST_F(KeptSums, are_made_for_a_volume_that_did_not_keep_them) {
  const InodeId d = make_directory(root_, "d");
  make_file(d, "a", 10);
  ASSERT_TRUE(names_->link(make_file(root_, "b", 20), d, "c").has_value());
  ASSERT_TRUE(kv::run_txn(kv_, [&](kv::Txn& txn) -> Result<void> {
                txn.erase_range("a", "b");
                const auto value = *txn.get(format::superblock_key());
                auto superblock = *format::decode<format::Superblock>(*value);
                superblock.clear_directory_sums();
                txn.put(format::superblock_key(), format::encode(superblock));
                return {};
              }).has_value());
  reopen();
  EXPECT_EQ(kept(root_).files, 1u);
  EXPECT_EQ(kept(root_).bytes, 20u);
  EXPECT_EQ(kept(root_).directories, std::vector<InodeId>{d});
  EXPECT_EQ(kept(d).bytes, 10u);
}

}  // namespace
}  // namespace weir::meta
