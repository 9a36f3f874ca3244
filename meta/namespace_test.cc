#include "meta/namespace.h"

#include "meta/namespace_fixture.h"

namespace weir::meta {
namespace {

TEST_F(NamespaceTest, entries_come_in_the_order_of_object_keys) {
  make_file(root_, "a0");
  make_directory(root_, "a");
  make_file(root_, "a-b");
  EXPECT_EQ(list(root_), (std::vector<std::string>{"a-b", "a", "a0"}));
}

TEST_F(NamespaceTest, a_listing_continues_behind_its_cursor_whatever_became_of_the_entry) {
  for (const char* name : {"a", "b", "c", "d"}) make_file(root_, name);
  const auto first = names_->read_directory(root_, "", 2);
  ASSERT_EQ(first->entries.size(), 2u);
  EXPECT_TRUE(first->more);
  ASSERT_TRUE(names_->unlink(root_, "b", InUse::kNo).has_value());
  const auto second = names_->read_directory(root_, first->entries.back().cursor, 10);
  ASSERT_EQ(second->entries.size(), 2u);
  EXPECT_EQ(second->entries[0].name, "c");
}

TEST_F(NamespaceTest, many_inodes_are_visited_in_the_order_asked_for) {
  std::vector<InodeId> made;
  for (int i = 0; i < 3'000; ++i) made.push_back(create(root_, "f" + std::to_string(i)));
  ASSERT_TRUE(names_->link(made[7], root_, "further"));
  std::vector<InodeId> asked;
  for (size_t i = 0; i < made.size(); ++i) asked.push_back(made[(i * 1'009 + 5) % made.size()]);
  asked.insert(asked.begin() + 20, {InodeId(1'000'000'000), made[3], made[3], InodeId(2'000'000'000)});
  for (const size_t gone : {10, 11, 12, 500}) {
    const std::string name = "f" + std::to_string(gone);
    ASSERT_TRUE(names_->unlink(root_, name, InUse::kNo));
  }
  for (const size_t count : {size_t{1}, size_t{5}, size_t{200}, asked.size()}) {
    const std::vector<InodeId> some(asked.begin(), asked.begin() + static_cast<ptrdiff_t>(count));
    size_t next = 0;
    ASSERT_TRUE(names_->visit(some, [&](const std::optional<Inode>& inode) {
      ASSERT_LT(next, some.size());
      const InodeId id = some[next++];
      const auto alone = names_->load(id);
      ASSERT_EQ(inode.has_value(), alone.has_value()) << id.value();
      if (!inode) return;
      EXPECT_EQ(inode->id(), id.value());
      EXPECT_EQ(inode->name(), alone->name());
      EXPECT_EQ(inode->links(), alone->links());
    }));
    EXPECT_EQ(next, some.size());
  }
}

TEST_F(NamespaceTest, names_are_checked) {
  EXPECT_TRUE(failed_with(names_->make_directory(root_, "..", 0755, kCaller), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(names_->make_directory(root_, "a/b", 0755, kCaller), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(names_->make_directory(root_, std::string(256, 'x'), 0755, kCaller),
                          ErrorCode::kNameTooLong));
  EXPECT_TRUE(names_->make_directory(root_, std::string(255, 'x'), 0755, kCaller).has_value());
}

TEST_F(NamespaceTest, a_name_is_taken_once_whatever_its_kind) {
  make_directory(root_, "d");
  EXPECT_TRUE(failed_with(names_->create_file(root_, "d", 0644, kCaller, LocalFileId(9)), ErrorCode::kExists));
  make_file(root_, "f");
  EXPECT_TRUE(failed_with(names_->make_directory(root_, "f", 0755, kCaller), ErrorCode::kExists));
}

TEST_F(NamespaceTest, the_root_directory_holds_mount_points_only) {
  EXPECT_TRUE(failed_with(names_->make_directory(kRootInode, "x", 0755, kCaller), ErrorCode::kPermission));
  EXPECT_TRUE(failed_with(names_->remove_directory(kRootInode, "s3", InUse::kNo), ErrorCode::kBusy));
}

TEST_F(NamespaceTest, directories_count_their_subdirectories_and_follow_their_entries_in_time) {
  const Inode before = *names_->load(root_);
  const auto links = names_->attributes(before)->links;
  make_directory(root_, "d");
  const auto after = names_->attributes(*names_->load(root_));
  EXPECT_EQ(after->links, links + 1);
  EXPECT_GE(after->mtime_ns, before.mtime_ns());
  ASSERT_TRUE(names_->remove_directory(root_, "d", InUse::kNo).has_value());
  EXPECT_EQ(names_->attributes(*names_->load(root_))->links, links);
}

TEST_F(NamespaceTest, a_directory_with_entries_stays) {
  const InodeId d = make_directory(root_, "d");
  make_file(d, "f");
  EXPECT_TRUE(failed_with(names_->remove_directory(root_, "d", InUse::kNo), ErrorCode::kNotEmpty));
}

TEST_F(NamespaceTest, what_was_committed_is_there_after_a_restart_and_open_files_are_marked) {
  const InodeId f = make_file(root_, "f", 42);
  const InodeId open = create(root_, "open");
  reopen();
  EXPECT_EQ(names_->load(f)->size(), 42u);
  const auto marks = names_->write_marks();
  ASSERT_EQ(marks->size(), 1u);
  EXPECT_EQ(marks->front().inode, open);
  EXPECT_TRUE(marks->front().made);
  // Ids are never handed out twice.
  EXPECT_GT(create(root_, "g"), open);
}

TEST_F(NamespaceTest, usage_counts_inodes_bytes_and_what_waits) {
  const auto before = *names_->usage();
  const InodeId f = make_file(root_, "f", 10);
  auto usage = *names_->usage();
  EXPECT_EQ(usage.inodes, before.inodes + 1);
  EXPECT_EQ(usage.bytes, before.bytes + 10);
  EXPECT_EQ(usage.dirty_files, before.dirty_files + 1);
  EXPECT_EQ(usage.dirty_bytes, before.dirty_bytes + 10);
  persist(f);
  usage = *names_->usage();
  EXPECT_EQ(usage.dirty_files, before.dirty_files);
  EXPECT_EQ(usage.dirty_bytes, before.dirty_bytes);
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kNo).has_value());
  usage = *names_->usage();
  EXPECT_EQ(usage.inodes, before.inodes);
  EXPECT_EQ(usage.bytes, before.bytes);
}

// --- content and state

TEST_F(NamespaceTest, a_file_is_not_persisted_until_its_current_content_is) {
  const InodeId f = make_file(root_, "f");
  EXPECT_EQ(state(f), FileState::kNotPersisted);
  const auto outcome = persist(f);
  EXPECT_TRUE(outcome.fully_persisted);
  EXPECT_TRUE(outcome.evictable);
  EXPECT_EQ(state(f), FileState::kPersisted);
  EXPECT_TRUE(queue().empty());

  ASSERT_TRUE(begin_write(f).has_value());
  EXPECT_EQ(state(f), FileState::kNotPersisted);
}

TEST_F(NamespaceTest, writing_begins_only_on_the_local_file_that_the_inode_has) {
  const InodeId f = make_file(root_, "f");
  EXPECT_TRUE(failed_with(names_->begin_write(f, LocalFileId(99), {}, LocalFileId(98)), ErrorCode::kStale));
  EXPECT_TRUE(names_->write_marks()->empty());
}

TEST_F(NamespaceTest, opening_for_write_without_writing_changes_nothing) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  ASSERT_TRUE(begin_write(f).has_value());
  ASSERT_TRUE(names_->end_writes({{.inode = f, .unchanged = true}}).has_value());
  EXPECT_EQ(state(f), FileState::kPersisted);
  EXPECT_TRUE(names_->write_marks()->empty());
}

TEST_F(NamespaceTest, a_generation_is_never_used_for_two_contents) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  const auto opened = begin_write(f);
  // An upload of the unchanged content commits under the new generation ...
  const auto claim = names_->claim(f);
  ASSERT_TRUE(names_->commit_persisted(f, {.mount = claim->mount,
                                           .key = claim->key,
                                           .etag = "x",
                                           .size = 3,
                                           .generation = opened->generation(),
                                           .attributes_version = opened->attributes_version()})
                  .has_value());
  ASSERT_TRUE(names_->end_writes({{.inode = f, .unchanged = true}}).has_value());
  EXPECT_EQ(state(f), FileState::kPersisted);
  // ... and what is written next must not look persisted.
  const auto again = begin_write(f);
  EXPECT_GT(again->generation(), opened->generation());
  EXPECT_EQ(state(f), FileState::kNotPersisted);
}

TEST_F(NamespaceTest, content_committed_during_an_upload_is_still_to_be_persisted) {
  const InodeId f = make_file(root_, "f");
  const auto claim = names_->claim(f);
  write(f, 99);
  const auto outcome = names_->commit_persisted(f, {.mount = claim->mount,
                                                    .key = claim->key,
                                                    .etag = "old",
                                                    .size = 3,
                                                    .generation = claim->inode.generation(),
                                                    .attributes_version = claim->inode.attributes_version()});
  EXPECT_FALSE(outcome->evictable);
  EXPECT_FALSE(outcome->fully_persisted);
  EXPECT_EQ(queue(), std::vector<InodeId>{f});
}

TEST_F(NamespaceTest, a_file_committed_again_and_again_keeps_its_place_in_the_queue) {
  const InodeId first = make_file(root_, "first");
  const InodeId second = make_file(root_, "second");
  write(first, 7);
  EXPECT_EQ(queue(), (std::vector<InodeId>{first, second}));
}

TEST_F(NamespaceTest, who_waits_for_a_file_moves_it_to_the_front) {
  const InodeId first = make_file(root_, "first");
  const InodeId second = make_file(root_, "second");
  ASSERT_TRUE(names_->enqueue(second, Urgency::kUrgent).has_value());
  EXPECT_EQ(queue(), (std::vector<InodeId>{second, first}));
}

TEST_F(NamespaceTest, transient_files_are_never_queued_until_a_rename_makes_them_ordinary) {
  set_rules(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},
                "pathRules":[{"path":"/s3/tmp/**","policyMode":"TRANSIENT"}]})");
  const InodeId tmp = make_directory(root_, "tmp");
  const InodeId f = make_file(tmp, "f");
  EXPECT_EQ(state(f), FileState::kTransient);
  EXPECT_EQ(std::ranges::count(queue(), f), 0);
  ASSERT_TRUE(names_->rename(tmp, "f", root_, "f", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(state(f), FileState::kNotPersisted);
  EXPECT_EQ(std::ranges::count(queue(), f), 1);
}

TEST_F(NamespaceTest, new_rules_queue_what_was_transient) {
  set_rules(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"TRANSIENT"}})");
  const InodeId f = make_file(root_, "f");
  EXPECT_TRUE(queue().empty());
  set_rules(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"}})");
  EXPECT_EQ(queue(), std::vector<InodeId>{f});
}

TEST_F(NamespaceTest, a_directory_moved_out_of_a_transient_path_has_its_files_queued) {
  set_rules(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},
                "pathRules":[{"path":"/s3/tmp/**","policyMode":"TRANSIENT"}]})");
  const InodeId tmp = make_directory(root_, "tmp");
  const InodeId d = make_directory(tmp, "d");
  const InodeId f = make_file(d, "f");
  ASSERT_TRUE(names_->rename(tmp, "d", root_, "d", RenameMode::kReplace, InUse::kNo).has_value());
  run_tree_jobs();
  EXPECT_EQ(state(f), FileState::kNotPersisted);
  EXPECT_EQ(std::ranges::count(queue(), f), 1);
}

