// A whole volume on a disk that loses power under load: what was acknowledged as synced is there, whatever the disk did with the
// rest.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <regex>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/random.h"
#include "base/result.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "pages/page_store.h"
#include "tests/crash/crash_volume.h"
#include "tests/crash/lossy_volume.h"
#include "tests/crash/volatile_disk.h"
#include "volume/objects.h"
#include "volume/volume.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

TEST(PowerLoss, nothing_synced_is_lost_under_load) {
  const uint64_t seed = number_of("WEIR_SEED", Random::from_entropy().next());
  const uint64_t deaths = number_of("WEIR_DEATHS", 4);
  SCOPED_TRACE("WEIR_SEED=" + std::to_string(seed));
  LossyVolume volume(seed, LossyVolume::Load::kMixed);
  for (int process = 0; process < 3; ++process) {
    volume.start_load();
    for (uint64_t i = 0; i < deaths; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(volume.random().below(60)));
      const std::string wrong = volume.check(volume.die(static_cast<Loss>(volume.random().below(4))));
      if (!wrong.empty()) volume.keep();
      ASSERT_EQ(wrong, "");
      ASSERT_EQ(volume.failures(), "");
    }
    volume.restart();
  }
  volume.start_load();
  ASSERT_EQ(volume.stop_and_lose_power(), "");
  ASSERT_EQ(volume.failures(), "");
}

// A volume without load on a disk that can lose power.
class QuietVolume {
 public:
  // `without`: a sync that is not made; see VolatileDisk::ignore_syncs().
  explicit QuietVolume(Duration flush_interval, const std::string& without = {}) {
    char path[] = "/tmp/weir-power-XXXXXX";
    dir_ = ::mkdtemp(path);
    open_log({.file = dir_ + "/log"});
    fs::create_directory(dir_ + "/root");
    disk_ = std::make_unique<VolatileDisk>(dir_ + "/root");
    disk_->ignore_syncs(without);
    set_boot_id("boot before");
    bucket_ = CrashVolume::make_bucket();
    volume_ = std::make_unique<CrashVolume>(dir_ + "/root", bucket_);
    volume_->options.flush_interval = flush_interval;
    // Nothing becomes durable by being persisted.
    volume_->open();
    must((*volume_)->set_rules_document(
        R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "TRANSIENT"}, "pathRules": []})"));
  }
  ~QuietVolume() {
    disk_->kill();
    volume_.reset();
    disk_.reset();
    set_boot_id({});
    open_log({});
    fs::remove_all(dir_);
  }

  // What a loss of power leaves.
  struct Left {
    std::string image;
    std::shared_ptr<MemUfs> bucket;
  };
  Left die(Loss loss) {
    Left left{.image = dir_ + "/image" + std::to_string(++images_)};
    disk_->lose_power(left.image, loss, random_, [&] { left.bucket = std::make_shared<MemUfs>(*bucket_); });
    return left;
  }
  // The volume that is found there.
  static std::unique_ptr<CrashVolume> open(const Left& left) {
    set_boot_id("boot after " + left.image);
    auto found = std::make_unique<CrashVolume>(left.image, left.bucket);
    found->open();
    set_boot_id("boot before");
    return found;
  }
  // The volume as it is after a loss of power now.
  std::unique_ptr<CrashVolume> lose_power(Loss loss) { return open(die(loss)); }

  CrashVolume& operator*() { return *volume_; }
  volume::Volume* operator->() { return &**volume_; }
  VolatileDisk& disk() { return *disk_; }
  void write(volume::OpenFile& file, std::string_view text) {
    must(file.write(0, std::as_bytes(std::span(text.data(), text.size()))));
  }
  std::unique_ptr<volume::OpenFile> create(std::string_view name) {
    return must((*volume_)->create(volume_->root(), name, 0644, CrashVolume::kCaller, {.access = volume::Access::kReadWrite}))
        .file;
  }
  // Nullopt: it is not there, or cannot be read.
  static std::optional<std::string> read(CrashVolume& volume, const std::string& name) {
    const auto inode = volume->resolve("/s3/" + name);
    if (!inode.has_value()) return std::nullopt;
    const auto file = volume->open_file(*inode, {.access = volume::Access::kRead});
    if (!file.has_value()) return std::nullopt;
    std::string text(1 << 20, '\0');
    text.resize(must((*file)->read(0, std::as_writable_bytes(std::span(text)))));
    (*file)->close();
    return text;
  }

 private:
  Random random_ = Random::from_entropy();
  std::string dir_;
  std::unique_ptr<VolatileDisk> disk_;
  std::shared_ptr<MemUfs> bucket_;
  std::unique_ptr<CrashVolume> volume_;
  int images_ = 0;
};

