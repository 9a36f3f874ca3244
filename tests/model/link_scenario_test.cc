// What persist/ promises for files with several names and for special files, one fact a test.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <thread>

#include "base/failpoint.h"
#include "base/log.h"
#include "meta/object_attributes.h"
#include "testing/fault_ufs.h"
#include "tests/model/persist_volume.h"

namespace weir::persist {
namespace {

using testing::FaultUfs;
using testing::UfsCall;
using testing::UfsFault;

class LinkScenario : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kError);
    volume_.mount(faults_);
    volume_.start();
    root_ = volume_.root();
  }
  void TearDown() override { volume_.stop(); }

  template <typename Condition>
  bool eventually(Condition condition) {
    for (const Deadline deadline = Deadline::after(std::chrono::seconds(30)); !deadline.expired();) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  void quiesce() {
    volume_.quiesce();
    volume_.expect_mirror();
  }
  std::string group_of(std::string_view key) { return meta::from_object(*volume_.head(key)).link_group; }

  PersistVolume volume_;
  InodeId root_{};
  std::shared_ptr<FaultUfs> faults_ = std::make_shared<FaultUfs>(volume_.bucket(), 1);
};

TEST_F(LinkScenario, the_content_goes_up_once_and_is_copied_for_each_further_name) {
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.link(file, root_, "b");
  volume_.link(file, root_, "c");
  quiesce();
  for (const auto key : {"a", "b", "c"}) EXPECT_EQ(volume_.object(key), "hello");
  EXPECT_EQ(faults_->calls(UfsCall::kPut), 1u);
  EXPECT_EQ(faults_->calls(UfsCall::kCopy), 2u);
  for (const auto key : {"b", "c"}) {
    const auto head = volume_.head(key);
    EXPECT_EQ(head->attributes.user.at("mode"), std::to_string(S_IFREG | 0644));
    EXPECT_EQ(meta::from_object(*head).mtime_ns, volume_.names().load(file)->mtime_ns());
    EXPECT_FALSE(group_of(key).empty());
    EXPECT_EQ(group_of(key), group_of("a"));
  }
}

TEST_F(LinkScenario, a_change_reaches_the_objects_of_all_names_with_one_upload) {
  const InodeId file = volume_.create(root_, "a", "one");
  volume_.link(file, root_, "b");
  quiesce();
  faults_->reset_counters();
  volume_.overwrite(file, "two");
  quiesce();
  EXPECT_EQ(volume_.object("a"), "two");
  EXPECT_EQ(volume_.object("b"), "two");
  EXPECT_EQ(faults_->calls(UfsCall::kPut), 1u);
  EXPECT_EQ(faults_->calls(UfsCall::kCopy), 1u);
  ASSERT_TRUE(volume_.names().set_attributes(file, {.permissions = 0600}).has_value());
  quiesce();
  EXPECT_EQ(volume_.head("b")->attributes.user.at("mode"), std::to_string(S_IFREG | 0600));
  EXPECT_EQ(faults_->calls(UfsCall::kPut), 1u);
}

TEST_F(LinkScenario, the_first_name_goes_and_nothing_is_copied) {
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.link(file, root_, "b");
  quiesce();
  volume_.evict(file);
  faults_->reset_counters();
  volume_.unlink(root_, "a");
  EXPECT_EQ(volume_.read_home(file), "hello");
  quiesce();
  EXPECT_EQ(volume_.keys(), std::vector<std::string>{"b"});
  EXPECT_EQ(volume_.read_home(file), "hello");
  EXPECT_EQ(faults_->calls(UfsCall::kCopy), 0u);
  EXPECT_EQ(faults_->calls(UfsCall::kPut), 0u);
}

TEST_F(LinkScenario, a_name_made_and_the_first_one_removed_at_once_costs_one_upload) {
  const InodeId file = volume_.create(root_, "tmp", "hello");
  volume_.link(file, root_, "final");
  volume_.unlink(root_, "tmp");
  quiesce();
  EXPECT_EQ(volume_.object("final"), "hello");
  EXPECT_EQ(faults_->calls(UfsCall::kPut), 1u);
  EXPECT_EQ(faults_->calls(UfsCall::kCopy), 0u);
}

