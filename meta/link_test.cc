#include "meta/namespace_fixture.h"

namespace weir::meta {
namespace {

class LinkTest : public NamespaceTest {
 protected:
  Inode link(InodeId inode, InodeId parent, std::string_view name) {
    const auto linked = names_->link(inode, parent, name);
    EXPECT_TRUE(linked.has_value()) << linked.error().to_string();
    return *names_->load(inode);
  }
  Unlinked unlink(InodeId parent, std::string_view name) {
    const auto unlinked = names_->unlink(parent, name, InUse::kNo);
    EXPECT_TRUE(unlinked.has_value()) << unlinked.error().to_string();
    return *unlinked;
  }
  Renamed rename(std::string_view from, std::string_view to, RenameMode mode = RenameMode::kReplace) {
    const auto renamed = names_->rename(root_, from, root_, to, mode, InUse::kNo);
    EXPECT_TRUE(renamed.has_value()) << renamed.error().to_string();
    return *renamed;
  }
  InodeId inode_of(std::string_view name) { return InodeId(names_->find(root_, name)->inode->id()); }
  Inode record_of(std::string_view name) { return *names_->load_name(root_, name); }
  std::string home_of(std::string_view name) { return record_of(name).home().key(); }
  // Until nothing is queued.
  void persist_all() {
    for (int round = 0; round < 20 && !queue().empty(); ++round) {
      for (const InodeId id : queue()) {
        const auto claim = names_->claim(id);
        if (failed_with(claim, ErrorCode::kNotFound)) continue;
        if (claim->blocked_by) {
          const auto other = names_->load_record(*claim->blocked_by);
          const std::string parked = is_further_name(*other) ? "" : names_->parking_key(*claim->blocked_by);
          ASSERT_TRUE(names_->rehome(*claim->blocked_by, claim->mount, claim->key, parked, "parked").has_value());
          continue;
        }
        persist(id);
      }
    }
    EXPECT_TRUE(queue().empty());
  }
  void expect_in_place(std::initializer_list<std::string_view> names) {
    for (const auto name : names) {
      const Inode record = record_of(name);
      EXPECT_TRUE(fully_persisted(record)) << name;
      EXPECT_EQ(record.home().key(), name);
    }
  }
  UsageCounters usage() { return *names_->usage(); }
};

TEST_F(LinkTest, both_names_lead_to_one_inode) {
  const InodeId file = make_file(root_, "a");
  const Inode linked = link(file, root_, "b");
  EXPECT_EQ(linked.id(), file.value());
  EXPECT_EQ(inode_of("a"), file);
  EXPECT_EQ(inode_of("b"), file);
  EXPECT_EQ(names_->attributes(*names_->load(file))->links, 2u);
  EXPECT_EQ(list(root_), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(usage().inodes, 3u);  // with the root and the mount point
}

TEST_F(LinkTest, is_refused_where_a_local_file_system_refuses_it) {
  const InodeId file = make_file(root_, "a");
  const InodeId directory = make_directory(root_, "d");
  EXPECT_TRUE(failed_with(names_->link(directory, root_, "x"), ErrorCode::kPermission));
  EXPECT_TRUE(failed_with(names_->link(file, root_, "a"), ErrorCode::kExists));
  EXPECT_TRUE(failed_with(names_->link(file, root_, "d"), ErrorCode::kExists));
  EXPECT_TRUE(failed_with(names_->link(file, root_, std::string(256, 'x')), ErrorCode::kNameTooLong));
  EXPECT_TRUE(failed_with(names_->link(file, file, "x"), ErrorCode::kNotDirectory));
  EXPECT_TRUE(failed_with(names_->link(file, kRootInode, "x"), ErrorCode::kPermission));
  const auto other = names_->add_mount("t", "mem:///t", {});
  EXPECT_TRUE(failed_with(names_->link(file, InodeId(other->directory()), "x"), ErrorCode::kCrossDevice));
  ASSERT_TRUE(names_->remove_directory(root_, "d", InUse::kYes).has_value());
  EXPECT_TRUE(failed_with(names_->link(file, directory, "x"), ErrorCode::kNotFound));
}

TEST_F(LinkTest, an_inode_without_a_name_gets_none_again) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  ASSERT_TRUE(names_->unlink(root_, "a", InUse::kYes).has_value());
  ASSERT_TRUE(names_->unlink(root_, "b", InUse::kYes).has_value());
  EXPECT_TRUE(failed_with(names_->link(file, root_, "c"), ErrorCode::kNotFound));
  EXPECT_NE(*names_->reclaim(file), LocalFileId(0));
  EXPECT_EQ(usage().inodes, 2u);
}

TEST_F(LinkTest, there_is_a_most_of_names) {
  const InodeId file = make_file(root_, "a");
  for (uint32_t i = 1; i < kLinksMax; ++i) link(file, root_, "n" + std::to_string(i));
  EXPECT_TRUE(failed_with(names_->link(file, root_, "x"), ErrorCode::kTooManyLinks));
  EXPECT_EQ(names_->load(file)->links(), kLinksMax);
  persist(file);
  EXPECT_EQ(queue().size(), kLinksMax - 1);
  unlink(root_, "a");
  link(file, root_, "x");
}

TEST_F(LinkTest, each_name_is_persisted_after_the_content) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  EXPECT_EQ(queue(), std::vector<InodeId>{file});
  EXPECT_EQ(usage().dirty_bytes, 3u);
  persist(file);
  ASSERT_EQ(queue().size(), 1u);
  EXPECT_EQ(usage().dirty_files, 1u);
  EXPECT_EQ(usage().dirty_bytes, 0u);
  const auto claim = names_->claim(queue().front());
  ASSERT_TRUE(claim->source.has_value());
  EXPECT_EQ(claim->source->key(), "a");
  EXPECT_EQ(claim->key, "b");
  EXPECT_EQ(claim->path, "/s3/b");
  persist_all();
  expect_in_place({"a", "b"});
  EXPECT_EQ(state(file), FileState::kPersisted);
}

TEST_F(LinkTest, of_a_persisted_file_marks_its_object_and_copies_it) {
  const InodeId file = make_file(root_, "a");
  persist(file);
  link(file, root_, "b");
  EXPECT_EQ(queue().size(), 2u);
  persist_all();
  expect_in_place({"a", "b"});
  link(file, root_, "c");
  EXPECT_EQ(queue().size(), 1u);
  persist_all();
  expect_in_place({"a", "b", "c"});
}

TEST_F(LinkTest, a_commit_makes_the_objects_of_all_names_stale) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  ASSERT_TRUE(begin_write(file).has_value());
  write(file, 9);
  EXPECT_FALSE(content_persisted(record_of("b")));
  persist(file);
  EXPECT_EQ(queue().size(), 1u);
  persist_all();
  expect_in_place({"a", "b"});
}