// --- homes

TEST_F(NamespaceTest, a_file_deleted_before_its_upload_costs_no_request) {
  make_file(root_, "f");
  const auto unlinked = names_->unlink(root_, "f", InUse::kNo);
  EXPECT_FALSE(unlinked->erases_object);
  EXPECT_NE(unlinked->local_file, LocalFileId(0));
  EXPECT_TRUE(queue().empty());
  EXPECT_TRUE(whiteouts().empty());
}

TEST_F(NamespaceTest, a_persisted_file_leaves_a_whiteout_until_its_object_is_erased) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  EXPECT_TRUE(names_->unlink(root_, "f", InUse::kNo)->erases_object);
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"f"});
  ASSERT_TRUE(names_->erased(*names_->erases(std::numeric_limits<int64_t>::max() - 1, 10)).has_value());
  EXPECT_TRUE(whiteouts().empty());
}

TEST_F(NamespaceTest, an_upload_whose_file_was_deleted_meanwhile_ends_as_a_whiteout) {
  const InodeId f = make_file(root_, "f");
  const auto claim = names_->claim(f);
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kNo).has_value());
  const auto outcome =
      names_->commit_persisted(f, {.mount = claim->mount, .key = claim->key, .etag = "e", .generation = 1});
  EXPECT_TRUE(outcome->gone);
  const auto items = names_->erases(std::numeric_limits<int64_t>::max() - 1, 10);
  ASSERT_EQ(items->size(), 1u);
  EXPECT_EQ(items->front().etag, "e");
}