TEST_F(LinkScenario, the_first_name_of_an_evicted_file_goes_before_the_others_have_objects) {
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.quiesce();
  volume_.evict(file);
  {
    const ArmedFailpoint wait("persist.claimed", [] { return fail(ErrorCode::kBusy); });
    volume_.link(file, root_, "b");
    volume_.unlink(root_, "a");
    volume_.create(root_, "a", "another");
    EXPECT_EQ(volume_.read_home(file), "hello");
  }
  quiesce();
  EXPECT_EQ(volume_.object("b"), "hello");
  EXPECT_EQ(volume_.object("a"), "another");
}

TEST_F(LinkScenario, directories_take_the_objects_of_further_names_along) {
  const InodeId directory = volume_.make_directory(root_, "d");
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.link(file, directory, "b");
  quiesce();
  volume_.rename(root_, "d", root_, "e");
  quiesce();
  EXPECT_EQ(volume_.object("e/b"), "hello");
  EXPECT_FALSE(volume_.object("d/b"));
}

TEST_F(LinkScenario, names_of_two_evicted_files_change_places) {
  const InodeId first = volume_.create(root_, "a", "first");
  const InodeId second = volume_.create(root_, "x", "second");
  volume_.link(first, root_, "b");
  volume_.link(second, root_, "y");
  volume_.quiesce();
  volume_.evict(first);
  volume_.evict(second);
  volume_.rename(root_, "a", root_, "y", meta::RenameMode::kExchange);
  volume_.rename(root_, "b", root_, "x", meta::RenameMode::kExchange);
  quiesce();
  for (const auto key : {"x", "y"}) EXPECT_EQ(volume_.object(key), "first");
  for (const auto key : {"a", "b"}) EXPECT_EQ(volume_.object(key), "second");
}

TEST_F(LinkScenario, a_foreign_object_under_a_further_name_is_kept_beside_it) {
  const InodeId file = volume_.create(root_, "a", "ours");
  volume_.put_object("b", "theirs");
  volume_.link(file, root_, "b");
  quiesce();
  EXPECT_EQ(volume_.object("b"), "ours");
  ASSERT_EQ(volume_.conflicts().size(), 1u);
  EXPECT_TRUE(volume_.conflicts()[0].starts_with("b.conflict-"));
  EXPECT_EQ(volume_.object(volume_.conflicts()[0]), "theirs");
}

TEST_F(LinkScenario, a_copy_whose_commit_was_lost_is_found_after_a_restart) {
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.link(file, root_, "b");
  volume_.quiesce();
  volume_.evict(file);
  {
    const ArmedFailpoint crash("persist.copied", [] { return fail(ErrorCode::kCancelled); });
    volume_.link(file, root_, "c");
    ASSERT_TRUE(eventually([&] { return volume_.object("c").has_value(); }));
    volume_.stop();
  }
  volume_.start();
  quiesce();
  EXPECT_EQ(volume_.object("c"), "hello");
  EXPECT_TRUE(volume_.conflicts().empty());
}

TEST_F(LinkScenario, a_further_name_removed_while_it_is_copied_leaves_nothing) {
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.quiesce();
  std::atomic<bool> removed = false;
  {
    const ArmedFailpoint slow("persist.uploaded", [&]() -> Result<void> {
      if (volume_.object("b") && !removed.exchange(true)) volume_.unlink(volume_.root(), "b");
      return {};
    });
    volume_.link(file, root_, "b");
    ASSERT_TRUE(eventually([&] { return removed.load(); }));
  }
  quiesce();
  EXPECT_EQ(volume_.keys(), std::vector<std::string>{"a"});
}