TEST_F(LinkTest, an_opening_that_wrote_nothing_leaves_all_objects_as_they_are) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  ASSERT_TRUE(begin_write(file).has_value());
  ASSERT_TRUE(names_->end_writes({{.inode = file, .unchanged = true}}).has_value());
  EXPECT_TRUE(queue().empty());
  expect_in_place({"a", "b"});
}

TEST_F(LinkTest, a_name_that_moved_while_the_file_was_open_follows_when_it_closes_unchanged) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  ASSERT_TRUE(begin_write(file).has_value());
  rename("b", "c");
  for (const InodeId id : queue()) (void)names_->claim(id);
  EXPECT_TRUE(queue().empty());
  ASSERT_TRUE(names_->end_writes({{.inode = file, .unchanged = true}}).has_value());
  persist_all();
  expect_in_place({"a", "c"});
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"b"});
}

TEST_F(LinkTest, attributes_reach_the_objects_of_all_names) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  ASSERT_TRUE(names_->set_attributes(file, {.permissions = 0600}).has_value());
  EXPECT_FALSE(fully_persisted(record_of("b")));
  persist_all();
  expect_in_place({"a", "b"});
}

TEST_F(LinkTest, a_further_name_goes_with_its_object) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  const Unlinked unlinked = unlink(root_, "b");
  EXPECT_FALSE(unlinked.last_name);
  EXPECT_TRUE(unlinked.erases_object);
  EXPECT_EQ(names_->load(file)->links(), 1u);
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"b"});
  EXPECT_TRUE(queue().empty());
  expect_in_place({"a"});
}

