// tests/contract/objects_contract.h -- what every volume::Objects has to do; instantiated in objects_contract_test.cc.
//
// An implementation under test is a type with `volume::Objects& objects()` over an empty bucket "s3" and no other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "net/checksum.h"
#include "net/digest.h"
#include "net/encoding.h"
#include "volume/objects.h"

namespace weir::volume {

template <typename Implementation>
class ObjectsContract : public ::testing::Test {
 protected:
  using Strings = std::vector<std::string>;

  Objects& objects() { return implementation_.objects(); }
  static ObjectName name(std::string_view key) { return {"s3", std::string(key)}; }
  static std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
  static std::string md5(std::string_view content) { return net::hex(net::md5(bytes(content))); }

  Result<Object> try_put(std::string_view key, std::string_view content, PutFacts facts = {},
                         const ObjectConditions& conditions = {}) {
    TRY_ASSIGN(const auto writer, objects().put(name(key)));
    TRY(writer->write(bytes(content)));
    facts.etag = md5(content);
    return writer->commit(facts, conditions, ObjectDurability::kSync);
  }
  Object put(std::string_view key, std::string_view content = "x", const PutFacts& facts = {}) {
    auto object = try_put(key, content, facts);
    EXPECT_TRUE(object.has_value()) << key << ": " << object.error().to_string();
    return object.value_or(Object());
  }
  Result<Object> head(std::string_view key) {
    bool not_modified = false;
    return objects().head(name(key), {}, &not_modified);
  }
  bool there(std::string_view key) {
    const auto object = head(key);
    EXPECT_TRUE(object.has_value() || object.error() == ErrorCode::kNotFound) << object.error().to_string();
    return object.has_value();
  }
  std::string get(std::string_view key) {
    bool not_modified = false;
    const auto reader = objects().open(name(key), {}, &not_modified);
    if (!reader) return "<" + reader.error().to_string() + ">";
    return read_all(**reader);
  }
  static std::string read_all(ObjectReader& reader) {
    std::string content(reader.object().size + 1, '\0');
    const auto read = reader.read(0, std::as_writable_bytes(std::span(content)));
    if (!read) return "<" + read.error().to_string() + ">";
    content.resize(*read);
    return content;
  }
  Result<void> erase(std::string_view key, const ObjectConditions& conditions = {}) {
    return objects().erase(name(key), conditions, ObjectDurability::kSync);
  }
  ObjectListing list(ListObjects query = {}) {
    query.bucket = "s3";
    auto listing = objects().list(query);
    EXPECT_TRUE(listing.has_value()) << listing.error().to_string();
    return listing.value_or(ObjectListing());
  }
  static Strings keys_of(const ObjectListing& listing) {
    Strings keys;
    for (const auto& entry : listing.objects) keys.push_back(entry.key);
    return keys;
  }
  Strings keys(ListObjects query = {}) { return keys_of(list(std::move(query))); }
  // Objects and common prefixes in one order, page by page.
  Strings paged(ListObjects query, uint32_t entries_max) {
    Strings found;
    query.entries_max = entries_max;
    for (int pages = 0; pages < 1'000; ++pages) {
      const ObjectListing page = list(query);
      EXPECT_LE(page.objects.size() + page.common_prefixes.size(), entries_max);
      Strings both = keys_of(page);
      both.insert(both.end(), page.common_prefixes.begin(), page.common_prefixes.end());
      std::ranges::sort(both);
      found.insert(found.end(), both.begin(), both.end());
      if (!page.more) return found;
      query.after = page.next;
    }
    ADD_FAILURE() << "the listing does not end";
    return found;
  }
  template <typename T>
  static ErrorCode code(const Result<T>& result) {
    return result.has_value() ? ErrorCode::kInternal : result.error().code();
  }

  // --- uploads
  std::string create_upload(std::string_view key, const UploadOptions& options = {}) {
    const auto id = objects().create_upload(name(key), options);
    EXPECT_TRUE(id.has_value()) << id.error().to_string();
    return id.value_or("");
  }
  Result<ObjectPart> put_part(std::string_view key, std::string_view id, uint32_t number, std::string_view content,
                              bool tell_size = true, const std::optional<ObjectChecksum>& checksum = {}) {
    const auto size = tell_size ? std::optional<uint64_t>(content.size()) : std::nullopt;
    TRY_ASSIGN(const auto writer, objects().put_part(name(key), id, number, size));
    for (size_t at = 0; at < content.size(); at += 1 << 20) TRY(writer->write(bytes(content.substr(at, 1 << 20))));
    return writer->commit(md5(content), checksum, ObjectDurability::kSync);
  }
  Result<Object> complete(std::string_view key, std::string_view id, const std::vector<std::pair<uint32_t, std::string>>& parts,
                          CompleteOptions options = {}) {
    for (const auto& [number, content] : parts) options.parts.push_back({.number = number, .etag = md5(content)});
    return objects().complete_upload(name(key), id, options);
  }
  static std::string etag_of(const std::vector<std::pair<uint32_t, std::string>>& parts) {
    net::Hasher<net::Md5> hasher;
    for (const auto& [number, content] : parts) hasher.add(net::md5(bytes(content)));
    return net::hex(hasher.finish()) + "-" + std::to_string(parts.size());
  }
  static std::string joined(const std::vector<std::pair<uint32_t, std::string>>& parts) {
    std::string content;
    for (const auto& [number, part] : parts) content += part;
    return content;
  }
  // Content of its own for each letter.
  static std::string part_of(char letter, size_t size = kObjectPartBytesMin) {
    std::string content;
    content.reserve(size + 16);
    while (content.size() < size) content.append(1, letter).append(std::to_string(content.size()));
    content.resize(size);
    return content;
  }

