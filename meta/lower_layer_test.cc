#include "meta/lower_layer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "kv/mem_kv.h"
#include "meta/object_attributes.h"
#include "testing/fault_ufs.h"
#include "testing/mem_ufs.h"

namespace weir::meta {
namespace {

constexpr Caller kCaller{};

class LowerLayerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    names_ = *Namespace::open(kv_, system_clock(), {.sync_interval = std::chrono::seconds(10)}, "vol1");
    const auto mount = names_->add_mount("s3", "mem:///", {});
    root_ = InodeId(mount->directory());
    mounts_.add(MountId(mount->id()), {ufs_, {}});
    make_lower();
  }

  void make_lower() {
    lower_ = std::make_unique<LowerLayer>(
        *names_, mounts_, [this](InodeId, const Namespace::LowerChanges& changes) {
          std::lock_guard lock(mutex_);
          content_changed_.insert(content_changed_.end(), changes.content_changed.begin(),
                                  changes.content_changed.end());
        });
  }

  static Deadline soon() { return Deadline::after(std::chrono::seconds(10)); }

  std::string put(const std::string& key, std::string_view body = "12345", const ufs::ObjectAttributes& attributes = {}) {
    return *ufs_->put(key, std::as_bytes(std::span(body)), {.attributes = attributes}, soon());
  }

  std::vector<std::string> list(InodeId directory) {
    std::vector<std::string> names;
    std::string after;
    for (bool more = true; more;) {
      const auto page = names_->read_directory(directory, after, 500);
      for (const auto& entry : page->entries) names.push_back(entry.name);
      if (!page->entries.empty()) after = page->entries.back().cursor;
      more = page->more;
    }
    return names;
  }

  std::optional<Inode> look_up(InodeId directory, std::string_view name) {
    auto found = names_->find(directory, name);
    EXPECT_TRUE(found.has_value());
    if (found->ask_lower) {
      EXPECT_TRUE(lower_->load_name(directory, name, soon()).has_value());
      found = names_->find(directory, name);
    }
    return found->inode;
  }

  kv::MemKv kv_;
  std::shared_ptr<testing::MemUfs> ufs_ = std::make_shared<testing::MemUfs>();
  ufs::MountTable mounts_;
  std::unique_ptr<Namespace> names_;
  InodeId root_{};
  std::mutex mutex_;
  std::vector<InodeId> content_changed_;
  std::unique_ptr<LowerLayer> lower_;
};

TEST_F(LowerLayerTest, a_directory_is_listed_once_and_absent_names_are_known_from_then_on) {
  put("a/x");
  put("b");
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"a", "b"}));
  EXPECT_FALSE(names_->find(root_, "c")->ask_lower);
  const auto a = look_up(root_, "a");
  EXPECT_TRUE(look_up(InodeId(a->id()), "x").has_value());
  EXPECT_FALSE(look_up(InodeId(a->id()), "y").has_value());
}

TEST_F(LowerLayerTest, one_name_of_a_large_directory_does_not_wait_for_all_of_it) {
  for (int i = 0; i < 1'500; ++i) put("f" + std::to_string(10'000 + i));
  put("z/below");
  EXPECT_TRUE(look_up(root_, "f11499").has_value());
  EXPECT_TRUE(is_directory(*look_up(root_, "z")));
  EXPECT_FALSE(look_up(root_, "nothing").has_value());
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  EXPECT_EQ(list(root_).size(), 1'501u);
}

TEST_F(LowerLayerTest, a_refresh_shows_what_others_did) {
  put("changed", "old");
  put("gone");
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  const InodeId changed(look_up(root_, "changed")->id());
  const std::string etag = put("changed", "newer");
  ASSERT_TRUE(ufs_->erase("gone", std::nullopt, soon()).has_value());
  put("added");
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"added", "changed"}));
  EXPECT_EQ(names_->load(changed)->home().etag(), etag);
  EXPECT_EQ(std::ranges::count(content_changed_, changed), 1);
}

TEST_F(LowerLayerTest, a_refresh_over_several_pages_drops_only_what_is_gone) {
  for (int i = 0; i < 2'500; ++i) put("f" + std::to_string(10'000 + i));
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  ASSERT_TRUE(ufs_->erase("f10999", std::nullopt, soon()).has_value());
  ASSERT_TRUE(ufs_->erase("f11000", std::nullopt, soon()).has_value());
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_EQ(list(root_).size(), 2'498u);
}