TEST_F(NamespaceTest, an_unlinked_open_file_is_there_until_the_last_close) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kYes).has_value());
  EXPECT_TRUE(whiteouts().empty());
  EXPECT_EQ(*names_->orphans(), std::vector<InodeId>{f});
  const auto local = names_->reclaim(f);
  EXPECT_NE(*local, LocalFileId(0));
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"f"});
  EXPECT_TRUE(failed_with(names_->load(f), ErrorCode::kNotFound));
}

TEST_F(NamespaceTest, an_unlinked_open_file_that_is_here_gives_up_its_object) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  const LocalFileId local(names_->load(f)->local_file());
  const auto unlinked = names_->unlink(root_, "f", InUse::kYes);
  EXPECT_TRUE(unlinked->keeps_objects);
  EXPECT_TRUE(*names_->release_objects(f, local));
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"f"});
  EXPECT_FALSE(content_persisted(*names_->load(f)));  // so that it stays pinned
  EXPECT_TRUE(queue().empty());
}

TEST_F(NamespaceTest, an_unlinked_open_file_that_is_not_here_moves_its_object_out_of_the_way) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kYes).has_value());
  EXPECT_TRUE(*names_->release_objects(f, LocalFileId(0)));
  EXPECT_EQ(queue(), std::vector<InodeId>{f});
  ASSERT_TRUE(names_->claim_parking(f).has_value());
  ASSERT_TRUE(names_->rehome(f, mount_, "f", names_->parking_key(f), "e").has_value());
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"f"});
  EXPECT_TRUE(queue().empty());
  EXPECT_FALSE(*names_->release_objects(f, LocalFileId(0)));
  ASSERT_TRUE(names_->reclaim(f).has_value());
  EXPECT_EQ(whiteouts(), (std::vector<std::string>{"f", names_->parking_key(f)}));
}

