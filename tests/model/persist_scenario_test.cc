// What persist/ promises, one fact a test, through the layers below and a bucket that fails as told.

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <limits>
#include <span>
#include <thread>

#include "base/failpoint.h"
#include "base/log.h"
#include "meta/object_attributes.h"
#include "testing/fault_ufs.h"
#include "tests/model/persist_volume.h"

namespace weir::persist {
namespace {

using meta::Urgency;
using testing::FaultUfs;
using testing::UfsCall;
using testing::UfsFault;

constexpr Duration kLong = std::chrono::seconds(30);
constexpr auto kReplaced = meta::RenameMode::kReplace;

Deadline later() { return Deadline::after(kLong); }
std::string large(char c) { return std::string(5 * PersistVolume::kPartBytes + 17, c); }

class PersistScenario : public ::testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::kError);
    volume_.mount(faults_);
    volume_.start();
  }
  void TearDown() override { volume_.stop(); }

  Generation generation(InodeId inode) { return Generation(volume_.names().load(inode)->generation()); }
  void write_at(InodeId inode, uint64_t offset, std::string_view bytes) {
    const auto local = volume_.open_for_write(inode);
    EXPECT_TRUE(local->file().write_at(offset, bytes).has_value());
    volume_.commit(inode, *local);
    volume_.close(inode);
  }
  void set_xattr(InodeId inode, const std::string& name, const std::string& value) {
    EXPECT_TRUE(volume_.names().set_xattr(inode, name, value, meta::Namespace::XattrMode::kSet).has_value());
    volume_.persister().wake();
  }
  // What the object beside `key` holds.
  meta::Xattrs sidecar_of(const std::string& key) {
    const auto head = volume_.head(key);
    if (!head) return {};
    const auto body = volume_.object(meta::from_object(*head).sidecar.key());
    return body ? meta::decode_sidecar(*body).value_or(meta::Xattrs{}) : meta::Xattrs{};
  }
  template <typename Condition>
  bool eventually(Condition condition) {
    for (const Deadline deadline = later(); !deadline.expired();) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  PersistVolume volume_;
  std::shared_ptr<FaultUfs> faults_ = std::make_shared<FaultUfs>(volume_.bucket(), 1);
};

TEST_F(PersistScenario, a_file_arrives_with_its_attributes) {
  const InodeId file = volume_.create(volume_.root(), "a", "hello");
  volume_.quiesce();
  EXPECT_EQ(volume_.object("a"), "hello");
  const auto head = volume_.head("a");
  EXPECT_EQ(head->attributes.user.at("mode"), std::to_string(S_IFREG | 0644));
  EXPECT_EQ(meta::from_object(*head).mtime_ns, volume_.names().load(file)->mtime_ns());
  EXPECT_EQ(meta::owner_of(head->attributes)->inode, file);
  volume_.expect_mirror();
}

TEST_F(PersistScenario, a_small_file_costs_one_request) {
  for (int i = 0; i < 20; ++i) volume_.create(volume_.root(), "f" + std::to_string(i), "x");
  volume_.quiesce();
  EXPECT_EQ(faults_->calls(), 20u);
}

// Semantics 4.5.
TEST_F(PersistScenario, what_is_removed_at_once_costs_no_request) {
  volume_.create(volume_.root(), "a", "x");
  volume_.unlink(volume_.root(), "a");
  volume_.quiesce();
  EXPECT_EQ(faults_->calls(), 0u);
}

TEST_F(PersistScenario, a_large_file_goes_up_in_parts) {
  volume_.create(volume_.root(), "big", large('x'));
  volume_.quiesce();
  EXPECT_EQ(volume_.object("big"), large('x'));
  EXPECT_EQ(faults_->calls(UfsCall::kUploadPart), 6u);
  volume_.expect_mirror();
}

TEST_F(PersistScenario, an_upload_in_parts_goes_on_after_a_restart) {
  {
    const ArmedFailpoint crash("persist.parts_sent", [] { return fail(ErrorCode::kCancelled); });
    volume_.create(volume_.root(), "big", large('x'));
    ASSERT_TRUE(eventually([&] { return faults_->calls(UfsCall::kUploadPart) == 6; }));
    volume_.stop();
  }
  faults_->reset_counters();
  auto fresh = std::make_shared<FaultUfs>(volume_.bucket(), 1);
  volume_.mount(fresh);
  volume_.start();
  volume_.quiesce();
  EXPECT_EQ(volume_.object("big"), large('x'));
  EXPECT_EQ(fresh->calls(UfsCall::kUploadPart), 0u);
  EXPECT_EQ(fresh->calls(UfsCall::kCreateMultipart), 0u);
  volume_.expect_mirror();
}

