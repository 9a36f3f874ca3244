#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "meta/namespace_fixture.h"
#include "testing/metadata_check.h"

namespace weir::meta {
namespace {

using Keys = std::set<std::string>;

class RemoveTree : public NamespaceTest {
 protected:
  // A directory that a listing of `parent` shows and nobody has looked into.
  InodeId merge_directory(InodeId parent, std::string_view name) {
    const auto merged = names_->merge_lower(parent, names_->load(parent)->lower(),
                                            {{.name = std::string(name), .directory = true, .confirmed = true}});
    EXPECT_TRUE(merged.has_value()) << merged.error().to_string();
    const auto found = names_->find(parent, name);
    return found->inode ? InodeId(found->inode->id()) : InodeId{};
  }

  // One step of a job, as the remover of a volume makes it over a bucket that lists `objects`.
  bool step(InodeId job, const Keys& objects = {}, const std::set<InodeId>& open = {}) {
    const auto work = names_->removal_work(job, 3);
    EXPECT_TRUE(work.has_value()) << work.error().to_string();
    if (work->over) return false;
    if (work->purge) {
      std::vector<Namespace::ListedObject> page;
      for (const std::string& key : objects) {
        if (key.starts_with(work->purge->prefix()) && key > work->purged_to && page.size() < 2) page.push_back({key, "etag"});
      }
      const bool last = page.size() < 2;
      EXPECT_TRUE(names_->whiteout_listed(job, *work->purge, page,
                                          last ? Namespace::Listing::kWhole : Namespace::Listing::kPart).has_value());
      return true;
    }
    std::vector<InUse> in_use;
    for (const auto& entry : work->entries) in_use.push_back(open.contains(entry.inode) ? InUse::kYes : InUse::kNo);
    const auto removed = names_->remove_entries(job, *work, in_use);
    EXPECT_TRUE(removed.has_value()) << removed.error().to_string();
    for (const auto& unlinked : removed->unlinked) {
      if (unlinked.local_file != LocalFileId(0)) forgotten_.insert(unlinked.local_file);
    }
    return true;
  }
  void finish(const Keys& objects = {}, const std::set<InodeId>& open = {}) {
    for (int i = 0; i < 10'000; ++i) {
      const auto jobs = *names_->removals(InodeId{}, 100);
      if (jobs.empty()) return;
      for (const auto& job : jobs) {
        step(InodeId(job.directory()), objects, open);
        expect_clean();
      }
    }
    FAIL() << "the removal does not end";
  }
  Keys whiteouts() {
    const auto keys = NamespaceTest::whiteouts();
    return Keys(keys.begin(), keys.end());
  }
  void expect_clean() { EXPECT_EQ(testing::check_metadata(kv_), ""); }
  uint64_t inodes() { return names_->usage()->inodes; }

