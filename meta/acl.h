// meta/acl.h -- POSIX access control lists as the kernel hands them over: the value of system.posix_acl_access and
// system.posix_acl_default (version 2: a header of four bytes, then tag, permissions and id of each entry, little-endian).
//
// The kernel decides by them (default_permissions); here they are kept in agreement with an inode's permissions, and handed
// on to what is created in a directory.
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weir::meta {

inline constexpr std::string_view kAccessAcl = "system.posix_acl_access";
inline constexpr std::string_view kDefaultAcl = "system.posix_acl_default";
inline bool is_acl(std::string_view xattr) { return xattr == kAccessAcl || xattr == kDefaultAcl; }

class Acl {
 public:
  // kInvalid: not one that acl(5) calls valid.
  static Result<Acl> decode(std::string_view value);
  std::string encode() const;

  // Says no more than permission bits can.
  bool minimal() const;
  // The bits 0777 that stand for it.
  uint32_t permissions() const;
  // After chmod(2): owner, mask (without one: group) and others follow the bits 0777.
  void set_permissions(uint32_t permissions);
  // Of what is created with `permissions` where this is the default ACL; returns the permissions that are left of those.
  uint32_t restrict_to(uint32_t permissions);

 private:
  struct Entry {
    uint16_t tag = 0;
    uint16_t permissions = 0;
    uint32_t id = 0;
  };

  Acl() = default;
  size_t index_of(uint16_t tag) const;  // entries_.size() when there is none
  size_t group_class() const;           // of what the group bits of the mode stand for

  // Ascending by tag, with those of owner, owning group and others.
  std::vector<Entry> entries_;
};

}  // namespace weir::meta