TEST(PowerLoss, what_was_not_synced_is_durable_after_the_flush_interval) {
  QuietVolume volume(std::chrono::milliseconds(20));
  const std::string text(10'000, 't');
  const auto closed = volume.create("closed");
  volume.write(*closed, text);
  must(closed->flush());
  closed->close();
  const auto open = volume.create("open");
  volume.write(*open, text);
  std::optional<std::string> closed_text, open_text;
  for (const Deadline deadline = CrashVolume::later(); !deadline.expired() && (closed_text != text || open_text != text);) {
    const auto left = volume.lose_power(Loss::kAll);
    closed_text = QuietVolume::read(*left, "closed");
    open_text = QuietVolume::read(*left, "open");
  }
  EXPECT_EQ(closed_text, text);
  EXPECT_EQ(open_text, text);
  open->close();
}

// Semantics 2.4, below the mount.
TEST(PowerLoss, what_was_not_synced_is_never_zeros) {
  QuietVolume volume(Duration::zero());
  const std::string text(20'000, 't');
  const auto file = volume.create("written");
  volume.write(*file, text);
  must(file->flush());
  file->close();
  must(volume->sync_directory((*volume).root()));
  for (int i = 0; i < 8; ++i) {
    const auto left = volume.lose_power(i % 2 == 0 ? Loss::kSome : Loss::kLatest);
    const auto found = QuietVolume::read(*left, "written");
    if (!found) continue;
    EXPECT_TRUE(found->empty() || found == text) << found->size() << " bytes, not what was written";
  }
}

TEST(PowerLoss, a_part_that_was_only_written_is_accepted_whole_or_not_at_all) {
  QuietVolume volume(Duration::zero());
  const volume::ObjectName name{.bucket = "s3", .key = "object"};
  const std::string text(50'000, 'p');
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  const std::string etag = net::hex(net::md5(bytes));
  const std::string upload = must(volume->objects().create_upload(name, {}));
  const auto put = [&](uint32_t number, volume::ObjectDurability durability) {
    const auto writer = must(volume->objects().put_part(name, upload, number, text.size()));
    must(writer->write(bytes));
    must(writer->commit(etag, {}, durability));
  };
  put(1, volume::ObjectDurability::kSync);
  put(2, volume::ObjectDurability::kWrite);
  must(volume->sync_directory((*volume).root()));  // the metadata of both
  for (int i = 0; i < 8; ++i) {
    const auto left = volume.lose_power(i % 2 == 0 ? Loss::kSome : Loss::kLatest);
    const auto parts = must((*left)->objects().upload_parts(name, upload, 0, 10));
    ASSERT_FALSE(parts.empty());
    EXPECT_EQ(parts.front().number, 1u) << "it was synced";
    must((*left)->objects().complete_upload(name, upload, {.parts = {{.number = 1, .etag = etag}}}));
    EXPECT_TRUE(QuietVolume::read(*left, "object") == text);
    EXPECT_EQ(parts.size(), 1u) << "nothing says that the other is whole";
  }
}

// What was fetched, and never synced, may have a durable name and map and nothing in it.
TEST(PowerLoss, a_copy_that_lost_its_size_is_fetched_again) {
  QuietVolume volume(Duration::zero());
  must((*volume).bucket().put("object", std::as_bytes(std::span(std::string_view("in the bucket"))), {}, CrashVolume::later()));
  EXPECT_EQ(QuietVolume::read(*volume, "object"), "in the bucket");
  const auto left = volume.die(Loss::kNothing);
  int cut = 0;
  for (const auto& entry : fs::recursive_directory_iterator(left.image)) {
    if (entry.path().extension() != ".copy") continue;
    fs::resize_file(entry.path(), 0);
    ++cut;
  }
  EXPECT_EQ(cut, 1);
  const auto found = QuietVolume::open(left);
  EXPECT_EQ(found->fsck(), "");
  EXPECT_EQ(QuietVolume::read(*found, "object"), "in the bucket");
}

// A file that was just being overwritten when the power went, at the instant when its upload had taken effect and nobody knew.
class OverwrittenThrough {
 public:
  OverwrittenThrough() : volume_(Duration::zero()) {
    must(volume_->set_rules_document(
        R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_THROUGH"}, "pathRules": []})"));
    write("before");
    must(volume_->sync_all());
    const ArmedFailpoint uploaded("persist.uploaded", [this]() -> Result<void> {
      if (!left_) left_ = volume_.die(Loss::kAll);
      return {};
    });
    write("and after");
  }
  const QuietVolume::Left& left() const { return *left_; }

 private:
  void write(std::string_view text) {
    const auto there = volume_->lookup((*volume_).root(), "file");
    const auto file = there ? must(volume_->open_file(there->attributes.inode, {.access = volume::Access::kWrite, .truncate = true}))
                            : volume_.create("file");
    volume_.write(*file, text);
    must(file->flush());
    file->close();
  }

  QuietVolume volume_;
  std::optional<QuietVolume::Left> left_;
};

// Semantics 2.4, below the mount.
TEST(PowerLoss, a_file_is_what_its_upload_put_into_the_bucket) {
  const OverwrittenThrough file;
  for (const bool changed : {false, true}) {
    const auto left = QuietVolume::open(file.left());
    if (changed) {
      const auto opened = must((*left)->open_file(must((*left)->resolve("/s3/file")), {.access = volume::Access::kWrite}));
      const std::string_view text = "AND";
      must(opened->write(0, std::as_bytes(std::span(text))));
      must(opened->flush());
      opened->close();
    }
    const std::string expected = changed ? "AND after" : "and after";
    EXPECT_EQ(QuietVolume::read(*left, "file"), expected);
    must((*left)->persister().drain(CrashVolume::later()));
    EXPECT_EQ(QuietVolume::read(*left, "file"), expected);
    EXPECT_EQ(left->fsck(), "");
  }
}

// Every folder of a page store is there once anything in it can be.
TEST(PowerLoss, a_page_store_is_formatted_before_it_is_used) {
  const auto works_after_it = [](const std::string& without, std::set<std::string>* sites) {
    char path[] = "/tmp/weir-power-XXXXXX";
    const std::string dir = ::mkdtemp(path);
    fs::create_directory(dir + "/root");
    bool works = false;
    {
      VolatileDisk disk(dir + "/root");
      disk.ignore_syncs(without);
      const auto store = must(pages::open_page_store({.dirs = {dir + "/root"}, .volume_id = "v"}));
      Random random(1);
      disk.lose_power(dir + "/image", Loss::kAll, random);
      *sites = disk.sync_sites();
      const auto left = pages::open_page_store({.dirs = {dir + "/image"}, .volume_id = "v"});
      works = left.has_value() && (*left)->create(LocalFileId(0x1234)).has_value();
    }
    fs::remove_all(dir);
    return works;
  };
  std::set<std::string> sites;
  EXPECT_TRUE(works_after_it("", &sites));
  const auto site = std::ranges::find_if(sites, [](const auto& each) { return each.find("StoreDir::format") != std::string::npos; });
  ASSERT_NE(site, sites.end());
  std::set<std::string> ignored;
  EXPECT_FALSE(works_after_it(*site, &ignored));
}

// All failpoints of the code, from its text.
std::set<std::string> failpoints_of_the_code() {
  const std::regex call(R"re([^_a-z]failpoint\("([a-z0-9_.]+)"\))re");
  std::set<std::string> names;
  for (const char* layer : {"base", "io", "format", "net", "kv", "ufs", "meta", "pages", "persist", "volume", "fuse", "s3",
                            "daemon", "cli"}) {
    for (const auto& entry : fs::directory_iterator(fs::path(WEIR_SOURCE_DIR) / layer)) {
      const std::string path = entry.path();
      if (path.ends_with("_test.cc") || !(path.ends_with(".cc") || path.ends_with(".h"))) continue;
      std::ifstream file(path);
      const std::string text{std::istreambuf_iterator<char>(file), {}};
      for (std::sregex_iterator it(text.begin(), text.end(), call), end; it != end; ++it) names.insert((*it)[1]);
    }
  }
  return names;
}

// At each failpoint, that is between any two durable steps, the process dies, and the machine.
TEST(PowerLoss, at_every_failpoint_a_prefix_of_the_history_is_left) {
  const uint64_t seed = number_of("WEIR_SEED", Random::from_entropy().next());
  SCOPED_TRACE("WEIR_SEED=" + std::to_string(seed));
  const uint64_t deaths_each = number_of("WEIR_DEATHS", 1);
  LossyVolume volume(seed, LossyVolume::Load::kTour);
  std::mutex mutex;
  std::map<std::string, uint64_t> left;  // deaths still to be died
  std::vector<LossyVolume::Left> deaths;
  std::vector<std::unique_ptr<ArmedFailpoint>> armed;
  for (const std::string& name : failpoints_of_the_code()) {
    left[name] = deaths_each;
    armed.push_back(std::make_unique<ArmedFailpoint>(name, [&, name]() -> Result<void> {
      Loss loss{};
      {
        const std::lock_guard lock(mutex);
        if (left[name] == 0) return {};
        // The process alone, and the machine.
        loss = (left[name]-- + std::hash<std::string>()(name) + seed) % 2 == 1 ? Loss::kSome : Loss::kNothing;
      }
      auto death = volume.die(loss, "at " + name);
      const std::lock_guard lock(mutex);
      deaths.push_back(std::move(death));
      return {};
    }));
  }
  const auto unreached = [&] {
    const std::lock_guard lock(mutex);
    std::string names;
    for (const auto& [name, times] : left) {
      if (times != 0) names += name + "\n";
    }
    return names;
  };
  constexpr int kStagesMax = 10 * 12;
  for (int stage = 0; stage < kStagesMax && !unreached().empty(); ++stage) {
    ASSERT_NO_THROW(volume.program(0).step(volume.random())) << "stage " << stage;
    std::vector<LossyVolume::Left> now;
    {
      const std::lock_guard lock(mutex);
      std::swap(now, deaths);
    }
    for (const auto& death : now) {
      const std::string wrong = volume.check(death);
      if (!wrong.empty()) volume.keep();
      ASSERT_EQ(wrong, "") << "stage " << stage;
    }
  }
  EXPECT_EQ(unreached(), "") << "no stage of the tour comes there";
  armed.clear();
}

// Syncs that need not be missed, by the last words of their place.
const std::map<std::string, std::string> kNotMissed = {
    {"rocksdb manifest", "RocksDB's own"},
    {"rocksdb directory", "RocksDB's own"},
    {"rocksdb table", "RocksDB's own"},
    {"rocksdb other", "RocksDB's own"},
    {"sync_logs", "KvPowerLoss.misses_the_flush_of_the_logs_of_an_earlier_process"},
    {"StoreDir::format", "PowerLoss.a_page_store_is_formatted_before_it_is_used, which has its own canary"},
    {"StoreDir::stop", "the volume has flushed everything before"},
    {"StoreDir::erase_state", "is for a disk so full that the state cannot be replaced"},
    {"StoreDir::sync_names", "the first sync of a file keeps its name"},
    {"DiskPageStore::stamp", "makes changes through mappings move the ctime"},
};
// Those that must be.
const std::set<std::string> kMissed = {"DiskLocalFile::sync", "StoreDir::replace_text", "StoreDir::sync_file_system",
                                       "PageMap::sync", "rocksdb log"};

// One instant after each thing that a sync is for, at which the machine loses whatever was not synced.
class Instants {
 public:
  explicit Instants(const std::string& without) : volume_(Duration::zero(), without) {}

  // What is wrong at the first of them; empty: nothing is.
  std::string first_wrong() {
    using Step = void (Instants::*)();
    for (const Step step : {&Instants::start, &Instants::sync_a_file, &Instants::flush_all, &Instants::put_an_object,
                            &Instants::change_a_part, &Instants::stop, &Instants::grow_after_a_clean_start}) {
      (this->*step)();
      if (const std::string wrong = look(); !wrong.empty()) return wrong;
    }
    return {};
  }
  std::set<std::string> sites() { return volume_.disk().sync_sites(); }

 private:
  void start() {
    const std::string& text = expected_["part"] = std::string(3 * CrashVolume::kPageBytes, 'b');
    must((*volume_).bucket().put("part", std::as_bytes(std::span(text)), {}, CrashVolume::later()));
  }
  void sync_a_file() {
    const auto file = volume_.create("synced");
    volume_.write(*file, expected_["synced"] = std::string(20'000, 's'));
    must(file->sync());
    file->close();
  }
  void flush_all() {
    const auto file = volume_.create("flushed");
    volume_.write(*file, expected_["flushed"] = std::string(20'000, 'f'));
    must(file->flush());
    file->close();
    must(volume_->sync_all());
  }
  void put_an_object() {
    const std::string text(5'000, 'o');
    const auto writer = must(volume_->objects().put({.bucket = "s3", .key = "object"}));
    const auto bytes = std::as_bytes(std::span(text));
    must(writer->write(bytes));
    must(writer->commit({.etag = net::hex(net::md5(bytes))}, {}, volume::ObjectDurability::kSync));
    expected_["object"] = text;
  }
  // Which of its pages are here only a map tells.
  void change_a_part() {
    const auto file = must(volume_->open_file(must(volume_->resolve("/s3/part")), {.access = volume::Access::kWrite}));
    const std::string change(4'096, 'p');
    must(file->write(CrashVolume::kPageBytes, std::as_bytes(std::span(change))));
    must(file->sync());
    file->close();
    expected_["part"].replace(CrashVolume::kPageBytes, change.size(), change);
  }
  void stop() { (*volume_).stop(); }
  // What grew was not synced: the file is as it was.
  void grow_after_a_clean_start() {
    (*volume_).open();
    const auto file = must(volume_->open_file(must(volume_->resolve("/s3/synced")), {.access = volume::Access::kWrite}));
    const std::string text(20'000, 'g');
    must(file->append(std::as_bytes(std::span(text))));
    must(file->flush());
    file->close();
    must(volume_->sync_directory((*volume_).root()));
  }

  std::string look() {
    try {
      const auto left = volume_.lose_power(Loss::kAll);
      for (const auto& [name, text] : expected_) {
        if (QuietVolume::read(*left, name) != text) return name + " is not what it was";
        const auto size = must((*left)->get_attributes(must((*left)->resolve("/s3/" + name)))).attributes.size;
        if (size != text.size()) return name + " says that it has " + std::to_string(size) + " bytes";
      }
    } catch (const std::exception& e) {
      return std::string("it fails: ") + e.what();
    }
    return {};
  }

  QuietVolume volume_;
  std::map<std::string, std::string> expected_;
};

bool names(const std::string& site, const std::string& place) { return site.find(place) != std::string::npos; }

// The canary: without any one of its syncs, but those above, the code fails these tests. Syncs of one function count as one.
TEST(PowerLoss, misses_each_sync_that_is_left_out) {
  Instants all("");
  ASSERT_EQ(all.first_wrong(), "");
  const auto sites = all.sites();
  for (const std::string& place : kMissed)
    EXPECT_TRUE(std::ranges::any_of(sites, [&](const auto& site) { return names(site, place); })) << place << " is not reached";
  for (const std::string& site : sites) {
    if (std::ranges::any_of(kNotMissed, [&](const auto& entry) { return names(site, entry.first); })) continue;
    EXPECT_NE(Instants(site).first_wrong(), "") << "nobody misses " << site;
  }
}

}  // namespace
}  // namespace weir::testing
