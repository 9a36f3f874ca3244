#include "meta/namespace.h"

#include "meta/operation.h"
#include "meta/tables.h"

namespace weir::meta {
namespace {

// Ids taken from the store at once.
constexpr uint64_t kIdBlock = 4'096;

// The first block begins behind the root's id.
constexpr uint64_t kFirstId = 2;

}  // namespace

Result<uint64_t> IdBlocks::take(kv::Kv& kv, std::string_view counter) {
  std::lock_guard lock(mutex_);
  if (next_ == end_) {
    TRY_ASSIGN(const uint64_t begin, kv::run_txn(kv, [&](kv::Txn& txn) -> Result<uint64_t> {
      TRY_ASSIGN(const auto value, txn.get(format::id_counter_key(counter)));
      uint64_t first = kFirstId;
      if (value) {
        TRY_ASSIGN(const int64_t stored, kv::decode_counter(*value));
        first = static_cast<uint64_t>(stored);
      }
      txn.put(format::id_counter_key(counter), kv::encode_counter(static_cast<int64_t>(first + kIdBlock)));
      return first;
    }));
    next_ = begin;
    end_ = begin + kIdBlock;
  }
  return next_++;
}

Namespace::Namespace(kv::Kv& kv, const Clock& clock, const NamespaceOptions& options, std::string volume_id)
    : kv_(kv),
      clock_(clock),
      options_(options),
      volume_id_(std::move(volume_id)),
      rules_(std::make_shared<const PathRules>(PathRules::built_in())) {}

Result<std::unique_ptr<Namespace>> Namespace::open(kv::Kv& kv, const Clock& clock, const NamespaceOptions& options,
                                                   std::string_view new_volume_id) {
  const int64_t now_ns = unix_ns(clock.wall_now());
  bool sums_kept = true;
  int64_t last_erasure_ns = 0;
  TRY_ASSIGN(const std::string volume_id, kv::run_txn(
      kv,
      [&](kv::Txn& txn) -> Result<std::string> {
        TRY_ASSIGN(const auto value, txn.get(format::superblock_key()));
        if (value) {
          TRY_ASSIGN(const auto superblock, format::decode<format::Superblock>(*value));
          if (superblock.format_version() > format::kFormatVersion) {
            return fail(ErrorCode::kNotSupported,
                        "the metadata has format version " + std::to_string(superblock.format_version()) +
                            ", this build reads up to " + std::to_string(format::kFormatVersion) +
                            "; run the newer build that wrote it");
          }
          sums_kept = superblock.directory_sums();
          TRY_ASSIGN(const auto erasure, txn.get(format::usage_key(kLastErasure)));
          if (erasure) {
            TRY_ASSIGN(last_erasure_ns, kv::decode_counter(*erasure));
          }
          return superblock.volume_id();
        }
        format::Superblock superblock;
        superblock.set_volume_id(std::string(new_volume_id));
        superblock.set_format_version(format::kFormatVersion);
        superblock.set_created_ns(now_ns);
        superblock.set_directory_sums(true);
        txn.put(format::superblock_key(), format::encode(superblock));
        Inode root;
        root.set_id(kRootInode.value());
        root.set_type(format::DIRECTORY);
        root.set_permissions(0755);
        root.set_uid(options.root_uid);
        root.set_gid(options.root_gid);
        root.set_links(1);
        root.set_atime_ns(now_ns);
        root.set_mtime_ns(now_ns);
        root.set_ctime_ns(now_ns);
        root.set_btime_ns(now_ns);
        root.set_parent(kRootInode.value());
        txn.put(format::inode_key(kRootInode), format::encode(root));
        txn.add(format::usage_key(kInodeCount), 1);
        return std::string(new_volume_id);
      },
      {.durability = kv::Durability::kSynced}));
  if (!sums_kept) TRY(make_directory_sums(kv));
  std::unique_ptr<Namespace> names(new Namespace(kv, clock, options, volume_id));
  names->recent_erasures_.forgotten_until(last_erasure_ns);
  TRY(names->load_flushed_epoch());
  return names;
}

Result<InodeId> Namespace::id_for(const Caller& caller) {
  if (caller.new_id != InodeId(0)) return caller.new_id;
  return new_inode_id();
}

Result<InodeId> Namespace::new_inode_id() {
  TRY_ASSIGN(const uint64_t id, inode_ids_.take(kv_, "inode"));
  return InodeId(id);
}

Result<LocalFileId> Namespace::new_local_file_id() {
  TRY_ASSIGN(const uint64_t id, local_file_ids_.take(kv_, "local_file"));
  return LocalFileId(id);
}

std::shared_ptr<const PathRules> Namespace::rules() const { return rules_.load(); }

Result<UsageCounters> Namespace::usage() {
  return kv::read_txn(kv_, [](kv::Txn& txn) -> Result<UsageCounters> {
    UsageCounters usage;
    const std::pair<std::string_view, uint64_t*> counters[] = {{kInodeCount, &usage.inodes},
                                                               {kByteCount, &usage.bytes},
                                                               {kDirtyFileCount, &usage.dirty_files},
                                                               {kDirtyByteCount, &usage.dirty_bytes}};
    for (const auto& [name, counter] : counters) {
      TRY_ASSIGN(const auto value, txn.get(format::usage_key(name), kv::Isolation::kSnapshot));
      if (!value) continue;
      TRY_ASSIGN(const int64_t count, kv::decode_counter(*value));
      *counter = static_cast<uint64_t>(std::max<int64_t>(count, 0));
    }
    return usage;
  });
}

}  // namespace weir::meta