TEST_F(LowerLayerTest, attributes_are_read_from_the_object_when_they_are_wanted) {
  put("f", "12345", {.user = {{"mode", "33152"}, {"uid", "7"}, {"gid", "8"}, {"mtime", "1700000000.5"}}});
  put("link", encode_symlink("f"), {.content_type = std::string(kSymlinkContentType)});
  put("d/", "", {.user = {{"mode", "16832"}}});
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  const auto f = lower_->load_attributes(*look_up(root_, "f"), soon());
  EXPECT_EQ(f->permissions(), 0600u);
  EXPECT_EQ(f->uid(), 7u);
  EXPECT_EQ(f->gid(), 8u);
  EXPECT_EQ(f->mtime_ns(), 1'700'000'000'500'000'000);
  EXPECT_FALSE(f->attributes_unknown());
  const auto link = lower_->load_attributes(*look_up(root_, "link"), soon());
  EXPECT_EQ(link->type(), format::SYMLINK);
  EXPECT_EQ(link->symlink_target(), "f");
  const auto d = lower_->load_attributes(*look_up(root_, "d"), soon());
  EXPECT_EQ(d->permissions(), 0700u);
  EXPECT_EQ(d->home().key(), "d/");
}

TEST_F(LowerLayerTest, extended_attributes_are_read_from_the_object_or_the_one_beside_it) {
  Inode sample;
  sample.set_id(7);
  sample.set_type(format::REGULAR);
  const Xattrs few{{"user.a", "1"}};
  const Xattrs many{{"user.a", std::string(60'000, 'x')}, {"user.b", "2"}};
  put("few", "12345", form_object(sample, few, {}, "vol0", "k").attributes);
  const ObjectForm form = form_object(sample, many, {}, "vol0", "k");
  put("many", "12345", form.attributes);
  put(form.sidecar_key, form.sidecar_body);
  put("copied", "12345", form.attributes);
  put("dangling", "12345", {.user = {{"weir-xattrs-in", ".weir-attributes/none"}}});
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"copied", "dangling", "few", "many"}));
  const auto xattrs_of = [&](std::string_view name) {
    const InodeId inode(lower_->load_attributes(*look_up(root_, name), soon())->id());
    Xattrs xattrs;
    const auto found = names_->xattr_names(inode);
    for (const auto& xattr : *found) xattrs[xattr] = *names_->xattr(inode, xattr);
    return xattrs;
  };
  EXPECT_EQ(xattrs_of("few"), few);
  EXPECT_EQ(xattrs_of("many"), many);
  EXPECT_EQ(xattrs_of("copied"), many);
  EXPECT_EQ(xattrs_of("dangling"), Xattrs{});
  // The sidecar goes with its one owner; who shares it is to have its own.
  EXPECT_EQ(look_up(root_, "many")->sidecar().key(), form.sidecar_key);
  EXPECT_FALSE(look_up(root_, "copied")->has_sidecar());
  EXPECT_EQ(look_up(root_, "copied")->queued(), format::ORDINARY);
  ASSERT_TRUE(names_->unlink(root_, "many", InUse::kNo).has_value());
  const auto erased = names_->erases(std::numeric_limits<int64_t>::max() - 1, 10);
  EXPECT_EQ(std::ranges::count(*erased, form.sidecar_key, &EraseItem::key), 1);

  put("few", "123456", {.user = {{"weir-xattrs", "user.b=Mg=="}}});
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_EQ(xattrs_of("few"), (Xattrs{{"user.b", "2"}}));
}

// Shows prefixes with nothing below them.
class GhostlyUfs : public testing::FaultUfs {
 public:
  using testing::FaultUfs::FaultUfs;
  std::set<std::string> ghosts;
  uint64_t confirmations = 0;

  Result<ufs::ListPage> list(const ufs::ListRequest& request, Deadline deadline) override {
    auto page = testing::FaultUfs::list(request, deadline);
    if (request.keys_max == 1) ++confirmations;
    for (const std::string& ghost : ghosts) {
      if (page && request.prefix.empty() && std::ranges::find(page->prefixes, ghost) == page->prefixes.end())
        page->prefixes.push_back(ghost);
    }
    return page;
  }
};

