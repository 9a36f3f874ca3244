// testing/s3_endpoint.h -- an S3 endpoint over objects in memory, with one key. Header only: whoever includes it links s3.
//
// Threads: one thread at a time; the clients are their threads'.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "io/directory.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "net/sigv4.h"
#include "s3/access_keys.h"
#include "s3/server.h"
#include "s3/test_client.h"
#include "testing/mem_objects.h"

namespace weir::testing {

class Endpoint {
 public:
  explicit Endpoint(MemObjectsOptions objects = {}, s3::ServerOptions options = {}) : objects_(std::move(objects)) {
    char path[] = "/tmp/weir-s3-XXXXXX";
    dir_ = ::mkdtemp(path);
    keys_ = *s3::AccessKeys::open(*io::Directory::open(dir_), "keys", system_clock());
    options.threads = 4;
    server_ = *s3::Server::start(options, objects_, *keys_, system_clock());
  }
  ~Endpoint() {
    EXPECT_TRUE(server_->stop(Deadline::after(std::chrono::seconds(5))).has_value());
    std::filesystem::remove_all(dir_);
  }
  Endpoint(const Endpoint&) = delete;

  s3::AccessKeys& keys() { return *keys_; }
  s3::Server& server() { return *server_; }
  MemObjects& objects() { return objects_; }
  net::Credentials credentials() const {
    const s3::AccessKey key = keys_->list().front();
    return {key.id, key.secret, ""};
  }
  s3::TestClient client() const { return s3::TestClient(server_->port(), credentials()); }

 private:
  std::string dir_;
  MemObjects objects_;
  std::unique_ptr<s3::AccessKeys> keys_;
  std::unique_ptr<s3::Server> server_;
};

inline std::string md5_of(std::string_view text) { return net::hex(net::md5(net::bytes_of(text))); }

// The content of the first element of this name.
inline std::string element(std::string_view xml, std::string_view name) {
  const std::string open = "<" + std::string(name) + ">";
  const size_t begin = xml.find(open);
  if (begin == std::string_view::npos) return "(none)";
  const size_t end = xml.find("</" + std::string(name) + ">", begin);
  return std::string(xml.substr(begin + open.size(), end - begin - open.size()));
}

}  // namespace weir::testing
