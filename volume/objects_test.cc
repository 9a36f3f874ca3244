// Objects and files: what one front does is what the other shows.
#include "volume/objects.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "testing/memory_volume.h"

namespace weir::volume {
namespace {

class ObjectsTest : public ::testing::Test {
 protected:
  ObjectsTest() { volume_.start(); }

  Objects& objects() { return volume_->objects(); }
  static ObjectName name(std::string_view key) { return {"s3", std::string(key)}; }
  static std::string md5(std::string_view content) { return net::hex(net::md5(testing::bytes_of(content))); }
  Object put(std::string_view key, std::string_view content, PutFacts facts = {}) {
    const auto writer = testing::must(objects().put(name(key)));
    testing::must(writer->write(testing::bytes_of(content)));
    facts.etag = md5(content);
    return testing::must(writer->commit(facts, {}, ObjectDurability::kSync));
  }
  Result<Object> try_head(std::string_view key) {
    bool not_modified = false;
    return objects().head(name(key), {}, &not_modified);
  }
  Object head(std::string_view key) { return testing::must(try_head(key)); }
  std::string get(std::string_view key) {
    bool not_modified = false;
    const auto reader = testing::must(objects().open(name(key), {}, &not_modified));
    std::string content(reader->object().size, '\0');
    content.resize(testing::must(reader->read(0, std::as_writable_bytes(std::span(content)))));
    return content;
  }
  std::string upload(std::string_view key) { return testing::must(objects().create_upload(name(key), {})); }
  Result<void> try_put_part(std::string_view key, std::string_view id, uint32_t number, std::string_view content) {
    TRY_ASSIGN(const auto writer, objects().put_part(name(key), id, number, content.size()));
    TRY(writer->write(testing::bytes_of(content)));
    TRY(writer->commit(md5(content), {}, ObjectDurability::kSync));
    return {};
  }
  Result<Object> try_complete(std::string_view key, std::string_view id, const std::vector<std::string>& parts) {
    CompleteOptions options;
    for (const std::string& part : parts)
      options.parts.push_back({.number = static_cast<uint32_t>(options.parts.size() + 1), .etag = md5(part)});
    return objects().complete_upload(name(key), id, options);
  }
  std::vector<std::string> keys(ListObjects query = {}) {
    query.bucket = "s3";
    std::vector<std::string> keys;
    for (const auto& entry : testing::must(objects().list(query)).objects) keys.push_back(entry.key);
    return keys;
  }
  std::string read_file(InodeId inode) {
    const auto file = testing::must(volume_->open_file(inode, {.access = Access::kRead}));
    return testing::MemoryVolume::read(*file);
  }
  void write_file(InodeId inode, std::string_view content) {
    const auto file = testing::must(volume_->open_file(inode, {.access = Access::kWrite, .truncate = true}));
    testing::must(file->write(0, testing::bytes_of(content)));
    testing::must(file->flush());
    file->close();
  }
  void restart() {
    volume_->stop(volume_.later());
    volume_.crash();
    volume_.start();
  }

  testing::MemoryVolume volume_;
};

// Semantics 7.8, below the mount.
TEST_F(ObjectsTest, a_symbolic_link_is_an_object_as_the_bucket_has_it) {
  testing::must(volume_->make_symlink(volume_.root(), "link", "target", testing::MemoryVolume::kCaller));
  EXPECT_EQ(keys(), std::vector<std::string>{"link"});
  const std::string content = get("link");
  volume_.drain();
  std::string stored(content.size(), '\0');
  testing::must(volume_.bucket.get("link", 0, std::as_writable_bytes(std::span(stored)), {}, volume_.later(), nullptr));
  EXPECT_EQ(content, stored);
  EXPECT_TRUE(content.ends_with("target")) << content;
}

// Semantics 7.1, below the mount.
TEST_F(ObjectsTest, an_object_is_a_file_and_a_file_an_object) {
  put("a/b", "by S3");
  const InodeId a = volume_.find(volume_.root(), "a");
  EXPECT_EQ(read_file(volume_.find(a, "b")), "by S3");
  volume_.put(a, "c", "by POSIX");
  EXPECT_EQ(get("a/c"), "by POSIX");
  EXPECT_EQ(keys(), (std::vector<std::string>{"a/b", "a/c"}));
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"a/b", "a/c"}));
  EXPECT_EQ(volume_.fsck(), "");
}

// Semantics 7.1, below the mount.
TEST_F(ObjectsTest, a_file_that_is_written_in_place_is_read_as_it_is_now_and_as_one_state) {
  const Object put_before = put("a", "before");
  const InodeId a = volume_.find(volume_.root(), "a");
  const auto file = testing::must(volume_->open_file(a, {.access = Access::kWrite}));
  EXPECT_EQ(get("a"), "before");
  testing::must(file->write(0, testing::bytes_of("longer than before")));
  EXPECT_EQ(head("a").size, 6u);
  bool not_modified = false;
  const auto reader = testing::must(objects().open(name("a"), {}, &not_modified));
  EXPECT_EQ(reader->object().size, 18u);
  EXPECT_NE(reader->object().etag, put_before.etag);
  testing::must(file->write(0, testing::bytes_of("x")));
  std::string content(18, '\0');
  EXPECT_EQ(testing::must(reader->read(0, std::as_writable_bytes(std::span(content)))), 18u);
  EXPECT_EQ(content, "longer than before");
  EXPECT_TRUE(reader->verify().has_value());
  EXPECT_EQ(get("a"), "xonger than before");
  EXPECT_EQ(head("a").size, 18u);
  testing::must(file->flush());
  file->close();
  EXPECT_EQ(get("a"), "xonger than before");
  volume_.drain();
  EXPECT_EQ(volume_.fsck(), "");
}

