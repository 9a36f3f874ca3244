#include "volume/scrub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "format/keys.h"
#include "kv/run_txn.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using testing::MemoryVolume;
using testing::must;

constexpr size_t kPages = 3;  // of 1 MiB: smaller files have no checksums of their own

class ScrubTest : public ::testing::Test {
 protected:
  ScrubTest() { start(); }

  void start() {
    volume_.start();
    must(volume_->set_rules_document(R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_BACK"},
        "pathRules": [{"path": "/s3/transient/**", "policyMode": "TRANSIENT"}]})"));
  }
  InodeId put(InodeId directory, std::string_view name) {
    const InodeId inode = volume_.put(directory, name, content_);
    EXPECT_TRUE(MemoryVolume::wait([&] {
      return !must(kv::read_txn(volume_.kv, [&](kv::Txn& txn) { return txn.get(format::writing_key(inode)); })).has_value();
    }));
    return inode;
  }
  std::filesystem::path local_path(InodeId id) {
    const auto record = must(kv::read_txn(volume_.kv, [&](kv::Txn& txn) -> Result<meta::Inode> {
      TRY_ASSIGN(const auto value, txn.get(format::inode_key(id)));
      if (!value) return fail(ErrorCode::kNotFound);
      return format::decode<meta::Inode>(*value);
    }));
    char name[32];
    std::snprintf(name, sizeof name, "%016llx", static_cast<unsigned long long>(record.local_file()));
    for (const auto& entry : std::filesystem::recursive_directory_iterator(volume_.dir()))
      if (entry.path().stem() == name && entry.path().extension() != ".pages") return entry.path();
    return {};
  }
  // One bit, as a disk does it: no time changes.
  void rot(InodeId id) {
    const auto path = local_path(id);
    struct stat before {};
    ASSERT_EQ(::stat(path.c_str(), &before), 0);
    {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(content_.size() - 1));
      file.put('\x01');
    }
    const timespec times[] = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
  }
  ScrubSummary scrub(Scrub::From from = Scrub::From::kLastStop) {
    findings_.clear();
    return must(volume_->scrub(from, {.finding = [&](const ScrubFinding& found) { findings_.push_back(found); }, .progress = {}}));
  }
  std::string read(InodeId id) {
    auto file = must(volume_->open_file(id, {}));
    std::string content(content_.size(), '\0');
    size_t bytes = 0;
    while (bytes < content.size()) {
      const size_t got = must(file->read(bytes, std::as_writable_bytes(std::span(content).subspan(bytes))));
      if (got == 0) break;
      bytes += got;
    }
    file->close();
    return content;
  }

  MemoryVolume volume_;
  const std::string content_ = std::string(kPages << 20, 'x');
  std::vector<ScrubFinding> findings_;
};

TEST_F(ScrubTest, sound_files_are_read_and_stay) {
  const InodeId file = put(volume_.root(), "file");
  volume_.drain();
  const auto first = scrub();
  EXPECT_EQ(first.files, 1u);
  EXPECT_EQ(first.bytes, content_.size());
  EXPECT_EQ(first.verified_bytes, content_.size());
  EXPECT_TRUE(findings_.empty());
  EXPECT_FALSE(local_path(file).empty());
  EXPECT_EQ(volume_->statistics().scrub.runs, 1u);
  EXPECT_EQ(must(volume_->last_scrub())->files, 1u);
}

// Semantics 6.8, below the mount.
TEST_F(ScrubTest, a_rotten_file_that_is_persisted_is_dropped_and_fetched_again) {
  const InodeId file = put(volume_.root(), "file");
  volume_.drain();
  rot(file);
  EXPECT_EQ(scrub().dropped_files, 1u);
  ASSERT_EQ(findings_.size(), 1u);
  EXPECT_EQ(findings_[0].path, "/s3/file");
  EXPECT_EQ(findings_[0].verdict, ScrubFinding::Verdict::kDropped);
  EXPECT_TRUE(read(file) == content_);
  EXPECT_EQ(scrub().dropped_files, 0u);
}

TEST_F(ScrubTest, a_rotten_page_of_a_fetched_file_is_fetched_again) {
  volume_.put_object("object", content_);
  must(volume_->hidden("/s3"));  // lists it anew
  const InodeId file = volume_.find(volume_.root(), "object");
  EXPECT_TRUE(read(file) == content_);
  EXPECT_EQ(scrub().verified_bytes, content_.size());
  rot(file);
  EXPECT_EQ(scrub().dropped_files, 1u);
  EXPECT_TRUE(read(file) == content_);
}

// Semantics 6.8, below the mount.
TEST_F(ScrubTest, what_is_nowhere_else_gets_checksums_and_is_quarantined_when_it_rots) {
  const InodeId file = put(volume_.make_directory(volume_.root(), "transient"), "file");
  EXPECT_EQ(scrub().verified_bytes, 0u);
  EXPECT_EQ(scrub().verified_bytes, content_.size());
  rot(file);
  EXPECT_EQ(scrub().quarantined_files, 1u);
  ASSERT_EQ(findings_.size(), 1u);
  EXPECT_EQ(findings_[0].path, "/s3/transient/file");
  EXPECT_EQ(must(volume_->status("/s3/transient/file")).state, meta::FileState::kQuarantined);
  EXPECT_FALSE(volume_->open_file(file, {}).has_value());
  EXPECT_EQ(scrub().files, 0u);
}

TEST_F(ScrubTest, files_that_are_being_written_are_left_alone) {
  auto created = must(volume_->create(volume_.root(), "open", 0644, MemoryVolume::kCaller, {.access = Access::kWrite}));
  must(created.file->write(0, testing::bytes_of(content_)));
  EXPECT_EQ(scrub().skipped_files, 1u);
  created.file->close();
}

TEST_F(ScrubTest, a_scrub_that_was_stopped_goes_on_even_after_a_restart) {
  for (const char* name : {"a", "b", "c"}) put(volume_.root(), name);
  volume_.drain();
  const auto stopped = volume_->scrub(Scrub::From::kLastStop, {.finding = {}, .progress = [](const ScrubSummary& so_far) {
                                                                 return so_far.files < 2;
                                                               }});
  EXPECT_EQ(stopped.error().code(), ErrorCode::kCancelled);
  volume_.crash();
  start();
  uint64_t from = UINT64_MAX;
  const auto finished = must(volume_->scrub(Scrub::From::kLastStop, {.finding = {}, .progress = [&](const ScrubSummary& so_far) {
                                                                       from = std::min(from, so_far.files);
                                                                       return true;
                                                                     }}));
  EXPECT_EQ(from, 2u);
  EXPECT_EQ(finished.files, 3u);
  EXPECT_EQ(scrub().files, 3u);
}

TEST_F(ScrubTest, two_do_not_run_at_once) {
  put(volume_.root(), "file");
  ErrorCode second{};
  must(volume_->scrub(Scrub::From::kStart, {.finding = {}, .progress = [&](const ScrubSummary&) {
                                              const auto other = volume_->scrub(Scrub::From::kStart, {});
                                              if (!other) second = other.error().code();
                                              return true;
                                            }}));
  EXPECT_EQ(second, ErrorCode::kBusy);
}

TEST(ScrubPeriodTest, a_volume_scrubs_by_itself) {
  MemoryVolume volume;
  volume.options.scrub_period = std::chrono::seconds(1);
  volume.start();
  volume.put(volume.root(), "file", "content");
  EXPECT_TRUE(MemoryVolume::wait([&] { return volume->statistics().scrub.runs != 0; }));
}

}  // namespace
}  // namespace weir::volume
