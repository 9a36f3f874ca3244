// What ufs/under_store.h promises, on every implementation and every double.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "base/random.h"
#include "net/encoding.h"
#include "testing/fault_ufs.h"
#include "testing/mem_ufs.h"
#include "tests/minio/minio_server.h"
#include "ufs/open_ufs.h"
#include "ufs/s3_ufs.h"

namespace weir::ufs {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

std::span<const std::byte> bytes(std::string_view text) { return net::bytes_of(text); }

std::string noise(size_t size, uint64_t seed) {
  Random random(seed);
  std::string text(size, '\0');
  for (size_t i = 0; i < size; i += 8) {
    const uint64_t word = random.next();
    std::memcpy(text.data() + i, &word, std::min<size_t>(8, size - i));
  }
  return text;
}

// One server of a transport for the whole binary; started by the main thread, which outlives every test.
struct Minio {
  using Transport = testing::MinioServer::Transport;
  static constexpr const char* kBucket = "contract";
  std::unique_ptr<testing::MinioServer> server;
  std::string why_missing;

  static Minio& instance() {
    static Minio minio(Transport::kHttp);
    return minio;
  }
  static Minio& over_tls() {
    static Minio minio(Transport::kHttps);
    return minio;
  }

  UfsOptions options() const {
    UfsOptions options{{{"s3.endpoint", server->endpoint()},
                        {"s3.access.key", server->access_key()},
                        {"s3.secret.key", server->secret_key()}}};
    if (!server->ca_file().empty()) options.properties["s3.ca.file"] = server->ca_file();
    return options;
  }

 private:
  explicit Minio(Transport transport) {
    if (const auto missing = testing::MinioServer::missing()) {
      why_missing = *missing;
      return;
    }
    auto started = testing::MinioServer::start(transport);
    if (!started) {
      why_missing = started.error().to_string();
      return;
    }
    server = *std::move(started);
    if (const auto made = server->create_bucket(kBucket); !made) {
      why_missing = made.error().to_string();
      server = nullptr;
    }
  }
};

struct Store {
  std::string name;
  // A fresh, empty store; null with `*why` when it cannot be had here.
  std::function<std::unique_ptr<UnderStore>(std::string* why)> open;
  bool takes_unix_unfriendly_keys = true;
  bool lists_below_objects = true;
  bool takes_long_keys = false;
};

std::string unique_name() {
  static std::atomic<int> last = 0;
  return "t" + std::to_string(++last) + "-" + std::to_string(Random::from_entropy().below(1u << 30));
}

// Removed when the binary ends.
std::vector<std::filesystem::path>& local_directories() {
  struct Directories {
    std::vector<std::filesystem::path> paths;
    ~Directories() {
      for (const auto& path : paths) std::filesystem::remove_all(path);
    }
  };
  static Directories directories;
  return directories.paths;
}

// A fresh prefix of the server's bucket.
std::unique_ptr<UnderStore> open_prefix(const Minio& minio, std::string* why) {
  if (minio.server == nullptr) {
    *why = minio.why_missing;
    return nullptr;
  }
  auto store = open_ufs(std::string("s3://") + Minio::kBucket + "/" + unique_name(), minio.options());
  if (!store) {
    ADD_FAILURE() << store.error().to_string();
    return nullptr;
  }
  return *std::move(store);
}

std::vector<Store> stores() {
  return {
      {"Mem", [](std::string*) { return std::make_unique<testing::MemUfs>(); }},
      {"MemUnconditional",
       [](std::string*) {
         return std::make_unique<testing::MemUfs>(testing::MemUfsOptions{.capabilities = {}, .prefix = "p/"});
       }},
      {"FaultWithoutFaults",
       [](std::string*) {
         struct Owning {
           testing::MemUfs mem;
         };
         struct Both : Owning, testing::FaultUfs {
           Both() : testing::FaultUfs(mem, 1) {}
         };
         return std::make_unique<Both>();
       }},
      {"Local",
       [](std::string*) -> std::unique_ptr<UnderStore> {
         const auto directory = std::filesystem::temp_directory_path() / ("weir-ufs-" + unique_name());
         std::filesystem::create_directory(directory);
         auto store = open_ufs("file://" + directory.string(), {});
         if (!store) {
           ADD_FAILURE() << store.error().to_string();
           return nullptr;
         }
         local_directories().push_back(directory);
         return *std::move(store);
       },
       true,
       true,
       true},
      {"S3OnMinio", [](std::string* why) { return open_prefix(Minio::instance(), why); }, false, false, true},
      {"S3OnMinioOverTls", [](std::string* why) { return open_prefix(Minio::over_tls(), why); }, false, false, true},
  };
}

class UfsContract : public ::testing::TestWithParam<Store> {
 protected:
  void SetUp() override {
    std::string why;
    store_ = GetParam().open(&why);
    if (store_ == nullptr) GTEST_SKIP() << "SKIPPED: " << why;
    const auto found = store_->probe(soon());
    ASSERT_TRUE(found) << found.error().to_string();
    capabilities_ = *found;
  }

  Etag must_put(std::string_view key, std::string_view body, const PutOptions& options = {}) {
    auto etag = store_->put(key, bytes(body), options, soon());
    EXPECT_TRUE(etag) << etag.error().to_string();
    return etag.value_or("");
  }

  ObjectHead must_head(std::string_view key) {
    auto found = store_->head(key, soon());
    EXPECT_TRUE(found) << found.error().to_string();
    return found.value_or(ObjectHead{});
  }

  std::string must_get(std::string_view key) {
    const auto found = store_->head(key, soon());
    if (!found) return "<" + found.error().to_string() + ">";
    std::string body(found->info.size_bytes, '\0');
    const auto got = store_->get(key, 0, std::as_writable_bytes(std::span(body)), found->info.etag, soon());
    if (!got) return "<" + got.error().to_string() + ">";
    EXPECT_EQ(*got, body.size());
    return body;
  }

