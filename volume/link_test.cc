// Files with several names, without one, and special files, through the volume; and a volume rebuilt from the bucket.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <thread>

#include "kv/mem_kv.h"
#include "testing/mem_ufs.h"
#include "testing/memory_volume.h"
#include "volume/volume.h"

namespace weir::volume {
namespace {

using std::chrono::seconds;
using testing::bytes_of;
using testing::must;

constexpr meta::Caller kCaller{.uid = 1000, .gid = 1000};

Deadline later() { return Deadline::after(seconds(60)); }

// A volume with metadata and local files of its own over a bucket in memory.
class TestVolume {
 public:
  explicit TestVolume(testing::MemUfs& bucket, std::string id) : id_(std::move(id)) {
    char path[] = "/tmp/weir-links-XXXXXX";
    dir_ = ::mkdtemp(path);
    options_.names.sync_interval = seconds(-1);
    options_.persist.threads = 4;
    options_.persist.retry_interval_min = std::chrono::milliseconds(10);
    options_.persist.late_effect_max = Duration::zero();  // the bucket in memory finishes what it began
    options_.open_store = [&bucket](std::string_view, const auto&) -> Result<std::shared_ptr<ufs::UnderStore>> {
      return std::shared_ptr<ufs::UnderStore>(std::shared_ptr<void>(), &bucket);
    };
    start();
    must(volume_->add_mount("/s3", "mem:///", {}));
    root_ = must(volume_->lookup(kRootInode, "s3")).attributes.inode;
  }
  ~TestVolume() {
    crash();
    std::filesystem::remove_all(dir_);
  }

  void start() {
    pages_ = must(pages::open_page_store({.dirs = {dir_}, .volume_id = id_, .capacity_bytes = 1 << 30}));
    volume_ = must(Volume::open(kv_, *pages_, system_clock(), options_, id_));
  }
  void crash() {
    volume_.reset();
    pages_.reset();
  }
  void restart() {
    crash();
    start();
  }
  void stop() { volume_->stop(later()); }
  Volume* operator->() { return volume_.get(); }
  InodeId root() const { return root_; }

  std::unique_ptr<OpenFile> create(std::string_view name, std::string_view content) {
    auto created = must(volume_->create(root_, name, 0644, kCaller, {.access = Access::kReadWrite}));
    must(created.file->write(0, bytes_of(content)));
    return std::move(created.file);
  }
  InodeId put(std::string_view name, std::string_view content) {
    const auto file = create(name, content);
    must(file->flush());
    file->close();
    return file->inode();
  }
  InodeId find(std::string_view name) { return must(volume_->lookup(root_, name)).attributes.inode; }
  meta::Attributes attributes(std::string_view name) { return must(volume_->lookup(root_, name)).attributes; }
  std::string content(std::string_view name) { return read(*must(volume_->open_file(find(name), {}))); }
  static std::string read(OpenFile& file) {
    std::string content(1 << 20, '\0');
    content.resize(must(file.read(0, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  void overwrite(std::string_view name, std::string_view content) {
    const auto file = must(volume_->open_file(find(name), {.access = Access::kWrite, .truncate = true}));
    must(file->write(0, bytes_of(content)));
    must(file->flush());
    file->close();
  }
  std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto& entry : must(volume_->read_directory(root_, "", 100, WithAttributes::kNo)).entries)
      names.push_back(entry.entry.name);
    return names;
  }
  void drain() { must(volume_->persister().drain(later())); }
  size_t local_files() {
    size_t files = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_ + "/files"))
      files += entry.is_regular_file();
    return files;
  }