TEST_F(PersistScenario, an_upload_that_was_begun_and_not_recorded_is_aborted_later) {
  volume_.stop();
  volume_.options().leftover_check_period = std::chrono::milliseconds(50);
  volume_.options().leftover_age = Duration::zero();
  {
    const ArmedFailpoint crash("persist.multipart_created", [] { return fail(ErrorCode::kCancelled); });
    volume_.start();
    volume_.create(volume_.root(), "big", large('x'));
    ASSERT_TRUE(eventually([&] { return faults_->calls(UfsCall::kCreateMultipart) != 0; }));
    volume_.stop();
  }
  ASSERT_FALSE(volume_.bucket().list_uploads("", later())->empty());
  volume_.start();
  volume_.quiesce();
  EXPECT_TRUE(eventually([&] { return volume_.bucket().list_uploads("", later())->empty(); }));
  EXPECT_GT(volume_.persister().stats().aborted_uploads, 0u);
  EXPECT_EQ(volume_.object("big"), large('x'));
  EXPECT_TRUE(eventually([&] { return volume_.names().expected_uploads(std::nullopt, 10)->empty(); }));
}

TEST_F(PersistScenario, the_upload_of_a_file_that_is_removed_meanwhile_is_aborted_and_those_of_others_are_not) {
  volume_.stop();
  volume_.options().leftover_check_period = std::chrono::milliseconds(50);
  volume_.options().leftover_age = Duration::zero();
  const auto foreign = *volume_.bucket().create_multipart("theirs", {}, later());
  volume_.start();
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .call = UfsCall::kUploadPart});
  volume_.create(volume_.root(), "big", large('x'));
  ASSERT_TRUE(eventually([&] { return !volume_.bucket().list_uploads("big", later())->empty(); }));
  volume_.unlink(volume_.root(), "big");
  faults_->clear();
  EXPECT_TRUE(eventually([&] { return volume_.bucket().list_uploads("big", later())->empty(); }));
  volume_.quiesce();
  ASSERT_EQ(volume_.bucket().list_uploads("", later())->size(), 1u);
  EXPECT_EQ(volume_.bucket().list_uploads("", later())->front().upload_id, foreign);
}