 private:
  Implementation implementation_;
};

TYPED_TEST_SUITE_P(ObjectsContract);

// --- buckets

TYPED_TEST_P(ObjectsContract, buckets_are_listed_and_missing_ones_are_told_from_missing_keys) {
  const auto buckets = this->objects().buckets();
  ASSERT_TRUE(buckets.has_value());
  ASSERT_EQ(buckets->size(), 1u);
  EXPECT_EQ(buckets->front().name, "s3");
  EXPECT_GT(buckets->front().created_ns, 0);
  EXPECT_TRUE(this->objects().find_bucket("s3").has_value());
  const auto missing = this->objects().find_bucket("s4");
  ASSERT_FALSE(missing.has_value());
  EXPECT_TRUE(is_no_bucket(missing.error()));
  bool not_modified = false;
  const auto elsewhere = this->objects().head({"s4", "a"}, {}, &not_modified);
  ASSERT_FALSE(elsewhere.has_value());
  EXPECT_TRUE(is_no_bucket(elsewhere.error()));
  const auto key = this->head("a");
  ASSERT_FALSE(key.has_value());
  EXPECT_EQ(key.error().code(), ErrorCode::kNotFound);
  EXPECT_FALSE(is_no_bucket(key.error()));
  EXPECT_FALSE(this->objects().put({"s4", "a"}).has_value());
  const auto listed = this->objects().list({.bucket = "s4"});
  ASSERT_FALSE(listed.has_value());
  EXPECT_TRUE(is_no_bucket(listed.error()));
}

TYPED_TEST_P(ObjectsContract, buckets_are_not_made_without_a_root) {
  EXPECT_EQ(this->code(this->objects().create_bucket("another")), ErrorCode::kPermission);
  EXPECT_EQ(this->code(this->objects().remove_bucket("s3")), ErrorCode::kPermission);
}

// --- putting, reading, erasing

TYPED_TEST_P(ObjectsContract, what_was_put_is_read_with_its_facts) {
  PutFacts facts;
  facts.headers = {.content_type = "text/plain",
                   .content_encoding = "gzip",
                   .content_disposition = "attachment",
                   .content_language = "de",
                   .cache_control = "no-store",
                   .expires = "Thu, 01 Dec 1994 16:00:00 GMT",
                   .website_redirect = "/other",
                   .storage_class = "STANDARD_IA",
                   .user = {{"colour", "blue"}, {"size", "large \xc3\xa4"}}};
  facts.tags = {{"project", "weir"}, {"empty", ""}};
  facts.checksum = ObjectChecksum{ChecksumAlgorithm::kCrc32c, ChecksumType::kFullObject, "4waSgw=="};
  const Object put = this->put("a/b/c.txt", "content", facts);
  EXPECT_EQ(put.etag, this->md5("content"));
  const auto head = this->head("a/b/c.txt");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->key, "a/b/c.txt");
  EXPECT_EQ(head->size, 7u);
  EXPECT_EQ(head->etag, this->md5("content"));
  EXPECT_EQ(head->headers, facts.headers);
  EXPECT_EQ(head->checksum, facts.checksum);
  EXPECT_EQ(head->tags, 2u);
  EXPECT_EQ(head->parts, 0u);
  EXPECT_EQ(head->modified_ns, put.modified_ns);
  EXPECT_GT(head->modified_ns, 0);
  EXPECT_EQ(this->get("a/b/c.txt"), "content");
  const auto tags = this->objects().tags(this->name("a/b/c.txt"));
  ASSERT_TRUE(tags.has_value());
  EXPECT_EQ(*tags, facts.tags);
}

TYPED_TEST_P(ObjectsContract, an_empty_object_is_an_object) {
  this->put("empty", "");
  const auto head = this->head("empty");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->size, 0u);
  EXPECT_EQ(head->etag, "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(this->get("empty"), "");
}

TYPED_TEST_P(ObjectsContract, an_object_that_was_not_committed_is_not_there) {
  {
    const auto writer = this->objects().put(this->name("a"));
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE((*writer)->write(this->bytes("half of it")).has_value());
    EXPECT_FALSE(this->there("a"));
    EXPECT_EQ(this->keys(), (std::vector<std::string>{}));
  }
  EXPECT_FALSE(this->there("a"));
}

TYPED_TEST_P(ObjectsContract, a_body_comes_in_pieces) {
  const auto writer = this->objects().put(this->name("a"));
  ASSERT_TRUE(writer.has_value());
  for (const std::string_view piece : {"one ", "", "two ", "three"}) ASSERT_TRUE((*writer)->write(this->bytes(piece)).has_value());
  ASSERT_TRUE((*writer)->commit({.etag = this->md5("one two three")}, {}, ObjectDurability::kWrite).has_value());
  EXPECT_EQ(this->get("a"), "one two three");
}

TYPED_TEST_P(ObjectsContract, a_put_replaces_everything_of_the_object_before) {
  this->put("a", "first", {.headers = {.content_type = "text/plain", .user = {{"k", "v"}}}, .tags = {{"t", "1"}}});
  const auto first = this->head("a");
  this->put("a", "second");
  const auto head = this->head("a");
  ASSERT_TRUE(first.has_value() && head.has_value());
  EXPECT_EQ(this->get("a"), "second");
  EXPECT_EQ(head->headers, ObjectHeaders());
  EXPECT_EQ(head->tags, 0u);
  EXPECT_EQ(head->etag, this->md5("second"));
  EXPECT_GE(head->modified_ns, first->modified_ns);
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a"}));
}

TYPED_TEST_P(ObjectsContract, a_reader_reads_one_version_whatever_becomes_of_the_name) {
  this->put("a", "first version");
  bool not_modified = false;
  const auto replaced = this->objects().open(this->name("a"), {}, &not_modified);
  this->put("a", "second");
  const auto erased = this->objects().open(this->name("a"), {}, &not_modified);
  ASSERT_TRUE(this->erase("a").has_value());
  ASSERT_TRUE(replaced.has_value() && erased.has_value());
  EXPECT_EQ((*replaced)->object().etag, this->md5("first version"));
  EXPECT_EQ(this->read_all(**replaced), "first version");
  EXPECT_EQ(this->read_all(**erased), "second");
  EXPECT_FALSE(this->there("a"));
}

TYPED_TEST_P(ObjectsContract, ranges_are_read_and_end_with_the_object) {
  this->put("a", "0123456789");
  bool not_modified = false;
  const auto reader = this->objects().open(this->name("a"), {}, &not_modified);
  ASSERT_TRUE(reader.has_value());
  std::string buffer(4, '\0');
  const auto into = std::as_writable_bytes(std::span(buffer));
  EXPECT_EQ((*reader)->read(3, into).value_or(0), 4u);
  EXPECT_EQ(buffer, "3456");
  EXPECT_EQ((*reader)->read(8, into).value_or(0), 2u);
  EXPECT_EQ((*reader)->read(10, into).value_or(9), 0u);
  EXPECT_EQ((*reader)->read(1'000, into).value_or(9), 0u);
  const auto all = (*reader)->part(1);
  ASSERT_TRUE(all.has_value());
  EXPECT_EQ(all->offset, 0u);
  EXPECT_EQ(all->size, 10u);
  EXPECT_EQ(this->code((*reader)->part(2)), ErrorCode::kRange);
}

TYPED_TEST_P(ObjectsContract, erasing_what_is_not_there_is_success) {
  EXPECT_TRUE(this->erase("never").has_value());
  EXPECT_TRUE(this->erase("never/below").has_value());
  EXPECT_TRUE(this->erase("never/").has_value());
  this->put("a/b");
  EXPECT_TRUE(this->erase("a").has_value());
  EXPECT_TRUE(this->erase("a/").has_value());
  EXPECT_TRUE(this->there("a/b"));
}

TYPED_TEST_P(ObjectsContract, many_are_erased_in_one_call) {
  for (const std::string_view key : {"a", "b/c", "b/d", "e"}) this->put(key);
  const std::vector<std::string> keys = {"a", "b/c", "missing", "b/d"};
  const auto results = this->objects().erase("s3", keys, ObjectDurability::kSync);
  ASSERT_EQ(results.size(), keys.size());
  for (const auto& result : results) EXPECT_TRUE(result.has_value());
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"e"}));
}