TEST_F(LinkTest, the_first_name_goes_and_the_object_of_a_further_one_serves) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  link(file, root_, "c");
  persist_all();
  unlink(root_, "a");
  EXPECT_TRUE(queue().empty());
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"a"});
  EXPECT_EQ(*names_->path_of(file), "/s3/b");
  expect_in_place({"b", "c"});
  unlink(root_, "b");
  unlink(root_, "c");
  EXPECT_TRUE(failed_with(names_->load(file), ErrorCode::kNotFound));
  EXPECT_EQ(usage().inodes, 2u);
  EXPECT_EQ(usage().bytes, 0u);
}

TEST_F(LinkTest, the_first_name_goes_before_a_further_one_has_an_object) {
  const InodeId file = make_file(root_, "a");
  persist(file);
  link(file, root_, "b");
  unlink(root_, "a");
  EXPECT_EQ(home_of("b"), "a");
  EXPECT_EQ(queue(), std::vector<InodeId>{file});
  persist_all();
  expect_in_place({"b"});
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"a"});
}

TEST_F(LinkTest, the_first_name_goes_while_a_write_to_a_further_ones_object_is_under_way) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  const InodeId further(record_of("b").id());
  ASSERT_TRUE(names_->set_attributes(file, {.permissions = 0600}).has_value());
  persist(file);
  const auto claim = names_->claim(further);
  unlink(root_, "a");
  EXPECT_EQ(home_of("b"), "a");  // what that write leaves under b is not known
  const auto late = names_->commit_persisted(further, {.mount = claim->mount, .key = "b", .etag = "late"});
  EXPECT_TRUE(late->gone);
  const auto again = names_->claim(file);
  EXPECT_EQ(again->key, "b");
  EXPECT_NE(again->expect, Claim::Expect::kNothing);
  persist_all();
  expect_in_place({"b"});
}

TEST_F(LinkTest, the_first_name_goes_while_content_waits) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  unlink(root_, "a");
  EXPECT_EQ(queue(), std::vector<InodeId>{file});
  EXPECT_TRUE(whiteouts().empty());
  persist_all();
  expect_in_place({"b"});
  EXPECT_EQ(usage().dirty_files, 0u);
}

TEST_F(LinkTest, renaming_one_name_over_another_of_the_same_file_does_nothing) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  rename("a", "b");
  rename("a", "b", RenameMode::kExchange);
  EXPECT_TRUE(
      failed_with(names_->rename(root_, "a", root_, "b", RenameMode::kNoReplace, InUse::kNo), ErrorCode::kExists));
  EXPECT_EQ(list(root_), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(names_->load(file)->links(), 2u);
}

TEST_F(LinkTest, a_name_moves_alone) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  rename("b", "c");
  EXPECT_EQ(inode_of("c"), file);
  EXPECT_EQ(*names_->path_of(file), "/s3/a");
  rename("a", "d");
  EXPECT_EQ(*names_->path_of(file), "/s3/d");
  persist_all();
  expect_in_place({"c", "d"});
  auto erased = whiteouts();
  std::ranges::sort(erased);
  EXPECT_EQ(erased, (std::vector<std::string>{"a", "b"}));
}

TEST_F(LinkTest, a_name_is_replaced_by_another_file) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  const InodeId other = make_file(root_, "x");
  persist_all();
  const Renamed renamed = rename("x", "b");
  ASSERT_TRUE(renamed.replaced.has_value());
  EXPECT_FALSE(renamed.replaced->last_name);
  EXPECT_EQ(inode_of("b"), other);
  EXPECT_EQ(names_->load(file)->links(), 1u);
  persist_all();
  expect_in_place({"a", "b"});
}

