#include "persist/publisher.h"

#include <algorithm>

#include "base/failpoint.h"
#include "base/log.h"
#include "meta/object_attributes.h"
#include "persist/leftover.h"

namespace weir::persist {
namespace {

constexpr size_t kConflictEtagBytes = 8;

bool is_alphanumeric(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// The key of `name` in the directory of `key`, which may end in '/'.
std::string sibling_key(std::string_view key, std::string_view name) {
  if (key.ends_with('/')) key.remove_suffix(1);
  const size_t slash = key.rfind('/');
  std::string sibling(key.substr(0, slash == std::string_view::npos ? 0 : slash + 1));
  sibling += name;
  return sibling;
}

}  // namespace

std::string conflict_name(std::string_view name, std::string_view etag) {
  std::string suffix = ".conflict-";
  for (const char c : etag.substr(0, kConflictEtagBytes)) suffix += is_alphanumeric(c) ? c : '_';
  size_t kept = std::min(name.size(), meta::kNameBytesMax - suffix.size());
  // Not in the middle of a UTF-8 sequence.
  while (kept > 0 && kept < name.size() && (static_cast<unsigned char>(name[kept]) & 0xc0) == 0x80) --kept;
  return std::string(name.substr(0, kept)) + suffix;
}

Result<Publisher::Published> Publisher::publish(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                                ufs::UnderStore& store, uint64_t size, const Write& write) {
  TRY_ASSIGN(Standing standing, expected(claim, attributes, store, size));
  for (int attempt = 0; attempt < kTries; ++attempt) {
    if (standing.published) return *std::move(standing.published);
    auto etag = write(standing.conditions);
    if (etag) return Published{.etag = *std::move(etag), .attributes_version = claim.inode.attributes_version()};
    // Of a missing object some stores say "not found" to If-Match.
    const bool missing = etag.error() == ErrorCode::kNotFound && standing.conditions.if_match.has_value();
    if (etag.error() != ErrorCode::kPrecondition && !missing) return fail(std::move(etag).error());
    TRY_ASSIGN(standing, inspect(claim, attributes, store, size));
  }
  if (standing.published) return *std::move(standing.published);
  return fail(ErrorCode::kBusy, "object '" + claim.key + "' in " + store.uri() + " keeps being changed by others");
}

Result<Publisher::Standing> Publisher::expected(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                                ufs::UnderStore& store, uint64_t size) {
  using Expect = meta::Claim::Expect;
  if (!claim.expect_etag.empty()) return Standing{.conditions = {.if_match = claim.expect_etag}};
  if (claim.expect == Expect::kNothing) return Standing{.conditions = {.if_none_match = true}};
  return inspect(claim, attributes, store, size);
}

Result<Publisher::Standing> Publisher::inspect(const meta::Claim& claim, const ufs::ObjectAttributes& attributes,
                                               ufs::UnderStore& store, uint64_t size) {
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const auto head = store.head(claim.key, deadlines_.reply());
    if (failed_with(head, ErrorCode::kNotFound)) return Standing{.conditions = {.if_none_match = true}};
    if (!head) return fail(head.error());

    const meta::OwnerToken own{.volume_id = names_.volume_id(),
                               .inode = InodeId(claim.inode.id()),
                               .generation = Generation(claim.inode.generation())};
    const auto token = meta::owner_of(head->attributes);
    const Standing replace{.conditions = {.if_match = head->info.etag}};
    if (token == own && head->info.size_bytes == size) {
      const bool at_home = claim.inode.has_home() && claim.inode.home().key() == claim.key &&
                           claim.inode.home().etag() == head->info.etag;
      if (at_home) return replace;  // it is known; what is wanted is to write it anew
      const bool current = ufs::says(head->attributes, attributes);
      return Standing{.published = Published{.etag = head->info.etag,
                                             .attributes_version = current ? claim.inode.attributes_version() : 0,
                                             .written = false}};
    }
    const bool earlier = token && token->volume_id == own.volume_id && token->inode == own.inode;
    TRY_ASSIGN(const bool leftover, is_leftover(names_, claim.mount, claim.key, *head));
    const bool empty_marker = claim.key.ends_with('/') && head->info.size_bytes == 0;
    if (earlier || leftover || empty_marker || head->info.etag == claim.expect_etag) return replace;
    const auto kept = keep_foreign(claim, store, *head);
    if (kept) return replace;
    if (kept.error() != ErrorCode::kPrecondition) return fail(kept.error());
  }
  return fail(ErrorCode::kBusy, "object '" + claim.key + "' in " + store.uri() + " keeps being changed by others");
}

Result<void> Publisher::keep_foreign(const meta::Claim& claim, ufs::UnderStore& store, const ufs::ObjectHead& head) {
  // An object that no path shows has its whole key for a name.
  const std::string& own_name = claim.inode.name();
  const std::string name = conflict_name(claim.inode.shadow() ? own_name.substr(own_name.rfind('/') + 1) : own_name,
                                         head.info.etag);
  const std::string key = sibling_key(claim.key, name);
  auto etag = store.copy(claim.key, key,
                         {.source_if_match = head.info.etag, .conditions = {.if_none_match = true}},
                         deadlines_.copy(head.info.size_bytes));
  if (failed_with(etag, ErrorCode::kPrecondition)) {
    // Kept already, before a crash: the name tells the version.
    const auto kept = store.head(key, deadlines_.reply());
    if (!kept || kept->info.size_bytes != head.info.size_bytes) return fail(ErrorCode::kPrecondition);
    etag = kept->info.etag;
  }
  if (failed_with(etag, ErrorCode::kNotFound)) return fail(ErrorCode::kPrecondition);
  if (!etag) return fail(std::move(etag).error());
  TRY(failpoint("persist.conflict_copied"));
  TRY(names_.record_conflict(InodeId(claim.inode.id()), claim.mount, name, key, *etag, head.info.size_bytes,
                             unix_ns(head.info.last_modified)));
  log_warn("persist.conflict", {{"path", claim.path}, {"kept_as", name}, {"etag", head.info.etag}});
  conflict_(InodeId(claim.inode.id()), name);
  return {};
}

}  // namespace weir::persist
