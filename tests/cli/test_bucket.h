// tests/cli/test_bucket.h -- an under store outside the volume: where tests put objects and look for them.
//
// Calls that fail are failures of the running test, and give an empty answer. Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "tests/minio/minio_server.h"
#include "ufs/open_ufs.h"

namespace weir::testing {

enum class Under : uint8_t { kDirectory, kMinio };

class TestBucket {
 public:
  // An empty one: `folder` itself, or a prefix of a bucket in a MinIO of its own. Null after a failure. For kMinio, ask
  // MinioServer::missing() before.
  static std::unique_ptr<TestBucket> make(Under under, const std::filesystem::path& folder);

  void put(const std::string& key, const std::string& body);
  // "absent" where there is none.
  std::string get(const std::string& key);
  ufs::UserMetadata metadata(const std::string& key);
  // kMinio: the whole bucket goes, or is made again, empty.
  void erase_whole();
  void make_again();
  // Every object, with its size.
  std::map<std::string, uint64_t> list();

  // `mount-table add` with all that it takes; `others` over the properties that it would have.
  std::string add_command(const std::string& path = "/s3", const ufs::UfsProperties& others = {}) const;

  ufs::UnderStore& store() { return *store_; }
  const MinioServer* server() const { return server_.get(); }  // null for kDirectory

 private:
  std::string uri_;
  ufs::UfsProperties properties_;
  std::unique_ptr<MinioServer> server_;
  std::unique_ptr<ufs::UnderStore> store_;
};

}  // namespace weir::testing
