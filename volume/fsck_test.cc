#include "volume/fsck.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "format/keys.h"
#include "kv/run_txn.h"
#include "meta/object_attributes.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using testing::bytes_of;
using testing::MemoryVolume;
using testing::must;
using Kinds = std::vector<std::string>;

// /s3/old was there before, /s3/dir/file was written; all is quiet.
class FsckTest : public ::testing::Test {
 protected:
  FsckTest() {
    volume_.put_object("old", "from others");
    volume_.start();
    volume_.list(volume_.root());
    directory_ = volume_.make_directory(volume_.root(), "dir");
    file_ = put("file", "content");
    volume_.drain();
    await_closed(file_);
  }

  InodeId put(std::string_view name, std::string_view content) { return volume_.put(directory_, name, content); }
  meta::Inode inode(InodeId id) {
    return must(kv::read_txn(volume_.kv, [&](kv::Txn& txn) -> Result<meta::Inode> {
      TRY_ASSIGN(const auto value, txn.get(format::inode_key(id)));
      return format::decode<meta::Inode>(*value);
    }));
  }
  LocalFileId local_file(InodeId id) { return LocalFileId(inode(id).local_file()); }
  std::filesystem::path local_path(InodeId id) {
    char name[32];
    std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(local_file(id).value()));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(volume_.dir())) {
      if (entry.path().filename() == name) return entry.path();
    }
    return {};
  }
  // The end of its writing was recorded.
  void await_closed(InodeId id) {
    ASSERT_TRUE(MemoryVolume::wait([&] {
      return !must(kv::read_txn(volume_.kv, [&](kv::Txn& txn) { return txn.get(format::writing_key(id)); })).has_value();
    }));
  }

  std::vector<meta::Discrepancy> fsck(FsckOptions options = {.ufs = true}) {
    options.second_look_after = std::chrono::milliseconds(20);
    std::vector<meta::Discrepancy> found;
    const auto summary = volume_->fsck(
        options, {.discrepancy = [&](const meta::Discrepancy& one) { found.push_back(one); }, .progress = {}});
    EXPECT_TRUE(summary.has_value()) << summary.error().to_string();
    if (summary) {
      summary_ = *summary;
      EXPECT_EQ(summary->discrepancies, found.size());
    }
    return found;
  }
  Kinds kinds(const FsckOptions& options = {.ufs = true}) {
    Kinds kinds;
    for (const auto& discrepancy : fsck(options)) kinds.emplace_back(discrepancy.kind);
    std::ranges::sort(kinds);
    return kinds;
  }

  // Repairs, lets the volume come to rest, and looks again; what is left.
  Kinds repair() {
    FsckOptions options{.ufs = true, .repair = FsckRepair::kDryRun};
    const Kinds told = kinds(options);
    EXPECT_EQ(kinds(options), told);  // nothing was done
    options.repair = FsckRepair::kYes;
    options.second_look_after = std::chrono::milliseconds(20);
    const auto summary = volume_->fsck(options, {.discrepancy = [](const auto&) {}, .progress = {}});
    EXPECT_TRUE(summary.has_value()) << summary.error().to_string();
    if (summary) left_ = summary->discrepancies;
    volume_.drain();
    return kinds();
  }
  InodeId lost_found() { return volume_.find(volume_.root(), "lost+found"); }
  std::string content(InodeId id) {
    auto file = must(volume_->open_file(id, {}));
    const std::string content = MemoryVolume::read(*file);
    file->close();
    return content;
  }

  uint64_t left_ = 0;
  MemoryVolume volume_;
  InodeId directory_{};
  InodeId file_{};
  FsckSummary summary_;
};

TEST_F(FsckTest, a_quiet_volume_is_clean_and_all_of_it_was_looked_at) {
  EXPECT_EQ(kinds({.ufs = true, .foreign_objects = true}), Kinds{});
  EXPECT_EQ(summary_.names, 4u);
  EXPECT_EQ(summary_.inodes, 5u);
  EXPECT_EQ(summary_.objects, 3u);
  EXPECT_EQ(summary_.local_files, 1u);
  EXPECT_EQ(summary_.in_flight, 0u);
}

TEST_F(FsckTest, what_is_on_its_way_is_no_discrepancy) {
  volume_->persister().stop(MemoryVolume::later());
  auto open = must(volume_->create(directory_, "open", 0644, MemoryVolume::kCaller, {.access = Access::kWrite}));
  must(open.file->write(0, bytes_of("half")));
  put("waiting", "not yet");
  must(volume_->rename(directory_, "file", volume_.root(), "moved", meta::RenameMode::kReplace));
  must(volume_->rename(volume_.root(), "dir", volume_.root(), "elsewhere", meta::RenameMode::kReplace));
  must(volume_->unlink(volume_.root(), "old"));
  EXPECT_EQ(kinds(), Kinds{});
  EXPECT_GT(summary_.in_flight, 3u);
}