// Semantics 7.1, below the mount.
TEST_F(ObjectsTest, a_reader_of_a_large_file_tells_when_it_was_written_meanwhile) {
  const std::string large(3 << 20, 'a');
  put("a", large);
  bool not_modified = false;
  const auto reader = testing::must(objects().open(name("a"), {}, &not_modified));
  std::string content(large.size(), '\0');
  testing::must(reader->read(0, std::as_writable_bytes(std::span(content))));
  EXPECT_TRUE(reader->verify().has_value());
  // Neither another object in its place nor its end is a change of what was opened.
  put("a", "another");
  testing::must(objects().erase(name("a"), {}, ObjectDurability::kSync));
  EXPECT_TRUE(reader->verify().has_value());

  put("b", large);
  const InodeId b = volume_.find(volume_.root(), "b");
  const auto file = testing::must(volume_->open_file(b, {.access = Access::kWrite}));
  testing::must(file->write(0, testing::bytes_of("x")));
  const auto late = testing::must(objects().open(name("b"), {}, &not_modified));
  testing::must(late->read(0, std::as_writable_bytes(std::span(content))));
  EXPECT_EQ(content.substr(0, 3), "xaa");
  EXPECT_TRUE(late->verify().has_value());
  testing::must(file->write(2 << 20, testing::bytes_of("y")));
  EXPECT_TRUE(failed_with(late->verify(), ErrorCode::kStale));
  testing::must(file->flush());
  file->close();
}

// Semantics 7.1, below the mount.
TEST_F(ObjectsTest, a_file_that_was_never_closed_is_no_object) {
  const auto created = testing::must(
      volume_->create(volume_.root(), "a", 0644, testing::MemoryVolume::kCaller, {.access = Access::kWrite}));
  testing::must(created.file->write(0, testing::bytes_of("half")));
  EXPECT_FALSE(try_head("a").has_value());
  EXPECT_EQ(keys(), std::vector<std::string>{});
  // But the name is taken.
  const auto writer = testing::must(objects().put(name("a")));
  const auto exclusive = writer->commit({.etag = md5("")}, {.if_none_match = {"*"}}, ObjectDurability::kWrite);
  EXPECT_TRUE(failed_with(exclusive, ErrorCode::kPrecondition));
  testing::must(created.file->flush());
  EXPECT_EQ(get("a"), "half");
  created.file->close();
}

TEST_F(ObjectsTest, a_long_listing_tells_what_heads_do) {
  for (int i = 0; i < 60; ++i) put("d/" + std::to_string(100 + i), std::string(i, 'x'));
  const InodeId d = volume_.find(volume_.root(), "d");
  testing::must(volume_->link(volume_.find(d, "107"), d, "a link"));
  testing::must(volume_->unlink(d, "110"));
  volume_.put(d, "by POSIX", "content");
  put("d/120", "another");
  const auto listing = testing::must(objects().list({.bucket = "s3"}));
  EXPECT_EQ(listing.objects.size(), 61u);
  for (const auto& listed : listing.objects) {
    const Object object = head(listed.key);
    EXPECT_EQ(listed.etag, object.etag) << listed.key;
    EXPECT_EQ(listed.size, object.size) << listed.key;
    EXPECT_EQ(listed.modified_ns, object.modified_ns) << listed.key;
  }
  EXPECT_EQ(keys({.prefix = "d/1", .after = "d/10", .entries_max = 40}).size(), 40u);
}

// Semantics 7.2, below the mount.
TEST_F(ObjectsTest, what_is_put_over_an_open_file_leaves_its_readers_what_they_had) {
  const InodeId old = volume_.put(volume_.root(), "a", "old");
  const auto file = testing::must(volume_->open_file(old, {.access = Access::kRead}));
  put("a", "new");
  EXPECT_EQ(testing::MemoryVolume::read(*file), "old");
  EXPECT_EQ(read_file(volume_.find(volume_.root(), "a")), "new");
  file->close();
}

TEST_F(ObjectsTest, a_get_tells_nothing_that_was_written_when_the_file_had_lost_the_key) {
  put("a", "old");
  bool done = false;
  const ArmedFailpoint located("objects.located", [&]() -> Result<void> {
    if (std::exchange(done, true)) return {};
    testing::must(volume_->rename(volume_.root(), "a", volume_.root(), "b", meta::RenameMode::kReplace));
    const auto file = testing::must(volume_->open_file(volume_.find(volume_.root(), "b"), {.access = Access::kWrite, .truncate = true}));
    testing::must(file->write(0, testing::bytes_of("new")));
    testing::must(file->flush());
    file->close();
    return {};
  });
  bool not_modified = false;
  EXPECT_TRUE(failed_with(objects().open(name("a"), {}, &not_modified), ErrorCode::kNotFound));
  EXPECT_EQ(get("b"), "new");
}

