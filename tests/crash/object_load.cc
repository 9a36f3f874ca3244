#include "tests/crash/object_load.h"

#include <charconv>
#include <chrono>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>

#include "s3/test_client.h"

namespace weir::testing {
namespace {

constexpr int kClients = 3;
constexpr int kKeysEach = 4;

// Tells its version at its beginning.
std::string body_of(uint64_t version) {
  return std::to_string(version) + '\n' + std::string(version * 7'919 % 30'000, static_cast<char>('a' + version % 26));
}

// Nullopt: no body of any version.
std::optional<uint64_t> version_of(const std::string& body) {
  uint64_t version = 0;
  std::from_chars(body.data(), body.data() + body.size(), version);
  return version != 0 && body == body_of(version) ? std::optional(version) : std::nullopt;
}

}  // namespace

// One connection, made anew when it ended.
class ObjectLoad::Client {
 public:
  explicit Client(const ObjectLoad& load) : load_(load) {}

  // Status 0: it broke off, or nobody serves.
  s3::TestResponse exchange(const std::string& method, const std::string& name, std::string body = {}) {
    if (!client_) client_ = std::make_unique<s3::TestClient>(load_.port_, load_.key_);
    auto response =
        client_->exchange({.method = method, .target = "/" + load_.bucket_ + "/" + load_.folder_ + "/" + name, .body = std::move(body)});
    if (response.status == 0) client_.reset();
    return response;
  }

 private:
  const ObjectLoad& load_;
  std::unique_ptr<s3::TestClient> client_;
};

ObjectLoad::ObjectLoad(uint16_t port, net::Credentials key, std::filesystem::path mount, std::string bucket, std::string folder,
                       uint64_t seed)
    : port_(port), key_(std::move(key)), mount_(std::move(mount)), bucket_(std::move(bucket)), folder_(std::move(folder)) {
  for (int i = 0; i < kClients; ++i) threads_.emplace_back([this, i, seed] { run(i, seed + static_cast<uint64_t>(i)); });
}

ObjectLoad::~ObjectLoad() {
  stopping_ = true;
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ObjectLoad::run(int number, uint64_t seed) {
  Random random(seed);
  Client client(*this);
  std::map<std::string, Versions> objects;
  for (int i = 0; i < kKeysEach; ++i) objects[std::to_string(number) + '-' + std::to_string(i)] = {0};
  uint64_t last_version = 0;
  while (!stopping_) {
    auto& [name, possible] = *std::next(objects.begin(), static_cast<std::ptrdiff_t>(random.below(kKeysEach)));
    const uint64_t kind = random.below(8);
    const bool reads = kind < 3, erases = kind == 3;
    const uint64_t version = erases ? 0 : ++last_version;
    if (!reads) possible.insert(version);
    const auto response = client.exchange(reads ? "GET" : erases ? "DELETE" : "PUT", name, reads || erases ? "" : body_of(version));
    if (response.status == 0 || response.status == 503) {
      ++broken_off_;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    const bool absent = reads && response.status == 404;
    if (!absent && response.status / 100 != 2) {
      failed(name + ": status " + std::to_string(response.status) + ", " + response.body);
      break;
    }
    if (reads) {
      const auto found = absent ? std::optional<uint64_t>(0) : version_of(response.body);
      if (!found || !possible.contains(*found)) {
        failed(name + " is " + (found ? "version " + std::to_string(*found) : "no version at all") + " for its client, the last one put is " +
               std::to_string(*possible.rbegin()));
        break;
      }
      possible = {*found};
    } else {
      ++acknowledged_;
      possible = {version};
    }
  }
  const std::lock_guard lock(mutex_);
  left_.merge(objects);
}

void ObjectLoad::stop() {
  stopping_ = true;
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  Client client(*this);
  for (const auto& [name, possible] : left_) {
    const auto response = client.exchange("GET", name);
    const auto object = response.status == 404 ? std::optional<uint64_t>(0) : version_of(response.body);
    if (!object || !possible.contains(*object)) failed(name + " is not what S3 acknowledged: status " + std::to_string(response.status));
    std::ifstream file(mount_ / folder_ / name, std::ios::binary);
    const auto seen = file ? version_of({std::istreambuf_iterator<char>(file), {}}) : std::optional<uint64_t>(0);
    if (seen != object) failed(name + " is another one in the mount than in S3");
  }
}

}  // namespace weir::testing
