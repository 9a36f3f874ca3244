#include "io/file.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "io/directory.h"
#include "io/errno.h"
#include "testing/fault_io.h"

namespace weir::io {
namespace {

constexpr OpenOptions kCreateOptions{.access = Access::kReadWrite, .create = Create::kIfAbsent};

class Io : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/tmp/weir-io-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    path_ = path;
    directory_ = *Directory::open(path_);
  }
  void TearDown() override { std::filesystem::remove_all(path_); }

  File make(const char* name, std::string_view content = "") {
    File file = *directory_.open_file(name, kCreateOptions);
    EXPECT_TRUE(file.write_at(0, content).has_value());
    return file;
  }
  static std::string content(const File& file) { return *file.read_all(1 << 20); }

  std::string path_;
  Directory directory_;
};

TEST_F(Io, errors_name_operation_and_path) {
  const auto missing = directory_.open_file("missing", {});
  ASSERT_TRUE(failed_with(missing, ErrorCode::kNotFound));
  EXPECT_NE(missing.error().to_string().find("open missing"), std::string::npos);

  const File read_only = (make("f"), *directory_.open_file("f", {}));
  const auto refused = read_only.truncate(1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().to_string().find("truncate " + path_ + "/f"), std::string::npos);
}

TEST_F(Io, every_errno_has_the_code_that_callers_act_on) {
  EXPECT_EQ(code_of_errno(ENOSPC), ErrorCode::kNoSpace);
  EXPECT_EQ(code_of_errno(EDQUOT), ErrorCode::kNoSpace);
  EXPECT_EQ(code_of_errno(EROFS), ErrorCode::kReadOnly);
  EXPECT_EQ(code_of_errno(EXDEV), ErrorCode::kCrossDevice);
  EXPECT_EQ(code_of_errno(EMFILE), ErrorCode::kUnavailable);
  EXPECT_EQ(code_of_errno(EIO), ErrorCode::kIo);
  EXPECT_EQ(code_of_errno(12345), ErrorCode::kIo);
}

TEST_F(Io, exclusive_create_fails_when_the_name_exists) {
  make("f");
  EXPECT_TRUE(failed_with(directory_.open_file("f", {.create = Create::kExclusive}), ErrorCode::kExists));
}

TEST_F(Io, a_symlink_is_followed_only_when_asked) {
  make("f", "x");
  ASSERT_TRUE(directory_.make_symlink("f", "link").has_value());
  EXPECT_TRUE(failed_with(directory_.open_file("link", {}), ErrorCode::kLoop));
  EXPECT_EQ(content(*directory_.open_file("link", {.follow_symlink = true})), "x");
  EXPECT_EQ(*directory_.read_symlink("link"), "f");
  EXPECT_EQ(directory_.stat("link")->type(), FileType::kSymlink);
}

TEST_F(Io, short_transfers_are_resumed) {
  const File file = make("f");
  testing::FaultIo faults;
  faults.shorten(3);
  ASSERT_TRUE(file.write_at(2, "0123456789").has_value());
  std::string read(20, '?');
  ASSERT_EQ(*file.read_at(0, std::as_writable_bytes(std::span(read))), 12u);
  EXPECT_EQ(read.substr(2, 10), "0123456789");
  EXPECT_EQ(faults.count(Operation::kWrite), 4u);
}

TEST_F(Io, a_write_that_runs_out_of_space_says_so) {
  const File file = make("f");
  testing::FaultIo faults;
  faults.fill_up_after(4);
  EXPECT_TRUE(failed_with(file.write_at(0, "0123456789"), ErrorCode::kNoSpace));
  EXPECT_EQ(content(file), "0123");
  faults.heal();
  EXPECT_TRUE(file.write_at(0, "0123456789").has_value());
}

TEST_F(Io, an_injected_failure_hits_the_chosen_call_only) {
  const File file = make("f");
  testing::FaultIo faults;
  faults.fail(Operation::kSync, EIO, 1, 1);
  EXPECT_TRUE(file.sync_data().has_value());
  EXPECT_TRUE(failed_with(file.sync_data(), ErrorCode::kIo));
  EXPECT_TRUE(file.sync_data().has_value());
}

TEST_F(Io, faults_stay_below_their_path) {
  const File file = make("f");
  testing::FaultIo faults("/elsewhere");
  faults.fail(Operation::kSync, EIO);
  EXPECT_TRUE(file.sync().has_value());
}