TEST_F(PersistScenario, a_parked_object_that_nobody_owns_is_erased_and_those_of_others_are_not) {
  const std::string parked = volume_.names().parking_key(InodeId(4'711));
  volume_.stop();
  volume_.options().leftover_check_period = std::chrono::milliseconds(50);
  volume_.options().leftover_age = Duration::zero();
  volume_.put_object(parked, "leaked");
  volume_.put_object(".weir-parked/another-volume-1", "not ours");
  volume_.start();
  EXPECT_TRUE(eventually([&] { return !volume_.object(parked).has_value(); }));
  EXPECT_EQ(volume_.persister().stats().erased_leftovers, 1u);
  EXPECT_TRUE(volume_.object(".weir-parked/another-volume-1").has_value());
}

TEST_F(PersistScenario, an_upload_whose_commit_was_lost_is_not_sent_again) {
  {
    const ArmedFailpoint crash("persist.uploaded", [] { return fail(ErrorCode::kCancelled); });
    volume_.create(volume_.root(), "a", "once");
    ASSERT_TRUE(eventually([&] { return volume_.object("a").has_value(); }));
    volume_.stop();
  }
  auto fresh = std::make_shared<FaultUfs>(volume_.bucket(), 1);
  volume_.mount(fresh);
  volume_.start();
  volume_.quiesce();
  EXPECT_EQ(fresh->calls(UfsCall::kPut), 0u);
  EXPECT_TRUE(volume_.conflicts().empty());
  volume_.expect_mirror();
}

TEST_F(PersistScenario, writing_renaming_and_writing_again_keeps_both) {
  const InodeId first = volume_.create(volume_.root(), "a", "first");
  volume_.quiesce();
  volume_.evict(first);
  volume_.rename(volume_.root(), "a", volume_.root(), "b", kReplaced);
  volume_.create(volume_.root(), "a", "second", Urgency::kUrgent);
  volume_.quiesce();
  EXPECT_EQ(volume_.object("a"), "second");
  EXPECT_EQ(volume_.object("b"), "first");
  volume_.expect_mirror();
}

TEST_F(PersistScenario, an_exchange_of_evicted_files_goes_through_a_third_key) {
  const InodeId a = volume_.create(volume_.root(), "a", "first");
  const InodeId b = volume_.create(volume_.root(), "b", "second");
  volume_.quiesce();
  volume_.evict(a);
  volume_.evict(b);
  volume_.rename(volume_.root(), "a", volume_.root(), "b", meta::RenameMode::kExchange);
  volume_.quiesce();
  EXPECT_EQ(volume_.object("a"), "second");
  EXPECT_EQ(volume_.object("b"), "first");
  volume_.expect_mirror();
}

TEST_F(PersistScenario, what_comes_back_to_its_place_leaves_nothing_on_the_way) {
  const InodeId directory = volume_.make_directory(volume_.root(), "d");
  const InodeId file = volume_.create(volume_.root(), "a", "x");
  volume_.quiesce();
  {
    std::atomic<int> brought = 0;
    const ArmedFailpoint crash("persist.uploaded", [&] {
      ++brought;
      return fail(ErrorCode::kCancelled);
    });
    volume_.rename(volume_.root(), "d", volume_.root(), "e", kReplaced);
    volume_.rename(volume_.root(), "a", volume_.root(), "b", kReplaced);
    ASSERT_TRUE(eventually([&] { return brought >= 2; }));
    volume_.rename(volume_.root(), "e", volume_.root(), "d", kReplaced);
    volume_.rename(volume_.root(), "b", volume_.root(), "a", kReplaced);
  }
  volume_.quiesce();
  EXPECT_TRUE(volume_.names().load(directory)->claimed_key().empty());
  EXPECT_TRUE(volume_.names().load(file)->claimed_key().empty());
  volume_.expect_mirror();
}

TEST_F(PersistScenario, a_directory_takes_its_objects_along) {
  const InodeId directory = volume_.make_directory(volume_.root(), "d");
  for (int i = 0; i < 50; ++i) volume_.create(directory, "f" + std::to_string(i), std::to_string(i));
  volume_.quiesce();
  volume_.rename(volume_.root(), "d", volume_.root(), "e", kReplaced);
  volume_.quiesce();
  EXPECT_EQ(volume_.object("e/f7"), "7");
  EXPECT_FALSE(volume_.object("d/f7"));
  volume_.expect_mirror();
}

TEST_F(PersistScenario, a_checkpoint_renamed_while_it_goes_up_ends_under_its_last_name) {
  const InodeId directory = volume_.make_directory(volume_.root(), "ckpt.tmp");
  std::atomic<bool> renamed = false;
  const ArmedFailpoint slow("persist.part_sent", [&]() -> Result<void> {
    while (!renamed) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {};
  });
  volume_.create(directory, "model", large('1'));
  ASSERT_TRUE(eventually([&] { return faults_->calls(UfsCall::kUploadPart) > 0; }));
  volume_.rename(volume_.root(), "ckpt.tmp", volume_.root(), "ckpt-100", kReplaced);
  const InodeId next = volume_.make_directory(volume_.root(), "ckpt.tmp");
  volume_.create(next, "model", large('2'));
  renamed = true;
  volume_.quiesce();
  EXPECT_EQ(volume_.object("ckpt-100/model"), large('1'));
  EXPECT_EQ(volume_.object("ckpt.tmp/model"), large('2'));
  volume_.expect_mirror();
}

TEST_F(PersistScenario, a_foreign_object_is_kept_beside_the_file) {
  volume_.put_object("a", "theirs");
  volume_.create(volume_.root(), "a", "ours");
  volume_.quiesce();
  EXPECT_EQ(volume_.object("a"), "ours");
  ASSERT_EQ(volume_.conflicts().size(), 1u);
  EXPECT_TRUE(volume_.conflicts()[0].starts_with("a.conflict-"));
  EXPECT_EQ(volume_.object(volume_.conflicts()[0]), "theirs");
  volume_.expect_mirror();
}

// Semantics 5.2.
TEST_F(PersistScenario, an_object_replaced_in_the_bucket_is_kept_when_the_file_was_written_meanwhile) {
  const InodeId file = volume_.create(volume_.root(), "a", "one");
  volume_.quiesce();
  volume_.put_object("a", "theirs");
  volume_.overwrite(file, "two");
  volume_.quiesce();
  EXPECT_EQ(volume_.object("a"), "two");
  ASSERT_EQ(volume_.conflicts().size(), 1u);
  EXPECT_EQ(volume_.object(volume_.conflicts()[0]), "theirs");
}

// Semantics 4.1.
TEST_F(PersistScenario, a_file_changed_while_it_is_read_is_not_published) {
  const InodeId file = volume_.create(volume_.root(), "a", "one");
  volume_.quiesce();
  std::atomic<int> reads = 0;
  const ArmedFailpoint writer("persist.read", [&]() -> Result<void> {
    if (reads.fetch_add(1) > 0) return {};
    const auto local = volume_.open_for_write(file);
    (void)local->file().write_at(0, std::string_view("torn"));
    volume_.commit(file, *local);
    volume_.close(file);
    EXPECT_EQ(volume_.object("a"), "one");
    return {};
  });
  volume_.overwrite(file, "two");
  volume_.quiesce();
  EXPECT_GE(reads, 2);
  EXPECT_EQ(volume_.object("a"), "torn");
  EXPECT_GE(volume_.persister().stats().changed_while_uploading, 1u);
}

TEST_F(PersistScenario, of_an_open_file_only_committed_bytes_are_published) {
  const InodeId file = volume_.create(volume_.root(), "a", "one");
  volume_.quiesce();
  const auto local = volume_.open_for_write(file);
  ASSERT_TRUE(local->file().write_at(0, std::string_view("two")).has_value());
  volume_.commit(file, *local, Urgency::kUrgent);
  ASSERT_TRUE(volume_.persister().wait_persisted(file, generation(file), later()).has_value());
  EXPECT_EQ(volume_.object("a"), "two");

  volume_.commit(file, *local, Urgency::kUrgent);
  ASSERT_TRUE(local->file().write_at(0, std::string_view("six")).has_value());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_EQ(volume_.object("a"), "two");
  volume_.commit(file, *local, Urgency::kUrgent);
  ASSERT_TRUE(volume_.persister().wait_persisted(file, generation(file), later()).has_value());
  EXPECT_EQ(volume_.object("a"), "six");
  volume_.close(file);
}

// Semantics 4.3, 4.4.
TEST_F(PersistScenario, an_outage_keeps_the_order_and_ends_within_seconds) {
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kUnavailable});
  for (int i = 0; i < 10; ++i) volume_.create(volume_.root(), "f" + std::to_string(i), "x");
  ASSERT_TRUE(eventually([&] { return volume_.persister().stats().errors_unavailable > 0; }));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const auto waiting = volume_.persister().list(100);
  for (const auto& item : *waiting) EXPECT_EQ(item.attempts, 0u) << item.path;
  faults_->clear();
  const auto drained = volume_.persister().drain(Deadline::after(std::chrono::seconds(60)));
  EXPECT_TRUE(drained.has_value()) << drained.error().to_string();
  volume_.expect_mirror();
}

