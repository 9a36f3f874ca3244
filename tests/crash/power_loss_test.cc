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
}

// A volume without load on a disk that can lose power.
class QuietVolume {
 public:
  explicit QuietVolume(Duration flush_interval) {
    char path[] = "/tmp/weir-power-XXXXXX";
    dir_ = ::mkdtemp(path);
    open_log({.file = dir_ + "/log"});
    fs::create_directory(dir_ + "/root");
    disk_ = std::make_unique<VolatileDisk>(dir_ + "/root");
    set_boot_id("boot before");
    volume_ = std::make_unique<CrashVolume>(dir_ + "/root", CrashVolume::make_bucket());
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

  // The volume as it is after a loss of power now.
  std::unique_ptr<CrashVolume> lose_power(Loss loss) {
    const std::string image = dir_ + "/image" + std::to_string(++images_);
    disk_->lose_power(image, loss, random_);
    set_boot_id("boot after " + image);
    auto left = std::make_unique<CrashVolume>(image, CrashVolume::make_bucket());
    left->open();
    set_boot_id("boot before");
    return left;
  }

  CrashVolume& operator*() { return *volume_; }
  volume::Volume* operator->() { return &**volume_; }
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
    if (found) EXPECT_TRUE(found->empty() || found == text) << found->size() << " bytes, not what was written";
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
  if (std::getenv("WEIR_DEATHS") == nullptr) {
    GTEST_SKIP() << "SKIPPED: set WEIR_DEATHS=1 to run it. It finds that a file overwritten under WRITE_THROUGH may answer ESTALE after a "
                    "loss of power; see docs/status.md";
  }
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
        loss = left[name]-- % 2 == 1 ? Loss::kSome : Loss::kNothing;
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
    {"StoreDir::erase_state", "comes too rarely to be missed for certain"},
    {"StoreDir::sync_names", "comes too rarely to be missed for certain"},
    {"PageMap::sync", "comes too rarely to be missed for certain"},
    {"DiskPageStore::stamp", "makes changes through mappings move the ctime"},
};

// A program that works, dies with the machine, is killed and stopped, until something is wrong; empty: nothing was.
std::string first_wrong(const std::string& without, uint64_t seed, std::set<std::string>* sites) {
  LossyVolume volume(seed, LossyVolume::Load::kMixed, without);
  std::string wrong = volume.check(volume.die(Loss::kAll, "at the beginning"));
  constexpr int kRounds = 4, kDeathsEach = 3;
  for (int round = 0; round < (without.empty() ? 1 : kRounds) && wrong.empty(); ++round) {
    for (int death = 0; death < kDeathsEach && wrong.empty(); ++death) {
      volume.start_load();
      std::this_thread::sleep_for(std::chrono::milliseconds(50 + volume.random().below(50)));
      volume.stop_load();
      wrong = volume.check(volume.die(Loss::kAll, "under load"));
    }
    if (wrong.empty()) {
      volume.restart();
      volume.start_load();
      std::this_thread::sleep_for(std::chrono::milliseconds(30));
      volume.stop_load();
      wrong = volume.check(volume.die(Loss::kAll, "after a kill"));
    }
    if (wrong.empty()) wrong = volume.stop_and_lose_power();
  }
  EXPECT_EQ(volume.failures(), "");
  if (sites != nullptr) *sites = volume.disk().sync_sites();
  return wrong;
}

// The canary: without any one of its syncs, but those above, the code fails these tests. Syncs of one function count as one.
TEST(PowerLoss, misses_each_sync_that_is_left_out) {
  if (std::getenv("WEIR_DEATHS") == nullptr)
    GTEST_SKIP() << "SKIPPED: set WEIR_DEATHS=1 to run it; on a busy machine it may not come upon the one moment that a sync is for";
  const uint64_t seed = number_of("WEIR_SEED", Random::from_entropy().next());
  SCOPED_TRACE("WEIR_SEED=" + std::to_string(seed));
  std::set<std::string> sites;
  ASSERT_EQ(first_wrong("", seed, &sites), "");
  for (const std::string& site : sites) {
    const bool of_other_use = std::ranges::any_of(
        kNotMissed, [&](const auto& entry) { return site.find(entry.first) != std::string::npos; });
    if (of_other_use) continue;
    const std::string wrong = first_wrong(site, seed, nullptr);
    std::cout << site << ": " << wrong.substr(0, wrong.find('\n', wrong.find('\n') + 1)) << std::endl;
    EXPECT_NE(wrong, "") << "nobody misses " << site;
  }
}

}  // namespace
}  // namespace weir::testing