TYPED_TEST_P(ObjectsContract, keys_without_bytes_with_nul_and_too_long_ones_are_invalid) {
  const std::string nul("a\0b", 3);
  const std::string longest = std::string(200, 'a') + "/" + std::string(200, 'b') + "/" + std::string(200, 'c') + "/" +
                              std::string(200, 'd') + "/" + std::string(220, 'e');
  ASSERT_EQ(longest.size(), kObjectKeyBytesMax);
  for (const std::string& key : {std::string(), nul, longest + "f"}) {
    EXPECT_EQ(this->code(this->try_put(key, "x")), ErrorCode::kInvalid);
    EXPECT_EQ(this->code(this->head(key)), ErrorCode::kInvalid);
    EXPECT_EQ(this->code(this->erase(key)), ErrorCode::kInvalid);
  }
  this->put(longest, "long");
  EXPECT_EQ(this->get(longest), "long");
}

// --- directories

TYPED_TEST_P(ObjectsContract, directories_on_the_way_are_no_objects_and_go_with_what_they_hold) {
  this->put("a/b/c");
  this->put("a/d");
  EXPECT_FALSE(this->there("a/"));
  EXPECT_FALSE(this->there("a/b/"));
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/b/c", "a/d"}));
  ASSERT_TRUE(this->erase("a/b/c").has_value());
  EXPECT_EQ(this->list({.prefix = "a/", .delimiter = "/"}).common_prefixes, (std::vector<std::string>{}));
  // The name is free.
  this->put("a/b");
  ASSERT_TRUE(this->erase("a/b").has_value());
  ASSERT_TRUE(this->erase("a/d").has_value());
  this->put("a", "a file now");
  EXPECT_EQ(this->get("a"), "a file now");
}

TYPED_TEST_P(ObjectsContract, a_marker_is_an_object_of_its_own) {
  this->put("a/", "", {.headers = {.content_type = "application/x-directory", .user = {{"k", "v"}}}});
  const auto head = this->head("a/");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->size, 0u);
  EXPECT_EQ(head->etag, "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(head->headers.user.at("k"), "v");
  EXPECT_EQ(this->get("a/"), "");
  EXPECT_FALSE(this->there("a"));
  this->put("a/b");
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/", "a/b"}));
  ASSERT_TRUE(this->erase("a/b").has_value());
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/"}));
  this->put("a/b");
  ASSERT_TRUE(this->erase("a/").has_value());
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/b"}));
  this->put("a/", "");
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/", "a/b"}));
  ASSERT_TRUE(this->erase("a/b").has_value());
  ASSERT_TRUE(this->erase("a/").has_value());
  EXPECT_EQ(this->keys(), (std::vector<std::string>{}));
}

// --- conditions

TYPED_TEST_P(ObjectsContract, reads_heed_conditions_in_their_order_of_precedence) {
  const Object object = this->put("a", "content");
  const std::string etag = object.etag;
  const int64_t second = object.modified_ns / 1'000'000'000;
  struct Case {
    ObjectConditions conditions;
    std::string_view outcome;
  };
  const Case cases[] = {
      {{.if_match = {etag}}, "read"},
      {{.if_match = {"other", etag}}, "read"},
      {{.if_match = {"*"}}, "read"},
      {{.if_match = {"other"}}, "failed"},
      {{.if_none_match = {etag}}, "not modified"},
      {{.if_none_match = {"*"}}, "not modified"},
      {{.if_none_match = {"other"}}, "read"},
      {{.if_modified_since_s = second}, "not modified"},
      {{.if_modified_since_s = second - 1}, "read"},
      {{.if_unmodified_since_s = second}, "read"},
      {{.if_unmodified_since_s = second - 1}, "failed"},
      {{.if_match = {etag}, .if_unmodified_since_s = second - 1}, "read"},
      {{.if_none_match = {"other"}, .if_modified_since_s = second}, "read"},
      {{.if_match = {etag}, .if_none_match = {etag}}, "not modified"},
      {{.if_match = {"other"}, .if_none_match = {etag}}, "failed"},
  };
  for (size_t i = 0; i < std::size(cases); ++i) {
    bool not_modified = false;
    const auto head = this->objects().head(this->name("a"), cases[i].conditions, &not_modified);
    const std::string_view outcome = !head ? "failed" : not_modified ? "not modified" : "read";
    EXPECT_EQ(outcome, cases[i].outcome) << "case " << i;
    EXPECT_TRUE(head.has_value() || head.error() == ErrorCode::kPrecondition) << "case " << i;
    bool open_not_modified = false;
    const auto open = this->objects().open(this->name("a"), cases[i].conditions, &open_not_modified);
    EXPECT_EQ(open.has_value(), head.has_value()) << "case " << i;
    EXPECT_EQ(open_not_modified, not_modified) << "case " << i;
  }
}

