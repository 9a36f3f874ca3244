// The disk that loses what was not synced does so, for io::File and for RocksDB alike.
#include "tests/crash/volatile_disk.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <string>

#include "base/random.h"
#include "io/directory.h"
#include "io/file.h"
#include "kv/rocks_kv.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

class VolatileDiskTest : public ::testing::Test {
 protected:
  VolatileDiskTest() {
    char path[] = "/tmp/weir-disk-XXXXXX";
    dir_ = ::mkdtemp(path);
    fs::create_directory(dir_ + "/root");
    disk_ = std::make_unique<VolatileDisk>(dir_ + "/root");
    root_ = io::Directory::open(dir_ + "/root").value();
  }
  ~VolatileDiskTest() override {
    disk_.reset();
    fs::remove_all(dir_);
  }

  io::File make(const char* name) {
    return root_.open_file(name, {.access = io::Access::kReadWrite, .create = io::Create::kExclusive}).value();
  }
  fs::path after(Loss loss) {
    const fs::path image = dir_ + "/image" + std::to_string(++images_);
    disk_->lose_power(image, loss, random_);
    return image;
  }
  static std::string text(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  Random random_{1};
  std::string dir_;
  std::unique_ptr<VolatileDisk> disk_;
  io::Directory root_;
  int images_ = 0;
};

TEST_F(VolatileDiskTest, a_new_file_is_gone_until_it_is_synced) {
  const io::File file = make("f");
  ASSERT_TRUE(file.write_at(0, "abc").has_value());
  EXPECT_FALSE(fs::exists(after(Loss::kAll) / "f"));
  EXPECT_EQ(text(after(Loss::kNothing) / "f"), "abc");
  ASSERT_TRUE(file.start_write_out(0, 3).has_value());
  EXPECT_FALSE(fs::exists(after(Loss::kAll) / "f"));
  ASSERT_TRUE(file.sync_data().has_value());
  EXPECT_EQ(text(after(Loss::kAll) / "f"), "abc");
}

TEST_F(VolatileDiskTest, contents_are_those_of_the_last_sync) {
  const io::File file = make("f");
  ASSERT_TRUE(file.write_at(0, std::string(10'000, 'a')).has_value());
  ASSERT_TRUE(file.sync_data().has_value());
  ASSERT_TRUE(file.write_at(5'000, std::string(10'000, 'b')).has_value());
  ASSERT_TRUE(file.truncate(6'000).has_value());
  EXPECT_EQ(text(after(Loss::kAll) / "f"), std::string(10'000, 'a'));
  EXPECT_EQ(text(after(Loss::kNothing) / "f"), std::string(5'000, 'a') + std::string(1'000, 'b'));
}

TEST_F(VolatileDiskTest, unsynced_pages_are_old_new_torn_or_zeros) {
  const io::File file = make("f");
  ASSERT_TRUE(file.write_at(0, std::string(8'192, 'a')).has_value());
  ASSERT_TRUE(file.sync_data().has_value());
  ASSERT_TRUE(file.write_at(4'096, std::string(12'288, 'b')).has_value());
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const std::string found = text(after(Loss::kSome) / "f");
    EXPECT_EQ(found.substr(0, 4'096), std::string(4'096, 'a'));
    std::string second = found.substr(4'096, 4'096);
    EXPECT_EQ(second.find_first_not_of("ab"), std::string::npos);
    seen.insert(second.find('a') == std::string::npos ? "new" : second.find('b') == std::string::npos ? "old" : "torn");
    if (found.size() > 8'192) seen.insert(found.find('\0') == std::string::npos ? "grown" : "zeros");
    if (found.size() == 8'192) seen.insert("short");
  }
  EXPECT_EQ(seen, (std::set<std::string>{"new", "old", "torn", "grown", "zeros", "short"}));
}

TEST_F(VolatileDiskTest, names_are_those_of_the_directorys_last_sync) {
  ASSERT_TRUE(make("a").sync_data().has_value());
  ASSERT_TRUE(make("b").sync_data().has_value());
  ASSERT_TRUE(root_.rename("a", root_, "c", io::Replace::kReplace).has_value());
  ASSERT_TRUE(root_.unlink("b").has_value());
  ASSERT_TRUE(root_.make_directories("d", 0700).has_value());
  const fs::path lost = after(Loss::kAll);
  EXPECT_TRUE(fs::exists(lost / "a"));
  EXPECT_TRUE(fs::exists(lost / "b"));
  EXPECT_FALSE(fs::exists(lost / "c"));
  EXPECT_FALSE(fs::exists(lost / "d"));
  ASSERT_TRUE(root_.sync().has_value());
  const fs::path kept = after(Loss::kAll);
  EXPECT_FALSE(fs::exists(kept / "a"));
  EXPECT_FALSE(fs::exists(kept / "b"));
  EXPECT_TRUE(fs::exists(kept / "c"));
  EXPECT_TRUE(fs::exists(kept / "d"));
}

TEST_F(VolatileDiskTest, a_killed_process_changes_nothing_more) {
  const io::File file = make("f");
  ASSERT_TRUE(file.write_at(0, "abc").has_value());
  disk_->kill();
  EXPECT_FALSE(file.write_at(0, "xyz").has_value());
  EXPECT_FALSE(file.sync_data().has_value());
  EXPECT_FALSE(root_.unlink("f").has_value());
  disk_->revive();
  EXPECT_EQ(text(dir_ + "/root/f"), "abc");
  EXPECT_FALSE(fs::exists(after(Loss::kAll) / "f"));
}

TEST_F(VolatileDiskTest, rocksdb_is_seen) {
  const auto commit = [](kv::Kv& kv, const char* key, kv::Durability durability) {
    const auto txn = kv.begin();
    txn->put(key, "x");
    return txn->commit(durability).has_value();
  };
  const auto there = [](kv::Kv& kv, const char* key) { return kv.begin()->get(key).value().has_value(); };
  const auto kv = kv::RocksKv::open({.dir = dir_ + "/root/kv"}).value();
  ASSERT_TRUE(commit(*kv, "synced", kv::Durability::kSynced));
  ASSERT_TRUE(commit(*kv, "written", kv::Durability::kWritten));
  const auto lost = kv::RocksKv::open({.dir = after(Loss::kAll) / "kv"}).value();
  EXPECT_TRUE(there(*lost, "synced"));
  EXPECT_FALSE(there(*lost, "written"));
  const auto kept = kv::RocksKv::open({.dir = after(Loss::kNothing) / "kv"}).value();
  EXPECT_TRUE(there(*kept, "written"));
  EXPECT_TRUE(disk_->sync_sites().contains("rocksdb log"));
  EXPECT_TRUE(disk_->sync_sites().contains("rocksdb manifest"));
  EXPECT_TRUE(disk_->sync_sites().contains("rocksdb directory"));
}

}  // namespace
}  // namespace weir::testing