TEST_F(FsckTest, a_volume_in_use_is_clean) {
  std::jthread user([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      const std::string name = "f" + std::to_string(i % 7);
      put(name, std::string(static_cast<size_t>(i % 5), 'x'));
      must(volume_->rename(directory_, name, volume_.root(), name, meta::RenameMode::kReplace));
      must(volume_->unlink(volume_.root(), name));
    }
  });
  for (int i = 0; i < 5; ++i) EXPECT_EQ(kinds(), Kinds{});
}

TEST_F(FsckTest, a_lost_local_file_that_was_not_persisted_is_named) {
  volume_->persister().stop(MemoryVolume::later());
  const InodeId lost = put("lost", "unpersisted");
  await_closed(lost);
  volume_.pages().remove(local_file(lost));
  const auto found = fsck();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "file_missing");
  EXPECT_EQ(found[0].path, "/s3/dir/lost");
  EXPECT_EQ(found[0].inode, lost);
  // Repairing says so once and for all.
  must(volume_->fsck({.repair = FsckRepair::kYes, .second_look_after = {}}, {.discrepancy = [](const auto&) {}, .progress = {}}));
  EXPECT_EQ(kinds(), Kinds{"file_quarantined"});
}

TEST_F(FsckTest, a_local_file_of_another_size_is_named) {
  std::filesystem::resize_file(local_path(file_), 3);
  const auto found = fsck();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "file_of_wrong_size");
  EXPECT_NE(found[0].expected.find("7 bytes"), std::string::npos);
  EXPECT_EQ(found[0].found, "3 bytes");
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(content(file_), "content");
}

TEST_F(FsckTest, an_unpersisted_file_whose_local_copy_is_longer_is_what_the_copy_holds) {
  volume_->persister().stop(MemoryVolume::later());
  const InodeId grown = put("grown", "short");
  await_closed(grown);
  std::ofstream(local_path(grown), std::ios::app) << ", and more";
  EXPECT_EQ(kinds(), Kinds{"file_of_wrong_size"});
  must(volume_->fsck({.repair = FsckRepair::kYes, .second_look_after = {}}, {.discrepancy = [](const auto&) {}, .progress = {}}));
  EXPECT_EQ(kinds(), Kinds{});
  EXPECT_EQ(content(grown), "short, and more");
}

TEST_F(FsckTest, an_unpersisted_file_whose_local_copy_is_shorter_is_quarantined) {
  volume_->persister().stop(MemoryVolume::later());
  const InodeId cut = put("cut", "all of it");
  await_closed(cut);
  std::filesystem::resize_file(local_path(cut), 3);
  EXPECT_EQ(kinds(), Kinds{"file_of_wrong_size"});
  must(volume_->fsck({.repair = FsckRepair::kYes, .second_look_after = {}}, {.discrepancy = [](const auto&) {}, .progress = {}}));
  EXPECT_EQ(kinds(), Kinds{"file_quarantined"});
}

TEST_F(FsckTest, an_evicted_file_is_no_discrepancy) {
  await_closed(file_);
  volume_.pages().remove(local_file(file_));
  EXPECT_EQ(kinds(), Kinds{});
}