TEST_F(ObjectsTest, an_object_that_is_opened_for_writing_and_not_written_stays_what_it_is) {
  const std::string etag = put("a", "content").etag;
  if (!volume_.pages().later_changes_show({.ctime_ns = unix_ns(system_clock().wall_now())}))
    GTEST_SKIP() << "SKIPPED: the file system's timestamps are too coarse to tell whether a file was written at once after it was put";
  const auto file = testing::must(volume_->open_file(volume_.find(volume_.root(), "a"), {.access = Access::kReadWrite}));
  testing::must(file->flush());
  file->close();
  EXPECT_EQ(head("a").etag, etag);
}

// Of what a kernel remembers: it renames while the notice of a change waits for it.
class RenamingListener : public CacheListener {
 public:
  explicit RenamingListener(std::function<void()> rename) : rename_(std::move(rename)) {}
  void content_changed(InodeId) override {}
  void entry_changed(InodeId, std::string_view name) override {
    if (const auto rename = std::exchange(rename_, {})) rename();
    told_.emplace_back(name);
  }
  const std::vector<std::string>& told() const { return told_; }

 private:
  std::function<void()> rename_;
  std::vector<std::string> told_;
};

TEST_F(ObjectsTest, what_is_renamed_before_the_kernel_knew_of_it_is_told_of_under_its_new_name) {
  put("a", "old");
  RenamingListener kernel([&] { testing::must(volume_->rename(volume_.root(), "a", volume_.root(), "b", meta::RenameMode::kReplace)); });
  volume_->set_cache_listener(&kernel);
  put("a", "new");
  volume_->set_cache_listener(nullptr);
  EXPECT_EQ(kernel.told(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(get("b"), "new");
}

// What a PUT makes of a name while the mount takes it away is what goes, and is held as long as somebody has it open.
TEST_F(ObjectsTest, a_name_that_is_put_while_the_mount_replaces_it_leaves_nothing_behind) {
  for (const bool there : {false, true}) {
    if (there) put("b", "old");
    volume_.put(volume_.root(), "a", "renamed");
    bool done = false;
    const ArmedFailpoint replacing("volume.replacing_name", [&]() -> Result<void> {
      if (!std::exchange(done, true)) put("b", "put meanwhile");
      return {};
    });
    testing::must(volume_->rename(volume_.root(), "a", volume_.root(), "b", meta::RenameMode::kReplace));
    EXPECT_EQ(get("b"), "renamed");
    volume_.drain();
    EXPECT_EQ(volume_.fsck(), "");
    testing::must(volume_->unlink(volume_.root(), "b"));
  }
}

TEST_F(ObjectsTest, an_open_file_lives_on_whoever_put_it_while_its_name_was_taken_away) {
  std::unique_ptr<OpenFile> file;
  const auto put_and_open = [&]() -> Result<void> {
    if (file) return {};
    put("a", "put meanwhile");
    file = testing::must(volume_->open_file(volume_.find(volume_.root(), "a"), {}));
    return {};
  };
  put("a", "old");
  {
    const ArmedFailpoint leaving("volume.leaving_name", put_and_open);
    testing::must(volume_->unlink(volume_.root(), "a"));
  }
  EXPECT_EQ(testing::MemoryVolume::read(*file), "put meanwhile");
  EXPECT_FALSE(volume_.there(volume_.root(), "a"));
  file->close();
  file.reset();
  volume_.put(volume_.root(), "b", "renamed");
  {
    const ArmedFailpoint replacing("volume.replacing_name", put_and_open);
    testing::must(volume_->rename(volume_.root(), "b", volume_.root(), "a", meta::RenameMode::kReplace));
  }
  EXPECT_EQ(testing::MemoryVolume::read(*file), "put meanwhile");
  EXPECT_EQ(get("a"), "renamed");
  file->close();
  file.reset();
  volume_.drain();
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(ObjectsTest, a_file_keeps_owner_and_permissions_when_an_object_replaces_it) {
  volume_.put(volume_.root(), "a", "old");
  testing::must(volume_->set_attributes(volume_.find(volume_.root(), "a"), {.permissions = 0600, .uid = 7, .gid = 8}, {}));
  put("a", "new");
  const auto now = testing::must(volume_->lookup(volume_.root(), "a")).attributes;
  EXPECT_EQ(now.permissions, 0600u);
  EXPECT_EQ(now.uid, 7u);
  EXPECT_EQ(now.gid, 8u);
}

// Semantics 7.4, below the mount.
TEST_F(ObjectsTest, an_etag_is_the_same_across_rename_upload_and_restart) {
  const std::string etag = put("a", "content").etag;
  EXPECT_EQ(etag, md5("content"));
  const InodeId file = volume_.put(volume_.root(), "b", "by POSIX");
  const std::string opaque = head("b").etag;
  EXPECT_TRUE(opaque.contains('-'));
  volume_.put_object("found", "in the bucket");
  volume_.options.names.sync_interval = Duration::zero();
  restart();
  const std::string found = head("found").etag;
  EXPECT_EQ(found, testing::must(volume_.bucket.head("found", volume_.later())).info.etag);
  const auto check = [&](const std::string& suffix) {
    EXPECT_EQ(head("a" + suffix).etag, etag);
    EXPECT_EQ(head("b" + suffix).etag, opaque);
    EXPECT_EQ(head("found" + suffix).etag, found);
  };
  check("");
  volume_.drain();
  check("");
  for (const std::string name : {"a", "b", "found"})
    testing::must(volume_->rename(volume_.root(), name, volume_.root(), name + "2", meta::RenameMode::kReplace));
  check("2");
  volume_.drain();
  check("2");
  restart();
  check("2");
  // Opening for write is no change yet.
  const auto open = testing::must(volume_->open_file(file, {.access = Access::kReadWrite}));
  check("2");
  open->close();
}

// Semantics 7.5, below the mount.
TEST_F(ObjectsTest, content_that_posix_writes_has_an_etag_of_its_own_and_keeps_headers_and_tags) {
  PutFacts facts{.headers = {.content_type = "text/plain", .user = {{"k", "v"}}}, .tags = {{"t", "1"}}};
  facts.checksum = ObjectChecksum{.value = "value"};
  put("a", "by S3", facts);
  const Object before = head("a");
  write_file(before.inode, "by POSIX");
  const Object after = head("a");
  EXPECT_EQ(after.inode, before.inode);
  EXPECT_NE(after.etag, before.etag);
  EXPECT_TRUE(after.etag.contains('-'));
  EXPECT_EQ(after.checksum, std::nullopt);
  EXPECT_EQ(after.headers.content_type, "text/plain");
  EXPECT_EQ(after.headers.user.at("k"), "v");
  EXPECT_EQ(after.tags, 1u);
  EXPECT_EQ(get("a"), "by POSIX");
  write_file(before.inode, "once more");
  EXPECT_NE(head("a").etag, after.etag);
}

// Semantics 7.7, below the mount.
TEST_F(ObjectsTest, user_metadata_of_other_tools_sets_attributes_and_shows_them) {
  put("a", "x", {.headers = {.user = {{"mode", "33216"}, {"uid", "7"}, {"gid", "8"}, {"mtime", "1700000000.5"}}}});
  const auto attributes = testing::must(volume_->lookup(volume_.root(), "a")).attributes;
  EXPECT_EQ(attributes.permissions, 0700u);
  EXPECT_EQ(attributes.uid, 7u);
  EXPECT_EQ(attributes.gid, 8u);
  EXPECT_EQ(attributes.mtime_ns, 1'700'000'000'500'000'000);
  EXPECT_EQ(head("a").headers.user.at("mtime"), "1700000000.5");
  testing::must(volume_->set_attributes(attributes.inode, {.permissions = 0640, .mtime_ns = 5'000'000'000}, {}));
  const auto user = head("a").headers.user;
  EXPECT_EQ(user.at("mode"), "33184");
  EXPECT_EQ(user.at("uid"), "7");
  EXPECT_EQ(user.at("mtime"), "5.000000000");
  // What is none of them is a word like any other; what nobody put is shown of files alone.
  put("b", "x", {.headers = {.user = {{"mode", "dark"}}}});
  EXPECT_EQ(head("b").headers.user, (std::map<std::string, std::string>{{"mode", "dark"}}));
  volume_.put(volume_.root(), "c", "x");
  EXPECT_EQ(head("c").headers.user.at("mode"), "33188");
  // No file becomes set-user-ID by being put.
  put("d", "x", {.headers = {.user = {{"mode", "35309"}}}});
  EXPECT_EQ(testing::must(volume_->lookup(volume_.root(), "d")).attributes.permissions, 0755u);
}

// Semantics 7.6, below the mount.
TEST_F(ObjectsTest, directories_of_the_mount_are_markers_and_those_on_the_way_have_no_object) {
  const InodeId made = volume_.make_directory(volume_.root(), "made");
  put("made/a", "x");
  put("implicit/a", "x");
  EXPECT_EQ(keys(), (std::vector<std::string>{"implicit/a", "made/", "made/a"}));
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"implicit/a", "made/", "made/a"}));
  for (const std::string_view key : {"made/a", "implicit/a"}) testing::must(objects().erase(name(key), {}, ObjectDurability::kSync));
  EXPECT_EQ(keys(), (std::vector<std::string>{"made/"}));
  EXPECT_TRUE(volume_.there(volume_.root(), "made"));
  EXPECT_FALSE(volume_.there(volume_.root(), "implicit"));
  // What POSIX unlinks leaves its directory.
  put("implicit/b", "x");
  const InodeId implicit = volume_.find(volume_.root(), "implicit");
  testing::must(volume_->unlink(implicit, "b"));
  EXPECT_TRUE(volume_.there(volume_.root(), "implicit"));
  EXPECT_EQ(keys(), (std::vector<std::string>{"made/"}));
  testing::must(objects().erase(name("made/"), {}, ObjectDurability::kSync));
  EXPECT_FALSE(volume_.there(volume_.root(), "made"));
  (void)made;
  volume_.drain();
  EXPECT_EQ(volume_.keys(), std::vector<std::string>{});
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(ObjectsTest, objects_of_the_bucket_are_found_on_the_way) {
  testing::MemoryVolume fresh;
  for (const char* key : {"a", "d/e/f", "d/e/g", "d/h", "z"}) fresh.put_object(key, "in the bucket");
  fresh.start();
  const auto found = [&](ListObjects query) {
    query.bucket = "s3";
    std::vector<std::string> keys;
    const auto listing = testing::must(fresh->objects().list(query));
    for (const auto& entry : listing.objects) keys.push_back(entry.key);
    keys.insert(keys.end(), listing.common_prefixes.begin(), listing.common_prefixes.end());
    return keys;
  };
  EXPECT_EQ(found({.delimiter = "/"}), (std::vector<std::string>{"a", "z", "d/"}));
  EXPECT_EQ(found({}), (std::vector<std::string>{"a", "d/e/f", "d/e/g", "d/h", "z"}));
  bool not_modified = false;
  auto reader = testing::must(fresh->objects().open({"s3", "d/e/g"}, {}, &not_modified));
  std::string content(100, '\0');
  content.resize(testing::must(reader->read(0, std::as_writable_bytes(std::span(content)))));
  EXPECT_EQ(content, "in the bucket");
  EXPECT_NE(reader->local_file(), nullptr);
  reader.reset();
  // Erasing the last one below takes directories along that only a prefix made.
  for (const char* key : {"d/e/f", "d/e/g", "d/h"}) testing::must(fresh->objects().erase(name(key), {}, ObjectDurability::kSync));
  EXPECT_EQ(found({}), (std::vector<std::string>{"a", "z"}));
  EXPECT_FALSE(fresh.there(fresh.root(), "d"));
  fresh.drain();
  EXPECT_EQ(fresh.keys(), (std::vector<std::string>{"a", "z"}));
}

TEST_F(ObjectsTest, markers_of_the_bucket_are_found_on_the_way) {
  testing::MemoryVolume fresh;
  for (const char* key : {"a/", "b/", "b/c", "d/e/", "f/g"}) fresh.put_object(key, key[2] == 0 || key[3] == '/' ? "" : "x");
  fresh.start();
  const auto found = [&](ListObjects query) {
    query.bucket = "s3";
    std::vector<std::string> keys;
    for (const auto& entry : testing::must(fresh->objects().list(query)).objects) keys.push_back(entry.key);
    return keys;
  };
  bool not_modified = false;
  EXPECT_TRUE(fresh->objects().head(name("a/"), {}, &not_modified).has_value());
  EXPECT_FALSE(fresh->objects().head(name("f/"), {}, &not_modified).has_value());
  EXPECT_EQ(found({.prefix = "b/", .delimiter = "/"}), (std::vector<std::string>{"b/", "b/c"}));
  EXPECT_EQ(found({}), (std::vector<std::string>{"a/", "b/", "b/c", "d/e/", "f/g"}));
}

// Semantics 7.3, below the mount.
TEST_F(ObjectsTest, a_put_that_must_be_persisted_is_when_it_returns) {
  testing::must(volume_->set_rules_document(R"({"apiVersion": "v1.0", "defaultRule": {"policyMode": "WRITE_BACK"},
      "pathRules": [{"path": "/s3/through/**", "policyMode": "WRITE_THROUGH"},
                    {"path": "/s3/none/**", "policyMode": "NO_CACHE"}, {"path": "/s3/here/**", "policyMode": "TRANSIENT"}]})"));
  put("through/a", "x");
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"through/a"}));
  put("none/a", "x");
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"none/a", "through/a"}));
  EXPECT_EQ(get("none/a"), "x");
  const auto writer = testing::must(objects().put(name("b")));
  testing::must(writer->commit({.etag = md5("")}, {}, ObjectDurability::kPersist));
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"b", "none/a", "through/a"}));
  put("here/a", "x");
  EXPECT_EQ(head("here/a").state, meta::FileState::kTransient);
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"b", "none/a", "through/a"}));
}

