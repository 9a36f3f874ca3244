#include "daemon/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <regex>
#include <set>
#include <sstream>

namespace weir::daemon {
namespace {

using ::testing::HasSubstr;

TEST(Metrics, every_line_is_prometheus_text_and_every_sample_has_its_family_once) {
  fuse::Statistics fuse;
  const auto s3 = std::make_unique<s3::Statistics>();
  s3->record(s3::Operation::kPutObject, 200, std::chrono::microseconds(1), 1, 2);
  s3->record(s3::Operation::kGetObject, 404, std::chrono::microseconds(1), 1, 2);
  const std::string text = metrics_text({.fuse = &fuse, .s3 = s3.get(), .s3_connections = 3, .version = "1", .uptime_seconds = 0.5});
  EXPECT_THAT(text, HasSubstr("weir_s3_requests_total{front=\"s3\",operation=\"GetObject\",status=\"404\"} 1\n"));
  const std::regex sample(R"re(([a-z0-9_]+)(\{([a-z_]+="[^"]*",?)+\})? [0-9.e+-]+)re");
  std::map<std::string, std::string> types;
  std::set<std::string> seen;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    if (line.starts_with("# HELP ")) continue;
    if (line.starts_with("# TYPE ")) {
      std::istringstream words(line.substr(7));
      std::string name, type;
      words >> name >> type;
      EXPECT_TRUE(types.emplace(name, type).second) << line;
      continue;
    }
    ASSERT_TRUE(std::regex_match(line, match, sample)) << line;
    std::string family = match[1];
    for (const char* suffix : {"_bucket", "_sum", "_count"}) {
      const std::string stem = family.ends_with(suffix) ? family.substr(0, family.size() - std::strlen(suffix)) : "";
      if (types.contains(stem) && types[stem] == "histogram") family = stem;
    }
    EXPECT_TRUE(types.contains(family)) << line;
    EXPECT_TRUE(seen.insert(line.substr(0, line.rfind(' '))).second) << line;
  }
}

TEST(Metrics, buckets_of_a_histogram_add_up) {
  fuse::Statistics fuse;
  using std::chrono::microseconds;
  fuse.record(fuse::Operation::kLookup, microseconds(1), fuse::Statistics::Outcome::kOk);
  fuse.record(fuse::Operation::kLookup, microseconds(100), fuse::Statistics::Outcome::kError);
  fuse.record(fuse::Operation::kLookup, std::chrono::hours(1), fuse::Statistics::Outcome::kOk);
  const std::string text = metrics_text({.fuse = &fuse});
  const std::string lookup = R"({front="fuse",operation="lookup")";
  EXPECT_THAT(text, HasSubstr("weir_request_seconds_bucket" + lookup + ",le=\"6.4e-05\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("weir_request_seconds_bucket" + lookup + ",le=\"0.000128\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("weir_request_seconds_bucket" + lookup + ",le=\"+Inf\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("weir_request_seconds_count" + lookup + "} 3\n"));
  EXPECT_THAT(text, HasSubstr("weir_request_errors_total" + lookup + "} 1\n"));
}

TEST(Metrics, what_the_volume_counts_is_there) {
  volume::VolumeStatistics statistics;
  statistics.persist.waiting_files = 7;
  statistics.persist.oldest_age_ns = 1'500'000'000;
  statistics.persist.errors_denied = 3;
  const std::string text = metrics_text({.volume = statistics});
  EXPECT_THAT(text, HasSubstr("\nweir_dirty_files 7\n"));
  EXPECT_THAT(text, HasSubstr("\nweir_dirty_oldest_age_seconds 1.5\n"));
  EXPECT_THAT(text, HasSubstr("\nweir_persist_errors_total{cause=\"denied\"} 3\n"));
}

}  // namespace
}  // namespace weir::daemon
