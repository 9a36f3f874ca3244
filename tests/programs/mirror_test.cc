#include "tests/programs/mirror.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace weir::testing {
namespace {

using std::filesystem::path;

class ReadTree : public ::testing::Test {
 protected:
  ReadTree() {
    std::string name = std::filesystem::temp_directory_path() / "weir-tree-XXXXXX";
    root_ = ::mkdtemp(name.data());
    std::filesystem::create_directories(root_ / "a/b");
    write("a/b/file", "text");
    ::symlink("a/b/file", (root_ / "link").c_str());
  }
  ~ReadTree() override { std::filesystem::remove_all(root_); }
  void write(const path& name, const std::string& text) { std::ofstream(root_ / name) << text; }

  path root_;
};

TEST_F(ReadTree, a_tree_equals_itself) {
  const Tree tree = read_tree(root_);
  EXPECT_EQ(tree.size(), 5u);
  EXPECT_EQ(differences(tree, read_tree(root_)), "");
}

TEST_F(ReadTree, every_difference_is_named) {
  const Tree before = read_tree(root_);
  write("a/b/file", "tixt");
  write("new", "");
  std::filesystem::remove(root_ / "link");
  std::filesystem::permissions(root_ / "a", std::filesystem::perms(0711));
  const std::string found = differences(before, read_tree(root_));
  EXPECT_NE(found.find("  a/b/file: expected mtime"), std::string::npos) << found;
  EXPECT_NE(found.find("content"), std::string::npos) << found;
  EXPECT_NE(found.find("  new: should not be there\n"), std::string::npos) << found;
  EXPECT_NE(found.find("  link: missing\n"), std::string::npos) << found;
  EXPECT_NE(found.find("  a: expected mode 40755 but is 40711\n"), std::string::npos) << found;
}

TEST_F(ReadTree, names_of_one_inode_are_told_from_equal_files) {
  write("copy", "text");
  const Tree before = read_tree(root_);
  std::filesystem::remove(root_ / "copy");
  std::filesystem::create_hard_link(root_ / "a/b/file", root_ / "copy");
  const std::string found = differences(before, read_tree(root_));
  EXPECT_NE(found.find("  copy: expected links 1 but is 2, first name  but is a/b/file"), std::string::npos) << found;
}

}  // namespace
}  // namespace weir::testing