TEST_F(PersistScenario, one_bad_object_does_not_stop_the_others) {
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kUnavailable, .call = UfsCall::kPut,
                .key_part = "bad"});
  const InodeId bad = volume_.create(volume_.root(), "bad", "x");
  for (int i = 0; i < 10; ++i) volume_.create(volume_.root(), "f" + std::to_string(i), "x");
  EXPECT_TRUE(eventually([&] { return volume_.object("f9").has_value(); }));
  EXPECT_TRUE(eventually([&] { return (*volume_.persister().item(bad))->attempts > 0; }));
  faults_->clear();
  volume_.quiesce();
  EXPECT_EQ(volume_.object("bad"), "x");
}

TEST_F(PersistScenario, a_refusal_is_told_and_retried) {
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kDenied, .call = UfsCall::kPut});
  const InodeId file = volume_.create(volume_.root(), "a", "x", Urgency::kUrgent);
  EXPECT_TRUE(failed_with(volume_.persister().wait_persisted(file, generation(file), later()), ErrorCode::kDenied));
  EXPECT_TRUE(failed_with(volume_.persister().refusal(file), ErrorCode::kDenied));
  const auto item = *volume_.persister().item(file);
  ASSERT_TRUE(item.has_value());
  EXPECT_TRUE(item->refused);
  EXPECT_FALSE(item->last_error.empty());
  EXPECT_EQ(item->path, "/s3/a");
  faults_->clear();
  ASSERT_TRUE(volume_.persister().retry(std::nullopt).has_value());
  volume_.quiesce();
  EXPECT_TRUE(volume_.persister().refusal(file).has_value());
}

// Semantics 4.4.
TEST_F(PersistScenario, what_a_store_refused_goes_at_once_when_it_takes_us_again) {
  volume_.stop();
  volume_.options().retry_interval_min = std::chrono::hours(1);
  volume_.options().retry_interval_max = std::chrono::hours(1);
  volume_.start();
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kDenied});
  for (int i = 0; i < 20; ++i) volume_.create(volume_.root(), "f" + std::to_string(i), "x");
  ASSERT_TRUE(eventually([&] { return volume_.persister().store_error(volume_.mount_id()).has_value(); }));
  EXPECT_EQ(volume_.persister().store_error(volume_.mount_id())->code(), ErrorCode::kDenied);
  faults_->clear();
  volume_.quiesce();
  EXPECT_FALSE(volume_.persister().store_error(volume_.mount_id()).has_value());
}

// Semantics 4.4.
TEST_F(PersistScenario, files_that_failed_in_a_storm_do_not_wait_long_behind_it) {
  volume_.stop();
  volume_.options().retry_interval_max = std::chrono::hours(1);
  volume_.start();
  // Probes pass, uploads do not: the store as a whole never counts as away.
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kUnavailable, .call = UfsCall::kPut, .key_part = "bad"});
  const InodeId bad = volume_.create(volume_.root(), "bad", "x");
  ASSERT_TRUE(eventually([&] { return (*volume_.persister().item(bad))->attempts >= 3; }));
  faults_->clear();
  volume_.quiesce();
  EXPECT_EQ(volume_.object("bad"), "x");
}

