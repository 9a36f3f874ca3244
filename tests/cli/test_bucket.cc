#include "tests/cli/test_bucket.h"

#include <gtest/gtest.h>

#include <span>
#include <utility>

#include "net/encoding.h"

namespace weir::testing {
namespace {

constexpr const char* kBucket = "weir";

Deadline soon() { return Deadline::after(std::chrono::seconds(60)); }

}  // namespace

std::unique_ptr<TestBucket> TestBucket::make(Under under, const std::filesystem::path& folder) {
  auto bucket = std::make_unique<TestBucket>();
  if (under == Under::kDirectory) {
    bucket->uri_ = "file://" + folder.string();
  } else {
    auto server = MinioServer::start();
    EXPECT_TRUE(server.has_value()) << server.error().to_string();
    if (!server || !(*server)->create_bucket(kBucket)) return nullptr;
    bucket->server_ = *std::move(server);
    bucket->uri_ = std::string("s3://") + kBucket + "/team";
    bucket->properties_ = {{"s3.endpoint", bucket->server_->endpoint()},
                           {"s3.access.key", bucket->server_->access_key()},
                           {"s3.secret.key", bucket->server_->secret_key()}};
  }
  auto store = ufs::open_ufs(bucket->uri_, {.properties = bucket->properties_});
  EXPECT_TRUE(store.has_value()) << store.error().to_string();
  if (!store) return nullptr;
  bucket->store_ = *std::move(store);
  return bucket;
}

void TestBucket::put(const std::string& key, const std::string& body) {
  const auto put = store_->put(key, net::bytes_of(body), {}, soon());
  EXPECT_TRUE(put.has_value()) << put.error().to_string();
}

void TestBucket::erase_whole() {
  const auto erased = server_->erase_bucket(kBucket);
  EXPECT_TRUE(erased.has_value()) << erased.error().to_string();
}

void TestBucket::make_again() {
  const auto made = server_->create_bucket(kBucket);
  EXPECT_TRUE(made.has_value()) << made.error().to_string();
}

std::string TestBucket::get(const std::string& key) {
  const auto head = store_->head(key, soon());
  if (!head) return "absent";
  std::string body(head->info.size_bytes, '\0');
  const auto got = store_->get(key, 0, std::as_writable_bytes(std::span(body)), std::nullopt, soon());
  EXPECT_TRUE(got.has_value()) << got.error().to_string();
  return body;
}

ufs::UserMetadata TestBucket::metadata(const std::string& key) {
  const auto head = store_->head(key, soon());
  return head ? head->attributes.user : ufs::UserMetadata{};
}

std::map<std::string, uint64_t> TestBucket::list() {
  std::map<std::string, uint64_t> objects;
  ufs::ListRequest request;
  do {
    const auto page = store_->list(request, soon());
    EXPECT_TRUE(page.has_value()) << page.error().to_string();
    if (!page) return {};
    for (const auto& object : page->objects) objects.emplace(object.key, object.size_bytes);
    request.token = page->token;
  } while (!request.token.empty());
  return objects;
}

std::string TestBucket::add_command(const std::string& path, const ufs::UfsProperties& others) const {
  std::string command = "mount-table add " + path + " " + uri_;
  ufs::UfsProperties properties = others;
  properties.insert(properties_.begin(), properties_.end());
  for (const auto& [name, value] : properties) command += " -o " + name + "=" + value;
  return command;
}

}  // namespace weir::testing
