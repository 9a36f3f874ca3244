// Copies of objects that are only in the bucket: made by the store, whatever becomes of the source.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "base/failpoint.h"
#include "testing/fault_ufs.h"
#include "testing/memory_volume.h"
#include "volume/objects.h"

namespace weir::volume {
namespace {

using testing::must;
using Strings = std::vector<std::string>;

class ObjectCopyTest : public ::testing::Test {
 protected:
  ObjectCopyTest() { volume_.start(); }

  Objects& objects() { return volume_->objects(); }
  static ObjectName name(std::string_view key) { return {"s3", std::string(key)}; }
  Result<Object> copy(std::string_view source, std::string_view target, const CopyOptions& options = {}) {
    return objects().copy(name(source), name(target), options);
  }
  std::string get(std::string_view key) {
    bool not_modified = false;
    const auto reader = must(objects().open(name(key), {}, &not_modified));
    std::string content(reader->object().size, '\0');
    content.resize(must(reader->read(0, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  Object head(std::string_view key) {
    bool not_modified = false;
    return must(objects().head(name(key), {}, &not_modified));
  }
  // What lies in the bucket under the key.
  std::string stored(std::string_view key) {
    std::string content(must(volume_.bucket.head(key, volume_.later())).info.size_bytes, '\0');
    must(volume_.bucket.get(key, 0, std::as_writable_bytes(std::span(content)), {}, volume_.later(), nullptr));
    return content;
  }
  void replace(std::string_view key, std::string_view content) {
    const auto writer = must(objects().put(name(key)));
    must(writer->write(testing::bytes_of(content)));
    must(writer->commit({}, {}, ObjectDurability::kSync));
  }
  void expect_settled(const Strings& keys) {
    volume_.drain();
    EXPECT_TRUE(volume_.wait([&] { return volume_.keys() == keys; })) << ::testing::PrintToString(volume_.keys());
    EXPECT_EQ(volume_.fsck(), "");
  }

  testing::MemoryVolume volume_;
};

// Semantics 7.11, below the mount.
TEST_F(ObjectCopyTest, a_copy_of_what_is_only_in_the_bucket_fetches_nothing) {
  volume_.put_object("a", "content", {.content_type = "text/x", .user = {{"colour", "blue"}}});
  const Object made = must(copy("a", "dir/b"));
  EXPECT_EQ(made.headers.content_type, "text/x");
  expect_settled({"a", "dir/b"});
  EXPECT_EQ(volume_.store.bytes_got(), 0u);
  EXPECT_EQ(volume_.store.bytes_put(), 0u);
  EXPECT_EQ(stored("dir/b"), "content");
  EXPECT_EQ(head("dir/b").state, meta::FileState::kPersisted);
  EXPECT_EQ(head("dir/b").etag, made.etag);
  EXPECT_EQ(head("dir/b").headers.user.at("colour"), "blue");
  EXPECT_EQ(get("dir/b"), "content");
}

// Semantics 7.11, below the mount.
TEST_F(ObjectCopyTest, a_copy_outlives_its_source_before_it_came_to_its_place) {
  volume_.put_object("a", "content");
  volume_.store.add({.error = ErrorCode::kIo, .call = testing::UfsCall::kCopy, .key_part = "b"});
  must(copy("a", "b"));
  must(objects().erase(name("a"), {}, ObjectDurability::kSync));
  EXPECT_EQ(get("b"), "content");
  replace("a", "another");
  volume_.store.clear();
  EXPECT_EQ(get("b"), "content");
  expect_settled({"a", "b"});
  EXPECT_EQ(stored("a"), "another");
  EXPECT_EQ(stored("b"), "content");
}

TEST_F(ObjectCopyTest, a_copy_takes_the_place_of_what_is_there) {
  volume_.put_object("a", "content");
  volume_.put_object("b", "in the bucket");
  replace("c", "written here");
  must(copy("a", "b", {.headers = ObjectHeaders{.content_type = "text/y"}, .tags = ObjectTags{{"t", "1"}}}));
  must(copy("a", "c"));
  EXPECT_EQ(get("b"), "content");
  EXPECT_EQ(get("c"), "content");
  expect_settled({"a", "b", "c"});
  EXPECT_EQ(stored("b"), "content");
  EXPECT_EQ(stored("c"), "content");
  EXPECT_EQ(head("b").headers.content_type, "text/y");
  EXPECT_EQ(must(objects().tags(name("b"))), (ObjectTags{{"t", "1"}}));
}

TEST_F(ObjectCopyTest, a_copy_that_must_not_be_leaves_nothing_in_the_bucket) {
  volume_.put_object("a", "content");
  volume_.put_object("b", "there");
  EXPECT_TRUE(failed_with(copy("a", "b", {.conditions = {.if_none_match = {"*"}}}), ErrorCode::kPrecondition));
  EXPECT_TRUE(failed_with(copy("a", "c", {.source_conditions = {.if_match = {"other"}}}), ErrorCode::kPrecondition));
  volume_.store.add({.kind = testing::UfsFault::Kind::kFailAfter, .error = ErrorCode::kIo, .call = testing::UfsCall::kCopy, .times = 1});
  EXPECT_FALSE(copy("a", "c").has_value());
  EXPECT_EQ(get("b"), "there");
  expect_settled({"a", "b"});
}

// Only its bytes tell it.
TEST_F(ObjectCopyTest, a_copy_with_a_checksum_that_nobody_knows_is_read) {
  volume_.put_object("a", "content");
  const Object made = must(copy("a", "b", {.checksum = ChecksumAlgorithm::kCrc32c}));
  ASSERT_TRUE(made.checksum.has_value());
  EXPECT_EQ(made.checksum->algorithm, ChecksumAlgorithm::kCrc32c);
  expect_settled({"a", "b"});
}

TEST_F(ObjectCopyTest, a_source_that_others_replaced_is_never_copied_as_what_it_was_called) {
  volume_.put_object("a", "content");
  EXPECT_EQ(head("a").size, 7u);
  volume_.put_object("a", "another one");
  const auto made = copy("a", "b");
  if (made) {
    EXPECT_EQ(get("b"), "another one");
  }
  volume_.drain();
  const Strings keys = volume_.keys();
  for (const std::string& key : keys) EXPECT_EQ(stored(key), "another one") << key;
}

TEST_F(ObjectCopyTest, a_crash_leaves_a_whole_copy_or_none) {
  volume_.put_object("a", "content");
  for (const char* point : {"objects.parking_reserved", "objects.parked", "objects.committed"}) {
    {
      const ArmedFailpoint stop(point, [] { return fail(ErrorCode::kCancelled, "the end"); });
      EXPECT_FALSE(copy("a", "b").has_value()) << point;
    }
    volume_->stop(volume_.later());
    volume_.crash();
    volume_.start();
    EXPECT_EQ(volume_.fsck(), "") << point;
    bool not_modified = false;
    const auto there = objects().head(name("b"), {}, &not_modified);
    EXPECT_EQ(there.has_value(), std::string_view(point) == "objects.committed") << point;
    if (there) {
      EXPECT_EQ(get("b"), "content");
    }
    expect_settled(there ? Strings{"a", "b"} : Strings{"a"});
  }
}

}  // namespace
}  // namespace weir::volume
