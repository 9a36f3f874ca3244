#include "daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace weir::daemon {
namespace {

using ::testing::HasSubstr;

std::string refusal(std::string_view yaml) {
  Properties properties;
  const auto added = add_yaml(properties, yaml, "weir.yaml", Source::kFile);
  return added ? "accepted" : added.error().to_string();
}

class Config : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string write(const std::string& text) {
    const std::string path = dir_ + "/weir.yaml";
    std::ofstream(path) << text;
    return path;
  }

  const std::string dir_ = ::testing::TempDir() + "weir-config-" + std::to_string(::getpid());
};

TEST_F(Config, flat_and_nested_yaml_are_the_same) {
  Properties flat;
  ASSERT_TRUE(add_yaml(flat, "admin.port: 5\nworker.page.store.dirs: /a,/b\n", "f", Source::kFile).has_value());
  Properties nested;
  ASSERT_TRUE(add_yaml(nested, "alluxio:\n  admin:\n    port: 5\nworker.page.store:\n  dirs:\n    - /a\n    - /b\n", "f",
                       Source::kFile)
                  .has_value());
  for (const Properties* p : {&flat, &nested}) {
    EXPECT_EQ(p->integer("admin.port"), 5u);
    EXPECT_EQ(p->list("worker.page.store.dirs").size(), 2u);
  }
  EXPECT_EQ(refusal(""), "accepted");
}

TEST_F(Config, a_fault_is_named_with_file_and_line) {
  EXPECT_THAT(refusal("admin.port: 1\nadmin.prot: 2\n"), HasSubstr("weir.yaml line 2"));
  EXPECT_THAT(refusal("admin.port: x\n"), HasSubstr("property admin.port"));
  EXPECT_THAT(refusal("a: [\n"), HasSubstr("weir.yaml line"));
  EXPECT_THAT(refusal("- a\n"), HasSubstr("expected `name: value`"));
}

TEST_F(Config, definitions_beat_stored_values_and_those_beat_the_file) {
  const std::string file = write("volume.dir: " + dir_ + "\nadmin.port: 1\nfuse.threads: 1\nlog.level: debug\n");
  auto first = load_config({.file = file});
  ASSERT_TRUE(first.has_value()) << first.error().to_string();
  ASSERT_TRUE(store_property(*first, "alluxio.admin.port", "2").has_value());
  ASSERT_TRUE(store_property(*first, "fuse.threads", "2").has_value());
  const auto second = load_config({.file = file, .definitions = {"alluxio.admin.port=3"}});
  ASSERT_TRUE(second.has_value()) << second.error().to_string();
  EXPECT_EQ(second->integer("admin.port"), 3u);
  EXPECT_EQ(second->integer("fuse.threads"), 2u);
  EXPECT_EQ(second->value("fuse.threads").source, Source::kStored);
  EXPECT_EQ(second->text("log.level"), "debug");
  EXPECT_EQ(admin_socket(*second), dir_ + "/weir.sock");
}

TEST_F(Config, bad_definitions_and_missing_files_are_refused) {
  EXPECT_TRUE(failed_with(load_config({.definitions = {"admin.port"}}), ErrorCode::kInvalid));
  EXPECT_TRUE(failed_with(load_config({.definitions = {"no.such=1"}}), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(load_config({.file = dir_ + "/absent.yaml"}), ErrorCode::kNotFound));
  EXPECT_TRUE(failed_with(store_property(Properties(), "volume.dir", "/x"), ErrorCode::kInvalid));
}

}  // namespace
}  // namespace weir::daemon