TEST_F(NamespaceTest, a_renamed_file_is_read_from_its_old_home_until_it_has_moved) {
  const InodeId f = make_file(root_, "a");
  persist(f);
  ASSERT_TRUE(names_->rename(root_, "a", root_, "b", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(names_->load(f)->home().key(), "a");
  EXPECT_EQ(queue(), std::vector<InodeId>{f});
  EXPECT_TRUE(persist(f).fully_persisted);
  EXPECT_EQ(names_->load(f)->home().key(), "b");
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"a"});
}

TEST_F(NamespaceTest, writing_a_name_again_never_costs_the_renamed_file_its_data) {
  const InodeId old = make_file(root_, "a");
  persist(old);
  ASSERT_TRUE(names_->rename(root_, "a", root_, "b", RenameMode::kReplace, InUse::kNo).has_value());
  const InodeId fresh = make_file(root_, "a");
  const auto claim = names_->claim(fresh);
  ASSERT_TRUE(claim->blocked_by.has_value());
  EXPECT_EQ(*claim->blocked_by, old);
  // Its only copy may not be given up without a place to go.
  EXPECT_TRUE(failed_with(names_->rehome(old, mount_, "a", "", ""), ErrorCode::kPrecondition));
  ASSERT_TRUE(names_->rehome(old, mount_, "a", names_->parking_key(old), "copy").has_value());
  EXPECT_EQ(names_->load(old)->home().key(), names_->parking_key(old));
  EXPECT_FALSE(names_->claim(fresh)->blocked_by.has_value());
  persist(fresh);
  persist(old);
  EXPECT_EQ(names_->load(old)->home().key(), "b");
  EXPECT_EQ(whiteouts(), std::vector<std::string>{names_->parking_key(old)});
}

