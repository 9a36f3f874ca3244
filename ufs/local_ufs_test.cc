// What is particular to the under store that is a directory; the contract is tested elsewhere.
#include "ufs/local_ufs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "net/encoding.h"
#include "ufs/local_names.h"

namespace weir::ufs {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

Deadline soon() { return Deadline::after(std::chrono::seconds(30)); }

class LocalUfsTest : public ::testing::Test {
 protected:
  LocalUfsTest() : root_(fs::temp_directory_path() / ("weir-local-ufs-" + std::to_string(std::random_device()()))) {
    fs::create_directory(root_);
    auto store = LocalUfs::open(root_);
    EXPECT_TRUE(store) << store.error().to_string();
    store_ = *std::move(store);
  }
  ~LocalUfsTest() override { fs::remove_all(root_); }

  Etag put(std::string_view key, std::string_view body, const PutOptions& options = {}) {
    auto etag = store_->put(key, net::bytes_of(body), options, soon());
    EXPECT_TRUE(etag) << etag.error().to_string();
    return etag.value_or("");
  }
  std::vector<std::string> keys() {
    std::vector<std::string> keys;
    const auto page = store_->list({}, soon());
    EXPECT_TRUE(page);
    if (!page) return keys;
    for (const ObjectInfo& object : page->objects) keys.push_back(object.key);
    return keys;
  }
  std::string file(const std::string& name) {
    std::ifstream in(root_ / name);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(root_ / name) << text; }
  size_t leftovers() {
    return static_cast<size_t>(std::distance(fs::directory_iterator(root_ / ".weir-ufs/new"), {}));
  }

