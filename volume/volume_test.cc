#include "volume/volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "base/no_wait.h"
#include "base/random.h"
#include "kv/mem_kv.h"
#include "meta/object_attributes.h"
#include "testing/fault_ufs.h"
#include "testing/mem_ufs.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using std::chrono::seconds;
using testing::FaultUfs;
using testing::MemUfs;
using testing::UfsCall;
using testing::UfsFault;
using testing::bytes_of;
using testing::must;
using testing::pattern;
using ::testing::Contains;
using ::testing::Pair;

constexpr uint64_t kPage = 1 << 20;
constexpr meta::Caller kCaller{.uid = 1000, .gid = 1000};

struct Listener : CacheListener {
  void content_changed(InodeId inode) override {
    std::lock_guard lock(mutex);
    contents.push_back(inode);
  }
  void entry_changed(InodeId directory, std::string_view name) override {
    std::lock_guard lock(mutex);
    entries.emplace_back(directory, name);
  }
  std::mutex mutex;
  std::vector<InodeId> contents;
  std::vector<std::pair<InodeId, std::string>> entries;
};

class VolumeTest : public ::testing::Test {
 protected:
  VolumeTest() {
    char path[] = "/tmp/weir-volume-XXXXXX";
    dir_ = ::mkdtemp(path);
    page_options_ = {.dirs = {dir_ + "/pages"}, .volume_id = "v", .capacity_bytes = 1 << 30};
    options_.names.sync_interval = seconds(-1);
    options_.persist.threads = 4;
    options_.persist.retry_interval_min = std::chrono::milliseconds(10);
    options_.persist.late_effect_max = Duration::zero();  // the bucket in memory finishes what it began
    options_.ufs_timeout = seconds(10);
    options_.open_store = [this](std::string_view, const auto&) -> Result<std::shared_ptr<ufs::UnderStore>> {
      return std::shared_ptr<ufs::UnderStore>(std::shared_ptr<void>(), &ufs_);
    };
  }
  ~VolumeTest() override {
    crash();
    std::filesystem::remove_all(dir_);
  }

  void start() {
    pages_ = must(pages::open_page_store(page_options_));
    volume_ = must(Volume::open(kv_, *pages_, system_clock(), options_, "volume-1"));
  }
  void mount() {
    start();
    must(volume_->add_mount("/s3", "mem:///", {}));
    s3_ = must(volume_->lookup(kRootInode, "s3")).attributes.inode;
  }
  // What the processes of the machine see after the daemon died: nothing in memory is left.
  void crash() {
    volume_.reset();
    pages_.reset();
  }
  void restart() {
    crash();
    start();
  }

  // The ends of the handles' writing are not recorded: that happens behind close(), and is cut off here.
  void crash_with_open_files(std::unique_ptr<OpenFile>& first, std::unique_ptr<OpenFile>& second) {
    first.reset();
    second.reset();
    restart();
  }

  void rules(const std::string& paths) {
    must(volume_->set_rules_document(R"({"apiVersion":"v1.0","defaultRule":{"policyMode":"WRITE_BACK"},"pathRules":[)" +
                                     paths + "]}"));
  }

  std::unique_ptr<OpenFile> create(std::string_view name, std::string_view content = {}) {
    auto created = must(volume_->create(s3_, name, 0644, kCaller, {.access = Access::kReadWrite}));
    if (!content.empty()) must(created.file->write(0, bytes_of(content)));
    return std::move(created.file);
  }
  void put(std::string_view name, std::string_view content) {
    const auto file = create(name, content);
    must(file->flush());
    file->close();
  }
  void put_object(std::string_view key, std::string_view content) { must(bucket_.put(key, bytes_of(content), {}, later())); }
  std::string object(std::string_view key) {
    const auto head = must(bucket_.head(key, later()));
    std::string content(head.info.size_bytes, '\0');
    must(bucket_.get(key, 0, std::as_writable_bytes(std::span(content)), {}, later(), nullptr));
    return content;
  }
  bool has_object(std::string_view key) { return bucket_.head(key, later()).has_value(); }