TEST_F(Io, a_power_loss_undoes_what_was_not_synced) {
  const File kept = make("kept", "old");
  testing::FaultIo faults;
  faults.track_unsynced();
  ASSERT_TRUE(kept.write_at(0, "new!").has_value());
  ASSERT_TRUE(kept.sync_data().has_value());
  ASSERT_TRUE(kept.write_at(1, "ABCDEF").has_value());
  ASSERT_TRUE(kept.truncate(2).has_value());
  const File synced = make("synced", "s");
  ASSERT_TRUE(synced.sync_data().has_value());
  make("lost", "l");
  faults.drop_unsynced();
  EXPECT_EQ(content(kept), "new!");
  EXPECT_TRUE(*directory_.exists("synced"));
  EXPECT_FALSE(*directory_.exists("lost"));
}

TEST_F(Io, a_directory_sync_keeps_the_name_but_not_the_bytes) {
  testing::FaultIo faults;
  faults.track_unsynced();
  make("f", "bytes");
  ASSERT_TRUE(directory_.sync().has_value());
  faults.drop_unsynced();
  EXPECT_EQ(directory_.stat("f")->size_bytes, 0u);
}

TEST_F(Io, stat_counts_allocated_blocks_and_holes_take_none) {
  const File file = make("f");
  ASSERT_TRUE(file.truncate(1 << 20).has_value());
  EXPECT_EQ(file.stat()->size_bytes, 1u << 20);
  EXPECT_EQ(file.stat()->allocated_bytes, 0u);
  EXPECT_EQ(*file.seek_data(0), std::nullopt);
  ASSERT_TRUE(file.write_at(512 << 10, std::string(64 << 10, 'x')).has_value());
  EXPECT_EQ(*file.seek_data(0), 512u << 10);
  EXPECT_EQ(*file.seek_hole(512 << 10), 576u << 10);
  EXPECT_GE(file.stat()->allocated_bytes, 64u << 10);
  ASSERT_TRUE(file.punch_hole(0, 1 << 20).has_value());
  EXPECT_EQ(file.stat()->allocated_bytes, 0u);
  ASSERT_TRUE(file.allocate(0, 2 << 20, File::Extend::kKeepSize).has_value());
  EXPECT_EQ(file.stat()->size_bytes, 1u << 20);
  EXPECT_GE(file.stat()->allocated_bytes, 2u << 20);
}

