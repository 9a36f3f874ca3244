#include "meta/object_attributes.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace weir::meta {
namespace {

Inode sample(FileType type) {
  Inode inode;
  inode.set_id(42);
  inode.set_type(type);
  inode.set_permissions(0640);
  inode.set_uid(1000);
  inode.set_gid(100);
  inode.set_mtime_ns(1'600'000'000'000'000'007);
  inode.set_generation(3);
  return inode;
}

LowerAttributes read_back(std::string key, ufs::ObjectAttributes attributes) {
  return from_object({.info = {.key = std::move(key)}, .attributes = std::move(attributes)});
}

LowerAttributes read_back(ufs::UserMetadata metadata) { return read_back("k", {.user = std::move(metadata)}); }

TEST(ObjectAttributes, what_is_written_is_read_back) {
  for (const FileType type : {format::REGULAR, format::SYMLINK, format::FIFO, format::SOCKET, format::CHAR_DEVICE}) {
    const LowerAttributes read = read_back("a/b", to_object(sample(type), "vol", "k"));
    EXPECT_EQ(read.type, type);
    EXPECT_EQ(read.permissions, 0640u);
    EXPECT_EQ(read.uid, 1000u);
    EXPECT_EQ(read.gid, 100u);
    EXPECT_EQ(read.mtime_ns, 1'600'000'000'000'000'007);
  }
  EXPECT_EQ(read_back("a/b/", to_object(sample(format::DIRECTORY), "vol", "k")).type, format::DIRECTORY);
}

TEST(ObjectAttributes, a_written_object_has_the_names_and_forms_of_s3fs_and_rclone) {
  const ufs::ObjectAttributes object = to_object(sample(format::REGULAR), "vol", "k");
  EXPECT_EQ(object.user.at("mode"), std::to_string(S_IFREG | 0640));
  EXPECT_EQ(object.user.at("uid"), "1000");
  EXPECT_EQ(object.user.at("mtime"), "1600000000.000000007");
  EXPECT_EQ(object.content_type, "");
}

TEST(ObjectAttributes, mtime_before_the_epoch_survives) {
  for (const int64_t ns : {int64_t{-1}, int64_t{-1'500'000'000}, std::numeric_limits<int64_t>::min() + 1,
                           std::numeric_limits<int64_t>::max()}) {
    Inode inode = sample(format::REGULAR);
    inode.set_mtime_ns(ns);
    EXPECT_EQ(read_back("k", to_object(inode, "v", "k")).mtime_ns, ns);
  }
}

TEST(ObjectAttributes, s3fs_is_read) {
  const LowerAttributes file = read_back({{"mode", "33188"}, {"uid", "0"}, {"gid", "0"}, {"mtime", "1600000000"}});
  EXPECT_EQ(file.type, format::REGULAR);
  EXPECT_EQ(file.permissions, 0644u);
  EXPECT_EQ(file.mtime_ns, 1'600'000'000'000'000'000);
  EXPECT_EQ(read_back({{"mode", "41471"}}).type, format::SYMLINK);
}

TEST(ObjectAttributes, rclone_is_read) {
  EXPECT_EQ(read_back({{"mtime", "1600000000.25"}}).mtime_ns, 1'600'000'000'250'000'000);
  EXPECT_EQ(read_back({{"mtime", "2020-09-13T14:26:40.25+02:00"}}).mtime_ns, 1'600'000'000'250'000'000);
  EXPECT_EQ(read_back({{"mtime", "2020-09-13T12:26:40Z"}}).mtime_ns, 1'600'000'000'000'000'000);
  EXPECT_EQ(read_back({{"mode", "0100664"}}).permissions, 0664u);
  for (const auto& [text, permissions] : {std::pair("100640", 0640u), std::pair("40755", 0755u),
                                          std::pair("640", 0640u), std::pair("104755", 04755u), std::pair("0", 0u)})
    EXPECT_EQ(read_back({{"mode", text}}).permissions, permissions) << text;
  EXPECT_EQ(read_back({{"mode", "120777"}}).type, format::SYMLINK);
}

TEST(ObjectAttributes, geesefs_is_read) {
  const LowerAttributes link = read_back({{"--symlink-target", "../x"}, {"mtime", "1600000000"}});
  EXPECT_EQ(link.type, format::SYMLINK);
  EXPECT_EQ(link.symlink_target, "../x");
  EXPECT_EQ(read_back({{"--symlink-target", "100%25 caf%C3%A9"}}).symlink_target, "100% caf\xc3\xa9");
}

TEST(ObjectAttributes, an_object_that_says_nothing_says_nothing) {
  const LowerAttributes plain = read_back(ufs::UserMetadata{});  // Mountpoint, aws s3 cp
  EXPECT_EQ(plain.type, format::REGULAR);
  EXPECT_FALSE(plain.permissions || plain.uid || plain.gid || plain.mtime_ns);
  EXPECT_TRUE(plain.xattrs.empty());
  EXPECT_EQ(read_back("d/", {}).type, format::DIRECTORY);
}

TEST(ObjectAttributes, datasync_is_read) {
  const LowerAttributes file = read_back({{"file-permissions", "0755"},
                                          {"file-owner", "7"},
                                          {"file-group", "8"},
                                          {"file-mtime", "1600000000000000001ns"}});
  EXPECT_EQ(file.permissions, 0755u);
  EXPECT_EQ(file.uid, 7u);
  EXPECT_EQ(file.gid, 8u);
  EXPECT_EQ(file.mtime_ns, 1'600'000'000'000'000'001);
  EXPECT_EQ(read_back({{"file-mtime", "1600000000000ms"}}).mtime_ns, 1'600'000'000'000'000'000);
}

TEST(ObjectAttributes, what_does_not_parse_counts_as_absent) {
  const LowerAttributes file = read_back({{"mode", "rw"},
                                          {"uid", "-1"},
                                          {"gid", "99999999999"},
                                          {"mtime", "99999999999999999999"},
                                          {"file-mtime", "9223372036854775807ms"}});
  EXPECT_EQ(file.type, format::REGULAR);
  EXPECT_FALSE(file.permissions || file.uid || file.gid || file.mtime_ns);
  EXPECT_FALSE(read_back({{"mtime", "2020-13-01T00:00:00Z"}}).mtime_ns);
  EXPECT_FALSE(read_back({{"mtime", "1.2.3"}}).mtime_ns);
}

TEST(ObjectAttributes, devices_come_back_with_their_numbers) {
  Inode inode = sample(format::CHAR_DEVICE);
  inode.set_rdev(0x12345);
  EXPECT_EQ(read_back("k", to_object(inode, "v", "k")).rdev, 0x12345u);
}

TEST(ObjectAttributes, a_group_holds_under_the_key_it_was_written_for) {
  Inode inode = sample(format::REGULAR);
  EXPECT_FALSE(to_object(inode, "v", "a/b").user.contains("weir-links"));
  inode.set_link_group("vol/1/7");
  const ufs::ObjectAttributes object = to_object(inode, "v", "a/b");
  EXPECT_EQ(read_back("a/b", object).link_group, "vol/1/7");
  EXPECT_EQ(read_back("a/c", object).link_group, "");
  EXPECT_EQ(read_back("a/b", object).owner_volume_id, "v");
  EXPECT_EQ(read_back("a/b", object).owner_generation, inode.generation());
  // A copy says what holds for its own key, or nothing.
  EXPECT_EQ(read_back("a/c", to_copied_object(object, inode, "v", "a/c")).link_group, "vol/1/7");
  inode.clear_link_group();
  EXPECT_FALSE(to_copied_object(object, inode, "v", "a/c").user.contains("weir-links"));
  for (const char* text : {"", "/", "x", "/0", "x/", "x/xyz"})
    EXPECT_EQ(read_back("a", {.user = {{"weir-links", text}}}).link_group, "") << text;
}

TEST(ObjectAttributes, token_round_trips_and_foreign_ones_are_none) {
  const OwnerToken token{.volume_id = "a/b", .inode = InodeId(9), .generation = Generation(11)};
  EXPECT_EQ(owner_of({.user = {{"weir-owner", format_owner(token)}}}), token);
  EXPECT_EQ(owner_of(to_object(sample(format::REGULAR), "vol", "k"))->inode, InodeId(42));
  for (const char* text : {"", "/", "//", "v/1", "v/x/1", "v/1/", "1/2x"})
    EXPECT_FALSE(owner_of({.user = {{"weir-owner", text}}})) << text;
}

TEST(ObjectAttributes, a_copy_keeps_what_others_wrote) {
  const ufs::ObjectAttributes source{.content_type = "image/png",
                                     .user = {{"author", "x"}, {"mode", "1"}, {"file-permissions", "0700"}}};
  const ufs::ObjectAttributes copied = to_copied_object(source, sample(format::REGULAR), "v", "k");
  EXPECT_EQ(copied.content_type, "image/png");
  EXPECT_EQ(copied.user.at("author"), "x");
  EXPECT_EQ(copied.user.at("mode"), std::to_string(S_IFREG | 0640));
  EXPECT_FALSE(copied.user.contains("file-permissions"));
}

TEST(ObjectAttributes, a_copy_of_unknown_attributes_changes_only_the_token) {
  Inode inode = sample(format::REGULAR);
  inode.set_attributes_unknown(true);
  ufs::ObjectAttributes copied =
      to_copied_object({.user = {{"mode", "1"}, {"file-permissions", "0700"}}}, inode, "v", "k");
  EXPECT_EQ(copied.user.at("mode"), "1");
  EXPECT_EQ(copied.user.at("file-permissions"), "0700");
  EXPECT_TRUE(owner_of(copied));
}

TEST(ObjectAttributes, a_copy_never_exceeds_the_limit_and_keeps_ours) {
  ufs::ObjectAttributes source;
  for (int i = 10; i < 30; ++i) source.user["n" + std::to_string(i)] = std::string(99, 'v');
  const ufs::ObjectAttributes copied = to_copied_object(source, sample(format::REGULAR), "v", "k");
  size_t bytes = 0;
  for (const auto& [name, value] : copied.user)
    bytes += std::string_view("x-amz-meta-").size() + name.size() + value.size();
  EXPECT_LE(bytes, ufs::kUserMetadataBytesMax);
  EXPECT_TRUE(copied.user.contains("n10"));
  EXPECT_FALSE(copied.user.contains("n29"));
  EXPECT_TRUE(owner_of(copied));
}

size_t bytes_of(const ufs::UserMetadata& metadata) {
  size_t bytes = 0;
  for (const auto& [name, value] : metadata)
    bytes += std::string_view("x-amz-meta-").size() + name.size() + value.size();
  return bytes;
}

TEST(ObjectAttributes, extended_attributes_of_any_bytes_are_in_the_metadata_while_they_fit) {
  const Xattrs xattrs{{"security.capability", std::string("\1\0\0\2", 4)},
                      {"system.posix_acl_access", std::string(44, '\xff')},
                      {"user.&=%\xfe name", "a=b&c"},
                      {"user.empty", ""}};
  const ObjectForm form = form_object(sample(format::REGULAR), xattrs, {}, "vol", "k");
  EXPECT_TRUE(form.sidecar_key.empty());
  const LowerAttributes read = read_back("k", form.attributes);
  EXPECT_EQ(read.xattrs, xattrs);
  EXPECT_TRUE(read.sidecar.key().empty());
}

TEST(ObjectAttributes, extended_attributes_that_do_not_fit_are_in_a_sidecar_named_by_what_it_holds) {
  for (const size_t bytes : {1'000u, 1'300u, 1'500u, 2'000u, 65'536u}) {
    const Xattrs xattrs{{"user.a", std::string(bytes, 'v')}, {"user.b", ""}};
    const ObjectForm form = form_object(sample(format::REGULAR), xattrs, {}, "vol", "k");
    EXPECT_LE(bytes_of(form.attributes.user), ufs::kUserMetadataBytesMax);
    const LowerAttributes read = read_back("k", form.attributes);
    EXPECT_EQ(read.sidecar.key(), form.sidecar_key);
    if (form.sidecar_key.empty()) {
      EXPECT_EQ(read.xattrs, xattrs);
    } else {
      EXPECT_TRUE(read.xattrs.empty());
      EXPECT_TRUE(form.sidecar_key.starts_with(kSidecarPrefix));
      EXPECT_LE(form.sidecar_body.size(), kSidecarBytesMax);
      EXPECT_EQ(decode_sidecar(form.sidecar_body).value(), xattrs);
    }
    EXPECT_EQ(form.sidecar_key.empty(), bytes <= 1'300);
    EXPECT_EQ(form_object(sample(format::REGULAR), xattrs, {}, "vol", "k").sidecar_key, form.sidecar_key);
  }
  EXPECT_TRUE(failed_with(decode_sidecar("anything"), ErrorCode::kInvalid));
}

TEST(ObjectAttributes, metadata_of_others_keeps_its_room_when_extended_attributes_come) {
  const ufs::ObjectAttributes source{.user = {{"author", std::string(1'200, 'x')}, {"weir-xattrs", "user.old=eA=="}}};
  const Xattrs xattrs{{"user.a", std::string(900, 'v')}};
  const ObjectForm form = form_copy(source, sample(format::REGULAR), xattrs, {}, "vol", "k");
  EXPECT_EQ(form.attributes.user.at("author"), std::string(1'200, 'x'));
  EXPECT_LE(bytes_of(form.attributes.user), ufs::kUserMetadataBytesMax);
  EXPECT_EQ(decode_sidecar(form.sidecar_body).value(), xattrs);
  const ObjectForm without = form_copy(form.attributes, sample(format::REGULAR), {}, {}, "vol", "k");
  EXPECT_FALSE(without.attributes.user.contains(kXattrsMetadata) || without.attributes.user.contains(kSidecarMetadata));
}

TEST(ObjectAttributes, a_copy_of_unknown_attributes_keeps_the_extended_ones_as_they_are) {
  Inode inode = sample(format::REGULAR);
  inode.set_attributes_unknown(true);
  const ObjectForm form = form_copy({.user = {{"weir-xattrs-in", ".weir-attributes/v-1-0"}}}, inode, {}, {}, "v", "k");
  EXPECT_EQ(read_back("k", form.attributes).sidecar.key(), ".weir-attributes/v-1-0");
}

TEST(ObjectAttributes, extended_attributes_of_s3fs_are_read) {
  const auto read = read_back({{"xattr", "%7B%22user.a%22%3A%22dmFsdWU%3D%22%2C%22user.b%22%3A%22%22%7D"}}).xattrs;
  EXPECT_EQ(read, (Xattrs{{"user.a", "value"}, {"user.b", ""}}));
  EXPECT_TRUE(read_back({{"xattr", "%7B%22user.a%22"}}).xattrs.empty());
}

TEST(ObjectAttributes, extended_attributes_that_no_inode_can_have_are_left_out) {
  const std::string long_name(256, 'n');
  EXPECT_EQ(read_back({{"weir-xattrs", "=eA==&user.a&user.b=*&" + long_name + "=eA==&user.c=eA=="}}).xattrs,
            (Xattrs{{"user.c", "x"}}));
  EXPECT_TRUE(read_back({{"weir-xattrs-in", "somewhere/else"}}).sidecar.key().empty());
}

TEST(ObjectAttributes, symlink_body_round_trips) {
  const std::string longest(kSymlinkBytesMax, 'x');
  EXPECT_EQ(decode_symlink(encode_symlink("a/b")).value(), "a/b");
  EXPECT_EQ(decode_symlink(encode_symlink(longest)).value(), longest);
  EXPECT_EQ(decode_symlink("bare").value(), "bare");
  for (const std::string& bad : {std::string(), encode_symlink(""), std::string("a\0b", 3), longest + "x"})
    EXPECT_TRUE(failed_with(decode_symlink(bad), ErrorCode::kInvalid));
}

}  // namespace
}  // namespace weir::meta