TEST_F(LinkTest, names_of_two_files_are_exchanged) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  const InodeId other = make_file(root_, "x");
  link(other, root_, "y");
  persist_all();
  rename("b", "x", RenameMode::kExchange);
  rename("a", "y", RenameMode::kExchange);
  for (const auto name : {"x", "y"}) EXPECT_EQ(inode_of(name), file);
  for (const auto name : {"a", "b"}) EXPECT_EQ(inode_of(name), other);
  persist_all();
  expect_in_place({"a", "b", "x", "y"});
}

TEST_F(LinkTest, names_below_a_moved_directory_take_their_objects_along) {
  const InodeId directory = make_directory(root_, "d");
  const InodeId file = make_file(root_, "a");
  link(file, directory, "b");
  const InodeId inside = make_file(directory, "c");
  link(inside, root_, "x");
  persist_all();
  rename("d", "e");
  run_tree_jobs();
  persist_all();
  expect_in_place({"a", "x"});
  EXPECT_EQ(names_->load_name(directory, "b")->home().key(), "e/b");
  EXPECT_EQ(names_->load_name(directory, "c")->home().key(), "e/c");
}

TEST_F(LinkTest, change_the_inodes_time_of_change_as_do_renames_and_unlinks) {
  const InodeId file = make_file(root_, "a");
  int64_t before = names_->load(file)->ctime_ns();
  const auto changed = [&] {
    const int64_t now = names_->load(file)->ctime_ns();
    return now > std::exchange(before, now);
  };
  link(file, root_, "b");
  EXPECT_TRUE(changed());
  rename("b", "c");
  EXPECT_TRUE(changed());
  unlink(root_, "c");
  EXPECT_TRUE(changed());
}

TEST_F(LinkTest, the_strictest_policy_of_all_names_holds) {
  set_rules(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"TRANSIENT"},"pathRules":[
      {"path":"/s3/wb/**","policyMode":"WRITE_BACK"},{"path":"/s3/wt/**","policyMode":"WRITE_THROUGH"}]})");
  const InodeId wb = make_directory(root_, "wb");
  const InodeId wt = make_directory(root_, "wt");
  persist_all();
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  EXPECT_EQ(state(file), FileState::kTransient);
  EXPECT_TRUE(queue().empty());
  link(file, wb, "c");
  EXPECT_EQ(state(file), FileState::kNotPersisted);
  EXPECT_EQ(*names_->policy(*names_->load(file)), WritePolicy::kWriteBack);
  const auto linked = names_->link(file, wt, "d");
  EXPECT_TRUE(*linked);
  EXPECT_EQ(*names_->policy(*names_->load(file)), WritePolicy::kWriteThrough);
  unlink(wt, "d");
  unlink(wb, "c");
  EXPECT_EQ(*names_->policy(*names_->load(file)), WritePolicy::kTransient);
  for (const InodeId id : queue()) (void)names_->claim(id);
  EXPECT_TRUE(queue().empty());
  EXPECT_EQ(state(file), FileState::kTransient);
  rename("b", "c");
  ASSERT_TRUE(names_->rename(root_, "c", wb, "c", RenameMode::kReplace, InUse::kNo).has_value());
  persist_all();
  expect_in_place({"a"});
  EXPECT_EQ(names_->load_name(wb, "c")->home().key(), "wb/c");
}

TEST_F(LinkTest, another_file_takes_the_key_of_a_further_name) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  rename("b", "c");
  const InodeId other = make_file(root_, "b");
  const auto blocked = names_->claim(other);
  ASSERT_TRUE(blocked->blocked_by.has_value());
  EXPECT_TRUE(is_further_name(*names_->load_record(*blocked->blocked_by)));
  ASSERT_TRUE(names_->rehome(*blocked->blocked_by, mount_, "b", "", "").has_value());
  EXPECT_FALSE(names_->claim(other)->blocked_by.has_value());
  persist_all();
  expect_in_place({"a", "b", "c"});
}