// Semantics 5.7, below the mount.
TEST_F(LowerLayerTest, a_prefix_with_nothing_below_it_makes_no_directory_of_a_file) {
  const auto ghostly = std::make_shared<GhostlyUfs>(*ufs_, 1);
  mounts_.add(MountId(1), {ghostly, {}});
  put("file");
  put("gone");
  put("d/x");
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  EXPECT_EQ(ghostly->confirmations, 0u);
  const InodeId file(look_up(root_, "file")->id());

  ASSERT_TRUE(names_->unlink(root_, "gone", InUse::kNo).has_value());
  ghostly->ghosts = {"file/", "gone/"};
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"d", "file"}));
  // The whiteout's object goes, and with it what tells that the name was a file's.
  ASSERT_TRUE(ufs_->erase("gone", std::nullopt, soon()).has_value());
  ASSERT_TRUE(names_->erased(*names_->erases(std::numeric_limits<int64_t>::max() - 1, 10)).has_value());
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"d", "file"}));
  EXPECT_EQ(InodeId(look_up(root_, "file")->id()), file);
  // Nor when another process goes on.
  lower_.reset();
  names_ = *Namespace::open(kv_, system_clock(), {.sync_interval = std::chrono::seconds(10)}, "vol1");
  make_lower();
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_EQ(list(root_), (std::vector<std::string>{"d", "file"}));

  // A directory that others put there is seen.
  put("gone/y");
  put("file/z");
  ASSERT_TRUE(ufs_->erase("file", std::nullopt, soon()).has_value());
  ASSERT_TRUE(lower_->refresh(root_, soon()).has_value());
  EXPECT_TRUE(is_directory(*look_up(root_, "gone")));
  EXPECT_TRUE(is_directory(*look_up(root_, "file")));
}

TEST_F(LowerLayerTest, the_first_listing_does_not_move_the_mtime_of_the_directory) {
  put("d/", "", {.user = {{"mode", "16832"}, {"mtime", "-1000000000.25"}}});
  put("d/x");
  put("d/sub/y");
  const auto d = lower_->load_attributes(*look_up(root_, "d"), soon());
  EXPECT_EQ(names_->attributes(*d)->mtime_ns, -1'000'000'000'250'000'000);
  ASSERT_TRUE(lower_->load_directory(InodeId(d->id()), soon()).has_value());
  EXPECT_EQ(list(InodeId(d->id())), (std::vector<std::string>{"sub", "x"}));
  EXPECT_EQ(names_->attributes(*names_->load(InodeId(d->id())))->mtime_ns, -1'000'000'000'250'000'000);
  put("d/new");
  ASSERT_TRUE(lower_->refresh(InodeId(d->id()), soon()).has_value());
  EXPECT_GT(names_->attributes(*names_->load(InodeId(d->id())))->mtime_ns, 0);
}

TEST_F(LowerLayerTest, keys_that_no_path_can_show_are_counted_and_named) {
  put("ok");
  put("/double");
  put("./dot");
  put(std::string(300, 'x'));
  put("both");
  put("both/below");
  put("slash/", "data");
  const auto hidden = lower_->hidden(root_, soon());
  ASSERT_TRUE(hidden.has_value());
  std::vector<std::string> keys;
  for (const auto& h : *hidden) keys.push_back(h.key);
  std::ranges::sort(keys);
  EXPECT_EQ(keys, (std::vector<std::string>{"./", "/", "both", std::string(300, 'x')}));
  const InodeId slash(look_up(root_, "slash")->id());
  EXPECT_EQ(lower_->hidden(slash, soon())->size(), 1u);
  EXPECT_EQ(lower_->hidden_count(), 5u);
  EXPECT_EQ(list(root_), (std::vector<std::string>{"both", "ok", "slash"}));
}

TEST_F(LowerLayerTest, a_store_out_of_reach_is_an_error_only_where_it_must_be_asked) {
  put("f");
  ASSERT_TRUE(lower_->load_directory(root_, soon()).has_value());
  mounts_.remove(MountId(1));
  EXPECT_TRUE(lower_->load_attributes(*look_up(root_, "f"), soon()).has_value());
  EXPECT_FALSE(look_up(root_, "nothing").has_value());
  EXPECT_TRUE(failed_with(lower_->refresh(root_, soon()), ErrorCode::kUnavailable));
}

TEST_F(LowerLayerTest, many_threads_listing_one_directory_agree) {
  for (int i = 0; i < 300; ++i) put("f" + std::to_string(i));
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this] { EXPECT_TRUE(lower_->load_directory(root_, soon()).has_value()); });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(list(root_).size(), 300u);
  EXPECT_EQ(names_->usage()->inodes, 302u);
}

}  // namespace
}  // namespace weir::meta
