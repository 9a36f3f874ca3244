#include "tests/model/persist_volume.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "format/keys.h"
#include "io/file.h"
#include "kv/run_txn.h"
#include "meta/object_attributes.h"
#include "testing/metadata_check.h"

namespace weir::persist {
namespace {

constexpr meta::Caller kCaller{.uid = 1'000, .gid = 100};
constexpr Duration kSoon = std::chrono::seconds(60);

Deadline soon() { return Deadline::after(kSoon); }

std::span<const std::byte> bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

template <typename T>
T value_of(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().to_string();
    throw std::runtime_error("a call of the volume failed");
  }
  if constexpr (!std::is_void_v<T>) return *std::move(result);
}

}  // namespace

PersistVolume::PersistVolume()
    : bucket_(std::make_shared<testing::MemUfs>(testing::MemUfsOptions{.part_bytes_min = 1})), store_(bucket_) {
  std::string pattern = std::filesystem::temp_directory_path() / "weir-persist-XXXXXX";
  dir_ = mkdtemp(pattern.data());
  options_.threads = 4;
  options_.part_bytes = kPartBytes;
  options_.retry_interval_min = std::chrono::milliseconds(20);
  options_.late_effect_max = Duration::zero();  // the bucket in memory finishes what it began
  options_.retry_interval_max = std::chrono::milliseconds(200);
}

PersistVolume::~PersistVolume() {
  stop();
  std::filesystem::remove_all(dir_);
}

void PersistVolume::start() {
  pages_ = value_of(pages::open_page_store(
      {.dirs = {dir_}, .volume_id = "vol", .capacity_bytes = 1ull << 30, .page_bytes = kPartBytes}));
  names_ = value_of(meta::Namespace::open(kv_, system_clock(), {.sync_interval = Duration(-1)}, "vol"));
  auto mounts = value_of(names_->mounts());
  if (mounts.empty()) mounts.push_back(value_of(names_->add_mount("s3", "mem:///", {})));
  root_ = InodeId(mounts.front().directory());
  mount_ = MountId(mounts.front().id());
  mounts_.add(mount_, {.store = store_});
  value_of(names_->for_each_local_file([this](const meta::Inode& inode) {
    pages_->recover(LocalFileId(inode.local_file()),
                    meta::content_persisted(inode) ? pages::Pin::kEvictable : pages::Pin::kPinned);
    return true;
  }));
  value_of(pages_->finish_recovery());
  lower_ = std::make_unique<meta::LowerLayer>(*names_, mounts_, [](InodeId, const auto&) {});
  persister_ = std::make_unique<Persister>(
      *names_, *lower_, *pages_, mounts_, options_,
      Persister::Events{.conflict = [this](InodeId, const std::string& kept_as) { conflicts_.push_back(kept_as); }});
  persister_->start();
}

void PersistVolume::stop() {
  if (!persister_) return;
  persister_->stop(soon());
  persister_.reset();
  lower_.reset();
  names_.reset();
  pages_.reset();
}

void PersistVolume::restart() {
  stop();
  start();
}

InodeId PersistVolume::create(InodeId parent, std::string_view name, std::string_view content,
                              meta::Urgency urgency) {
  const LocalFileId local = value_of(names_->new_local_file_id());
  const auto file = value_of(pages_->create(local));
  const InodeId inode(value_of(names_->create_file(parent, name, 0644, kCaller, local)).id());
  value_of(file->file().write_at(0, content));
  commit(inode, *file, urgency);
  close(inode);
  return inode;
}

void PersistVolume::overwrite(InodeId inode, std::string_view content, meta::Urgency urgency) {
  const auto file = open_for_write(inode);
  value_of(file->file().truncate(0));
  value_of(file->file().write_at(0, content));
  commit(inode, *file, urgency);
  close(inode);
}

std::shared_ptr<pages::LocalFile> PersistVolume::open_for_write(InodeId inode) {
  const LocalFileId present(value_of(names_->load(inode)).local_file());
  auto opened = pages_->open(present);
  const LocalFileId local = opened ? present : value_of(names_->new_local_file_id());
  const auto file = opened ? *opened : value_of(pages_->create(local));
  const auto stat = value_of(file->file().stat());
  value_of(names_->begin_write(inode, local, {stat.size_bytes, stat.mtime_ns, stat.ctime_ns}, present));
  pages_->set_pin(local, pages::Pin::kPinned);
  return file;
}

void PersistVolume::commit(InodeId inode, const pages::LocalFile& file, meta::Urgency urgency) {
  const auto stat = value_of(file.file().stat());
  value_of(names_->commit_content(inode, {stat.size_bytes, stat.mtime_ns, stat.ctime_ns}, urgency,
                                  kv::Durability::kWritten));
  persister_->wake();
}

void PersistVolume::close(InodeId inode) { value_of(names_->end_writes({{.inode = inode}})); }

InodeId PersistVolume::make_directory(InodeId parent, std::string_view name) {
  const InodeId inode(value_of(names_->make_directory(parent, name, 0755, kCaller)).id());
  persister_->wake();
  return inode;
}

void PersistVolume::rename(InodeId parent, std::string_view name, InodeId new_parent, std::string_view new_name,
                           meta::RenameMode mode) {
  const auto renamed = value_of(names_->rename(parent, name, new_parent, new_name, mode, meta::InUse::kNo));
  if (renamed.replaced && renamed.replaced->local_file != LocalFileId(0))
    pages_->remove(renamed.replaced->local_file);
  persister_->wake();
}

void PersistVolume::link(InodeId inode, InodeId parent, std::string_view name) {
  value_of(names_->link(inode, parent, name));
  persister_->wake();
}

InodeId PersistVolume::make_node(InodeId parent, std::string_view name, meta::FileType type, uint64_t rdev) {
  const InodeId inode(value_of(names_->make_node(parent, name, type, 0640, rdev, kCaller)).id());
  persister_->wake();
  return inode;
}

void PersistVolume::unlink(InodeId parent, std::string_view name) {
  const auto unlinked = value_of(names_->unlink(parent, name, meta::InUse::kNo));
  if (unlinked.local_file != LocalFileId(0)) pages_->remove(unlinked.local_file);
  persister_->wake();
}

void PersistVolume::remove_directory(InodeId parent, std::string_view name) {
  value_of(names_->remove_directory(parent, name, meta::InUse::kNo));
  persister_->wake();
}

void PersistVolume::remove_tree(InodeId parent, std::string_view name) { value_of(names_->detach_tree(parent, name)); }

void PersistVolume::step_removals(size_t steps_max) {
  constexpr size_t kEntries = 3;
  for (size_t step = 0; step < steps_max; ++step) {
    const auto jobs = value_of(names_->removals(InodeId{}, 1));
    if (jobs.empty()) return;
    const InodeId job(jobs.front().directory());
    const auto work = value_of(names_->removal_work(job, kEntries));
    ASSERT_FALSE(work.purge.has_value()) << "the model lists no directory";
    const std::vector<meta::InUse> in_use(work.entries.size(), meta::InUse::kNo);
    const auto removed = value_of(names_->remove_entries(job, work, in_use));
    for (const auto& unlinked : removed.unlinked) {
      if (unlinked.local_file != LocalFileId(0)) pages_->remove(unlinked.local_file);
    }
    persister_->wake();
  }
}

bool PersistVolume::removing() { return !value_of(names_->removals(InodeId{}, 1)).empty(); }

void PersistVolume::evict(InodeId inode) {
  const auto record = value_of(names_->load(inode));
  if (record.local_file() != 0) (void)pages_->evict(LocalFileId(record.local_file()));
}

void PersistVolume::quiesce() {
  while (removing()) step_removals(1);
  persister_->wake();
  const auto drained = persister_->drain(Deadline::after(kQuietWithin));
  if (drained) return;
  ADD_FAILURE() << drained.error().to_string();
  for (const QueueItem& item : value_of(persister_->list(20))) {
    ADD_FAILURE() << item.path << " inode " << item.inode.value() << " " << name_of(item.phase) << " attempts "
                  << item.attempts << " " << item.last_error;
  }
}

std::optional<ufs::ObjectHead> PersistVolume::head(std::string_view key) {
  auto head = bucket_->head(key, soon());
  if (!head) return std::nullopt;
  return *std::move(head);
}

std::optional<std::string> PersistVolume::object(std::string_view key) {
  const auto found = head(key);
  if (!found) return std::nullopt;
  std::string content(found->info.size_bytes, '\0');
  value_of(bucket_->get(key, 0, std::as_writable_bytes(std::span(content)), std::nullopt, soon(), nullptr));
  return content;
}

void PersistVolume::put_object(std::string_view key, std::string_view content) {
  value_of(bucket_->put(key, bytes_of(content), {}, soon()));
}

std::vector<std::string> PersistVolume::keys() {
  std::vector<std::string> keys;
  ufs::ListRequest request;
  do {
    const auto page = value_of(bucket_->list(request, soon()));
    for (const auto& object : page.objects) keys.push_back(object.key);
    request.token = page.token;
  } while (!request.token.empty());
  return keys;
}

std::optional<std::string> PersistVolume::read_home(InodeId id) {
  for (;;) {
    const auto inode = names_->load(id);
    if (!inode || !meta::content_persisted(*inode)) return std::nullopt;
    std::string content(inode->home().size(), '\0');
    const auto read = bucket_->get(inode->home().key(), 0, std::as_writable_bytes(std::span(content)),
                                   inode->home().etag(), soon(), nullptr);
    if (read) return content;
    const auto now = names_->load(id);
    const bool moved = now && (now->home().key() != inode->home().key() || now->home().etag() != inode->home().etag() ||
                               !meta::content_persisted(*now));
    if (moved) continue;
    ADD_FAILURE() << "the home '" << inode->home().key() << "' of inode " << id.value()
                  << " cannot be read: " << read.error().to_string();
    return std::nullopt;
  }
}

meta::Xattrs PersistVolume::xattrs_of(InodeId inode) {
  meta::Xattrs xattrs;
  const auto names = value_of(names_->xattr_names(inode));
  for (const std::string& name : names) xattrs[name] = value_of(names_->xattr(inode, name));
  return xattrs;
}

void PersistVolume::expect_mirrored(InodeId directory, const std::string& prefix,
                                    std::vector<std::string>& expected) {
  std::string cursor;
  for (bool more = true; more;) {
    const auto page = value_of(names_->read_directory(directory, cursor, 100));
    for (const auto& entry : page.entries) {
      cursor = entry.cursor;
      const std::string key = prefix + entry.name + (entry.type == format::DIRECTORY ? "/" : "");
      expected.push_back(key);
      const auto inode = value_of(names_->load_name(directory, entry.name));
      EXPECT_TRUE(meta::fully_persisted(inode)) << key;
      EXPECT_EQ(inode.home().key(), key);
      const auto found = head(key);
      ASSERT_TRUE(found.has_value()) << key;
      EXPECT_EQ(found->info.etag, inode.home().etag()) << key;
      EXPECT_TRUE(inode.claimed_key().empty()) << key;
      EXPECT_TRUE(inode.claimed_sidecar().empty()) << key;
      const meta::LowerAttributes told = meta::from_object(*found);
      EXPECT_EQ(told.sidecar.key(), inode.sidecar().key()) << key;
      if (!inode.has_sidecar()) {
        EXPECT_EQ(told.xattrs, xattrs_of(entry.inode)) << key;
      } else if (std::ranges::find(expected, inode.sidecar().key()) == expected.end()) {
        expected.push_back(inode.sidecar().key());
        EXPECT_EQ(value_of(meta::decode_sidecar(object(inode.sidecar().key()).value_or(""))), xattrs_of(entry.inode))
            << key;
      }
      if (entry.type == format::DIRECTORY) expect_mirrored(entry.inode, key, expected);
    }
    more = page.more;
  }
}

void PersistVolume::expect_owners_at_home() {
  auto range = format::owner_range(mount_, "");
  for (bool more = true; more;) {
    const auto page =
        value_of(kv::read_txn(kv_, [&](kv::Txn& txn) { return txn.get_range(range.begin, range.end); }));
    for (const auto& row : page.rows) {
      const auto owner = value_of(format::decode<format::Owner>(row.value));
      const std::string key(format::owner_object_key(row.key));
      EXPECT_NE(owner.inode(), 0u) << "a whiteout is left for " << key;
      const auto inode = names_->load_record(InodeId(owner.inode()));
      EXPECT_TRUE(inode.has_value() && (inode->home().key() == key || inode->sidecar().key() == key))
          << "the key " << key << " belongs to inode " << owner.inode() << ", which does not call it home";
    }
    more = page.more;
    if (more) range.begin = kv::key_after(page.rows.back().key);
  }
}

void PersistVolume::expect_sound() { EXPECT_EQ(testing::check_metadata(kv_), ""); }

void PersistVolume::expect_mirror() {
  std::vector<std::string> expected;
  expect_mirrored(root_, "", expected);
  std::ranges::sort(expected);
  EXPECT_EQ(keys(), expected);
  expect_owners_at_home();
  expect_sound();
  const auto usage = value_of(names_->usage());
  EXPECT_EQ(usage.dirty_files, 0u);
  EXPECT_EQ(usage.dirty_bytes, 0u);
}

}  // namespace weir::persist