TEST_F(LinkTest, symlinks_and_special_files_have_names_like_files) {
  const InodeId symlink(names_->make_symlink(root_, "s", "t", kCaller)->id());
  const InodeId fifo(names_->make_node(root_, "f", format::FIFO, 0600, 0, kCaller)->id());
  link(symlink, root_, "s2");
  link(fifo, root_, "f2");
  persist_all();
  expect_in_place({"s", "s2", "f", "f2"});
  EXPECT_EQ(record_of("s2").symlink_target(), "t");
  EXPECT_EQ(names_->read_directory(root_, "", 10)->entries[1].type, format::FIFO);
}

TEST_F(LinkTest, a_removed_mount_point_leaves_nothing_of_them) {
  const InodeId directory = make_directory(root_, "d");
  const InodeId file = make_file(root_, "a");
  link(file, directory, "b");
  link(file, root_, "c");
  persist_all();
  std::vector<LocalFileId> forgotten;
  ASSERT_TRUE(names_->remove_mount("s3", [&](LocalFileId local) { forgotten.push_back(local); }).has_value());
  EXPECT_EQ(forgotten.size(), 1u);
  EXPECT_EQ(usage().inodes, 1u);
  EXPECT_EQ(usage().bytes, 0u);
  const auto rows = kv::read_txn(kv_, [](kv::Txn& txn) { return txn.get_range("E", "F"); });
  EXPECT_TRUE(rows->rows.empty());
  const auto groups = kv::read_txn(kv_, [](kv::Txn& txn) { return txn.get_range("R", "S"); });
  EXPECT_TRUE(groups->rows.empty());
}

TEST_F(LinkTest, what_waited_below_a_directory_that_is_going_waits_under_the_name_that_stays) {
  set_rules(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},"pathRules":[
      {"path":"/s3/wt/**","policyMode":"WRITE_THROUGH"}]})");
  const InodeId directory = make_directory(root_, "d");
  persist_all();
  const InodeId file = make_file(directory, "a");
  link(file, root_, "b");
  const auto change = [&](const auto& body) {
    return kv::run_txn(kv_, [&](kv::Txn& txn) -> Result<void> {
      Tables tables(txn, unix_ns(system_clock().wall_now()));
      return body(tables);
    });
  };
  ASSERT_TRUE(change([&](Tables& tables) -> Result<void> {
    TRY_ASSIGN(Inode going, tables.load_inode(directory));
    going.set_links(0);
    tables.put_inode(going);
    tables.txn().put(format::orphan_key(directory), "");
    return {};
  }).has_value());
  EXPECT_TRUE(failed_with(names_->claim(file), ErrorCode::kNotFound));
  EXPECT_TRUE(queue().empty());
  write(file, 7);  // through the other name
  (void)names_->claim(file);
  ASSERT_TRUE(change([&](Tables& tables) -> Result<void> {
    TRY(tables.remove_entry(directory, "a", {file, format::REGULAR}, false));
    return {};
  }).has_value());
  persist_all();
  expect_in_place({"b"});
  EXPECT_EQ(record_of("b").size(), 7u);
}

// --- files without a name

TEST_F(LinkTest, a_file_without_a_name_is_gone_when_nobody_named_it) {
  const auto made = names_->create_unnamed_file(root_, 0600, kCaller, *names_->new_local_file_id());
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(made->links(), 0u);
  EXPECT_TRUE(list(root_).empty());
  EXPECT_EQ(names_->orphans()->size(), 1u);
  const InodeId file(made->id());
  EXPECT_NE(*names_->reclaim(file), LocalFileId(0));
  EXPECT_TRUE(failed_with(names_->link(file, root_, "a"), ErrorCode::kNotFound));
  EXPECT_TRUE(names_->write_marks()->empty());
  EXPECT_EQ(usage().inodes, 2u);
}

