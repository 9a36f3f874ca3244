#include "meta/acl.h"

#include <gtest/gtest.h>

#include <tuple>

namespace weir::meta {
namespace {

// (tag, permissions, id) of each entry, as the kernel's bytes.
std::string acl_of(const std::vector<std::tuple<int, int, uint32_t>>& entries) {
  std::string value("\2\0\0\0", 4);
  for (const auto& [tag, permissions, id] : entries) {
    for (const auto& [number, size] : {std::pair<uint32_t, int>(tag, 2), {permissions, 2}, {id, 4}}) {
      for (int i = 0; i < size; ++i) value.push_back(static_cast<char>(number >> 8 * i));
    }
  }
  return value;
}

constexpr int kOwner = 1, kUser = 2, kOwningGroup = 4, kGroup = 8, kMask = 16, kOther = 32;
constexpr uint32_t kNobody = 0xffff'ffff;

std::string minimal(int owner, int group, int other) {
  return acl_of({{kOwner, owner, kNobody}, {kOwningGroup, group, kNobody}, {kOther, other, kNobody}});
}
std::string extended(int owner, int user, int group, int mask, int other) {
  return acl_of({{kOwner, owner, kNobody}, {kUser, user, 7}, {kOwningGroup, group, kNobody}, {kMask, mask, kNobody},
                 {kOther, other, kNobody}});
}

TEST(Acl, is_encoded_as_it_was_decoded) {
  const std::string value = extended(7, 5, 4, 6, 1);
  EXPECT_EQ(Acl::decode(value)->encode(), value);
}

TEST(Acl, three_entries_are_the_permission_bits) {
  const auto acl = Acl::decode(minimal(6, 4, 0));
  EXPECT_TRUE(acl->minimal());
  EXPECT_EQ(acl->permissions(), 0640u);
}

TEST(Acl, the_mask_stands_for_the_group_bits) {
  const auto acl = Acl::decode(extended(7, 5, 4, 6, 1));
  EXPECT_FALSE(acl->minimal());
  EXPECT_EQ(acl->permissions(), 0761u);
}

TEST(Acl, chmod_changes_owner_mask_and_others) {
  auto acl = Acl::decode(extended(7, 5, 4, 6, 1));
  acl->set_permissions(06'502);
  EXPECT_EQ(acl->encode(), extended(5, 5, 4, 0, 2));
  acl = Acl::decode(minimal(7, 7, 7));
  acl->set_permissions(0502);
  EXPECT_EQ(acl->encode(), minimal(5, 0, 2));
}

TEST(Acl, what_is_created_has_the_permissions_that_both_allow) {
  auto acl = Acl::decode(extended(7, 5, 7, 6, 5));
  EXPECT_EQ(acl->restrict_to(04'754), 04'744u);
  EXPECT_EQ(acl->encode(), extended(7, 5, 7, 4, 4));
}

TEST(Acl, what_is_not_valid_is_refused) {
  for (const std::string& value :
       {std::string(), std::string("\2\0\0\0", 4), minimal(7, 7, 7).substr(1), minimal(7, 7, 7) + "x", minimal(8, 7, 7),
        "\3" + minimal(7, 7, 7).substr(1),
        acl_of({{kOwner, 7, 0}, {kOwningGroup, 7, 0}}),
        acl_of({{kOwningGroup, 7, 0}, {kOwner, 7, 0}, {kOther, 7, 0}}),
        acl_of({{kOwner, 7, 0}, {kOwner, 7, 0}, {kOwningGroup, 7, 0}, {kOther, 7, 0}}),
        acl_of({{kOwner, 7, 0}, {kUser, 7, 5}, {kOwningGroup, 7, 0}, {kOther, 7, 0}}),
        acl_of({{kOwner, 7, 0}, {kOwningGroup, 7, 0}, {kOther, 7, 0}, {64, 7, 0}})}) {
    EXPECT_TRUE(failed_with(Acl::decode(value), ErrorCode::kInvalid));
  }
  EXPECT_TRUE(Acl::decode(acl_of({{kOwner, 7, 0}, {kOwningGroup, 7, 0}, {kGroup, 7, 1}, {kGroup, 7, 2}, {kMask, 7, 0},
                                  {kOther, 7, 0}})).has_value());
}

}  // namespace
}  // namespace weir::meta