  std::set<LocalFileId> forgotten_;
};

TEST_F(RemoveTree, the_tree_is_gone_at_once_and_all_it_held_behind) {
  const uint64_t before = inodes();
  const InodeId top = make_directory(root_, "t");
  const InodeId below = make_directory(top, "below");
  std::set<LocalFileId> local_files;
  for (const InodeId directory : {top, below}) {
    for (int i = 0; i < 7; ++i) {
      const InodeId file = make_file(directory, "f" + std::to_string(i));
      local_files.insert(LocalFileId(names_->load(file)->local_file()));
      if (i % 2 == 0) persist(file);
    }
  }
  persist(top);
  make_directory(below, "empty");
  ASSERT_EQ(*names_->detach_tree(root_, "t"), top);
  EXPECT_FALSE(names_->find(root_, "t")->inode.has_value());
  EXPECT_EQ(names_->attributes(*names_->load(root_))->links, 2u);
  ASSERT_EQ(names_->removals(InodeId{}, 10)->size(), 1u);
  EXPECT_EQ(names_->removals(InodeId{}, 10)->front().path(), "/s3/t");
  expect_clean();
  finish();
  EXPECT_EQ(inodes(), before);
  EXPECT_EQ(names_->usage()->bytes, 0u);
  EXPECT_EQ(names_->usage()->dirty_files, 0u);
  EXPECT_EQ(forgotten_, local_files);
  EXPECT_EQ(whiteouts(), (Keys{"t/", "t/f0", "t/f2", "t/f4", "t/f6", "t/below/f0", "t/below/f2", "t/below/f4", "t/below/f6"}));
}

TEST_F(RemoveTree, a_mount_point_a_file_and_what_is_not_there_are_refused) {
  make_file(root_, "f");
  EXPECT_EQ(names_->detach_tree(kRootInode, "s3").error().code(), ErrorCode::kBusy);
  EXPECT_EQ(names_->detach_tree(root_, "f").error().code(), ErrorCode::kNotDirectory);
  EXPECT_EQ(names_->detach_tree(root_, "absent").error().code(), ErrorCode::kNotFound);
}

TEST_F(RemoveTree, open_files_below_live_until_their_last_close) {
  const InodeId top = make_directory(root_, "t");
  const InodeId file = make_file(top, "open");
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  finish({}, {file});
  EXPECT_EQ(names_->load(file)->links(), 0u);
  EXPECT_EQ(*names_->orphans(), std::vector<InodeId>{file});
  ASSERT_TRUE(names_->reclaim(file).has_value());
  EXPECT_FALSE(names_->load(file).has_value());
}

TEST_F(RemoveTree, a_new_tree_of_the_same_name_is_another_one) {
  const InodeId old = make_directory(root_, "t");
  persist(old);
  persist(make_file(old, "f"));
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  const InodeId top = make_directory(root_, "t");
  const InodeId file = make_file(top, "f");
  // The old one's objects are in the way for now.
  finish();
  persist(top);
  persist(file);
  EXPECT_EQ(names_->load(file)->home().key(), "t/f");
  EXPECT_EQ(whiteouts(), Keys{});
}

TEST_F(RemoveTree, what_is_made_inside_meanwhile_goes_too) {
  const InodeId top = make_directory(root_, "t");
  const InodeId below = make_directory(top, "below");
  make_file(below, "z");
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  // A process whose working directory is `below`.
  ASSERT_TRUE(step(top));
  ASSERT_TRUE(step(top));
  make_file(below, "a");
  EXPECT_EQ(names_->make_directory(top, "x", 0755, kCaller).error().code(), ErrorCode::kNotFound);
  EXPECT_EQ(names_->rename(below, "a", root_, "saved", RenameMode::kReplace, InUse::kNo).error().code(),
            ErrorCode::kNotFound);
  finish();
  EXPECT_FALSE(names_->load(below).has_value());
}

TEST_F(RemoveTree, nothing_inside_is_persisted_and_an_upload_under_way_is_whited_out) {
  const InodeId top = make_directory(root_, "t");
  const InodeId below = make_directory(top, "below");
  const InodeId uploading = make_file(below, "uploading");
  const InodeId waiting = make_file(below, "waiting");
  const auto claim = names_->claim(uploading);
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  EXPECT_EQ(names_->claim(waiting).error().code(), ErrorCode::kNotFound);
  EXPECT_TRUE(names_->commit_persisted(uploading, object_for(*claim))->gone);
  finish();
  EXPECT_EQ(whiteouts(), Keys{"t/below/uploading"});
}

TEST_F(RemoveTree, objects_that_nobody_ever_listed_go_with_the_tree) {
  const InodeId top = merge_directory(root_, "t");
  const Keys objects = {"t/a", "t/b/", "t/b/c", "t/b/d", "t/e", "u/f"};
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  // No listing brings it back meanwhile.
  EXPECT_EQ(merge_directory(root_, "t"), InodeId{});
  EXPECT_FALSE(names_->load(make_directory(root_, "t"))->has_lower());
  finish(objects);
  EXPECT_FALSE(names_->load(top).has_value());
  EXPECT_EQ(whiteouts(), (Keys{"t/a", "t/b/", "t/b/c", "t/b/d", "t/e"}));
}

TEST_F(RemoveTree, directories_below_that_were_never_listed_go_by_jobs_of_their_own) {
  const InodeId top = make_directory(root_, "t");
  merge_directory(top, "far");
  make_file(top, "near");
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  const Keys objects = {"t/far/x", "t/far/y/z"};
  for (int i = 0; i < 20 && step(top); ++i) {
  }
  // The rest is not held up by a store that does not answer.
  EXPECT_FALSE(names_->load(top).has_value());
  EXPECT_EQ(names_->removals(InodeId{}, 10)->size(), 1u);
  EXPECT_EQ(merge_directory(make_directory(root_, "t"), "far"), InodeId{});
  finish(objects);
  EXPECT_EQ(whiteouts(), (Keys{"t/far/x", "t/far/y/z"}));
}

TEST_F(RemoveTree, objects_that_other_names_own_stay) {
  const InodeId top = merge_directory(root_, "t");
  format::Lower lower = names_->load(top)->lower();
  lower.set_listed_ns(1);
  // Looked up by name, and moved out of the tree: one file, one directory that was never listed.
  ASSERT_TRUE(names_->merge_lower(top, lower, {{.name = "kept", .has_object = true, .etag = "e", .size = 1},
                                               {.name = "dir", .directory = true, .confirmed = true}}).has_value());
  ASSERT_TRUE(names_->rename(top, "kept", root_, "kept", RenameMode::kReplace, InUse::kNo).has_value());
  ASSERT_TRUE(names_->rename(top, "dir", root_, "dir", RenameMode::kReplace, InUse::kNo).has_value());
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  finish({"t/dir/a", "t/dir/b", "t/gone", "t/kept"});
  EXPECT_EQ(whiteouts(), Keys{"t/gone"});
}

TEST_F(RemoveTree, a_renamed_directory_inside_takes_its_old_prefix_with_it) {
  const InodeId top = make_directory(root_, "t");
  const InodeId other = make_directory(root_, "o");
  merge_directory(other, "dir");
  ASSERT_TRUE(names_->rename(other, "dir", top, "dir", RenameMode::kReplace, InUse::kNo).has_value());
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  const InodeId dir(names_->find(top, "dir")->inode->id());
  EXPECT_TRUE(names_->tree_step(dir, 10)->detached);
  finish({"o/dir/a", "o/dir/b/c"});
  EXPECT_EQ(whiteouts(), (Keys{"o/dir/a", "o/dir/b/c"}));
  EXPECT_TRUE(names_->tree_jobs(10)->empty());
}

TEST_F(RemoveTree, a_walk_over_a_directory_above_passes_the_tree_by) {
  const InodeId above = make_directory(root_, "above");
  const InodeId top = make_directory(above, "t");
  persist(above);
  persist(top);
  persist(make_file(make_directory(top, "below"), "f"));
  ASSERT_TRUE(names_->rename(root_, "above", root_, "moved", RenameMode::kReplace, InUse::kNo).has_value());
  ASSERT_FALSE(names_->tree_step(above, 3)->done);
  ASSERT_TRUE(names_->detach_tree(above, "t").has_value());
  for (int i = 0; i < 20 && !names_->tree_step(above, 3)->done; ++i) {
  }
  EXPECT_TRUE(names_->tree_jobs(10)->empty());
  finish();
}

TEST_F(RemoveTree, a_mount_point_waits_for_the_trees_that_are_being_removed) {
  const InodeId top = make_directory(root_, "t");
  persist(top);
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  EXPECT_EQ(names_->remove_mount("s3", [](LocalFileId) {}).error().code(), ErrorCode::kNotEmpty);
  finish();
  // Its objects would come back with the bucket.
  EXPECT_EQ(names_->remove_mount("s3", [](LocalFileId) {}).error().code(), ErrorCode::kNotEmpty);
  ASSERT_TRUE(names_->erased(*names_->erases(std::numeric_limits<int64_t>::max() - 1, 10)).has_value());
  EXPECT_TRUE(names_->remove_mount("s3", [](LocalFileId) {}).has_value());
}

TEST_F(RemoveTree, transient_files_inside_are_passed_over_by_a_change_of_rules) {
  auto rules = PathRules::parse(
      R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},"pathRules":[{"path":"/s3/t/**","policyMode":"TRANSIENT"}]})");
  ASSERT_TRUE(rules.has_value());
  names_->set_rules(std::make_shared<const PathRules>(*std::move(rules)));
  const InodeId top = make_directory(root_, "t");
  make_file(make_directory(top, "below"), "f");
  ASSERT_TRUE(names_->detach_tree(root_, "t").has_value());
  names_->set_rules(std::make_shared<const PathRules>(PathRules::built_in()));
  EXPECT_TRUE(names_->requeue_transient([] { return false; }).has_value());
  finish();
}

}  // namespace
}  // namespace weir::meta