TEST_F(NamespaceTest, replacing_a_persisted_file_hands_its_key_on) {
  const InodeId target = make_file(root_, "b");
  persist(target);
  const InodeId fresh = make_file(root_, "tmp");
  ASSERT_TRUE(names_->rename(root_, "tmp", root_, "b", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(whiteouts(), std::vector<std::string>{"b"});
  const auto claim = names_->claim(fresh);
  EXPECT_EQ(claim->key, "b");
  EXPECT_EQ(claim->expect, Claim::Expect::kUnknown);
  EXPECT_EQ(claim->former, target);
  // The eraser has nothing to do under this key any more.
  EXPECT_TRUE(whiteouts().empty());
}

TEST_F(NamespaceTest, a_claim_left_behind_by_a_rename_is_whited_out) {
  const InodeId f = make_file(root_, "a");
  ASSERT_TRUE(names_->claim(f).has_value());  // the upload's outcome is not known
  ASSERT_TRUE(names_->rename(root_, "a", root_, "b", RenameMode::kReplace, InUse::kNo).has_value());
  persist(f);
  const auto items = names_->erases(std::numeric_limits<int64_t>::max() - 1, 10);
  ASSERT_EQ(items->size(), 1u);
  EXPECT_EQ(items->front().key, "a");
  EXPECT_TRUE(items->front().verify);
}

TEST_F(NamespaceTest, an_unpersisted_file_is_uploaded_under_the_name_it_has_then) {
  const InodeId f = make_file(root_, "a");
  const InodeId d = make_directory(root_, "d");
  ASSERT_TRUE(names_->rename(root_, "a", d, "b", RenameMode::kReplace, InUse::kNo).has_value());
  ASSERT_TRUE(names_->rename(root_, "d", root_, "e", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(names_->claim(f)->key, "e/b");
  EXPECT_TRUE(whiteouts().empty());
}

// --- rename

TEST_F(NamespaceTest, rename_modes) {
  const InodeId a = make_file(root_, "a");
  const InodeId b = make_file(root_, "b");
  EXPECT_TRUE(failed_with(names_->rename(root_, "a", root_, "b", RenameMode::kNoReplace, InUse::kNo),
                          ErrorCode::kExists));
  EXPECT_TRUE(failed_with(names_->rename(root_, "a", root_, "x", RenameMode::kExchange, InUse::kNo),
                          ErrorCode::kNotFound));
  ASSERT_TRUE(names_->rename(root_, "a", root_, "b", RenameMode::kExchange, InUse::kNo).has_value());
  EXPECT_EQ(InodeId(names_->find(root_, "a")->inode->id()), b);
  EXPECT_EQ(InodeId(names_->find(root_, "b")->inode->id()), a);
  EXPECT_EQ(*names_->path_of(a), "/s3/b");
}

TEST_F(NamespaceTest, a_directory_does_not_move_into_itself) {
  const InodeId d = make_directory(root_, "d");
  const InodeId e = make_directory(d, "e");
  EXPECT_TRUE(failed_with(names_->rename(root_, "d", e, "x", RenameMode::kReplace, InUse::kNo), ErrorCode::kLoop));
  EXPECT_TRUE(failed_with(names_->rename(d, "e", root_, "d", RenameMode::kExchange, InUse::kNo), ErrorCode::kLoop));
}

TEST_F(NamespaceTest, rename_respects_kinds_and_emptiness) {
  const InodeId d = make_directory(root_, "d");
  make_directory(root_, "e");
  make_file(root_, "f");
  make_file(d, "x");
  EXPECT_TRUE(failed_with(names_->rename(root_, "f", root_, "e", RenameMode::kReplace, InUse::kNo),
                          ErrorCode::kIsDirectory));
  EXPECT_TRUE(failed_with(names_->rename(root_, "e", root_, "f", RenameMode::kReplace, InUse::kNo),
                          ErrorCode::kNotDirectory));
  EXPECT_TRUE(failed_with(names_->rename(root_, "e", root_, "d", RenameMode::kReplace, InUse::kNo),
                          ErrorCode::kNotEmpty));
  EXPECT_TRUE(names_->rename(root_, "d", root_, "e", RenameMode::kReplace, InUse::kNo).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"e", "f"}));
}

TEST_F(NamespaceTest, rename_does_not_leave_its_mount_point) {
  const auto other = names_->add_mount("other", "mem:///other", {});
  make_file(root_, "f");
  EXPECT_TRUE(failed_with(names_->rename(root_, "f", InodeId(other->directory()), "f", RenameMode::kReplace, InUse::kNo),
                          ErrorCode::kCrossDevice));
}

TEST_F(NamespaceTest, descendants_of_a_moved_directory_are_re_homed_in_bounded_steps) {
  const InodeId d = make_directory(root_, "d");
  const InodeId sub = make_directory(d, "sub");
  std::vector<InodeId> files;
  for (int i = 0; i < 10; ++i) files.push_back(make_file(i % 2 ? d : sub, "f" + std::to_string(i)));
  for (const InodeId id : queue()) persist(id);
  EXPECT_TRUE(queue().empty());

  ASSERT_TRUE(names_->rename(root_, "d", root_, "e", RenameMode::kReplace, InUse::kNo).has_value());
  // Until the walk is over, a new directory of the old name does not read the old prefix.
  EXPECT_FALSE(names_->load(make_directory(root_, "d"))->has_lower());
  run_tree_jobs();
  const auto waiting = queue();
  for (const InodeId file : files) EXPECT_EQ(std::ranges::count(waiting, file), 1);
  for (const InodeId id : waiting) persist(id);
  EXPECT_EQ(names_->load(files[0])->home().key(), "e/sub/f0");
  EXPECT_EQ(names_->load(sub)->lower().prefix(), "e/sub/");
  EXPECT_TRUE(queue().empty());
}

// --- the lower layer

class LowerTest : public NamespaceTest {
 protected:
  format::Lower lower_of(InodeId directory, int64_t listed_ns) {
    format::Lower lower = names_->load(directory)->lower();
    lower.set_listed_ns(listed_ns);
    return lower;
  }

  int64_t now() { return unix_ns(system_clock().wall_now()); }

  void merge(InodeId directory, const std::vector<LowerEntry>& entries, int64_t listed_ns = 0) {
    const auto changes =
        names_->merge_lower(directory, lower_of(directory, listed_ns == 0 ? now() : listed_ns), entries);
    ASSERT_TRUE(changes.has_value()) << changes.error().to_string();
  }

  static LowerEntry object(std::string name, std::string etag = "e1", uint64_t size = 5) {
    return {.name = std::move(name), .has_object = true, .etag = std::move(etag), .size = size, .mtime_ns = 77};
  }
};

TEST_F(LowerTest, objects_of_the_bucket_appear_as_persisted_files) {
  merge(root_, {object("f"), {.name = "d", .directory = true}});
  const auto f = names_->find(root_, "f")->inode;
  ASSERT_TRUE(f.has_value());
  EXPECT_EQ(state_of(*f), FileState::kPersisted);
  EXPECT_EQ(f->home().key(), "f");
  EXPECT_EQ(f->size(), 5u);
  const auto d = names_->find(root_, "d")->inode;
  EXPECT_EQ(state_of(*d), FileState::kPersisted);
  EXPECT_EQ(d->lower().prefix(), "d/");
  EXPECT_TRUE(names_->find(InodeId(d->id()), "x")->ask_lower);
}

TEST_F(LowerTest, a_deleted_file_does_not_come_back_with_a_listing) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  const int64_t before = now();
  ASSERT_TRUE(names_->unlink(root_, "f", InUse::kNo).has_value());
  merge(root_, {object("f")});
  EXPECT_TRUE(list(root_).empty());
  // Nor with one that began before the object was erased.
  ASSERT_TRUE(names_->erased(*names_->erases(std::numeric_limits<int64_t>::max() - 1, 10)).has_value());
  merge(root_, {object("f")}, before);
  EXPECT_TRUE(list(root_).empty());
  merge(root_, {object("f", "new")}, now() + 1);
  EXPECT_EQ(list(root_), std::vector<std::string>{"f"});
}

TEST_F(LowerTest, a_moved_file_does_not_appear_under_its_old_name) {
  const InodeId f = make_file(root_, "a");
  persist(f);
  ASSERT_TRUE(names_->rename(root_, "a", root_, "b", RenameMode::kReplace, InUse::kNo).has_value());
  merge(root_, {object("a", names_->load(f)->home().etag())});
  EXPECT_EQ(list(root_), std::vector<std::string>{"b"});
}

TEST_F(LowerTest, an_object_changed_by_others_replaces_clean_content_only) {
  const InodeId clean = make_file(root_, "clean");
  persist(clean);
  const InodeId dirty = make_file(root_, "dirty");
  persist(dirty);
  write(dirty, 50);
  const InodeId open = make_file(root_, "open");
  persist(open);
  ASSERT_TRUE(begin_write(open).has_value());
  merge(root_, {object("clean", "theirs", 8), object("dirty", "theirs", 8), object("open", "theirs", 8)}, now() + 1);
  EXPECT_EQ(names_->load(clean)->size(), 8u);
  EXPECT_EQ(names_->load(clean)->home().etag(), "theirs");
  EXPECT_EQ(names_->load(clean)->local_file(), 0u);
  EXPECT_EQ(names_->load(dirty)->size(), 50u);
  EXPECT_EQ(names_->load(open)->size(), 3u);
}

TEST_F(LowerTest, a_listing_older_than_the_upload_changes_nothing) {
  const InodeId f = make_file(root_, "f");
  const int64_t before = now();
  persist(f);
  merge(root_, {object("f", "an earlier object")}, before);
  EXPECT_EQ(names_->load(f)->home().etag(), "etag-1");
}

TEST_F(LowerTest, an_object_gone_from_the_bucket_goes_only_while_clean) {
  const InodeId f = make_file(root_, "f");
  persist(f);
  ASSERT_TRUE(names_->drop_lower(root_, "f", "another etag").has_value());
  EXPECT_TRUE(names_->load(f).has_value());
  ASSERT_TRUE(names_->drop_lower(root_, "f", "etag-1").has_value());
  EXPECT_TRUE(list(root_).empty());
  EXPECT_TRUE(whiteouts().empty());
}

TEST_F(LowerTest, a_directory_hides_the_object_of_the_same_name) {
  merge(root_, {object("a"), {.name = "a", .directory = true}});
  EXPECT_FALSE(is_directory(*names_->find(root_, "a")->inode));
  merge(root_, {object("a"), {.name = "a", .directory = true, .confirmed = true}});
  EXPECT_TRUE(is_directory(*names_->find(root_, "a")->inode));
  EXPECT_EQ(list(root_), std::vector<std::string>{"a"});
  EXPECT_TRUE(whiteouts().empty());
}

TEST_F(LowerTest, objects_on_their_way_out_take_no_name_from_a_file) {
  const InodeId d = make_directory(root_, "a");
  persist(make_file(d, "x"));
  ASSERT_TRUE(names_->unlink(d, "x", InUse::kNo).has_value());
  ASSERT_TRUE(names_->remove_directory(root_, "a", InUse::kNo).has_value());
  const InodeId a = make_file(root_, "a");
  persist(a);
  const int64_t before = now();
  const std::vector<LowerEntry> both = {object("a", names_->load(a)->home().etag()),
                                        {.name = "a", .directory = true, .confirmed = true}};
  merge(root_, both, before + 1);
  EXPECT_EQ(names_->find(root_, "a")->inode->id(), a.value());
  // Nor when they were erased after that listing began.
  ASSERT_TRUE(names_->erased(*names_->erases(std::numeric_limits<int64_t>::max() - 1, 10)).has_value());
  merge(root_, both, before);
  EXPECT_EQ(names_->find(root_, "a")->inode->id(), a.value());
  // A directory of somebody else does.
  merge(root_, both, now() + 1);
  EXPECT_TRUE(is_directory(*names_->find(root_, "a")->inode));
}

TEST_F(LowerTest, unlisted_children_of_a_moved_directory_are_read_from_the_old_prefix) {
  merge(root_, {{.name = "d", .directory = true}});
  const InodeId d(names_->find(root_, "d")->inode->id());
  ASSERT_TRUE(names_->rename(root_, "d", root_, "e", RenameMode::kReplace, InUse::kNo).has_value());
  // Neither a listing nor a new directory shows the old prefix.
  merge(root_, {{.name = "d", .directory = true}});
  EXPECT_EQ(list(root_), std::vector<std::string>{"e"});
  const auto step = names_->tree_step(d, 100);
  ASSERT_TRUE(step->needs_listing.has_value());
  EXPECT_EQ(*step->needs_listing, d);
  const auto lower = lower_of(d, now());
  EXPECT_EQ(lower.prefix(), "d/");
  merge(d, {object("x")});
  ASSERT_TRUE(names_->set_listed(d, lower, lower.listed_ns()).has_value());
  run_tree_jobs();
  const InodeId x(names_->find(d, "x")->inode->id());
  EXPECT_EQ(queue(), std::vector<InodeId>{x});
  EXPECT_EQ(names_->load(x)->home().key(), "d/x");
  EXPECT_EQ(names_->claim(x)->key, "e/x");
  EXPECT_EQ(names_->load(d)->lower().prefix(), "e/");
  // The old prefix is free for a new directory now.
  EXPECT_TRUE(names_->load(make_directory(root_, "d"))->has_lower());
}

TEST_F(LowerTest, an_unmounted_bucket_is_forgotten_and_keeps_its_objects) {
  merge(root_, {object("f"), {.name = "d", .directory = true}});
  const InodeId d(names_->find(root_, "d")->inode->id());
  merge(d, {object("x")});
  const InodeId g = make_file(root_, "g");
  EXPECT_TRUE(failed_with(names_->remove_mount("s3", [](LocalFileId) {}), ErrorCode::kNotEmpty));
  persist(g);
  int forgotten = 0;
  ASSERT_TRUE(names_->remove_mount("s3", [&](LocalFileId) { ++forgotten; }).has_value());
  EXPECT_EQ(forgotten, 1);
  EXPECT_TRUE(list(kRootInode).empty());
  EXPECT_TRUE(whiteouts().empty());
  EXPECT_EQ(names_->usage()->inodes, 1u);
  EXPECT_EQ(names_->usage()->bytes, 0u);
  EXPECT_EQ(names_->orphans()->size(), 0u);
}

TEST_F(NamespaceTest, an_extended_attribute_that_changes_is_to_travel_with_the_object) {
  const InodeId file = make_file(root_, "a");
  persist(file);
  EXPECT_TRUE(queue().empty());
  ASSERT_TRUE(names_->set_xattr(file, "user.a", "1", Namespace::XattrMode::kSet).has_value());
  EXPECT_EQ(queue(), std::vector<InodeId>{file});
  EXPECT_EQ(names_->claim(file)->xattrs, (Xattrs{{"user.a", "1"}}));
  persist(file);
  ASSERT_TRUE(names_->remove_xattr(file, "user.a").has_value());
  EXPECT_EQ(queue(), std::vector<InodeId>{file});
  EXPECT_TRUE(persist(file).fully_persisted);
}

TEST_F(NamespaceTest, extended_attributes_have_the_limits_of_local_file_systems) {
  const InodeId file = make_file(root_, "a");
  const auto set = [&](const std::string& name, size_t bytes) {
    return names_->set_xattr(file, name, std::string(bytes, 'v'), Namespace::XattrMode::kSet);
  };
  EXPECT_TRUE(set("security." + std::string(246, 'n'), 65'536).has_value());
  EXPECT_TRUE(failed_with(set("user." + std::string(251, 'n'), 0), ErrorCode::kRange));
  EXPECT_TRUE(failed_with(set("user.a", 65'537), ErrorCode::kTooLarge));
  for (int i = 0; i < 15; ++i) EXPECT_TRUE(set("trusted." + std::to_string(i), 65'000).has_value());
  EXPECT_TRUE(failed_with(set("trusted.more", 65'000), ErrorCode::kNoSpace));
  EXPECT_TRUE(set("trusted.0", 1).has_value());
  EXPECT_TRUE(set("trusted.more", 60'000).has_value());
  EXPECT_EQ(names_->xattr_names(file)->size(), 17u);

  const InodeId other = make_file(root_, "b");
  size_t named = 0;
  const auto name = [&] { return "user." + std::string(240, 'n') + std::to_string(1'000 + named); };
  for (; (named + 1) * 250 <= kXattrListBytesMax; ++named)
    ASSERT_TRUE(names_->set_xattr(other, name(), "v", Namespace::XattrMode::kSet).has_value());
  EXPECT_TRUE(failed_with(names_->set_xattr(other, name(), "v", Namespace::XattrMode::kSet), ErrorCode::kNoSpace));
  --named;
  EXPECT_TRUE(names_->set_xattr(other, name(), "another", Namespace::XattrMode::kReplace).has_value());
}

TEST_F(NamespaceTest, names_of_the_volumes_own_objects_cannot_be_taken) {
  const InodeId directory = make_directory(root_, "d");
  for (const char* name : {".weir-attributes", ".weir-parked", ".weir-long"}) {
    EXPECT_TRUE(failed_with(names_->make_directory(root_, name, 0755, kCaller), ErrorCode::kPermission));
    EXPECT_TRUE(failed_with(names_->make_symlink(root_, name, "x", kCaller), ErrorCode::kPermission));
    EXPECT_TRUE(failed_with(names_->rename(root_, "d", root_, name, RenameMode::kReplace, InUse::kNo),
                            ErrorCode::kPermission));
    EXPECT_TRUE(names_->make_directory(directory, name, 0755, kCaller).has_value());
  }
}

}  // namespace
}  // namespace weir::meta