TEST_F(ObjectsTest, what_is_put_again_before_it_was_persisted_is_uploaded_once) {
  put("a", "first");
  volume_.drain();
  put("a", "second");
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"a"}));
  std::string content(6, '\0');
  testing::must(volume_.bucket.get("a", 0, std::as_writable_bytes(std::span(content)), {}, volume_.later(), nullptr));
  EXPECT_EQ(content, "second");
  EXPECT_EQ(volume_.fsck(), "");
}

const std::vector<std::string>& two_parts() {
  static const std::vector<std::string> parts = {std::string(kObjectPartBytesMin, 'a'), "the end"};
  return parts;
}

// Semantics 7.10, below the mount.
TEST_F(ObjectsTest, parts_survive_a_restart_and_become_an_object_without_being_copied) {
  const std::string id = upload("a");
  testing::must(try_put_part("a", id, 1, two_parts()[0]));
  volume_.crash();
  volume_.start();
  testing::must(try_put_part("a", id, 2, two_parts()[1]));
  EXPECT_EQ(volume_.fsck(), "");
  const auto files = volume_.pages().files();
  ASSERT_EQ(files.size(), 1u);
  testing::must(try_complete("a", id, two_parts()));
  EXPECT_EQ(volume_.pages().files(), files);
  EXPECT_TRUE(get("a") == two_parts()[0] + two_parts()[1]);
  restart();
  EXPECT_TRUE(get("a") == two_parts()[0] + two_parts()[1]);
  EXPECT_EQ(head("a").parts, 2u);
  EXPECT_EQ(testing::must(try_complete("a", id, two_parts())).etag, head("a").etag);
  volume_.drain();
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(ObjectsTest, what_an_upload_held_is_freed_with_it) {
  const std::string aborted = upload("a"), removed = upload("b");
  testing::must(try_put_part("a", aborted, 1, "first"));
  testing::must(try_put_part("a", aborted, 1, "again, which has a file of its own"));
  testing::must(try_put_part("b", removed, 1, "first"));
  EXPECT_EQ(volume_.pages().files().size(), 3u);
  testing::must(objects().abort_upload(name("a"), aborted));
  EXPECT_EQ(volume_.pages().files().size(), 1u);
  testing::must(volume_->remove_mount("/s3"));
  EXPECT_EQ(volume_.pages().files().size(), 0u);
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(ObjectsTest, an_abandoned_upload_is_forgotten) {
  volume_.options.objects.upload_abandoned_after = Duration::zero();
  volume_.options.orphan_check_period = std::chrono::milliseconds(10);
  const std::string id = upload("a");
  testing::must(try_put_part("a", id, 1, "part"));
  restart();
  EXPECT_TRUE(volume_.wait([&] { return volume_.pages().files().empty(); }));
  EXPECT_FALSE(objects().find_upload(name("a"), id).has_value());
}

TEST_F(ObjectsTest, content_that_posix_writes_has_no_parts) {
  const std::string id = upload("a");
  testing::must(try_put_part("a", id, 1, two_parts()[0]));
  testing::must(try_put_part("a", id, 2, two_parts()[1]));
  const Object object = testing::must(try_complete("a", id, two_parts()));
  write_file(object.inode, "by POSIX");
  EXPECT_EQ(head("a").parts, 0u);
  volume_.drain();
  EXPECT_EQ(volume_.fsck(), "");
}

// Semantics 7.13, below the mount.
TEST_F(ObjectsTest, what_no_path_can_show_gets_its_name_when_there_is_room) {
  put("a/b", "below");
  put("a", "beside");
  put("a//c", "never");
  EXPECT_EQ(volume_.list(volume_.find(volume_.root(), "a")), (std::vector<std::string>{"b"}));
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"a", "a//c", "a/b"}));
  const InodeId a = volume_.find(volume_.root(), "a");
  testing::must(volume_->unlink(a, "b"));
  testing::must(volume_->remove_directory(volume_.root(), "a"));
  EXPECT_EQ(read_file(volume_.find(volume_.root(), "a")), "beside");
  EXPECT_EQ(keys(), (std::vector<std::string>{"a", "a//c"}));
  // The other way round.
  put("a/x/y", "below");
  EXPECT_EQ(keys(), (std::vector<std::string>{"a", "a//c", "a/x/y"}));
  testing::must(volume_->unlink(volume_.root(), "a"));
  const InodeId x = volume_.find(volume_.find(volume_.root(), "a"), "x");
  EXPECT_EQ(read_file(volume_.find(x, "y")), "below");
  volume_.drain();
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"a//c", "a/x/y"}));
  EXPECT_EQ(volume_.fsck(), "");
}