TEST_F(LinkScenario, lost_replies_make_no_conflicts) {
  faults_->add({.kind = UfsFault::Kind::kFailAfter, .error = ErrorCode::kMayHaveHappened, .probability = 0.3});
  for (int i = 0; i < 10; ++i) {
    const InodeId file = volume_.create(root_, "f" + std::to_string(i), std::to_string(i));
    volume_.link(file, root_, "g" + std::to_string(i));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  for (int i = 0; i < 5; ++i) volume_.unlink(root_, "f" + std::to_string(i));
  for (int i = 5; i < 10; ++i)
    volume_.rename(root_, "g" + std::to_string(i), root_, "h" + std::to_string(i));
  std::this_thread::sleep_for(std::chrono::milliseconds(600));
  faults_->clear();
  quiesce();
  EXPECT_TRUE(volume_.conflicts().empty());
  EXPECT_EQ(volume_.object("g3"), "3");
  EXPECT_EQ(volume_.object("h7"), "7");
}

TEST_F(LinkScenario, the_queue_shows_each_name) {
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kIo, .call = UfsCall::kCopy});
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.link(file, root_, "b");
  ASSERT_TRUE(eventually([&] {
    const auto items = *volume_.persister().list(10);
    return items.size() == 1 && items.front().path == "/s3/b" && items.front().attempts > 0;
  }));
  faults_->clear();
  ASSERT_TRUE(volume_.persister().retry(std::nullopt).has_value());
  quiesce();
}

TEST_F(LinkScenario, special_files_have_empty_objects_that_say_what_they_are) {
  volume_.make_node(root_, "dev", format::BLOCK_DEVICE, 0x801);
  const InodeId fifo = volume_.make_node(root_, "fifo", format::FIFO, 7);
  volume_.link(fifo, root_, "fifo2");
  quiesce();
  const auto device = meta::from_object(*volume_.head("dev"));
  EXPECT_EQ(volume_.object("dev"), "");
  EXPECT_EQ(device.type, format::BLOCK_DEVICE);
  EXPECT_EQ(device.permissions, 0640u);
  EXPECT_EQ(device.rdev, 0x801u);
  for (const auto key : {"fifo", "fifo2"}) {
    EXPECT_EQ(meta::from_object(*volume_.head(key)).type, format::FIFO);
    EXPECT_FALSE(meta::from_object(*volume_.head(key)).rdev);
  }
  EXPECT_EQ(group_of("fifo"), group_of("fifo2"));
}

TEST_F(LinkScenario, a_copy_made_by_others_does_not_belong_to_the_group) {
  const InodeId file = volume_.create(root_, "a", "hello");
  volume_.link(file, root_, "b");
  quiesce();
  ASSERT_TRUE(volume_.bucket().copy("b", "copy", {}, Deadline::after(std::chrono::seconds(10))).has_value());
  EXPECT_FALSE(group_of("b").empty());
  EXPECT_TRUE(group_of("copy").empty());
}

TEST_F(LinkScenario, the_objects_of_all_names_say_the_extended_attributes_whichever_name_goes) {
  const auto set = [&](InodeId inode, size_t bytes) {
    EXPECT_TRUE(volume_.names()
                    .set_xattr(inode, "user.a", std::string(bytes, 'v'), meta::Namespace::XattrMode::kSet)
                    .has_value());
  };
  const InodeId file = volume_.create(root_, "a", "x");
  set(file, 10);
  volume_.link(file, root_, "b");
  volume_.link(file, root_, "c");
  quiesce();
  for (const size_t bytes : {5'000, 20, 6'000}) {
    set(file, bytes);
    quiesce();
  }
  volume_.unlink(root_, "a");
  quiesce();
  set(file, 7'000);
  volume_.unlink(root_, "c");
  quiesce();
  volume_.unlink(root_, "b");
  quiesce();
  EXPECT_TRUE(volume_.keys().empty());
}

TEST_F(LinkScenario, of_a_large_file_only_the_changed_parts_are_sent_after_its_first_name_went) {
  std::string content;
  for (const char c : {'a', 'b', 'c', 'd'}) content += std::string(PersistVolume::kPartBytes, c);
  const InodeId file = volume_.create(root_, "a", content);
  volume_.link(file, root_, "b");
  quiesce();
  volume_.unlink(root_, "a");
  quiesce();
  faults_->reset_counters();
  {
    const auto local = volume_.open_for_write(file);
    ASSERT_TRUE(local->file().write_at(0, std::string_view("A")).has_value());
    volume_.commit(file, *local);
    volume_.close(file);
  }
  quiesce();
  EXPECT_EQ(volume_.object("b"), "A" + content.substr(1));
  EXPECT_EQ(faults_->bytes_put(), PersistVolume::kPartBytes);
}

}  // namespace
}  // namespace weir::persist
