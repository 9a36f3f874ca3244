// tests/minio/minio_server.h -- a real MinIO of one drive, for as long as a test needs it.
//
// The server listens on a free loopback port and keeps its data in a fresh directory, gone with the object. It is killed
// when the thread that started it ends, so start it in a thread that outlives it: a test's own, or main.
// Threads: one thread at a time.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace weir::testing {

class MinioServer {
 public:
  // Why no server can be started here, for GTEST_SKIP; nothing when one can. The binary is the one that the environment
  // variable WEIR_MINIO names, else the one that scripts/setup installed.
  static std::optional<std::string> missing();

  enum class Transport : uint8_t { kHttp, kHttps };

  // Returns when the server answers requests.
  // Errors: kUnavailable when it ended by itself (with its last output) or no certificate could be made, kTimedOut.
  static Result<std::unique_ptr<MinioServer>> start(Transport transport = Transport::kHttp,
                                                    Deadline deadline = Deadline::after(std::chrono::seconds(60)));

  ~MinioServer();
  MinioServer(const MinioServer&) = delete;
  MinioServer& operator=(const MinioServer&) = delete;

  // "http://127.0.0.1:PORT", or https; buckets are addressed path-style.
  const std::string& endpoint() const { return endpoint_; }
  // Over https: the PEM file of the certificate, which nobody else has signed. Else empty.
  const std::filesystem::path& ca_file() const { return ca_file_; }
  const std::string& access_key() const { return access_key_; }
  const std::string& secret_key() const { return secret_key_; }
  const std::string& region() const { return region_; }
  pid_t pid() const { return pid_; }

  // Errors: kUnavailable with the server's answer, also when the bucket exists.
  Result<void> create_bucket(const std::string& name) const;
  // With all that is in it.
  Result<void> erase_bucket(const std::string& name) const;

 private:
  MinioServer() = default;
  Result<void> make_certificate();
  Result<void> launch(const std::filesystem::path& binary);
  Result<void> wait_until_ready(Deadline deadline);
  void stop();
  std::string last_output() const;

  bool curl(std::vector<std::string> arguments) const;
  bool ask_for_bucket(const std::string& name, std::vector<std::string> arguments) const;

  std::filesystem::path home_;
  std::filesystem::path ca_file_;
  pid_t pid_ = -1;
  std::string endpoint_;
  std::string access_key_ = "weir-test";
  std::string secret_key_ = "weir-test-secret";
  std::string region_ = "us-east-1";
};

}  // namespace weir::testing