TEST_F(Io, times_are_nanoseconds_and_can_be_left_alone) {
  const File file = make("f");
  ASSERT_TRUE(file.set_times(1'000'000'001, 2'000'000'002).has_value());
  ASSERT_TRUE(file.set_times(std::nullopt, 3'000'000'003).has_value());
  EXPECT_EQ(file.stat()->atime_ns, 1'000'000'001);
  EXPECT_EQ(file.stat()->mtime_ns, 3'000'000'003);
}

TEST_F(Io, xattrs_round_trip) {
  const File file = make("f");
  if (failed_with(file.set_xattr("user.a", "1"), ErrorCode::kNotSupported)) {
    GTEST_SKIP() << "SKIPPED: the file system has no user xattrs";
  }
  const std::string large(1000, 'v');
  ASSERT_TRUE(file.set_xattr("user.b", large).has_value());
  EXPECT_EQ(*file.get_xattr("user.a"), "1");
  EXPECT_EQ(*file.get_xattr("user.b"), large);
  const auto names = *file.list_xattrs();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()), (std::set<std::string>{"user.a", "user.b"}));
  ASSERT_TRUE(file.remove_xattr("user.a").has_value());
  EXPECT_TRUE(failed_with(file.get_xattr("user.a"), ErrorCode::kNoAttribute));
}

TEST_F(Io, waiting_for_writers_changes_nothing) {
  const File file = make("f", "x");
  const FileStat before = *file.stat();
  file.await_running_writes();
  EXPECT_EQ(file.stat()->ctime_ns, before.ctime_ns);
}

TEST_F(Io, a_lock_is_exclusive_until_its_file_is_closed) {
  File first = make("f");
  const File second = *directory_.open_file("f", {});
  ASSERT_TRUE(first.try_lock(Lock::kExclusive).has_value());
  EXPECT_TRUE(failed_with(second.try_lock(Lock::kShared), ErrorCode::kBusy));
  first.close();
  EXPECT_TRUE(second.try_lock(Lock::kShared).has_value());
}

TEST_F(Io, copy_range_copies_up_to_the_end_across_file_systems_too) {
  const File from = make("from", "0123456789");
  const File to = make("to");
  EXPECT_EQ(*to.copy_range(from, 2, 1, 100), 8u);
  EXPECT_EQ(content(to).substr(1), "23456789");

  const auto other = File::open_nameless("/dev/shm", 0600);
  if (!other.has_value()) GTEST_SKIP() << "SKIPPED: no second file system at /dev/shm";
  EXPECT_EQ(*other->copy_range(from, 0, 0, 100), 10u);
  EXPECT_EQ(content(*other), "0123456789");
}

TEST_F(Io, send_to_writes_a_range_to_a_socket) {
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const Descriptor near(sockets[0]);
  const Descriptor far(sockets[1]);
  const File file = make("f", "0123456789");
  EXPECT_EQ(*file.send_to(near.get(), 3, 4), 4u);
  char received[16];
  ASSERT_EQ(::read(far.get(), received, sizeof received), 4);
  EXPECT_EQ(std::string(received, 4), "3456");
}

TEST_F(Io, a_nameless_file_can_be_given_a_name_once) {
  const auto file = File::open_nameless(path_.c_str(), 0644);
  ASSERT_TRUE(file.has_value());
  ASSERT_TRUE(file->write_at(0, "x").has_value());
  ASSERT_TRUE(directory_.link_file(*file, "named").has_value());
  EXPECT_EQ(content(*directory_.open_file("named", {})), "x");
  EXPECT_TRUE(failed_with(directory_.link_file(*file, "named"), ErrorCode::kExists));
}

TEST_F(Io, read_all_refuses_more_than_its_limit) {
  EXPECT_TRUE(failed_with(make("f", "0123456789").read_all(9), ErrorCode::kTooLarge));
}

TEST_F(Io, rename_replaces_refuses_or_exchanges) {
  make("a", "a");
  make("b", "b");
  EXPECT_TRUE(failed_with(directory_.rename("a", directory_, "b", Replace::kNoReplace), ErrorCode::kExists));
  ASSERT_TRUE(directory_.rename("a", directory_, "b", Replace::kExchange).has_value());
  EXPECT_EQ(content(*directory_.open_file("a", {})), "b");
  ASSERT_TRUE(directory_.rename("a", directory_, "b", Replace::kReplace).has_value());
  EXPECT_EQ(content(*directory_.open_file("b", {})), "b");
  EXPECT_FALSE(*directory_.exists("a"));
}

TEST_F(Io, list_streams_all_entries_and_stops_when_told) {
  for (int i = 0; i < 500; ++i) make(std::to_string(i).c_str());
  ASSERT_TRUE(directory_.make_directories("d/e/f", 0700).has_value());
  ASSERT_TRUE(directory_.make_directories("d/e/f", 0700).has_value());
  size_t files = 0;
  size_t directories = 0;
  const auto count = [&](const DirectoryEntry& entry) -> Result<Visit> {
    ++(entry.type == FileType::kDirectory ? directories : files);
    return Visit::kContinue;
  };
  ASSERT_TRUE(directory_.list(count).has_value());
  ASSERT_TRUE(directory_.list(count).has_value());
  EXPECT_EQ(files, 1000u);
  EXPECT_EQ(directories, 2u);

  size_t visited = 0;
  ASSERT_TRUE(directory_.list([&](const DirectoryEntry&) -> Result<Visit> {
    ++visited;
    return Visit::kStop;
  }).has_value());
  EXPECT_EQ(visited, 1u);
  EXPECT_TRUE(failed_with(directory_.list([](const DirectoryEntry&) -> Result<Visit> {
    return fail(ErrorCode::kCancelled);
  }), ErrorCode::kCancelled));
}

TEST_F(Io, directories_are_removed_only_when_empty) {
  ASSERT_TRUE(directory_.make_directory("d", 0700).has_value());
  EXPECT_TRUE(failed_with(directory_.make_directory("d", 0700), ErrorCode::kExists));
  make("d/f");
  EXPECT_TRUE(failed_with(directory_.remove_directory("d"), ErrorCode::kNotEmpty));
  ASSERT_TRUE(directory_.unlink("d/f").has_value());
  EXPECT_TRUE(directory_.remove_directory("d").has_value());
  EXPECT_GT(directory_.space()->total_bytes, 0u);
}

}  // namespace
}  // namespace weir::io
