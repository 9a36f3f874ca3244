#include "meta/check.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "format/keys.h"
#include "kv/run_txn.h"
#include "meta/namespace_fixture.h"
#include "meta/repair.h"

namespace weir::meta {
namespace {

class CheckTest : public NamespaceFixture {
 protected:
  void SetUp() override {
    NamespaceFixture::SetUp();
    directory_ = make_directory(root_, "d");
    persisted_ = make_file(directory_, "persisted");
    persist(directory_);
    persist(persisted_);
    waiting_ = make_file(directory_, "waiting");
    ASSERT_EQ(kinds(), std::vector<std::string>{});
  }

  void damage(const std::function<void(kv::Txn&)>& body) {
    ASSERT_TRUE(kv::run_txn(kv_, [&](kv::Txn& txn) -> Result<void> {
                  body(txn);
                  return {};
                }).has_value());
  }
  void change(InodeId inode, const std::function<void(Inode&)>& body) {
    Inode record = *names_->load(inode);
    body(record);
    damage([&](kv::Txn& txn) { txn.put(format::inode_key(inode), format::encode(record)); });
  }

  std::vector<Discrepancy> all(size_t rows = 3) {
    std::vector<Discrepancy> found;
    Check check(kv_);
    std::string cursor;
    for (bool more = true; more;) {
      auto look = check.look_from(cursor, rows);
      EXPECT_TRUE(look.has_value()) << look.error().to_string();
      if (!look) break;
      for (auto& finding : look->findings) {
        // A second look finds the same.
        const auto again = check.look_at({&finding.row, 1});
        EXPECT_TRUE(again.has_value() && !again->findings.empty());
        found.push_back(std::move(finding.discrepancy));
      }
      more = look->more;
      cursor = look->cursor;
    }
    return found;
  }
  std::vector<std::string> kinds() {
    std::vector<std::string> kinds;
    for (const auto& discrepancy : all()) kinds.emplace_back(discrepancy.kind);
    std::ranges::sort(kinds);
    return kinds;
  }
  using Kinds = std::vector<std::string>;