TEST_F(LinkTest, a_file_without_a_name_gets_one_once) {
  const InodeId file(names_->create_unnamed_file(root_, 0600, kCaller, *names_->new_local_file_id())->id());
  const auto other = names_->add_mount("t", "mem:///t", {});
  EXPECT_TRUE(failed_with(names_->link(file, InodeId(other->directory()), "x"), ErrorCode::kCrossDevice));
  link(file, root_, "a");
  EXPECT_EQ(*names_->reclaim(file), LocalFileId(0));
  EXPECT_TRUE(names_->orphans()->empty());
  write(file, 5);
  persist_all();
  expect_in_place({"a"});
  EXPECT_TRUE(names_->load(file)->link_group().empty());
  ASSERT_TRUE(names_->unlink(root_, "a", InUse::kYes).has_value());
  EXPECT_TRUE(failed_with(names_->link(file, root_, "b"), ErrorCode::kNotFound));
}

// --- what the bucket says

class LinksInTheBucket : public LinkTest {
 protected:
  void merge(std::vector<LowerEntry> entries, int64_t listed_ns = 0) {
    format::Lower lower;
    lower.set_mount(mount_.value());
    lower.set_listed_ns(listed_ns != 0 ? listed_ns : unix_ns(system_clock().wall_now()));
    changes_ = *names_->merge_lower(root_, lower, entries);
  }
  void found(std::string_view name, std::string_view etag, uint64_t size = 3) {
    merge({{.name = std::string(name), .has_object = true, .etag = std::string(etag), .size = size, .mtime_ns = 1}});
  }
  Inode says(std::string_view name, const LowerAttributes& attributes) {
    const Inode inode = *names_->find(root_, name)->inode;
    return *names_->set_lower_attributes(InodeId(inode.id()), inode.home().etag(), attributes);
  }
  static LowerAttributes member(uint64_t generation, uint32_t permissions = 0600) {
    return {.permissions = permissions,
            .mtime_ns = 7,
            .link_group = "other/9",
            .owner_volume_id = "other",
            .owner_generation = generation};
  }

  Namespace::LowerChanges changes_;
};

TEST_F(LinksInTheBucket, objects_of_a_group_become_one_inode) {
  for (const auto name : {"a", "b", "c"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  EXPECT_EQ(says("b", member(4)).id(), file.value());
  EXPECT_EQ(says("c", member(4)).id(), file.value());
  EXPECT_EQ(inode_of("b"), file);
  EXPECT_EQ(names_->load(file)->links(), 3u);
  EXPECT_EQ(usage().inodes, 3u);
  EXPECT_EQ(usage().bytes, 3u);
  EXPECT_TRUE(queue().empty());
  expect_in_place({"a", "b", "c"});
  // They are names like others from here on.
  unlink(root_, "a");
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"a"});
  expect_in_place({"b", "c"});
}

