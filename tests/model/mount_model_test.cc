// Random operations of several threads on the mount and on a local directory, in every way in which content can travel.
//
// WEIR_MODEL_SECONDS: how long each mode runs, 10 by default. WEIR_SEED: instead of a random one.
// regressions/*.ops are histories that once showed a difference; WEIR_OPS names another folder of such files.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <set>
#include <sstream>

#include "base/random.h"
#include "tests/minio/minio_server.h"
#include "tests/model/mount_model.h"

namespace weir::testing {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSeconds = 10;

const std::vector<MountMode>& modes() {
  static const std::vector<MountMode> all = {
      {.name = "buffered", .passthrough = "off", .io_uring = "off"},
      {.name = "buffered_ring", .passthrough = "off", .io_uring = "auto"},
      {.name = "passthrough", .passthrough = "auto", .io_uring = "off"},
      {.name = "passthrough_ring", .passthrough = "auto", .io_uring = "auto", .under = Under::kMinio},
      {.name = "direct", .passthrough = "off", .io_uring = "auto", .direct = true},
      {.name = "direct_passthrough", .passthrough = "auto", .io_uring = "auto", .direct = true},
      {.name = "no_cache", .passthrough = "auto", .io_uring = "auto", .policy = "NO_CACHE", .under = Under::kMinio},
      {.name = "killed", .passthrough = "auto", .io_uring = "auto", .under = Under::kMinio, .kills = true},
      {.name = "killed_device", .passthrough = "auto", .io_uring = "off", .under = Under::kMinio, .kills = true},
  };
  return all;
}

std::set<fs::path> regressions() {
  std::set<fs::path> files;
  const char* other = std::getenv("WEIR_OPS");
  for (const auto& entry : fs::directory_iterator(other ? other : WEIR_MODEL_DIR "/regressions")) {
    if (entry.path().extension() == ".ops") files.insert(entry.path());
  }
  return files;
}

std::string read_file(const fs::path& path) {
  std::stringstream text;
  text << std::ifstream(path).rdbuf();
  return std::move(text).str();
}

class MountModelTest : public ::testing::TestWithParam<MountMode> {
 protected:
  void SetUp() override {
    if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << obstacle;
    if (GetParam().under == Under::kMinio) {
      if (const auto missing = MinioServer::missing()) GTEST_SKIP() << *missing;
    }
    ::umask(0);
    ASSERT_TRUE(model_.start());
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << model_.log();
  }

  MountModel model_{GetParam()};
};

TEST_P(MountModelTest, past_differences_stay_mended) {
  for (const fs::path& file : regressions()) {
    const std::string found = model_.replay(parse_operations(read_file(file)));
    if (!found.empty()) ADD_FAILURE() << file.filename() << ": " << found;
  }
}

// Semantics 1.1, 2.2, 4.7.
TEST_P(MountModelTest, random_operations_act_as_on_a_local_file_system) {
  const char* fixed = std::getenv("WEIR_SEED");
  const uint64_t seed = fixed ? std::strtoull(fixed, nullptr, 10) : Random::from_entropy().next();
  const char* seconds = std::getenv("WEIR_MODEL_SECONDS");
  std::cout << "WEIR_SEED=" << seed << std::endl;
  const std::string found = model_.run_random(seed, std::chrono::seconds(seconds ? std::atoll(seconds) : kSeconds));
  if (!found.empty()) ADD_FAILURE() << "WEIR_SEED=" << seed << "\n" << found;
}

INSTANTIATE_TEST_SUITE_P(Modes, MountModelTest, ::testing::ValuesIn(modes()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace weir::testing