TEST_F(PersistScenario, lost_replies_make_no_conflicts) {
  faults_->add({.kind = UfsFault::Kind::kFailAfter, .error = ErrorCode::kMayHaveHappened, .probability = 0.3});
  std::vector<InodeId> files;
  for (int i = 0; i < 20; ++i) files.push_back(volume_.create(volume_.root(), "f" + std::to_string(i), "x"));
  volume_.create(volume_.root(), "big", large('x'));
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  for (int i = 0; i < 10; ++i)
    volume_.rename(volume_.root(), "f" + std::to_string(i), volume_.root(), "g" + std::to_string(i), kReplaced);
  volume_.overwrite(files[15], "y");
  std::this_thread::sleep_for(std::chrono::seconds(1));
  faults_->clear();
  volume_.quiesce();
  EXPECT_TRUE(volume_.conflicts().empty());
  EXPECT_EQ(volume_.object("f15"), "y");
  EXPECT_EQ(volume_.object("g3"), "x");
  volume_.expect_mirror();
}

TEST_F(PersistScenario, what_arrives_after_its_file_was_removed_and_its_key_erased_does_not_stay) {
  volume_.options().late_effect_max = std::chrono::seconds(5);
  volume_.restart();
  const InodeId file = volume_.create(volume_.root(), "a", "x");
  volume_.quiesce();
  const auto sent = volume_.head("a");
  ASSERT_TRUE(sent.has_value());
  // Sent once more; then the file and its object are gone before the store has carried that out.
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kMayHaveHappened, .call = UfsCall::kPut});
  volume_.overwrite(file, "y");
  ASSERT_TRUE(eventually([&] { return !volume_.names().load(file)->claimed_key().empty() && faults_->faults() != 0; }));
  volume_.unlink(volume_.root(), "a");
  ASSERT_TRUE(eventually([&] { return !volume_.head("a").has_value(); }));
  ASSERT_TRUE(volume_.bucket().put("a", std::as_bytes(std::span("y", 1)), {.attributes = sent->attributes}, later()).has_value());
  EXPECT_TRUE(eventually([&] { return !volume_.head("a").has_value(); }));
  faults_->clear();
  volume_.quiesce();
  ASSERT_TRUE(eventually([&] { return volume_.names().erases(std::numeric_limits<int64_t>::max() - 1, 1)->empty(); }));
  volume_.expect_mirror();
}

TEST_F(PersistScenario, an_erasure_that_a_predecessor_began_takes_no_new_object_along) {
  volume_.options().late_effect_max = std::chrono::seconds(5);
  volume_.restart();
  volume_.create(volume_.root(), "a", "x");
  volume_.quiesce();
  // Erasures are sent, and the process dies before it hears of them.
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .call = UfsCall::kErase});
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .call = UfsCall::kEraseBatch});
  volume_.unlink(volume_.root(), "a");
  ASSERT_TRUE(eventually([&] { return faults_->faults() != 0; }));
  volume_.restart();
  const InodeId again = volume_.create(volume_.root(), "a", "y", Urgency::kUrgent);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_NE(volume_.object("a"), "y");
  ASSERT_TRUE(volume_.bucket().erase("a", std::nullopt, later()).has_value());
  faults_->clear();
  volume_.quiesce();
  EXPECT_EQ(volume_.object("a"), "y");
  EXPECT_TRUE(meta::content_persisted(*volume_.names().load(again)));
  volume_.expect_mirror();
}

TEST_F(PersistScenario, stop_returns_by_its_deadline_though_the_store_is_a_black_hole) {
  auto hole = std::make_shared<FaultUfs>(volume_.bucket(), 1);
  hole->add({.kind = UfsFault::Kind::kBlackHole});
  volume_.stop();
  volume_.options().call_timeout = std::chrono::minutes(10);
  volume_.mount(hole);
  volume_.start();
  volume_.create(volume_.root(), "a", "x");
  volume_.create(volume_.root(), "big", large('x'));
  ASSERT_TRUE(eventually([&] { return hole->calls() >= 2; }));
  const Deadline deadline = Deadline::after(std::chrono::seconds(5));
  volume_.persister().stop(deadline);
  EXPECT_FALSE(Deadline::at(deadline.time() + std::chrono::seconds(25)).expired());
}

TEST_F(PersistScenario, attributes_alone_are_copied_in_place) {
  const InodeId file = volume_.create(volume_.root(), "a", "x");
  volume_.quiesce();
  volume_.evict(file);
  ASSERT_TRUE(volume_.names().set_attributes(file, {.permissions = 0600}).has_value());
  volume_.quiesce();
  EXPECT_EQ(faults_->calls(UfsCall::kPut), 1u);
  EXPECT_EQ(volume_.head("a")->attributes.user.at("mode"), std::to_string(S_IFREG | 0600));
  EXPECT_EQ(volume_.object("a"), "x");
  volume_.expect_mirror();
}

