#include "ufs/s3_names.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "ufs/under_store.h"

namespace weir::ufs::s3 {
namespace {

TEST(S3Names, utf8_stays_as_it_is) {
  for (const char* key : {"a", "a/b/", "\xc3\xa9/\xe2\x82\xac", "100%", "%41", ".weir-byte", "a/.weir-long/b", "\x01"}) {
    EXPECT_EQ(encode(key), key);
    EXPECT_EQ(decode(key), key);
  }
}

TEST(S3Names, other_bytes_have_a_readable_form) {
  EXPECT_EQ(encode("dir/caf\xe9 100%.txt"), "dir/.weir-bytes:caf%E9 100%25.txt");
  EXPECT_EQ(encode("\xff/x/"), ".weir-bytes:%FF/x/");
}

TEST(S3Names, a_form_that_no_key_has_is_a_key_of_others_and_stays_as_it_is) {
  for (const char* key : {".weir-bytes:abc", ".weir-bytes:%41", ".weir-bytes:%ff", ".weir-bytes:", ".weir-bytes:%F"})
    EXPECT_EQ(decode(key), key);
}

TEST(S3Names, every_key_comes_back_and_no_two_share_a_form) {
  std::mt19937 random(1);
  const std::string_view alphabet("a/.%\xff\xe9\xc3\xa9:", 9);
  std::set<std::string> keys;
  std::set<std::string> forms;
  for (int i = 0; i < 20'000; ++i) {
    std::string key = random() % 4 == 0 ? std::string(kBytesPrefix) : "";
    for (size_t n = random() % 8; n > 0; --n) key += alphabet[random() % alphabet.size()];
    EXPECT_EQ(decode(encode(key)), key);
    keys.insert(key);
    forms.insert(encode(key));
  }
  EXPECT_EQ(keys.size(), forms.size());
}

TEST(S3Names, a_key_over_the_limit_is_found_below_the_digest_of_its_directory) {
  std::string directory;
  while (directory.size() < 900) directory += std::string(99, 'd') + "/";
  const std::string fits = directory + std::string(kKeyBytesMax - directory.size() - 4, 'x');
  EXPECT_EQ(stored_key(fits, 4).value(), fits);
  EXPECT_EQ(stored_key(fits + "x", 4).value(), long_prefix(directory) + fits.substr(directory.size()) + "x");
  EXPECT_EQ(stored_key(fits + "/", 4).value(), long_prefix(directory) + fits.substr(directory.size()) + "/");
  EXPECT_TRUE(may_hold_long_keys(directory, 4));
  EXPECT_FALSE(may_hold_long_keys("d/", 4));
  EXPECT_NE(long_prefix(directory), long_prefix(directory.substr(100)));
  EXPECT_TRUE(failed_with(stored_key(directory + std::string(255, '\xff'), 300), ErrorCode::kInvalid));
}

}  // namespace
}  // namespace weir::ufs::s3
