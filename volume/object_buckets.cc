#include <algorithm>
#include <thread>

#include "base/no_wait.h"
#include "volume/local_objects.h"

namespace weir::volume {
namespace {

constexpr size_t kBucketBytesMin = 3;
constexpr size_t kBucketBytesMax = 63;
constexpr Duration kEmptyPause = std::chrono::milliseconds(20);

// As S3 names buckets: letters, digits, '.' and '-', the ends letters or digits.
Result<void> check_bucket_name(std::string_view name) {
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool good = name.size() >= kBucketBytesMin && name.size() <= kBucketBytesMax && plain(name.front()) &&
                    plain(name.back()) && !name.contains("..") &&
                    std::ranges::all_of(name, [&](char c) { return plain(c) || c == '.' || c == '-'; });
  if (good) return {};
  return fail(ErrorCode::kInvalid, "a bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens, not '" +
                                       std::string(name) + "'");
}

std::string uri_below(std::string root, std::string_view bucket) {
  while (root.ends_with('/')) root.pop_back();
  return root + '/' + std::string(bucket);
}

Error no_bucket(std::string_view bucket) {
  return Error(ErrorCode::kNotFound, "no such bucket: '" + std::string(bucket) + "'");
}

}  // namespace

Result<std::vector<Objects::Bucket>> LocalObjects::buckets() {
  TRY_ASSIGN(const auto mounts, parts_.names.mounts());
  std::vector<Bucket> buckets;
  for (const format::Mount& mount : mounts) {
    TRY_ASSIGN(const auto directory, parts_.names.load(InodeId(mount.directory())));
    buckets.push_back({mount.name(), directory.btime_ns()});
  }
  std::ranges::sort(buckets, {}, &Bucket::name);
  return buckets;
}

Result<Objects::Bucket> LocalObjects::find_bucket(std::string_view bucket) {
  if (!meta::check_name(bucket)) return fail(no_bucket(bucket));
  TRY_ASSIGN(const auto found, parts_.names.find(kRootInode, bucket));
  if (!found.inode) return fail(no_bucket(bucket));
  return Bucket{std::string(bucket), found.inode->btime_ns()};
}

Result<Objects::Bucket> LocalObjects::create_bucket(std::string_view bucket) {
  if (options_.objects.bucket_root.empty()) {
    return fail(ErrorCode::kPermission, "buckets can be made only below s3.bucket.root, which is not set; mount one with "
                                        "weir mount-table add");
  }
  TRY(check_bucket_name(bucket));
  if (find_bucket(bucket)) return fail(ErrorCode::kExists, "the bucket '" + std::string(bucket) + "' exists");
  TRY(NoWait::check());
  const std::string path = "/" + std::string(bucket);
  TRY(parts_.mounts.add(path, uri_below(options_.objects.bucket_root, bucket), {}));
  announce({{kRootInode, std::string(bucket)}});
  return find_bucket(bucket);
}

Result<void> LocalObjects::remove_bucket(std::string_view bucket) {
  TRY(find_bucket(bucket));
  TRY_ASSIGN(const auto mounts, parts_.names.mounts());
  const auto mount = std::ranges::find(mounts, bucket, &format::Mount::name);
  if (mount == mounts.end()) return fail(no_bucket(bucket));
  if (options_.objects.bucket_root.empty() || mount->uri() != uri_below(options_.objects.bucket_root, bucket)) {
    return fail(ErrorCode::kPermission, "'" + std::string(bucket) + "' was mounted by hand; weir mount-table remove /" +
                                            std::string(bucket) + " takes it away");
  }
  TRY(NoWait::check());
  TRY_ASSIGN(const auto listing, list({.bucket = std::string(bucket), .entries_max = 1}));
  if (!listing.objects.empty()) return fail(ErrorCode::kNotEmpty, "the bucket has objects");
  // Objects that were just erased are erased in the store first.
  const Deadline deadline = ufs_deadline();
  for (;;) {
    parts_.persister.wake();
    const auto removed = parts_.mounts.remove("/" + std::string(bucket), [this](LocalFileId local) { parts_.pages.remove(local); });
    if (removed || removed.error() != ErrorCode::kNotEmpty || deadline.expired()) {
      TRY(removed);
      break;
    }
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(deadline.left(), kEmptyPause)));
  }
  announce({{kRootInode, std::string(bucket)}});
  return {};
}

}  // namespace weir::volume
