#include <gtest/gtest.h>

#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

using testing::MemoryVolume;
using testing::must;

const auto kGoOn = [](const TreeUsage&) { return true; };

TEST(TreeUsage, sums_up_files_directories_and_bytes_of_all_below) {
  MemoryVolume volume;
  volume.start();
  const InodeId top = volume.make_directory(volume.root(), "t");
  uint64_t bytes = 0;
  for (int d = 0; d < 3; ++d) {
    const InodeId directory = volume.make_directory(top, "d" + std::to_string(d));
    for (int f = 0; f < 400; ++f) {
      volume.put(directory, "f" + std::to_string(f), std::string(static_cast<size_t>(f % 7), 'x'));
      bytes += static_cast<uint64_t>(f % 7);
    }
    must(volume->make_symlink(directory, "link", "target", MemoryVolume::kCaller));
  }
  volume.put(volume.root(), "beside", "not below");
  const TreeUsage usage = must(volume->tree_usage("/s3/t", CachedBytes::kCounted, kGoOn));
  EXPECT_EQ(usage.files, 3u * 401);
  EXPECT_EQ(usage.directories, 4u);
  EXPECT_EQ(usage.bytes, bytes);
  EXPECT_EQ(usage.cached_bytes, bytes);
  const TreeUsage kept = must(volume->tree_usage("/s3/t", CachedBytes::kIgnored, kGoOn));
  EXPECT_EQ(kept.files, usage.files);
  EXPECT_EQ(kept.directories, usage.directories);
  EXPECT_EQ(kept.bytes, bytes);
  const TreeUsage one = must(volume->tree_usage("/s3/beside", CachedBytes::kIgnored, kGoOn));
  EXPECT_EQ(one.files, 1u);
  EXPECT_EQ(one.bytes, 9u);
  EXPECT_EQ(one.cached_bytes, 0u);
}

TEST(TreeUsage, directories_that_nobody_looked_at_are_listed_on_the_way) {
  MemoryVolume volume;
  volume.put_object("far/away/file", "12345");
  volume.put_object("near", "1");
  volume.start();
  const TreeUsage usage = must(volume->tree_usage("/s3", CachedBytes::kCounted, kGoOn));
  EXPECT_EQ(usage.files, 2u);
  EXPECT_EQ(usage.directories, 3u);
  EXPECT_EQ(usage.bytes, 6u);
  EXPECT_EQ(usage.cached_bytes, 0u);
}

TEST(TreeUsage, stops_when_told_to) {
  MemoryVolume volume;
  volume.start();
  EXPECT_EQ(volume->tree_usage("/s3", CachedBytes::kIgnored, [](const TreeUsage&) { return false; }).error().code(),
            ErrorCode::kCancelled);
}

}  // namespace
}  // namespace weir::volume
