#include "meta/acl.h"

#include <algorithm>

namespace weir::meta {
namespace {

constexpr uint32_t kVersion = 2;
constexpr size_t kHeaderBytes = 4;
constexpr size_t kEntryBytes = 8;

enum Tag : uint16_t { kOwner = 1, kUser = 2, kOwningGroup = 4, kGroup = 8, kMask = 16, kOther = 32 };

bool is_named(uint16_t tag) { return tag == kUser || tag == kGroup; }

uint32_t load(std::string_view bytes, size_t at, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= uint32_t{static_cast<unsigned char>(bytes[at + i])} << 8 * i;
  return value;
}

void store(std::string& bytes, uint32_t value, size_t size) {
  for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<char>(value >> 8 * i));
}

}  // namespace

Result<Acl> Acl::decode(std::string_view value) {
  const auto invalid = [] { return fail(ErrorCode::kInvalid, "not a valid access control list"); };
  if (value.size() < kHeaderBytes || (value.size() - kHeaderBytes) % kEntryBytes != 0) return invalid();
  if (load(value, 0, 4) != kVersion) return invalid();
  Acl acl;
  for (size_t at = kHeaderBytes; at < value.size(); at += kEntryBytes) {
    acl.entries_.push_back({.tag = static_cast<uint16_t>(load(value, at, 2)),
                            .permissions = static_cast<uint16_t>(load(value, at + 2, 2)),
                            .id = load(value, at + 4, 4)});
  }
  bool named = false;
  for (size_t i = 0; i < acl.entries_.size(); ++i) {
    const Entry& entry = acl.entries_[i];
    if (entry.permissions > 7) return invalid();
    switch (entry.tag) {
      case kOwner:
      case kOwningGroup:
      case kMask:
      case kOther: break;
      case kUser:
      case kGroup: named = true; break;
      default: return invalid();
    }
    if (i == 0) continue;
    const Entry& before = acl.entries_[i - 1];
    const bool ascends = is_named(entry.tag) ? before.tag <= entry.tag : before.tag < entry.tag;
    if (!ascends) return invalid();
  }
  const auto has = [&](Tag tag) { return acl.index_of(tag) < acl.entries_.size(); };
  if (!has(kOwner) || !has(kOwningGroup) || !has(kOther) || (named && !has(kMask))) return invalid();
  return acl;
}

std::string Acl::encode() const {
  std::string value;
  value.reserve(kHeaderBytes + entries_.size() * kEntryBytes);
  store(value, kVersion, 4);
  for (const Entry& entry : entries_) {
    store(value, entry.tag, 2);
    store(value, entry.permissions, 2);
    store(value, entry.id, 4);
  }
  return value;
}

size_t Acl::index_of(uint16_t tag) const {
  return static_cast<size_t>(std::ranges::find(entries_, tag, &Entry::tag) - entries_.begin());
}

size_t Acl::group_class() const {
  const size_t mask = index_of(kMask);
  return mask < entries_.size() ? mask : index_of(kOwningGroup);
}

bool Acl::minimal() const { return entries_.size() == 3; }

uint32_t Acl::permissions() const {
  return uint32_t{entries_[index_of(kOwner)].permissions} << 6 | uint32_t{entries_[group_class()].permissions} << 3 |
         entries_[index_of(kOther)].permissions;
}

void Acl::set_permissions(uint32_t permissions) {
  entries_[index_of(kOwner)].permissions = permissions >> 6 & 7;
  entries_[group_class()].permissions = permissions >> 3 & 7;
  entries_[index_of(kOther)].permissions = permissions & 7;
}

uint32_t Acl::restrict_to(uint32_t permissions) {
  const uint32_t rest = permissions & this->permissions();
  set_permissions(rest);
  return (permissions & ~0777u) | (rest & 0777);
}

}  // namespace weir::meta