  // Goes through all until a run repairs nothing more; what is left then.
  Kinds repair() {
    for (int run = 0; run < 8; ++run) {
      Check check(kv_);
      Repair repair(*names_);
      bool repaired = false;
      auto look = check.look_from("", 10'000);
      EXPECT_TRUE(look.has_value()) << look.error().to_string();
      if (!look) break;
      for (const auto& finding : look->findings) {
        const auto outcome = repair.repair(finding.row, finding.discrepancy.kind);
        EXPECT_TRUE(outcome.has_value()) << finding.discrepancy.kind << ": " << outcome.error().to_string();
        repaired |= outcome && *outcome == Repair::Outcome::kRepaired;
      }
      if (!repaired) break;
    }
    return kinds();
  }
  std::string path_of(InodeId inode) { return names_->path_of(inode).value_or("none"); }

  InodeId directory_{};
  InodeId persisted_{};
  InodeId waiting_{};
};

TEST_F(CheckTest, a_volume_that_went_through_everything_is_clean) {
  const InodeId moved = make_directory(root_, "moved");
  const InodeId below = make_file(moved, "below");
  persist(moved);
  persist(below);
  ASSERT_TRUE(names_->rename(root_, "moved", directory_, "there", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(kinds(), Kinds{});
  ASSERT_TRUE(names_->rename(directory_, "persisted", root_, "p", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(kinds(), Kinds{});
  ASSERT_TRUE(names_->unlink(moved, "below", InUse::kYes).has_value());
  ASSERT_TRUE(names_->set_xattr(waiting_, "user.a", "1", Namespace::XattrMode::kSet).has_value());
  EXPECT_EQ(kinds(), Kinds{});
  ASSERT_TRUE(names_->reclaim(below).has_value());
  while (!names_->tree_step(moved, 10)->done) EXPECT_EQ(kinds(), Kinds{});
  ASSERT_TRUE(names_->remove_directory(directory_, "there", InUse::kNo).has_value());
  EXPECT_EQ(kinds(), Kinds{});
}

TEST_F(CheckTest, a_name_that_leads_nowhere_is_named_with_its_path) {
  damage([&](kv::Txn& txn) { txn.erase(format::inode_key(persisted_)); });
  const auto found = all();
  ASSERT_EQ(found.size(), 4u);  // with two sums of its directory
  EXPECT_EQ(found[0].kind, "name_without_inode");
  EXPECT_EQ(found[0].path, "/s3/d/persisted");
  EXPECT_EQ(found[0].inode, persisted_);
  EXPECT_EQ(found[3].kind, "owner_stray");
  EXPECT_EQ(found[3].key, "d/persisted");
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_inode_that_no_name_leads_to_is_named) {
  damage([&](kv::Txn& txn) {
    txn.erase(format::dentry_key(directory_, "persisted", format::DentryKind::kLeaf));
  });
  EXPECT_EQ(kinds(), (Kinds{"inode_without_name", "wrong_byte_sum", "wrong_file_count"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, two_names_of_an_inode_with_one_link_are_named) {
  damage([&](kv::Txn& txn) {
    format::Dentry dentry;
    dentry.set_inode(persisted_.value());
    dentry.set_type(format::REGULAR);
    txn.put(format::dentry_key(directory_, "second", format::DentryKind::kLeaf), format::encode(dentry));
  });
  EXPECT_EQ(kinds(), Kinds{"name_unknown_to_inode"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, a_name_of_the_wrong_type_is_named) {
  damage([&](kv::Txn& txn) {
    format::Dentry dentry;
    dentry.set_inode(persisted_.value());
    dentry.set_type(format::SYMLINK);
    txn.put(format::dentry_key(directory_, "persisted", format::DentryKind::kLeaf), format::encode(dentry));
  });
  EXPECT_EQ(kinds(), Kinds{"name_of_wrong_type"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, names_in_no_directory_are_named) {
  damage([&](kv::Txn& txn) {
    txn.erase(format::inode_key(directory_));
    txn.erase(format::dentry_key(root_, "d", format::DentryKind::kDirectory));
    txn.erase(format::subdirectories_key(root_));
    txn.erase(format::subdirectory_key(root_, "d"));
    txn.erase(format::directory_mtime_key(directory_));
    txn.erase(format::changed_directory_key(directory_));
    txn.erase(format::directory_files_key(directory_));
    txn.erase(format::directory_bytes_key(directory_));
    txn.erase(format::owner_key(mount_, "d/"));
  });
  EXPECT_EQ(kinds(), (Kinds{"name_without_directory", "name_without_directory"}));
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(path_of(waiting_), "/s3/lost+found/" + std::to_string(waiting_.value()));
}

TEST_F(CheckTest, rows_of_directories_that_are_gone_are_named) {
  damage([&](kv::Txn& txn) {
    txn.add(format::subdirectories_key(InodeId(99)), 1);
    txn.max(format::directory_mtime_key(InodeId(99)), 1);
    txn.max(format::changed_directory_key(InodeId(99)), 1);
    txn.add(format::directory_files_key(InodeId(99)), 1);
  });
  EXPECT_EQ(kinds(), Kinds(4, "directory_row_stray"));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, wrong_sums_of_a_directory_are_named) {
  damage([&](kv::Txn& txn) {
    txn.add(format::directory_files_key(directory_), 1);
    txn.add(format::directory_bytes_key(directory_), -1);
    txn.erase(format::subdirectory_key(root_, "d"));
    txn.put(format::subdirectory_key(root_, "e"), kv::encode_counter(5));
  });
  EXPECT_EQ(kinds(), (Kinds{"directory_row_missing", "directory_row_stray", "wrong_byte_sum", "wrong_file_count"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, a_wrong_count_of_subdirectories_is_named) {
  damage([&](kv::Txn& txn) { txn.add(format::subdirectories_key(root_), 2); });
  const auto found = all();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0], (Discrepancy{.kind = "wrong_subdirectory_count",
                                   .path = "/s3",
                                   .inode = root_,
                                   .expected = "1",
                                   .found = "3",
                                   .remedy = "the count is set right"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, a_wrong_link_count_is_named) {
  change(persisted_, [](Inode& inode) { inode.set_links(2); });
  EXPECT_EQ(kinds(), Kinds{"wrong_link_count"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_unlinked_inode_that_nobody_will_reclaim_is_named) {
  ASSERT_TRUE(names_->unlink(directory_, "persisted", InUse::kYes).has_value());
  EXPECT_EQ(kinds(), Kinds{});
  damage([&](kv::Txn& txn) { txn.erase(format::orphan_key(persisted_)); });
  EXPECT_EQ(kinds(), Kinds{"unlinked_inode_forgotten"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_orphans_row_of_what_has_a_name_or_is_gone_is_named) {
  damage([&](kv::Txn& txn) {
    txn.put(format::orphan_key(persisted_), "");
    txn.put(format::orphan_key(InodeId(99)), "");
  });
  EXPECT_EQ(kinds(), (Kinds{"orphan_stray", "orphan_with_name"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_inode_whose_queue_entry_is_lost_is_named) {
  const Inode inode = *names_->load(waiting_);
  damage([&](kv::Txn& txn) { txn.erase(format::queue_key(inode.queued(), inode.queued_due_ns(), waiting_)); });
  EXPECT_EQ(kinds(), Kinds{"queue_entry_missing"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_unpersisted_inode_that_does_not_wait_is_named) {
  const Inode inode = *names_->load(waiting_);
  damage([&](kv::Txn& txn) { txn.erase(format::queue_key(inode.queued(), inode.queued_due_ns(), waiting_)); });
  change(waiting_, [](Inode& record) {
    record.set_queued(format::NOT_QUEUED);
    record.set_queued_due_ns(0);
  });
  EXPECT_EQ(kinds(), Kinds{"unpersisted_not_queued"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, changed_attributes_that_do_not_wait_are_named) {
  change(persisted_, [](Inode& inode) { inode.set_attributes_version(inode.attributes_version() + 1); });
  EXPECT_EQ(kinds(), Kinds{"unpersisted_not_queued"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, queue_entries_and_progress_of_nothing_are_named) {
  damage([&](kv::Txn& txn) {
    txn.put(format::queue_key(format::URGENT, 5, persisted_), "");
    txn.put(format::queue_key(format::URGENT, 5, InodeId(99)), "");
    txn.put(format::progress_key(persisted_), format::encode(format::Progress()));
  });
  EXPECT_EQ(kinds(), (Kinds{"progress_stray", "queue_entry_stray", "queue_entry_stray"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, transient_rows_and_marks_that_lie_are_named) {
  damage([&](kv::Txn& txn) {
    txn.put(format::transient_key(persisted_), "");
    txn.put(format::writing_key(InodeId(99)), format::encode(format::WriteMark()));
  });
  EXPECT_EQ(kinds(), (Kinds{"transient_row_stray", "write_mark_stray"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, a_transient_file_without_its_row_is_named) {
  change(persisted_, [](Inode& inode) { inode.set_transient(true); });
  EXPECT_EQ(kinds(), Kinds{"transient_row_missing"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, a_home_that_is_not_owned_is_named) {
  damage([&](kv::Txn& txn) { txn.erase(format::owner_key(mount_, "d/persisted")); });
  const auto found = all();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "object_key_not_owned");
  EXPECT_EQ(found[0].path, "/s3/d/persisted");
  EXPECT_EQ(found[0].key, "d/persisted");
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_owner_that_lives_elsewhere_is_named) {
  format::Owner owner;
  owner.set_inode(persisted_.value());
  damage([&](kv::Txn& txn) { txn.put(format::owner_key(mount_, "x"), format::encode(owner)); });
  EXPECT_EQ(kinds(), Kinds{"owner_stray"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, whiteouts_and_their_entries_miss_each_other) {
  ASSERT_TRUE(names_->unlink(directory_, "persisted", InUse::kNo).has_value());
  EXPECT_EQ(kinds(), Kinds{});
  const auto items = *names_->erases(std::numeric_limits<int64_t>::max() - 1, 10);
  ASSERT_EQ(items.size(), 1u);
  damage([&](kv::Txn& txn) {
    txn.erase(format::erase_key(items[0].due_ns, mount_, items[0].key));
    txn.put(format::erase_key(77, mount_, "nothing"), "");
  });
  EXPECT_EQ(kinds(), (Kinds{"erasure_missing", "erasure_stray"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, an_object_that_is_not_under_its_path_is_named) {
  change(persisted_, [](Inode& inode) { inode.mutable_home()->set_key("elsewhere"); });
  damage([&](kv::Txn& txn) {
    txn.erase(format::owner_key(mount_, "d/persisted"));
    format::Owner owner;
    owner.set_inode(persisted_.value());
    txn.put(format::owner_key(mount_, "elsewhere"), format::encode(owner));
  });
  EXPECT_EQ(kinds(), Kinds{"object_misplaced"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, attributes_of_nothing_and_wrong_sums_are_named) {
  ASSERT_TRUE(names_->set_xattr(persisted_, "user.a", "1", Namespace::XattrMode::kSet).has_value());
  change(persisted_, [](Inode& inode) { inode.set_xattr_bytes(inode.xattr_bytes() + 1); });
  damage([&](kv::Txn& txn) {
    txn.put(format::xattr_key(InodeId(99), "user.b"), "2");
    txn.put(format::xattr_key(waiting_, "user.b"), "2");
  });
  EXPECT_EQ(kinds(), (Kinds{"attribute_stray", "wrong_attribute_bytes", "wrong_attribute_bytes"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, claims_and_walks_miss_each_other) {
  const InodeId moved = make_directory(root_, "moved");
  persist(moved);
  ASSERT_TRUE(names_->rename(root_, "moved", root_, "there", RenameMode::kReplace, InUse::kNo).has_value());
  damage([&](kv::Txn& txn) {
    txn.erase(format::claim_key(mount_, "moved/"));
    txn.put(format::claim_key(mount_, "nobody/"), "");
    format::TreeJob job;
    job.set_directory(99);
    txn.put(format::tree_job_key(InodeId(99)), format::encode(job));
  });
  EXPECT_EQ(kinds(), (Kinds{"prefix_claim_missing", "prefix_claim_stray", "tree_job_stray"}));
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, a_mount_point_without_its_directory_is_named) {
  format::Mount mount;
  mount.set_id(9);
  mount.set_name("gone");
  mount.set_directory(99);
  damage([&](kv::Txn& txn) { txn.put(format::mount_key(MountId(9)), format::encode(mount)); });
  EXPECT_EQ(kinds(), Kinds{"mount_point_without_directory"});
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(CheckTest, records_that_cannot_be_read_are_named) {
  damage([&](kv::Txn& txn) {
    txn.put(format::owner_key(mount_, "later"), "\x7f of a later version");
    txn.put(format::owner_key(mount_, "x"), "\x01\xff\xff\xff");
  });
  EXPECT_EQ(kinds(), Kinds(2, "damaged_record"));
  EXPECT_EQ(repair(), Kinds{"damaged_record"});  // what a later build wrote is not ours to judge
}

TEST_F(CheckTest, what_a_repair_takes_out_is_kept) {
  damage([&](kv::Txn& txn) { txn.put(format::owner_key(mount_, "x"), "\x01\xff\xff\xff"); });
  EXPECT_EQ(repair(), Kinds{});
  const auto range = format::repaired_range();
  const auto kept = kv::read_txn(kv_, [&](kv::Txn& txn) { return txn.get_range(range.begin, range.end); });
  ASSERT_EQ(kept->rows.size(), 1u);
  EXPECT_TRUE(kept->rows[0].key.ends_with(format::owner_key(mount_, "x")));
  EXPECT_EQ(kept->rows[0].value, "\x01\xff\xff\xff");
}

TEST_F(CheckTest, an_inode_whose_name_was_taken_by_another_is_found_in_lost_and_found) {
  damage([&](kv::Txn& txn) {
    format::Dentry dentry;
    dentry.set_inode(waiting_.value());
    dentry.set_type(format::REGULAR);
    txn.put(format::dentry_key(directory_, "persisted", format::DentryKind::kLeaf), format::encode(dentry));
  });
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(path_of(persisted_), "/s3/lost+found/" + std::to_string(persisted_.value()));
  EXPECT_EQ(names_->load(waiting_)->links(), 2u);
}

TEST_F(CheckTest, a_further_name_without_its_row_or_its_dentry_gets_it_back) {
  ASSERT_TRUE(names_->link(persisted_, root_, "second").has_value());
  ASSERT_EQ(kinds(), Kinds{});
  damage([&](kv::Txn& txn) {
    const auto range = format::further_name_range(persisted_);
    txn.erase_range(range.begin, range.end);
  });
  EXPECT_NE(kinds(), Kinds{});
  EXPECT_EQ(repair(), Kinds{});
  damage([&](kv::Txn& txn) { txn.erase(format::dentry_key(root_, "second", format::DentryKind::kLeaf)); });
  EXPECT_EQ(kinds(), Kinds{"inode_without_name"});
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(names_->load(persisted_)->links(), 2u);
}

}  // namespace
}  // namespace weir::meta