 private:
  const std::string id_;
  std::string dir_;
  kv::MemKv kv_;
  VolumeOptions options_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<Volume> volume_;
  InodeId root_{};
};

class VolumeLinkTest : public ::testing::Test {
 protected:
  std::string object(std::string_view key) {
    const auto head = bucket_.head(key, later());
    if (!head) return "absent";
    std::string content(head->info.size_bytes, '\0');
    must(bucket_.get(key, 0, std::as_writable_bytes(std::span(content)), {}, later(), nullptr));
    return content;
  }
  // Waits for what is done behind the call.
  template <typename Condition>
  static bool eventually(Condition condition) {
    for (const Deadline deadline = later(); !deadline.expired();) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  testing::MemUfs bucket_;
  TestVolume volume_{bucket_, "volume-1"};
};

TEST_F(VolumeLinkTest, what_is_written_through_one_name_is_read_through_the_other) {
  const InodeId file = volume_.put("a", "one");
  const auto linked = must(volume_->link(file, volume_.root(), "b"));
  EXPECT_EQ(linked.attributes.inode, file);
  EXPECT_EQ(linked.attributes.links, 2u);
  volume_.overwrite("b", "two");
  EXPECT_EQ(volume_.content("a"), "two");
  volume_.drain();
  EXPECT_EQ(object("a"), "two");
  EXPECT_EQ(object("b"), "two");
}

TEST_F(VolumeLinkTest, an_open_file_lives_on_through_its_other_name) {
  auto file = volume_.create("a", "12");
  must(volume_->link(file->inode(), volume_.root(), "b"));
  must(volume_->unlink(volume_.root(), "a"));
  must(file->write(2, bytes_of("34")));
  must(file->flush());
  file->close();
  file.reset();
  EXPECT_EQ(volume_.content("b"), "1234");
  volume_.drain();
  EXPECT_EQ(object("b"), "1234");
  EXPECT_EQ(object("a"), "absent");
  volume_.restart();
  EXPECT_EQ(volume_.content("b"), "1234");
}

TEST_F(VolumeLinkTest, the_local_file_goes_with_the_last_name) {
  volume_.put("a", "x");
  must(volume_->link(volume_.find("a"), volume_.root(), "b"));
  must(volume_->unlink(volume_.root(), "a"));
  EXPECT_EQ(volume_.local_files(), 1u);
  const auto file = must(volume_->open_file(volume_.find("b"), {}));
  must(volume_->unlink(volume_.root(), "b"));
  EXPECT_EQ(volume_.read(*file), "x");
  file->close();
  EXPECT_TRUE(eventually([&] { return volume_.local_files() == 0; }));
}

TEST_F(VolumeLinkTest, a_name_made_under_WRITE_THROUGH_is_persisted_when_the_call_returns) {
  must(volume_->set_rules_document(
      R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"TRANSIENT"},"pathRules":[
          {"path":"/s3/wt/**","policyMode":"WRITE_THROUGH"}]})"));
  const InodeId directory = must(volume_->make_directory(volume_.root(), "wt", 0755, kCaller)).attributes.inode;
  const InodeId file = volume_.put("a", "x");
  must(volume_->link(file, directory, "b"));
  EXPECT_EQ(object("a"), "x");
  volume_.drain();
  EXPECT_EQ(object("wt/b"), "x");
}

TEST_F(VolumeLinkTest, the_status_of_a_path_speaks_of_the_object_under_it) {
  const InodeId file = volume_.put("a", "x");
  must(volume_->link(file, volume_.root(), "b"));
  volume_.drain();
  const auto status = must(volume_->status("/s3/b"));
  EXPECT_EQ(status.path, "/s3/b");
  EXPECT_EQ(status.home, "mem:///b");
  EXPECT_EQ(status.state, meta::FileState::kPersisted);
  EXPECT_EQ(status.attributes.links, 2u);
  EXPECT_EQ(status.attributes.inode, file);
  EXPECT_EQ(must(volume_->status("/s3/a")).home, "mem:///a");
}

// --- files without a name

TEST_F(VolumeLinkTest, a_file_without_a_name_is_gone_with_its_last_close) {
  auto made = must(volume_->create_unnamed(volume_.root(), 0600, kCaller, {.access = Access::kReadWrite}));
  must(made.file->write(0, bytes_of("x")));
  EXPECT_EQ(made.entry.attributes.links, 0u);
  EXPECT_EQ(must(volume_->get_attributes(made.file->inode())).attributes.size, 1u);
  must(made.file->sync());
  EXPECT_TRUE(volume_.names().empty());
  made.file->close();
  EXPECT_TRUE(eventually([&] { return volume_.local_files() == 0; }));
  volume_.drain();
  EXPECT_TRUE(must(bucket_.list({}, later())).objects.empty());
}

TEST_F(VolumeLinkTest, a_file_without_a_name_is_gone_after_a_crash) {
  auto made = must(volume_->create_unnamed(volume_.root(), 0600, kCaller, {.access = Access::kReadWrite}));
  must(made.file->write(0, bytes_of("x")));
  must(made.file->sync());
  made.file.reset();
  volume_.restart();
  EXPECT_TRUE(eventually([&] { return volume_.local_files() == 0; }));
  EXPECT_EQ(volume_->statistics().usage.inodes, 2u);
}

TEST_F(VolumeLinkTest, a_file_that_is_given_a_name_is_committed_and_persisted_under_it) {
  auto made = must(volume_->create_unnamed(volume_.root(), 0600, kCaller, {.access = Access::kReadWrite}));
  must(made.file->write(0, bytes_of("one")));
  const auto linked = must(volume_->link(made.file->inode(), volume_.root(), "a"));
  EXPECT_EQ(linked.attributes.links, 1u);
  EXPECT_TRUE(eventually([&] { return object("a") == "one"; }));
  must(made.file->write(3, bytes_of("two")));
  must(made.file->flush());
  made.file->close();
  volume_.drain();
  EXPECT_EQ(object("a"), "onetwo");
  EXPECT_EQ(volume_.content("a"), "onetwo");
}

TEST_F(VolumeLinkTest, a_file_that_was_given_a_name_survives_a_crash) {
  auto made = must(volume_->create_unnamed(volume_.root(), 0600, kCaller, {.access = Access::kReadWrite}));
  must(made.file->write(0, bytes_of("one")));
  must(volume_->link(made.file->inode(), volume_.root(), "a"));
  must(made.file->write(3, bytes_of("two")));
  made.file.reset();
  volume_.restart();
  EXPECT_EQ(volume_.content("a"), "onetwo");
}

TEST_F(VolumeLinkTest, a_named_file_that_loses_its_name_gets_none_again) {
  auto made = must(volume_->create_unnamed(volume_.root(), 0600, kCaller, {.access = Access::kReadWrite}));
  must(volume_->link(made.file->inode(), volume_.root(), "a"));
  must(volume_->unlink(volume_.root(), "a"));
  EXPECT_TRUE(failed_with(volume_->link(made.file->inode(), volume_.root(), "b"), ErrorCode::kNotFound));
  made.file->close();
  EXPECT_TRUE(eventually([&] { return volume_.local_files() == 0; }));
}

// --- a volume rebuilt from its bucket

TEST_F(VolumeLinkTest, a_rebuilt_volume_has_the_same_names_of_the_same_files) {
  const InodeId file = volume_.put("a", "text");
  must(volume_->link(file, volume_.root(), "b"));
  const InodeId directory = must(volume_->make_directory(volume_.root(), "d", 0755, kCaller)).attributes.inode;
  must(volume_->link(file, directory, "c"));
  volume_.put("alone", "text");
  must(volume_->make_symlink(volume_.root(), "s", "target", kCaller));
  must(volume_->link(volume_.find("s"), volume_.root(), "s2"));
  must(volume_->make_node(volume_.root(), "fifo", format::FIFO, 0640, 0, kCaller));
  must(volume_->make_node(volume_.root(), "dev", format::CHAR_DEVICE, 0600, 0x501, kCaller));
  volume_.drain();
  volume_.stop();

  TestVolume rebuilt(bucket_, "volume-2");
  EXPECT_EQ(rebuilt.names(), (std::vector<std::string>{"a", "alone", "b", "d", "dev", "fifo", "s", "s2"}));
  for (const auto name : {"a", "b"}) rebuilt.attributes(name);
  const InodeId below = rebuilt.find("d");
  const InodeId same = must(rebuilt->lookup(below, "c")).attributes.inode;
  for (const auto name : {"a", "b"}) {
    EXPECT_EQ(rebuilt.find(name), same);
    EXPECT_EQ(rebuilt.attributes(name).links, 3u);
    EXPECT_EQ(rebuilt.content(name), "text");
  }
  EXPECT_EQ(rebuilt.attributes("alone").links, 1u);
  EXPECT_EQ(must(rebuilt->read_symlink(rebuilt.find("s2"))), "target");
  EXPECT_EQ(rebuilt.find("s"), rebuilt.find("s2"));
  EXPECT_EQ(rebuilt.attributes("fifo").type, format::FIFO);
  EXPECT_EQ(rebuilt.attributes("fifo").permissions, 0640u);
  EXPECT_EQ(rebuilt.attributes("dev").type, format::CHAR_DEVICE);
  EXPECT_EQ(rebuilt.attributes("dev").rdev, 0x501u);

  rebuilt.overwrite("b", "new");
  EXPECT_EQ(rebuilt.content("a"), "new");
  must(rebuilt->unlink(rebuilt.root(), "a"));
  rebuilt.drain();
  EXPECT_EQ(object("b"), "new");
  EXPECT_EQ(object("d/c"), "new");
  EXPECT_EQ(object("a"), "absent");

  // And once more, from what that volume wrote.
  rebuilt.stop();
  TestVolume third(bucket_, "volume-3");
  const InodeId c = must(third->lookup(third.find("d"), "c")).attributes.inode;
  EXPECT_EQ(third.find("b"), c);
  EXPECT_EQ(third.attributes("b").links, 2u);
}

TEST_F(VolumeLinkTest, a_directory_of_a_rebuilt_volume_moves_with_its_names_though_nobody_looked_at_them) {
  const InodeId directory = must(volume_->make_directory(volume_.root(), "d", 0755, kCaller)).attributes.inode;
  const InodeId file = volume_.put("a", "text");
  must(volume_->link(file, directory, "b"));
  must(volume_->link(file, directory, "c"));
  volume_.drain();
  volume_.stop();
  TestVolume rebuilt(bucket_, "volume-2");
  rebuilt.find("d");
  must(rebuilt->rename(rebuilt.root(), "d", rebuilt.root(), "e", meta::RenameMode::kReplace));
  rebuilt.drain();
  EXPECT_EQ(object("e/b"), "text");
  EXPECT_EQ(object("e/c"), "text");
  EXPECT_EQ(object("d/b"), "absent");
  const InodeId moved = rebuilt.find("e");
  const InodeId same = must(rebuilt->lookup(moved, "b")).attributes.inode;
  EXPECT_EQ(must(rebuilt->lookup(moved, "c")).attributes.inode, same);
  EXPECT_EQ(rebuilt.find("a"), same);
  EXPECT_EQ(rebuilt.attributes("a").links, 3u);
}

TEST_F(VolumeLinkTest, in_a_rebuilt_volume_a_copy_made_by_others_is_its_own_file) {
  const InodeId file = volume_.put("a", "text");
  must(volume_->link(file, volume_.root(), "b"));
  volume_.drain();
  volume_.stop();
  must(bucket_.copy("a", "copy", {}, later()));
  TestVolume rebuilt(bucket_, "volume-2");
  for (const auto name : {"copy", "a", "b"}) rebuilt.attributes(name);
  EXPECT_EQ(rebuilt.attributes("a").links, 2u);
  EXPECT_EQ(rebuilt.attributes("copy").links, 1u);
  EXPECT_EQ(rebuilt.content("copy"), "text");
}

}  // namespace
}  // namespace weir::volume