  struct Listing {
    std::vector<std::string> keys;
    std::vector<std::string> prefixes;
    int pages = 0;
  };
  Listing list_all(ListRequest request) {
    Listing all;
    while (true) {
      const auto page = store_->list(request, soon());
      if (!page) {
        ADD_FAILURE() << page.error().to_string();
        return all;
      }
      ++all.pages;
      for (const ObjectInfo& object : page->objects) all.keys.push_back(object.key);
      all.prefixes.insert(all.prefixes.end(), page->prefixes.begin(), page->prefixes.end());
      EXPECT_LE(page->objects.size() + page->prefixes.size(), request.keys_max);
      if (page->token.empty()) return all;
      request.token = page->token;
    }
  }

  std::unique_ptr<UnderStore> store_;
  Capabilities capabilities_;
};

INSTANTIATE_TEST_SUITE_P(Stores, UfsContract, ::testing::ValuesIn(stores()),
                         [](const auto& info) { return info.param.name; });

TEST_P(UfsContract, probe_leaves_nothing_behind) { EXPECT_THAT(list_all({}).keys, IsEmpty()); }

TEST_P(UfsContract, bytes_and_metadata_round_trip) {
  const ObjectAttributes attributes{.content_type = "text/plain",
                                    .content_encoding = "gzip",
                                    .content_disposition = "attachment; filename=\"a b\"",
                                    .content_language = "de",
                                    .cache_control = "no-store",
                                    .expires = "Thu, 01 Dec 1994 16:00:00 GMT",
                                    .user = {{"mode", "33188"}, {"mtime", "1700000000.123456789"}, {"x_y.z", "a = b"}}};
  const std::string body = noise(100'001, 1);
  const Etag etag = must_put("dir/file", body, {.attributes = attributes});
  EXPECT_FALSE(etag.empty());
  EXPECT_FALSE(etag.contains('"'));
  const auto found = store_->head("dir/file", soon());
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->info.key, "dir/file");
  EXPECT_EQ(found->info.etag, etag);
  EXPECT_EQ(found->info.size_bytes, body.size());
  EXPECT_TRUE(says(found->attributes, attributes));
  EXPECT_LT(std::chrono::abs(found->info.last_modified - system_clock().wall_now()), std::chrono::minutes(5));
  EXPECT_EQ(must_get("dir/file"), body);
}

TEST_P(UfsContract, any_key_is_an_object) {
  std::vector<std::string> keys = {"a b",        "a+b",  "a%20b",     "a%2fb", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
                                   "q?x=1&y#z", "~!@$*()'", "semi;colon,=", "<&\">", "back\\slash", "tab\there",
                                   std::string(255, 'n') + "/x"};
  if (GetParam().takes_unix_unfriendly_keys) {
    keys.insert(keys.end(), {"a//b", "./a", "../a", "a/../b", "a/.", "..", ".", "/lead", "//",
                             std::string(300, 'l'), std::string(1'000, 'm'), ".weir-ufs/x", "a/.weir-ufs/y"});
  }
  for (const std::string& key : keys) must_put(key, "body of " + key);
  for (const std::string& key : keys) EXPECT_EQ(must_get(key), "body of " + key);
  std::ranges::sort(keys);
  EXPECT_EQ(list_all({}).keys, keys);
  const auto results = store_->erase_batch(keys, soon());
  ASSERT_TRUE(results) << results.error().to_string();
  for (const auto& result : *results) EXPECT_TRUE(result) << result.error().to_string();
  EXPECT_THAT(list_all({}).keys, IsEmpty());
}

// Lists `prefix` as a directory, page by page.
std::vector<std::string> entries_of(UnderStore& store, const std::string& prefix, uint32_t keys_max) {
  std::vector<std::string> entries;
  ListRequest request{.prefix = prefix, .delimiter = "/", .keys_max = keys_max};
  do {
    const auto page = store.list(request, soon());
    if (!page) {
      ADD_FAILURE() << page.error().to_string();
      break;
    }
    for (const auto& object : page->objects) entries.push_back(object.key.substr(prefix.size()));
    for (const auto& common : page->prefixes) entries.push_back(common.substr(prefix.size()));
    request.token = page->token;
  } while (!request.token.empty());
  std::ranges::sort(entries);
  return entries;
}

TEST_P(UfsContract, names_of_any_bytes_are_objects) {
  const std::vector<std::string> keys = {"a",          "caf\xe9",     "caf\xc3\xa9", "d\xff/x",     "d\xff/\xfe/y",
                                         "d\xff/\xfe/", "\xff 100%",   ".weir-bytes:caf%E9", "z"};
  for (const std::string& key : keys) must_put(key, key.ends_with('/') ? "" : "body of " + key);
  for (const std::string& key : keys) EXPECT_EQ(must_get(key), key.ends_with('/') ? "" : "body of " + key);
  for (const uint32_t keys_max : {2u, 1'000u}) {  // of pages of one entry MinIO loses some
    EXPECT_THAT(entries_of(*store_, "", keys_max),
                ElementsAre(".weir-bytes:caf%E9", "a", "caf\xc3\xa9", "caf\xe9", "d\xff/", "z", "\xff 100%"));
    EXPECT_THAT(entries_of(*store_, "d\xff/", keys_max), ElementsAre("x", "\xfe/"));
    EXPECT_THAT(entries_of(*store_, "d\xff/\xfe/", keys_max), ElementsAre("", "y"));
  }
  ASSERT_TRUE(store_->copy("d\xff/x", "copied\xff", {}, soon()));
  EXPECT_EQ(must_get("copied\xff"), "body of d\xff/x");
  const auto results = store_->erase_batch(keys, soon());
  ASSERT_TRUE(results) << results.error().to_string();
  for (const auto& result : *results) EXPECT_TRUE(result) << result.error().to_string();
  EXPECT_THAT(entries_of(*store_, "", 1'000), ElementsAre("copied\xff"));
}

TEST_P(UfsContract, keys_over_the_limit_of_s3_are_objects) {
  if (!GetParam().takes_long_keys) GTEST_SKIP() << "SKIPPED: this store has the limit";
  std::string directory;
  while (directory.size() < 2'000) directory += std::string(199, 'd') + "/";
  const std::string first = directory.substr(0, 800);
  const std::vector<std::string> keys = {first + "short", first + std::string(250, 'n'), directory + "file",
                                         directory, directory + "below/", directory + "below/\xff"};
  for (const std::string& key : keys) must_put(key, key.ends_with('/') ? "" : "body of " + key);
  for (const std::string& key : keys) EXPECT_EQ(must_get(key), key.ends_with('/') ? "" : "body of " + key);
  for (const uint32_t keys_max : {2u, 1'000u}) {
    EXPECT_THAT(entries_of(*store_, "", keys_max), ElementsAre(std::string(199, 'd') + "/"));
    // A directory is shown where its own object is; that one is not listed below itself everywhere.
    EXPECT_THAT(entries_of(*store_, first, keys_max), IsSupersetOf({std::string("short"), std::string(250, 'n')}));
    EXPECT_THAT(entries_of(*store_, directory, keys_max), IsSupersetOf({"below/", "file"}));
    EXPECT_THAT(entries_of(*store_, directory + "below/", keys_max), IsSupersetOf({"\xff"}));
  }
  const std::string copied = directory + "copied";
  ASSERT_TRUE(store_->copy(keys[2], copied, {}, soon()));
  EXPECT_EQ(must_get(copied), "body of " + keys[2]);
  const auto upload = store_->create_multipart(copied, {}, soon());
  ASSERT_TRUE(upload) << upload.error().to_string();
  const auto part = store_->upload_part(copied, *upload, 1, bytes("in parts"), soon());
  ASSERT_TRUE(part) << part.error().to_string();
  const auto uploads = store_->list_uploads(copied, soon());
  ASSERT_TRUE(uploads && uploads->size() == 1);
  EXPECT_EQ(uploads->front().key, copied);
  ASSERT_TRUE(store_->complete_multipart(copied, *upload, {*part}, {}, soon()));
  EXPECT_EQ(must_get(copied), "in parts");
  ASSERT_TRUE(store_->erase(copied, std::nullopt, soon()));
  const auto results = store_->erase_batch(keys, soon());
  ASSERT_TRUE(results) << results.error().to_string();
  for (const auto& result : *results) EXPECT_TRUE(result) << result.error().to_string();
  EXPECT_THAT(entries_of(*store_, directory, 1'000), IsEmpty());
}

TEST_P(UfsContract, a_key_that_the_store_cannot_hold_is_invalid) {
  for (const char* key : {"a//b", "a/../b", "./a"}) {
    const auto done = store_->put(key, {}, {}, soon());
    EXPECT_TRUE(done || done.error() == ErrorCode::kInvalid) << key;
  }
}

TEST_P(UfsContract, keys_over_the_limit_and_empty_ones_are_invalid) {
  EXPECT_TRUE(failed_with(store_->put("", {}, {}, soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->put(std::string(4'001, 'x'), {}, {}, soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->head(std::string(4'001, 'x'), soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->put(std::string("a\0b", 3), {}, {}, soon()), ErrorCode::kInvalid));
}

TEST_P(UfsContract, an_object_stands_beside_objects_below_it) {
  must_put("a", "1");
  must_put("a/b", "2");
  must_put("a/", "");
  must_put("a/b/c", "3");
  must_put("d/", "data in a directory object");
  EXPECT_EQ(must_get("a"), "1");
  EXPECT_EQ(must_get("a/b"), "2");
  EXPECT_EQ(must_get("a/"), "");
  EXPECT_EQ(must_get("a/b/c"), "3");
  EXPECT_EQ(must_get("d/"), "data in a directory object");
  if (!GetParam().lists_below_objects) GTEST_SKIP() << "SKIPPED: MinIO holds `a/b` beside `a` but does not list it";
  EXPECT_THAT(list_all({}).keys, ElementsAre("a", "a/", "a/b", "a/b/c", "d/"));
  ASSERT_TRUE(store_->erase("a", std::nullopt, soon()));
  EXPECT_THAT(list_all({}).keys, ElementsAre("a/", "a/b", "a/b/c", "d/"));
  ASSERT_TRUE(store_->erase("a/b", std::nullopt, soon()));
  EXPECT_EQ(must_get("a/b/c"), "3");
  EXPECT_TRUE(failed_with(store_->head("a/b", soon()), ErrorCode::kNotFound));
}

TEST_P(UfsContract, an_object_can_come_after_objects_below_it) {
  must_put("a/b", "2");
  EXPECT_TRUE(failed_with(store_->head("a", soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->head("a/", soon()), ErrorCode::kNotFound));
  must_put("a", "1");
  EXPECT_EQ(must_get("a"), "1");
  EXPECT_EQ(must_get("a/b"), "2");
  must_put("a", "one");
  ASSERT_TRUE(store_->erase("a/b", std::nullopt, soon()));
  EXPECT_EQ(must_get("a"), "one");
  EXPECT_THAT(list_all({}).keys, ElementsAre("a"));
}

TEST_P(UfsContract, directory_objects_are_objects) {
  must_put("dir/", "", {.attributes = {.user = {{"mode", "16877"}}}});
  const auto found = store_->head("dir/", soon());
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_EQ(found->info.size_bytes, 0u);
  EXPECT_EQ(found->attributes.user.at("mode"), "16877");
  must_put("dir/x", "x");
  EXPECT_THAT(list_all({}).keys, ElementsAre("dir/", "dir/x"));
  ASSERT_TRUE(store_->erase("dir/", std::nullopt, soon()));
  EXPECT_THAT(list_all({}).keys, ElementsAre("dir/x"));
  EXPECT_TRUE(failed_with(store_->head("dir/", soon()), ErrorCode::kNotFound));
  ASSERT_TRUE(store_->erase("dir/x", std::nullopt, soon()));
  EXPECT_THAT(list_all({.delimiter = "/"}).prefixes, IsEmpty());
}

TEST_P(UfsContract, the_empty_object_is_an_object) {
  must_put("empty", "");
  EXPECT_EQ(must_get("empty"), "");
  std::array<std::byte, 8> buffer;
  ObjectInfo info;
  const auto got = store_->get("empty", 0, buffer, std::nullopt, soon(), &info);
  ASSERT_TRUE(got) << got.error().to_string();
  EXPECT_EQ(*got, 0u);
  EXPECT_EQ(info.key, "empty");
  EXPECT_EQ(info.size_bytes, 0u);
}

TEST_P(UfsContract, what_a_streaming_get_tells_of_is_there) {
  const std::string body = noise(3'000'000, 3);
  const Etag etag = must_put("o", body);
  for (const auto& [offset, size] : {std::pair<uint64_t, size_t>{0, 3'000'000}, {0, 2'000'000}, {1'000'000, 1'999'999}, {2'999'990, 100}}) {
    std::string buffer(size, '?');
    size_t told = 0;
    const auto got = store_->get_streaming("o", offset, std::as_writable_bytes(std::span(buffer)), etag, soon(), [&](size_t here) {
      EXPECT_GE(here, told);
      EXPECT_EQ(buffer.substr(told, here - told), body.substr(offset + told, here - told));
      told = here;
    });
    ASSERT_TRUE(got) << got.error().to_string();
    EXPECT_EQ(*got, std::min<size_t>(size, body.size() - offset));
    EXPECT_LE(told, *got);
    EXPECT_EQ(buffer.substr(0, *got), body.substr(offset, *got));
  }
  std::string unused(10, '?');
  const auto other = store_->get_streaming("o", 0, std::as_writable_bytes(std::span(unused)), "another", soon(),
                                           [](size_t) { ADD_FAILURE(); });
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error(), ErrorCode::kPrecondition);
}

TEST_P(UfsContract, get_reads_ranges_and_stops_at_the_end) {
  const std::string body = noise(10'000, 2);
  const Etag etag = must_put("o", body);
  const auto read = [&](uint64_t offset, size_t size) {
    std::string buffer(size, '?');
    ObjectInfo info;
    const auto got = store_->get("o", offset, std::as_writable_bytes(std::span(buffer)), etag, soon(), &info);
    if (!got) return "<" + got.error().to_string() + ">";
    EXPECT_EQ(info.size_bytes, body.size());
    EXPECT_EQ(info.etag, etag);
    return buffer.substr(0, *got);
  };
  EXPECT_EQ(read(0, 10'000), body);
  EXPECT_EQ(read(0, 20'000), body);
  EXPECT_EQ(read(0, 1), body.substr(0, 1));
  EXPECT_EQ(read(5'000, 100), body.substr(5'000, 100));
  EXPECT_EQ(read(9'999, 100), body.substr(9'999));
  EXPECT_EQ(read(10'000, 100), "");
  EXPECT_EQ(read(1ull << 40, 100), "");
  EXPECT_EQ(read(5, 0), "");
}

TEST_P(UfsContract, get_with_another_etag_is_a_failed_precondition) {
  const Etag old = must_put("o", "old");
  const Etag now = must_put("o", "new");
  EXPECT_NE(old, now);
  std::array<std::byte, 3> buffer;
  EXPECT_TRUE(failed_with(store_->get("o", 0, buffer, old, soon()), ErrorCode::kPrecondition));
  EXPECT_TRUE(failed_with(store_->get("o", 100, buffer, old, soon()), ErrorCode::kPrecondition));
  EXPECT_TRUE(store_->get("o", 0, buffer, now, soon()));
}

TEST_P(UfsContract, absent_objects_are_not_found) {
  std::array<std::byte, 3> buffer;
  EXPECT_TRUE(failed_with(store_->head("none", soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->get("none", 0, buffer, std::nullopt, soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->get("none", 0, {}, std::nullopt, soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->copy("none", "x", {}, soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(store_->erase("none", std::nullopt, soon()));
  EXPECT_TRUE(store_->erase("none", Etag("e"), soon()));
  EXPECT_TRUE(failed_with(store_->list_parts("none", "upload", soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(store_->abort_multipart("none", "upload", soon()));
}

TEST_P(UfsContract, metadata_that_cannot_travel_is_refused) {
  for (const char* value : {"two\nlines", "\xc3\xa9", " lead", "trail "}) {
    EXPECT_TRUE(failed_with(store_->put("o", {}, {.attributes = {.user = {{"n", value}}}}, soon()), ErrorCode::kInvalid));
  }
  EXPECT_TRUE(failed_with(store_->put("o", {}, {.attributes = {.user = {{"Upper", "v"}}}}, soon()), ErrorCode::kInvalid));
  const ObjectAttributes large{.user = {{"n", std::string(2'048 - 11, 'v')}}};
  EXPECT_TRUE(failed_with(store_->put("o", {}, {.attributes = large}, soon()), ErrorCode::kTooLarge));
  const ObjectAttributes largest{.user = {{"n", std::string(2'048 - 12, 'v')}}};
  must_put("o", "", {.attributes = largest});
  EXPECT_EQ(must_head("o").attributes.user, largest.user);
}

TEST_P(UfsContract, put_replaces_whole_objects_and_their_metadata) {
  must_put("o", "long body", {.attributes = {.user = {{"a", "1"}, {"b", "2"}}}});
  must_put("o", "short", {.attributes = {.user = {{"c", "3"}}}});
  EXPECT_EQ(must_get("o"), "short");
  EXPECT_EQ(must_head("o").attributes.user, (UserMetadata{{"c", "3"}}));
}

TEST_P(UfsContract, conditions_of_put_hold) {
  const auto put = [&](const Conditions& conditions, std::string_view body) {
    return store_->put("o", bytes(body), {.conditions = conditions}, soon());
  };
  EXPECT_TRUE(failed_with(put({.if_match = "0123456789abcdef0123456789abcdef"}, "x"), ErrorCode::kPrecondition));
  const auto first = put({.if_none_match = true}, "1");
  ASSERT_TRUE(first) << first.error().to_string();
  EXPECT_TRUE(failed_with(put({.if_none_match = true}, "2"), ErrorCode::kPrecondition));
  const auto second = put({.if_match = *first}, "2");
  ASSERT_TRUE(second) << second.error().to_string();
  EXPECT_TRUE(failed_with(put({.if_match = *first}, "3"), ErrorCode::kPrecondition));
  EXPECT_EQ(must_get("o"), "2");
  EXPECT_TRUE(failed_with(put({.if_match = *second, .if_none_match = true}, "3"), ErrorCode::kInvalid));
}

// Semantics 5.3, below the mount.
TEST_P(UfsContract, of_racing_conditional_puts_one_wins) {
  if (!capabilities_.conditional_put) GTEST_SKIP() << "SKIPPED: the store has no atomic conditional put";
  for (int round = 0; round < 5; ++round) {
    const std::string key = "race" + std::to_string(round);
    const std::optional<Etag> base = round % 2 == 0 ? std::nullopt : std::optional(must_put(key, "base"));
    std::atomic<int> winners = 0;
    std::string winning_body;
    {
      std::vector<std::jthread> threads;
      for (int t = 0; t < 8; ++t) {
        threads.emplace_back([&, t] {
          const std::string body = "from thread " + std::to_string(t);
          const auto done =
              store_->put(key, bytes(body), {.conditions = {.if_match = base, .if_none_match = !base}}, soon());
          if (done) {
            ++winners;
            winning_body = body;
          } else {
            EXPECT_EQ(done.error(), ErrorCode::kPrecondition) << done.error().to_string();
          }
        });
      }
    }
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(must_get(key), winning_body);
  }
}

TEST_P(UfsContract, multipart_upload_makes_one_object) {
  const std::string first = noise(kPartBytesMin, 3);
  const std::string second = noise(kPartBytesMin + 7, 4);
  const std::string third = "the end";
  const auto id = store_->create_multipart("big", {.content_type = "application/x-test", .user = {{"k", "v"}}}, soon());
  ASSERT_TRUE(id) << id.error().to_string();
  std::vector<Part> parts(3);
  // Out of order; the second one twice, the last one counts.
  const auto upload = [&](uint32_t number, std::string_view body) {
    auto part = store_->upload_part("big", *id, number, bytes(body), soon());
    ASSERT_TRUE(part) << part.error().to_string();
    EXPECT_EQ(part->number, number);
    EXPECT_EQ(part->size_bytes, body.size());
    parts[number - 1] = *part;
  };
  upload(3, third);
  upload(2, first);
  upload(1, first);
  upload(2, second);
  EXPECT_TRUE(failed_with(store_->head("big", soon()), ErrorCode::kNotFound));
  EXPECT_THAT(list_all({}).keys, IsEmpty());

  const auto listed = store_->list_parts("big", *id, soon());
  ASSERT_TRUE(listed) << listed.error().to_string();
  ASSERT_EQ(listed->size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*listed)[i].number, parts[i].number);
    EXPECT_EQ((*listed)[i].etag, parts[i].etag);
    EXPECT_EQ((*listed)[i].size_bytes, parts[i].size_bytes);
    EXPECT_EQ((*listed)[i].checksum, parts[i].checksum);
  }
  const auto uploads = store_->list_uploads("big", soon());
  ASSERT_TRUE(uploads) << uploads.error().to_string();
  ASSERT_EQ(uploads->size(), 1u);
  EXPECT_EQ((*uploads)[0].key, "big");
  EXPECT_EQ((*uploads)[0].upload_id, *id);

  // Resumed: completed with what the listing said.
  const auto etag = store_->complete_multipart("big", *id, *listed, {}, soon());
  ASSERT_TRUE(etag) << etag.error().to_string();
  EXPECT_EQ(must_get("big"), first + second + third);
  const auto found = store_->head("big", soon());
  EXPECT_EQ(found->info.etag, *etag);
  EXPECT_EQ(found->attributes.content_type, "application/x-test");
  EXPECT_EQ(found->attributes.user.at("k"), "v");
  const auto again = store_->complete_multipart("big", *id, *listed, {}, soon());
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(*again, *etag);
  EXPECT_TRUE(failed_with(store_->list_parts("big", *id, soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(store_->abort_multipart("big", *id, soon()));
  EXPECT_EQ(must_get("big").size(), first.size() + second.size() + third.size());
}

TEST_P(UfsContract, completing_is_not_repeatable_once_the_object_is_another) {
  const auto id = store_->create_multipart("o", {}, soon());
  ASSERT_TRUE(id);
  const auto part = store_->upload_part("o", *id, 1, bytes("parts"), soon());
  ASSERT_TRUE(part);
  ASSERT_TRUE(store_->complete_multipart("o", *id, {*part}, {}, soon()));
  must_put("o", "another");
  EXPECT_TRUE(failed_with(store_->complete_multipart("o", *id, {*part}, {}, soon()), ErrorCode::kNotFound));
  EXPECT_EQ(must_get("o"), "another");
}

TEST_P(UfsContract, completing_with_a_condition_is_repeatable) {
  const auto id = store_->create_multipart("o", {}, soon());
  ASSERT_TRUE(id);
  const auto part = store_->upload_part("o", *id, 1, bytes("parts"), soon());
  ASSERT_TRUE(part);
  const auto etag = store_->complete_multipart("o", *id, {*part}, {.if_none_match = true}, soon());
  ASSERT_TRUE(etag) << etag.error().to_string();
  const auto again = store_->complete_multipart("o", *id, {*part}, {.if_none_match = true}, soon());
  ASSERT_TRUE(again) << again.error().to_string();
  EXPECT_EQ(*again, *etag);
}

TEST_P(UfsContract, conditions_of_complete_hold) {
  const Etag there = must_put("o", "there");
  const auto id = store_->create_multipart("o", {}, soon());
  ASSERT_TRUE(id);
  const auto part = store_->upload_part("o", *id, 1, bytes("parts"), soon());
  ASSERT_TRUE(part);
  EXPECT_TRUE(failed_with(store_->complete_multipart("o", *id, {*part}, {.if_none_match = true}, soon()),
                          ErrorCode::kPrecondition));
  EXPECT_EQ(must_get("o"), "there");
  const auto done = store_->complete_multipart("o", *id, {*part}, {.if_match = there}, soon());
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(must_get("o"), "parts");
}

TEST_P(UfsContract, an_aborted_upload_is_gone) {
  const auto id = store_->create_multipart("o", {}, soon());
  ASSERT_TRUE(id);
  const auto part = store_->upload_part("o", *id, 1, bytes("x"), soon());
  ASSERT_TRUE(part);
  ASSERT_TRUE(store_->abort_multipart("o", *id, soon()));
  EXPECT_TRUE(store_->abort_multipart("o", *id, soon()));
  EXPECT_TRUE(failed_with(store_->upload_part("o", *id, 2, bytes("x"), soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->list_parts("o", *id, soon()), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->complete_multipart("o", *id, {*part}, {}, soon()), ErrorCode::kNotFound));
  EXPECT_THAT(*store_->list_uploads("o", soon()), IsEmpty());
}

TEST_P(UfsContract, wrong_parts_are_refused) {
  const auto id = store_->create_multipart("o", {}, soon());
  ASSERT_TRUE(id);
  const auto small = store_->upload_part("o", *id, 1, bytes("small"), soon());
  const auto last = store_->upload_part("o", *id, 2, bytes("last"), soon());
  ASSERT_TRUE(small && last);
  EXPECT_TRUE(failed_with(store_->complete_multipart("o", *id, {}, {}, soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->complete_multipart("o", *id, {*last, *small}, {}, soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->complete_multipart("o", *id, {*small, *last}, {}, soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->upload_part("o", *id, 0, bytes("x"), soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->upload_part("o", *id, kPartsMax + 1, bytes("x"), soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(store_->head("o", soon()), ErrorCode::kNotFound));
}

TEST_P(UfsContract, parts_can_be_copied) {
  if (!capabilities_.multipart_copy) GTEST_SKIP() << "SKIPPED: the store cannot copy into a part";
  const std::string body = noise(kPartBytesMin + 1'000, 5);
  const Etag etag = must_put("source", body);
  const auto id = store_->create_multipart("o", {}, soon());
  ASSERT_TRUE(id);
  const auto copied = store_->upload_part_copy("o", *id, 1, "source", etag, 1'000, kPartBytesMin, soon());
  ASSERT_TRUE(copied) << copied.error().to_string();
  EXPECT_TRUE(failed_with(store_->upload_part_copy("o", *id, 2, "source", Etag("other"), 0, 10, soon()),
                          ErrorCode::kPrecondition));
  EXPECT_TRUE(failed_with(store_->upload_part_copy("o", *id, 2, "none", std::nullopt, 0, 10, soon()),
                          ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_->upload_part_copy("o", *id, 2, "source", etag, body.size() - 5, 10, soon()),
                          ErrorCode::kInvalid));
  const auto changed = store_->upload_part("o", *id, 2, bytes("changed"), soon());
  ASSERT_TRUE(changed);
  const auto done = store_->complete_multipart("o", *id, {*copied, *changed}, {}, soon());
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(must_get("o"), body.substr(1'000) + "changed");
}

TEST_P(UfsContract, copy_keeps_or_replaces_attributes) {
  const Etag etag = must_put("from", "body", {.attributes = {.content_type = "text/plain", .cache_control = "no-store", .user = {{"a", "1"}}}});
  const auto kept = store_->copy("from", "kept x", {}, soon());
  ASSERT_TRUE(kept) << kept.error().to_string();
  EXPECT_EQ(must_get("kept x"), "body");
  EXPECT_EQ(must_head("kept x").info.etag, *kept);
  EXPECT_EQ(must_head("kept x").attributes.user, (UserMetadata{{"a", "1"}}));
  EXPECT_EQ(must_head("kept x").attributes.content_type, "text/plain");
  EXPECT_EQ(must_head("kept x").attributes.cache_control, "no-store");
  const ObjectAttributes other{.content_type = "text/html", .content_language = "de", .user = {{"b", "2"}}};
  const auto replaced = store_->copy("from", "d/replaced", {.source_if_match = etag, .attributes = other}, soon());
  ASSERT_TRUE(replaced) << replaced.error().to_string();
  EXPECT_EQ(must_get("d/replaced"), "body");
  EXPECT_TRUE(says(must_head("d/replaced").attributes, other));
  ASSERT_TRUE(store_->copy("from", "from", {.attributes = other}, soon()));
  EXPECT_EQ(must_get("from"), "body");
  EXPECT_EQ(must_head("from").attributes.user, other.user);
  EXPECT_TRUE(failed_with(store_->copy("from", "from", {}, soon()), ErrorCode::kInvalid));
}

TEST_P(UfsContract, conditions_of_copy_hold) {
  const Etag from = must_put("from", "new");
  const Etag to = must_put("to", "old");
  EXPECT_TRUE(failed_with(store_->copy("from", "x", {.source_if_match = to}, soon()), ErrorCode::kPrecondition));
  EXPECT_TRUE(failed_with(store_->copy("from", "to", {.conditions = {.if_none_match = true}}, soon()),
                          ErrorCode::kPrecondition));
  EXPECT_TRUE(failed_with(store_->copy("from", "to", {.conditions = {.if_match = from}}, soon()),
                          ErrorCode::kPrecondition));
  EXPECT_EQ(must_get("to"), "old");
  ASSERT_TRUE(store_->copy("from", "to", {.source_if_match = from, .conditions = {.if_match = to}}, soon()));
  ASSERT_TRUE(store_->copy("from", "x", {.conditions = {.if_none_match = true}}, soon()));
  EXPECT_EQ(must_get("to"), "new");
  EXPECT_EQ(must_get("x"), "new");
}

TEST_P(UfsContract, erase_with_another_etag_is_a_failed_precondition) {
  const Etag old = must_put("o", "old");
  const Etag now = must_put("o", "new");
  EXPECT_TRUE(failed_with(store_->erase("o", old, soon()), ErrorCode::kPrecondition));
  EXPECT_EQ(must_get("o"), "new");
  ASSERT_TRUE(store_->erase("o", now, soon()));
  EXPECT_TRUE(failed_with(store_->head("o", soon()), ErrorCode::kNotFound));
}

TEST_P(UfsContract, erase_batch_answers_for_each_key) {
  must_put("a", "1");
  must_put("c&<", "1");
  must_put("d", "1");
  const auto results = store_->erase_batch({"a", "absent", "c&<", std::string(4'001, 'x'), "a"}, soon());
  ASSERT_TRUE(results) << results.error().to_string();
  ASSERT_EQ(results->size(), 5u);
  EXPECT_TRUE((*results)[0]);
  EXPECT_TRUE((*results)[1]);
  EXPECT_TRUE((*results)[2]);
  EXPECT_TRUE(failed_with((*results)[3], ErrorCode::kInvalid));
  EXPECT_TRUE((*results)[4]);
  EXPECT_THAT(list_all({}).keys, ElementsAre("d"));
  EXPECT_TRUE(failed_with(store_->erase_batch(std::vector<std::string>(1'001, "k"), soon()), ErrorCode::kInvalid));
  EXPECT_TRUE(store_->erase_batch({}, soon()));
}

TEST_P(UfsContract, listing_is_complete_in_byte_order_and_paged) {
  std::vector<std::string> keys;
  for (int i = 0; i < 2'500; ++i) keys.push_back("n/" + std::to_string(i));
  for (const char* odd : {"a-b", "a/x", "a0", "a/\xc3\xa9", "a/z z", "n-/x", "n0"}) keys.push_back(odd);
  {
    std::atomic<size_t> next = 0;
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < keys.size(); i = next++) must_put(keys[i], "x");
      });
    }
  }
  std::ranges::sort(keys);
  const Listing all = list_all({});
  EXPECT_EQ(all.keys, keys);
  EXPECT_EQ(all.pages, 3);
  EXPECT_EQ(list_all({.prefix = "n/", .keys_max = 700}).keys.size(), 2'500u);

  const Listing top = list_all({.delimiter = "/"});
  EXPECT_THAT(top.keys, ElementsAre("a-b", "a0", "n0"));
  EXPECT_THAT(top.prefixes, ElementsAre("a/", "n-/", "n/"));
  const Listing paged = list_all({.delimiter = "/", .keys_max = 1});
  EXPECT_EQ(paged.keys, top.keys);
  EXPECT_EQ(paged.prefixes, top.prefixes);
  EXPECT_EQ(paged.pages, 6);
  EXPECT_THAT(list_all({.prefix = "a/", .delimiter = "/"}).keys, ElementsAre("a/x", "a/z z", "a/\xc3\xa9"));
  EXPECT_THAT(list_all({.prefix = "a"}).keys, ElementsAre("a-b", "a/x", "a/z z", "a/\xc3\xa9", "a0"));
  EXPECT_THAT(list_all({.prefix = "none"}).keys, IsEmpty());

  EXPECT_THAT(list_all({.prefix = "a", .start_after = "a/x"}).keys, ElementsAre("a/z z", "a/\xc3\xa9", "a0"));
  EXPECT_THAT(list_all({.prefix = "a", .start_after = "a/y"}).keys, ElementsAre("a/z z", "a/\xc3\xa9", "a0"));
  EXPECT_EQ(list_all({.prefix = "a", .start_after = "A"}).keys.size(), 5u);
  EXPECT_THAT(list_all({.start_after = "n0"}).keys, IsEmpty());
  EXPECT_EQ(list_all({.start_after = "n/2499", .keys_max = 100}).keys,
            std::vector<std::string>(std::ranges::upper_bound(keys, "n/2499"), keys.end()));
}

TEST_P(UfsContract, listing_tells_size_etag_and_time) {
  const Etag etag = must_put("o", "12345");
  const auto page = store_->list({}, soon());
  ASSERT_TRUE(page);
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].size_bytes, 5u);
  EXPECT_EQ(page->objects[0].etag, etag);
  EXPECT_LT(std::chrono::abs(page->objects[0].last_modified - system_clock().wall_now()), std::chrono::minutes(5));
}

TEST_P(UfsContract, a_passed_deadline_fails_at_once) {
  must_put("o", "x");
  const auto found = store_->head("o", Deadline::after(std::chrono::seconds(-1)));
  EXPECT_TRUE(failed_with(found, ErrorCode::kTimedOut));
}

TEST_P(UfsContract, a_reader_sees_one_whole_version) {
  const std::string one(300'000, '1');
  const std::string two(200'000, '2');
  must_put("o", one);
  std::atomic<bool> done = false;
  std::jthread writer([&] {
    for (int i = 0; i < 20; ++i) must_put("o", i % 2 == 0 ? two : one);
    done = true;
  });
  std::string buffer(400'000, '\0');
  while (!done) {
    const auto got = store_->get("o", 0, std::as_writable_bytes(std::span(buffer)), std::nullopt, soon());
    ASSERT_TRUE(got) << got.error().to_string();
    const std::string_view body = std::string_view(buffer).substr(0, *got);
    ASSERT_TRUE(body == one || body == two) << body.size();
  }
}

// What is wrong with an address or with credentials is told as such, by a real server.
class UfsOnMinio : public ::testing::Test {
 protected:
  void SetUp() override {
    if (minio_.server == nullptr) GTEST_SKIP() << "SKIPPED: " << minio_.why_missing;
  }

  Result<Capabilities> probe(std::string_view uri, const UfsProperties& changed = {}) {
    UfsOptions options = minio_.options();
    for (const auto& [name, value] : changed) options.properties[name] = value;
    TRY_ASSIGN(const auto store, open_ufs(uri, options));
    return store->probe(soon());
  }

  // The words of a failure that is kDenied.
  std::string denied(std::string_view uri, const UfsProperties& changed = {}) {
    const auto found = probe(uri, changed);
    if (found) return "no failure";
    EXPECT_EQ(found.error(), ErrorCode::kDenied) << found.error().to_string();
    return found.error().to_string();
  }

  Minio& minio_ = Minio::instance();
};

TEST_F(UfsOnMinio, a_wrong_access_key_is_told) {
  EXPECT_THAT(denied("s3://contract", {{"s3.access.key", "nobody"}}), HasSubstr("check the access key"));
}

TEST_F(UfsOnMinio, a_wrong_secret_key_is_told) {
  EXPECT_THAT(denied("s3://contract", {{"s3.secret.key", "wrong-secret"}}), HasSubstr("secret key"));
}

TEST_F(UfsOnMinio, a_missing_bucket_is_told) {
  EXPECT_THAT(denied("s3://no-such-bucket"), HasSubstr("create the bucket"));
  auto store = open_ufs("s3://no-such-bucket", minio_.options());
  ASSERT_TRUE(store);
  EXPECT_TRUE(failed_with((*store)->head("k", soon()), ErrorCode::kDenied));
  EXPECT_TRUE(failed_with((*store)->put("k", {}, {}, soon()), ErrorCode::kDenied));
}

TEST_F(UfsOnMinio, a_wrong_clock_is_told_with_its_difference) {
  class FastClock final : public Clock {
   public:
    TimePoint now() const override { return system_clock().now(); }
    WallTime wall_now() const override { return system_clock().wall_now() + std::chrono::hours(2); }
  } const clock;
  S3Options options;
  options.endpoint = minio_.server->endpoint();
  options.bucket = Minio::kBucket;
  options.credentials = fixed_credentials({minio_.server->access_key(), minio_.server->secret_key(), ""});
  options.clock = &clock;
  const auto store = S3Ufs::create(options);
  ASSERT_TRUE(store);
  const auto found = (*store)->probe(soon());
  ASSERT_TRUE(failed_with(found, ErrorCode::kDenied));
  EXPECT_THAT(found.error().to_string(), ::testing::ContainsRegex("clock is 7[12][0-9][0-9] s ahead of"));
}

TEST_F(UfsOnMinio, what_minio_can_is_found_out) {
  const auto found = probe("s3://contract/capabilities");
  ASSERT_TRUE(found) << found.error().to_string();
  EXPECT_TRUE(found->conditional_put);
  EXPECT_FALSE(found->conditional_copy);
  EXPECT_TRUE(found->multipart_copy);
}

TEST_F(UfsOnMinio, an_https_client_on_an_http_port_is_unavailable) {
  UfsOptions options = minio_.options();
  options.properties["s3.endpoint"].replace(0, 4, "https");
  const auto store = open_ufs("s3://contract", options);
  ASSERT_TRUE(store);
  const auto found = (*store)->probe(Deadline::after(std::chrono::seconds(3)));
  ASSERT_TRUE(failed_with(found, ErrorCode::kUnavailable)) << found.error().to_string();
  EXPECT_THAT(found.error().to_string(), HasSubstr("TLS"));
}

TEST_F(UfsOnMinio, a_certificate_that_nobody_vouches_for_is_refused) {
  const Minio& minio = Minio::over_tls();
  if (minio.server == nullptr) GTEST_SKIP() << "SKIPPED: " << minio.why_missing;
  UfsOptions options = minio.options();
  options.properties.erase("s3.ca.file");
  const auto probe = [&] { return (*open_ufs("s3://contract", options))->probe(Deadline::after(std::chrono::seconds(3))); };
  const auto refused = probe();
  ASSERT_TRUE(failed_with(refused, ErrorCode::kDenied)) << (refused ? "" : refused.error().to_string());
  EXPECT_THAT(refused.error().to_string(), HasSubstr("s3.ca.file"));
  options.properties["s3.tls.verify"] = "false";
  EXPECT_TRUE(probe());
}

TEST_F(UfsOnMinio, bodies_may_travel_unsigned_and_are_still_verified) {
  UfsOptions options = minio_.options();
  options.properties["s3.payload.signing"] = "never";
  const auto store = *open_ufs("s3://contract/unsigned", options);
  const std::string body = noise(1'000'000, 9);
  ASSERT_TRUE(store->put("o", bytes(body), {}, soon()));
  std::string got(body.size(), '\0');
  EXPECT_EQ(store->get("o", 0, std::as_writable_bytes(std::span(got)), std::nullopt, soon()), body.size());
  EXPECT_EQ(got, body);
}

TEST_F(UfsOnMinio, a_prefix_is_a_store_of_its_own) {
  const auto inner = *open_ufs("s3://contract/outer/in%20ner", minio_.options());
  const auto outer = *open_ufs("s3://contract/outer/", minio_.options());
  ASSERT_TRUE(inner->put("a", bytes("x"), {}, soon()));
  ASSERT_TRUE(outer->head("in%20ner/a", soon()));
  const auto page = inner->list({}, soon());
  ASSERT_TRUE(page);
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].key, "a");
}

}  // namespace
}  // namespace weir::ufs