// Semantics 4.11.
TEST_F(PersistScenario, many_changes_of_attributes_cost_one_copy_and_no_data) {
  const auto busy = std::make_shared<std::atomic<bool>>(false);
  volume_.stop();
  volume_.options().deadline = std::chrono::hours(10);
  volume_.options().foreground_busy = [busy] { return busy->load(); };
  volume_.start();
  const InodeId file = volume_.create(volume_.root(), "a", large('x'));
  volume_.quiesce();
  volume_.evict(file);
  faults_->reset_counters();
  *busy = true;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(volume_.names().set_attributes(file, {.permissions = 0600u + i}).has_value());
    ASSERT_TRUE(volume_.names().set_attributes(file, {.uid = 10u + i, .gid = 20u + i}).has_value());
    ASSERT_TRUE(volume_.names().set_attributes(file, {.mtime_ns = 1'000'000'007 + i}).has_value());
    set_xattr(file, "user.n" + std::to_string(i % 3), std::to_string(i));
  }
  ASSERT_TRUE(volume_.names().remove_xattr(file, "user.n1").has_value());
  *busy = false;
  volume_.quiesce();
  EXPECT_EQ(faults_->calls(UfsCall::kCopy), 1u);
  EXPECT_EQ(faults_->bytes_put(), 0u);
  EXPECT_EQ(faults_->bytes_got(), 0u);
  const meta::LowerAttributes told = meta::from_object(*volume_.head("a"));
  EXPECT_EQ(told.permissions, 0611u);
  EXPECT_EQ(told.uid, 19u);
  EXPECT_EQ(told.gid, 29u);
  EXPECT_EQ(told.mtime_ns, 1'000'000'016);
  EXPECT_EQ(told.xattrs, (meta::Xattrs{{"user.n0", "9"}, {"user.n2", "8"}}));
  EXPECT_EQ(volume_.object("a"), large('x'));
  volume_.expect_mirror();
}

TEST_F(PersistScenario, extended_attributes_without_room_have_an_object_that_renames_leave_alone) {
  const InodeId file = volume_.create(volume_.root(), "a", "x");
  const InodeId directory = volume_.make_directory(volume_.root(), "d");
  const std::string value(60'000, '\7');
  set_xattr(file, "user.large", value);
  set_xattr(directory, "user.large", value);
  volume_.quiesce();
  EXPECT_EQ(sidecar_of("a"), (meta::Xattrs{{"user.large", value}}));
  EXPECT_EQ(sidecar_of("d/"), (meta::Xattrs{{"user.large", value}}));
  volume_.expect_mirror();

  faults_->reset_counters();
  volume_.rename(volume_.root(), "a", volume_.root(), "b", kReplaced);
  volume_.quiesce();
  EXPECT_EQ(faults_->bytes_put(), 0u);
  EXPECT_EQ(sidecar_of("b"), (meta::Xattrs{{"user.large", value}}));
  volume_.expect_mirror();

  volume_.overwrite(file, "y");
  set_xattr(file, "user.large", value + "2");
  volume_.quiesce();
  EXPECT_EQ(volume_.object("b"), "y");
  EXPECT_EQ(sidecar_of("b"), (meta::Xattrs{{"user.large", value + "2"}}));
  volume_.expect_mirror();

  set_xattr(file, "user.large", "small");
  volume_.remove_directory(volume_.root(), "d");
  volume_.quiesce();
  EXPECT_EQ(meta::from_object(*volume_.head("b")).xattrs, (meta::Xattrs{{"user.large", "small"}}));
  EXPECT_EQ(volume_.keys(), std::vector<std::string>{"b"});
  volume_.expect_mirror();
}

TEST_F(PersistScenario, what_was_written_for_extended_attributes_goes_with_a_file_that_is_gone) {
  const InodeId file = volume_.create(volume_.root(), "a", "x");
  volume_.quiesce();
  std::atomic<bool> unlinked = false;
  const ArmedFailpoint unlink("persist.sidecar_claimed", [&]() -> Result<void> {
    if (!unlinked.exchange(true)) volume_.unlink(volume_.root(), "a");
    return {};
  });
  set_xattr(file, "user.large", std::string(5'000, 'v'));
  volume_.quiesce();
  EXPECT_TRUE(unlinked);
  EXPECT_EQ(volume_.keys(), std::vector<std::string>{});
  volume_.expect_mirror();
}

TEST_F(PersistScenario, extended_attributes_survive_a_stop_at_any_step) {
  for (const char* step : {"persist.sidecar_claimed", "persist.sidecar_written", "persist.copied", "persist.uploaded",
                           "persist.committed"}) {
    SCOPED_TRACE(step);
    const InodeId file = volume_.create(volume_.root(), step, "x");
    set_xattr(file, "user.large", std::string(5'000, 'v'));
    volume_.quiesce();
    std::atomic<bool> reached = false;
    {
      const ArmedFailpoint crash(step, [&]() -> Result<void> {
        reached = true;
        return fail(ErrorCode::kCancelled);
      });
      set_xattr(file, "user.large", std::string(6'000, 'w'));
      ASSERT_TRUE(eventually([&] { return reached.load(); }));
      volume_.stop();
    }
    volume_.start();
    set_xattr(file, "user.other", std::string(3'000, 'u'));
    volume_.quiesce();
    EXPECT_EQ(sidecar_of(step),
              (meta::Xattrs{{"user.large", std::string(6'000, 'w')}, {"user.other", std::string(3'000, 'u')}}));
    volume_.expect_mirror();
  }
}

TEST_F(PersistScenario, attributes_changed_while_parts_wait_are_not_lost) {
  {
    const ArmedFailpoint crash("persist.parts_sent", [] { return fail(ErrorCode::kCancelled); });
    const InodeId file = volume_.create(volume_.root(), "big", large('x'));
    ASSERT_TRUE(eventually([&] { return faults_->calls(UfsCall::kUploadPart) == 6; }));
    ASSERT_TRUE(volume_.names().set_attributes(file, {.permissions = 0600}).has_value());
  }
  volume_.quiesce();
  EXPECT_EQ(meta::from_object(*volume_.head("big")).permissions, 0600u);
  volume_.expect_mirror();
}

TEST_F(PersistScenario, an_upload_that_others_ended_begins_anew) {
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kNotFound,
                .call = UfsCall::kCompleteMultipart, .times = 1});
  faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kNotFound, .call = UfsCall::kUploadPart,
                .skip = 8, .times = 1});
  const InodeId file = volume_.create(volume_.root(), "big", large('x'));
  volume_.quiesce();
  EXPECT_EQ(volume_.object("big"), large('x'));
  EXPECT_FALSE(volume_.names().load(file)->quarantined());
  volume_.expect_mirror();
}

std::string parts_of(std::string_view letters) {
  std::string content;
  for (const char c : letters) content += std::string(PersistVolume::kPartBytes, c);
  return content;
}

// Semantics 4.12.
TEST_F(PersistScenario, of_a_changed_large_file_only_the_changed_parts_are_sent) {
  std::string content = parts_of("abcdefghij") + "tail";
  const InodeId file = volume_.create(volume_.root(), "big", content);
  volume_.quiesce();
  const auto edit = [&](size_t offset, std::string_view bytes) {
    if (offset + bytes.size() > content.size()) content.resize(offset + bytes.size());
    content.replace(offset, bytes.size(), bytes);
    faults_->reset_counters();
    write_at(file, offset, bytes);
    volume_.quiesce();
    EXPECT_EQ(volume_.object("big"), content);
    volume_.expect_mirror();
    return faults_->bytes_put();
  };
  constexpr uint64_t kPart = PersistVolume::kPartBytes;
  EXPECT_EQ(edit(3 * kPart + 10, "changed"), kPart);
  EXPECT_EQ(edit(5 * kPart - 2, "over"), 2 * kPart);
  EXPECT_EQ(edit(content.size(), "appended"), 4u + 8u);
  EXPECT_EQ(edit(content.size(), std::string(kPart, 'n')), kPart + 4u + 8u);

  // What others put there is not copied from, and nothing is copied that the local file has no more.
  volume_.rename(volume_.root(), "big", volume_.root(), "moved", kReplaced);
  volume_.quiesce();
  volume_.rename(volume_.root(), "moved", volume_.root(), "big", kReplaced);
  ASSERT_TRUE(volume_.names().set_attributes(file, {.permissions = 0600}).has_value());
  volume_.quiesce();
  EXPECT_EQ(edit(0, "after moves and changes of attributes"), kPart);
}

TEST_F(PersistScenario, opening_and_closing_a_large_file_keeps_what_is_known_of_its_parts) {
  const std::string content = parts_of("abcdef");
  const InodeId file = volume_.create(volume_.root(), "big", content);
  volume_.quiesce();
  (void)volume_.open_for_write(file);
  ASSERT_TRUE(volume_.names().end_writes({{.inode = file, .unchanged = true}}).has_value());
  faults_->reset_counters();
  write_at(file, 0, "A");
  volume_.quiesce();
  EXPECT_EQ(faults_->bytes_put(), PersistVolume::kPartBytes);
  EXPECT_EQ(volume_.object("big"), "A" + content.substr(1));
}

TEST_F(PersistScenario, a_store_that_copies_no_parts_gets_all_of_them) {
  const InodeId file = volume_.create(volume_.root(), "big", parts_of("abcdef"));
  volume_.quiesce();
  for (const ErrorCode refusal : {ErrorCode::kNotSupported, ErrorCode::kPrecondition, ErrorCode::kNotFound}) {
    faults_->clear();
    faults_->add({.kind = UfsFault::Kind::kFailBefore, .error = refusal, .call = UfsCall::kUploadPartCopy});
    faults_->reset_counters();
    write_at(file, 9, name_of(refusal));
    volume_.quiesce();
    EXPECT_EQ(faults_->bytes_put(), 6 * PersistVolume::kPartBytes);
    EXPECT_EQ(volume_.object("big")->substr(9, name_of(refusal).size()), name_of(refusal));
    volume_.expect_mirror();
  }
}

TEST_F(PersistScenario, parts_are_not_copied_from_an_object_that_others_put_there) {
  const InodeId file = volume_.create(volume_.root(), "big", parts_of("abcdef"));
  volume_.quiesce();
  volume_.put_object("big", parts_of("ABCDEF"));
  write_at(file, 0, "x");
  volume_.quiesce();
  EXPECT_EQ(volume_.object("big"), "x" + parts_of("abcdef").substr(1));
  ASSERT_EQ(volume_.conflicts().size(), 1u);
  EXPECT_EQ(volume_.object(volume_.conflicts()[0]), parts_of("ABCDEF"));
}

TEST_F(PersistScenario, an_edit_whose_upload_was_stopped_is_finished_from_the_parts_that_are_there) {
  std::string content = parts_of("abcdef");
  const InodeId file = volume_.create(volume_.root(), "big", content);
  volume_.quiesce();
  {
    const ArmedFailpoint crash("persist.parts_sent", [] { return fail(ErrorCode::kCancelled); });
    write_at(file, 0, "A");
    ASSERT_TRUE(eventually([&] { return faults_->calls(UfsCall::kUploadPartCopy) == 5; }));
    volume_.stop();
  }
  auto fresh = std::make_shared<FaultUfs>(volume_.bucket(), 1);
  volume_.mount(fresh);
  volume_.start();
  volume_.quiesce();
  EXPECT_EQ(fresh->bytes_put(), 0u);
  EXPECT_EQ(volume_.object("big"), "A" + content.substr(1));
  write_at(file, 0, "B");
  volume_.quiesce();
  EXPECT_EQ(fresh->bytes_put(), PersistVolume::kPartBytes);
  EXPECT_EQ(volume_.object("big"), "B" + content.substr(1));
  volume_.expect_mirror();
}

TEST_F(PersistScenario, an_unlinked_file_takes_its_object_along_but_not_a_foreign_one) {
  volume_.create(volume_.root(), "a", "x");
  volume_.create(volume_.root(), "b", "y");
  volume_.quiesce();
  volume_.rename(volume_.root(), "b", volume_.root(), "c", kReplaced);
  volume_.unlink(volume_.root(), "a");
  volume_.quiesce();
  EXPECT_EQ(volume_.keys(), std::vector<std::string>{"c"});
}

TEST_F(PersistScenario, an_unlinked_file_that_is_open_lives_on_when_its_name_is_taken) {
  const InodeId file = volume_.create(volume_.root(), "a", "old");
  volume_.quiesce();
  volume_.evict(file);
  ASSERT_TRUE(volume_.names().unlink(volume_.root(), "a", meta::InUse::kYes).has_value());
  const InodeId next = volume_.create(volume_.root(), "a", "new", Urgency::kUrgent);
  ASSERT_TRUE(volume_.persister().wait_persisted(next, generation(next), later()).has_value());
  EXPECT_EQ(volume_.object("a"), "new");
  EXPECT_EQ(volume_.read_home(file), "old");
  ASSERT_TRUE(volume_.names().reclaim(file).has_value());
  volume_.quiesce();
  volume_.expect_mirror();
}

TEST_F(PersistScenario, a_persisted_file_may_be_evicted_and_one_written_since_may_not) {
  const InodeId file = volume_.create(volume_.root(), "a", "x");
  volume_.quiesce();
  const LocalFileId local(volume_.names().load(file)->local_file());
  volume_.overwrite(file, "y");
  EXPECT_FALSE(volume_.pages().evict(local));
  volume_.quiesce();
  EXPECT_TRUE(volume_.pages().evict(local));
}

TEST_F(PersistScenario, symlinks_and_directories_have_objects) {
  ASSERT_TRUE(volume_.names().make_symlink(volume_.root(), "l", "../target", {}).has_value());
  volume_.make_directory(volume_.root(), "d");
  volume_.quiesce();
  EXPECT_EQ(meta::decode_symlink(*volume_.object("l")).value(), "../target");
  EXPECT_EQ(meta::from_object(*volume_.head("l")).type, format::SYMLINK);
  EXPECT_EQ(volume_.object("d/"), "");
  volume_.expect_mirror();
}

TEST_F(PersistScenario, drain_tells_what_is_left) {
  faults_->add({.kind = UfsFault::Kind::kFailBefore});
  volume_.create(volume_.root(), "a", "xyz");
  const auto drained = volume_.persister().drain(Deadline::after(std::chrono::milliseconds(10)));
  ASSERT_TRUE(failed_with(drained, ErrorCode::kTimedOut));
  EXPECT_NE(drained.error().context().find("1 files (3 bytes)"), std::string::npos) << drained.error().to_string();
  faults_->clear();
}

}  // namespace
}  // namespace weir::persist
