#include "daemon/properties.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace weir::daemon {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string refusal(std::string_view name, std::string_view text) {
  Properties properties;
  const auto set = properties.set(name, text, Source::kFile);
  return set ? "accepted" : set.error().to_string();
}

TEST(Properties, every_default_is_valid_and_every_name_is_once) {
  std::set<std::string_view> names;
  for (const Property& property : property_table()) {
    EXPECT_TRUE(names.insert(property.name).second) << property.name;
    if (!property.default_text.empty()) {
      EXPECT_TRUE(check_value(property, property.default_text).has_value()) << property.name;
    }
    EXPECT_FALSE(property.doc.empty()) << property.name;
  }
}

TEST(Properties, an_old_prefix_is_ignored) {
  Properties properties;
  ASSERT_TRUE(properties.set("alluxio.admin.port", "1", Source::kFile).has_value());
  EXPECT_EQ(properties.integer("admin.port"), 1u);
  EXPECT_EQ(properties.value("alluxio.admin.port").text, "1");
}

TEST(Properties, an_unknown_name_is_refused_with_the_nearest) {
  EXPECT_THAT(refusal("write.cache.enable", "true"), HasSubstr("did you mean \"write.cache.enabled\""));
  EXPECT_THAT(refusal("alluxio.write.cache.enable", "true"), HasSubstr("alluxio.write.cache.enable"));
}

TEST(Properties, an_ill_typed_value_is_refused_by_name) {
  for (const auto& [name, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"write.cache.enabled", "yes"},
           {"admin.port", "65536"},
           {"admin.port", "-1"},
           {"fuse.threads", "4x"},
           {"ufs.timeout", "10 parsecs"},
           {"ufs.timeout", "-2"},
           {"worker.page.store.size", "1XiB"},
           {"worker.page.store.size", "99999999TiB"},
           {"worker.page.store.pinned.file.capacity.limit.ratio", "1.5"},
           {"worker.page.store.dirs", "relative"},
           {"volume.dir", "relative"},
           {"fuse.passthrough", "true"},
           {"log.level", "loud"},
           {"async.persist.part.size", "1MiB"},
           {"worker.page.store.page.size", "1000000"}}) {
    EXPECT_THAT(refusal(name, text), HasSubstr(std::string("property ") + name + ": \"" + text + "\" is not")) << name;
  }
}

TEST(Properties, values_are_read_by_type) {
  Properties p;
  for (const auto& [name, text] : std::initializer_list<std::pair<const char*, const char*>>{
           {"worker.page.store.size", "1.5GiB"},
           {"log.file.size.max", "64kb"},
           {"ufs.timeout", "1500ms"},
           {"async.persist.deadline", "2min"},
           {"metadata.sync.interval", "-1"},
           {"worker.page.store.pinned.file.capacity.limit.ratio", "25%"},
           {"worker.page.store.dirs", "/a, /b"}}) {
    ASSERT_TRUE(p.set(name, text, Source::kFile).has_value()) << name;
  }
  EXPECT_EQ(p.size_bytes("worker.page.store.size"), 3ull << 29);
  EXPECT_EQ(p.size_bytes("log.file.size.max"), 64u << 10);
  EXPECT_EQ(p.duration("ufs.timeout"), std::chrono::milliseconds(1500));
  EXPECT_EQ(p.duration("async.persist.deadline"), std::chrono::minutes(2));
  EXPECT_LT(p.duration("metadata.sync.interval"), Duration::zero());
  EXPECT_DOUBLE_EQ(p.ratio("worker.page.store.pinned.file.capacity.limit.ratio"), 0.25);
  EXPECT_THAT(p.list("worker.page.store.dirs"), ElementsAre("/a", "/b"));
  EXPECT_TRUE(p.boolean("write.cache.enabled"));
}

TEST(Properties, a_later_source_wins_whatever_the_order) {
  Properties p;
  ASSERT_TRUE(p.set("admin.port", "3", Source::kCommandLine).has_value());
  ASSERT_TRUE(p.set("admin.port", "2", Source::kFile).has_value());
  EXPECT_EQ(p.integer("admin.port"), 3u);
}

TEST(Properties, the_environment_is_read) {
  ::setenv("WEIR_FUSE_IO_URING", "off", 1);
  Properties p;
  ASSERT_TRUE(p.set_from_environment().has_value());
  EXPECT_EQ(p.text("fuse.io_uring"), "off");
  ::setenv("WEIR_FUSE_IO_URING", "wrong", 1);
  EXPECT_FALSE(p.set_from_environment().has_value());
  ::unsetenv("WEIR_FUSE_IO_URING");
}

TEST(Properties, the_committed_document_is_the_generated_one) {
  std::ifstream file(WEIR_SOURCE_DIR "/docs/configuration.md");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), configuration_document()) << "write it anew: weir conf docs > docs/configuration.md";
}

}  // namespace
}  // namespace weir::daemon