TYPED_TEST_P(ObjectsContract, writes_heed_conditions) {
  EXPECT_EQ(this->code(this->try_put("a", "x", {}, {.if_match = {"*"}})), ErrorCode::kNotFound);
  EXPECT_TRUE(this->try_put("a", "first", {}, {.if_none_match = {"*"}}).has_value());
  EXPECT_EQ(this->code(this->try_put("a", "second", {}, {.if_none_match = {"*"}})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->code(this->try_put("a", "second", {}, {.if_match = {"other"}})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->get("a"), "first");
  EXPECT_TRUE(this->try_put("a", "second", {}, {.if_match = {this->md5("first")}}).has_value());
  EXPECT_EQ(this->get("a"), "second");
  EXPECT_EQ(this->code(this->erase("a", {.if_match = {this->md5("first")}})), ErrorCode::kPrecondition);
  EXPECT_TRUE(this->there("a"));
  EXPECT_TRUE(this->erase("a", {.if_match = {this->md5("second")}}).has_value());
  EXPECT_FALSE(this->there("a"));
  EXPECT_EQ(this->code(this->erase("a", {.if_match = {"*"}})), ErrorCode::kNotFound);
}

// Semantics 7.9, below the mount.
TYPED_TEST_P(ObjectsContract, of_racing_conditional_creations_one_wins) {
  constexpr int kRacers = 8;
  for (int round = 0; round < 5; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::atomic<int> winners = 0;
    std::atomic<int> losers = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kRacers; ++i) {
      threads.emplace_back([&, i] {
        const auto put = this->try_put(key, "racer " + std::to_string(i), {}, {.if_none_match = {"*"}});
        if (put) ++winners;
        if (!put && (put.error() == ErrorCode::kPrecondition || put.error() == ErrorCode::kConflict)) ++losers;
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(losers, kRacers - 1);
  }
}

// --- tags

TYPED_TEST_P(ObjectsContract, tags_change_without_the_object) {
  const Object before = this->put("a", "content", {.headers = {.content_type = "text/plain"}, .tags = {{"old", "1"}}});
  ASSERT_TRUE(this->objects().set_tags(this->name("a"), {{"new", "2"}, {"more", ""}}).has_value());
  const auto tags = this->objects().tags(this->name("a"));
  ASSERT_TRUE(tags.has_value());
  EXPECT_EQ(*tags, (ObjectTags{{"new", "2"}, {"more", ""}}));
  const auto after = this->head("a");
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->etag, before.etag);
  EXPECT_EQ(after->headers, before.headers);
  EXPECT_EQ(after->tags, 2u);
  ASSERT_TRUE(this->objects().set_tags(this->name("a"), {}).has_value());
  EXPECT_EQ(this->objects().tags(this->name("a")).value_or(ObjectTags{{"?", "?"}}), ObjectTags());
  EXPECT_EQ(this->code(this->objects().tags(this->name("b"))), ErrorCode::kNotFound);
  EXPECT_EQ(this->code(this->objects().set_tags(this->name("b"), {{"k", "v"}})), ErrorCode::kNotFound);
}

// --- renaming

// Semantics 7.15.
TYPED_TEST_P(ObjectsContract, a_renamed_object_keeps_everything_but_its_key) {
  PutFacts facts;
  facts.headers.user = {{"colour", "blue"}};
  facts.tags = {{"a", "b"}};
  const Object before = this->put("from/here", "content", facts);
  this->put("to", "another");
  ASSERT_TRUE(this->objects().rename(this->name("from/here"), "to", {}, {}).has_value());
  EXPECT_FALSE(this->there("from/here"));
  EXPECT_FALSE(this->there("from/"));
  EXPECT_EQ(this->get("to"), "content");
  const auto after = this->head("to");
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->etag, before.etag);
  EXPECT_EQ(after->inode, before.inode);
  EXPECT_EQ(after->headers, before.headers);
  EXPECT_GE(after->modified_ns, before.modified_ns);
  EXPECT_EQ(this->objects().tags(this->name("to")).value_or(ObjectTags()), facts.tags);
  EXPECT_EQ(this->keys(), (typename TestFixture::Strings{"to"}));
  // With directories on the way, and onto itself.
  ASSERT_TRUE(this->objects().rename(this->name("to"), "x/y/z", {}, {}).has_value());
  ASSERT_TRUE(this->objects().rename(this->name("x/y/z"), "x/y/z", {}, {}).has_value());
  EXPECT_EQ(this->get("x/y/z"), "content");
  EXPECT_EQ(this->keys(), (typename TestFixture::Strings{"x/y/z"}));
}

TYPED_TEST_P(ObjectsContract, a_rename_heeds_conditions_on_both_ends) {
  const Object a = this->put("a", "of a");
  const Object b = this->put("b", "of b");
  const auto rename = [&](const ObjectConditions& source, const ObjectConditions& target) {
    return this->objects().rename(this->name("a"), "b", source, target);
  };
  EXPECT_EQ(this->code(rename({.if_match = {"other"}}, {})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->code(rename({.if_none_match = {a.etag}}, {})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->code(rename({}, {.if_none_match = {"*"}})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->code(rename({}, {.if_match = {"other"}})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->get("a"), "of a");
  EXPECT_EQ(this->get("b"), "of b");
  EXPECT_TRUE(rename({.if_match = {a.etag}}, {.if_match = {b.etag}}).has_value());
  EXPECT_EQ(this->get("b"), "of a");
  EXPECT_TRUE(this->objects().rename(this->name("b"), "c", {}, {.if_none_match = {"*"}}).has_value());
}

TYPED_TEST_P(ObjectsContract, a_rename_that_cannot_be_leaves_everything_as_it_was) {
  this->put("a", "of a");
  EXPECT_EQ(this->code(this->objects().rename(this->name("missing"), "a", {}, {})), ErrorCode::kNotFound);
  const auto elsewhere = this->objects().rename({"s4", "a"}, "b", {}, {});
  ASSERT_FALSE(elsewhere.has_value());
  EXPECT_TRUE(is_no_bucket(elsewhere.error()));
  EXPECT_EQ(this->code(this->objects().rename(this->name("a"), "", {}, {})), ErrorCode::kInvalid);
  EXPECT_EQ(this->code(this->objects().rename(this->name("a"), "d/", {}, {})), ErrorCode::kInvalid);
  this->put("d/", "");
  EXPECT_EQ(this->code(this->objects().rename(this->name("d/"), "e", {}, {})), ErrorCode::kInvalid);
  EXPECT_EQ(this->get("a"), "of a");
  EXPECT_EQ(this->keys(), (typename TestFixture::Strings{"a", "d/"}));
}

// Each of the keys without a path, and between them.
TYPED_TEST_P(ObjectsContract, any_key_can_be_renamed_to_any) {
  this->put("a/b", "in the way");
  const typename TestFixture::Strings places = {"plain", "a", "dir/plain", "x//y", "../up", "dir/other", "a//", "a"};
  this->put("dir/stays", "stays");
  this->put(places.front(), "wanders");
  std::string at = places.front();
  for (const std::string& next : places) {
    if (next.ends_with('/')) continue;
    const auto renamed = this->objects().rename(this->name(at), next, {}, {});
    ASSERT_TRUE(renamed.has_value()) << at << " to " << next << ": " << renamed.error().to_string();
    EXPECT_TRUE(next == at || !this->there(at)) << at;
    at = next;
    EXPECT_EQ(this->get(at), "wanders") << at;
    typename TestFixture::Strings expected = {"a/b", "dir/stays", at};
    std::ranges::sort(expected);
    EXPECT_EQ(this->keys(), expected);
  }
  // Over one another.
  this->put("x//y", "replaced");
  EXPECT_TRUE(this->objects().rename(this->name(at), "x//y", {}, {}).has_value());
  EXPECT_EQ(this->get("x//y"), "wanders");
  this->put("plain", "replaced");
  EXPECT_TRUE(this->objects().rename(this->name("x//y"), "plain", {}, {}).has_value());
  EXPECT_EQ(this->get("plain"), "wanders");
  EXPECT_EQ(this->keys(), (typename TestFixture::Strings{"a/b", "dir/stays", "plain"}));
}

// --- listing

TYPED_TEST_P(ObjectsContract, keys_are_listed_in_the_order_of_their_bytes) {
  const std::vector<std::string> sorted = {"a!", "a-b", "a.b", "a/", "a/b", "a/b-c", "a/b.c", "a/b/c", "a0", "ab", "b", "\xc3\xa4"};
  for (const auto& key : sorted) {
    if (key != "a/b") this->put(key, key.ends_with('/') ? "" : "x");
  }
  std::vector<std::string> expected = sorted;
  std::erase(expected, "a/b");
  EXPECT_EQ(this->keys(), expected);
  for (uint32_t entries_max = 1; entries_max <= 5; ++entries_max) EXPECT_EQ(this->paged({}, entries_max), expected) << entries_max;
}

TYPED_TEST_P(ObjectsContract, a_listing_tells_what_a_head_does) {
  PutFacts facts{.headers = {.storage_class = "GLACIER_IR"}};
  facts.checksum = ObjectChecksum{ChecksumAlgorithm::kSha256, ChecksumType::kFullObject, "value"};
  this->put("a", "content", facts);
  this->put("b", "");
  const auto listing = this->list();
  ASSERT_EQ(listing.objects.size(), 2u);
  const auto head = this->head("a");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(listing.objects[0].size, head->size);
  EXPECT_EQ(listing.objects[0].etag, head->etag);
  EXPECT_EQ(listing.objects[0].modified_ns, head->modified_ns);
  EXPECT_EQ(listing.objects[0].storage_class, "GLACIER_IR");
  EXPECT_EQ(listing.objects[0].checksum_algorithm, ChecksumAlgorithm::kSha256);
  EXPECT_EQ(listing.objects[1].checksum_algorithm, std::nullopt);
}

TYPED_TEST_P(ObjectsContract, prefixes_delimiters_and_markers_agree_with_a_plain_filter) {
  const std::vector<std::string> all = {"a",       "a-1",     "a-2",     "b/c/d",   "b/c/e",   "b/c-d",  "b/f",
                                        "b/g/",    "b/g/h",   "bb",      "c/",      "d--e--f", "d--g",   "e/f/g/h",
                                        "e/f/g/i", "e/f0",    "e/f1/x",  "zz/"};
  for (const auto& key : all) this->put(key, key.ends_with('/') ? "" : "x");
  std::vector<std::string> sorted = all;
  std::ranges::sort(sorted);
  const auto expected = [&](const ListObjects& query) {
    std::vector<std::string> entries;
    for (const auto& key : sorted) {
      if (!key.starts_with(query.prefix) || key <= query.after) continue;
      std::string entry = key;
      if (!query.delimiter.empty()) {
        const size_t at = key.find(query.delimiter, query.prefix.size());
        if (at != std::string::npos) entry = key.substr(0, at + query.delimiter.size());
      }
      if (entry != key && query.after.starts_with(entry)) continue;
      if (entry == key && !query.delimiter.empty() && query.after == entry) continue;
      if (entries.empty() || entries.back() != entry) entries.push_back(entry);
    }
    return entries;
  };
  std::vector<std::string> places = {"", "a", "a-", "b", "b/", "b/c", "b/c/", "b/c/d", "b/g", "b/g/", "b/g/h", "d-", "d--e--",
                                     "e/", "e/f", "e/f/", "e/f/g/", "f", "z", "zz/", "zzz"};
  for (const std::string& prefix : places) {
    for (const std::string delimiter : {"", "/", "-", "--", "f/", "c", "zz"}) {
      for (const std::string& after : places) {
        const ListObjects query{.prefix = prefix, .delimiter = delimiter, .after = after};
        const std::string what = "prefix '" + prefix + "' delimiter '" + delimiter + "' after '" + after + "'";
        ASSERT_EQ(this->paged(query, 1'000), expected(query)) << what;
        ASSERT_EQ(this->paged(query, 2), expected(query)) << what;
      }
    }
  }
}

TYPED_TEST_P(ObjectsContract, no_entries_asked_for_is_an_empty_whole_page) {
  this->put("a");
  const auto listing = this->list({.entries_max = 0});
  EXPECT_TRUE(listing.objects.empty());
  EXPECT_FALSE(listing.more);
}

TYPED_TEST_P(ObjectsContract, a_page_that_is_just_full_is_not_said_to_go_on) {
  for (const std::string_view key : {"a", "b", "c/d", "c/e"}) this->put(key);
  EXPECT_FALSE(this->list({.entries_max = 4}).more);
  EXPECT_TRUE(this->list({.entries_max = 3}).more);
  EXPECT_FALSE(this->list({.delimiter = "/", .entries_max = 3}).more);
  EXPECT_TRUE(this->list({.delimiter = "/", .entries_max = 2}).more);
}

// --- keys that no path can show

// Semantics 7.13, below the mount.
TYPED_TEST_P(ObjectsContract, any_key_is_an_object) {
  const std::string long_name(300, 'x');
  std::vector<std::string> sorted = {"a", "a/b", "a/b/c", "a/b/c/", "a//", "a//b", "/", "//", "/lead", ".", "..", "./a", "../a",
                                     "d/../e", "d/./e", "trail/", "trail", long_name, "d/" + long_name,
                                     "d/" + long_name + "/e", "z/", "z/y", "z"};
  std::ranges::sort(sorted);
  // In this and in the other order, so that each is in the way of each.
  for (const bool forward : {true, false}) {
    std::vector<std::string> order = sorted;
    if (!forward) std::ranges::reverse(order);
    for (const auto& key : order) this->put(key, "content of " + key);
    EXPECT_EQ(this->keys(), sorted);
    for (const uint32_t entries_max : {1u, 2u, 3u, 7u}) EXPECT_EQ(this->paged({}, entries_max), sorted) << entries_max;
    for (const auto& key : sorted) {
      EXPECT_EQ(this->get(key), "content of " + key);
      const auto head = this->head(key);
      ASSERT_TRUE(head.has_value()) << key;
      EXPECT_EQ(head->etag, this->md5("content of " + key));
    }
    for (const auto& key : sorted) this->put(key, "again " + key);
    EXPECT_EQ(this->keys(), sorted);
    for (const auto& key : sorted) EXPECT_EQ(this->get(key), "again " + key);
    EXPECT_EQ(this->list({.delimiter = "/"}).common_prefixes,
              (std::vector<std::string>{"../", "./", "/", "a/", "d/", "trail/", "z/"}));
    EXPECT_EQ(this->list({.prefix = "a/", .delimiter = "/"}).common_prefixes, (std::vector<std::string>{"a//", "a/b/"}));
    EXPECT_EQ(this->keys({.prefix = "a/", .delimiter = "/"}), (std::vector<std::string>{"a/b"}));
    for (const auto& key : order) {
      ASSERT_TRUE(this->erase(key).has_value()) << key;
      for (const auto& other : sorted) {
        const bool erased = std::ranges::find(order, other) <= std::ranges::find(order, key);
        EXPECT_EQ(this->there(other), !erased) << other << " after " << key;
      }
    }
    EXPECT_EQ(this->keys(), (std::vector<std::string>{}));
  }
}

TYPED_TEST_P(ObjectsContract, content_under_a_directorys_key_and_a_marker_replace_each_other) {
  this->put("a/", "");
  this->put("a/b");
  this->put("a/", "content");
  EXPECT_EQ(this->get("a/"), "content");
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/", "a/b"}));
  this->put("a/", "");
  EXPECT_EQ(this->get("a/"), "");
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/", "a/b"}));
  ASSERT_TRUE(this->erase("a/").has_value());
  EXPECT_EQ(this->keys(), (std::vector<std::string>{"a/b"}));
}

TYPED_TEST_P(ObjectsContract, conditions_and_facts_are_those_of_any_object) {
  this->put("a/b");
  EXPECT_TRUE(this->try_put("a", "first", {}, {.if_none_match = {"*"}}).has_value());
  EXPECT_EQ(this->code(this->try_put("a", "second", {}, {.if_none_match = {"*"}})), ErrorCode::kPrecondition);
  EXPECT_EQ(this->code(this->erase("a", {.if_match = {"other"}})), ErrorCode::kPrecondition);
  ASSERT_TRUE(this->objects().set_tags(this->name("a"), {{"k", "v"}}).has_value());
  EXPECT_EQ(this->objects().tags(this->name("a")).value_or(ObjectTags()), (ObjectTags{{"k", "v"}}));
  ASSERT_TRUE(this->objects().copy(this->name("a"), this->name("c//d"), {}).has_value());
  EXPECT_EQ(this->get("c//d"), "first");
  const std::string id = this->create_upload("a//parts");
  ASSERT_TRUE(this->put_part("a//parts", id, 1, "part").has_value());
  ASSERT_TRUE(this->complete("a//parts", id, {{1, "part"}}).has_value());
  EXPECT_EQ(this->get("a//parts"), "part");
}

// --- copying

TYPED_TEST_P(ObjectsContract, a_copy_has_the_content_and_the_facts) {
  PutFacts facts{.headers = {.content_type = "text/plain", .user = {{"k", "v"}}}, .tags = {{"t", "1"}}};
  facts.checksum = ObjectChecksum{ChecksumAlgorithm::kCrc32c, ChecksumType::kFullObject, "4waSgw=="};
  this->put("a", "content", facts);
  const auto copied = this->objects().copy(this->name("a"), this->name("d/b"), {});
  ASSERT_TRUE(copied.has_value()) << copied.error().to_string();
  EXPECT_EQ(this->get("d/b"), "content");
  const auto head = this->head("d/b");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->etag, this->md5("content"));
  EXPECT_EQ(head->headers, facts.headers);
  EXPECT_EQ(head->checksum, facts.checksum);
  EXPECT_EQ(this->objects().tags(this->name("d/b")).value_or(ObjectTags()), facts.tags);
  // The one is not the other.
  this->put("a", "else");
  EXPECT_EQ(this->get("d/b"), "content");
  const auto replaced = this->objects().copy(this->name("a"), this->name("d/b"),
                                             {.headers = ObjectHeaders{.content_type = "image/png"}, .tags = ObjectTags()});
  ASSERT_TRUE(replaced.has_value());
  const auto now = this->head("d/b");
  EXPECT_EQ(this->get("d/b"), "else");
  EXPECT_EQ(now->headers, ObjectHeaders{.content_type = "image/png"});
  EXPECT_EQ(now->tags, 0u);
}

// Semantics 7.11, below the mount.
TYPED_TEST_P(ObjectsContract, a_copy_onto_itself_changes_facts_alone) {
  const Object before = this->put("a", "content", {.headers = {.content_type = "text/plain"}, .tags = {{"t", "1"}}});
  const auto copied =
      this->objects().copy(this->name("a"), this->name("a"), {.headers = ObjectHeaders{.user = {{"mtime", "1700000000"}}}});
  ASSERT_TRUE(copied.has_value()) << copied.error().to_string();
  const auto after = this->head("a");
  ASSERT_TRUE(after.has_value());
  EXPECT_EQ(after->inode, before.inode);
  EXPECT_EQ(after->etag, before.etag);
  EXPECT_EQ(after->headers, (ObjectHeaders{.user = {{"mtime", "1700000000"}}}));
  EXPECT_EQ(after->tags, 1u);
  EXPECT_GE(after->modified_ns, before.modified_ns);
  EXPECT_EQ(this->get("a"), "content");
}

TYPED_TEST_P(ObjectsContract, copies_heed_conditions_on_both_ends) {
  const std::string a = this->put("a", "a").etag;
  const std::string b = this->put("b", "b").etag;
  const auto copy = [&](const ObjectConditions& source, const ObjectConditions& target) {
    return this->code(this->objects().copy(this->name("a"), this->name("b"),
                                           {.source_conditions = source, .conditions = target}));
  };
  EXPECT_EQ(copy({.if_match = {"other"}}, {}), ErrorCode::kPrecondition);
  EXPECT_EQ(copy({.if_none_match = {a}}, {}), ErrorCode::kPrecondition);
  EXPECT_EQ(copy({}, {.if_match = {"other"}}), ErrorCode::kPrecondition);
  EXPECT_EQ(copy({}, {.if_none_match = {"*"}}), ErrorCode::kPrecondition);
  EXPECT_EQ(this->get("b"), "b");
  EXPECT_EQ(copy({.if_match = {a}}, {.if_match = {b}}), ErrorCode::kInternal);
  EXPECT_EQ(this->get("b"), "a");
  EXPECT_EQ(this->code(this->objects().copy(this->name("missing"), this->name("b"), {})), ErrorCode::kNotFound);
}

TYPED_TEST_P(ObjectsContract, a_copy_gets_the_checksum_that_is_asked_for) {
  this->put("a", "123456789");
  const auto copied = this->objects().copy(this->name("a"), this->name("b"), {.checksum = ChecksumAlgorithm::kCrc32c});
  ASSERT_TRUE(copied.has_value());
  ASSERT_TRUE(this->head("b")->checksum.has_value());
  EXPECT_EQ(this->head("b")->checksum->value, "4waSgw==");
  ASSERT_TRUE(this->objects().copy(this->name("a"), this->name("a"), {.checksum = ChecksumAlgorithm::kCrc32}).has_value());
  ASSERT_TRUE(this->head("a")->checksum.has_value());
  EXPECT_EQ(this->head("a")->checksum->value, "y/Q5Jg==");
}

// --- putting in parts

TYPED_TEST_P(ObjectsContract, parts_become_one_object) {
  UploadOptions options{.headers = {.content_type = "text/plain", .user = {{"k", "v"}}}, .tags = {{"t", "1"}}};
  const std::string id = this->create_upload("d/a", options);
  const std::vector<std::pair<uint32_t, std::string>> parts = {
      {1, this->part_of('a')}, {2, this->part_of('b')}, {3, this->part_of('c', 1'000)}};
  // In any order.
  for (const size_t i : {1, 2, 0}) {
    const auto part = this->put_part("d/a", id, parts[i].first, parts[i].second);
    ASSERT_TRUE(part.has_value()) << part.error().to_string();
    EXPECT_EQ(part->number, parts[i].first);
    EXPECT_EQ(part->size, parts[i].second.size());
    EXPECT_GT(part->modified_ns, 0);
  }
  EXPECT_FALSE(this->there("d/a"));
  EXPECT_EQ(this->keys(), (std::vector<std::string>{}));
  const auto completed = this->complete("d/a", id, parts);
  ASSERT_TRUE(completed.has_value()) << completed.error().to_string();
  EXPECT_EQ(completed->etag, this->etag_of(parts));
  EXPECT_EQ(completed->parts, 3u);
  EXPECT_TRUE(this->get("d/a") == this->joined(parts));
  const auto head = this->head("d/a");
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->size, this->joined(parts).size());
  EXPECT_EQ(head->headers, options.headers);
  EXPECT_EQ(head->tags, 1u);
  bool not_modified = false;
  const auto reader = this->objects().open(this->name("d/a"), {}, &not_modified);
  ASSERT_TRUE(reader.has_value());
  const auto second = (*reader)->part(2);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->offset, parts[0].second.size());
  EXPECT_EQ(second->size, parts[1].second.size());
  EXPECT_EQ(this->code((*reader)->part(4)), ErrorCode::kRange);
  const auto listed = (*reader)->parts(1, 10);
  ASSERT_TRUE(listed.has_value());
  ASSERT_EQ(listed->size(), 2u);
  EXPECT_EQ(listed->front().number, 2u);
  EXPECT_EQ(listed->front().etag, this->md5(parts[1].second));
  EXPECT_EQ(listed->back().size, 1'000u);
  // The upload is over.
  const auto found = this->objects().find_upload(this->name("d/a"), id);
  ASSERT_FALSE(found.has_value());
  EXPECT_TRUE(is_no_upload(found.error()));
}

TYPED_TEST_P(ObjectsContract, parts_of_any_size_and_number_are_joined) {
  const size_t unit = kObjectPartBytesMin;
  const std::vector<std::vector<std::pair<uint32_t, std::string>>> uploads = {
      {{1, this->part_of('a', 3)}},
      {{1, ""}},
      {{7, this->part_of('a', unit)}},
      {{1, this->part_of('a', unit)}, {2, this->part_of('b', unit + 4'097)}, {3, this->part_of('c', unit + 1)}, {9, "d"}},
      {{2, this->part_of('a', unit + 5)}, {3, this->part_of('b', unit)}, {10'000, this->part_of('c', 2 * unit)}},
  };
  for (size_t i = 0; i < uploads.size(); ++i) {
    for (const bool tell_size : {true, false}) {
      const std::string key = "upload " + std::to_string(i) + (tell_size ? " told" : " untold");
      const std::string id = this->create_upload(key);
      for (const auto& [number, content] : uploads[i])
        ASSERT_TRUE(this->put_part(key, id, number, content, tell_size).has_value()) << key;
      const auto completed = this->complete(key, id, uploads[i]);
      ASSERT_TRUE(completed.has_value()) << key << ": " << completed.error().to_string();
      EXPECT_EQ(completed->etag, this->etag_of(uploads[i])) << key;
      EXPECT_TRUE(this->get(key) == this->joined(uploads[i])) << key;
    }
  }
}

// Semantics 7.10, below the mount.
TYPED_TEST_P(ObjectsContract, a_part_that_is_put_again_replaces_the_earlier_one_when_it_is_whole) {
  const std::string id = this->create_upload("a");
  const std::string first = this->part_of('1'), again = this->part_of('2', kObjectPartBytesMin + 10), last = this->part_of('3', 10);
  ASSERT_TRUE(this->put_part("a", id, 1, first).has_value());
  ASSERT_TRUE(this->put_part("a", id, 2, last).has_value());
  {
    const auto writer = this->objects().put_part(this->name("a"), id, 1, again.size());
    ASSERT_TRUE(writer.has_value());
    ASSERT_TRUE((*writer)->write(this->bytes(std::string_view(again).substr(0, 100'000))).has_value());
  }
  auto parts = this->objects().upload_parts(this->name("a"), id, 0, 10);
  ASSERT_TRUE(parts.has_value());
  ASSERT_EQ(parts->size(), 2u);
  EXPECT_EQ(parts->front().etag, this->md5(first));
  ASSERT_TRUE(this->put_part("a", id, 1, again).has_value());
  parts = this->objects().upload_parts(this->name("a"), id, 0, 10);
  EXPECT_EQ(parts->front().etag, this->md5(again));
  const auto stale = this->complete("a", id, {{1, first}, {2, last}});
  ASSERT_FALSE(stale.has_value());
  EXPECT_EQ(complete_problem(stale.error()), CompleteProblem::kInvalidPart);
  ASSERT_TRUE(this->complete("a", id, {{1, again}, {2, last}}).has_value());
  EXPECT_TRUE(this->get("a") == again + last);
}

TYPED_TEST_P(ObjectsContract, a_completion_that_is_refused_leaves_the_upload_as_it_was) {
  const std::string id = this->create_upload("a");
  const std::vector<std::pair<uint32_t, std::string>> parts = {
      {1, this->part_of('a')}, {2, this->part_of('b')}, {3, this->part_of('c', 10)}, {4, "d"}};
  for (const auto& [number, content] : parts) ASSERT_TRUE(this->put_part("a", id, number, content).has_value());
  const auto problem = [&](const Result<Object>& completed) {
    EXPECT_EQ(this->code(completed), ErrorCode::kInvalid);
    return completed ? CompleteProblem::kOther : complete_problem(completed.error());
  };
  EXPECT_EQ(problem(this->complete("a", id, {})), CompleteProblem::kOther);
  EXPECT_EQ(problem(this->complete("a", id, {parts[1], parts[0]})), CompleteProblem::kInvalidPartOrder);
  EXPECT_EQ(problem(this->complete("a", id, {parts[0], parts[0]})), CompleteProblem::kInvalidPartOrder);
  EXPECT_EQ(problem(this->complete("a", id, {parts[0], {5, "x"}})), CompleteProblem::kInvalidPart);
  EXPECT_EQ(problem(this->complete("a", id, {parts[0], {2, "x"}})), CompleteProblem::kInvalidPart);
  EXPECT_EQ(problem(this->complete("a", id, parts)), CompleteProblem::kEntityTooSmall);
  EXPECT_EQ(problem(this->complete("a", id, {parts[0], parts[1]}, {.size = 5})), CompleteProblem::kOther);
  EXPECT_EQ(this->code(this->complete("a", id, {parts[0], parts[1]},
                                      {.checksum = ObjectChecksum{.algorithm = ChecksumAlgorithm::kCrc32c, .value = "AAAAAA=="}})),
            ErrorCode::kCorrupt);
  this->put("a", "in the way");
  EXPECT_EQ(this->code(this->complete("a", id, {parts[0], parts[2]}, {.conditions = {.if_none_match = {"*"}}})),
            ErrorCode::kPrecondition);
  EXPECT_EQ(this->get("a"), "in the way");
  ASSERT_TRUE(this->complete("a", id, {parts[0], parts[1], parts[2]}).has_value());
  EXPECT_TRUE(this->get("a") == parts[0].second + parts[1].second + parts[2].second);
}

TYPED_TEST_P(ObjectsContract, completing_again_gives_the_same_answer_while_the_object_is_there) {
  const std::string id = this->create_upload("a");
  ASSERT_TRUE(this->put_part("a", id, 1, "content").has_value());
  const auto first = this->complete("a", id, {{1, "content"}});
  const auto second = this->complete("a", id, {{1, "content"}});
  ASSERT_TRUE(first.has_value() && second.has_value());
  EXPECT_EQ(first->etag, second->etag);
  EXPECT_EQ(first->inode, second->inode);
  this->put("a", "another object");
  const auto third = this->complete("a", id, {{1, "content"}});
  ASSERT_FALSE(third.has_value());
  EXPECT_TRUE(is_no_upload(third.error()));
}

TYPED_TEST_P(ObjectsContract, checksums_of_parts_become_one_of_the_whole) {
  struct Case {
    ChecksumAlgorithm algorithm;
    ChecksumType type;
  };
  const std::string a(kObjectPartBytesMin, 'a');
  const Case cases[] = {
      {ChecksumAlgorithm::kCrc32c, ChecksumType::kFullObject},
      {ChecksumAlgorithm::kCrc64Nvme, ChecksumType::kFullObject},
      {ChecksumAlgorithm::kCrc32, ChecksumType::kComposite},
      {ChecksumAlgorithm::kSha256, ChecksumType::kComposite},
  };
  for (const Case& one : cases) {
    const auto sum = [&](std::string_view text) {
      const auto data = this->bytes(text);
      switch (one.algorithm) {
        case ChecksumAlgorithm::kCrc32: return net::checksum_text(net::crc32(data));
        case ChecksumAlgorithm::kCrc32c: return net::checksum_text(net::crc32c(data));
        case ChecksumAlgorithm::kCrc64Nvme: return net::checksum_text(net::crc64_nvme(data));
        default: return net::base64(net::sha256(data));
      }
    };
    const auto checksum = [&](std::string_view text) { return ObjectChecksum{.algorithm = one.algorithm, .value = sum(text)}; };
    const std::string whole = one.type == ChecksumType::kFullObject
                                  ? sum(a + "b")
                                  : sum(*net::unbase64(sum(a)) + *net::unbase64(sum("b"))) + "-2";
    const std::string id = this->create_upload("a", {.checksum_algorithm = one.algorithm, .checksum_type = one.type});
    ASSERT_TRUE(this->put_part("a", id, 1, a, true, checksum(a)).has_value());
    ASSERT_TRUE(this->put_part("a", id, 2, "b", true, checksum("b")).has_value());
    CompleteOptions wrong{.parts = {{1, this->md5(a), sum("b")}, {2, this->md5("b"), {}}}};
    const auto refused = this->objects().complete_upload(this->name("a"), id, wrong);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(complete_problem(refused.error()), CompleteProblem::kInvalidPart);
    CompleteOptions right{.parts = {{1, this->md5(a), sum(a)}, {2, this->md5("b"), sum("b")}},
                          .checksum = ObjectChecksum{one.algorithm, one.type, whole}};
    const auto completed = this->objects().complete_upload(this->name("a"), id, right);
    ASSERT_TRUE(completed.has_value()) << completed.error().to_string();
    ASSERT_TRUE(completed->checksum.has_value());
    EXPECT_EQ(*completed->checksum, (ObjectChecksum{one.algorithm, one.type, whole}));
    EXPECT_EQ(this->head("a")->checksum, completed->checksum);
    ASSERT_TRUE(this->erase("a").has_value());
  }
}

TYPED_TEST_P(ObjectsContract, an_aborted_upload_is_gone_with_its_parts) {
  const std::string id = this->create_upload("a");
  ASSERT_TRUE(this->put_part("a", id, 1, "content").has_value());
  const auto writer = this->objects().put_part(this->name("a"), id, 2, 10);
  ASSERT_TRUE(writer.has_value());
  ASSERT_TRUE(this->objects().abort_upload(this->name("a"), id).has_value());
  const auto late = (*writer)->commit(this->md5(""), {}, ObjectDurability::kSync);
  ASSERT_FALSE(late.has_value());
  EXPECT_TRUE(is_no_upload(late.error()));
  for (const std::string& wrong : {id, std::string("nonsense"), std::string()}) {
    const auto part = this->objects().put_part(this->name("a"), wrong, 1, 10);
    ASSERT_FALSE(part.has_value());
    EXPECT_TRUE(is_no_upload(part.error()));
    const auto completed = this->complete("a", wrong, {{1, "content"}});
    ASSERT_FALSE(completed.has_value());
    EXPECT_TRUE(is_no_upload(completed.error()));
    const auto aborted = this->objects().abort_upload(this->name("a"), wrong);
    ASSERT_FALSE(aborted.has_value());
    EXPECT_TRUE(is_no_upload(aborted.error()));
  }
  EXPECT_EQ(this->code(this->objects().put_part(this->name("a"), this->create_upload("a"), 0, 1)), ErrorCode::kInvalid);
  EXPECT_EQ(this->code(this->objects().put_part(this->name("a"), this->create_upload("a"), 10'001, 1)), ErrorCode::kInvalid);
}

TYPED_TEST_P(ObjectsContract, uploads_are_listed_by_key_and_start) {
  const std::string b1 = this->create_upload("b"), b2 = this->create_upload("b"), a = this->create_upload("a"),
                    c = this->create_upload("bc/d");
  using Found = std::vector<std::pair<std::string, std::string>>;
  const auto found = [&](std::string_view prefix, std::string_view key_after, std::string_view id_after, size_t uploads_max) {
    Found both;
    const auto uploads = this->objects().uploads("s3", prefix, key_after, id_after, uploads_max);
    EXPECT_TRUE(uploads.has_value());
    if (uploads) {
      for (const auto& upload : *uploads) both.emplace_back(upload.key, upload.upload_id);
    }
    return both;
  };
  EXPECT_EQ(found("", "", "", 10), (Found{{"a", a}, {"b", b1}, {"b", b2}, {"bc/d", c}}));
  EXPECT_EQ(found("b", "", "", 10), (Found{{"b", b1}, {"b", b2}, {"bc/d", c}}));
  EXPECT_EQ(found("", "a", "", 2), (Found{{"b", b1}, {"b", b2}}));
  EXPECT_EQ(found("", "b", b1, 10), (Found{{"b", b2}, {"bc/d", c}}));
  EXPECT_EQ(found("", "b", "", 10), (Found{{"bc/d", c}}));
  EXPECT_EQ(found("b", "a", a, 1), (Found{{"b", b1}}));
  EXPECT_EQ(found("x", "", "", 10), Found{});
  const auto upload = this->objects().find_upload(this->name("b"), b1);
  ASSERT_TRUE(upload.has_value());
  EXPECT_EQ(upload->key, "b");
  EXPECT_GT(upload->started_ns, 0);
}

REGISTER_TYPED_TEST_SUITE_P(ObjectsContract, buckets_are_listed_and_missing_ones_are_told_from_missing_keys,
                            buckets_are_not_made_without_a_root, what_was_put_is_read_with_its_facts,
                            an_empty_object_is_an_object, an_object_that_was_not_committed_is_not_there,
                            a_body_comes_in_pieces, a_put_replaces_everything_of_the_object_before,
                            a_reader_reads_one_version_whatever_becomes_of_the_name,
                            ranges_are_read_and_end_with_the_object, erasing_what_is_not_there_is_success,
                            many_are_erased_in_one_call,
                            keys_without_bytes_with_nul_and_too_long_ones_are_invalid,
                            directories_on_the_way_are_no_objects_and_go_with_what_they_hold,
                            a_marker_is_an_object_of_its_own, reads_heed_conditions_in_their_order_of_precedence,
                            writes_heed_conditions, of_racing_conditional_creations_one_wins,
                            tags_change_without_the_object, keys_are_listed_in_the_order_of_their_bytes,
                            a_listing_tells_what_a_head_does,
                            prefixes_delimiters_and_markers_agree_with_a_plain_filter,
                            no_entries_asked_for_is_an_empty_whole_page,
                            a_page_that_is_just_full_is_not_said_to_go_on, any_key_is_an_object,
                            content_under_a_directorys_key_and_a_marker_replace_each_other,
                            conditions_and_facts_are_those_of_any_object, a_copy_has_the_content_and_the_facts,
                            a_copy_onto_itself_changes_facts_alone, a_renamed_object_keeps_everything_but_its_key,
                            a_rename_heeds_conditions_on_both_ends, a_rename_that_cannot_be_leaves_everything_as_it_was,
                            any_key_can_be_renamed_to_any, copies_heed_conditions_on_both_ends,
                            a_copy_gets_the_checksum_that_is_asked_for, parts_become_one_object,
                            parts_of_any_size_and_number_are_joined,
                            a_part_that_is_put_again_replaces_the_earlier_one_when_it_is_whole,
                            a_completion_that_is_refused_leaves_the_upload_as_it_was,
                            completing_again_gives_the_same_answer_while_the_object_is_there,
                            checksums_of_parts_become_one_of_the_whole, an_aborted_upload_is_gone_with_its_parts,
                            uploads_are_listed_by_key_and_start);

}  // namespace weir::volume
