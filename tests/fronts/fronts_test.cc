// Both fronts of the real daemon at once: whatever is read through the mount or through S3 was so at some instant of the call.
//
// WEIR_FRONTS_SECONDS: how long each mode runs, 3 by default. WEIR_SEED: instead of a random one.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>

#include "base/clock.h"
#include "base/random.h"
#include "tests/cli/test_bucket.h"
#include "tests/cli/weir_binary.h"
#include "tests/fronts/front_load.h"

namespace weir::testing {
namespace {

constexpr auto kRound = std::chrono::milliseconds(500);  // one history

struct Mode {
  const char* name;
  const char* passthrough;
  const char* keeper;
  Under under;
};
void PrintTo(const Mode& mode, std::ostream* out) { *out << mode.name; }

class BothFronts : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    if (const std::string obstacle = mount_obstacle(); !obstacle.empty()) GTEST_SKIP() << "SKIPPED: " << obstacle;
    if (GetParam().under == Under::kMinio) {
      if (const auto missing = MinioServer::missing()) GTEST_SKIP() << "SKIPPED: " << *missing;
    }
    daemon_.set("fuse.mount.point", daemon_.mount_point());
    daemon_.set("fuse.passthrough", GetParam().passthrough);
    daemon_.set("fuse.keeper", GetParam().keeper);
    ASSERT_TRUE(daemon_.start()) << daemon_.log();
    bucket_ = TestBucket::make(GetParam().under, daemon_.home() / "bucket");
    ASSERT_NE(bucket_, nullptr);
    const Ended added = daemon_.weir(bucket_->add_command());
    ASSERT_EQ(added.exit_code, 0) << added.err;
    const auto status = json("status");
    const std::string url = status["s3"]["url"];
    fronts_.mount = daemon_.mount_point() / "s3";
    fronts_.bucket = "s3";
    fronts_.port = static_cast<uint16_t>(std::stoi(url.substr(url.rfind(':') + 1)));
    const auto key = json("s3 key list --secrets")["keys"][0];
    fronts_.key = {key["access_key"], key["secret_key"], ""};
  }
  void TearDown() override {
    if (HasFailure()) std::cerr << "--- the daemon's log\n" << daemon_.log();
  }
  nlohmann::json json(const std::string& command) const { return nlohmann::json::parse(daemon_.weir("--json " + command).out); }

  std::unique_ptr<TestBucket> bucket_;
  WeirDaemon daemon_;
  Fronts fronts_;
};

// Semantics 7.1, 7.2, 7.9, 7.15.
TEST_P(BothFronts, every_read_saw_what_was_so_at_some_instant_of_the_call) {
  const char* const fixed = std::getenv("WEIR_SEED");
  const uint64_t seed = fixed != nullptr ? std::strtoull(fixed, nullptr, 10) : Random::from_entropy().next();
  std::cout << "WEIR_SEED=" << seed << std::endl;
  const char* const seconds = std::getenv("WEIR_FRONTS_SECONDS");
  const Deadline end = Deadline::after(std::chrono::seconds(seconds != nullptr ? std::atoll(seconds) : 3));
  size_t calls = 0;
  for (uint64_t round = 0; !end.expired(); ++round) {
    FrontLoad load(fronts_, "round-" + std::to_string(round), seed + round);
    const std::string found = load.run(kRound);
    calls += load.calls();
    ASSERT_EQ(found, "") << "WEIR_SEED=" << seed << ", round " << round;
  }
  std::cout << calls << " calls" << std::endl;
  const Ended checked = daemon_.weir("fsck");
  EXPECT_EQ(checked.exit_code, 0) << checked.out << checked.err;
}

INSTANTIATE_TEST_SUITE_P(Modes, BothFronts,
                         ::testing::Values(Mode{"passthrough", "auto", "true", Under::kMinio}, Mode{"daemon", "off", "true", Under::kDirectory},
                                           Mode{"rings", "auto", "false", Under::kDirectory}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace weir::testing