// Semantics 6.7, below the mount.
TEST_F(FsckTest, a_local_file_of_no_inode_is_named) {
  must(must(volume_.pages().create(LocalFileId(4'711)))->write(0, bytes_of("nobody's")));
  EXPECT_EQ(kinds(), Kinds{"file_stray"});
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(content(volume_.find(lost_found(), "local-file-4711")), "nobody's");
}

TEST_F(FsckTest, a_quarantined_file_is_named) {
  must(kv::run_txn(volume_.kv, [&](kv::Txn& txn) -> Result<void> {
    TRY_ASSIGN(const auto value, txn.get(format::inode_key(file_)));
    TRY_ASSIGN(auto record, format::decode<meta::Inode>(*value));
    record.set_quarantined(true);
    txn.put(format::inode_key(file_), format::encode(record));
    return {};
  }));
  EXPECT_EQ(kinds(), Kinds{"file_quarantined"});
  EXPECT_EQ(repair(), Kinds{"file_quarantined"});  // nobody has its bytes
  EXPECT_EQ(left_, 1u);
}

TEST_F(FsckTest, a_wrong_counter_is_named) {
  must(kv::run_txn(volume_.kv, [&](kv::Txn& txn) -> Result<void> {
    txn.add(format::usage_key("bytes"), 5);
    return {};
  }));
  const auto found = fsck();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "wrong_counter");
  EXPECT_EQ(found[0].expected, "bytes = 18");
  EXPECT_EQ(found[0].found, "23");
  EXPECT_EQ(repair(), Kinds{});
}

TEST_F(FsckTest, damaged_metadata_is_named) {
  must(kv::run_txn(volume_.kv, [&](kv::Txn& txn) -> Result<void> {
    txn.erase(format::owner_key(MountId(1), "dir/file"));
    return {};
  }));
  EXPECT_EQ(kinds({.path = "/s3/dir"}), Kinds{"object_key_not_owned"});
  EXPECT_EQ(kinds({.path = "/s3/old"}), Kinds{});
  // Its object then belongs to nobody.
  EXPECT_EQ(kinds(), (Kinds{"object_key_not_owned", "object_stray"}));
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(content(file_), "content");
}

TEST_F(FsckTest, a_lost_object_is_named) {
  must(volume_.bucket.erase("dir/file", std::nullopt, MemoryVolume::later()));
  EXPECT_EQ(kinds({}), Kinds{});  // the bucket is looked at only when asked for
  const auto found = fsck();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "object_missing");
  EXPECT_EQ(found[0].path, "/s3/dir/file");
  EXPECT_EQ(found[0].key, "dir/file");
  EXPECT_EQ(repair(), Kinds{});
  EXPECT_EQ(volume_.keys(), (Kinds{"dir/", "dir/file", "old"}));
}

TEST_F(FsckTest, a_lost_object_whose_content_is_not_here_is_left_to_a_person) {
  volume_.pages().remove(local_file(file_));
  must(volume_.bucket.erase("dir/file", std::nullopt, MemoryVolume::later()));
  EXPECT_EQ(repair(), Kinds{"object_missing"});
  EXPECT_EQ(left_, 1u);
}

// Semantics 6.7, below the mount.
TEST_F(FsckTest, an_object_with_another_etag_or_size_is_named) {
  volume_.put_object("dir/file", "somebody else's");
  const auto found = fsck();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "object_differs");
  EXPECT_NE(found[0].found.find("15 bytes"), std::string::npos);
  EXPECT_EQ(repair(), Kinds{});
  // Neither is lost.
  EXPECT_EQ(content(file_), "content");
  const auto names = volume_.list(directory_);
  ASSERT_EQ(names.size(), 2u);
  EXPECT_EQ(names[1].rfind("file.conflict-", 0), 0u);
  EXPECT_EQ(content(volume_.find(directory_, names[1])), "somebody else's");
}

TEST_F(FsckTest, an_object_of_this_volume_that_no_name_owns_is_named) {
  volume_.put_object("dir/leftover", "x",
             {.user = {{std::string(meta::kOwnerMetadata),
                        meta::format_owner({.volume_id = "volume-1", .inode = InodeId(77), .generation = Generation(2)})}}});
  volume_.put_object(".weir-parked/volume-1-77", "x");
  EXPECT_EQ(kinds(), (Kinds{"object_stray", "object_stray"}));
  EXPECT_EQ(kinds({.path = "/s3/dir", .ufs = true}), Kinds{"object_stray"});
  EXPECT_EQ(repair(), Kinds{});
  const auto keys = volume_.keys();
  EXPECT_EQ(std::ranges::count_if(keys, [](const auto& key) { return key.starts_with("lost+found/object-"); }), 2);
  EXPECT_EQ(std::ranges::find(keys, "dir/leftover"), keys.end());
}

TEST_F(FsckTest, objects_of_others_are_counted_and_told_when_asked_for) {
  volume_.put_object("dir/new", "not taken in");
  volume_.put_object("dir//hidden", "no path shows it");
  EXPECT_EQ(kinds(), Kinds{});
  EXPECT_EQ(summary_.unlisted_objects, 1u);
  EXPECT_EQ(summary_.hidden_objects, 1u);
  const auto found = fsck({.ufs = true, .foreign_objects = true});
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].kind, "object_without_name");
  EXPECT_EQ(found[0].key, "dir/new");
}

TEST_F(FsckTest, what_is_below_directories_never_listed_is_only_counted) {
  volume_.put_object("far/away/file", "x");
  must(volume_->hidden("/s3"));  // lists it anew
  EXPECT_EQ(kinds({.ufs = true, .foreign_objects = true}), Kinds{});
  EXPECT_EQ(summary_.unlisted_objects, 1u);
}

TEST_F(FsckTest, a_single_file_is_checked_alone) {
  put("file2", "x");
  volume_.drain();
  must(volume_.bucket.erase("dir/file2", std::nullopt, MemoryVolume::later()));
  EXPECT_EQ(kinds({.path = "/s3/dir/file", .ufs = true}), Kinds{});
  EXPECT_EQ(kinds({.path = "/s3/dir/file2/", .ufs = true}), Kinds{"object_missing"});
}

TEST_F(FsckTest, it_stops_when_it_is_told_to_and_says_so_when_the_path_is_wrong) {
  const FsckListener stop{.discrepancy = [](const auto&) {}, .progress = [](const FsckSummary&) { return false; }};
  EXPECT_EQ(volume_->fsck({}, stop).error().code(), ErrorCode::kCancelled);
  EXPECT_EQ(volume_->fsck({.path = "/s3/absent"}, {}).error().code(), ErrorCode::kNotFound);
}

}  // namespace
}  // namespace weir::volume