TEST_F(LinksInTheBucket, an_object_of_another_generation_is_its_own_file) {
  for (const auto name : {"a", "b"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  EXPECT_NE(says("b", member(5)).id(), file.value());
  EXPECT_EQ(names_->load(file)->links(), 1u);
}

TEST_F(LinksInTheBucket, other_attributes_are_written_anew) {
  for (const auto name : {"a", "b"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  EXPECT_EQ(says("b", member(4, 0644)).id(), file.value());
  EXPECT_EQ(queue().size(), 1u);
  persist_all();
  EXPECT_EQ(names_->load(file)->permissions(), 0600u);
  expect_in_place({"a", "b"});
}

TEST_F(LinksInTheBucket, a_name_found_after_the_content_changed_gets_the_new_content) {
  for (const auto name : {"a", "b"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  ASSERT_TRUE(begin_write(file).has_value());
  write(file, 9);
  EXPECT_EQ(says("b", member(4)).id(), file.value());
  persist_all();
  expect_in_place({"a", "b"});
  EXPECT_EQ(record_of("b").size(), 9u);
}

TEST_F(LinksInTheBucket, a_name_that_moved_before_it_was_looked_at_follows) {
  for (const auto name : {"a", "b"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  rename("b", "c");
  EXPECT_EQ(says("c", member(4)).id(), file.value());
  EXPECT_EQ(usage().dirty_files, 1u);
  EXPECT_EQ(usage().dirty_bytes, 0u);
  persist_all();
  expect_in_place({"a", "c"});
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"b"});
}

TEST_F(LinksInTheBucket, a_file_in_use_stays_what_it_is) {
  for (const auto name : {"a", "b"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  const InodeId other = inode_of("b");
  ASSERT_TRUE(names_->set_local_file(other, *names_->new_local_file_id(), "e-b").has_value());
  EXPECT_EQ(says("b", member(4)).id(), other.value());
  EXPECT_EQ(names_->load(file)->links(), 1u);
}

TEST_F(LinksInTheBucket, an_id_that_became_a_further_name_stands_for_its_inode) {
  for (const auto name : {"a", "b"}) found(name, std::string("e-") + name);
  const InodeId file(says("a", member(4)).id());
  const InodeId other = inode_of("b");
  says("b", member(4));
  EXPECT_EQ(names_->load(other)->id(), file.value());
  EXPECT_TRUE(is_further_name(*names_->load_record(other)));
}

// Semantics 5.5, below the mount.
TEST_F(LinksInTheBucket, what_others_write_under_one_name_is_the_content_of_all) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  found("b", "foreign", 11);
  EXPECT_EQ(changes_.content_changed, std::vector<InodeId>{file});
  const Inode inode = *names_->load(file);
  EXPECT_EQ(inode.size(), 11u);
  EXPECT_EQ(inode.home().key(), "b");
  EXPECT_EQ(inode.home().etag(), "foreign");
  EXPECT_EQ(*names_->path_of(file), "/s3/b");
  persist_all();
  expect_in_place({"a", "b"});
  EXPECT_EQ(names_->load(file)->links(), 2u);
}

TEST_F(LinksInTheBucket, what_others_write_under_the_first_name_is_the_content_of_all) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  found("a", "foreign", 11);
  EXPECT_EQ(names_->load(file)->home().etag(), "foreign");
  persist_all();
  expect_in_place({"a", "b"});
  EXPECT_EQ(record_of("b").size(), 11u);
}

// Semantics 5.5, below the mount.
TEST_F(LinksInTheBucket, an_object_that_others_removed_takes_its_name_along) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  link(file, root_, "c");
  persist_all();
  const auto dropped = names_->drop_lower(root_, "b", record_of("b").home().etag());
  EXPECT_TRUE(dropped->stale_local_files.empty());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"a", "c"}));
  ASSERT_TRUE(names_->drop_lower(root_, "a", record_of("a").home().etag()).has_value());
  EXPECT_EQ(list(root_), std::vector<std::string>{"c"});
  EXPECT_TRUE(whiteouts().empty());
  persist_all();
  expect_in_place({"c"});
  EXPECT_EQ(names_->load(file)->links(), 1u);
  const auto last = names_->drop_lower(root_, "c", record_of("c").home().etag());
  EXPECT_EQ(last->stale_local_files.size(), 1u);
}

TEST_F(LinksInTheBucket, a_listing_passes_over_the_objects_of_further_names) {
  const InodeId file = make_file(root_, "a");
  link(file, root_, "b");
  persist_all();
  rename("b", "c");
  found("b", "etag-2");
  EXPECT_EQ(list(root_), (std::vector<std::string>{"a", "c"}));
}

TEST_F(LinksInTheBucket, special_files_are_rebuilt_from_their_objects) {
  found("fifo", "e1", 0);
  found("dev", "e2", 0);
  found("text", "e3", 4);
  EXPECT_EQ(says("fifo", {.type = format::FIFO}).type(), format::FIFO);
  const Inode device = says("dev", {.type = format::CHAR_DEVICE, .rdev = 0x501});
  EXPECT_EQ(device.type(), format::CHAR_DEVICE);
  EXPECT_EQ(device.rdev(), 0x501u);
  EXPECT_EQ(says("text", {.type = format::SOCKET}).type(), format::REGULAR);  // it has content
  const auto page = names_->read_directory(root_, "", 10);
  for (const auto& entry : page->entries) {
    const auto expected = entry.name == "fifo"  ? format::FIFO
                          : entry.name == "dev" ? format::CHAR_DEVICE
                                                : format::REGULAR;
    EXPECT_EQ(entry.type, expected) << entry.name;
  }
}

}  // namespace
}  // namespace weir::meta