// Semantics 7.13, below the mount.
TEST_F(ObjectsTest, a_directory_that_moves_makes_room_and_leaves_the_shadow_behind) {
  put("a/b", "below");
  put("a", "beside");
  put("a/", "under the slash");
  testing::must(volume_->rename(volume_.root(), "a", volume_.root(), "z", meta::RenameMode::kReplace));
  EXPECT_EQ(keys(), (std::vector<std::string>{"a", "a/", "z/b"}));
  EXPECT_EQ(get("a"), "beside");
  EXPECT_EQ(get("a/"), "under the slash");
  EXPECT_EQ(read_file(volume_.find(volume_.root(), "a")), "beside");
  restart();
  volume_.drain();
  EXPECT_EQ(keys(), (std::vector<std::string>{"a", "a/", "z/b"}));
  EXPECT_EQ(volume_.keys(), (std::vector<std::string>{"a", "a/", "z/b"}));
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(ObjectsTest, keys_of_the_bucket_that_no_path_can_show_are_objects) {
  const std::vector<std::string> sorted = {"/", "//a", "a", "a/", "a/./c", "a//b", "a/b", "a/b/c"};
  testing::MemoryVolume fresh;
  for (const auto& key : sorted) fresh.put_object(key, "content of " + key, {.user = {{"k", "v"}}});
  fresh.start();
  const auto list = [&] {
    std::vector<std::string> keys;
    for (const auto& entry : testing::must(fresh->objects().list({.bucket = "s3"})).objects) keys.push_back(entry.key);
    return keys;
  };
  EXPECT_EQ(list(), sorted);
  for (const auto& key : sorted) {
    bool not_modified = false;
    const auto reader = fresh->objects().open(name(key), {}, &not_modified);
    ASSERT_TRUE(reader.has_value()) << key << ": " << reader.error().to_string();
    EXPECT_EQ((*reader)->object().headers.user.at("k"), "v");
    std::string content(100, '\0');
    content.resize(testing::must((*reader)->read(0, std::as_writable_bytes(std::span(content)))));
    EXPECT_EQ(content, "content of " + key);
  }
  for (const std::string key : {"a//b", "/", "a"}) testing::must(fresh->objects().erase(name(key), {}, ObjectDurability::kSync));
  EXPECT_EQ(list(), (std::vector<std::string>{"//a", "a/", "a/./c", "a/b", "a/b/c"}));
  fresh.drain();
  EXPECT_EQ(fresh.keys(), (std::vector<std::string>{"//a", "a/", "a/./c", "a/b", "a/b/c"}));
  EXPECT_EQ(fresh.fsck(), "");
  // What others remove or replace meanwhile is so when it is looked at.
  testing::MemoryVolume other;
  for (const char* key : {"x//gone", "x//kept"}) other.put_object(key, "first");
  other.start();
  EXPECT_EQ(testing::must(other->objects().list({.bucket = "s3"})).objects.size(), 2u);
  testing::must(other.bucket.erase("x//gone", {}, other.later()));
  bool not_modified = false;
  EXPECT_TRUE(failed_with(other->objects().head(name("x//gone"), {}, &not_modified), ErrorCode::kNotFound));
  EXPECT_EQ(testing::must(other->objects().list({.bucket = "s3"})).objects.size(), 1u);
  EXPECT_EQ(other.fsck(), "");
}

// A second volume over the same bucket shows the objects that the first one persisted.
class RebuiltObjectsTest : public ObjectsTest {
 protected:
  void rebuild() {
    volume_.drain();
    rebuilt_.options.open_store = volume_.options.open_store;
    rebuilt_.start();
  }
  Object rebuilt_head(std::string_view key) {
    bool not_modified = false;
    return testing::must(rebuilt_->objects().head(name(key), {}, &not_modified));
  }
  void expect_same(std::string_view key) {
    const Object before = head(key), after = rebuilt_head(key);
    EXPECT_EQ(after.size, before.size) << key;
    EXPECT_EQ(after.headers, before.headers) << key;
    EXPECT_EQ(after.checksum, before.checksum) << key;
    EXPECT_EQ(after.parts, before.parts) << key;
    EXPECT_EQ(testing::must(rebuilt_->objects().tags(name(key))), testing::must(objects().tags(name(key)))) << key;
  }

  testing::MemoryVolume rebuilt_;
};

PutFacts rich_facts() {
  PutFacts facts;
  facts.headers = {.content_type = "text/plain",
                   .content_encoding = "gzip",
                   .content_disposition = "attachment; filename=\"\xc3\xa4\"",
                   .content_language = "de",
                   .cache_control = "no-store",
                   .expires = "Thu, 01 Dec 1994 16:00:00 GMT",
                   .website_redirect = "/other",
                   .storage_class = "STANDARD_IA",
                   .user = {{"k", "v"}, {"mode", "33216"}, {"mtime", "1700000000"}, {"uid", "nobody"}, {"\xc3\xa4", "\xc3\xb6"},
                            {"weir-owner", "not so"}, {"file-permissions", "0600"}, {"--symlink-target", "/etc"}}};
  facts.tags = {{"project", "a&b=c"}, {"empty", ""}};
  facts.checksum = ObjectChecksum{ChecksumAlgorithm::kCrc32c, ChecksumType::kFullObject, "4waSgw=="};
  return facts;
}

// Semantics 7.12, below the mount.
TEST_F(RebuiltObjectsTest, shows_what_was_put) {
  put("rich", "content", rich_facts());
  put("poor", "content");
  put("octets", "content", {.headers = {.content_type = "application/octet-stream"}});
  PutFacts large = rich_facts();
  large.headers.user = {{"large", std::string(1'900, 'x')}, {"small", "y"}};
  put("large", "content", large);
  put("d/", "", {.headers = {.content_type = "application/x-directory; charset=UTF-8", .user = {{"k", "v"}}}});
  const std::string id = upload("parts");
  testing::must(try_put_part("parts", id, 1, two_parts()[0]));
  testing::must(try_put_part("parts", id, 2, two_parts()[1]));
  testing::must(try_complete("parts", id, two_parts()));
  rebuild();
  for (const char* key : {"rich", "poor", "octets", "large", "d/", "parts"}) {
    expect_same(key);
    EXPECT_EQ(rebuilt_head(key).etag, head(key).etag) << key;
  }
  EXPECT_EQ(rebuilt_head("rich").headers, rich_facts().headers);
  bool not_modified = false;
  const auto reader = testing::must(rebuilt_->objects().open(name("parts"), {}, &not_modified));
  EXPECT_EQ(testing::must(reader->part(2)).offset, kObjectPartBytesMin);
  // The bucket's own tools see it, too.
  const auto bare = testing::must(volume_.bucket.head("rich", volume_.later())).attributes;
  EXPECT_EQ(bare.content_type, "text/plain");
  EXPECT_EQ(bare.content_encoding, "gzip");
  EXPECT_EQ(bare.cache_control, "no-store");
  EXPECT_EQ(bare.user.at("k"), "v");
  EXPECT_EQ(bare.user.at("mode"), "33216");
  EXPECT_EQ(volume_.fsck(), "");
}

TEST_F(RebuiltObjectsTest, shows_what_was_changed_since) {
  put("a", "content", rich_facts());
  put("b", "content", rich_facts());
  put("c", "content", rich_facts());
  volume_.drain();
  testing::must(objects().set_tags(name("a"), {{"new", "1"}}));
  testing::must(objects().copy(name("b"), name("b"), {.headers = ObjectHeaders{.content_type = "image/png"}}));
  testing::must(volume_->rename(volume_.root(), "c", volume_.root(), "c2", meta::RenameMode::kReplace));
  testing::must(volume_->set_attributes(head("c2").inode, {.permissions = 0600}, {}));
  rebuild();
  for (const char* key : {"a", "b", "c2"}) {
    expect_same(key);
    EXPECT_EQ(rebuilt_head(key).etag, md5("content"));
  }
  EXPECT_EQ(rebuilt_head("b").headers, (ObjectHeaders{.content_type = "image/png"}));
  EXPECT_EQ(rebuilt_head("c2").headers.user.at("mode"), "33152");
}

TEST_F(RebuiltObjectsTest, shows_what_posix_made_and_what_other_tools_put) {
  volume_.put(volume_.root(), "a", "by POSIX");
  put("b", "by S3", rich_facts());
  write_file(head("b").inode, "by POSIX after all");
  volume_.put_object("found", "x", {.content_type = "text/html", .user = {{"mode", "33188"}, {"mtime", "1"}, {"k", "v"}}});
  volume_.options.names.sync_interval = Duration::zero();
  restart();
  EXPECT_EQ(head("found").headers.content_type, "text/html");
  EXPECT_EQ(head("found").headers.user, (std::map<std::string, std::string>{{"k", "v"}, {"mode", "33188"}, {"mtime", "1"}}));
  testing::must(volume_->rename(volume_.root(), "found", volume_.root(), "moved", meta::RenameMode::kReplace));
  rebuild();
  for (const char* key : {"a", "b", "moved"}) expect_same(key);
  EXPECT_EQ(rebuilt_head("moved").headers.user, head("moved").headers.user);
  EXPECT_EQ(rebuilt_head("a").headers.user.at("mode"), "33188");
}

TEST_F(RebuiltObjectsTest, does_not_believe_what_was_said_of_other_content) {
  put("a", "content", rich_facts());
  volume_.drain();
  const auto old = testing::must(volume_.bucket.head("a", volume_.later()));
  // As a tool does that writes what it changed with the metadata that it found.
  volume_.put_object("a", "other content", old.attributes);
  rebuild();
  EXPECT_EQ(rebuilt_head("a").checksum, std::nullopt);
  EXPECT_EQ(rebuilt_head("a").etag, testing::must(volume_.bucket.head("a", volume_.later())).info.etag);
  EXPECT_EQ(rebuilt_head("a").headers.content_type, "text/plain");
}

// Stops the story at the n-th step between two durable ones, as a crash would, and looks at what is left.
TEST_F(ObjectsTest, a_crash_leaves_each_object_as_it_was_or_as_it_was_to_be) {
  constexpr std::string_view kSteps[] = {"objects.filled",         "objects.synced",      "objects.committed",
                                         "objects.part_synced",    "objects.part_committed", "objects.part_joined",
                                         "objects.assembled"};
  const std::string parts = two_parts()[0] + two_parts()[1];
  bool finished = false;
  for (int stop_at = 0; !finished; ++stop_at) {
    int steps = 0;
    std::string begun;  // what was being done
    const auto story = [&]() -> Result<void> {
      const auto put = [&](std::string_view key, std::string_view content) -> Result<void> {
        begun = key;
        TRY_ASSIGN(const auto writer, objects().put(name(key)));
        TRY(writer->write(testing::bytes_of(content)));
        TRY(writer->commit({.etag = md5(content)}, {}, ObjectDurability::kSync));
        return {};
      };
      TRY(put("d/a", "first"));
      TRY(put("d/a", "second"));
      begun = "p";
      TRY_ASSIGN(const std::string id, objects().create_upload(name("p"), {}));
      TRY(try_put_part("p", id, 1, "to be replaced"));
      TRY(try_put_part("p", id, 2, two_parts()[1]));
      TRY(try_put_part("p", id, 1, two_parts()[0]));
      TRY(try_complete("p", id, two_parts()));
      begun = "";
      return {};
    };
    {
      std::vector<std::unique_ptr<ArmedFailpoint>> armed;
      for (const std::string_view step : kSteps) {
        armed.push_back(std::make_unique<ArmedFailpoint>(std::string(step), [&]() -> Result<void> {
          return steps++ >= stop_at ? fail(ErrorCode::kCancelled, "the end") : Result<void>();
        }));
      }
      finished = story().has_value();
    }
    volume_.crash();
    volume_.start();
    const std::string content = try_head("d/a") ? get("d/a") : "";
    EXPECT_TRUE(content == "second" || (begun == "d/a" && (content.empty() || content == "first"))) << content;
    EXPECT_TRUE(!try_head("p") || get("p") == parts);
    EXPECT_TRUE(begun == "p" || begun == "d/a" || try_head("p").has_value());
    EXPECT_EQ(volume_.fsck({}), "") << "stopped at step " << stop_at;
    // Whatever was going on is repeated, and works.
    const auto uploads = testing::must(objects().uploads("s3", "", "", "", 10));
    for (const auto& left : uploads) testing::must(objects().abort_upload(name(left.key), left.upload_id));
    testing::must(story());
    volume_.drain();
    EXPECT_EQ(volume_.fsck(), "");
    for (const char* key : {"d/a", "p"}) testing::must(objects().erase(name(key), {}, ObjectDurability::kSync));
    volume_.drain();
    EXPECT_TRUE(volume_.wait([&] { return volume_.pages().files().empty(); }));
    EXPECT_FALSE(volume_.there(volume_.root(), "d"));
    EXPECT_EQ(volume_.keys(), std::vector<std::string>{});
  }
}

}  // namespace
}  // namespace weir::volume
