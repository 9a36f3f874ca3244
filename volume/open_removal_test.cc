// Files that lose their last name while they are open: what becomes of their objects, and of those that want their keys.
#include <gtest/gtest.h>

#include <atomic>

#include "base/failpoint.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using testing::bytes_of;
using testing::MemoryVolume;
using testing::must;
using testing::pattern;
using testing::UfsCall;
using testing::UfsFault;
using Keys = std::vector<std::string>;

constexpr size_t kPage = 1 << 20;

class OpenRemoval : public ::testing::Test {
 protected:
  OpenRemoval() { volume_.start(); }

  std::unique_ptr<OpenFile> open(std::string_view name, Access access = Access::kRead) {
    return must(volume_->open_file(volume_.find(volume_.root(), name), {.access = access}));
  }
  static std::string read(OpenFile& file, uint64_t offset, size_t size) {
    std::string content(size, '\0');
    content.resize(must(file.read(offset, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  void unlink(std::string_view name) { must(volume_->unlink(volume_.root(), name)); }
  // One that is only in the bucket, of which the first page is fetched.
  std::unique_ptr<OpenFile> open_fetched_in_part(std::string_view name) {
    volume_.put_object(name, pattern(8 * kPage));
    auto file = open(name);
    EXPECT_EQ(read(*file, 0, 4), pattern(4));
    return file;
  }
  Keys keys_when_quiet() {
    volume_.drain();
    return volume_.keys();
  }
  void expect_gone_after_close(std::unique_ptr<OpenFile> file) {
    file->close();
    file.reset();
    EXPECT_TRUE(MemoryVolume::wait([&] { return volume_->statistics().usage.inodes == 2; }));
    EXPECT_EQ(keys_when_quiet(), Keys{});
    EXPECT_EQ(volume_.fsck(), "");
  }

  MemoryVolume volume_;
};

TEST_F(OpenRemoval, the_object_of_a_file_that_is_here_goes_at_once) {
  volume_.put(volume_.root(), "a", "text");
  volume_.drain();
  auto file = open("a", Access::kReadWrite);
  unlink("a");
  EXPECT_EQ(keys_when_quiet(), Keys{});
  EXPECT_EQ(read(*file, 0, 10), "text");
  must(file->write(4, bytes_of(" and more")));
  EXPECT_EQ(read(*file, 0, 20), "text and more");
  EXPECT_EQ(must(volume_->get_attributes(file->inode())).attributes.links, 0u);
  expect_gone_after_close(std::move(file));
}

TEST_F(OpenRemoval, what_took_the_name_of_a_file_that_is_here_is_persisted_at_once) {
  volume_.put(volume_.root(), "a", "old");
  volume_.drain();
  const auto file = open("a");
  unlink("a");
  const InodeId directory = volume_.make_directory(volume_.root(), "a");
  volume_.put(directory, "b", "new");
  EXPECT_EQ(keys_when_quiet(), (Keys{"a/", "a/b"}));
  EXPECT_EQ(read(*file, 0, 10), "old");
}

TEST_F(OpenRemoval, an_object_that_holds_what_is_not_here_makes_way) {
  auto file = open_fetched_in_part("a");
  unlink("a");
  const InodeId directory = volume_.make_directory(volume_.root(), "a");
  volume_.put(directory, "b", "new");
  const Keys keys = keys_when_quiet();
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_TRUE(keys[0].starts_with(meta::kParkingPrefix)) << keys[0];
  EXPECT_EQ(keys[1], "a/");
  EXPECT_EQ(keys[2], "a/b");
  EXPECT_EQ(volume_.fsck(), "");
  EXPECT_EQ(read(*file, 7 * kPage, 4), pattern(8 * kPage).substr(7 * kPage, 4));
  file->close();
  EXPECT_TRUE(MemoryVolume::wait([&] { return keys_when_quiet() == Keys{"a/", "a/b"}; }));
}

TEST_F(OpenRemoval, a_replaced_file_is_read_from_where_its_object_was_moved) {
  auto file = open_fetched_in_part("a");
  volume_.put(volume_.root(), "b", "new");
  must(volume_->rename(volume_.root(), "b", volume_.root(), "a", meta::RenameMode::kReplace));
  EXPECT_EQ(keys_when_quiet().size(), 2u);
  EXPECT_EQ(must(volume_.bucket.head("a", volume_.later())).info.size_bytes, 3u);
  EXPECT_EQ(read(*file, 5 * kPage, 4), pattern(8 * kPage).substr(5 * kPage, 4));
  file->close();
  EXPECT_TRUE(MemoryVolume::wait([&] { return keys_when_quiet() == Keys{"a"}; }));
}

TEST_F(OpenRemoval, changed_in_part_it_is_whole_all_the_same) {
  volume_.put_object("a", pattern(8 * kPage));
  auto file = open("a", Access::kReadWrite);
  must(file->write(10, bytes_of("changed")));
  unlink("a");
  volume_.drain();
  std::string expected = pattern(8 * kPage);
  expected.replace(10, 7, "changed");
  EXPECT_EQ(read(*file, 0, 8 * kPage), expected);
  expect_gone_after_close(std::move(file));
}

TEST_F(OpenRemoval, what_is_emptied_after_its_removal_needs_no_object) {
  volume_.put_object("a", pattern(8 * kPage));
  auto file = open("a", Access::kReadWrite);
  volume_.store.add({.kind = UfsFault::Kind::kFailBefore, .call = UfsCall::kCopy});
  unlink("a");
  must(file->truncate(0));
  EXPECT_TRUE(MemoryVolume::wait([&] { return volume_.keys().empty(); }));
  volume_.store.clear();
  EXPECT_EQ(read(*file, 0, 10), "");
  expect_gone_after_close(std::move(file));
}

TEST_F(OpenRemoval, a_last_close_while_its_object_is_moved_leaves_nothing) {
  auto file = open_fetched_in_part("a");
  volume_.store.add({.kind = UfsFault::Kind::kBlackHole, .call = UfsCall::kCopy});
  unlink("a");
  EXPECT_TRUE(MemoryVolume::wait([&] { return volume_.store.calls(UfsCall::kCopy) != 0; }));
  file->close();
  EXPECT_TRUE(MemoryVolume::wait([&] { return volume_->statistics().usage.inodes == 2; }));
  volume_.store.clear();
  expect_gone_after_close(std::move(file));
}

// Removed, and its key erased, between the claim of the key and the upload.
TEST_F(OpenRemoval, what_was_removed_and_erased_while_its_upload_began_is_not_uploaded) {
  for (const bool open_meanwhile : {true, false}) {
    SCOPED_TRACE(open_meanwhile);
    std::atomic<int> reached = 0;
    std::atomic<bool> go_on = false;
    {
      ArmedFailpoint wait("persist.lock", [&]() -> Result<void> {
        if (++reached == 1) {
          EXPECT_TRUE(MemoryVolume::wait([&] { return go_on.load(); }));
        }
        return {};
      });
      volume_.put(volume_.root(), "a", "text");
      std::unique_ptr<OpenFile> file;
      if (open_meanwhile) file = open("a");
      EXPECT_TRUE(MemoryVolume::wait([&] { return reached.load() != 0; }));
      const uint64_t looks = volume_.store.calls(UfsCall::kHead);
      unlink("a");
      EXPECT_TRUE(MemoryVolume::wait([&] { return volume_.store.calls(UfsCall::kHead) > looks; }));
      EXPECT_TRUE(MemoryVolume::wait([&] { return volume_->persister().stats().erased_objects != 0; }));
      go_on = true;
      EXPECT_EQ(keys_when_quiet(), Keys{});
    }
    EXPECT_EQ(volume_.fsck(), "");
    volume_.crash();
    volume_.start();
  }
}

TEST_F(OpenRemoval, a_copy_that_lost_its_reply_is_made_again) {
  auto file = open_fetched_in_part("a");
  volume_.store.add({.kind = UfsFault::Kind::kFailAfter, .error = ErrorCode::kInternal, .call = UfsCall::kCopy, .times = 2});
  unlink("a");
  EXPECT_EQ(keys_when_quiet().size(), 1u);
  EXPECT_EQ(read(*file, 3 * kPage, 4), pattern(8 * kPage).substr(3 * kPage, 4));
  expect_gone_after_close(std::move(file));
}

TEST_F(OpenRemoval, a_crash_at_any_step_leaves_nothing) {
  const std::string steps[] = {"persist.parking_claimed", "persist.parked"};
  for (const auto& step : steps) volume_.put_object(step, pattern(8 * kPage));
  for (const auto& step : steps) {
    SCOPED_TRACE(step);
    auto file = open(step);
    EXPECT_EQ(read(*file, 0, 4), pattern(4));
    std::atomic<bool> reached = false;
    {
      ArmedFailpoint stop(step, [&]() -> Result<void> {
        reached = true;
        return fail(ErrorCode::kCancelled);
      });
      unlink(step);
      EXPECT_TRUE(MemoryVolume::wait([&] { return reached.load(); }));
      file.reset();
      volume_.crash();
    }
    volume_.start();
    volume_.drain();
    EXPECT_EQ(volume_.fsck(), "");
  }
  EXPECT_EQ(keys_when_quiet(), Keys{});
}

}  // namespace
}  // namespace weir::volume