  InodeId find(std::string_view name) { return must(volume_->lookup(s3_, name)).attributes.inode; }
  meta::Attributes attributes(std::string_view name) {
    return must(volume_->get_attributes(find(name))).attributes;
  }
  std::unique_ptr<OpenFile> open(std::string_view name, Access access = Access::kRead, bool truncate = false) {
    return must(volume_->open_file(find(name), {.access = access, .truncate = truncate}));
  }
  static std::string read(OpenFile& file, uint64_t offset, size_t size) {
    std::string content(size, '\0');
    content.resize(must(file.read(offset, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  std::string content(std::string_view name) { return read(*open(name), 0, 64 << 20); }

  static Deadline later() { return Deadline::after(seconds(60)); }
  void drain() { must(volume_->persister().drain(later())); }
  std::string state(std::string_view name) { return must(volume_->get_xattr(find(name), "user.weir.state")); }
  // Drops the local copy of a clean file that nobody has open.
  void evict(std::string_view name) {
    const std::string path = "/s3/" + std::string(name);
    for (int i = 0; i < 500; ++i) {
      for (uint64_t id = 1; id < 50'000; ++id) pages_->evict(LocalFileId(id));
      if (must(volume_->status(path)).cached_bytes == 0) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL() << name << " is not evicted";
  }

  std::string dir_;
  kv::MemKv kv_;
  MemUfs bucket_;
  FaultUfs ufs_{bucket_, 1};
  pages::PageStoreOptions page_options_;
  VolumeOptions options_;
  std::unique_ptr<pages::PageStore> pages_;
  std::unique_ptr<Volume> volume_;
  InodeId s3_{};
};

TEST_F(VolumeTest, what_is_written_is_read_back_and_persisted) {
  mount();
  const std::string text = pattern(3 * kPage + 5);
  put("a", text);
  EXPECT_EQ(content("a"), text);
  EXPECT_EQ(attributes("a").size, text.size());
  drain();
  EXPECT_EQ(state("a"), "PERSISTED");
  EXPECT_EQ(object("a"), text);
  const auto status = must(volume_->status("/s3/a"));
  EXPECT_EQ(status.home, "mem:///a");
  EXPECT_EQ(status.cached_bytes, text.size());
}

TEST_F(VolumeTest, a_file_that_was_made_and_closed_empty_is_persisted) {
  mount();
  create("empty")->close();
  for (int i = 0; i < 500 && !has_object("empty"); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(object("empty"), "");
}

TEST_F(VolumeTest, size_of_a_file_open_for_write_is_that_of_its_local_file) {
  mount();
  const auto file = create("a", "12345");
  EXPECT_EQ(attributes("a").size, 5u);
  must(file->local_file().write_at(5, "67"));  // as the kernel does, past the volume
  EXPECT_EQ(attributes("a").size, 7u);
  EXPECT_EQ(state("a"), "NOT_PERSISTED");
}

TEST_F(VolumeTest, handles_of_one_inode_share_one_local_file) {
  mount();
  const auto writer = create("a", "1");
  const auto reader = open("a");
  ASSERT_EQ(reader->io_path(), IoPath::kLocalFile);
  EXPECT_EQ(reader->local_file_key(), writer->local_file_key());
  EXPECT_EQ(reader->local_file().fd(), writer->local_file().fd());
}

TEST_F(VolumeTest, objects_of_the_bucket_are_listed_and_read_page_by_page) {
  const std::string text = pattern(20 * kPage + 77);
  put_object("dir/big", text);
  options_.read_ahead_pages = 0;
  mount();
  const auto listing = must(volume_->read_directory(s3_, "", 100, WithAttributes::kYes));
  ASSERT_EQ(listing.entries.size(), 1u);
  EXPECT_EQ(listing.entries[0].entry.name, "dir");
  s3_ = find("dir");
  const auto file = open("big");
  EXPECT_EQ(file->io_path(), IoPath::kPaged);
  EXPECT_EQ(read(*file, 7 * kPage + 3, 10), text.substr(7 * kPage + 3, 10));
  EXPECT_EQ(ufs_.bytes_got(), kPage);
  EXPECT_EQ(read(*file, 20 * kPage + 70, 100), text.substr(20 * kPage + 70));
  EXPECT_EQ(ufs_.bytes_got(), kPage + 77);
  EXPECT_EQ(read(*file, 0, text.size()), text);
  EXPECT_EQ(ufs_.bytes_got(), text.size());
  // Whole now: once no paged handle is left, the kernel may have it.
  EXPECT_EQ(open("big")->io_path(), IoPath::kPaged);
  file->close();
  EXPECT_EQ(open("big")->io_path(), IoPath::kLocalFile);
}

TEST_F(VolumeTest, a_sequential_reader_is_read_ahead_of_and_each_page_is_fetched_once) {
  const std::string text = pattern(24 * kPage);
  put_object("big", text);
  mount();
  std::vector<std::thread> readers;
  const InodeId inode = find("big");
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      const auto file = must(volume_->open_file(inode, {}));
      std::string got;
      for (uint64_t offset = 0; offset < text.size(); offset += 128 << 10) got += read(*file, offset, 128 << 10);
      EXPECT_EQ(got, text);
    });
  }
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(ufs_.bytes_got(), text.size());
  EXPECT_EQ(volume_->statistics().cache_miss_bytes, text.size());
}

TEST_F(VolumeTest, the_first_read_of_an_absent_file_fetches_its_page_alone) {
  const std::string text = pattern(24 * kPage);
  put_object("big", text);
  mount();
  const auto file = open("big");
  EXPECT_EQ(read(*file, 5 * kPage + 7, 100), text.substr(5 * kPage + 7, 100));
  EXPECT_EQ(ufs_.bytes_got(), kPage);
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 1u);
}

TEST_F(VolumeTest, pages_beside_each_other_come_with_one_request) {
  const std::string text = pattern(20 * kPage + 5);
  put_object("big", text);
  options_.read_ahead_pages = 0;
  mount();
  const auto file = open("big");
  EXPECT_EQ(read(*file, 10 * kPage, 1), text.substr(10 * kPage, 1));
  EXPECT_EQ(read(*file, 0, text.size()), text);
  EXPECT_EQ(ufs_.bytes_got(), text.size());
  // Around the page that is there: 8 and 2 before it, 8, and a whole and a short one behind it.
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 1u + 2u + 2u);
}

TEST_F(VolumeTest, the_access_time_outlives_a_stop_and_changes_nothing_else) {
  options_.access_times = AccessTimePolicy::kRelative;
  mount();
  put("a", "text");
  drain();
  const auto before = attributes("a");
  const auto put_before = ufs_.bytes_put();
  must(volume_->open_file(find("a"), {.counts_as_reading = true}))->close();
  const auto read = attributes("a");
  EXPECT_GT(read.atime_ns, before.ctime_ns);
  EXPECT_EQ(read.ctime_ns, before.ctime_ns);
  must(volume_->read_directory(s3_, "", 10, WithAttributes::kYes));
  const int64_t directory_atime_ns = must(volume_->get_attributes(s3_)).attributes.atime_ns;
  volume_->stop(later());
  restart();
  EXPECT_EQ(attributes("a").atime_ns, read.atime_ns);
  EXPECT_EQ(attributes("a").ctime_ns, before.ctime_ns);
  EXPECT_EQ(must(volume_->get_attributes(s3_)).attributes.atime_ns, directory_atime_ns);
  // Nor is it anything that has to be persisted.
  drain();
  EXPECT_EQ(state("a"), "PERSISTED");
  EXPECT_EQ(ufs_.bytes_put(), put_before);
  EXPECT_EQ(ufs_.calls(UfsCall::kCopy), 0u);
}

TEST_F(VolumeTest, an_access_time_that_is_set_stands) {
  options_.access_times = AccessTimePolicy::kRelative;
  mount();
  put("a", "text");
  must(volume_->open_file(find("a"), {.counts_as_reading = true}))->close();
  EXPECT_NE(attributes("a").atime_ns, 5);
  must(volume_->set_attributes(find("a"), {.atime_ns = 5}, std::nullopt));
  EXPECT_EQ(attributes("a").atime_ns, 5);
  volume_->stop(later());
  restart();
  EXPECT_EQ(attributes("a").atime_ns, 5);
}

TEST_F(VolumeTest, without_access_times_reading_moves_none) {
  mount();
  put("a", "text");
  const int64_t before_ns = attributes("a").atime_ns;
  must(volume_->open_file(find("a"), {.counts_as_reading = true}))->close();
  must(volume_->read_directory(s3_, "", 10, WithAttributes::kYes));
  EXPECT_EQ(attributes("a").atime_ns, before_ns);
}

// Tells of a request's first page and keeps back the rest of it until it is let go.
class HeldBackUfs final : public FaultUfs {
 public:
  using FaultUfs::FaultUfs;

  Result<size_t> get_streaming(std::string_view key, uint64_t offset, std::span<std::byte> buffer,
                               const std::optional<ufs::Etag>& if_match, Deadline deadline,
                               const Arrived& arrived) override {
    const auto got = get(key, offset, buffer, if_match, deadline, nullptr);
    if (!got.has_value() || *got <= kPage) return got;
    arrived(kPage);
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, seconds(60), [this] { return let_go_; });
    return got;
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool let_go_ = false;
};

TEST_F(VolumeTest, a_page_can_be_read_before_the_request_that_brings_it_is_over) {
  const std::string text = pattern(4 * kPage);
  put_object("big", text);
  HeldBackUfs held_back(bucket_, 1);
  options_.open_store = [&](std::string_view, const auto&) -> Result<std::shared_ptr<ufs::UnderStore>> {
    return std::shared_ptr<ufs::UnderStore>(std::shared_ptr<void>(), &held_back);
  };
  options_.ufs_timeout = seconds(120);
  options_.read_ahead_pages = 0;
  mount();
  auto file = open("big");
  std::atomic<bool> over = false;
  std::thread whole([&] {
    EXPECT_EQ(read(*file, 0, text.size()), text);
    over = true;
  });
  while (held_back.calls(UfsCall::kGet) == 0) std::this_thread::yield();
  EXPECT_EQ(read(*file, 5, 100), text.substr(5, 100));
  EXPECT_FALSE(over);
  EXPECT_EQ(held_back.calls(UfsCall::kGet), 1u);
  held_back.let_go();
  whole.join();
  file.reset();
  crash();
}

TEST_F(VolumeTest, what_came_before_a_request_broke_off_is_not_fetched_again) {
  const std::string text = pattern(6 * kPage + 100);
  put_object("big", text);
  options_.read_ahead_pages = 0;
  mount();
  ufs_.add({.kind = UfsFault::Kind::kBrokenRead, .error = ErrorCode::kUnavailable, .call = UfsCall::kGet, .times = 1});
  const auto file = open("big");
  std::string buffer(text.size(), '\0');
  const auto broken = file->read(0, std::as_writable_bytes(std::span(buffer)));
  ASSERT_FALSE(broken.has_value());
  EXPECT_EQ(broken.error().code(), ErrorCode::kUnavailable);
  EXPECT_EQ(volume_->statistics().cache_miss_bytes, 3 * kPage);
  ufs_.reset_counters();
  EXPECT_EQ(read(*file, 0, text.size()), text);
  EXPECT_EQ(ufs_.bytes_got(), 3 * kPage + 100);
}

TEST_F(VolumeTest, what_is_ahead_of_a_reader_who_went_elsewhere_is_not_fetched) {
  const std::string text = pattern(40 * kPage);
  put_object("big", text);
  put_object("other", text.substr(0, 3 * kPage));
  options_.read_ahead_requests = 1;
  options_.read_ahead_pages = 32;
  mount();
  const auto file = open("big");
  EXPECT_EQ(read(*file, 0, 2 * kPage), text.substr(0, 2 * kPage));
  ufs_.add({.kind = UfsFault::Kind::kBlackHole, .call = UfsCall::kGet, .times = 1});
  // Four runs ahead, of which the first is under way.
  EXPECT_EQ(read(*file, 2 * kPage - 100, 100), text.substr(2 * kPage - 100, 100));
  while (ufs_.faults() == 0) std::this_thread::yield();
  EXPECT_EQ(read(*file, 39 * kPage, 10), text.substr(39 * kPage, 10));
  ufs_.clear();
  // What is ahead of another one comes behind them.
  const auto other = open("other");
  EXPECT_EQ(read(*other, 0, 100), text.substr(0, 100));
  EXPECT_EQ(read(*other, 100, 100), text.substr(100, 100));
  const Deadline deadline = later();
  while (must(volume_->status("/s3/other")).cached_bytes != 3 * kPage && !deadline.expired()) std::this_thread::yield();
  EXPECT_EQ(must(volume_->status("/s3/other")).cached_bytes, 3 * kPage);
  EXPECT_EQ(ufs_.bytes_got(), 2 * kPage + kPage + 3 * kPage);
}

TEST_F(VolumeTest, truncating_an_absent_file_fetches_nothing) {
  put_object("a", pattern(2 * kPage));
  mount();
  {
    const auto file = open("a", Access::kWrite, true);
    must(file->write(0, bytes_of("new")));
    must(file->flush());
  }
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 0u);
  EXPECT_EQ(content("a"), "new");
  drain();
  EXPECT_EQ(object("a"), "new");
}

TEST_F(VolumeTest, a_reader_sees_a_truncating_open_of_its_partial_file) {
  put_object("a", pattern(2 * kPage));
  mount();
  const auto reader = open("a");
  EXPECT_EQ(read(*reader, 0, 4).size(), 4u);
  const auto writer = open("a", Access::kWrite, true);
  must(writer->write(0, bytes_of("new")));
  EXPECT_EQ(read(*reader, 0, 100), "new");
}

TEST_F(VolumeTest, opening_for_write_and_setting_times_fetches_nothing_and_uploads_nothing) {
  put_object("a", pattern(2 * kPage));
  mount();
  {
    const auto file = open("a", Access::kWrite);
    must(volume_->set_attributes(find("a"), {.mtime_ns = 1'000'000'007}, {}));
    must(file->flush());
  }
  drain();
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 0u);
  EXPECT_EQ(ufs_.bytes_put(), 0u);
  EXPECT_EQ(attributes("a").mtime_ns, 1'000'000'007);
}

TEST_F(VolumeTest, a_write_into_an_absent_file_fetches_the_pages_that_it_changes_in_part) {
  std::string text = pattern(5 * kPage + 9);
  put_object("a", text);
  options_.read_ahead_pages = 0;
  mount();
  ufs_.reset_counters();
  {
    const auto file = open("a", Access::kReadWrite);
    must(file->write(3 * kPage - 1, bytes_of("XYZ")));
    EXPECT_EQ(ufs_.bytes_got(), 2 * kPage);
    must(file->flush());
  }
  text.replace(3 * kPage - 1, 3, "XYZ");
  EXPECT_EQ(content("a"), text);
  drain();
  EXPECT_EQ(object("a"), text);
  EXPECT_EQ(ufs_.bytes_got(), text.size());
}

TEST_F(VolumeTest, what_is_overwritten_is_never_fetched) {
  std::string text = pattern(6 * kPage);
  put_object("a", text);
  options_.read_ahead_pages = 0;
  mount();
  ufs_.reset_counters();
  const std::string chunk(128 << 10, 'w');
  const auto file = open("a", Access::kReadWrite);
  for (uint64_t offset = kPage; offset < 3 * kPage; offset += chunk.size()) must(file->write(offset, bytes_of(chunk)));
  must(file->write(4 * kPage + 8'192, bytes_of(std::string_view(chunk).substr(0, 4'096))));
  must(file->append(bytes_of("end")));
  EXPECT_EQ(read(*file, 2 * kPage - 10, 20), std::string(20, 'w'));
  EXPECT_EQ(read(*file, 4 * kPage + 8'192, 4'096), std::string(4'096, 'w'));
  EXPECT_EQ(ufs_.bytes_got(), 0u);
  must(file->sync());
  text.replace(kPage, 2 * kPage, 2 * kPage, 'w').replace(4 * kPage + 8'192, 4'096, 4'096, 'w') += "end";
  EXPECT_EQ(attributes("a").size, text.size());
  file->close();
  drain();
  EXPECT_EQ(ufs_.bytes_got(), 4 * kPage);
  EXPECT_EQ(object("a"), text);
  EXPECT_EQ(content("a"), text);
}

TEST_F(VolumeTest, cutting_an_absent_file_fetches_nothing) {
  const std::string text = pattern(4 * kPage);
  put_object("a", text);
  options_.read_ahead_pages = 0;
  mount();
  ufs_.reset_counters();
  EXPECT_EQ(must(volume_->set_attributes(find("a"), {}, 2 * kPage + 10)).attributes.size, 2 * kPage + 10);
  must(volume_->set_attributes(find("a"), {}, 3 * kPage));
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 0u);
  const std::string expected = text.substr(0, 2 * kPage + 10) + std::string(kPage - 10, '\0');
  drain();
  EXPECT_EQ(object("a"), expected);
  EXPECT_EQ(content("a"), expected);
}

TEST_F(VolumeTest, a_crash_of_who_wrote_into_an_absent_file_loses_nothing) {
  std::string text = pattern(4 * kPage);
  put_object("a", text);
  put_object("b", text);
  options_.read_ahead_pages = 0;
  mount();
  for (const bool flushed : {true, false}) {
    const std::string name = flushed ? "a" : "b";
    auto file = open(name, Access::kReadWrite);
    must(file->write(kPage, bytes_of(std::string(8'192, 'w'))));
    must(file->truncate(3 * kPage + 5));
    if (flushed) must(file->flush());
    ufs_.add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kUnavailable});
    auto none = std::unique_ptr<OpenFile>();
    crash_with_open_files(file, none);
    ufs_.clear();
  }
  text.resize(3 * kPage + 5);
  text.replace(kPage, 8'192, 8'192, 'w');
  for (const std::string name : {"a", "b"}) {
    EXPECT_EQ(attributes(name).size, text.size());
    EXPECT_EQ(content(name), text) << name;
  }
  drain();
  EXPECT_EQ(object("a"), text);
  EXPECT_EQ(object("b"), text);
}

TEST_F(VolumeTest, a_file_is_persisted_while_it_is_open_and_not_all_of_it_was_here) {
  std::string text = pattern(4 * kPage);
  put_object("a", text);
  mount();
  const auto file = open("a", Access::kReadWrite);
  must(file->write(kPage, bytes_of(std::string(4'096, 'w'))));
  must(file->sync());
  const auto before = attributes("a");
  drain();
  text.replace(kPage, 4'096, 4'096, 'w');
  EXPECT_EQ(object("a"), text);
  EXPECT_EQ(attributes("a").mtime_ns, before.mtime_ns);
  EXPECT_EQ(attributes("a").ctime_ns, before.ctime_ns);
  must(file->write(0, bytes_of("more")));
  must(file->flush());
  drain();
  EXPECT_EQ(object("a"), text.replace(0, 4, "more"));
}

TEST_F(VolumeTest, the_object_below_a_changed_file_stays_while_it_is_needed) {
  std::string text = pattern(4 * kPage);
  put_object("a", text);
  options_.read_ahead_pages = 0;
  mount();
  const auto file = open("a", Access::kReadWrite);
  must(file->write(kPage, bytes_of(std::string(4'096, 'w'))));
  must(file->flush());
  text.replace(kPage, 4'096, 4'096, 'w');
  must(volume_->rename(s3_, "a", s3_, "b", meta::RenameMode::kReplace));
  put("a", "another");
  drain();
  EXPECT_EQ(object("a"), "another");
  EXPECT_EQ(object("b"), text);
  EXPECT_EQ(read(*file, 0, text.size()), text);

  must(file->write(2 * kPage, bytes_of("still")));
  text.replace(2 * kPage, 5, "still");
  must(volume_->unlink(s3_, "b"));
  EXPECT_EQ(read(*file, 0, text.size()), text);
}

// Semantics 2.5, 2.12, below the mount.
TEST_F(VolumeTest, a_changed_file_whose_object_was_replaced_by_others_is_never_mixed_with_theirs) {
  const std::string text = pattern(4 * kPage);
  put_object("a", text);
  options_.read_ahead_pages = 0;
  mount();
  const auto file = open("a", Access::kReadWrite);
  must(file->write(kPage, bytes_of(std::string(4'096, 'w'))));
  const std::string theirs = pattern(4 * kPage, 'b');
  put_object("a", theirs);
  std::string byte(1, '\0');
  EXPECT_EQ(file->read(3 * kPage, std::as_writable_bytes(std::span(byte))).error(), ErrorCode::kCorrupt);
  must(file->flush());
  file->close();
  EXPECT_EQ(state("a"), "QUARANTINED");
  EXPECT_EQ(object("a"), theirs);
}

// Every change of a file that lies in the bucket, in part or as a whole, against a string; with crashes and evictions between.
TEST_F(VolumeTest, random_changes_of_a_file_that_is_fetched_in_part_are_those_of_a_model) {
  const char* const given = std::getenv("WEIR_SEED");
  const uint64_t seed = given != nullptr ? std::stoull(given) : Random::from_entropy().next();
  SCOPED_TRACE("WEIR_SEED=" + std::to_string(seed));
  Random random(seed);
  const auto below = [&](uint64_t end) { return random.below(end); };
  std::string model = pattern(3 * kPage + 1'234);
  put_object("a", model);
  options_.read_ahead_pages = 1;
  mount();
  auto file = open("a", Access::kReadWrite);
  auto none = std::unique_ptr<OpenFile>();
  const auto expect_same = [&](uint64_t offset, uint64_t size) {
    ASSERT_TRUE(read(*file, offset, size) == (offset < model.size() ? model.substr(offset, size) : "")) << offset << " " << size;
  };
  for (int step = 0; step < 150; ++step) {
    const bool aligned = below(2) == 0;
    uint64_t offset = below(model.size() + 10'000);
    uint64_t size = 1 + below(below(4) == 0 ? 2 * kPage : 20'000);
    if (aligned) {
      offset = offset / 4'096 * 4'096;
      size = (size + 4'095) / 4'096 * 4'096;
    }
    const uint64_t end = offset + size;
    switch (below(12)) {
      case 0:
      case 1:
      case 2:
      case 3: {
        const std::string bytes = pattern(size, static_cast<char>('a' + step % 3));
        must(file->write(offset, bytes_of(bytes)));
        if (model.size() < end) model.resize(end);
        model.replace(offset, size, bytes);
        break;
      }
      case 4:
        must(file->append(bytes_of("end")));
        model += "end";
        break;
      case 5:
        must(file->truncate(offset));
        model.resize(offset);
        break;
      case 6: {
        must(file->allocate(Allocate::kPunchHole, offset, size));
        const uint64_t cut = std::min<uint64_t>(end, model.size());
        if (offset < cut) model.replace(offset, cut - offset, cut - offset, '\0');
        break;
      }
      case 7: {
        const bool grow = below(2) == 0;
        must(file->allocate(grow ? Allocate::kZero : Allocate::kZeroKeepSize, offset, size));
        if (grow && model.size() < end) model.resize(end);
        const uint64_t cut = std::min<uint64_t>(end, model.size());
        if (offset < cut) model.replace(offset, cut - offset, cut - offset, '\0');
        break;
      }
      case 8:
        if (below(4) != 0) break;
        must(file->flush());
        drain();
        EXPECT_TRUE(object("a") == model);
        break;
      case 9:
        if (below(4) != 0) break;
        crash_with_open_files(file, none);
        file = open("a", Access::kReadWrite);
        break;
      case 10:
        if (below(4) != 0) break;
        must(file->flush());
        file.reset();
        drain();
        EXPECT_TRUE(object("a") == model);
        evict("a");
        file = open("a", Access::kReadWrite);
        break;
      default: expect_same(offset, size);
    }
    if (HasFatalFailure()) return;
    ASSERT_EQ(attributes("a").size, model.size()) << step;
  }
  expect_same(0, model.size() + 1);
  must(file->flush());
  file->close();
  drain();
  EXPECT_TRUE(object("a") == model);
}

TEST_F(VolumeTest, appends_go_to_the_end_and_writes_to_their_place) {
  put_object("a", "one");
  mount();
  {
    const auto file = open("a", Access::kWrite);
    must(file->append(bytes_of("two")));
    must(file->append(bytes_of("three")));
    must(file->write(0, bytes_of("ONE")));
    must(file->flush());
  }
  EXPECT_EQ(content("a"), "ONEtwothree");
}

TEST_F(VolumeTest, ranges_of_local_and_absent_files_are_reserved_zeroed_and_punched) {
  const std::string text = pattern(3 * kPage);
  put_object("absent", text);
  mount();
  put("local", text);
  for (const std::string name : {"local", "absent"}) {
    SCOPED_TRACE(name);
    std::string expected = text;
    const auto file = open(name, Access::kReadWrite);
    must(file->allocate(Allocate::kReserveKeepSize, 3 * kPage, kPage));
    EXPECT_EQ(attributes(name).size, 3 * kPage);
    must(file->allocate(Allocate::kReserve, 3 * kPage, kPage));
    expected.resize(4 * kPage);
    must(file->allocate(Allocate::kZero, 4 * kPage - 10, 20));
    expected.resize(4 * kPage + 10);
    must(file->allocate(Allocate::kZeroKeepSize, 5, 3));
    expected.replace(5, 3, 3, '\0');
    must(file->allocate(Allocate::kZeroKeepSize, 4 * kPage, kPage));
    must(file->allocate(Allocate::kPunchHole, kPage, kPage));
    expected.replace(kPage, kPage, kPage, '\0');
    must(file->allocate(Allocate::kPunchHole, 9 * kPage, kPage));
    must(file->flush());
    file->close();
    EXPECT_EQ(attributes(name).size, expected.size());
    EXPECT_TRUE(content(name) == expected);
    drain();
    EXPECT_TRUE(object(name) == expected);
  }
  const auto file = open("local", Access::kReadWrite);
  EXPECT_EQ(file->allocate(Allocate::kReserve, uint64_t{1} << 62, uint64_t{1} << 62).error(), ErrorCode::kTooLarge);
  EXPECT_EQ(open("local")->allocate(Allocate::kPunchHole, 0, 1).error(), ErrorCode::kPermission);
}

TEST_F(VolumeTest, reserving_beyond_the_pinned_limit_is_refused) {
  page_options_.capacity_bytes = 40 << 20;
  page_options_.pinned_ratio = 0.5;
  options_.admit_slow_max = {};
  mount();
  const auto file = create("a");
  EXPECT_EQ(file->allocate(Allocate::kReserve, 0, 30 << 20).error(), ErrorCode::kNoSpace);
  EXPECT_EQ(file->allocate(Allocate::kZeroKeepSize, 0, 30 << 20).error(), ErrorCode::kNoSpace);
  EXPECT_EQ(attributes("a").size, 0u);
  must(file->allocate(Allocate::kReserve, 0, 10 << 20));
  must(file->allocate(Allocate::kReserve, 0, 10 << 20));  // takes no more
  must(file->allocate(Allocate::kPunchHole, 0, 10 << 20));
}

TEST_F(VolumeTest, bytes_that_are_only_in_the_bucket_are_data_to_seek) {
  put_object("a", pattern(3 * kPage));
  options_.read_ahead_pages = 0;
  mount();
  const auto file = open("a");
  EXPECT_EQ(must(file->seek(Seek::kData, 5)), 5u);
  EXPECT_EQ(must(file->seek(Seek::kHole, 5)), 3 * kPage);
  read(*file, kPage, 1);
  EXPECT_EQ(must(file->seek(Seek::kData, 0)), 0u);
  EXPECT_EQ(must(file->seek(Seek::kData, kPage + 1)), kPage + 1);
  EXPECT_EQ(must(file->seek(Seek::kHole, kPage)), 3 * kPage);
  EXPECT_FALSE(must(file->seek(Seek::kData, 3 * kPage)));
  EXPECT_FALSE(must(file->seek(Seek::kHole, 3 * kPage)));
  EXPECT_EQ(ufs_.bytes_got(), kPage);
}

TEST_F(VolumeTest, a_truncating_open_for_reading_empties_the_file) {
  put_object("a", "text");
  mount();
  const auto file = open("a", Access::kRead, true);
  EXPECT_EQ(read(*file, 0, 10), "");
  EXPECT_EQ(attributes("a").size, 0u);
  file->close();
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 0u);
  drain();
  EXPECT_EQ(object("a"), "");
}

TEST_F(VolumeTest, a_crash_right_behind_a_truncating_open_leaves_an_empty_file) {
  put_object("a", pattern(kPage));
  mount();
  auto file = open("a", Access::kWrite, true);
  auto none = std::unique_ptr<OpenFile>();
  crash_with_open_files(file, none);
  EXPECT_EQ(attributes("a").size, 0u);
  EXPECT_EQ(content("a"), "");
  drain();
  EXPECT_EQ(object("a"), "");
}

TEST_F(VolumeTest, opening_a_file_fetched_just_now_for_write_leaves_its_times) {
  put_object("a", pattern(2 * kPage));
  put_object("b", pattern(2 * kPage));
  mount();
  for (const std::string name : {"a", "b"}) {
    must(volume_->set_attributes(find(name), {.mtime_ns = 1'000'000'007}, {}));
    const auto before = attributes(name);
    content(name);
    auto file = open(name, Access::kReadWrite);
    ASSERT_EQ(file->io_path(), IoPath::kLocalFile);
    if (name == "a") {
      must(file->flush());
      file->close();
    } else {
      auto none = std::unique_ptr<OpenFile>();
      crash_with_open_files(file, none);
    }
    const auto after = attributes(name);
    EXPECT_EQ(after.mtime_ns, before.mtime_ns) << name;
    EXPECT_EQ(after.ctime_ns, before.ctime_ns) << name;
  }
}

TEST_F(VolumeTest, attributes_are_never_older_than_a_write_that_returned) {
  mount();
  put("a", "");
  const InodeId inode = find("a");
  std::atomic<uint64_t> written = 0;
  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&, t] {
      while (!stop) {
        const uint64_t before = written;
        const auto entry = t == 0 ? volume_->get_attributes(inode) : volume_->lookup(s3_, "a");
        EXPECT_GE(must(entry).attributes.size, before);
      }
    });
  }
  for (uint64_t i = 0; i < 1'000; ++i) {
    const auto file = must(volume_->open_file(inode, {.access = Access::kWrite}));
    must(file->write(i, bytes_of("x")));
    written = i + 1;
    must(file->flush());
    file->close();
  }
  stop = true;
  for (auto& reader : readers) reader.join();
}

TEST_F(VolumeTest, a_sparse_file_shows_the_blocks_that_it_takes) {
  mount();
  {
    const auto file = create("sparse");
    must(file->write(8 * kPage, bytes_of("end")));
    EXPECT_LT(attributes("sparse").allocated_bytes, kPage);
    must(file->flush());
  }
  put("small", "x");
  EXPECT_LT(attributes("sparse").allocated_bytes, kPage);
  drain();
  restart();
  EXPECT_LT(attributes("sparse").allocated_bytes, kPage);
  EXPECT_EQ(attributes("small").allocated_bytes, 4'096u);
  {
    const auto file = open("sparse", Access::kReadWrite);
    must(file->write(0, bytes_of(pattern(8 * kPage))));
    must(file->flush());
  }
  EXPECT_GE(attributes("sparse").allocated_bytes, 8 * kPage);
}

TEST_F(VolumeTest, closed_files_are_truncated_both_ways) {
  mount();
  put("a", "123456");
  must(volume_->set_attributes(find("a"), {}, 3));
  EXPECT_EQ(content("a"), "123");
  must(volume_->set_attributes(find("a"), {}, 5));
  EXPECT_EQ(content("a"), std::string("123\0\0", 5));
  drain();
  EXPECT_EQ(object("a"), std::string("123\0\0", 5));
  evict("a");
  ufs_.reset_counters();
  EXPECT_EQ(must(volume_->set_attributes(find("a"), {}, 0)).attributes.size, 0u);
  EXPECT_EQ(ufs_.calls(UfsCall::kGet), 0u);
  drain();
  EXPECT_EQ(object("a"), "");
}

TEST_F(VolumeTest, a_write_right_behind_a_persisted_close_is_not_missed) {
  mount();
  put("a", "old");
  drain();
  for (int i = 0; i < 20; ++i) {
    const std::string text(1, static_cast<char>('a' + i));
    {
      const auto file = open("a", Access::kWrite);
      must(file->write(0, bytes_of(text)));
      must(file->flush());
    }
    drain();
    ASSERT_EQ(object("a"), text + "ld");
  }
}

TEST_F(VolumeTest, a_write_in_the_clock_tick_of_the_last_change_is_not_missed) {
  constexpr int kFiles = 20;
  const auto name = [](int i) { return "f" + std::to_string(i); };
  for (int i = 0; i < kFiles; ++i) put_object(name(i), "old");
  mount();
  must(volume_->read_directory(s3_, "", 100, WithAttributes::kNo));
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(content(name(i)), "old");  // fetching it was the last change
    const auto file = open(name(i), Access::kWrite);
    ASSERT_EQ(file->io_path(), IoPath::kLocalFile);
    must(file->local_file().write_at(0, "new"));
    must(file->flush());
  }
  drain();
  for (int i = 0; i < kFiles; ++i) EXPECT_EQ(object(name(i)), "new");
}

TEST_F(VolumeTest, an_unlinked_open_file_lives_until_its_last_close) {
  mount();
  put_object("absent", pattern(2 * kPage));
  auto file = create("a", "text");
  must(file->flush());
  auto paged = open("absent");
  must(volume_->unlink(s3_, "a"));
  must(volume_->unlink(s3_, "absent"));
  EXPECT_EQ(volume_->lookup(s3_, "a").error(), ErrorCode::kNotFound);
  EXPECT_EQ(read(*file, 0, 10), "text");
  must(file->write(4, bytes_of("!")));
  must(file->flush());
  EXPECT_EQ(must(volume_->get_attributes(file->inode())).attributes.size, 5u);
  EXPECT_EQ(read(*paged, kPage, 4), pattern(2 * kPage).substr(kPage, 4));
  const InodeId inode = file->inode();
  file.reset();
  paged.reset();
  for (int i = 0; i < 500 && pages_->usage().files != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(pages_->usage().files, 0u);
  EXPECT_EQ(volume_->get_attributes(inode).error(), ErrorCode::kNotFound);
  drain();
  EXPECT_FALSE(has_object("a"));
  EXPECT_FALSE(has_object("absent"));
}

TEST_F(VolumeTest, a_file_replaced_by_rename_lives_until_its_last_close) {
  mount();
  const auto file = create("a", "old");
  must(file->flush());
  put("b", "new");
  must(volume_->rename(s3_, "b", s3_, "a", meta::RenameMode::kReplace));
  EXPECT_EQ(read(*file, 0, 10), "old");
  EXPECT_EQ(content("a"), "new");
  drain();
  EXPECT_EQ(object("a"), "new");
}

TEST_F(VolumeTest, unlinking_frees_the_space_at_once) {
  mount();
  put("a", pattern(4 * kPage));
  must(volume_->unlink(s3_, "a"));
  for (int i = 0; i < 500 && pages_->usage().used_bytes >= kPage; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_LT(pages_->usage().used_bytes, kPage);
}

TEST_F(VolumeTest, what_was_written_before_a_crash_is_there_after_it) {
  mount();
  auto file = create("a", "flushed");
  must(file->flush());
  must(file->local_file().write_at(7, " and not"));
  auto never_flushed = create("b", "new");
  crash_with_open_files(file, never_flushed);
  EXPECT_EQ(content("a"), "flushed and not");
  EXPECT_EQ(attributes("a").size, 15u);
  EXPECT_EQ(content("b"), "new");
  drain();
  EXPECT_EQ(object("a"), "flushed and not");
  EXPECT_EQ(object("b"), "new");
}

TEST_F(VolumeTest, a_time_set_behind_a_close_is_there_after_a_crash) {
  mount();
  auto file = create("a", "text");
  must(file->flush());
  must(volume_->set_attributes(file->inode(), {.mtime_ns = 5}, std::nullopt));
  auto none = std::unique_ptr<OpenFile>();
  crash_with_open_files(file, none);
  EXPECT_EQ(attributes("a").mtime_ns, 5);
  EXPECT_EQ(content("a"), "text");
}

TEST_F(VolumeTest, a_crash_of_a_writer_that_wrote_nothing_leaves_the_file_persisted) {
  mount();
  put("a", "text");
  drain();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // past the tick of ctime
  restart();
  auto file = open("a", Access::kWrite);
  ASSERT_EQ(file->io_path(), IoPath::kLocalFile);
  EXPECT_EQ(state("a"), "NOT_PERSISTED");
  auto none = std::unique_ptr<OpenFile>();
  crash_with_open_files(file, none);
  EXPECT_EQ(state("a"), "PERSISTED");
}

TEST_F(VolumeTest, an_unlinked_open_file_is_gone_after_a_crash) {
  mount();
  auto file = create("a", "text");
  must(file->flush());
  must(volume_->unlink(s3_, "a"));
  auto none = std::unique_ptr<OpenFile>();
  crash_with_open_files(file, none);
  EXPECT_EQ(pages_->usage().files, 0u);
  EXPECT_EQ(volume_->lookup(s3_, "a").error(), ErrorCode::kNotFound);
}

TEST_F(VolumeTest, waiting_files_are_persisted_after_a_restart_with_the_bucket_down) {
  mount();
  must(volume_->read_directory(s3_, "", 1, WithAttributes::kNo));  // listed: names need no bucket from here on
  ufs_.add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kUnavailable});
  put("a", "text");
  restart();
  EXPECT_EQ(content("a"), "text");
  put("b", "more");
  EXPECT_FALSE(has_object("a"));
  ufs_.clear();
  drain();
  EXPECT_EQ(object("a"), "text");
  EXPECT_EQ(object("b"), "more");
}

TEST_F(VolumeTest, times_set_on_an_open_file_outlive_its_close) {
  mount();
  constexpr int64_t kTime = 1'234'567'890'123'456'789;
  const auto file = create("a", "text");
  must(volume_->set_attributes(find("a"), {.mtime_ns = kTime}, {}));
  must(file->flush());
  file->close();
  EXPECT_EQ(attributes("a").mtime_ns, kTime);
  drain();
  EXPECT_EQ(attributes("a").mtime_ns, kTime);
}

TEST_F(VolumeTest, a_write_through_close_returns_when_it_is_persisted) {
  mount();
  rules(R"({"path":"/s3/**","policyMode":"WRITE_THROUGH"})");
  const auto file = create("a", "text");
  must(file->flush());
  EXPECT_EQ(object("a"), "text");
  EXPECT_EQ(state("a"), "PERSISTED");
}

TEST_F(VolumeTest, a_refused_write_through_close_fails_and_loses_nothing) {
  mount();
  rules(R"({"path":"/s3/**","policyMode":"WRITE_THROUGH"})");
  ufs_.add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kDenied, .call = UfsCall::kPut});
  const auto file = create("a", "text");
  EXPECT_EQ(file->flush().error(), ErrorCode::kDenied);
  EXPECT_EQ(file->sync().error(), ErrorCode::kDenied);
  EXPECT_EQ(content("a"), "text");
  ufs_.clear();
  must(volume_->persister().retry({}));
  // The mount point answers again once it was probed.
  for (const Deadline deadline = later(); !volume_->persister().refusal(file->inode()).has_value() && !deadline.expired();)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  must(file->flush());
  EXPECT_EQ(object("a"), "text");
}

TEST_F(VolumeTest, no_copy_is_kept_under_no_cache) {
  mount();
  rules(R"({"path":"/s3/**","policyMode":"NO_CACHE"})");
  put("a", pattern(kPage));
  EXPECT_EQ(object("a"), pattern(kPage));
  for (int i = 0; i < 500 && must(volume_->status("/s3/a")).cached_bytes != 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(must(volume_->status("/s3/a")).cached_bytes, 0u);
  EXPECT_EQ(content("a"), pattern(kPage));
}

TEST_F(VolumeTest, what_was_fetched_to_be_changed_is_persisted_while_it_is_open) {
  mount();
  rules(R"({"path":"/s3/**","policyMode":"NO_CACHE"})");
  put("a", "12345");
  for (const char* text : {"x", "y", "z"}) {
    evict("a");
    const auto file = open("a", Access::kReadWrite);
    must(file->write(1, bytes_of(text)));
    std::this_thread::sleep_for(std::chrono::milliseconds(30));  // beyond the tick of the kernel's clock
    must(file->flush());
    EXPECT_EQ(object("a"), std::string("1") + text + "345");
    file->close();
  }
}

TEST_F(VolumeTest, renaming_a_persisted_file_that_is_open_for_writing_does_not_wait) {
  mount();
  rules(R"({"path":"/s3/**","policyMode":"NO_CACHE"})");
  put("a", "12");
  evict("a");
  const auto file = open("a", Access::kReadWrite);
  must(volume_->rename(s3_, "a", s3_, "b", meta::RenameMode::kReplace));
  EXPECT_EQ(read(*file, 0, 10), "12");
  file->close();
  drain();
  EXPECT_EQ(object("b"), "12");
}

TEST_F(VolumeTest, renaming_and_linking_a_file_that_is_being_written_leaves_persisting_to_its_close) {
  mount();
  rules(R"({"path":"/s3/**","policyMode":"NO_CACHE"})");
  put("a", "12");
  const auto file = open("a", Access::kReadWrite);
  must(file->write(0, bytes_of("x")));
  must(volume_->rename(s3_, "a", s3_, "b", meta::RenameMode::kReplace));
  must(volume_->link(file->inode(), s3_, "c"));
  must(file->flush());
  EXPECT_EQ(object("b"), "x2");
  file->close();
  drain();
  EXPECT_EQ(object("c"), "x2");
  EXPECT_FALSE(has_object("a"));
}

TEST_F(VolumeTest, a_storm_of_creates_costs_one_object_that_says_the_time_of_the_directory) {
  mount();
  const InodeId d = must(volume_->make_directory(s3_, "d", 0755, kCaller)).attributes.inode;
  drain();
  ufs_.reset_counters();
  for (int i = 0; i < 100; ++i)
    must(volume_->make_symlink(d, "link" + std::to_string(i), "target", kCaller));
  drain();
  EXPECT_EQ(ufs_.calls(UfsCall::kPut), 101u);
  const auto said = meta::from_object(must(bucket_.head("d/", later()))).mtime_ns;
  EXPECT_EQ(said, must(volume_->get_attributes(d)).attributes.mtime_ns);
  drain();
  EXPECT_EQ(ufs_.calls(UfsCall::kPut), 101u);
}

TEST_F(VolumeTest, transient_files_never_reach_the_bucket_until_they_are_renamed_out) {
  mount();
  must(volume_->make_directory(s3_, "tmp", 0755, kCaller));
  rules(R"({"path":"/s3/tmp/**","policyMode":"TRANSIENT"},{"path":"/s3/safe/**","policyMode":"WRITE_THROUGH"})");
  must(volume_->make_directory(s3_, "safe", 0755, kCaller));
  const InodeId root = s3_;
  s3_ = find("tmp");
  const InodeId tmp = s3_;
  put("a", "one");
  put("b", "two");
  drain();
  EXPECT_EQ(state("a"), "TRANSIENT");
  EXPECT_FALSE(has_object("tmp/a"));
  EXPECT_FALSE(pages_->evict(LocalFileId(1)));
  must(volume_->rename(tmp, "a", root, "a", meta::RenameMode::kReplace));
  s3_ = root;
  must(volume_->rename(tmp, "b", find("safe"), "b", meta::RenameMode::kReplace));
  EXPECT_EQ(object("safe/b"), "two");  // a rename into WRITE_THROUGH returns when it is persisted
  drain();
  EXPECT_EQ(object("a"), "one");
  EXPECT_EQ(state("a"), "PERSISTED");
}

TEST_F(VolumeTest, a_renamed_file_is_read_from_its_home) {
  mount();
  const std::string text = pattern(3 * kPage);
  put("a", text);
  drain();
  evict("a");
  ufs_.add({.kind = UfsFault::Kind::kFailBefore, .call = UfsCall::kCopy});
  must(volume_->rename(s3_, "a", s3_, "b", meta::RenameMode::kReplace));
  put("a", "another");
  EXPECT_EQ(content("b"), text);
  EXPECT_EQ(content("a"), "another");
  ufs_.clear();
  must(volume_->persister().retry({}));
  drain();
  EXPECT_EQ(object("b"), text);
  EXPECT_EQ(object("a"), "another");
}

TEST_F(VolumeTest, a_partial_file_follows_its_object_to_a_new_home) {
  const std::string text = pattern(4 * kPage);
  put_object("a", text);
  options_.read_ahead_pages = 0;
  mount();
  const auto file = open("a");
  EXPECT_EQ(read(*file, 0, 4), text.substr(0, 4));
  must(volume_->rename(s3_, "a", s3_, "b", meta::RenameMode::kReplace));
  drain();
  EXPECT_FALSE(has_object("a"));
  EXPECT_EQ(read(*file, 0, text.size()), text);
}

TEST_F(VolumeTest, two_versions_of_an_object_are_never_mixed_in_one_file) {
  const std::string before = pattern(4 * kPage, 'a');
  const std::string after = pattern(4 * kPage + 11, 'A');
  put_object("a", before);
  options_.read_ahead_pages = 0;
  mount();
  Listener listener;
  volume_->set_cache_listener(&listener);
  const auto file = open("a");
  EXPECT_EQ(read(*file, 0, 8), before.substr(0, 8));
  put_object("a", after);
  EXPECT_EQ(read(*file, 2 * kPage, 8), after.substr(2 * kPage, 8));
  EXPECT_EQ(read(*file, 0, after.size() + 1), after);
  EXPECT_THAT(listener.contents, Contains(file->inode()));
  volume_->set_cache_listener(nullptr);
}

TEST_F(VolumeTest, a_read_of_an_object_that_was_removed_from_the_bucket_fails) {
  put_object("a", pattern(2 * kPage));
  mount();
  const auto file = open("a");
  must(bucket_.erase("a", {}, later()));
  std::byte byte{};
  EXPECT_EQ(file->read(0, {&byte, 1}).error(), ErrorCode::kStale);
}

// Semantics 6.1, below the mount.
TEST_F(VolumeTest, writes_beyond_the_pinned_limit_fail_and_unlink_makes_room) {
  page_options_.capacity_bytes = 32 * kPage;
  page_options_.pinned_ratio = 0.5;
  options_.admit_slow_max = std::chrono::milliseconds(1);
  mount();
  must(volume_->read_directory(s3_, "", 1, WithAttributes::kNo));
  ufs_.add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kUnavailable});
  const std::string block = pattern(kPage);
  Result<void> written;
  uint64_t blocks = 0;
  {
    const auto file = create("a");
    while (written.has_value() && blocks < 100) {
      written = file->write(blocks * kPage, bytes_of(block));
      if (written.has_value()) ++blocks;
      pages_->account(LocalFileId(file->local_file_key()));
    }
    must(file->flush());
  }
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error(), ErrorCode::kNoSpace);
  EXPECT_GE(blocks, 12u);
  EXPECT_EQ(attributes("a").size, blocks * kPage);
  must(volume_->unlink(s3_, "a"));
  for (int i = 0; i < 500 && pages_->usage().pinned_bytes > kPage; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  put("b", block);
  EXPECT_EQ(content("b"), block);
}

TEST_F(VolumeTest, a_thread_that_must_not_wait_is_told_so_and_the_call_can_be_repeated) {
  put_object("a", pattern(2 * kPage));
  mount();
  {
    NoWait no_wait;
    EXPECT_EQ(volume_->lookup(s3_, "a").error(), ErrorCode::kWouldWait);
  }
  const auto file = open("a", Access::kReadWrite);
  std::byte byte{};
  {
    NoWait no_wait;
    EXPECT_EQ(file->read(kPage, {&byte, 1}).error(), ErrorCode::kWouldWait);
    EXPECT_EQ(file->write(kPage, {&byte, 1}).error(), ErrorCode::kWouldWait);
  }
  EXPECT_EQ(must(file->read(kPage, {&byte, 1})), 1u);
  rules(R"({"path":"/s3/**","policyMode":"WRITE_THROUGH"})");
  must(file->write(0, bytes_of("X")));
  {
    NoWait no_wait;
    EXPECT_EQ(file->flush().error(), ErrorCode::kWouldWait);
  }
  must(file->flush());
  EXPECT_EQ(object("a").front(), 'X');
}

TEST_F(VolumeTest, a_name_that_must_be_persisted_first_is_not_given_by_a_thread_that_must_not_wait) {
  mount();
  rules(R"({"path":"/s3/kept*","policyMode":"TRANSIENT"},{"path":"/s3/through*","policyMode":"WRITE_THROUGH"})");
  put("kept1", "text");
  put("kept2", "other");
  {
    NoWait no_wait;
    must(volume_->rename(s3_, "kept1", s3_, "kept3", meta::RenameMode::kReplace));
    must(volume_->rename(s3_, "kept2", s3_, "kept3", meta::RenameMode::kExchange));
    EXPECT_EQ(volume_->rename(s3_, "kept2", s3_, "through", meta::RenameMode::kReplace).error(), ErrorCode::kWouldWait);
    EXPECT_EQ(volume_->link(find("kept2"), s3_, "through").error(), ErrorCode::kWouldWait);
  }
  EXPECT_EQ(volume_->lookup(s3_, "through").error(), ErrorCode::kNotFound);
  EXPECT_FALSE(has_object("through"));
  must(volume_->rename(s3_, "kept2", s3_, "through", meta::RenameMode::kReplace));
  EXPECT_EQ(object("through"), "text");
  // Content that the bucket has already is waited for by nobody.
  NoWait no_wait;
  must(volume_->rename(s3_, "through", s3_, "through2", meta::RenameMode::kReplace));
}

TEST_F(VolumeTest, a_directory_that_only_the_bucket_fills_is_not_empty) {
  put_object("dir/a", "1");
  mount();
  EXPECT_EQ(volume_->remove_directory(s3_, "dir").error(), ErrorCode::kNotEmpty);
}

TEST_F(VolumeTest, creating_a_name_that_only_the_bucket_has_fails) {
  put_object("a", "1");
  mount();
  EXPECT_EQ(volume_->create(s3_, "a", 0644, kCaller, {.access = Access::kWrite}).error(), ErrorCode::kExists);
  EXPECT_EQ(volume_->make_directory(s3_, "a", 0755, kCaller).error(), ErrorCode::kExists);
  EXPECT_EQ(pages_->usage().files, 0u);
}

TEST_F(VolumeTest, what_only_the_bucket_has_can_be_renamed_replaced_and_removed) {
  put_object("moved", "1");
  put_object("replaced", "2");
  put_object("kept", "3");
  put_object("removed", "4");
  mount();
  {
    NoWait no_wait;
    EXPECT_EQ(volume_->rename(s3_, "moved", s3_, "replaced", meta::RenameMode::kReplace).error(), ErrorCode::kWouldWait);
    EXPECT_EQ(volume_->unlink(s3_, "removed").error(), ErrorCode::kWouldWait);
  }
  EXPECT_EQ(volume_->rename(s3_, "moved", s3_, "kept", meta::RenameMode::kNoReplace).error(), ErrorCode::kExists);
  must(volume_->rename(s3_, "moved", s3_, "replaced", meta::RenameMode::kReplace));
  must(volume_->unlink(s3_, "removed"));
  EXPECT_EQ(volume_->unlink(s3_, "removed").error(), ErrorCode::kNotFound);
  EXPECT_EQ(volume_->rename(s3_, "moved", s3_, "x", meta::RenameMode::kReplace).error(), ErrorCode::kNotFound);
  drain();
  EXPECT_EQ(object("replaced"), "1");
  EXPECT_FALSE(has_object("moved"));
  EXPECT_FALSE(has_object("removed"));
}

TEST_F(VolumeTest, removing_what_only_the_bucket_has_looks_there_first) {
  put_object("removed", "4");
  mount();
  must(volume_->unlink(s3_, "removed"));
  drain();
  EXPECT_FALSE(has_object("removed"));
}

TEST_F(VolumeTest, a_directory_replaces_only_one_that_is_empty_in_the_bucket_too) {
  put_object("full/a", "1");
  mount();
  must(volume_->make_directory(s3_, "dir", 0755, kCaller));
  EXPECT_EQ(volume_->rename(s3_, "dir", s3_, "full", meta::RenameMode::kReplace).error(), ErrorCode::kNotEmpty);
  must(volume_->make_directory(s3_, "empty", 0755, kCaller));
  must(volume_->rename(s3_, "dir", s3_, "empty", meta::RenameMode::kReplace));
}

TEST_F(VolumeTest, names_that_can_be_answered_do_not_ask_the_bucket) {
  put_object("a", "1");
  mount();
  must(volume_->read_directory(s3_, "", 100, WithAttributes::kNo));
  must(volume_->lookup(s3_, "a"));
  ufs_.reset_counters();
  NoWait no_wait;
  must(volume_->lookup(s3_, "a"));
  EXPECT_EQ(volume_->lookup(s3_, "none").error(), ErrorCode::kNotFound);
  must(volume_->rename(s3_, "a", s3_, "b", meta::RenameMode::kReplace));
  const auto made = must(volume_->make_directory(s3_, "d", 0755, kCaller));
  EXPECT_EQ(volume_->lookup(made.attributes.inode, "x").error(), ErrorCode::kNotFound);
  EXPECT_EQ(ufs_.calls(UfsCall::kList), 0u);
  EXPECT_EQ(ufs_.calls(UfsCall::kHead), 0u);
}

TEST_F(VolumeTest, own_attributes_can_be_read_but_are_not_listed_and_cannot_be_set) {
  mount();
  put("a", "text");
  const InodeId a = find("a");
  EXPECT_EQ(must(volume_->get_xattr(a, "user.weir.policy")), "WRITE_BACK");
  EXPECT_EQ(volume_->get_xattr(a, "user.weir.other").error(), ErrorCode::kNoAttribute);
  EXPECT_EQ(volume_->set_xattr(a, "user.weir.state", "x", meta::Namespace::XattrMode::kSet).error(),
            ErrorCode::kPermission);
  EXPECT_EQ(volume_->remove_xattr(a, "user.weir.state").error(), ErrorCode::kPermission);
  must(volume_->set_xattr(a, "user.mine", "x", meta::Namespace::XattrMode::kSet));
  EXPECT_EQ(must(volume_->list_xattrs(a)), std::vector<std::string>{"user.mine"});
  drain();
  EXPECT_EQ(must(volume_->get_xattr(a, "user.weir.home")), "mem:///a");
  EXPECT_EQ(must(volume_->get_xattr(a, "user.weir.etag")), must(bucket_.head("a", later())).info.etag);
}

TEST_F(VolumeTest, a_broken_rule_document_changes_nothing) {
  mount();
  rules(R"({"path":"/s3/tmp/**","policyMode":"TRANSIENT"})");
  const std::string before = must(volume_->rules_document());
  EXPECT_EQ(volume_->set_rules_document("{").error(), ErrorCode::kInvalid);
  EXPECT_EQ(must(volume_->rules_document()), before);
  restart();
  EXPECT_EQ(must(volume_->rules_document()), before);
}

// Semantics 3.8, below the mount.
TEST_F(VolumeTest, everything_is_write_through_without_the_write_cache) {
  options_.write_cache_enabled = false;
  mount();
  const auto file = create("a", "text");
  must(file->flush());
  EXPECT_EQ(object("a"), "text");
}

TEST_F(VolumeTest, mount_points_are_added_listed_and_removed) {
  start();
  Listener listener;
  volume_->set_cache_listener(&listener);
  EXPECT_EQ(volume_->add_mount("/a/b", "mem:///", {}).error(), ErrorCode::kInvalid);
  ufs_.add({.kind = UfsFault::Kind::kFailBefore, .error = ErrorCode::kDenied, .call = UfsCall::kProbe, .times = 1});
  EXPECT_EQ(volume_->add_mount("/s3", "mem:///", {}).error(), ErrorCode::kDenied);
  EXPECT_TRUE(must(volume_->mount_points()).empty());
  must(volume_->add_mount("/s3", "mem:///", {{"s3.secret.key", "hush"}}));
  EXPECT_THAT(listener.entries, Contains(Pair(kRootInode, "s3")));
  const auto mounts = must(volume_->mount_points());
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_TRUE(mounts[0].reachable);
  EXPECT_TRUE(mounts[0].capabilities.conditional_put);
  EXPECT_EQ(mounts[0].properties.at("s3.secret.key"), "********");
  EXPECT_EQ(mounts[0].properties.size(), 1u);
  must(volume_->remove_mount("/s3"));
  EXPECT_TRUE(must(volume_->mount_points()).empty());
  EXPECT_EQ(volume_->remove_mount("/s3").error(), ErrorCode::kNotFound);
  volume_->set_cache_listener(nullptr);
}

TEST_F(VolumeTest, stop_commits_what_is_open) {
  mount();
  auto file = create("a", "text");
  volume_->stop(Deadline::after(seconds(30)));
  file.reset();
  restart();
  EXPECT_EQ(content("a"), "text");
}

TEST_F(VolumeTest, many_threads_open_write_rename_and_unlink_the_same_names) {
  mount();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 150; ++i) {
        const std::string name(1, static_cast<char>('a' + (i + t) % 3));
        const std::string text = pattern(1'000 + static_cast<size_t>(t), static_cast<char>('a' + t));
        if (auto made = volume_->create(s3_, name, 0644, kCaller, {.access = Access::kReadWrite}); made.has_value()) {
          must(made->file->write(0, bytes_of(text)));
          must(made->file->flush());
          EXPECT_EQ(read(*made->file, 1, 10'000), text.substr(1));  // the first byte is whoever's finds it as "z"
        } else {
          EXPECT_EQ(made.error(), ErrorCode::kExists) << made.error().to_string();
        }
        if (i % 3 == 0) (void)volume_->unlink(s3_, name);
        if (i % 5 == 0) (void)volume_->rename(s3_, name, s3_, "z", meta::RenameMode::kReplace);
        if (const auto found = volume_->lookup(s3_, "z"); found.has_value()) {
          const auto file = volume_->open_file(found->attributes.inode, {.access = Access::kReadWrite});
          if (file.has_value()) {
            EXPECT_TRUE((*file)->write(0, bytes_of("z")).has_value());
            EXPECT_TRUE((*file)->flush().has_value());
          } else {
            EXPECT_EQ(file.error(), ErrorCode::kNotFound);
          }
        }
      }
    });
  }
  for (auto& thread : threads) thread.join();
  drain();
  const auto listing = must(volume_->read_directory(s3_, "", 100, WithAttributes::kNo));
  for (const auto& entry : listing.entries) {
    EXPECT_EQ(content(entry.entry.name), object(entry.entry.name)) << entry.entry.name;
    EXPECT_EQ(state(entry.entry.name), "PERSISTED");
  }
}

// --- open since before the start

class HeldTest : public VolumeTest {
 protected:
  // As after SIGKILL: the handle's end is not told, and a front goes on with it.
  std::unique_ptr<OpenFile> restart_with(std::unique_ptr<OpenFile> file) {
    options_.held = {{.inode = file->inode(),
                      .access = file->access(),
                      .local_file = LocalFileId(file->io_path() == IoPath::kLocalFile ? file->local_file_key() : 0)}};
    file.reset();
    restart();
    options_.held.clear();
    return must(volume_->take_held(0));
  }
  uint64_t size_of(std::string_view name) { return must(volume_->lookup(s3_, name)).attributes.size; }
};

TEST_F(HeldTest, what_was_written_is_committed_at_once_and_by_its_close_again) {
  mount();
  auto file = create("f", "content");
  const uint64_t key = file->local_file_key();
  file = restart_with(std::move(file));
  EXPECT_EQ(size_of("f"), 7u);
  EXPECT_EQ(file->local_file_key(), key);
  EXPECT_EQ(file->io_path(), IoPath::kLocalFile);
  must(file->write(7, bytes_of(" and more")));
  EXPECT_EQ(size_of("f"), 16u);
  must(file->flush());
  file->close();
  file.reset();
  restart();
  EXPECT_EQ(size_of("f"), 16u);
}

TEST_F(HeldTest, a_file_that_was_only_opened_is_not_taken_for_changed) {
  mount();
  put("f", "content");
  must(volume_->persister().drain(later()));
  auto file = must(volume_->open_file(must(volume_->lookup(s3_, "f")).attributes.inode, {.access = Access::kReadWrite}));
  const auto before = must(volume_->lookup(s3_, "f")).attributes;
  file = restart_with(std::move(file));
  must(file->flush());
  file.reset();
  restart();
  EXPECT_EQ(must(volume_->lookup(s3_, "f")).attributes.mtime_ns, before.mtime_ns);
}

TEST_F(HeldTest, a_reader_keeps_its_local_file) {
  mount();
  put("f", "content");
  must(volume_->persister().drain(later()));
  auto file = must(volume_->open_file(must(volume_->lookup(s3_, "f")).attributes.inode, {}));
  const LocalFileId id(file->local_file_key());
  file = restart_with(std::move(file));
  EXPECT_FALSE(pages_->evict(id));
  EXPECT_EQ(read(*file, 0, 100), "content");
  file.reset();
}

TEST_F(HeldTest, local_files_are_recovered_behind_the_start) {
  mount();
  put("dirty", "content");
  put("clean", "content");
  drain();
  rules(R"({"path":"/s3/dirty","policyMode":"TRANSIENT"})");  // what is written now stays pinned
  auto writer = open("dirty", Access::kReadWrite);
  must(writer->write(0, bytes_of("CONTENT")));
  must(writer->flush());
  const auto inode = must(volume_->lookup(s3_, "clean")).attributes.inode;
  const LocalFileId garbage(1 << 20);
  must(pages_->create(garbage));
  options_.callers_wait = true;
  writer = restart_with(std::move(writer));
  must(writer->write(0, bytes_of("Content")));
  options_.callers_wait = false;
  const auto checked = must(volume_->fsck({}, {}));  // waits for it
  EXPECT_EQ(checked.discrepancies, 0u);
  EXPECT_TRUE(failed_with(pages_->open(garbage), ErrorCode::kNotFound));
  const LocalFileId dirty_file(writer->local_file_key());
  must(writer->flush());
  writer->close();
  writer.reset();
  EXPECT_FALSE(pages_->evict(dirty_file));
  EXPECT_EQ(content("dirty"), "Content");
  auto reader = must(volume_->open_file(inode, {}));
  const LocalFileId clean_file(reader->local_file_key());
  reader.reset();
  EXPECT_TRUE(pages_->evict(clean_file));
}

TEST_F(HeldTest, one_that_is_not_there_any_more_says_so) {
  mount();
  options_.held = {{.inode = InodeId(4711)}};
  restart();
  EXPECT_TRUE(failed_with(volume_->take_held(0), ErrorCode::kNotFound));
  options_.held.clear();
}

TEST_F(HeldTest, what_is_made_has_the_id_that_was_asked_for) {
  mount();
  const InodeId id = must(volume_->new_inode_id());
  const meta::Caller caller{.uid = 1, .gid = 1, .new_id = id};
  EXPECT_EQ(must(volume_->make_directory(s3_, "d", 0755, caller)).attributes.inode, id);
}

}  // namespace
}  // namespace weir::volume