  const fs::path root_;
  std::unique_ptr<LocalUfs> store_;
};

TEST_F(LocalUfsTest, an_object_is_a_plain_file_under_its_path) {
  put("d/e/f", "body");
  EXPECT_EQ(file("d/e/f"), "body");
  put("d/e/", "");
  EXPECT_EQ(leftovers(), 0u);
}

TEST_F(LocalUfsTest, files_of_other_programs_are_objects) {
  fs::create_directories(root_ / "x/y");
  write("x/y/z", "theirs");
  fs::create_symlink("y", root_ / "x/link");
  EXPECT_THAT(keys(), ElementsAre("x/y/z"));
  EXPECT_EQ(store_->head("x/y/z", soon())->info.size_bytes, 6u);
  EXPECT_TRUE(failed_with(store_->head("x/link", soon()), ErrorCode::kNotFound));
}

TEST_F(LocalUfsTest, a_file_changed_by_another_program_has_another_etag_and_no_attributes) {
  const Etag etag = put("f", "ours", {.attributes = {.user = {{"mode", "1"}}}});
  write("f", "them");
  const auto found = store_->head("f", soon());
  ASSERT_TRUE(found);
  EXPECT_NE(found->info.etag, etag);
  EXPECT_THAT(found->attributes.user, IsEmpty());
  std::array<std::byte, 4> buffer;
  EXPECT_TRUE(failed_with(store_->get("f", 0, buffer, etag, soon(), nullptr), ErrorCode::kPrecondition));
}

TEST_F(LocalUfsTest, etags_differ_for_the_same_bytes_put_quickly) {
  std::set<Etag> etags;
  for (int i = 0; i < 50; ++i) etags.insert(put("f", "same"));
  EXPECT_EQ(etags.size(), 50u);
}

TEST_F(LocalUfsTest, directories_vanish_with_their_last_object) {
  put("a/b/c", "1");
  put("a/kept/", "");
  ASSERT_TRUE(store_->erase("a/b/c", std::nullopt, soon()));
  EXPECT_FALSE(fs::exists(root_ / "a/b"));
  EXPECT_TRUE(fs::exists(root_ / "a/kept"));
  ASSERT_TRUE(store_->erase("a/kept/", std::nullopt, soon()));
  EXPECT_FALSE(fs::exists(root_ / "a"));
}

TEST_F(LocalUfsTest, no_key_leads_out_of_the_directory) {
  const fs::path outside = root_.parent_path() / (root_.filename().string() + "-outside");
  put("../" + outside.filename().string(), "x");
  put("a/../../" + outside.filename().string(), "x");
  put("/" + outside.string(), "x");
  EXPECT_FALSE(fs::exists(outside));
  EXPECT_EQ(keys().size(), 3u);
}

TEST_F(LocalUfsTest, the_hidden_directory_is_out_of_reach) {
  put(".weir-ufs/lock", "x");
  EXPECT_EQ(file(".weir-ufs/lock"), "");
  EXPECT_THAT(keys(), ElementsAre(".weir-ufs/lock"));
  put("a", "1");
  put("a/b", "escaped");
  EXPECT_EQ(file("a"), "1");
}

TEST_F(LocalUfsTest, processes_exclude_each_other) {
  put("counter", "");
  // Each process adds one byte fifty times, by compare and swap.
  const auto work = [&]() -> int {
    auto store = LocalUfs::open(root_);
    if (!store) return 1;
    for (int done = 0; done < 50;) {
      const auto found = (*store)->head("counter", soon());
      if (!found) return 2;
      const std::string body(found->info.size_bytes + 1, 'x');
      const auto swapped =
          (*store)->put("counter", net::bytes_of(body), {.conditions = {.if_match = found->info.etag}}, soon());
      if (!swapped && swapped.error() != ErrorCode::kPrecondition) return 3;
      if (swapped) ++done;
    }
    return 0;
  };
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int status = -1;
      std::thread([&] { status = work(); }).join();  // a thread has random numbers of its own
      ::_exit(status);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(store_->head("counter", soon())->info.size_bytes, 150u);
}

TEST_F(LocalUfsTest, a_later_delimited_page_goes_on_where_the_last_one_ended) {
  for (const char* key : {"d/1", "d/2", "e/1", "f"}) put(key, "x");
  put("d//x", "escaped");
  const auto first = store_->list({.delimiter = "/", .keys_max = 1}, soon());
  ASSERT_TRUE(first);
  EXPECT_THAT(first->prefixes, ElementsAre("d/"));
  const auto second = store_->list({.delimiter = "/", .token = first->token}, soon());
  ASSERT_TRUE(second);
  EXPECT_THAT(second->prefixes, ElementsAre("e/"));
  ASSERT_EQ(second->objects.size(), 1u);
  EXPECT_EQ(second->objects[0].key, "f");
}

TEST(LocalNames, escaping_is_reversible_and_distinct) {
  std::mt19937 random(3);
  std::set<std::string> names;
  std::set<std::string> keys{"a", "a/b", "a%2Fb", "A", "..", std::string(200, 'a'), std::string(201, 'a'),
                             std::string(400, 'a'), std::string(200, '~')};
  for (int i = 0; i < 2'000; ++i) {
    std::string key(1 + random() % 1'024, '\0');
    for (char& c : key) c = static_cast<char>(1 + random() % 255);
    keys.insert(key);
  }
  for (const std::string& key : keys) {
    const std::string name = local::escape(key);
    EXPECT_EQ(local::unescape(name), key);
    for (size_t at = 0; at < name.size();) {
      const size_t end = std::min(name.find('/', at), name.size());
      EXPECT_LE(end - at, 255u);
      at = end + 1;
    }
    EXPECT_FALSE(names.contains(name + "~"));
    names.insert(name);
  }
  EXPECT_EQ(names.size(), keys.size());
  EXPECT_FALSE(local::unescape("%2f"));
  EXPECT_FALSE(local::unescape("."));
}

TEST(LocalNames, only_clean_relative_paths_are_paths) {
  for (const char* key : {"a", "a/b", "a/", "...", ".a", "a/.weir-ufs"}) EXPECT_TRUE(local::is_path(key)) << key;
  for (const char* key : {"", "/", "/a", "a//", "a//b", ".", "..", "a/..", "./a", ".weir-ufs", ".weir-ufs/x", ".weir-ufs/"}) {
    EXPECT_FALSE(local::is_path(key)) << key;
  }
  EXPECT_TRUE(local::is_path(std::string(255, 'a')));
  EXPECT_FALSE(local::is_path(std::string(256, 'a')));
}

}  // namespace
}  // namespace weir::ufs
