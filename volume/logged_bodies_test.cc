// Small objects whose bytes go with the metadata: what they cost, and what is there after the power was lost at any instant.
#include "volume/logged_bodies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "format/keys.h"
#include "io/fault.h"
#include "kv/rocks_kv.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "testing/fault_io.h"
#include "testing/memory_volume.h"
#include "volume/objects.h"

namespace weir::volume {
namespace {

using testing::must;

class LoggedBodiesTest : public ::testing::Test {
 protected:
  LoggedBodiesTest() { volume_.start(); }
  ~LoggedBodiesTest() override { volume_.crash(); }  // its threads must not outlive `faults_`

  static ObjectName name(std::string_view key) { return {"s3", std::string(key)}; }
  static Result<void> try_put(Volume& volume, std::string_view key, std::string_view content,
                              ObjectDurability durability = ObjectDurability::kSync) {
    TRY_ASSIGN(const auto writer, volume.objects().put(name(key)));
    // In pieces, as bodies come.
    for (std::string_view rest = content; !rest.empty(); rest.remove_prefix(std::min<size_t>(rest.size(), 10'000)))
      TRY(writer->write(testing::bytes_of(rest.substr(0, 10'000))));
    TRY(writer->commit({.etag = net::hex(net::md5(testing::bytes_of(content)))}, {}, durability));
    return {};
  }
  void put(std::string_view key, std::string_view content) { must(try_put(*volume_, key, content)); }
  std::string get(std::string_view key) {
    bool not_modified = false;
    const auto reader = volume_->objects().open(name(key), {}, &not_modified);
    if (!reader) return "(" + reader.error().to_string() + ")";
    std::string content((*reader)->object().size, '\0');
    content.resize(must((*reader)->read(0, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  size_t rows() {
    const auto range = format::logged_body_range();
    return must(volume_.kv.begin()->get_range(range.begin, range.end)).rows.size();
  }
  bool settled() {
    return testing::MemoryVolume::wait([&] { return rows() == 0; });
  }
  // Nothing of the page store becomes durable from here on.
  void keep_from_syncing() {
    faults_.fail(io::Operation::kSync, EIO);
    faults_.fail(io::Operation::kSyncFileSystem, EIO);
  }
  // The machine stops here, and what was not synced is gone. All that was committed to the metadata is there.
  void lose_power() {
    keep_from_syncing();
    volume_.crash();
    faults_.drop_unsynced();
    faults_.heal();
    std::filesystem::remove(volume_.dir() + "/pages/state");
    const auto txn = volume_.kv.begin();
    txn->put(format::config_key("boot_id"), "another boot");
    must(txn->commit());
    volume_.start();
  }

  testing::MemoryVolume volume_;
  testing::FaultIo faults_{volume_.dir()};
};

// Semantics 7.3, below the mount.
TEST_F(LoggedBodiesTest, a_synced_object_is_there_though_its_file_was_never_synced) {
  faults_.track_unsynced();
  keep_from_syncing();
  const std::string largest(LoggedBodies::kBodyBytesMax, 'x');
  put("d/small", "small");
  put("empty", "");
  put("largest", largest);
  put("small", "first");
  put("small", "second");
  lose_power();
  EXPECT_EQ(get("d/small"), "small");
  EXPECT_EQ(get("empty"), "");
  EXPECT_EQ(get("largest"), largest);
  EXPECT_EQ(get("small"), "second");
  EXPECT_EQ(rows(), 0u);
  EXPECT_EQ(volume_.fsck({}), "");
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"d/small", "empty", "largest", "small"}));
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(LoggedBodiesTest, a_larger_object_is_synced_by_itself) {
  keep_from_syncing();
  const std::string content(LoggedBodies::kBodyBytesMax + 1, 'x');
  EXPECT_FALSE(try_put(*volume_, "a", content).has_value());
  EXPECT_EQ(rows(), 0u);
  faults_.heal();
  put("a", content);
  EXPECT_EQ(rows(), 0u);
  EXPECT_EQ(get("a"), content);
}

TEST_F(LoggedBodiesTest, an_object_that_is_only_written_has_no_row) {
  must(try_put(*volume_, "a", "content", ObjectDurability::kWrite));
  EXPECT_EQ(rows(), 0u);
  EXPECT_EQ(get("a"), "content");
}

TEST_F(LoggedBodiesTest, rows_go_when_the_files_are_durable) {
  faults_.track_unsynced();
  for (int i = 0; i < 20; ++i) put("k" + std::to_string(i), "content " + std::to_string(i));
  EXPECT_TRUE(settled());
  lose_power();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(get("k" + std::to_string(i)), "content " + std::to_string(i));
  EXPECT_EQ(volume_.fsck({}), "");
}

TEST_F(LoggedBodiesTest, a_file_that_is_about_to_be_changed_has_no_row_any_more) {
  faults_.track_unsynced();
  put("a", "by S3");
  {
    const auto file = must(volume_->open_file(volume_.find(volume_.root(), "a"), {.access = Access::kWrite}));
    EXPECT_EQ(rows(), 0u);
    must(file->write(0, testing::bytes_of("by POSIX")));
    must(file->sync());
    file->close();
  }
  lose_power();
  EXPECT_EQ(get("a"), "by POSIX");
}

TEST_F(LoggedBodiesTest, a_change_that_the_power_loss_may_take_leaves_what_was_put) {
  faults_.track_unsynced();
  put("a", "by S3");
  {
    const auto file = must(volume_->open_file(volume_.find(volume_.root(), "a"), {.access = Access::kWrite}));
    must(file->write(0, testing::bytes_of("BY")));
    file->close();
  }
  lose_power();
  const std::string left = get("a");
  EXPECT_TRUE(left == "by S3" || left == "BY S3") << left;  // nobody asked for a sync, but one may have come by
}

TEST_F(LoggedBodiesTest, a_file_whose_sync_fails_cannot_be_changed) {
  put("a", "by S3");
  const InodeId inode = volume_.find(volume_.root(), "a");
  keep_from_syncing();
  EXPECT_FALSE(volume_->open_file(inode, {.access = Access::kWrite}).has_value());
  EXPECT_EQ(get("a"), "by S3");
  faults_.heal();
  EXPECT_TRUE(volume_->open_file(inode, {.access = Access::kWrite}).has_value());
}

TEST_F(LoggedBodiesTest, what_a_failed_sync_may_have_dropped_is_written_again) {
  faults_.track_unsynced();
  keep_from_syncing();
  for (int i = 0; i < 10; ++i) put("k" + std::to_string(i), "content " + std::to_string(i));
  ASSERT_TRUE(testing::MemoryVolume::wait([&] { return volume_.pages().failed_syncs() != 0; }));
  // The kernel dropped them, and told so: once.
  for (const LocalFileId id : volume_.pages().files()) must(must(volume_.pages().open(id))->truncate(0));
  // A try that had begun before that is over.
  const uint64_t tries = faults_.count(io::Operation::kSync);
  ASSERT_TRUE(testing::MemoryVolume::wait([&] { return faults_.count(io::Operation::kSync) > tries; }));
  faults_.heal();
  EXPECT_TRUE(settled());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(get("k" + std::to_string(i)), "content " + std::to_string(i));
  lose_power();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(get("k" + std::to_string(i)), "content " + std::to_string(i));
}

TEST_F(LoggedBodiesTest, a_row_does_not_go_when_its_file_is_missing) {
  // Nobody else is to look for the file.
  must(volume_->set_rules_document(R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "TRANSIENT"}, "pathRules": []})"));
  keep_from_syncing();
  put("a", "content");
  for (const LocalFileId id : volume_.pages().files()) volume_.pages().remove(id);
  faults_.heal();
  EXPECT_TRUE(settled());
  EXPECT_EQ(get("a"), "content");
}

TEST_F(LoggedBodiesTest, rows_of_objects_that_are_gone_go) {
  keep_from_syncing();
  for (int i = 0; i < 10; ++i) put("k" + std::to_string(i), "content");
  for (int i = 0; i < 5; ++i) must(volume_->objects().erase(name("k" + std::to_string(i)), {}, ObjectDurability::kSync));
  put("k5", "another");
  faults_.heal();
  EXPECT_TRUE(settled());
  EXPECT_EQ(get("k5"), "another");
  EXPECT_EQ(get("k6"), "content");
}

TEST_F(LoggedBodiesTest, a_stop_leaves_no_row_and_a_crash_none_that_is_not_taken_over) {
  put("a", "content");
  volume_->stop(volume_.later());
  EXPECT_EQ(rows(), 0u);
  volume_.crash();
  volume_.start();
  keep_from_syncing();
  put("b", "content");
  volume_.crash();
  EXPECT_EQ(rows(), 1u);
  faults_.heal();
  volume_.start();
  EXPECT_EQ(get("b"), "content");
  EXPECT_TRUE(settled());
}

// Each object that was acknowledged is there, whole; one whose put did not return is whole or not there.
TEST_F(LoggedBodiesTest, power_lost_between_any_two_steps_takes_nothing_that_was_acknowledged) {
  constexpr std::string_view kSteps[] = {"objects.filled", "objects.synced", "objects.committed", "logged_bodies.synced"};
  bool finished = false;
  for (int stop_at = 0; !finished; ++stop_at) {
    faults_.track_unsynced();
    std::map<std::string, std::string> acknowledged;
    std::atomic<int> steps = 0;
    {
      std::vector<std::unique_ptr<ArmedFailpoint>> armed;
      for (const std::string_view step : kSteps) {
        armed.push_back(std::make_unique<ArmedFailpoint>(std::string(step), [&]() -> Result<void> {
          if (steps++ < stop_at) return {};
          keep_from_syncing();  // what would come after it does not
          return fail(ErrorCode::kCancelled, "the end");
        }));
      }
      finished = true;
      for (const auto& [key, content] : {std::pair("d/a", "first"), std::pair("d/a", "second"), std::pair("b", "other")}) {
        if (!try_put(*volume_, key, content)) {
          finished = false;
          break;
        }
        acknowledged[key] = content;
      }
      if (finished) {
        const auto file = volume_->open_file(volume_.find(volume_.root(), "b"), {.access = Access::kWrite});
        finished = file && (*file)->write(0, testing::bytes_of("OTHER")) && (*file)->sync();
        if (finished) acknowledged["b"] = "OTHER";
      }
      lose_power();
    }
    for (const auto& [key, content] : acknowledged) {
      const std::string now = get(key);
      EXPECT_TRUE(now == content || (!finished && (now == "second" || now == "OTHER"))) << key << ' ' << now << " at " << stop_at;
    }
    EXPECT_EQ(volume_.fsck({}), "") << "stopped at step " << stop_at;
    EXPECT_TRUE(settled());
    for (const char* key : {"d/a", "b"}) must(volume_->objects().erase(name(key), {}, ObjectDurability::kSync));
  }
}

// Sixteen at once, over a real log whose flushes take as long as those of a disk.
TEST(LoggedBodies, puts_share_flushes) {
  constexpr int kWriters = 16;
  constexpr int kPutsEach = 20;
  constexpr uint64_t kPuts = kWriters * kPutsEach;
  std::string dir = (std::filesystem::temp_directory_path() / "weir-bodies-XXXXXX").string();
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  {
    const testing::FaultIo count(dir + "/pages");
    testing::MemUfs bucket;
    VolumeOptions options;
    options.names.sync_interval = Duration(-1);
    options.open_store = [&](std::string_view, const auto&) -> Result<std::shared_ptr<ufs::UnderStore>> {
      return std::shared_ptr<ufs::UnderStore>(std::shared_ptr<void>(), &bucket);
    };
    const auto kv = must(kv::RocksKv::open({.dir = dir + "/kv"}));
    const auto pages = must(pages::open_page_store({.dirs = {dir + "/pages"}, .volume_id = "v", .capacity_bytes = 1 << 30}));
    const auto volume = must(Volume::open(*kv, *pages, system_clock(), options, "volume-1"));
    must(volume->add_mount("/s3", "mem:///", {}));
    const uint64_t before = kv->flushes() + count.count(io::Operation::kSync) + count.count(io::Operation::kSyncFileSystem);
    std::atomic<uint64_t> done = 0;
    {
      const ArmedFailpoint slow("kv.rocks.before_sync", []() -> Result<void> {
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
        return {};
      });
      std::vector<std::thread> writers;
      for (int w = 0; w < kWriters; ++w) {
        writers.emplace_back([&, w] {
          for (int i = 0; i < kPutsEach; ++i) {
            const std::string key = std::to_string(w) + "/" + std::to_string(i);
            const auto writer = volume->objects().put({"s3", key});
            if (!writer || !(*writer)->write(testing::bytes_of(key))) continue;
            if ((*writer)->commit({.etag = net::hex(net::md5(testing::bytes_of(key)))}, {}, ObjectDurability::kSync)) ++done;
          }
        });
      }
      for (std::thread& writer : writers) writer.join();
    }
    EXPECT_EQ(done, kPuts);
    const uint64_t flushes =
        kv->flushes() + count.count(io::Operation::kSync) + count.count(io::Operation::kSyncFileSystem) - before;
    EXPECT_LT(flushes, kPuts / 2);
    RecordProperty("flushes", static_cast<int>(flushes));
    volume->stop(Deadline::after(std::chrono::seconds(60)));
  }
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace weir::volume
